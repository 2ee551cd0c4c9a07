/* results_text.c - the evaluation for people: scores, which differences are noise, confusion. */
#include "eval/results.h"

#include "mneme/table.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { LABEL_MAX = 48 };

static bool both_scorings(const mn_results *r) {
    for (size_t i = 1; i < r->count; i++)
        if (r->entries[i].scoring != r->entries[0].scoring) return true;
    return false;
}

/* "1-shot", or "1-shot choice" where the scoring must be told apart. */
static const char *label(char out[LABEL_MAX], const mn_results *r, int64_t at) {
    const mn_result_entry *e = &r->entries[at];
    snprintf(out, LABEL_MAX, "%d-shot%s%s", e->shots, both_scorings(r) ? " " : "",
             both_scorings(r) ? mn_scoring_name(e->scoring) : "");
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

/* "p vs first", or "p vs 1-shot" when every entry is compared with that one. */
static void p_title(char out[LABEL_MAX], const mn_results *r) {
    int64_t all = -1;
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
    const mn_column columns[] = {{"shots", MN_RIGHT},    {"scoring", MN_LEFT},
                                 {"n", MN_RIGHT},        {"accuracy", MN_RIGHT},
                                 {"95 %", MN_RIGHT},     {"f1.micro", MN_RIGHT},
                                 {"f1.macro", MN_RIGHT}, {"unparsed", MN_RIGHT},
                                 {"coverage", MN_RIGHT}, {title, MN_RIGHT}};
    mn_table *t = NULL;
    mn_status st = MN_OK;
    p_title(title, r);
    MN_GOTO(mn_table_open(&t, columns, sizeof columns / sizeof *columns));
    for (size_t i = 0; i < r->count; i++) {
        const mn_result_entry *e = &r->entries[i];
        const mn_metrics *m = &e->metrics;
        const mn_interval *ci = &e->interval.accuracy;
        MN_GOTO(mn_table_cell(t, "%d", e->shots));
        MN_GOTO(mn_table_cell(t, "%s", mn_scoring_name(e->scoring)));
        MN_GOTO(mn_table_cell(t, "%lld", (long long)m->n));
        MN_GOTO(share_cell(t, m->accuracy));
        if (isnan(ci->low)) MN_GOTO(mn_table_cell(t, "-"));
        else MN_GOTO(mn_table_cell(t, "%.3f-%.3f", ci->low, ci->high));
        MN_GOTO(share_cell(t, m->f1_micro));
        MN_GOTO(share_cell(t, m->f1_macro));
        MN_GOTO(mn_table_cell(t, "%lld", (long long)m->unparsed));
        MN_GOTO(share_cell(t, m->coverage));
        MN_GOTO(p_cell(t, &e->comparison));
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
    const mn_column columns[] = {{"shots", MN_RIGHT},
                                 {"scoring", MN_LEFT},
                                 {"gold \\ answer", MN_LEFT},
                                 {mn_result_columns[0], MN_RIGHT},
                                 {mn_result_columns[1], MN_RIGHT},
                                 {mn_result_columns[2], MN_RIGHT},
                                 {mn_result_columns[3], MN_RIGHT}};
    mn_table *t = NULL;
    mn_status st = MN_OK;
    MN_GOTO(mn_table_open(&t, columns, sizeof columns / sizeof *columns));
    for (size_t i = 0; i < r->count; i++) {
        const mn_result_entry *e = &r->entries[i];
        mn_table_rule(t);
        for (int g = 0; g < MN_CLASSES; g++) {
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
