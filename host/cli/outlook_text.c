/* outlook_text.c - an outlook as tables for people. */
#include "cli/outlook.h"

#include "mneme/table.h"

#include <stdio.h>

static const char *const job_titles[MN_OUTLOOK_JOBS] = {"evaluation", "training of memories",
                                                        "training of the model"};

/* ---- memory ---- */

static mn_status cell_megabytes(mn_table *t, int64_t bytes) {
    return bytes == 0 ? mn_table_cell(t, "-") : mn_table_cell(t, "%.0f", (double)bytes / 1e6);
}

static mn_status cell_fits(mn_table *t, const mn_forecast_memory *m) {
    char text[32] = "";
    size_t used = 0;
    for (int i = 0; i < MN_OUTLOOK_SIZES; i++)
        if (mn_outlook_fits(m, mn_outlook_sizes[i]))
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%.0f", used ? " " : "",
                                     mn_outlook_sizes[i] / 1e9);
    return mn_table_cell(t, "%s", used ? text : "-");
}

static mn_status add_memory_row(mn_table *t, const mn_outlook *o, const mn_outlook_layout *l,
                                int job) {
    const mn_forecast_memory *m = &l->memory[job];
    const bool cpu = o->job.like == MN_TALLY_CPU;
    MN_TRY(mn_table_cell(t, "%s", job_titles[job]));
    MN_TRY(mn_table_cell(t, "%d", l->tp));
    MN_TRY(mn_outlook_shares(mn_outlook_jobs[job]) ? mn_table_cell(t, "%d", l->dp)
                                                   : mn_table_cell(t, "any"));
    const int64_t parts[] = {m->weights,     m->memories,  m->gradients, m->optimizer,       m->kv,
                             m->activations, m->workspace, m->total,     cpu ? m->panels : 0};
    for (int i = 0; i < (cpu ? 9 : 8); i++) MN_TRY(cell_megabytes(t, parts[i]));
    return cpu ? cell_megabytes(t, m->mapped) : cell_fits(t, m);
}

/* Replicas of jobs that do not share anything are all alike: one row stands for all. */
static bool is_shown(const mn_outlook *o, size_t layout, int job) {
    const mn_outlook_layout *l = &o->layouts[layout];
    if (mn_outlook_shares(mn_outlook_jobs[job])) return true;
    return layout == 0 || o->layouts[layout - 1].tp != l->tp;
}

static mn_status add_memory(mn_buf *out, const mn_outlook *o) {
    static const mn_column cuda[] = {
        {"MB of each GPU", MN_LEFT}, {"tp", MN_RIGHT},       {"dp", MN_RIGHT},
        {"weights", MN_RIGHT},       {"memories", MN_RIGHT}, {"gradients", MN_RIGHT},
        {"optimizer", MN_RIGHT},     {"kv cache", MN_RIGHT}, {"activations", MN_RIGHT},
        {"workspace", MN_RIGHT},     {"together", MN_RIGHT}, {"fits on GB", MN_LEFT}};
    static const mn_column cpu[] = {
        {"MB of each process", MN_LEFT}, {"tp", MN_RIGHT},       {"dp", MN_RIGHT},
        {"weights", MN_RIGHT},           {"memories", MN_RIGHT}, {"gradients", MN_RIGHT},
        {"optimizer", MN_RIGHT},         {"kv cache", MN_RIGHT}, {"activations", MN_RIGHT},
        {"workspace", MN_RIGHT},         {"together", MN_RIGHT}, {"of it panels", MN_RIGHT},
        {"mapped files", MN_RIGHT}};
    const bool on_cpu = o->job.like == MN_TALLY_CPU;
    mn_table *t = NULL;
    mn_status st = on_cpu ? mn_table_open(&t, cpu, sizeof cpu / sizeof *cpu)
                          : mn_table_open(&t, cuda, sizeof cuda / sizeof *cuda);
    if (st != MN_OK) return st;
    for (int job = 0; job < MN_OUTLOOK_JOBS; job++) {
        if (job > 0) mn_table_rule(t);
        for (size_t i = 0; i < o->count; i++)
            if (is_shown(o, i, job)) MN_GOTO(add_memory_row(t, o, &o->layouts[i], job));
    }
    st = mn_table_text(out, t);
done:
    mn_table_close(&t);
    return st;
}

/* ---- time ---- */

/* Of a work on a GPU; below 0 where it does not fit. */
static double seconds_of(const mn_outlook_layout *l, mn_forecast_kind kind, const mn_gpu *gpu) {
    const mn_forecast_memory memory = mn_outlook_memory(l, kind);
    if (!mn_outlook_fits(&memory, gpu->memory)) return -1;
    return mn_forecast_sum(&l->works[kind], gpu).seconds;
}

