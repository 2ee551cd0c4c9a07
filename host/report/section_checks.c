/* section_checks.c - paired tests, effect audit, confusion: what keeps the tables honest. */
#include "report/sections.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SHOT_COLUMNS = 16 };

/* ---- paired tests ---- */

static void reference_text(char *out, size_t size, const mn_rundir *run, const mn_rundir_entry *e) {
    char shots[32];
    snprintf(out, size, "%s", e->comparison.reference);
    for (size_t i = 0; i < run->entry_count; i++) {
        const mn_rundir_entry *other = &run->entries[i];
        if (strcmp(other->task, e->comparison.reference) != 0) continue;
        snprintf(out, size, "%s, %s", run->variants[other->variant].label,
                 mn_report_shots(shots, other->shots));
    }
}

static void paired_row(mn_grid *grid, const mn_rundir *run, const mn_rundir_entry *e, bool first) {
    const mn_rundir_comparison *c = &e->comparison;
    char reference[160];
    reference_text(reference, sizeof reference, run, e);
    mn_grid_row(grid, first ? MN_GRID_GROUP : 0);
    mn_grid_label(grid, run->name, first);
    mn_report_variant_cell(grid, &run->variants[e->variant], first);
    mn_grid_label(grid, mn_report_scoring(e->choice), first);
    mn_grid_count(grid, e->shots);
    mn_grid_text(grid, "%s", reference);
    mn_grid_signed(grid, c->accuracy.value);
    mn_grid_range(grid, c->accuracy.low, c->accuracy.high);
    mn_grid_number(grid, c->accuracy.low);
    mn_grid_number(grid, c->accuracy.high);
    mn_grid_count(grid, c->only_reference);
    mn_grid_count(grid, c->only_this);
    mn_grid_p(grid, c->p);
    mn_grid_text(grid, "%s", mn_report_verdict(c));
}

void mn_report_paired(mn_report *report) {
    static const mn_grid_column columns[] = {
        {"model", MN_GRID_MODEL},
        {"variant", 0},
        {"scoring", 0},
        {"Few-shot", MN_GRID_NUMBER},
        {"against", 0},
        {"difference", MN_GRID_NUMBER},
        {"95 %", MN_GRID_PAGE | MN_GRID_NUMBER},
        {"ci95_low", MN_GRID_CSV},
        {"ci95_high", MN_GRID_CSV},
        {"only that right", MN_GRID_NUMBER},
        {"only this right", MN_GRID_NUMBER},
        {"McNemar p", MN_GRID_NUMBER},
        {"verdict", 0},
    };
    mn_page *page = &report->page;
    mn_page_section(page, "paired-tests", "Paired tests");
    mn_grid *grid = mn_grid_open(page, columns, sizeof columns / sizeof *columns);
    for (size_t r = 0; r < report->count; r++) {
        const mn_rundir *run = &report->runs[r];
        const mn_rundir_entry *above = NULL;
        for (size_t i = 0; i < run->entry_count; i++) {
            const mn_rundir_entry *e = &run->entries[i];
            if (!e->comparison.known) continue;
            paired_row(grid, run, e,
                       !above || above->variant != e->variant || above->choice != e->choice);
            above = e;
        }
    }
    if (mn_grid_rows(grid) == 0) {
        mn_grid_drop(grid);
        mn_page_para(page, "Left out: nothing was compared.");
        return;
    }
    mn_grid_close(
        grid, "paired_tests",
        "The same rows, answered twice; difference of accuracies. Variants against base, base "
        "against its first number of demonstrations.");
}

/* ---- effect audit ---- */

typedef struct audit {
    const mn_rundir *run;
    const mn_rundir_variant *variant;
    const cJSON *node; /* effect_audit.<variant> */
} audit;

