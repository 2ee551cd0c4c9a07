/* linear_rows.cu - what stands in front of and behind a matrix product: rounding of its inputs, bias
 * and GELU, sums over columns. */
#include "cuda/linear.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <math.h>

/* ---- Rounding ----------------------------------------------------------------------------------- */

/* Four warps: enough to hide latency at eight elements a thread, and small matrices still fill several
 * multiprocessors. */
enum { ROUND_BLOCK = 128 };
static const int64_t MAX_GRID_Y = 65535;

template <typename T> __device__ static T rounded(float x);
template <> __device__ __half rounded<__half>(float x) { return __float2half_rn(x); }
template <> __device__ __nv_bfloat16 rounded<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}

/* A thread owns WIDE neighbours of a row: with WIDE = 8 it reads two and writes one 16-byte word. Blocks
 * along y take every gridDim.y-th row. Bytes: 6 an element, each moved once. */
template <typename T, int WIDE>
__global__ static void __launch_bounds__(ROUND_BLOCK)
    narrow_kernel(T *__restrict__ to, const float *__restrict__ from, int64_t ld, int64_t rows,
                  int64_t cols) {
    const int64_t col = ((int64_t)blockIdx.x * ROUND_BLOCK + threadIdx.x) * WIDE;
    if (col >= cols) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        float x[WIDE];
        alignas(16) T y[WIDE];
        if (WIDE == 8) {
            const float4 *in = reinterpret_cast<const float4 *>(from + row * ld + col);
            const float4 low = in[0], high = in[1];
            x[0] = low.x, x[1 % WIDE] = low.y, x[2 % WIDE] = low.z, x[3 % WIDE] = low.w;
            x[4 % WIDE] = high.x, x[5 % WIDE] = high.y, x[6 % WIDE] = high.z, x[7 % WIDE] = high.w;
        } else {
            x[0] = from[row * ld + col];
        }
#pragma unroll
        for (int i = 0; i < WIDE; i++) y[i] = rounded<T>(x[i]);
        if (WIDE == 8)
            *reinterpret_cast<uint4 *>(to + row * cols + col) = *reinterpret_cast<const uint4 *>(y);
        else to[row * cols + col] = y[0];
    }
}

template <typename T>
static mn_status narrow(mn_stream *s, T *to, const float *from, int64_t ld, int64_t rows,
                        int64_t cols) {
    const bool wide = cols % 8 == 0 && ld % 4 == 0 && (uintptr_t)from % 16 == 0;
    const int64_t per_block = ROUND_BLOCK * (wide ? 8 : 1);
    const dim3 grid((unsigned)mn_ceil_div(cols, per_block),
                    (unsigned)(rows < MAX_GRID_Y ? rows : MAX_GRID_Y));
    if (wide) narrow_kernel<T, 8><<<grid, ROUND_BLOCK, 0, s->stream>>>(to, from, ld, rows, cols);
    else narrow_kernel<T, 1><<<grid, ROUND_BLOCK, 0, s->stream>>>(to, from, ld, rows, cols);
    MN_CUDA_LAUNCHED("narrow_kernel");
    return MN_OK;
}

mn_status mn_cuda_narrow(mn_stream *s, void *to, mn_dtype dtype, const float *from, int64_t ld,
                         int64_t rows, int64_t cols) {
    if (dtype == MN_F16) return narrow(s, (__half *)to, from, ld, rows, cols);
    return narrow(s, (__nv_bfloat16 *)to, from, ld, rows, cols);
}

/* ---- Bias and GELU ------------------------------------------------------------------------------ */

enum { GELU_BLOCK = 128 };

/* gelu(x) = x/2 (1 + erf(x / sqrt 2)) (Hendrycks and Gimpel 2016). */
__device__ static float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

/* A thread owns WIDE neighbours of a row, in one 16-byte word with WIDE = 4. Bytes: 8 an element, each moved
 * once, and the bias from the cache. */
template <int WIDE>
__global__ static void __launch_bounds__(GELU_BLOCK)
    bias_gelu_kernel(float *__restrict__ y, int64_t ld, const float *__restrict__ bias,
                     int64_t rows, int64_t cols) {
    const int64_t col = ((int64_t)blockIdx.x * GELU_BLOCK + threadIdx.x) * WIDE;
    if (col >= cols) return;
    float b[WIDE];
#pragma unroll
    for (int i = 0; i < WIDE; i++) b[i] = bias ? bias[col + i] : 0.0f;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        float *at = y + row * ld + col;
        if (WIDE == 4) {
            float4 v = *reinterpret_cast<const float4 *>(at);
            v.x = gelu(v.x + b[0]);
            v.y = gelu(v.y + b[1 % WIDE]);
            v.z = gelu(v.z + b[2 % WIDE]);
            v.w = gelu(v.w + b[3 % WIDE]);
            *reinterpret_cast<float4 *>(at) = v;
        } else {
            *at = gelu(*at + b[0]);
        }
    }
}

mn_status mn_cuda_bias_gelu(mn_stream *s, float *y, int64_t ld, const float *bias, int64_t rows,
                            int64_t cols) {
    const bool wide = cols % 4 == 0 && ld % 4 == 0 && (uintptr_t)y % 16 == 0;
    const int64_t per_block = GELU_BLOCK * (wide ? 4 : 1);
    const dim3 grid((unsigned)mn_ceil_div(cols, per_block),
                    (unsigned)(rows < MAX_GRID_Y ? rows : MAX_GRID_Y));
    if (wide) bias_gelu_kernel<4><<<grid, GELU_BLOCK, 0, s->stream>>>(y, ld, bias, rows, cols);
    else bias_gelu_kernel<1><<<grid, GELU_BLOCK, 0, s->stream>>>(y, ld, bias, rows, cols);
    MN_CUDA_LAUNCHED("bias_gelu_kernel");
    return MN_OK;
}

/* ---- Sums over columns -------------------------------------------------------------------------- */

enum { SUM_COLS = 32, SUM_WARPS = 32 };

/* A block owns 32 columns. Each of its warps adds every 32nd row, a lane one column (128 bytes a row
 * together); then the first warp adds the 32 partial sums of its lane's column in order of warps: the
 * order is that of the rows alone. Bytes: 4 an element, each moved once. */
__global__ static void __launch_bounds__(SUM_COLS *SUM_WARPS)
    column_sums_kernel(float *__restrict__ sum, const float *__restrict__ x, int64_t ld,
                       int64_t rows, int64_t cols) {
    __shared__ float part[SUM_WARPS][SUM_COLS];
    const int lane = (int)threadIdx.x % SUM_COLS, warp = (int)threadIdx.x / SUM_COLS;
    const int64_t col = (int64_t)blockIdx.x * SUM_COLS + lane;
    float mine = 0;
    if (col < cols)
        for (int64_t row = warp; row < rows; row += SUM_WARPS) mine += x[row * ld + col];
    part[warp][lane] = mine;
    __syncthreads();
    if (warp > 0 || col >= cols) return;
    float all = 0;
#pragma unroll
    for (int w = 0; w < SUM_WARPS; w++) all += part[w][lane];
    sum[col] += all;
}

mn_status mn_cuda_column_sums(mn_stream *s, float *sum, const float *x, int64_t ld, int64_t rows,
                              int64_t cols) {
    const unsigned grid = (unsigned)mn_ceil_div(cols, (int64_t)SUM_COLS);
    column_sums_kernel<<<grid, SUM_COLS * SUM_WARPS, 0, s->stream>>>(sum, x, ld, rows, cols);
    MN_CUDA_LAUNCHED("column_sums_kernel");
    return MN_OK;
}
