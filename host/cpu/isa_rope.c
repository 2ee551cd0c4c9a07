/* isa_rope.c - rotates q and k by position and files k and v in the cache. One thread owns a token.
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
#pragma omp parallel for num_threads(s->threads) schedule(static) if (tokens > 1)
    for (int64_t t = 0; t < tokens; t++) {
        const float *in = qkv + t * layout->ld;
        const float *c = cos_table + positions[t] * half, *sn = sin_table + positions[t] * half;
        const int64_t row = rows[t];
        for (int64_t h = 0; h < heads; h++)
            rotate(q + (t * heads + h) * dim, 1, in + layout->q_begin + h * layout->q_stride, c, sn,
                   rotary, dim);
        for (int64_t h = 0; h < kv.kv_heads; h++) {
            float *k = kv.k + h * cache * dim + row / MN_KV_BLOCK * MN_KV_BLOCK * dim +
                       row % MN_KV_BLOCK;
            rotate(k, MN_KV_BLOCK, in + layout->k_begin + h * layout->kv_stride, c, sn, rotary,
                   dim);
            memcpy(kv.v + (h * cache + row) * padded, in + layout->v_begin + h * layout->kv_stride,
                   (size_t)dim * sizeof *q);
        }
    }
    return MN_OK;
}
