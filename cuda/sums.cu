/* sums.cu - sums over all elements, norms of rows, and the count of what is not finite.
 *
 * Squares of fp32 numbers are exact in double, and so are added there: 4 bytes an element move, as they
 * must, and one conversion and one double fma an element keep up with that on every chip (the slowest ones
 * do two of each per clock and processor). Orders of addition depend on n alone. */
#include "cuda/block.cuh"

enum { BLOCK = 256, MOST_BLOCKS = 1024, GROUPS = 4 };

template <int VEC> static __device__ __forceinline__ double group_squares(const float *x) {
    float v[VEC];
    double sum = 0;
    load_group<VEC>(v, x);
#pragma unroll
    for (int j = 0; j < VEC; j++) sum += (double)v[j] * (double)v[j];
    return sum;
}

/* A thread owns every (gridDim BLOCK)-th group, and the last one the n % VEC that are left. */
template <int VEC>
__global__ static void __launch_bounds__(BLOCK)
    square_sum_kernel(double *parts, const float *x, int64_t n) {
    __shared__ block_sums<double, 1> sums;
    const int64_t thread = (int64_t)blockIdx.x * BLOCK + threadIdx.x;
    const int64_t threads = (int64_t)gridDim.x * BLOCK, groups = n / VEC;
    double sum[1] = {0};
#pragma unroll 4
    for (int64_t g = thread; g < groups; g += threads) sum[0] += group_squares<VEC>(x + g * VEC);
    if (thread == threads - 1)
        for (int64_t i = groups * VEC; i < n; i++) sum[0] += (double)x[i] * (double)x[i];
    block_sum(sum, &sums, 0);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum[0];
}

/* One block: thread t adds the parts t, t + BLOCK, ... */
__global__ static void __launch_bounds__(BLOCK)
    add_parts_kernel(double *to, const double *parts, int count) {
    __shared__ block_sums<double, 1> sums;
    double sum[1] = {0};
    for (int i = (int)threadIdx.x; i < count; i += BLOCK) sum[0] += parts[i];
    block_sum(sum, &sums, 0);
    if (threadIdx.x == 0) *to += sum[0];
}

/* Blocks for n elements in groups of vec, GROUPS groups a thread. */
static unsigned blocks_for(int64_t n, int vec) {
    const int64_t blocks = mn_ceil_div<int64_t>(n, (int64_t)vec * GROUPS * BLOCK);
    return blocks < MOST_BLOCKS ? (unsigned)blocks : (unsigned)MOST_BLOCKS;
}

extern "C" mn_status mn_cuda_square_sum(mn_stream *s, double *sum, const float *x, int64_t n) {
    if (n == 0) return MN_OK;
    const bool fours = mn_cuda_aligned(x);
    const unsigned blocks = blocks_for(n, fours ? 4 : 1);
    double *parts;
    MN_TRY(mn_cuda_scratch(s, &parts, MOST_BLOCKS * sizeof *parts));
    if (fours) square_sum_kernel<4><<<blocks, BLOCK, 0, s->stream>>>(parts, x, n);
    else square_sum_kernel<1><<<blocks, BLOCK, 0, s->stream>>>(parts, x, n);
    MN_CUDA_LAUNCHED("square_sum");
    add_parts_kernel<<<1, BLOCK, 0, s->stream>>>(sum, parts, (int)blocks);
    MN_CUDA_LAUNCHED("square_sum");
    return MN_OK;
}

/* A block owns a row. */
template <int VEC>
__global__ static void __launch_bounds__(BLOCK)
    row_norms_kernel(float *norm, const float *x, int64_t dim) {
    __shared__ block_sums<double, 1> sums;
    const float *row = x + (int64_t)blockIdx.x * dim;
    double sum[1] = {0};
#pragma unroll 4
    for (int64_t c = (int64_t)threadIdx.x * VEC; c < dim; c += (int64_t)BLOCK * VEC)
        sum[0] += group_squares<VEC>(row + c);
    block_sum(sum, &sums, 0);
    if (threadIdx.x == 0) norm[blockIdx.x] = (float)sqrt(sum[0]);
}

extern "C" mn_status mn_cuda_row_norms(mn_stream *s, float *norm, const float *x, int64_t rows,
                                       int64_t dim) {
    if (rows == 0) return MN_OK;
    const unsigned blocks = (unsigned)rows;
    if (mn_cuda_rows_aligned(x, dim))
        row_norms_kernel<4><<<blocks, BLOCK, 0, s->stream>>>(norm, x, dim);
    else row_norms_kernel<1><<<blocks, BLOCK, 0, s->stream>>>(norm, x, dim);
    MN_CUDA_LAUNCHED("row_norms");
    return MN_OK;
}

/* Integers add up to the same in any order, so that blocks may add to the count as they end. */
template <int VEC>
__global__ static void __launch_bounds__(BLOCK)
    count_nonfinite_kernel(unsigned long long *count, const float *x, int64_t n) {
    __shared__ block_sums<int, 1> sums;
    const int64_t thread = (int64_t)blockIdx.x * BLOCK + threadIdx.x;
    const int64_t threads = (int64_t)gridDim.x * BLOCK, groups = n / VEC;
    int bad[1] = {0};
#pragma unroll 4
    for (int64_t g = thread; g < groups; g += threads) {
        float v[VEC];
        load_group<VEC>(v, x + g * VEC);
#pragma unroll
        for (int j = 0; j < VEC; j++) bad[0] += !isfinite(v[j]);
    }
    if (thread == threads - 1)
        for (int64_t i = groups * VEC; i < n; i++) bad[0] += !isfinite(x[i]);
    block_sum(bad, &sums, 0);
    if (threadIdx.x == 0 && bad[0] > 0) atomicAdd(count, (unsigned long long)bad[0]);
}

extern "C" mn_status mn_cuda_count_nonfinite(mn_stream *s, int64_t *count, const float *x,
                                             int64_t n) {
    if (n == 0) return MN_OK;
    static_assert(sizeof(unsigned long long) == sizeof *count, "atomicAdd on int64_t");
    unsigned long long *to = (unsigned long long *)count;
    if (mn_cuda_aligned(x))
        count_nonfinite_kernel<4><<<blocks_for(n, 4), BLOCK, 0, s->stream>>>(to, x, n);
    else count_nonfinite_kernel<1><<<blocks_for(n, 1), BLOCK, 0, s->stream>>>(to, x, n);
    MN_CUDA_LAUNCHED("count_nonfinite");
    return MN_OK;
}
