/* outlook_json.c - an outlook as one JSON object for scripts. Bytes and seconds, never rounded. */
#include "cli/outlook.h"

#include "cli/common.h"
#include "cli/fields.h"

static const char *const units[] = {"tensor", "f32", "host", "link"};

static mn_status put_memory(mn_buf *out, const mn_forecast_memory *m, bool gpu) {
    const struct {
        const char *key;
        int64_t bytes;
    } parts[] = {
        {"weights", m->weights},   {"panels", m->panels},           {"mapped", m->mapped},
        {"memories", m->memories}, {"gradients", m->gradients},     {"optimizer", m->optimizer},
        {"kv_cache", m->kv},       {"activations", m->activations}, {"workspace", m->workspace},
        {"total", m->total},       {"host_per_token", m->host}};
    MN_TRY(mn_field_object(out, "memory"));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        MN_TRY(mn_field_count(out, parts[i].key, parts[i].bytes));
    MN_TRY(mn_buf_puts(out, "}"));
    if (!gpu) return MN_OK;
    MN_TRY(mn_record_key(out, "fits_gb"));
    MN_TRY(mn_buf_puts(out, "["));
    for (int i = 0; i < MN_OUTLOOK_SIZES; i++) {
        if (!mn_outlook_fits(m, mn_outlook_sizes[i])) continue;
        MN_TRY(mn_field_next(out));
        MN_TRY(mn_buf_printf(out, "%.0f", mn_outlook_sizes[i] / 1e9));
    }
    return mn_buf_puts(out, "]");
}

/* "seconds": {"h100-sxm": 0.001, ...} of a row, or of a whole work. */
static mn_status put_seconds(mn_buf *out, const mn_outlook *o, const mn_tally_row *row,
                             const mn_forecast_work *work) {
    MN_TRY(mn_field_object(out, "seconds"));
    for (size_t g = 0; g < o->options->gpu.count; g++) {
        const mn_gpu *gpu = &mn_gpus[o->options->gpu.items[g]];
        MN_TRY(mn_field_number(
            out, gpu->name, row ? mn_gpu_seconds(gpu, row) : mn_forecast_sum(work, gpu).seconds));
    }
    return mn_buf_puts(out, "}");
}

static mn_status put_rows(mn_buf *out, const mn_outlook *o, const mn_forecast_work *w) {
    MN_TRY(mn_record_key(out, "rows"));
    MN_TRY(mn_buf_puts(out, "["));
    for (int64_t i = 0; i < w->count; i++) {
        const mn_tally_row *r = &w->rows[i];
        MN_TRY(mn_field_next(out));
        MN_TRY(mn_buf_puts(out, "{"));
        MN_TRY(mn_field_text(out, "kernel", r->kernel));
        MN_TRY(mn_record_key(out, "shape"));
        MN_TRY(mn_buf_puts(out, "["));
        for (int d = 0; d < MN_TALLY_DIMS && r->shape[d] > 0; d++) {
            MN_TRY(mn_field_next(out));
            MN_TRY(mn_buf_printf(out, "%lld", (long long)r->shape[d]));
        }
        MN_TRY(mn_buf_puts(out, "]"));
        MN_TRY(mn_field_text(out, "limit", units[r->unit]));
        MN_TRY(mn_field_count(out, "calls", r->calls));
        MN_TRY(mn_field_number(out, "flops", r->flops));
        MN_TRY(mn_field_number(out, "bytes", r->bytes));
        MN_TRY(put_seconds(out, o, r, NULL));
        MN_TRY(mn_buf_puts(out, "}"));
    }
    return mn_buf_puts(out, "]");
}

static mn_status put_work(mn_buf *out, const mn_outlook *o, const mn_forecast_work *w) {
    const mn_forecast_sums sums = mn_forecast_sum(w, &mn_gpus[0]);
    MN_TRY(mn_field_object(out, "work"));
    MN_TRY(mn_field_number(out, "tokens", w->tokens));
    if (w->claims > 0) MN_TRY(mn_field_number(out, "claims", w->claims));
    MN_TRY(mn_field_number(out, "flops", sums.flops));
    MN_TRY(mn_field_number(out, "bytes", sums.bytes));
    MN_TRY(mn_field_number(out, "sent_bytes", sums.link_bytes));
    MN_TRY(mn_field_number(out, "host_bytes", sums.host_bytes));
    MN_TRY(put_seconds(out, o, NULL, w));
    if (o->options->roofline) MN_TRY(put_rows(out, o, w));
    return mn_buf_puts(out, "}");
}

