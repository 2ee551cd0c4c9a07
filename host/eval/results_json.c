/* results_json.c - the results file: lm-evaluation-harness' keys and our own beside them. */
#include "eval/results.h"

#include "mneme/json.h"

#include <math.h>
#include <string.h>

/* A JSON document being appended, indented by two; the first failure sticks. */
typedef struct emitter {
    mn_buf *out;
    mn_status st;
    int depth;
    bool first; /* nothing stands in the innermost object or array yet */
} emitter;

static void put(emitter *e, const char *text) {
    if (e->st == MN_OK) e->st = mn_buf_puts(e->out, text);
}

static void newline(emitter *e) {
    put(e, "\n");
    for (int i = 0; i < e->depth; i++) put(e, "  ");
}

/* Begins a member; items of arrays have no key. */
static void begin(emitter *e, const char *key) {
    if (!e->first) put(e, ",");
    if (e->depth > 0) newline(e);
    e->first = false;
    if (!key) return;
    if (e->st == MN_OK) e->st = mn_json_quote(e->out, key, strlen(key));
    put(e, ": ");
}

static void enter(emitter *e, const char *key, const char *bracket) {
    begin(e, key);
    put(e, bracket);
    e->depth++;
    e->first = true;
}

static void leave(emitter *e, const char *bracket) {
    e->depth--;
    if (!e->first) newline(e);
    put(e, bracket);
    e->first = false;
}

static void raw(emitter *e, const char *key, const char *json) {
    begin(e, key);
    put(e, json);
}

static void text(emitter *e, const char *key, const char *value) { /* NULL: null */
    begin(e, key);
    if (!value) put(e, "null");
    else if (e->st == MN_OK) e->st = mn_json_quote(e->out, value, strlen(value));
}

/* NaN: null. A whole number gets ".0", so that readers with types see a real number. */
static void number(emitter *e, const char *key, double value) {
    begin(e, key);
    const size_t from = e->out->len;
    if (e->st == MN_OK) e->st = mn_json_number(e->out, value);
    if (e->st == MN_OK && !strpbrk(e->out->data + from, ".en")) put(e, ".0");
}

static void integer(emitter *e, const char *key, int64_t value) {
    begin(e, key);
    if (e->st == MN_OK) e->st = mn_buf_printf(e->out, "%lld", (long long)value);
}

static void flag(emitter *e, const char *key, bool value) { raw(e, key, value ? "true" : "false"); }

/* "<name><suffix>,none": the harness keeps a metric and its filter in one key. */
static void metric(emitter *e, const char *name, const char *suffix, double value) {
    char key[64];
    snprintf(key, sizeof key, "%s%s,none", name, suffix);
    number(e, key, value);
}

static void measured(emitter *e, const char *name, double value, const mn_interval *interval) {
    metric(e, name, "", value);
    if (isnan(interval->stderr_)) { /* as the harness writes what it cannot estimate */
        char key[64];
        snprintf(key, sizeof key, "%s_stderr,none", name);
        text(e, key, "N/A");
    } else {
        metric(e, name, "_stderr", interval->stderr_);
    }
    metric(e, name, "_ci95_low", interval->low);
    metric(e, name, "_ci95_high", interval->high);
}

static void confusion(emitter *e, const char *task, const mn_metrics *m) {
    enter(e, task, "{");
    enter(e, "columns", "[");
    for (int p = 0; p <= MN_CLASSES; p++) text(e, NULL, mn_result_columns[p]);
    leave(e, "]");
    for (int g = 0; g < MN_CLASSES; g++) {
        char row[128];
        const int64_t *c = m->confusion[g];
        snprintf(row, sizeof row, "[%lld, %lld, %lld, %lld]", (long long)c[0], (long long)c[1],
                 (long long)c[2], (long long)c[MN_CLASSES]);
        raw(e, mn_result_columns[g], row);
    }
    leave(e, "}");
}

static void difference(emitter *e, const char *name, double value, const mn_interval *interval) {
    enter(e, name, "{");
    number(e, "value", value);
    number(e, "stderr", interval->stderr_);
    number(e, "ci95_low", interval->low);
    number(e, "ci95_high", interval->high);
    leave(e, "}");
}

static void comparison(emitter *e, const char *key, const mn_results *r, const mn_comparison *c,
                       const mn_metrics *own) {
    if (c->reference < 0) {
        text(e, key, NULL);
        return;
    }
    const mn_result_entry *reference = &r->entries[c->reference];
    const mn_metrics *other = &reference->metrics;
    enter(e, key, "{");
    text(e, "reference", reference->task);
    integer(e, "only_reference_right", c->mcnemar.only_a);
    integer(e, "only_this_right", c->mcnemar.only_b);
    number(e, "mcnemar_p", c->mcnemar.p);
    flag(e, "same_predictions", c->same);
    if (isnan(c->half_width)) raw(e, "within_noise", "null");
    else flag(e, "within_noise", c->within_noise);
    difference(e, "acc_difference", c->accuracy, &c->difference.accuracy);
    difference(e, "f1_micro_difference", own->f1_micro - other->f1_micro, &c->difference.f1_micro);
    difference(e, "f1_macro_difference", own->f1_macro - other->f1_macro, &c->difference.f1_macro);
    leave(e, "}");
}

