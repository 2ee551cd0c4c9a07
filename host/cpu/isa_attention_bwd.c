/* isa_attention_bwd.c - gradients of causal attention (Dao et al. 2022).
 *
 * With p = exp(scale q k - lse) and delta = <dout, out>:
 *     dv = sum p dout,   ds = p (<dout, v> - delta),   dq = scale sum ds k,   dk = scale sum ds q.
 * One thread owns a (sequence, key-value head) with all query heads that read it, in order: sums are
 * its own, so that they do not depend on the number of threads. It takes a tile of TILE keys, whose dk
 * and dv stay in scratch, and walks over the tiles of queries that see it. All five products of a pair
 * of tiles are `multiply`: broadcast rows of one factor times vectors of the other. Blocks of a tile
 * above the diagonal are left out. */
#include "cpu/isa.h"
#include "cpu/transpose.h"
#include "cpu/vec.h"

#include <math.h>
#include <omp.h>

enum {
    TILE = 64, /* keys or queries */
    BLOCKS = TILE / MN_KV_BLOCK,
    MAX_HEAD = 512,
    AHEAD = 8, /* rows to prefetch */
#if defined(__AVX512F__)
    ROWS = 8, /* 16 sums, 2 vectors and a broadcast in 32 registers */
    VECTORS = 2
#elif defined(__AVX2__)
    ROWS = 4, /* a vector is two registers of 16 */
    VECTORS = 1
#else
    ROWS = 2,
    VECTORS = 1
#endif
};

typedef struct gradient {
    float *dq, *dk, *dv, *delta;
    const float *dout, *out, *q, *lse;
    mn_kv_layer kv;
    int64_t heads, padded; /* padded: head size in whole vectors */
    float scale;
} gradient;

/* A thread's scratch. Rows of `padded` elements, zeros behind the head's own. */
typedef struct tiles {
    float *p, *ds;   /* [query][key] */
    float *q, *dout; /* scaled queries; their gradients */
    float *k;        /* scaled keys, by row */
    float *vt;       /* values as the cache keeps keys: [row / 16][D][16] */
    float *dk, *dv;
    float *dq; /* of ROWS queries */
} tiles;

enum { TILES_FLOATS = 2 * TILE * TILE + (6 * TILE + ROWS) * MAX_HEAD };

/* One behind the other, so that small heads touch little memory. */
static tiles lay_out(float *scratch, int64_t padded) {
    float *const wide = scratch + 2 * TILE * TILE;
    const int64_t size = TILE * padded;
    return (tiles){.p = scratch,
                   .ds = scratch + TILE * TILE,
                   .q = wide,
                   .dout = wide + size,
                   .k = wide + 2 * size,
                   .vt = wide + 3 * size,
                   .dk = wide + 4 * size,
                   .dv = wide + 5 * size,
                   .dq = wide + 6 * size};
}

/* The keys of a tile: rows [at, at + TILE) of the cache, of which [low, high) belong to the sequence. */
typedef struct key_tile {
    const mn_attn_seq *seq;
    int64_t head; /* of keys and values */
    int64_t at, low, high;
} key_tile;

/* c (rows, vectors x VL; ldc) = or += a b over `depth`. Element (row, i) of a is a[row * a_row + i * a_step],
 * vector v of b's row i begins at b[i * b_step + v * b_vector]. */
V_TILE void multiply(float *c, int64_t ldc, const float *a, int64_t a_row, int64_t a_step,
                     const float *b, int64_t b_step, int64_t b_vector, int64_t depth, bool add,
                     const int vectors) {
    vf sum[ROWS * VECTORS];
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vectors; v++)
            sum[r * vectors + v] = add ? v_load(c + r * ldc + v * VL) : v_set(0);
    for (int64_t i = 0; i < depth; i++) {
        vf bv[VECTORS];
        for (int v = 0; v < vectors; v++) bv[v] = v_load(b + i * b_step + v * b_vector);
        for (int r = 0; r < ROWS; r++) {
            const vf ar = v_set(a[r * a_row + i * a_step]);
            for (int v = 0; v < vectors; v++) sum[r * vectors + v] += ar * bv[v];
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vectors; v++) v_store(c + r * ldc + v * VL, sum[r * vectors + v]);
}

