/* forecast.c - see forecast.h. */
#include "cli/forecast_stage.h"

#include "model/session.h"

#include <stdlib.h>
#include <string.h>

const char *const mn_forecast_names[MN_FORECASTS + 1] = {
    "evaluate", "train", "train_cached", "train_full", "prefill", "decode", NULL};

/* ---- memory ---- */

/* Weights that lie outside of the arena: in files that are mapped. */
static int64_t mapped_bytes(mn_model *m) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < mn_binding_count(&m->config); i++) {
        mn_binding_row row;
        mn_binding_at(&row, &m->config, m, i);
        const unsigned char *data = row.weight->data, *base = m->weights.base;
        if (data < base || data >= base + m->weights.size)
            bytes += (int64_t)mn_tensor_bytes(row.weight);
    }
    return bytes;
}

static void measure_training(mn_forecast_memory *out, const forecast_stage *s, int64_t tape) {
    const train_params *p = &s->params;
    out->gradients = (int64_t)(p->memory_grads ? p->memory_grads->weights.size
                                               : p->model_grads->weights.size);
    out->optimizer = (int64_t)(p->moments.size + p->scratch.size);
    out->activations = tape;
    if (s->kind != MN_FORECAST_FULL) out->host = s->job->config.dim * (int64_t)sizeof(float);
}

mn_status mn_forecast_memory_of(mn_forecast_memory *out, const mn_forecast_job *job,
                                mn_forecast_kind kind) {
    forecast_stage s;
    int64_t tape = 0;
    *out = (mn_forecast_memory){0};
    mn_status st = mn_forecast_open(&s, job, kind);
    if (st == MN_OK && kind != MN_FORECAST_FULL) st = mn_model_pack_plan(&out->panels, s.model);
    if (st == MN_OK && s.tape)
        st = mn_tape_plan(&tape, s.model, s.memory_count > 0 ? s.memories[0] : NULL,
                          &s.tape_limits);
    if (st == MN_OK) {
        out->weights = (int64_t)s.model->weights.size;
        out->mapped = mapped_bytes(s.model);
        for (int64_t i = 0; i < s.memory_count; i++)
            out->memories += (int64_t)s.memories[i]->weights.size;
        if (s.tape) measure_training(out, &s, tape);
        if (s.session) {
            out->kv = (int64_t)s.session->prefix.size;
            out->activations = (int64_t)s.session->step.size;
        }
        out->workspace = mn_tally_workspace(s.device);
        out->total = mn_tally_memory(s.device) + out->panels;
    }
    mn_forecast_close(&s);
    return st;
}

/* ---- work ---- */

/* A step as `mneme train` takes it, with a loss on every token; this replica's part of the samples. */
static mn_status train(forecast_stage *s) {
    const mn_forecast_job *job = s->job;
    const int64_t seqs = mn_part_count(job->batch, job->dp_rank, job->dp);
    const int64_t tokens = seqs * job->length;
    const bool trunk = s->kind == MN_FORECAST_TRAIN, full = s->kind == MN_FORECAST_FULL;
    double loss = 0, norm = 0;
    mn_status st = MN_OK;
    int32_t *ids = calloc((size_t)tokens, sizeof *ids);
    int32_t *outputs = calloc((size_t)tokens, sizeof *outputs);
    int64_t *lengths = calloc((size_t)seqs, sizeof *lengths);
    float *hidden = full ? NULL : calloc((size_t)(tokens * job->config.dim), sizeof *hidden);
    MN_CHECK_GOTO(ids && outputs && lengths && (hidden || full), MN_ERR_MEMORY,
                  "no memory for a batch of %lld tokens", (long long)tokens);
    for (int64_t i = 0; i < tokens; i++) outputs[i] = (int32_t)i;
    for (int64_t i = 0; i < seqs; i++) lengths[i] = job->length;
    const mn_train_batch batch = {.ids = ids,
                                  .tokens = tokens,
                                  .lengths = lengths,
                                  .seq_count = seqs,
                                  .outputs = outputs,
                                  .targets = ids,
                                  .output_count = tokens};
    MN_GOTO(mn_params_clear(&s->params));
    if (trunk) MN_GOTO(mn_tape_trunk(s->tape, &batch, hidden));
    MN_GOTO(mn_tape_step(s->tape, &batch, hidden, 1, &loss));
    if (s->ranks.dp)
        MN_GOTO(mn_comm_reduce_tensor(s->ranks.dp, s->device, &s->params.flat, MN_COMM_SUM));
    MN_GOTO(mn_tape_sum_gradients(s->tape));
    MN_GOTO(mn_params_norm(&norm, &s->params));
    MN_GOTO(mn_params_step(&s->params, &s->options, 1, s->options.learning_rate, 1));
done:
    free(hidden);
    free(lengths);
    free(outputs);
    free(ids);
    return st;
}

