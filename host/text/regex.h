/* regex.h - the patterns that cut a text before BPE (PCRE2 underneath). A compiled pattern is
 * read-only; each thread that matches brings its own work space. */
#ifndef MNEME_TEXT_REGEX_H
#define MNEME_TEXT_REGEX_H

#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct mn_regex mn_regex;
typedef struct mn_regex_work mn_regex_work;

typedef enum mn_regex_kind {
    MN_REGEX_LITERAL, /* the pattern is a plain string */
    MN_REGEX_ONIG     /* written for Oniguruma, as in tokenizer.json */
} mn_regex_kind;

/* Constructs that mean something else in PCRE2 than in Oniguruma are refused with
 * MN_ERR_UNSUPPORTED; the message names the pattern. */
mn_status mn_regex_compile(mn_regex **out, const char *pattern, mn_regex_kind kind);
mn_status mn_regex_gpt2(mn_regex **out); /* the pattern that ByteLevel has built in */
void mn_regex_free(mn_regex **regex);

mn_status mn_regex_work_new(mn_regex_work **out);
void mn_regex_work_free(mn_regex_work **work);

/* The next match from byte `from` on; *found says whether there is one. `text` is well-formed. */
mn_status mn_regex_next(const mn_regex *regex, mn_regex_work *work, const char *text, size_t len,
                        size_t from, bool *found, size_t *start, size_t *end);

#endif
