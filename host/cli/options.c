/* options.c - sets the values that a table of options describes: from defaults, config files and
 * the command line. Every value, wherever it comes from, is parsed as text by the same function. */
#include "cli/options.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char mn_required[] = "(required)";

typedef struct slot {
    const mn_option *row;
    char *values;  /* the struct that row->offset points into; NULL for the parser's own rows */
    int64_t round; /* 0: default; n: set last by the n-th config file or command line */
} slot;

struct mn_options {
    slot *slots;
    size_t count, cap;
    char **strings; /* what the values point to */
    size_t string_count, string_cap;
    int64_t round;
    mn_help help;
};

/* Errors of values leave it to the caller to put the option's name in front. */
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
static mn_status keep(mn_options *o, const char **out, const char *text, size_t len) {
    *out = NULL;
    MN_TRY(mn_grow(&o->strings, &o->string_cap, o->string_count + 1, sizeof *o->strings));
    char *copy = mn_strdup_n(text, len);
    MN_CHECK(copy, MN_ERR_MEMORY, "no memory for %zu bytes of an option", len);
    o->strings[o->string_count++] = copy;
    *out = copy;
    return MN_OK;
}

static mn_status set_list(void *field, const mn_option *row, const char *text) {
    mn_option_list list = {0};
    mn_buf item = {0};
    mn_status st = MN_OK;
    for (const char *from = text, *comma; *text; from = comma + 1) {
        int64_t value = 0;
        comma = from + strcspn(from, ",");
        mn_buf_clear(&item);
        MN_GOTO(mn_buf_append(&item, from, (size_t)(comma - from)));
        const bool good = row->type == MN_OPTION_I64_LIST ? parse_i64(&value, row, item.data)
                                                          : parse_choice(&value, row, item.data);
        if (!good) {
            st = fail_value(row, item.data);
            goto done;
        }
        for (size_t i = 0; i < list.count; i++)
            MN_CHECK_GOTO(list.items[i] != value, MN_ERR_USAGE, "'%s' stands twice in '%.200s'",
                          item.data, text);
        MN_CHECK_GOTO(list.count < MN_OPTION_LIST_MAX, MN_ERR_USAGE, "more than %d items",
                      MN_OPTION_LIST_MAX);
        list.items[list.count++] = value;
        if (!*comma) break;
    }
    memcpy(field, &list, sizeof list);
done:
    mn_buf_free(&item);
    return st;
}

/* Sets the value of one row from its text. */
static mn_status set_text(mn_options *o, const slot *s, const char *text) {
    const mn_option *row = s->row;
    char *field = s->values + row->offset;
    int64_t integer = 0;
    double real = 0;
    switch (row->type) {
    case MN_OPTION_STRING: {
        const char *copy = NULL;
        if (!*text && (row->flags & MN_OPTION_NOT_EMPTY)) break;
        MN_TRY(keep(o, &copy, text, strlen(text)));
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
    case MN_OPTION_CHOICE_LIST:
        if (!*text && row->fallback) break; /* the empty list only where it is the default */
        return set_list(field, row, text);
    case MN_OPTION_CONFIG:
    case MN_OPTION_SET:
    case MN_OPTION_HELP: break;
    }
    return fail_value(row, text);
}

/* The zero of each type stands where a row has no default. */
static void set_zero(const slot *s) {
    static const size_t sizes[] = {
        [MN_OPTION_STRING] = sizeof(char *),
        [MN_OPTION_I64] = sizeof(int64_t),
        [MN_OPTION_F64] = sizeof(double),
        [MN_OPTION_FLAG] = sizeof(bool),
        [MN_OPTION_CHOICE] = sizeof(int),
        [MN_OPTION_I64_LIST] = sizeof(mn_option_list),
        [MN_OPTION_CHOICE_LIST] = sizeof(mn_option_list),
    };
    if (s->row->type == MN_OPTION_STRING) {
        const char *const unset = NULL;
        memcpy(s->values + s->row->offset, &unset, sizeof unset);
        return;
    }
    memset(s->values + s->row->offset, 0, sizes[s->row->type]);
}

static char fold(char c) { return c == '-' ? '_' : c; }

static bool same_name(const char *name, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (!name[i] || name[i] != fold(text[i])) return false;
    return !name[len];
}

/* The row called by `len` bytes of text, or NULL. */
static slot *find(const mn_options *o, const char *text, size_t len) {
    for (size_t i = 0; i < o->count; i++)
        if (same_name(o->slots[i].row->name, text, len)) return &o->slots[i];
    return NULL;
}

static mn_status fail_unknown(const mn_options *o, const char *file, const char *name, size_t len) {
    char given[64];
    mn_near near_names;
    const int shown = len < sizeof given ? (int)len : (int)sizeof given - 1;
    memcpy(given, name, (size_t)shown);
    given[shown] = '\0';
    near_names = mn_near_to(given);
    for (size_t i = 0; i < o->count; i++)
        if (!file || o->slots[i].values) mn_near_offer(&near_names, o->slots[i].row->name);
    const char *best = near_names.best;
    if (file)
        return mn_fail(MN_ERR_USAGE, "%s: unknown key '%s'%s%s%s", file, given,
                       best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
    return mn_fail(MN_ERR_USAGE, "unknown option '--%s'%s%s%s", given,
                   best ? "; did you mean '--" : "; --help lists the options", best ? best : "",
                   best ? "'?" : "");
}

/* ---- config files ---- */

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
    case MN_OPTION_I64_LIST: return cJSON_IsNumber(node);
    case MN_OPTION_FLAG: return cJSON_IsBool(node);
    default: return cJSON_IsString(node);
    }
}

