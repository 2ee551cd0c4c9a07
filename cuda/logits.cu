/* logits.cu - what is read off rows of logits: log-sum-exp, arg-max, candidates, differences.
 *
 * A block owns a row and reads it once: 4 bytes an element, as it must. */
#include "cuda/block.cuh"

#include <climits>
#include <cmath>

enum { BLOCK = 512, WARPS = BLOCK / WARP, AHEAD = 4 };

/* The largest value so far, the lowest column that has it, and the sum of exp(x - max). */
typedef struct running {
    float max, sum;
    int id;
    bool finite;
} running;

/* A new maximum rescales the sum: one more exp per group of VEC at most. Columns come in rising order. */
template <int VEC>
static __device__ __forceinline__ void take_group(running *r, const float *v, int column) {
    float high = v[0];
#pragma unroll
    for (int j = 0; j < VEC; j++) {
        r->finite = r->finite && isfinite(v[j]);
        high = fmaxf(high, v[j]);
    }
    if (high > r->max) {
        r->sum *= expf(r->max - high); /* 0 for the first group, whose maximum was -infinity */
        r->max = high;
#pragma unroll
        for (int j = VEC - 1; j >= 0; j--) r->id = v[j] == high ? column + j : r->id;
    }
#pragma unroll
    for (int j = 0; j < VEC; j++) r->sum += expf(v[j] - r->max);
}

/* A thread owns every BLOCK-th group; it loads AHEAD of them before it looks at the first. */
template <int VEC> static __device__ __forceinline__ running take_row(const float *row, int vocab) {
    running r = {-INFINITY, 0, INT_MAX, true};
    int c = (int)threadIdx.x * VEC;
    for (; c + (AHEAD - 1) * BLOCK * VEC < vocab; c += AHEAD * BLOCK * VEC) {
        float v[AHEAD][VEC];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) load_group<VEC>(v[k], row + c + k * BLOCK * VEC);
#pragma unroll
        for (int k = 0; k < AHEAD; k++) take_group<VEC>(&r, v[k], c + k * BLOCK * VEC);
    }
    for (; c < vocab; c += BLOCK * VEC) {
        float v[VEC];
        load_group<VEC>(v, row + c);
        take_group<VEC>(&r, v, c);
    }
    return r;
}