/* Flat, as the readers of these files expect it. */
static void result(emitter *e, const mn_result_entry *entry) {
    const mn_metrics *m = &entry->metrics;
    enter(e, entry->task, "{");
    text(e, "alias", entry->task);
    text(e, "variant", mn_result_or(entry->variant, MN_BASE_VARIANT));
    integer(e, "shots", entry->shots);
    text(e, "scoring", mn_scoring_name(entry->scoring));
    measured(e, "acc", m->accuracy, &entry->interval.accuracy);
    measured(e, "f1_micro", m->f1_micro, &entry->interval.f1_micro);
    measured(e, "f1_macro", m->f1_macro, &entry->interval.f1_macro);
    metric(e, "f1_supports", "", m->f1[0]);
    metric(e, "f1_refutes", "", m->f1[1]);
    metric(e, "f1_not_enough_info", "", m->f1[2]);
    metric(e, "coverage", "", m->coverage);
    integer(e, "unparsed,none", m->unparsed);
    integer(e, "n", m->n);
    number(e, "evaluation_time_seconds", entry->seconds);
    leave(e, "}");
}

static void task_config(emitter *e, const mn_results *r, const mn_result_entry *entry) {
    static const char *const metrics[] = {"acc", "f1_micro", "f1_macro"};
    const bool choice = entry->scoring == MN_SCORING_CHOICE;
    enter(e, entry->task, "{");
    text(e, "task", entry->task);
    text(e, "dataset_path", r->data_path);
    text(e, "output_type", choice ? "multiple_choice" : "generate_until");
    raw(e, "doc_to_choice", "[\" (a)\", \" (b)\", \" (c)\"]");
    integer(e, "num_fewshot", entry->shots);
    enter(e, "metric_list", "[");
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        enter(e, NULL, "{");
        text(e, "metric", metrics[i]);
        flag(e, "higher_is_better", true);
        leave(e, "}");
    }
    leave(e, "]");
    integer(e, "repeats", 1);
    flag(e, "should_decontaminate", false);
    enter(e, "metadata", "{");
    integer(e, "version", 1);
    text(e, "variant", mn_result_or(entry->variant, MN_BASE_VARIANT));
    text(e, "scoring", mn_scoring_name(entry->scoring));
    text(e, "unparsed", mn_unparsed_name(r->unparsed));
    text(e, "manifest_sha256", r->data_sha256);
    leave(e, "}");
    leave(e, "}");
}

/* The maps from task to one small value each. */
static void per_task(emitter *e, const mn_results *r) {
    enter(e, "versions", "{");
    for (size_t i = 0; i < r->count; i++) integer(e, r->entries[i].task, 1);
    leave(e, "}");
    enter(e, "n-shot", "{");
    for (size_t i = 0; i < r->count; i++) integer(e, r->entries[i].task, r->entries[i].shots);
    leave(e, "}");
    enter(e, "higher_is_better", "{");
    for (size_t i = 0; i < r->count; i++)
        raw(e, r->entries[i].task, "{\"acc\": true, \"f1_micro\": true, \"f1_macro\": true}");
    leave(e, "}");
    enter(e, "n-samples", "{");
    for (size_t i = 0; i < r->count; i++) {
        enter(e, r->entries[i].task, "{");
        integer(e, "original", r->entries[i].n_original);
        integer(e, "effective", r->entries[i].n);
        leave(e, "}");
    }
    leave(e, "}");
}

/* Each shot count and scoring once, in the order of the entries. */
static void modes(emitter *e, const mn_results *r) {
    enter(e, "num_fewshot", "[");
    for (size_t i = 0; i < r->count; i++) {
        bool seen = false;
        for (size_t k = 0; k < i; k++) seen |= r->entries[k].shots == r->entries[i].shots;
        if (!seen) integer(e, NULL, r->entries[i].shots);
    }
    leave(e, "]");
    enter(e, "scoring", "[");
    for (size_t i = 0; i < r->count; i++) {
        bool seen = false;
        for (size_t k = 0; k < i; k++) seen |= r->entries[k].scoring == r->entries[i].scoring;
        if (!seen) text(e, NULL, mn_scoring_name(r->entries[i].scoring));
    }
    leave(e, "]");
    enter(e, "variants", "[");
    for (size_t i = 0; i < r->count; i++) {
        const char *name = mn_result_or(r->entries[i].variant, MN_BASE_VARIANT);
        bool seen = false;
        for (size_t k = 0; k < i; k++)
            seen |= strcmp(name, mn_result_or(r->entries[k].variant, MN_BASE_VARIANT)) == 0;
        if (!seen) text(e, NULL, name);
    }
    leave(e, "]");
}

