/* isa_linear.c - y = x w' + bias with an epilogue: chooses the way by the number of rows.
 *
 * A few rows: isa_dot.c, limited by memory, reads the weights as they lie. Many rows: isa_gemm.c in
 * fp32, or oneDNN in bf16 (processors have units for it), panel by panel: a panel of weights is rounded
 * into the thread's scratch, which its second-level cache holds while oneDNN multiplies it. */
#include "cpu/gemm.h"
#include "cpu/onednn.h"
#include "cpu/vec.h"

#include <omp.h>

enum {
    DOT_ROWS = 4, /* up to here the dot kernel wins (mneme bench --what linear) */
    DOT_COLS = 64,
    BF16_COLS = 256
};

V_INLINE void finish_row(float *y, const float *add, const float *bias, mn_epilogue epilogue,
                         int64_t n) {
    for (int64_t i = 0; i < n; i += VL) {
        const int64_t l = n - i < VL ? n - i : VL;
        vf v = l == VL ? v_load(y + i) : v_load_n(y + i, l);
        if (bias) v += l == VL ? v_load(bias + i) : v_load_n(bias + i, l);
        if (add) v += l == VL ? v_load(add + i) : v_load_n(add + i, l);
        if (epilogue == MN_EPILOGUE_GELU) v = v_gelu(v);
        if (l == VL) v_store(y + i, v);
        else v_store_n(y + i, v, l);
    }
}

/* Bias and activation of a panel whose sums (for ADD: on top of y) are already in y. */
static void finish(const mn_product *p, int64_t col, int64_t cols) {
    if (!p->bias && p->epilogue != MN_EPILOGUE_GELU) return;
    const float *bias = p->bias ? p->bias + col : NULL;
    for (int64_t r = 0; r < p->m; r++)
        finish_row(p->y + r * p->ldy + col, NULL, bias, p->epilogue, cols);
}

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

static mn_status bf16_columns(const mn_product *p, int64_t col, int64_t cols, uint16_t *scratch,
                              int thread) {
    const char *w = p->b + (size_t)col * (size_t)p->k * mn_dtype_size(p->dtype);
    const uint16_t *block = (const uint16_t *)(const void *)w;
    if (p->dtype != MN_BF16) {
        MN_CPU(to_bf16)(scratch, w, p->dtype, cols * p->k);
        block = scratch;
    }
    MN_TRY(mn_onednn_bf16(p->s->onednn, thread, p->y + col, p->ldy, p->s->input, block,
                          p->epilogue == MN_EPILOGUE_ADD, p->m, cols, p->k));
    finish(p, col, cols);
    return MN_OK;
}

static void dot(const mn_product *p) {
    const int64_t panels = (p->n + DOT_COLS - 1) / DOT_COLS;
#pragma omp parallel for num_threads(p->s->threads) schedule(static)
    for (int64_t i = 0; i < panels; i++) {
        const int64_t col = i * DOT_COLS, cols = p->n - col < DOT_COLS ? p->n - col : DOT_COLS;
        dot_columns(p, col, cols, mn_cpu_scratch(p->s, omp_get_thread_num()));
    }
}

static mn_status bf16(const mn_product *p) {
    uint16_t *input = p->s->input;
    int64_t width = MN_CPU_SCRATCH / (int64_t)sizeof *input / p->k / VL * VL;
    if (width > BF16_COLS) width = BF16_COLS;
    MN_CHECK(width > 0, MN_ERR_UNSUPPORTED, "bf16 products of %lld inputs are too long",
             (long long)p->k);
#pragma omp parallel for num_threads(p->s->threads) schedule(static)
    for (int64_t r = 0; r < p->m; r++)
        MN_CPU(to_bf16)(input + r * p->k, p->a + r * p->k, MN_F32, p->k);
    mn_error_record error = {.status = MN_OK};
#pragma omp parallel for num_threads(p->s->threads) schedule(dynamic)
    for (int64_t col = 0; col < p->n; col += width) {
        const int64_t cols = p->n - col < width ? p->n - col : width;
        const int thread = omp_get_thread_num();
        if (bf16_columns(p, col, cols, mn_cpu_scratch(p->s, thread), thread) != MN_OK) {
#pragma omp critical(mn_linear_error)
            mn_error_save(&error);
        }
    }
    return error.status == MN_OK ? MN_OK : mn_error_restore(&error);
}

mn_status MN_CPU(linear_fwd)(mn_stream *s, float *y, int64_t ldy, const float *x, const void *w,
                             mn_dtype dtype, const float *bias, mn_epilogue epilogue,
                             mn_compute compute, int64_t m, int64_t n, int64_t k) {
    mn_product p = {.s = s,
                    .y = y,
                    .ldy = ldy,
                    .a = x,
                    .a_row = k,
                    .a_depth = 1,
                    .b = w,
                    .b_col = k,
                    .b_depth = 1,
                    .dtype = dtype,
                    .bias = bias,
                    .epilogue = epilogue,
                    .bf16 = compute == MN_COMPUTE_BF16,
                    .m = m,
                    .n = n,
                    .k = k};
    const bool few = m <= DOT_ROWS;
    size_t need = 0;
    if (!few) need = MN_CPU(gemm_bytes)(m, k);
    else if (p.bf16) need = (size_t)(m * k) * sizeof(float);
    MN_CHECK(need <= s->input_bytes, MN_ERR_MEMORY, "inputs of %lld x %lld were not reserved",
             (long long)m, (long long)k);
    if (p.bf16 && !few && s->onednn) return bf16(&p);
    if (p.bf16 && few) {
        MN_CPU(round_bf16)(s->input, x, m * k);
        p.a = s->input;
    }
    if (few) dot(&p);
    else MN_CPU(gemm)(&p);
    return MN_OK;
}
