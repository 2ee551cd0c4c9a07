/* isa_gemm.c - matrix products of many rows.
 *
 * The plan of GotoBLAS and BLIS (Goto and van de Geijn 2008): a is packed once into panels of 12 rows,
 * which all threads read; a thread owns blocks of output columns and packs a block of b, DEPTH x WIDTH,
 * into its scratch, where the second-level cache holds it for all rows. The inner loop keeps a tile
 * of 12 x 32 sums in registers: per unit of depth 12 broadcasts and 2 vectors for 24 multiply-adds.
 * The order of every sum is fixed by DEPTH alone: results depend neither on the number of threads nor
 * on the other rows. In bf16 a unit holds two numbers and one instruction does both (AVX512_BF16);
 * without it the numbers are rounded and multiplied as fp32, which is exact. */
#include "cpu/epilogue.h"
#include "cpu/gemm.h"

#include <omp.h>

enum {
    ROWS = 12,     /* of a panel of a; the last one has 4, 8 or 12 */
    COLS = 2 * VL, /* of a panel of b */
    DEPTH = 1024,  /* units per block of b */
    AHEAD = 12,    /* units: how far the inner loop fetches */
    WIDTH = 128,   /* columns per block of b, at most */
#if defined(__AVX512F__)
    TILE = 12, /* 24 sums, 2 vectors and a broadcast in 32 registers */
    VECTORS = 2,
#elif defined(__AVX2__)
    TILE = 4, /* a vector is two registers of 16 */
    VECTORS = 1,
#else
    TILE = 2,
    VECTORS = 1,
#endif
};

/* Where a row panel's sums go. */
typedef struct target {
    float *y;
    int64_t ldy, rows, cols; /* of y that exist */
    bool add;
} target;

V_INLINE vf multiply_add(vf sum, vf a, vf b, const bool pairs) {
#if defined(__AVX512F__)
    if (pairs) {
        __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
        return sum;
    }
#endif
    (void)pairs;
    return sum + a * b;
}

/* y = or += sums of one vector, of which the first `n` exist. */
V_INLINE void put(float *y, vf sum, bool add, int64_t n) {
    if (n >= VL) v_store(y, add ? sum + v_load(y) : sum);
    else if (n > 0) v_store_n(y, add ? sum + v_load_n(y, n) : sum, n);
}

/* `rows` of a panel of a (units of row length `width`) times `vectors` of a panel of b. */
V_TILE void tile(const target *t, const float *a, int64_t width, const float *b, int64_t depth,
                 int64_t row, int64_t col, const int rows, const int vectors, const bool pairs) {
    vf sum[TILE * VECTORS];
    const int64_t ldy = t->ldy, left = t->cols - col; /* copies: stores to y cannot change them */
    const bool add = t->add;
    float *y = t->y + row * ldy + col;
#pragma GCC unroll 24
    for (int i = 0; i < rows * vectors; i++) sum[i] = v_set(0);
    for (int i = 0; i < rows && row + i < t->rows; i++)
        for (int v = 0; v < vectors; v++) __builtin_prefetch(y + i * ldy + v * VL, 1);
    for (int64_t d = 0; d < depth; d++) {
        vf bv[VECTORS];
        for (int v = 0; v < vectors; v++) {
            bv[v] = v_load(b + d * COLS + v * VL);
            __builtin_prefetch(b + (d + AHEAD) * COLS + v * VL);
        }
        if (rows > 4) __builtin_prefetch(a + (d + AHEAD) * width);
        for (int i = 0; i < rows; i++) {
            const vf av = v_set(a[d * width + i]);
            for (int v = 0; v < vectors; v++)
                sum[i * vectors + v] = multiply_add(sum[i * vectors + v], av, bv[v], pairs);
        }
    }
    const int64_t n = t->rows - row < rows ? t->rows - row : rows;
    for (int i = 0; i < n; i++)
        for (int v = 0; v < vectors; v++)
            put(y + i * ldy + v * VL, sum[i * vectors + v], add, left - v * VL);
}

