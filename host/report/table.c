/* table.c - lays out tables as aligned plain text and as Markdown. */
#include "mneme/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct cell {
    char *text; /* clean UTF-8 */
    bool rule;  /* a line above; only in the first cell of a row */
} cell;

/* The titles are the first row of cells. */
struct mn_table {
    mn_align *align;
    size_t columns;
    cell *cells;
    size_t count, cap;
    bool rule; /* the next cell that begins a row gets a line above */
};

/* Length in bytes of the first character; *point is -1 for a byte that is not UTF-8. */
static size_t next(utf8proc_int32_t *point, const char *text, size_t len) {
    const utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text,
                                                   (utf8proc_ssize_t)len, point);
    if (used > 0) return (size_t)used;
    *point = -1;
    return 1;
}

size_t mn_text_width(const char *text, size_t len) {
    size_t width = 0;
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t point;
        i += next(&point, text + i, len - i);
        const int columns = point < 0 ? 1 : utf8proc_charwidth(point);
        width += columns > 0 ? (size_t)columns : 0;
    }
    return width;
}

static mn_status append_clean(mn_buf *out, const char *text, size_t len) {
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t point;
        const size_t used = next(&point, text + i, len - i);
        if (point == '\n' || point == '\r' || point == '\t') MN_TRY(mn_buf_puts(out, " "));
        else if (point < 0x20 || (point >= 0x7F && point < 0xA0))
            MN_TRY(mn_buf_puts(out, "\xEF\xBF\xBD"));
        else MN_TRY(mn_buf_append(out, text + i, used));
        i += used;
    }
    return MN_OK;
}

static mn_status push(mn_table *table, const char *text, size_t len) {
    mn_buf clean = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_buf_puts(&clean, "")); /* an empty cell has a text, too */
    MN_GOTO(append_clean(&clean, text, len));
    MN_GOTO(mn_grow(&table->cells, &table->cap, table->count + 1, sizeof *table->cells));
    const bool first = table->count % table->columns == 0;
    table->cells[table->count++] = (cell){.text = clean.data, .rule = first && table->rule};
    if (first) table->rule = false;
    clean = (mn_buf){0};
done:
    mn_buf_free(&clean);
    return st;
}

mn_status mn_table_open(mn_table **out, const mn_column *columns, size_t count) {
    mn_status st = MN_OK;
    *out = NULL;
    mn_table *table = calloc(1, sizeof *table);
    MN_CHECK_GOTO(table, MN_ERR_MEMORY, "table: no memory");
    table->columns = count;
    table->align = calloc(count, sizeof *table->align);
    MN_CHECK_GOTO(table->align, MN_ERR_MEMORY, "table: no memory for %zu columns", count);
    for (size_t c = 0; c < count; c++) {
        table->align[c] = columns[c].align;
        MN_GOTO(push(table, columns[c].title, strlen(columns[c].title)));
    }
    table->rule = true;
    *out = table;
    table = NULL;
done:
    mn_table_close(&table);
    return st;
}

mn_status mn_table_cell(mn_table *table, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    MN_CHECK(len >= 0, MN_ERR_USAGE, "table: bad format \"%s\"", format);
    char *text = malloc((size_t)len + 1);
    MN_CHECK(text, MN_ERR_MEMORY, "table: no memory for a cell of %d bytes", len);
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    const mn_status st = push(table, text, (size_t)len);
    free(text);
    return st;
}

void mn_table_rule(mn_table *table) { table->rule = true; }

void mn_table_close(mn_table **table) {
    mn_table *t = *table;
    if (!t) return;
    for (size_t i = 0; i < t->count; i++) free(t->cells[i].text);
    free(t->cells);
    free(t->align);
    free(t);
    *table = NULL;
}

static mn_status spaces(mn_buf *out, size_t count, char fill) {
    MN_TRY(mn_buf_reserve(out, count));
    for (size_t i = 0; i < count; i++) MN_TRY(mn_buf_append(out, &fill, 1));
    return MN_OK;
}

