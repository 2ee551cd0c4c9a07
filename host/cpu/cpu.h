/* cpu.h - the CPU backend's own view of its stream: threads and per-thread scratch memory. */
#ifndef MNEME_CPU_H
#define MNEME_CPU_H

#include "mneme/device.h"

/* Scratch of one thread: what is converted there must still be in the second-level cache (2 MB on
 * recent server processors, 1 MB on others) when the product reads it. */
enum { MN_CPU_SCRATCH = 1 << 20 };

struct mn_stream {
    int threads;
    unsigned char *scratch;   /* threads x MN_CPU_SCRATCH, 64-byte aligned */
    void *input;              /* activations as one product wants them: transposed, or in bf16 */
    size_t input_bytes;       /* grows before step 0 */
    bool bf16_pairs;          /* the processor multiplies pairs of bf16 (AVX512_BF16) */
    struct mn_onednn *onednn; /* bf16 products where it does them in tiles (AMX), else NULL */
};

static inline void *mn_cpu_scratch(const mn_stream *s, int thread) {
    return s->scratch + (size_t)thread * MN_CPU_SCRATCH;
}

/* Rows per block of transposed keys: K is kept as [head][row / 16][D][16], V as [head][row][Dv],
 * Dv = D rounded up to 16, zero padded. A block of 16 keys is one vector per dimension. */
enum { MN_KV_BLOCK = 16 };

static inline int64_t mn_round16(int64_t n) { return (n + 15) / 16 * 16; }

/* Of K or of V of one layer: mn_device.kv_bytes. */
static inline size_t mn_cpu_kv_bytes(int64_t rows, int64_t kv_heads, int64_t head_dim) {
    return (size_t)(mn_round16(rows) * kv_heads * mn_round16(head_dim)) * sizeof(float);
}

/* What mn_device.reserve keeps for the input of a product. */
static inline size_t mn_cpu_input_bytes(int64_t rows, int64_t width) {
    return (size_t)(mn_round16(rows) * mn_round16(width)) * sizeof(float);
}

/* Rows of a weight per panel (panels.c), and the numbers from one panel to the next: K is rounded up to
 * an even number, since bf16 is multiplied in pairs. */
enum { MN_PANEL = 32 };

static inline int64_t mn_cpu_panel_stride(int64_t k) { return (k + 1) / 2 * 2 * MN_PANEL; }

size_t mn_cpu_panel_bytes(int64_t n, int64_t k);
mn_status mn_cpu_to_panels(mn_device *device, void *panels, const mn_tensor *rows);

/* bf16 products in tiles; asks Linux for the right to use them. */
bool mn_cpu_has_amx(void);

/* The kernel tables, one per instruction set (isa_table.c, compiled once for each). */
extern const mn_kernels mn_cpu_base_kernels, mn_cpu_avx2_kernels, mn_cpu_avx512_kernels;

#endif
