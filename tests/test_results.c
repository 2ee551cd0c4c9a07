/* test_results.c - scores, comparisons, the results file and its names, on twelve rows by hand. */
#include "mneme/json.h"
#include "mneme/results.h"

#include "results_sample.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* ---- numbers ---- */

static void entries_are_scored_and_compared(void **state) {
    (void)state;
    mn_result_entry e[] = {entry(0, MN_SCORING_GENERATE, zero), entry(0, MN_SCORING_CHOICE, choice),
                           entry(1, MN_SCORING_GENERATE, one), entry(1, MN_SCORING_CHOICE, choice)};
    mn_results r = sample(e, 4);
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    assert_string_equal(e[0].task, "fever_0shot");
    assert_string_equal(e[3].task, "fever_1shot_choice");
    close_to(e[0].metrics.accuracy, 5.0 / 12);
    close_to(e[0].metrics.f1_macro, (0.5 + 0.5 + 0) / 3); /* hits 3 of 6 + 6, 2 of 5 + 3, none */
    close_to(e[2].metrics.accuracy, 10.0 / 12);
    /* each against the first of its own scoring */
    assert_int_equal(e[0].comparison.reference, -1);
    assert_int_equal(e[1].comparison.reference, -1);
    assert_int_equal(e[2].comparison.reference, 0);
    assert_int_equal(e[3].comparison.reference, 1);
    assert_int_equal(e[2].comparison.mcnemar.only_a, 0);
    assert_int_equal(e[2].comparison.mcnemar.only_b, 5);
    close_to(e[2].comparison.mcnemar.p, 2.0 / 32);
    close_to(e[2].comparison.accuracy, 5.0 / 12);
    assert_false(e[2].comparison.same);
    assert_true(e[3].comparison.same);
    close_to(e[3].comparison.mcnemar.p, 1);
    /* pages gain 2, 1, 1 and 1 of 3 rows: replicates lie between 1/3 and 2/3 */
    assert_true(e[2].comparison.difference.accuracy.low >= 1.0 / 3 - 1e-12);
    assert_true(e[2].comparison.half_width > 0 && e[2].comparison.half_width < 1.0 / 6);
    assert_true(e[2].comparison.half_width < e[2].comparison.accuracy);
    assert_true(e[2].comparison.within_noise); /* McNemar: 0.0625 */
    mn_bootstrap own;
    MN_ASSERT_OK(
        mn_bootstrap_compute(&own, gold, zero, page, ROWS, PAGES, MN_UNPARSED_WRONG, 500, 1234));
    assert_memory_equal(&own, &e[0].interval, sizeof own);
    /* best 10/12, then 7/12 (twice: the earlier one) */
    assert_int_equal(r.best, 2);
    assert_int_equal(r.top.reference, 1);
    close_to(r.top.accuracy, 3.0 / 12);
}

static mn_result_entry variant(const char *name, int shots, const int8_t *pred) {
    mn_result_entry e = entry(shots, MN_SCORING_GENERATE, pred);
    e.variant = name;
    return e;
}

/* A variant is compared with the base of the same shots and scoring; the base as ever. */
static void variants_are_compared_with_the_base(void **state) {
    (void)state;
    mn_result_entry e[] = {variant(NULL, 0, zero),  variant("doc", 0, one),
                           variant(NULL, 1, one),   variant("doc", 1, zero),
                           variant("temp", 1, one), entry(1, MN_SCORING_CHOICE, choice)};
    static const int64_t references[] = {-1, 0, 0, 2, 2, -1}, changed[] = {-1, 6, -1, 6, 0, -1};
    mn_results r = sample(e, 6);
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    assert_string_equal(e[1].task, "fever_0shot@doc");
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(e[i].comparison.reference, references[i]);
        assert_int_equal(mn_results_changed(&r, i), changed[i]);
    }
    assert_false(e[3].comparison.same);
    assert_true(e[4].comparison.same);
    assert_int_equal(e[3].comparison.mcnemar.only_a, 5);
    e[5].variant = "doc"; /* nobody of that scoring leads: nothing to compare with */
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    assert_string_equal(e[5].task, "fever_1shot_choice@doc");
    assert_int_equal(e[5].comparison.reference, -1);
    /* Without the base the first variant stands in its place, but counts nothing as changed. */
    mn_result_entry f[] = {variant("doc", 0, zero), variant("temp", 0, one), variant("doc", 1, one),
                           variant("temp", 1, zero)};
    static const int64_t others[] = {-1, 0, 0, 2};
    r = sample(f, 4);
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(f[i].comparison.reference, others[i]);
        assert_int_equal(mn_results_changed(&r, i), -1);
    }
    f[3].variant = "doc";
    MN_ASSERT_FAILS(mn_results_compute(&r, NULL), MN_ERR_USAGE, "fever_1shot@doc is there twice");
    char name[MN_TASK_MAX + 1];
    memset(name, 'x', MN_TASK_MAX);
    name[MN_TASK_MAX] = '\0';
    f[3].variant = name;
    MN_ASSERT_FAILS(mn_results_compute(&r, NULL), MN_ERR_USAGE, "the name is too long");
}

