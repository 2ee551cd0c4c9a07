/* session.c - plans the memory of a session and runs packed batches through the blocks. */
#include "model/session.h"

#include "mneme/vocab.h"

#include <stdlib.h>
#include <string.h>

mn_qkv_layout mn_qkv_layout_of(const mn_model *m) {
    const mn_model_config *c = &m->config;
    const int64_t d = c->head_dim, q = m->shard.heads * d, kv = m->shard.kv_heads * d;
    mn_qkv_layout l = {
        .ld = q + 2 * kv, .heads = m->shard.heads, .head_dim = d, .rotary_dims = c->rotary_dims};
    if (c->arch == MN_NEOX) {
        l.k_begin = d;
        l.v_begin = 2 * d;
        l.q_stride = l.kv_stride = 3 * d;
    } else {
        l.k_begin = q;
        l.v_begin = q + kv;
        l.q_stride = l.kv_stride = d;
    }
    return l;
}

static mn_status lay_out_cache(mn_session *s) {
    const int64_t head_dim = s->model->config.head_dim, heads = s->model->shard.kv_heads;
    const mn_device *dev = s->model->device;
    const int64_t rows = (s->limits.kv_rows + 15) / 16 * 16;
    const size_t bytes = dev->kv_bytes(rows, heads, head_dim);
    for (int64_t i = 0; i < mn_session_kv_layers(s); i++) {
        s->kv[i] = (mn_kv_layer){.rows = rows, .kv_heads = heads, .head_dim = head_dim};
        MN_TRY(mn_arena_alloc(&s->prefix, &s->kv[i].k, bytes));
        MN_TRY(mn_arena_alloc(&s->prefix, &s->kv[i].v, bytes));
    }
    return MN_OK;
}

enum { ARRAY_ALIGN = 64 };

/* Of the largest batch. */
static size_t array_bytes(const mn_session_options *o) {
    return 4 * ((size_t)o->max_tokens * sizeof(int32_t) + ARRAY_ALIGN) +
           (size_t)o->max_seqs * sizeof(mn_attn_seq) + ARRAY_ALIGN;
}

static mn_status lay_out_step(mn_session *s) {
    const mn_model_config *c = &s->model->config;
    const mn_shard *here = &s->model->shard;
    const int64_t t = s->limits.max_tokens, llama = c->arch == MN_LLAMA;
    s->q = (mn_tensor){.shape = {t, here->heads, c->head_dim}, .ndim = 3, .dtype = MN_F32};
    const struct {
        mn_tensor *tensor;
        int64_t rows, cols;
    } floats[] = {{&s->x, t, c->dim},
                  {&s->h, t, c->dim},
                  {&s->qkv, t, s->layout.ld},
                  {&s->ffn, t, here->ffn_dim},
                  {&s->up, llama * t, here->ffn_dim},
                  {&s->logits[0], s->limits.max_logits, here->vocab}};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        *floats[i].tensor = mn_tensor_2d(NULL, MN_F32, floats[i].rows, floats[i].cols);
        MN_TRY(
            mn_arena_alloc(&s->step, &floats[i].tensor->data, mn_tensor_bytes(floats[i].tensor)));
    }
    s->stream = s->x.data;
    MN_TRY(mn_arena_alloc(&s->step, &s->q.data, mn_tensor_bytes(&s->q)));
    MN_TRY(mn_arena_alloc(&s->step, &s->sent, array_bytes(&s->limits)));
    MN_TRY(mn_watch_lay_out(&s->watch, &s->step));
    return mn_variants_lay_out(s);
}

static mn_status check_limits(const mn_session_options *o) {
    MN_CHECK(o->max_tokens > 0 && o->kv_rows > 0 && o->max_seqs > 0 && o->max_logits > 0,
             MN_ERR_USAGE, "a session needs room for tokens, cache rows, sequences and logits");
    MN_CHECK(o->kv_rows < INT32_MAX - 16 && o->max_tokens < INT32_MAX, MN_ERR_USAGE,
             "a session of %lld tokens and %lld cache rows is too large", (long long)o->max_tokens,
             (long long)o->kv_rows);
    return MN_OK;
}

