/* bench_kernels.c - every row of kernels.def alone, at the shapes of the model: the time of a call when many follow each
 * other, beside the least that it can take (the operations that it needs, the bytes that it must move, each once).
 *
 * A kernel without a case here fails to compile. */
#include "cli/bench.h"

#include "mneme/ops.h"
#include "mneme/rng.h"
#include "model/session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ARRAYS = 5, LOGIT_ROWS = 256, HIDDEN = 128, SLICES = 2 };

/* One of everything that a call may want. Numbers are in [0, 1). */
typedef struct bank {
    mn_bench *b;
    mn_device *dev;
    const mn_model_config *c;
    const mn_layer *layer;
    int64_t tokens, rows; /* T; rows of logits */
    int64_t numbers;      /* of each array, enough for every shape */
    mn_arena arena;
    float *x[ARRAYS];
    float *narrow[4]; /* [max(C, T, rows)] each: weights, gates, losses */
    int32_t *ids, *positions, *order, *targets;
    mn_row_stat *stats, *parts;
    double *sum;
    int64_t *count;
    mn_attn_seq *device_seq, seq;
    mn_kv_layer kv;
    mn_qkv_layout layout;
    mn_bench_kernel *at_work;
} bank;

static double floats(double n) { return n * (double)sizeof(float); }

/* What the call at work costs. */
static void costs(bank *k, double flops, double bytes, mn_peak limit) {
    k->at_work->flops = flops;
    k->at_work->bytes = bytes;
    k->at_work->limit = limit;
}
static void moves(bank *k, double bytes) { costs(k, 0, bytes, MN_PEAK_F32); }

static mn_tensor matrix(const bank *k, int i, int64_t rows, int64_t cols) {
    return mn_tensor_2d(k->x[i], MN_F32, rows, cols);
}
static mn_tensor tokens_by(const bank *k, int i, int64_t cols) {
    return matrix(k, i, k->tokens, cols);
}
static mn_tensor narrow(const bank *k, int i, int64_t n) {
    return mn_tensor_1d(k->narrow[i], MN_F32, n);
}
static mn_tensor heads(const bank *k, int i, int64_t count) {
    return (mn_tensor){
        .data = k->x[i], .shape = {k->tokens, count, k->c->head_dim}, .ndim = 3, .dtype = MN_F32};
}
static mn_tensor integers(int32_t *data, int64_t n) { return mn_tensor_1d(data, MN_I32, n); }

static double tc(const bank *k) { return (double)k->tokens * (double)k->c->dim; }
static double tf(const bank *k) { return (double)k->tokens * (double)k->c->ffn_dim; }
static double lv(const bank *k) { return (double)k->rows * (double)k->c->vocab; }
static double weight_bytes(const mn_tensor *w) {
    return (double)mn_tensor_count(w) * (double)mn_dtype_size(w->dtype);
}
static double cache_bytes(const bank *k) { /* keys and values of all tokens */
    return 2 * (double)k->dev->kv_bytes(k->kv.rows, k->kv.kv_heads, k->kv.head_dim);
}

/* ---- forward ---- */

