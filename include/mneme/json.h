/* json.h - typed, checked access to JSON documents (cJSON underneath).
 *
 * Every getter fails with "<file>: <JSON path>: expected ..., found ..." ; a document keeps its name
 * for that. Nodes belong to the document. Object keys are compared exactly (cJSON's default ignores
 * case). Integers are read from the double and refused from 2^53 on (cJSON's valueint saturates at INT_MAX). */
#ifndef MNEME_JSON_H
#define MNEME_JSON_H

#include "mneme/buf.h"
#include "mneme/status.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct mn_json {
    cJSON *root;
    char *name; /* file name, or "file:line" for one line of a jsonl file */
} mn_json;

mn_status mn_json_load(mn_json **out, const char *path);
/* Parses one whole value; anything but white space behind it is an error. Errors name line and
 * column inside `text`. */
mn_status mn_json_parse(mn_json **out, const char *text, size_t len, const char *name);
void mn_json_close(mn_json **doc);

/* All getters look `key` up in the object `obj` of `doc`. The plain form fails when the key is
 * missing; the _or form takes the default when it is missing or null. */
bool mn_json_has(const cJSON *obj, const char *key); /* present and not null */
mn_status mn_json_get(const cJSON **out, const mn_json *doc, const cJSON *obj, const char *key);
mn_status mn_json_object(const cJSON **out, const mn_json *doc, const cJSON *obj, const char *key);
mn_status mn_json_array(const cJSON **out, const mn_json *doc, const cJSON *obj, const char *key);
mn_status mn_json_string(const char **out, const mn_json *doc, const cJSON *obj, const char *key);
mn_status mn_json_string_or(const char **out, const mn_json *doc, const cJSON *obj, const char *key,
                            const char *fallback);
mn_status mn_json_i64(int64_t *out, const mn_json *doc, const cJSON *obj, const char *key,
                      int64_t min, int64_t max);
mn_status mn_json_i64_or(int64_t *out, const mn_json *doc, const cJSON *obj, const char *key,
                         int64_t min, int64_t max, int64_t fallback);
mn_status mn_json_f64(double *out, const mn_json *doc, const cJSON *obj, const char *key);
mn_status mn_json_f64_or(double *out, const mn_json *doc, const cJSON *obj, const char *key,
                         double fallback);
mn_status mn_json_bool_or(bool *out, const mn_json *doc, const cJSON *obj, const char *key,
                          bool fallback);
/* A node by itself, for array elements: integer in [min, max], or a string. */
mn_status mn_json_as_i64(int64_t *out, const mn_json *doc, const cJSON *node, int64_t min,
                         int64_t max);
mn_status mn_json_as_string(const char **out, const mn_json *doc, const cJSON *node);

/* Fails with MN_ERR_DATA and "<name>: <path of node>: <format>". */
mn_status mn_json_fail(const mn_json *doc, const cJSON *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Writing: appends `text` as a JSON string with quotes (UTF-8 kept, control characters escaped;
 * bytes that are not UTF-8 become U+FFFD). */
mn_status mn_json_quote(mn_buf *out, const char *text, size_t len);
/* Appends a double so that reading it back gives the same value; NaN and infinities as null. */
mn_status mn_json_number(mn_buf *out, double value);

/* Reading a jsonl stream: the lines of `text` one after the other; *line is 1-based.
 * Returns false at the end. The line excludes its newline (and a carriage return before it);
 * lines of white space are skipped. A UTF-8 byte order mark at the start of the text is skipped. */
typedef struct mn_lines {
    const char *at, *end;
    int64_t number; /* of the line returned last */
} mn_lines;
mn_lines mn_lines_over(const void *text, size_t len);
bool mn_lines_next(mn_lines *lines, const char **line, size_t *len);

#endif
