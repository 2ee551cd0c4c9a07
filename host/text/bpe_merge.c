/* bpe_merge.c - merges symbols, best pair first. A short word is searched for its best pair again and
 * again; a long one keeps its pairs in a heap. Both give the same result. */
#include "text/bpe_merge.h"

#include <string.h>

enum { SHORT_WORD = 24 };
#define NO_RANK UINT32_MAX
#define NOWHERE UINT32_MAX

static void rank_pair(const mn_bpe *b, mn_symbol *left, const mn_symbol *right) {
    const mn_pair *merge = mn_pairs_get(&b->merges, mn_pair_key(left->id, right->id));
    left->rank = merge ? merge->rank : NO_RANK;
    left->into = merge ? merge->id : -1;
}

static void merge_short(const mn_bpe *b, mn_bpe_work *w) {
    mn_symbol *s = w->symbols;
    size_t n = w->count;
    for (size_t i = 0; i + 1 < n; i++) rank_pair(b, &s[i], &s[i + 1]);
    s[n - 1].rank = NO_RANK;
    for (;;) {
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            if (s[i].rank < s[best].rank) best = i;
        if (s[best].rank == NO_RANK) break;
        s[best].id = s[best].into;
        n--;
        memmove(&s[best + 1], &s[best + 2], (n - best - 1) * sizeof *s);
        if (best + 1 < n) rank_pair(b, &s[best], &s[best + 1]);
        else s[best].rank = NO_RANK;
        if (best > 0) rank_pair(b, &s[best - 1], &s[best]);
    }
    w->count = n;
}

static void sift_down(uint64_t *heap, size_t count, size_t at) {
    const uint64_t entry = heap[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= entry) break;
        heap[at] = heap[child];
    }
    heap[at] = entry;
}

static uint64_t heap_pop(mn_bpe_work *w) {
    const uint64_t top = w->heap[0];
    w->heap[0] = w->heap[--w->heap_count];
    if (w->heap_count) sift_down(w->heap, w->heap_count, 0);
    return top;
}

static mn_status heap_push(mn_bpe_work *w, uint64_t entry) {
    MN_TRY(mn_grow(&w->heap, &w->heap_cap, w->heap_count + 1, sizeof *w->heap));
    size_t at = w->heap_count++;
    for (; at > 0 && w->heap[(at - 1) / 2] > entry; at = (at - 1) / 2)
        w->heap[at] = w->heap[(at - 1) / 2];
    w->heap[at] = entry;
    return MN_OK;
}

static mn_status rank_and_push(const mn_bpe *b, mn_bpe_work *w, uint32_t left) {
    mn_symbol *s = w->symbols;
    s[left].rank = NO_RANK;
    if (s[left].next == NOWHERE) return MN_OK;
    rank_pair(b, &s[left], &s[s[left].next]);
    return s[left].rank == NO_RANK ? MN_OK : heap_push(w, (uint64_t)s[left].rank << 32 | left);
}

/* An entry of the heap is out of date when its symbol is gone (rank NO_RANK) or now has a pair of
 * another rank: symbols only grow, so no pair comes back. */
static mn_status merge_long(const mn_bpe *b, mn_bpe_work *w) {
    mn_symbol *s = w->symbols;
    const uint32_t n = (uint32_t)w->count;
    w->heap_count = 0;
    for (uint32_t i = 0; i < n; i++) {
        s[i].previous = i ? i - 1 : NOWHERE;
        s[i].next = i + 1 < n ? i + 1 : NOWHERE;
    }
    for (uint32_t i = 0; i < n; i++) MN_TRY(rank_and_push(b, w, i));
    while (w->heap_count) {
        const uint64_t top = heap_pop(w);
        const uint32_t left = (uint32_t)top;
        if (s[left].rank != top >> 32 || s[left].rank == NO_RANK) continue;
        const uint32_t right = s[left].next;
        s[left].id = s[left].into;
        s[left].next = s[right].next;
        if (s[right].next != NOWHERE) s[s[right].next].previous = left;
        s[right].rank = NO_RANK;
        MN_TRY(rank_and_push(b, w, left));
        if (s[left].previous != NOWHERE) MN_TRY(rank_and_push(b, w, s[left].previous));
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i != NOWHERE; i = s[i].next, kept++) {
        s[kept].id = s[i].id;
        s[kept].at = s[i].at;
    }
    w->count = kept;
    return MN_OK;
}

mn_status mn_bpe_merge(const mn_bpe *b, mn_bpe_work *w) {
    if (w->count < 2) return MN_OK;
    if (w->count > SHORT_WORD) return merge_long(b, w);
    merge_short(b, w);
    return MN_OK;
}