static mn_status run_embed_fwd(bank *k) {
    mn_tensor x = tokens_by(k, 0, k->c->dim);
    const mn_tensor ids = integers(k->ids, k->tokens), *table = &k->b->model->embed_w;
    moves(k, tc(k) * (double)(sizeof(float) + mn_dtype_size(table->dtype)));
    return mn_embed_fwd(k->dev, &x, table, &ids, NULL);
}
static mn_status run_layernorm_fwd(bank *k) {
    mn_tensor y = tokens_by(k, 0, k->c->dim), x = tokens_by(k, 1, k->c->dim);
    const mn_tensor w = narrow(k, 0, k->c->dim), bias = narrow(k, 1, k->c->dim);
    moves(k, floats(2 * tc(k)));
    return mn_layernorm_fwd(k->dev, &y, &x, &w, &bias, 1e-5f);
}
static mn_status run_rmsnorm_fwd(bank *k) {
    mn_tensor y = tokens_by(k, 0, k->c->dim), x = tokens_by(k, 1, k->c->dim);
    const mn_tensor w = narrow(k, 0, k->c->dim);
    moves(k, floats(2 * tc(k)));
    return mn_rmsnorm_fwd(k->dev, &y, &x, &w, 1e-5f);
}
static void costs_product(bank *k, const mn_tensor *w) {
    const double rows = (double)k->tokens;
    costs(k, 2 * rows * (double)mn_tensor_count(w),
          weight_bytes(w) + floats(rows * (double)(w->shape[0] + w->shape[1])),
          mn_bench_flop_peak(k->b));
}
static mn_status run_linear_fwd(bank *k) {
    const mn_tensor *w = &k->layer->up_w;
    mn_tensor y = tokens_by(k, 0, w->shape[0]), x = tokens_by(k, 1, w->shape[1]);
    costs_product(k, w);
    return mn_linear_fwd(k->dev, &y, w->shape[0], &x, w, NULL, MN_EPILOGUE_STORE, k->b->compute);
}
static mn_status run_rope_store_fwd(bank *k) {
    const mn_model *m = k->b->model;
    mn_tensor q = heads(k, 0, k->c->heads), qkv = tokens_by(k, 1, k->layout.ld);
    const mn_tensor positions = integers(k->positions, k->tokens),
                    rows = integers(k->order, k->tokens);
    moves(k, floats((double)(mn_tensor_count(&q) + mn_tensor_count(&qkv))) + cache_bytes(k));
    return mn_rope_store_fwd(k->dev, &q, k->kv, &qkv, &k->layout, &m->cos_table, &m->sin_table,
                             &positions, &rows);
}
static double pairs(const bank *k) { /* of a query and a key that it sees, all heads */
    const double t = (double)k->tokens;
    return t * (t + 1) / 2 * (double)k->c->heads;
}
static mn_attn_seqs sequence(bank *k) { return (mn_attn_seqs){&k->seq, k->device_seq, 1}; }
static float scale(const bank *k) { return 1.0f / sqrtf((float)k->c->head_dim); }

static mn_status run_attention_fwd(bank *k) {
    const mn_attn_seqs seqs = sequence(k);
    mn_tensor out = heads(k, 0, k->c->heads), q = heads(k, 1, k->c->heads);
    mn_tensor lse = matrix(k, 2, k->tokens, k->c->heads);
    costs(k, 4 * (double)k->c->head_dim * pairs(k),
          floats(2 * (double)mn_tensor_count(&q)) + cache_bytes(k), mn_bench_flop_peak(k->b));
    return mn_attention_fwd(k->dev, &out, &lse, &q, k->kv, &seqs, scale(k), k->b->compute);
}
static mn_status run_swiglu_fwd(bank *k) {
    mn_tensor y = tokens_by(k, 0, k->c->ffn_dim), gate = tokens_by(k, 1, k->c->ffn_dim),
              up = tokens_by(k, 2, k->c->ffn_dim);
    moves(k, floats(3 * tf(k)));
    return mn_swiglu_fwd(k->dev, &y, &gate, &up);
}
static mn_status run_gather_fwd(bank *k) {
    mn_tensor y = tokens_by(k, 0, k->c->dim), x = tokens_by(k, 1, k->c->dim);
    const mn_tensor rows = integers(k->order, k->tokens);
    moves(k, floats(2 * tc(k)));
    return mn_gather_fwd(k->dev, &y, &x, &rows);
}

/* ---- logits ---- */

