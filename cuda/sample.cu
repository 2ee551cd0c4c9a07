/* sample.cu - one id per row of logits, drawn with a given uniform number.
 *
 * The running sum is the CPU's: in double, in the order of the ids. A block owns a row; a thread owns a
 * run of neighbouring ids, a whole number of lines of 128 bytes, which the first-level cache holds
 * between its turns. Sums grow with every id that can be drawn and stay the same with all others, so that
 * such an id is never the first one above u. */
#include "cuda/block.cuh"

#include <cmath>

enum { BLOCK = 512, WARPS = BLOCK / WARP, LINE = 32 };

/* The largest logit of [begin, end) over all threads; -infinity for none. NaN is not looked for. */
static __device__ __forceinline__ float block_max(const float *row, int begin, int end,
                                                  float *maxima) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    float max = -INFINITY;
    for (int i = begin; i < end; i++) max = fmaxf(max, row[i]);
    max = warp_max(max);
    if (lane == 0) maxima[warp] = max;
    __syncthreads();
    return warp_max(lane < WARPS ? maxima[lane] : -INFINITY);
}

__global__ static void __launch_bounds__(BLOCK)
    sample_kernel(int32_t *id, const float *logits, const float *u, double temperature, int vocab) {
    __shared__ float maxima[WARPS];
    __shared__ double upto[BLOCK + 1]; /* sums of all ids below a thread's first */
    __shared__ int drawn;
    const float *row = logits + (int64_t)blockIdx.x * vocab;
    const int lines = (vocab + LINE - 1) / LINE, run = (lines + BLOCK - 1) / BLOCK * LINE;
    const int busy = (vocab + run - 1) / run; /* threads that have ids */
    const int begin = min((int)threadIdx.x * run, vocab), end = min(begin + run, vocab);
    const double max = (double)block_max(row, begin, end, maxima);
    double sum = 0;
    for (int i = begin; i < end; i++) sum += exp(((double)row[i] - max) / temperature);
    upto[threadIdx.x + 1] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        drawn = vocab - 1; /* of a row with NaN */
        upto[0] = 0;
        for (int t = 0; t < busy; t++) upto[t + 1] += upto[t];
    }
    __syncthreads();
    const double limit = (double)u[blockIdx.x] * upto[busy], below = upto[threadIdx.x];
    if (begin < end && below <= limit && upto[threadIdx.x + 1] > limit) { /* in one thread */
        int i = begin;
        double seen = 0;
        for (; i < end; i++) {
            seen += exp(((double)row[i] - max) / temperature);
            if (below + seen > limit) break;
        }
        drawn = i;
    }
    __syncthreads();
    if (threadIdx.x == 0) id[blockIdx.x] = drawn;
}

extern "C" mn_status mn_cuda_sample(mn_stream *s, int32_t *id, const float *logits, const float *u,
                                    float temperature, int64_t rows, int64_t vocab) {
    if (rows == 0) return MN_OK;
    sample_kernel<<<(unsigned)rows, BLOCK, 0, s->stream>>>(id, logits, u, (double)temperature,
                                                           (int)vocab);
    MN_CUDA_LAUNCHED("sample");
    return MN_OK;
}
