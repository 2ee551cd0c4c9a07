/* isa_gemm.c - products of many rows with fp16, bf16 or fp32 weights, sums in fp32.
 *
 * y' = w x': tokens lie along the vectors, weights are broadcast. So weights are only converted, never
 * transposed: a block of ROWS x DEPTH is turned into fp32 in the thread's scratch, where it serves
 * all tokens, and the activations are transposed once for all weights. Traffic of the inner loop per
 * k: TILE broadcasts and PANEL vectors for TILE x PANEL multiply-adds, from the first-level cache. A
 * thread owns blocks of output columns; the order of every sum is fixed by DEPTH alone, so results
 * depend neither on the number of threads nor on the other rows. */
#include "cpu/gemm.h"
#include "cpu/vec.h"

#include <omp.h>

enum {
    PANEL = 3, /* vectors of tokens in a panel; the last one may have fewer */
    WIDE = PANEL * VL,
    ROWS = 192,            /* weight rows converted at a time, at most */
    DEPTH = 512,           /* of a weight block in memory ... */
    STEP = 128,            /* ... and of one pass of the inner loop: its x panel has 24 KB */
    STRIDE = DEPTH + STEP, /* of converted rows: the rows of a tile lie in different cache sets */
    MAX_TOKENS = 1024,     /* of one pass: bounds the sums kept in scratch */
#if defined(__AVX512F__)
    TILE = 8, /* 24 sums, 3 vectors of x and a broadcast in 32 registers */
#elif defined(__AVX2__)
    TILE = 2, /* a vector is two registers of 16 */
#else
    TILE = 1,
#endif
};

static int64_t padded_tokens(int64_t m) { return (m + VL - 1) / VL * VL; }

/* ---- x' ---- */

#define SWAP_LANES(s)                                                                              \
    for (int i = 0; i < VL; i++) {                                                                 \
        if (i & (s)) continue;                                                                     \
        const vf a = r[i], b = r[i + (s)];                                                         \
        r[i] = MN_BLEND_LOW_##s(a, b);                                                             \
        r[i + (s)] = MN_BLEND_HIGH_##s(a, b);                                                      \
    }
#define MN_BLEND_LOW_8(a, b)                                                                       \
    __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define MN_BLEND_HIGH_8(a, b)                                                                      \
    __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#define MN_BLEND_LOW_4(a, b)                                                                       \
    __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27)
#define MN_BLEND_HIGH_4(a, b)                                                                      \
    __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31)
#define MN_BLEND_LOW_2(a, b)                                                                       \
    __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define MN_BLEND_HIGH_2(a, b)                                                                      \
    __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define MN_BLEND_LOW_1(a, b)                                                                       \
    __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30)
#define MN_BLEND_HIGH_1(a, b)                                                                      \
    __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31)

/* A 16 x 16 transpose in registers: blocks of 8, 4, 2 and 1 change places. */
V_INLINE void transpose(vf r[VL]) {
    SWAP_LANES(8)
    SWAP_LANES(4)
    SWAP_LANES(2)
    SWAP_LANES(1)
}

/* Sixteen tokens of x, or fewer with zeros for the rest, into a panel of row length `width`. */
static void pack_tokens(float *panel, int64_t width, const float *x, int64_t tokens, int64_t k) {
    for (int64_t i = 0; i < k; i += VL) {
        const int64_t n = k - i < VL ? k - i : VL;
        vf r[VL];
        for (int t = 0; t < VL; t++)
            r[t] = t >= tokens ? v_set(0)
                   : n == VL   ? v_load(x + t * k + i)
                               : v_load_n(x + t * k + i, n);
        transpose(r);
        for (int64_t j = 0; j < n; j++) v_store(panel + (i + j) * width, r[j]);
    }
}

static void pack_x(mn_stream *s, float *packed, const float *x, int64_t m, int64_t k) {
    const int64_t groups = (m + VL - 1) / VL;
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (int64_t g = 0; g < groups; g++) {
        const int64_t first = g / PANEL * WIDE, left = padded_tokens(m) - first;
        const int64_t width = left < WIDE ? left : WIDE;
        pack_tokens(packed + first * k + g % PANEL * VL, width, x + g * VL * k, m - g * VL, k);
    }
}

/* ---- the inner loop ---- */

/* sums (rows, vectors of tokens) of row length ld += w (rows, depth) x (depth, tokens). */
V_TILE void tile(float *sums, int64_t ld, const float *x, const float *w, int64_t depth, bool first,
                 const int rows, const int vectors) {
    vf acc[TILE * PANEL];
    for (int n = 0; n < rows; n++)
        for (int v = 0; v < vectors; v++)
            acc[n * vectors + v] = first ? v_set(0) : v_load(sums + n * ld + v * VL);
    for (int64_t k = 0; k < depth; k++) {
        vf xv[PANEL];
        for (int v = 0; v < vectors; v++) xv[v] = v_load(x + (k * vectors + v) * VL);
        for (int n = 0; n < rows; n++) {
            const vf wn = v_set(w[n * STRIDE + k]);
            for (int v = 0; v < vectors; v++) acc[n * vectors + v] += wn * xv[v];
        }
    }
    for (int n = 0; n < rows; n++)
        for (int v = 0; v < vectors; v++) v_store(sums + n * ld + v * VL, acc[n * vectors + v]);
}

