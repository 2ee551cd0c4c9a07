/* cache.h - a key-value cache for tests: what to store, the oracle's copy, the backend's own.
 *
 * The inner layout of a cache is the backend's: what rope_store_fwd wrote is read through
 * attention_fwd alone. */
#ifndef MNEME_TESTS_KERNELS_CACHE_H
#define MNEME_TESTS_KERNELS_CACHE_H

#include "mneme/ops.h"

#include "kernels/devices.h"
#include "oracle.h"

typedef struct geometry {
    int64_t dim, heads, kv_heads, rotary;
    bool interleaved; /* q, k, v head by head as in NeoX; else all q, all k, all v as in Llama */
    int64_t padding;  /* of a row of qkv */
} geometry;

static inline mn_qkv_layout layout_of(const geometry *e) {
    const int64_t d = e->dim, used = (e->heads + 2 * e->kv_heads) * d;
    mn_qkv_layout l = {.ld = used + e->padding,
                       .heads = e->heads,
                       .head_dim = d,
                       .rotary_dims = e->rotary,
                       .q_stride = d,
                       .kv_stride = d};
    l.k_begin = e->interleaved ? d : e->heads * d;
    l.v_begin = e->interleaved ? 2 * d : (e->heads + e->kv_heads) * d;
    if (e->interleaved) l.q_stride = l.kv_stride = 3 * d;
    return l;
}

/* Tokens to store, and the cache that they make according to the oracle. */
typedef struct store {
    geometry e;
    mn_qkv_layout layout;
    int64_t tokens, rows, positions;
    float *qkv, *cos_table, *sin_table;
    int32_t *position, *row;
    double *q, *k, *v; /* the oracle's */
} store;

static inline int64_t round16(int64_t n) { return (n + 15) / 16 * 16; }

/* Distinct rows of [0, rows) in random order, random positions. With exact numbers: integers. */
static inline void store_open(store *s, guards *g, const geometry *e, int64_t tokens, int64_t rows,
                              bool exact, uint64_t *state) {
    *s = (store){.e = *e, .layout = layout_of(e), .tokens = tokens, .rows = rows, .positions = 97};
    const int64_t half = e->rotary / 2, n = tokens * s->layout.ld;
    s->qkv = guard_f32(g, n);
    s->cos_table = guard_f32(g, s->positions * half);
    s->sin_table = guard_f32(g, s->positions * half);
    s->position = guard_i32(g, tokens);
    s->row = guard_i32(g, tokens);
    for (int64_t i = 0; i < n; i++) {
        const double x = 2 * random_unit(state) - 1;
        s->qkv[i] = (float)(exact ? rint(25 * x) : x);
    }
    for (int64_t i = 0; i < s->positions * half; i++) {
        const double angle = 6.28 * random_unit(state);
        s->cos_table[i] = (float)cos(angle);
        s->sin_table[i] = (float)sin(angle);
    }
    int32_t *deck = test_malloc((size_t)rows * sizeof *deck);
    for (int64_t i = 0; i < rows; i++) deck[i] = (int32_t)i;
    for (int64_t i = 0; i < tokens; i++) {
        const int64_t pick = i + (int64_t)(random_bits(state) % (uint64_t)(rows - i));
        s->row[i] = deck[pick];
        deck[pick] = deck[i];
        s->position[i] = (int32_t)(random_bits(state) % (uint64_t)s->positions);
    }
    s->position[0] = (int32_t)s->positions - 1;
    test_free(deck);
    s->q = doubles(tokens * e->heads * e->dim);
    s->k = doubles(rows * e->kv_heads * e->dim);
    s->v = doubles(rows * e->kv_heads * e->dim);
}

/* After the last change of qkv: seals the inputs and asks the oracle. */
static inline void store_seal(store *s, const guards *g) {
    void *const inputs[] = {s->qkv, s->cos_table, s->sin_table, s->position, s->row};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) guard_seal(g, inputs[i]);
    const int64_t half = s->e.rotary / 2;
    double *qkv = doubles_of(s->qkv, MN_F32, s->tokens * s->layout.ld);
    double *c = doubles_of(s->cos_table, MN_F32, s->positions * half);
    double *sn = doubles_of(s->sin_table, MN_F32, s->positions * half);
    ref_rope_store(s->q, s->k, s->v, qkv, &s->layout, s->e.kv_heads, c, sn, s->position, s->row,
                   s->tokens);
    test_free(qkv);
    test_free(c);
    test_free(sn);
}

static inline void store_close(store *s) {
    test_free(s->q);
    test_free(s->k);
    test_free(s->v);
}

static inline mn_kv_layer cache_open(guards *g, const mn_device *dev, const store *s) {
    const size_t bytes = dev->kv_bytes(s->rows, s->e.kv_heads, s->e.dim);
    return (mn_kv_layer){.k = guard_bytes(g, bytes),
                         .v = guard_bytes(g, bytes),
                         .rows = s->rows,
                         .kv_heads = s->e.kv_heads,
                         .head_dim = s->e.dim};
}

static inline mn_tensor tensor_3d(float *data, int64_t a, int64_t b, int64_t c) {
    return (mn_tensor){.data = data, .shape = {a, b, c}, .ndim = 3, .dtype = MN_F32};
}

static inline mn_status store_run(mn_device *dev, const store *s, float *q, mn_kv_layer kv) {
    const int64_t half = s->e.rotary / 2;
    mn_tensor tq = tensor_3d(q, s->tokens, s->e.heads, s->e.dim);
    const mn_tensor in = mn_tensor_2d(s->qkv, MN_F32, s->tokens, s->layout.ld);
    const mn_tensor c = mn_tensor_2d(s->cos_table, MN_F32, s->positions, half);
    const mn_tensor sn = mn_tensor_2d(s->sin_table, MN_F32, s->positions, half);
    const mn_tensor tp = mn_tensor_1d(s->position, MN_I32, s->tokens);
    const mn_tensor tr = mn_tensor_1d(s->row, MN_I32, s->tokens);
    return mn_rope_store_fwd(dev, &tq, kv, &in, &s->layout, &c, &sn, &tp, &tr);
}

#endif
