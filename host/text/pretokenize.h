/* pretokenize.h - cuts a normalized text into words that BPE does not join: a list of stages, each
 * cutting what the one before it leaves. */
#ifndef MNEME_TEXT_PRETOKENIZE_H
#define MNEME_TEXT_PRETOKENIZE_H

#include "text/regex.h"

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { MN_PRE_STAGES = 4 };

typedef enum mn_pre_kind { MN_PRE_SPLIT, MN_PRE_BYTES, MN_PRE_METASPACE } mn_pre_kind;
typedef enum mn_prepend { MN_PREPEND_ALWAYS, MN_PREPEND_FIRST, MN_PREPEND_NEVER } mn_prepend;

typedef struct mn_pre_stage {
    mn_pre_kind kind;
    mn_regex *regex;    /* SPLIT: the pattern; BYTES: NULL when it does not cut */
    mn_prepend prepend; /* BYTES: a space, METASPACE: the mark, in front of which pieces */
    bool cut;           /* METASPACE: in front of every mark */
    char mark[4];       /* METASPACE: the character that stands for a space */
    size_t mark_len;
} mn_pre_stage;

typedef struct mn_pretokenizer {
    mn_pre_stage stages[MN_PRE_STAGES];
    size_t count;
    bool bytes; /* the last stage is BYTES: the vocabulary is over bytes */
} mn_pretokenizer;

void mn_pretokenizer_free(mn_pretokenizer *p);

/* What one encoding call needs; zero it before, free it after. */
typedef struct mn_pre_work {
    mn_regex_work *regex;
    mn_buf text[MN_PRE_STAGES];
} mn_pre_work;

void mn_pre_work_free(mn_pre_work *work);

typedef mn_status (*mn_word_fn)(void *user, const char *word, size_t len);

/* Calls `fn` for every word, none is empty. `first`: the text starts where the whole input does.
 * `bare`: it goes on an earlier one and gets nothing in front. */
mn_status mn_pretokenize(const mn_pretokenizer *p, mn_pre_work *work, const char *text, size_t len,
                         bool first, bool bare, mn_word_fn fn, void *user);

#endif
