/* row.cuh - a row of up to 8192 floats, held in the registers of one block.
 *
 * Every thread holds HELD elements as groups of VEC; group k of a thread is group k * blockDim + thread of
 * the row. Places behind the row's end hold 0 and are never written back. So a norm reads its row once,
 * however many sums it needs of it. */
#pragma once

#include "cuda/block.cuh"

enum { HELD = 16, ROW_THREADS = 512, ROW_MAX = HELD * ROW_THREADS };

/* Threads that hold a row of `dim`: whole warps, about 16 elements each. */
static inline unsigned mn_row_threads(int64_t dim) {
    return (unsigned)(mn_ceil_div(mn_ceil_div(dim, HELD), WARP) * WARP);
}

/* The column of a thread's held element j. */
template <int VEC> static __device__ __forceinline__ int held_column(int j) {
    return ((j / VEC) * (int)blockDim.x + (int)threadIdx.x) * VEC + j % VEC;
}

template <int VEC>
static __device__ __forceinline__ void load_row(float (&v)[HELD], const float *row, int dim) {
#pragma unroll
    for (int j = 0; j < HELD; j += VEC) {
        const int c = held_column<VEC>(j);
        if (c < dim) {
            load_group<VEC>(&v[j], row + c);
        } else {
#pragma unroll
            for (int k = 0; k < VEC; k++) v[j + k] = 0;
        }
    }
}

template <int VEC>
static __device__ __forceinline__ void store_row(float *row, const float (&v)[HELD], int dim) {
#pragma unroll
    for (int j = 0; j < HELD; j += VEC) {
        const int c = held_column<VEC>(j);
        if (c < dim) store_group<VEC>(row + c, &v[j]);
    }
}

static __device__ __forceinline__ float held_sum(const float (&v)[HELD]) {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < HELD; j++) sum += v[j];
    return sum;
}

/* v -= mean, and 0 stays behind the row's end. */
template <int VEC>
static __device__ __forceinline__ void subtract_mean(float (&v)[HELD], float mean, int dim) {
#pragma unroll
    for (int j = 0; j < HELD; j++) v[j] = held_column<VEC>(j) < dim ? v[j] - mean : 0;
}
