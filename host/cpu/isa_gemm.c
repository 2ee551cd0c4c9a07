/* isa_gemm.c - matrix products.
 *
 * The plan of GotoBLAS and BLIS (Goto and van de Geijn 2008): a is packed once into panels of 12 rows,
 * which all threads read; a thread owns blocks of output columns and packs a block of b, DEPTH x WIDTH,
 * into its scratch, where the second-level cache holds it for all rows. The inner loop keeps a tile
 * of 12 x 32 sums in registers: per unit of depth 12 broadcasts and 2 vectors for 24 multiply-adds. One
 * panel of rows (up to 12) reads weights in panels directly: nobody would read a packed block again.
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

/* Where the inner loop finds b: a block that was packed before, or panels of weights, converted on the
 * way. The latter when there is only one panel of rows: nobody would read the block again. */
typedef enum source { SOURCE_BLOCK, SOURCE_F16, SOURCE_BF16 } source;

#if defined(__AVX512F__)
V_INLINE reg load_half(const uint16_t *p, const source from) {
    return from == SOURCE_F16 ? v_load_f16(p) : v_load_bf16(p);
}
#endif

/* Sixteen columns of unit d of b. */
V_INLINE reg load_unit(const void *b, int64_t d, int64_t col, const source from, const bool pairs) {
#if defined(__AVX512F__)
    if (from != SOURCE_BLOCK) {
        const uint16_t *p = (const uint16_t *)b + (pairs ? 2 * d : d) * COLS + col;
        const reg low = load_half(p, from);
        return pairs ? v_join_bf16(low, load_half(p + COLS, from)) : low;
    }
#endif
    (void)from, (void)pairs;
    return *(const reg_any *)((const float *)b + d * COLS + col);
}

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
V_TILE void tile(const target *t, const float *a, int64_t width, const void *b, int64_t c,
                 int64_t depth, int64_t row, int64_t col, const int rows, const source from,
                 const bool pairs) {
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
            bv[v] = load_unit(b, d, c + v * LANES, from, pairs);
            if (from == SOURCE_BLOCK)
                __builtin_prefetch((const float *)b + (d + AHEAD) * COLS + c + v * LANES);
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

/* A panel of rows times a panel of b. */
V_TILE void panel(const target *t, const float *a, int64_t width, const void *b, int64_t depth,
                  int64_t row, int64_t col, const source from, const bool pairs) {
    for (int64_t c = 0; c < COLS && col + c < t->cols; c += 2 * LANES) {
        if (TILE == 12 && width == 12) tile(t, a, 12, b, c, depth, row, col + c, TILE, from, pairs);
        else if (TILE == 12 && width == 8)
            tile(t, a, 8, b, c, depth, row, col + c, TILE * 2 / 3, from, pairs);
        else if (TILE == 12 && width == 1) /* one token: memory is the limit */
            tile(t, a, 1, b, c, depth, row, col + c, 1, from, pairs);
        else if (TILE == 12) tile(t, a, 4, b, c, depth, row, col + c, TILE / 3, from, pairs);
        else
            for (int64_t i = 0; i < width; i += TILE)
                tile(t, a + i, width, b, c, depth, row + i, col + c, TILE, from, pairs);
    }
}

/* Bias and activation, while y is still near. */
static void finish(const mn_product *p, const target *t, int64_t row, int64_t rows, int64_t col) {
    if (!p->bias && p->epilogue != MN_EPILOGUE_GELU) return;
    for (int64_t i = row; i < row + rows && i < p->m; i++)
        finish_row(t->y + i * t->ldy, NULL, p->bias ? p->bias + col : NULL, p->epilogue, t->cols);
}

/* Weights in panels that come next: while a block is multiplied they are fetched from memory, a few lines
 * with each tile, so that packing them finds them in the second-level cache. */
typedef struct ahead {
    const mn_product *p;
    int64_t col, depth, lines; /* lines of one unit of k: from (col, depth) on, `lines` per panel */
    int64_t done, all, step;
} ahead;

static void fetch(ahead *next) {
    const int64_t end = next->done + next->step < next->all ? next->done + next->step : next->all;
    for (; next->done < end; next->done++) {
        const int64_t panel = next->done / next->lines, line = next->done % next->lines;
        __builtin_prefetch(
            mn_panel_at(next->p, next->p->k, next->col + panel * COLS, next->depth + line), 0, 2);
    }
}

/* One panel of rows over a packed block of b. */
static void row_panel(const target *t, mn_unit unit, const float *a, int64_t width, const float *b,
                      int64_t depth, int64_t row, ahead *next) {
    for (int64_t j = 0; j < t->cols; j += COLS) {
        const float *bj = b + j * depth;
        fetch(next);
        if (unit == MN_UNIT_PAIR) panel(t, a, width, bj, depth, row, j, SOURCE_BLOCK, true);
        else panel(t, a, width, bj, depth, row, j, SOURCE_BLOCK, false);
    }
}

static int64_t padded_rows(int64_t m) { return (m + 3) / 4 * 4; }

static int64_t units_of(const mn_product *p, mn_unit unit) {
    return unit == MN_UNIT_PAIR ? (p->k + 1) / 2 : p->k;
}

/* Columns [col, col + cols) of the product. */
typedef struct block {
    int64_t col, cols;
} block;

/* What comes behind units [.., end) of a block: its own next piece, or the first one of the next block. */
static ahead look_ahead(const mn_product *p, mn_unit unit, const block *now, const block *next,
                        int64_t end) {
    const int64_t per = unit == MN_UNIT_PAIR ? 2 : 1, depth = end * per;
    const block *from = depth < p->k ? now : next;
    ahead a = {.p = p, .col = from->col, .depth = depth < p->k ? depth : 0};
    if (!p->panels || p->b_depth != 1) return a;
    a.lines = p->k - a.depth < DEPTH * per ? p->k - a.depth : DEPTH * per;
    a.all = a.lines * ((from->cols + COLS - 1) / COLS);
    const int64_t tiles = (padded_rows(p->m) + ROWS - 1) / ROWS * ((now->cols + COLS - 1) / COLS);
    a.step = (a.all + tiles - 1) / tiles;
    return a;
}

/* For every piece of the depth, b is packed and all rows go over it. */
static void multiply(const mn_product *p, mn_unit unit, const float *packed, const block *now,
                     const block *next, float *scratch) {
    const int64_t units = units_of(p, unit), rows = padded_rows(p->m), cols = now->cols;
    for (int64_t begin = 0; begin < units; begin += DEPTH) {
        const int64_t depth = units - begin < DEPTH ? units - begin : DEPTH;
        const target t = {.y = p->y + now->col,
                          .ldy = p->ldy,
                          .rows = p->m,
                          .cols = cols,
                          .add = begin > 0 || p->epilogue == MN_EPILOGUE_ADD};
        ahead fetched = look_ahead(p, unit, now, next, begin + depth);
        for (int64_t j = 0; j < cols; j += COLS)
            MN_CPU(pack_b)(scratch + j * depth, p, unit, now->col + j, cols - j, begin, depth);
        for (int64_t i = 0; i < rows; i += ROWS) {
            const int64_t width = rows - i < ROWS ? rows - i : ROWS;
            row_panel(&t, unit, packed + i * units + begin * width, width, scratch, depth, i,
                      &fetched);
            if (begin + depth == units) finish(p, &t, i, width, now->col);
        }
    }
}

/* Rows of the only panel of a. A single one is not padded. */
static int64_t stream_width(const mn_product *p) { return p->m == 1 ? 1 : padded_rows(p->m); }

#if defined(__AVX512F__)
/* One panel of rows over one panel of weights, as they lie there. */
V_TILE void stream(const mn_product *p, const float *packed, int64_t col, const source from,
                   const bool pairs) {
    const int64_t per = pairs ? 2 : 1, units = (p->k + per - 1) / per, width = stream_width(p);
    target t = {.y = p->y + col, .ldy = p->ldy, .rows = p->m};
    t.cols = p->n - col < COLS ? p->n - col : COLS;
    for (int64_t begin = 0; begin < units; begin += DEPTH) {
        const int64_t depth = units - begin < DEPTH ? units - begin : DEPTH;
        t.add = begin > 0 || p->epilogue == MN_EPILOGUE_ADD;
        panel(&t, packed + begin * width, width, mn_panel_at(p, p->k, col, begin * per), depth, 0,
              0, from, pairs);
    }
    finish(p, &t, 0, p->m, col);
}

static bool streams(const mn_product *p, mn_unit unit) {
    return p->panels && p->b_depth == 1 && p->m <= ROWS && unit != MN_UNIT_ROUNDED &&
           (size_t)(stream_width(p) * units_of(p, unit)) * sizeof(float) <= MN_CPU_SCRATCH;
}

static void stream_columns(const mn_product *p, mn_unit unit, const float *packed, int64_t col) {
    if (p->dtype == MN_F16 && unit == MN_UNIT_PAIR) stream(p, packed, col, SOURCE_F16, true);
    else if (p->dtype == MN_F16) stream(p, packed, col, SOURCE_F16, false);
    else if (unit == MN_UNIT_PAIR) stream(p, packed, col, SOURCE_BF16, true);
    else stream(p, packed, col, SOURCE_BF16, false);
}
#else
static bool streams(const mn_product *p, mn_unit unit) {
    (void)p, (void)unit;
    return false;
}

static void stream_columns(const mn_product *p, mn_unit unit, const float *packed, int64_t col) {
    (void)p, (void)unit, (void)packed, (void)col;
}
#endif

/* The only panel of a over all panels of weights: every thread packs a copy of its own, so that nobody waits
 * for it. A single row of fp32 is used where it lies. */
static void stream_all(const mn_product *p, mn_unit unit) {
    const int64_t units = units_of(p, unit), width = stream_width(p);
#pragma omp parallel num_threads(p->s->threads)
    {
        const float *packed = p->a;
        if (width > 1 || unit != MN_UNIT_F32) {
            float *own = mn_cpu_scratch(p->s, omp_get_thread_num());
            MN_CPU(pack_a)(own, width, p, unit, 0, 0, units);
            packed = own;
        }
#pragma omp for schedule(static) nowait /* one sequential stream for each thread */
        for (int64_t col = 0; col < p->n; col += COLS) stream_columns(p, unit, packed, col);
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

/* Takes the next block that no thread has; one without columns behind the last. */
static block take(int64_t *taken, const mn_product *p, int64_t width) {
    int64_t i;
#pragma omp atomic capture
    i = (*taken)++;
    const int64_t col = i * width, left = p->n - col;
    return (block){.col = col, .cols = left < 0 ? 0 : left < width ? left : width};
}

void MN_CPU(gemm)(const mn_product *p) {
    _Static_assert(WIDTH * DEPTH * sizeof(float) <= MN_CPU_SCRATCH, "a block of b fits");
    const mn_unit unit = !p->bf16 ? MN_UNIT_F32 : p->s->bf16_pairs ? MN_UNIT_PAIR : MN_UNIT_ROUNDED;
    const int64_t width = block_columns(p->n, p->s->threads);
    const int64_t units = units_of(p, unit), rows = padded_rows(p->m);
    float *packed = p->s->input;
    int64_t taken = 0;
    if (streams(p, unit)) {
        stream_all(p, unit);
        return;
    }
#pragma omp parallel num_threads(p->s->threads)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < rows; i += ROWS) MN_CPU(pack_a)
        (packed + i * units, rows - i < ROWS ? rows - i : ROWS, p, unit, i, 0, units);
        float *scratch = mn_cpu_scratch(p->s, omp_get_thread_num());
        for (block now = take(&taken, p, width), next; now.cols > 0; now = next) {
            next = take(&taken, p, width);
            multiply(p, unit, packed, &now, &next, scratch);
        }
    }
}
