/* test_report.c - the report of an invented run against golden files, and the shape of its page.
 *
 * The run in tests/fixtures/report/pythia has every part: a fan-out evaluation beside an older,
 * unreadable file that the newer one hides, finished trainings, one whose log was cut off, a
 * manifest. Where a change is meant, the files that a failing test names become the golden ones. */
#include "mneme/file.h"
#include "mneme/report.h"

#include "check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_report(const char *out, const char *first, const char *second) {
    mn_test_path runs[] = {
        mn_test_join(mn_test_source("tests/fixtures/report").text, first),
        mn_test_join(mn_test_source("tests/fixtures/report").text, second ? second : first)};
    const char *const names[] = {runs[0].text, runs[1].text};
    mn_buf page = {0};
    MN_ASSERT_OK(mn_report_write(&page, names, second ? 2 : 1, out));
    assert_string_equal(page.data, mn_test_join(out, "report.html").text);
    mn_buf_free(&page);
}

static char *read_in(const char *dir, const char *name) {
    return mn_test_read(mn_test_join(dir, name).text, NULL);
}

static void contains(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("not there: %s", part);
}

static void lacks(const char *text, const char *part) {
    const char *at = strstr(text, part);
    if (at) fail_msg("there: %.120s", at);
}

static int count_of(const char *text, const char *part) {
    int count = 0;
    for (const char *at = strstr(text, part); at; at = strstr(at + 1, part)) count++;
    return count;
}

/* ---- golden files ---- */

static bool ends_in(const char *name, const char *ending) {
    const size_t len = strlen(name), end = strlen(ending);
    return len > end && strcmp(name + len - end, ending) == 0;
}

static int tables_in(const char *dir) {
    int count = 0;
    DIR *folder = opendir(dir);
    assert_non_null(folder);
    for (struct dirent *e = readdir(folder); e; e = readdir(folder))
        count += ends_in(e->d_name, ".csv") || ends_in(e->d_name, ".md");
    closedir(folder);
    return count;
}

static void tables_are_the_golden_ones(void **state) {
    (void)state;
    const mn_test_path out = mn_test_tmpdir(),
                       golden = mn_test_source("tests/fixtures/report/golden");
    write_report(out.text, "pythia", NULL);
    DIR *folder = opendir(golden.text);
    assert_non_null(folder);
    for (struct dirent *e = readdir(folder); e; e = readdir(folder)) {
        if (e->d_name[0] == '.') continue;
        char *want = read_in(golden.text, e->d_name), *got = read_in(out.text, e->d_name);
        if (strcmp(want, got) != 0) fail_msg("%s/%s differs", out.text, e->d_name);
        free(want);
        free(got);
    }
    closedir(folder);
    assert_int_equal(tables_in(golden.text), 13); /* report.md and 12 tables */
    assert_int_equal(tables_in(out.text), 13);
    mn_test_rmdir(out.text);
}

static void same_files_give_the_same_bytes(void **state) {
    (void)state;
    static const char *const names[] = {"report.html", "report.md", "loss.svg", "f1_by_shots.svg",
                                        "variants_1shot.svg"};
    const mn_test_path a = mn_test_tmpdir(), b = mn_test_tmpdir();
    write_report(a.text, "pythia", NULL);
    write_report(b.text, "pythia", NULL);
    write_report(b.text, "pythia", NULL); /* over itself */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *left = read_in(a.text, names[i]), *right = read_in(b.text, names[i]);
        assert_string_equal(left, right);
        free(left);
        free(right);
    }
    mn_test_rmdir(a.text);
    mn_test_rmdir(b.text);
}

/* ---- the page ---- */

/* Every element is closed in order; attributes are quoted. Enough of HTML for what is written. */
static void check_nesting(const char *text) {
    char open[64][24];
    size_t depth = 0;
    for (const char *at = strchr(text, '<'); at; at = strchr(at + 1, '<')) {
        char name[24];
        if (at[1] == '!') continue;
        const bool closing = at[1] == '/';
        const char *begin = at + 1 + closing, *end = strchr(at, '>');
        const size_t len = strspn(begin, "abcdefghijklmnopqrstuvwxyz0123456789");
        assert_non_null(end);
        assert_true(len > 0 && len < sizeof name);
        memcpy(name, begin, len);
        name[len] = '\0';
        int quotes = 0;
        for (const char *p = at; p < end; p++) quotes += *p == '"';
        if (quotes % 2) fail_msg("a quote is open: %.100s", at);
        if (strcmp(name, "meta") == 0 || end[-1] == '/') continue;
        if (!closing) {
            assert_true(depth < 64);
            memcpy(open[depth++], name, sizeof name);
        } else if (depth == 0 || strcmp(open[--depth], name) != 0) {
            fail_msg("closed but not open: %.100s", at);
        }
    }
    assert_int_equal(depth, 0);
}

