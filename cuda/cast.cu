/* cast.cu - elements of one float type to another, and rows of a table by number.
 *
 * A thread owns groups of 4 neighbouring elements: 16 bytes of fp32, 8 bytes of fp16 or bf16, so that a
 * warp reads and writes whole sectors in order, each once. Numbers go through fp32: fp16 and bf16 lie in it. */
#include "cuda/block.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

enum { BLOCK = 256 };

static __device__ __forceinline__ float widen(float x) { return x; }
static __device__ __forceinline__ float widen(__half x) { return __half2float(x); }
static __device__ __forceinline__ float widen(__nv_bfloat16 x) { return __bfloat162float(x); }

static __device__ __forceinline__ void narrow(float *y, float x) { *y = x; }
static __device__ __forceinline__ void narrow(__half *y, float x) { *y = __float2half_rn(x); }
static __device__ __forceinline__ void narrow(__nv_bfloat16 *y, float x) {
    *y = __float2bfloat16_rn(x);
}

/* Four elements that move as one. */
template <class T> struct alignas(4 * sizeof(T)) four { T v[4]; };

template <int VEC, class T>
static __device__ __forceinline__ void read_group(float *v, const T *p) {
    if (VEC == 4) {
        const four<T> q = *(const four<T> *)p;
#pragma unroll
        for (int j = 0; j < VEC; j++) v[j] = widen(q.v[j]);
    } else {
        v[0] = widen(*p);
    }
}

template <int VEC, class T>
static __device__ __forceinline__ void write_group(T *p, const float *v) {
    if (VEC == 4) {
        four<T> q;
#pragma unroll
        for (int j = 0; j < VEC; j++) narrow(&q.v[j], v[j]);
        *(four<T> *)p = q;
    } else {
        narrow(p, v[0]);
    }
}

/* A whole group of four elements begins at p. */
template <class T> static bool grouped(const T *p) { return (uintptr_t)p % (4 * sizeof(T)) == 0; }

/* ---- Casts -------------------------------------------------------------------------------------- */

template <int VEC, class TO, class FROM>
__global__ static void __launch_bounds__(BLOCK) cast_kernel(TO *y, const FROM *x, int64_t n) {
    const int64_t i = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) * VEC;
    float v[VEC];
    if (i + VEC <= n) {
        read_group<VEC>(v, x + i);
        write_group<VEC>(y + i, v);
    } else {
        for (int64_t j = i; j < n; j++) narrow(&y[j], widen(x[j]));
    }
}

template <class TO, class FROM>
static mn_status cast_to(mn_stream *s, TO *y, const FROM *x, int64_t n) {
    const bool fours = grouped(x) && grouped(y);
    const unsigned blocks = (unsigned)mn_ceil_div<int64_t>(n, fours ? 4 * BLOCK : BLOCK);
    if (fours) cast_kernel<4><<<blocks, BLOCK, 0, s->stream>>>(y, x, n);
    else cast_kernel<1><<<blocks, BLOCK, 0, s->stream>>>(y, x, n);
    MN_CUDA_LAUNCHED("cast");
    return MN_OK;
}

template <class TO>
static mn_status cast_from(mn_stream *s, TO *y, const void *x, mn_dtype from, int64_t n) {
    if (from == MN_F32) return cast_to(s, y, (const float *)x, n);
    if (from == MN_F16) return cast_to(s, y, (const __half *)x, n);
    return cast_to(s, y, (const __nv_bfloat16 *)x, n);
}

extern "C" mn_status mn_cuda_cast(mn_stream *s, void *y, mn_dtype to, const void *x, mn_dtype from,
                                  int64_t n) {
    if (n == 0) return MN_OK;
    if (to == MN_F32) return cast_from(s, (float *)y, x, from, n);
    if (to == MN_F16) return cast_from(s, (__half *)y, x, from, n);
    return cast_from(s, (__nv_bfloat16 *)y, x, from, n);
}

/* ---- Rows of a table ---------------------------------------------------------------------------- */

/* A block owns a row of y: row ids[row] - begin of the table, in fp32, or zeros where that has no such row. */
template <int VEC, class T>
__global__ static void __launch_bounds__(BLOCK)
    take_rows_kernel(float *y, const T *table, const int32_t *ids, int64_t begin, int64_t count,
                     int64_t dim) {
    const int64_t row = ids[blockIdx.x] - begin;
    const T *from = table + row * dim;
    float *to = y + (int64_t)blockIdx.x * dim;
    if (row < 0 || row >= count) {
        const float none[VEC] = {};
        for (int64_t c = (int64_t)threadIdx.x * VEC; c < dim; c += (int64_t)blockDim.x * VEC)
            store_group<VEC>(to + c, none);
        return;
    }
#pragma unroll 4
    for (int64_t c = (int64_t)threadIdx.x * VEC; c < dim; c += (int64_t)blockDim.x * VEC) {
        float v[VEC];
        read_group<VEC>(v, from + c);
        store_group<VEC>(to + c, v);
    }
}

template <class T>
static mn_status take_rows(mn_stream *s, const char *name, float *y, const T *table,
                           const int32_t *ids, int64_t begin, int64_t count, int64_t rows,
                           int64_t dim) {
    if (rows == 0 || dim == 0) return MN_OK;
    const bool fours = grouped(table) && mn_cuda_rows_aligned(y, dim);
    const int64_t wanted = mn_ceil_div<int64_t>(fours ? dim / 4 : dim, WARP) * WARP;
    const unsigned threads = wanted < BLOCK ? (unsigned)wanted : (unsigned)BLOCK;
    const auto kernel = fours ? take_rows_kernel<4, T> : take_rows_kernel<1, T>;
    kernel<<<(unsigned)rows, threads, 0, s->stream>>>(y, table, ids, begin, count, dim);
    MN_CUDA_LAUNCHED(name);
    return MN_OK;
}

extern "C" mn_status mn_cuda_embed_fwd(mn_stream *s, float *x, const void *table, mn_dtype dtype,
                                       const int32_t *ids, int64_t begin, int64_t vocab,
                                       int64_t tokens, int64_t dim) {
    const auto take = [&](const auto *rows) {
        return take_rows(s, "embed_fwd", x, rows, ids, begin, vocab, tokens, dim);
    };
    if (dtype == MN_F32) return take((const float *)table);
    if (dtype == MN_F16) return take((const __half *)table);
    return take((const __nv_bfloat16 *)table);
}

extern "C" mn_status mn_cuda_gather_fwd(mn_stream *s, float *y, const float *x, const int32_t *rows,
                                        int64_t m, int64_t dim) {
    return take_rows(s, "gather_fwd", y, x, rows, 0, INT64_MAX, m, dim);
}
