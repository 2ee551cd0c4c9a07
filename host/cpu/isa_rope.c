/* isa_rope.c - rotates q and k by position and files k and v in the cache; turns their gradients back.
 * One thread owns sixteen tokens.
 *
 * K goes to [head][row / 16][d][row % 16], so that attention loads sixteen keys at once; V to
 * [head][row][d] with the row length rounded up to 16. */
#include "cpu/isa.h"
#include "cpu/transpose.h"
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
    if (stride == 1) memcpy(out + rotary, x + rotary, (size_t)(dim - rotary) * sizeof *x);
    else
        for (int64_t d = rotary; d < dim; d++) out[stride * d] = x[d];
}

/* What the tokens of one call share. */
typedef struct rope {
    const float *qkv, *cos_table, *sin_table;
    const mn_qkv_layout *layout;
    const int32_t *positions, *rows;
    int64_t half; /* of the rotary dimensions */
} rope;

static void turn(float *out, int64_t stride, const rope *r, int64_t token, int64_t begin) {
    const int64_t at = r->positions[token] * r->half;
    rotate(out, stride, r->qkv + token * r->layout->ld + begin, r->cos_table + at,
           r->sin_table + at, 2 * r->half, r->layout->head_dim);
}

/* Keys of tokens [t, end) and one head, `begin` floats into a row of qkv. A whole block of the cache is
 * turned token by token and then stored column by column. */
static void store_keys(float *k, const rope *r, int64_t t, int64_t end, int64_t begin) {
    enum { DIM = 256 }; /* at most, of heads that are stored so */
    const int64_t dim = r->layout->head_dim, first = r->rows[t];
    bool block = end - t == MN_KV_BLOCK && first % MN_KV_BLOCK == 0 && dim % VL == 0 && dim <= DIM;
    for (int64_t i = t + 1; i < end && block; i++) block = r->rows[i] == first + i - t;
    if (!block) {
        for (; t < end; t++)
            turn(k + r->rows[t] / MN_KV_BLOCK * MN_KV_BLOCK * dim + r->rows[t] % MN_KV_BLOCK,
                 MN_KV_BLOCK, r, t, begin);
        return;
    }
    float turned[MN_KV_BLOCK * DIM];
    for (int64_t i = 0; i < MN_KV_BLOCK; i++) turn(turned + i * dim, 1, r, t + i, begin);
    for (int64_t d = 0; d < dim; d += VL) {
        vf lanes[VL];
        for (int64_t i = 0; i < VL; i++) lanes[i] = v_load(turned + i * dim + d);
        v_transpose(lanes);
        for (int64_t i = 0; i < VL; i++) v_store(k + first * dim + (d + i) * MN_KV_BLOCK, lanes[i]);
    }
}

mn_status MN_CPU(rope_store_fwd)(mn_stream *s, float *q, mn_kv_layer kv, const float *qkv,
                                 const mn_qkv_layout *layout, const float *cos_table,
                                 const float *sin_table, const int32_t *positions,
                                 const int32_t *rows, int64_t tokens) {
    _Static_assert((int)MN_KV_BLOCK == (int)VL, "a block of keys is a square of vectors");
    const int64_t dim = layout->head_dim, heads = layout->heads, padded = mn_round16(dim);
    const int64_t cache = mn_round16(kv.rows), groups = (tokens + MN_KV_BLOCK - 1) / MN_KV_BLOCK;
    const rope r = {.qkv = qkv,
                    .cos_table = cos_table,
                    .sin_table = sin_table,
                    .layout = layout,
                    .positions = positions,
                    .rows = rows,
                    .half = layout->rotary_dims / 2};
    /* Head by head over sixteen tokens: their keys share cache lines, if their rows are neighbours. */
#pragma omp parallel for num_threads(s->threads) schedule(static) if (groups > 1)
    for (int64_t g = 0; g < groups; g++)
        for (int64_t h = 0; h < heads; h++) {
            const int64_t begin = g * MN_KV_BLOCK, at = h * layout->kv_stride;
            const int64_t end = begin + MN_KV_BLOCK < tokens ? begin + MN_KV_BLOCK : tokens;
            for (int64_t t = begin; t < end; t++)
                turn(q + (t * heads + h) * dim, 1, &r, t, layout->q_begin + h * layout->q_stride);
            if (h >= kv.kv_heads) continue;
            store_keys(kv.k + h * cache * dim, &r, begin, end, layout->k_begin + at);
            for (int64_t t = begin; t < end; t++)
                memcpy(kv.v + (h * cache + rows[t]) * padded,
                       qkv + t * layout->ld + layout->v_begin + at, (size_t)dim * sizeof *q);
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
