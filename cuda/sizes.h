/* sizes.h - what lies in CUDA's memory beside arenas, and how large keys and values are there: for the backend, and for
 * host/tally, which plans its memory without it. */
#ifndef MNEME_CUDA_SIZES_H
#define MNEME_CUDA_SIZES_H

#include "cuda/kv.h"

#include <stddef.h>
#include <stdint.h>

/* Workspace of the kernels that is always there. */
enum { MN_CUDA_SCRATCH = 32 << 20 };
/* cuBLASLt may split a long sum into parts, which meet there; NVIDIA recommends 32 MiB from sm_90 on. */
enum { MN_CUDA_LINEAR_WORKSPACE = 32 << 20 };

/* Room on the device in which copies from the host land before their turn comes (copies.cu). */
enum { MN_CUDA_SLOTS = 8, MN_CUDA_SLOT_BYTES = 4 << 20 };

/* mn_device.reserve(rows, width) adds what is proportional to a batch: rows x width floats. */
static inline size_t mn_cuda_scratch_bytes(int64_t rows, int64_t width) {
    return MN_CUDA_SCRATCH + (size_t)(rows * width) * sizeof(float);
}

/* Of K or of V of one layer, in fp16: mn_device.kv_bytes. */
static inline size_t mn_cuda_kv_bytes(int64_t rows, int64_t kv_heads, int64_t head_dim) {
    return (size_t)(rows * kv_heads * mn_cuda_kv_width(head_dim)) * 2;
}

#endif
