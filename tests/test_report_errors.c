/* test_report_errors.c - files that are broken or mean harm: errors name file and place and leave
 * no report behind; names from outside stay texts. */
#include "mneme/file.h"
#include "mneme/report.h"

#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A run folder of its own per test, removed at its end. */
typedef struct folder {
    mn_test_path dir, results, log, end, manifest;
} folder;

static const char good[] =
    "{\"results\": {\"fever_1shot\": {\"acc,none\": 0.5, \"f1_micro,none\": 0.5, "
    "\"f1_macro,none\": 0.25, \"coverage,none\": 1, \"unparsed,none\": 0, \"n\": 8}}, "
    "\"n-shot\": {\"fever_1shot\": 1}}";

static folder make(const char *results) {
    folder f = {.dir = mn_test_tmpdir()};
    static const char *const dirs[] = {"eval", "train", "train/gpt_template-wd0.05", "prepared"};
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        mn_test_mkdir(mn_test_join(f.dir.text, dirs[i]).text);
    f.results = mn_test_join(f.dir.text, "eval/results_2026-01-01.json");
    f.log = mn_test_join(f.dir.text, "train/gpt_template-wd0.05/train_log.jsonl");
    f.end = mn_test_join(f.dir.text, "train/gpt_template-wd0.05/train_results.json");
    f.manifest = mn_test_join(f.dir.text, "prepared/manifest.json");
    if (results) mn_test_puts(f.results.text, results);
    return f;
}

/* The report fails, says `part`, names the file `named`, and writes nothing. */
static void refused(const folder *f, const char *named, const char *part) {
    const char *const run = f->dir.text;
    MN_ASSERT_FAILS(mn_report_write(NULL, &run, 1, NULL), MN_ERR_DATA, part);
    if (named && !strstr(mn_error(), named)) fail_msg("%s is not in: %s", named, mn_error());
    assert_false(mn_file_exists(mn_test_join(run, "report").text));
    assert_false(mn_dir_exists(mn_test_join(run, "report").text));
}

static void accepted(const folder *f) {
    const char *const run = f->dir.text;
    MN_ASSERT_OK(mn_report_write(NULL, &run, 1, NULL));
}

static void folders_without_a_run_are_refused(void **state) {
    (void)state;
    folder f = make(NULL);
    const char *run = f.dir.text;
    MN_ASSERT_FAILS(mn_report_write(NULL, &run, 1, NULL), MN_ERR_USAGE, "no run folder");
    MN_ASSERT_FAILS(mn_report_write(NULL, &run, 1, NULL), MN_ERR_USAGE, f.dir.text);
    const mn_test_path gone = mn_test_join(f.dir.text, "gone");
    run = gone.text;
    MN_ASSERT_FAILS(mn_report_write(NULL, &run, 1, NULL), MN_ERR_USAGE, "gone: no such run folder");
    MN_ASSERT_FAILS(mn_report_write(NULL, &run, 0, NULL), MN_ERR_USAGE, "needs a run folder");
    mn_test_rmdir(f.dir.text);
}

