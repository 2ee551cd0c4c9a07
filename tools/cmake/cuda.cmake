# libmneme_cuda.so, the CUDA backend: a plug-in that the program opens when it finds a device. Neither
# the program nor libmneme links to CUDA. Without a toolkit it is left out, and said so.
#
# Device code for every listed chip, and PTX for those to come. The PTX is not compressed, so that the
# simulated device of the tests can read it.
set(MNEME_CUDA_ARCHITECTURES "80-real;86-real;89-real;90-real;100-real;120-real;80-virtual"
    CACHE STRING "CMAKE_CUDA_ARCHITECTURES of the CUDA backend")

set(MNEME_HAS_CUDA FALSE)
if(NOT MNEME_CUDA)
    message(STATUS "CUDA backend: switched off")
    return()
endif()
find_package(CUDAToolkit 12.8 QUIET)
find_path(MNEME_NVTX_INCLUDE nvtx3/nvToolsExt.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
mark_as_advanced(MNEME_NVTX_INCLUDE)
set(missing "")
if(NOT CUDAToolkit_FOUND OR NOT TARGET CUDA::cublasLt OR NOT CUDAToolkit_NVCC_EXECUTABLE OR
   NOT MNEME_NVTX_INCLUDE)
    set(missing "no CUDA toolkit 12.8 or later with nvcc, cuBLASLt and NVTX's headers")
elseif(NOT CMAKE_CUDA_COMPILER)
    include(CheckLanguage) # nvcc needs a C++ compiler that it knows
    set(ENV{CUDACXX} ${CUDAToolkit_NVCC_EXECUTABLE})
    check_language(CUDA)
    if(NOT CMAKE_CUDA_COMPILER)
        set(missing "${CUDAToolkit_NVCC_EXECUTABLE} finds no C++ compiler that it can use")
    endif()
endif()
if(missing)
    if(MNEME_CUDA STREQUAL "ON")
        message(FATAL_ERROR "MNEME_CUDA is ON, but: ${missing}; CUDAToolkit_ROOT says where to look")
    endif()
    message(STATUS "CUDA backend: left out, ${missing}")
    return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES ${MNEME_CUDA_ARCHITECTURES})
endif()
set(CMAKE_CUDA_FLAGS_RELEASE "-O3" CACHE STRING "Flags of a release build: assertions stay on")
enable_language(CUDA)
set(MNEME_HAS_CUDA TRUE)
message(STATUS "CUDA backend: ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION}, "
               "${MNEME_CUDA_ARCHITECTURES}")

file(GLOB cuda_sources CONFIGURE_DEPENDS cuda/*.cu)
# cuDNN is opened at run time; only its headers are needed.
find_path(MNEME_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
mark_as_advanced(MNEME_CUDNN_INCLUDE)
if(EXISTS ${MNEME_CUDNN_INCLUDE}/cudnn_version.h)
    file(STRINGS ${MNEME_CUDNN_INCLUDE}/cudnn_version.h cudnn_major REGEX "define CUDNN_MAJOR")
    string(REGEX MATCH "[0-9]+" cudnn_major "${cudnn_major}")
endif()
if(MNEME_CUDNN_INCLUDE AND NOT cudnn_major VERSION_LESS 9)
    list(APPEND cuda_sources cuda/cudnn_plan.c cuda/cudnn_graph.c)
    message(STATUS "cuDNN: headers in ${MNEME_CUDNN_INCLUDE}")
else()
    list(APPEND cuda_sources cuda/cudnn_none.c)
    set(MNEME_CUDNN_INCLUDE "") # hides what is too old
    message(STATUS "cuDNN: left out, no headers of cuDNN 9 or later")
endif()
# NCCL as well.
find_path(MNEME_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
mark_as_advanced(MNEME_NCCL_INCLUDE)
if(MNEME_NCCL_INCLUDE)
    list(FILTER cuda_sources EXCLUDE REGEX "collectives_none")
    list(APPEND cuda_sources cuda/nccl_api.c)
    message(STATUS "NCCL: headers in ${MNEME_NCCL_INCLUDE}")
else()
    list(FILTER cuda_sources EXCLUDE REGEX "collectives\\.cu")
    message(STATUS "NCCL: left out, no nccl.h (package libnccl-dev); ranks cannot use GPUs together")
endif()
add_library(mneme_cuda MODULE ${cuda_sources} host/core/tensor.c)
set_target_properties(mneme_cuda PROPERTIES
    CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF
    CUDA_RUNTIME_LIBRARY Shared CUDA_VISIBILITY_PRESET hidden C_VISIBILITY_PRESET hidden
    CUDA_ARCHITECTURES "${MNEME_CUDA_ARCHITECTURES}"
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
target_include_directories(mneme_cuda PRIVATE include host ${PROJECT_SOURCE_DIR})
if(MNEME_CUDNN_INCLUDE)
    target_include_directories(mneme_cuda SYSTEM PRIVATE ${MNEME_CUDNN_INCLUDE}
                                                         ${CUDAToolkit_INCLUDE_DIRS})
endif()
if(MNEME_NCCL_INCLUDE)
    target_include_directories(mneme_cuda SYSTEM PRIVATE ${MNEME_NCCL_INCLUDE}
                                                         ${CUDAToolkit_INCLUDE_DIRS})
endif()
# No -ffast-math in any form: NaN checks and the CPU's numbers.
set(cuda_flags -lineinfo --no-compress -Xcompiler=-Wall)
if(MNEME_WERROR)
    list(APPEND cuda_flags --Werror=all-warnings -Xcompiler=-Werror
         -Xptxas=--warn-on-spills,--warn-on-local-memory-usage,--warning-as-error)
endif()
target_compile_options(mneme_cuda PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${cuda_flags}>")
target_link_libraries(mneme_cuda PRIVATE CUDA::cublasLt ${CMAKE_DL_LIBS})
install(TARGETS mneme_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
