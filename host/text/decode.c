/* decode.c - the steps of a decoder, each from one list of strings into another. */
#include "text/decode.h"

#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { GROWTH = MN_REPLACE_LIMIT, GROWTH_SLACK = 1 << 16 };

static mn_status end_part(mn_parts *p) {
    MN_TRY(mn_grow(&p->ends, &p->cap, p->count + 1, sizeof *p->ends));
    p->ends[p->count++] = p->text.len;
    return MN_OK;
}

mn_status mn_parts_add(mn_parts *p, const char *text, size_t len) {
    MN_TRY(mn_buf_append(&p->text, text, len));
    return end_part(p);
}

void mn_parts_free(mn_parts *p) {
    mn_buf_free(&p->text);
    free(p->ends);
    *p = (mn_parts){0};
}

static const char *part(const mn_parts *p, size_t i, size_t *len) {
    const size_t begin = i ? p->ends[i - 1] : 0;
    *len = p->ends[i] - begin;
    return p->text.data ? p->text.data + begin : "";
}

static mn_status end_run(const mn_dec_step *step, mn_parts *to, mn_buf *run, bool raw) {
    mn_status st = MN_OK;
    size_t good = raw ? run->len : mn_utf8_valid(run->data ? run->data : "", run->len);
    if (run->len == 0) return MN_OK;
    if (good == run->len) st = mn_parts_add(to, run->data, run->len);
    else if (step->kind == MN_DEC_FALLBACK)
        for (size_t i = 0; i < run->len && st == MN_OK; i++)
            st = mn_parts_add(to, MN_REPLACEMENT, 3);
    else
        for (size_t i = 0; i < run->len && st == MN_OK; i += good) {
            good = mn_utf8_valid(run->data + i, run->len - i);
            st = good ? mn_parts_add(to, run->data + i, good) : mn_parts_add(to, MN_REPLACEMENT, 3);
            if (!good) good = 1;
        }
    mn_buf_clear(run);
    return st;
}

static mn_status fall_back(const mn_dec_step *step, const mn_parts *from, mn_parts *to, bool raw) {
    mn_status st = MN_OK;
    mn_buf run = {0};
    for (size_t i = 0; i < from->count; i++) {
        size_t len;
        const char *text = part(from, i, &len);
        const int byte = mn_byte_token(text, len, true);
        if (byte >= 0) {
            const char c = (char)byte;
            MN_GOTO(mn_buf_append(&run, &c, 1));
            continue;
        }
        MN_GOTO(end_run(step, to, &run, raw));
        MN_GOTO(mn_parts_add(to, text, len));
    }
    MN_GOTO(end_run(step, to, &run, raw));
done:
    mn_buf_free(&run);
    return st;
}

/* A token with a character outside the alphabet (an added one) is text already. */
static mn_status to_bytes(const mn_parts *from, mn_parts *to, bool raw) {
    mn_status st = MN_OK;
    mn_buf bytes = {0};
    for (size_t i = 0; i < from->count; i++) {
        size_t len;
        bool all;
        const char *text = part(from, i, &len);
        MN_GOTO(mn_bytes_of_chars(&bytes, text, len, &all));
        if (!all) MN_GOTO(mn_buf_append(&bytes, text, len));
    }
    if (bytes.len)
        MN_GOTO(raw ? mn_buf_append(&to->text, bytes.data, bytes.len)
                    : mn_utf8_repair(&to->text, bytes.data, bytes.len));
    MN_GOTO(end_part(to));
done:
    mn_buf_free(&bytes);
    return st;
}

static mn_status strip(const mn_dec_step *step, mn_parts *to, const char *text, size_t len) {
    const size_t n = step->from_len;
    for (size_t i = 0; i < step->start && len >= n && memcmp(text, step->from, n) == 0; i++) {
        text += n;
        len -= n;
    }
    for (size_t i = 0; i < step->stop && len >= n && memcmp(text + len - n, step->from, n) == 0;
         i++)
        len -= n;
    return mn_parts_add(to, text, len);
}

/* SentencePiece puts one space in front of a text; tokens of nothing else may be several. */
static mn_status drop_dummy(const mn_dec_step *step, const mn_parts *from, mn_parts *to) {
    bool done = false;
    for (size_t i = 0; i < from->count; i++) {
        size_t len;
        const char *text = part(from, i, &len);
        if (!done && len > 0) {
            const size_t n = step->from_len;
            const bool hit = len >= n && memcmp(text, step->from, n) == 0;
            text += hit ? n : 0;
            len -= hit ? n : 0;
            done = !step->start || len > 0;
        }
        MN_TRY(mn_parts_add(to, text, len));
    }
    return MN_OK;
}

static mn_status run_step(const mn_dec_step *step, const mn_parts *from, mn_parts *to, bool raw) {
    if (step->kind == MN_DEC_BYTES) return to_bytes(from, to, raw);
    if (step->kind == MN_DEC_FALLBACK || step->kind == MN_DEC_PIECEWISE)
        return fall_back(step, from, to, raw);
    if (step->kind == MN_DEC_FUSE)
        return mn_parts_add(to, from->text.data ? from->text.data : "", from->text.len);
    if (step->kind == MN_DEC_DUMMY && !raw) return drop_dummy(step, from, to);
    for (size_t i = 0; i < from->count; i++) {
        size_t len;
        const char *text = part(from, i, &len);
        if (step->kind == MN_DEC_STRIP || step->kind == MN_DEC_DUMMY) {
            MN_TRY(raw ? mn_parts_add(to, text, len) : strip(step, to, text, len));
            continue;
        }
        const bool vanish = step->kind == MN_DEC_METASPACE && step->start && i == 0 && !raw;
        const char *with = step->kind == MN_DEC_REPLACE ? step->to : " ";
        const size_t with_len = step->kind == MN_DEC_REPLACE ? step->to_len : 1;
        MN_TRY(mn_replace(&to->text, text, len, step->from, step->from_len, with,
                          vanish ? 0 : with_len));
        MN_TRY(end_part(to));
    }
    return MN_OK;
}

mn_status mn_decode(const mn_decoder *decoder, mn_parts *parts, bool raw, mn_buf *out) {
    mn_status st = MN_OK;
    mn_parts other = {0};
    const size_t limit = parts->text.len;
    for (size_t i = 0; i < decoder->count; i++) {
        mn_buf_clear(&other.text);
        other.count = 0;
        MN_GOTO(run_step(&decoder->steps[i], parts, &other, raw));
        MN_CHECK_GOTO(other.text.len / GROWTH <= limit + GROWTH_SLACK / GROWTH, MN_ERR_UNSUPPORTED,
                      "a decoder that makes %zu bytes of %zu is not supported", other.text.len,
                      limit);
        const mn_parts swap = *parts;
        *parts = other;
        other = swap;
    }
    for (size_t i = 0; i < parts->count; i++) {
        size_t len;
        const char *text = part(parts, i, &len);
        if (decoder->spaced && i > 0) MN_GOTO(mn_buf_append(out, " ", 1));
        MN_GOTO(mn_buf_append(out, text, len));
    }
done:
    mn_parts_free(&other);
    return st;
}