/* ---- Into and out of the tiles ------------------------------------------------------------------ */

V_INLINE vf load(const float *p, int64_t n) { return n >= VL ? v_load(p) : v_load_n(p, n); }

/* Rows of one head stand a page apart, where the processor does not foresee them. */
static void prefetch_rows(const float *p, int64_t stride, int64_t rows, int64_t dim) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t d = 0; d < dim; d += VL) __builtin_prefetch(p + r * stride + d);
}

/* to (rows, padded) = factor * from, rows of which stand `stride` apart; `count` rows exist. */
static void pack_rows(float *to, const float *from, int64_t stride, float factor, int64_t count,
                      int64_t rows, int64_t dim) {
    const int64_t padded = mn_round16(dim);
    for (int64_t r = 0; r < count; r++) {
        if (r + AHEAD < count) prefetch_rows(from + (r + AHEAD) * stride, 0, 1, dim);
        for (int64_t d = 0; d < dim; d += VL)
            v_store(to + r * padded + d, factor * load(from + r * stride + d, dim - d));
    }
    memset(to + count * padded, 0, (size_t)((rows - count) * padded) * sizeof *to);
}

/* Keys by row and values by dimension. Rows of others are 0 in both, whatever they hold. */
static void pack_keys(const tiles *t, const gradient *g, const key_tile *kt) {
    const int64_t dim = g->kv.head_dim, padded = g->padded, cache = mn_round16(g->kv.rows);
    for (int64_t b = 0; b < BLOCKS && b * VL < kt->high; b++) {
        const float *k = g->kv.k + kt->head * cache * dim + (kt->at + b * VL) * dim;
        const float *v = g->kv.v + (kt->head * cache + kt->at + b * VL) * padded;
        for (int64_t d = 0; d < padded; d += VL) {
            vf r[VL];
            for (int i = 0; i < VL; i++)
                r[i] = d + i < dim ? v_load(k + (d + i) * VL) * g->scale : v_set(0);
            v_transpose(r);
            for (int64_t i = 0; i < VL; i++) {
                const bool own = b * VL + i >= kt->low && b * VL + i < kt->high;
                v_store(t->k + (b * VL + i) * padded + d, own ? r[i] : v_set(0));
                r[i] = own ? v_load(v + i * padded + d) : v_set(0);
            }
            v_transpose(r);
            for (int i = 0; i < VL && d + i < dim; i++)
                v_store(t->vt + (b * dim + d + i) * VL, r[i]);
        }
    }
}

/* dk and dv of the sequence's own rows of the tile. */
static void unpack_keys(const gradient *g, const tiles *t, const key_tile *kt) {
    const int64_t dim = g->kv.head_dim;
    for (int64_t r = kt->low; r < kt->high; r++) {
        const int64_t token = kt->seq->q_begin + kt->at + r - kt->seq->own_begin;
        const int64_t to = (token * g->kv.kv_heads + kt->head) * dim;
        memcpy(g->dk + to, t->dk + r * g->padded, (size_t)dim * sizeof *g->dk);
        memcpy(g->dv + to, t->dv + r * g->padded, (size_t)dim * sizeof *g->dv);
    }
}

/* ---- One pair of tiles -------------------------------------------------------------------------- */

/* From scores and dp of a query to p and ds; it sees the keys [low, high) of the tile. */
V_INLINE void soften(float *p, float *ds, float lse, float delta, int64_t low, int64_t high,
                     int64_t keys) {
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    int64_t key = 0;
    for (; low == 0 && key + VL <= high; key += VL) { /* all of them */
        const vf e = v_exp(v_load(p + key) - lse);
        v_store(p + key, e);
        v_store(ds + key, e * (v_load(ds + key) - delta));
    }
    for (; key < keys; key += VL) {
        const vi at = lane + (int32_t)key;
        const vi seen = (at >= (int32_t)low) & (at < (int32_t)high);
        const vf e = v_select(seen, v_exp(v_load(p + key) - lse), v_set(0));
        v_store(p + key, e);
        v_store(ds + key, v_select(seen, e * (v_load(ds + key) - delta), v_set(0)));
    }
}

