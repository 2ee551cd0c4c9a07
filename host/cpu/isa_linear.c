/* isa_linear.c - y = x w' + bias with an epilogue, and its gradients: chooses the way.
 *
 * Weights in panels: isa_gemm.c, for any number of rows in the same order of sums. Weights in rows: a few
 * rows of x go to isa_dot.c, limited by memory, many to isa_gemm.c. oneDNN multiplies bf16 where the
 * processor has tiles for it (isa_tiles.c). */
#include "cpu/epilogue.h"
#include "cpu/gemm.h"

#include <omp.h>

enum {
    DOT_ROWS = 4, /* up to here the dot kernel wins (mneme bench --what linear) */
    DOT_COLS = 64
};

static void dot_columns(const mn_product *p, int64_t col, int64_t cols, float *scratch) {
    const char *w = p->b + (size_t)col * (size_t)p->k * mn_dtype_size(p->dtype);
    MN_CPU(dot_panel)(scratch, cols, p->a, w, p->dtype, p->bf16, p->m, cols, p->k);
    for (int64_t r = 0; r < p->m; r++) {
        float *y = p->y + r * p->ldy + col;
        finish_row(scratch + r * cols, p->epilogue == MN_EPILOGUE_ADD ? y : NULL,
                   p->bias ? p->bias + col : NULL, p->epilogue, cols);
        memcpy(y, scratch + r * cols, (size_t)cols * sizeof *y);
    }
}

static void dot(const mn_product *p) {
    const int64_t panels = (p->n + DOT_COLS - 1) / DOT_COLS;
#pragma omp parallel for num_threads(p->s->threads) schedule(static)
    for (int64_t i = 0; i < panels; i++) {
        const int64_t col = i * DOT_COLS, cols = p->n - col < DOT_COLS ? p->n - col : DOT_COLS;
        dot_columns(p, col, cols, mn_cpu_scratch(p->s, omp_get_thread_num()));
    }
}

static mn_status want_input(const mn_product *p, size_t bytes) {
    MN_CHECK(bytes <= p->s->input_bytes, MN_ERR_MEMORY, "inputs of %lld x %lld were not reserved",
             (long long)p->m, (long long)p->k);
    return MN_OK;
}

static mn_status multiply(const mn_product *p) {
    MN_TRY(want_input(p, MN_CPU(gemm_bytes)(p->m, p->k)));
    if (p->bf16 && p->s->onednn) return MN_CPU(tiles)(p);
    MN_CPU(gemm)(p);
    return MN_OK;
}

mn_status MN_CPU(linear_fwd)(mn_stream *s, float *y, int64_t ldy, const float *x, const void *w,
                             mn_dtype dtype, mn_layout layout, const float *bias,
                             mn_epilogue epilogue, mn_compute compute, int64_t m, int64_t n,
                             int64_t k) {
    mn_product p = {.s = s,
                    .y = y,
                    .ldy = ldy,
                    .a = x,
                    .a_row = k,
                    .a_depth = 1,
                    .b = w,
                    .b_col = k,
                    .b_depth = 1,
                    .panels = layout == MN_LAYOUT_PANELS,
                    .dtype = dtype,
                    .bias = bias,
                    .epilogue = epilogue,
                    .bf16 = compute == MN_COMPUTE_BF16,
                    .m = m,
                    .n = n,
                    .k = k};
    if (m == 0) return MN_OK;
    if (m > DOT_ROWS || p.panels) return multiply(&p);
    if (p.bf16) {
        MN_TRY(want_input(&p, (size_t)(m * k) * sizeof(float)));
        MN_CPU(round_bf16)(s->input, x, m * k);
        p.a = s->input;
    }
    dot(&p);
    return MN_OK;
}

/* dx (m, k) = dy (m, n) w (n, k): the depth is n. */
mn_status MN_CPU(linear_bwd_x)(mn_stream *s, float *dx, int64_t lddx, const float *dy, int64_t lddy,
                               const void *w, mn_dtype dtype, mn_layout layout, bool add,
                               mn_compute compute, int64_t m, int64_t n, int64_t k) {
    const mn_product p = {.s = s,
                          .y = dx,
                          .ldy = lddx,
                          .a = dy,
                          .a_row = lddy,
                          .a_depth = 1,
                          .b = w,
                          .b_col = 1,
                          .b_depth = k,
                          .panels = layout == MN_LAYOUT_PANELS,
                          .dtype = dtype,
                          .epilogue = add ? MN_EPILOGUE_ADD : MN_EPILOGUE_STORE,
                          .bf16 = compute == MN_COMPUTE_BF16,
                          .m = m,
                          .n = k,
                          .k = n};
    if (m == 0) return MN_OK;
    return multiply(&p);
}

/* One thread owns columns; rows are added in their order. */
static void add_column_sums(mn_stream *s, float *sums, const float *x, int64_t ld, int64_t rows,
                            int64_t cols) {
    enum { WIDTH = 4 * VL };
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (int64_t c = 0; c < cols; c += WIDTH) {
        const int64_t n = cols - c < WIDTH ? cols - c : WIDTH;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < n; i++) sums[c + i] += x[r * ld + c + i];
    }
}

/* dw (n, k) += dy' (n, m) x (m, k): the depth is m. */
mn_status MN_CPU(linear_bwd_w)(mn_stream *s, float *dw, float *dbias, const float *dy, int64_t lddy,
                               const float *x, int64_t m, int64_t n, int64_t k) {
    const mn_product p = {.s = s,
                          .y = dw,
                          .ldy = k,
                          .a = dy,
                          .a_row = 1,
                          .a_depth = lddy,
                          .b = (const char *)x,
                          .b_col = 1,
                          .b_depth = k,
                          .dtype = MN_F32,
                          .epilogue = MN_EPILOGUE_ADD,
                          .m = n,
                          .n = k,
                          .k = m};
    MN_TRY(multiply(&p));
    if (dbias) add_column_sums(s, dbias, dy, lddy, m, n);
    return MN_OK;
}
