/* bench_report.c - the results of a benchmark as tables for people. */
#include "cli/bench_figures.h"

#include "mneme/table.h"

#include <string.h>

static mn_status add_head(mn_buf *out, const mn_bench *b) {
    char processor[128];
    mn_processor_name(processor, sizeof processor);
    MN_TRY(mn_buf_printf(out, "%s: %.0f million parameters, %s weights of %.2f GB%s\n",
                         b->model->path, (double)mn_model_parameters(&b->model->config) / 1e6,
                         mn_dtype_name(mn_bench_dtype(b->model)), mn_bench_all_weights(b) / 1e9,
                         b->options->shape ? " (random)" : ""));
    return mn_buf_printf(out, "%s; %s; compute %s\n\n", processor, b->device->description,
                         mn_bench_compute_name(b));
}

static mn_status add_peaks(mn_buf *out, const mn_bench *b) {
    static const mn_column columns[] = {
        {"machine's peak", MN_LEFT}, {"median", MN_RIGHT}, {"min", MN_RIGHT},
        {"max", MN_RIGHT},           {"", MN_LEFT},        {"measured by", MN_LEFT}};
    mn_table *table = NULL;
    mn_status st = mn_table_open(&table, columns, sizeof columns / sizeof *columns);
    if (st != MN_OK) return st;
    for (int i = 0; i < MN_PEAKS; i++) {
        if (b->readings[i].count == 0) continue;
        const mn_spread s = mn_bench_readings_spread(&b->readings[i]);
        char method[128];
        mn_bench_peak_method(method, sizeof method, b, (mn_peak)i);
        MN_GOTO(mn_table_cell(table, "%s", mn_bench_peak_name(b, (mn_peak)i)));
        MN_GOTO(mn_table_cell(table, "%.1f", s.median / 1e9));
        MN_GOTO(mn_table_cell(table, "%.1f", s.min / 1e9));
        MN_GOTO(mn_table_cell(table, "%.1f", s.max / 1e9));
        MN_GOTO(mn_table_cell(table, "%s", mn_peak_units[i]));
        MN_GOTO(mn_table_cell(table, "%s", method));
    }
    MN_GOTO(mn_table_text(out, table));
    st = mn_buf_puts(out, "\n");
done:
    mn_table_close(&table);
    return st;
}

static mn_status add_works(mn_buf *out, const mn_bench *b) {
    static const mn_column columns[] = {
        {"work", MN_LEFT},         {"runs", MN_RIGHT}, {"median", MN_RIGHT},  {"min", MN_RIGHT},
        {"max", MN_RIGHT},         {"", MN_LEFT},      {"GFLOP/s", MN_RIGHT}, {"GB/s", MN_RIGHT},
        {"of the peak", MN_RIGHT}, {"best", MN_RIGHT}, {"", MN_LEFT}};
    mn_table *table = NULL;
    if (b->work_count == 0) return MN_OK;
    mn_status st = mn_table_open(&table, columns, sizeof columns / sizeof *columns);
    if (st != MN_OK) return st;
    for (size_t i = 0; i < b->work_count; i++) {
        const mn_bench_work *w = &b->works[i];
        const mn_bench_figures f = mn_bench_figures_of(b, w);
        MN_GOTO(mn_table_cell(table, "%s", w->title));
        MN_GOTO(mn_table_cell(table, "%d", w->runs));
        MN_GOTO(mn_table_cell(table, "%.2f", f.rate.median));
        MN_GOTO(mn_table_cell(table, "%.2f", f.rate.min));
        MN_GOTO(mn_table_cell(table, "%.2f", f.rate.max));
        MN_GOTO(mn_table_cell(table, "%s", w->unit));
        MN_GOTO(mn_table_cell(table, "%.1f", f.flops / 1e9));
        MN_GOTO(mn_table_cell(table, "%.1f", f.bytes / 1e9));
        MN_GOTO(mn_table_cell(table, "%.1f%%", 100 * f.share.median));
        MN_GOTO(mn_table_cell(table, "%.1f%%", 100 * f.best_share));
        MN_GOTO(mn_table_cell(table, "%s", mn_bench_peak_name(b, w->limit)));
    }
    MN_GOTO(mn_table_text(out, table));
    st = mn_buf_puts(out, "\n");
done:
    mn_table_close(&table);
    return st;
}

