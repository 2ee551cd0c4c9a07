/* options_value.c - one value of an option: from text, from JSON, to JSON. */
#include "cli/options_value.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- from text ---- */

static mn_status fail_value(const mn_option *row, const char *text) {
    mn_buf expects = {0};
    mn_status st = mn_option_expects(&expects, row);
    if (st != MN_OK) goto done;
    mn_near near_names = mn_near_to(text);
    for (const char *const *name = row->choices; name && *name; name++)
        mn_near_offer(&near_names, *name);
    const char *best = near_names.best;
    st = mn_fail(MN_ERR_USAGE, "'%.200s' is not %s%s%s%s", text, expects.data,
                 best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
done:
    mn_buf_free(&expects);
    return st;
}

static bool parse_i64(int64_t *out, const mn_option *row, const char *text) {
    const char *digits = text + (*text == '-' || *text == '+');
    if (!*digits || strspn(digits, "0123456789") != strlen(digits)) return false;
    errno = 0;
    const long long value = strtoll(text, NULL, 10);
    if (errno != 0 || value < row->min || value > row->max) return false;
    *out = value;
    return true;
}

static bool parse_f64(double *out, const mn_option *row, const char *text) {
    char *end = NULL;
    if (!*text || strspn(text, "0123456789+-.eE") != strlen(text)) return false;
    const double value = strtod(text, &end);
    if (*end || !isfinite(value) || value < row->fmin || value > row->fmax) return false;
    *out = value;
    return true;
}

static bool parse_choice(int64_t *out, const mn_option *row, const char *text) {
    for (int i = 0; row->choices[i]; i++)
        if (strcmp(row->choices[i], text) == 0) {
            *out = i;
            return true;
        }
    return false;
}

/* Takes `len` bytes of text over into the store of strings. */
static mn_status keep(mn_option_strings *strings, const char **out, const char *text, size_t len) {
    *out = NULL;
    MN_TRY(mn_grow(&strings->items, &strings->cap, strings->count + 1, sizeof *strings->items));
    char *copy = mn_strdup_n(text, len);
    MN_CHECK(copy, MN_ERR_MEMORY, "no memory for %zu bytes of an option", len);
    strings->items[strings->count++] = copy;
    *out = copy;
    return MN_OK;
}

/* One item of a list, as text, in the place that comes next in the list. */
static bool add_item(mn_option_list *list, mn_option_reals *reals, const mn_option *row,
                     const char *text) {
    int64_t *item = &list->items[list->count++];
    if (row->type == MN_OPTION_F64_LIST) return parse_f64(&reals->items[reals->count++], row, text);
    return row->type == MN_OPTION_I64_LIST ? parse_i64(item, row, text)
                                           : parse_choice(item, row, text);
}

/* Whether the last item is there already. Both lists count; only the row's own has items. */
static bool stands_twice(const mn_option_list *list, const mn_option_reals *reals) {
    const size_t last = list->count - 1;
    for (size_t i = 0; i < last; i++)
        if (reals->count > 0 ? reals->items[i] == reals->items[last]
                             : list->items[i] == list->items[last])
            return true;
    return false;
}

static mn_status set_list(void *field, const mn_option *row, const char *text) {
    mn_option_list list = {0};
    mn_option_reals reals = {0};
    mn_buf item = {0};
    mn_status st = MN_OK;
    for (const char *from = text, *comma; *text; from = comma + 1) {
        comma = from + strcspn(from, ",");
        mn_buf_clear(&item);
        MN_GOTO(mn_buf_append(&item, from, (size_t)(comma - from)));
        MN_CHECK_GOTO(list.count < MN_OPTION_LIST_MAX, MN_ERR_USAGE, "more than %d items",
                      MN_OPTION_LIST_MAX);
        if (!add_item(&list, &reals, row, item.data)) {
            st = fail_value(row, item.data);
            goto done;
        }
        MN_CHECK_GOTO(!stands_twice(&list, &reals), MN_ERR_USAGE, "'%s' stands twice in '%.200s'",
                      item.data, text);
        if (!*comma) break;
    }
    if (row->type == MN_OPTION_F64_LIST) memcpy(field, &reals, sizeof reals);
    else memcpy(field, &list, sizeof list);
done:
    mn_buf_free(&item);
    return st;
}

mn_status mn_option_set(mn_option_strings *strings, const mn_option *row, char *values,
                        const char *text) {
    char *field = values + row->offset;
    int64_t integer = 0;
    double real = 0;
    switch (row->type) {
    case MN_OPTION_STRING: {
        const char *copy = NULL;
        if (!*text && (row->flags & MN_OPTION_NOT_EMPTY)) break;
        MN_TRY(keep(strings, &copy, text, strlen(text)));
        memcpy(field, &copy, sizeof copy);
        return MN_OK;
    }
    case MN_OPTION_I64:
        if (!((row->flags & MN_OPTION_AUTO) && strcmp(text, "auto") == 0) &&
            !parse_i64(&integer, row, text))
            break;
        memcpy(field, &integer, sizeof integer);
        return MN_OK;
    case MN_OPTION_F64:
        if (!parse_f64(&real, row, text)) break;
        memcpy(field, &real, sizeof real);
        return MN_OK;
    case MN_OPTION_FLAG: {
        const bool flag = strcmp(text, "true") == 0;
        if (!flag && strcmp(text, "false") != 0) break;
        memcpy(field, &flag, sizeof flag);
        return MN_OK;
    }
    case MN_OPTION_CHOICE: {
        if (!parse_choice(&integer, row, text)) break;
        const int index = (int)integer;
        memcpy(field, &index, sizeof index);
        return MN_OK;
    }
    case MN_OPTION_I64_LIST:
    case MN_OPTION_F64_LIST:
    case MN_OPTION_CHOICE_LIST:
        if (!*text && row->fallback) break; /* the empty list only where it is the default */
        return set_list(field, row, text);
    case MN_OPTION_CONFIG:
    case MN_OPTION_SET:
    case MN_OPTION_HELP: break;
    }
    return fail_value(row, text);
}

void mn_option_clear(const mn_option *row, char *values) {
    static const size_t sizes[] = {
        [MN_OPTION_STRING] = sizeof(char *),
        [MN_OPTION_I64] = sizeof(int64_t),
        [MN_OPTION_F64] = sizeof(double),
        [MN_OPTION_FLAG] = sizeof(bool),
        [MN_OPTION_CHOICE] = sizeof(int),
        [MN_OPTION_I64_LIST] = sizeof(mn_option_list),
        [MN_OPTION_F64_LIST] = sizeof(mn_option_reals),
        [MN_OPTION_CHOICE_LIST] = sizeof(mn_option_list),
    };
    if (row->type == MN_OPTION_STRING) {
        const char *const unset = NULL;
        memcpy(values + row->offset, &unset, sizeof unset);
        return;
    }
    memset(values + row->offset, 0, sizes[row->type]);
}

/* ---- from JSON ---- */

bool mn_option_is_list(const mn_option *row) {
    return row->type == MN_OPTION_I64_LIST || row->type == MN_OPTION_F64_LIST ||
           row->type == MN_OPTION_CHOICE_LIST;
}

static mn_status scalar_text(mn_buf *out, const cJSON *node) {
    if (cJSON_IsString(node)) return mn_buf_puts(out, node->valuestring);
    if (cJSON_IsBool(node)) return mn_buf_puts(out, cJSON_IsTrue(node) ? "true" : "false");
    const double value = node->valuedouble;
    if (value == floor(value) && fabs(value) <= (double)MN_OPTION_NO_MAX)
        return mn_buf_printf(out, "%.0f", value);
    return isfinite(value) ? mn_json_number(out, value) : mn_buf_printf(out, "%g", value);
}

/* Whether a JSON value has the kind that a row takes; `item`: as one item of its list. */
static bool right_kind(const mn_option *row, const cJSON *node) {
    switch (row->type) {
    case MN_OPTION_I64:
        return cJSON_IsNumber(node) || ((row->flags & MN_OPTION_AUTO) && cJSON_IsString(node));
    case MN_OPTION_F64:
    case MN_OPTION_F64_LIST:
    case MN_OPTION_I64_LIST: return cJSON_IsNumber(node);
    case MN_OPTION_FLAG: return cJSON_IsBool(node);
    default: return cJSON_IsString(node);
    }
}

mn_status mn_option_text(mn_buf *out, const mn_option *row, const cJSON *node) {
    const bool list = mn_option_is_list(row);
    const cJSON *bad = list && cJSON_IsArray(node) ? NULL : right_kind(row, node) ? NULL : node;
    if (!bad && list && cJSON_IsArray(node)) {
        const cJSON *item;
        cJSON_ArrayForEach(item, node) {
            if (!right_kind(row, item)) {
                bad = item;
                break;
            }
            if (item != node->child) MN_TRY(mn_buf_puts(out, ","));
            MN_TRY(scalar_text(out, item));
        }
    } else if (!bad) {
        MN_TRY(scalar_text(out, node));
    }
    if (!bad) return out->data ? MN_OK : mn_buf_puts(out, "");
    mn_buf_clear(out);
    MN_TRY(mn_option_expects(out, row));
    char *found = cJSON_PrintUnformatted(bad);
    const mn_status st = mn_fail(MN_ERR_USAGE, "expected %s, found %.60s", out->data,
                                 found ? found : "something else");
    cJSON_free(found);
    return st;
}

/* ---- to JSON ---- */

static mn_status dump_reals(mn_buf *out, const mn_option_reals *list) {
    for (size_t i = 0; i < list->count; i++) {
        MN_TRY(mn_buf_puts(out, i > 0 ? ", " : "["));
        MN_TRY(mn_json_number(out, list->items[i]));
    }
    return mn_buf_puts(out, list->count > 0 ? "]" : "[]");
}

static mn_status dump_list(mn_buf *out, const mn_option *row, const mn_option_list *list) {
    MN_TRY(mn_buf_puts(out, "["));
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0) MN_TRY(mn_buf_puts(out, ", "));
        if (row->type == MN_OPTION_I64_LIST)
            MN_TRY(mn_buf_printf(out, "%lld", (long long)list->items[i]));
        else MN_TRY(mn_buf_printf(out, "\"%s\"", row->choices[list->items[i]]));
    }
    return mn_buf_puts(out, "]");
}