static void reference_can_be_named(void **state) {
    (void)state;
    mn_result_entry e[] = {entry(0, MN_SCORING_GENERATE, zero), entry(1, MN_SCORING_GENERATE, one),
                           entry(0, MN_SCORING_CHOICE, choice)};
    mn_results r = sample(e, 3);
    MN_ASSERT_OK(mn_results_compute(&r, "fever_1shot"));
    assert_int_equal(e[0].comparison.reference, 1);
    assert_int_equal(e[1].comparison.reference, -1);
    assert_int_equal(e[2].comparison.reference, 1);
    assert_int_equal(e[0].comparison.mcnemar.only_a, 5);
    close_to(e[0].comparison.accuracy, -5.0 / 12);
    MN_ASSERT_FAILS(mn_results_compute(&r, "fever_5shot"), MN_ERR_USAGE, "fever_5shot");
}

static void entries_that_make_no_sense_are_refused(void **state) {
    (void)state;
    int8_t bad[ROWS], other[ROWS];
    int64_t far[ROWS];
    mn_result_entry e[] = {entry(0, MN_SCORING_GENERATE, zero), entry(1, MN_SCORING_GENERATE, one)};
    mn_results r = sample(e, 2);
    e[1].shots = 0;
    MN_ASSERT_FAILS(mn_results_compute(&r, NULL), MN_ERR_USAGE, "fever_0shot is there twice");
    e[1].shots = -1;
    MN_ASSERT_FAILS(mn_results_compute(&r, NULL), MN_ERR_USAGE, "-1 shots");
    e[1].shots = 1;
    e[1].n = ROWS - 1;
    MN_ASSERT_FAILS(mn_results_compute(&r, NULL), MN_ERR_USAGE,
                    "fever_0shot and fever_1shot have different numbers of rows");
    e[1].n = ROWS;
    memcpy(other, gold, sizeof other);
    other[3] = 2;
    e[1].gold = other;
    MN_ASSERT_FAILS(mn_results_compute(&r, NULL), MN_ERR_USAGE, "different gold labels");
    e[1].gold = gold;
    memcpy(far, page, sizeof far);
    far[11] = 2;
    e[1].cluster = far;
    MN_ASSERT_FAILS(mn_results_compute(&r, NULL), MN_ERR_USAGE, "different pages");
    far[11] = PAGES;
    MN_ASSERT_FAILS(mn_results_compute(&r, NULL), MN_ERR_USAGE, "fever_1shot: row 11: cluster 4");
    e[1].cluster = page;
    memcpy(bad, one, sizeof bad);
    bad[7] = 3;
    e[1].pred = bad;
    MN_ASSERT_FAILS(mn_results_compute(&r, NULL), MN_ERR_USAGE, "fever_1shot: row 7");
    e[1].pred = one;
    e[1].n_original = 3;
    MN_ASSERT_FAILS(mn_results_compute(&r, NULL), MN_ERR_USAGE, "12 rows of 3");
    e[1].n_original = ROWS;
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
}

/* ---- the file ---- */

static const cJSON *at(const cJSON *node, const char *key) {
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(node, key);
    if (!found) fail_msg("no key %s", key);
    return found;
}

static double value(const cJSON *node, const char *key) {
    const cJSON *found = at(node, key);
    if (!cJSON_IsNumber(found)) fail_msg("%s is no number", key);
    return found->valuedouble;
}

static const char *string(const cJSON *node, const char *key) {
    const char *text = cJSON_GetStringValue(at(node, key));
    if (!text) fail_msg("%s is no string", key);
    return text;
}

static mn_json *parse(const mn_buf *text) {
    mn_json *doc = NULL;
    MN_ASSERT_OK(mn_json_parse(&doc, text->data, text->len, "results"));
    return doc;
}

