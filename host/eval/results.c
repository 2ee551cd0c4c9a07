/* results.c - computes what an evaluation says: scores, intervals, comparisons; names its files. */
#include "eval/results.h"

#include "mneme/file.h"
#include "mneme/json.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum { MAX_SHOTS = 99, STAMP_MAX = 64 };

const char *const mn_result_columns[MN_CLASSES + 1] = {"supports", "refutes", "not enough info",
                                                       "unparsed"};

const char *mn_scoring_name(mn_scoring scoring) {
    return scoring == MN_SCORING_CHOICE ? "choice" : "generate";
}

/* NULL when both entries have the same rows, else what differs. */
static const char *rows_differ(const mn_result_entry *a, const mn_result_entry *b) {
    if (a->n != b->n) return "have different numbers of rows";
    if (a->n == 0) return NULL;
    const size_t n = (size_t)a->n;
    if (memcmp(a->gold, b->gold, n * sizeof *a->gold) != 0) return "have different gold labels";
    if (a->clusters != b->clusters || memcmp(a->cluster, b->cluster, n * sizeof *a->cluster) != 0)
        return "have their rows on different pages";
    return NULL;
}

static mn_status compare(mn_comparison *out, const mn_results *results, int64_t reference,
                         int64_t this) {
    const mn_result_entry *a = &results->entries[reference], *b = &results->entries[this];
    const char *what = rows_differ(a, b);
    MN_CHECK(!what, MN_ERR_USAGE, "%s and %s %s: they cannot be compared", a->task, b->task, what);
    *out = (mn_comparison){.reference = reference};
    for (int64_t i = 0; i < b->n; i++) out->changed += a->pred[i] != b->pred[i];
    out->same = out->changed == 0;
    mn_mcnemar_compute(&out->mcnemar, b->gold, a->pred, b->pred, b->n, results->unparsed);
    MN_TRY(mn_bootstrap_difference(&out->difference, b->gold, a->pred, b->pred, b->cluster, b->n,
                                   b->clusters, results->unparsed, results->bootstrap_iters,
                                   results->seed));
    out->accuracy = b->metrics.accuracy - a->metrics.accuracy;
    out->half_width = (out->difference.accuracy.high - out->difference.accuracy.low) / 2;
    if (isnan(out->half_width)) return MN_OK;
    out->within_noise = fabs(out->accuracy) <= out->half_width || out->mcnemar.p > MN_NOISE_P;
    return MN_OK;
}

static mn_status score(mn_result_entry *e, const mn_results *results) {
    MN_CHECK(e->shots >= 0 && e->shots <= MAX_SHOTS, MN_ERR_USAGE, "%d shots: not in 0 .. %d",
             e->shots, MAX_SHOTS);
    const int len = snprintf(e->task, sizeof e->task, "fever_%dshot%s%s%s", e->shots,
                             e->scoring == MN_SCORING_CHOICE ? "_choice" : "",
                             e->variant ? "@" : "", e->variant ? e->variant : "");
    MN_CHECK(len > 0 && (size_t)len < sizeof e->task, MN_ERR_USAGE, "%s: the name is too long",
             e->variant);
    MN_CHECK(e->n >= 0 && e->n_original >= e->n, MN_ERR_USAGE, "%s: %lld rows of %lld", e->task,
             (long long)e->n, (long long)e->n_original);
    for (int64_t i = 0; i < e->n; i++)
        MN_CHECK(e->gold[i] >= 0 && e->gold[i] < MN_CLASSES && e->pred[i] >= -1 &&
                     e->pred[i] < MN_CLASSES,
                 MN_ERR_USAGE, "%s: row %lld: gold label %d, prediction %d", e->task, (long long)i,
                 e->gold[i], e->pred[i]);
    mn_metrics_compute(&e->metrics, e->gold, e->pred, e->n, results->unparsed);
    const mn_status st = mn_bootstrap_compute(&e->interval, e->gold, e->pred, e->cluster, e->n,
                                              e->clusters, results->unparsed,
                                              results->bootstrap_iters, results->seed);
    return mn_fail_in(st, "%s", e->task);
}

static bool same_variant(const mn_result_entry *a, const mn_result_entry *b) {
    if (!a->variant || !b->variant) return a->variant == b->variant;
    return strcmp(a->variant, b->variant) == 0;
}

/* The entry that `this` is compared with: -1 when it is the reference itself, or there is none. */
static int64_t reference_of(const mn_results *results, int64_t this, int64_t named) {
    const mn_result_entry *first = &results->entries[0], *own = &results->entries[this];
    const bool leads = same_variant(own, first);
    int64_t found = named;
    for (int64_t i = 0; found < 0 && i < (int64_t)results->count; i++) {
        const mn_result_entry *e = &results->entries[i];
        if (same_variant(e, first) && e->scoring == own->scoring &&
            (leads || e->shots == own->shots))
            found = i;
    }
    return found == this ? -1 : found;
}

int64_t mn_results_changed(const mn_results *results, size_t entry) {
    const mn_result_entry *e = &results->entries[entry];
    const int64_t reference = e->comparison.reference;
    if (!e->variant || reference < 0 || results->entries[reference].variant) return -1;
    return e->comparison.changed;
}

static mn_status compare_top(mn_results *results) {
    int64_t best = -1, second = -1;
    for (int64_t i = 0; i < (int64_t)results->count; i++) {
        const double accuracy = results->entries[i].metrics.accuracy;
        if (isnan(accuracy)) continue;
        if (best < 0 || accuracy > results->entries[best].metrics.accuracy) {
            second = best;
            best = i;
        } else if (second < 0 || accuracy > results->entries[second].metrics.accuracy) {
            second = i;
        }
    }
    results->best = best;
    if (second < 0 || rows_differ(&results->entries[best], &results->entries[second])) return MN_OK;
    return compare(&results->top, results, second, best);
}

