/* forecast_stage.c - opens one rank's share of a job: models, memories, tapes, sessions and prompts as training and
 * evaluation open them, on a device that only counts. */
#include "cli/forecast_stage.h"

#include "model/memory_impl.h"

#include <stdlib.h>

/* ---- model and memories ---- */

static mn_status open_model(forecast_stage *s) {
    const mn_forecast_job *job = s->job;
    mn_model *stored = NULL;
    MN_TRY(mn_model_outline(&stored, &job->config, job->name, job->dtype, s->device, s->ranks.tp));
    if (s->kind != MN_FORECAST_FULL) {
        s->model = stored;
        return MN_OK;
    }
    const mn_status st = mn_model_trainable(&s->model, stored);
    mn_model_close(&stored);
    return st;
}

/* Without initial values, which take seconds to draw. */
static mn_status open_memories(forecast_stage *s, int64_t count) {
    const mn_forecast_job *job = s->job;
    const int64_t layers = job->config.layers;
    mn_status st = MN_OK;
    int64_t *blocks = calloc((size_t)layers, sizeof *blocks);
    s->memories = calloc((size_t)count + 1, sizeof *s->memories);
    MN_CHECK_GOTO(blocks && s->memories, MN_ERR_MEMORY, "no memory for %lld memories",
                  (long long)count);
    const double *location = s->options.memory.location;
    const mn_memory_shape shape = {
        .name = "memory",
        .hidden = job->hidden,
        .dim = job->config.dim,
        .layers = layers,
        .blocks = blocks,
        .count = mn_memory_blocks(blocks, layers, location[0], location[1])};
    while (s->memory_count < count) {
        MN_GOTO(mn_memory_new(&s->memories[s->memory_count], s->device, s->ranks.tp, &shape));
        s->memory_count++;
    }
done:
    free(blocks);
    return st;
}

/* ---- training ---- */

static mn_status open_training(forecast_stage *s) {
    const mn_forecast_job *job = s->job;
    const bool full = s->kind == MN_FORECAST_FULL;
    s->options.update = full ? MN_UPDATE_FULL : MN_UPDATE_MEMORY;
    if (!full) MN_TRY(open_memories(s, 1));
    mn_memory *memory = full ? NULL : s->memories[0];
    MN_TRY(mn_params_open(&s->params, s->model, memory, &s->options, full ? s->ranks.dp : NULL));
    s->tape_limits = (mn_tape_options){.max_tokens = job->batch * job->length,
                                       .max_seqs = job->batch,
                                       .compute = s->options.compute,
                                       .full = full,
                                       .may_overflow = s->device->narrow_products};
    return mn_tape_open(&s->tape, s->model, memory, s->params.memory_grads, s->params.model_grads,
                        &s->tape_limits);
}

/* ---- evaluation ---- */

/* Prompts of some pages: a common beginning, then the claim. Tokens differ where prompts do. */
static mn_status make_requests(forecast_stage *s) {
    enum { NEWLINE = 1, LETTER = 2 };
    const mn_forecast_job *job = s->job;
    const int64_t len = job->shared + job->own;
    s->request_count = job->pages * job->claims;
    s->requests = calloc((size_t)s->request_count, sizeof *s->requests);
    s->ids = calloc((size_t)(s->request_count * len), sizeof *s->ids);
    MN_CHECK(s->requests && s->ids, MN_ERR_MEMORY, "no memory for %lld prompts",
             (long long)s->request_count);
    /* " (a)", " (b)", " (c)": three tokens each in both families of tokenizers */
    for (int32_t c = 0; c < MN_FORECAST_CANDIDATES; c++) {
        MN_TRY(mn_ids_push(&s->candidates[c], NEWLINE));
        MN_TRY(mn_ids_push(&s->candidates[c], LETTER + c));
        MN_TRY(mn_ids_push(&s->candidates[c], NEWLINE));
    }
    for (int64_t i = 0; i < s->request_count; i++) {
        const int64_t page = i / job->claims, claim = i % job->claims;
        int32_t *ids = s->ids + i * len;
        for (int64_t t = 0; t < len; t++)
            ids[t] = (int32_t)((t < job->shared ? page : page * job->claims + claim) %
                               job->config.vocab);
        s->requests[i] = (mn_request){.ids = ids,
                                      .len = len,
                                      .group = page,
                                      .candidates = s->candidates,
                                      .candidate_count = MN_FORECAST_CANDIDATES,
                                      .max_new_tokens = 8};
    }
    return MN_OK;
}

static mn_status list_variants(forecast_stage *s) {
    s->variants = calloc((size_t)s->memory_count + 1, sizeof *s->variants);
    MN_CHECK(s->variants, MN_ERR_MEMORY, "no memory for variants");
    for (int64_t i = 0; i < s->memory_count; i++) s->variants[i + 1] = s->memories[i];
    return MN_OK;
}

static mn_status open_evaluation(forecast_stage *s) {
    MN_TRY(open_memories(s, s->job->memories));
    MN_TRY(list_variants(s));
    MN_TRY(make_requests(s));
    const mn_plan_options options = {
        .share_prefixes = true, .variants = s->variants, .variant_count = s->memory_count + 1};
    MN_TRY(mn_plan_make(&s->plan, s->model, s->requests, s->request_count, &options));
    mn_plan_session(&s->limits, s->plan);
    s->limits.audit = s->memory_count > 0;
    return mn_session_open(&s->session, s->model, &s->limits);
}

/* ---- one prompt ---- */

static mn_status open_prompt(forecast_stage *s) {
    s->limits = (mn_session_options){.max_tokens = s->job->prompt,
                                     .kv_rows = s->job->prompt + 1,
                                     .max_seqs = 1,
                                     .max_logits = 1};
    return mn_session_open(&s->session, s->model, &s->limits);
}

/* ---- all of it ---- */

mn_status mn_forecast_open(forecast_stage *s, const mn_forecast_job *job, mn_forecast_kind kind) {
    *s = (forecast_stage){.job = job, .kind = kind};
    mn_train_defaults(&s->options);
    MN_TRY(mn_tally_open(&s->device, job->like));
    MN_TRY(mn_tally_ranks(&s->ranks, s->device, job->tp, job->tp_rank, job->dp, job->dp_rank));
    MN_TRY(open_model(s));
    MN_TRY(mn_forecast_trains(kind)       ? open_training(s)
           : kind == MN_FORECAST_EVALUATE ? open_evaluation(s)
                                          : open_prompt(s));
    mn_tally_clear(s->device); /* what was copied while it was opened */
    return MN_OK;
}

void mn_forecast_close(forecast_stage *s) {
    mn_session_close(&s->session);
    mn_plan_close(&s->plan);
    for (int c = 0; c < MN_FORECAST_CANDIDATES; c++) mn_ids_free(&s->candidates[c]);
    free(s->requests);
    free(s->ids);
    free(s->variants);
    mn_tape_close(&s->tape);
    mn_params_close(&s->params);
    for (int64_t i = 0; i < s->memory_count; i++) mn_memory_close(&s->memories[i]);
    free(s->memories);
    mn_model_close(&s->model);
    mn_ranks_close(&s->ranks);
    if (s->device) mn_device_close(&s->device);
}
