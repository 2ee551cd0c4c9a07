/* bench_kernel_list.c - kernels that are timed alone: the list of them, their times, and both forms of their table. */
#include "cli/bench_figures.h"

#include "cli/common.h"
#include "cli/fields.h"
#include "mneme/signals.h"
#include "mneme/table.h"

#include <stdarg.h>
#include <stdio.h>

/* A run takes about so long: then the wait for its end does not count. */
static const double run_seconds = 2e-3;
enum { MOST_CALLS = 1 << 14 };

mn_status mn_bench_add_kernel(mn_bench_kernel **out, mn_bench *b, const char *title, ...) {
    va_list args;
    MN_TRY(mn_grow(&b->kernels, &b->kernel_cap, b->kernel_count + 1, sizeof *b->kernels));
    *out = &b->kernels[b->kernel_count++];
    **out = (mn_bench_kernel){.runs = 0};
    va_start(args, title);
    vsnprintf((*out)->title, sizeof(*out)->title, title, args);
    va_end(args);
    return MN_OK;
}

static mn_status seconds_of(double *out, mn_bench *b, int64_t calls, mn_status (*call)(void *),
                            void *context) {
    MN_CHECK(!mn_stop_requested(), MN_STOPPED, "stopped on request");
    MN_TRY(mn_bench_wait(b));
    const double begin = mn_now();
    for (int64_t i = 0; i < calls; i++) MN_TRY(call(context));
    MN_TRY(mn_bench_wait(b));
    *out = mn_now() - begin;
    return MN_OK;
}

mn_status mn_bench_time_kernel(mn_bench *b, mn_bench_kernel *k, mn_status (*call)(void *),
                               void *context) {
    double taken = 0;
    int64_t calls = 1;
    MN_TRY(seconds_of(&taken, b, 1, call, context)); /* does not count */
    while (!b->options->quick && calls < MOST_CALLS) {
        MN_TRY(seconds_of(&taken, b, calls, call, context));
        if (taken >= run_seconds) break;
        calls *= 2;
    }
    const double end = mn_now() + (double)b->options->max_seconds;
    for (k->runs = 0; k->runs < b->options->repeat; k->runs++) {
        if (k->runs > 0 && mn_now() > end) break;
        MN_TRY(seconds_of(&taken, b, calls, call, context));
        k->seconds[k->runs] = taken / (double)calls;
    }
    return MN_OK;
}

typedef struct figures {
    double seconds, flops, bytes, share; /* median; per second; of what the machine allows */
} figures;

static double peak(const mn_bench *b, mn_peak which) {
    return mn_bench_readings_spread(&b->readings[which]).max;
}

static figures figures_of(const mn_bench *b, const mn_bench_kernel *k) {
    double seconds[MN_BENCH_REPEATS];
    for (int i = 0; i < k->runs; i++) seconds[i] = k->seconds[i];
    const double median = mn_spread_of(seconds, (size_t)k->runs).median;
    const double by_flops = k->flops / peak(b, k->limit);
    const double by_bytes = k->bytes / peak(b, MN_PEAK_READ);
    return (figures){.seconds = median,
                     .flops = k->flops / median,
                     .bytes = k->bytes / median,
                     .share = (by_flops > by_bytes ? by_flops : by_bytes) / median};
}

mn_status mn_bench_kernels_text(mn_buf *out, const mn_bench *b) {
    static const mn_column columns[] = {{"kernel", MN_LEFT},
                                        {"us", MN_RIGHT},
                                        {"GFLOP/s", MN_RIGHT},
                                        {"GB/s", MN_RIGHT},
                                        {"of what the machine allows", MN_RIGHT},
                                        {"", MN_LEFT}};
    mn_table *table = NULL;
    if (b->kernel_count == 0) return MN_OK;
    mn_status st = mn_table_open(&table, columns, sizeof columns / sizeof *columns);
    if (st != MN_OK) return st;
    for (size_t i = 0; i < b->kernel_count; i++) {
        const mn_bench_kernel *k = &b->kernels[i];
        const figures f = figures_of(b, k);
        const bool reads = k->flops / peak(b, k->limit) < k->bytes / peak(b, MN_PEAK_READ);
        MN_GOTO(mn_table_cell(table, "%s", k->title));
        MN_GOTO(mn_table_cell(table, "%.1f", 1e6 * f.seconds));
        if (k->flops > 0) MN_GOTO(mn_table_cell(table, "%.1f", f.flops / 1e9));
        else MN_GOTO(mn_table_cell(table, "-"));
        MN_GOTO(mn_table_cell(table, "%.1f", f.bytes / 1e9));
        MN_GOTO(mn_table_cell(table, "%.1f%%", 100 * f.share));
        MN_GOTO(mn_table_cell(table, "%s", mn_bench_peak_name(b, reads ? MN_PEAK_READ : k->limit)));
    }
    MN_GOTO(mn_table_text(out, table));
    st = mn_buf_puts(out, "Arrays that a cache holds can be faster than memory allows.\n\n");
done:
    mn_table_close(&table);
    return st;
}

mn_status mn_bench_kernels_json(mn_buf *out, const mn_bench *b) {
    MN_TRY(mn_record_key(out, "kernels"));
    for (size_t i = 0; i < b->kernel_count; i++) {
        const mn_bench_kernel *k = &b->kernels[i];
        const figures f = figures_of(b, k);
        MN_TRY(mn_buf_puts(out, i > 0 ? ", {" : "[{"));
        MN_TRY(mn_field_text(out, "kernel", k->title));
        MN_TRY(mn_field_count(out, "runs", k->runs));
        MN_TRY(mn_field_number(out, "seconds", f.seconds));
        MN_TRY(mn_field_number(out, "flops", k->flops));
        MN_TRY(mn_field_number(out, "bytes", k->bytes));
        MN_TRY(mn_field_number(out, "gflops", f.flops / 1e9));
        MN_TRY(mn_field_number(out, "gbps", f.bytes / 1e9));
        MN_TRY(mn_field_number(out, "share_of_peak", f.share));
        MN_TRY(mn_buf_puts(out, "}"));
    }
    return mn_buf_puts(out, "]");
}
