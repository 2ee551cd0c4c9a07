/* bpe.c - a word into symbols, merged, out as tokens. */
#include "text/bpe.h"

#include "text/bpe_merge.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { NO_SYMBOL = INT32_MAX, WORD_LIMIT = INT32_MAX, METASPACE_POINT = 0x2581 };

static mn_status push(mn_bpe_work *w, int32_t id, size_t at) {
    if (w->count == w->cap) MN_TRY(mn_grow(&w->symbols, &w->cap, w->count + 1, sizeof *w->symbols));
    w->symbols[w->count++] = (mn_symbol){.id = id, .at = (uint32_t)at};
    return MN_OK;
}

/* The symbol of the character at `text`, -1 when it has none; *size: its bytes. */
static int32_t symbol_of(const mn_bpe *b, const char *text, size_t *size) {
    *size = 1;
    if (b->bytes || (unsigned char)text[0] < 0x80) return b->of_byte[(unsigned char)text[0]];
    uint32_t point;
    *size = mn_utf8_get(&point, text);
    const mn_pair *found = mn_pairs_get(&b->of_char, point);
    return found ? found->id : -1;
}

/* The bytes of an unknown character as symbols; false when one of them has no token. */
static mn_status push_bytes(const mn_bpe *b, mn_bpe_work *w, const char *text, size_t size,
                            size_t at, bool *done) {
    *done = true;
    for (size_t i = 0; i < size; i++) *done = *done && b->fall_byte[(unsigned char)text[i]] >= 0;
    for (size_t i = 0; *done && i < size; i++)
        MN_TRY(push(w, b->fall_byte[(unsigned char)text[i]], at));
    return MN_OK;
}

/* An unknown character that has no bytes' tokens waits until a known one comes or the word ends; with
 * fuse_unknown it stands for all that wait. That is also what tokenizers does. */
static mn_status to_symbols(const mn_bpe *b, mn_bpe_work *w, const char *text, size_t len) {
    bool waiting = false;
    w->count = 0;
    for (size_t i = 0, size; i < len; i += size) {
        if (b->frozen.count) {
            const mn_match piece = mn_matcher_prefix(&b->frozen, text + i, len - i);
            if (piece.id >= 0) {
                MN_TRY(push(w, piece.id, i));
                size = piece.len;
                continue;
            }
        }
        int32_t id = symbol_of(b, text + i, &size);
        if (id < 0 && b->fallback_late) id = NO_SYMBOL;
        if (id >= 0) {
            if (waiting) MN_TRY(push(w, b->unknown, i));
            waiting = false;
            MN_TRY(push(w, id, i));
            continue;
        }
        if (b->fallback) {
            bool done;
            MN_TRY(push_bytes(b, w, text + i, size, i, &done));
            if (done) continue;
        }
        if (b->unknown < 0) continue;
        if (waiting && !b->fuse_unknown) MN_TRY(push(w, b->unknown, i));
        waiting = true;
    }
    return waiting ? push(w, b->unknown, len) : MN_OK;
}

/* Symbols to tokens, never more than there are bytes. Only SentencePiece still has symbols here that
 * are no tokens. */
static mn_status emit(const mn_bpe *b, const mn_bpe_work *w, const char *text, size_t len,
                      mn_ids *out) {
    bool after_unknown = false;
    MN_TRY(mn_grow(&out->data, &out->cap, out->len + len, sizeof *out->data));
    int32_t *to = out->data + out->len;
    for (size_t i = 0; i < w->count; i++) {
        const int32_t id = w->symbols[i].id;
        if (id < b->symbols) {
            *to++ = id;
            after_unknown = false;
        } else if (b->fallback) {
            const size_t end = i + 1 < w->count ? w->symbols[i + 1].at : len;
            for (size_t at = w->symbols[i].at; at < end; at++)
                *to++ = b->fall_byte[(unsigned char)text[at]];
        } else {
            if (!after_unknown) *to++ = b->unknown;
            after_unknown = true;
        }
    }
    out->len = (size_t)(to - out->data);
    return MN_OK;
}

static mn_status encode_word(const mn_bpe *b, mn_bpe_work *w, const char *text, size_t len,
                             mn_ids *out) {
    const int32_t whole = mn_vocab_find(&b->words, text, len);
    if (whole >= 0) return mn_ids_push(out, whole);
    MN_CHECK(len < WORD_LIMIT, MN_ERR_UNSUPPORTED, "a word of %zu bytes is not supported", len);
    MN_TRY(to_symbols(b, w, text, len));
    MN_TRY(mn_bpe_merge(b, w));
    return emit(b, w, text, len, out);
}