/* A session that has only been measured. */
static mn_status measure(mn_session **out, mn_model *model, const mn_session_options *options) {
    *out = NULL;
    MN_TRY(check_limits(options));
    mn_session *s = calloc(1, sizeof *s);
    MN_CHECK(s, MN_ERR_MEMORY, "no memory for a session");
    *out = s;
    s->model = model;
    s->limits = *options;
    s->layout = mn_qkv_layout_of(model);
    MN_TRY(mn_variants_open(s));
    s->kv = calloc((size_t)mn_session_kv_layers(s), sizeof *s->kv);
    MN_CHECK(s->kv, MN_ERR_MEMORY, "no memory for a session");
    /* Every block, and the first memory of a top once more. They are the same numbers on all ranks. */
    MN_TRY(mn_watch_open(&s->watch, model->device, NULL, model->config.layers + 1));
    mn_arena_init(&s->prefix, "prefix", model->device);
    mn_arena_init(&s->step, "step", model->device);
    MN_TRY(lay_out_cache(s));
    return lay_out_step(s);
}

mn_status mn_session_plan(int64_t *kv_bytes, int64_t *step_bytes, mn_model *model,
                          const mn_session_options *options) {
    mn_session *s = NULL;
    const mn_status st = measure(&s, model, options);
    if (st == MN_OK) {
        *kv_bytes = (int64_t)s->prefix.used;
        *step_bytes = (int64_t)s->step.used;
    }
    mn_session_close(&s);
    return st;
}

mn_status mn_session_open(mn_session **out, mn_model *model, const mn_session_options *options) {
    mn_session *s = NULL;
    mn_status st = MN_OK;
    const mn_model_config *c = &model->config;
    *out = NULL;
    MN_GOTO(measure(&s, model, options));
    MN_GOTO(mn_arena_commit(&s->prefix));
    MN_GOTO(mn_arena_commit(&s->step));
    MN_GOTO(lay_out_cache(s));
    MN_GOTO(lay_out_step(s));
    MN_GOTO(mn_variants_commit(s));
    s->arrays = calloc(1, array_bytes(options));
    MN_CHECK_GOTO(s->arrays, MN_ERR_MEMORY, "no memory for a session");
    int64_t widest, layers;
    mn_variants_most(s, &widest, &layers);
    const int64_t widths[] = {model->shard.ffn_dim, c->dim, model->shard.heads * c->head_dim};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (widths[i] > widest) widest = widths[i];
    const int64_t rows = options->max_tokens > options->max_logits ? options->max_tokens
                                                                   : options->max_logits;
    MN_GOTO(model->device->reserve(model->device, rows, widest));
    *out = s;
    s = NULL;
done:
    mn_session_close(&s);
    return st;
}

void mn_session_close(mn_session **session) {
    mn_session *s = *session;
    if (!s) return;
    mn_device_forget(s->model->device, s);
    mn_arena_free(&s->step);
    mn_arena_free(&s->prefix);
    mn_variants_close(s);
    mn_watch_close(&s->watch);
    free(s->arrays);
    free(s->kv);
    free(s);
    *session = NULL;
}

const mn_session_options *mn_session_limits(const mn_session *s) { return &s->limits; }

mn_model *mn_session_model(const mn_session *s) { return s->model; }

void mn_session_rows(mn_session *s, int64_t rows) {
    mn_tensor *const views[] = {&s->x, &s->h, &s->qkv, &s->q, &s->ffn, &s->up};
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) views[i]->shape[0] = rows;
}

mn_status mn_session_output_rows(mn_session *s, mn_tensor *to, const mn_tensor *from) {
    if (s->only_outputs) return mn_cast(s->model->device, to, from);
    return mn_gather_fwd(s->model->device, to, from, &s->outputs);
}

bool mn_session_all_outputs(const mn_session *s) {
    return s->batch.output_count == s->batch.tokens;
}

/* Outputs rise; where ops cannot read the arrays, the rest is checked here, too. */
static mn_status check_batch(const mn_session *s, const mn_batch *b) {
    const mn_model_config *c = &s->model->config;
    const int64_t rows = s->kv[0].rows;
    for (int64_t i = 0; !s->model->device->host_memory && i < b->tokens; i++)
        MN_CHECK(b->ids[i] >= 0 && b->ids[i] < c->vocab && b->positions[i] >= 0 &&
                     b->positions[i] < c->max_positions && b->rows[i] >= 0 && b->rows[i] < rows,
                 MN_ERR_DATA,
                 "token %lld of a batch: id %d of %lld, position %d of %lld, row %d of %lld",
                 (long long)i, b->ids[i], (long long)c->vocab, b->positions[i],
                 (long long)c->max_positions, b->rows[i], (long long)rows);
    for (int64_t i = 0; i < b->output_count; i++)
        MN_CHECK(b->outputs[i] >= 0 && b->outputs[i] < b->tokens &&
                     (i == 0 || b->outputs[i] > b->outputs[i - 1]),
                 MN_ERR_USAGE, "output %lld is token %d of %lld, rising ones expected",
                 (long long)i, b->outputs[i], (long long)b->tokens);
    return MN_OK;
}

