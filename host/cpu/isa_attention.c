/* isa_attention.c - attention of packed sequences over shared spans and their own causal rows.
 *
 * One thread owns a (sequence, head). Its queries, 48 at a time, walk over the keys in chunks of 64 with an
 * online softmax (Milakov and Gimelshein 2018): scores of the chunk, new maximum, old sums rescaled, values
 * added, for up to 12 queries in registers. Nothing is larger than the chunk, so long contexts cost no
 * memory. In bf16 a chunk's keys and values become pairs first (AVX512_BF16: one instruction multiplies
 * both): keys along the dimension, values along the keys. */
#include "cpu/isa.h"
#include "cpu/vec.h"

#include <math.h>

enum {
    QUERIES = 12, /* in registers */
    GROUP = 48,   /* read a chunk while it is near */
    CHUNK = 64,
    BLOCKS = CHUNK / MN_KV_BLOCK,
    MAX_HEAD = 512
};

typedef struct walk {
    float q[GROUP * MAX_HEAD]; /* scaled queries, [query][D], or [query][D / 2] pairs */
    float o[GROUP * MAX_HEAD]; /* unnormalised outputs, [query][Dv] */
    float p[QUERIES * CHUNK];  /* scores, then probabilities, or pairs of them in the first half */
    float max[GROUP], sum[GROUP];
    float k[CHUNK * MAX_HEAD / 2]; /* a chunk in pairs, [block][D / 2][16] */
    float v[CHUNK * MAX_HEAD / 2]; /* [key / 2][Dv] */
} walk;

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

/* Scores of `queries` against 32 keys: p[i][0..31] = q[i] . k. */
V_TILE void score_pair(float *p, const float *q, const float *k, int64_t dim, const int queries,
                       const bool pairs) {
    vf a[QUERIES], b[QUERIES];
    const float *k2 = k + MN_KV_BLOCK * dim;
    for (int i = 0; i < queries; i++) a[i] = b[i] = v_set(0);
    for (int64_t d = 0; d < dim; d++) {
        const vf ka = v_load(k + d * MN_KV_BLOCK), kb = v_load(k2 + d * MN_KV_BLOCK);
        for (int i = 0; i < queries; i++) {
            const vf qd = v_set(q[i * dim + d]);
            a[i] = multiply_add(a[i], qd, ka, pairs);
            b[i] = multiply_add(b[i], qd, kb, pairs);
        }
    }
    for (int i = 0; i < queries; i++) {
        v_store(p + i * CHUNK, a[i]);
        v_store(p + i * CHUNK + VL, b[i]);
    }
}

V_TILE void score_block(float *p, const float *q, const float *k, int64_t dim, const int queries,
                        const bool pairs) {
    vf a[QUERIES];
    for (int i = 0; i < queries; i++) a[i] = v_set(0);
    for (int64_t d = 0; d < dim; d++) {
        const vf ka = v_load(k + d * MN_KV_BLOCK);
        for (int i = 0; i < queries; i++)
            a[i] = multiply_add(a[i], v_set(q[i * dim + d]), ka, pairs);
    }
    for (int i = 0; i < queries; i++) v_store(p + i * CHUNK, a[i]);
}

/* o[i] += sum over keys, or pairs of them, of p[i][key] v[key]. */
V_TILE void add_values(float *o, const float *p, const float *v, int64_t keys, int64_t padded,
                       const int queries, const bool pairs) {
    int64_t d = 0;
    for (; d + 2 * VL <= padded; d += 2 * VL) {
        vf a[QUERIES], b[QUERIES];
        for (int i = 0; i < queries; i++) {
            a[i] = v_load(o + i * padded + d);
            b[i] = v_load(o + i * padded + d + VL);
        }
        for (int64_t key = 0; key < keys; key++) {
            const vf va = v_load(v + key * padded + d), vb = v_load(v + key * padded + d + VL);
            for (int i = 0; i < queries; i++) {
                const vf pk = v_set(p[i * CHUNK + key]);
                a[i] = multiply_add(a[i], pk, va, pairs);
                b[i] = multiply_add(b[i], pk, vb, pairs);
            }
        }
        for (int i = 0; i < queries; i++) {
            v_store(o + i * padded + d, a[i]);
            v_store(o + i * padded + d + VL, b[i]);
        }
    }
    if (d == padded) return;
    vf a[QUERIES];
    for (int i = 0; i < queries; i++) a[i] = v_load(o + i * padded + d);
    for (int64_t key = 0; key < keys; key++)
        for (int i = 0; i < queries; i++)
            a[i] = multiply_add(a[i], v_set(p[i * CHUNK + key]), v_load(v + key * padded + d),
                                pairs);
    for (int i = 0; i < queries; i++) v_store(o + i * padded + d, a[i]);
}

/* Turns the chunk's scores of a query (number i of its tile, with sums at `at`) into probabilities; keys
 * outside [low, high) of the chunk have none. Rescales the query's earlier sums to the new maximum. */