static mn_status put_layout(mn_buf *out, const mn_outlook *o, const mn_outlook_layout *l) {
    MN_TRY(mn_field_next(out));
    MN_TRY(mn_buf_puts(out, "{"));
    MN_TRY(mn_field_count(out, "tp", l->tp));
    MN_TRY(mn_field_count(out, "dp", l->dp));
    for (int k = 0; k < MN_FORECASTS; k++) {
        int job = 0;
        while (job < MN_OUTLOOK_JOBS && (int)mn_outlook_jobs[job] != k) job++;
        if (job == MN_OUTLOOK_JOBS && !o->has_work) continue;
        MN_TRY(mn_field_object(out, mn_forecast_names[k]));
        if (job < MN_OUTLOOK_JOBS)
            MN_TRY(put_memory(out, &l->memory[job], o->job.like == MN_TALLY_CUDA));
        if (o->has_work) MN_TRY(put_work(out, o, &l->works[k]));
        MN_TRY(mn_buf_puts(out, "}"));
    }
    return mn_buf_puts(out, "}");
}

static mn_status put_model(mn_buf *out, const mn_outlook *o) {
    const mn_forecast_job *j = &o->job;
    MN_TRY(mn_buf_puts(out, "{"));
    MN_TRY(mn_field_text(out, "model", j->name));
    MN_TRY(mn_field_text(out, "architecture", mn_arch_name(j->config.arch)));
    MN_TRY(mn_field_count(out, "parameters", mn_model_parameters(&j->config)));
    MN_TRY(mn_record_key(out, "layouts"));
    MN_TRY(mn_buf_puts(out, "["));
    for (size_t i = 0; i < o->count; i++) MN_TRY(put_layout(out, o, &o->layouts[i]));
    return mn_buf_puts(out, "]}");
}

static mn_status put_job(mn_buf *out, const mn_outlook *o) {
    const mn_forecast_job *j = &o->job;
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {{"per_device_train_batch_size", j->batch},
                 {"chunk_length", j->length},
                 {"memory.hidden", j->hidden},
                 {"memories", j->memories},
                 {"pages", j->pages},
                 {"claims", j->claims},
                 {"prefix_tokens", j->shared},
                 {"claim_tokens", j->own},
                 {"prompt_tokens", j->prompt}};
    MN_TRY(mn_field_object(out, "job"));
    MN_TRY(mn_field_text(out, "dtype", mn_dtype_name(j->dtype)));
    MN_TRY(mn_field_text(out, "backend", mn_outlook_backends[o->options->backend]));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        MN_TRY(mn_field_count(out, sizes[i].key, sizes[i].value));
    return mn_buf_puts(out, "}");
}

static mn_status put_gpus(mn_buf *out, const mn_outlook *o) {
    MN_TRY(mn_field_object(out, "gpus"));
    for (size_t g = 0; g < o->options->gpu.count; g++) {
        const mn_gpu *gpu = &mn_gpus[o->options->gpu.items[g]];
        MN_TRY(mn_field_object(out, gpu->name));
        MN_TRY(mn_field_number(out, "memory_bytes", gpu->memory));
        MN_TRY(mn_field_number(out, "bandwidth", gpu->bandwidth));
        MN_TRY(mn_field_number(out, "tensor_flops", gpu->tensor));
        MN_TRY(mn_field_number(out, "f32_flops", gpu->f32));
        MN_TRY(mn_field_number(out, "nvlink", gpu->nvlink));
        MN_TRY(mn_field_number(out, "pcie", gpu->pcie));
        MN_TRY(mn_field_text(out, "source", gpu->source));
        MN_TRY(mn_buf_puts(out, "}"));
    }
    return mn_buf_puts(out, "}");
}

mn_status mn_outlooks_json(mn_buf *out, const mn_outlook *o, size_t count) {
    MN_TRY(mn_buf_puts(out, "{"));
    MN_TRY(mn_field_bool(out, "calculated", true));
    MN_TRY(put_job(out, o));
    MN_TRY(mn_field_number(out, "reserve_bytes", mn_outlook_reserve));
    MN_TRY(put_gpus(out, o));
    MN_TRY(mn_record_key(out, "models"));
    MN_TRY(mn_buf_puts(out, "["));
    for (size_t i = 0; i < count; i++) {
        MN_TRY(mn_field_next(out));
        MN_TRY(put_model(out, &o[i]));
    }
    MN_TRY(mn_buf_puts(out, "]"));
    return mn_record_end(out);
}
