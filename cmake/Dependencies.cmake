# SPDX-License-Identifier: Apache-2.0
# Finds the foreign libraries. Sets
#   M2SNET_GEMM_PROVIDER       onednn, openblas or none
#   M2SNET_FOREIGN_LIBRARIES   what the library links
#   M2SNET_PRIVATE_LIBS        the same as linker flags, for users of the static library
#   M2SNET_DEFINITIONS         M2S_WITH_ONEDNN or M2S_WITH_OPENBLAS
#   M2SNET_OPENMP_OPTIONS      compile options of the one file that talks to oneDNN

set(M2SNET_FOREIGN_LIBRARIES "")
set(M2SNET_PRIVATE_LIBS "")
set(M2SNET_DEFINITIONS "")
set(M2SNET_OPENMP_OPTIONS "")

# ---- convolutions and matrix products ----

if(NOT M2SNET_GEMM MATCHES "^(auto|onednn|openblas|none)$")
    message(FATAL_ERROR "M2SNET_GEMM is \"${M2SNET_GEMM}\"; it can be auto, onednn, openblas or none")
endif()

# By header and library: the CMake package that Debian ships with oneDNN also wants the headers of OpenCL, which a user
# of the CPU part does not need.
if(M2SNET_GEMM MATCHES "^(auto|onednn)$")
    find_path(M2SNET_ONEDNN_INCLUDE_DIR oneapi/dnnl/dnnl.h)
    find_library(M2SNET_ONEDNN_LIBRARY dnnl)
    mark_as_advanced(M2SNET_ONEDNN_INCLUDE_DIR M2SNET_ONEDNN_LIBRARY)
endif()

# The serial flavour, from its archive. Work is cut for the context's own threads, so a BLAS with threads of its own
# would start threads inside threads; and all flavours share one soname (libopenblas.so.0), so that with the shared
# library the system's alternatives would choose the flavour at run time. The archive is what was asked for.
if(M2SNET_GEMM STREQUAL "openblas"
   OR (M2SNET_GEMM STREQUAL "auto" AND NOT (M2SNET_ONEDNN_INCLUDE_DIR AND M2SNET_ONEDNN_LIBRARY))
)
    set(multiarch ${CMAKE_LIBRARY_ARCHITECTURE})
    find_path(
        M2SNET_OPENBLAS_INCLUDE_DIR cblas.h
        PATH_SUFFIXES ${multiarch}/openblas-serial openblas-serial ${multiarch} openblas
    )
    find_library(
        M2SNET_OPENBLAS_LIBRARY
        NAMES libopenblas.a openblas
        PATH_SUFFIXES ${multiarch}/openblas-serial openblas-serial
    )
    mark_as_advanced(M2SNET_OPENBLAS_INCLUDE_DIR M2SNET_OPENBLAS_LIBRARY)
endif()

if(M2SNET_GEMM MATCHES "^(auto|onednn)$" AND M2SNET_ONEDNN_INCLUDE_DIR AND M2SNET_ONEDNN_LIBRARY)
    set(M2SNET_GEMM_PROVIDER onednn)
elseif(M2SNET_GEMM MATCHES "^(auto|openblas)$" AND M2SNET_OPENBLAS_INCLUDE_DIR AND M2SNET_OPENBLAS_LIBRARY)
    set(M2SNET_GEMM_PROVIDER openblas)
elseif(M2SNET_GEMM STREQUAL "none")
    set(M2SNET_GEMM_PROVIDER none)
else()
    message(
        FATAL_ERROR
            "M2SNET_GEMM is \"${M2SNET_GEMM}\", but neither that library's header nor its library was found. "
            "Install oneDNN (Debian: libdnnl-dev) or the serial OpenBLAS (Debian: libopenblas-serial-dev), "
            "or choose -DM2SNET_GEMM=none: correct, but slow."
    )
endif()