static mn_status run_row_stats(bank *k) {
    const mn_tensor logits = matrix(k, 0, k->rows, k->c->vocab);
    moves(k, floats(lv(k)));
    return mn_row_stats(k->dev, k->stats, &logits, NULL);
}
static mn_status run_row_stats_merge(bank *k) {
    moves(k, (double)((SLICES + 1) * k->rows) * (double)sizeof(mn_row_stat));
    return mn_row_stats_merge(k->dev, k->stats, k->parts, SLICES, k->rows);
}
/* What row_stats_merge reads: of the same rows, twice. */
static mn_status run_row_stats_parts(bank *k) {
    const mn_tensor logits = matrix(k, 0, k->rows, k->c->vocab);
    for (int64_t i = 0; i < SLICES; i++)
        MN_TRY(mn_row_stats(k->dev, k->parts + i * k->rows, &logits, NULL));
    return MN_OK;
}
static mn_status run_logprob_gather(bank *k) {
    mn_tensor out = narrow(k, 0, k->rows);
    const mn_tensor logits = matrix(k, 0, k->rows, k->c->vocab);
    const mn_tensor row = integers(k->order, k->rows), id = integers(k->targets, k->rows);
    moves(k, (double)k->rows * (double)(4 * sizeof(float) + sizeof(mn_row_stat)));
    return mn_logprob_gather(k->dev, &out, &logits, k->stats, &row, &id, NULL);
}
static mn_status run_sample(bank *k) {
    mn_tensor ids = integers(k->ids, k->rows);
    const mn_tensor logits = matrix(k, 0, k->rows, k->c->vocab), u = narrow(k, 3, k->rows);
    moves(k, floats(lv(k)));
    return mn_sample(k->dev, &ids, &logits, &u, 1);
}
static mn_status run_row_difference(bank *k) {
    mn_tensor out = narrow(k, 0, k->rows);
    const mn_tensor x = matrix(k, 0, k->rows, k->c->vocab), y = matrix(k, 1, k->rows, k->c->vocab);
    moves(k, floats(2 * lv(k)));
    return mn_row_difference(k->dev, &out, &x, &y);
}
static mn_status run_cross_entropy(bank *k) {
    mn_tensor loss = narrow(k, 0, k->rows), logits = matrix(k, 0, k->rows, k->c->vocab);
    const mn_tensor targets = integers(k->targets, k->rows);
    moves(k, floats(2 * lv(k)));
    return mn_cross_entropy(k->dev, &loss, &logits, &targets, 1);
}
static mn_status run_cross_entropy_part(bank *k) {
    mn_tensor loss = narrow(k, 0, k->rows), logits = matrix(k, 0, k->rows, k->c->vocab);
    const mn_tensor targets = integers(k->targets, k->rows);
    moves(k, floats(2 * lv(k)));
    return mn_cross_entropy_part(k->dev, &loss, &logits, k->stats, &targets, 1, NULL);
}

/* ---- backward ---- */