static void run_config(emitter *e, const mn_results *r, const char *model_args) {
    static const char *const none[] = {"use_cache", "gen_kwargs", "numpy_seed", "torch_seed",
                                       "fewshot_seed"};
    enter(e, "config", "{");
    text(e, "model", "mneme");
    text(e, "model_args", model_args);
    integer(e, "model_num_parameters", r->parameters);
    text(e, "model_dtype", r->compute);
    text(e, "architecture", r->architecture);
    if (r->batch_size > 0) integer(e, "batch_size", r->batch_size);
    else text(e, "batch_size", "auto");
    integer(e, "max_gen_toks", r->max_gen_toks);
    raw(e, "batch_sizes", "[]");
    text(e, "device", r->device);
    if (r->limit > 0) integer(e, "limit", r->limit);
    else raw(e, "limit", "null");
    integer(e, "bootstrap_iters", r->bootstrap_iters);
    begin(e, "random_seed");
    if (e->st == MN_OK) e->st = mn_buf_printf(e->out, "%llu", (unsigned long long)r->seed);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) raw(e, none[i], "null");
    modes(e, r);
    text(e, "unparsed", mn_unparsed_name(r->unparsed));
    text(e, "data", r->data_path);
    text(e, "manifest_sha256", r->data_sha256);
    leave(e, "}");
}

static void run_facts(emitter *e, const mn_results *r) {
    static const char *const none[] = {"system_instruction", "system_instruction_sha",
                                       "fewshot_as_multiturn", "chat_template",
                                       "chat_template_sha"};
    char seconds[64];
    text(e, "git_hash", r->git_hash);
    number(e, "date", r->date);
    text(e, "mneme_version", r->version);
    raw(e, "task_hashes", "{}");
    text(e, "model_source", "mneme");
    text(e, "model_name", r->model_name);
    begin(e, "model_name_sanitized");
    if (e->st == MN_OK) e->st = mn_result_quote_model(e->out, r);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) raw(e, none[i], "null");
    number(e, "start_time", r->date);
    number(e, "end_time", r->date + r->seconds);
    snprintf(seconds, sizeof seconds, "%.6f", r->seconds); /* a string there, too */
    text(e, "total_evaluation_time_seconds", seconds);
}

/* The audit of one variant; changed predictions by the base's task. */
static void effect(emitter *e, const mn_results *r, const mn_effect *f) {
    enter(e, f->variant, "{");
    enter(e, "memories", "[");
    for (int64_t i = 0; i < f->memory_count; i++) {
        enter(e, NULL, "{");
        integer(e, "block", f->memories[i].block);
        number(e, "relative_change", f->memories[i].relative_change);
        leave(e, "}");
    }
    leave(e, "]");
    number(e, "max_logit_change", f->max_logit_change);
    enter(e, "changed_predictions", "{");
    for (size_t i = 0; i < r->count; i++) {
        const mn_result_entry *entry = &r->entries[i];
        const int64_t changed = mn_results_changed(r, i);
        if (changed < 0 || strcmp(entry->variant, f->variant) != 0) continue;
        integer(e, r->entries[entry->comparison.reference].task, changed);
    }
    leave(e, "}");
    leave(e, "}");
}

/* What the harness has no place for. */
static void beside(emitter *e, const mn_results *r) {
    enter(e, "confusion", "{");
    for (size_t i = 0; i < r->count; i++) confusion(e, r->entries[i].task, &r->entries[i].metrics);
    leave(e, "}");
    enter(e, "comparison", "{");
    for (size_t i = 0; i < r->count; i++)
        comparison(e, r->entries[i].task, r, &r->entries[i].comparison, &r->entries[i].metrics);
    leave(e, "}");
    if (r->effect_count > 0) {
        enter(e, "effect_audit", "{");
        for (size_t i = 0; i < r->effect_count; i++) effect(e, r, &r->effects[i]);
        leave(e, "}");
    }
    if (r->best < 0) {
        text(e, "best", NULL);
        return;
    }
    enter(e, "best", "{");
    text(e, "task", r->entries[r->best].task);
    comparison(e, "comparison", r, &r->top, &r->entries[r->best].metrics);
    leave(e, "}");
}

mn_status mn_results_json(mn_buf *out, const mn_results *r) {
    mn_status st = MN_OK;
    mn_buf args = {0};
    emitter e = {.out = out, .first = true};
    MN_GOTO(mn_buf_printf(&args, "pretrained=%s,dtype=%s", mn_result_or(r->model_path, ""),
                          mn_result_or(r->compute, "")));
    enter(&e, NULL, "{");
    enter(&e, "results", "{");
    for (size_t i = 0; i < r->count; i++) result(&e, &r->entries[i]);
    leave(&e, "}");
    enter(&e, "group_subtasks", "{");
    for (size_t i = 0; i < r->count; i++) raw(&e, r->entries[i].task, "[]");
    leave(&e, "}");
    enter(&e, "configs", "{");
    for (size_t i = 0; i < r->count; i++) task_config(&e, r, &r->entries[i]);
    leave(&e, "}");
    per_task(&e, r);
    run_config(&e, r, args.data);
    run_facts(&e, r);
    beside(&e, r);
    leave(&e, "}");
    put(&e, "\n");
    st = e.st;
done:
    mn_buf_free(&args);
    return st;
}
