/* section_facts.c - how it was done: the trainings, the data, the settings. */
#include "report/sections.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- training ---- */

static double last_of(const mn_rundir_curve *curve) {
    return curve->count ? curve->points[curve->count - 1].value : NAN;
}

static void training_row(mn_grid *grid, const mn_rundir *run, const mn_rundir_training *t,
                         bool first) {
    const double steps = t->loss.count ? t->loss.points[t->loss.count - 1].step : -1;
    mn_grid_row(grid, first ? MN_GRID_GROUP : 0);
    mn_grid_label(grid, run->name, first);
    mn_report_variant_cell(grid, &run->variants[t->variant], true);
    mn_grid_text(grid, "%s", t->results ? "yes" : t->torn ? "no (log cut off)" : "no");
    mn_grid_count(grid, t->steps >= 0 ? t->steps : (int64_t)steps);
    mn_grid_count(grid, t->tokens);
    mn_grid_number(grid, t->loss.count ? t->loss.points[0].value : NAN);
    mn_grid_number(grid, last_of(&t->loss));
    mn_grid_number(grid, last_of(&t->eval));
    mn_grid_number(grid, t->train_loss);
    mn_grid_count(grid, t->runtime >= 0 ? (int64_t)(t->runtime + 0.5) : -1);
    mn_grid_count(grid, t->runtime > 0 && t->tokens >= 0
                            ? (int64_t)((double)t->tokens / t->runtime + 0.5)
                            : -1);
}

void mn_report_training(mn_report *report) {
    static const mn_grid_column columns[] = {
        {"model", MN_GRID_MODEL},
        {"variant", 0},
        {"finished", 0},
        {"steps", MN_GRID_NUMBER},
        {"tokens", MN_GRID_NUMBER},
        {"first loss", MN_GRID_NUMBER},
        {"last loss", MN_GRID_NUMBER},
        {"last eval loss", MN_GRID_NUMBER},
        {"mean loss", MN_GRID_NUMBER},
        {"seconds", MN_GRID_NUMBER},
        {"tokens/s", MN_GRID_NUMBER},
    };
    mn_page *page = &report->page;
    mn_page_section(page, "training", "Training");
    mn_grid *grid = mn_grid_open(page, columns, sizeof columns / sizeof *columns);
    for (size_t r = 0; r < report->count; r++)
        for (size_t i = 0; i < report->runs[r].training_count; i++)
            training_row(grid, &report->runs[r], &report->runs[r].trainings[i], i == 0);
    if (mn_grid_rows(grid) == 0) {
        mn_grid_drop(grid);
        mn_page_para(page, "Left out: no run folder holds a training.");
        return;
    }
    mn_grid_close(grid, "training", "What was trained. mean loss: over all steps.");
    for (size_t r = 0; r < report->count; r++) mn_report_plot_loss(report, &report->runs[r], r);
}

/* ---- data ---- */

static const struct {
    const char *key, *inside, *meaning;
} facts[] = {
    {"claims", NULL, "claims in the file"},
    {"N_full", NULL, "evidence pages of these claims"},
    {"N_top", NULL, "pages with the most claims, chosen"},
    {"N_trunc", NULL, "of these, pages with text and training claims"},
    {"not_in_dump", "dropped", "chosen pages that the dump does not have"},
    {"empty_text", "dropped", "chosen pages without text"},
    {"no_training_claim", "dropped", "chosen pages without a training claim"},
    {"eval_rows", NULL, "evaluation rows"},
    {"SUPPORTS", "labels", "evaluation rows, supports"},
    {"REFUTES", "labels", "evaluation rows, refutes"},
    {"NOT ENOUGH INFO", "labels", "evaluation rows, not enough info"},
    {"nei_dropped", NULL, "NOT ENOUGH INFO claims dropped, since they name no page"},
    {"nei_assigned", NULL, "NOT ENOUGH INFO claims given a page by seed"},
    {"rows_per_evidence", NULL, "rows when every evidence entry is one"},
    {"train_claims", NULL, "training claims in the file"},
    {"train_rows", NULL, "training rows of the chosen pages"},
    {"demos_train", NULL, "demonstrations from training claims of the page"},
    {"demos_fixed", NULL, "demonstrations from the fixed list"},
    {"demos_leaking", NULL, "demonstrations that are evaluation claims, too"},
    {"demos_mislabelled", NULL, "demonstrations with a label that is not FEVER's"},
    {"train_leaking", NULL, "training rows that are evaluation claims, too"},
    {"bad_lines", NULL, "broken lines left out"},
};
enum { FACTS = sizeof facts / sizeof *facts };

