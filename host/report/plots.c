/* plots.c - which numbers become which plot. */
#include "report/chart.h"
#include "report/sections.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOTS = 6, CURVE_POINTS = 240 };

/* "name", or "name_2" where several runs have such a plot. */
static void file_name(char out[64], const char *name, const mn_report *report, size_t number) {
    if (report->count > 1) snprintf(out, 64, "%s_%zu", name, number + 1);
    else snprintf(out, 64, "%s", name);
}

static void put_lines(mn_page *page, const char *name, const mn_chart_lines *plot,
                      const char *caption) {
    mn_chart chart = {0};
    if (page->st == MN_OK) page->st = mn_chart_draw_lines(&chart, plot);
    mn_page_figure(page, name, plot->title, &chart.svg, caption);
    mn_chart_free(&chart);
}

/* ---- F1 by shots ---- */

static size_t shot_points(mn_chart_point *out, const mn_rundir *run, size_t variant, bool choice) {
    size_t count = 0;
    for (int64_t s = 0; s < SHOTS; s++) {
        const mn_rundir_entry *e = mn_rundir_find(run, variant, s, choice);
        if (!e || isnan(e->micro.value)) continue;
        out[count++] = (mn_chart_point){(double)s, e->micro.value, e->micro.low, e->micro.high};
    }
    return count;
}

static size_t document_points(mn_chart_point *out, const mn_rundir *run, size_t base, bool choice) {
    size_t count = 0;
    for (int64_t s = 0; s < SHOTS; s++) {
        const double value = mn_report_document(run, &run->variants[base], s, choice);
        if (!isnan(value)) out[count++] = (mn_chart_point){(double)s, value, NAN, NAN};
    }
    return count;
}

/* One model: its base, the memories of the first weight decay and the document. */
static size_t one_model(mn_chart_series *series, mn_chart_point (*points)[SHOTS],
                        const mn_report *report, const mn_rundir *run) {
    size_t count = 0;
    for (size_t i = 0; i < run->variant_count; i++) {
        const mn_rundir_variant *v = &run->variants[i];
        const bool shown = v->method == MN_RUNDIR_BASE ||
                           (v->method != MN_RUNDIR_OTHER &&
                            mn_rundir_memory(run, v->method, report->decay) == (int64_t)i);
        if (!shown) continue;
        const size_t n = shot_points(points[count], run, i, report->choice);
        if (n < 2 && v->method != MN_RUNDIR_BASE) continue;
        if (n > 0) {
            series[count] = (mn_chart_series){
                .label = v->label, .points = points[count], .count = n};
            count++;
        }
    }
    const int64_t base = mn_rundir_base(run);
    const char *label;
    const double majority = mn_report_majority(run, &label);
    if (label && count > 0) {
        points[count][0] = (mn_chart_point){0, majority, NAN, NAN};
        points[count][1] = (mn_chart_point){SHOTS - 1, majority, NAN, NAN};
        series[count] = (mn_chart_series){
            .label = "always one label", .points = points[count], .count = 2, .bare = true};
        count++;
    }
    const size_t n = base >= 0 ? document_points(points[count], run, (size_t)base, report->choice)
                               : 0;
    if (n > 0 && count > 0) {
        series[count] = (mn_chart_series){
            .label = "published, base", .points = points[count], .count = n};
        count++;
    }
    return count;
}

void mn_report_plot_shots(mn_report *report) {
    mn_page *page = &report->page;
    const size_t room = report->count + 8;
    mn_chart_series *series = calloc(room, sizeof *series);
    mn_chart_point(*points)[SHOTS] = calloc(room, sizeof *points);
    size_t count = 0;
    if (page->st == MN_OK && (!series || !points))
        page->st = mn_fail(MN_ERR_MEMORY, "report: no memory for a plot");
    if (page->st != MN_OK) goto done;
    if (report->count == 1) count = one_model(series, points, report, &report->runs[0]);
    for (size_t r = 0; report->count > 1 && r < report->count; r++) {
        const mn_rundir *run = &report->runs[r];
        const int64_t base = mn_rundir_base(run);
        const size_t n = base >= 0 ? shot_points(points[count], run, (size_t)base, report->choice)
                                   : 0;
        if (n == 0) continue;
        series[count] = (mn_chart_series){.label = run->name, .points = points[count], .count = n};
        count++;
    }
    if (count > 0) {
        const mn_chart_lines plot = {
            .title = report->count == 1 ? "F1 by shots" : "F1 by shots, pretrained models",
            .description = "f1.micro over the number of demonstrations, with 95 % intervals; the "
                           "numbers are in the tables f1_by_shots and full_results",
            .x_title = "demonstrations (shots)",
            .y_title = "f1.micro",
            .series = series,
            .count = count,
            .whole_x = true,
            .top = 1,
        };
        put_lines(page, "f1_by_shots", &plot,
                  "Whiskers: 95 % intervals, bootstrap over pages. Points of one number of "
                  "demonstrations stand a little apart.");
    }
done:
    free(points);
    free(series);
}

/* ---- variants ---- */

