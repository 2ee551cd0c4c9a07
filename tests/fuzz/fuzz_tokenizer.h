/* fuzz_tokenizer.h - what both tokenizer targets do with a tokenizer that loads. */
#ifndef MNEME_TESTS_FUZZ_TOKENIZER_H
#define MNEME_TESTS_FUZZ_TOKENIZER_H

#include "mneme/tokenizer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static void check_well_formed(const mn_buf *text) {
    for (size_t i = 0; i < text->len;) {
        utf8proc_int32_t point;
        const utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text->data + i,
                                                       (utf8proc_ssize_t)(text->len - i), &point);
        if (used <= 0) abort();
        i += (size_t)used;
    }
}

static void decode_all(const mn_tokenizer *t, const int32_t *ids, size_t count) {
    for (int skip = 0; skip < 2; skip++) {
        mn_buf text = {0};
        if (mn_tokenizer_decode(t, ids, count, skip, &text) == MN_OK) check_well_formed(&text);
        else if (text.len) abort();
        mn_buf_free(&text);
    }
}

/* Every id that comes out of a text lies in the vocabulary; a failing call leaves `ids` alone. */
static void encode_all(const mn_tokenizer *t, const char *text, size_t len) {
    for (unsigned flags = 0; flags < 4; flags++) {
        mn_ids ids = {0};
        if (mn_tokenizer_encode(t, text, len, flags, &ids) != MN_OK && ids.len) abort();
        for (size_t i = 0; i < ids.len; i++) {
            mn_buf piece = {0};
            const mn_status st = mn_tokenizer_piece(t, ids.data[i], &piece);
            if (st != MN_OK && st != MN_ERR_UNSUPPORTED) abort();
            mn_buf_free(&piece);
        }
        decode_all(t, ids.data, ids.len);
        mn_ids_free(&ids);
    }
}

static void use_tokenizer(const mn_tokenizer *t, const uint8_t *data, size_t size) {
    static const char text[] =
        "  The cat's 12 hats, caf\xC3\xA9 e\xCC\x81\n\n\xE2\x96\x81</s> <s>a\0b"
        "\xFF\xE2\x82 \xF0\x9F\x98\x80 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ";
    const size_t tail = size < 200 ? size : 200;
    const int32_t highest = mn_tokenizer_size(t), first = mn_tokenizer_bos(t);
    encode_all(t, "", 0);
    encode_all(t, text, sizeof text - 1);
    if (tail) encode_all(t, (const char *)data + size - tail, tail);
    int32_t ids[40];
    for (int32_t i = 0; i < 40; i++) ids[i] = i < highest ? i : 0;
    decode_all(t, ids, 40);
    decode_all(t, &highest, 1); /* an error */
    if (first >= highest || mn_tokenizer_eos(t) >= highest) abort();
}

#endif
