/* bench_train.c - whole training steps of memories at 70 to 80 % of the depth: forward, loss,
 * backward, clipping norm, AdamW. With a loss on every token, and as template training has it on the
 * last tokens of each sequence only; each from the ids, as in epoch 1, and from the kept hidden states
 * of the frozen trunk, as from epoch 2 on. */
#include "cli/bench.h"

#include "mneme/rng.h"
#include "mneme/signals.h"
#include "mneme/tape.h"
#include "train/params.h"

#include <stdio.h>
#include <stdlib.h>

enum { SEQS = MN_BENCH_TRAIN_SEQS, ANSWER = MN_BENCH_TRAIN_ANSWER };

typedef struct lesson {
    mn_bench *b;
    mn_memory *memory;
    mn_tape *tape;
    train_params params;
    mn_train_options options;
    int64_t length, steps; /* tokens of a sequence; steps of AdamW so far */
    int64_t lengths[SEQS];
    int32_t *ids, *outputs, *targets;
    float *hidden; /* (tokens, C) of the batch, by the last run from the ids */
    mn_train_batch batch;
    bool from_ids;
} lesson;

int64_t mn_bench_train_length(const mn_bench_options *o) { return o->quick ? 16 : 256; }

/* ---- the pieces ---- */

static mn_status open_memory(lesson *l) {
    const uint64_t seed = (uint64_t)l->b->options->seed;
    const mn_memory_options options = {.from = 0.7, .to = 0.8, .gate = 1, .seed = seed};
    mn_train_defaults(&l->options);
    MN_TRY(mn_memory_create(&l->memory, l->b->model, &options));
    return mn_params_open(&l->params, l->b->model, l->memory, &l->options, NULL);
}

static mn_status open_tape(lesson *l) {
    const mn_tape_options options = {
        .max_tokens = SEQS * l->length, .max_seqs = SEQS, .compute = l->b->compute};
    int64_t bytes = 0;
    MN_TRY(mn_tape_plan(&bytes, l->b->model, l->memory, &options));
    MN_TRY(mn_bench_want_memory(l->b, (double)bytes, "training"));
    return mn_tape_open(&l->tape, l->b->model, l->memory, l->params.memory_grads, NULL, &options);
}

static mn_status open_texts(lesson *l) {
    const mn_model_config *c = &l->b->model->config;
    const int64_t tokens = SEQS * l->length;
    l->ids = calloc((size_t)tokens, sizeof *l->ids);
    l->outputs = calloc((size_t)tokens, sizeof *l->outputs);
    l->targets = calloc((size_t)tokens, sizeof *l->targets);
    l->hidden = calloc((size_t)(tokens * c->dim), sizeof *l->hidden);
    MN_CHECK(l->ids && l->outputs && l->targets && l->hidden, MN_ERR_MEMORY,
             "no memory for texts of %lld tokens", (long long)tokens);
    for (int64_t i = 0; i < tokens; i++)
        l->ids[i] = (int32_t)mn_rng_below((uint64_t)l->b->options->seed, 3, (uint64_t)i, c->vocab);
    for (int i = 0; i < SEQS; i++) l->lengths[i] = l->length;
    l->batch = (mn_train_batch){.ids = l->ids,
                                .tokens = tokens,
                                .lengths = l->lengths,
                                .seq_count = SEQS,
                                .outputs = l->outputs,
                                .targets = l->targets};
    return MN_OK;
}

/* A loss behind the last `count` tokens of each sequence. What follows a text's last token is as
 * random as the text: the next text's first will do. */
static void aim(lesson *l, int64_t count) {
    mn_train_batch *t = &l->batch;
    t->output_count = 0;
    for (int64_t i = 0; i < t->tokens; i++) {
        if (i % l->length < l->length - count) continue;
        l->targets[t->output_count] = l->ids[(i + 1) % t->tokens];
        l->outputs[t->output_count++] = (int32_t)i;
    }
}

static void lesson_close(lesson *l) {
    mn_tape_close(&l->tape);
    mn_params_close(&l->params);
    mn_memory_close(&l->memory);
    free(l->hidden);
    free(l->targets);
    free(l->outputs);
    free(l->ids);
}

/* ---- one step ---- */

/* As `mneme train` does it: in epoch 1 the trunk runs first, and what it gives is kept. */
static mn_status run(void *context) {
    const double max_norm = 10, learning_rate = 1e-3;
    lesson *l = context;
    double loss = 0, norm = 0;
    MN_CHECK(!mn_stop_requested(), MN_STOPPED, "stopped on request");
    MN_TRY(mn_params_clear(&l->params));
    if (l->from_ids) MN_TRY(mn_tape_trunk(l->tape, &l->batch, l->hidden));
    MN_TRY(mn_tape_step(l->tape, &l->batch, l->hidden, 1.0f / (float)l->batch.output_count, &loss));
    MN_TRY(mn_params_norm(&norm, &l->params));
    return mn_params_step(&l->params, &l->options, ++l->steps, learning_rate,
                          norm > max_norm ? max_norm / norm : 1);
}