if(M2SNET_GEMM_PROVIDER STREQUAL "onednn")
    file(
        STRINGS ${M2SNET_ONEDNN_INCLUDE_DIR}/oneapi/dnnl/dnnl_version.h dnnl_lines
        REGEX "define DNNL_VERSION_(MAJOR|MINOR|PATCH) +[0-9]+"
    )
    string(REGEX REPLACE "[^0-9;]" "" dnnl_version "${dnnl_lines}")
    string(REPLACE ";" "." dnnl_version "${dnnl_version}")
    if(dnnl_version VERSION_LESS 2.6)
        message(FATAL_ERROR "oneDNN ${dnnl_version} is too old: 2.6 or newer is needed (or -DM2SNET_GEMM=openblas)")
    endif()
    set(gemm_text "oneDNN ${dnnl_version} (${M2SNET_ONEDNN_LIBRARY})")
    add_library(m2snet_onednn INTERFACE)
    # gomp because Debian's oneDNN runs on it: the thread count that onednn.c sets on the library's own threads must
    # reach the OpenMP runtime that oneDNN asks, whichever compiler builds this.
    target_link_libraries(m2snet_onednn INTERFACE ${M2SNET_ONEDNN_LIBRARY} gomp)
    target_include_directories(m2snet_onednn SYSTEM INTERFACE ${M2SNET_ONEDNN_INCLUDE_DIR})
    list(APPEND M2SNET_FOREIGN_LIBRARIES m2snet_onednn)
    list(APPEND M2SNET_PRIVATE_LIBS -ldnnl -lgomp)
    list(APPEND M2SNET_DEFINITIONS M2S_WITH_ONEDNN=1)
    if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
        set(M2SNET_OPENMP_OPTIONS -fopenmp)
    else()
        # clang's own OpenMP is another runtime. No pragmas are used, so gcc's omp.h is all that is needed: by itself,
        # because the other headers of gcc's folder are not for clang.
        execute_process(
            COMMAND gcc -print-file-name=include
            OUTPUT_VARIABLE gcc_include
            OUTPUT_STRIP_TRAILING_WHITESPACE
        )
        if(EXISTS "${gcc_include}/omp.h")
            file(READ "${gcc_include}/omp.h" omp_header)
            string(REGEX REPLACE "__malloc__ \\(omp_free\\), *" "" omp_header "${omp_header}") # gcc's own attribute
            file(WRITE ${PROJECT_BINARY_DIR}/openmp/omp.h "${omp_header}")
        endif()
        set(M2SNET_OPENMP_OPTIONS -idirafter ${PROJECT_BINARY_DIR}/openmp)
    endif()
elseif(M2SNET_GEMM_PROVIDER STREQUAL "openblas")
    set(gemm_text "OpenBLAS (${M2SNET_OPENBLAS_LIBRARY})")
    add_library(m2snet_openblas INTERFACE)
    target_link_libraries(m2snet_openblas INTERFACE ${M2SNET_OPENBLAS_LIBRARY})
    target_include_directories(m2snet_openblas SYSTEM INTERFACE ${M2SNET_OPENBLAS_INCLUDE_DIR})
    list(APPEND M2SNET_FOREIGN_LIBRARIES m2snet_openblas)
    list(APPEND M2SNET_PRIVATE_LIBS ${M2SNET_OPENBLAS_LIBRARY})
    list(APPEND M2SNET_DEFINITIONS M2S_WITH_OPENBLAS=1)
else()
    set(gemm_text "none: own kernels only, slow")
endif()
message(STATUS "Convolutions and matrix products: ${gemm_text}")

# ---- the rest ----

if(NOT M2SNET_KERNELS_ONLY)
    find_package(PkgConfig REQUIRED)
    foreach(module jansson>=2.12 nettle>=3.4 libzip>=1.5 libpng>=1.6 libjpeg)
        string(REGEX MATCH "^[a-z]+" name ${module})
        pkg_check_modules(${name} IMPORTED_TARGET ${module})
        if(NOT ${name}_FOUND)
            message(
                FATAL_ERROR
                    "${module} was not found. Debian has all of them: "
                    "apt-get install libjansson-dev nettle-dev libzip-dev libpng-dev libjpeg-dev"
            )
        endif()
        list(APPEND M2SNET_FOREIGN_LIBRARIES PkgConfig::${name})
        list(APPEND M2SNET_PRIVATE_LIBS ${${name}_LDFLAGS})
    endforeach()
endif()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
list(APPEND M2SNET_FOREIGN_LIBRARIES Threads::Threads ${CMAKE_DL_LIBS} m)
list(APPEND M2SNET_PRIVATE_LIBS -lpthread -ldl -lm)
# pkg-config reports the system's own folders too; every linker knows them.
list(TRANSFORM CMAKE_C_IMPLICIT_LINK_DIRECTORIES PREPEND -L OUTPUT_VARIABLE system_folders)
list(REMOVE_ITEM M2SNET_PRIVATE_LIBS ${system_folders})
