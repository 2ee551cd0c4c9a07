/* results_text.c - the evaluation for people: scores, which differences are noise, confusion. */
#include "eval/results.h"

#include "mneme/table.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { LABEL_MAX = 256, MOST_COLUMNS = 12 };

static bool both_scorings(const mn_results *r) {
    for (size_t i = 1; i < r->count; i++)
        if (r->entries[i].scoring != r->entries[0].scoring) return true;
    return false;
}

static bool has_variants(const mn_results *r) {
    for (size_t i = 0; i < r->count; i++)
        if (r->entries[i].variant) return true;
    return false;
}

static const char *variant_of(const mn_result_entry *e) {
    return mn_result_or(e->variant, MN_BASE_VARIANT);
}

/* "1-shot"; "1-shot choice gpt_wikipage" where scorings and variants must be told apart. */
static const char *label(char out[LABEL_MAX], const mn_results *r, int64_t at) {
    const mn_result_entry *e = &r->entries[at];
    snprintf(out, LABEL_MAX, "%d-shot%s%s%s%s", e->shots, both_scorings(r) ? " " : "",
             both_scorings(r) ? mn_scoring_name(e->scoring) : "", has_variants(r) ? " " : "",
             has_variants(r) ? variant_of(e) : "");
    return out;
}

/* "6.9 B", "70.4 M", "812" */
static mn_status count_of(mn_buf *out, int64_t n) {
    if (n >= 1000000000) return mn_buf_printf(out, "%.1f B", (double)n / 1e9);
    if (n >= 1000000) return mn_buf_printf(out, "%.1f M", (double)n / 1e6);
    return mn_buf_printf(out, "%lld", (long long)n);
}

static mn_status heading(mn_buf *out, const mn_results *r, bool markdown) {
    static const char *const rules[] = {"count as wrong", "are a class of their own",
                                        "count as not enough info", "are left out"};
    const char *end = markdown ? "  \n" : "\n"; /* two spaces: a line break in Markdown */
    MN_TRY(mn_buf_printf(out, "model   %s: %s, ", mn_result_or(r->model_name, "?"),
                         mn_result_or(r->architecture, "?")));
    MN_TRY(count_of(out, r->parameters));
    MN_TRY(mn_buf_printf(out, " parameters%s", end));
    MN_TRY(mn_buf_printf(out, "device  %s, %s, batch size ", mn_result_or(r->device, "?"),
                         mn_result_or(r->compute, "?")));
    if (r->batch_size > 0) MN_TRY(mn_buf_printf(out, "%lld", (long long)r->batch_size));
    else MN_TRY(mn_buf_puts(out, "auto"));
    MN_TRY(mn_buf_puts(out, end));
    MN_TRY(mn_buf_printf(out, "data    %s, manifest %.12s%s", mn_result_or(r->data_path, "?"),
                         mn_result_or(r->data_sha256, "?"), end));
    if (r->limit > 0)
        MN_TRY(mn_buf_printf(out, "limit   %lld rows: not the whole data%s", (long long)r->limit,
                             end));
    return mn_buf_printf(out, "rule    unparsed answers %s\n\n",
                         (size_t)r->unparsed < 4 ? rules[r->unparsed] : "?");
}

static mn_status share_cell(mn_table *t, double value) {
    return isnan(value) ? mn_table_cell(t, "-") : mn_table_cell(t, "%.3f", value);
}

static mn_status p_cell(mn_table *t, const mn_comparison *c) {
    if (c->reference < 0) return mn_table_cell(t, "-");
    if (c->mcnemar.p < 0.001) return mn_table_cell(t, "<0.001");
    return mn_table_cell(t, "%.3f", c->mcnemar.p);
}

/* "p vs first", or "p vs 1-shot" when every entry is compared with that one. With variants it is the
 * base with the same shots, which a note says. */
static void p_title(char out[LABEL_MAX], const mn_results *r) {
    int64_t all = -1;
    if (has_variants(r)) {
        snprintf(out, LABEL_MAX, "p");
        return;
    }
    for (size_t i = 0; i < r->count; i++) {
        const int64_t reference = r->entries[i].comparison.reference;
        if (reference < 0) continue;
        if (all >= 0 && reference != all) {
            snprintf(out, LABEL_MAX, "p vs first");
            return;
        }
        all = reference;
    }
    char name[LABEL_MAX];
    snprintf(out, LABEL_MAX, "p vs %.40s", all >= 0 ? label(name, r, all) : "first");
}

