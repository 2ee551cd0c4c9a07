/* report.c - reads the runs, writes the sections, puts the files into their folder. */
#include "mneme/report.h"

#include "mneme/file.h"
#include "report/sections.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double mn_report_document(const mn_rundir *run, const mn_rundir_variant *variant, int64_t shots,
                          bool choice) {
    const mn_document_model *m = run->document;
    if (!m || choice || variant->method == MN_RUNDIR_OTHER) return NAN; /* it generates */
    if (variant->method == MN_RUNDIR_BASE)
        return shots >= 0 && shots < MN_DOCUMENT_SHOTS ? m->f1_micro[shots] : NAN;
    if (shots != 1) return NAN;
    const int at = (int)variant->method - (int)MN_RUNDIR_DOC;
    if (variant->full) return m->full[at];
    if (fabs(variant->weight_decay - 0.05) < 1e-9) return m->memory[at];
    return fabs(variant->weight_decay - 0.01) < 1e-9 ? m->decayed[at] : NAN;
}

const mn_rundir_comparison *mn_report_against_base(const mn_rundir *run,
                                                   const mn_rundir_entry *entry) {
    const int64_t base = mn_rundir_base(run);
    if (!entry || base < 0 || entry->variant == (size_t)base || !entry->comparison.known)
        return NULL;
    const mn_rundir_entry *reference = mn_rundir_find(run, (size_t)base, entry->shots,
                                                      entry->choice);
    const bool same = reference && strcmp(reference->task, entry->comparison.reference) == 0;
    return same ? &entry->comparison : NULL;
}

static const char *const labels[] = {"supports", "refutes", "not enough info"};

/* Of the sums of rows (gold labels) or of columns (answers). */
static double largest(const mn_rundir_entry *entry, bool of_answers, const char **label) {
    int64_t sums[3] = {0}, all = 0;
    *label = NULL;
    if (!entry->has_confusion) return NAN;
    for (int g = 0; g < 3; g++)
        for (int p = 0; p < 4; p++) {
            all += entry->confusion[g][p];
            if (!of_answers || p < 3) sums[of_answers ? p : g] += entry->confusion[g][p];
        }
    if (all == 0) return NAN;
    int best = 0;
    for (int i = 1; i < 3; i++)
        if (sums[i] > sums[best]) best = i;
    *label = labels[best];
    return (double)sums[best] / (double)all;
}

double mn_report_majority(const mn_rundir *run, const char **label) {
    *label = NULL;
    return run->entry_count ? largest(&run->entries[0], false, label) : NAN;
}

double mn_report_favourite(const mn_rundir_entry *entry, const char **label) {
    return largest(entry, true, label);
}

const char *mn_report_verdict(const mn_rundir_comparison *comparison) {
    if (comparison->same) return "same answers";
    if (!comparison->judged) return "no interval";
    return comparison->noise ? "within noise" : "more than noise";
}

void mn_report_variant_cell(mn_grid *grid, const mn_rundir_variant *variant, bool shown) {
    mn_grid_both(grid, shown ? variant->label : "", variant->id);
}

const char *mn_report_scoring(bool choice) { return choice ? "choice" : "generate"; }

const char *mn_report_shots(char out[32], int64_t shots) {
    if (shots == 0) snprintf(out, 32, "zero-shot");
    else snprintf(out, 32, "%lld-shot", (long long)shots);
    return out;
}

static bool equal(double a, double b) { return (isnan(a) && isnan(b)) || fabs(a - b) < 1e-9; }

/* What all runs together hold decides what the tables show. */
static void survey(mn_report *report) {
    double preferred = NAN;
    report->choice = true;
    report->page.one_model = report->count == 1;
    report->decay = report->other_decay = NAN;
    for (size_t r = 0; r < report->count; r++) {
        const mn_rundir *run = &report->runs[r];
        report->any_document |= run->document != NULL;
        for (size_t i = 0; i < run->entry_count; i++) report->choice &= run->entries[i].choice;
        for (size_t i = 0; i < run->variant_count; i++) {
            const mn_rundir_variant *v = &run->variants[i];
            if (v->method == MN_RUNDIR_BASE || v->method == MN_RUNDIR_OTHER || v->full) continue;
            if (!report->any_memory || equal(v->weight_decay, 0.05))
                report->decay = v->weight_decay;
            report->any_memory = true;
        }
    }
    for (size_t r = 0; r < report->count; r++)
        for (size_t i = 0; i < report->runs[r].variant_count; i++) {
            const mn_rundir_variant *v = &report->runs[r].variants[i];
            if (v->method == MN_RUNDIR_BASE || v->method == MN_RUNDIR_OTHER || v->full) continue;
            if (equal(v->weight_decay, report->decay) || isnan(v->weight_decay)) continue;
            if (isnan(preferred) || equal(v->weight_decay, 0.01)) preferred = v->weight_decay;
        }
    report->other_decay = preferred;
}

