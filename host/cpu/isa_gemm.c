/* isa_gemm.c - matrix products of many rows.
 *
 * The plan of GotoBLAS and BLIS (Goto and van de Geijn 2008): a is packed once into panels of 12 rows,
 * which all threads read; a thread owns blocks of output columns and packs a block of b, DEPTH x WIDTH,
 * into its scratch, where the second-level cache holds it for all rows. The inner loop keeps a tile
 * of 12 x 32 sums in registers: per unit of depth 12 broadcasts and 2 vectors for 24 multiply-adds.
 * The order of every sum is fixed by DEPTH alone: results depend neither on the number of threads nor
 * on the other rows. In bf16 a unit holds two numbers and one instruction does both (AVX512_BF16);
 * without it the numbers are rounded and multiplied as fp32, which is exact. */
#include "cpu/gemm.h"
#include "cpu/vec.h"

#include <omp.h>

enum {
    ROWS = 12,     /* of a panel of a; the last one has 4, 8 or 12 */
    COLS = 2 * VL, /* of a panel of b */
    DEPTH = 1024,  /* units per block of b */
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

/* What a tile adds its sums to, and what it does with them. */
typedef struct tile_end {
    float *y;
    int64_t ldy, rows, cols; /* of y that exist */
    const float *bias;
    bool add, gelu;
} tile_end;

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

V_INLINE void finish(const tile_end *e, vf sum, int64_t row, int64_t col) {
    const int64_t n = e->cols - col < VL ? e->cols - col : VL;
    if (n <= 0 || row >= e->rows) return;
    float *y = e->y + row * e->ldy + col;
    if (e->add) sum += n == VL ? v_load(y) : v_load_n(y, n);
    if (e->bias) sum += n == VL ? v_load(e->bias + col) : v_load_n(e->bias + col, n);
    if (e->gelu) sum = v_gelu(sum);
    if (n == VL) v_store(y, sum);
    else v_store_n(y, sum, n);
}

/* `rows` of a panel of a (units of row length `width`) times `vectors` of a panel of b. */
V_TILE void tile(const tile_end *e, const float *a, int64_t width, const float *b, int64_t depth,
                 int64_t row, int64_t col, const int rows, const int vectors, const bool pairs) {
    vf sum[TILE * VECTORS];
    for (int i = 0; i < rows * vectors; i++) sum[i] = v_set(0);
    for (int i = 0; i < rows && row + i < e->rows; i++)
        for (int v = 0; v < vectors; v++)
            __builtin_prefetch(e->y + (row + i) * e->ldy + col + v * VL, 1);
    for (int64_t d = 0; d < depth; d++) {
        vf bv[VECTORS];
        for (int v = 0; v < vectors; v++) {
            bv[v] = v_load(b + d * COLS + v * VL);
            __builtin_prefetch(b + (d + 12) * COLS + v * VL);
        }
        if (rows == 12) __builtin_prefetch(a + (d + 16) * 12);
        for (int i = 0; i < rows; i++) {
            const vf av = v_set(a[d * width + i]);
            for (int v = 0; v < vectors; v++)
                sum[i * vectors + v] = multiply_add(sum[i * vectors + v], av, bv[v], pairs);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) finish(e, sum[i * vectors + v], row + i, col + v * VL);
}

V_TILE void panel(const tile_end *e, const float *a, int64_t width, const float *b, int64_t depth,
                  int64_t row, int64_t col, const bool pairs) {
    for (int v = 0; v < 2 && col + v * VL < e->cols; v += VECTORS) {
        const float *bv = b + v * VL;
        const int64_t at = col + v * VL;
        if (TILE == 12 && width == 12) tile(e, a, 12, bv, depth, row, at, TILE, VECTORS, pairs);
        else if (TILE == 12 && width == 8)
            tile(e, a, 8, bv, depth, row, at, TILE * 2 / 3, VECTORS, pairs);
        else if (TILE == 12) tile(e, a, 4, bv, depth, row, at, TILE / 3, VECTORS, pairs);
        else
            for (int64_t i = 0; i < width; i += TILE)
                tile(e, a + i, width, bv, depth, row + i, at, TILE, VECTORS, pairs);
    }
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
        const bool last = begin + depth == units;
        const tile_end e = {.y = p->y + col,
                            .ldy = p->ldy,
                            .rows = p->m,
                            .cols = cols,
                            .bias = last && p->bias ? p->bias + col : NULL,
                            .add = begin > 0 || p->epilogue == MN_EPILOGUE_ADD,
                            .gelu = last && p->epilogue == MN_EPILOGUE_GELU};
        for (int64_t j = 0; j < cols; j += COLS)
            MN_CPU(pack_b)(scratch + j * depth, p, unit, col + j, cols - j, begin, depth);
        for (int64_t i = 0; i < rows; i += ROWS) {
            const int64_t width = rows - i < ROWS ? rows - i : ROWS;
            const float *a = packed + i * units + begin * width;
            for (int64_t j = 0; j < cols; j += COLS) {
                if (unit == MN_UNIT_PAIR)
                    panel(&e, a, width, scratch + j * depth, depth, i, j, true);
                else panel(&e, a, width, scratch + j * depth, depth, i, j, false);
            }
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
