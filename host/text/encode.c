/* encode.c - a text to ids: repair, cut added tokens out, normalize, cut the other added tokens out,
 * cut into words, BPE. */
#include "text/impl.h"

#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef struct run {
    const mn_tokenizer *t;
    mn_ids *out;
    bool bare;
    mn_buf normal[2];
    mn_pre_work pre;
    mn_bpe_work bpe;
} run;

/* A stretch of text between added tokens; `first`: the input starts with it. */
typedef mn_status (*gap_fn)(run *r, const char *text, size_t len, bool first);

static mn_status on_word(void *user, const char *word, size_t len) {
    run *r = user;
    return mn_bpe_encode(&r->t->bpe, &r->bpe, word, len, r->out);
}

static mn_status encode_gap(run *r, const char *text, size_t len, bool first) {
    return mn_pretokenize(&r->t->pre, &r->pre, text, len, first, r->bare, on_word, r);
}

static bool is_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

/* Where the white space in front of byte `at` starts, not before `from`. */
static size_t spaces_before(const char *text, size_t from, size_t at) {
    while (at > from) {
        size_t back = at - 1;
        uint32_t point;
        while (back > from && ((unsigned char)text[back] & 0xC0) == 0x80) back--;
        mn_utf8_get(&point, text + back);
        if (!is_space(point)) break;
        at = back;
    }
    return at;
}

static size_t spaces_after(const char *text, size_t at, size_t len) {
    while (at < len) {
        uint32_t point;
        const size_t size = mn_utf8_get(&point, text + at);
        if (!is_space(point)) break;
        at += size;
    }
    return at;
}

/* The ids of the matcher's tokens in `text`, and `fn` for what lies between. */
static mn_status cut(run *r, const mn_matcher *m, const char *text, size_t len, bool first,
                     gap_fn fn) {
    size_t done = 0;
    while (done < len) {
        const mn_match hit = mn_matcher_find(m, text, len, done);
        if (hit.id < 0) break;
        size_t start = hit.at, end = hit.at + hit.len;
        if (hit.strip & MN_STRIP_LEFT) start = spaces_before(text, done, start);
        if (hit.strip & MN_STRIP_RIGHT) end = spaces_after(text, end, len);
        if (start > done) MN_TRY(fn(r, text + done, start - done, first && done == 0));
        MN_TRY(mn_ids_push(r->out, hit.id));
        done = end;
    }
    return done < len ? fn(r, text + done, len - done, first && done == 0) : MN_OK;
}

static mn_status encode_raw(run *r, const char *text, size_t len, bool first) {
    const char *normal;
    size_t normal_len;
    MN_TRY(mn_normalize(&r->t->normalizer, r->normal, text, len, r->bare && first, &normal,
                        &normal_len));
    return cut(r, &r->t->added_normalized, normal, normal_len, first, encode_gap);
}

mn_status mn_tokenizer_encode(const mn_tokenizer *t, const char *text, size_t len, unsigned flags,
                              mn_ids *out) {
    mn_status st = MN_OK;
    const size_t begin = out->len;
    const bool special = (flags & MN_TOKENIZE_SPECIAL) != 0;
    mn_buf repaired = {0};
    run r = {.t = t, .out = out, .bare = (flags & MN_TOKENIZE_CONTINUE) != 0};
    if (len && mn_utf8_valid(text, len) != len) {
        MN_GOTO(mn_utf8_repair(&repaired, text, len));
        text = repaired.data;
        len = repaired.len;
    }
    if (special) MN_GOTO(mn_ids_append(out, t->prefix.data, t->prefix.len));
    if (len) MN_GOTO(cut(&r, &t->added_raw, text, len, true, encode_raw));
    if (special) MN_GOTO(mn_ids_append(out, t->suffix.data, t->suffix.len));
done:
    mn_fail_in(st, "%s", t->name);
    if (st != MN_OK) out->len = begin;
    mn_buf_free(&repaired);
    mn_buf_free(&r.normal[0]);
    mn_buf_free(&r.normal[1]);
    mn_pre_work_free(&r.pre);
    mn_bpe_work_free(&r.bpe);
    return st;
}
