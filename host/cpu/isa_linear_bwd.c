/* isa_linear_bwd.c - gradients of a matrix product, by plain loops. */
#include "cpu/isa.h"
#include "cpu/vec.h"

#include <omp.h>

static void add_scaled(float *y, const float *x, float a, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

/* One thread owns a row of dx. */
mn_status MN_CPU(linear_bwd_x)(mn_stream *s, float *dx, int64_t lddx, const float *dy, int64_t lddy,
                               const void *w, mn_dtype dtype, bool add, mn_compute compute,
                               int64_t m, int64_t n, int64_t k) {
    enum { WIDTH = 1024 };
    const bool rounded = compute == MN_COMPUTE_BF16;
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (int64_t r = 0; r < m; r++)
        for (int64_t begin = 0; begin < k; begin += WIDTH) {
            const int64_t width = k - begin < WIDTH ? k - begin : WIDTH;
            float *out = dx + r * lddx + begin, part[WIDTH];
            if (!add) memset(out, 0, (size_t)width * sizeof *out);
            for (int64_t j = 0; j < n; j++) {
                float g = dy[r * lddy + j];
                MN_CPU(to_f32)
                (part, (const char *)w + (size_t)(j * k + begin) * mn_dtype_size(dtype), dtype,
                 width);
                if (rounded) {
                    MN_CPU(round_bf16)(part, part, width);
                    MN_CPU(round_bf16)(&g, &g, 1);
                }
                add_scaled(out, part, g, width);
            }
        }
    return MN_OK;
}

/* One thread owns a row of dw. */
mn_status MN_CPU(linear_bwd_w)(mn_stream *s, float *dw, float *dbias, const float *dy, int64_t lddy,
                               const float *x, int64_t m, int64_t n, int64_t k) {
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (int64_t j = 0; j < n; j++) {
        for (int64_t r = 0; r < m; r++) add_scaled(dw + j * k, x + r * k, dy[r * lddy + j], k);
        for (int64_t r = 0; dbias && r < m; r++) dbias[j] += dy[r * lddy + j];
    }
    return MN_OK;
}
