/* chart.c - the parts of a plot: axes, ticks, texts, markers. */
#include "report/chart.h"

#include "mneme/table.h"
#include "report/page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SERIES_STYLES = 6 }; /* colours, dashes and markers of the style sheet */

/* ---- axes ---- */

/* 1, 2 or 5 times a power of ten: at most `most` steps over `range`. */
static double round_step(double range, int most) {
    const double unit = pow(10, floor(log10(range / most)));
    const double times[] = {1, 2, 5, 10};
    for (size_t i = 0; i < 4; i++)
        if (range / (unit * times[i]) <= most + 1e-9) return unit * times[i];
    return unit * 10;
}

void mn_axis_fit(mn_axis *axis, double low, double high, bool log) {
    if (!(low <= high) || !isfinite(low) || !isfinite(high)) {
        low = log ? 0.1 : 0;
        high = 1;
    }
    axis->log = log;
    if (log) {
        axis->low = low / 1.1;
        axis->high = high * 1.1;
        return;
    }
    if (high - low < 1e-9 * (fabs(low) + fabs(high)) || high == low) {
        const double room = high == 0 ? 1 : fabs(high) / 10;
        high += room;
        if (low != 0) low -= room;
    }
    const double step = round_step(high - low, 6);
    axis->low = floor(low / step + 1e-9) * step;
    axis->high = ceil(high / step - 1e-9) * step;
}

double mn_axis_at(const mn_axis *axis, double value) {
    const double part = axis->log ? log(value / axis->low) / log(axis->high / axis->low)
                                  : (value - axis->low) / (axis->high - axis->low);
    return axis->from + part * (axis->to - axis->from);
}

static size_t log_ticks(double ticks[MN_TICKS_MAX], int *decimals, const mn_axis *axis) {
    const bool wide = axis->high / axis->low > 2e3; /* powers of ten alone */
    const double times[] = {1, 2, 5};
    size_t count = 0;
    const int first = (int)floor(log10(axis->low)), last = (int)ceil(log10(axis->high));
    *decimals = -1; /* each its own */
    for (int power = first; power <= last; power++)
        for (int i = 0; i < (wide ? 1 : 3); i++) {
            const double tick = times[i] * pow(10, power);
            if (tick >= axis->low && tick <= axis->high && count < MN_TICKS_MAX)
                ticks[count++] = tick;
        }
    return count;
}

size_t mn_axis_ticks(double ticks[MN_TICKS_MAX], int *decimals, const mn_axis *axis) {
    if (axis->log) return log_ticks(ticks, decimals, axis);
    const double step = round_step(axis->high - axis->low, 6);
    const double first = ceil(axis->low / step - 1e-9);
    size_t count = 0;
    *decimals = step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0;
    for (; count < MN_TICKS_MAX; count++) {
        ticks[count] = (first + (double)count) * step;
        if (ticks[count] > axis->high + step * 1e-6) break;
    }
    return count;
}

/* ---- elements ---- */

void mn_chart_open(mn_chart *chart, double height, const char *title, const char *description) {
    *chart = (mn_chart){.height = height};
    mn_buf *svg = &chart->svg;
    chart->st = mn_buf_printf(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 %d %.0f\" "
        "width=\"%d\" height=\"%.0f\" role=\"img\" aria-label=\"",
        MN_CHART_WIDTH, height, MN_CHART_WIDTH, height);
    if (chart->st == MN_OK) chart->st = mn_xml_escape(svg, description);
    if (chart->st == MN_OK) chart->st = mn_buf_puts(svg, "\">");
    mn_chart_text(chart, 12, 24, "t", "start", title);
}

void mn_chart_end(mn_chart *chart) {
    if (chart->st == MN_OK) chart->st = mn_buf_puts(&chart->svg, "\n</svg>");
}

void mn_chart_free(mn_chart *chart) { mn_buf_free(&chart->svg); }

/* Letters of 13 pixels in the usual sans-serif faces are 0.5 to 0.56 of that on average. */
double mn_chart_text_width(const char *text) {
    return 7.2 * (double)mn_text_width(text, strlen(text));
}

void mn_chart_text(mn_chart *chart, double x, double y, const char *classes, const char *anchor,
                   const char *text) {
    if (chart->st == MN_OK)
        chart->st = mn_buf_printf(&chart->svg, "\n<text x=\"%.1f\" y=\"%.1f\"", x, y);
    if (chart->st == MN_OK && *classes)
        chart->st = mn_buf_printf(&chart->svg, " class=\"%s\"", classes);
    if (chart->st == MN_OK && strcmp(anchor, "start") != 0)
        chart->st = mn_buf_printf(&chart->svg, " text-anchor=\"%s\"", anchor);
    if (chart->st == MN_OK) chart->st = mn_buf_puts(&chart->svg, ">");
    if (chart->st == MN_OK) chart->st = mn_xml_escape(&chart->svg, text);
    if (chart->st == MN_OK) chart->st = mn_buf_puts(&chart->svg, "</text>");
}

