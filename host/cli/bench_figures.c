/* bench_figures.c - medians, spreads and shares of what was timed; facts about the machine. */
#include "cli/bench_figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const peak_names[MN_PEAKS] = {"fp32", "bf16", "reads"};
const char *const mn_peak_units[MN_PEAKS] = {"GFLOP/s", "GFLOP/s", "GB/s"};

const char *mn_bench_peak_name(const mn_bench *b, mn_peak which) {
    return b->peaks ? peak_names[which] : mn_device_peak_name(b->device_peaks, which);
}

void mn_bench_peak_method(char *out, size_t size, const mn_bench *b, mn_peak which) {
    if (b->peaks) snprintf(out, size, "%s", mn_peak_method(which));
    else mn_device_peak_method(out, size, b->device_peaks, which);
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

mn_spread mn_spread_of(double *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
    const double low = values[(count - 1) / 2], high = values[count / 2];
    return (mn_spread){(low + high) / 2, values[0], values[count - 1]};
}

mn_spread mn_bench_readings_spread(const mn_bench_readings *r) {
    return mn_spread_of(r->rates, r->count);
}

/* ---- figures of a piece of work ---- */

mn_bench_figures mn_bench_figures_of(const mn_bench *b, const mn_bench_work *w) {
    double rate[MN_BENCH_REPEATS], seconds[MN_BENCH_REPEATS], share[MN_BENCH_REPEATS];
    const double work = w->limit == MN_PEAK_READ ? w->bytes : w->flops;
    const size_t n = (size_t)w->runs;
    for (size_t i = 0; i < n; i++) {
        seconds[i] = w->seconds[i];
        rate[i] = w->units / w->seconds[i];
        share[i] = work / w->seconds[i] / w->peaks[i];
    }
    mn_bench_figures f = {.rate = mn_spread_of(rate, n), .share = mn_spread_of(share, n)};
    const mn_spread time = mn_spread_of(seconds, n);
    f.seconds = time.median;
    f.flops = w->flops / time.median;
    f.bytes = w->bytes / time.median;
    f.best_share = work / time.min / mn_bench_readings_spread(&b->readings[w->limit]).max;
    return f;
}

mn_spread mn_bench_fanout_ratio(const mn_bench *b) {
    const mn_bench_work *one = &b->works[b->fanout_work], *all = one + 1;
    double ratio[MN_BENCH_REPEATS];
    for (int i = 0; i < one->runs; i++) ratio[i] = all->seconds[i] / one->seconds[i];
    return mn_spread_of(ratio, (size_t)one->runs);
}

mn_comparison mn_bench_against_reference(const mn_bench *b, size_t index) {
    const bool whole = index < MN_BENCH_TRAIN_WORKS / 2;
    mn_comparison c = {.rate = mn_bench_figures_of(b, &b->works[b->train_work + index]).rate.median,
                       .reference = whole ? b->reference.train : b->reference.templates};
    c.ratio = c.rate / c.reference;
    return c;
}

mn_linear_figures mn_linear_figures_of(const mn_bench_linear *l) {
    double seconds[MN_BENCH_REPEATS], share[MN_BENCH_REPEATS], reads[MN_BENCH_REPEATS];
    const size_t n = (size_t)l->runs;
    for (size_t i = 0; i < n; i++) {
        const double by_flops = l->flops / l->flop_peak, by_bytes = l->bytes / l->read_peak[i];
        seconds[i] = l->seconds[i];
        reads[i] = by_bytes / l->seconds[i];
        share[i] = (by_flops > by_bytes ? by_flops : by_bytes) / l->seconds[i];
    }
    mn_linear_figures f = {.seconds = mn_spread_of(seconds, n),
                           .share = mn_spread_of(share, n).median,
                           .read_share = mn_spread_of(reads, n).median};
    f.flops = l->flops / f.seconds.median;
    f.bytes = l->bytes / f.seconds.median;
    f.flop_share = f.flops / l->flop_peak;
    return f;
}

/* ---- the machine ---- */

/* "model name" of /proc/cpuinfo. */
void mn_processor_name(char *out, size_t size) {
    char line[256];
    snprintf(out, size, "unknown processor");
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "model name", 10) != 0) continue;
        const char *name = strchr(line, ':');
        if (name) snprintf(out, size, "%.*s", (int)strcspn(name + 2, "\n"), name + 2);
        break;
    }
    if (file) fclose(file);
}

double mn_memory_bytes(void) {
    return (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

double mn_cache_bytes(void) {
    const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
    return bytes > 0 ? (double)bytes : 0;
}

const char *mn_bench_compute_name(const mn_bench *b) {
    if (b->device->narrow_products && mn_bench_dtype(b->model) != MN_F32)
        return mn_bench_dtype(b->model) == MN_F16 ? "f16" : "bf16";
    return b->compute == MN_COMPUTE_BF16 ? "bf16" : "f32";
}

double mn_bench_all_weights(const mn_bench *b) {
    return mn_bench_weight_bytes(&b->model->config, mn_bench_dtype(b->model));
}