void mn_report_plot_memories(mn_report *report, const mn_rundir *run, size_t number) {
    mn_page *page = &report->page;
    const int64_t base = mn_rundir_base(run);
    char name[64], title[256], mark[64];
    mn_chart chart = {0};
    size_t count = 0;
    if (page->st != MN_OK || base < 0 || !mn_rundir_find(run, (size_t)base, 1, report->choice))
        return;
    mn_chart_dot *dots = calloc(run->variant_count, sizeof *dots);
    if (!dots) {
        page->st = mn_fail(MN_ERR_MEMORY, "report: no memory for a plot");
        return;
    }
    for (size_t i = 0; i < run->variant_count; i++) { /* base is the first */
        const mn_rundir_entry *e = mn_rundir_find(run, i, 1, report->choice);
        const mn_rundir_comparison *c = mn_report_against_base(run, e);
        if (!e) continue;
        dots[count++] = (mn_chart_dot){
            .label = run->variants[i].label,
            .verdict = i == (size_t)base ? ""
                       : c               ? mn_report_verdict(c)
                                         : "not compared",
            .value = e->micro.value,
            .low = e->micro.low,
            .high = e->micro.high,
            .hollow = i != (size_t)base && (!c || c->same || !c->judged || c->noise),
        };
    }
    if (count > 1) {
        const char *label;
        const double majority = mn_report_majority(run, &label);
        snprintf(mark, sizeof mark, "always \"%s\"", label ? label : "");
        snprintf(title, sizeof title, "Variants at 1 shot: %.180s", run->name);
        const mn_chart_dots plot = {
            .title = title,
            .description =
                "f1.micro of each variant at 1 shot with its 95 % interval, beside the base; "
                "the numbers are in the table full_results",
            .x_title = "f1.micro",
            .dots = dots,
            .count = count,
            .mark = majority,
            .mark_label = mark,
        };
        file_name(name, "variants_1shot", report, number);
        page->st = mn_chart_draw_dots(&chart, &plot);
        mn_page_figure(page, name, title, &chart.svg,
                       "Band and dashed line: base with its 95 % interval. Dotted line: what "
                       "always giving the "
                       "most frequent label would score. Filled: more than noise "
                       "against base, by the paired test on the same rows. Hollow: within noise.");
    }
    mn_chart_free(&chart);
    free(dots);
}

/* ---- loss ---- */

/* At most CURVE_POINTS: means of neighbouring steps. */
static size_t thin(mn_chart_point out[CURVE_POINTS], const mn_rundir_curve *curve) {
    const size_t per = (curve->count + CURVE_POINTS - 1) / CURVE_POINTS;
    size_t count = 0;
    for (size_t at = 0; at < curve->count; at += per) {
        double step = 0, value = 0, n = 0;
        for (size_t i = at; i < at + per && i < curve->count; i++, n++) {
            step += curve->points[i].step;
            value += curve->points[i].value;
        }
        out[count++] = (mn_chart_point){step / n, value / n, NAN, NAN};
    }
    return count;
}

void mn_report_plot_loss(mn_report *report, const mn_rundir *run, size_t number) {
    mn_page *page = &report->page;
    const size_t room = 2 * run->training_count;
    char name[64], title[256];
    size_t count = 0;
    double low = INFINITY, high = 0;
    if (page->st != MN_OK || room == 0) return;
    mn_chart_series *series = calloc(room, sizeof *series);
    mn_chart_point(*points)[CURVE_POINTS] = calloc(room, sizeof *points);
    char(*labels)[160] = calloc(room, sizeof *labels);
    if (!series || !points || !labels) {
        page->st = mn_fail(MN_ERR_MEMORY, "report: no memory for a plot");
        goto done;
    }
    for (size_t i = 0; i < room; i++) { /* losses first, then validation losses */
        const bool eval = i >= run->training_count;
        const mn_rundir_training *t = &run->trainings[i % run->training_count];
        const mn_rundir_curve *curve = eval ? &t->eval : &t->loss;
        if (curve->count == 0) continue;
        snprintf(labels[count], sizeof labels[count], "%.120s%s", run->variants[t->variant].label,
                 eval ? ", validation" : "");
        series[count] = (mn_chart_series){.label = labels[count],
                                          .points = points[count],
                                          .count = thin(points[count], curve),
                                          .bare = !eval};
        for (size_t k = 0; k < series[count].count; k++) {
            low = fmin(low, points[count][k].value);
            high = fmax(high, points[count][k].value);
        }
        count++;
    }
    if (count == 0) {
        mn_page_para(page, "%s: no loss curves, the logs hold no loss.", run->name);
        goto done;
    }
    snprintf(title, sizeof title, "Loss: %.200s", run->name);
    const bool log = low > 0 && high / low > 20;
    const mn_chart_lines plot = {
        .title = title,
        .description = "training loss over steps, one line per variant",
        .x_title = "step",
        .y_title = log ? "loss (logarithmic)" : "loss",
        .series = series,
        .count = count,
        .log_y = log,
    };
    file_name(name, "loss", report, number);
    put_lines(
        page, name, &plot,
        "As logged; where more than 240 points were logged, means of neighbours. Doc and Temp "
        "are losses over different texts, so their heights do not compare.");
done:
    free(labels);
    free(points);
    free(series);
}
