/* device.c - the registry: which backends exist and which one a name means. */
#include "mneme/device.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    mn_status (*open)(mn_device **out, int threads);
} backends[] = {
    {"cpu", mn_cpu_open},
};

static mn_status find(size_t *index, const char *spec) {
    char list[128] = "auto";
    for (*index = 0; *index < sizeof backends / sizeof *backends; ++*index) {
        const char *name = backends[*index].name;
        const size_t used = strlen(list);
        if (strcmp(spec, name) == 0) return MN_OK;
        snprintf(list + used, sizeof list - used, ", %s", name);
    }
    *index = 0;
    if (strcmp(spec, "auto") == 0) return MN_OK;
    return mn_fail(MN_ERR_USAGE, "device '%s' is unknown; this build has: %s", spec, list);
}

mn_status mn_device_check(const char *spec) {
    size_t unused;
    return find(&unused, spec);
}

mn_status mn_device_open(mn_device **out, const char *spec, int threads) {
    size_t index;
    *out = NULL;
    MN_TRY(find(&index, spec));
    return backends[index].open(out, threads);
}

void mn_device_close(mn_device **device) {
    if (!*device) return;
    (*device)->close(*device);
    *device = NULL;
}
