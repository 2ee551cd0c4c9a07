/* chart.h - a small writer of SVG plots: axes, lines, markers, whiskers, a legend.
 *
 * SVG is written directly, as text, rather than with cairo (whose SVG surface turns letters into
 * outlines that nobody can select) or gnuplot (which a compute node that writes a report need
 * not have). Texts stay texts; colours are classes of mn_style_chart, so that one file serves
 * light, dark and paper; every series also has a dash pattern and a marker of its own, for those
 * who do not see the colours. The first failure sticks in `st`. */
#ifndef MNEME_REPORT_CHART_H
#define MNEME_REPORT_CHART_H

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { MN_TICKS_MAX = 24, MN_CHART_WIDTH = 720 };

typedef struct mn_axis {
    double low, high; /* values; log: both above zero */
    bool log;
    double from, to; /* where they lie, in pixels */
} mn_axis;

/* Widens low .. high to round numbers, leaves the pixels. Equal or no values give a range, too. */
void mn_axis_fit(mn_axis *axis, double low, double high, bool log);
double mn_axis_at(const mn_axis *axis, double value);
/* Round values inside the range, at most MN_TICKS_MAX; *decimals is what they need. */
size_t mn_axis_ticks(double ticks[MN_TICKS_MAX], int *decimals, const mn_axis *axis);

typedef struct mn_chart {
    mn_status st;
    mn_buf svg;
    double height;
    mn_axis x, y;
} mn_chart;

typedef struct mn_chart_point {
    double x, value, low, high; /* low and high NaN: no whisker */
} mn_chart_point;

typedef struct mn_chart_series {
    const char *label;
    const mn_chart_point *points;
    size_t count;
    bool bare; /* a line without markers */
} mn_chart_series;

/* Width is MN_CHART_WIDTH. `description` says in a sentence what is drawn, for those who listen. */
void mn_chart_open(mn_chart *chart, double height, const char *title, const char *description);
void mn_chart_end(mn_chart *chart); /* closes the element; chart->svg is then whole */
void mn_chart_free(mn_chart *chart);

double mn_chart_text_width(const char *text); /* a careful estimate, in pixels */
/* `classes` of the style; anchor "start", "middle" or "end". */
void mn_chart_text(mn_chart *chart, double x, double y, const char *classes, const char *anchor,
                   const char *text);
void mn_chart_line(mn_chart *chart, double x1, double y1, double x2, double y2,
                   const char *classes);
/* Marker of series `index` at pixels, with a text that shows when it is pointed at (or NULL). */
void mn_chart_marker(mn_chart *chart, size_t index, double x, double y, bool hollow,
                     const char *hint);
void mn_chart_whisker(mn_chart *chart, size_t index, double x1, double y1, double x2, double y2);
/* Grid lines, ticks and titles of the axes chart->x and chart->y. `whole` ticks: only integers. */
void mn_chart_frame(mn_chart *chart, const char *x_title, const char *y_title, bool whole_x);

/* A whole plot of lines over numbers. Zero is on the y axis unless `log`. */
typedef struct mn_chart_lines {
    const char *title, *description, *x_title, *y_title;
    const mn_chart_series *series;
    size_t count;
    bool whole_x, log_y;
    double top; /* y axis: at most this; 0: no bound */
} mn_chart_lines;
mn_status mn_chart_draw_lines(mn_chart *chart, const mn_chart_lines *plot);

/* One row per value, with a whisker, against the first: dots and text beside each other. */
typedef struct mn_chart_dot {
    const char *label, *verdict; /* verdict: said behind the number */
    double value, low, high;
    bool hollow;
} mn_chart_dot;
typedef struct mn_chart_dots {
    const char *title, *description, *x_title;
    const mn_chart_dot *dots;
    size_t count;
    double mark; /* a line to compare with, NaN for none, and what it is called */
    const char *mark_label;
} mn_chart_dots;
mn_status mn_chart_draw_dots(mn_chart *chart, const mn_chart_dots *plot);

#endif