template <int VEC>
__global__ static void __launch_bounds__(BLOCK)
    row_stats_kernel(mn_row_stat *stats, const float *logits, int begin, int vocab) {
    __shared__ float maxima[WARPS];
    __shared__ double sums[WARPS];
    __shared__ int ids[WARPS];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const running r = take_row<VEC>(logits + (int64_t)blockIdx.x * vocab, vocab);
    const float high = warp_max(r.max);
    if (lane == 0) maxima[warp] = high;
    const bool finite = __syncthreads_and(r.finite);
    const float max = warp_max(lane < WARPS ? maxima[lane] : -INFINITY);
    const double sum = warp_sum(r.sum > 0 ? (double)(r.sum * expf(r.max - max)) : 0.0);
    const int id = warp_min(r.max == max ? r.id : INT_MAX);
    if (lane == 0) {
        sums[warp] = sum;
        ids[warp] = id;
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    double total = 0;
    int best = INT_MAX;
    for (int w = 0; w < WARPS; w++) {
        total += sums[w];
        best = min(best, ids[w]);
    }
    mn_row_stat stat = {NAN, NAN, 0};
    if (finite) {
        stat.lse = (float)((double)max + log(total));
        stat.best = max;
        stat.best_id = begin + best;
    }
    stats[blockIdx.x] = stat;
}

extern "C" mn_status mn_cuda_row_stats(mn_stream *s, mn_row_stat *stats, const float *logits,
                                       int64_t begin, int64_t rows, int64_t vocab) {
    if (rows == 0) return MN_OK;
    const bool fours = mn_cuda_rows_aligned(logits, vocab);
    const auto kernel = fours ? row_stats_kernel<4> : row_stats_kernel<1>;
    kernel<<<(unsigned)rows, BLOCK, 0, s->stream>>>(stats, logits, (int)begin, (int)vocab);
    MN_CUDA_LAUNCHED("row_stats");
    return MN_OK;
}

/* A thread owns a row; slices come by rising ids, so of equal values the first one stays. */
__global__ static void __launch_bounds__(BLOCK)
    row_stats_merge_kernel(mn_row_stat *stats, const mn_row_stat *parts, int64_t slices,
                           int64_t rows) {
    const int64_t r = (int64_t)blockIdx.x * BLOCK + threadIdx.x;
    if (r >= rows) return;
    mn_row_stat all = parts[r];
    bool broken = isnan(all.lse);
    for (int64_t i = 1; i < slices; i++) {
        const mn_row_stat p = parts[i * rows + r];
        broken = broken || isnan(p.lse);
        if (p.best > all.best) all = p;
    }
    double sum = 0;
    for (int64_t i = 0; i < slices; i++)
        sum += exp((double)parts[i * rows + r].lse - (double)all.best);
    all.lse = (float)((double)all.best + log(sum));
    const mn_row_stat none = {NAN, NAN, 0};
    stats[r] = broken ? none : all;
}

extern "C" mn_status mn_cuda_row_stats_merge(mn_stream *s, mn_row_stat *stats,
                                             const mn_row_stat *parts, int64_t slices,
                                             int64_t rows) {
    if (rows == 0) return MN_OK;
    row_stats_merge_kernel<<<(unsigned)mn_ceil_div<int64_t>(rows, BLOCK), BLOCK, 0, s->stream>>>(
        stats, parts, slices, rows);
    MN_CUDA_LAUNCHED("row_stats_merge");
    return MN_OK;
}

/* ---- Candidates --------------------------------------------------------------------------------- */

/* A thread owns one candidate. */
__global__ static void __launch_bounds__(BLOCK)
    logprob_gather_kernel(float *out, const float *logits, const mn_row_stat *stats,
                          const int32_t *row, const int32_t *id, int64_t begin, int64_t count,
                          int64_t vocab) {
    const int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x;
    if (i >= count) return;
    const int64_t at = id[i] - begin;
    const bool here = at >= 0 && at < vocab;
    out[i] = here ? logits[row[i] * vocab + at] - stats[row[i]].lse : 0.0f;
}

extern "C" mn_status mn_cuda_logprob_gather(mn_stream *s, float *out, const float *logits,
                                            const mn_row_stat *stats, const int32_t *row,
                                            const int32_t *id, int64_t begin, int64_t count,
                                            int64_t vocab) {
    if (count == 0) return MN_OK;
    logprob_gather_kernel<<<(unsigned)mn_ceil_div<int64_t>(count, BLOCK), BLOCK, 0, s->stream>>>(
        out, logits, stats, row, id, begin, count, vocab);
    MN_CUDA_LAUNCHED("logprob_gather");
    return MN_OK;
}

/* ---- Differences -------------------------------------------------------------------------------- */

template <int VEC>
__global__ static void __launch_bounds__(BLOCK)
    row_difference_kernel(float *out, const float *x, const float *y, int64_t dim) {
    __shared__ float maxima[WARPS];
    const float *a = x + (int64_t)blockIdx.x * dim, *b = y + (int64_t)blockIdx.x * dim;
    float max = 0;
    bool finite = true;
#pragma unroll 2
    for (int64_t c = (int64_t)threadIdx.x * VEC; c < dim; c += BLOCK * VEC) {
        float u[VEC], v[VEC];
        load_group<VEC>(u, a + c);
        load_group<VEC>(v, b + c);
#pragma unroll
        for (int j = 0; j < VEC; j++) {
            const float d = fabsf(u[j] - v[j]);
            finite = finite && isfinite(d);
            max = fmaxf(max, d);
        }
    }
    max = warp_max(max);
    if (threadIdx.x % WARP == 0) maxima[threadIdx.x / WARP] = max;
    finite = __syncthreads_and(finite);
    if (threadIdx.x > 0) return;
    for (int w = 1; w < WARPS; w++) max = fmaxf(max, maxima[w]);
    out[blockIdx.x] = finite ? max : NAN;
}

extern "C" mn_status mn_cuda_row_difference(mn_stream *s, float *out, const float *x,
                                            const float *y, int64_t rows, int64_t dim) {
    if (rows == 0) return MN_OK;
    if (mn_cuda_rows_aligned(x, dim) && mn_cuda_aligned(y))
        row_difference_kernel<4><<<(unsigned)rows, BLOCK, 0, s->stream>>>(out, x, y, dim);
    else row_difference_kernel<1><<<(unsigned)rows, BLOCK, 0, s->stream>>>(out, x, y, dim);
    MN_CUDA_LAUNCHED("row_difference");
    return MN_OK;
}
