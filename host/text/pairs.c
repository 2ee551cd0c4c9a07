/* pairs.c - the table grows to twice its size when it is half full. */
#include "text/pairs.h"

#include <stdlib.h>

static mn_status grow(mn_pairs *pairs) {
    const size_t old = pairs->slots ? pairs->mask + 1 : 0, size = old ? 2 * old : 16;
    MN_CHECK(size <= SIZE_MAX / sizeof *pairs->slots, MN_ERR_MEMORY, "no memory for %zu pairs",
             size);
    mn_pair *slots = malloc(size * sizeof *slots);
    MN_CHECK(slots, MN_ERR_MEMORY, "no memory for %zu pairs", size);
    for (size_t i = 0; i < size; i++) slots[i].key = UINT64_MAX;
    for (size_t i = 0; i < old; i++) {
        if (pairs->slots[i].key == UINT64_MAX) continue;
        size_t at = mn_pairs_hash(pairs->slots[i].key) & (size - 1);
        while (slots[at].key != UINT64_MAX) at = (at + 1) & (size - 1);
        slots[at] = pairs->slots[i];
    }
    free(pairs->slots);
    pairs->slots = slots;
    pairs->mask = size - 1;
    return MN_OK;
}

mn_status mn_pairs_put(mn_pairs *pairs, uint64_t key, uint32_t rank, int32_t id) {
    if (!pairs->slots || 2 * (pairs->count + 1) > pairs->mask + 1) MN_TRY(grow(pairs));
    size_t i = mn_pairs_hash(key) & pairs->mask;
    while (pairs->slots[i].key != key && pairs->slots[i].key != UINT64_MAX)
        i = (i + 1) & pairs->mask;
    if (pairs->slots[i].key != key) pairs->count++;
    pairs->slots[i] = (mn_pair){.key = key, .rank = rank, .id = id};
    return MN_OK;
}

void mn_pairs_free(mn_pairs *pairs) {
    free(pairs->slots);
    *pairs = (mn_pairs){0};
}
