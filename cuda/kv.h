/* kv.h (internal) - the layout of keys and values in CUDA's cache: fp16, (rows, kv_heads, D), D rounded up to
 * eight so that every head begins at a multiple of 16 bytes. What fills a head up is zero. */
#ifndef MNEME_CUDA_KV_H
#define MNEME_CUDA_KV_H

#include <stdint.h>

#ifdef __CUDACC__
__host__ __device__
#endif
    static inline int64_t
    mn_cuda_kv_width(int64_t head_dim) {
    return (head_dim + 7) / 8 * 8;
}

#endif
