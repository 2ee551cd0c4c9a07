/* device.cu - opens a CUDA device: its stream, its memory, its workspace. */
#include "cuda/device.h"

#include "cuda/attention_cudnn.h"
#include "cuda/collectives.h"
#include "cuda/copies.h"
#include "cuda/graphs.h"
#include "cuda/linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

mn_status mn_cuda_check(cudaError_t code, const char *what) {
    if (code == cudaSuccess) return MN_OK;
    const mn_status status = code == cudaErrorMemoryAllocation ? MN_ERR_MEMORY : MN_ERR_IO;
    return mn_fail(status, "CUDA: %s: %s", what, cudaGetErrorString(code));
}

mn_status mn_cuda_use(const mn_stream *s) {
    static thread_local int current = -1;
    if (current == s->device) return MN_OK;
    MN_CUDA_TRY(cudaSetDevice(s->device));
    current = s->device;
    return MN_OK;
}

mn_status mn_cuda_scratch(mn_stream *s, void *out_ptr, size_t bytes) {
    MN_CHECK(bytes <= s->scratch_bytes, MN_ERR_MEMORY,
             "CUDA: a kernel wants %zu bytes of workspace, %zu are reserved", bytes,
             s->scratch_bytes);
    memcpy(out_ptr, &s->scratch, sizeof s->scratch);
    return MN_OK;
}

static mn_status cuda_alloc(mn_device *device, void **out, size_t bytes) {
    const mn_stream *s = device->stream;
    MN_TRY(mn_cuda_use(s));
    const cudaError_t code = cudaMalloc(out, bytes);
    if (code == cudaErrorMemoryAllocation) {
        size_t left = 0, total = 0;
        cudaGetLastError();
        cudaMemGetInfo(&left, &total);
        return mn_fail(MN_ERR_MEMORY, "no memory for %.1f MB on %s; %.1f MB of %.1f MB are free",
                       (double)bytes / 1e6, device->name, (double)left / 1e6, (double)total / 1e6);
    }
    MN_TRY(mn_cuda_check(code, "cudaMalloc"));
    const mn_status st = mn_cuda_check(cudaMemsetAsync(*out, 0, bytes, s->stream),
                                       "cudaMemsetAsync");
    if (st != MN_OK) cudaFree(*out), *out = NULL;
    return st;
}

static void cuda_release(mn_device *device, void *memory, size_t bytes) {
    (void)bytes;
    if (mn_cuda_use(device->stream) == MN_OK) mn_cuda_settle(device->stream);
    cudaFree(memory); /* waits for the work that uses it */
}

static mn_status cuda_reserve(mn_device *device, int64_t rows, int64_t width) {
    mn_stream *s = device->stream;
    const size_t bytes = mn_cuda_scratch_bytes(rows, width);
    if (bytes <= s->scratch_bytes) return MN_OK;
    mn_cuda_forget_all(s); /* what was recorded uses the old one */
    cuda_release(device, s->scratch, s->scratch_bytes);
    s->scratch = NULL;
    s->scratch_bytes = 0;
    MN_TRY(cuda_alloc(device, &s->scratch, bytes));
    s->scratch_bytes = bytes;
    return MN_OK;
}

static mn_status cuda_attention(mn_device *device, bool cudnn) {
    mn_stream *s = device->stream;
    MN_TRY(mn_cuda_use(s));
    if (!cudnn) {
        if (s->cudnn) MN_TRY(mn_cuda_wait(s, NULL));
        mn_cuda_cudnn_close(&s->cudnn);
    }
    return s->cudnn || !cudnn ? MN_OK : mn_cuda_cudnn_open(&s->cudnn);
}

static bool cuda_was_cudnn(const mn_device *device) { return device->stream->was_cudnn; }

static void cuda_close(mn_device *device) {
    mn_stream *s = device->stream;
    if (s) {
        mn_cuda_use(s);
        mn_cuda_collectives_close(s);
        if (s->stream) cudaStreamSynchronize(s->stream);
        mn_cuda_graphs_close(&s->graphs);
        mn_cuda_linear_close(&s->linear);
        mn_cuda_cudnn_close(&s->cudnn);
        mn_cuda_copies_close(&s->copies);
        cudaFree(s->scratch);
        if (s->stream) cudaStreamDestroy(s->stream);
        free(s);
    }
    free(device);
}

/* The device and its name in one block. */
struct named_device {
    mn_device device;
    char name[16];
};

/* The kernels use instructions of sm_80 (cp.async, mma of 16 x 8 x 16). */
mn_status mn_cuda_supported(int index) {
    int major = 0, minor = 0;
    MN_CUDA_TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index));
    MN_CUDA_TRY(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index));
    MN_CHECK(major >= 8, MN_ERR_UNSUPPORTED, "cuda:%d is sm_%d%d, sm_80 or later is needed", index,
             major, minor);
    return MN_OK;
}

mn_status mn_cuda_describe(char *text, size_t size, int index) {
    cudaDeviceProp p;
    MN_CUDA_TRY(cudaGetDeviceProperties(&p, index));
    snprintf(text, size, "%s, sm_%d%d, %d multiprocessors, %.1f GiB", p.name, p.major, p.minor,
             p.multiProcessorCount, (double)p.totalGlobalMem / (double)(1 << 30));
    return MN_OK;
}

mn_status mn_cuda_device_open(mn_device **out, int index) {
    mn_status st = MN_OK;
    mn_device *d = NULL;
    named_device *block = (named_device *)calloc(1, sizeof *block);
    *out = NULL;
    MN_CHECK(block, MN_ERR_MEMORY, "no memory for the CUDA device");
    d = &block->device;
    snprintf(block->name, sizeof block->name, "cuda:%d", index);
    d->name = block->name;
    d->k = &mn_cuda_kernels;
    d->host_memory = false;
    d->narrow_products = true;
    d->threads = 1;
    d->alloc = cuda_alloc;
    d->release = cuda_release;
    d->upload = mn_cuda_upload;
    d->download = mn_cuda_download;
    d->reserve = cuda_reserve;
    d->kv_bytes = mn_cuda_kv_bytes;
    d->repeat = mn_cuda_repeat;
    d->forget = mn_cuda_forget;
    d->range = mn_cuda_range;
    d->attention = cuda_attention;
    d->was_cudnn = cuda_was_cudnn;
    d->collectives = &mn_cuda_collectives;
    d->close = cuda_close;
    d->stream = (mn_stream *)calloc(1, sizeof *d->stream);
    MN_CHECK_GOTO(d->stream, MN_ERR_MEMORY, "no memory for the CUDA device");
    d->stream->device = index;
    MN_GOTO(mn_cuda_supported(index));
    MN_GOTO(mn_cuda_use(d->stream));
    MN_GOTO(mn_cuda_check(
        cudaDeviceGetAttribute(&d->stream->sm_count, cudaDevAttrMultiProcessorCount, index),
        "multiprocessors"));
    MN_GOTO(mn_cuda_check(cudaStreamCreateWithFlags(&d->stream->stream, cudaStreamNonBlocking),
                          "cudaStreamCreate"));
    MN_GOTO(mn_cuda_copies_open(&d->stream->copies));
    MN_GOTO(mn_cuda_linear_open(&d->stream->linear));
    MN_GOTO(mn_cuda_graphs_open(&d->stream->graphs));
    MN_GOTO(cuda_reserve(d, 0, 0));
    MN_GOTO(mn_cuda_describe(d->description, sizeof d->description, index));
    *out = d;
    d = NULL;
done:
    if (d) cuda_close(d);
    return st;
}
