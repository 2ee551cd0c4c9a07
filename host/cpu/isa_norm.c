/* isa_norm.c - LayerNorm, RMSNorm, the gated norm of the memories. One thread owns a row. */
#include "cpu/isa.h"
#include "cpu/vec.h"

#include <math.h>

static float row_sum(const float *x, int64_t n) {
    vf sum = v_set(0);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) sum += v_load(x + i);
    if (i < n) sum += v_load_n(x + i, n - i);
    return v_sum(sum);
}

/* Sum of (x - mean)^2: two passes over a row in cache, no cancellation. */
static float row_square_sum(const float *x, float mean, int64_t n) {
    vf sum = v_set(0);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        const vf d = v_load(x + i) - mean;
        sum += d * d;
    }
    float rest = 0;
    for (; i < n; i++) rest += (x[i] - mean) * (x[i] - mean);
    return v_sum(sum) + rest;
}

mn_status MN_CPU(layernorm_fwd)(mn_stream *s, float *y, const float *x, const float *weight,
                                const float *bias, float eps, int64_t rows, int64_t dim) {
#pragma omp parallel for num_threads(s->threads) schedule(static) if (rows > 1)
    for (int64_t r = 0; r < rows; r++) {
        const float *in = x + r * dim;
        float *out = y + r * dim;
        const float mean = row_sum(in, dim) / (float)dim;
        const float scale = 1.0f / sqrtf(row_square_sum(in, mean, dim) / (float)dim + eps);
        int64_t i = 0;
        for (; i + VL <= dim; i += VL)
            v_store(out + i,
                    (v_load(in + i) - mean) * scale * v_load(weight + i) + v_load(bias + i));
        for (; i < dim; i++) out[i] = (in[i] - mean) * scale * weight[i] + bias[i];
    }
    return MN_OK;
}

mn_status MN_CPU(rmsnorm_fwd)(mn_stream *s, float *y, const float *x, const float *weight,
                              float eps, int64_t rows, int64_t dim) {
#pragma omp parallel for num_threads(s->threads) schedule(static) if (rows > 1)
    for (int64_t r = 0; r < rows; r++) {
        const float *in = x + r * dim;
        float *out = y + r * dim;
        const float scale = 1.0f / sqrtf(row_square_sum(in, 0, dim) / (float)dim + eps);
        int64_t i = 0;
        for (; i + VL <= dim; i += VL)
            v_store(out + i, v_load(in + i) * scale * v_load(weight + i));
        for (; i < dim; i++) out[i] = in[i] * scale * weight[i];
    }
    return MN_OK;
}

mn_status MN_CPU(gated_norm_fwd)(mn_stream *s, float *y, const float *d, const float *weight,
                                 const float *bias, const float *gate, float eps, int64_t rows,
                                 int64_t dim) {
    const float g = *gate;
#pragma omp parallel for num_threads(s->threads) schedule(static) if (rows > 1)
    for (int64_t r = 0; r < rows; r++) {
        const float *in = d + r * dim;
        float *out = y + r * dim;
        const float mean = row_sum(in, dim) / (float)dim;
        const float scale = 1.0f / sqrtf(row_square_sum(in, mean, dim) / (float)dim + eps);
        int64_t i = 0;
        for (; i + VL <= dim; i += VL) {
            const vf h = (v_load(in + i) - mean) * scale * v_load(weight + i) + v_load(bias + i);
            v_store(out + i, v_load(out + i) + g * h);
        }
        for (; i < dim; i++) out[i] += g * ((in[i] - mean) * scale * weight[i] + bias[i]);
    }
    return MN_OK;
}
