/* isa_linear.c - y = x w' + bias with an epilogue, weights in fp16, bf16 or fp32.
 *
 * A thread owns panels of output columns. Few rows: isa_dot.c reads the weights as they lie. Many
 * rows: a block of weights is converted into the thread's scratch, which stays in its second-level
 * cache, and oneDNN multiplies it; converting costs one pass over weights that serve all rows.
 * Panels do not depend on the number of threads, so neither do the results. */
#include "cpu/gemm.h"
#include "cpu/onednn.h"
#include "cpu/vec.h"

#include <omp.h>

enum {
    DOT_ROWS = 4,         /* up to here the dot kernel wins (mneme bench --what linear) */
    PANEL_COLS = 256,     /* columns of a panel */
    DOT_PANEL_COLS = 64,
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
    const char *w = p->w + (size_t)col * (size_t)p->k * mn_dtype_size(p->dtype);
    MN_CPU(dot_panel)(scratch, cols, p->x, w, p->dtype, p->bf16, p->m, cols, p->k);
    for (int64_t r = 0; r < p->m; r++) {
        float *y = p->y + r * p->ldy + col;
        finish_row(scratch + r * cols, p->epilogue == MN_EPILOGUE_ADD ? y : NULL,
                   p->bias ? p->bias + col : NULL, p->epilogue, cols);
        memcpy(y, scratch + r * cols, (size_t)cols * sizeof *y);
    }
}

static mn_status bf16_columns(const mn_product *p, int64_t col, int64_t cols, uint16_t *scratch,
                              int thread) {
    const char *w = p->w + (size_t)col * (size_t)p->k * mn_dtype_size(p->dtype);
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

typedef enum path { PATH_DOT, PATH_BF16 } path;

static mn_status columns(const mn_product *p, path way, int64_t col, int64_t cols, int thread) {
    void *scratch = p->s->scratch + (size_t)thread * MN_CPU_SCRATCH;
    if (way == PATH_BF16) return bf16_columns(p, col, cols, scratch, thread);
    dot_columns(p, col, cols, scratch);
    return MN_OK;
}

static mn_status run(const mn_product *p, path way, int64_t width) {
    const int64_t panels = (p->n + width - 1) / width;
    mn_error_record error = {.status = MN_OK};
#pragma omp parallel for num_threads(p->s->threads) schedule(dynamic)
    for (int64_t i = 0; i < panels; i++) {
        const int64_t col = i * width, cols = p->n - col < width ? p->n - col : width;
        if (columns(p, way, col, cols, omp_get_thread_num()) != MN_OK) {
#pragma omp critical(mn_linear_error)
            mn_error_save(&error);
        }
    }
    return error.status == MN_OK ? MN_OK : mn_error_restore(&error);
}

mn_status MN_CPU(linear_fwd)(mn_stream *s, float *y, int64_t ldy, const float *x, const void *w,
                             mn_dtype dtype, const float *bias, mn_epilogue epilogue,
                             mn_compute compute, int64_t m, int64_t n, int64_t k) {
    mn_product p = {.s = s, .y = y, .ldy = ldy, .x = x, .w = w, .dtype = dtype, .bias = bias,
                 .epilogue = epilogue, .bf16 = compute == MN_COMPUTE_BF16, .m = m, .n = n, .k = k};
    const bool dot = m <= DOT_ROWS;
    const size_t need = !p.bf16 ? (dot ? 0 : MN_CPU(gemm_bytes)(m, k))
                                : (size_t)(m * k) * (dot ? sizeof(float) : sizeof(uint16_t));
    MN_CHECK(need <= s->input_bytes, MN_ERR_MEMORY, "inputs of %lld x %lld were not reserved",
             (long long)m, (long long)k);
    if (!p.bf16 && dot) return run(&p, PATH_DOT, DOT_PANEL_COLS);
    if (!p.bf16) {
        MN_CPU(gemm)(&p);
        return MN_OK;
    }
    if (dot) {
        MN_CPU(round_bf16)(s->input, x, m * k);
        p.x = s->input;
        return run(&p, PATH_DOT, DOT_PANEL_COLS);
    }
    uint16_t *input = s->input;
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (int64_t r = 0; r < m; r++) MN_CPU(to_bf16)(input + r * k, x + r * k, MN_F32, k);
    int64_t width = MN_CPU_SCRATCH / (int64_t)sizeof(uint16_t) / k / VL * VL;
    if (width > PANEL_COLS) width = PANEL_COLS;
    if (width < VL) width = VL;
    return run(&p, PATH_BF16, width);
}
