/* loss.cu - cross entropy of rows of logits, and its gradient in their place.
 *
 * A block owns a row. It keeps the row on its processor, 32768 elements in registers and up to 24576
 * more in shared memory, so that a row of up to 57344 is read and written once, 8 bytes an element,
 * which is what must move; of a longer row, what lies behind is read twice more. Exponentials replace
 * the logits where these are kept. Elements that a thread keeps are read and written by it alone. */
#include "cuda/block.cuh"

#include <cmath>
#include <cuda_pipeline.h>

enum { BLOCK = 512, WARPS = BLOCK / WARP, HELD = 64, IN_REGISTERS = HELD * BLOCK };
enum { SHARED_MOST = 96 * 1024 }; /* what a block may have on every chip from sm_80 on: 99 KiB */

/* Where a row's elements are: [0, IN_REGISTERS), then up to `kept` in shared memory, then neither. */
typedef struct row_place {
    float *row, *shared;
    int vocab, kept;
} row_place;

template <int VEC> static __device__ __forceinline__ int held_column(int j) {
    return ((j / VEC) * BLOCK + (int)threadIdx.x) * VEC + j % VEC;
}

/* body(v, c) for each of the thread's groups of VEC elements at column c of [begin, end). */
template <int VEC, class BODY>
static __device__ __forceinline__ void each_group(int begin, int end, BODY body) {
    for (int c = begin + (int)threadIdx.x * VEC; c < end; c += BLOCK * VEC) body(c);
}

/* Starts the copies to shared memory, loads the registers, and returns the thread's largest element and
 * whether all are finite. Registers behind the row's end are left alone, here and below. */
template <int VEC>
static __device__ __forceinline__ float take_row(const row_place &p, float (&v)[HELD],
                                                 bool *finite) {
    each_group<VEC>(IN_REGISTERS, p.kept, [&](int c) {
        __pipeline_memcpy_async(p.shared + c - IN_REGISTERS, p.row + c, VEC * sizeof(float));
    });
    __pipeline_commit();
#pragma unroll
    for (int j = 0; j < HELD; j += VEC) {
        const int c = held_column<VEC>(j);
        if (c < p.vocab) load_group<VEC>(&v[j], p.row + c);
    }
    float max = -INFINITY;
    bool ok = true;
    const auto look = [&](const float *x) {
#pragma unroll
        for (int k = 0; k < VEC; k++) {
            ok = ok && isfinite(x[k]);
            max = fmaxf(max, x[k]);
        }
    };
    const auto look_at = [&](const float *from) {
        float x[VEC];
        load_group<VEC>(x, from);
        look(x);
    };
#pragma unroll
    for (int j = 0; j < HELD; j += VEC)
        if (held_column<VEC>(j) < p.vocab) look(&v[j]);
    each_group<VEC>(p.kept, p.vocab, [&](int c) { look_at(p.row + c); });
    __pipeline_wait_prior(0);
    each_group<VEC>(IN_REGISTERS, p.kept, [&](int c) { look_at(p.shared + c - IN_REGISTERS); });
    *finite = ok;
    return max;
}

/* exp(x - max) in the place of every x that is kept; their sum, with that of all others. */
template <int VEC>
static __device__ __forceinline__ float exponentials(const row_place &p, float (&v)[HELD],
                                                     float max) {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < HELD; j += VEC) {
        if (held_column<VEC>(j) >= p.vocab) continue;
#pragma unroll
        for (int k = 0; k < VEC; k++) sum += v[j + k] = expf(v[j + k] - max);
    }
    each_group<VEC>(IN_REGISTERS, p.kept, [&](int c) {
        float x[VEC];
        load_group<VEC>(x, p.shared + c - IN_REGISTERS);
#pragma unroll
        for (int k = 0; k < VEC; k++) sum += x[k] = expf(x[k] - max);
        store_group<VEC>(p.shared + c - IN_REGISTERS, x);
    });
    each_group<VEC>(p.kept, p.vocab, [&](int c) {
        float x[VEC];
        load_group<VEC>(x, p.row + c);
#pragma unroll
        for (int k = 0; k < VEC; k++) sum += expf(x[k] - max);
    });
    return sum;
}

/* factor * exp(x - max), less `scale` at the target. */
template <int VEC>
static __device__ __forceinline__ void write_gradient(const row_place &p, float (&v)[HELD],
                                                      float max, float factor, int target,
                                                      float scale) {
    const auto write = [&](int c, float *x) {
#pragma unroll
        for (int k = 0; k < VEC; k++) x[k] = x[k] * factor - (c + k == target ? scale : 0.0f);
        store_group<VEC>(p.row + c, x);
    };
#pragma unroll
    for (int j = 0; j < HELD; j += VEC)
        if (held_column<VEC>(j) < p.vocab) write(held_column<VEC>(j), &v[j]);
    each_group<VEC>(IN_REGISTERS, p.kept, [&](int c) {
        float x[VEC];
        load_group<VEC>(x, p.shared + c - IN_REGISTERS);
        write(c, x);
    });
    each_group<VEC>(p.kept, p.vocab, [&](int c) {
        float x[VEC];
        load_group<VEC>(x, p.row + c);
#pragma unroll
        for (int k = 0; k < VEC; k++) x[k] = expf(x[k] - max);
        write(c, x);
    });
}

