/* gemm.h - the matrix product of the CPU backend: y = epilogue of (a b + bias), sums in fp32.
 *
 * Forward, gradients of activations and gradients of weights are this one product with other strides:
 * an operand is packed before it is used, so that it may lie along the depth or across it. */
#ifndef MNEME_CPU_GEMM_H
#define MNEME_CPU_GEMM_H

#include "cpu/isa.h"

typedef struct mn_product {
    mn_stream *s;
    float *y; /* (m, n) in rows of ldy */
    int64_t ldy;
    const float *a; /* (m, k): element (i, d) is a[i * a_row + d * a_depth]; one stride is 1 */
    int64_t a_row, a_depth;
    const char *b; /* (k, n) of dtype: element (d, j) is b[j * b_col + d * b_depth], likewise */
    int64_t b_col, b_depth;
    bool panels; /* b is a weight in panels (panels.c); the strides say which way it is read */
    mn_dtype dtype;
    const float *bias; /* (n) or NULL */
    mn_epilogue epilogue;
    bool bf16; /* both operands are rounded to bf16 */
    int64_t m, n, k;
} mn_product;

/* Numbers (row, k) to (row + 31, k) of a weight in panels, whose rows have `width` numbers; row is a
 * multiple of 32. */
static inline const char *mn_panel_at(const mn_product *p, int64_t width, int64_t row, int64_t k) {
    return p->b +
           (size_t)(row / MN_PANEL * mn_cpu_panel_stride(width) + k * MN_PANEL) * sizeof(uint16_t);
}

/* isa_gemm.c: any product. Needs gemm_bytes of the stream's input buffer. */
void MN_CPU(gemm)(const mn_product *p);
size_t MN_CPU(gemm_bytes)(int64_t m, int64_t k);

/* isa_tiles.c: products in bf16 whose a lies along the depth, by oneDNN. */
mn_status MN_CPU(tiles)(const mn_product *p);

/* isa_pack.c: operands as the inner loop of isa_gemm.c wants them. A unit is a number, a number
 * rounded to bf16 and kept as fp32, or two neighbours along the depth as bf16, the earlier one in the
 * low half. Depths are in units; what lies behind the end is zero. */
typedef enum mn_unit { MN_UNIT_F32, MN_UNIT_ROUNDED, MN_UNIT_PAIR } mn_unit;

/* to[d * width + i] = a (row + i, depth + d) for i < width; rows from p->m on are zero. */
void MN_CPU(pack_a)(float *to, int64_t width, const mn_product *p, mn_unit unit, int64_t row,
                    int64_t depth, int64_t depths);
/* to[d * 32 + j] = b (depth + d, col + j) for j < 32; columns from `cols` on are zero. */
void MN_CPU(pack_b)(float *to, const mn_product *p, mn_unit unit, int64_t col, int64_t cols,
                    int64_t depth, int64_t depths);

#endif
