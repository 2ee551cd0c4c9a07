/* section_tables.c - the document's tables in its layout, with intervals, tests, its figures. */
#include "report/sections.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SHOT_COLUMNS = 16 };

/* ---- F1 by shots ---- */

/* The shot counts that some base was evaluated with, rising. */
static size_t base_shots(int64_t shots[SHOT_COLUMNS], const mn_report *report) {
    size_t count = 0;
    for (int64_t s = 0; s < 100 && count < SHOT_COLUMNS; s++) {
        bool found = false;
        for (size_t r = 0; r < report->count; r++) {
            const int64_t base = mn_rundir_base(&report->runs[r]);
            if (base < 0) continue;
            found |= mn_rundir_find(&report->runs[r], (size_t)base, s, false) ||
                     mn_rundir_find(&report->runs[r], (size_t)base, s, true);
        }
        if (found) shots[count++] = s;
    }
    return count;
}

typedef enum figure { VALUE, RANGE, LOW, HIGH, DOCUMENT } figure;

static void shots_row(mn_grid *grid, const mn_rundir *run, bool choice, figure what, bool first,
                      const int64_t *shots, size_t count) {
    static const char *const names[] = {NULL, "95 %", "ci95_low", "ci95_high", "published"};
    const unsigned flags[] = {0, MN_GRID_PAGE | MN_GRID_FAINT, MN_GRID_CSV, MN_GRID_CSV,
                              MN_GRID_FAINT};
    const size_t base = (size_t)mn_rundir_base(run);
    mn_grid_row(grid, flags[what] | (first ? MN_GRID_GROUP : 0));
    mn_grid_label(grid, run->name, first);
    mn_grid_label(grid, mn_report_scoring(choice), what == VALUE);
    mn_grid_text(grid, "%s", names[what] ? names[what] : "f1.micro");
    for (size_t i = 0; i < count; i++) {
        const mn_rundir_entry *e = mn_rundir_find(run, base, shots[i], choice);
        const mn_rundir_value none = {NAN, NAN, NAN}, *v = e ? &e->micro : &none;
        if (what == VALUE) mn_grid_number(grid, v->value);
        else if (what == RANGE) mn_grid_range(grid, v->low, v->high);
        else if (what == LOW) mn_grid_number(grid, v->low);
        else if (what == HIGH) mn_grid_number(grid, v->high);
        else mn_grid_number(grid, mn_report_document(run, &run->variants[base], shots[i], choice));
    }
}

static bool has_scoring(const mn_rundir *run, size_t variant, bool choice) {
    for (size_t i = 0; i < run->entry_count; i++)
        if (run->entries[i].variant == variant && run->entries[i].choice == choice) return true;
    return false;
}

static void shots_group(mn_grid *grid, const mn_rundir *run, const int64_t *shots, size_t count) {
    const int64_t base = mn_rundir_base(run);
    bool first = true;
    for (int choice = 0; base >= 0 && choice < 2; choice++) {
        if (!has_scoring(run, (size_t)base, choice)) continue;
        for (figure what = VALUE; what <= DOCUMENT; what++) {
            if (what == DOCUMENT && (choice || !run->document)) continue;
            shots_row(grid, run, choice, what, first, shots, count);
            first = false;
        }
    }
}

void mn_report_f1_by_shots(mn_report *report) {
    mn_page *page = &report->page;
    int64_t shots[SHOT_COLUMNS];
    char titles[SHOT_COLUMNS][32];
    mn_grid_column columns[3 + SHOT_COLUMNS] = {{"Model", 0}, {"scoring", 0}, {"figure", 0}};
    const size_t count = base_shots(shots, report);
    mn_page_section(page, "f1-by-shots", "F1 by shots, pretrained");
    if (count == 0) {
        mn_page_para(page, "Left out: no run has results of the pretrained model.");
        return;
    }
    for (size_t i = 0; i < count; i++)
        columns[3 + i] = (mn_grid_column){mn_report_shots(titles[i], shots[i]), MN_GRID_NUMBER};
    mn_grid *grid = mn_grid_open(page, columns, 3 + count);
    for (size_t r = 0; r < report->count; r++) shots_group(grid, &report->runs[r], shots, count);
    mn_grid_close(
        grid, "f1_by_shots",
        report->any_document
            ? "f1.micro by model and number of demonstrations; published: the figure that "
              "the experiment's document has for the same cell."
            : "f1.micro by model and number of demonstrations.");
    mn_report_plot_shots(report);
}

/* ---- base, Doc, Temp, DocTemp ---- */

typedef enum row_kind {
    R_VALUE,
    R_RANGE,
    R_LOW,
    R_HIGH,
    R_DIFFERENCE,
    R_DIFFERENCE_RANGE,
    R_P,
    R_VERDICT,
    R_DOCUMENT,
    R_KINDS
} row_kind;

