/* entries.c - the list of found tensors, and what both readers need to speak about names. */
#include "io/entries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

bool mn_io_valid_name(const char *text, size_t len) {
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t point;
        if (text[i] == '\0') return false;
        const utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text + i,
                                                       (utf8proc_ssize_t)(len - i), &point);
        if (used <= 0) return false;
        i += (size_t)used;
    }
    return true;
}

mn_shown mn_show(const char *name, size_t len) {
    enum { LONGEST = 150 };
    mn_shown out;
    size_t used = 0;
    const size_t kept = len > LONGEST ? LONGEST : len;
    out.text[used++] = '\'';
    for (size_t i = 0; i < kept; i++) {
        const unsigned char c = (unsigned char)name[i];
        out.text[used++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    snprintf(out.text + used, sizeof out.text - used, "%s", kept < len ? "...'" : "'");
    return out;
}

mn_shown mn_show_shape(const int64_t *shape, int ndim) {
    mn_shown out;
    mn_shape_text(out.text, sizeof out.text, shape, ndim);
    return out;
}

mn_status mn_entries_add(mn_entries *list, const char *name, size_t len, const mn_tensor *view,
                         const char *refused, const char *file) {
    MN_CHECK(mn_io_valid_name(name, len), MN_ERR_DATA,
             "%s: tensor %s: expected a name in UTF-8 without NUL", file, mn_show(name, len).text);
    MN_TRY(mn_grow(&list->data, &list->cap, list->len + 1, sizeof *list->data));
    char *copy = mn_strdup_n(name, len);
    MN_CHECK(copy, MN_ERR_MEMORY, "%s: no memory for a name of %zu bytes", file, len);
    list->data[list->len++] = (mn_entry){{copy, *view, file}, refused};
    return MN_OK;
}

static int by_name(const void *a, const void *b) {
    const mn_stored *x = &((const mn_entry *)a)->stored, *y = &((const mn_entry *)b)->stored;
    const int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->file, y->file); /* the same message on every run */
}

mn_status mn_entries_sort(mn_entries *list) {
    if (list->len > 1) qsort(list->data, list->len, sizeof *list->data, by_name);
    for (size_t i = 1; i < list->len; i++) {
        const mn_stored *a = &list->data[i - 1].stored, *b = &list->data[i].stored;
        if (strcmp(a->name, b->name) != 0) continue;
        const mn_shown name = mn_show(a->name, strlen(a->name));
        MN_CHECK(strcmp(a->file, b->file) != 0, MN_ERR_DATA,
                 "%s: tensor %s: expected once, found twice", a->file, name.text);
        return mn_fail(MN_ERR_DATA, "%s: tensor %s: expected once, found in %s, too", a->file,
                       name.text, b->file);
    }
    return MN_OK;
}

void mn_entries_free(mn_entries *list) {
    for (size_t i = 0; i < list->len; i++) free((void *)(uintptr_t)list->data[i].stored.name);
    free(list->data);
    *list = (mn_entries){0};
}

bool mn_shape_count(int64_t *count, const int64_t *shape, int ndim) {
    *count = 1;
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(*count, shape[i], count)) return false;
    return true;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

mn_status mn_json_twice(const char **twice, const cJSON *object) {
    const cJSON *node;
    const char **keys = NULL;
    size_t len = 0, cap = 0;
    mn_status st = MN_OK;
    *twice = NULL;
    cJSON_ArrayForEach(node, object) {
        MN_GOTO(mn_grow(&keys, &cap, len + 1, sizeof *keys));
        keys[len++] = node->string;
    }
    if (len > 1) qsort(keys, len, sizeof *keys, by_text);
    for (size_t i = 1; i < len && !*twice; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0) *twice = keys[i];
done:
    free(keys);
    return st;
}

mn_status mn_refuse_lfs_pointer(const void *data, size_t size, const char *file) {
    static const char start[] = "version https://git-lfs.github.com/spec/";
    MN_CHECK(size < sizeof start || memcmp(data, start, sizeof start - 1) != 0, MN_ERR_DATA,
             "%s: expected tensors, found a Git LFS pointer; fetch the file with git lfs pull",
             file);
    return MN_OK;
}