static mn_status run_linear_bwd_x(bank *k) {
    const mn_tensor *w = &k->layer->up_w;
    mn_tensor dx = tokens_by(k, 0, w->shape[1]), dy = tokens_by(k, 1, w->shape[0]);
    costs_product(k, w);
    return mn_linear_bwd_x(k->dev, &dx, w->shape[1], &dy, w->shape[0], w, false, k->b->compute);
}
static mn_status run_linear_bwd_w(bank *k) { /* a memory's: fp32 */
    mn_tensor dw = matrix(k, 0, HIDDEN, k->c->dim), dbias = narrow(k, 0, HIDDEN);
    const mn_tensor dy = tokens_by(k, 1, HIDDEN), x = tokens_by(k, 2, k->c->dim);
    const double size = (double)(HIDDEN * k->c->dim);
    costs(k, 2 * (double)k->tokens * size,
          floats(2 * size + (double)(k->tokens * (HIDDEN + k->c->dim))), MN_PEAK_F32);
    return mn_linear_bwd_w(k->dev, &dw, &dbias, &dy, HIDDEN, &x);
}
static mn_status run_layernorm_bwd(bank *k) {
    const int64_t c = k->c->dim;
    mn_tensor dx = tokens_by(k, 0, c), dw = narrow(k, 0, c), dbias = narrow(k, 1, c);
    const mn_tensor dy = tokens_by(k, 1, c), x = tokens_by(k, 2, c), w = narrow(k, 2, c);
    moves(k, floats(3 * tc(k)));
    return mn_layernorm_bwd(k->dev, &dx, &dw, &dbias, &dy, &x, &w, 1e-5f, false);
}
static mn_status run_rmsnorm_bwd(bank *k) {
    const int64_t c = k->c->dim;
    mn_tensor dx = tokens_by(k, 0, c), dw = narrow(k, 0, c);
    const mn_tensor dy = tokens_by(k, 1, c), x = tokens_by(k, 2, c), w = narrow(k, 2, c);
    moves(k, floats(3 * tc(k)));
    return mn_rmsnorm_bwd(k->dev, &dx, &dw, &dy, &x, &w, 1e-5f, false);
}
static mn_status run_gelu_fwd(bank *k) {
    mn_tensor y = tokens_by(k, 0, k->c->ffn_dim), x = tokens_by(k, 1, k->c->ffn_dim);
    moves(k, floats(2 * tf(k)));
    return mn_gelu_fwd(k->dev, &y, &x);
}
static mn_status run_gelu_bwd(bank *k) {
    mn_tensor dx = tokens_by(k, 0, k->c->ffn_dim), dy = tokens_by(k, 1, k->c->ffn_dim),
              x = tokens_by(k, 2, k->c->ffn_dim);
    moves(k, floats(3 * tf(k)));
    return mn_gelu_bwd(k->dev, &dx, &dy, &x);
}
static mn_status run_swiglu_bwd(bank *k) {
    mn_tensor t[ARRAYS];
    for (int i = 0; i < ARRAYS; i++) t[i] = tokens_by(k, i, k->c->ffn_dim);
    moves(k, floats(5 * tf(k)));
    return mn_swiglu_bwd(k->dev, &t[0], &t[1], &t[2], &t[3], &t[4]);
}
static mn_status run_rope_bwd(bank *k) {
    const mn_model *m = k->b->model;
    mn_tensor dqkv = tokens_by(k, 0, k->layout.ld), dq = heads(k, 1, k->c->heads),
              dk = heads(k, 2, k->c->kv_heads), dv = heads(k, 3, k->c->kv_heads);
    const mn_tensor positions = integers(k->positions, k->tokens);
    moves(k, floats(2 * (double)mn_tensor_count(&dqkv)));
    return mn_rope_bwd(k->dev, &dqkv, &dq, &dk, &dv, &k->layout, &m->cos_table, &m->sin_table,
                       &positions);
}
/* lse and delta lie behind dk and dv; out and q are one array. */
static mn_status run_attention_bwd(bank *k) {
    const int64_t own = k->tokens * k->c->kv_heads * k->c->head_dim;
    const mn_attn_seqs seqs = sequence(k);
    mn_tensor dq = heads(k, 0, k->c->heads), dk = heads(k, 1, k->c->kv_heads),
              dv = heads(k, 2, k->c->kv_heads), dout = heads(k, 3, k->c->heads),
              q = heads(k, 4, k->c->heads);
    mn_tensor delta = mn_tensor_2d(k->x[1] + own, MN_F32, k->tokens, k->c->heads);
    mn_tensor lse = mn_tensor_2d(k->x[2] + own, MN_F32, k->tokens, k->c->heads);
    costs(k, 8 * (double)k->c->head_dim * pairs(k), /* as the tally counts them */
          floats(4 * (double)mn_tensor_count(&q) + 2 * (double)own) + cache_bytes(k),
          mn_bench_flop_peak(k->b));
    return mn_attention_bwd(k->dev, &dq, &dk, &dv, &delta, &dout, &q, &q, k->kv, &lse, &seqs,
                            scale(k));
}
static mn_status run_embed_bwd(bank *k) {
    mn_tensor table = matrix(k, 0, k->c->vocab, k->c->dim), dx = tokens_by(k, 1, k->c->dim);
    const mn_tensor ids = integers(k->targets, k->tokens);
    moves(k, floats(3 * tc(k)));
    return mn_embed_bwd(k->dev, &table, &dx, &ids, NULL);
}
static mn_status run_gather_bwd(bank *k) {
    mn_tensor dx = tokens_by(k, 0, k->c->dim), dy = tokens_by(k, 1, k->c->dim);
    const mn_tensor rows = integers(k->order, k->tokens);
    moves(k, floats(3 * tc(k)));
    return mn_gather_bwd(k->dev, &dx, &dy, &rows);
}
static mn_status run_gated_norm_fwd(bank *k) {
    mn_tensor y = tokens_by(k, 0, k->c->dim), d = tokens_by(k, 1, k->c->dim);
    const mn_tensor w = narrow(k, 0, k->c->dim), bias = narrow(k, 1, k->c->dim),
                    gate = narrow(k, 2, 1);
    moves(k, floats(3 * tc(k)));
    return mn_gated_norm_fwd(k->dev, &y, &d, &w, &bias, &gate, 1e-5f);
}
static mn_status run_gated_norm_bwd(bank *k) {
    const int64_t c = k->c->dim;
    mn_tensor dd = tokens_by(k, 0, c), dw = narrow(k, 0, c), dbias = narrow(k, 1, c),
              dgate = mn_tensor_1d(k->x[3], MN_F32, 1);
    const mn_tensor dy = tokens_by(k, 1, c), d = tokens_by(k, 2, c), w = narrow(k, 2, c),
                    gate = narrow(k, 3, 1);
    moves(k, floats(3 * tc(k)));
    return mn_gated_norm_bwd(k->dev, &dd, &dw, &dbias, &dgate, &dy, &d, &w, &w, &gate, 1e-5f);
}

