/* vocab.h - tokens by id and by their bytes. A zeroed struct is an empty vocabulary; ids may have
 * holes. */
#ifndef MNEME_TEXT_VOCAB_H
#define MNEME_TEXT_VOCAB_H

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MN_VOCAB_LIMIT = 1 << 21 }; /* ids lie below: bounds what a broken file can ask for */

typedef struct mn_token {
    uint32_t at, size; /* in the text of all; size MN_NO_TOKEN: a hole */
} mn_token;

#define MN_NO_TOKEN UINT32_MAX

typedef struct mn_vocab {
    mn_buf text;
    mn_token *tokens; /* by id */
    size_t tokens_cap;
    int32_t size;      /* highest id + 1 */
    uint64_t *slots;   /* upper half: of the hash; lower half: id + 1, 0 when free */
    size_t mask, used; /* a power of two of slots, at most half are used */
    size_t longest;    /* bytes */
} mn_vocab;

/* The caller has made sure that neither the id nor the text is there yet, 0 <= id < MN_VOCAB_LIMIT. */
mn_status mn_vocab_add(mn_vocab *vocab, const char *text, size_t len, int32_t id);
void mn_vocab_free(mn_vocab *vocab);

int32_t mn_vocab_find(const mn_vocab *vocab, const char *text, size_t len); /* -1: not there */
bool mn_vocab_has(const mn_vocab *vocab, int32_t id);

static inline const char *mn_vocab_text(const mn_vocab *vocab, int32_t id, size_t *len) {
    *len = vocab->tokens[id].size;
    return vocab->text.data + vocab->tokens[id].at;
}

#endif