static void soften(walk *w, int i, int64_t at, int64_t low, int64_t high, int blocks,
                   int64_t padded) {
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    float *p = w->p + i * CHUNK, *o = w->o + at * padded;
    vf best = v_set(-INFINITY), sum = v_set(0);
    for (int b = 0; b < blocks; b++) {
        const vi key = lane + b * VL;
        const vf s = v_select((key >= (int32_t)low) & (key < (int32_t)high), v_load(p + b * VL),
                              v_set(-INFINITY));
        v_store(p + b * VL, s);
        best = v_max(s, best);
    }
    const float chunk_max = v_max_of(best);
    const float max = chunk_max > w->max[at] ? chunk_max : w->max[at];
    if (max > w->max[at] && w->sum[at] > 0) {
        const float shrink = expf(w->max[at] - max);
        w->sum[at] *= shrink;
        for (int64_t d = 0; d < padded; d += VL) v_store(o + d, v_load(o + d) * shrink);
    }
    w->max[at] = max;
    for (int b = 0; b < blocks; b++) {
        const vf e = v_exp(v_load(p + b * VL) - max);
        v_store(p + b * VL, e);
        sum += e;
    }
    w->sum[at] += v_sum(sum);
}

/* ---- pairs of bf16 ---- */

/* n numbers to neighbours in pairs, the last one's partner being zero; `to` may be `from`. */
V_INLINE void pair_up(float *to, const float *from, int64_t n) {
    for (int64_t i = 0; i < n; i += VL) {
        const int64_t left = n - i < VL ? n - i : VL;
        const vf x = left == VL ? v_load(from + i) : v_load_n(from + i, left);
        vf8 pairs;
#if defined(__AVX512F__)
        __asm__("vcvtneps2bf16 %1, %0" : "=v"(pairs) : "v"(x));
#else
        const vh halves = __builtin_convertvector(v_bf16_bits(x), vh);
        memcpy(&pairs, &halves, sizeof pairs);
#endif
        memcpy(to + i / 2, &pairs, (size_t)((left + 1) / 2) * sizeof *to);
    }
}

/* Keys and values of a chunk; rows outside [low, high) may hold anything and their values become zero. */
static void pair_chunk(walk *w, const float *k, const float *v, int64_t dim, int64_t padded,
                       int64_t low, int64_t high) {
    const int64_t half = (dim + 1) / 2, keys = mn_round16(high);
    for (int64_t b = 0; b < keys; b += MN_KV_BLOCK)
        for (int64_t d = 0; d < half; d++) {
            const float *at = k + b * dim + 2 * d * MN_KV_BLOCK;
            const vf next = 2 * d + 1 < dim ? v_load(at + MN_KV_BLOCK) : v_set(0);
            v_store(w->k + b * half + d * MN_KV_BLOCK, v_join_bf16(v_load(at), next));
        }
    for (int64_t key = 0; key < keys; key += 2)
        for (int64_t d = 0; d < padded; d += VL) {
            const float *at = v + key * padded + d;
            const bool first = key >= low && key < high, second = key + 1 >= low && key + 1 < high;
            const vf a = first ? v_load(at) : v_set(0);
            const vf b = second ? v_load(at + padded) : v_set(0);
            v_store(w->v + key / 2 * padded + d, v_join_bf16(a, b));
        }
}

/* ---- walking over the keys ---- */

/* The queries of one tile against the keys of a chunk: k, v in fp32 or pairs, `stride` numbers to a query
 * and to a key of a block; of the chunk's keys [low, stop) the first query sees those before `seen`, the
 * next one `more` further. */
typedef struct chunk {
    const float *k, *v;
    int64_t stride, padded, low, stop, seen, more;
} chunk;

V_TILE void tile(walk *w, const chunk *c, int64_t first, const int queries, const bool pairs) {
    const int blocks = (int)((c->stop + MN_KV_BLOCK - 1) / MN_KV_BLOCK);
    const float *q = w->q + first * c->stride;
    int b = 0;
    for (; b + 2 <= blocks; b += 2)
        score_pair(w->p + b * VL, q, c->k + b * VL * c->stride, c->stride, queries, pairs);
    if (b < blocks)
        score_block(w->p + b * VL, q, c->k + b * VL * c->stride, c->stride, queries, pairs);
    for (int i = 0; i < queries; i++) {
        const int64_t seen = c->seen + i * c->more;
        soften(w, i, first + i, c->low, seen < c->stop ? seen : c->stop, blocks, c->padded);
        if (pairs) pair_up(w->p + i * CHUNK, w->p + i * CHUNK, blocks * VL);
    }
    float *o = w->o + first * c->padded;
    /* p + low: key 0 of the call is the first visible one */
    if (pairs) add_values(o, w->p, c->v, blocks * VL / 2, c->padded, queries, true);
    else
        add_values(o, w->p + c->low, c->v + c->low * c->padded, c->stop - c->low, c->padded,
                   queries, false);
}

