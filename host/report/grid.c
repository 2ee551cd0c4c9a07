/* grid.c - one table, three forms: Markdown and HTML for people, CSV for programs. */
#include "report/page.h"

#include "mneme/json.h"
#include "mneme/table.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DASH "\xE2\x80\x93" /* nothing known */

typedef struct grid_cell {
    char *page, *csv; /* owned; NULL is empty */
} grid_cell;

struct mn_grid {
    mn_page *page;
    const mn_grid_column *columns; /* the caller's */
    size_t count;
    grid_cell *cells; /* rows x count */
    size_t cell_cap;
    unsigned *rows; /* flags */
    size_t row_count, row_cap;
    size_t at; /* column of the next cell */
};

mn_grid *mn_grid_open(mn_page *page, const mn_grid_column *columns, size_t count) {
    if (page->st != MN_OK) return NULL;
    mn_grid *grid = calloc(1, sizeof *grid);
    if (!grid) {
        page->st = mn_fail(MN_ERR_MEMORY, "report: no memory for a table");
        return NULL;
    }
    grid->page = page;
    grid->columns = columns;
    grid->count = count;
    return grid;
}

void mn_grid_drop(mn_grid *grid) {
    if (!grid) return;
    for (size_t i = 0; i < grid->row_count * grid->count; i++) {
        free(grid->cells[i].page);
        free(grid->cells[i].csv);
    }
    free(grid->cells);
    free(grid->rows);
    free(grid);
}

void mn_grid_row(mn_grid *grid, unsigned flags) {
    if (!grid || grid->page->st != MN_OK) return;
    mn_page *page = grid->page;
    const size_t row = grid->row_count;
    page->st = mn_grow(&grid->rows, &grid->row_cap, row + 1, sizeof *grid->rows);
    if (page->st == MN_OK)
        page->st = mn_grow(&grid->cells, &grid->cell_cap, (row + 1) * grid->count,
                           sizeof *grid->cells);
    if (page->st != MN_OK) return;
    for (size_t c = 0; c < grid->count; c++) grid->cells[row * grid->count + c] = (grid_cell){0};
    grid->rows[row] = flags;
    grid->row_count = row + 1;
    grid->at = 0;
}

void mn_grid_both(mn_grid *grid, const char *on_page, const char *in_csv) {
    if (!grid || grid->page->st != MN_OK) return;
    if (grid->row_count == 0 || grid->at == grid->count) {
        grid->page->st = mn_fail(MN_ERR_USAGE, "report: a table has a cell too many: %s", on_page);
        return;
    }
    grid_cell *cell = &grid->cells[(grid->row_count - 1) * grid->count + grid->at++];
    cell->page = mn_strdup_n(on_page, strlen(on_page));
    cell->csv = mn_strdup_n(in_csv, strlen(in_csv));
    if (!cell->page || !cell->csv)
        grid->page->st = mn_fail(MN_ERR_MEMORY, "report: no memory for a cell");
}

void mn_grid_text(mn_grid *grid, const char *format, ...) {
    if (!grid || grid->page->st != MN_OK) return;
    va_list args;
    va_start(args, format);
    const int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = need >= 0 ? malloc((size_t)need + 1) : NULL;
    if (!text) {
        grid->page->st = mn_fail(MN_ERR_MEMORY, "report: no memory for a cell");
        return;
    }
    va_start(args, format);
    vsnprintf(text, (size_t)need + 1, format, args);
    va_end(args);
    mn_grid_both(grid, text, text);
    free(text);
}

void mn_grid_label(mn_grid *grid, const char *text, bool shown) {
    mn_grid_both(grid, shown ? text : "", text);
}

/* `text` on the page, the exact value in the file. */
static void number(mn_grid *grid, const char *text, double value) {
    if (!grid || grid->page->st != MN_OK) return;
    mn_buf exact = {0};
    if (isfinite(value)) grid->page->st = mn_json_number(&exact, value);
    if (grid->page->st == MN_OK)
        mn_grid_both(grid, isfinite(value) ? text : DASH, exact.data ? exact.data : "");
    mn_buf_free(&exact);
}

