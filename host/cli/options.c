/* options.c - sets the values that a table of options describes: from defaults, config files and
 * the command line. Every value, wherever it comes from, is parsed as text by the same function. */
#include "cli/options_value.h"

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
    mn_option_strings strings; /* what the values point to */
    int64_t round;
    mn_help help;
};

static char fold(char c) { return c == '-' ? '_' : c; }

static bool same_name(const char *name, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (!name[i] || name[i] != fold(text[i])) return false;
    return !name[len];
}

static mn_status set_text(mn_options *o, const slot *s, const char *text) {
    return mn_option_set(&o->strings, s->row, s->values, text);
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

/* Whether some row's name begins with `name` and a dot. */
static bool is_section(const mn_options *o, const char *name, size_t len) {
    for (size_t i = 0; i < o->count; i++) {
        const char *dot = strchr(o->slots[i].row->name, '.');
        for (; dot; dot = strchr(dot + 1, '.')) {
            const size_t before = (size_t)(dot - o->slots[i].row->name);
            size_t same = 0;
            while (same < len && o->slots[i].row->name[same] == fold(name[same])) same++;
            if (same == len && before == len) return true;
        }
    }
    return false;
}

static mn_status config_value(mn_options *o, slot *s, const mn_json *doc, const cJSON *node) {
    mn_buf text = {0};
    MN_CHECK(s->round != o->round, MN_ERR_USAGE, "%s: the key '%s' stands twice", doc->name,
             s->row->name);
    if (cJSON_IsNull(node)) return MN_OK;
    mn_status st = mn_option_text(&text, s->row, node);
    if (st == MN_OK) st = set_text(o, s, text.data);
    if (st == MN_OK) s->round = o->round;
    mn_buf_free(&text);
    return mn_fail_in(st, "%s: %s", doc->name, s->row->name);
}

/* The keys of one object; `prefix` holds "memory." inside the object "memory". */
static mn_status config_object(mn_options *o, const mn_json *doc, const cJSON *object,
                               mn_buf *prefix) {
    const size_t outer = prefix->len;
    const cJSON *node;
    cJSON_ArrayForEach(node, object) {
        prefix->len = outer;
        MN_TRY(mn_buf_puts(prefix, node->string));
        slot *s = find(o, prefix->data, prefix->len);
        if (s && s->values) {
            MN_TRY(config_value(o, s, doc, node));
        } else if (cJSON_IsObject(node) && is_section(o, prefix->data, prefix->len)) {
            MN_TRY(mn_buf_puts(prefix, "."));
            MN_TRY(config_object(o, doc, node, prefix));
        } else {
            return fail_unknown(o, doc->name, prefix->data, prefix->len);
        }
    }
    return MN_OK;
}

mn_status mn_options_config(mn_options *o, const mn_json *doc) {
    mn_buf prefix = {0};
    o->round++;
    if (!cJSON_IsObject(doc->root))
        return mn_fail(MN_ERR_USAGE, "%s: expected an object with options as keys", doc->name);
    const mn_status st = config_object(o, doc, doc->root, &prefix);
    mn_buf_free(&prefix);
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

static bool is_hidden(const mn_option_group *group, const char *name) {
    for (const char *const *hidden = group->hidden; hidden && *hidden; hidden++)
        if (strcmp(*hidden, name) == 0) return true;
    return false;
}

static mn_status add_group(mn_options *o, const mn_option_group *group) {
    MN_TRY(mn_grow(&o->slots, &o->cap, o->count + group->count, sizeof *o->slots));
    for (size_t i = 0; i < group->count; i++) {
        const mn_option *row = &group->rows[i];
        const slot s = {row, group->values, 0};
        if (!is_hidden(group, row->name)) {
            MN_CHECK(!find(o, row->name, strlen(row->name)), MN_ERR_USAGE,
                     "the option --%s stands twice in its tables", row->name);
            o->slots[o->count++] = s;
        }
        if (!s.values) continue;
        mn_option_clear(row, s.values);
        if (row->fallback && row->fallback != mn_required)
            MN_TRY(mn_fail_in(set_text(o, &s, row->fallback), "the default of --%s", row->name));
    }
    return MN_OK;
}

mn_status mn_options_open(mn_options **out, const mn_option_group *groups, size_t count) {
    const mn_option_group builtin = {.rows = mn_builtin_options, .count = MN_BUILTIN_OPTIONS};
    mn_status st = MN_OK;
    *out = NULL;
    mn_options *o = calloc(1, sizeof *o);
    MN_CHECK_GOTO(o, MN_ERR_MEMORY, "no memory for options");
    for (size_t g = 0; g < count; g++) MN_GOTO(add_group(o, &groups[g]));
    MN_GOTO(add_group(o, &builtin));
    *out = o;
    o = NULL;
done:
    mn_options_close(&o);
    return st;
}

void mn_options_close(mn_options **options) {
    mn_options *o = *options;
    if (!o) return;
    for (size_t i = 0; i < o->strings.count; i++) free(o->strings.items[i]);
    free(o->strings.items);
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

mn_status mn_options_dump(mn_buf *out, const mn_options *o) {
    const char *before = "{\n";
    for (size_t i = 0; i < o->count; i++) {
        const slot *s = &o->slots[i];
        if (!s->values) continue;
        MN_TRY(mn_buf_printf(out, "%s  \"%s\": ", before, s->row->name));
        if (s->row->fallback == mn_required && s->round == 0) MN_TRY(mn_buf_puts(out, "null"));
        else MN_TRY(mn_option_dump(out, s->row, s->values));
        before = ",\n";
    }
    return mn_buf_puts(out, *before == '{' ? "{}" : "\n}");
}
