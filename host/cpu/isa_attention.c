/* isa_attention.c - attention of packed sequences over shared spans and their own causal rows.
 *
 * One thread owns a (sequence, head). Up to 12 queries walk over the keys in chunks of 64 with an
 * online softmax (Milakov and Gimelshein 2018): scores of the chunk, new maximum, old sums rescaled,
 * values added. Nothing is larger than the chunk, so long contexts cost no memory. */
#include "cpu/isa.h"
#include "cpu/vec.h"

#include <math.h>

enum { QUERIES = 12, CHUNK = 64, BLOCKS = CHUNK / MN_KV_BLOCK, MAX_HEAD = 512 };

typedef struct walk {
    float q[QUERIES * MAX_HEAD]; /* scaled queries, [query][D] */
    float o[QUERIES * MAX_HEAD]; /* unnormalised outputs, [query][Dv] */
    float p[QUERIES * CHUNK];    /* scores, then probabilities */
    float max[QUERIES], sum[QUERIES];
} walk;

/* Scores of `queries` against 32 keys: p[i][0..31] = q[i] . k. */
V_TILE void score_pair(float *p, const float *q, const float *k, int64_t dim, const int queries) {
    vf a[QUERIES], b[QUERIES];
    const float *k2 = k + MN_KV_BLOCK * dim;
    for (int i = 0; i < queries; i++) a[i] = b[i] = v_set(0);
    for (int64_t d = 0; d < dim; d++) {
        const vf ka = v_load(k + d * MN_KV_BLOCK), kb = v_load(k2 + d * MN_KV_BLOCK);
        for (int i = 0; i < queries; i++) {
            const vf qd = v_set(q[i * dim + d]);
            a[i] += qd * ka;
            b[i] += qd * kb;
        }
    }
    for (int i = 0; i < queries; i++) {
        v_store(p + i * CHUNK, a[i]);
        v_store(p + i * CHUNK + VL, b[i]);
    }
}

V_TILE void score_block(float *p, const float *q, const float *k, int64_t dim, const int queries) {
    vf a[QUERIES];
    for (int i = 0; i < queries; i++) a[i] = v_set(0);
    for (int64_t d = 0; d < dim; d++) {
        const vf ka = v_load(k + d * MN_KV_BLOCK);
        for (int i = 0; i < queries; i++) a[i] += v_set(q[i * dim + d]) * ka;
    }
    for (int i = 0; i < queries; i++) v_store(p + i * CHUNK, a[i]);
}

/* o[i] += sum over keys of p[i][key] v[key]. */
V_TILE void add_values(float *o, const float *p, const float *v, int64_t keys, int64_t padded,
                       const int queries) {
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
                a[i] += pk * va;
                b[i] += pk * vb;
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
            a[i] += v_set(p[i * CHUNK + key]) * v_load(v + key * padded + d);
    for (int i = 0; i < queries; i++) v_store(o + i * padded + d, a[i]);
}

/* Turns the chunk's scores of query i into probabilities; keys outside [low, high) of the chunk have
 * none. Rescales the query's earlier sums to the new maximum. */
static void soften(walk *w, int i, int64_t low, int64_t high, int blocks, int64_t padded) {
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    float *p = w->p + i * CHUNK;
    vf best = v_set(-INFINITY), sum = v_set(0);
    for (int b = 0; b < blocks; b++) {
        const vi key = lane + b * VL;
        const vf s = v_select((key >= (int32_t)low) & (key < (int32_t)high), v_load(p + b * VL),
                              v_set(-INFINITY));
        v_store(p + b * VL, s);
        best = v_max(s, best);
    }
    const float chunk_max = v_max_of(best);
    const float max = chunk_max > w->max[i] ? chunk_max : w->max[i];
    if (max > w->max[i] && w->sum[i] > 0) {
        const float shrink = expf(w->max[i] - max);
        w->sum[i] *= shrink;
        for (int64_t d = 0; d < padded; d += VL)
            v_store(w->o + i * padded + d, v_load(w->o + i * padded + d) * shrink);
    }
    w->max[i] = max;
    for (int b = 0; b < blocks; b++) {
        const vf e = v_exp(v_load(p + b * VL) - max);
        v_store(p + b * VL, e);
        sum += e;
    }
    w->sum[i] += v_sum(sum);
}

/* All queries over cache rows [begin, begin + visible of the last query); query i sees `first` + i
 * rows of it (causal), or all of them (first < 0). */
