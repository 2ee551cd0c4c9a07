/* normalize.c - the steps of a normalizer, each from one buffer into the other. */
#include "text/normalize.h"

#include "text/nfc.h"

#include <stdlib.h>
#include <string.h>

/* A list of replacements may not blow a text up without bounds. */
enum { GROWTH = MN_REPLACE_LIMIT, GROWTH_SLACK = 1 << 16 };

mn_status mn_normalizer_add(mn_normalizer *n, mn_norm_kind kind, const char *from, size_t from_len,
                            const char *to, size_t to_len) {
    MN_TRY(mn_grow(&n->steps, &n->cap, n->count + 1, sizeof *n->steps));
    mn_norm_step *step = &n->steps[n->count++];
    *step = (mn_norm_step){.kind = kind, .from_len = from_len, .to_len = to_len};
    if (from_len) memcpy(step->from, from, from_len);
    if (to_len) memcpy(step->to, to, to_len);
    return MN_OK;
}

void mn_normalizer_free(mn_normalizer *n) {
    free(n->steps);
    *n = (mn_normalizer){0};
}

/* One byte by another string: the common case, a space by a metaspace. */
static mn_status replace_byte(mn_buf *out, const char *text, size_t len, char from, const char *to,
                              size_t to_len) {
    size_t hits = 0;
    for (size_t i = 0; i < len; i++) hits += text[i] == from;
    MN_CHECK(!to_len || hits < (SIZE_MAX - len) / to_len, MN_ERR_MEMORY, "the text is too long");
    MN_TRY(mn_buf_reserve(out, len - hits + hits * to_len));
    char *at = out->data + out->len;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != from) {
            *at++ = text[i];
            continue;
        }
        for (size_t j = 0; j < to_len; j++) *at++ = to[j];
    }
    *at = '\0';
    out->len = (size_t)(at - out->data);
    return MN_OK;
}

mn_status mn_replace(mn_buf *out, const char *text, size_t len, const char *from, size_t from_len,
                     const char *to, size_t to_len) {
    if (from_len == 1) return replace_byte(out, text, len, from[0], to, to_len);
    for (size_t i = 0; i < len;) {
        const char *hit = memmem(text + i, len - i, from, from_len);
        const size_t end = hit ? (size_t)(hit - text) : len;
        MN_TRY(mn_buf_append(out, text + i, end - i));
        if (!hit) break;
        MN_TRY(mn_buf_append(out, to, to_len));
        i = end + from_len;
    }
    return MN_OK;
}

static bool ends_with(const mn_buf *buf, const char *tail, size_t len) {
    return len > 0 && buf->len >= len && memcmp(buf->data + buf->len - len, tail, len) == 0;
}

static mn_status squeeze(const mn_norm_step *step, mn_buf *out, const char *text, size_t len,
                         bool bare) {
    bool after_space = !bare;
    MN_TRY(mn_buf_reserve(out, len));
    for (size_t i = 0; i < len; i++) {
        const bool space = text[i] == ' ';
        if (!space || !after_space) out->data[out->len++] = text[i];
        after_space = space;
    }
    for (;;) {
        if (ends_with(out, " ", 1)) out->len--;
        else if (ends_with(out, step->to, step->to_len)) out->len -= step->to_len;
        else break;
    }
    out->data[out->len] = '\0';
    return MN_OK;
}

/* False in *changed: the step leaves the text as it is and wrote nothing. */
static mn_status run_step(const mn_norm_step *step, mn_buf *out, const char *text, size_t len,
                          bool bare, bool *changed) {
    *changed = true;
    switch (step->kind) {
    case MN_NORM_NFC:
        *changed = mn_nfc_needed(text, len);
        return *changed ? mn_nfc(out, text, len) : MN_OK;
    case MN_NORM_PREPEND:
        *changed = len > 0 && !bare;
        if (!*changed) return MN_OK;
        MN_TRY(mn_buf_append(out, step->to, step->to_len));
        return mn_buf_append(out, text, len);
    case MN_NORM_REPLACE:
        *changed = memmem(text, len, step->from, step->from_len) != NULL;
        return *changed
                   ? mn_replace(out, text, len, step->from, step->from_len, step->to, step->to_len)
                   : MN_OK;
    case MN_NORM_SPACES: return squeeze(step, out, text, len, bare);
    }
    return MN_OK;
}

mn_status mn_normalize(const mn_normalizer *n, mn_buf buf[2], const char *text, size_t len,
                       bool bare, const char **out, size_t *out_len) {
    const size_t start_len = len;
    int into = 0;
    for (size_t i = 0; i < n->count; i++) {
        bool changed;
        mn_buf_clear(&buf[into]);
        MN_TRY(run_step(&n->steps[i], &buf[into], text, len, bare, &changed));
        if (!changed) continue;
        text = buf[into].data ? buf[into].data : "";
        len = buf[into].len;
        MN_CHECK(len / GROWTH <= start_len + GROWTH_SLACK / GROWTH, MN_ERR_UNSUPPORTED,
                 "a normalizer that makes %zu bytes of %zu is not supported", len, start_len);
        into = !into;
    }
    *out = text;
    *out_len = len;
    return MN_OK;
}