static mn_status fact(int64_t *out, const mn_rundir *run, size_t at) {
    const mn_json *doc = run->manifest;
    const cJSON *obj = doc->root, *node;
    *out = -1;
    if (facts[at].inside) {
        if (!mn_json_has(obj, facts[at].inside)) return MN_OK;
        MN_TRY(mn_json_object(&obj, doc, obj, facts[at].inside));
    }
    if (!mn_json_has(obj, facts[at].key)) return MN_OK;
    MN_TRY(mn_json_get(&node, doc, obj, facts[at].key));
    const int64_t most = INT64_C(1) << 52;
    if (cJSON_IsObject(node)) return mn_json_i64(out, doc, node, "count", 0, most);
    return mn_json_as_i64(out, doc, node, 0, most);
}

/* The first run with the same manifest. */
static size_t twin(const mn_report *report, size_t r) {
    for (size_t k = 0; k < r; k++)
        if (report->runs[k].manifest && report->runs[r].manifest &&
            strcmp(report->runs[k].manifest_sha256, report->runs[r].manifest_sha256) == 0)
            return k;
    return r;
}

static mn_status data_rows(mn_grid *grid, mn_report *report) {
    for (size_t at = 0; at < FACTS; at++) {
        bool any = false;
        int64_t value;
        for (size_t r = 0; r < report->count; r++) {
            if (!report->runs[r].manifest) continue;
            MN_TRY(fact(&value, &report->runs[r], at));
            any |= value >= 0;
        }
        if (!any) continue;
        mn_grid_row(grid, 0);
        if (facts[at].inside) mn_grid_text(grid, "%s: %s", facts[at].inside, facts[at].key);
        else mn_grid_text(grid, "%s", facts[at].key);
        mn_grid_text(grid, "%s", facts[at].meaning);
        for (size_t r = 0; r < report->count; r++) {
            if (!report->runs[r].manifest || twin(report, r) != r) continue;
            MN_TRY(fact(&value, &report->runs[r], at));
            mn_grid_count(grid, value);
        }
    }
    return MN_OK;
}

void mn_report_data(mn_report *report) {
    mn_page *page = &report->page;
    size_t count = 2;
    mn_page_section(page, "data", "Data");
    if (page->st != MN_OK) return;
    mn_grid_column *columns = calloc(2 + report->count, sizeof *columns);
    if (!columns) {
        page->st = mn_fail(MN_ERR_MEMORY, "report: no memory for %zu columns", report->count);
        return;
    }
    columns[0] = (mn_grid_column){"count", 0};
    columns[1] = (mn_grid_column){"meaning", MN_GRID_WRAP};
    for (size_t r = 0; r < report->count; r++) {
        const mn_rundir *run = &report->runs[r];
        if (!run->manifest) mn_page_para(page, "%s: left out, %s.", run->name, run->manifest_why);
        else if (twin(report, r) != r)
            mn_page_para(page, "%s: the data of %s.", run->name,
                         report->runs[twin(report, r)].name);
        else columns[count++] = (mn_grid_column){run->name, MN_GRID_NUMBER};
    }
    if (count > 2) {
        mn_grid *grid = mn_grid_open(page, columns, count);
        if (page->st == MN_OK) page->st = data_rows(grid, report);
        mn_grid_close(grid, "data", "What was counted, chosen and dropped.");
    }
    free(columns);
}

/* ---- settings ---- */

static mn_status value_text(mn_buf *out, const cJSON *node) {
    mn_buf_clear(out);
    MN_TRY(mn_buf_puts(out, ""));
    if (cJSON_IsString(node)) return mn_buf_puts(out, node->valuestring);
    if (!node || cJSON_IsNull(node)) return MN_OK;
    char *json = cJSON_PrintUnformatted(node);
    MN_CHECK(json, MN_ERR_MEMORY, "report: no memory for a setting");
    const mn_status st = mn_buf_puts(out, json);
    cJSON_free(json);
    return st;
}

static void setting_row(mn_grid *grid, const char *model, const char *of, const char *key,
                        const char *value) {
    mn_grid_row(grid, 0);
    mn_grid_text(grid, "%s", model);
    mn_grid_text(grid, "%s", of);
    mn_grid_text(grid, "%s", key);
    mn_grid_text(grid, "%s", value);
}

