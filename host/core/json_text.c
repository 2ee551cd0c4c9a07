/* json_text.c - the text side of JSON: quoting strings, walking the lines of a jsonl file. */
#include "mneme/json.h"

#include <string.h>
#include <utf8proc.h>

mn_status mn_json_quote(mn_buf *out, const char *text, size_t len) {
    static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */
    MN_TRY(mn_buf_reserve(out, len + 2));
    MN_TRY(mn_buf_append(out, "\"", 1));
    for (size_t i = 0; i < len;) {
        const unsigned char c = (unsigned char)text[i];
        const char *const shorts = "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: character, letter */
        const char *pair = NULL;
        for (const char *p = shorts; *p && !pair; p += 2)
            if ((unsigned char)*p == c) pair = p;
        if (pair) {
            MN_TRY(mn_buf_printf(out, "\\%c", pair[1]));
            i++;
        } else if (c < 0x20) {
            MN_TRY(mn_buf_printf(out, "\\u%04x", c));
            i++;
        } else if (c < 0x80) {
            size_t end = i + 1;
            while (end < len && (unsigned char)text[end] >= 0x20 &&
                   (unsigned char)text[end] < 0x80 && text[end] != '"' && text[end] != '\\')
                end++;
            MN_TRY(mn_buf_append(out, text + i, end - i));
            i = end;
        } else {
            utf8proc_int32_t point;
            const utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text + i,
                                                           (utf8proc_ssize_t)(len - i), &point);
            if (used > 0) MN_TRY(mn_buf_append(out, text + i, (size_t)used));
            else MN_TRY(mn_buf_append(out, replacement, 3));
            i += used > 0 ? (size_t)used : 1;
        }
    }
    return mn_buf_append(out, "\"", 1);
}

mn_lines mn_lines_over(const void *text, size_t len) {
    const char *at = text;
    if (len >= 3 && memcmp(at, "\xEF\xBB\xBF", 3) == 0) {
        at += 3;
        len -= 3;
    }
    return (mn_lines){.at = at, .end = len ? at + len : at, .number = 0};
}

static bool blank(const char *line, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (!memchr(" \t\r", line[i], 3)) return false;
    return true;
}

bool mn_lines_next(mn_lines *lines, const char **line, size_t *len) {
    while (lines->at < lines->end) {
        const char *begin = lines->at;
        const char *newline = memchr(begin, '\n', (size_t)(lines->end - begin));
        const char *stop = newline ? newline : lines->end;
        lines->at = newline ? newline + 1 : lines->end;
        lines->number++;
        if (stop > begin && stop[-1] == '\r') stop--;
        *line = begin;
        *len = (size_t)(stop - begin);
        if (!blank(*line, *len)) return true;
    }
    return false;
}
