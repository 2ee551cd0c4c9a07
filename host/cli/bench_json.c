/* bench_json.c - the results of a benchmark as one JSON object for scripts. */
#include "cli/bench_figures.h"

#include "cli/common.h"
#include "cli/fields.h"
#include "mneme/version.h"

#include <unistd.h>

static mn_status put_spread(mn_buf *out, mn_spread s, double unit) {
    MN_TRY(mn_field_number(out, "median", s.median / unit));
    MN_TRY(mn_field_number(out, "min", s.min / unit));
    return mn_field_number(out, "max", s.max / unit);
}

static mn_status put_machine(mn_buf *out, const mn_bench *b) {
    char processor[128];
    mn_processor_name(processor, sizeof processor);
    MN_TRY(mn_field_object(out, "machine"));
    MN_TRY(mn_field_text(out, "processor", processor));
    MN_TRY(mn_field_number(out, "cores", (double)sysconf(_SC_NPROCESSORS_ONLN)));
    MN_TRY(mn_field_number(out, "memory_bytes", mn_memory_bytes()));
    MN_TRY(mn_field_number(out, "cache_bytes", mn_cache_bytes()));
    MN_TRY(mn_record_key(out, "load_average"));
    MN_TRY(b->load < 0 ? mn_buf_puts(out, "null") : mn_json_number(out, b->load));
    return mn_buf_puts(out, "}");
}

static mn_status put_weights(mn_buf *out, const mn_bench *b) {
    MN_TRY(mn_field_object(out, "weights"));
    MN_TRY(mn_field_number(out, "parameters", (double)mn_model_parameters(&b->model->config)));
    MN_TRY(mn_field_text(out, "dtype", mn_dtype_name(mn_bench_dtype(b->model))));
    MN_TRY(mn_field_number(out, "bytes", mn_bench_all_weights(b)));
    MN_TRY(mn_field_bool(out, "random", b->options->shape != NULL));
    return mn_buf_puts(out, "}");
}

static mn_status put_peaks(mn_buf *out, const mn_bench *b) {
    char method[128];
    MN_TRY(mn_field_object(out, "peaks"));
    for (int i = 0; i < MN_PEAKS; i++) {
        if (b->readings[i].count == 0) continue;
        MN_TRY(mn_field_object(out, mn_bench_peak_name(b, (mn_peak)i)));
        MN_TRY(put_spread(out, mn_bench_readings_spread(&b->readings[i]), 1e9));
        MN_TRY(mn_field_text(out, "unit", mn_peak_units[i]));
        mn_bench_peak_method(method, sizeof method, b, (mn_peak)i);
        MN_TRY(mn_field_text(out, "method", method));
        MN_TRY(mn_buf_puts(out, "}"));
    }
    return mn_buf_puts(out, "}");
}

static mn_status put_work(mn_buf *out, const mn_bench *b, const mn_bench_work *w) {
    const mn_bench_figures f = mn_bench_figures_of(b, w);
    MN_TRY(mn_field_object(out, w->name));
    MN_TRY(put_spread(out, f.rate, 1));
    MN_TRY(mn_field_text(out, "unit", w->unit));
    MN_TRY(mn_field_count(out, "runs", w->runs));
    MN_TRY(mn_field_number(out, "seconds", f.seconds));
    MN_TRY(mn_field_number(out, "units", w->units));
    MN_TRY(mn_field_number(out, "flops", w->flops));
    MN_TRY(mn_field_number(out, "bytes", w->bytes));
    MN_TRY(mn_field_number(out, "gflops", f.flops / 1e9));
    MN_TRY(mn_field_number(out, "gbps", f.bytes / 1e9));
    MN_TRY(mn_field_text(out, "peak", mn_bench_peak_name(b, w->limit)));
    MN_TRY(mn_field_number(out, "share_of_peak", f.share.median));
    MN_TRY(mn_field_number(out, "share_of_peak_min", f.share.min));
    MN_TRY(mn_field_number(out, "share_of_peak_max", f.share.max));
    MN_TRY(mn_field_number(out, "best_share_of_peak", f.best_share));
    return mn_buf_puts(out, "}");
}

static mn_status put_agreement(mn_buf *out, const char *key, const mn_bench_agreement *a) {
    MN_TRY(mn_field_object(out, key));
    MN_TRY(mn_field_number(out, "claims", (double)a->claims));
    MN_TRY(mn_field_number(out, "same_token", (double)a->best));
    MN_TRY(mn_field_number(out, "same_letter", (double)a->letter));
    MN_TRY(mn_field_number(out, "max_logprob_difference", a->max_difference));
    return mn_buf_puts(out, "}");
}

