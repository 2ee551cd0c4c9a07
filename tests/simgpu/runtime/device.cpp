/* device.cpp - properties of the simulated device, errors and their names. */
#include "runtime.h"
#include <cstdio>
#include <cstring>

namespace sg {

namespace {
thread_local cudaError_t last_error = cudaSuccess;
}

cudaError_t remember(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

} // namespace sg

using namespace sg;

extern "C" {

cudaError_t cudaGetLastError(void) {
    const cudaError_t e = last_error;
    last_error = cudaSuccess;
    return e;
}
cudaError_t cudaPeekAtLastError(void) { return last_error; }

/* The names of the errors that this library gives. */
#define SG_ERRORS(E)                                                                               \
    E(cudaSuccess, "no error")                                                                     \
    E(cudaErrorInvalidValue, "invalid argument")                                                   \
    E(cudaErrorMemoryAllocation, "out of memory")                                                  \
    E(cudaErrorInvalidConfiguration, "invalid configuration argument")                             \
    E(cudaErrorInvalidPitchValue, "invalid pitch argument")                                        \
    E(cudaErrorInvalidSymbol, "invalid device symbol")                                             \
    E(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy")                        \
    E(cudaErrorMissingConfiguration, "__global__ function call is not configured")                 \
    E(cudaErrorInvalidDeviceFunction, "invalid device function")                                   \
    E(cudaErrorNoDevice, "no CUDA-capable device is detected")                                     \
    E(cudaErrorInvalidDevice, "invalid device ordinal")                                            \
    E(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device") \
    E(cudaErrorInvalidResourceHandle, "invalid resource handle")                                   \
    E(cudaErrorIllegalState, "the operation cannot be performed in the present state")             \
    E(cudaErrorNotReady, "device not ready")                                                       \
    E(cudaErrorNotSupported, "operation not supported")                                            \
    E(cudaErrorHostMemoryAlreadyRegistered, "part or all of the memory is already mapped")         \
    E(cudaErrorHostMemoryNotRegistered, "pointer does not correspond to a registered region")      \
    E(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing")       \
    E(cudaErrorStreamCaptureInvalidated,                                                           \
      "operation failed due to a previous error during capture")                                   \
    E(cudaErrorStreamCaptureMerge, "operation would result in a merge of separate captures")       \
    E(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began")     \
    E(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work")                        \
    E(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream")  \
    E(cudaErrorStreamCaptureImplicit,                                                              \
      "operation would make the legacy stream depend on a capture")                                \
    E(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capture")    \
    E(cudaErrorLaunchTimeout, "the launch timed out and was terminated")                           \
    E(cudaErrorGraphExecUpdateFailure, "the graph update was not performed")

const char *cudaGetErrorName(cudaError_t e) {
#define E(name, text)                                                                              \
    if (e == name) return #name;
    SG_ERRORS(E)
#undef E
    return "unrecognized error code";
}
const char *cudaGetErrorString(cudaError_t e) {
#define E(name, text)                                                                              \
    if (e == name) return text;
    SG_ERRORS(E)
#undef E
    return "unrecognized error code";
}

cudaError_t cudaDriverGetVersion(int *v) {
    *v = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *v) {
    *v = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaSetDeviceFlags(unsigned) { return cudaSuccess; }
cudaError_t cudaDeviceSetLimit(enum cudaLimit, size_t) { return cudaSuccess; }
cudaError_t cudaDeviceCanAccessPeer(int *can, int, int) {
    *can = 1;
    return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return cudaSuccess; }
cudaError_t cudaDeviceReset(void) {
    Lock lock;
    return drain_device();
}
cudaError_t cudaProfilerStart(void) { return cudaSuccess; }
cudaError_t cudaProfilerStop(void) { return cudaSuccess; }

/* An A100 in what kernels can ask for, with few multiprocessors so that grids stay small. */
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
    if (device < 0 || device >= option_value(Option::DEVICES))
        return remember(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "simulated GPU (sm_80, on the CPU)");
    p->pciBusID = device + 1;
    memcpy(p->uuid.bytes, "simulated GPU", 13);
    p->uuid.bytes[15] = (char)device;
    p->totalGlobalMem = (size_t)option_value(Option::MEMORY_MIB) << 20;
    p->sharedMemPerBlock = SHARED_DEFAULT;
    p->sharedMemPerBlockOptin = SHARED_OPT_IN;
    p->sharedMemPerMultiprocessor = SHARED_PER_SM;
    p->reservedSharedMemPerBlock = 1024;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = INT32_MAX;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->maxThreadsPerMultiProcessor = 2048;
    p->maxBlocksPerMultiProcessor = 32;
    p->multiProcessorCount = SM_COUNT;
    p->major = 8;
    p->minor = 0;
    p->totalConstMem = 65536;
    p->l2CacheSize = 40 << 20;
    p->memoryBusWidth = 5120;
    p->unifiedAddressing = 1;
    p->asyncEngineCount = 2;
    p->concurrentKernels = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    struct cudaDeviceProp p;
    if (const cudaError_t e = cudaGetDeviceProperties(&p, device)) return e;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)p.sharedMemPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = (int)p.sharedMemPerMultiprocessor;
        break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrMaxBlocksPerMultiprocessor: *value = p.maxBlocksPerMultiProcessor; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrMaxRegistersPerBlock: *value = p.regsPerBlock; break;
    case cudaDevAttrMaxRegistersPerMultiprocessor: *value = p.regsPerMultiprocessor; break;
    case cudaDevAttrMaxGridDimX: *value = p.maxGridSize[0]; break;
    case cudaDevAttrMaxGridDimY: *value = p.maxGridSize[1]; break;
    case cudaDevAttrUnifiedAddressing: *value = 1; break;
    case cudaDevAttrAsyncEngineCount: *value = p.asyncEngineCount; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = p.memoryBusWidth; break;
    case cudaDevAttrConcurrentKernels: *value = 1; break;
    default: *value = 0;
    }
    return cudaSuccess;
}
}