static mn_status evaluation_settings(mn_grid *grid, const mn_rundir *run) {
    static const char *const root_keys[] = {"mneme_version", "git_hash",
                                            "total_evaluation_time_seconds"};
    const cJSON *config, *item;
    mn_buf text = {0};
    mn_status st = MN_OK;
    if (!run->results) return MN_OK;
    for (size_t i = 0; i < sizeof root_keys / sizeof *root_keys; i++) {
        if (!mn_json_has(run->results->root, root_keys[i])) continue;
        MN_GOTO(
            value_text(&text, cJSON_GetObjectItemCaseSensitive(run->results->root, root_keys[i])));
        setting_row(grid, run->name, "evaluation", root_keys[i], text.data);
    }
    if (!mn_json_has(run->results->root, "config")) goto done;
    MN_GOTO(mn_json_object(&config, run->results, run->results->root, "config"));
    cJSON_ArrayForEach(item, config) {
        if (cJSON_IsNull(item)) continue;
        MN_GOTO(value_text(&text, item));
        setting_row(grid, run->name, "evaluation", item->string, text.data);
    }
done:
    mn_buf_free(&text);
    return st;
}

/* The value of a key in a training's options, or NULL. */
static const cJSON *option(const mn_rundir_training *t, const char *key) {
    return t->options ? cJSON_GetObjectItemCaseSensitive(t->options, key) : NULL;
}

/* Some training before number `at` names the key. */
static bool named_before(const mn_rundir *run, size_t at, const char *key) {
    for (size_t i = 0; i < at; i++)
        if (option(&run->trainings[i], key)) return true;
    return false;
}

static bool all_agree(const mn_rundir *run, const char *key) {
    const cJSON *first = NULL;
    for (size_t i = 0; i < run->training_count; i++) {
        if (!run->trainings[i].options) continue;
        const cJSON *value = option(&run->trainings[i], key);
        if (!value || (first && !cJSON_Compare(first, value, true))) return false;
        first = value;
    }
    return true;
}

/* A key that all trainings agree on is one row, else it has one for each. */
static mn_status training_settings(mn_grid *grid, const mn_rundir *run) {
    mn_buf text = {0};
    mn_status st = MN_OK;
    for (size_t i = 0; i < run->training_count; i++) {
        const cJSON *item;
        cJSON_ArrayForEach(item, run->trainings[i].options) {
            if (named_before(run, i, item->string)) continue;
            const bool agree = all_agree(run, item->string);
            for (size_t k = i; k < run->training_count; k++) {
                const cJSON *value = option(&run->trainings[k], item->string);
                if (!value || (agree && k > i)) continue;
                MN_GOTO(value_text(&text, value));
                setting_row(grid, run->name,
                            agree && run->training_count > 1
                                ? "all trainings"
                                : run->variants[run->trainings[k].variant].id,
                            item->string, text.data);
            }
        }
    }
done:
    mn_buf_free(&text);
    return st;
}

static mn_status data_settings(mn_grid *grid, const mn_rundir *run) {
    const cJSON *switches, *item;
    mn_buf text = {0};
    mn_status st = MN_OK;
    if (!run->manifest || !mn_json_has(run->manifest->root, "switches")) return MN_OK;
    MN_GOTO(mn_json_object(&switches, run->manifest, run->manifest->root, "switches"));
    cJSON_ArrayForEach(item, switches) {
        MN_GOTO(value_text(&text, item));
        setting_row(grid, run->name, "data", item->string, text.data);
    }
done:
    mn_buf_free(&text);
    return st;
}

void mn_report_settings(mn_report *report) {
    static const mn_grid_column columns[] = {
        {"model", MN_GRID_MODEL}, {"of", 0}, {"setting", 0}, {"value", MN_GRID_WRAP}};
    mn_page *page = &report->page;
    mn_page_section(page, "settings", "Settings");
    mn_grid *grid = mn_grid_open(page, columns, sizeof columns / sizeof *columns);
    for (size_t r = 0; r < report->count; r++) {
        if (page->st == MN_OK) page->st = data_settings(grid, &report->runs[r]);
        if (page->st == MN_OK) page->st = training_settings(grid, &report->runs[r]);
        if (page->st == MN_OK) page->st = evaluation_settings(grid, &report->runs[r]);
    }
    if (mn_grid_rows(grid) == 0) {
        mn_grid_drop(grid);
        mn_page_para(page, "Left out: no file records its settings.");
        return;
    }
    mn_page_fold(page, "Show all of them");
    mn_grid_close(grid, "settings", "As recorded by the programs that wrote the files.");
    mn_page_unfold(page);
}