static void check_entry_json(const cJSON *root, const mn_result_entry *e) {
    const cJSON *t = at(at(root, "results"), e->task);
    const cJSON *c = at(at(root, "confusion"), e->task), *row = at(c, "supports"), *item;
    static const int supports[] = {3, 1, 0, 2};
    assert_string_equal(string(t, "alias"), "fever_0shot");
    assert_true(value(t, "acc,none") == e->metrics.accuracy); /* to the last digit */
    close_to(value(t, "acc,none"), 5.0 / 12);
    close_to(value(t, "f1_micro,none"), 5.0 / 12);
    close_to(value(t, "f1_macro,none"), 1.0 / 3);
    close_to(value(t, "f1_supports,none"), 0.5);
    close_to(value(t, "f1_not_enough_info,none"), 0);
    assert_true(value(t, "acc_stderr,none") == e->interval.accuracy.stderr_);
    assert_true(value(t, "acc_ci95_low,none") == e->interval.accuracy.low);
    assert_true(value(t, "f1_macro_ci95_high,none") == e->interval.f1_macro.high);
    close_to(value(t, "coverage,none"), 0.75);
    close_to(value(t, "unparsed,none"), 3);
    close_to(value(t, "n"), 12);
    cJSON_ArrayForEach(item, t) assert_false(cJSON_IsObject(item) || cJSON_IsArray(item));
    assert_string_equal(cJSON_GetArrayItem(at(c, "columns"), 3)->valuestring, "unparsed");
    for (int p = 0; p < 4; p++) assert_int_equal(cJSON_GetArrayItem(row, p)->valueint, supports[p]);
}

static void file_has_the_keys_of_the_harness(void **state) {
    (void)state;
    static const char *const top[] = {"results",       "group_subtasks", "configs",
                                      "versions",      "n-shot",         "n-samples",
                                      "config",        "git_hash",       "date",
                                      "mneme_version", "model_source",   "model_name",
                                      "task_hashes",   "chat_template",  "higher_is_better",
                                      "start_time",    "end_time",       "model_name_sanitized"};
    mn_result_entry e[] = {entry(0, MN_SCORING_GENERATE, zero), entry(1, MN_SCORING_GENERATE, one),
                           entry(1, MN_SCORING_CHOICE, choice)};
    mn_results r = sample(e, 3);
    mn_buf text = {0};
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    MN_ASSERT_OK(mn_results_json(&text, &r));
    mn_json *doc = parse(&text);
    const cJSON *root = doc->root;
    for (size_t i = 0; i < sizeof top / sizeof *top; i++) at(root, top[i]);
    check_entry_json(root, &e[0]);
    assert_true(cJSON_IsNull(at(at(root, "comparison"), "fever_0shot")));
    const cJSON *c = at(at(root, "comparison"), "fever_1shot");
    assert_string_equal(string(c, "reference"), "fever_0shot");
    close_to(value(c, "only_this_right"), 5);
    close_to(value(c, "mcnemar_p"), 0.0625);
    assert_true(cJSON_IsTrue(at(c, "within_noise"))); /* p > 0.05 */
    close_to(value(at(c, "acc_difference"), "value"), 5.0 / 12);

    const cJSON *task = at(at(root, "configs"), "fever_1shot_choice");
    assert_string_equal(string(task, "output_type"), "multiple_choice");
    close_to(value(task, "num_fewshot"), 1);
    assert_string_equal(string(at(task, "metadata"), "scoring"), "choice");
    close_to(value(at(root, "n-shot"), "fever_1shot"), 1);
    close_to(value(at(at(root, "n-samples"), "fever_1shot"), "original"), 40);
    close_to(value(at(at(root, "n-samples"), "fever_1shot"), "effective"), 12);
    assert_true(cJSON_IsTrue(at(at(at(root, "higher_is_better"), "fever_0shot"), "f1_macro")));

    const cJSON *config = at(root, "config");
    assert_string_equal(string(config, "model_args"),
                        "pretrained=/models/tiny \"neox\",dtype=fp32");
    close_to(value(config, "model_num_parameters"), 70426624);
    close_to(value(config, "bootstrap_iters"), 500);
    close_to(value(config, "limit"), 12);
    assert_int_equal(cJSON_GetArraySize(at(config, "num_fewshot")), 2);
    assert_int_equal(cJSON_GetArraySize(at(config, "scoring")), 2);
    assert_string_equal(string(config, "unparsed"), "wrong");
    assert_true(cJSON_IsNull(at(root, "git_hash")));
    assert_string_equal(string(root, "model_name_sanitized"), "tiny__neox");
    assert_string_equal(string(root, "total_evaluation_time_seconds"), "3.250000");
    close_to(value(root, "end_time") - value(root, "date"), 3.25);
    assert_string_equal(string(at(root, "best"), "task"), "fever_1shot");
    mn_json_close(&doc);
    contains(text.data, "\"f1_refutes,none\": 1.0,"); /* real numbers stay so for typed readers */
    mn_buf_free(&text);
}