/* c (ROWS, columns) = or += a b, where columns is a multiple of VL. */
static void multiply_row(float *c, int64_t ldc, const float *a, int64_t a_row, int64_t a_step,
                         const float *b, int64_t b_step, int64_t b_vector, int64_t depth, bool add,
                         int64_t columns) {
    int64_t j = 0;
    for (; j + VECTORS * VL <= columns; j += VECTORS * VL)
        multiply(c + j, ldc, a, a_row, a_step, b + j / VL * b_vector, b_step, b_vector, depth, add,
                 VECTORS);
    for (; j < columns; j += VL)
        multiply(c + j, ldc, a, a_row, a_step, b + j / VL * b_vector, b_step, b_vector, depth, add,
                 1);
}

/* p and ds of ROWS queries from `row` of the tile on, and what they add to dq. The first query of the
 * tile is number `first` of the sequence. */
static void query_rows(const tiles *t, const gradient *g, const key_tile *kt, int64_t head,
                       int64_t first, int64_t row, int64_t count) {
    const int64_t dim = g->kv.head_dim, padded = g->padded, cache = mn_round16(g->kv.rows);
    const float *keys = g->kv.k + kt->head * cache * dim + kt->at * dim;
    const int64_t diagonal = kt->seq->own_begin + first - kt->at; /* where query `first` stands */
    const int64_t last = diagonal + row + ROWS;
    const int64_t high = last < kt->high ? last : kt->high, width = mn_round16(high);
    const int64_t token = kt->seq->q_begin + first + row, stride = g->heads * dim;
    const int64_t exist = count - row < ROWS ? count - row : ROWS;
    float *p = t->p + row * TILE, *ds = t->ds + row * TILE;
    float *dq = g->dq + (token * g->heads + head) * dim;
    prefetch_rows(dq, stride, exist, dim);
    multiply_row(p, TILE, t->q + row * padded, padded, 1, keys, VL, VL * dim, dim, false, width);
    multiply_row(ds, TILE, t->dout + row * padded, padded, 1, t->vt, VL, VL * dim, dim, false,
                 width);
    for (int64_t i = 0; i < ROWS; i++) {
        const bool exists = i < exist;
        const int64_t at = (token + i) * g->heads + head, seen = diagonal + row + i + 1;
        soften(p + i * TILE, ds + i * TILE, exists ? g->lse[at] : 0, exists ? g->delta[at] : 0,
               kt->low,
               !exists           ? 0
               : seen < kt->high ? seen
                                 : kt->high,
               width);
    }
    multiply_row(t->dq, padded, ds, TILE, 1, t->k, padded, VL, high, false, padded);
    for (int64_t i = 0; i < exist; i++)
        for (int64_t d = 0; d < dim; d++) dq[i * stride + d] += t->dq[i * padded + d];
}

/* What `count` queries from number `first` on add to dk and dv of the tile, and their dq. */
static void query_tile(const tiles *t, const gradient *g, const key_tile *kt, int64_t head,
                       int64_t first, int64_t count) {
    const int64_t dim = g->kv.head_dim, padded = g->padded;
    const int64_t rows = (count + ROWS - 1) / ROWS * ROWS;
    const int64_t at = ((kt->seq->q_begin + first) * g->heads + head) * dim;
    const int64_t stride = g->heads * dim;
    pack_rows(t->q, g->q + at, stride, g->scale, count, rows, dim);
    pack_rows(t->dout, g->dout + at, stride, 1, count, rows, dim);
    for (int64_t row = 0; row < rows; row += ROWS) query_rows(t, g, kt, head, first, row, count);
    for (int64_t key = 0; key < kt->high; key += ROWS) {
        const int64_t sees = kt->at + key - kt->seq->own_begin -
                             first; /* the first query that does */
        const int64_t begin = sees > 0 ? sees / ROWS * ROWS : 0;
        if (begin >= rows) break;
        const float *p = t->p + begin * TILE + key, *ds = t->ds + begin * TILE + key;
        multiply_row(t->dv + key * padded, padded, p, 1, TILE, t->dout + begin * padded, padded, VL,
                     rows - begin, true, padded);
        multiply_row(t->dk + key * padded, padded, ds, 1, TILE, t->q + begin * padded, padded, VL,
                     rows - begin, true, padded);
    }
}

