/* fields.h - members of a JSON object on standard output, beside mn_record_key of common.h. */
#ifndef MNEME_CLI_FIELDS_H
#define MNEME_CLI_FIELDS_H

#include "mneme/buf.h"

#include <stdbool.h>
#include <stdint.h>

mn_status mn_field_text(mn_buf *out, const char *key, const char *text); /* NULL: null */
mn_status mn_field_number(mn_buf *out, const char *key, double value);   /* NaN: null */
mn_status mn_field_count(mn_buf *out, const char *key, int64_t value);
mn_status mn_field_bool(mn_buf *out, const char *key, bool value);
/* "key": { - the caller's "}" ends it. */
mn_status mn_field_object(mn_buf *out, const char *key);
/* The comma before all items of an array but the first, whose "[" is the last character so far. */
mn_status mn_field_next(mn_buf *out);

#endif