static mn_status scores(mn_buf *out, const mn_results *r, bool markdown) {
    char title[LABEL_MAX];
    /* The second and the last but one are there with variants only. */
    const mn_column columns[MOST_COLUMNS] = {
        {"shots", MN_RIGHT},    {"variant", MN_LEFT},   {"scoring", MN_LEFT},
        {"n", MN_RIGHT},        {"accuracy", MN_RIGHT}, {"95 %", MN_RIGHT},
        {"f1.micro", MN_RIGHT}, {"f1.macro", MN_RIGHT}, {"unparsed", MN_RIGHT},
        {"coverage", MN_RIGHT}, {"changed", MN_RIGHT},  {title, MN_RIGHT}};
    const bool variants = has_variants(r);
    mn_column shown[MOST_COLUMNS];
    size_t count = 0;
    mn_table *t = NULL;
    mn_status st = MN_OK;
    p_title(title, r);
    for (size_t i = 0; i < MOST_COLUMNS; i++)
        if (variants || (i != 1 && i != MOST_COLUMNS - 2)) shown[count++] = columns[i];
    MN_GOTO(mn_table_open(&t, shown, count));
    for (size_t i = 0; i < r->count; i++) {
        const mn_result_entry *e = &r->entries[i];
        const mn_metrics *m = &e->metrics;
        const mn_interval *ci = &e->interval.accuracy;
        const int64_t changed = mn_results_changed(r, i);
        if (variants && i > 0 && (e->shots != e[-1].shots || e->scoring != e[-1].scoring))
            mn_table_rule(t);
        MN_GOTO(mn_table_cell(t, "%d", e->shots));
        if (variants) MN_GOTO(mn_table_cell(t, "%s", variant_of(e)));
        MN_GOTO(mn_table_cell(t, "%s", mn_scoring_name(e->scoring)));
        MN_GOTO(mn_table_cell(t, "%lld", (long long)m->n));
        MN_GOTO(share_cell(t, m->accuracy));
        if (isnan(ci->low)) MN_GOTO(mn_table_cell(t, "-"));
        else MN_GOTO(mn_table_cell(t, "%.3f-%.3f", ci->low, ci->high));
        MN_GOTO(share_cell(t, m->f1_micro));
        MN_GOTO(share_cell(t, m->f1_macro));
        MN_GOTO(mn_table_cell(t, "%lld", (long long)m->unparsed));
        MN_GOTO(share_cell(t, m->coverage));
        if (variants && changed < 0) MN_GOTO(mn_table_cell(t, "-"));
        else if (variants) MN_GOTO(mn_table_cell(t, "%lld", (long long)changed));
        MN_GOTO(p_cell(t, &e->comparison));
    }
    MN_GOTO(markdown ? mn_table_markdown(out, t) : mn_table_text(out, t));
    MN_GOTO(mn_buf_puts(out, "\n"));
done:
    mn_table_close(&t);
    return st;
}

/* What the memories change, under the scores. */
static mn_status effects(mn_buf *out, const mn_results *r, bool markdown) {
    const mn_column columns[] = {{"variant", MN_LEFT},
                                 {"memory behind block", MN_RIGHT},
                                 {"mean |dh|/|h|", MN_RIGHT},
                                 {"max |dlogit|", MN_RIGHT}};
    mn_table *t = NULL;
    mn_status st = MN_OK;
    if (r->effect_count == 0) return MN_OK;
    MN_GOTO(mn_table_open(&t, columns, sizeof columns / sizeof *columns));
    for (size_t i = 0; i < r->effect_count; i++) {
        const mn_effect *f = &r->effects[i];
        for (int64_t m = 0; m < f->memory_count; m++) {
            MN_GOTO(mn_table_cell(t, "%s", m == 0 ? f->variant : ""));
            MN_GOTO(mn_table_cell(t, "%lld", (long long)f->memories[m].block));
            MN_GOTO(mn_table_cell(t, "%.4g", f->memories[m].relative_change));
            if (m == 0) MN_GOTO(mn_table_cell(t, "%.4g", f->max_logit_change));
            else MN_GOTO(mn_table_cell(t, "%s", ""));
        }
    }
    MN_GOTO(markdown ? mn_table_markdown(out, t) : mn_table_text(out, t));
    MN_GOTO(mn_buf_puts(out, "\n"));
done:
    mn_table_close(&t);
    return st;
}

static mn_status sentence(mn_buf *out, const mn_results *r, const mn_comparison *c, int64_t this,
                          const char *bullet) {
    char a[LABEL_MAX], b[LABEL_MAX];
    MN_TRY(
        mn_buf_printf(out, "%s%s and %s ", bullet, label(a, r, c->reference), label(b, r, this)));
    if (c->same) return mn_buf_puts(out, "give the same answer in every row.\n");
    if (isnan(c->accuracy)) return mn_buf_puts(out, "cannot be compared: no answer was read.\n");
    MN_TRY(mn_buf_printf(out, "differ by %.3f; ", fabs(c->accuracy)));
    if (isnan(c->half_width)) return mn_buf_puts(out, "no 95 % interval, so this may be noise.\n");
    MN_TRY(mn_buf_printf(out, "the 95 %% half-width of that is %.3f", c->half_width));
    if (c->within_noise && fabs(c->accuracy) > c->half_width)
        MN_TRY(mn_buf_printf(out, ", but McNemar's p is %.3f", c->mcnemar.p));
    return mn_buf_puts(out, c->within_noise ? ": within noise.\n" : ": more than noise.\n");
}

