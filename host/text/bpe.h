/* bpe.h - byte pair encoding of one word: symbols first, then the pair of lowest rank is merged, the
 * leftmost of equals, until no pair merges. Read-only once it is built: mn_bpe_symbols, one
 * mn_bpe_add_merge per merge, mn_bpe_words.
 *
 * Time is O(n log n) in the length of a word. Words that are a token by themselves are looked up. */
#ifndef MNEME_TEXT_BPE_H
#define MNEME_TEXT_BPE_H

#include "text/matcher.h"
#include "text/pairs.h"
#include "text/vocab.h"

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mn_bpe {
    bool bytes;           /* symbols are bytes, else characters */
    bool fallback;        /* an unknown character becomes its bytes' tokens */
    bool fallback_late;   /* ... after merging instead of before (SentencePiece) */
    bool fuse_unknown;    /* unknown characters in a row are one token */
    bool whole_words;     /* a word that is a token is never split (ignore_merges) */
    bool cut_spaces;      /* no token has a metaspace behind another character: words stand alone */
    int32_t unknown;      /* -1: unknown characters vanish */
    int32_t symbols;      /* ids from here on are characters outside the vocabulary */
    int32_t of_byte[256]; /* the symbol of a byte, or of an ASCII character; -1: unknown */
    int32_t fall_byte[256]; /* the token <0xNN>, -1: there is none */
    mn_pairs of_char;       /* character -> symbol */
    mn_pairs merges;        /* pair of symbols -> rank, symbol */
    mn_matcher frozen;      /* user-defined pieces: cut out first, never merged */
    mn_vocab words;         /* words that encode to one token, as they stand in a text */
} mn_bpe;

typedef struct mn_symbol {
    int32_t id;
    uint32_t at;   /* byte where it starts */
    uint32_t rank; /* of merging it with the next one, UINT32_MAX: they do not merge */
    int32_t into;  /* the result */
    uint32_t previous, next;
} mn_symbol;

/* What one encoding call needs; zero it before, free it after. */
typedef struct mn_bpe_work {
    mn_symbol *symbols;
    uint64_t *heap; /* rank << 32 | symbol */
    size_t count, cap, heap_count, heap_cap;
} mn_bpe_work;

void mn_bpe_free(mn_bpe *bpe);
void mn_bpe_work_free(mn_bpe_work *work);

/* The model's vocabulary gives the symbols: single characters, bytes, <0xNN>. Sets cut_spaces, which
 * merges may take back. */
mn_status mn_bpe_symbols(mn_bpe *bpe, const mn_vocab *vocab);

/* `text` is what left and right make together, left its first `left_len` bytes. A pair that is there
 * already gets the new rank. */
mn_status mn_bpe_add_merge(mn_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t into,
                           const char *text, size_t left_len, size_t len);

/* Byte `at` of `text` starts a metaspace that follows another character. */
bool mn_bpe_joins_space(const char *text, size_t at, size_t len);

/* Finds the words that need no merging; comes last. */
mn_status mn_bpe_words(mn_bpe *bpe, const mn_vocab *vocab);

/* Appends the tokens of well-formed text: one word, or (cut_spaces) a run of words. */
mn_status mn_bpe_encode(const mn_bpe *bpe, mn_bpe_work *work, const char *text, size_t len,
                        mn_ids *out);

#endif
