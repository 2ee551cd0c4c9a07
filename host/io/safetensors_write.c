/* safetensors_write.c - writes one safetensors file: a header from the list, then the data. */
#include "io/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };
static const int64_t max_bytes = INT64_C(1) << 53; /* offsets are JSON numbers: exact to here */

static int by_name(const void *a, const void *b) {
    return strcmp((*(const mn_stored *const *)a)->name, (*(const mn_stored *const *)b)->name);
}

static mn_status check_names(const char *path, const mn_stored *tensors, int64_t count) {
    mn_status st = MN_OK;
    const mn_stored **sorted = malloc(((size_t)count + 1) * sizeof *sorted);
    MN_CHECK(sorted, MN_ERR_MEMORY, "%s: no memory for %" PRId64 " names", path, count);
    for (int64_t i = 0; i < count; i++) sorted[i] = &tensors[i];
    qsort(sorted, (size_t)count, sizeof *sorted, by_name);
    for (int64_t i = 0; i < count; i++) {
        const char *name = sorted[i]->name;
        const mn_shown shown = mn_show(name, strlen(name));
        MN_CHECK_GOTO(mn_io_valid_name(name, strlen(name)), MN_ERR_USAGE,
                      "%s: tensor %s: expected a name in UTF-8", path, shown.text);
        MN_CHECK_GOTO(strcmp(name, MN_SAFETENSORS_METADATA) != 0, MN_ERR_USAGE,
                      "%s: tensor %s: the format keeps this name for itself", path, shown.text);
        MN_CHECK_GOTO(i == 0 || strcmp(sorted[i - 1]->name, name) != 0, MN_ERR_USAGE,
                      "%s: tensor %s: expected once, found twice", path, shown.text);
    }
done:
    free(sorted);
    return st;
}

static mn_status count_bytes(int64_t *bytes, const char *path, const mn_stored *t) {
    const mn_tensor *v = &t->view;
    const mn_shown name = mn_show(t->name, strlen(t->name));
    int64_t elements = 0;
    MN_CHECK((unsigned)v->dtype < MN_DTYPES && v->ndim >= 0 && v->ndim <= MN_MAX_DIMS, MN_ERR_USAGE,
             "%s: tensor %s: dtype %d with %d dimensions is not a tensor", path, name.text,
             (int)v->dtype, v->ndim);
    MN_CHECK(mn_shape_count(&elements, v->shape, v->ndim) &&
                 elements <= max_bytes / (int64_t)mn_dtype_size(v->dtype),
             MN_ERR_USAGE, "%s: tensor %s: expected at most 2^53 bytes, found %s %s", path,
             name.text, mn_dtype_name(v->dtype), mn_show_shape(v->shape, v->ndim).text);
    *bytes = elements * (int64_t)mn_dtype_size(v->dtype);
    return MN_OK;
}

static mn_status put_metadata(mn_buf *header, const char *path, const char *metadata) {
    mn_json *doc = NULL;
    const cJSON *value;
    mn_status st = mn_json_parse(&doc, metadata, strlen(metadata), "metadata");
    if (st == MN_OK) st = mn_safetensors_check_metadata(doc, doc->root);
    if (st != MN_OK) {
        mn_fail_in(st, "%s", path);
        goto done;
    }
    MN_GOTO(mn_buf_puts(header, "\"" MN_SAFETENSORS_METADATA "\":{"));
    cJSON_ArrayForEach(value, doc->root) {
        if (value != doc->root->child) MN_GOTO(mn_buf_puts(header, ","));
        MN_GOTO(mn_json_quote(header, value->string, strlen(value->string)));
        MN_GOTO(mn_buf_puts(header, ":"));
        MN_GOTO(mn_json_quote(header, value->valuestring, strlen(value->valuestring)));
    }
    st = mn_buf_puts(header, "}");
done:
    mn_json_close(&doc);
    return st;
}

