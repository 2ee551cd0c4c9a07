/* memory.cpp - allocation and copies. Pinned host memory is really asynchronous; pageable memory is
 * copied when the call is made, as the driver does through its staging buffers. */
#include "runtime.h"
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

namespace sg {
namespace {

std::map<uintptr_t, size_t> pinned; /* address, bytes */

bool is_pinned(const void *p, size_t bytes) {
    auto it = pinned.upper_bound((uintptr_t)p);
    if (it == pinned.begin()) return false;
    --it;
    return (uintptr_t)p + bytes <= it->first + it->second;
}

void copy_now(void *to, const void *from, size_t bytes) {
    if (sg_is_device(to) && sg_is_device(from)) sg_copy((uint64_t)to, (uint64_t)from, bytes);
    else if (sg_is_device(to)) sg_copy_in((uint64_t)to, from, bytes);
    else if (sg_is_device(from)) sg_copy_out(to, (uint64_t)from, bytes);
    else memmove(to, from, bytes);
}

/* Does the kind fit the pointers, and do they hold so many bytes? */
cudaError_t check_copy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    const bool td = sg_is_device(to), fd = sg_is_device(from);
    const bool fits = kind == cudaMemcpyDefault || (kind == cudaMemcpyHostToDevice && td && !fd) ||
                      (kind == cudaMemcpyDeviceToHost && !td && fd) ||
                      (kind == cudaMemcpyDeviceToDevice && td && fd) ||
                      (kind == cudaMemcpyHostToHost && !td && !fd);
    if (!fits) {
        complain("a copy of kind %d from %p to %p: the kind does not fit the pointers", (int)kind,
                 from, to);
        return remember(cudaErrorInvalidMemcpyDirection);
    }
    for (const void *p : {(const void *)to, from})
        if (bytes && sg_is_device(p) && !sg_host_view((uint64_t)p, bytes)) {
            complain("out of bounds: a copy of %zu bytes %s device address %p", bytes,
                     p == from ? "from" : "to", p);
            return remember(cudaErrorInvalidValue);
        }
    return cudaSuccess;
}

cudaError_t copy_async(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                       cudaStream_t stream) {
    Lock lock;
    if (const cudaError_t e = check_copy(to, from, bytes, kind)) return e;
    const bool captures = is_capturing(stream);
    if (!captures && !sg_is_device(from) && !is_pinned(from, bytes)) {
        const auto staged = std::make_shared<std::vector<char>>((const char *)from,
                                                                (const char *)from + bytes);
        return submit(stream, [=] { copy_now(to, staged->data(), bytes); });
    }
    const cudaError_t e = submit(stream, [=] { copy_now(to, from, bytes); });
    if (e || captures || sg_is_device(to) || is_pinned(to, bytes)) return e;
    return drain(stream);
}

} // namespace
} // namespace sg

using namespace sg;

