/* page.h - the report while it is written: every call appends to the Markdown and to the HTML text,
 * tables and figures also become files of their own.
 *
 * The first failure sticks in `st` and makes later calls do nothing, so callers look once, at the
 * end. Texts are plain: each form escapes what means something in it. */
#ifndef MNEME_REPORT_PAGE_H
#define MNEME_REPORT_PAGE_H

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mn_page_file {
    char *name; /* "full_results.csv" */
    mn_buf text;
} mn_page_file;

typedef struct mn_page {
    mn_status st;
    mn_buf md, body, toc;
    mn_page_file *files;
    size_t file_count, file_cap;
    bool in_list, in_section;
    bool one_model; /* columns with MN_GRID_MODEL are only in CSV files */
} mn_page;

void mn_page_free(mn_page *page);

void mn_page_section(mn_page *page, const char *id, const char *title);
void mn_page_heading(mn_page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mn_page_para(mn_page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mn_page_item(mn_page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What stands between the two is folded away in HTML until the reader opens it or prints. */
void mn_page_fold(mn_page *page, const char *summary);
void mn_page_unfold(mn_page *page);
/* A figure: `svg` is a whole <svg> element with classes of mn_style_chart. Saved as <name>.svg. */
void mn_page_figure(mn_page *page, const char *name, const char *title, const mn_buf *svg,
                    const char *caption);
mn_status mn_page_end_list(mn_page *page); /* items before, something else behind */
/* A new file of the report, empty; NULL when the page has failed. Good until the next call. */
mn_buf *mn_page_file_new(mn_page *page, const char *name, const char *ending);
/* The whole HTML document; clears `out` first. */
mn_status mn_page_html(mn_buf *out, const mn_page *page, const char *title);

/* ---- tables ---- */

enum {
    MN_GRID_NUMBER = 1, /* right aligned */
    MN_GRID_PAGE = 2,   /* column or row: not in the CSV file */
    MN_GRID_CSV = 4,    /* column or row: only in the CSV file */
    MN_GRID_WRAP = 32,  /* column: long texts, which may break */
    MN_GRID_MODEL = 64, /* column: the model, which the page need not repeat when there is one */
    MN_GRID_GROUP = 8,  /* row: a line above */
    MN_GRID_FAINT = 16  /* row: set back, beside the one above */
};

typedef struct mn_grid_column {
    const char *title; /* in CSV: lower case, '_' for other characters than letters and digits */
    unsigned flags;
} mn_grid_column;

typedef struct mn_grid mn_grid;

/* NULL when the page has failed; the calls below take that. Cells go row by row, left to right;
 * a row that begins early leaves the rest of the one before empty. */
mn_grid *mn_grid_open(mn_page *page, const mn_grid_column *columns, size_t count);
void mn_grid_row(mn_grid *grid, unsigned flags);
void mn_grid_text(mn_grid *grid, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A label that the page shows only where `shown`; every line of the CSV file has it. */
void mn_grid_label(mn_grid *grid, const char *text, bool shown);
void mn_grid_both(mn_grid *grid, const char *on_page, const char *in_csv);
void mn_grid_number(mn_grid *grid, double value); /* three decimals, exact in CSV; NaN: no number */
void mn_grid_signed(mn_grid *grid, double value); /* with + or - */
void mn_grid_small(mn_grid *grid, double value);  /* three digits, wherever they begin */
void mn_grid_p(mn_grid *grid, double p);          /* "<0.001" */
void mn_grid_range(mn_grid *grid, double low, double high); /* "0.459 to 0.493"; for MN_GRID_PAGE */
void mn_grid_count(mn_grid *grid, int64_t value);           /* negative: not known */
size_t mn_grid_rows(const mn_grid *grid);
void mn_grid_drop(mn_grid *grid); /* frees it and leaves no trace */
/* Puts the table on the page and into <name>.csv, then frees it. */
void mn_grid_close(mn_grid *grid, const char *name, const char *caption);

/* ---- what the forms share ---- */

/* Appends `text` with & < > " and ' escaped; control characters and bytes that are not UTF-8 become
 * U+FFFD, so the result may stand in any element or attribute. */
mn_status mn_xml_escape(mn_buf *out, const char *text);
/* Appends one line of Markdown text with the characters that mean something there escaped. */
mn_status mn_markdown_escape(mn_buf *out, const char *text);
extern const char mn_style_page[], mn_style_chart[]; /* style.c: CSS of the page, of the plots */

#endif
