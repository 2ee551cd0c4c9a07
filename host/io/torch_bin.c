/* torch_bin.c - reads one PyTorch file: the archive, the pickle in it, and for each tensor the entry
 * that holds its storage. No tensor data is touched.
 *
 * Entries: <prefix>/data.pkl, <prefix>/data/<key> for each storage, <prefix>/byteorder ("little",
 * since torch 2.1). The prefix is the file's name when it was saved, or "archive". */
#include "io/torch_bin.h"

#include "io/pickle.h"
#include "io/zip.h"

#include <inttypes.h>
#include <string.h>

typedef struct reader {
    mn_entries *list;
    const unsigned char *data;
    const char *file;
    mn_zip zip;
    mn_buf name; /* of the entry looked for; starts with prefix_len bytes "<prefix>/" */
    size_t prefix_len;
} reader;

static mn_status find_pickle(reader *r, const mn_zip_entry **out) {
    static const char tail[] = "/data.pkl";
    const size_t tail_len = sizeof tail - 1;
    *out = NULL;
    for (size_t i = 0; i < r->zip.len; i++) {
        const mn_zip_entry *e = &r->zip.entries[i];
        if (e->name_len <= tail_len ||
            memcmp(e->name + e->name_len - tail_len, tail, tail_len) != 0)
            continue;
        if (memchr(e->name, '/', e->name_len - tail_len)) continue;
        MN_CHECK(!*out, MN_ERR_DATA, "%s: expected one entry <name>/data.pkl, found %s and %s",
                 r->file, mn_show((*out)->name, (*out)->name_len).text,
                 mn_show(e->name, e->name_len).text);
        *out = e;
    }
    MN_CHECK(*out, MN_ERR_DATA,
             "%s: expected a PyTorch file with an entry <name>/data.pkl, found %zu other entries",
             r->file, r->zip.len);
    r->prefix_len = (*out)->name_len - tail_len + 1;
    return mn_buf_append(&r->name, (*out)->name, r->prefix_len);
}

/* The entry <prefix>/<folder><name>, or NULL. */
static mn_status find_entry(reader *r, const char *folder, const char *name, size_t len,
                            const mn_zip_entry **out) {
    r->name.len = r->prefix_len;
    MN_TRY(mn_buf_puts(&r->name, folder));
    MN_TRY(mn_buf_append(&r->name, name, len));
    *out = mn_zip_find(&r->zip, r->name.data, r->name.len);
    return MN_OK;
}

static mn_status check_byte_order(reader *r) {
    const mn_zip_entry *e = NULL;
    MN_TRY(find_entry(r, "", "byteorder", strlen("byteorder"), &e));
    if (!e) return MN_OK; /* torch before 2.1: little on every machine that matters */
    const char *text = (const char *)r->data + e->begin;
    MN_CHECK(e->size == 6 && memcmp(text, "little", 6) == 0, MN_ERR_UNSUPPORTED,
             "%s: byteorder: expected 'little', found %s", r->file, mn_show(text, e->size).text);
    return MN_OK;
}

/* Row-major without gaps; the stride of a dimension of one element says nothing. */
static bool contiguous(const mn_pickle_tensor *t, int64_t count) {
    int64_t step = 1;
    if (count == 0) return true;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != step) return false;
        step *= t->shape[i]; /* at most `count` */
    }
    return true;
}

static mn_status add_tensor(reader *r, const mn_pickle_tensor *t) {
    const mn_shown name = mn_show(t->name, t->name_len), key = mn_show(t->key, t->key_len);
    const int64_t width = (int64_t)mn_dtype_size(t->dtype);
    const mn_zip_entry *e = NULL;
    int64_t count = 0, bytes = 0;
    MN_TRY(find_entry(r, "data/", t->key, t->key_len, &e));
    MN_CHECK(e, MN_ERR_DATA, "%s: tensor %s: expected its storage %s in the archive, found none",
             r->file, name.text, key.text);
    MN_CHECK(!__builtin_mul_overflow(t->storage_count, width, &bytes) && (uint64_t)bytes == e->size,
             MN_ERR_DATA,
             "%s: tensor %s: storage %s: expected %" PRId64 " elements of %" PRId64
             " bytes, found %zu bytes",
             r->file, name.text, key.text, t->storage_count, width, e->size);
    MN_CHECK(mn_shape_count(&count, t->shape, t->ndim), MN_ERR_DATA,
             "%s: tensor %s: expected sizes from 0 up and fewer than 2^63 elements, found %s",
             r->file, name.text, mn_show_shape(t->shape, t->ndim).text);
    MN_CHECK(contiguous(t, count), MN_ERR_UNSUPPORTED,
             "%s: tensor %s: expected a contiguous tensor, found strides %s for %s; save "
             "tensor.contiguous()",
             r->file, name.text, mn_show_shape(t->stride, t->ndim).text,
             mn_show_shape(t->shape, t->ndim).text);
    MN_CHECK(t->offset >= 0 && t->offset <= t->storage_count &&
                 count <= t->storage_count - t->offset,
             MN_ERR_DATA,
             "%s: tensor %s: expected %" PRId64 " elements from %" PRId64
             " on in storage %s, found %" PRId64 " elements in all",
             r->file, name.text, count, t->offset, key.text, t->storage_count);
    mn_tensor view = {.ndim = t->ndim, .dtype = t->dtype};
    memcpy(view.shape, t->shape, sizeof view.shape);
    view.data = (void *)(uintptr_t)(r->data + e->begin + (size_t)(t->offset * width));
    return mn_entries_add(r->list, t->name, t->name_len, &view, NULL, r->file);
}

static mn_status check_kind(const unsigned char *data, size_t size, const char *file) {
    MN_TRY(mn_refuse_lfs_pointer(data, size, file));
    MN_CHECK(size < 2 || data[0] != 0x80 || data[1] > 5, MN_ERR_UNSUPPORTED,
             "%s: an old PyTorch file (a plain pickle, before torch 1.6): load it with torch.load "
             "and save it again with torch.save or as safetensors",
             file);
    MN_CHECK(mn_zip_signature(data, size), MN_ERR_DATA,
             "%s: expected a PyTorch file (a zip archive), found something else in %zu bytes", file,
             size);
    return MN_OK;
}

mn_status mn_torch_bin_read(mn_entries *list, const unsigned char *data, size_t size,
                            const char *file) {
    mn_status st = MN_OK;
    reader r = {.list = list, .data = data, .file = file};
    mn_pickle_dict dict = {0};
    const mn_zip_entry *pickle = NULL;
    MN_TRY(check_kind(data, size, file));
    MN_GOTO(mn_zip_read(&r.zip, data, size, file));
    MN_GOTO(find_pickle(&r, &pickle));
    MN_GOTO(check_byte_order(&r));
    MN_GOTO(mn_pickle_read(&dict, data + pickle->begin, pickle->size, file));
    for (size_t i = 0; i < dict.len; i++) MN_GOTO(add_tensor(&r, &dict.data[i]));
done:
    mn_pickle_free(&dict);
    mn_buf_free(&r.name);
    mn_zip_free(&r.zip);
    return st;
}
