/* row.cuh - a row of up to 8192 floats (4096 where it is no multiple of 4), in the registers of one block.
 *
 * Every thread holds N elements as groups of VEC; group k of a thread is group k * blockDim + thread of the
 * row. Places behind the row's end hold 0 and are never written back. So a norm reads its row once,
 * however many sums it needs of it. */
#pragma once

#include "cuda/block.cuh"

enum { ROW_THREADS = 512 };

/* Elements a thread holds: single ones have more addresses, which need registers, too. */
template <int VEC> struct held {
    enum { COUNT = VEC == 4 ? 16 : 8, ROW_MAX = COUNT * ROW_THREADS };
};

/* Whether rows of `dim` elements can be held; `fours`: in groups of 4. */
static inline mn_status mn_row_check(const char *op, int64_t dim, bool fours) {
    const int64_t most = fours ? (int64_t)held<4>::ROW_MAX : (int64_t)held<1>::ROW_MAX;
    MN_CHECK(dim <= most, MN_ERR_UNSUPPORTED,
             "CUDA: %s of rows of %lld elements%s, at most %lld are possible", op, (long long)dim,
             fours ? "" : " that are no multiple of 4", (long long)most);
    return MN_OK;
}

/* Threads that hold a row of `dim` elements: whole warps. */
template <int VEC> static inline unsigned mn_row_threads(int64_t dim) {
    const int64_t threads = mn_ceil_div<int64_t>(dim, held<VEC>::COUNT);
    return (unsigned)(mn_ceil_div<int64_t>(threads, WARP) * WARP);
}

/* Blocks for rows that a kernel of about 96 registers a thread works off: what the processors hold at a time. */
template <int VEC>
static inline unsigned mn_row_blocks(const mn_stream *s, int64_t rows, int64_t dim) {
    const int64_t resident = 640 / mn_row_threads<VEC>(dim);
    const int64_t most = s->sm_count * (resident > 0 ? resident : 1);
    return (unsigned)(rows < most ? rows : most);
}

/* The column of a thread's held element j. */
template <int VEC> static __device__ __forceinline__ int held_column(int j) {
    return ((j / VEC) * (int)blockDim.x + (int)threadIdx.x) * VEC + j % VEC;
}

template <int VEC, int N>
static __device__ __forceinline__ void load_row(float (&v)[N], const float *row, int dim) {
#pragma unroll
    for (int j = 0; j < N; j += VEC) {
        const int c = held_column<VEC>(j);
        if (c < dim) {
            load_group<VEC>(&v[j], row + c);
        } else {
#pragma unroll
            for (int k = 0; k < VEC; k++) v[j + k] = 0;
        }
    }
}

template <int VEC, int N>
static __device__ __forceinline__ void store_row(float *row, const float (&v)[N], int dim) {
#pragma unroll
    for (int j = 0; j < N; j += VEC) {
        const int c = held_column<VEC>(j);
        if (c < dim) store_group<VEC>(row + c, &v[j]);
    }
}

template <int N> static __device__ __forceinline__ float held_sum(const float (&v)[N]) {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < N; j++) sum += v[j];
    return sum;
}

/* v -= mean, and 0 stays behind the row's end. */
template <int VEC, int N>
static __device__ __forceinline__ void subtract_mean(float (&v)[N], float mean, int dim) {
#pragma unroll
    for (int j = 0; j < N; j++) v[j] = held_column<VEC>(j) < dim ? v[j] - mean : 0;
}
