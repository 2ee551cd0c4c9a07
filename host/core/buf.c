/* buf.c - growable bytes and token ids. */
#include "mneme/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

mn_status mn_grow(void *data_ptr, size_t *cap, size_t need, size_t size) {
    if (need <= *cap) return MN_OK;
    size_t wanted = *cap ? *cap : 16;
    while (wanted < need) {
        if (wanted > SIZE_MAX / 2) break;
        wanted *= 2;
    }
    MN_CHECK(wanted >= need && wanted <= SIZE_MAX / size, MN_ERR_MEMORY,
             "no memory for %zu elements of %zu bytes", need, size);
    void *data;
    memcpy(&data, data_ptr, sizeof data);
    void *grown = realloc(data, wanted * size);
    MN_CHECK(grown, MN_ERR_MEMORY, "no memory for %zu elements of %zu bytes", need, size);
    memcpy(data_ptr, &grown, sizeof grown);
    *cap = wanted;
    return MN_OK;
}

mn_status mn_buf_reserve(mn_buf *buf, size_t more) {
    MN_CHECK(more < SIZE_MAX - buf->len - 1, MN_ERR_MEMORY, "no memory for %zu more bytes", more);
    return mn_grow(&buf->data, &buf->cap, buf->len + more + 1, 1);
}

mn_status mn_buf_append(mn_buf *buf, const void *bytes, size_t len) {
    MN_TRY(mn_buf_reserve(buf, len));
    if (len) memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return MN_OK;
}

mn_status mn_buf_puts(mn_buf *buf, const char *text) {
    return mn_buf_append(buf, text, strlen(text));
}

mn_status mn_buf_printf(mn_buf *buf, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    MN_CHECK(need >= 0, MN_ERR_USAGE, "bad format '%s'", format);
    MN_TRY(mn_buf_reserve(buf, (size_t)need));
    va_start(args, format);
    vsnprintf(buf->data + buf->len, (size_t)need + 1, format, args);
    va_end(args);
    buf->len += (size_t)need;
    return MN_OK;
}

void mn_buf_clear(mn_buf *buf) {
    buf->len = 0;
    if (buf->data) buf->data[0] = '\0';
}

void mn_buf_free(mn_buf *buf) {
    free(buf->data);
    *buf = (mn_buf){0};
}

mn_status mn_ids_push(mn_ids *ids, int32_t id) { return mn_ids_append(ids, &id, 1); }

mn_status mn_ids_append(mn_ids *ids, const int32_t *data, size_t len) {
    MN_TRY(mn_grow(&ids->data, &ids->cap, ids->len + len, sizeof *ids->data));
    if (len) memcpy(ids->data + ids->len, data, len * sizeof *data);
    ids->len += len;
    return MN_OK;
}

void mn_ids_free(mn_ids *ids) {
    free(ids->data);
    *ids = (mn_ids){0};
}

char *mn_strdup_n(const char *text, size_t len) {
    char *copy = malloc(len + 1);
    if (!copy) return NULL;
    if (len) memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}