static const struct {
    const char *name;
    unsigned flags;
} row_kinds[R_KINDS] = {
    [R_VALUE] = {"f1.micro", 0},
    [R_RANGE] = {"95 %", MN_GRID_PAGE | MN_GRID_FAINT},
    [R_LOW] = {"ci95_low", MN_GRID_CSV},
    [R_HIGH] = {"ci95_high", MN_GRID_CSV},
    [R_DIFFERENCE] = {"accuracy - base", 0},
    [R_DIFFERENCE_RANGE] = {"95 % of that", MN_GRID_PAGE | MN_GRID_FAINT},
    [R_P] = {"McNemar p", 0},
    [R_VERDICT] = {"verdict", 0},
    [R_DOCUMENT] = {"published", MN_GRID_FAINT},
};

static void variant_cell(mn_grid *grid, const mn_rundir *run, int64_t variant, bool choice,
                         row_kind kind) {
    const mn_rundir_entry *e = variant >= 0 ? mn_rundir_find(run, (size_t)variant, 1, choice)
                                            : NULL;
    const mn_rundir_comparison *c = mn_report_against_base(run, e);
    switch (kind) {
    case R_VALUE: mn_grid_number(grid, e ? e->micro.value : NAN); break;
    case R_RANGE: mn_grid_range(grid, e ? e->micro.low : NAN, e ? e->micro.high : NAN); break;
    case R_LOW: mn_grid_number(grid, e ? e->micro.low : NAN); break;
    case R_HIGH: mn_grid_number(grid, e ? e->micro.high : NAN); break;
    case R_DIFFERENCE: mn_grid_signed(grid, c ? c->accuracy.value : NAN); break;
    case R_DIFFERENCE_RANGE:
        mn_grid_range(grid, c ? c->accuracy.low : NAN, c ? c->accuracy.high : NAN);
        break;
    case R_P: mn_grid_p(grid, c ? c->p : NAN); break;
    case R_VERDICT: mn_grid_text(grid, "%s", c ? mn_report_verdict(c) : ""); break;
    case R_DOCUMENT:
    case R_KINDS:
        mn_grid_number(grid, e ? mn_report_document(run, &run->variants[variant], 1, choice) : NAN);
    }
}

/* The best of the three memories with the first weight decay. */
static int64_t best_memory(const mn_rundir *run, double decay, bool choice) {
    int64_t best = -1;
    double most = -1;
    for (mn_rundir_method m = MN_RUNDIR_DOC; m <= MN_RUNDIR_DOCTEMP; m++) {
        const int64_t at = mn_rundir_memory(run, m, decay);
        const mn_rundir_entry *e = at >= 0 ? mn_rundir_find(run, (size_t)at, 1, choice) : NULL;
        if (!e || !(e->micro.value > most)) continue;
        most = e->micro.value;
        best = at;
    }
    return best;
}

static void memory_group(mn_grid *grid, const mn_report *report, const mn_rundir *run, double decay,
                         bool with_best) {
    const int64_t base = mn_rundir_base(run);
    bool first = true;
    for (int choice = 0; choice < 2; choice++) {
        if (best_memory(run, decay, choice) < 0) continue;
        for (row_kind kind = R_VALUE; kind < R_KINDS; kind++) {
            if (kind == R_DOCUMENT && (choice || !run->document)) continue;
            mn_grid_row(grid, row_kinds[kind].flags | (first ? MN_GRID_GROUP : 0));
            mn_grid_label(grid, run->name, first);
            mn_grid_label(grid, mn_report_scoring(choice), kind == R_VALUE);
            mn_grid_text(grid, "%s", row_kinds[kind].name);
            variant_cell(grid, run, base, choice, kind);
            if (with_best)
                variant_cell(grid, run, best_memory(run, report->decay, choice), choice, kind);
            for (mn_rundir_method m = MN_RUNDIR_DOC; m <= MN_RUNDIR_DOCTEMP; m++)
                variant_cell(grid, run, mn_rundir_memory(run, m, decay), choice, kind);
            first = false;
        }
    }
}

static void decay_text(char out[64], double decay) {
    if (isnan(decay)) snprintf(out, 64, "the weight decay of their settings");
    else snprintf(out, 64, "weight decay %.6g", decay);
}