/* No rows left, one page, no replicates: what has no value is null or "N/A", never NaN. */
static void file_stays_valid_without_values(void **state) {
    (void)state;
    static const int8_t unread[ROWS] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    mn_result_entry e[] = {entry(0, MN_SCORING_GENERATE, unread),
                           entry(1, MN_SCORING_GENERATE, one)};
    mn_results r = sample(e, 2);
    mn_buf text = {0}, table = {0};
    r.unparsed = MN_UNPARSED_DROP;
    r.model_name = "bad \xFF name\n";
    r.limit = 0;
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    MN_ASSERT_OK(mn_results_json(&text, &r));
    mn_json *doc = parse(&text);
    const cJSON *t = at(at(doc->root, "results"), "fever_0shot");
    assert_true(cJSON_IsNull(at(t, "acc,none")));
    assert_string_equal(string(t, "acc_stderr,none"), "N/A");
    assert_true(cJSON_IsNull(at(t, "acc_ci95_low,none")));
    close_to(value(t, "coverage,none"), 0);
    assert_true(cJSON_IsNull(at(at(doc->root, "config"), "limit")));
    assert_string_equal(string(doc->root, "model_name"), "bad \xEF\xBF\xBD name\n");
    mn_json_close(&doc);
    MN_ASSERT_OK(mn_results_text(&table, &r, false));
    contains(table.data, "cannot be compared");
    assert_null(strstr(table.data, "nan"));
    assert_null(strstr(text.data, "nan"));
    mn_buf_clear(&text);
    r.count = 0; /* no entries at all */
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    MN_ASSERT_OK(mn_results_json(&text, &r));
    doc = parse(&text);
    mn_json_close(&doc);
    MN_ASSERT_OK(mn_results_text(&table, &r, true));
    mn_buf_free(&table);
    mn_buf_free(&text);
}

/* Lines of `text` that hold neither times nor dates. */
static char *without_times(const mn_buf *text) {
    static const char *const times[] = {"\"date\"", "_time\"", "time_seconds\""};
    char *out = malloc(text->len + 1);
    assert_non_null(out);
    size_t len = 0;
    for (const char *line = text->data; *line;) {
        const char *end = strchr(line, '\n') + 1;
        bool keep = true;
        for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
            const char *found = strstr(line, times[i]);
            keep &= !found || found >= end;
        }
        if (keep) {
            memcpy(out + len, line, (size_t)(end - line));
            len += (size_t)(end - line);
        }
        line = end;
    }
    out[len] = '\0';
    return out;
}

static void file_depends_on_its_inputs_alone(void **state) {
    (void)state;
    mn_result_entry e[] = {entry(0, MN_SCORING_GENERATE, zero), entry(1, MN_SCORING_GENERATE, one)};
    mn_result_entry f[] = {e[0], e[1]};
    mn_results r = sample(e, 2), s = sample(f, 2);
    mn_buf a = {0}, b = {0};
    s.date = 0; /* the present */
    s.seconds = 99;
    f[0].seconds = 7;
    const double before = (double)time(NULL);
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    MN_ASSERT_OK(mn_results_compute(&s, NULL));
    assert_true(s.date >= before && s.date < before + 60);
    MN_ASSERT_OK(mn_results_json(&a, &r));
    MN_ASSERT_OK(mn_results_json(&b, &s));
    assert_string_not_equal(a.data, b.data);
    char *x = without_times(&a), *y = without_times(&b);
    assert_string_equal(x, y);
    assert_true(strlen(x) + 400 > a.len && strlen(x) < a.len);
    free(x);
    free(y);
    mn_buf_clear(&b);
    MN_ASSERT_OK(mn_results_json(&b, &r));
    assert_string_equal(a.data, b.data);
    mn_buf_free(&a);
    mn_buf_free(&b);
}

static void use_utc(void) {
    setenv("TZ", "UTC", 1);
    tzset();
}