void mn_chart_line(mn_chart *chart, double x1, double y1, double x2, double y2,
                   const char *classes) {
    if (chart->st == MN_OK)
        chart->st = mn_buf_printf(&chart->svg, "\n<path class=\"%s\" d=\"M%.1f %.1fL%.1f %.1f\"/>",
                                  classes, x1, y1, x2, y2);
}

void mn_chart_marker(mn_chart *chart, size_t index, double x, double y, bool hollow,
                     const char *hint) {
    static const char *const shapes[SERIES_STYLES] = {
        "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", /* circle */
        "m-4.5-4.5h9v9h-9z",                    /* square */
        "m0-6l5.7 10h-11.4z",                   /* triangle */
        "m0-6.3l6.3 6.3l-6.3 6.3l-6.3-6.3z",    /* diamond */
        "m0 6l5.7-10h-11.4z",                   /* triangle on its tip */
        "m-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",    /* cross */
    };
    if (chart->st == MN_OK)
        chart->st = mn_buf_printf(&chart->svg, "\n<path class=\"m s%zu%s\" d=\"M%.1f %.1f%s\"",
                                  index % SERIES_STYLES, hollow ? " h" : "", x, y,
                                  shapes[index % SERIES_STYLES]);
    if (chart->st == MN_OK) chart->st = mn_buf_puts(&chart->svg, hint ? "><title>" : "/>");
    if (chart->st == MN_OK && hint) chart->st = mn_xml_escape(&chart->svg, hint);
    if (chart->st == MN_OK && hint) chart->st = mn_buf_puts(&chart->svg, "</title></path>");
}

void mn_chart_whisker(mn_chart *chart, size_t index, double x1, double y1, double x2, double y2) {
    const bool upright = x1 == x2;
    const double dx = upright ? 3.5 : 0, dy = upright ? 0 : 3.5;
    if (chart->st == MN_OK)
        chart->st = mn_buf_printf(&chart->svg,
                                  "\n<path class=\"w s%zu\" d=\"M%.1f %.1fL%.1f %.1fM%.1f "
                                  "%.1fL%.1f %.1fM%.1f %.1fL%.1f %.1f\"/>",
                                  index % SERIES_STYLES, x1, y1, x2, y2, x1 - dx, y1 - dy, x1 + dx,
                                  y1 + dy, x2 - dx, y2 - dy, x2 + dx, y2 + dy);
}

static void tick_text(char out[32], double tick, int decimals) {
    if (decimals < 0) snprintf(out, 32, "%.10g", tick);
    else snprintf(out, 32, "%.*f", decimals, tick);
}

void mn_chart_frame(mn_chart *chart, const char *x_title, const char *y_title, bool whole_x) {
    double ticks[MN_TICKS_MAX];
    char text[32];
    int decimals;
    const mn_axis *x = &chart->x, *y = &chart->y;
    size_t count = y_title ? mn_axis_ticks(ticks, &decimals, y) : 0;
    for (size_t i = 0; i < count; i++) {
        const double at = mn_axis_at(y, ticks[i]);
        tick_text(text, ticks[i], decimals);
        mn_chart_line(chart, x->from, at, x->to, at, "g");
        mn_chart_text(chart, x->from - 8, at + 4.5, "", "end", text);
    }
    count = mn_axis_ticks(ticks, &decimals, x);
    for (size_t i = 0; i < count; i++) {
        const double at = mn_axis_at(x, ticks[i]);
        if (whole_x && fabs(ticks[i] - round(ticks[i])) > 1e-9) continue;
        tick_text(text, ticks[i], decimals);
        if (!y_title) mn_chart_line(chart, at, y->from, at, y->to, "g");
        mn_chart_line(chart, at, y->from, at, y->from + 5, "a");
        mn_chart_text(chart, at, y->from + 20, "", "middle", text);
    }
    mn_chart_line(chart, x->from, y->from, x->to, y->from, "a");
    mn_chart_text(chart, (x->from + x->to) / 2, y->from + 40, "", "middle", x_title);
    if (y_title) mn_chart_text(chart, 12, y->to - 14, "", "start", y_title);
}
