/* tape.c - plans the memory of a tape, takes batches in and runs the passes. */
#include "model/tape_impl.h"

#include "model/session.h"

#include <math.h>
#include <stdlib.h>

enum { LOSS_ROWS = 256 }; /* enough for full speed of the product, 50 MB of Pythia's logits */

/* ---- memory ---- */

static mn_status place(mn_arena *arena, mn_tensor *t, mn_dtype dtype, int64_t rows, int64_t d1,
                       int64_t d2) {
    *t = (mn_tensor){.shape = {rows, d1, d2}, .ndim = d2 ? 3 : d1 ? 2 : 1, .dtype = dtype};
    return mn_arena_alloc(arena, &t->data, mn_tensor_bytes(t));
}

static mn_status place_kv(mn_tape *t, mn_arena *arena, mn_kv_layer *kv) {
    const int64_t head_dim = t->model->config.head_dim, heads = t->model->shard.kv_heads;
    const mn_device *dev = t->model->device;
    /* Every sequence begins at a multiple of KV_ALIGN (bind_batch). */
    const int64_t rows = (t->limits.max_tokens + t->limits.max_seqs * (MN_TAPE_KV_ALIGN - 1) + 15) /
                         16 * 16;
    const size_t bytes = dev->kv_bytes(rows, heads, head_dim);
    *kv = (mn_kv_layer){.rows = rows, .kv_heads = heads, .head_dim = head_dim};
    MN_TRY(mn_arena_alloc(arena, &kv->k, bytes));
    return mn_arena_alloc(arena, &kv->v, bytes);
}

/* Blocks that backward goes through keep their activations. */
static mn_status place_block(mn_tape *t, mn_kept *k) {
    const mn_model_config *c = &t->model->config;
    const int64_t heads = t->model->shard.heads, inner = t->model->shard.ffn_dim;
    const int64_t n = t->limits.max_tokens, llama = c->arch == MN_LLAMA;
    mn_arena *a = &t->training;
    MN_TRY(place(a, &k->x, MN_F32, n, c->dim, 0));
    if (!c->parallel_residual) MN_TRY(place(a, &k->middle, MN_F32, n, c->dim, 0));
    MN_TRY(place(a, &k->q, MN_F32, n, heads, c->head_dim));
    MN_TRY(place(a, &k->attended, MN_F32, n, heads, c->head_dim));
    MN_TRY(place(a, &k->lse, MN_F32, n, heads, 0));
    if (llama) MN_TRY(place(a, &k->gate, MN_F32, n, inner, 0));
    MN_TRY(place(a, &k->up, MN_F32, n, inner, 0));
    return place_kv(t, a, &k->kv);
}

static mn_status place_memory(mn_tape *t, mn_kept *k, bool lowest_and_last, bool lowest) {
    const int64_t n = t->limits.max_tokens, dim = t->memory->dim;
    const int64_t hidden = t->memory->units;
    /* The trunk's result is read where it is, unless only some rows of it go on. */
    if (lowest && !lowest_and_last) k->y = t->trunk;
    else MN_TRY(place(&t->training, &k->y, MN_F32, n, dim, 0));
    MN_TRY(place(&t->training, &k->pre, MN_F32, n, hidden, 0));
    return place(&t->training, &k->down, MN_F32, n, dim, 0);
}

static mn_status lay_out_training(mn_tape *t) {
    const int64_t layers = t->model->config.layers;
    if (!t->limits.full)
        MN_TRY(place(&t->training, &t->trunk, MN_F32, t->limits.max_tokens, t->memory->dim, 0));
    MN_TRY(place(&t->training, &t->last, MN_F32, t->limits.max_tokens, t->model->config.dim, 0));
    for (int64_t i = t->first; i < layers; i++) {
        const bool lowest = i == t->first;
        if (t->limits.full || !lowest) MN_TRY(place_block(t, &t->kept[i]));
        if (mn_memory_at(t->memory, i))
            MN_TRY(place_memory(t, &t->kept[i], lowest && i == layers - 1, lowest));
    }
    return MN_OK;
}