V_TILE void walk_span(walk *w, const mn_kv_layer *kv, int64_t head, int64_t begin, int64_t len,
                      int64_t first, const int queries) {
    const int64_t dim = kv->head_dim, padded = mn_round16(dim), end = begin + len;
    const int64_t cache = mn_round16(kv->rows);
    const float *k = kv->k + head * cache * dim, *v = kv->v + head * cache * padded;
    for (int64_t at = begin / MN_KV_BLOCK * MN_KV_BLOCK; at < end; at += CHUNK) {
        const int64_t stop = end - at < CHUNK ? end - at : CHUNK;
        const int blocks = (int)((stop + MN_KV_BLOCK - 1) / MN_KV_BLOCK);
        const int64_t low = begin > at ? begin - at : 0;
        int b = 0;
        for (; b + 2 <= blocks; b += 2)
            score_pair(w->p + b * VL, w->q, k + (at + b * VL) * dim, dim, queries);
        if (b < blocks) score_block(w->p + b * VL, w->q, k + (at + b * VL) * dim, dim, queries);
        for (int i = 0; i < queries; i++) {
            const int64_t seen = first < 0 ? end - at : begin + first + i - at;
            soften(w, i, low, seen < stop ? seen : stop, blocks, padded);
        }
        /* p + low: key 0 of the call is the first visible one */
        add_values(w->o, w->p + low, v + (at + low) * padded, stop - low, padded, queries);
    }
}

V_TILE void attend(walk *w, float *out, float *lse, const float *q, const mn_kv_layer *kv,
                   const mn_attn_seq *seq, int64_t first_query, int64_t head, int64_t heads,
                   float scale, const int queries) {
    const int64_t dim = kv->head_dim, padded = mn_round16(dim);
    const int64_t kv_head = head / (heads / kv->kv_heads);
    const int64_t row = seq->q_begin + first_query;
    for (int i = 0; i < queries; i++) {
        for (int64_t d = 0; d < dim; d++)
            w->q[i * dim + d] = scale * q[((row + i) * heads + head) * dim + d];
        memset(w->o + i * padded, 0, (size_t)padded * sizeof *w->o);
        w->max[i] = -INFINITY;
        w->sum[i] = 0;
    }
    for (int span = 0; span <= MN_SHARED_SPANS; span++) {
        const bool own = span == MN_SHARED_SPANS;
        const int64_t first = own ? seq->own_len - seq->q_len + first_query + 1 : -1;
        const int64_t begin = own ? seq->own_begin : seq->shared_begin[span];
        const int64_t len = own ? first + queries - 1 : seq->shared_len[span];
        if (len > 0) walk_span(w, kv, kv_head, begin, len, first, queries);
    }
    for (int i = 0; i < queries; i++) {
        const float norm = 1.0f / w->sum[i];
        for (int64_t d = 0; d < dim; d++)
            out[((row + i) * heads + head) * dim + d] = w->o[i * padded + d] * norm;
        if (lse) lse[(row + i) * heads + head] = w->max[i] + logf(w->sum[i]);
    }
}

static void sequence_head(walk *w, float *out, float *lse, const float *q, const mn_kv_layer *kv,
                          const mn_attn_seq *seq, int64_t head, int64_t heads, float scale) {
    int64_t i = 0;
#if defined(__AVX512F__) /* 32 registers hold the sums of 12 queries and 32 keys */
    for (; i + 12 <= seq->q_len; i += 12)
        attend(w, out, lse, q, kv, seq, i, head, heads, scale, 12);
    for (; i + 8 <= seq->q_len; i += 8) attend(w, out, lse, q, kv, seq, i, head, heads, scale, 8);
#endif
    for (; i + 4 <= seq->q_len; i += 4) attend(w, out, lse, q, kv, seq, i, head, heads, scale, 4);
    for (; i + 2 <= seq->q_len; i += 2) attend(w, out, lse, q, kv, seq, i, head, heads, scale, 2);
    if (i < seq->q_len) attend(w, out, lse, q, kv, seq, i, head, heads, scale, 1);
}

mn_status MN_CPU(attention_fwd)(mn_stream *s, float *out, float *lse, const float *q,
                                mn_kv_layer kv, const mn_attn_seqs *seqs, int64_t heads,
                                float scale) {
#pragma omp parallel num_threads(s->threads)
    {
        walk w;
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t i = 0; i < seqs->count; i++)
            for (int64_t head = 0; head < heads; head++)
                sequence_head(&w, out, lse, q, &kv, &seqs->host[i], head, heads, scale);
    }
    return MN_OK;
}
