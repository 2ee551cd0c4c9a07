/* chart_plots.c - the two kinds of plots: lines over numbers, dots with whiskers in rows. */
#include "report/chart.h"

#include "report/page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LEFT = 56, RIGHT = 704, LEGEND_TOP = 48, LEGEND_ROW = 22, PLOT_HEIGHT = 260 };
enum { SERIES_STYLES = 6 };

/* Draws the legend, or only measures it; returns its rows. */
static int legend(mn_chart *chart, const mn_chart_lines *plot, bool draw) {
    int row = 0;
    double at = 12;
    if (plot->count < 2) return 0;
    for (size_t i = 0; i < plot->count; i++) {
        const double width = 50 + mn_chart_text_width(plot->series[i].label) + 18;
        if (at > 12 && at + width > RIGHT) {
            row++;
            at = 12;
        }
        const double y = LEGEND_TOP + LEGEND_ROW * row;
        char classes[32];
        if (draw) {
            snprintf(classes, sizeof classes, "l s%zu d%zu", i % SERIES_STYLES,
                     (i + i / SERIES_STYLES) % SERIES_STYLES);
            mn_chart_line(chart, at, y, at + 42, y, classes);
            if (!plot->series[i].bare)
                mn_chart_marker(chart, i, at + 21, y, i >= SERIES_STYLES, NULL);
            mn_chart_text(chart, at + 50, y + 4.5, "", "start", plot->series[i].label);
        }
        at += width;
    }
    return row + 1;
}

static void range_of(const mn_chart_lines *plot, double *x, double *y) {
    x[0] = y[0] = INFINITY;
    x[1] = y[1] = -INFINITY;
    for (size_t i = 0; i < plot->count; i++)
        for (size_t k = 0; k < plot->series[i].count; k++) {
            const mn_chart_point *p = &plot->series[i].points[k];
            if (isnan(p->value)) continue;
            x[0] = fmin(x[0], p->x);
            x[1] = fmax(x[1], p->x);
            y[0] = fmin(y[0], fmin(p->value, p->low)); /* fmin leaves NaN out */
            y[1] = fmax(y[1], fmax(p->value, p->high));
        }
}

static void polyline(mn_chart *chart, const mn_chart_series *series, size_t index, double shift) {
    char move = 'M';
    if (chart->st != MN_OK) return;
    chart->st = mn_buf_printf(&chart->svg, "\n<path class=\"l s%zu d%zu\" d=\"",
                              index % SERIES_STYLES,
                              (index + index / SERIES_STYLES) % SERIES_STYLES);
    for (size_t k = 0; k < series->count && chart->st == MN_OK; k++) {
        const mn_chart_point *p = &series->points[k];
        if (isnan(p->value)) continue;
        chart->st = mn_buf_printf(&chart->svg, "%c%.1f %.1f", move,
                                  mn_axis_at(&chart->x, p->x) + shift,
                                  mn_axis_at(&chart->y, p->value));
        move = 'L';
    }
    if (chart->st == MN_OK) chart->st = mn_buf_puts(&chart->svg, "\"/>");
}

static void points(mn_chart *chart, const mn_chart_lines *plot, size_t index, double shift) {
    const mn_chart_series *series = &plot->series[index];
    for (size_t k = 0; k < series->count && !series->bare; k++) {
        const mn_chart_point *p = &series->points[k];
        char hint[256];
        if (isnan(p->value)) continue;
        const double x = mn_axis_at(&chart->x, p->x) + shift;
        const bool sure = !isnan(p->low) && !isnan(p->high);
        if (sure)
            mn_chart_whisker(chart, index, x, mn_axis_at(&chart->y, p->low), x,
                             mn_axis_at(&chart->y, p->high));
        const int len = snprintf(hint, sizeof hint, "%.120s: %.3f at %g", series->label, p->value,
                                 p->x);
        if (sure && len > 0 && (size_t)len < sizeof hint)
            snprintf(hint + len, sizeof hint - (size_t)len, ", 95 %% %.3f to %.3f", p->low,
                     p->high);
        mn_chart_marker(chart, index, x, mn_axis_at(&chart->y, p->value), index >= SERIES_STYLES,
                        hint);
    }
}

