/* vocab.c - open addressing over all tokens' bytes. */
#include "text/vocab.h"

#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t h, uint64_t word) {
    h = (h ^ word) * UINT64_C(0xD6E8FEB86659FD93);
    return h ^ h >> 32;
}

static uint64_t hash(const char *text, size_t len) {
    uint64_t h = len, word;
    for (; len >= sizeof word; text += sizeof word, len -= sizeof word) {
        memcpy(&word, text, sizeof word);
        h = mix(h, word);
    }
    word = 0;
    for (size_t i = 0; i < len; i++) word = word << 8 | (unsigned char)text[i];
    return mix(mix(h, word), h);
}

static mn_status grow_slots(mn_vocab *v) {
    const size_t old = v->slots ? v->mask + 1 : 0, size = old ? 2 * old : 64;
    uint64_t *slots = calloc(size, sizeof *slots);
    MN_CHECK(slots, MN_ERR_MEMORY, "no memory for a vocabulary of %zu tokens", size);
    for (size_t i = 0; i < old; i++) {
        if (!v->slots[i]) continue;
        const mn_token token = v->tokens[(uint32_t)v->slots[i] - 1];
        size_t at = hash(v->text.data + token.at, token.size) & (size - 1);
        while (slots[at]) at = (at + 1) & (size - 1);
        slots[at] = v->slots[i];
    }
    free(v->slots);
    v->slots = slots;
    v->mask = size - 1;
    return MN_OK;
}

mn_status mn_vocab_add(mn_vocab *v, const char *text, size_t len, int32_t id) {
    MN_CHECK(len < MN_NO_TOKEN - v->text.len, MN_ERR_UNSUPPORTED,
             "a vocabulary of over 4 GiB of text is not supported");
    if (!v->slots || 2 * (v->used + 1) > v->mask + 1) MN_TRY(grow_slots(v));
    MN_TRY(mn_grow(&v->tokens, &v->tokens_cap, (size_t)id + 1, sizeof *v->tokens));
    const uint32_t at = (uint32_t)v->text.len;
    MN_TRY(mn_buf_append(&v->text, text, len));
    while (v->size <= id) v->tokens[v->size++] = (mn_token){.size = MN_NO_TOKEN};
    v->tokens[id] = (mn_token){.at = at, .size = (uint32_t)len};

    const uint64_t h = hash(text, len);
    size_t i = h & v->mask;
    while (v->slots[i]) i = (i + 1) & v->mask;
    v->slots[i] = (h >> 32) << 32 | (uint32_t)(id + 1);
    v->used++;
    if (len > v->longest) v->longest = len;
    return MN_OK;
}

int32_t mn_vocab_find(const mn_vocab *v, const char *text, size_t len) {
    if (!v->slots || len > v->longest) return -1;
    const uint64_t h = hash(text, len);
    for (size_t i = h & v->mask; v->slots[i]; i = (i + 1) & v->mask) {
        if (v->slots[i] >> 32 != h >> 32) continue;
        const mn_token token = v->tokens[(uint32_t)v->slots[i] - 1];
        if (token.size == len && memcmp(v->text.data + token.at, text, len) == 0)
            return (int32_t)((uint32_t)v->slots[i] - 1);
    }
    return -1;
}

bool mn_vocab_has(const mn_vocab *v, int32_t id) {
    return id >= 0 && id < v->size && v->tokens[id].size != MN_NO_TOKEN;
}

void mn_vocab_free(mn_vocab *v) {
    mn_buf_free(&v->text);
    free(v->tokens);
    free(v->slots);
    *v = (mn_vocab){0};
}