/* Nothing is fetched, nothing runs. */
static void check_self_contained(const char *html) {
    static const char *const outside[] = {"<script", "<link",       "<img",   "<iframe",
                                          "<object", "src=",        "url(",   "@import",
                                          "onload",  "javascript:", "https:", "file:"};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) lacks(html, outside[i]);
    assert_int_equal(count_of(html, "http:"),
                     count_of(html, "xmlns=\"http://www.w3.org/2000/svg\""));
    assert_int_equal(count_of(html, "href="), count_of(html, "href=\"#"));
}

static void check_ids(const char *html) {
    for (const char *at = strstr(html, "href=\"#"); at; at = strstr(at + 1, "href=\"#")) {
        char id[64], wanted[80];
        assert_int_equal(sscanf(at, "href=\"#%63[^\"]", id), 1);
        snprintf(wanted, sizeof wanted, " id=\"%s\"", id);
        assert_int_equal(count_of(html, wanted), 1);
    }
    for (const char *at = strstr(html, " id=\""); at; at = strstr(at + 1, " id=\"")) {
        char wanted[80];
        assert_int_equal(sscanf(at, "%79[^>]", wanted), 1);
        char *end = strchr(wanted + 5, '"');
        assert_non_null(end);
        end[1] = '\0';
        assert_int_equal(count_of(html, wanted), 1);
    }
}

static void page_stands_by_itself(void **state) {
    (void)state;
    const mn_test_path out = mn_test_tmpdir();
    write_report(out.text, "pythia", "tiny");
    char *html = read_in(out.text, "report.html");
    assert_int_equal(strncmp(html, "<!DOCTYPE html>\n<html lang=\"en\">", 31), 0);
    check_nesting(html);
    check_self_contained(html);
    check_ids(html);
    /* light and dark, paper, narrow screens */
    contains(html, "@media (prefers-color-scheme:dark)");
    contains(html, "@media print");
    contains(html, "name=\"viewport\"");
    assert_int_equal(count_of(html, "<svg"), 3);
    assert_int_equal(count_of(html, "role=\"img\" aria-label="), 3);
    /* texts of plots are texts; series differ by dash and marker, too */
    contains(html, ">demonstrations (shots)</text>");
    contains(html, ">Doc, wd 0.05</text>");
    contains(html, "class=\"l s1 d1\"");
    assert_true(strlen(html) < 200000);
    free(html);
    mn_test_rmdir(out.text);
}

static void plots_are_files_of_their_own(void **state) {
    (void)state;
    static const char *const names[] = {"f1_by_shots.svg", "variants_1shot.svg", "loss.svg"};
    const mn_test_path out = mn_test_tmpdir();
    write_report(out.text, "pythia", NULL);
    char *md = read_in(out.text, "report.md");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *svg = read_in(out.text, names[i]), link[64];
        assert_int_equal(strncmp(svg, "<svg xmlns=", 11), 0);
        check_nesting(svg);
        contains(svg, "<style>");
        contains(svg, "prefers-color-scheme:dark");
        lacks(svg, "nan");
        lacks(svg, "inf\"");
        snprintf(link, sizeof link, "](%s)", names[i]);
        contains(md, link);
        if (i == 1) { /* base a cross; filled is more than noise: Doc alone */
            assert_int_equal(count_of(svg, "class=\"m s5\""), 1);
            assert_int_equal(count_of(svg, "class=\"m s0\""), 1);
            assert_int_equal(count_of(svg, "class=\"m s0 h\""), 5);
        }
        free(svg);
    }
    free(md);
    mn_test_rmdir(out.text);
}

/* ---- content ---- */

