/* bench_train.c - one training step of memories at 70 to 80 % of the depth, as mneme train takes it: four
 * samples, in the first epoch with the frozen trunk, later with what it gave kept; loss on every token,
 * or on the last few of a sample as in a template. */
#include "cli/bench.h"

#include "mneme/rng.h"
#include "mneme/signals.h"
#include "mneme/tape.h"
#include "train/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 4, LENGTH = 256, QUICK_LENGTH = 32, ANSWER = 3 }; /* " (a)" has about 3 tokens */

typedef struct trained {
    mn_bench *b;
    mn_memory *memory;
    mn_tape *tape;
    train_params params;
    mn_train_options options;
    int64_t length, step;
    int64_t lengths[SAMPLES];
    int32_t *ids, *outputs, *targets;
    float *hidden; /* (tokens, dim) */
    mn_train_batch batch;
} trained;

static mn_status open_arrays(trained *t) {
    const int64_t tokens = SAMPLES * t->length, vocab = t->b->model->config.vocab;
    t->ids = calloc((size_t)tokens, sizeof *t->ids);
    t->outputs = calloc((size_t)tokens, sizeof *t->outputs);
    t->targets = calloc((size_t)tokens, sizeof *t->targets);
    t->hidden = calloc((size_t)(tokens * t->b->model->config.dim), sizeof *t->hidden);
    MN_CHECK(t->ids && t->outputs && t->targets && t->hidden, MN_ERR_MEMORY,
             "no memory for %lld tokens", (long long)tokens);
    for (int64_t i = 0; i < SAMPLES; i++) t->lengths[i] = t->length;
    for (int64_t i = 0; i < tokens; i++) {
        t->ids[i] = (int32_t)mn_rng_below((uint64_t)t->b->options->seed, 3, (uint64_t)i, vocab);
        t->targets[i] = (int32_t)mn_rng_below((uint64_t)t->b->options->seed, 4, (uint64_t)i, vocab);
    }
    t->batch = (mn_train_batch){.ids = t->ids,
                                .tokens = tokens,
                                .lengths = t->lengths,
                                .seq_count = SAMPLES,
                                .outputs = t->outputs,
                                .targets = t->targets};
    return MN_OK;
}

/* Targets behind the last `each` tokens of every sample. */
static void ask(trained *t, int64_t each) {
    t->batch.output_count = 0;
    for (int64_t s = 0; s < SAMPLES; s++)
        for (int64_t i = t->length - each; i < t->length; i++)
            t->outputs[t->batch.output_count++] = (int32_t)(s * t->length + i);
}

static mn_status open_work(trained *t) {
    mn_model *model = t->b->model;
    int64_t bytes = 0;
    const mn_memory_options memory = {
        .from = 0.7, .to = 0.8, .gate = 1, .seed = (uint64_t)t->b->options->seed};
    const mn_tape_options limits = {
        .max_tokens = SAMPLES * t->length, .max_seqs = SAMPLES, .compute = t->b->compute};
    MN_CHECK(t->length <= model->config.max_positions, MN_ERR_USAGE,
             "%s: samples of %lld tokens, at most %lld", model->path, (long long)t->length,
             (long long)model->config.max_positions);
    mn_train_defaults(&t->options);
    MN_TRY(mn_memory_create(&t->memory, model, &memory));
    MN_TRY(mn_tape_plan(&bytes, model, t->memory, &limits));
    MN_TRY(mn_bench_want_memory((double)bytes, "a training step"));
    MN_TRY(mn_params_open(&t->params, model, t->memory, &t->options));
    return mn_tape_open(&t->tape, model, t->memory, t->params.memory_state[0], NULL, &limits);
}

static void trained_close(trained *t) {
    mn_tape_close(&t->tape);
    mn_params_close(&t->params);
    mn_memory_close(&t->memory);
    free(t->hidden);
    free(t->targets);
    free(t->outputs);
    free(t->ids);
}

/* ---- work ---- */

static mn_status kept_run(void *context) {
    trained *t = context;
    double loss = 0, norm = 0;
    MN_CHECK(!mn_stop_requested(), MN_STOPPED, "stopped on request");
    MN_TRY(mn_params_clear(&t->params));
    MN_TRY(mn_tape_step(t->tape, &t->batch, t->hidden, 1 / (float)t->batch.output_count, &loss));
    MN_TRY(mn_params_norm(&norm, &t->params));
    return mn_params_step(&t->params, &t->options, ++t->step, 1e-3, 1);
}