void mn_report_memories(mn_report *report) {
    static const mn_grid_column columns[] = {
        {"Model", 0},
        {"scoring", 0},
        {"figure", 0},
        {"1-shot (base)", MN_GRID_NUMBER},
        {"Document", MN_GRID_NUMBER},
        {"Template (Train Q\xE2\x80\x91"
         "A)",
         MN_GRID_NUMBER},
        {"Doc + Template", MN_GRID_NUMBER},
    };
    mn_page *page = &report->page;
    char decay[64], caption[256];
    mn_page_section(page, "memories", "Memories at 1 shot");
    decay_text(decay, report->decay);
    snprintf(caption, sizeof caption,
             "base, Doc, Temp and DocTemp at 1 shot; memories trained with %s.", decay);
    mn_grid *grid = mn_grid_open(page, columns, sizeof columns / sizeof *columns);
    for (size_t r = 0; report->any_memory && r < report->count; r++)
        memory_group(grid, report, &report->runs[r], report->decay, false);
    if (mn_grid_rows(grid) == 0) {
        mn_grid_drop(grid);
        mn_page_para(page, "Left out: no run has 1-shot results of a variant with a memory.");
    } else {
        mn_grid_close(grid, "memories_1shot", caption);
        mn_page_para(page, "Within noise: the difference is no larger than the half-width of its "
                           "95 %% interval, or McNemar's p is above 0.05. More than noise needs "
                           "both to speak against chance.");
    }
    for (size_t r = 0; r < report->count; r++) mn_report_plot_memories(report, &report->runs[r], r);
}

void mn_report_weight_decay(mn_report *report) {
    mn_page *page = &report->page;
    char title[96], best[64], caption[256];
    const mn_grid_column columns[] = {
        {"Model", 0},
        {"scoring", 0},
        {"figure", 0},
        {"1-shot (base)", MN_GRID_NUMBER},
        {best, MN_GRID_NUMBER},
        {"Document", MN_GRID_NUMBER},
        {"Template (Train Q\xE2\x80\x91"
         "A)",
         MN_GRID_NUMBER},
        {"Doc + Template", MN_GRID_NUMBER},
    };
    const bool two = !isnan(report->other_decay);
    if (two && !isnan(report->decay))
        snprintf(title, sizeof title, "Weight decay %.6g against %.6g", report->other_decay,
                 report->decay);
    else snprintf(title, sizeof title, "Weight decay 0.01 against 0.05");
    mn_page_section(page, "weight-decay", title);
    if (isnan(report->decay)) snprintf(best, sizeof best, "Best without one named");
    else snprintf(best, sizeof best, "Best with %.6g", report->decay);
    snprintf(caption, sizeof caption, "Memories trained with weight decay %.6g, at 1 shot.",
             report->other_decay);
    mn_grid *grid = mn_grid_open(page, columns, sizeof columns / sizeof *columns);
    for (size_t r = 0; two && r < report->count; r++)
        memory_group(grid, report, &report->runs[r], report->other_decay, true);
    if (mn_grid_rows(grid) == 0) {
        mn_grid_drop(grid);
        mn_page_para(page, two ? "Left out: the memories of the second weight decay have no 1-shot "
                                 "results."
                               : "Left out: no run has memories of two weight decays.");
        return;
    }
    mn_grid_close(grid, "weight_decay", caption);
}

/* ---- full update ---- */

static void full_row(mn_grid *grid, const mn_report *report, const mn_rundir *run,
                     const mn_rundir_entry *e) {
    static const char *const methods[] = {"pretrained", "gpt_wikipage", "gpt_template",
                                          "gpt_wikipage_and_template", "other"};
    const mn_rundir_variant *v = &run->variants[e->variant];
    const mn_rundir_comparison *c = mn_report_against_base(run, e);
    mn_grid_row(grid, MN_GRID_GROUP);
    mn_grid_text(grid, "%s", run->name);
    mn_grid_text(grid, "%s", mn_report_scoring(e->choice));
    mn_grid_number(grid, e->accuracy.value);
    mn_grid_range(grid, e->accuracy.low, e->accuracy.high);
    mn_grid_number(grid, e->accuracy.low);
    mn_grid_number(grid, e->accuracy.high);
    mn_grid_text(grid, "%s", v->method == MN_RUNDIR_OTHER ? v->id : methods[v->method]);
    mn_grid_signed(grid, c ? c->accuracy.value : NAN);
    mn_grid_p(grid, c ? c->p : NAN);
    mn_grid_text(grid, "%s", c ? mn_report_verdict(c) : "");
    if (report->any_document) mn_grid_number(grid, mn_report_document(run, v, 1, e->choice));
}

