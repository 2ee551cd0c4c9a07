/* safetensors.c - reads one safetensors file: checks the whole header, touches no tensor data.
 *
 * Layout: header length (8 bytes, little-endian), JSON header, data. The tensors cover the data
 * exactly: in the order of their offsets each begins where the one before it ends. */
#include "io/safetensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

/* The names of the format that mn_dtype lacks, with the bits of one element. */
static const struct {
    const char *name;
    int bits;
} others[] = {
    {"U16", 16},        {"U32", 32},    {"U64", 64},    {"C64", 64},
    {"F8_E4M3", 8},     {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},
};

typedef struct span {
    int64_t begin, end; /* bytes behind the header */
    size_t entry;
} span;

typedef struct reader {
    mn_json *doc;
    mn_entries *list;
    const char *file, *name;   /* the name of the tensor at hand */
    const unsigned char *data; /* the first byte behind the header */
    int64_t size;              /* bytes behind the header */
    span *spans;
    size_t len, cap;
} reader;

mn_status mn_safetensors_check_metadata(const mn_json *doc, const cJSON *node) {
    const char *text, *twice = NULL;
    const cJSON *value;
    if (!cJSON_IsObject(node)) return mn_json_fail(doc, node, "expected an object of strings");
    cJSON_ArrayForEach(value, node) MN_TRY(mn_json_as_string(&text, doc, value));
    MN_TRY(mn_json_twice(&twice, node));
    if (twice)
        return mn_json_fail(doc, node, "key %s: expected once, found twice",
                            mn_show(twice, strlen(twice)).text);
    return MN_OK;
}

/* Fails about one member of the tensor at hand: "<file>: tensor <name>: <key>: ...". */
__attribute__((format(printf, 4, 5))) static mn_status
refuse(const reader *r, mn_status status, const char *key, const char *format, ...) {
    char text[MN_ERROR_MAX / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return mn_fail(status, "%s: tensor %s: %s: %s", r->file, mn_show(r->name, strlen(r->name)).text,
                   key, text);
}

static mn_status parse_whole(const reader *r, const char *key, const cJSON *node, int64_t *out) {
    const double exact = 9007199254740992.0; /* 2^53 */
    if (!cJSON_IsNumber(node))
        return refuse(r, MN_ERR_DATA, key, "expected an integer, found something else");
    const double value = node->valuedouble;
    if (!(value >= 0 && value <= exact) || value != floor(value))
        return refuse(r, MN_ERR_DATA, key, "expected an integer from 0 to 2^53, found %.17g",
                      value);
    *out = (int64_t)value;
    return MN_OK;
}

/* Sets view->dtype, or *refused for a dtype known to the format only. */
static mn_status parse_dtype(const reader *r, const cJSON *node, mn_tensor *view, int *bits,
                             const char **refused) {
    *refused = NULL;
    if (!cJSON_IsString(node))
        return refuse(r, MN_ERR_DATA, "dtype", "expected a string, found something else");
    const char *name = node->valuestring;
    for (int i = 0; i < MN_DTYPES; i++)
        if (strcmp(name, mn_dtype_name((mn_dtype)i)) == 0) {
            view->dtype = (mn_dtype)i;
            *bits = 8 * (int)mn_dtype_size(view->dtype);
            return MN_OK;
        }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(name, others[i].name) == 0) {
            view->dtype = MN_DTYPES;
            *bits = others[i].bits;
            *refused = others[i].name;
            return MN_OK;
        }
    return refuse(r, MN_ERR_DATA, "dtype", "expected a dtype of the format, found %s",
                  mn_show(name, strlen(name)).text);
}

