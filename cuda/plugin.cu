/* plugin.cu - the one function that the registry calls, and the texts it asks for. */
#include "cuda/device.h"

#include <stdarg.h>
#include <stdio.h>

static const mn_plugin_host *program;

/* The error record lives in the program. */
extern "C" mn_status mn_fail(mn_status status, const char *format, ...) {
    char text[MN_ERROR_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return program->fail(status, "%s", text);
}

extern "C" void mn_error_save(mn_error_record *out) { program->error_save(out); }

extern "C" mn_status mn_error_restore(const mn_error_record *record) {
    return program->error_restore(record);
}

void mn_cuda_warn(const char *text) { program->warn(text); }

static mn_status count(int *devices) {
    int present = 0;
    *devices = 0;
    MN_TRY(mn_cuda_check(cudaGetDeviceCount(&present), "cudaGetDeviceCount"));
    if (present > 0) MN_TRY(mn_cuda_supported(0)); /* the one that `auto` takes */
    *devices = present;
    return MN_OK;
}

static mn_plugin describe_plugin(const mn_plugin_host *host) {
    mn_plugin plugin = {};
    int version = 0;
    program = host;
    plugin.abi = MN_PLUGIN_ABI;
    plugin.device_bytes = sizeof(mn_device);
    plugin.kernels_bytes = sizeof(mn_kernels);
    cudaRuntimeGetVersion(&version);
    snprintf(plugin.libraries, sizeof plugin.libraries, "built with CUDA %d.%d, runs with %d.%d",
             CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10, version / 1000,
             version % 1000 / 10);
    plugin.count = count;
    plugin.describe = mn_cuda_describe;
    plugin.open = mn_cuda_device_open;
    return plugin;
}

/* Several threads may come here at once. */
extern "C" __attribute__((visibility("default"))) const mn_plugin *
mn_plugin_open(const mn_plugin_host *host) {
    static const mn_plugin plugin = describe_plugin(host);
    return &plugin;
}