void mn_report_full_update(mn_report *report) {
    static const mn_grid_column columns[] = {
        {"Model", 0},
        {"scoring", 0},
        {"1-shot acc", MN_GRID_NUMBER},
        {"95 %", MN_GRID_PAGE | MN_GRID_NUMBER},
        {"acc ci95_low", MN_GRID_CSV},
        {"acc ci95_high", MN_GRID_CSV},
        {"method", 0},
        {"acc - base", MN_GRID_NUMBER},
        {"McNemar p", MN_GRID_NUMBER},
        {"verdict", 0},
        {"published", MN_GRID_NUMBER},
    };
    mn_page *page = &report->page;
    mn_page_section(page, "full-update", "Full weight update (no memory)");
    mn_grid *grid = mn_grid_open(page, columns,
                                 sizeof columns / sizeof *columns - (report->any_document ? 0 : 1));
    for (size_t r = 0; r < report->count; r++) {
        const mn_rundir *run = &report->runs[r];
        for (size_t i = 0; i < run->entry_count; i++)
            if (run->entries[i].shots == 1 && run->variants[run->entries[i].variant].full)
                full_row(grid, report, run, &run->entries[i]);
    }
    if (mn_grid_rows(grid) == 0) {
        mn_grid_drop(grid);
        mn_page_para(page, "Left out: no run has 1-shot results of a full update.");
        return;
    }
    mn_grid_close(grid, "full_update", "All weights trained, no memory module.");
}

/* ---- full results ---- */

static void result_row(mn_grid *grid, const mn_report *report, const mn_rundir *run, size_t at) {
    const mn_rundir_entry *e = &run->entries[at], *above = at ? e - 1 : NULL;
    const mn_rundir_variant *v = &run->variants[e->variant];
    const bool new_scoring = !above || above->choice != e->choice;
    const bool new_variant = new_scoring || above->variant != e->variant;
    const mn_rundir_value *values[] = {&e->accuracy, &e->micro, &e->macro};
    mn_grid_row(grid, new_variant ? MN_GRID_GROUP : 0);
    mn_grid_label(grid, run->name, new_variant);
    mn_report_variant_cell(grid, v, new_variant);
    mn_grid_label(grid, mn_report_scoring(e->choice), new_variant);
    mn_grid_count(grid, e->shots);
    mn_grid_count(grid, e->n);
    for (size_t i = 0; i < 3; i++) {
        mn_grid_number(grid, values[i]->value);
        /* Where unparsed answers count as wrong, the interval of f1.micro is that of accuracy. */
        if (i != 1) mn_grid_range(grid, values[i]->low, values[i]->high);
        mn_grid_number(grid, values[i]->low);
        mn_grid_number(grid, values[i]->high);
    }
    mn_grid_count(grid, e->unparsed);
    mn_grid_number(grid, e->coverage);
    if (!report->any_document) return;
    const bool known = run->document && v->method == MN_RUNDIR_BASE && !e->choice && e->shots < 6;
    mn_grid_number(grid, mn_report_document(run, v, e->shots, e->choice));
    mn_grid_number(grid, known ? run->document->f1_macro[e->shots] : NAN);
}

void mn_report_full_results(mn_report *report) {
    static const mn_grid_column columns[] = {
        {"model", MN_GRID_MODEL},
        {"variant", 0},
        {"scoring", 0},
        {"Few-shot", MN_GRID_NUMBER},
        {"n", MN_GRID_NUMBER},
        {"accuracy", MN_GRID_NUMBER},
        {"95 %", MN_GRID_PAGE | MN_GRID_NUMBER},
        {"accuracy ci95_low", MN_GRID_CSV},
        {"accuracy ci95_high", MN_GRID_CSV},
        {"f1.micro", MN_GRID_NUMBER},
        {"f1.micro ci95_low", MN_GRID_CSV},
        {"f1.micro ci95_high", MN_GRID_CSV},
        {"f1.macro", MN_GRID_NUMBER},
        {"95 %", MN_GRID_PAGE | MN_GRID_NUMBER},
        {"f1.macro ci95_low", MN_GRID_CSV},
        {"f1.macro ci95_high", MN_GRID_CSV},
        {"unparsed", MN_GRID_NUMBER},
        {"coverage", MN_GRID_NUMBER},
        {"published f1.micro", MN_GRID_NUMBER},
        {"published f1.macro", MN_GRID_NUMBER},
    };
    mn_page *page = &report->page;
    size_t rows = 0;
    mn_page_section(page, "full-results", "Full results");
    for (size_t r = 0; r < report->count; r++) rows += report->runs[r].entry_count;
    if (rows == 0) {
        mn_page_para(page, "Left out: no run was evaluated.");
        return;
    }
    mn_grid *grid = mn_grid_open(page, columns,
                                 sizeof columns / sizeof *columns - (report->any_document ? 0 : 2));
    for (size_t r = 0; r < report->count; r++)
        for (size_t i = 0; i < report->runs[r].entry_count; i++)
            result_row(grid, report, &report->runs[r], i);
    mn_grid_close(
        grid, "full_results",
        "Every evaluation. 95 %: bootstrap over pages. unparsed: answers that could not be "
        "read. coverage: the share that could.");
}