static mn_status padded(mn_buf *out, const char *text, size_t width, mn_align align) {
    const size_t own = mn_text_width(text, strlen(text));
    const size_t fill = width > own ? width - own : 0;
    if (align == MN_RIGHT) MN_TRY(spaces(out, fill, ' '));
    MN_TRY(mn_buf_puts(out, text));
    return align == MN_LEFT ? spaces(out, fill, ' ') : MN_OK;
}

/* Replaces `out` by the text of a cell as it is written; a cell that is not there is empty. */
static mn_status written(mn_buf *out, const mn_table *table, size_t at, bool markdown) {
    const char *text = at < table->count ? table->cells[at].text : "";
    mn_buf_clear(out);
    MN_TRY(mn_buf_puts(out, ""));
    for (const char *p = text; *p; p++) {
        if (markdown && strchr("|\\`*_~<&[", *p)) MN_TRY(mn_buf_puts(out, "\\"));
        MN_TRY(mn_buf_append(out, p, 1));
    }
    return MN_OK;
}

/* The width of every column, at least 3 for the dashes of Markdown; free() it. NULL, with the error
 * record written, when memory is out. */
static size_t *measure(const mn_table *table, bool markdown) {
    mn_buf text = {0};
    size_t *widths = calloc(table->columns, sizeof *widths);
    if (!widths) {
        (void)mn_fail(MN_ERR_MEMORY, "table: no memory for %zu columns", table->columns);
        return NULL;
    }
    for (size_t c = 0; markdown && c < table->columns; c++) widths[c] = 3;
    for (size_t i = 0; i < table->count && widths; i++) {
        const size_t c = i % table->columns;
        if (written(&text, table, i, markdown) != MN_OK) {
            free(widths);
            widths = NULL;
        } else if (mn_text_width(text.data, text.len) > widths[c]) {
            widths[c] = mn_text_width(text.data, text.len);
        }
    }
    mn_buf_free(&text);
    return widths;
}

static mn_status end_line(mn_buf *out) {
    while (out->len > 0 && out->data[out->len - 1] == ' ') out->data[--out->len] = '\0';
    return mn_buf_puts(out, "\n");
}

mn_status mn_table_text(mn_buf *out, const mn_table *table) {
    mn_buf text = {0};
    mn_status st = MN_OK;
    size_t *widths = measure(table, false);
    if (!widths) return MN_ERR_MEMORY;
    for (size_t row = 0; row < table->count; row += table->columns) {
        for (size_t c = 0; table->cells[row].rule && c < table->columns; c++) {
            if (c > 0) MN_GOTO(spaces(out, 2, ' '));
            MN_GOTO(spaces(out, widths[c], '-'));
        }
        if (table->cells[row].rule) MN_GOTO(end_line(out));
        for (size_t c = 0; c < table->columns; c++) {
            if (c > 0) MN_GOTO(spaces(out, 2, ' '));
            MN_GOTO(written(&text, table, row + c, false));
            MN_GOTO(padded(out, text.data, widths[c], table->align[c]));
        }
        MN_GOTO(end_line(out));
    }
done:
    free(widths);
    mn_buf_free(&text);
    return st;
}

mn_status mn_table_markdown(mn_buf *out, const mn_table *table) {
    mn_buf text = {0};
    mn_status st = MN_OK;
    size_t *widths = measure(table, true);
    if (!widths) return MN_ERR_MEMORY;
    for (size_t row = 0; row < table->count; row += table->columns) {
        for (size_t c = 0; c < table->columns; c++) {
            MN_GOTO(mn_buf_puts(out, c > 0 ? " | " : "| "));
            MN_GOTO(written(&text, table, row + c, true));
            MN_GOTO(padded(out, text.data, widths[c], table->align[c]));
        }
        MN_GOTO(mn_buf_puts(out, " |\n"));
        for (size_t c = 0; row == 0 && c < table->columns; c++) {
            const bool right = table->align[c] == MN_RIGHT;
            MN_GOTO(mn_buf_puts(out, c > 0 ? " | " : "| "));
            MN_GOTO(spaces(out, widths[c] - right, '-'));
            if (right) MN_GOTO(mn_buf_puts(out, ":"));
        }
        if (row == 0) MN_GOTO(mn_buf_puts(out, " |\n"));
    }
done:
    free(widths);
    mn_buf_free(&text);
    return st;
}