static void broken_results_name_file_and_path(void **state) {
    (void)state;
    static const struct {
        const char *json, *part;
    } cases[] = {
        {"{\"results\": ", "results_2026-01-01.json"},
        {"[]", "expected an object"},
        {"{}", "results"},
        {"{\"results\": []}", "results: expected"},
        {"{\"results\": {}}", "no task was evaluated"},
        {"{\"results\": {\"fever_1shot\": 3}}", "results.fever_1shot: expected an object"},
        {"{\"results\": {\"fever\": {}}}", "results.fever: no num_fewshot"},
        {"{\"results\": {\"fever_1shot\": {\"acc,none\": \"high\"}}}", "acc,none"},
        {"{\"results\": {\"fever_1shot\": {\"acc,none\": 1.5}}}",
         "$.results.fever_1shot.acc,none: expected a share from 0 to 1, found 1.5"},
        {"{\"results\": {\"fever_1shot\": {\"acc,none\": 0.5, \"n\": -2}}}",
         "results.fever_1shot.n"},
        {"{\"results\": {\"fever_1shot\": {}, \"again\": {\"shots\": 1}}}",
         "a second entry for pretrained, 1 shots, generate"},
        {"{\"results\": {\"fever_1shot\": {}}, \"n-shot\": {\"fever_1shot\": \"one\"}}",
         "n-shot.fever_1shot"},
        {"{\"results\": {\"fever_1shot\": {}}, \"confusion\": {\"fever_1shot\": {\"supports\": "
         "[1]}}}",
         "confusion.fever_1shot.supports: expected 4 counts, found 1"},
        {"{\"results\": {\"fever_1shot\": {}}, \"comparison\": {\"fever_1shot\": {}}}",
         "comparison.fever_1shot"},
        {"{\"results\": {\"fever_1shot\": {}, \"fever_1shot@x\": {}}, "
         "\"effect_audit\": {\"x\": {\"memories\": 1}}}",
         "effect_audit.x.memories: expected"},
        {"{\"results\": {\"fever_1shot\": {}, \"fever_1shot@x\": {}}, "
         "\"effect_audit\": {\"x\": {\"memories\": [{\"block\": -1}]}}}",
         "effect_audit.x.memories[0].block"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const folder f = make(cases[i].json);
        refused(&f, "results_2026-01-01.json", cases[i].part);
        mn_test_rmdir(f.dir.text);
    }
}

static void broken_logs_name_the_line(void **state) {
    (void)state;
    const folder f = make(good);
    mn_test_puts(f.log.text,
                 "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"lo\n{\"step\": 3, \"loss\": 1}\n");
    refused(&f, "train_log.jsonl:2", NULL);
    mn_test_puts(f.log.text, "{\"step\": 1, \"loss\": 2}\n\n{\"loss\": 2}\n");
    refused(&f, "train_log.jsonl:3", "step");
    mn_test_puts(f.log.text, "{\"step\": 1, \"loss\": \"2\"}\n");
    refused(&f, "train_log.jsonl:1", "loss");
    mn_test_puts(f.log.text, "{\"step\": 1, \"loss\": 2}\n");
    mn_test_puts(f.end.text, "{\"steps\": \"all\"}");
    refused(&f, "train_results.json", "steps");
    mn_test_puts(f.end.text, "{\"options\": 5}");
    refused(&f, "train_results.json", "options");
    mn_test_puts(f.end.text, "{\"options\": {\"update\": \"memory\"}}");
    accepted(&f);
    mn_test_rmdir(f.dir.text);
}

static void broken_manifests_name_the_key(void **state) {
    (void)state;
    const folder f = make(good);
    mn_test_puts(f.manifest.text, "{\"N_full\": \"many\"}");
    refused(&f, "manifest.json", "N_full");
    mn_test_puts(f.manifest.text, "{\"labels\": 3}");
    refused(&f, "manifest.json", "labels");
    mn_test_puts(f.manifest.text, "[1]");
    refused(&f, "manifest.json", "expected an object");
    mn_test_puts(f.manifest.text, "{\"N_full\": 7}");
    accepted(&f);
    mn_test_rmdir(f.dir.text);
}

/* A manifest outside the run folder counts only when it is the one that was evaluated. */
static void another_manifest_is_not_taken(void **state) {
    (void)state;
    char json[2048], sha256[MN_SHA256_HEX];
    const mn_test_path data = mn_test_tmpdir();
    const mn_test_path manifest = mn_test_join(data.text, "manifest.json");
    mn_test_puts(manifest.text, "{\"N_full\": 4321}");
    MN_ASSERT_OK(mn_sha256_file(sha256, manifest.text));
    for (int same = 0; same < 2; same++) {
        snprintf(json, sizeof json,
                 "{\"results\": {\"fever_1shot\": {}}, \"config\": {\"data\": \"%s\", "
                 "\"manifest_sha256\": \"%s\"}}",
                 data.text, same ? sha256 : "0000");
        const folder f = make(json);
        accepted(&f);
        char *html = mn_test_read(mn_test_join(f.dir.text, "report/report.html").text, NULL);
        assert_int_equal(strstr(html, "4321") != NULL, same);
        assert_int_equal(strstr(html, "is not the one that was evaluated") == NULL, same);
        free(html);
        mn_test_rmdir(f.dir.text);
    }
    mn_test_rmdir(data.text);
}

/* ---- names that mean harm ---- */

static void hostile_names_stay_texts(void **state) {
    (void)state;
    static const char *const variant = "<script>alert(1)</script>&\\\"'|,`[x](javascript:1)\\n=1+1";
    char json[4096];
    snprintf(json, sizeof json,
             "{\"model_name\": \"%s\", \"results\": {"
             "\"fever_1shot\": {\"acc,none\": 0.5, \"f1_micro,none\": 0.5, \"n\": 8},"
             "\"fever_1shot@%s\": {\"acc,none\": 0.5, \"f1_micro,none\": 0.5, \"n\": 8}},"
             "\"comparison\": {\"fever_1shot@%s\": {\"reference\": \"fever_1shot\", "
             "\"only_reference_right\": 1, \"only_this_right\": 1, \"mcnemar_p\": 1, "
             "\"within_noise\": true, \"acc_difference\": {\"value\": 0, \"ci95_low\": -0.1, "
             "\"ci95_high\": 0.1}}},"
             "\"config\": {\"<b>\": \"<i>\", \"%s\": 1}}",
             "<img src=x onerror=alert(1)>\\u0007", variant, variant, variant);
    const folder f = make(json);
    accepted(&f);
    char *html = mn_test_read(mn_test_join(f.dir.text, "report/report.html").text, NULL);
    char *md = mn_test_read(mn_test_join(f.dir.text, "report/report.md").text, NULL);
    char *csv = mn_test_read(mn_test_join(f.dir.text, "report/paired_tests.csv").text, NULL);
    char *svg = mn_test_read(mn_test_join(f.dir.text, "report/variants_1shot.svg").text, NULL);
    static const char *const elements[] = {"<script", "<img", "<b>", "<i>", "\x07"};
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
        assert_null(strstr(html, elements[i]));
        assert_null(strstr(svg, elements[i]));
        const char *at = strstr(md, elements[i]);
        if (at && elements[i][0] == '<') assert_true(at > md && at[-1] == '\\');
    }
    assert_non_null(strstr(html, "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;|,`[x]"));
    assert_non_null(strstr(html, "&lt;img src=x onerror=alert(1)&gt;\xEF\xBF\xBD"));
    assert_non_null(
        strstr(md, "\\<script>alert(1)\\</script>\\&\"'\\|,\\`\\[x](javascript:1) =1+1"));
    assert_non_null(strstr(csv, "\"<script>alert(1)</script>&\"\"'|,`[x](javascript:1)\n=1+1\""));
    /* a long label is cut between characters in the plot, and whole in its hint */
    assert_non_null(strstr(svg, "\xE2\x80\xA6</text>"));
    free(html);
    free(md);
    free(csv);
    free(svg);
    mn_test_rmdir(f.dir.text);
}

/* An output folder that cannot be one: the error names it, what was there stays. */
static void output_that_cannot_be_written_is_an_error(void **state) {
    (void)state;
    const folder f = make(good);
    const char *const run = f.dir.text;
    const mn_test_path file = mn_test_join(f.dir.text, "file");
    mn_test_puts(file.text, "here before");
    MN_ASSERT_FAILS(mn_report_write(NULL, &run, 1, file.text), MN_ERR_IO, file.text);
    char *text = mn_test_read(file.text, NULL);
    assert_string_equal(text, "here before");
    free(text);
    /* a folder where the page belongs */
    const mn_test_path out = mn_test_join(f.dir.text, "out");
    mn_test_mkdir(out.text);
    mn_test_mkdir(mn_test_join(out.text, "report.html").text);
    MN_ASSERT_FAILS(mn_report_write(NULL, &run, 1, out.text), MN_ERR_IO, "report.html");
    mn_test_rmdir(f.dir.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_without_a_run_are_refused),
        cmocka_unit_test(broken_results_name_file_and_path),
        cmocka_unit_test(broken_logs_name_the_line),
        cmocka_unit_test(broken_manifests_name_the_key),
        cmocka_unit_test(another_manifest_is_not_taken),
        cmocka_unit_test(hostile_names_stay_texts),
        cmocka_unit_test(output_that_cannot_be_written_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