static mn_status add_reference(mn_buf *out, const mn_bench *b) {
    static const mn_column columns[] = {{"tokens/s", MN_LEFT},
                                        {"mneme", MN_RIGHT},
                                        {"reference", MN_RIGHT},
                                        {"times as fast", MN_RIGHT}};
    mn_table *table = NULL;
    if (!b->has_reference) return MN_OK;
    mn_status st = mn_table_open(&table, columns, sizeof columns / sizeof *columns);
    if (st != MN_OK) return st;
    for (size_t i = 0; i < MN_BENCH_TRAIN_WORKS; i++) {
        const mn_comparison c = mn_bench_against_reference(b, i);
        MN_GOTO(mn_table_cell(table, "%s", b->works[b->train_work + i].title));
        MN_GOTO(mn_table_cell(table, "%.1f", c.rate));
        MN_GOTO(mn_table_cell(table, "%.1f", c.reference));
        MN_GOTO(mn_table_cell(table, "%.2f", c.ratio));
    }
    MN_GOTO(mn_table_text(out, table));
    st = mn_buf_printf(out,
                       "The reference is %s, run in between; it has no hidden states to begin "
                       "with. Its forward pass\nalone, with all logits: %.1f tokens/s.\n\n",
                       b->reference.version, b->reference.forward);
done:
    mn_table_close(&table);
    return st;
}

static mn_status add_linear(mn_buf *out, const mn_bench *b) {
    static const mn_column columns[] = {{"matrix", MN_LEFT},
                                        {"outputs", MN_RIGHT},
                                        {"inputs", MN_RIGHT},
                                        {"rows", MN_RIGHT},
                                        {"ms", MN_RIGHT},
                                        {"min", MN_RIGHT},
                                        {"GFLOP/s", MN_RIGHT},
                                        {"of the peak", MN_RIGHT},
                                        {"GB/s", MN_RIGHT},
                                        {"of the reads", MN_RIGHT},
                                        {"of what both allow", MN_RIGHT}};
    mn_table *table = NULL;
    if (b->linear_count == 0) return MN_OK;
    mn_status st = mn_table_open(&table, columns, sizeof columns / sizeof *columns);
    if (st != MN_OK) return st;
    for (size_t i = 0; i < b->linear_count; i++) {
        const mn_bench_linear *l = &b->linear[i];
        const mn_linear_figures f = mn_linear_figures_of(l);
        if (i > 0 && strcmp(l->matrix, l[-1].matrix) != 0) mn_table_rule(table);
        MN_GOTO(mn_table_cell(table, "%s", l->matrix));
        MN_GOTO(mn_table_cell(table, "%lld", (long long)l->n));
        MN_GOTO(mn_table_cell(table, "%lld", (long long)l->k));
        MN_GOTO(mn_table_cell(table, "%lld", (long long)l->m));
        MN_GOTO(mn_table_cell(table, "%.3f", 1e3 * f.seconds.median));
        MN_GOTO(mn_table_cell(table, "%.3f", 1e3 * f.seconds.min));
        MN_GOTO(mn_table_cell(table, "%.1f", f.flops / 1e9));
        MN_GOTO(mn_table_cell(table, "%.1f%%", 100 * f.flop_share));
        MN_GOTO(mn_table_cell(table, "%.1f", f.bytes / 1e9));
        MN_GOTO(mn_table_cell(table, "%.1f%%", 100 * f.read_share));
        MN_GOTO(mn_table_cell(table, "%.1f%%", 100 * f.share));
    }
    MN_GOTO(mn_table_text(out, table));
    st = mn_buf_puts(out, "\n");
done:
    mn_table_close(&table);
    return st;
}