static mn_status first_run(void *context) {
    trained *t = context;
    const int64_t dim = t->b->model->config.dim;
    for (int64_t s = 0; s < SAMPLES; s++) {
        const mn_train_batch one = {.ids = t->ids + s * t->length,
                                    .tokens = t->length,
                                    .lengths = &t->length,
                                    .seq_count = 1};
        MN_TRY(mn_tape_trunk(t->tape, &one, t->hidden + s * t->length * dim));
    }
    return kept_run(t);
}

/* ---- what it must cost ---- */

/* A pass over `layers` blocks, with or without the output matrix. */
static void add_blocks(mn_bench_work *w, const trained *t, int64_t layers, bool outputs) {
    mn_attn_seq seqs[SAMPLES];
    mn_model part = *t->b->model;
    mn_batch batch = {.seqs = seqs, .seq_count = SAMPLES, .tokens = t->batch.tokens};
    memset(seqs, 0, sizeof seqs);
    for (int s = 0; s < SAMPLES; s++) seqs[s].q_len = seqs[s].own_len = (int32_t)t->length;
    part.config.layers = layers;
    if (outputs) batch.output_count = t->batch.output_count;
    w->flops += mn_bench_flops(&part.config, &batch);
    w->bytes += mn_bench_bytes(&part, &batch);
}

/* Operations of one pass that the last block does not need where only some tokens have a target: keys and
 * values are wanted of all, the rest of those with a target alone. */
static double spared(const trained *t) {
    mn_model_config c = t->b->model->config;
    const mn_attn_seq seq = {.q_len = 0};
    const mn_batch one = {.seqs = &seq, .seq_count = 1, .tokens = 1};
    c.layers = 1;
    const double keys = 2 * 2 * (double)(c.kv_heads * c.head_dim * c.dim);
    return (mn_bench_flops(&c, &one) - keys) * (double)(t->batch.tokens - t->batch.output_count);
}

/* Forward, and two products of that size for gradients. */
static double memory_flops(const trained *t) {
    const mn_memory *m = t->memory;
    double rows = 0;
    for (int64_t i = 0; i < m->count; i++)
        rows += (double)(m->layers[i].block == t->b->model->config.layers - 1
                             ? t->batch.output_count
                             : t->batch.tokens);
    return 3 * 4 * rows * (double)(m->hidden * m->dim);
}

/* Forward through the trunk (`first`) and the top, back down to the block behind which the lowest memory
 * stands. */
static void describe(mn_bench_work *w, const trained *t, const char *name, const char *title,
                     bool first) {
    const int64_t layers = t->b->model->config.layers, lowest = t->memory->layers[0].block;
    *w = (mn_bench_work){.name = name,
                         .unit = "tokens/s",
                         .units = (double)t->batch.tokens,
                         .limit = mn_bench_flop_peak(t->b)};
    snprintf(w->title, sizeof w->title, "train %d x %lld, %s", SAMPLES, (long long)t->length,
             title);
    if (first) add_blocks(w, t, lowest, false);
    add_blocks(w, t, layers - lowest, true);
    add_blocks(w, t, layers - lowest - 1, true);
    w->flops += memory_flops(t) - spared(t) * (lowest < layers - 1 ? 2 : 1);
    w->bytes += 2 * (double)mn_memory_parameters(t->memory) * (double)sizeof(float);
}

mn_status mn_bench_train(mn_bench *b) {
    static const struct {
        const char *name, *title;
        bool answer, first;
    } works[] = {{"train_first", "first epoch", false, true},
                 {"train_kept", "trunk kept", false, false},
                 {"train_answer_first", "answers, first epoch", true, true},
                 {"train_answer_kept", "answers, trunk kept", true, false}};
    trained t = {.b = b, .length = b->options->quick ? QUICK_LENGTH : LENGTH};
    mn_status st = MN_OK;
    MN_GOTO(open_arrays(&t));
    MN_GOTO(open_work(&t));
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        mn_bench_work *w = &b->works[b->work_count];
        ask(&t, works[i].answer ? ANSWER : t.length);
        describe(w, &t, works[i].name, works[i].title, works[i].first);
        MN_GOTO(mn_bench_time(b, w, first_run, works[i].first ? first_run : kept_run, &t));
        b->work_count++;
    }
done:
    trained_close(&t);
    return st;
}
