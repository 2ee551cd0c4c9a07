/* options.h - one table row per option: the row drives the command line, the config file, --set,
 * the help text, the dump of the resolved values and the key list of the documentation.
 *
 *   typedef struct eval_options { const char *model; int64_t batch_size; } eval_options;
 *   static const mn_option rows[] = {
 *       MN_OPT_PATH(eval_options, model, "DIR", mn_required, "the model's folder"),
 *       MN_OPT_I64_AUTO(eval_options, batch_size, "auto", 1, 4096, "claims per step"),
 *   };
 *
 * A field must have the type that its macro names, or the row does not compile. A field of a nested
 * struct has a dotted name, "memory.hidden"; in a config file that is one key or an object:
 * {"memory": {"hidden": 128}}. Values are set in this order: the row's default, every --config file,
 * then the command line (options and --set alike) from left to right; the last one counts. In names
 * '-' and '_' are the same. */
#ifndef MNEME_CLI_OPTIONS_H
#define MNEME_CLI_OPTIONS_H

#include "mneme/buf.h"
#include "mneme/json.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mn_option_type {
    MN_OPTION_STRING,      /* const char *, NULL when unset */
    MN_OPTION_I64,         /* int64_t */
    MN_OPTION_F64,         /* double, always finite */
    MN_OPTION_FLAG,        /* bool */
    MN_OPTION_CHOICE,      /* int or an enum without negative values: index into choices */
    MN_OPTION_I64_LIST,    /* mn_option_list, each item once, in the order given */
    MN_OPTION_F64_LIST,    /* mn_option_reals, likewise */
    MN_OPTION_CHOICE_LIST, /* mn_option_list of indices into choices */
    MN_OPTION_CONFIG, /* the parser's own: --config, --set, --help and --version have no field */
    MN_OPTION_SET,
    MN_OPTION_HELP
} mn_option_type;

enum { MN_OPTION_LIST_MAX = 64 };
/* 2^53-1: the last integer that a JSON number cannot mistake for another. */
#define MN_OPTION_NO_MAX INT64_C(9007199254740991)

typedef struct mn_option_list {
    int64_t items[MN_OPTION_LIST_MAX];
    size_t count;
} mn_option_list;

typedef struct mn_option_reals {
    double items[MN_OPTION_LIST_MAX];
    size_t count;
} mn_option_reals;

enum {
    MN_OPTION_AUTO = 1,     /* i64: also takes the word "auto", stored as 0 */
    MN_OPTION_NOT_EMPTY = 2 /* string: "" is refused; for paths */
};

extern const char mn_required[]; /* as a default: the option must be given */

typedef struct mn_option {
    const char *name; /* with '_' */
    mn_option_type type;
    unsigned flags;
    size_t offset;        /* of the field in the command's options struct */
    const char *fallback; /* the default as text; NULL: unset string, empty list; mn_required */
    int64_t min, max;     /* i64 and lists of them */
    double fmin, fmax;    /* f64 and lists of them */
    const char *const *choices; /* names, ended by NULL */
    const char *value;          /* what the help calls the value: DIR, N */
    const char *meaning;
} mn_option;

/* The offset of a field, which must have the type `type` (or `other`). */
#define MN_FIELD(T, field, type) _Generic(((T *)0)->field, type : offsetof(T, field))
#define MN_FIELD2(T, field, type, other)                                                           \
    _Generic(((T *)0)->field, type : offsetof(T, field), other : offsetof(T, field))

#define MN_OPT_STRING(T, field, what, text, about)                                                 \
    {                                                                                              \
        .name = #field, .type = MN_OPTION_STRING, .offset = MN_FIELD(T, field, const char *),      \
        .fallback = text, .value = what, .meaning = about                                          \
    }
#define MN_OPT_PATH(T, field, what, text, about)                                                   \
    {                                                                                              \
        .name = #field, .type = MN_OPTION_STRING, .offset = MN_FIELD(T, field, const char *),      \
        .flags = MN_OPTION_NOT_EMPTY, .fallback = text, .value = what, .meaning = about            \
    }
#define MN_OPT_I64(T, field, text, low, high, about)                                               \
    {                                                                                              \
        .name = #field, .type = MN_OPTION_I64, .offset = MN_FIELD(T, field, int64_t),              \
        .fallback = text, .min = low, .max = high, .value = "N", .meaning = about                  \
    }
#define MN_OPT_I64_AUTO(T, field, text, low, high, about)                                          \
    {                                                                                              \
        .name = #field, .type = MN_OPTION_I64, .offset = MN_FIELD(T, field, int64_t),              \
        .flags = MN_OPTION_AUTO, .fallback = text, .min = low, .max = high, .value = "N",          \
        .meaning = about                                                                           \
    }