/* Sum over all tasks, and one number per task for the second table. */
static mn_status changed_in(int64_t *out, const audit *a, const char *task) {
    const cJSON *map, *item;
    const mn_json *doc = a->run->results;
    const int64_t most = INT64_C(1) << 52;
    *out = -1;
    if (!mn_json_has(a->node, "changed_predictions")) return MN_OK;
    MN_TRY(mn_json_object(&map, doc, a->node, "changed_predictions"));
    if (task) {
        char key[512];
        MN_TRY(mn_json_i64_or(out, doc, map, task, 0, most, -1));
        snprintf(key, sizeof key, "%s@%s", task, a->variant->id);
        return *out < 0 ? mn_json_i64_or(out, doc, map, key, 0, most, -1) : MN_OK;
    }
    cJSON_ArrayForEach(item, map) {
        int64_t n;
        MN_TRY(mn_json_as_i64(&n, doc, item, 0, most));
        *out = (*out < 0 ? 0 : *out) + n;
    }
    return MN_OK;
}

static mn_status audit_rows(mn_grid *grid, const audit *a) {
    const mn_json *doc = a->run->results;
    const cJSON *memories, *memory;
    double logit;
    int64_t changed, block;
    bool first = true;
    MN_TRY(mn_json_array(&memories, doc, a->node, "memories"));
    MN_TRY(mn_json_f64_or(&logit, doc, a->node, "max_logit_change", NAN));
    MN_TRY(changed_in(&changed, a, NULL));
    cJSON_ArrayForEach(memory, memories) {
        double change;
        if (!cJSON_IsObject(memory)) return mn_json_fail(doc, memory, "expected an object");
        MN_TRY(mn_json_i64(&block, doc, memory, "block", 0, 1 << 20));
        MN_TRY(mn_json_f64_or(&change, doc, memory, "relative_change", NAN));
        mn_grid_row(grid, first ? MN_GRID_GROUP : 0);
        mn_grid_label(grid, a->run->name, first);
        mn_report_variant_cell(grid, a->variant, first);
        mn_grid_count(grid, block);
        mn_grid_small(grid, change);
        if (first) {
            mn_grid_small(grid, logit);
            mn_grid_count(grid, changed);
            mn_grid_text(grid, "%s", !(logit > 0) && changed <= 0 ? "no effect" : "");
        }
        first = false;
    }
    return MN_OK;
}

/* Calls `each` for every variant that the results have an audit of. */
static mn_status for_audits(mn_grid *grid, mn_report *report,
                            mn_status (*each)(mn_grid *grid, const audit *a)) {
    for (size_t r = 0; r < report->count; r++) {
        const mn_rundir *run = &report->runs[r];
        const cJSON *map;
        if (!run->results || !mn_json_has(run->results->root, "effect_audit")) continue;
        MN_TRY(mn_json_object(&map, run->results, run->results->root, "effect_audit"));
        for (size_t i = 0; i < run->variant_count; i++) {
            audit a = {.run = run, .variant = &run->variants[i]};
            if (!mn_json_has(map, a.variant->id)) continue;
            MN_TRY(mn_json_object(&a.node, run->results, map, a.variant->id));
            MN_TRY(each(grid, &a));
        }
    }
    return MN_OK;
}

static const mn_rundir_entry *entry_at(const mn_rundir *run, int64_t shots, bool choice) {
    const int64_t base = mn_rundir_base(run);
    return base < 0 ? NULL : mn_rundir_find(run, (size_t)base, shots, choice);
}

static mn_status changed_rows(mn_grid *grid, const audit *a) {
    for (int choice = 0; choice < 2; choice++) {
        int64_t counts[SHOT_COLUMNS];
        bool any = false;
        for (int64_t s = 0; s < 6; s++) {
            const mn_rundir_entry *e = entry_at(a->run, s, choice);
            counts[s] = -1;
            if (e) MN_TRY(changed_in(&counts[s], a, e->task));
            any |= counts[s] >= 0;
        }
        if (!any) continue;
        mn_grid_row(grid, 0);
        mn_grid_text(grid, "%s", a->run->name);
        mn_report_variant_cell(grid, a->variant, true);
        mn_grid_text(grid, "%s", mn_report_scoring(choice));
        mn_grid_count(grid, a->run->entry_count ? a->run->entries[0].n : -1);
        for (int64_t s = 0; s < 6; s++) mn_grid_count(grid, counts[s]);
    }
    return MN_OK;
}

