/* block.cuh - what kernels over rows and elements share: accesses of 16 bytes, sums over a block.
 *
 * A thread reads and writes groups of VEC elements: 4 where every address is a multiple of 4 elements
 * (mn_cuda_aligned), else 1, so that a warp always covers whole sectors of 32 bytes in order. Sums over a
 * block take a fixed way through lanes and warps: they depend on the block's size alone. */
#pragma once

#include "cuda/stream.h"

#include <cstdint>

enum { WARP = 32, MAX_WARPS = 32 };
static const unsigned ALL_LANES = 0xFFFFFFFFu;

static inline bool mn_cuda_aligned(const void *p) { return ((uintptr_t)p & 15) == 0; }

/* Rows of `dim` floats from `p` on all begin at multiples of 16 bytes. */
static inline bool mn_cuda_rows_aligned(const void *p, int64_t dim) {
    return mn_cuda_aligned(p) && dim % 4 == 0;
}

/* ---- Groups of VEC elements --------------------------------------------------------------------- */

template <int VEC> static __device__ __forceinline__ void load_group(float *v, const float *p) {
    if (VEC == 4) {
        const float4 q = *(const float4 *)p;
        v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
    } else {
        v[0] = *p;
    }
}

template <int VEC> static __device__ __forceinline__ void store_group(float *p, const float *v) {
    if (VEC == 4) *(float4 *)p = make_float4(v[0], v[1], v[2], v[3]);
    else *p = v[0];
}

/* ---- Sums --------------------------------------------------------------------------------------- */

/* Every lane gets the sum: at each step two lanes add the same two numbers. */
template <class T> static __device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

static __device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

static __device__ __forceinline__ int warp_min(int x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) x = min(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

/* Sums of N numbers over the block, for every thread. Two places take turns: a place is written
 * again only behind the barrier of the other one's sum, when all have read it. */
template <class T, int N> struct block_sums { T part[2][N][MAX_WARPS]; };

template <class T, int N>
static __device__ __forceinline__ void block_sum(T (&x)[N], block_sums<T, N> *at, int turn) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = warp_sum(x[i]);
    if (warps == 1) return;
    if (lane == 0) {
#pragma unroll
        for (int i = 0; i < N; i++) at->part[turn][i][warp] = x[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = warp_sum(lane < warps ? at->part[turn][i][lane] : T(0));
}
