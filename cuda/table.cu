/* table.cu - the function table of the CUDA backend. */
#include "cuda/stream.h"

/* Rows whose file is not there yet fail by name; a row's own definition replaces its weak one. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define MN_KERNEL(name, params)                                                                    \
    extern "C" __attribute__((weak)) mn_status mn_cuda_##name params {                             \
        return mn_fail(MN_ERR_UNSUPPORTED, "cuda: row " #name " is not built");                    \
    }
#include "mneme/kernels.def"
#undef MN_KERNEL

extern "C" const mn_kernels mn_cuda_kernels = {
#define MN_KERNEL(name, params) mn_cuda_##name,
#include "mneme/kernels.def"
#undef MN_KERNEL
};