/* The batch's arrays to the device, in one copy. */
static mn_status send_arrays(mn_session *s, const mn_batch *b) {
    mn_device *dev = s->model->device;
    size_t used = 0;
    const struct {
        mn_tensor *to;
        const int32_t *from;
        int64_t count;
    } arrays[] = {{&s->ids, b->ids, b->tokens},
                  {&s->positions, b->positions, b->tokens},
                  {&s->rows, b->rows, b->tokens},
                  {&s->outputs, b->outputs, b->output_count}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        const size_t bytes = (size_t)arrays[i].count * sizeof(int32_t);
        *arrays[i].to = mn_tensor_1d(s->sent + used, MN_I32, arrays[i].count);
        if (bytes > 0) memcpy(s->arrays + used, arrays[i].from, bytes);
        used += (bytes + ARRAY_ALIGN - 1) / ARRAY_ALIGN * ARRAY_ALIGN;
    }
    const size_t bytes = (size_t)b->seq_count * sizeof *b->seqs;
    s->seqs = (mn_attn_seqs){.host = (mn_attn_seq *)(void *)(s->arrays + used),
                             .device = (mn_attn_seq *)(void *)(s->sent + used),
                             .count = b->seq_count};
    memcpy(s->arrays + used, b->seqs, bytes);
    return dev->upload(dev, s->sent, s->arrays, used + bytes);
}

/* Views of the arena's tensors for this batch. */
static mn_status bind_batch(mn_session *s, const mn_batch *b) {
    MN_CHECK(b->tokens > 0 && b->tokens <= s->limits.max_tokens &&
                 b->seq_count <= s->limits.max_seqs && b->output_count <= b->tokens,
             MN_ERR_USAGE,
             "a batch of %lld tokens and %lld sequences in a session for %lld and %lld",
             (long long)b->tokens, (long long)b->seq_count, (long long)s->limits.max_tokens,
             (long long)s->limits.max_seqs);
    MN_TRY(check_batch(s, b));
    mn_session_rows(s, b->tokens);
    s->batch = *b;
    s->only_outputs = mn_session_all_outputs(s);
    if (s->x.data != s->stream) { /* the last pass has left them exchanged */
        s->h.data = s->x.data;
        s->x.data = s->stream;
    }
    return send_arrays(s, b);
}

/* ---- What is not finite ---- */

/* Counters: one behind each block of the trunk, one in front of the top's first block, one behind each of its
 * blocks. */
static mn_status watch(mn_session *s, int64_t place) {
    return mn_watch_put(&s->watch, place, &s->x);
}

/* What the trunk and this top have left behind: the one place where a pass waits for the device. */
static mn_status check_finite(mn_session *s) {
    int64_t place = -1;
    MN_TRY(mn_watch_look_at_all(&s->watch, &place));
    if (place < 0) return MN_OK;
    MN_TRY(mn_model_check_finite(s->model)); /* a broken weight explains it better */
    const mn_model_config *c = &s->model->config;
    const mn_memory *m = place < s->trunk_layers ? NULL : s->variants[s->variant];
    const int64_t block = place < s->trunk_layers ? place : place - 1;
    const int64_t rows = block == c->layers - 1 ? s->batch.output_count : s->batch.tokens;
    return mn_fail(MN_ERR_NUMERIC,
                   "%s%s%s: %lld of %lld numbers behind block %lld are NaN or infinite",
                   s->model->path, m ? " with memory " : "", m ? m->name : "",
                   (long long)s->watch.found[place], (long long)(rows * c->dim), (long long)block);
}

/* ---- Passes ---- */

/* A block with its memory, if the variant at work has one. */
static mn_status run_one(mn_session *s, int64_t layer) {
    MN_TRY(s->model->config.arch == MN_NEOX ? mn_neox_block(s, layer, &s->batch)
                                            : mn_llama_block(s, layer, &s->batch));
    const bool last = layer + 1 == s->model->config.layers;
    if (last && s->batch.output_count == 0) return MN_OK; /* its keys and values are filed */
    if (s->at_trunk) return watch(s, layer);
    MN_TRY(mn_session_memory(s, layer));
    return watch(s, layer + 1);
}

static mn_status run_block(mn_session *s, int64_t layer) {
    return MN_RANGE(s->model->device, "block", run_one(s, layer));
}

/* A decoding step's kernels are the same as the step's before, for as many sequences of about the same length:
 * worth recording. Ranks that share a model meet in the middle of it. */
