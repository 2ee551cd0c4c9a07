/* json.c - typed getters over cJSON, with the JSON path in every error. */
#include "mneme/json.h"

#include "mneme/file.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 1 << 30, PATH_SIZE = 256 };

mn_status mn_json_load(mn_json **out, const char *path) {
    mn_map *map = NULL;
    *out = NULL;
    MN_TRY(mn_map_open(&map, path));
    mn_status st = map->size > MAX_FILE
                       ? mn_fail(MN_ERR_DATA, "%s: %zu bytes are too many for a JSON document",
                                 path, map->size)
                       : mn_json_parse(out, (const char *)map->data, map->size, path);
    mn_map_close(&map);
    return st;
}

/* The line is left out where there is but one: a line of a jsonl file has its number in `name`. */
static mn_status parse_error(const char *text, size_t len, size_t at, const char *name) {
    int64_t line = 1, column = 1;
    char place[32] = "";
    if (at > len) at = len;
    for (size_t i = 0; i < at; i++) {
        column = text[i] == '\n' ? 1 : column + 1;
        line += text[i] == '\n';
    }
    if (memchr(text, '\n', len)) snprintf(place, sizeof place, "line %lld, ", (long long)line);
    return mn_fail(MN_ERR_DATA, "%s: broken JSON at %scolumn %lld%s", name, place,
                   (long long)column, at >= len ? " (it ends too early)" : "");
}

mn_status mn_json_parse(mn_json **out, const char *text, size_t len, const char *name) {
    mn_status st = MN_OK;
    const char *end = text;
    *out = NULL;
    MN_CHECK(len > 0, MN_ERR_DATA, "%s: empty, JSON expected", name);
    mn_json *doc = calloc(1, sizeof *doc);
    MN_CHECK_GOTO(doc && (doc->name = strdup(name)), MN_ERR_MEMORY, "%s: no memory", name);
    doc->root = cJSON_ParseWithLengthOpts(text, len, &end, 0);
    if (!doc->root) {
        st = parse_error(text, len, end ? (size_t)(end - text) : 0, name);
        goto done;
    }
    for (; end < text + len; end++)
        if (!memchr(" \t\r\n", *end, 4)) {
            st = parse_error(text, len, (size_t)(end - text), name);
            goto done;
        }
    *out = doc;
    doc = NULL;
done:
    mn_json_close(&doc);
    return st;
}

void mn_json_close(mn_json **doc) {
    if (!*doc) return;
    cJSON_Delete((*doc)->root);
    free((*doc)->name);
    free(*doc);
    *doc = NULL;
}

/* Writes the path of `node` below `from` behind `used` characters of `path`; errors only, so a plain
 * search is fast enough. cJSON limits nesting to 1000, which bounds the recursion. */
static bool find_path(char *path, size_t used, const cJSON *from, const cJSON *node) {
    if (from == node) return true;
    int index = 0;
    for (const cJSON *child = from->child; child; child = child->next, index++) {
        int more;
        if (child->string) more = snprintf(path + used, PATH_SIZE - used, ".%s", child->string);
        else more = snprintf(path + used, PATH_SIZE - used, "[%d]", index);
        const size_t next = used + (size_t)more;
        if (find_path(path, next < PATH_SIZE ? next : PATH_SIZE - 1, child, node)) return true;
        path[used] = '\0';
    }
    return false;
}

mn_status mn_json_fail(const mn_json *doc, const cJSON *node, const char *format, ...) {
    char path[PATH_SIZE] = "$", text[MN_ERROR_MAX / 2];
    if (node) find_path(path, 1, doc->root, node);
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return mn_fail(MN_ERR_DATA, "%s: %s: %s", doc->name, path, text);
}

static const char *kind(const cJSON *node) {
    if (cJSON_IsString(node)) return "a string";
    if (cJSON_IsNumber(node)) return "a number";
    if (cJSON_IsBool(node)) return "true or false";
    if (cJSON_IsNull(node)) return "null";
    return cJSON_IsArray(node) ? "an array" : "an object";
}

static const cJSON *find(const cJSON *obj, const char *key) {
    return cJSON_IsObject(obj) ? cJSON_GetObjectItemCaseSensitive(obj, key) : NULL;
}

bool mn_json_has(const cJSON *obj, const char *key) {
    const cJSON *node = find(obj, key);
    return node && !cJSON_IsNull(node);
}

