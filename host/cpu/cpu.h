/* cpu.h - the CPU backend's own view of its stream: threads and per-thread scratch memory. */
#ifndef MNEME_CPU_H
#define MNEME_CPU_H

#include "mneme/device.h"

/* Scratch of one thread: half of a 2 MB second-level cache, or all of a 1 MB one, so that a panel of
 * converted weights is still there when the product reads it. */
enum { MN_CPU_SCRATCH = 1 << 20 };

struct mn_stream {
    int threads;
    unsigned char *scratch;   /* threads x MN_CPU_SCRATCH, 64-byte aligned */
    void *input;         /* activations rounded to bf16 for one product; grows before step 0 */
    size_t input_bytes;
    struct mn_onednn *onednn; /* cached bf16 products; NULL until the first */
};

/* Rows per block of transposed keys: K is kept as [head][row / 16][D][16], V as [head][row][Dv],
 * Dv = D rounded up to 16, zero padded. A block of 16 keys is one vector per dimension. */
enum { MN_KV_BLOCK = 16 };

static inline int64_t mn_round16(int64_t n) { return (n + 15) / 16 * 16; }

/* The kernel tables, one per instruction set (isa_table.c, compiled once for each). */
extern const mn_kernels mn_cpu_base_kernels, mn_cpu_avx2_kernels, mn_cpu_avx512_kernels;

#endif