V_TILE void tile_of(walk *w, const chunk *c, int64_t first, int64_t queries, const bool pairs) {
    switch (queries) {
#if defined(__AVX512F__) /* 32 registers hold the sums of 12 queries and 32 keys */
    case 12: tile(w, c, first, 12, pairs); break;
    case 8: tile(w, c, first, 8, pairs); break;
#endif
    case 4: tile(w, c, first, 4, pairs); break;
    case 2: tile(w, c, first, 2, pairs); break;
    default: tile(w, c, first, 1, pairs); break;
    }
}

/* How many of the queries that are left go into the next tile. */
static int64_t tile_queries(int64_t left) {
#if defined(__AVX512F__)
    if (left >= 12) return 12;
    if (left >= 8) return 8;
#endif
    return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/* `queries` over cache rows [begin, end); query i sees `first` + i of them (causal), or all (first < 0). */
static void walk_span(walk *w, const mn_kv_layer *kv, int64_t head, int64_t begin, int64_t end,
                      int64_t first, int64_t queries, bool pairs) {
    const int64_t dim = kv->head_dim, padded = mn_round16(dim), cache = mn_round16(kv->rows);
    const float *k = kv->k + head * cache * dim, *v = kv->v + head * cache * padded;
    for (int64_t at = begin / MN_KV_BLOCK * MN_KV_BLOCK; at < end; at += CHUNK) {
        const int64_t low = begin > at ? begin - at : 0, high = end - at < CHUNK ? end - at : CHUNK;
        chunk c = {.k = k + at * dim,
                   .v = v + at * padded,
                   .stride = dim,
                   .padded = padded,
                   .low = low,
                   .more = first >= 0};
        if (pairs) {
            pair_chunk(w, c.k, c.v, dim, padded, low, high);
            c.k = w->k;
            c.v = w->v;
            c.stride = (dim + 1) / 2;
        }
        for (int64_t i = 0, n; i < queries; i += n) {
            n = tile_queries(queries - i);
            c.seen = first < 0 ? high : begin + first + i - at;
            const int64_t last = c.seen + (n - 1) * c.more; /* what the tile's last query sees */
            c.stop = last < high ? last : high;
            if (c.stop <= low) continue;
            if (pairs) tile_of(w, &c, i, n, true);
            else tile_of(w, &c, i, n, false);
        }
    }
}

/* Up to GROUP queries of a sequence. */
typedef struct heads {
    float *out, *lse;
    const float *q;
    mn_kv_layer kv;
    int64_t heads;
    float scale;
    bool pairs;
} heads;

static void attend(walk *w, const heads *h, const mn_attn_seq *seq, int64_t first_query,
                   int64_t head, int64_t queries) {
    const int64_t dim = h->kv.head_dim, padded = mn_round16(dim), half = (dim + 1) / 2;
    const int64_t kv_head = head / (h->heads / h->kv.kv_heads);
    const int64_t row = seq->q_begin + first_query;
    for (int64_t i = 0; i < queries; i++) {
        float scaled[MAX_HEAD], *to = h->pairs ? scaled : w->q + i * dim;
        for (int64_t d = 0; d < dim; d++)
            to[d] = h->scale * h->q[((row + i) * h->heads + head) * dim + d];
        if (h->pairs) pair_up(w->q + i * half, scaled, dim);
        memset(w->o + i * padded, 0, (size_t)padded * sizeof *w->o);
        w->max[i] = -INFINITY;
        w->sum[i] = 0;
    }
    for (int span = 0; span < MN_SHARED_SPANS; span++) {
        const int64_t begin = seq->shared_begin[span], len = seq->shared_len[span];
        walk_span(w, &h->kv, kv_head, begin, begin + len, -1, queries, h->pairs);
    }
    const int64_t seen = seq->own_len - seq->q_len + first_query + 1;
    walk_span(w, &h->kv, kv_head, seq->own_begin, seq->own_begin + seen + queries - 1, seen,
              queries, h->pairs);
    for (int64_t i = 0; i < queries; i++) {
        const float norm = 1.0f / w->sum[i];
        for (int64_t d = 0; d < dim; d++)
            h->out[((row + i) * h->heads + head) * dim + d] = w->o[i * padded + d] * norm;
        if (h->lse) h->lse[(row + i) * h->heads + head] = w->max[i] + logf(w->sum[i]);
    }
}

mn_status MN_CPU(attention_fwd)(mn_stream *s, float *out, float *lse, const float *q,
                                mn_kv_layer kv, const mn_attn_seq *seqs, int64_t nseq,
                                int64_t nheads, float scale, mn_compute compute) {
    const heads h = {.out = out,
                     .lse = lse,
                     .q = q,
                     .kv = kv,
                     .heads = nheads,
                     .scale = scale,
                     .pairs = compute == MN_COMPUTE_BF16 && s->bf16_pairs};
#pragma omp parallel num_threads(s->threads)
    {
        walk w;
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t i = 0; i < nseq; i++)
            for (int64_t head = 0; head < nheads; head++)
                for (int64_t first = 0; first < seqs[i].q_len; first += GROUP) {
                    const int64_t left = seqs[i].q_len - first;
                    attend(&w, &h, &seqs[i], first, head, left < GROUP ? left : GROUP);
                }
    }
    return MN_OK;
}