static mn_status cell_milliseconds(mn_table *t, double seconds) {
    return seconds < 0 ? mn_table_cell(t, "-") : mn_table_cell(t, "%.2f", 1e3 * seconds);
}

static mn_status cell_rate(mn_table *t, double units, double seconds) {
    return seconds < 0 ? mn_table_cell(t, "-") : mn_table_cell(t, "%.0f", units / seconds);
}

static mn_status add_time_row(mn_table *t, const mn_outlook_layout *l, const mn_gpu *gpu) {
    MN_TRY(mn_table_cell(t, "%s", gpu->name));
    MN_TRY(mn_table_cell(t, "%d", l->tp));
    MN_TRY(mn_table_cell(t, "%d", l->dp));
    MN_TRY(cell_milliseconds(t, seconds_of(l, MN_FORECAST_TRAIN, gpu)));
    MN_TRY(cell_milliseconds(t, seconds_of(l, MN_FORECAST_CACHED, gpu)));
    MN_TRY(cell_milliseconds(t, seconds_of(l, MN_FORECAST_FULL, gpu)));
    MN_TRY(cell_rate(t, l->works[MN_FORECAST_EVALUATE].claims,
                     seconds_of(l, MN_FORECAST_EVALUATE, gpu)));
    MN_TRY(cell_milliseconds(t, seconds_of(l, MN_FORECAST_PREFILL, gpu)));
    return cell_milliseconds(t, seconds_of(l, MN_FORECAST_DECODE, gpu));
}

static mn_status add_times(mn_buf *out, const mn_outlook *o) {
    static const mn_column columns[] = {{"calculated", MN_LEFT},    {"tp", MN_RIGHT},
                                        {"dp", MN_RIGHT},           {"ms per step", MN_RIGHT},
                                        {"trunk cached", MN_RIGHT}, {"whole model", MN_RIGHT},
                                        {"claims/s", MN_RIGHT},     {"ms per prompt", MN_RIGHT},
                                        {"ms per token", MN_RIGHT}};
    const mn_option_list *gpus = &o->options->gpu;
    mn_table *t = NULL;
    mn_status st = mn_table_open(&t, columns, sizeof columns / sizeof *columns);
    if (st != MN_OK) return st;
    for (size_t g = 0; g < gpus->count; g++) {
        if (g > 0) mn_table_rule(t);
        for (size_t i = 0; i < o->count; i++)
            MN_GOTO(add_time_row(t, &o->layouts[i], &mn_gpus[gpus->items[g]]));
    }
    st = mn_table_text(out, t);
done:
    mn_table_close(&t);
    return st;
}

static mn_status add_messages(mn_buf *out, const mn_outlook *o) {
    static const mn_column columns[] = {{"MB that each GPU sends: tp", MN_RIGHT},
                                        {"dp", MN_RIGHT},
                                        {"per step", MN_RIGHT},
                                        {"trunk cached", MN_RIGHT},
                                        {"whole model", MN_RIGHT},
                                        {"per claim", MN_RIGHT},
                                        {"per prompt", MN_RIGHT},
                                        {"per token", MN_RIGHT}};
    static const mn_forecast_kind kinds[] = {MN_FORECAST_TRAIN,   MN_FORECAST_CACHED,
                                             MN_FORECAST_FULL,    MN_FORECAST_EVALUATE,
                                             MN_FORECAST_PREFILL, MN_FORECAST_DECODE};
    mn_table *t = NULL;
    mn_status st = mn_table_open(&t, columns, sizeof columns / sizeof *columns);
    if (st != MN_OK) return st;
    for (size_t i = 0; i < o->count; i++) {
        const mn_outlook_layout *l = &o->layouts[i];
        if (l->tp * l->dp == 1) continue;
        MN_GOTO(mn_table_cell(t, "%d", l->tp));
        MN_GOTO(mn_table_cell(t, "%d", l->dp));
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            const mn_forecast_work *w = &l->works[kinds[k]];
            const double units = w->claims > 0 ? w->claims / l->dp : 1;
            MN_GOTO(
                mn_table_cell(t, "%.3f", mn_forecast_sum(w, &mn_gpus[0]).link_bytes / units / 1e6));
        }
    }
    st = mn_table_text(out, t);
done:
    mn_table_close(&t);
    return st;
}

/* ---- all of it ---- */

static mn_status add_head(mn_buf *out, const mn_outlook *o) {
    const mn_forecast_job *j = &o->job;
    const double parameters = (double)mn_model_parameters(&j->config);
    MN_TRY(mn_buf_printf(out, "%s: %s, %.1f million parameters, frozen matrices %s\n", j->name,
                         mn_arch_name(j->config.arch), parameters / 1e6, mn_dtype_name(j->dtype)));
    MN_TRY(mn_buf_printf(out,
                         "Calculated, not measured. A step: %lld texts of %lld tokens, memories of "
                         "width %lld. An evaluation:\n%lld pages of %lld claims, prompts of %lld + "
                         "%lld tokens, %lld memories beside the base. A prompt: %lld tokens.\n\n",
                         (long long)j->batch, (long long)j->length, (long long)j->hidden,
                         (long long)j->pages, (long long)j->claims, (long long)j->shared,
                         (long long)j->own, (long long)j->memories, (long long)j->prompt));
    return MN_OK;
}

