/* matcher.c - a trie whose edges lie in one hash table. */
#include "text/matcher.h"

#include "mneme/buf.h"

#include <stdlib.h>

static mn_status new_node(mn_matcher *m, int32_t *node) {
    MN_CHECK(m->count < INT32_MAX, MN_ERR_UNSUPPORTED, "too many added tokens");
    MN_TRY(mn_grow(&m->nodes, &m->cap, m->count + 1, sizeof *m->nodes));
    m->nodes[m->count] = (mn_node){.id = -1};
    *node = (int32_t)m->count++;
    return MN_OK;
}

mn_status mn_matcher_add(mn_matcher *m, const char *text, size_t len, int32_t id, unsigned strip) {
    int32_t node = 0;
    if (!m->count) MN_TRY(new_node(m, &node));
    for (size_t i = 0; i < len; i++) {
        const uint64_t key = (uint64_t)node << 8 | (unsigned char)text[i];
        const mn_pair *edge = mn_pairs_get(&m->edges, key);
        if (edge) {
            node = edge->id;
            continue;
        }
        MN_TRY(new_node(m, &node));
        MN_TRY(mn_pairs_put(&m->edges, key, 0, node));
        if (i == 0) m->first[(unsigned char)text[0]] = node;
    }
    if (m->nodes[node].id < 0) m->nodes[node] = (mn_node){.id = id, .strip = strip};
    return MN_OK;
}

mn_match mn_matcher_prefix(const mn_matcher *m, const char *text, size_t len) {
    mn_match best = {.id = -1};
    if (len == 0) return best;
    int32_t node = m->first[(unsigned char)text[0]];
    for (size_t used = 1; node; used++) {
        if (m->nodes[node].id >= 0)
            best = (mn_match){.len = used, .id = m->nodes[node].id, .strip = m->nodes[node].strip};
        if (used == len) break;
        const uint64_t key = (uint64_t)node << 8 | (unsigned char)text[used];
        const mn_pair *edge = mn_pairs_get(&m->edges, key);
        node = edge ? edge->id : 0;
    }
    return best;
}

mn_match mn_matcher_find(const mn_matcher *m, const char *text, size_t len, size_t from) {
    if (m->count)
        for (size_t i = from; i < len; i++) {
            if (!m->first[(unsigned char)text[i]]) continue;
            mn_match found = mn_matcher_prefix(m, text + i, len - i);
            found.at = i;
            if (found.id >= 0) return found;
        }
    return (mn_match){.id = -1};
}

void mn_matcher_free(mn_matcher *m) {
    mn_pairs_free(&m->edges);
    free(m->nodes);
    *m = (mn_matcher){0};
}