/* ---- elements ---- */

static mn_status run_count_nonfinite(bank *k) {
    const mn_tensor x = tokens_by(k, 0, k->c->ffn_dim);
    moves(k, floats(tf(k)));
    return mn_count_nonfinite(k->dev, k->count, &x);
}
static mn_status run_row_norms(bank *k) {
    mn_tensor norm = narrow(k, 0, k->tokens);
    const mn_tensor x = tokens_by(k, 0, k->c->dim);
    moves(k, floats(tc(k)));
    return mn_row_norms(k->dev, &norm, &x);
}
static mn_status run_add(bank *k) {
    mn_tensor y = tokens_by(k, 0, k->c->ffn_dim), x = tokens_by(k, 1, k->c->ffn_dim);
    moves(k, floats(3 * tf(k)));
    return mn_add(k->dev, &y, &x);
}
static mn_status run_zero(bank *k) {
    mn_tensor y = tokens_by(k, 3, k->c->ffn_dim);
    moves(k, floats(tf(k)));
    return mn_zero(k->dev, &y);
}
static mn_status run_cast(bank *k) {
    mn_tensor y = tokens_by(k, 0, k->c->ffn_dim), x = tokens_by(k, 1, k->c->ffn_dim);
    y.dtype = MN_F16;
    moves(k, 1.5 * floats(tf(k)));
    return mn_cast(k->dev, &y, &x);
}
static mn_status run_square_sum(bank *k) {
    const mn_tensor x = tokens_by(k, 0, k->c->ffn_dim);
    moves(k, floats(tf(k)));
    return mn_square_sum(k->dev, k->sum, &x);
}
static mn_status run_adamw(bank *k) {
    const mn_adamw step = {1e-3f, 0.9f, 0.999f, 1e-8f, 0.05f, 0.1f, 1e-3f, 1};
    mn_tensor t[4];
    for (int i = 0; i < 4; i++) t[i] = tokens_by(k, i, k->c->ffn_dim);
    moves(k, floats(7 * tf(k)));
    return mn_adamw_step(k->dev, &t[0], &t[1], &t[2], &t[3], &step);
}

static const struct {
    const char *name;
    mn_status (*run)(bank *bank);
} cases[] = {
#define MN_KERNEL(name, params) {#name, run_##name},
#include "mneme/kernels.def"
#undef MN_KERNEL
};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- the bank ---- */

static int64_t largest(const int64_t *values, size_t count) {
    int64_t most = 0;
    for (size_t i = 0; i < count; i++)
        if (values[i] > most) most = values[i];
    return most;
}

static mn_status lay_out(bank *k) {
    const int64_t sizes[] = {k->c->dim, k->tokens, HIDDEN};
    const size_t small = (size_t)largest(sizes, sizeof sizes / sizeof *sizes);
    const size_t tokens = (size_t)k->tokens, rows = (size_t)k->rows;
    int32_t **const ints[] = {&k->ids, &k->positions, &k->order, &k->targets};
    for (int i = 0; i < ARRAYS; i++)
        MN_TRY(mn_arena_alloc(&k->arena, &k->x[i], (size_t)k->numbers * sizeof(float)));
    for (size_t i = 0; i < sizeof k->narrow / sizeof *k->narrow; i++)
        MN_TRY(mn_arena_alloc(&k->arena, &k->narrow[i], small * sizeof(float)));
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        MN_TRY(mn_arena_alloc(&k->arena, ints[i], tokens * sizeof(int32_t)));
    MN_TRY(mn_arena_alloc(&k->arena, &k->stats, rows * sizeof *k->stats));
    MN_TRY(mn_arena_alloc(&k->arena, &k->parts, SLICES * rows * sizeof *k->parts));
    MN_TRY(mn_arena_alloc(&k->arena, &k->sum, sizeof *k->sum));
    MN_TRY(mn_arena_alloc(&k->arena, &k->count, sizeof *k->count));
    MN_TRY(mn_arena_alloc(&k->arena, &k->device_seq, sizeof *k->device_seq));
    const size_t kv = k->dev->kv_bytes(k->kv.rows, k->kv.kv_heads, k->kv.head_dim);
    MN_TRY(mn_arena_alloc(&k->arena, &k->kv.k, kv));
    return mn_arena_alloc(&k->arena, &k->kv.v, kv);
}

