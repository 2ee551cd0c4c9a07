/* test_report_parts.c - what a report is made of: the document's figures, names of variants, the
 * reading of logs, axes and plots, cells of tables. */
#include "mneme/json.h"
#include "report/chart.h"
#include "report/document.h"
#include "report/page.h"
#include "report/runs.h"

#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void close_to(double got, double want) {
    /* Sums and products of a few doubles near 1. */
    if (!(fabs(got - want) <= 1e-12 * (1 + fabs(want)))) fail_msg("%.17g is not %.17g", got, want);
}

/* ---- the document ---- */

/* Against the rows that the tests of the statistics keep, which were copied on their own. */
static void document_agrees_with_its_rows(void **state) {
    (void)state;
    mn_json *doc = NULL;
    const cJSON *rows, *row;
    int count = 0;
    MN_ASSERT_OK(mn_json_load(&doc, mn_test_source("tests/fixtures/stats/document.json").text));
    MN_ASSERT_OK(mn_json_array(&rows, doc, doc->root, "rows"));
    cJSON_ArrayForEach(row, rows) {
        const char *name, *micro, *macro;
        int64_t shots;
        const mn_document_model *found = NULL;
        MN_ASSERT_OK(mn_json_string(&name, doc, row, "model"));
        MN_ASSERT_OK(mn_json_i64(&shots, doc, row, "shots", 0, 5));
        MN_ASSERT_OK(mn_json_string(&micro, doc, row, "f1_micro"));
        MN_ASSERT_OK(mn_json_string(&macro, doc, row, "f1_macro"));
        for (size_t i = 0; i < MN_DOCUMENT_MODELS; i++) {
            char own[64];
            snprintf(own, sizeof own, "%s %s", mn_document[i].family, mn_document[i].size);
            if (strcmp(own, name) == 0) found = &mn_document[i];
        }
        assert_non_null(found);
        close_to(found->f1_micro[shots], strtod(micro, NULL));
        close_to(found->f1_macro[shots], strtod(macro, NULL));
        count++;
    }
    assert_true(count >= 6);
    mn_json_close(&doc);
}