/* Appends one tensor that begins at *at and moves *at behind it. */
static mn_status put_tensor(mn_buf *header, const char *path, const mn_stored *t, int64_t *at) {
    int64_t bytes = 0;
    MN_TRY(count_bytes(&bytes, path, t));
    MN_CHECK(bytes <= max_bytes - *at, MN_ERR_USAGE,
             "%s: tensor %s: expected at most 2^53 bytes in one file", path,
             mn_show(t->name, strlen(t->name)).text);
    MN_TRY(mn_json_quote(header, t->name, strlen(t->name)));
    MN_TRY(mn_buf_printf(header, ":{\"dtype\":\"%s\",\"shape\":[", mn_dtype_name(t->view.dtype)));
    for (int i = 0; i < t->view.ndim; i++)
        MN_TRY(mn_buf_printf(header, "%s%" PRId64, i ? "," : "", t->view.shape[i]));
    MN_TRY(
        mn_buf_printf(header, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", *at, *at + bytes));
    *at += bytes;
    return MN_OK;
}

/* The length in front, the JSON, and spaces up to a multiple of ALIGNMENT. */
static mn_status make_header(mn_buf *header, const char *path, const mn_stored *tensors,
                             int64_t count, const char *metadata) {
    unsigned char length[8] = {0};
    int64_t at = 0;
    MN_TRY(mn_buf_append(header, length, sizeof length));
    MN_TRY(mn_buf_puts(header, "{"));
    if (metadata) MN_TRY(put_metadata(header, path, metadata));
    for (int64_t i = 0; i < count; i++) {
        if (i > 0 || metadata) MN_TRY(mn_buf_puts(header, ","));
        MN_TRY(put_tensor(header, path, &tensors[i], &at));
    }
    MN_TRY(mn_buf_puts(header, "}"));
    const int gap = (int)((ALIGNMENT - header->len % ALIGNMENT) % ALIGNMENT);
    MN_TRY(mn_buf_printf(header, "%*s", gap, ""));
    uint64_t bytes = header->len - sizeof length;
    MN_CHECK(bytes <= MN_SAFETENSORS_MAX_HEADER, MN_ERR_USAGE,
             "%s: expected a header of at most %d bytes, found %" PRIu64, path,
             MN_SAFETENSORS_MAX_HEADER, bytes);
    for (int i = 0; i < 8; i++, bytes >>= 8) header->data[i] = (char)(unsigned char)(bytes & 0xff);
    return MN_OK;
}

mn_status mn_safetensors_begin(mn_writer **out, const char *path, const mn_stored *tensors,
                               int64_t count, const char *metadata) {
    mn_status st = MN_OK;
    mn_buf header = {0};
    *out = NULL;
    MN_CHECK(count >= 0, MN_ERR_USAGE, "%s: %" PRId64 " tensors to write", path, count);
    MN_GOTO(check_names(path, tensors, count));
    MN_GOTO(make_header(&header, path, tensors, count, metadata));
    MN_GOTO(mn_writer_open(out, path));
    st = mn_writer_write(*out, header.data, header.len);
done:
    if (st != MN_OK) mn_writer_close(out);
    mn_buf_free(&header);
    return st;
}

mn_status mn_safetensors_write(const char *path, const mn_stored *tensors, int64_t count,
                               const char *metadata) {
    mn_status st = MN_OK;
    mn_writer *writer = NULL;
    MN_TRY(mn_safetensors_begin(&writer, path, tensors, count, metadata));
    for (int64_t i = 0; i < count; i++) {
        const mn_tensor *t = &tensors[i].view;
        const size_t bytes = mn_tensor_bytes(t);
        MN_CHECK_GOTO(t->data || bytes == 0, MN_ERR_USAGE, "%s: tensor %s has no data", path,
                      mn_show(tensors[i].name, strlen(tensors[i].name)).text);
        if (bytes > 0) MN_GOTO(mn_writer_write(writer, t->data, bytes));
    }
    st = mn_writer_commit(writer);
done:
    mn_writer_close(&writer);
    return st;
}