/* All rows of a block against one panel: full tiles, then single rows in fours and ones. */
V_TILE void block_panel(float *sums, int64_t ld, const float *x, const float *w, int64_t depth,
                        bool first, int64_t rows, const int vectors) {
    int64_t n = 0;
    for (; n + TILE <= rows; n += TILE)
        tile(sums + n * ld, ld, x, w + n * STRIDE, depth, first, TILE, vectors);
    if (TILE > 4)
        for (; n + 4 <= rows; n += 4)
            tile(sums + n * ld, ld, x, w + n * STRIDE, depth, first, 4, vectors);
    for (; n < rows; n++) tile(sums + n * ld, ld, x, w + n * STRIDE, depth, first, 1, vectors);
}

static void multiply(float *sums, int64_t ld, const float *packed, const float *w, int64_t k,
                     int64_t begin, int64_t depth, int64_t tokens, int64_t rows) {
    for (int64_t at = 0; at < depth; at += STEP) {
        const int64_t step = depth - at < STEP ? depth - at : STEP;
        const bool first = begin + at == 0;
        for (int64_t t = 0; t < tokens; t += WIDE) {
            const int64_t width = tokens - t < WIDE ? tokens - t : WIDE;
            const float *x = packed + t * k + (begin + at) * width;
            if (width == WIDE) block_panel(sums + t, ld, x, w + at, step, first, rows, PANEL);
            else if (width == 2 * VL) block_panel(sums + t, ld, x, w + at, step, first, rows, 2);
            else block_panel(sums + t, ld, x, w + at, step, first, rows, 1);
        }
    }
}

/* ---- the way out ---- */

/* y (m, n) from sums (n, m), with bias and epilogue. */
static void finish(const mn_product *p, int64_t token, int64_t tokens, int64_t col, int64_t cols,
                   const float *sums, int64_t ld) {
    for (int64_t t = 0; t < tokens; t += VL)
        for (int64_t c = 0; c < cols; c += VL) {
            const int64_t n = cols - c < VL ? cols - c : VL;
            vf r[VL];
            for (int i = 0; i < VL; i++) r[i] = i < n ? v_load(sums + (c + i) * ld + t) : v_set(0);
            transpose(r);
            const float *bias = p->bias ? p->bias + col + c : NULL;
            for (int i = 0; i < VL; i++) /* the rows of the next tokens: y is seldom in a cache */
                __builtin_prefetch(p->y + (token + t + VL + i) * p->ldy + col + c, 1);
            const vf b = !bias ? v_set(0) : n == VL ? v_load(bias) : v_load_n(bias, n);
            for (int64_t i = 0; i < VL && t + i < tokens; i++) {
                float *y = p->y + (token + t + i) * p->ldy + col + c;
                vf v = r[i] + b;
                if (p->epilogue == MN_EPILOGUE_ADD) v += n == VL ? v_load(y) : v_load_n(y, n);
                if (p->epilogue == MN_EPILOGUE_GELU) v = v_gelu(v);
                if (n == VL) v_store(y, v);
                else v_store_n(y, v, n);
            }
        }
}

static void columns(const mn_product *p, const float *packed, int64_t token, int64_t tokens,
                    int64_t col, int64_t cols, float *scratch) {
    const size_t size = mn_dtype_size(p->dtype);
    const int64_t ld = padded_tokens(tokens) + VL; /* no power of two */
    float *w = scratch, *sums = scratch + ROWS * STRIDE;
    for (int64_t begin = 0; begin < p->k; begin += DEPTH) {
        const int64_t depth = p->k - begin < DEPTH ? p->k - begin : DEPTH;
        for (int64_t r = 0; r < cols; r++) MN_CPU(to_f32)
        (w + r * STRIDE, p->w + (size_t)((col + r) * p->k + begin) * size, p->dtype, depth);
        multiply(sums, ld, packed, w, p->k, begin, depth, padded_tokens(tokens), cols);
    }
    finish(p, token, tokens, col, cols, sums, ld);
}

/* Blocks of at most ROWS columns, as many for each thread, in multiples of 4. */
static int64_t block_columns(int64_t n, int64_t threads) {
    const int64_t share = (n + threads - 1) / threads, blocks = (share + ROWS - 1) / ROWS;
    const int64_t cols = ((share + blocks - 1) / blocks + 3) / 4 * 4;
    return cols < ROWS ? cols : ROWS;
}

size_t MN_CPU(gemm_bytes)(int64_t m, int64_t k) {
    const int64_t tokens = m < MAX_TOKENS ? m : MAX_TOKENS;
    return (size_t)(padded_tokens(tokens) * k) * sizeof(float);
}

void MN_CPU(gemm)(const mn_product *p) {
    _Static_assert((ROWS * STRIDE + ROWS * (MAX_TOKENS + VL)) * sizeof(float) <= MN_CPU_SCRATCH,
                   "the scratch of a thread holds a weight block and its sums");
    const int64_t width = block_columns(p->n, p->s->threads), blocks = (p->n + width - 1) / width;
    float *packed = p->s->input;
    for (int64_t token = 0; token < p->m; token += MAX_TOKENS) {
        const int64_t tokens = p->m - token < MAX_TOKENS ? p->m - token : MAX_TOKENS;
        pack_x(p->s, packed, p->x + token * p->k, tokens, p->k);
#pragma omp parallel for num_threads(p->s->threads) schedule(dynamic)
        for (int64_t i = 0; i < blocks; i++) {
            const int64_t col = i * width, cols = p->n - col < width ? p->n - col : width;
            columns(p, packed, token, tokens, col, cols,
                    mn_cpu_scratch(p->s, omp_get_thread_num()));
        }
    }
}
