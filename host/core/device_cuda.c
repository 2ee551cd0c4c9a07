/* device_cuda.c - finds the CUDA backend: asks the driver whether there is a device at all, and only
 * then opens the plug-in, whose libraries take half a second to load.
 *
 * MNEME_CUDA_PLUGIN=FILE names the plug-in and skips the driver's answer: the plug-in's own runtime
 * counts the devices. Tests bring a runtime of their own that way. */
#include "core/plugin.h"
#include "mneme/log.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char PLUGIN[] = "libmneme_cuda.so";

/* ---- The driver --------------------------------------------------------------------------------- */

/* The driver's interface is C and stable; these are cuInit, cuDriverGetVersion, cuDeviceGetCount. */
typedef struct driver {
    int (*init)(unsigned flags);
    int (*version)(int *version);
    int (*count)(int *count);
} driver;

static bool driver_load(driver *d, mn_cuda_state *out) {
    void *library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!library) {
        snprintf(out->why, sizeof out->why, "no NVIDIA driver: %s", dlerror());
        return false;
    }
    *(void **)&d->init = dlsym(library, "cuInit");
    *(void **)&d->version = dlsym(library, "cuDriverGetVersion");
    *(void **)&d->count = dlsym(library, "cuDeviceGetCount");
    if (d->init && d->version && d->count) return true;
    snprintf(out->why, sizeof out->why, "libcuda.so.1 is no NVIDIA driver: cuInit is missing");
    return false;
}

/* Whether the driver sees a device; else why not. The library stays open: drivers do not like to go. */
static bool driver_sees_device(mn_cuda_state *out) {
    driver d;
    int count = 0, version = 0;
    if (!driver_load(&d, out)) return false;
    enum { NO_DEVICE = 100 };
    int code = d.init(0);
    if (code == 0) code = d.count(&count);
    if (d.version(&version) == 0)
        snprintf(out->driver, sizeof out->driver, "%d.%d", version / 1000, version % 1000 / 10);
    if (code == NO_DEVICE || (code == 0 && count == 0))
        snprintf(out->why, sizeof out->why, "the NVIDIA driver sees no GPU");
    else if (code != 0)
        snprintf(out->why, sizeof out->why, "the NVIDIA driver fails with CUDA error %d", code);
    return out->why[0] == '\0';
}

/* ---- The plug-in -------------------------------------------------------------------------------- */

static void warn(const char *text) { mn_log(MN_LOG_WARN, "%s", text); }

static const mn_plugin *load_plugin(mn_cuda_state *out) {
    static const mn_plugin_host program = {.fail = mn_fail,
                                           .warn = warn,
                                           .error_save = mn_error_save,
                                           .error_restore = mn_error_restore};
    char path[PATH_MAX];
    mn_plugin_entry entry = NULL;
    if (!mn_plugin_find(path, PLUGIN, "MNEME_CUDA_PLUGIN")) {
        snprintf(out->why, sizeof out->why, "%s is not installed beside mneme", PLUGIN);
        return NULL;
    }
    snprintf(out->plugin, sizeof out->plugin, "%.*s", (int)sizeof out->plugin - 1, path);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library) *(void **)&entry = dlsym(library, MN_PLUGIN_ENTRY);
    if (!entry) {
        snprintf(out->why, sizeof out->why, "%s", dlerror());
        return NULL;
    }
    const mn_plugin *plugin = entry(&program);
    if (plugin->abi != MN_PLUGIN_ABI || plugin->device_bytes != sizeof(mn_device) ||
        plugin->kernels_bytes != sizeof(mn_kernels)) {
        snprintf(out->why, sizeof out->why, "%s belongs to another version of mneme", out->plugin);
        return NULL;
    }
    snprintf(out->libraries, sizeof out->libraries, "%s", plugin->libraries);
    return plugin;
}

/* The plug-in when it can be used; *out says what was found. Loading it again costs nothing. */
static const mn_plugin *probe(mn_cuda_state *out) {
    *out = (mn_cuda_state){0};
    if (!getenv("MNEME_CUDA_PLUGIN") && !driver_sees_device(out)) return NULL;
    const mn_plugin *plugin = load_plugin(out);
    if (!plugin) return NULL;
    if (plugin->count(&out->devices) != MN_OK)
        snprintf(out->why, sizeof out->why, "%.*s", (int)sizeof out->why - 1, mn_error());
    else if (out->devices == 0)
        snprintf(out->why, sizeof out->why, "the CUDA runtime sees no device");
    return out->why[0] ? NULL : plugin;
}

bool mn_cuda_probe(mn_cuda_state *out) { return probe(out) != NULL; }

mn_status mn_cuda_device_text(char *text, size_t size, int index) {
    mn_cuda_state found;
    const mn_plugin *plugin = probe(&found);
    MN_CHECK(plugin, MN_ERR_UNSUPPORTED, "no CUDA device: %s", found.why);
    return plugin->describe(text, size, index);
}

mn_status mn_cuda_open(mn_device **out, int index) {
    mn_cuda_state found;
    const mn_plugin *plugin = probe(&found);
    *out = NULL;
    MN_CHECK(plugin, MN_ERR_UNSUPPORTED, "no CUDA device: %s", found.why);
    MN_CHECK(index < found.devices, MN_ERR_USAGE, "there is no device cuda:%d; %d found", index,
             found.devices);
    return plugin->open(out, index);
}