/* -0.0004 is no negative number when it is shown with three decimals. */
static double shown(double value) { return fabs(value) < 0.0005 ? 0.0 : value; }

void mn_grid_number(mn_grid *grid, double value) {
    char text[64];
    snprintf(text, sizeof text, "%.3f", shown(value));
    number(grid, text, value);
}

void mn_grid_signed(mn_grid *grid, double value) {
    char text[64];
    snprintf(text, sizeof text, "%+.3f", shown(value));
    number(grid, text, value);
}

void mn_grid_small(mn_grid *grid, double value) {
    char text[64];
    snprintf(text, sizeof text, "%.3g", value);
    number(grid, text, value);
}

void mn_grid_p(mn_grid *grid, double p) {
    char text[64];
    snprintf(text, sizeof text, "%.3f", p);
    number(grid, p < 0.001 ? "<0.001" : text, p);
}

void mn_grid_range(mn_grid *grid, double low, double high) {
    char text[64];
    snprintf(text, sizeof text, "%.3f to %.3f", shown(low), shown(high));
    mn_grid_both(grid, isfinite(low) && isfinite(high) ? text : DASH, "");
}

void mn_grid_count(mn_grid *grid, int64_t value) {
    if (value < 0) mn_grid_both(grid, DASH, "");
    else mn_grid_text(grid, "%lld", (long long)value);
}

size_t mn_grid_rows(const mn_grid *grid) { return grid ? grid->row_count : 0; }

/* ---- out ---- */

static const char *cell_at(const mn_grid *grid, size_t row, size_t column, bool csv) {
    const grid_cell *cell = &grid->cells[row * grid->count + column];
    const char *text = csv ? cell->csv : cell->page;
    return text ? text : "";
}

static mn_status csv_cell(mn_buf *out, const char *text, bool first) {
    if (!first) MN_TRY(mn_buf_puts(out, ","));
    if (!strpbrk(text, ",\"\r\n")) return mn_buf_puts(out, text);
    MN_TRY(mn_buf_puts(out, "\""));
    for (const char *p = text; *p; p++) {
        if (*p == '"') MN_TRY(mn_buf_puts(out, "\""));
        MN_TRY(mn_buf_append(out, p, 1));
    }
    return mn_buf_puts(out, "\"");
}

/* "f1.micro" -> "f1_micro", "1-shot (base)" -> "1_shot_base". */
static void csv_title(char *out, size_t size, const char *title) {
    size_t len = 0;
    for (const char *p = title; *p && len + 1 < size; p++) {
        const unsigned char c = (unsigned char)*p;
        if (isalnum(c) && c < 0x80) out[len++] = (char)tolower(c);
        else if (len > 0 && out[len - 1] != '_') out[len++] = '_';
    }
    while (len > 0 && out[len - 1] == '_') len--;
    out[len] = '\0';
}

static mn_status csv(mn_buf *out, const mn_grid *grid) {
    bool first = true;
    for (size_t c = 0; c < grid->count; c++) {
        char title[96];
        if (grid->columns[c].flags & MN_GRID_PAGE) continue;
        csv_title(title, sizeof title, grid->columns[c].title);
        MN_TRY(csv_cell(out, title, first));
        first = false;
    }
    MN_TRY(mn_buf_puts(out, "\n"));
    for (size_t r = 0; r < grid->row_count; r++) {
        if (grid->rows[r] & MN_GRID_PAGE) continue;
        first = true;
        for (size_t c = 0; c < grid->count; c++) {
            if (grid->columns[c].flags & MN_GRID_PAGE) continue;
            MN_TRY(csv_cell(out, cell_at(grid, r, c, true), first));
            first = false;
        }
        MN_TRY(mn_buf_puts(out, "\n"));
    }
    return MN_OK;
}

static bool on_page(const mn_grid *grid, size_t column) {
    const unsigned flags = grid->columns[column].flags;
    return !(flags & MN_GRID_CSV) && !(flags & MN_GRID_MODEL && grid->page->one_model);
}

