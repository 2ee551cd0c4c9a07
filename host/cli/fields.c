/* fields.c - see fields.h. */
#include "cli/fields.h"

#include "cli/common.h"

#include <string.h>

mn_status mn_field_text(mn_buf *out, const char *key, const char *text) {
    MN_TRY(mn_record_key(out, key));
    return text ? mn_json_quote(out, text, strlen(text)) : mn_buf_puts(out, "null");
}

mn_status mn_field_number(mn_buf *out, const char *key, double value) {
    MN_TRY(mn_record_key(out, key));
    return mn_json_number(out, value);
}

mn_status mn_field_count(mn_buf *out, const char *key, int64_t value) {
    MN_TRY(mn_record_key(out, key));
    return mn_buf_printf(out, "%lld", (long long)value);
}

mn_status mn_field_bool(mn_buf *out, const char *key, bool value) {
    MN_TRY(mn_record_key(out, key));
    return mn_buf_puts(out, value ? "true" : "false");
}

mn_status mn_field_object(mn_buf *out, const char *key) {
    MN_TRY(mn_record_key(out, key));
    return mn_buf_puts(out, "{");
}

mn_status mn_field_next(mn_buf *out) {
    return out->len > 0 && out->data[out->len - 1] == '[' ? MN_OK : mn_buf_puts(out, ", ");
}
