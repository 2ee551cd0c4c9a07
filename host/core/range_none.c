/* range_none.c - no named ranges for profilers: NVTX's headers were not there. */
#include "mneme/device.h"

void mn_host_range(const char *name) { (void)name; }
