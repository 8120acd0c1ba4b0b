# SPDX-License-Identifier: Apache-2.0
# The module itself: backends/cuda compiled by nvcc. Included where M2SNET_CUDA is auto or ON.

# The compiler's flags for CUDA files. Without contraction, as everywhere: the stand-in on the processor and the device
# then round alike, and a forward kernel and its gradient agree on signs. Convolutions are sums anyway.
set(M2SNET_CUDA_FLAGS -Xcompiler=-Wall,-Wextra,-Wconversion,-Wshadow,-fstack-protector-strong,-ffp-contract=off)

include(CheckLanguage)
if(NOT CMAKE_CUDA_COMPILER)
    find_program(nvcc nvcc HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
    if(nvcc)
        set(CMAKE_CUDA_COMPILER ${nvcc} CACHE FILEPATH "nvcc")
    endif()
endif()
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
    if(M2SNET_CUDA STREQUAL "ON")
        message(FATAL_ERROR "M2SNET_CUDA is ON, but there is no nvcc")
    endif()
    message(STATUS "CUDA module: no, there is no nvcc")
    return()
endif()
# All but the last as machine code alone.
list(TRANSFORM M2SNET_CUDA_ARCHITECTURES APPEND -real OUTPUT_VARIABLE architectures)
list(GET M2SNET_CUDA_ARCHITECTURES -1 last)
list(POP_BACK architectures)
list(APPEND architectures ${last})
set(CMAKE_CUDA_ARCHITECTURES ${architectures})
enable_language(CUDA)
enable_language(CXX)
find_package(CUDAToolkit 12 REQUIRED)
find_path(M2SNET_CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
mark_as_advanced(M2SNET_CUDNN_INCLUDE_DIR nvcc)

m2snet_cuda_sources(sources)
list(APPEND sources ${PROJECT_SOURCE_DIR}/backends/cuda/runtime_cuda.cu)
set(convolutions "own kernels only, slow")
if(M2SNET_CUDNN_INCLUDE_DIR)
    file(STRINGS ${M2SNET_CUDNN_INCLUDE_DIR}/cudnn_version.h lines REGEX "define CUDNN_(MAJOR|MINOR|PATCHLEVEL) +[0-9]+")
    string(REGEX REPLACE "[^0-9;]" "" version "${lines}")
    string(REPLACE ";" "." version "${version}")
    if(version VERSION_GREATER_EQUAL 9)
        list(REMOVE_ITEM sources ${PROJECT_SOURCE_DIR}/backends/cuda/conv_none.c)
        list(APPEND sources ${PROJECT_SOURCE_DIR}/backends/cuda/conv_cudnn.c)
        set(convolutions "cuDNN 9, found at run time (headers ${version})")
    endif()
endif()
set(kernels ${sources})
list(FILTER kernels INCLUDE REGEX "\\.cu$")
list(FILTER sources EXCLUDE REGEX "\\.cu$")
set_property(
    SOURCE ${PROJECT_SOURCE_DIR}/backends/cuda/conv_cudnn.c PROPERTY INCLUDE_DIRECTORIES ${M2SNET_CUDNN_INCLUDE_DIR}
)

add_library(m2snet_cuda_objects OBJECT ${sources})
m2snet_cuda_settings(m2snet_cuda_objects)
target_link_libraries(m2snet_cuda_objects PRIVATE m2snet_flags)
target_include_directories(m2snet_cuda_objects SYSTEM PRIVATE ${M2SNET_CUDNN_INCLUDE_DIR})

add_library(m2snet-cuda MODULE ${kernels} $<TARGET_OBJECTS:m2snet_cuda_objects>)
m2snet_cuda_settings(m2snet-cuda)
m2snet_cuda_module(m2snet-cuda)
foreach(kernel IN LISTS kernels)
    if(NOT kernel MATCHES "conv_direct")
        set_property(SOURCE ${kernel} APPEND PROPERTY COMPILE_OPTIONS --fmad=false)
    endif()
endforeach()
target_compile_options(
    m2snet-cuda
    PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:${M2SNET_CUDA_FLAGS}>
            $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${M2SNET_WERROR}>>:-Xcompiler=-Werror;--Werror=all-warnings>
)
target_link_libraries(m2snet-cuda PRIVATE CUDA::cudart_static)
target_link_options(m2snet-cuda PRIVATE -static-libstdc++ -static-libgcc)
set_target_properties(m2snet-cuda PROPERTIES LINKER_LANGUAGE CXX CUDA_ARCHITECTURES "${architectures}")
install(TARGETS m2snet-cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
message(STATUS "CUDA module: ${CMAKE_CUDA_COMPILER_VERSION}, for ${M2SNET_CUDA_ARCHITECTURES}; convolutions: ${convolutions}")
