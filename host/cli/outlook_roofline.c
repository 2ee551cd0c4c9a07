/* outlook_roofline.c - every kernel of a step or pass: arithmetic, bytes, and their time on GPUs by the data sheets. */
#include "cli/gpus.h"
#include "cli/outlook.h"

#include "mneme/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIXED = 6, MOST_GPUS = MN_GPUS };

/* "1024 x 3072 x 1024". */
static void shape_text(char *text, size_t size, const mn_tally_row *row) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < MN_TALLY_DIMS && row->shape[i] > 0 && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? " x " : "",
                                 (long long)row->shape[i]);
}

static mn_status cell_work(mn_table *t, double flops, double bytes) {
    MN_TRY(flops > 0 ? mn_table_cell(t, "%.3f", flops / 1e9) : mn_table_cell(t, "-"));
    MN_TRY(mn_table_cell(t, "%.3f", bytes / 1e6));
    return flops > 0 ? mn_table_cell(t, "%.1f", flops / bytes) : mn_table_cell(t, "-");
}

static mn_status add_row(mn_table *t, const mn_outlook *o, const mn_tally_row *row) {
    char shape[80];
    shape_text(shape, sizeof shape, row);
    MN_TRY(mn_table_cell(t, "%s", row->kernel));
    MN_TRY(mn_table_cell(t, "%s", shape));
    MN_TRY(mn_table_cell(t, "%lld", (long long)row->calls));
    MN_TRY(cell_work(t, row->flops, row->bytes));
    for (size_t g = 0; g < o->options->gpu.count && g < MOST_GPUS; g++)
        MN_TRY(mn_table_cell(t, "%.2f",
                             1e6 * mn_gpu_seconds(&mn_gpus[o->options->gpu.items[g]], row)));
    return MN_OK;
}

static mn_status add_sums(mn_table *t, const mn_outlook *o, const mn_forecast_work *w) {
    mn_forecast_sums sums = mn_forecast_sum(w, &mn_gpus[0]);
    mn_table_rule(t);
    MN_TRY(mn_table_cell(t, "together"));
    MN_TRY(mn_table_cell(t, "%s", ""));
    MN_TRY(mn_table_cell(t, "%s", ""));
    MN_TRY(cell_work(t, sums.flops, sums.bytes));
    for (size_t g = 0; g < o->options->gpu.count && g < MOST_GPUS; g++) {
        sums = mn_forecast_sum(w, &mn_gpus[o->options->gpu.items[g]]);
        MN_TRY(mn_table_cell(t, "%.2f", 1e6 * sums.seconds));
    }
    return MN_OK;
}

/* The longest first, by the first GPU. */
static int by_time(const void *a, const void *b, void *gpu) {
    const double x = mn_gpu_seconds(gpu, a), y = mn_gpu_seconds(gpu, b);
    return (x < y) - (x > y);
}

static mn_status add_work(mn_buf *out, const mn_outlook *o, const mn_forecast_work *w) {
    mn_column columns[FIXED + MOST_GPUS] = {{"kernel", MN_LEFT}, {"shape", MN_LEFT},
                                            {"calls", MN_RIGHT}, {"GFLOP", MN_RIGHT},
                                            {"MB", MN_RIGHT},    {"FLOP/byte", MN_RIGHT}};
    char titles[MOST_GPUS][32];
    const mn_option_list *gpus = &o->options->gpu;
    size_t count = FIXED;
    mn_gpu first = mn_gpus[gpus->items[0]]; /* qsort_r's context is not const */
    for (size_t g = 0; g < gpus->count && g < MOST_GPUS; g++, count++) {
        snprintf(titles[g], sizeof titles[g], "us, %s", mn_gpus[gpus->items[g]].name);
        columns[count] = (mn_column){titles[g], MN_RIGHT};
    }
    mn_table *t = NULL;
    mn_status st = MN_OK;
    mn_tally_row *rows = calloc((size_t)w->count + 1, sizeof *rows);
    MN_CHECK(rows, MN_ERR_MEMORY, "no memory for %lld rows", (long long)w->count);
    memcpy(rows, w->rows, (size_t)w->count * sizeof *rows);
    qsort_r(rows, (size_t)w->count, sizeof *rows, by_time, &first);
    MN_GOTO(mn_table_open(&t, columns, count));
    for (int64_t i = 0; i < w->count; i++) MN_GOTO(add_row(t, o, &rows[i]));
    MN_GOTO(add_sums(t, o, w));
    MN_GOTO(mn_table_text(out, t));
    st = mn_buf_puts(out, "\n");
done:
    mn_table_close(&t);
    free(rows);
    return st;
}

mn_status mn_outlook_roofline(mn_buf *out, const mn_outlook *o) {
    static const struct {
        mn_forecast_kind kind;
        const char *title;
    } works[] = {{MN_FORECAST_TRAIN, "training step of memories, epoch 1"},
                 {MN_FORECAST_CACHED, "the same from epoch 2 on, the trunk cached"},
                 {MN_FORECAST_PREFILL, "prompt"},
                 {MN_FORECAST_DECODE, "one token behind it"}};
    const mn_outlook_layout *l = &o->layouts[0];
    MN_TRY(mn_buf_puts(
        out, "Calculated, not measured. FLOP: multiplications and additions of products (M x N x "
             "K; attention: queries x\nheads x head size). MB: what cannot be avoided, every input "
             "read once, every result written once. us: on\nthe data sheet's rates, whichever "
             "takes longer; copies to and from the host over PCIe.\n\n"));
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        const mn_forecast_work *w = &l->works[works[i].kind];
        MN_TRY(mn_buf_printf(out, "%s, %s, rank 0 of tp %d x dp %d, %.0f token%s\n\n", o->job.name,
                             works[i].title, l->tp, l->dp, w->tokens, w->tokens == 1 ? "" : "s"));
        MN_TRY(add_work(out, o, w));
    }
    return MN_OK;
}
