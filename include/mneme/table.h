/* table.h - tables for people: cells in, aligned text or Markdown out.
 *
 * Columns are as wide as their widest cell, measured in terminal columns (Korean takes two,
 * combining marks none). Cells are one line of UTF-8: line breaks and tabs become spaces, other
 * control characters and bytes that are not UTF-8 become U+FFFD. */
#ifndef MNEME_TABLE_H
#define MNEME_TABLE_H

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stddef.h>

typedef enum mn_align { MN_LEFT, MN_RIGHT } mn_align;

typedef struct mn_column {
    const char *title;
    mn_align align;
} mn_column;

typedef struct mn_table mn_table;

mn_status mn_table_open(mn_table **out, const mn_column *columns, size_t count); /* count >= 1 */
/* Fills the next cell, row by row from left to right; a short last row has empty cells. */
mn_status mn_table_cell(mn_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void mn_table_rule(mn_table *table); /* a line above the row that begins next; not in Markdown */
void mn_table_close(mn_table **table);

/* Both append. Text: two spaces between columns, none at the end of a line. Markdown: a GitHub
 * table, padded the same way, with the characters that mean something there escaped. */
mn_status mn_table_text(mn_buf *out, const mn_table *table);
mn_status mn_table_markdown(mn_buf *out, const mn_table *table);

size_t mn_text_width(const char *text, size_t len); /* in terminal columns; a bad byte is one */

#endif
