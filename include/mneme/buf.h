/* buf.h - growable bytes and growable token ids.
 *
 * A zeroed struct is an empty one. The owner frees; functions that fill one append to it unless they
 * say otherwise. mn_buf keeps a terminating NUL behind its bytes, so `data` is also a C string. */
#ifndef MNEME_BUF_H
#define MNEME_BUF_H

#include "mneme/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct mn_buf {
    char *data; /* NULL until the first append */
    size_t len, cap;
} mn_buf;

mn_status mn_buf_reserve(mn_buf *buf, size_t more); /* room for `more` bytes and a NUL */
mn_status mn_buf_append(mn_buf *buf, const void *bytes, size_t len);
mn_status mn_buf_puts(mn_buf *buf, const char *text);
mn_status mn_buf_printf(mn_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mn_buf_clear(mn_buf *buf); /* length 0, keeps the memory */
void mn_buf_free(mn_buf *buf);  /* safe twice */

typedef struct mn_ids {
    int32_t *data;
    size_t len, cap;
} mn_ids;

mn_status mn_ids_push(mn_ids *ids, int32_t id);
mn_status mn_ids_append(mn_ids *ids, const int32_t *data, size_t len);
void mn_ids_free(mn_ids *ids);

/* Doubles *cap until it holds `need` elements of `size` bytes; *data may be NULL at first. */
mn_status mn_grow(void *data_ptr, size_t *cap, size_t need, size_t size);

char *mn_strdup_n(const char *text, size_t len); /* NULL when memory is out; free() it */

#endif