/* Two runs of one model: their folders tell them apart. */
static mn_status tell_apart(mn_rundir *runs, size_t count) {
    bool *twice = calloc(count, sizeof *twice);
    mn_status st = MN_OK;
    MN_CHECK_GOTO(twice, MN_ERR_MEMORY, "report: no memory for %zu runs", count);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++)
            twice[i] |= k != i && strcmp(runs[i].name, runs[k].name) == 0;
    for (size_t i = 0; i < count; i++) {
        mn_buf name = {0};
        if (!twice[i]) continue;
        MN_GOTO(mn_buf_printf(&name, "%s (%s)", runs[i].name, runs[i].dir));
        free(runs[i].name);
        runs[i].name = name.data;
    }
done:
    free(twice);
    return st;
}

static mn_status title_of(mn_buf *out, const mn_report *report) {
    MN_TRY(mn_buf_puts(out, "Memories on FEVER: "));
    if (report->count > 3) return mn_buf_printf(out, "%zu models", report->count);
    for (size_t i = 0; i < report->count; i++)
        MN_TRY(mn_buf_printf(out, "%s%s", i ? ", " : "", report->runs[i].name));
    return MN_OK;
}

static mn_status write_files(mn_buf *path, mn_report *report, const char *title, const char *dir) {
    mn_page *page = &report->page;
    mn_buf text = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_make_dirs(dir));
    for (size_t i = 0; i < page->file_count; i++) {
        const mn_page_file *file = &page->files[i];
        MN_GOTO(mn_path_join(path, dir, file->name));
        MN_GOTO(mn_write_file(path->data, file->text.data, file->text.len));
    }
    MN_GOTO(mn_buf_puts(&text, "# "));
    MN_GOTO(mn_markdown_escape(&text, title));
    MN_GOTO(mn_buf_printf(&text, "\n\n%s", page->md.len ? page->md.data : ""));
    while (text.len > 1 && text.data[text.len - 1] == '\n' && text.data[text.len - 2] == '\n')
        text.len--;
    MN_GOTO(mn_path_join(path, dir, "report.md"));
    MN_GOTO(mn_write_file(path->data, text.data, text.len));
    MN_GOTO(mn_page_html(&text, page, title));
    MN_GOTO(mn_path_join(path, dir, "report.html"));
    MN_GOTO(mn_write_file(path->data, text.data, text.len));
done:
    mn_buf_free(&text);
    return st;
}

static void sections(mn_report *report) {
    mn_report_summary(report);
    mn_report_f1_by_shots(report);
    mn_report_memories(report);
    mn_report_weight_decay(report);
    mn_report_full_update(report);
    mn_report_full_results(report);
    mn_report_paired(report);
    mn_report_audit(report);
    mn_report_training(report);
    mn_report_confusion(report);
    mn_report_data(report);
    mn_report_settings(report);
}

mn_status mn_report_write(mn_buf *page, const char *const *runs, size_t count, const char *out) {
    mn_report report = {0};
    mn_buf dir = {0}, path = {0}, title = {0};
    mn_status st = MN_OK;
    MN_CHECK(count > 0, MN_ERR_USAGE, "a report needs a run folder");
    report.runs = calloc(count, sizeof *report.runs);
    MN_CHECK_GOTO(report.runs, MN_ERR_MEMORY, "report: no memory for %zu runs", count);
    for (size_t i = 0; i < count; i++) {
        MN_GOTO(mn_rundir_open(&report.runs[i], runs[i]));
        report.count = i + 1;
    }
    MN_GOTO(tell_apart(report.runs, count));
    survey(&report);
    sections(&report);
    MN_GOTO(mn_page_end_list(&report.page));
    MN_GOTO(report.page.st);
    MN_GOTO(title_of(&title, &report));
    if (out) MN_GOTO(mn_buf_puts(&dir, out));
    else MN_GOTO(mn_path_join(&dir, runs[0], "report"));
    MN_GOTO(write_files(&path, &report, title.data, dir.data));
    if (page) {
        mn_buf_clear(page);
        MN_GOTO(mn_buf_puts(page, path.data));
    }
done:
    for (size_t i = 0; i < report.count; i++) mn_rundir_close(&report.runs[i]);
    free(report.runs);
    mn_page_free(&report.page);
    mn_buf_free(&title);
    mn_buf_free(&path);
    mn_buf_free(&dir);
    return st;
}