static mn_status add_notes(mn_buf *out, const mn_bench *b) {
    const mn_bench_agreement *s = &b->sharing, *r = &b->rounding;
    MN_TRY(mn_buf_printf(
        out,
        "Up to %lld runs of each, after one that does not count. A share is that of the "
        "better peak reading\nbefore and behind its run; 'best' is the fastest run "
        "against the highest reading.\n",
        (long long)b->options->repeat));
    if (b->has_sharing) {
        MN_TRY(mn_buf_printf(out,
                             "A claim: %d tokens of its own behind %d that all share; random "
                             "tokens, log-probabilities of the\nids %d, %d and %d in place of the "
                             "label letters. Whole prompts go %lld to a pass.\n",
                             MN_BENCH_OWN, MN_BENCH_SHARED, mn_bench_letters[0],
                             mn_bench_letters[1], mn_bench_letters[2],
                             (long long)mn_bench_whole_batch(b->options->claims)));
        MN_TRY(mn_buf_printf(out,
                             "Shared prefix against whole prompts: same token %lld, same letter "
                             "%lld of %lld, log-probabilities\nwithin %.1e.\n",
                             (long long)s->best, (long long)s->letter, (long long)s->claims,
                             s->max_difference));
    }
    if (b->has_fanout) {
        const mn_spread ratio = mn_bench_fanout_ratio(b);
        MN_TRY(mn_buf_printf(
            out,
            "%d variants (base and memories at 70 to 80 %% of the depth, with effect "
            "audit) take %.2f times as\nlong as one (median; %.2f to %.2f). The "
            "base among them against the base alone: same token %lld, same\nletter "
            "%lld of %lld, log-probabilities within %.1e.\n",
            MN_BENCH_VARIANTS, ratio.median, ratio.min, ratio.max, (long long)b->fanout.best,
            (long long)b->fanout.letter, (long long)b->fanout.claims, b->fanout.max_difference));
    }
    if (b->has_train)
        MN_TRY(mn_buf_printf(out,
                             "A training step: forward, loss, backward, clipping, AdamW of the "
                             "memories at 70 to 80 %% of the\ndepth. Templates have a loss on the "
                             "last %d tokens of a sequence, the others on all. From epoch 2 on\n"
                             "the hidden states below the memories are there.\n",
                             MN_BENCH_TRAIN_ANSWER));
    if (b->has_rounding)
        MN_TRY(mn_buf_printf(
            out,
            "bf16 against fp32 compute: same token %lld, same letter %lld of %lld, "
            "log-probabilities within %.1e.\n",
            (long long)r->best, (long long)r->letter, (long long)r->claims, r->max_difference));
    if (b->device->host_memory && mn_bench_all_weights(b) < 2 * mn_cache_bytes())
        MN_TRY(mn_buf_printf(out,
                             "The processor's last cache (%.0f MB) may keep part of the weights "
                             "(%.0f MB): reads can seem faster\nthan memory.\n",
                             mn_cache_bytes() / 1e6, mn_bench_all_weights(b) / 1e6));
    if (b->load > 0.5)
        MN_TRY(
            mn_buf_printf(out,
                          "Others were at work on this machine (load average %.1f at the start): "
                          "speeds are too low and shares\nuncertain.\n",
                          b->load));
    if (b->options->quick)
        MN_TRY(mn_buf_puts(out, "A quick run, to see that it works: the figures mean little.\n"));
    return MN_OK;
}

mn_status mn_bench_text(mn_buf *out, const mn_bench *b) {
    MN_TRY(add_head(out, b));
    MN_TRY(add_peaks(out, b));
    MN_TRY(add_works(out, b));
    MN_TRY(add_reference(out, b));
    MN_TRY(add_linear(out, b));
    MN_TRY(mn_bench_kernels_text(out, b));
    return add_notes(out, b);
}
