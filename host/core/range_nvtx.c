/* range_nvtx.c - named ranges of this process for profilers, by NVTX. Its headers look for a tool at the first call;
 * without one a range costs a nanosecond. */
#include "mneme/device.h"

#include <nvtx3/nvToolsExt.h>

void mn_host_range(const char *name) {
    if (name) nvtxRangePushA(name);
    else nvtxRangePop();
}