extern "C" {

cudaError_t cudaMalloc(void **p, size_t bytes) {
    Lock lock;
    start_runtime();
    cudaError_t e;
    *p = nullptr;
    if (forbidden_in_capture(&e)) return e;
    if (!bytes) return cudaSuccess;
    *p = (void *)sg_malloc(bytes);
    return *p ? cudaSuccess : remember(cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void *p) {
    Lock lock;
    cudaError_t e = cudaSuccess;
    if (!p) return cudaSuccess;
    if (forbidden_in_capture(&e) || (e = drain_device())) return e; /* the driver waits, too */
    return sg_free((uint64_t)p) ? remember(cudaErrorInvalidValue) : cudaSuccess;
}
cudaError_t cudaMallocAsync(void **p, size_t bytes, cudaStream_t) { return cudaMalloc(p, bytes); }
cudaError_t cudaFreeAsync(void *p, cudaStream_t stream) {
    Lock lock;
    return submit(stream, [=] { sg_free((uint64_t)p); });
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) {
    Lock lock;
    start_runtime();
    *p = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*p) return remember(cudaErrorMemoryAllocation);
    memset(*p, 0xA5, bytes); /* nobody may rely on zeros */
    pinned[(uintptr_t)*p] = bytes;
    return cudaSuccess;
}
cudaError_t cudaMallocHost(void **p, size_t bytes) { return cudaHostAlloc(p, bytes, 0); }
cudaError_t cudaFreeHost(void *p) {
    Lock lock;
    if (!p) return cudaSuccess;
    if (const cudaError_t e = drain_device()) return e;
    if (!pinned.erase((uintptr_t)p)) {
        complain("cudaFreeHost of %p, which cudaHostAlloc did not give", p);
        return remember(cudaErrorInvalidValue);
    }
    free(p);
    return cudaSuccess;
}
cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned) {
    Lock lock;
    if (pinned.count((uintptr_t)p)) return remember(cudaErrorHostMemoryAlreadyRegistered);
    pinned[(uintptr_t)p] = bytes;
    return cudaSuccess;
}
cudaError_t cudaHostUnregister(void *p) {
    Lock lock;
    if (const cudaError_t e = drain_device()) return e;
    return pinned.erase((uintptr_t)p) ? cudaSuccess : remember(cudaErrorHostMemoryNotRegistered);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    Lock lock;
    if (const cudaError_t e = check_copy(to, from, bytes, kind)) return e;
    return submit(nullptr, [=] { copy_now(to, from, bytes); });
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    return copy_async(to, from, bytes, kind, stream);
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream) {
    if (width > to_pitch || width > from_pitch) return remember(cudaErrorInvalidPitchValue);
    for (size_t i = 0; i < height; i++)
        if (const cudaError_t e = copy_async((char *)to + i * to_pitch,
                                             (const char *)from + i * from_pitch, width, kind,
                                             stream))
            return e;
    return cudaSuccess;
}
cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                         size_t width, size_t height, enum cudaMemcpyKind kind) {
    return cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, nullptr);
}
cudaError_t cudaMemcpyPeerAsync(void *to, int, const void *from, int, size_t bytes,
                                cudaStream_t stream) {
    return copy_async(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
cudaError_t cudaMemcpyPeer(void *to, int, const void *from, int, size_t bytes) {
    return cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToDevice);
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream) {
    Lock lock;
    if (!sg_host_view((uint64_t)p, bytes) && bytes) {
        complain("out of bounds: fill of %zu bytes at device address %p", bytes, p);
        return remember(cudaErrorInvalidValue);
    }
    return submit(stream, [=] { sg_fill((uint64_t)p, value, bytes); });
}
cudaError_t cudaMemset(void *p, int value, size_t bytes) {
    return cudaMemsetAsync(p, value, bytes, nullptr);
}

cudaError_t cudaMemcpyToSymbol(const void *symbol, const void *from, size_t bytes, size_t offset,
                               enum cudaMemcpyKind kind) {
    void *p;
    if (const cudaError_t e = cudaGetSymbolAddress(&p, symbol)) return e;
    return cudaMemcpy((char *)p + offset, from, bytes, kind);
}
cudaError_t cudaMemcpyFromSymbol(void *to, const void *symbol, size_t bytes, size_t offset,
                                 enum cudaMemcpyKind kind) {
    void *p;
    if (const cudaError_t e = cudaGetSymbolAddress(&p, symbol)) return e;
    return cudaMemcpy(to, (char *)p + offset, bytes, kind);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    Lock lock;
    *total = (size_t)option_value(Option::MEMORY_MIB) << 20;
    *free_bytes = *total - sg_live_bytes();
    return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
    Lock lock;
    memset(a, 0, sizeof *a);
    const bool on_device = sg_is_device(p);
    a->type = on_device         ? cudaMemoryTypeDevice
              : is_pinned(p, 1) ? cudaMemoryTypeHost
                                : cudaMemoryTypeUnregistered;
    a->devicePointer = on_device ? (void *)p : nullptr;
    a->hostPointer = on_device ? nullptr : (void *)p;
    return cudaSuccess;
}
}
