/* options_help.c - what a table of options says about itself: help pages, Markdown, near misses. */
#include "cli/options_value.h"

#include <float.h>
#include <stdint.h>
#include <string.h>

const mn_option mn_builtin_options[MN_BUILTIN_OPTIONS] = {
    {.name = "config",
     .type = MN_OPTION_CONFIG,
     .value = "FILE",
     .meaning = "JSON file with options as keys; the command line overrides it, a later file an "
                "earlier one"},
    {.name = "set",
     .type = MN_OPTION_SET,
     .value = "KEY=VALUE",
     .meaning = "set one option by its config key; may be repeated"},
    {.name = "help", .type = MN_OPTION_HELP, .meaning = "show this page"},
    {.name = "version", .type = MN_OPTION_HELP, .meaning = "show the version"},
};

/* " from 0 to 5". A help page says " of at least 1", or nothing, where there is no real limit. */
static mn_status add_range(mn_buf *out, const mn_option *row, bool page) {
    if (row->type == MN_OPTION_F64 || row->type == MN_OPTION_F64_LIST) {
        if (row->fmin <= -DBL_MAX && row->fmax >= DBL_MAX) return MN_OK;
        if (row->fmax >= DBL_MAX) return mn_buf_printf(out, " of at least %g", row->fmin);
        return mn_buf_printf(out, " from %g to %g", row->fmin, row->fmax);
    }
    const bool open_above = page && row->max >= MN_OPTION_NO_MAX;
    if (open_above && row->min <= -MN_OPTION_NO_MAX) return MN_OK;
    if (open_above) return mn_buf_printf(out, " of at least %lld", (long long)row->min);
    return mn_buf_printf(out, " from %lld to %lld", (long long)row->min, (long long)row->max);
}

static mn_status add_choices(mn_buf *out, const mn_option *row) {
    for (const char *const *name = row->choices; *name; name++)
        MN_TRY(mn_buf_printf(out, "%s%s", name == row->choices ? "" : ", ", *name));
    return MN_OK;
}

static mn_status expects(mn_buf *out, const mn_option *row, bool page) {
    switch (row->type) {
    case MN_OPTION_I64:
        MN_TRY(mn_buf_puts(out, row->flags & MN_OPTION_AUTO ? "auto or an integer" : "an integer"));
        return add_range(out, row, page);
    case MN_OPTION_I64_LIST:
        MN_TRY(mn_buf_puts(out, "an integer"));
        return add_range(out, row, page);
    case MN_OPTION_F64:
    case MN_OPTION_F64_LIST: MN_TRY(mn_buf_puts(out, "a number")); return add_range(out, row, page);
    case MN_OPTION_FLAG: return mn_buf_puts(out, "true or false");
    case MN_OPTION_CHOICE:
    case MN_OPTION_CHOICE_LIST: MN_TRY(mn_buf_puts(out, "one of ")); return add_choices(out, row);
    default:
        return mn_buf_puts(out, row->flags & MN_OPTION_NOT_EMPTY ? "a non-empty text" : "a text");
    }
}

mn_status mn_option_expects(mn_buf *out, const mn_option *row) { return expects(out, row, false); }

/* What the help adds behind the meaning: allowed values and the default. */
static mn_status add_facts(mn_buf *out, const mn_option *row) {
    const char *fallback = row->fallback;
    if (row->type == MN_OPTION_CONFIG || row->type == MN_OPTION_SET || row->type == MN_OPTION_HELP)
        return MN_OK;
    if (row->type == MN_OPTION_FLAG && strcmp(fallback, "false") == 0) return MN_OK;
    mn_buf facts = {0};
    mn_status st = MN_OK;
    if (row->type != MN_OPTION_STRING && row->type != MN_OPTION_FLAG)
        MN_GOTO(expects(&facts, row, true));
    if (mn_option_is_list(row)) MN_GOTO(mn_buf_puts(&facts, " each"));
    if (fallback == mn_required)
        MN_GOTO(mn_buf_printf(&facts, "%srequired", facts.len ? "; " : ""));
    else if (fallback)
        MN_GOTO(mn_buf_printf(&facts, "%sdefault %s", facts.len ? "; " : "", fallback));
    if (facts.len) st = mn_buf_printf(out, " [%s]", facts.data);
done:
    mn_buf_free(&facts);
    return st;
}

/* A word ends at a blank; one that no line holds, behind its last comma that a line holds. */
static size_t word_length(const char *word, size_t most) {
    const size_t len = strcspn(word, " ");
    size_t comma = len > most ? most : 0;
    while (comma > 0 && word[comma - 1] != ',') comma--;
    return comma > 0 ? comma : len;
}

mn_status mn_wrap(mn_buf *out, const char *text, size_t indent, size_t column) {
    if (column > 0 && column + 1 > indent) {
        MN_TRY(mn_buf_puts(out, "\n"));
        column = 0;
    }
    MN_TRY(mn_buf_printf(out, "%*s", (int)(indent - column), ""));
    column = indent;
    for (const char *word = text; *word;) {
        const size_t len = word_length(word, 80 - indent);
        if (column > indent && column + 1 + len > 80) {
            MN_TRY(mn_buf_printf(out, "\n%*s", (int)indent, ""));
            column = indent;
        } else if (column > indent) {
            MN_TRY(mn_buf_puts(out, " "));
            column++;
        }
        MN_TRY(mn_buf_append(out, word, len));
        column += len;
        word += len + strspn(word + len, " ");
    }
    return mn_buf_puts(out, "\n");
}