static void several_models_are_rows_of_one_table(void **state) {
    (void)state;
    const mn_test_path out = mn_test_tmpdir();
    write_report(out.text, "pythia", "tiny");
    char *csv = read_in(out.text, "f1_by_shots.csv");
    contains(csv, "model,scoring,figure,zero_shot,1_shot,5_shot\n"
                  "pythia-410m-deduped,generate,f1.micro,0.3167,0.45,0.6667\n");
    contains(csv, "pythia-410m-deduped,generate,published,0,0.01,0\n");
    contains(csv, "\ntiny_neox,generate,f1.micro,0.3667,0.4333,\n");
    lacks(csv, "tiny_neox,generate,published");
    free(csv);
    char *md = read_in(out.text, "report.md");
    contains(md, "tiny has no prepared/manifest.json.");
    contains(md, "](variants_1shot_1.svg)");
    lacks(md, "](variants_1shot_2.svg)"); /* it has no variants */
    free(md);
    mn_test_rmdir(out.text);
}

/* The same run twice: its folders tell the two apart. */
static void runs_of_one_model_have_their_own_names(void **state) {
    (void)state;
    const mn_test_path out = mn_test_tmpdir();
    write_report(out.text, "tiny", "tiny/../tiny");
    char *csv = read_in(out.text, "f1_by_shots.csv");
    contains(csv, "\ntiny_neox (");
    contains(csv, "/tiny/../tiny),generate,f1.micro");
    free(csv);
    mn_test_rmdir(out.text);
}

/* The present form of a results file alone: what is missing is said. */
static void missing_parts_are_left_out_with_a_reason(void **state) {
    (void)state;
    static const char *const sentences[] = {
        "Left out: no run has 1-shot results of a variant with a memory.",
        "Left out: no run has memories of two weight decays.",
        "Left out: no run has 1-shot results of a full update.",
        "Left out: nothing was compared.",
        "Left out: the results hold no effect audit",
        "Left out: no run folder holds a training.",
        "tiny_neox: left out, ",
    };
    const mn_test_path out = mn_test_tmpdir();
    write_report(out.text, "tiny", NULL);
    char *html = read_in(out.text, "report.html");
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++) contains(html, sentences[i]);
    lacks(html, "published");
    check_nesting(html);
    assert_int_equal(count_of(html, "<svg"), 1);
    free(html);
    assert_false(mn_file_exists(mn_test_join(out.text, "effect_audit.csv").text));
    assert_false(mn_file_exists(mn_test_join(out.text, "loss.svg").text));
    mn_test_rmdir(out.text);
}

static void training_alone_is_a_report(void **state) {
    (void)state;
    const mn_test_path run = mn_test_tmpdir();
    const char *const name = run.text;
    mn_test_mkdir(mn_test_join(run.text, "train").text);
    mn_test_mkdir(mn_test_join(run.text, "train/gpt_wikipage-wd1e-05").text);
    mn_test_puts(mn_test_join(run.text, "train/gpt_wikipage-wd1e-05/train_log.jsonl").text,
                 "{\"step\": 1, \"loss\": 2.5}\n{\"step\": 2, \"loss\": null}\n");
    MN_ASSERT_OK(mn_report_write(NULL, &name, 1, NULL));
    const mn_test_path out = mn_test_join(run.text, "report");
    char *html = read_in(out.text, "report.html");
    contains(html, "Not evaluated: ");
    contains(html, "has no eval/results_*.json");
    contains(html, "Doc, wd 1e-05");
    check_nesting(html);
    free(html);
    mn_test_rmdir(run.text);
}

/* Always the same answer may score as well as any: the reader is told. By hand: 6 of 10 rows are
 * supports; the variant answers so in 9 of 10 and is right in 6, base in 8 and is right in 5. */
