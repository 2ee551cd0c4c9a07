/* isa_rope.c - rotates q and k by position and files k and v in the cache; turns their gradients back.
 * One thread owns sixteen tokens.
 *
 * K goes to [head][row / 16][d][row % 16], so that attention loads sixteen keys at once; V to
 * [head][row][d] with the row length rounded up to 16. */
#include "cpu/isa.h"
#include "cpu/vec.h"

/* out[stride * d] = rotated x[d] for d < rotary; the rest is copied. */
V_INLINE void rotate(float *out, int64_t stride, const float *x, const float *c, const float *s,
                     int64_t rotary, int64_t dim) {
    const int64_t half = rotary / 2;
    for (int64_t d = 0; d < half; d++) {
        const float a = x[d], b = x[d + half];
        out[stride * d] = a * c[d] - b * s[d];
        out[stride * (d + half)] = b * c[d] + a * s[d];
    }
    for (int64_t d = rotary; d < dim; d++) out[stride * d] = x[d];
}

mn_status MN_CPU(rope_store_fwd)(mn_stream *s, float *q, mn_kv_layer kv, const float *qkv,
                                 const mn_qkv_layout *layout, const float *cos_table,
                                 const float *sin_table, const int32_t *positions,
                                 const int32_t *rows, int64_t tokens) {
    const int64_t dim = layout->head_dim, rotary = layout->rotary_dims, half = rotary / 2;
    const int64_t padded = mn_round16(dim), cache = mn_round16(kv.rows), heads = layout->heads;
    const int64_t groups = (tokens + MN_KV_BLOCK - 1) / MN_KV_BLOCK;
    /* Head by head over sixteen tokens: their keys share cache lines, if their rows are neighbours. */
#pragma omp parallel for num_threads(s->threads) schedule(static) if (groups > 1)
    for (int64_t g = 0; g < groups; g++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t t = g * MN_KV_BLOCK; t < tokens && t < (g + 1) * MN_KV_BLOCK; t++) {
                const float *in = qkv + t * layout->ld, *kv_in = in + h * layout->kv_stride;
                const float *c = cos_table + positions[t] * half;
                const float *sn = sin_table + positions[t] * half;
                const int64_t row = rows[t];
                rotate(q + (t * heads + h) * dim, 1, in + layout->q_begin + h * layout->q_stride, c,
                       sn, rotary, dim);
                if (h >= kv.kv_heads) continue;
                float *k = kv.k + h * cache * dim + row / MN_KV_BLOCK * MN_KV_BLOCK * dim +
                           row % MN_KV_BLOCK;
                rotate(k, MN_KV_BLOCK, kv_in + layout->k_begin, c, sn, rotary, dim);
                memcpy(kv.v + (h * cache + row) * padded, kv_in + layout->v_begin,
                       (size_t)dim * sizeof *q);
            }
    return MN_OK;
}

/* The transpose of `rotate`: a turn by the opposite angle. */
static void rotate_back(float *dx, const float *dout, const float *c, const float *s,
                        int64_t rotary, int64_t dim) {
    const int64_t half = rotary / 2;
    for (int64_t d = 0; d < half; d++) {
        const float a = dout[d], b = dout[d + half];
        dx[d] = a * c[d] + b * s[d];
        dx[d + half] = b * c[d] - a * s[d];
    }
    for (int64_t d = rotary; d < dim; d++) dx[d] = dout[d];
}

/* Elements of a row of dqkv that belong to no head stay as they are. */
mn_status MN_CPU(rope_bwd)(mn_stream *s, float *dqkv, const float *dq, const float *dk,
                           const float *dv, const mn_qkv_layout *layout, int64_t kv_heads,
                           const float *cos_table, const float *sin_table, const int32_t *positions,
                           int64_t tokens) {
    const int64_t dim = layout->head_dim, rotary = layout->rotary_dims, half = rotary / 2;
#pragma omp parallel for num_threads(s->threads) schedule(static) if (tokens > 1)
    for (int64_t t = 0; t < tokens; t++) {
        float *out = dqkv + t * layout->ld;
        const float *c = cos_table + positions[t] * half, *sn = sin_table + positions[t] * half;
        for (int64_t h = 0; h < layout->heads; h++)
            rotate_back(out + layout->q_begin + h * layout->q_stride,
                        dq + (t * layout->heads + h) * dim, c, sn, rotary, dim);
        for (int64_t h = 0; h < kv_heads; h++) {
            const int64_t at = (t * kv_heads + h) * dim, to = h * layout->kv_stride;
            rotate_back(out + layout->k_begin + to, dk + at, c, sn, rotary, dim);
            memcpy(out + layout->v_begin + to, dv + at, (size_t)dim * sizeof *out);
        }
    }
    return MN_OK;
}
