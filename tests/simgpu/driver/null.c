/* null.c - a libcuda.so.1 without devices that lets modules be "loaded": with it cuDNN finalises plans for a
 * chip that is described to it. Whatever would need a device says that there is none. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef void (*function)(void);

enum { NO_DEVICE = 100, NOT_FOUND = 500 };
#define PUBLIC __attribute__((visibility("default")))

/* Any function: what its arguments are does not matter to one that ignores them. */
static int no_device(void) { return NO_DEVICE; }

/* A handle that is only ever handed back. */
static int hand_out(void **handle) {
    *handle = malloc(16);
    return *handle ? 0 : 2;
}

/* What cuDNN looks up by symbol and does not call without a device. */
#define NOTHING(f) PUBLIC int f(void) __attribute__((alias("no_device")));
NOTHING(cuCtxGetCurrent)
NOTHING(cuCtxGetLimit)
NOTHING(cuCtxPopCurrent)
NOTHING(cuCtxPushCurrent)
NOTHING(cuDeviceGet)
NOTHING(cuDeviceGetCount)
NOTHING(cuLaunchCooperativeKernel)
NOTHING(cuLaunchKernel)
NOTHING(cuLaunchKernelEx)
NOTHING(cuLibraryLoadFromFile)
NOTHING(cuLinkAddData)
NOTHING(cuLinkComplete)
NOTHING(cuLinkCreate)
NOTHING(cuLinkDestroy)
NOTHING(cuOccupancyMaxPotentialClusterSize)
NOTHING(cuStreamGetCtx)

PUBLIC int cuInit(unsigned flags) {
    (void)flags;
    return NO_DEVICE;
}
PUBLIC int cuDriverGetVersion(int *version) {
    *version = 13000;
    return 0;
}
PUBLIC int cuGetErrorString(int error, const char **text) {
    (void)error;
    *text = "null driver: no device";
    return 0;
}
PUBLIC int cuGetErrorName(int error, const char **text) {
    (void)error;
    *text = "CUDA_ERROR_NO_DEVICE";
    return 0;
}
PUBLIC int cuLibraryLoadData(void **library) { return hand_out(library); }
PUBLIC int cuLibraryUnload(void *library) {
    free(library);
    return 0;
}
PUBLIC int cuLibraryGetKernel(void **kernel) { return hand_out(kernel); }
PUBLIC int cuLibraryGetModule(void **module) { return hand_out(module); }
PUBLIC int cuKernelGetFunction(void **out, void *kernel) {
    *out = kernel;
    return 0;
}
PUBLIC int cuKernelSetAttribute(void) { return 0; }
PUBLIC int cuKernelGetAttribute(int *value) {
    *value = 0;
    return 0;
}
PUBLIC int cuModuleLoadData(void **module) { return hand_out(module); }
PUBLIC int cuModuleLoadDataEx(void **module) { return hand_out(module); }
PUBLIC int cuModuleUnload(void) { return 0; }
PUBLIC int cuModuleGetFunction(void **out) { return hand_out(out); }
PUBLIC int cuFuncSetAttribute(void) { return 0; }
PUBLIC int cuFuncGetAttribute(int *value) {
    *value = 0;
    return 0;
}
PUBLIC int cuLibraryGetGlobal(void) { return NOT_FOUND; }
PUBLIC int cuLibraryGetKernelCount(unsigned *count) {
    *count = 1;
    return 0;
}
PUBLIC int cuLibraryEnumerateKernels(void **kernels, unsigned count) {
    return count ? hand_out(kernels) : 0;
}

PUBLIC int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags,
                               int *found);
PUBLIC int cuGetProcAddress(const char *name, void **out, int version, uint64_t flags);

#define NAMED(f)                                                                                   \
    { #f, (function)f }
static const struct {
    const char *name;
    function is;
} known[] = {NAMED(cuInit),
             NAMED(cuDriverGetVersion),
             NAMED(cuGetErrorString),
             NAMED(cuGetErrorName),
             NAMED(cuLibraryLoadData),
             NAMED(cuLibraryUnload),
             NAMED(cuLibraryGetKernel),
             NAMED(cuLibraryGetModule),
             NAMED(cuKernelGetFunction),
             NAMED(cuKernelSetAttribute),
             NAMED(cuKernelGetAttribute),
             NAMED(cuModuleLoadData),
             NAMED(cuModuleLoadDataEx),
             NAMED(cuModuleUnload),
             NAMED(cuModuleGetFunction),
             NAMED(cuFuncSetAttribute),
             NAMED(cuFuncGetAttribute),
             NAMED(cuLibraryGetGlobal),
             NAMED(cuLibraryGetKernelCount),
             NAMED(cuLibraryEnumerateKernels),
             {"cuGetProcAddress", (function)cuGetProcAddress_v2}};

PUBLIC int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags,
                               int *found) {
    function answer = (function)no_device;
    (void)version;
    (void)flags;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, name) == 0) answer = known[i].is;
    memcpy(out, &answer, sizeof answer);
    if (found) *found = 0;
    return 0;
}
PUBLIC int cuGetProcAddress(const char *name, void **out, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, out, version, flags, NULL);
}
