/* pairs.h - a hash table from 64-bit keys to two numbers: merges of a pair of symbols, edges of a
 * trie, characters. A zeroed struct is an empty table; the key UINT64_MAX is not allowed. */
#ifndef MNEME_TEXT_PAIRS_H
#define MNEME_TEXT_PAIRS_H

#include "mneme/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct mn_pair {
    uint64_t key;
    uint32_t rank;
    int32_t id;
} mn_pair;

typedef struct mn_pairs {
    mn_pair *slots; /* NULL until the first put; a power of two of them, at most half are used */
    size_t mask, count;
} mn_pairs;

/* Sets the values of `key`, new or not. */
mn_status mn_pairs_put(mn_pairs *pairs, uint64_t key, uint32_t rank, int32_t id);
void mn_pairs_free(mn_pairs *pairs);

static inline size_t mn_pairs_hash(uint64_t key) {
    key *= UINT64_C(0x9E3779B97F4A7C15); /* 2^64 / golden ratio */
    return (size_t)(key ^ key >> 32);
}

/* NULL when the key is not there. */
static inline const mn_pair *mn_pairs_get(const mn_pairs *pairs, uint64_t key) {
    if (!pairs->slots) return NULL;
    for (size_t i = mn_pairs_hash(key) & pairs->mask;; i = (i + 1) & pairs->mask) {
        if (pairs->slots[i].key == key) return &pairs->slots[i];
        if (pairs->slots[i].key == UINT64_MAX) return NULL;
    }
}

static inline uint64_t mn_pair_key(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

#endif
