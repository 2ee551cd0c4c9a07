/* gemm.h - one matrix product of the CPU backend as its parts pass it on. */
#ifndef MNEME_CPU_GEMM_H
#define MNEME_CPU_GEMM_H

#include "cpu/isa.h"

/* y (m, n; ldy) = epilogue of x (m, k) w (n, k)' + bias */
typedef struct mn_product {
    mn_stream *s;
    float *y;
    int64_t ldy;
    const float *x;
    const char *w;
    mn_dtype dtype;
    const float *bias; /* or NULL */
    mn_epilogue epilogue;
    bool bf16; /* inputs are rounded to bf16 */
    int64_t m, n, k;
} mn_product;

/* isa_gemm.c: many rows, fp32. Needs gemm_bytes of the stream's input buffer. */
void MN_CPU(gemm)(const mn_product *p);
size_t MN_CPU(gemm_bytes)(int64_t m, int64_t k);

#endif
