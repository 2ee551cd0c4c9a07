/* normalize.h - what happens to a text before it is cut: a list of steps. */
#ifndef MNEME_TEXT_NORMALIZE_H
#define MNEME_TEXT_NORMALIZE_H

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { MN_REPLACE_LIMIT = 64 }; /* bytes of a pattern or of what stands for it */

typedef enum mn_norm_kind {
    MN_NORM_NFC,
    MN_NORM_PREPEND, /* `to` in front of a text that is not empty */
    MN_NORM_REPLACE, /* every `from` becomes `to` */
    MN_NORM_SPACES   /* SentencePiece: no space at the ends, no two in a row; no `to` at the end */
} mn_norm_kind;

typedef struct mn_norm_step {
    mn_norm_kind kind;
    char from[MN_REPLACE_LIMIT], to[MN_REPLACE_LIMIT];
    size_t from_len, to_len;
} mn_norm_step;

typedef struct mn_normalizer {
    mn_norm_step *steps;
    size_t count, cap;
} mn_normalizer;

/* `from` and `to` may be NULL when the kind has none; at most MN_REPLACE_LIMIT bytes each. */
mn_status mn_normalizer_add(mn_normalizer *n, mn_norm_kind kind, const char *from, size_t from_len,
                            const char *to, size_t to_len);
void mn_normalizer_free(mn_normalizer *n);

/* *out is `text` itself when nothing changes, else it lies in one of the two buffers. `bare`: the
 * text goes on an earlier one, so nothing is put in front and its first space stays. */
mn_status mn_normalize(const mn_normalizer *n, mn_buf buf[2], const char *text, size_t len,
                       bool bare, const char **out, size_t *out_len);

/* Appends `text` with every `from` replaced by `to`, from_len > 0. */
mn_status mn_replace(mn_buf *out, const char *text, size_t len, const char *from, size_t from_len,
                     const char *to, size_t to_len);

#endif