static mn_status parse_shape(const reader *r, const cJSON *node, mn_tensor *view, int64_t *count) {
    const cJSON *dim;
    if (!cJSON_IsArray(node))
        return refuse(r, MN_ERR_DATA, "shape", "expected an array, found something else");
    view->ndim = 0;
    cJSON_ArrayForEach(dim, node) {
        if (view->ndim == MN_MAX_DIMS)
            return refuse(r, MN_ERR_UNSUPPORTED, "shape",
                          "expected at most %d dimensions, found %d", MN_MAX_DIMS,
                          cJSON_GetArraySize(node));
        MN_TRY(parse_whole(r, "shape", dim, &view->shape[view->ndim++]));
    }
    if (!mn_shape_count(count, view->shape, view->ndim))
        return refuse(r, MN_ERR_DATA, "shape", "expected fewer than 2^63 elements, found %s",
                      mn_show_shape(view->shape, view->ndim).text);
    return MN_OK;
}

static mn_status parse_offsets(const reader *r, const cJSON *node, span *s) {
    static const char key[] = "data_offsets";
    const int count = cJSON_IsArray(node) ? cJSON_GetArraySize(node) : 0;
    if (count != 2)
        return refuse(r, MN_ERR_DATA, key, "expected an array of 2, found %d elements", count);
    MN_TRY(parse_whole(r, key, node->child, &s->begin));
    MN_TRY(parse_whole(r, key, node->child->next, &s->end));
    if (s->begin > s->end)
        return refuse(r, MN_ERR_DATA, key,
                      "expected a begin before the end, found %" PRId64 " and %" PRId64, s->begin,
                      s->end);
    if (s->end > r->size)
        return refuse(r, MN_ERR_DATA, key,
                      "expected an end within the %" PRId64
                      " data bytes of the file, found %" PRId64,
                      r->size, s->end);
    return MN_OK;
}

/* Finds the three members; unknown ones are left alone, as the format's own reader does. */
static mn_status find_members(const reader *r, const cJSON *node, const cJSON *found[3]) {
    static const char *const keys[3] = {"dtype", "shape", "data_offsets"};
    const cJSON *member;
    if (!cJSON_IsObject(node))
        return refuse(r, MN_ERR_DATA, "entry", "expected an object, found something else");
    cJSON_ArrayForEach(member, node) {
        for (int i = 0; i < 3; i++) {
            if (strcmp(member->string, keys[i]) != 0) continue;
            if (found[i]) return refuse(r, MN_ERR_DATA, keys[i], "expected once, found twice");
            found[i] = member;
        }
    }
    for (int i = 0; i < 3; i++)
        if (!found[i]) return refuse(r, MN_ERR_DATA, keys[i], "expected, but missing");
    return MN_OK;
}

static mn_status parse_tensor(reader *r, const cJSON *node) {
    const cJSON *members[3] = {0};
    mn_tensor view = {0};
    const char *refused = NULL;
    int bits = 0;
    int64_t count = 0, total = 0;
    span s = {.entry = r->list->len};
    r->name = node->string;
    MN_TRY(find_members(r, node, members));
    MN_TRY(parse_dtype(r, members[0], &view, &bits, &refused));
    MN_TRY(parse_shape(r, members[1], &view, &count));
    MN_TRY(parse_offsets(r, members[2], &s));
    if (__builtin_mul_overflow(count, (int64_t)bits, &total) || total % 8 != 0 ||
        total / 8 != s.end - s.begin)
        return refuse(r, MN_ERR_DATA, "data_offsets",
                      "expected the bytes of %s %s (%" PRId64
                      " elements of %d bits), found %" PRId64,
                      members[0]->valuestring, mn_show_shape(view.shape, view.ndim).text, count,
                      bits, s.end - s.begin);
    view.data = (void *)(uintptr_t)(r->data + s.begin);
    MN_TRY(mn_grow(&r->spans, &r->cap, r->len + 1, sizeof *r->spans));
    MN_TRY(mn_entries_add(r->list, r->name, strlen(r->name), &view, refused, r->file));
    r->spans[r->len++] = s;
    return MN_OK;
}

