/* regex.c - patterns of tokenizer.json on PCRE2. They are written for Oniguruma, so a pattern is
 * first read through: what both understand alike passes, `\s` is spelled out (PCRE2 counts U+180E as
 * white space, Unicode no longer does), all else is refused instead of cutting texts differently.
 * Which characters are letters and digits is a matter of PCRE2's Unicode version (10.42: Unicode 14);
 * only characters that came later can be cut differently elsewhere. */
#include "text/regex.h"

#include "mneme/buf.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define SPACES                                                                                     \
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"       \
    "\\x{3000}"

enum { PATTERN_LIMIT = 4096, MATCH_LIMIT = 1000000, HEAP_LIMIT_KIB = 1 << 16 };

struct mn_regex {
    pcre2_code *code;
    pcre2_match_context *context;
};

struct mn_regex_work {
    pcre2_match_data *data;
};

static mn_status refuse(const char *pattern, size_t at, const char *what) {
    return mn_fail(MN_ERR_UNSUPPORTED, "pattern '%.200s': %s at byte %zu is not supported", pattern,
                   what, at);
}

/* An escape at pattern[at]; moves *at behind it. */
static mn_status translate_escape(mn_buf *out, const char *pattern, size_t *at, bool in_class) {
    const size_t from = *at;
    const char c = pattern[from + 1];
    *at += 2;
    if (c == 's') return mn_buf_puts(out, in_class ? SPACES : "[" SPACES "]");
    if (c == 'S' && !in_class) return mn_buf_puts(out, "[^" SPACES "]");
    if (c == 'p' || c == 'P') { /* general categories; scripts mean other sets in PCRE2 */
        const char *name = pattern + from + 2;
        const size_t len = strcspn(name, "}");
        if (name[0] != '{' || name[len] != '}' || len < 2 || len > 3 || name[1] == '^')
            return refuse(pattern, from, "a property that is no general category");
        *at += len + 1;
        return mn_buf_append(out, pattern + from, *at - from);
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (c == '\0' || (c >= '0' && c <= '9') || (letter && !strchr("dDnrtf", c)))
        return refuse(pattern, from, "this escape");
    return mn_buf_append(out, pattern + from, 2);
}

static mn_status check_group(const char *pattern, size_t at) {
    static const char *const known[] = {"(?:", "(?i:", "(?!", "(?=", "(?<!", "(?<=", "(?>"};
    if (pattern[at + 1] == '*') return refuse(pattern, at, "a verb");
    if (pattern[at + 1] != '?') return MN_OK;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(pattern + at, known[i], strlen(known[i])) == 0) return MN_OK;
    return refuse(pattern, at, "this group");
}

static mn_status translate(mn_buf *out, const char *pattern) {
    bool in_class = false;
    for (size_t i = 0; pattern[i];) {
        const char c = pattern[i];
        if (c == '\\') {
            MN_TRY(translate_escape(out, pattern, &i, in_class));
            continue;
        }
        if (in_class && (c == '[' || (c == '&' && pattern[i + 1] == '&')))
            return refuse(pattern, i, "a class inside a class");
        if (!in_class && ((c == '}' && (pattern[i + 1] == '+' || pattern[i + 1] == '?')) ||
                          (c == '{' && pattern[i + 1] == ',')))
            return refuse(pattern, i, "this form of an interval");
        if (!in_class && c == '(') MN_TRY(check_group(pattern, i));
        MN_TRY(mn_buf_append(out, &c, 1));
        i++;
        if (!in_class && c == '[') {
            in_class = true;
            if (pattern[i] == '^') MN_TRY(mn_buf_append(out, &pattern[i++], 1));
            if (pattern[i] == ']') return refuse(pattern, i, "a class that starts with ]");
        } else if (in_class && c == ']') in_class = false;
    }
    return MN_OK;
}

static mn_status compile(mn_regex **out, const char *pattern, size_t len, uint32_t options) {
    mn_status st = MN_OK;
    pcre2_compile_context *context = NULL;
    int error;
    PCRE2_SIZE at;
    mn_regex *regex = calloc(1, sizeof *regex);
    *out = NULL;
    MN_CHECK_GOTO(regex && (context = pcre2_compile_context_create(NULL)) &&
                      (regex->context = pcre2_match_context_create(NULL)),
                  MN_ERR_MEMORY, "no memory for a pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_match_limit(regex->context, MATCH_LIMIT);
    pcre2_set_heap_limit(regex->context, HEAP_LIMIT_KIB);
    regex->code = pcre2_compile((PCRE2_SPTR)pattern, len, options, &error, &at, context);
    if (!regex->code) {
        PCRE2_UCHAR why[200];
        pcre2_get_error_message(error, why, sizeof why);
        st = mn_fail(MN_ERR_DATA, "pattern '%.200s': %s", pattern, (const char *)why);
        goto done;
    }
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* without it, matching is only slower */
    *out = regex;
    regex = NULL;
done:
    pcre2_compile_context_free(context);
    mn_regex_free(&regex);
    return st;
}

mn_status mn_regex_compile(mn_regex **out, const char *pattern, mn_regex_kind kind) {
    const size_t len = strlen(pattern);
    *out = NULL;
    MN_CHECK(len > 0 && len <= PATTERN_LIMIT, MN_ERR_UNSUPPORTED,
             "a pattern of %zu bytes is not supported", len);
    if (kind == MN_REGEX_LITERAL) return compile(out, pattern, len, PCRE2_UTF | PCRE2_LITERAL);
    mn_buf text = {0};
    mn_status st = translate(&text, pattern);
    if (st == MN_OK)
        st = compile(out, text.data, text.len,
                     PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
    mn_buf_free(&text);
    return st;
}

mn_status mn_regex_gpt2(mn_regex **out) {
    return mn_regex_compile(out,
                            "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
                            "\\s+(?!\\S)|\\s+",
                            MN_REGEX_ONIG);
}

void mn_regex_free(mn_regex **regex) {
    if (!*regex) return;
    pcre2_code_free((*regex)->code);
    pcre2_match_context_free((*regex)->context);
    free(*regex);
    *regex = NULL;
}

mn_status mn_regex_work_new(mn_regex_work **out) {
    *out = calloc(1, sizeof **out);
    if (*out && ((*out)->data = pcre2_match_data_create(1, NULL))) return MN_OK;
    mn_regex_work_free(out);
    return mn_fail(MN_ERR_MEMORY, "no memory for matching");
}

void mn_regex_work_free(mn_regex_work **work) {
    if (!*work) return;
    pcre2_match_data_free((*work)->data);
    free(*work);
    *work = NULL;
}

mn_status mn_regex_next(const mn_regex *regex, mn_regex_work *work, const char *text, size_t len,
                        size_t from, bool *found, size_t *start, size_t *end) {
    int rc = pcre2_match(regex->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK, work->data,
                         regex->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(regex->code, (PCRE2_SPTR)text, len, from,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, work->data, regex->context);
    *found = rc >= 0;
    if (rc == PCRE2_ERROR_NOMATCH) return MN_OK;
    if (rc < 0) {
        PCRE2_UCHAR why[200];
        pcre2_get_error_message(rc, why, sizeof why);
        return mn_fail(MN_ERR_DATA, "the pattern that cuts texts: %s", (const char *)why);
    }
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(work->data);
    *start = span[0];
    *end = span[1];
    return MN_OK;
}