void mn_report_audit(mn_report *report) {
    static const mn_grid_column columns[] = {
        {"model", MN_GRID_MODEL},
        {"variant", 0},
        {"block", MN_GRID_NUMBER},
        {"relative change", MN_GRID_NUMBER},
        {"max logit change", MN_GRID_NUMBER},
        {"changed predictions", MN_GRID_NUMBER},
        {"warning", 0},
    };
    static const mn_grid_column changed[] = {
        {"model", MN_GRID_MODEL},
        {"variant", 0},
        {"scoring", 0},
        {"n", MN_GRID_NUMBER},
        {"zero-shot", MN_GRID_NUMBER},
        {"1-shot", MN_GRID_NUMBER},
        {"2-shot", MN_GRID_NUMBER},
        {"3-shot", MN_GRID_NUMBER},
        {"4-shot", MN_GRID_NUMBER},
        {"5-shot", MN_GRID_NUMBER},
    };
    mn_page *page = &report->page;
    mn_page_section(page, "effect-audit", "Effect audit");
    mn_grid *grid = mn_grid_open(page, columns, sizeof columns / sizeof *columns);
    if (page->st == MN_OK) page->st = for_audits(grid, report, audit_rows);
    if (mn_grid_rows(grid) == 0) {
        mn_grid_drop(grid);
        mn_page_para(page,
                     "Left out: the results hold no effect audit, so no variant with a memory was "
                     "evaluated.");
        return;
    }
    mn_page_para(
        page, "Was the memory applied? relative change: mean |\xCE\x94h| / |h| of the hidden state "
              "behind the block. max logit change: the greatest |\xCE\x94logit|. changed "
              "predictions: answers that are not those of base.");
    mn_grid_close(grid, "effect_audit", "Effect of each memory, over all tasks.");
    grid = mn_grid_open(page, changed, sizeof changed / sizeof *changed);
    if (page->st == MN_OK) page->st = for_audits(grid, report, changed_rows);
    if (mn_grid_rows(grid) == 0) mn_grid_drop(grid);
    else
        mn_grid_close(grid, "changed_predictions", "Answers that differ from those of base, of n.");
}

/* ---- confusion ---- */

void mn_report_confusion(mn_report *report) {
    static const mn_grid_column columns[] = {
        {"model", MN_GRID_MODEL},
        {"variant", 0},
        {"scoring", 0},
        {"Few-shot", MN_GRID_NUMBER},
        {"gold", 0},
        {"supports", MN_GRID_NUMBER},
        {"refutes", MN_GRID_NUMBER},
        {"not enough info", MN_GRID_NUMBER},
        {"unparsed", MN_GRID_NUMBER},
    };
    static const char *const gold[] = {"supports", "refutes", "not enough info"};
    mn_page *page = &report->page;
    mn_page_section(page, "confusion", "Confusion matrices");
    mn_grid *grid = mn_grid_open(page, columns, sizeof columns / sizeof *columns);
    for (size_t r = 0; r < report->count; r++)
        for (size_t i = 0; i < report->runs[r].entry_count; i++) {
            const mn_rundir *run = &report->runs[r];
            const mn_rundir_entry *e = &run->entries[i];
            for (int g = 0; e->has_confusion && g < 3; g++) {
                mn_grid_row(grid, g == 0 ? MN_GRID_GROUP : 0);
                mn_grid_label(grid, run->name, g == 0);
                mn_report_variant_cell(grid, &run->variants[e->variant], g == 0);
                mn_grid_label(grid, mn_report_scoring(e->choice), g == 0);
                mn_grid_count(grid, e->shots);
                mn_grid_text(grid, "%s", gold[g]);
                for (int p = 0; p < 4; p++) mn_grid_count(grid, e->confusion[g][p]);
            }
        }
    if (mn_grid_rows(grid) == 0) {
        mn_grid_drop(grid);
        mn_page_para(page, "Left out: the results hold no confusion matrix.");
        return;
    }
    mn_page_fold(page, "Show all of them");
    mn_grid_close(grid, "confusion", "Rows: the gold label. Columns: the answer.");
    mn_page_unfold(page);
}
