/* isa_tiles.c - bf16 products by oneDNN, for processors that multiply in tiles (AMX).
 *
 * A thread owns blocks of output columns and hands oneDNN one piece of the depth after the other: that
 * part of b is rounded into its scratch, where the second-level cache holds it for the product. */
#include "cpu/epilogue.h"
#include "cpu/gemm.h"
#include "cpu/onednn.h"

#include <omp.h>

enum { COLS = 256, DEPTH = MN_CPU_SCRATCH / 2 / COLS };

/* From panels: they give 32 neighbours of what lies across their own rows. Read forward, rows of columns
 * become rows of depths, and the other way round. */
static void round_panels(uint16_t *to, const mn_product *p, int64_t col, int64_t cols,
                         int64_t depth, int64_t depths) {
    const bool forward = p->b_depth == 1;
    const int64_t rows = forward ? depths : cols, width = forward ? cols : depths;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i += MN_PANEL) {
            const char *from = forward ? mn_panel_at(p, p->k, col + i, depth + r)
                                       : mn_panel_at(p, p->n, depth + i, col + r);
            MN_CPU(to_bf16)
            (to + r * width + i, from, p->dtype, width - i < MN_PANEL ? width - i : MN_PANEL);
        }
}

/* b (depth .., col ..) as bf16: rows of columns when it lies along the depth, else rows of depths. */
static void round_block(uint16_t *to, const mn_product *p, int64_t col, int64_t cols, int64_t depth,
                        int64_t depths) {
    const bool along = p->b_depth == 1;
    if (p->panels) {
        round_panels(to, p, col, cols, depth, depths);
        return;
    }
    const int64_t rows = along ? cols : depths, width = along ? depths : cols;
    const int64_t stride = along ? p->b_col : p->b_depth;
    const int64_t first = col * p->b_col + depth * p->b_depth;
    for (int64_t r = 0; r < rows; r++) MN_CPU(to_bf16)
    (to + r * width, p->b + (size_t)(first + r * stride) * mn_dtype_size(p->dtype), p->dtype,
     width);
}

static mn_status block(const mn_product *p, int64_t col, int64_t cols, int thread) {
    uint16_t *scratch = mn_cpu_scratch(p->s, thread);
    const uint16_t *a = p->s->input;
    for (int64_t depth = 0; depth < p->k; depth += DEPTH) {
        const int64_t depths = p->k - depth < DEPTH ? p->k - depth : DEPTH;
        round_block(scratch, p, col, cols, depth, depths);
        const mn_bf16_product product = {.y = p->y + col,
                                         .ldy = p->ldy,
                                         .x = a + depth,
                                         .ldx = p->k,
                                         .w = scratch,
                                         .w_across = p->panels == (p->b_depth == 1),
                                         .add = depth > 0 || p->epilogue == MN_EPILOGUE_ADD,
                                         .m = p->m,
                                         .n = cols,
                                         .k = depths};
        MN_TRY(mn_onednn_bf16(p->s->onednn, thread, &product));
    }
    if (!p->bias && p->epilogue != MN_EPILOGUE_GELU) return MN_OK;
    for (int64_t r = 0; r < p->m; r++)
        finish_row(p->y + r * p->ldy + col, NULL, p->bias ? p->bias + col : NULL, p->epilogue,
                   cols);
    return MN_OK;
}

mn_status MN_CPU(tiles)(const mn_product *p) {
    uint16_t *input = p->s->input;
#pragma omp parallel for num_threads(p->s->threads) schedule(static)
    for (int64_t r = 0; r < p->m; r++)
        MN_CPU(to_bf16)(input + r * p->k, p->a + r * p->a_row, MN_F32, p->k);
    mn_error_record error = {.status = MN_OK};
#pragma omp parallel for num_threads(p->s->threads) schedule(dynamic)
    for (int64_t col = 0; col < p->n; col += COLS) {
        const int64_t cols = p->n - col < COLS ? p->n - col : COLS;
        if (block(p, col, cols, omp_get_thread_num()) != MN_OK) {
#pragma omp critical(mn_tiles_error)
            mn_error_save(&error);
        }
    }
    return error.status == MN_OK ? MN_OK : mn_error_restore(&error);
}