static mn_status fill(bank *k) {
    mn_device *dev = k->dev;
    const int64_t n = k->numbers, t = k->tokens;
    const uint64_t seed = (uint64_t)k->b->options->seed;
    mn_status st = MN_OK;
    float *numbers = malloc((size_t)n * sizeof *numbers);
    int32_t *ints = malloc(2 * (size_t)t * sizeof *ints);
    MN_CHECK_GOTO(numbers && ints, MN_ERR_MEMORY, "no memory for %lld numbers", (long long)n);
    for (int64_t i = 0; i < n; i++)
        numbers[i] = (float)mn_rng_uniform(seed, 4, (uint64_t)i) * 0.999f;
    for (int i = 0; i < ARRAYS; i++)
        MN_GOTO(dev->upload(dev, k->x[i], numbers, (size_t)n * sizeof *numbers));
    for (size_t i = 0; i < sizeof k->narrow / sizeof *k->narrow; i++)
        MN_GOTO(dev->upload(dev, k->narrow[i], numbers, (size_t)t * sizeof *numbers));
    for (int64_t i = 0; i < t; i++) {
        ints[i] = (int32_t)mn_rng_below(seed, 5, (uint64_t)i, k->c->vocab);
        ints[t + i] = (int32_t)i;
    }
    MN_GOTO(dev->upload(dev, k->ids, ints, (size_t)t * sizeof *ints));
    MN_GOTO(dev->upload(dev, k->targets, ints, (size_t)t * sizeof *ints));
    MN_GOTO(dev->upload(dev, k->positions, ints + t, (size_t)t * sizeof *ints));
    MN_GOTO(dev->upload(dev, k->order, ints + t, (size_t)t * sizeof *ints));
    st = dev->upload(dev, k->device_seq, &k->seq, sizeof k->seq);
done:
    free(ints);
    free(numbers);
    return st;
}

static mn_status bank_open(bank *k, mn_bench *b) {
    const mn_model_config *c = &b->model->config;
    const int64_t t = b->options->tokens;
    *k = (bank){.b = b, .dev = b->device, .c = c, .layer = &b->model->layers[0], .tokens = t};
    k->rows = t < LOGIT_ROWS ? t : LOGIT_ROWS;
    k->layout = mn_qkv_layout_of(b->model);
    k->kv = (mn_kv_layer){
        .rows = (t + 15) / 16 * 16, .kv_heads = c->kv_heads, .head_dim = c->head_dim};
    k->seq = (mn_attn_seq){.q_len = (int32_t)t, .own_len = (int32_t)t};
    const int64_t sizes[] = {t * c->ffn_dim,
                             t * k->layout.ld,
                             k->rows * c->vocab,
                             c->vocab * c->dim,
                             HIDDEN * c->dim,
                             t * HIDDEN,
                             t * c->heads * (c->head_dim + 1)};
    k->numbers = largest(sizes, sizeof sizes / sizeof *sizes);
    MN_TRY(mn_bench_want_memory(b, floats((ARRAYS + 1) * (double)k->numbers), "the kernels"));
    mn_arena_init(&k->arena, "kernels", k->dev);
    MN_TRY(lay_out(k));
    MN_TRY(mn_arena_commit(&k->arena));
    MN_TRY(lay_out(k));
    const int64_t widest = c->dim > c->ffn_dim ? c->dim : c->ffn_dim;
    MN_TRY(k->dev->reserve(k->dev, t, widest));
    return fill(k);
}

/* ---- the runs ---- */

typedef struct call {
    bank *bank;
    mn_status (*run)(bank *bank);
} call;

static mn_status run_call(void *context) {
    const call *c = context;
    return c->run(c->bank);
}

mn_status mn_bench_kernels(mn_bench *b) {
    bank k;
    mn_status st = bank_open(&k, b);
    if (st == MN_OK) st = run_row_stats_parts(&k);
    for (size_t i = 0; st == MN_OK && i < CASES; i++) {
        call c = {&k, cases[i].run};
        st = mn_bench_add_kernel(&k.at_work, b, "%s", cases[i].name);
        if (st == MN_OK) st = mn_bench_time_kernel(b, k.at_work, run_call, &c);
    }
    mn_arena_free(&k.arena);
    return st;
}