static int by_place(const void *a, const void *b) {
    const span *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static mn_shown name_of(const reader *r, size_t i) {
    const char *name = r->list->data[r->spans[i].entry].stored.name;
    return mn_show(name, strlen(name));
}

/* No overlap and no hole: only one reading of the file exists, and nothing hides in it. */
static mn_status check_cover(reader *r) {
    int64_t at = 0;
    if (r->len > 1) qsort(r->spans, r->len, sizeof *r->spans, by_place);
    for (size_t i = 0; i < r->len; at = r->spans[i].end, i++) {
        const int64_t begin = r->spans[i].begin;
        MN_CHECK(begin >= at, MN_ERR_DATA,
                 "%s: tensor %s: expected to begin at data byte %" PRId64
                 " or later, found %" PRId64 ", inside tensor %s",
                 r->file, name_of(r, i).text, at, begin, name_of(r, i ? i - 1 : 0).text);
        MN_CHECK(begin == at, MN_ERR_DATA,
                 "%s: tensor %s: expected to begin at data byte %" PRId64 ", found %" PRId64
                 ": the bytes between belong to no tensor",
                 r->file, name_of(r, i).text, at, begin);
    }
    MN_CHECK(at == r->size, MN_ERR_DATA,
             "%s: expected the data to end at data byte %" PRId64 " with tensor %s, found %" PRId64
             " bytes",
             r->file, at, r->len ? name_of(r, r->len - 1).text : "(none)", r->size);
    return MN_OK;
}

/* Checks the length in front and returns the header. cJSON decodes \u0000 to the end of a string, so
 * two different names could look the same: such a header is refused. */
static mn_status find_header(const char **header, size_t *len, const unsigned char *data,
                             size_t size, const char *file) {
    uint64_t length = 0;
    MN_TRY(mn_refuse_lfs_pointer(data, size, file));
    MN_CHECK(size >= LENGTH_BYTES, MN_ERR_DATA,
             "%s: expected a safetensors file of at least %d bytes, found %zu", file, LENGTH_BYTES,
             size);
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) length = length << 8 | data[i];
    MN_CHECK(length <= MN_SAFETENSORS_MAX_HEADER, MN_ERR_DATA,
             "%s: expected a header of at most %d bytes, found a length of %" PRIu64, file,
             MN_SAFETENSORS_MAX_HEADER, length);
    MN_CHECK(length <= size - LENGTH_BYTES, MN_ERR_DATA,
             "%s: expected a header of %" PRIu64 " bytes, found a file of %zu", file, length, size);
    *header = (const char *)data + LENGTH_BYTES;
    *len = (size_t)length;
    MN_CHECK(*len > 0 && **header == '{', MN_ERR_DATA,
             "%s: expected a header that begins with '{', found %s", file,
             mn_show(*header, *len ? 1 : 0).text);
    MN_CHECK(!memmem(*header, *len, "\\u0000", 6), MN_ERR_DATA,
             "%s: expected names without NUL, found \\u0000 in the header", file);
    return MN_OK;
}

mn_status mn_safetensors_read(mn_entries *list, const unsigned char *data, size_t size,
                              const char *file) {
    mn_status st = MN_OK;
    reader r = {.list = list, .file = file};
    const char *header = NULL, *twice = NULL;
    size_t len = 0;
    const cJSON *node;
    MN_TRY(find_header(&header, &len, data, size, file));
    MN_GOTO(mn_json_parse(&r.doc, header, len, file));
    r.data = data + LENGTH_BYTES + len;
    r.size = (int64_t)(size - LENGTH_BYTES - len);
    MN_CHECK_GOTO(cJSON_IsObject(r.doc->root), MN_ERR_DATA, "%s: expected a JSON object", file);
    MN_GOTO(mn_json_twice(&twice, r.doc->root));
    MN_CHECK_GOTO(!twice, MN_ERR_DATA, "%s: tensor %s: expected once, found twice", file,
                  mn_show(twice, strlen(twice)).text);
    cJSON_ArrayForEach(node, r.doc->root) {
        if (strcmp(node->string, MN_SAFETENSORS_METADATA) == 0)
            MN_GOTO(mn_safetensors_check_metadata(r.doc, node));
        else MN_GOTO(parse_tensor(&r, node));
    }
    st = check_cover(&r);
done:
    free(r.spans);
    mn_json_close(&r.doc);
    return st;
}
