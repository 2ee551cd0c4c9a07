/* isa_rows.c - kernels that move or map rows: embedding, gather, SwiGLU, the check for NaN. */
#include "cpu/isa.h"
#include "cpu/vec.h"

mn_status MN_CPU(embed_fwd)(mn_stream *s, float *x, const void *table, mn_dtype dtype,
                            const int32_t *ids, int64_t begin, int64_t vocab, int64_t tokens,
                            int64_t dim) {
    const size_t row_bytes = (size_t)dim * mn_dtype_size(dtype);
#pragma omp parallel for num_threads(s->threads) schedule(static) if (tokens > 1)
    for (int64_t t = 0; t < tokens; t++) {
        const int64_t row = ids[t] - begin;
        float *to = x + t * dim;
        if (row < 0 || row >= vocab) memset(to, 0, (size_t)dim * sizeof *to);
        else MN_CPU(to_f32)(to, (const char *)table + (size_t)row * row_bytes, dtype, dim);
    }
    return MN_OK;
}

mn_status MN_CPU(gather_fwd)(mn_stream *s, float *y, const float *x, const int32_t *rows, int64_t m,
                             int64_t dim) {
#pragma omp parallel for num_threads(s->threads) schedule(static) if (m > 1)
    for (int64_t r = 0; r < m; r++)
        memcpy(y + r * dim, x + (int64_t)rows[r] * dim, (size_t)dim * sizeof *y);
    return MN_OK;
}

V_INLINE void add_row(float *y, const float *x, int64_t n) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) v_store(y + i, v_load(y + i) + v_load(x + i));
    for (; i < n; i++) y[i] += x[i];
}

/* A thread owns columns and walks over the tokens in order. */
mn_status MN_CPU(embed_bwd)(mn_stream *s, float *dtable, const float *dx, const int32_t *ids,
                            int64_t begin, int64_t vocab, int64_t tokens, int64_t dim) {
    enum { COLUMNS = 64 };
#pragma omp parallel for num_threads(s->threads) schedule(static) if (dim > COLUMNS)
    for (int64_t c = 0; c < dim; c += COLUMNS)
        for (int64_t t = 0; t < tokens; t++) {
            const int64_t row = ids[t] - begin;
            if (row < 0 || row >= vocab) continue;
            add_row(dtable + row * dim + c, dx + t * dim + c,
                    dim - c < COLUMNS ? dim - c : COLUMNS);
        }
    return MN_OK;
}

mn_status MN_CPU(gather_bwd)(mn_stream *s, float *dx, const float *dy, const int32_t *rows,
                             int64_t m, int64_t dim) {
#pragma omp parallel for num_threads(s->threads) schedule(static) if (m > 1)
    for (int64_t r = 0; r < m; r++) add_row(dx + (int64_t)rows[r] * dim, dy + r * dim, dim);
    return MN_OK;
}

mn_status MN_CPU(swiglu_fwd)(mn_stream *s, float *y, const float *gate, const float *up,
                             int64_t rows, int64_t dim) {
#pragma omp parallel for num_threads(s->threads) schedule(static) if (rows > 1)
    for (int64_t r = 0; r < rows; r++) {
        const float *g = gate + r * dim, *u = up + r * dim;
        float *out = y + r * dim;
        int64_t i = 0;
        for (; i + VL <= dim; i += VL) v_store(out + i, v_silu(v_load(g + i)) * v_load(u + i));
        if (i < dim) {
            const int64_t n = dim - i;
            v_store_n(out + i, v_silu(v_load_n(g + i, n)) * v_load_n(u + i, n), n);
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
