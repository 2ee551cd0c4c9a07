/* device.c - the registry: which backends exist and which one a name means. */
#include "mneme/device.h"

#include <string.h>

static const struct {
    const char *name;
    mn_status (*open)(mn_device **out, int threads);
} backends[] = {
    {"cpu", mn_cpu_open},
};

mn_status mn_device_open(mn_device **out, const char *spec, int threads) {
    *out = NULL;
    if (strcmp(spec, "auto") == 0) spec = backends[0].name;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strcmp(spec, backends[i].name) == 0) return backends[i].open(out, threads);
    return mn_fail(MN_ERR_USAGE, "device '%s' is unknown; this build has: auto, cpu", spec);
}

void mn_device_close(mn_device **device) {
    if (!*device) return;
    (*device)->close(*device);
    *device = NULL;
}