static mn_status lay_out_step(mn_tape *t) {
    const mn_model_config *c = &t->model->config;
    const int64_t n = t->limits.max_tokens, llama = c->arch == MN_LLAMA;
    const int64_t hidden = t->memory ? t->memory->units : 0;
    const mn_shard *here = &t->model->shard;
    const struct {
        mn_tensor *tensor;
        int64_t rows, d1, d2;
    } floats[] = {{&t->h, n, c->dim, 0},
                  {&t->dh, n, c->dim, 0},
                  {&t->grad, n, c->dim, 0},
                  {&t->grad_last, n, c->dim, 0},
                  {&t->qkv, n, t->layout.ld, 0},
                  {&t->act, n, here->ffn_dim, 0},
                  {&t->dact, n, here->ffn_dim, 0},
                  {&t->side, llama * n, here->ffn_dim, 0},
                  {&t->dout, n, here->heads, c->head_dim},
                  {&t->dq, n, here->heads, c->head_dim},
                  {&t->dk, n, here->kv_heads, c->head_dim},
                  {&t->dv, n, here->kv_heads, c->head_dim},
                  {&t->delta, n, here->heads, 0},
                  {&t->inner, hidden ? n : 0, hidden, 0},
                  {&t->dinner, hidden ? n : 0, hidden, 0},
                  {&t->logits, t->limits.loss_rows, here->vocab, 0},
                  {&t->losses, n, 0, 0}};
    mn_tensor *const ints[] = {&t->ids, &t->positions, &t->rows, &t->outputs, &t->targets};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        MN_TRY(
            place(&t->step, floats[i].tensor, MN_F32, floats[i].rows, floats[i].d1, floats[i].d2));
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        MN_TRY(place(&t->step, ints[i], MN_I32, n, 0, 0));
    MN_TRY(mn_arena_alloc(&t->step, &t->device_seqs,
                          (size_t)t->limits.max_seqs * sizeof *t->device_seqs));
    MN_TRY(mn_vocab_lay_out(&t->vocab, &t->step));
    if (t->limits.full && mn_tape_shares_kv(t))
        MN_TRY(place(&t->step, &t->shared_kv, MN_F32, c->kv_heads * c->head_dim, c->dim, 0));
    MN_TRY(mn_watch_lay_out(&t->watch, &t->step));
    /* Frozen blocks use what only backward needs otherwise. */
    t->frozen = (mn_kept){.q = t->dq, .attended = t->dq};
    if (llama) {
        t->frozen.gate = t->act;
        t->frozen.up = t->side;
    }
    return t->limits.full ? MN_OK : place_kv(t, &t->step, &t->frozen.kv);
}

/* ---- opening ---- */

static mn_status check_limits(const mn_tape_options *o) {
    MN_CHECK(o->max_tokens > 0 && o->max_seqs > 0 && o->loss_rows >= 0, MN_ERR_USAGE,
             "a tape needs room for tokens and sequences");
    MN_CHECK(o->max_tokens < INT32_MAX - 16, MN_ERR_USAGE, "a tape of %lld tokens is too large",
             (long long)o->max_tokens);
    return MN_OK;
}

static mn_status check_memory(const mn_model *model, const mn_memory *memory) {
    MN_CHECK(memory, MN_ERR_USAGE, "a tape needs a memory to train, or the whole model");
    const int64_t highest = memory->layers[memory->count - 1].block;
    MN_CHECK(memory->dim == model->config.dim && highest < model->config.layers, MN_ERR_USAGE,
             "memory %s of dimension %lld behind blocks up to %lld does not fit %s", memory->name,
             (long long)memory->dim, (long long)highest, model->path);
    return MN_OK;
}

static mn_status check_full(mn_model *model) {
    for (int64_t i = 0; i < mn_binding_count(&model->config); i++) {
        mn_binding_row row;
        mn_binding_at(&row, &model->config, model, i);
        MN_CHECK(row.weight->dtype == MN_F32, MN_ERR_USAGE,
                 "%s: tensor %s is %s, training the model needs F32", model->path, row.name,
                 mn_dtype_name(row.weight->dtype));
    }
    return MN_OK;
}

/* A tape that has only been measured. */
static mn_status measure(mn_tape **out, mn_model *model, const mn_memory *memory,
                         const mn_tape_options *options) {
    *out = NULL;
    MN_TRY(check_limits(options));
    if (options->full) MN_TRY(check_full(model));
    else MN_TRY(check_memory(model, memory));
    mn_tape *t = calloc(1, sizeof *t);
    MN_CHECK(t, MN_ERR_MEMORY, "no memory for a tape");
    *out = t;
    t->model = model;
    t->limits = *options;
    if (t->limits.loss_rows == 0) t->limits.loss_rows = LOSS_ROWS;
    if (t->limits.loss_rows > options->max_tokens) t->limits.loss_rows = options->max_tokens;
    t->first = options->full ? 0 : memory->layers[0].block;
    t->layout = mn_qkv_layout_of(model);
    t->scale = 1.0f / sqrtf((float)model->config.head_dim);
    t->kept = calloc((size_t)model->config.layers, sizeof *t->kept);
    t->host_positions = calloc((size_t)options->max_tokens, sizeof *t->host_positions);
    t->host_rows = calloc((size_t)options->max_tokens, sizeof *t->host_rows);
    t->host_seqs = calloc((size_t)options->max_seqs, sizeof *t->host_seqs);
    t->host_losses = calloc((size_t)options->max_tokens, sizeof *t->host_losses);
    MN_CHECK(t->kept && t->host_positions && t->host_rows && t->host_seqs && t->host_losses,
             MN_ERR_MEMORY, "no memory for a tape");
    MN_TRY(mn_vocab_open(&t->vocab, model, t->limits.loss_rows, false));
    /* The residual stream and its gradient at each block, and the gradients of what is trained. */
    const int64_t trained = options->full ? mn_binding_count(&model->config)
                                          : memory->count * MN_MEMORY_PARAMS;
    MN_TRY(mn_watch_open(&t->watch, model->device, model->tp,
                         2 * (model->config.layers + 1) + trained));
    mn_arena_init(&t->training, "training", model->device);
    mn_arena_init(&t->step, "training step", model->device);
    return MN_OK;
}

