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
    LANES = 16,
    TILE = 12, /* rows: 24 sums, 2 vectors and a broadcast in 32 registers */
#elif defined(__AVX2__)
    LANES = 8,
    TILE = 4, /* 8 sums, 2 vectors and a broadcast in 16 registers */
#else
    LANES = 4,
    TILE = 4,
#endif
};

/* One register: vec.h's vectors are several where registers are narrower, and their arrays then stay
 * in memory. */
typedef float reg __attribute__((vector_size(LANES * 4)));
typedef float reg_any __attribute__((vector_size(LANES * 4), aligned(1), may_alias));

/* Where a row panel's sums go. */
typedef struct target {
    float *y;
    int64_t ldy, rows, cols; /* of y that exist */
    bool add;
} target;

V_INLINE reg multiply_add(reg sum, float a, reg b, const bool pairs) {
#if defined(__AVX512F__)
    if (pairs) {
        __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(v_set(a)), "v"(b));
        return sum;
    }
#endif
    (void)pairs;
    return sum + a * b;
}

/* y = or += sums of one vector, of which the first `n` exist. */
V_INLINE void put(float *y, reg sum, bool add, int64_t n) {
    if (n >= LANES) {
        *(reg_any *)y = add ? sum + *(const reg_any *)y : sum;
        return;
    }
    for (int64_t i = 0; i < n; i++) y[i] = add ? sum[i] + y[i] : sum[i];
}

/* `rows` of a panel of a (units of row length `width`) times two vectors of a panel of b. */
V_TILE void tile(const target *t, const float *a, int64_t width, const float *b, int64_t depth,
                 int64_t row, int64_t col, const int rows, const bool pairs) {
    reg sum[2 * TILE];
    const int64_t ldy = t->ldy, left = t->cols - col; /* copies: stores to y cannot change them */
    const int64_t n = t->rows - row < rows ? t->rows - row : rows;
    const bool add = t->add;
    float *y = t->y + row * ldy + col;
#pragma GCC unroll 24
    for (int i = 0; i < 2 * rows; i++) sum[i] = (reg){0};
    for (int i = 0; i < n; i++)
        for (int v = 0; v < 2; v++) __builtin_prefetch(y + i * ldy + v * LANES, 1);
    for (int64_t d = 0; d < depth; d++) {
        reg bv[2];
        for (int v = 0; v < 2; v++) {
            bv[v] = *(const reg_any *)(b + d * COLS + v * LANES);
            __builtin_prefetch(b + (d + AHEAD) * COLS + v * LANES);
        }
        if (rows > 4) __builtin_prefetch(a + (d + AHEAD) * width);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++)
            for (int v = 0; v < 2; v++)
                sum[2 * i + v] = multiply_add(sum[2 * i + v], a[d * width + i], bv[v], pairs);
    }
    for (int i = 0; i < n; i++)
        for (int v = 0; v < 2; v++)
            put(y + i * ldy + v * LANES, sum[2 * i + v], add, left - v * LANES);
}

V_TILE void panel(const target *t, const float *a, int64_t width, const float *b, int64_t depth,
                  int64_t row, int64_t col, const bool pairs) {
    for (int64_t c = 0; c < COLS && col + c < t->cols; c += 2 * LANES) {
        if (TILE == 12 && width == 12) tile(t, a, 12, b + c, depth, row, col + c, TILE, pairs);
        else if (TILE == 12 && width == 8)
            tile(t, a, 8, b + c, depth, row, col + c, TILE * 2 / 3, pairs);
        else if (TILE == 12) tile(t, a, 4, b + c, depth, row, col + c, TILE / 3, pairs);
        else
            for (int64_t i = 0; i < width; i += TILE)
                tile(t, a + i, width, b + c, depth, row + i, col + c, TILE, pairs);
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