/* Bytes of the next word: up to a metaspace that follows something else. */
static size_t word_size(const char *text, size_t len) {
    size_t i = 0;
    while (len - i >= 3 && memcmp(text + i, MN_METASPACE, 3) == 0) i += 3;
    for (;;) {
        const char *lead = memchr(text + i, MN_METASPACE[0], len - i);
        if (!lead || len - (size_t)(lead - text) < 3) return len;
        i = (size_t)(lead - text);
        if (memcmp(lead, MN_METASPACE, 3) == 0) return i;
        i++;
    }
}

mn_status mn_bpe_encode(const mn_bpe *b, mn_bpe_work *w, const char *text, size_t len,
                        mn_ids *out) {
    if (!b->cut_spaces) return len ? encode_word(b, w, text, len, out) : MN_OK;
    for (size_t i = 0; i < len;) {
        const size_t size = word_size(text + i, len - i);
        MN_TRY(encode_word(b, w, text + i, size, out));
        i += size;
    }
    return MN_OK;
}

mn_status mn_bpe_symbols(mn_bpe *b, const mn_vocab *vocab) {
    for (int i = 0; i < 256; i++) b->of_byte[i] = b->fall_byte[i] = -1;
    for (int32_t id = 0; id < vocab->size; id++) {
        if (!mn_vocab_has(vocab, id)) continue;
        size_t len, used;
        const char *text = mn_vocab_text(vocab, id, &len);
        const int fall = b->bytes ? -1 : mn_byte_token(text, len, false);
        if (fall >= 0) b->fall_byte[fall] = id;
        if (len == 0 || len > 4 || (used = mn_utf8_size(text[0])) != len) continue;
        uint32_t point;
        mn_utf8_get(&point, text);
        const int byte = b->bytes ? mn_char_to_byte(point) : point < 0x80 ? (int)point : -1;
        if (byte >= 0) b->of_byte[byte] = id;
        else if (!b->bytes) MN_TRY(mn_pairs_put(&b->of_char, point, 0, id));
    }
    b->symbols = vocab->size;
    bool all_bytes = b->fallback;
    for (int i = 0; i < 256; i++) all_bytes = all_bytes && b->fall_byte[i] >= 0;
    /* Where an unknown character could vanish, two metaspaces could come together. */
    b->cut_spaces = !b->bytes && !b->whole_words && (b->unknown >= 0 || all_bytes) &&
                    mn_pairs_get(&b->of_char, METASPACE_POINT);
    return MN_OK;
}

bool mn_bpe_joins_space(const char *text, size_t at, size_t len) {
    return len - at >= 3 && memcmp(text + at, MN_METASPACE, 3) == 0 && at > 0 &&
           (at < 3 || memcmp(text + at - 3, MN_METASPACE, 3) != 0);
}

mn_status mn_bpe_add_merge(mn_bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t into,
                           const char *text, size_t left_len, size_t len) {
    if (mn_bpe_joins_space(text, left_len, len)) b->cut_spaces = false;
    return mn_pairs_put(&b->merges, mn_pair_key(left, right), rank, into);
}

/* A token is a word of its own when it encodes to itself. */
mn_status mn_bpe_words(mn_bpe *b, const mn_vocab *vocab) {
    mn_status st = MN_OK;
    mn_bpe_work work = {0};
    mn_ids ids = {0};
    mn_buf bytes = {0};
    mn_vocab words = {0};
    for (int32_t id = 0; id < vocab->size; id++) {
        if (!mn_vocab_has(vocab, id)) continue;
        size_t len;
        const char *text = mn_vocab_text(vocab, id, &len);
        if (b->bytes) {
            bool all;
            mn_buf_clear(&bytes);
            MN_GOTO(mn_bytes_of_chars(&bytes, text, len, &all));
            if (!all) continue;
            text = bytes.data;
            len = bytes.len;
        }
        if (len == 0) continue;
        ids.len = 0;
        if (!b->whole_words) MN_GOTO(encode_word(b, &work, text, len, &ids));
        if (b->whole_words || (ids.len == 1 && ids.data[0] == id))
            MN_GOTO(mn_vocab_add(&words, text, len, id));
    }
    b->words = words;
    words = (mn_vocab){0};
done:
    mn_vocab_free(&words);
    mn_buf_free(&bytes);
    mn_ids_free(&ids);
    mn_bpe_work_free(&work);
    return st;
}

void mn_bpe_free(mn_bpe *b) {
    mn_pairs_free(&b->of_char);
    mn_pairs_free(&b->merges);
    mn_matcher_free(&b->frozen);
    mn_vocab_free(&b->words);
}

void mn_bpe_work_free(mn_bpe_work *w) {
    free(w->symbols);
    free(w->heap);
    *w = (mn_bpe_work){0};
}
