/* table.cu - the function table of the CUDA backend; every row is a named range for profilers. */
#include "cuda/device.h"

#include <nvtx3/nvToolsExt.h>

enum {
#define MN_KERNEL(name, params) ROW_##name,
#include "mneme/kernels.def"
#undef MN_KERNEL
};

static const char *const names[] = {
#define MN_KERNEL(name, params) #name,
#include "mneme/kernels.def"
#undef MN_KERNEL
};

/* A launcher on its device, inside its range. Without a profiler that costs a nanosecond. */
template <auto Launcher, int Row, typename Type = decltype(Launcher)> struct ranged;
template <auto Launcher, int Row, typename... Arguments>
struct ranged<Launcher, Row, mn_status (*)(mn_stream *, Arguments...)> {
    static mn_status run(mn_stream *s, Arguments... arguments) {
        MN_TRY(mn_cuda_use(s));
        nvtxRangePushA(names[Row]);
        const mn_status st = Launcher(s, arguments...);
        nvtxRangePop();
        return st;
    }
};

extern "C" const mn_kernels mn_cuda_kernels = {
#define MN_KERNEL(name, params) ranged<mn_cuda_##name, ROW_##name>::run,
#include "mneme/kernels.def"
#undef MN_KERNEL
};

void mn_cuda_range(const char *name) {
    if (name) nvtxRangePushA(name);
    else nvtxRangePop();
}