mn_status mn_options_help_rows(mn_buf *out, const mn_option *rows, size_t count) {
    mn_status st = MN_OK;
    mn_buf about = {0};
    for (size_t i = 0; i < count; i++) {
        const mn_option *row = &rows[i];
        const size_t begin = out->len;
        MN_GOTO(mn_buf_printf(out, "  --%s%s%s", row->name, row->value ? " " : "",
                              row->value ? row->value : ""));
        mn_buf_clear(&about);
        MN_GOTO(mn_buf_puts(&about, row->meaning));
        MN_GOTO(add_facts(&about, row));
        MN_GOTO(mn_wrap(out, about.data, 28, out->len - begin));
    }
done:
    mn_buf_free(&about);
    return st;
}

mn_status mn_options_help_required(mn_buf *out, const mn_option *rows, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (rows[i].fallback == mn_required)
            MN_TRY(mn_buf_printf(out, "--%s %s ", rows[i].name, rows[i].value));
    return MN_OK;
}

/* ---- Markdown ---- */

/* '|' would end the cell, '<' begin a tag. */
static mn_status add_cell(mn_buf *out, const char *text) {
    for (; *text; text++)
        MN_TRY(mn_buf_printf(out, *text == '|' || *text == '<' ? "\\%c" : "%c", *text));
    return mn_buf_puts(out, " | ");
}

static mn_status add_kind(mn_buf *out, const mn_option *row) {
    switch (row->type) {
    case MN_OPTION_CHOICE: return add_choices(out, row);
    case MN_OPTION_CHOICE_LIST: MN_TRY(mn_buf_puts(out, "list of ")); return add_choices(out, row);
    case MN_OPTION_F64_LIST:
        MN_TRY(mn_buf_puts(out, "list of numbers"));
        return add_range(out, row, true);
    case MN_OPTION_I64_LIST:
        MN_TRY(mn_buf_puts(out, "list of integers"));
        return add_range(out, row, true);
    case MN_OPTION_STRING: return mn_buf_puts(out, "text");
    case MN_OPTION_CONFIG: return mn_buf_puts(out, "file");
    case MN_OPTION_SET: return mn_buf_puts(out, "key=value");
    case MN_OPTION_HELP: return mn_buf_puts(out, "flag");
    default: return expects(out, row, true);
    }
}

mn_status mn_options_markdown(mn_buf *out, const mn_option *rows, size_t count) {
    mn_status st = MN_OK;
    mn_buf kind = {0};
    MN_TRY(mn_buf_puts(out, "| option | default | values | meaning |\n|---|---|---|---|\n"));
    for (size_t i = 0; i < count; i++) {
        const mn_option *row = &rows[i];
        const char *fallback = row->fallback;
        MN_GOTO(mn_buf_printf(out, "| `%s` | ", row->name));
        if (fallback == mn_required) MN_GOTO(mn_buf_puts(out, "required | "));
        else if (fallback) MN_GOTO(mn_buf_printf(out, "`%s` | ", fallback));
        else MN_GOTO(mn_buf_puts(out, "| "));
        mn_buf_clear(&kind);
        MN_GOTO(add_kind(&kind, row));
        MN_GOTO(add_cell(out, kind.data));
        MN_GOTO(add_cell(out, row->meaning));
        out->len--; /* the space behind the last bar */
        MN_GOTO(mn_buf_puts(out, "\n"));
    }
done:
    mn_buf_free(&kind);
    return st;
}

/* ---- near misses ---- */

enum { NEAR_MAX = 40 }; /* longer names are never near */

static char fold(char c) {
    if (c >= 'A' && c <= 'Z') return (char)(c - 'A' + 'a');
    return c == '-' ? '_' : c;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Edit distance where swapping two neighbours counts as one change (optimal string alignment).
 * Three rows of the table are kept. */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len) {
    size_t rows[3][NEAR_MAX + 1];
    size_t *two_up = rows[0], *up = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_len; j++) up[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            const char x = fold(a[i - 1]), y = fold(b[j - 1]);
            row[j] = least(least(up[j], row[j - 1]) + 1, up[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == fold(b[j - 2]) && fold(a[i - 2]) == y)
                row[j] = least(row[j], two_up[j - 2] + 1);
        }
        size_t *const oldest = two_up;
        two_up = up;
        up = row;
        row = oldest;
    }
    return up[b_len];
}

mn_near mn_near_to(const char *given) {
    return (mn_near){.given = given, .best = NULL, .distance = SIZE_MAX};
}

void mn_near_offer(mn_near *near_names, const char *candidate) {
    const size_t given = strlen(near_names->given), len = strlen(candidate);
    const size_t limit = len <= 4 ? 1 : len <= 8 ? 2 : 3;
    if (given == 0 || given > NEAR_MAX || len > NEAR_MAX) return;
    const size_t distance = edit_distance(near_names->given, given, candidate, len);
    if (distance > limit || distance >= near_names->distance) return;
    near_names->best = candidate;
    near_names->distance = distance;
}