static mn_status put_linear(mn_buf *out, const mn_bench *b) {
    MN_TRY(mn_record_key(out, "linear"));
    for (size_t i = 0; i < b->linear_count; i++) {
        const mn_bench_linear *l = &b->linear[i];
        const mn_linear_figures f = mn_linear_figures_of(l);
        MN_TRY(mn_buf_puts(out, i > 0 ? ", {" : "[{"));
        MN_TRY(mn_field_text(out, "matrix", l->matrix));
        MN_TRY(mn_field_number(out, "outputs", (double)l->n));
        MN_TRY(mn_field_number(out, "inputs", (double)l->k));
        MN_TRY(mn_field_number(out, "rows", (double)l->m));
        MN_TRY(mn_field_number(out, "seconds", f.seconds.median));
        MN_TRY(mn_field_number(out, "min_seconds", f.seconds.min));
        MN_TRY(mn_field_number(out, "max_seconds", f.seconds.max));
        MN_TRY(mn_field_number(out, "flops", l->flops));
        MN_TRY(mn_field_number(out, "bytes", l->bytes));
        MN_TRY(mn_field_number(out, "gflops", f.flops / 1e9));
        MN_TRY(mn_field_number(out, "gbps", f.bytes / 1e9));
        MN_TRY(mn_field_number(out, "share_of_flops", f.flop_share));
        MN_TRY(mn_field_number(out, "share_of_reads", f.read_share));
        MN_TRY(mn_field_number(out, "share_of_peak", f.share));
        MN_TRY(mn_buf_puts(out, "}"));
    }
    return mn_buf_puts(out, "]");
}

static mn_status put_reference(mn_buf *out, const mn_bench *b) {
    const mn_bench_reference *r = &b->reference;
    MN_TRY(mn_field_object(out, "reference"));
    MN_TRY(mn_field_text(out, "command", b->options->reference));
    MN_TRY(mn_field_text(out, "version", r->version));
    MN_TRY(mn_field_number(out, "train", r->train));
    MN_TRY(mn_field_number(out, "template", r->templates));
    MN_TRY(mn_field_number(out, "forward", r->forward));
    MN_TRY(mn_field_object(out, "times_as_fast"));
    for (size_t i = 0; i < MN_BENCH_TRAIN_WORKS; i++)
        MN_TRY(mn_field_number(out, b->works[b->train_work + i].name,
                               mn_bench_against_reference(b, i).ratio));
    return mn_buf_puts(out, "}}");
}

mn_status mn_bench_json(mn_buf *out, const mn_bench *b) {
    MN_TRY(mn_buf_puts(out, "{"));
    MN_TRY(mn_field_text(out, "mneme", MNEME_VERSION));
    MN_TRY(mn_field_text(out, "shape", b->options->shape));
    MN_TRY(mn_field_text(out, "model", b->options->model));
    MN_TRY(mn_field_text(out, "compute", mn_bench_compute_name(b)));
    MN_TRY(mn_field_text(out, "device", b->device->description));
    MN_TRY(mn_field_number(out, "threads", b->device->threads));
    MN_TRY(mn_field_number(out, "repeat", (double)b->options->repeat));
    MN_TRY(mn_field_bool(out, "quick", b->options->quick));
    MN_TRY(put_machine(out, b));
    MN_TRY(put_weights(out, b));
    MN_TRY(put_peaks(out, b));
    MN_TRY(mn_field_object(out, "workloads"));
    for (size_t i = 0; i < b->work_count; i++) MN_TRY(put_work(out, b, &b->works[i]));
    MN_TRY(mn_buf_puts(out, "}"));
    if (b->has_sharing) MN_TRY(put_agreement(out, "shared_against_whole", &b->sharing));
    if (b->has_rounding) MN_TRY(put_agreement(out, "bf16_against_f32", &b->rounding));
    if (b->has_fanout) {
        MN_TRY(put_agreement(out, "fanout_against_alone", &b->fanout));
        MN_TRY(mn_field_object(out, "fanout_time_ratio"));
        MN_TRY(put_spread(out, mn_bench_fanout_ratio(b), 1));
        MN_TRY(mn_field_number(out, "variants", MN_BENCH_VARIANTS));
        MN_TRY(mn_buf_puts(out, "}"));
    }
    if (b->has_reference) MN_TRY(put_reference(out, b));
    if (b->linear_count > 0) MN_TRY(put_linear(out, b));
    if (b->kernel_count > 0) MN_TRY(mn_bench_kernels_json(out, b));
    return mn_record_end(out);
}
