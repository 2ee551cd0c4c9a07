/* outlook.c - collects the forecasts of a model's layouts. */
#include "cli/outlook.h"

#include "mneme/file.h"

#include <stdlib.h>

const mn_forecast_kind mn_outlook_jobs[MN_OUTLOOK_JOBS] = {MN_FORECAST_EVALUATE, MN_FORECAST_TRAIN,
                                                           MN_FORECAST_FULL};
const double mn_outlook_sizes[MN_OUTLOOK_SIZES] = {24e9, 40e9, 80e9};
const double mn_outlook_reserve = 1e9;

const char *const mn_outlook_dtypes[] = {"f16", "bf16", "f32", NULL};
const char *const mn_outlook_backends[] = {"cuda", "cpu", NULL};
static const mn_dtype dtypes[] = {MN_F16, MN_BF16, MN_F32};

bool mn_outlook_fits(const mn_forecast_memory *memory, double size) {
    return (double)memory->total + mn_outlook_reserve <= size;
}

bool mn_outlook_shares(mn_forecast_kind kind) { return kind == MN_FORECAST_FULL; }

mn_forecast_memory mn_outlook_memory(const mn_outlook_layout *layout, mn_forecast_kind kind) {
    /* The others take place in the memory of one of the three. */
    if (kind == MN_FORECAST_CACHED) kind = MN_FORECAST_TRAIN;
    if (kind == MN_FORECAST_PREFILL || kind == MN_FORECAST_DECODE) kind = MN_FORECAST_EVALUATE;
    int job = 0;
    while (mn_outlook_jobs[job] != kind) job++;
    return layout->memory[job];
}

/* ---- the job ---- */

static mn_status make_job(mn_forecast_job *job, const mn_outlook_options *o, const char *name) {
    *job = (mn_forecast_job){.name = name,
                             .dtype = dtypes[o->dtype],
                             .like = o->backend == 0 ? MN_TALLY_CUDA : MN_TALLY_CPU,
                             .tp = 1,
                             .dp = 1,
                             .batch = o->per_device_train_batch_size,
                             .length = o->chunk_length,
                             .hidden = o->memory.hidden,
                             .memories = o->memories,
                             .pages = o->pages,
                             .claims = o->claims,
                             .shared = o->prefix_tokens,
                             .own = o->claim_tokens,
                             .prompt = o->prompt_tokens};
    MN_TRY(mn_dir_exists(name) ? mn_model_config_load(&job->config, name)
                               : mn_model_config_named(&job->config, name));
    const int64_t positions = job->config.max_positions;
    MN_CHECK(job->length <= positions, MN_ERR_USAGE,
             "%s: chunk_length %lld, the model has %lld positions", name, (long long)job->length,
             (long long)positions);
    MN_CHECK(job->shared + job->own < positions, MN_ERR_USAGE,
             "%s: prefix_tokens %lld and claim_tokens %lld, the model has %lld positions", name,
             (long long)job->shared, (long long)job->own, (long long)positions);
    MN_CHECK(job->prompt < positions, MN_ERR_USAGE,
             "%s: prompt_tokens %lld and one behind them, the model has %lld positions", name,
             (long long)job->prompt, (long long)positions);
    return MN_OK;
}

/* ---- layouts ---- */

static mn_status add_layout(mn_outlook *out, int tp, int dp) {
    MN_TRY(mn_grow(&out->layouts, &out->cap, out->count + 1, sizeof *out->layouts));
    mn_outlook_layout *l = &out->layouts[out->count++];
    *l = (mn_outlook_layout){.tp = tp, .dp = dp};
    mn_forecast_job job = out->job;
    job.tp = tp;
    job.dp = dp;
    for (int i = 0; i < MN_OUTLOOK_JOBS; i++)
        MN_TRY(mn_forecast_memory_of(&l->memory[i], &job, mn_outlook_jobs[i]));
    for (int i = 0; i < MN_FORECASTS && out->has_work; i++)
        MN_TRY(mn_forecast_run(&l->works[i], &job, (mn_forecast_kind)i));
    return MN_OK;
}

/* Whether so many ranks can share the model; why not is nobody's business where all layouts are listed. */
static bool can_share(const mn_outlook *out, int tp) {
    mn_shard shard;
    mn_error_record before;
    mn_error_save(&before);
    const bool can = mn_shard_of(&shard, &out->job.config, 0, tp) == MN_OK;
    mn_error_restore(&before);
    return can;
}

/* Layouts of up to MN_OUTLOOK_RANKS ranks, replicas by powers of two; of what was asked for, that alone. Of many
 * models, those that can be. */
static mn_status add_layouts(mn_outlook *out, bool one) {
    const int asked_tp = out->options->tp, asked_dp = out->options->dp;
    const int first = asked_tp ? asked_tp : 1, last = asked_tp ? asked_tp : MN_OUTLOOK_RANKS;
    for (int tp = first; tp <= last; tp++) {
        if ((!asked_tp || !one) && !can_share(out, tp)) continue;
        if (asked_dp) MN_TRY(add_layout(out, tp, asked_dp));
        for (int dp = 1; !asked_dp && (dp == 1 || tp * dp <= MN_OUTLOOK_RANKS); dp *= 2)
            MN_TRY(add_layout(out, tp, dp));
    }
    return MN_OK;
}

mn_status mn_outlook_open(mn_outlook *out, const mn_outlook_options *options, const char *name,
                          bool one) {
    *out = (mn_outlook){.options = options, .has_work = one && options->backend == 0};
    MN_TRY(make_job(&out->job, options, name));
    return add_layouts(out, one);
}

void mn_outlook_close(mn_outlook *out) {
    for (size_t i = 0; i < out->count; i++)
        for (int k = 0; k < MN_FORECASTS; k++) mn_forecast_work_free(&out->layouts[i].works[k]);
    free(out->layouts);
    *out = (mn_outlook){0};
}
