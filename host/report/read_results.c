/* read_results.c - the results file of an evaluation: one entry per task and variant. What an
 * entry says of itself counts before what its name says; a map from task to value beside the
 * entries counts like a key inside them. */
#include "report/runs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = 64 };

/* "<name><suffix>,none", or without the filter; NaN when it is null or not there. */
static mn_status metric(double *out, char key[KEY_MAX], const mn_json *doc, const cJSON *obj,
                        const char *name, const char *suffix) {
    snprintf(key, KEY_MAX, "%s%s,none", name, suffix);
    if (!mn_json_has(obj, key)) snprintf(key, KEY_MAX, "%s%s", name, suffix);
    return mn_json_f64_or(out, doc, obj, key, NAN);
}

static mn_status measured(mn_rundir_value *out, const mn_json *doc, const cJSON *obj,
                          const char *name) {
    static const char *const suffixes[] = {"", "_ci95_low", "_ci95_high"};
    double *const values[] = {&out->value, &out->low, &out->high};
    for (size_t i = 0; i < 3; i++) {
        char key[KEY_MAX];
        MN_TRY(metric(values[i], key, doc, obj, name, suffixes[i]));
        if (*values[i] < 0 || *values[i] > 1)
            return mn_json_fail(doc, cJSON_GetObjectItemCaseSensitive(obj, key),
                                "expected a share from 0 to 1, found %g", *values[i]);
    }
    return MN_OK;
}

/* root[map][task], NULL when one of them is not there. */
static mn_status mapped(const cJSON **out, const mn_json *doc, const char *map, const char *task) {
    const cJSON *node;
    *out = NULL;
    if (!mn_json_has(doc->root, map)) return MN_OK;
    MN_TRY(mn_json_object(&node, doc, doc->root, map));
    if (mn_json_has(node, task)) *out = cJSON_GetObjectItemCaseSensitive(node, task);
    return MN_OK;
}

/* "fever_1shot_choice@id": 1, choice, id. */
static void read_name(const char *task, int64_t *shots, bool *choice, const char **variant) {
    const char *at = strchr(task, '@');
    const size_t len = at ? (size_t)(at - task) : strlen(task);
    const char *number = strpbrk(task, "0123456789");
    *variant = at ? at + 1 : "pretrained";
    *choice = len > 7 && strncmp(task + len - 7, "_choice", 7) == 0;
    *shots = number && (size_t)(number - task) < len ? strtoll(number, NULL, 10) : -1;
}

static mn_status identity(mn_rundir_entry *e, mn_rundir *run, const cJSON *obj) {
    const mn_json *doc = run->results;
    const cJSON *config = NULL, *metadata = NULL, *node = NULL;
    const char *variant, *scoring = NULL;
    e->task = obj->string;
    read_name(e->task, &e->shots, &e->choice, &variant);
    MN_TRY(mapped(&config, doc, "configs", e->task));
    if (config && mn_json_has(config, "metadata"))
        MN_TRY(mn_json_object(&metadata, doc, config, "metadata"));
    const cJSON *const places[] = {metadata, config, obj};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (!cJSON_IsObject(places[i])) continue;
        MN_TRY(mn_json_string_or(&variant, doc, places[i], "variant", variant));
        MN_TRY(mn_json_string_or(&scoring, doc, places[i], "scoring", scoring));
        MN_TRY(mn_json_i64_or(&e->shots, doc, places[i], "num_fewshot", 0, 99, e->shots));
        MN_TRY(mn_json_i64_or(&e->shots, doc, places[i], "shots", 0, 99, e->shots));
    }
    MN_TRY(mapped(&node, doc, "n-shot", e->task));
    if (node) MN_TRY(mn_json_as_i64(&e->shots, doc, node, 0, 99));
    if (e->shots < 0)
        return mn_json_fail(doc, obj, "no num_fewshot says how many demonstrations it had");
    if (scoring) e->choice = strcmp(scoring, "choice") == 0;
    return mn_rundir_variant_at(&e->variant, run, variant);
}