#define MN_OPT_F64(T, field, text, low, high, about)                                               \
    {                                                                                              \
        .name = #field, .type = MN_OPTION_F64, .offset = MN_FIELD(T, field, double),               \
        .fallback = text, .fmin = low, .fmax = high, .value = "X", .meaning = about                \
    }
#define MN_OPT_FLAG(T, field, text, about)                                                         \
    {                                                                                              \
        .name = #field, .type = MN_OPTION_FLAG, .offset = MN_FIELD(T, field, bool),                \
        .fallback = text, .meaning = about                                                         \
    }
#define MN_OPT_CHOICE(T, field, text, names, about)                                                \
    {                                                                                              \
        .name = #field, .type = MN_OPTION_CHOICE, .offset = MN_FIELD2(T, field, int, unsigned),    \
        .fallback = text, .choices = names, .value = "NAME", .meaning = about                      \
    }
#define MN_OPT_I64_LIST(T, field, text, low, high, about)                                          \
    {                                                                                              \
        .name = #field, .type = MN_OPTION_I64_LIST, .offset = MN_FIELD(T, field, mn_option_list),  \
        .fallback = text, .min = low, .max = high, .value = "N,N,..", .meaning = about             \
    }
#define MN_OPT_F64_LIST(T, field, text, low, high, about)                                          \
    {                                                                                              \
        .name = #field, .type = MN_OPTION_F64_LIST, .offset = MN_FIELD(T, field, mn_option_reals), \
        .fallback = text, .fmin = low, .fmax = high, .value = "X,X,..", .meaning = about           \
    }
#define MN_OPT_CHOICE_LIST(T, field, text, names, about)                                           \
    {                                                                                              \
        .name = #field, .type = MN_OPTION_CHOICE_LIST,                                             \
        .offset = MN_FIELD(T, field, mn_option_list), .fallback = text, .choices = names,          \
        .value = "NAME,..", .meaning = about                                                       \
    }

/* A table and the struct that its offsets point into. Hidden rows only get their defaults: for tables
 * that several commands share. */
typedef struct mn_option_group {
    const mn_option *rows;
    size_t count;
    void *values;
    const char *const *hidden; /* names, ended by NULL; or NULL */
} mn_option_group;

/* What is known about one command's options: where the values go and where they came from. Owns the
 * strings that the values point to; the tables and the values belong to the caller. */
typedef struct mn_options mn_options;

/* Sets every value to its default. A row with a default that it refuses is an error. */
mn_status mn_options_open(mn_options **out, const mn_option_group *groups, size_t count);
void mn_options_close(mn_options **options);

/* argv[0] is the command's name and is skipped. Reads the --config files, sets the values and
 * checks that nothing required is missing. When help or the version is asked for, only mn_options_help is set. */
mn_status mn_options_parse(mn_options *options, int argc, char *const *argv);

/* One config file: an object with option names as keys; null leaves a value as it is. */
mn_status mn_options_config(mn_options *options, const mn_json *doc);

typedef enum mn_help { MN_HELP_NONE, MN_HELP_TEXT, MN_HELP_MARKDOWN, MN_HELP_VERSION } mn_help;
mn_help mn_options_help(const mn_options *options);

/* True when `name` was set by a config file or on the command line. */
bool mn_options_given(const mn_options *options, const char *name);

/* Appends the resolved values as a JSON object, one key per line, without a newline at the end.
 * Read back through --config it gives the same values. */
mn_status mn_options_dump(mn_buf *out, const mn_options *options);

/* ---- help (options_help.c) ---- */

extern const mn_option mn_builtin_options[]; /* --config, --set, --help, --version */
enum { MN_BUILTIN_OPTIONS = 4 };

/* Appends `text` and a newline, wrapped between the columns `indent` and 80; the cursor stands at
 * `column`. */
mn_status mn_wrap(mn_buf *out, const char *text, size_t indent, size_t column);
/* The two columns of a --help page. */
mn_status mn_options_help_rows(mn_buf *out, const mn_option *rows, size_t count);
/* "--model DIR " for every required row. */
mn_status mn_options_help_required(mn_buf *out, const mn_option *rows, size_t count);
/* A Markdown table: key, type, default, allowed values, meaning. */
mn_status mn_options_markdown(mn_buf *out, const mn_option *rows, size_t count);
/* "an integer from 0 to 5", "one of a, b": the values that a row takes, for an error. */
mn_status mn_option_expects(mn_buf *out, const mn_option *row);

/* The nearest of some names to one that was mistyped: edit distance with swaps of neighbours;
 * letter case and '-' against '_' do not matter. `best` stays NULL when none is close. */
typedef struct mn_near {
    const char *given, *best;
    size_t distance;
} mn_near;
mn_near mn_near_to(const char *given);
void mn_near_offer(mn_near *near_names, const char *candidate);

#endif