/* ---- what it must cost ---- */

/* Matrix elements of a block: those for keys and values, and all others. */
typedef struct elements {
    double kv, rest;
} elements;

static elements block_elements(const mn_model_config *c) {
    const double dim = (double)c->dim, heads = (double)(c->heads * c->head_dim);
    const double mlp = (c->arch == MN_NEOX ? 2 : 3) * dim * (double)c->ffn_dim;
    return (elements){.kv = 2 * dim * (double)(c->kv_heads * c->head_dim),
                      .rest = 2 * dim * heads + mlp};
}

/* Counted, two operations for a multiplication and its addition:
 * - forward, from block `from` on: the blocks' matrices for every token, two products for every pair
 *   of a query and a key that it sees. In the last block only rows with targets need more than keys
 *   and values;
 * - backward, above the lowest memory: the same matrices once more, as frozen weights have no
 *   gradients, and four products for a pair (dv, dp, dq, dk);
 * - memories: both matrices forward and their gradients; down's input gradient, and up's unless the
 *   memory is the lowest;
 * - the output matrix forward and backward, for rows with targets.
 * Not counted: norms, activations, softmax, what backward computes again (attention's scores), the
 * optimizer. Bytes are those of the weights, once in each direction. */
static void add_cost(mn_bench_work *w, const lesson *l, int64_t from) {
    const mn_model *m = l->b->model;
    const mn_model_config *c = &m->config;
    const int64_t first = mn_tape_first(l->tape);
    const elements e = block_elements(c);
    const double tokens = (double)l->batch.tokens, outputs = (double)l->batch.output_count;
    const double size = (double)mn_dtype_size(mn_bench_dtype(m));
    const double head = (double)c->vocab * (double)c->dim;
    double pairs = 0, output_pairs = 0;
    for (int64_t i = 0; i < l->batch.tokens; i++) pairs += (double)(i % l->length + 1);
    for (int64_t i = 0; i < l->batch.output_count; i++)
        output_pairs += (double)(l->outputs[i] % l->length + 1);
    for (int64_t i = from; i < c->layers; i++) {
        const bool last = i == c->layers - 1;
        const double rows = last ? outputs : tokens;
        const double product = (double)(2 * c->heads * c->head_dim) * (last ? output_pairs : pairs);
        const double matrices = 2 * (e.kv * tokens + e.rest * rows);
        w->flops += matrices + 2 * product + (i > first ? matrices + 4 * product : 0);
        w->bytes += (i > first ? 2 : 1) * (e.kv + e.rest) * size;
    }
    for (int64_t i = 0; i < l->memory->count; i++) {
        const int64_t block = l->memory->layers[i].block;
        const double rows = block == c->layers - 1 ? outputs : tokens;
        const double matrix = 2 * rows * (double)(l->memory->hidden * l->memory->dim);
        w->flops += (block > first ? 6 : 5) * matrix;
    }
    w->flops += 4 * head * outputs;
    w->bytes += 2 * head * size + 2 * (double)mn_memory_parameters(l->memory) * sizeof(float);
}

/* ---- the works ---- */

static mn_status time_work(lesson *l, const char *name, const char *what, bool from_ids) {
    mn_bench *b = l->b;
    mn_bench_work *w = &b->works[b->work_count];
    *w = (mn_bench_work){.name = name,
                         .unit = "tokens/s",
                         .units = (double)l->batch.tokens,
                         .limit = mn_bench_flop_peak(b)};
    snprintf(w->title, sizeof w->title, "%s %d x %lld, %s", what, SEQS, (long long)l->length,
             from_ids ? "epoch 1" : "from epoch 2");
    l->from_ids = from_ids;
    add_cost(w, l, from_ids ? 0 : mn_tape_first(l->tape) + 1);
    MN_TRY(mn_bench_time(b, w, run, run, l));
    b->work_count++;
    return MN_OK;
}

mn_status mn_bench_train(mn_bench *b) {
    lesson l = {.b = b, .length = mn_bench_train_length(b->options)};
    mn_status st = MN_OK;
    MN_GOTO(open_memory(&l));
    MN_GOTO(open_tape(&l));
    MN_GOTO(open_texts(&l));
    b->train_work = b->work_count;
    aim(&l, l.length);
    MN_GOTO(time_work(&l, "train", "training", true));
    MN_GOTO(time_work(&l, "train_cached", "training", false));
    /* In the middle, so that whatever else the machine does meets both. */
    if (b->options->reference) MN_GOTO(mn_bench_refer(b, l.memory));
    aim(&l, ANSWER);
    MN_GOTO(time_work(&l, "template", "templates", true));
    MN_GOTO(time_work(&l, "template_cached", "templates", false));
    b->has_train = true;
done:
    lesson_close(&l);
    return st;
}