/* `count` tokens behind `before` others, with the logits of the last one. */
static mn_status pass(forecast_stage *s, int64_t before, int64_t count) {
    mn_status st = MN_OK;
    mn_tensor logits;
    int32_t *ids = calloc((size_t)count, sizeof *ids);
    int32_t *at = calloc((size_t)count, sizeof *at);
    MN_CHECK_GOTO(ids && at, MN_ERR_MEMORY, "no memory for a prompt of %lld tokens",
                  (long long)count);
    for (int64_t i = 0; i < count; i++) at[i] = (int32_t)(before + i);
    const int32_t output = (int32_t)(count - 1);
    const mn_attn_seq seq = {.q_len = (int32_t)count, .own_len = (int32_t)(before + count)};
    const mn_batch batch = {.ids = ids,
                            .positions = at,
                            .rows = at,
                            .tokens = count,
                            .seqs = &seq,
                            .seq_count = 1,
                            .outputs = &output,
                            .output_count = 1};
    MN_GOTO(mn_session_forward(s->session, &batch));
    st = mn_session_logits(s->session, 0, 1, &logits);
done:
    free(at);
    free(ids);
    return st;
}

/* Answers are read off the candidates, as those of models that know the template are. */
static bool stop_at_once(void *context, int64_t request, const mn_ids *generated) {
    (void)context;
    (void)request;
    (void)generated;
    return true;
}

static mn_status evaluate(forecast_stage *s) {
    const int64_t answers = s->request_count * mn_session_variants(s->session);
    const mn_complete_hooks hooks = {.stop = stop_at_once, .eos = -1};
    mn_completion *said = calloc((size_t)answers, sizeof *said);
    MN_CHECK(said, MN_ERR_MEMORY, "no memory for %lld answers", (long long)answers);
    const mn_status st = mn_complete(s->session, s->plan, said, &hooks);
    mn_completions_free(said, answers);
    free(said);
    return st;
}

static mn_status run(forecast_stage *s) {
    switch (s->kind) {
    case MN_FORECAST_EVALUATE: return evaluate(s);
    case MN_FORECAST_PREFILL: return pass(s, 0, s->job->prompt);
    case MN_FORECAST_DECODE: return pass(s, s->job->prompt, 1);
    default: return train(s);
    }
}

static mn_status copy_rows(mn_forecast_work *out, const mn_device *tally) {
    const mn_tally_row *rows = mn_tally_rows(tally, &out->count);
    out->rows = calloc((size_t)out->count + 1, sizeof *out->rows);
    MN_CHECK(out->rows, MN_ERR_MEMORY, "no memory for %lld rows", (long long)out->count);
    memcpy(out->rows, rows, (size_t)out->count * sizeof *rows);
    return MN_OK;
}

mn_status mn_forecast_run(mn_forecast_work *out, const mn_forecast_job *job,
                          mn_forecast_kind kind) {
    forecast_stage s;
    const bool trains = mn_forecast_trains(kind);
    *out = (mn_forecast_work){.kind = kind};
    mn_status st = mn_forecast_open(&s, job, kind);
    if (st == MN_OK) st = run(&s);
    if (st == MN_OK) st = copy_rows(out, s.device);
    if (st == MN_OK && kind == MN_FORECAST_EVALUATE) {
        out->claims = (double)s.request_count * (double)job->dp;
        out->tokens = (double)mn_plan_tokens(s.plan) * (double)job->dp;
    } else if (st == MN_OK)
        out->tokens = trains                        ? (double)(job->batch * job->length)
                      : kind == MN_FORECAST_PREFILL ? (double)job->prompt
                                                    : 1;
    mn_forecast_close(&s);
    return st;
}

void mn_forecast_work_free(mn_forecast_work *work) {
    free(work->rows);
    work->rows = NULL;
    work->count = 0;
}

mn_forecast_sums mn_forecast_sum(const mn_forecast_work *work, const mn_gpu *gpu) {
    mn_forecast_sums sums = {0};
    for (int64_t i = 0; i < work->count; i++) {
        const mn_tally_row *r = &work->rows[i];
        double *bytes = r->unit == MN_TALLY_LINK   ? &sums.link_bytes
                        : r->unit == MN_TALLY_HOST ? &sums.host_bytes
                                                   : &sums.bytes;
        *bytes += r->bytes;
        sums.flops += r->flops;
        sums.seconds += mn_gpu_seconds(gpu, r);
    }
    return sums;
}
