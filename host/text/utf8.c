/* utf8.c - UTF-8 for the tokenizers. */
#include "text/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* Bytes of the well-formed character at `text`, 0 when there is none. */
static size_t whole(const char *text, size_t len) {
    utf8proc_int32_t point;
    const utf8proc_ssize_t most = len < 4 ? (utf8proc_ssize_t)len : 4;
    const utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text, most, &point);
    return used > 0 ? (size_t)used : 0;
}

size_t mn_utf8_valid(const char *text, size_t len) {
    size_t i = 0;
    while (i < len) {
        uint64_t eight;
        while (len - i >= sizeof eight) {
            memcpy(&eight, text + i, sizeof eight);
            if (eight & UINT64_C(0x8080808080808080)) break;
            i += sizeof eight;
        }
        while (i < len && (unsigned char)text[i] < 0x80) i++;
        while (i < len && (unsigned char)text[i] >= 0x80) {
            const size_t used = whole(text + i, len - i);
            if (!used) return i;
            i += used;
        }
    }
    return len;
}

size_t mn_utf8_malformed(const char *text, size_t len) {
    const unsigned char *s = (const unsigned char *)text;
    unsigned low = 0x80, high = 0xBF; /* of the second byte */
    if (s[0] == 0xE0) low = 0xA0;
    else if (s[0] == 0xED) high = 0x9F;
    else if (s[0] == 0xF0) low = 0x90;
    else if (s[0] == 0xF4) high = 0x8F;
    size_t want = 1; /* bytes of the character, were it whole */
    if (s[0] >= 0xC2 && s[0] <= 0xF4) want = mn_utf8_size(text[0]);
    size_t n = 1;
    while (n < want && n < len && s[n] >= low && s[n] <= high) {
        n++;
        low = 0x80;
        high = 0xBF;
    }
    return n;
}

mn_status mn_utf8_repair(mn_buf *out, const char *text, size_t len) {
    for (size_t i = 0; i < len;) {
        const size_t good = mn_utf8_valid(text + i, len - i);
        MN_TRY(mn_buf_append(out, text + i, good));
        i += good;
        if (i == len) break;
        MN_TRY(mn_buf_append(out, MN_REPLACEMENT, 3));
        i += mn_utf8_malformed(text + i, len - i);
    }
    return MN_OK;
}

size_t mn_utf8_get(uint32_t *point, const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    const size_t size = mn_utf8_size(text[0]);
    if (size == 1) *point = s[0];
    else if (size == 2) *point = (uint32_t)(s[0] & 0x1F) << 6 | (s[1] & 0x3F);
    else if (size == 3)
        *point = (uint32_t)(s[0] & 0x0F) << 12 | (uint32_t)(s[1] & 0x3F) << 6 | (s[2] & 0x3F);
    else
        *point = (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3F) << 12 |
                 (uint32_t)(s[2] & 0x3F) << 6 | (s[3] & 0x3F);
    return size;
}

static bool printable(uint32_t c) {
    return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

/* The others, in order: 0x00-0x20 (33 of them), 0x7F-0xA0 (34), 0xAD. */
uint32_t mn_byte_to_char(unsigned char byte) {
    if (printable(byte)) return byte;
    return byte <= 0x20 ? 0x100u + byte : byte <= 0xA0 ? 0x121u + byte - 0x7F : 0x143u;
}

int mn_char_to_byte(uint32_t point) {
    if (point < 0x100) return printable(point) ? (int)point : -1;
    if (point <= 0x120) return (int)(point - 0x100);
    if (point <= 0x142) return (int)(point - 0x121 + 0x7F);
    return point == 0x143 ? 0xAD : -1;
}

mn_status mn_bytes_of_chars(mn_buf *out, const char *text, size_t len, bool *all) {
    const size_t begin = out->len;
    *all = true;
    MN_TRY(mn_buf_reserve(out, len));
    for (size_t i = 0; i < len;) {
        uint32_t point;
        i += mn_utf8_get(&point, text + i);
        const int byte = mn_char_to_byte(point);
        if (byte < 0) {
            *all = false;
            out->len = begin;
            break;
        }
        out->data[out->len++] = (char)byte;
    }
    out->data[out->len] = '\0';
    return MN_OK;
}

static int digit(char c, bool any_case) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return any_case && c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int mn_byte_token(const char *text, size_t len, bool any_case) {
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    const int high = digit(text[3], any_case), low = digit(text[4], any_case);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}