static void file_names_are_those_of_the_harness(void **state) {
    (void)state;
    mn_results r = sample(NULL, 0);
    mn_buf path = {0};
    use_utc();
    MN_ASSERT_OK(mn_results_path(&path, &r, "out"));
    assert_string_equal(path.data, "out/tiny__neox/results_2024-02-29T12-34-56.789012.json");
    MN_ASSERT_OK(mn_results_path(&path, &r, "out/"));
    assert_string_equal(path.data, "out/tiny__neox/results_2024-02-29T12-34-56.789012.json");
    MN_ASSERT_OK(mn_results_path(&path, &r, "runs/my.json"));
    assert_string_equal(path.data, "runs/my_2024-02-29T12-34-56.789012.json");
    MN_ASSERT_OK(mn_results_path(&path, &r, "my.json"));
    assert_string_equal(path.data, "my_2024-02-29T12-34-56.789012.json");
    MN_ASSERT_OK(mn_results_samples_path(&path, &r, "runs/my.json", "fever_1shot"));
    assert_string_equal(path.data, "runs/samples_fever_1shot_2024-02-29T12-34-56.789012.jsonl");
    r.model_name = "/models/<a>:b";
    MN_ASSERT_OK(mn_results_samples_path(&path, &r, "o", "t"));
    assert_string_equal(path.data, "o/__models__a__b/samples_t_2024-02-29T12-34-56.789012.jsonl");
    r.model_name = "..";
    MN_ASSERT_OK(mn_results_path(&path, &r, "o"));
    contains(path.data, "o/__/results_");
    r.model_name = NULL;
    MN_ASSERT_OK(mn_results_path(&path, &r, "o"));
    contains(path.data, "o/results_");
    r.date = NAN;
    MN_ASSERT_FAILS(mn_results_path(&path, &r, "o"), MN_ERR_USAGE, "date");
    mn_buf_free(&path);
}

static int files_in(const char *dir) {
    DIR *d = opendir(dir);
    int count = 0;
    assert_non_null(d);
    for (const struct dirent *item; (item = readdir(d));) count += item->d_name[0] != '.';
    closedir(d);
    return count;
}

static void file_is_written_whole_or_not_at_all(void **state) {
    (void)state;
    const mn_test_path dir = mn_test_tmpdir();
    const mn_test_path folder = mn_test_join(dir.text, "a/tiny__neox");
    const mn_test_path out = mn_test_join(dir.text, "a"), blocked = mn_test_join(dir.text, "file");
    mn_result_entry e[] = {entry(0, MN_SCORING_GENERATE, zero)};
    mn_results r = sample(e, 1);
    mn_buf path = {0}, text = {0};
    use_utc();
    MN_ASSERT_OK(mn_results_compute(&r, NULL));

    /* A limit on the size of files stands for the full disk: the kernel refuses the write. */
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    small = (struct rlimit){.rlim_cur = 512, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const mn_status full = mn_results_write(&path, &r, out.text);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(full, MN_ERR_IO);
    contains(mn_error(), "tiny__neox/results_2024-02-29T12-34-56.789012.json: ");
    assert_int_equal(path.len, 0);
    assert_int_equal(files_in(folder.text), 0);

    MN_ASSERT_OK(mn_results_write(&path, &r, out.text));
    MN_ASSERT_OK(mn_results_json(&text, &r));
    char *written = mn_test_read(path.data, NULL);
    assert_string_equal(written, text.data);
    free(written);
    assert_int_equal(files_in(folder.text), 1);
    MN_ASSERT_OK(mn_results_write(NULL, &r, out.text)); /* again: replaced */
    assert_int_equal(files_in(folder.text), 1);

    mn_test_puts(blocked.text, "no folder");
    MN_ASSERT_FAILS(mn_results_write(&path, &r, blocked.text), MN_ERR_IO, blocked.text);
    mn_buf_free(&text);
    mn_buf_free(&path);
    mn_test_rmdir(dir.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_scored_and_compared),
        cmocka_unit_test(variants_are_compared_with_the_base),
        cmocka_unit_test(reference_can_be_named),
        cmocka_unit_test(entries_that_make_no_sense_are_refused),
        cmocka_unit_test(file_has_the_keys_of_the_harness),
        cmocka_unit_test(file_stays_valid_without_values),
        cmocka_unit_test(file_depends_on_its_inputs_alone),
        cmocka_unit_test(file_names_are_those_of_the_harness),
        cmocka_unit_test(file_is_written_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
