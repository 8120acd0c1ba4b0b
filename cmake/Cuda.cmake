# SPDX-License-Identifier: Apache-2.0
# The CUDA backend: m2snet-cuda.so, a module that the library opens at run time and never links.
#   m2snet_cuda_sources(OUT)   its sources, but for the files of the runtime, of cuDNN and of cuBLASLt

set(M2SNET_CUDA OFF CACHE STRING "The module m2snet-cuda.so: auto (when nvcc is there), ON or OFF")
set_property(CACHE M2SNET_CUDA PROPERTY STRINGS auto ON OFF)
if(NOT M2SNET_CUDA MATCHES "^(auto|ON|OFF)$")
    message(FATAL_ERROR "M2SNET_CUDA is \"${M2SNET_CUDA}\"; it can be auto, ON or OFF")
endif()
set(M2SNET_CUDA_ARCHITECTURES "75;80;86;89;90" CACHE STRING
    "Compute capabilities that the module has code for; the last one also as PTX, for newer devices"
)
option(M2SNET_CUDNN "Convolutions by cuDNN, where its headers are found" ON)
mark_as_advanced(M2SNET_CUDNN)

function(m2snet_cuda_sources out)
    file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/backends/cuda/*.c ${PROJECT_SOURCE_DIR}/backends/cuda/*.cu)
    list(FILTER sources EXCLUDE REGEX "/(runtime_(cuda\\.cu|host\\.c)|conv_cudnn\\.c|gemm_[a-z]+\\.c)$")
    list(SORT sources)
    set(${out} ${sources} PARENT_SCOPE)
endfunction()

function(m2snet_cuda_settings target)
    set_target_properties(
        ${target} PROPERTIES CXX_STANDARD 17 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden
                             CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_VISIBILITY_PRESET hidden
    )
    target_include_directories(
        ${target} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/lib ${PROJECT_SOURCE_DIR}
                          $<$<COMPILE_LANGUAGE:CXX,CUDA>:${PROJECT_SOURCE_DIR}/backends/cuda/cxx>
    )
endfunction()

# Exports the entry alone, and brings what it needs of core, graph and ref along, hidden.
function(m2snet_cuda_module target)
    set_target_properties(${target} PROPERTIES PREFIX "")
    # By its file: what the archive links for other rooms is not the module's.
    add_dependencies(${target} m2snet_internal)
    target_link_libraries(${target} PRIVATE $<TARGET_FILE:m2snet_internal> Threads::Threads ${CMAKE_DL_LIBS} m)
    target_link_options(${target} PRIVATE -Wl,--exclude-libs,ALL -Wl,-z,relro -Wl,-z,now)
    if(NOT (CMAKE_C_COMPILER_ID MATCHES "Clang" AND M2SNET_SANITIZE))
        target_link_options(${target} PRIVATE -Wl,-z,defs)
    endif()
endfunction()
