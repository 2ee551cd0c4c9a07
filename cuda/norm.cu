/* norm.cu - LayerNorm, RMSNorm, the gated norm of the memories, and the size of rows.
 *
 * A block owns a row at a time and holds it in registers (row.cuh), with weight and bias, which it
 * therefore reads once for all of its rows. Bytes that must move, an element: 8 (x, y); 12 in the gated
 * norm (d, y, y). Bytes that move: these, and 8 (4) of weight and bias per block and column. The variance
 * is the sum of squares around the mean, as on the CPU. */
#include "cuda/row.cuh"

typedef enum norm_kind { LAYER, RMS, GATED } norm_kind;

template <norm_kind KIND, int VEC>
__global__ static void __launch_bounds__(ROW_THREADS)
    norm_kernel(float *y, const float *x, const float *weight, const float *bias, const float *gate,
                float eps, int64_t rows, int dim) {
    enum { HELD = held<VEC>::COUNT };
    __shared__ block_sums<float, 1> sums;
    float w[HELD], b[HELD];
    load_row<VEC>(w, weight, dim);
    if (KIND != RMS) load_row<VEC>(b, bias, dim);
    const float g = KIND == GATED ? *gate : 1.0f;
    int turn = 0;
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        float v[HELD];
        load_row<VEC>(v, x + r * dim, dim);
        if (KIND != RMS) {
            float mean[1] = {held_sum(v)};
            block_sum(mean, &sums, turn);
            turn ^= 1;
            subtract_mean<VEC>(v, mean[0] / (float)dim, dim);
        }
        float square[1] = {0};
#pragma unroll
        for (int j = 0; j < HELD; j++) square[0] += v[j] * v[j];
        block_sum(square, &sums, turn);
        turn ^= 1;
        const float scale = 1.0f / sqrtf(square[0] / (float)dim + eps);
#pragma unroll
        for (int j = 0; j < HELD; j++) v[j] = v[j] * scale * w[j] + (KIND == RMS ? 0.0f : b[j]);
        if (KIND == GATED) {
            float old[HELD];
            load_row<VEC>(old, y + r * dim, dim);
#pragma unroll
            for (int j = 0; j < HELD; j++) v[j] = old[j] + g * v[j];
        }
        store_row<VEC>(y + r * dim, v, dim);
    }
}

template <norm_kind KIND, int VEC>
static void launch(mn_stream *s, float *y, const float *x, const float *weight, const float *bias,
                   const float *gate, float eps, int64_t rows, int64_t dim) {
    const unsigned blocks = mn_row_blocks<VEC>(s, rows, dim);
    norm_kernel<KIND, VEC><<<blocks, mn_row_threads<VEC>(dim), 0, s->stream>>>(
        y, x, weight, bias, gate, eps, rows, (int)dim);
}

template <norm_kind KIND>
static mn_status norm(mn_stream *s, const char *name, float *y, const float *x, const float *weight,
                      const float *bias, const float *gate, float eps, int64_t rows, int64_t dim) {
    if (rows == 0 || dim == 0) return MN_OK;
    const bool fours = mn_cuda_rows_aligned(x, dim) && mn_cuda_aligned(y) &&
                       mn_cuda_aligned(weight) && mn_cuda_aligned(bias);
    MN_TRY(mn_row_check(name, dim, fours));
    if (fours) launch<KIND, 4>(s, y, x, weight, bias, gate, eps, rows, dim);
    else launch<KIND, 1>(s, y, x, weight, bias, gate, eps, rows, dim);
    MN_CUDA_LAUNCHED(name);
    return MN_OK;
}

extern "C" mn_status mn_cuda_layernorm_fwd(mn_stream *s, float *y, const float *x,
                                           const float *weight, const float *bias, float eps,
                                           int64_t rows, int64_t dim) {
    return norm<LAYER>(s, "layernorm_fwd", y, x, weight, bias, NULL, eps, rows, dim);
}

extern "C" mn_status mn_cuda_rmsnorm_fwd(mn_stream *s, float *y, const float *x,
                                         const float *weight, float eps, int64_t rows,
                                         int64_t dim) {
    return norm<RMS>(s, "rmsnorm_fwd", y, x, weight, NULL, NULL, eps, rows, dim);
}

extern "C" mn_status mn_cuda_gated_norm_fwd(mn_stream *s, float *y, const float *d,
                                            const float *weight, const float *bias,
                                            const float *gate, float eps, int64_t rows,
                                            int64_t dim) {
    return norm<GATED>(s, "gated_norm_fwd", y, d, weight, bias, gate, eps, rows, dim);
}