static void models_are_found_by_their_names(void **state) {
    (void)state;
    static const struct {
        const char *name, *family, *size;
    } cases[] = {
        {"EleutherAI/pythia-410m-deduped", "pythia", "410m"},
        {"pythia-1b", "pythia", "1b"},
        {"pythia-1.4b-deduped", "pythia", "1.4b"},
        {"models/pythia-12b", "pythia", "12b"},
        {"meta-llama/Llama-2-7b-hf", "llama2", "7b"},
        {"meta-llama/Llama-2-7b-chat-hf", "llama2_chat", "7b"},
        {"llama-2-13b-chat", "llama2_chat", "13b"},
        {"llama2_chat_13b", "llama2_chat", "13b"},
        {"Llama-2-13b", "llama2", "13b"},
        {"pythia-2b", NULL, NULL},
        {"pythia-1", NULL, NULL},
        {"pythia-70million", NULL, NULL},
        {"demo", NULL, NULL},
        {"", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mn_document_model *m = mn_document_find(cases[i].name);
        if (!cases[i].family) {
            if (m) fail_msg("%s is no model of the document", cases[i].name);
            continue;
        }
        if (!m) fail_msg("%s is not found", cases[i].name);
        else assert_string_equal(m->family, cases[i].family);
        if (m) assert_string_equal(m->size, cases[i].size);
    }
}

/* ---- variants ---- */

static void names_of_variants_are_read(void **state) {
    (void)state;
    static const struct {
        const char *id, *label;
        mn_rundir_method method;
        bool full;
    } cases[] = {
        {"pretrained", "base", MN_RUNDIR_BASE, false},
        {"gpt_wikipage-wd0.05", "Doc, wd 0.05", MN_RUNDIR_DOC, false},
        {"gpt_wikipage_and_template-wd0.01", "DocTemp, wd 0.01", MN_RUNDIR_DOCTEMP, false},
        {"gpt_template-full-wd0.05", "Temp, full update, wd 0.05", MN_RUNDIR_TEMP, true},
        {"gpt_template-wd0-full", "Temp, full update, wd 0", MN_RUNDIR_TEMP, true},
        {"gpt_template", "Temp", MN_RUNDIR_TEMP, false},
        {"gpt_template-wd", "gpt_template-wd", MN_RUNDIR_OTHER, false},
        {"gpt_template-wd-1", "gpt_template-wd-1", MN_RUNDIR_OTHER, false},
        {"gpt_template-wd0.05x", "gpt_template-wd0.05x", MN_RUNDIR_OTHER, false},
        {"gpt_template-fuller", "gpt_template-fuller", MN_RUNDIR_OTHER, false},
        {"gpt_template2", "gpt_template2", MN_RUNDIR_OTHER, false},
        {"lora", "lora", MN_RUNDIR_OTHER, false},
    };
    enum { CASES = sizeof cases / sizeof *cases };
    mn_rundir run = {0};
    size_t at, again;
    for (size_t i = 0; i < CASES; i++) {
        MN_ASSERT_OK(mn_rundir_variant_at(&at, &run, cases[i].id));
        MN_ASSERT_OK(mn_rundir_variant_at(&again, &run, cases[i].id));
        assert_int_equal(at, i);
        assert_int_equal(again, i);
        assert_string_equal(run.variants[i].label, cases[i].label);
        assert_int_equal(run.variants[i].method, cases[i].method);
        assert_int_equal(run.variants[i].full, cases[i].full);
    }
    MN_ASSERT_OK(mn_rundir_sort(&run));
    static const char *const order[] = {"base",
                                        "Temp",
                                        "Doc, wd 0.05",
                                        "DocTemp, wd 0.01",
                                        "Temp, full update, wd 0.05",
                                        "Temp, full update, wd 0"};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        assert_string_equal(run.variants[i].label, order[i]);
    assert_int_equal(mn_rundir_memory(&run, MN_RUNDIR_DOC, 0.05), 2);
    assert_int_equal(mn_rundir_memory(&run, MN_RUNDIR_DOC, 0.01), -1);
    assert_int_equal(mn_rundir_memory(&run, MN_RUNDIR_TEMP, NAN), 1);
    mn_rundir_close(&run);
}

/* ---- logs ---- */

/* A resumed training logs steps again; a killed one leaves half a line. */
static void logs_are_read_as_they_are_left(void **state) {
    (void)state;
    const mn_test_path dir = mn_test_tmpdir();
    mn_rundir run = {0};
    mn_test_puts(mn_test_join(dir.text, "train_log.jsonl").text,
                 "{\"step\": 1, \"loss\": 3}\n{\"step\": 2, \"loss\": 2}\n"
                 "{\"step\": 2, \"eval_loss\": 2.5}\n{\"step\": 3, \"loss\": 9}\n"
                 "{\"step\": 4, \"loss\": 9}\n{\"step\": 3, \"loss\": 1}\n{\"step\": 4, \"lo");
    MN_ASSERT_OK(mn_rundir_read_training(&run, dir.text, "gpt_wikipage"));
    assert_int_equal(run.training_count, 1);
    const mn_rundir_training *t = &run.trainings[0];
    assert_true(t->torn);
    assert_null(t->results);
    assert_int_equal(t->loss.count, 3);
    close_to(t->loss.points[2].step, 3);
    close_to(t->loss.points[2].value, 1);
    assert_int_equal(t->eval.count, 1);
    close_to(t->eval.points[0].value, 2.5);
    /* the training says that it was a full update, its name does not */
    mn_test_puts(mn_test_join(dir.text, "train_results.json").text,
                 "{\"train_loss\": 0.5, \"steps\": 4, \"options\": {\"update\": \"full\"}}");
    MN_ASSERT_OK(mn_rundir_read_training(&run, dir.text, "gpt_template"));
    assert_string_equal(run.variants[1].label, "Temp, full update");
    assert_int_equal(run.trainings[1].steps, 4);
    assert_int_equal(run.trainings[1].tokens, -1);
    mn_rundir_close(&run);
    mn_test_rmdir(dir.text);
}

/* ---- axes ---- */

static void check_axis(double low, double high, bool log) {
    mn_axis axis = {.from = 100, .to = 500};
    double ticks[MN_TICKS_MAX];
    int decimals;
    mn_axis_fit(&axis, low, high, log);
    assert_true(axis.low < axis.high);
    if (low <= high) assert_true(axis.low <= low && high <= axis.high);
    close_to(mn_axis_at(&axis, axis.low), 100);
    close_to(mn_axis_at(&axis, axis.high), 500);
    const size_t count = mn_axis_ticks(ticks, &decimals, &axis);
    assert_true(count >= 1 && count <= MN_TICKS_MAX);
    assert_true(log || (count >= 3 && count <= 8));
    for (size_t i = 0; i < count; i++) {
        const double at = mn_axis_at(&axis, ticks[i]);
        assert_true(at >= 100 - 1e-6 && at <= 500 + 1e-6); /* a tick is a rounded product */
        assert_true(i == 0 || ticks[i] > ticks[i - 1]);
    }
}

static void axes_have_round_ticks(void **state) {
    (void)state;
    static const double ranges[][2] = {
        {0, 1},    {0.31, 0.35},   {0, 0},       {0.5, 0.5},    {-0.2, 0.7}, {0, 1e6},
        {0, 1e-7}, {3, 4000},      {1e-9, 2e-9}, {-1000, 1000}, {NAN, NAN},  {INFINITY, -INFINITY},
        {-5, -5},  {0.013, 0.578}, {1e5, 1e5}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        check_axis(ranges[i][0], ranges[i][1], false);
    static const double logs[][2] = {{0.1, 5}, {1e-6, 1e6}, {2, 2}, {0.9, 1.1}, {NAN, NAN}};
    for (size_t i = 0; i < sizeof logs / sizeof *logs; i++)
        check_axis(logs[i][0], logs[i][1], true);
    mn_axis axis = {.from = 0, .to = 1};
    double ticks[MN_TICKS_MAX];
    int decimals;
    mn_axis_fit(&axis, 0, 0.578, false);
    assert_int_equal(mn_axis_ticks(ticks, &decimals, &axis), 7); /* 0, 0.1 .. 0.6 */
    assert_int_equal(decimals, 1);
    close_to(ticks[6], 0.6);
}

/* ---- plots ---- */

static int count_of(const char *text, const char *part) {
    int count = 0;
    for (const char *at = strstr(text, part); at; at = strstr(at + 1, part)) count++;
    return count;
}

static void plots_leave_out_what_is_no_number(void **state) {
    (void)state;
    const mn_chart_point points[] = {
        {0, 0.2, 0.1, 0.3}, {1, NAN, NAN, NAN}, {2, 0.4, NAN, NAN}, {3, 0.5, 0.4, 0.6}};
    const mn_chart_series series[] = {{.label = "a <b> & c", .points = points, .count = 4},
                                      {.label = "alone", .points = points, .count = 1}};
    const mn_chart_lines plot = {.title = "t",
                                 .description = "d \"q\"",
                                 .x_title = "x",
                                 .y_title = "y",
                                 .series = series,
                                 .count = 2,
                                 .whole_x = true};
    mn_chart chart = {0};
    MN_ASSERT_OK(mn_chart_draw_lines(&chart, &plot));
    const char *svg = chart.svg.data;
    assert_int_equal(count_of(svg, "class=\"m s0\""), 3 + 1); /* the legend has one, too */
    assert_int_equal(count_of(svg, "class=\"m s1\""), 1 + 1);
    assert_int_equal(count_of(svg, "class=\"w s0\""), 2); /* whiskers need an interval */
    assert_int_equal(count_of(svg, "nan"), 0);
    assert_int_equal(count_of(svg, ">a &lt;b&gt; &amp; c</text>"), 1);
    assert_int_equal(count_of(svg, "aria-label=\"d &quot;q&quot;\""), 1);
    mn_chart_free(&chart);
}

/* Twelve models: colours and markers come again, then hollow and with another dash. */
static void series_differ_by_more_than_colour(void **state) {
    (void)state;
    mn_chart_series series[12];
    const mn_chart_point points[] = {{0, 0.1, NAN, NAN}, {1, 0.2, NAN, NAN}};
    for (size_t i = 0; i < 12; i++)
        series[i] = (mn_chart_series){.label = "model", .points = points, .count = 2};
    const mn_chart_lines plot = {.title = "t",
                                 .description = "d",
                                 .x_title = "x",
                                 .y_title = "y",
                                 .series = series,
                                 .count = 12,
                                 .whole_x = true};
    mn_chart chart = {0};
    MN_ASSERT_OK(mn_chart_draw_lines(&chart, &plot));
    for (int i = 0; i < 12; i++) {
        char line[32], marker[32];
        snprintf(line, sizeof line, "class=\"l s%d d%d\"", i % 6, (i + i / 6) % 6);
        snprintf(marker, sizeof marker, "class=\"m s%d%s\"", i % 6, i < 6 ? "" : " h");
        assert_int_equal(count_of(chart.svg.data, line), 2);   /* legend and plot */
        assert_int_equal(count_of(chart.svg.data, marker), 3); /* legend and two points */
    }
    mn_chart_free(&chart);
}

/* ---- tables ---- */

static void tables_have_three_forms(void **state) {
    (void)state;
    static const mn_grid_column columns[] = {{"Name|x", 0},
                                             {"f1.micro", MN_GRID_NUMBER},
                                             {"95 %", MN_GRID_PAGE | MN_GRID_NUMBER},
                                             {"ci95_low", MN_GRID_CSV}};
    mn_page page = {0};
    mn_page_section(&page, "s", "Section");
    mn_grid *grid = mn_grid_open(&page, columns, 4);
    mn_grid_row(grid, MN_GRID_GROUP);
    mn_grid_text(grid, "a,\"b\"");
    mn_grid_number(grid, 1.0 / 3);
    mn_grid_range(grid, -0.0001, 0.5);
    mn_grid_number(grid, 0.25);
    mn_grid_row(grid, 0); /* the rest stays empty */
    mn_grid_label(grid, "hidden", false);
    mn_grid_number(grid, NAN);
    mn_grid_row(grid, MN_GRID_CSV);
    mn_grid_text(grid, "only there");
    mn_grid_close(grid, "table", "What & why");
    MN_ASSERT_OK(page.st);
    assert_int_equal(page.file_count, 1);
    assert_string_equal(page.files[0].name, "table.csv");
    assert_string_equal(page.files[0].text.data, "name_x,f1_micro,ci95_low\n"
                                                 "\"a,\"\"b\"\"\",0.3333333333333333,0.25\n"
                                                 "hidden,,\nonly there,,\n");
    assert_non_null(strstr(page.md.data, "| a,\"b\"   |    0.333 | 0.000 to 0.500 |\n"));
    assert_null(strstr(page.md.data, "hidden"));
    assert_null(strstr(page.md.data, "only there"));
    assert_non_null(strstr(page.body.data, "<th scope=\"row\">a,&quot;b&quot;</th>"
                                           "<td class=\"n\">0.333</td>"));
    assert_non_null(strstr(page.body.data, "What &amp; why</p>"));
    /* a cell too many is the programmer's fault, and is said */
    grid = mn_grid_open(&page, columns, 1);
    mn_grid_row(grid, 0);
    mn_grid_text(grid, "one");
    mn_grid_text(grid, "two");
    mn_grid_close(grid, "other", "");
    assert_int_equal(page.st, MN_ERR_USAGE);
    assert_null(mn_grid_open(&page, columns, 1));
    mn_page_free(&page);
}

static void escapes_leave_no_markup(void **state) {
    (void)state;
    mn_buf out = {0};
    MN_ASSERT_OK(
        mn_xml_escape(&out, "<a b='c' d=\"e\">&\x01\xFF\xC0\x80 \xED\x95\x9C\xEF\xBF\xBE"));
    assert_string_equal(out.data, "&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;"
                                  "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD "
                                  "\xED\x95\x9C\xEF\xBF\xBD");
    mn_buf_clear(&out);
    MN_ASSERT_OK(mn_markdown_escape(&out, "a*b_c`d|e<f&g[h]\\\ni~"));
    assert_string_equal(out.data, "a\\*b\\_c\\`d\\|e\\<f\\&g\\[h]\\\\ i\\~");
    mn_buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(document_agrees_with_its_rows),
        cmocka_unit_test(models_are_found_by_their_names),
        cmocka_unit_test(names_of_variants_are_read),
        cmocka_unit_test(logs_are_read_as_they_are_left),
        cmocka_unit_test(axes_have_round_ticks),
        cmocka_unit_test(plots_leave_out_what_is_no_number),
        cmocka_unit_test(series_differ_by_more_than_colour),
        cmocka_unit_test(tables_have_three_forms),
        cmocka_unit_test(escapes_leave_no_markup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
