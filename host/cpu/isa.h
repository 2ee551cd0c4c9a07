/* isa.h - names of the kernels of one instruction set.
 *
 * Every isa_*.c is compiled once per instruction set with MN_ISA = base, avx2 or avx512; the best
 * table that the processor supports is chosen when the device is opened (a program must also start
 * under tools and on machines without AVX-512). */
#ifndef MNEME_CPU_ISA_H
#define MNEME_CPU_ISA_H

#include "cpu/cpu.h"

#define MN_PASTE_(a, b, c) a##b##_##c
#define MN_PASTE(a, b, c) MN_PASTE_(a, b, c)
#define MN_CPU(name) MN_PASTE(mn_cpu_, MN_ISA, name)

#define MN_KERNEL(name, params) mn_status MN_CPU(name) params;
#include "mneme/kernels.def"
#undef MN_KERNEL

/* One thread's product of a panel: y (m, n) of row length ldy = x w' (isa_dot.c: few rows); `rounded`
 * rounds the weights to bf16 first. */
void MN_CPU(dot_panel)(float *y, int64_t ldy, const float *x, const void *w, mn_dtype dtype,
                       bool rounded, int64_t m, int64_t n, int64_t k);
/* to[i] = from[i] as fp32 (isa_convert.c) */
void MN_CPU(to_f32)(float *to, const void *from, mn_dtype dtype, int64_t n);
void MN_CPU(round_bf16)(float *to, const float *from, int64_t n); /* fp32 holding bf16 values */
void MN_CPU(to_bf16)(uint16_t *to, const void *from, mn_dtype dtype, int64_t n);

#endif