mn_status mn_results_compute(mn_results *results, const char *reference) {
    int64_t named = -1;
    const int64_t count = (int64_t)results->count;
    results->best = -1;
    results->top = (mn_comparison){.reference = -1};
    if (results->date == 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        results->date = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    }
    for (int64_t i = 0; i < count; i++) {
        mn_result_entry *e = &results->entries[i];
        e->comparison = (mn_comparison){.reference = -1};
        MN_TRY(score(e, results));
        for (int64_t k = 0; k < i; k++)
            MN_CHECK(strcmp(e->task, results->entries[k].task) != 0, MN_ERR_USAGE,
                     "%s is there twice", e->task);
        if (reference && strcmp(e->task, reference) == 0) named = i;
    }
    MN_CHECK(!reference || named >= 0, MN_ERR_USAGE, "no entry %s to compare with", reference);
    for (int64_t i = 0; i < count; i++) {
        const int64_t with = reference_of(results, i, named);
        if (with >= 0) MN_TRY(compare(&results->entries[i].comparison, results, with, i));
    }
    return compare_top(results);
}

/* Local time as "2024-02-29T12-34-56.789012", which sorts and is a file name everywhere. */
static mn_status stamp(char out[STAMP_MAX], double date) {
    MN_CHECK(date >= 0 && date < 253402300800.0 /* year 10000 */, MN_ERR_USAGE,
             "results: the date %g is not in seconds since 1970", date);
    struct tm tm;
    const int64_t micros = (int64_t)(date * 1e6 + 0.5);
    const time_t seconds = (time_t)(micros / 1000000);
    if (!localtime_r(&seconds, &tm)) return mn_fail_errno("results: local time");
    char day[STAMP_MAX - 16];
    strftime(day, sizeof day, "%Y-%m-%dT%H-%M-%S", &tm);
    snprintf(out, STAMP_MAX, "%s.%06d", day, (int)(micros % 1000000));
    return MN_OK;
}

/* Appends the model's name with every run of characters that file names cannot have as "__". */
static mn_status append_model_name(mn_buf *out, const char *name) {
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) name = "/";
    for (const char *p = name; *p; p++) {
        const bool bad = strchr("\"<>:/|\\?*[]", *p) != NULL;
        if (!bad) MN_TRY(mn_buf_append(out, p, 1));
        else if (p == name || !strchr("\"<>:/|\\?*[]", p[-1])) MN_TRY(mn_buf_puts(out, "__"));
    }
    return MN_OK;
}

mn_status mn_result_quote_model(mn_buf *out, const mn_results *results) {
    mn_buf name = {0};
    mn_status st = MN_OK;
    MN_GOTO(append_model_name(&name, mn_result_or(results->model_name, "")));
    MN_GOTO(mn_json_quote(out, name.data ? name.data : "", name.len));
done:
    mn_buf_free(&name);
    return st;
}

static bool is_json(const char *path) {
    const size_t len = strlen(path);
    return len > 5 && strcmp(path + len - 5, ".json") == 0;
}

/* The folder of all files of these results, with a slash at its end unless it is "". */
static mn_status append_folder(mn_buf *out, const mn_results *results, const char *output_path) {
    const char *slash = strrchr(output_path, '/');
    if (is_json(output_path))
        return slash ? mn_buf_append(out, output_path, (size_t)(slash + 1 - output_path)) : MN_OK;
    MN_TRY(mn_buf_puts(out, output_path));
    if (out->len > 0 && out->data[out->len - 1] != '/') MN_TRY(mn_buf_puts(out, "/"));
    if (!results->model_name || !*results->model_name) return MN_OK;
    MN_TRY(append_model_name(out, results->model_name));
    return mn_buf_puts(out, "/");
}

mn_status mn_results_path(mn_buf *out, const mn_results *results, const char *output_path) {
    char date[STAMP_MAX];
    mn_buf_clear(out);
    MN_TRY(stamp(date, results->first > 0 ? results->first : results->date));
    MN_TRY(append_folder(out, results, output_path));
    if (!is_json(output_path)) return mn_buf_printf(out, "results_%s.json", date);
    const char *slash = strrchr(output_path, '/');
    const char *name = slash ? slash + 1 : output_path;
    return mn_buf_printf(out, "%.*s_%s.json", (int)(strlen(name) - 5), name, date);
}

mn_status mn_results_samples_path(mn_buf *out, const mn_results *results, const char *output_path,
                                  const char *task) {
    char date[STAMP_MAX];
    mn_buf_clear(out);
    MN_TRY(stamp(date, results->first > 0 ? results->first : results->date));
    MN_TRY(append_folder(out, results, output_path));
    return mn_buf_printf(out, "samples_%s_%s.jsonl", task, date);
}

mn_status mn_results_write(mn_buf *path, const mn_results *results, const char *output_path) {
    mn_status st = MN_OK;
    mn_buf text = {0}, name = {0}, folder = {0};
    if (path) mn_buf_clear(path);
    MN_GOTO(append_folder(&folder, results, output_path));
    if (folder.len > 0) MN_GOTO(mn_make_dirs(folder.data));
    MN_GOTO(mn_results_path(&name, results, output_path));
    MN_GOTO(mn_results_json(&text, results));
    MN_GOTO(mn_writer_clean(name.data));
    MN_GOTO(mn_write_file(name.data, text.data, text.len));
    if (path) MN_GOTO(mn_buf_append(path, name.data, name.len));
done:
    mn_buf_free(&folder);
    mn_buf_free(&name);
    mn_buf_free(&text);
    return st;
}