static mn_status read_confusion(mn_rundir_entry *e, const mn_json *doc, const cJSON *obj) {
    static const char *const rows[] = {"supports", "refutes", "not enough info"};
    const cJSON *map;
    MN_TRY(mapped(&map, doc, "confusion", e->task));
    if (!map && mn_json_has(obj, "confusion")) MN_TRY(mn_json_object(&map, doc, obj, "confusion"));
    if (!map) return MN_OK;
    for (int g = 0; g < 3; g++) {
        const cJSON *row, *cell;
        int p = 0;
        MN_TRY(mn_json_array(&row, doc, map, rows[g]));
        if (cJSON_GetArraySize(row) != 4)
            return mn_json_fail(doc, row, "expected 4 counts, found %d", cJSON_GetArraySize(row));
        cJSON_ArrayForEach(cell, row)
            MN_TRY(mn_json_as_i64(&e->confusion[g][p++], doc, cell, 0, INT64_C(1) << 52));
    }
    e->has_confusion = true;
    return MN_OK;
}

static mn_status read_comparison(mn_rundir_comparison *c, const mn_json *doc, const char *task,
                                 const cJSON *obj) {
    const cJSON *map, *difference;
    MN_TRY(mapped(&map, doc, "comparison", task));
    if (!map && mn_json_has(obj, "comparison"))
        MN_TRY(mn_json_object(&map, doc, obj, "comparison"));
    if (!map) return MN_OK;
    const int64_t most = INT64_C(1) << 52;
    MN_TRY(mn_json_string(&c->reference, doc, map, "reference"));
    MN_TRY(mn_json_i64(&c->only_reference, doc, map, "only_reference_right", 0, most));
    MN_TRY(mn_json_i64(&c->only_this, doc, map, "only_this_right", 0, most));
    MN_TRY(mn_json_f64(&c->p, doc, map, "mcnemar_p"));
    MN_TRY(mn_json_bool_or(&c->same, doc, map, "same_predictions", false));
    c->judged = mn_json_has(map, "within_noise");
    MN_TRY(mn_json_bool_or(&c->noise, doc, map, "within_noise", false));
    MN_TRY(mn_json_object(&difference, doc, map, "acc_difference"));
    MN_TRY(mn_json_f64_or(&c->accuracy.value, doc, difference, "value", NAN));
    MN_TRY(mn_json_f64_or(&c->accuracy.low, doc, difference, "ci95_low", NAN));
    MN_TRY(mn_json_f64_or(&c->accuracy.high, doc, difference, "ci95_high", NAN));
    c->known = true;
    return MN_OK;
}

static mn_status read_entry(mn_rundir *run, const cJSON *obj) {
    const mn_json *doc = run->results;
    mn_rundir_entry e = {0};
    double unparsed;
    char key[KEY_MAX];
    if (!cJSON_IsObject(obj)) return mn_json_fail(doc, obj, "expected an object");
    MN_TRY(identity(&e, run, obj));
    if (mn_rundir_find(run, e.variant, e.shots, e.choice))
        return mn_json_fail(doc, obj, "a second entry for %s, %lld shots, %s",
                            run->variants[e.variant].id, (long long)e.shots,
                            e.choice ? "choice" : "generate");
    MN_TRY(measured(&e.accuracy, doc, obj, "acc"));
    MN_TRY(measured(&e.micro, doc, obj, "f1_micro"));
    MN_TRY(measured(&e.macro, doc, obj, "f1_macro"));
    MN_TRY(metric(&e.coverage, key, doc, obj, "coverage", ""));
    MN_TRY(metric(&unparsed, key, doc, obj, "unparsed", ""));
    e.unparsed = unparsed >= 0 && unparsed < 0x1p52 ? (int64_t)unparsed : -1;
    MN_TRY(mn_json_i64_or(&e.n, doc, obj, "n", 0, INT64_C(1) << 52, -1));
    MN_TRY(read_confusion(&e, doc, obj));
    MN_TRY(read_comparison(&e.comparison, doc, e.task, obj));
    MN_TRY(mn_grow(&run->entries, &run->entry_cap, run->entry_count + 1, sizeof *run->entries));
    run->entries[run->entry_count++] = e;
    return MN_OK;
}

mn_status mn_rundir_read_results(mn_rundir *run, const char *path) {
    const cJSON *results, *entry;
    MN_TRY(mn_json_load(&run->results, path));
    const mn_json *doc = run->results;
    if (!cJSON_IsObject(doc->root)) return mn_json_fail(doc, doc->root, "expected an object");
    MN_TRY(mn_json_object(&results, doc, doc->root, "results"));
    if (!results->child) return mn_json_fail(doc, results, "no task was evaluated");
    cJSON_ArrayForEach(entry, results) MN_TRY(read_entry(run, entry));
    return MN_OK;
}
