/* nfc.c - normal form C: decompose, order the combining marks, compose. utf8proc knows the characters
 * and composes; ordering is done here because utf8proc_map needs quadratic time for a long run of
 * marks. Only characters from U+0300 on, and the one in front of them, can change. */
#include "text/nfc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { FIRST_LEAD = 0xCC }; /* U+0300 is CC 80; no byte of a smaller character is as high */

typedef struct span {
    utf8proc_int32_t *points, *spare;
    size_t count, cap, spare_cap;
} span;

bool mn_nfc_needed(const char *text, size_t len) {
    unsigned found = 0;
    for (size_t i = 0; i < len;) {
        const size_t stop = len - i < 4096 ? len : i + 4096;
        for (; i < stop; i++) found |= (unsigned char)text[i] >= FIRST_LEAD;
        if (found) return true;
    }
    return false;
}

static mn_status decompose(span *s, const char *text, size_t len) {
    const utf8proc_option_t how = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    s->count = 0;
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t point;
        int bound = 0;
        const utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text + i,
                                                       (utf8proc_ssize_t)(len - i), &point);
        MN_CHECK(used > 0, MN_ERR_DATA, "malformed UTF-8 reached the normalizer");
        i += (size_t)used;
        MN_TRY(mn_grow(&s->points, &s->cap, s->count + 4, sizeof *s->points));
        for (;;) {
            const utf8proc_ssize_t room = (utf8proc_ssize_t)(s->cap - s->count);
            const utf8proc_ssize_t need = utf8proc_decompose_char(point, s->points + s->count, room,
                                                                  how, &bound);
            MN_CHECK(need >= 0, MN_ERR_DATA, "U+%04X: %s", (unsigned)point, utf8proc_errmsg(need));
            if (need <= room) {
                s->count += (size_t)need;
                break;
            }
            MN_TRY(mn_grow(&s->points, &s->cap, s->count + (size_t)need, sizeof *s->points));
        }
    }
    return MN_OK;
}

static unsigned mark_class(utf8proc_int32_t point) {
    return point < 0x300 ? 0 : (unsigned)utf8proc_get_property(point)->combining_class & 0xFF;
}

/* Sorts one run of combining marks by class, marks of one class stay in their order. */
static mn_status order_run(span *s, size_t from, size_t count) {
    size_t place[257] = {0};
    MN_TRY(mn_grow(&s->spare, &s->spare_cap, count, sizeof *s->spare));
    memcpy(s->spare, s->points + from, count * sizeof *s->spare);
    for (size_t i = 0; i < count; i++) place[mark_class(s->spare[i]) + 1]++;
    for (size_t c = 1; c < 257; c++) place[c] += place[c - 1];
    for (size_t i = 0; i < count; i++)
        s->points[from + place[mark_class(s->spare[i])]++] = s->spare[i];
    return MN_OK;
}

static mn_status order_marks(span *s) {
    for (size_t i = 0; i < s->count; i++) {
        const size_t from = i;
        bool sorted = true;
        for (unsigned last = 0, c; i < s->count && (c = mark_class(s->points[i])) != 0; i++) {
            sorted = sorted && last <= c;
            last = c;
        }
        if (!sorted) MN_TRY(order_run(s, from, i - from));
    }
    return MN_OK;
}

static mn_status normalize_span(span *s, mn_buf *out, const char *text, size_t len) {
    MN_TRY(decompose(s, text, len));
    MN_TRY(order_marks(s));
    const utf8proc_ssize_t count = utf8proc_normalize_utf32(s->points, (utf8proc_ssize_t)s->count,
                                                            UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    MN_CHECK(count >= 0, MN_ERR_DATA, "%s", utf8proc_errmsg(count));
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        MN_TRY(mn_buf_reserve(out, 4));
        out->len += (size_t)utf8proc_encode_char(s->points[i],
                                                 (utf8proc_uint8_t *)out->data + out->len);
    }
    return MN_OK;
}

mn_status mn_nfc(mn_buf *out, const char *text, size_t len) {
    mn_status st = MN_OK;
    span s = {0};
    MN_GOTO(mn_buf_reserve(out, len));
    for (size_t done = 0; done < len;) {
        size_t from = done;
        while (from < len && (unsigned char)text[from] < FIRST_LEAD) from++;
        const size_t first = from;
        if (from < len && from > done) do
                from--;
            while (from > done && ((unsigned char)text[from] & 0xC0) == 0x80);
        MN_GOTO(mn_buf_append(out, text + done, from - done));
        size_t end = first;
        while (end < len && ((unsigned char)text[end] >= FIRST_LEAD ||
                             ((unsigned char)text[end] & 0xC0) == 0x80))
            end++;
        if (end > first) MN_GOTO(normalize_span(&s, out, text + from, end - from));
        done = end;
    }
    MN_GOTO(mn_buf_append(out, "", 0)); /* the NUL behind the text */
done:
    free(s.points);
    free(s.spare);
    return st;
}