static mn_status run_part(mn_session *s, int64_t part, mn_status (*work)(void *session)) {
    const mn_batch *b = &s->batch;
    const bool decodes = b->seq_count == b->tokens && mn_session_all_outputs(s) && !s->model->tp;
    mn_repeat key = {.owner = s, .part = part, .rows = b->tokens};
    if (!decodes) return work(s);
    for (int64_t i = 0; i < b->seq_count; i++) {
        const mn_attn_seq *seq = &s->seqs.host[i];
        const int64_t keys = (int64_t)seq->shared_len[0] + seq->shared_len[1] + seq->own_len;
        if (keys > key.keys) key.keys = keys;
    }
    return mn_device_repeat(s->model->device, &key, work, s);
}

static mn_status trunk_kernels(void *session) {
    mn_session *s = session;
    MN_TRY(mn_watch_clear(&s->watch, 0, s->trunk_layers));
    MN_TRY(mn_vocab_embed(s->model, &s->x, &s->ids));
    for (int64_t i = 0; i < s->trunk_layers; i++) MN_TRY(run_block(s, i));
    return mn_session_end_trunk(s);
}

mn_status mn_session_trunk(mn_session *s, const mn_batch *batch) {
    MN_TRY(MN_RANGE(s->model->device, "loader", bind_batch(s, batch)));
    s->at_trunk = true;
    MN_TRY(run_part(s, 0, trunk_kernels));
    s->trunk.shape[0] = s->x.shape[0];
    return MN_OK;
}

/* Final norm of the outputs. */
static mn_status finish(mn_session *s) {
    mn_model *m = s->model;
    const mn_model_config *c = &m->config;
    mn_tensor out = mn_session_out(s, s->variant);
    if (s->batch.output_count == 0) return MN_OK;
    MN_TRY(mn_session_output_rows(s, &out, &s->x));
    if (c->arch == MN_NEOX)
        return mn_layernorm_fwd(m->device, &out, &out, &m->norm_w, &m->norm_b, c->norm_eps);
    return mn_rmsnorm_fwd(m->device, &out, &out, &m->norm_w, c->norm_eps);
}

static mn_status top_kernels(void *session) {
    mn_session *s = session;
    MN_TRY(mn_watch_clear(&s->watch, s->trunk_layers, s->watch.room));
    if (mn_memory_at(s->variants[s->variant], s->trunk_layers - 1)) {
        MN_TRY(mn_session_memory(s, s->trunk_layers - 1));
        MN_TRY(watch(s, s->trunk_layers));
    }
    for (int64_t i = s->trunk_layers; i < s->model->config.layers; i++) MN_TRY(run_block(s, i));
    return finish(s);
}

static mn_status later_top_kernels(void *session) {
    mn_session *s = session;
    MN_TRY(mn_cast(s->model->device, &s->x, &s->trunk));
    return top_kernels(s);
}

mn_status mn_session_top(mn_session *s, int64_t variant) {
    bool again;
    MN_TRY(mn_session_begin_top(s, variant, &again));
    MN_TRY(run_part(s, 1 + 2 * variant + again, again ? later_top_kernels : top_kernels));
    MN_TRY(mn_session_read_change(s));
    return check_finite(s);
}

mn_status mn_session_forward(mn_session *s, const mn_batch *batch) {
    MN_TRY(mn_session_trunk(s, batch));
    return mn_session_top(s, 0);
}

mn_status mn_session_variant_logits(mn_session *s, int64_t variant, int64_t first, int64_t count,
                                    mn_tensor *logits) {
    const int64_t dim = s->model->config.dim, vocab = s->model->shard.vocab;
    MN_CHECK(variant >= 0 && variant < s->limits.variant_count, MN_ERR_USAGE,
             "variant %lld of %lld", (long long)variant, (long long)s->limits.variant_count);
    MN_CHECK(first >= 0 && count > 0 && first + count <= s->batch.output_count &&
                 count <= s->limits.max_logits,
             MN_ERR_USAGE, "logits of outputs %lld + %lld of %lld are out of reach",
             (long long)first, (long long)count, (long long)s->batch.output_count);
    const bool apart = s->limits.variant_count > 1 && !s->variants[variant];
    const mn_tensor out = mn_session_out(s, variant);
    const mn_tensor x = mn_tensor_2d((float *)out.data + first * dim, MN_F32, count, dim);
    *logits = mn_tensor_2d(s->logits[apart].data, MN_F32, count, vocab);
    return mn_session_linear(s, logits, vocab, &x, &s->model->head_w, NULL, MN_EPILOGUE_STORE);
}

mn_status mn_session_logits(mn_session *s, int64_t first, int64_t count, mn_tensor *logits) {
    return mn_session_variant_logits(s, 0, first, count, logits);
}
