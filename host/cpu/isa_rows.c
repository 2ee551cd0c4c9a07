/* isa_rows.c - kernels that move or map rows: embedding, gather, SwiGLU, the check for NaN. */
#include "cpu/isa.h"
#include "cpu/vec.h"

mn_status MN_CPU(embed_fwd)(mn_stream *s, float *x, const void *table, mn_dtype dtype,
                            const int32_t *ids, int64_t tokens, int64_t dim) {
    const size_t row_bytes = (size_t)dim * mn_dtype_size(dtype);
#pragma omp parallel for num_threads(s->threads) schedule(static) if (tokens > 1)
    for (int64_t t = 0; t < tokens; t++) MN_CPU(to_f32)
    (x + t * dim, (const char *)table + (size_t)ids[t] * row_bytes, dtype, dim);
    return MN_OK;
}

mn_status MN_CPU(gather_fwd)(mn_stream *s, float *y, const float *x, const int32_t *rows, int64_t m,
                             int64_t dim) {
#pragma omp parallel for num_threads(s->threads) schedule(static) if (m > 1)
    for (int64_t r = 0; r < m; r++)
        memcpy(y + r * dim, x + (int64_t)rows[r] * dim, (size_t)dim * sizeof *y);
    return MN_OK;
}

mn_status MN_CPU(swiglu_fwd)(mn_stream *s, float *gate, const float *up, int64_t rows,
                             int64_t dim) {
#pragma omp parallel for num_threads(s->threads) schedule(static) if (rows > 1)
    for (int64_t r = 0; r < rows; r++) {
        float *g = gate + r * dim;
        const float *u = up + r * dim;
        int64_t i = 0;
        for (; i + VL <= dim; i += VL) v_store(g + i, v_silu(v_load(g + i)) * v_load(u + i));
        if (i < dim) {
            const int64_t n = dim - i;
            v_store_n(g + i, v_silu(v_load_n(g + i, n)) * v_load_n(u + i, n), n);
        }
    }
    return MN_OK;
}

/* x - x is 0 for every finite number and NaN otherwise. */
mn_status MN_CPU(count_nonfinite)(mn_stream *s, int64_t *count, const float *x, int64_t n) {
    enum { BLOCK = 1 << 14 };
    int64_t bad = 0;
#pragma omp parallel for num_threads(s->threads) schedule(static) if (n > BLOCK) reduction(+ : bad)
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t end = begin + BLOCK < n ? begin + BLOCK : n;
        vi lanes = {0};
        int64_t i = begin;
        for (; i + VL <= end; i += VL) {
            const vf v = v_load(x + i), d = v - v;
            lanes -= d != d;
        }
        for (int l = 0; l < VL; l++) bad += lanes[l];
        for (; i < end; i++) bad += x[i] - x[i] != 0;
    }
    *count += bad;
    return MN_OK;
}