template <int VEC>
__global__ static void __launch_bounds__(BLOCK, 1)
    cross_entropy_kernel(float *loss, float *logits, const int32_t *targets, float scale, int vocab,
                         int kept) {
    extern __shared__ float4 kept_elements[];
    __shared__ float maxima[WARPS], chosen;
    __shared__ block_sums<double, 1> sums;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const row_place p = {logits + (int64_t)blockIdx.x * vocab, (float *)kept_elements, vocab, kept};
    const int target = targets[blockIdx.x];
    if (threadIdx.x == 0) chosen = p.row[target]; /* before the gradient takes its place */
    float v[HELD];
    bool finite;
    const float high = warp_max(take_row<VEC>(p, v, &finite));
    if (lane == 0) maxima[warp] = high;
    finite = __syncthreads_and(finite);
    float max = warp_max(lane < WARPS ? maxima[lane] : -INFINITY);
    if (!finite) max = NAN; /* the row's loss and gradient become NaN */
    double sum[1] = {(double)exponentials<VEC>(p, v, max)};
    block_sum(sum, &sums, 0);
    write_gradient<VEC>(p, v, max, (float)((double)scale / sum[0]), target, scale);
    if (threadIdx.x == 0) loss[blockIdx.x] = (float)(log(sum[0]) + ((double)max - (double)chosen));
}

extern "C" mn_status mn_cuda_cross_entropy(mn_stream *s, float *loss, float *logits,
                                           const int32_t *targets, float scale, int64_t rows,
                                           int64_t vocab) {
    if (rows == 0) return MN_OK;
    const bool fours = mn_cuda_rows_aligned(logits, vocab);
    const auto kernel = fours ? cross_entropy_kernel<4> : cross_entropy_kernel<1>;
    const int64_t most = IN_REGISTERS + SHARED_MOST / (int64_t)sizeof(float);
    const int64_t end = vocab < most ? vocab : most;
    const int kept = (int)(end > IN_REGISTERS ? end : (int64_t)IN_REGISTERS);
    const size_t bytes = (size_t)(kept - IN_REGISTERS) * sizeof(float);
    MN_CUDA_TRY(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED_MOST));
    kernel<<<(unsigned)rows, BLOCK, bytes, s->stream>>>(loss, logits, targets, scale, (int)vocab,
                                                        kept);
    MN_CUDA_LAUNCHED("cross_entropy");
    return MN_OK;
}

/* ---- Slices of rows ----------------------------------------------------------------------------- */

/* A block owns the slice of a row, whose log-sum-exp is known: each element is read and written once, 8 bytes,
 * as must move. A thread owns its groups of elements. */
template <int VEC>
__global__ static void __launch_bounds__(BLOCK)
    cross_entropy_part_kernel(float *loss, float *logits, const mn_row_stat *stats,
                              const int32_t *targets, float scale, int64_t begin, int vocab) {
    float *row = logits + (int64_t)blockIdx.x * vocab;
    const float lse = stats[blockIdx.x].lse;
    const int64_t target = targets[blockIdx.x] - begin;
    if (threadIdx.x == 0 && (target < 0 || target >= vocab)) loss[blockIdx.x] = 0;
    each_group<VEC>(0, vocab, [&](int c) {
        float x[VEC];
        load_group<VEC>(x, row + c);
#pragma unroll
        for (int k = 0; k < VEC; k++) {
            if (c + k == target) loss[blockIdx.x] = lse - x[k];
            x[k] = scale * expf(x[k] - lse) - (c + k == target ? scale : 0.0f);
        }
        store_group<VEC>(row + c, x);
    });
}

extern "C" mn_status mn_cuda_cross_entropy_part(mn_stream *s, float *loss, float *logits,
                                                const mn_row_stat *stats, const int32_t *targets,
                                                float scale, int64_t begin, int64_t rows,
                                                int64_t vocab) {
    if (rows == 0) return MN_OK;
    const bool fours = mn_cuda_rows_aligned(logits, vocab);
    const auto kernel = fours ? cross_entropy_part_kernel<4> : cross_entropy_part_kernel<1>;
    kernel<<<(unsigned)rows, BLOCK, 0, s->stream>>>(loss, logits, stats, targets, scale, begin,
                                                    (int)vocab);
    MN_CUDA_LAUNCHED("cross_entropy_part");
    return MN_OK;
}