/* ---- One sequence and key-value head ------------------------------------------------------------ */

/* delta = <dout, out>, and dq = 0. */
static void prepare(const gradient *g, const mn_attn_seq *seq, int64_t head) {
    const int64_t dim = g->kv.head_dim, ahead = AHEAD * g->heads * dim;
    for (int64_t i = 0; i < seq->q_len; i++) {
        const int64_t token = (seq->q_begin + i) * g->heads + head, at = token * dim;
        if (i + AHEAD < seq->q_len) {
            prefetch_rows(g->dout + at + ahead, 0, 1, dim);
            prefetch_rows(g->out + at + ahead, 0, 1, dim);
        }
        vf sum = v_set(0);
        for (int64_t d = 0; d < dim; d += VL)
            sum += load(g->dout + at + d, dim - d) * load(g->out + at + d, dim - d);
        g->delta[token] = v_sum(sum);
        memset(g->dq + at, 0, (size_t)dim * sizeof *g->dq);
    }
}

static void sequence_head(const tiles *t, const gradient *g, const mn_attn_seq *seq,
                          int64_t kv_head) {
    const int64_t group = g->heads / g->kv.kv_heads, begin = seq->own_begin,
                  end = begin + seq->own_len;
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; h++) prepare(g, seq, h);
    for (int64_t at = begin / VL * VL; at < end; at += TILE) {
        const key_tile kt = {.seq = seq,
                             .head = kv_head,
                             .at = at,
                             .low = at < begin ? begin - at : 0,
                             .high = end - at < TILE ? end - at : TILE};
        pack_keys(t, g, &kt);
        memset(t->dk, 0, (size_t)(TILE * g->padded) * sizeof *t->dk);
        memset(t->dv, 0, (size_t)(TILE * g->padded) * sizeof *t->dv);
        const int64_t sees = at > begin ? at - begin : 0;
        for (int64_t h = kv_head * group; h < (kv_head + 1) * group; h++)
            for (int64_t i = sees; i < seq->q_len; i += TILE)
                query_tile(t, g, &kt, h, i, seq->q_len - i < TILE ? seq->q_len - i : TILE);
        unpack_keys(g, t, &kt);
    }
}

mn_status MN_CPU(attention_bwd)(mn_stream *s, float *dq, float *dk, float *dv, float *delta,
                                const float *dout, const float *out, const float *q, mn_kv_layer kv,
                                const float *lse, const mn_attn_seqs *seqs, int64_t heads,
                                float scale) {
    _Static_assert(TILES_FLOATS * sizeof(float) <= MN_CPU_SCRATCH,
                   "a thread's tiles fit into its scratch");
    const gradient g = {.dq = dq,
                        .dk = dk,
                        .dv = dv,
                        .delta = delta,
                        .dout = dout,
                        .out = out,
                        .q = q,
                        .lse = lse,
                        .kv = kv,
                        .heads = heads,
                        .padded = mn_round16(kv.head_dim),
                        .scale = scale};
#pragma omp parallel for num_threads(s->threads) collapse(2) schedule(dynamic)
    for (int64_t n = 0; n < seqs->count; n++)
        for (int64_t c = 0; c < kv.kv_heads; c++) {
            const tiles t = lay_out(mn_cpu_scratch(s, omp_get_thread_num()), g.padded);
            sequence_head(&t, &g, &seqs->host[n], c);
        }
    return MN_OK;
}