mn_status mn_option_dump(mn_buf *out, const mn_option *row, const char *values) {
    const void *field = values + row->offset;
    switch (row->type) {
    case MN_OPTION_STRING: {
        const char *text;
        memcpy(&text, field, sizeof text);
        return text ? mn_json_quote(out, text, strlen(text)) : mn_buf_puts(out, "null");
    }
    case MN_OPTION_I64: {
        int64_t value;
        memcpy(&value, field, sizeof value);
        if (value == 0 && (row->flags & MN_OPTION_AUTO)) return mn_buf_puts(out, "\"auto\"");
        return mn_buf_printf(out, "%lld", (long long)value);
    }
    case MN_OPTION_F64: {
        double value;
        memcpy(&value, field, sizeof value);
        return mn_json_number(out, value);
    }
    case MN_OPTION_FLAG: {
        bool flag;
        memcpy(&flag, field, sizeof flag);
        return mn_buf_puts(out, flag ? "true" : "false");
    }
    case MN_OPTION_CHOICE: {
        int index;
        memcpy(&index, field, sizeof index);
        return mn_buf_printf(out, "\"%s\"", row->choices[index]);
    }
    case MN_OPTION_F64_LIST: {
        mn_option_reals list;
        memcpy(&list, field, sizeof list);
        return dump_reals(out, &list);
    }
    default: {
        mn_option_list list;
        memcpy(&list, field, sizeof list);
        return dump_list(out, row, &list);
    }
    }
}
