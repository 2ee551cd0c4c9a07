/* journal.h (internal) - the text of a journal, from and to the answers of an evaluation. */
#ifndef MNEME_EVAL_JOURNAL_H
#define MNEME_EVAL_JOURNAL_H

#include "eval/evaluation.h"

#define MN_JOURNAL_HASH UINT64_C(14695981039346656037) /* FNV-1a's start */
uint64_t mn_journal_hash(uint64_t hash, const void *bytes, size_t len);

/* The first line up to its date. */
mn_status mn_journal_header(mn_buf *out, const mn_evaluation *e);
/* Appends a prompt's lines, one for each variant. */
mn_status mn_journal_put(mn_buf *out, const mn_evaluation *e, int64_t prompt);
/* Takes over lines; the first is line 2 of `name`. */
mn_status mn_journal_take(mn_evaluation *e, const char *text, size_t len, const char *name);

#endif