static mn_status as_markdown(mn_buf *out, const mn_grid *grid) {
    mn_table *table = NULL;
    mn_status st = MN_OK;
    size_t count = 0;
    mn_column *columns = calloc(grid->count, sizeof *columns);
    MN_CHECK_GOTO(columns, MN_ERR_MEMORY, "report: no memory for a table");
    for (size_t c = 0; c < grid->count; c++)
        if (on_page(grid, c))
            columns[count++] = (mn_column){grid->columns[c].title,
                                           grid->columns[c].flags & MN_GRID_NUMBER ? MN_RIGHT
                                                                                   : MN_LEFT};
    MN_GOTO(mn_table_open(&table, columns, count));
    for (size_t r = 0; r < grid->row_count; r++)
        for (size_t c = 0; c < grid->count; c++)
            if (on_page(grid, c) && !(grid->rows[r] & MN_GRID_CSV))
                MN_GOTO(mn_table_cell(table, "%s", cell_at(grid, r, c, false)));
    MN_GOTO(mn_table_markdown(out, table));
    MN_GOTO(mn_buf_puts(out, "\n"));
done:
    mn_table_close(&table);
    free(columns);
    return st;
}

static mn_status html_cell(mn_buf *out, const char *tag, unsigned flags, const char *text) {
    MN_TRY(mn_buf_printf(out, "<%s%s>", tag,
                         flags & MN_GRID_NUMBER ? " class=\"n\""
                         : flags & MN_GRID_WRAP ? " class=\"w\""
                                                : ""));
    MN_TRY(mn_xml_escape(out, text));
    return mn_buf_printf(out, "</%.2s>", tag);
}

static mn_status html(mn_buf *out, const mn_grid *grid, const char *name, const char *caption) {
    /* Beside the table rather than in it: there it would be as wide as the table. */
    MN_TRY(mn_buf_printf(out, "<p class=\"caption\" id=\"t-%s\">", name));
    MN_TRY(mn_xml_escape(out, caption));
    MN_TRY(mn_buf_printf(out,
                         "</p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
                         "aria-labelledby=\"t-%s\">\n<table aria-labelledby=\"t-%s\">\n"
                         "<thead>\n<tr>",
                         name, name));
    for (size_t c = 0; c < grid->count; c++)
        if (on_page(grid, c))
            MN_TRY(
                html_cell(out, "th scope=\"col\"", grid->columns[c].flags, grid->columns[c].title));
    MN_TRY(mn_buf_puts(out, "</tr>\n</thead>\n<tbody>\n"));
    for (size_t r = 0; r < grid->row_count; r++) {
        const unsigned flags = grid->rows[r];
        if (flags & MN_GRID_CSV) continue;
        MN_TRY(mn_buf_printf(out, "<tr%s>",
                             flags & MN_GRID_GROUP   ? " class=\"group\""
                             : flags & MN_GRID_FAINT ? " class=\"faint\""
                                                     : ""));
        bool head = true; /* the first cell names its row, unless the one above does */
        for (size_t c = 0; c < grid->count; c++) {
            if (!on_page(grid, c)) continue;
            const char *text = cell_at(grid, r, c, false);
            MN_TRY(html_cell(out, head && *text ? "th scope=\"row\"" : "td", grid->columns[c].flags,
                             text));
            head = false;
        }
        MN_TRY(mn_buf_puts(out, "</tr>\n"));
    }
    return mn_buf_puts(out, "</tbody>\n</table>\n</div>\n");
}

static mn_status put(mn_grid *grid, const char *name, const char *caption) {
    mn_page *page = grid->page;
    mn_buf *file = mn_page_file_new(page, name, ".csv");
    if (!file) return page->st;
    MN_TRY(csv(file, grid));
    MN_TRY(mn_page_end_list(page));
    MN_TRY(mn_markdown_escape(&page->md, caption));
    MN_TRY(mn_buf_printf(&page->md, " ([CSV](%s.csv))\n\n", name));
    MN_TRY(as_markdown(&page->md, grid));
    return html(&page->body, grid, name, caption);
}

void mn_grid_close(mn_grid *grid, const char *name, const char *caption) {
    if (!grid) return;
    if (grid->page->st == MN_OK) grid->page->st = put(grid, name, caption);
    mn_grid_drop(grid);
}
