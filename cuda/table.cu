/* table.cu - the function table of the CUDA backend. */
#include "cuda/device.h"

#include <nvtx3/nvToolsExt.h>

/* A launcher on its device. */
template <auto Launcher, typename Type = decltype(Launcher)> struct on_device;
template <auto Launcher, typename... Arguments>
struct on_device<Launcher, mn_status (*)(mn_stream *, Arguments...)> {
    static mn_status run(mn_stream *s, Arguments... arguments) {
        MN_TRY(mn_cuda_use(s));
        return Launcher(s, arguments...);
    }
};

extern "C" const mn_kernels mn_cuda_kernels = {
#define MN_KERNEL(name, params) on_device<mn_cuda_##name>::run,
#include "mneme/kernels.def"
#undef MN_KERNEL
};

void mn_cuda_range(const char *name) {
    if (name) nvtxRangePushA(name);
    else nvtxRangePop();
}