/* The text of a config value, as the command line would have it. */
static mn_status config_text(mn_buf *out, const mn_option *row, const cJSON *node) {
    const bool list = row->type == MN_OPTION_I64_LIST || row->type == MN_OPTION_CHOICE_LIST;
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

mn_status mn_options_config(mn_options *o, const mn_json *doc) {
    mn_status st = MN_OK;
    mn_buf text = {0};
    const cJSON *node;
    o->round++;
    if (!cJSON_IsObject(doc->root))
        return mn_fail(MN_ERR_USAGE, "%s: expected an object with options as keys", doc->name);
    cJSON_ArrayForEach(node, doc->root) {
        slot *s = find(o, node->string, strlen(node->string));
        if (!s || !s->values) {
            st = fail_unknown(o, doc->name, node->string, strlen(node->string));
            goto done;
        }
        MN_CHECK_GOTO(s->round != o->round, MN_ERR_USAGE, "%s: the key '%s' stands twice",
                      doc->name, s->row->name);
        if (cJSON_IsNull(node)) continue;
        mn_buf_clear(&text);
        st = config_text(&text, s->row, node);
        if (st == MN_OK) st = set_text(o, s, text.data);
        if (st != MN_OK) {
            mn_fail_in(st, "%s: %s", doc->name, s->row->name);
            goto done;
        }
        s->round = o->round;
    }
done:
    mn_buf_free(&text);
    return st;
}

static mn_status load_config(mn_options *o, const char *path) {
    mn_json *doc = NULL;
    MN_TRY(mn_json_load(&doc, path));
    const mn_status st = mn_options_config(o, doc);
    mn_json_close(&doc);
    return st;
}

/* ---- command line ---- */

/* --set KEY=VALUE */
static mn_status set_pair(mn_options *o, const char *pair) {
    const size_t len = strcspn(pair, "=");
    MN_CHECK(pair[len] && len > 0, MN_ERR_USAGE, "--set: '%s' is not KEY=VALUE", pair);
    slot *s = find(o, pair, len);
    if (!s || !s->values) return fail_unknown(o, "--set", pair, len);
    s->round = o->round;
    return mn_fail_in(set_text(o, s, pair + len + 1), "--%s", s->row->name);
}

static mn_status set_help(mn_options *o, const mn_option *row, const char *text) {
    if (strcmp(row->name, "version") == 0) {
        MN_CHECK(!text, MN_ERR_USAGE, "--version takes no value");
        o->help = MN_HELP_VERSION;
    } else if (!text || strcmp(text, "text") == 0) o->help = MN_HELP_TEXT;
    else if (strcmp(text, "markdown") == 0) o->help = MN_HELP_MARKDOWN;
    else return mn_fail(MN_ERR_USAGE, "--help: '%s' is not one of text, markdown", text);
    return MN_OK;
}

/* One option of the command line: its row and its text. *text is NULL for a bare --help or --version; *used is
 * how many arguments it took. */
static mn_status next_option(slot **out, const char **text, int *used, const mn_options *o,
                             int left, char *const *argv) {
    const char *arg = argv[0];
    *used = 1;
    if (strcmp(arg, "-h") == 0) arg = "--help";
    MN_CHECK(strncmp(arg, "--", 2) == 0 && arg[2], MN_ERR_USAGE,
             "unexpected argument '%s'; options are written --name value", arg);
    const char *name = arg + 2;
    const size_t len = strcspn(name, "=");
    *out = find(o, name, len);
    if (!*out) return fail_unknown(o, NULL, name, len);
    const mn_option *row = (*out)->row;
    *text = name[len] ? name + len + 1 : NULL;
    if (*text || row->type == MN_OPTION_HELP) return MN_OK;
    if (row->type == MN_OPTION_FLAG) {
        *text = "true";
        if (left > 1 && (strcmp(argv[1], "true") == 0 || strcmp(argv[1], "false") == 0)) {
            *text = argv[1];
            *used = 2;
        }
        return MN_OK;
    }
    MN_CHECK(left > 1 && strncmp(argv[1], "--", 2) != 0, MN_ERR_USAGE,
             "--%s needs a value: --%s %s", row->name, row->name, row->value);
    *text = argv[1];
    *used = 2;
    return MN_OK;
}

/* Goes over the command line for one thing: help, config files, or (MN_OPTION_SET) the values. */
static mn_status pass(mn_options *o, mn_option_type what, int argc, char *const *argv) {
    for (int i = 1, used = 0; i < argc && !o->help; i += used) {
        slot *s = NULL;
        const char *text = NULL;
        MN_TRY(next_option(&s, &text, &used, o, argc - i, argv + i));
        if (s->row->type == what) {
            if (what == MN_OPTION_HELP) MN_TRY(set_help(o, s->row, text));
            if (what == MN_OPTION_CONFIG) MN_TRY(load_config(o, text));
            if (what == MN_OPTION_SET) MN_TRY(set_pair(o, text));
        } else if (what == MN_OPTION_SET && s->values) {
            s->round = o->round;
            MN_TRY(mn_fail_in(set_text(o, s, text), "--%s", s->row->name));
        }
    }
    return MN_OK;
}

mn_status mn_options_parse(mn_options *o, int argc, char *const *argv) {
    MN_TRY(pass(o, MN_OPTION_HELP, argc, argv));
    if (o->help) return MN_OK;
    MN_TRY(pass(o, MN_OPTION_CONFIG, argc, argv));
    o->round++;
    MN_TRY(pass(o, MN_OPTION_SET, argc, argv));
    for (size_t i = 0; i < o->count; i++) {
        const slot *s = &o->slots[i];
        MN_CHECK(s->row->fallback != mn_required || s->round > 0, MN_ERR_USAGE,
                 "--%s %s is required", s->row->name, s->row->value ? s->row->value : "");
    }
    return MN_OK;
}

/* ---- life ---- */

static mn_status add_rows(mn_options *o, const mn_option *rows, size_t count, void *values) {
    MN_TRY(mn_grow(&o->slots, &o->cap, o->count + count, sizeof *o->slots));
    for (size_t i = 0; i < count; i++) {
        const mn_option *row = &rows[i];
        const slot s = {row, values, 0};
        MN_CHECK(!find(o, row->name, strlen(row->name)), MN_ERR_USAGE,
                 "the option --%s stands twice in its tables", row->name);
        o->slots[o->count++] = s;
        if (!values) continue;
        set_zero(&s);
        if (row->fallback && row->fallback != mn_required)
            MN_TRY(mn_fail_in(set_text(o, &s, row->fallback), "the default of --%s", row->name));
    }
    return MN_OK;
}

mn_status mn_options_open(mn_options **out, const mn_option_group *groups, size_t count) {
    mn_status st = MN_OK;
    *out = NULL;
    mn_options *o = calloc(1, sizeof *o);
    MN_CHECK_GOTO(o, MN_ERR_MEMORY, "no memory for options");
    for (size_t g = 0; g < count; g++)
        MN_GOTO(add_rows(o, groups[g].rows, groups[g].count, groups[g].values));
    MN_GOTO(add_rows(o, mn_builtin_options, MN_BUILTIN_OPTIONS, NULL));
    *out = o;
    o = NULL;
done:
    mn_options_close(&o);
    return st;
}

void mn_options_close(mn_options **options) {
    mn_options *o = *options;
    if (!o) return;
    for (size_t i = 0; i < o->string_count; i++) free(o->strings[i]);
    free(o->strings);
    free(o->slots);
    free(o);
    *options = NULL;
}

mn_help mn_options_help(const mn_options *o) { return o->help; }

bool mn_options_given(const mn_options *o, const char *name) {
    const slot *s = find(o, name, strlen(name));
    return s && s->round > 0;
}

/* ---- dump ---- */

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

static mn_status dump_value(mn_buf *out, const slot *s) {
    const mn_option *row = s->row;
    const void *field = s->values + row->offset;
    if (row->fallback == mn_required && s->round == 0) return mn_buf_puts(out, "null");
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
    default: {
        mn_option_list list;
        memcpy(&list, field, sizeof list);
        return dump_list(out, row, &list);
    }
    }
}

mn_status mn_options_dump(mn_buf *out, const mn_options *o) {
    const char *before = "{\n";
    for (size_t i = 0; i < o->count; i++) {
        if (!o->slots[i].values) continue;
        MN_TRY(mn_buf_printf(out, "%s  \"%s\": ", before, o->slots[i].row->name));
        MN_TRY(dump_value(out, &o->slots[i]));
        before = ",\n";
    }
    return mn_buf_puts(out, *before == '{' ? "{}" : "\n}");
}
