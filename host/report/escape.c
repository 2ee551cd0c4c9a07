/* escape.c - texts of the world inside HTML, SVG and Markdown. */
#include "report/page.h"

#include <string.h>
#include <utf8proc.h>

/* Characters that XML 1.0 has no place for, escaped or not. */
static bool forbidden(utf8proc_int32_t point) {
    return point < 0x20 ? point != '\n' && point != '\t'
                        : (point >= 0x7F && point < 0xA0) || point == 0xFFFE || point == 0xFFFF;
}

mn_status mn_xml_escape(mn_buf *out, const char *text) {
    const size_t len = strlen(text);
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t point = -1;
        const utf8proc_ssize_t got = utf8proc_iterate((const utf8proc_uint8_t *)text + i,
                                                      (utf8proc_ssize_t)(len - i), &point);
        const size_t used = got > 0 ? (size_t)got : 1;
        if (got <= 0 || forbidden(point)) MN_TRY(mn_buf_puts(out, "\xEF\xBF\xBD"));
        else if (point == '&') MN_TRY(mn_buf_puts(out, "&amp;"));
        else if (point == '<') MN_TRY(mn_buf_puts(out, "&lt;"));
        else if (point == '>') MN_TRY(mn_buf_puts(out, "&gt;"));
        else if (point == '"') MN_TRY(mn_buf_puts(out, "&quot;"));
        else if (point == '\'') MN_TRY(mn_buf_puts(out, "&#39;"));
        else MN_TRY(mn_buf_append(out, text + i, used));
        i += used;
    }
    return MN_OK;
}

mn_status mn_markdown_escape(mn_buf *out, const char *text) {
    for (const char *p = text; *p; p++) {
        if (strchr("\\`*_~<&[|", *p)) MN_TRY(mn_buf_puts(out, "\\"));
        MN_TRY(mn_buf_append(out, strchr("\r\n\t", *p) ? " " : p, 1));
    }
    return MN_OK;
}
