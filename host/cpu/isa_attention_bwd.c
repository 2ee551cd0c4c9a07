/* isa_attention_bwd.c - gradients of causal attention (Dao et al. 2022).
 *
 * With p = exp(scale q k - lse) and delta = <dout, out>:
 *     dv = sum p dout,   ds = p (<dout, v> - delta),   dq = scale sum ds k,   dk = scale sum ds q.
 * One thread owns a (sequence, key-value head) with all query heads that read it. */
#include "cpu/isa.h"
#include "cpu/vec.h"

#include <math.h>

typedef struct gradient {
    float *dq, *dk, *dv, *delta;
    const float *dout, *out, *q, *lse;
    mn_kv_layer kv;
    int64_t heads;
    float scale;
} gradient;

/* Query token t of head h against the first `seen` keys of the sequence. */
static void query_gradient(const gradient *g, const mn_attn_seq *seq, int64_t i, int64_t h,
                           int64_t kv_head) {
    const int64_t dim = g->kv.head_dim, padded = mn_round16(dim), cache = mn_round16(g->kv.rows);
    const int64_t t = seq->q_begin + i, at = (t * g->heads + h) * dim;
    const float *k = g->kv.k + kv_head * cache * dim, *v = g->kv.v + kv_head * cache * padded;
    float delta = 0;
    for (int64_t d = 0; d < dim; d++) {
        delta += g->dout[at + d] * g->out[at + d];
        g->dq[at + d] = 0;
    }
    g->delta[t * g->heads + h] = delta;
    for (int64_t j = 0; j <= i; j++) {
        const int64_t row = seq->own_begin + j;
        const float *kj = k + row / MN_KV_BLOCK * MN_KV_BLOCK * dim + row % MN_KV_BLOCK;
        const int64_t to = ((seq->q_begin + j) * g->kv.kv_heads + kv_head) * dim;
        float score = 0, dp = 0;
        for (int64_t d = 0; d < dim; d++) {
            score += g->q[at + d] * kj[d * MN_KV_BLOCK];
            dp += g->dout[at + d] * v[row * padded + d];
        }
        const float p = expf(g->scale * score - g->lse[t * g->heads + h]);
        const float ds = g->scale * p * (dp - delta);
        for (int64_t d = 0; d < dim; d++) {
            g->dq[at + d] += ds * kj[d * MN_KV_BLOCK];
            g->dk[to + d] += ds * g->q[at + d];
            g->dv[to + d] += p * g->dout[at + d];
        }
    }
}

mn_status MN_CPU(attention_bwd)(mn_stream *s, float *dq, float *dk, float *dv, float *delta,
                                const float *dout, const float *out, const float *q, mn_kv_layer kv,
                                const float *lse, const mn_attn_seq *seqs, int64_t nseq,
                                int64_t heads, float scale) {
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
                        .scale = scale};
    const int64_t group = heads / kv.kv_heads, dim = kv.head_dim;
#pragma omp parallel for num_threads(s->threads) collapse(2) schedule(dynamic)
    for (int64_t n = 0; n < nseq; n++)
        for (int64_t c = 0; c < kv.kv_heads; c++) {
            for (int64_t i = 0; i < seqs[n].q_len; i++) {
                const int64_t at = ((seqs[n].q_begin + i) * kv.kv_heads + c) * dim;
                memset(dk + at, 0, (size_t)dim * sizeof *dk);
                memset(dv + at, 0, (size_t)dim * sizeof *dv);
            }
            for (int64_t h = c * group; h < (c + 1) * group; h++)
                for (int64_t i = 0; i < seqs[n].q_len; i++)
                    query_gradient(&g, &seqs[n], i, h, c);
        }
    return MN_OK;
}