mn_status mn_json_get(const cJSON **out, const mn_json *doc, const cJSON *obj, const char *key) {
    *out = find(obj, key);
    if (*out) return MN_OK;
    if (!cJSON_IsObject(obj))
        return mn_json_fail(doc, obj, "expected an object with \"%s\", found %s", key, kind(obj));
    return mn_json_fail(doc, obj, "the key \"%s\" is missing", key);
}

mn_status mn_json_object(const cJSON **out, const mn_json *doc, const cJSON *obj, const char *key) {
    MN_TRY(mn_json_get(out, doc, obj, key));
    if (!cJSON_IsObject(*out))
        return mn_json_fail(doc, *out, "expected an object, found %s", kind(*out));
    return MN_OK;
}

mn_status mn_json_array(const cJSON **out, const mn_json *doc, const cJSON *obj, const char *key) {
    MN_TRY(mn_json_get(out, doc, obj, key));
    if (!cJSON_IsArray(*out))
        return mn_json_fail(doc, *out, "expected an array, found %s", kind(*out));
    return MN_OK;
}

mn_status mn_json_as_string(const char **out, const mn_json *doc, const cJSON *node) {
    *out = NULL;
    if (!cJSON_IsString(node))
        return mn_json_fail(doc, node, "expected a string, found %s", kind(node));
    *out = node->valuestring;
    return MN_OK;
}

mn_status mn_json_string(const char **out, const mn_json *doc, const cJSON *obj, const char *key) {
    const cJSON *node = NULL;
    MN_TRY(mn_json_get(&node, doc, obj, key));
    return mn_json_as_string(out, doc, node);
}

mn_status mn_json_string_or(const char **out, const mn_json *doc, const cJSON *obj, const char *key,
                            const char *fallback) {
    *out = fallback;
    return mn_json_has(obj, key) ? mn_json_string(out, doc, obj, key) : MN_OK;
}

mn_status mn_json_as_i64(int64_t *out, const mn_json *doc, const cJSON *node, int64_t min,
                         int64_t max) {
    const double exact = 9007199254740991.0; /* 2^53 - 1: the next one may have been rounded */
    if (!cJSON_IsNumber(node))
        return mn_json_fail(doc, node, "expected an integer, found %s", kind(node));
    const double value = node->valuedouble;
    if (!(fabs(value) <= exact) || value != floor(value))
        return mn_json_fail(doc, node, "expected an integer, found %g", value);
    if (value < (double)min || value > (double)max)
        return mn_json_fail(doc, node, "expected %lld to %lld, found %.0f", (long long)min,
                            (long long)max, value);
    *out = (int64_t)value;
    return MN_OK;
}

mn_status mn_json_i64(int64_t *out, const mn_json *doc, const cJSON *obj, const char *key,
                      int64_t min, int64_t max) {
    const cJSON *node = NULL;
    MN_TRY(mn_json_get(&node, doc, obj, key));
    return mn_json_as_i64(out, doc, node, min, max);
}

mn_status mn_json_i64_or(int64_t *out, const mn_json *doc, const cJSON *obj, const char *key,
                         int64_t min, int64_t max, int64_t fallback) {
    *out = fallback;
    return mn_json_has(obj, key) ? mn_json_i64(out, doc, obj, key, min, max) : MN_OK;
}

mn_status mn_json_f64(double *out, const mn_json *doc, const cJSON *obj, const char *key) {
    const cJSON *node = NULL;
    MN_TRY(mn_json_get(&node, doc, obj, key));
    if (!cJSON_IsNumber(node))
        return mn_json_fail(doc, node, "expected a number, found %s", kind(node));
    *out = node->valuedouble;
    return MN_OK;
}

mn_status mn_json_f64_or(double *out, const mn_json *doc, const cJSON *obj, const char *key,
                         double fallback) {
    *out = fallback;
    return mn_json_has(obj, key) ? mn_json_f64(out, doc, obj, key) : MN_OK;
}

mn_status mn_json_bool_or(bool *out, const mn_json *doc, const cJSON *obj, const char *key,
                          bool fallback) {
    *out = fallback;
    if (!mn_json_has(obj, key)) return MN_OK;
    const cJSON *node = find(obj, key);
    if (!cJSON_IsBool(node))
        return mn_json_fail(doc, node, "expected true or false, found %s", kind(node));
    *out = cJSON_IsTrue(node);
    return MN_OK;
}

mn_status mn_json_number(mn_buf *out, double value) {
    if (!isfinite(value)) return mn_buf_puts(out, "null");
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    return mn_buf_puts(out, text);
}