static void one_sided_answers_are_said(void **state) {
    (void)state;
    static const char results[] =
        "{\"results\": {\"fever_1shot\": {\"acc\": 0.5, \"f1_micro\": 0.5, \"n\": 10}, "
        "\"fever_1shot@gpt_wikipage\": {\"acc\": 0.6, \"f1_micro\": 0.6, \"n\": 10, "
        "\"acc_ci95_low\": 0.5, \"acc_ci95_high\": 0.7}, "
        "\"fever_1shot@gpt_template\": {\"acc\": 0.4, \"f1_micro\": 0.4, \"n\": 10}}, "
        "\"confusion\": {\"fever_1shot\": {\"supports\": [5, 1, 0, 0], \"refutes\": [3, 0, 0, 1], "
        "\"not enough info\": [0, 0, 0, 0]}, \"fever_1shot@gpt_wikipage\": {\"supports\": [6, 0, "
        "0, 0], "
        "\"refutes\": [3, 0, 0, 1], \"not enough info\": [0, 0, 0, 0]}}}";
    const mn_test_path run = mn_test_tmpdir();
    const char *const name = run.text;
    mn_test_puts(mn_test_join(run.text, "results_2026-01-01.json").text, results);
    MN_ASSERT_OK(mn_report_write(NULL, &name, 1, NULL));
    char *md = read_in(mn_test_join(run.text, "report").text, "report.md");
    contains(md, "- Always answering \"supports\" would be right in 0.600 of them.\n");
    contains(md, "Doc at 1 shot: accuracy 0.600; against base not tested. It answers "
                 "\"supports\" in 90 % of the rows.\n");
    contains(md, "Its 95 % interval does not lie above always answering \"supports\" (0.600).");
    assert_int_equal(count_of(md, "It answers"), 1);
    free(md);
    char *svg = read_in(mn_test_join(run.text, "report").text, "variants_1shot.svg");
    contains(svg, ">always &quot;supports&quot;</text>");
    free(svg);
    mn_test_rmdir(run.text);
}

/* A variant that was compared with something else is not said to differ from base. */
static void other_references_are_not_base(void **state) {
    (void)state;
    static const char results[] =
        "{\"results\": {\"fever_0shot\": {\"f1_micro\": 0.5}, \"fever_1shot\": {\"f1_micro\": "
        "0.5}, "
        "\"fever_1shot@gpt_wikipage\": {\"f1_micro\": 0.6}}, "
        "\"comparison\": {\"fever_1shot@gpt_wikipage\": {\"reference\": \"fever_0shot\", "
        "\"only_reference_right\": 1, \"only_this_right\": 9, \"mcnemar_p\": 0.021, "
        "\"within_noise\": false, \"acc_difference\": {\"value\": 0.1}}}}";
    const mn_test_path run = mn_test_tmpdir();
    const char *const name = run.text;
    mn_test_puts(mn_test_join(run.text, "results_2026-01-01.json").text, results);
    MN_ASSERT_OK(mn_report_write(NULL, &name, 1, NULL));
    const mn_test_path out = mn_test_join(run.text, "report");
    char *memories = read_in(out.text, "memories_1shot.csv");
    contains(memories, ",generate,verdict,,,,\n");
    contains(memories, ",generate,McNemar p,,,,\n");
    free(memories);
    char *paired = read_in(out.text, "paired_tests.csv");
    contains(paired,
             ",gpt_wikipage,generate,1,\"base, zero-shot\",0.1,,,1,9,0.021,more than noise\n");
    free(paired);
    mn_test_rmdir(run.text);
}

static void many_models_fold_their_sentences(void **state) {
    (void)state;
    enum { RUNS = 12 };
    const mn_test_path out = mn_test_tmpdir();
    const mn_test_path run = mn_test_source("tests/fixtures/report/pythia");
    const char *names[RUNS];
    for (size_t i = 0; i < RUNS; i++) names[i] = run.text;
    MN_ASSERT_OK(mn_report_write(NULL, names, RUNS, out.text));
    char *html = read_in(out.text, "report.html");
    contains(html, "<title>Memories on FEVER: 12 models</title>");
    contains(html, "<summary>Show the sentences of every model</summary>");
    check_nesting(html);
    check_ids(html);
    assert_int_equal(count_of(html, "<svg"), 1 + 2 * RUNS);
    free(html);
    assert_true(mn_file_exists(mn_test_join(out.text, "loss_12.svg").text));
    mn_test_rmdir(out.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_the_golden_ones),
        cmocka_unit_test(same_files_give_the_same_bytes),
        cmocka_unit_test(page_stands_by_itself),
        cmocka_unit_test(plots_are_files_of_their_own),
        cmocka_unit_test(several_models_are_rows_of_one_table),
        cmocka_unit_test(runs_of_one_model_have_their_own_names),
        cmocka_unit_test(missing_parts_are_left_out_with_a_reason),
        cmocka_unit_test(training_alone_is_a_report),
        cmocka_unit_test(other_references_are_not_base),
        cmocka_unit_test(many_models_fold_their_sentences),
        cmocka_unit_test(one_sided_answers_are_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