static mn_status add_fits_note(mn_buf *out) {
    return mn_buf_printf(out,
                         "GB and MB are powers of ten. %.0f GB of every GPU is left free for the "
                         "CUDA context and NCCL's\nbuffers: an assumption.\n",
                         mn_outlook_reserve / 1e9);
}

mn_status mn_outlook_text(mn_buf *out, const mn_outlook *o) {
    MN_TRY(add_head(out, o));
    MN_TRY(add_memory(out, o));
    MN_TRY(mn_buf_puts(out, "\n"));
    if (o->job.like == MN_TALLY_CPU) return MN_OK;
    MN_TRY(add_fits_note(out));
    MN_TRY(mn_buf_printf(out,
                         "The activation cache takes %lld bytes per token of the training texts, "
                         "of the host's memory or a file.\n",
                         (long long)o->layouts[0].memory[1].host));
    if (!o->has_work) return MN_OK;
    MN_TRY(mn_buf_puts(out, "\n"));
    MN_TRY(add_times(out, o));
    MN_TRY(mn_buf_puts(
        out,
        "\nEvery kernel at the rates of the data sheet, whichever takes longer, its arithmetic "
        "or its bytes, all of\nthem from the GPU's memory; one after the other, as are messages "
        "and "
        "copies. Kernels seldom reach these rates;\ncaches and copies beside kernels can make up "
        "for some of that. Nothing of this was measured. -: does not fit.\n"));
    bool several = false;
    for (size_t i = 0; i < o->count; i++) several |= o->layouts[i].tp * o->layouts[i].dp > 1;
    if (!several) return MN_OK;
    MN_TRY(mn_buf_puts(out, "\n"));
    return add_messages(out, o);
}

/* ---- many models ---- */

/* "1 2 4", or with replicas "1x8 2x4", or "all" of these. */
static mn_status cell_layouts(mn_table *t, const mn_outlook *o, int job, double size) {
    char text[256] = "";
    size_t used = 0, fit = 0;
    const bool shares = mn_outlook_shares(mn_outlook_jobs[job]);
    for (size_t i = 0; i < o->count; i++) {
        const mn_outlook_layout *l = &o->layouts[i];
        if (!is_shown(o, i, job) || !mn_outlook_fits(&l->memory[job], size)) continue;
        fit++;
        char name[16];
        snprintf(name, sizeof name, shares ? "%dx%d" : "%d", l->tp, l->dp);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? " " : "", name);
        if (used >= sizeof text) break;
    }
    const bool all = shares && fit > 1 && fit == o->count;
    return mn_table_cell(t, "%s", all ? "all" : used ? text : "-");
}

static mn_status add_job(mn_buf *out, const mn_outlook *o, size_t count, int job) {
    char titles[MN_OUTLOOK_SIZES][16];
    mn_column columns[1 + MN_OUTLOOK_SIZES] = {{job_titles[job], MN_LEFT}};
    mn_table *t = NULL;
    for (int i = 0; i < MN_OUTLOOK_SIZES; i++) {
        snprintf(titles[i], sizeof titles[i], "%.0f GB", mn_outlook_sizes[i] / 1e9);
        columns[1 + i] = (mn_column){titles[i], MN_LEFT};
    }
    mn_status st = mn_table_open(&t, columns, 1 + MN_OUTLOOK_SIZES);
    if (st != MN_OK) return st;
    for (size_t i = 0; i < count; i++) {
        MN_GOTO(mn_table_cell(t, "%s", o[i].job.name));
        for (int s = 0; s < MN_OUTLOOK_SIZES; s++)
            MN_GOTO(cell_layouts(t, &o[i], job, mn_outlook_sizes[s]));
    }
    MN_GOTO(mn_table_text(out, t));
    st = mn_buf_puts(out, "\n");
done:
    mn_table_close(&t);
    return st;
}

mn_status mn_outlooks_text(mn_buf *out, const mn_outlook *o, size_t count) {
    MN_TRY(mn_buf_puts(out, "Numbers of ranks that can share a model (tp) where it fits on each of "
                            "their GPUs; for the training of\nmodels tp x dp. Calculated, not "
                            "measured.\n\n"));
    for (int job = 0; job < MN_OUTLOOK_JOBS; job++) MN_TRY(add_job(out, o, count, job));
    return add_fits_note(out);
}