mn_status mn_tape_plan(int64_t *bytes, mn_model *model, const mn_memory *memory,
                       const mn_tape_options *options) {
    mn_tape *t = NULL;
    mn_memory shape;
    mn_status st = MN_OK;
    *bytes = 0;
    MN_GOTO(measure(&t, model, memory, options));
    if (!options->full) {
        shape = *memory; /* only looked at */
        t->memory = &shape;
    }
    MN_GOTO(lay_out_training(t));
    MN_GOTO(lay_out_step(t));
    *bytes = (int64_t)(t->training.used + t->step.used);
done:
    mn_tape_close(&t);
    return st;
}

/* Room for the inputs of every product, forward and backward. */
static mn_status reserve(mn_tape *t) {
    const mn_model_config *c = &t->model->config;
    mn_device *dev = t->model->device;
    const int64_t widths[] = {c->dim, t->model->shard.ffn_dim, t->layout.ld,
                              t->model->shard.heads * c->head_dim,
                              t->memory ? t->memory->units : 0};
    int64_t widest = 0;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (widths[i] > widest) widest = widths[i];
    MN_TRY(dev->reserve(dev, t->limits.max_tokens, widest));
    return dev->reserve(dev, t->limits.loss_rows, t->model->shard.vocab);
}

static bool same_shape(const mn_memory *a, const mn_memory *b) {
    if (!b || a->hidden != b->hidden || a->dim != b->dim || a->count != b->count) return false;
    for (int64_t i = 0; i < a->count; i++)
        if (a->layers[i].block != b->layers[i].block) return false;
    return true;
}

mn_status mn_tape_open(mn_tape **out, mn_model *model, mn_memory *memory, mn_memory *gradients,
                       mn_model *gradients_model, const mn_tape_options *options) {
    mn_tape *t = NULL;
    mn_status st = MN_OK;
    *out = NULL;
    MN_GOTO(measure(&t, model, memory, options));
    if (options->full) {
        MN_CHECK_GOTO(!memory && !gradients && gradients_model &&
                          mn_binding_count(&gradients_model->config) ==
                              mn_binding_count(&model->config),
                      MN_ERR_USAGE, "training all of %s needs gradients of its shape, no memory",
                      model->path);
        MN_GOTO(check_full(gradients_model));
    } else
        MN_CHECK_GOTO(!gradients_model && same_shape(memory, gradients), MN_ERR_USAGE,
                      "training memory %s needs gradients of its shape", memory->name);
    t->memory = options->full ? NULL : memory;
    t->memory_grad = options->full ? NULL : gradients;
    t->model_grad = options->full ? gradients_model : NULL;
    for (int pass = 0; pass < 2; pass++) {
        if (pass) MN_GOTO(mn_arena_commit(&t->training));
        if (pass) MN_GOTO(mn_arena_commit(&t->step));
        MN_GOTO(lay_out_training(t));
        MN_GOTO(lay_out_step(t));
    }
    MN_GOTO(reserve(t));
    *out = t;
    t = NULL;
done:
    mn_tape_close(&t);
    return st;
}

void mn_tape_close(mn_tape **tape) {
    mn_tape *t = *tape;
    if (!t) return;
    mn_arena_free(&t->step);
    mn_arena_free(&t->training);
    mn_watch_close(&t->watch);
    mn_vocab_close(&t->vocab);
    free(t->host_losses);
    free(t->host_seqs);
    free(t->host_rows);
    free(t->host_positions);
    free(t->kept);
    free(t);
    *tape = NULL;
}

int64_t mn_tape_first(const mn_tape *tape) { return tape->first; }

bool mn_tape_overflow(const mn_tape *tape) { return tape->overflow; }