static mn_status noise(mn_buf *out, const mn_results *r, bool markdown) {
    const char *bullet = markdown ? "- " : "";
    bool best_said = r->top.reference < 0, any = !best_said;
    for (size_t i = 0; i < r->count; i++) {
        const mn_comparison *c = &r->entries[i].comparison;
        const int64_t this = (int64_t)i;
        if (c->reference < 0) continue;
        any = true;
        MN_TRY(sentence(out, r, c, this, bullet));
        best_said |= (r->best == this && r->top.reference == c->reference) ||
                     (r->best == c->reference && r->top.reference == this);
    }
    if (!best_said) {
        char name[LABEL_MAX], text[LABEL_MAX + 64];
        snprintf(text, sizeof text, "%sbest is %s: ", bullet, label(name, r, r->best));
        MN_TRY(sentence(out, r, &r->top, r->best, text));
    }
    return any ? mn_buf_puts(out, "\n") : MN_OK;
}

static mn_status confusions(mn_buf *out, const mn_results *r, bool markdown) {
    const bool variants = has_variants(r);
    const mn_column columns[] = {{"variant", MN_LEFT},
                                 {"shots", MN_RIGHT},
                                 {"scoring", MN_LEFT},
                                 {"gold \\ answer", MN_LEFT},
                                 {mn_result_columns[0], MN_RIGHT},
                                 {mn_result_columns[1], MN_RIGHT},
                                 {mn_result_columns[2], MN_RIGHT},
                                 {mn_result_columns[3], MN_RIGHT}};
    mn_table *t = NULL;
    mn_status st = MN_OK;
    MN_GOTO(mn_table_open(&t, columns + !variants,
                          sizeof columns / sizeof *columns - (size_t)!variants));
    for (size_t i = 0; i < r->count; i++) {
        const mn_result_entry *e = &r->entries[i];
        mn_table_rule(t);
        for (int g = 0; g < MN_CLASSES; g++) {
            if (variants) MN_GOTO(mn_table_cell(t, "%s", g == 0 ? variant_of(e) : ""));
            if (g == 0) MN_GOTO(mn_table_cell(t, "%d", e->shots));
            else MN_GOTO(mn_table_cell(t, "%s", ""));
            MN_GOTO(mn_table_cell(t, "%s", g == 0 ? mn_scoring_name(e->scoring) : ""));
            MN_GOTO(mn_table_cell(t, "%s", mn_result_columns[g]));
            for (int p = 0; p <= MN_CLASSES; p++)
                MN_GOTO(mn_table_cell(t, "%lld", (long long)e->metrics.confusion[g][p]));
        }
    }
    MN_GOTO(markdown ? mn_table_markdown(out, t) : mn_table_text(out, t));
done:
    mn_table_close(&t);
    return st;
}

mn_status mn_results_text(mn_buf *out, const mn_results *r, bool markdown) {
    MN_TRY(heading(out, r, markdown));
    MN_TRY(scores(out, r, markdown));
    if (has_variants(r))
        MN_TRY(mn_buf_printf(out,
                             "Each variant is compared with %s, same shots and scoring; 'changed' "
                             "counts answers that are\nnot the base's.%s\n\n",
                             r->entries[0].variant ? r->entries[0].variant : "the base",
                             r->effect_count ? " The effect audit: what the memories change where "
                                               "answers are read."
                                             : ""));
    MN_TRY(effects(out, r, markdown));
    MN_TRY(noise(out, r, markdown));
    if (r->bootstrap_iters > 0)
        MN_TRY(mn_buf_printf(out,
                             "95 %%: percentiles of %d replicates that draw whole pages, seed "
                             "%llu. p: McNemar's test.\n\n",
                             r->bootstrap_iters, (unsigned long long)r->seed));
    return confusions(out, r, markdown);
}

mn_status mn_results_print(FILE *out, const mn_results *r, bool markdown) {
    mn_buf text = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_results_text(&text, r, markdown));
    errno = 0;
    if (fwrite(text.data, 1, text.len, out) != text.len || fflush(out) != 0)
        st = mn_fail_errno("the table of results");
done:
    mn_buf_free(&text);
    return st;
}