V_TILE void panel(const target *t, const float *a, int64_t width, const float *b, int64_t depth,
                  int64_t row, int64_t col, const bool pairs) {
    for (int v = 0; v < 2 && col + v * VL < t->cols; v += VECTORS) {
        const float *bv = b + v * VL;
        const int64_t at = col + v * VL;
        if (TILE == 12 && width == 12) tile(t, a, 12, bv, depth, row, at, TILE, VECTORS, pairs);
        else if (TILE == 12 && width == 8)
            tile(t, a, 8, bv, depth, row, at, TILE * 2 / 3, VECTORS, pairs);
        else if (TILE == 12) tile(t, a, 4, bv, depth, row, at, TILE / 3, VECTORS, pairs);
        else
            for (int64_t i = 0; i < width; i += TILE)
                tile(t, a + i, width, bv, depth, row + i, at, TILE, VECTORS, pairs);
    }
}

/* One panel of rows over a block of b, and then bias and activation while y is still near. */
static void row_panel(const mn_product *p, const target *t, mn_unit unit, const float *a,
                      int64_t width, const float *b, int64_t depth, int64_t row, int64_t col,
                      bool last) {
    for (int64_t j = 0; j < t->cols; j += COLS) {
        if (unit == MN_UNIT_PAIR) panel(t, a, width, b + j * depth, depth, row, j, true);
        else panel(t, a, width, b + j * depth, depth, row, j, false);
    }
    if (!last || (!p->bias && p->epilogue != MN_EPILOGUE_GELU)) return;
    for (int64_t i = row; i < row + width && i < p->m; i++)
        finish_row(t->y + i * t->ldy, NULL, p->bias ? p->bias + col : NULL, p->epilogue, t->cols);
}

static int64_t padded_rows(int64_t m) { return (m + 3) / 4 * 4; }

static int64_t units_of(const mn_product *p, mn_unit unit) {
    return unit == MN_UNIT_PAIR ? (p->k + 1) / 2 : p->k;
}

/* A block of columns: for every piece of the depth, b is packed and all rows go over it. */
static void columns(const mn_product *p, mn_unit unit, const float *packed, int64_t col,
                    int64_t cols, float *scratch) {
    const int64_t units = units_of(p, unit), rows = padded_rows(p->m);
    for (int64_t begin = 0; begin < units; begin += DEPTH) {
        const int64_t depth = units - begin < DEPTH ? units - begin : DEPTH;
        const target t = {.y = p->y + col,
                          .ldy = p->ldy,
                          .rows = p->m,
                          .cols = cols,
                          .add = begin > 0 || p->epilogue == MN_EPILOGUE_ADD};
        for (int64_t j = 0; j < cols; j += COLS)
            MN_CPU(pack_b)(scratch + j * depth, p, unit, col + j, cols - j, begin, depth);
        for (int64_t i = 0; i < rows; i += ROWS) {
            const int64_t width = rows - i < ROWS ? rows - i : ROWS;
            row_panel(p, &t, unit, packed + i * units + begin * width, width, scratch, depth, i,
                      col, begin + depth == units);
        }
    }
}

/* Blocks of at most WIDTH columns, as many for each thread, in whole panels. */
static int64_t block_columns(int64_t n, int64_t threads) {
    const int64_t share = (n + threads - 1) / threads, blocks = (share + WIDTH - 1) / WIDTH;
    const int64_t cols = ((share + blocks - 1) / blocks + COLS - 1) / COLS * COLS;
    return cols < WIDTH ? cols : WIDTH;
}

size_t MN_CPU(gemm_bytes)(int64_t m, int64_t k) {
    return (size_t)(padded_rows(m) * k) * sizeof(float);
}

void MN_CPU(gemm)(const mn_product *p) {
    _Static_assert(WIDTH * DEPTH * sizeof(float) <= MN_CPU_SCRATCH, "a block of b fits");
    const mn_unit unit = !p->bf16 ? MN_UNIT_F32 : p->s->bf16_pairs ? MN_UNIT_PAIR : MN_UNIT_ROUNDED;
    const int64_t width = block_columns(p->n, p->s->threads), blocks = (p->n + width - 1) / width;
    const int64_t units = units_of(p, unit), rows = padded_rows(p->m);
    float *packed = p->s->input;
#pragma omp parallel num_threads(p->s->threads)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < rows; i += ROWS) MN_CPU(pack_a)
        (packed + i * units, rows - i < ROWS ? rows - i : ROWS, p, unit, i, 0, units);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < blocks; i++) {
            const int64_t col = i * width, cols = p->n - col < width ? p->n - col : width;
            columns(p, unit, packed, col, cols, mn_cpu_scratch(p->s, omp_get_thread_num()));
        }
    }
}