mn_status mn_chart_draw_lines(mn_chart *chart, const mn_chart_lines *plot) {
    double x[2], y[2];
    const double top = LEGEND_TOP + LEGEND_ROW * legend(chart, plot, false) + 30;
    range_of(plot, x, y);
    mn_chart_open(chart, top + PLOT_HEIGHT + 56, plot->title, plot->description);
    legend(chart, plot, true);
    /* Series stand a little apart, so that whiskers do not cover each other. */
    const double apart = plot->whole_x && plot->count > 1 ? fmin(9, 48 / (double)plot->count) : 0;
    const double room = apart * (double)(plot->count - 1) / 2 + 12;
    mn_axis_fit(&chart->y, plot->log_y ? y[0] : fmin(0, y[0]), y[1], plot->log_y);
    if (plot->top > 0) chart->y.high = fmin(chart->y.high, plot->top);
    if (plot->whole_x) {
        chart->x.low = x[0];
        chart->x.high = x[1] > x[0] ? x[1] : x[0] + 1;
    } else {
        mn_axis_fit(&chart->x, fmin(0, x[0]), x[1], false);
        chart->x.high = fmax(x[1], chart->x.low + 1);
    }
    chart->y.from = top + PLOT_HEIGHT;
    chart->y.to = top;
    chart->x.from = LEFT + (plot->whole_x ? room : 0);
    chart->x.to = RIGHT - room;
    const mn_axis inner = chart->x;
    chart->x.from = LEFT;
    if (plot->whole_x) { /* grid lines over the whole width, ticks where the points are */
        const double per = (inner.high - inner.low) / (inner.to - inner.from);
        chart->x.low = inner.low - per * (inner.from - LEFT);
        chart->x.high = inner.high + per * (RIGHT - inner.to);
        chart->x.to = RIGHT;
    }
    mn_chart_frame(chart, plot->x_title, plot->y_title, plot->whole_x);
    for (int layer = 0; layer < 2; layer++)
        for (size_t i = 0; i < plot->count; i++) {
            const double shift = apart * ((double)i - (double)(plot->count - 1) / 2);
            if (layer == 0) polyline(chart, &plot->series[i], i, shift);
            else points(chart, plot, i, shift);
        }
    mn_chart_end(chart);
    return chart->st;
}

/* ---- dots ---- */

enum { DOT_ROW = 32, LABEL_MAX = 36 };

/* At most LABEL_MAX bytes, cut between characters. */
static void shorten(char out[LABEL_MAX + 8], const char *text) {
    size_t len = strlen(text);
    if (len <= LABEL_MAX) {
        memcpy(out, text, len + 1);
        return;
    }
    len = LABEL_MAX;
    while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80) len--;
    memcpy(out, text, len);
    memcpy(out + len, "\xE2\x80\xA6", 4); /* an ellipsis */
}

static void dot_row(mn_chart *chart, const mn_chart_dots *plot, size_t i, double y) {
    const mn_chart_dot *dot = &plot->dots[i];
    char label[LABEL_MAX + 8], text[160], hint[256];
    shorten(label, dot->label);
    mn_chart_text(chart, 12, y + 4.5, i == 0 ? "b" : "", "start", label);
    if (isnan(dot->value)) return;
    const double x = mn_axis_at(&chart->x, dot->value);
    const size_t style = i == 0 ? 5 : 0;
    const bool sure = !isnan(dot->low) && !isnan(dot->high);
    if (sure)
        mn_chart_whisker(chart, style, mn_axis_at(&chart->x, dot->low), y,
                         mn_axis_at(&chart->x, dot->high), y);
    snprintf(hint, sizeof hint, "%.120s: %.3f, 95 %% %.3f to %.3f", dot->label, dot->value,
             dot->low, dot->high);
    mn_chart_marker(chart, i == 0 ? 5 : 0, x, y, dot->hollow, sure ? hint : NULL);
    snprintf(text, sizeof text, "%.3f  %.100s", dot->value, dot->verdict);
    mn_chart_text(chart, RIGHT - 152, y + 4.5, "", "start", text);
}

mn_status mn_chart_draw_dots(mn_chart *chart, const mn_chart_dots *plot) {
    double low = INFINITY, high = -INFINITY, widest = 0;
    const double top = 72, bottom = top + DOT_ROW * (double)plot->count;
    for (size_t i = 0; i < plot->count; i++) {
        const mn_chart_dot *dot = &plot->dots[i];
        char label[LABEL_MAX + 8];
        low = fmin(low, fmin(dot->value, dot->low));
        high = fmax(high, fmax(dot->value, dot->high));
        shorten(label, dot->label);
        widest = fmax(widest, mn_chart_text_width(label));
    }
    low = fmin(low, plot->mark); /* fmin leaves NaN out */
    high = fmax(high, plot->mark);
    mn_chart_open(chart, bottom + 56, plot->title, plot->description);
    mn_axis_fit(&chart->x, low, high, false);
    chart->x.from = 24 + fmax(widest, 60);
    chart->x.to = RIGHT - 176;
    chart->y = (mn_axis){.low = 0, .high = 1, .from = bottom, .to = top - 12};
    const mn_chart_dot *base = &plot->dots[0];
    if (chart->st == MN_OK && !isnan(base->low) && !isnan(base->high)) {
        const double from = mn_axis_at(&chart->x, base->low);
        chart->st = mn_buf_printf(&chart->svg,
                                  "\n<rect class=\"k\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                                  "height=\"%.1f\"/>",
                                  from, chart->y.to, mn_axis_at(&chart->x, base->high) - from,
                                  chart->y.from - chart->y.to);
    }
    mn_chart_frame(chart, plot->x_title, NULL, false);
    if (!isnan(base->value)) {
        const double x = mn_axis_at(&chart->x, base->value);
        mn_chart_line(chart, x, chart->y.to, x, chart->y.from, "w s5 d1");
    }
    if (!isnan(plot->mark)) {
        const double x = mn_axis_at(&chart->x, plot->mark);
        mn_chart_line(chart, x, chart->y.to, x, chart->y.from, "w s1 d2");
        mn_chart_text(chart, x, chart->y.to - 5, "", "middle", plot->mark_label);
    }
    for (size_t i = 0; i < plot->count; i++)
        dot_row(chart, plot, i, top + DOT_ROW * ((double)i + 0.5) - 6);
    mn_chart_end(chart);
    return chart->st;
}
