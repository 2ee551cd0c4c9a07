/* zip.c - reads the directory of a zip archive (APPNOTE.TXT 6.3: sections 4.3.7, 4.3.12 - 4.3.16). */
#include "io/zip.h"

#include "io/entries.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOCAL = 0x04034b50,
    CENTRAL = 0x02014b50,
    END = 0x06054b50,
    END64 = 0x06064b50,
    LOCATOR64 = 0x07064b50,
    LOCAL_BYTES = 30,
    CENTRAL_BYTES = 46,
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR64_BYTES = 20,
    MAX_COMMENT = 0xffff,
    MAX_ENTRIES = 1 << 20,
    EXTRA64 = 1 /* id of the extra field with 64-bit sizes */
};
static const uint64_t full16 = 0xffff, full32 = 0xffffffff; /* "look into the ZIP64 field" */

typedef struct archive {
    const unsigned char *data;
    size_t size;
    const char *file;
    size_t directory, directory_size, count;
} archive;

static uint64_t number(const unsigned char *at, int bytes) {
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | at[i];
    return value;
}

bool mn_zip_signature(const unsigned char *data, size_t size) {
    return size >= 4 && (number(data, 4) == LOCAL || number(data, 4) == END);
}

/* The end record lies at the end, in front of a comment whose length it gives. */
static mn_status find_end(size_t *at, const archive *a) {
    for (size_t comment = 0; comment <= MAX_COMMENT && comment + END_BYTES <= a->size; comment++) {
        *at = a->size - END_BYTES - comment;
        if (number(a->data + *at, 4) == END && number(a->data + *at + 20, 2) == comment)
            return MN_OK;
    }
    return mn_fail(MN_ERR_DATA,
                   "%s: expected a zip archive with a directory at its end, found none in %zu "
                   "bytes; is the file cut off?",
                   a->file, a->size);
}

/* One number that both end records give: the short one is full or the same. */
static mn_status agree(uint64_t *value, uint64_t full, uint64_t wide, const char *file) {
    MN_CHECK(*value == full || *value == wide, MN_ERR_DATA,
             "%s: zip: the end records disagree: %" PRIu64 " and %" PRIu64, file, *value, wide);
    *value = wide;
    return MN_OK;
}

static mn_status read_end(archive *a) {
    size_t at = 0;
    MN_TRY(find_end(&at, a));
    const unsigned char *record = a->data + at;
    uint64_t disk = number(record + 4, 2) | number(record + 6, 2);
    uint64_t here = number(record + 8, 2), count = number(record + 10, 2);
    uint64_t bytes = number(record + 12, 4), begin = number(record + 16, 4);
    size_t end = at;
    if (at >= LOCATOR64_BYTES && number(record - LOCATOR64_BYTES, 4) == LOCATOR64) {
        const uint64_t at64 = number(record - LOCATOR64_BYTES + 8, 8);
        MN_CHECK(
            at >= LOCATOR64_BYTES + END64_BYTES && at64 <= at - LOCATOR64_BYTES - END64_BYTES &&
                number(a->data + at64, 4) == END64,
            MN_ERR_DATA, "%s: zip: expected the ZIP64 end record at byte %" PRIu64, a->file, at64);
        const unsigned char *wide = a->data + at64;
        MN_TRY(agree(&here, full16, number(wide + 24, 8), a->file));
        MN_TRY(agree(&count, full16, number(wide + 32, 8), a->file));
        MN_TRY(agree(&bytes, full32, number(wide + 40, 8), a->file));
        MN_TRY(agree(&begin, full32, number(wide + 48, 8), a->file));
        disk |= number(wide + 16, 4) | number(wide + 20, 4);
        end = (size_t)at64;
    }
    MN_CHECK((disk == 0 || disk == full16) && here == count, MN_ERR_UNSUPPORTED,
             "%s: zip: an archive of several disks", a->file);
    MN_CHECK(begin <= end && bytes <= end - begin, MN_ERR_DATA,
             "%s: zip: expected the directory in front of byte %zu, found %" PRIu64
             " bytes at %" PRIu64,
             a->file, end, bytes, begin);
    MN_CHECK(count <= MAX_ENTRIES && count <= bytes / CENTRAL_BYTES, MN_ERR_DATA,
             "%s: zip: %" PRIu64 " entries in a directory of %" PRIu64 " bytes (at most %d)",
             a->file, count, bytes, MAX_ENTRIES);
    a->directory = (size_t)begin;
    a->directory_size = (size_t)bytes;
    a->count = (size_t)count;
    return MN_OK;
}

/* Replaces the full ones of size, packed size and offset by the numbers of the ZIP64 extra field,
 * which come in this order and only where needed. */
static mn_status widen(uint64_t *const values[3], const unsigned char *extra, size_t len,
                       const archive *a, const char *name) {
    bool wanted = false;
    for (int i = 0; i < 3; i++) wanted = wanted || *values[i] == full32;
    while (wanted && len >= 4) {
        const uint64_t id = number(extra, 2);
        size_t left = (size_t)number(extra + 2, 2);
        const unsigned char *field = extra + 4;
        if (left > len - 4) break;
        extra = field + left;
        len -= 4 + left;
        if (id != EXTRA64) continue;
        for (int i = 0; i < 3; i++) {
            if (*values[i] != full32) continue;
            MN_CHECK(left >= 8, MN_ERR_DATA, "%s: zip entry %s: the ZIP64 field is too short",
                     a->file, name);
            *values[i] = number(field, 8);
            field += 8;
            left -= 8;
        }
        return MN_OK;
    }
    return MN_OK; /* without the field 0xffffffff is a plain number */
}

/* The local header must name the same entry; its own extra field says where the bytes begin. */
static mn_status read_local(mn_zip_entry *e, uint64_t start, uint64_t size, const archive *a) {
    const mn_shown name = mn_show(e->name, e->name_len);
    MN_CHECK(a->directory >= LOCAL_BYTES && start <= a->directory - LOCAL_BYTES &&
                 number(a->data + start, 4) == LOCAL,
             MN_ERR_DATA, "%s: zip entry %s: expected its local header at byte %" PRIu64, a->file,
             name.text, start);
    const unsigned char *local = a->data + start;
    const size_t name_len = (size_t)number(local + 26, 2), extra = (size_t)number(local + 28, 2);
    const size_t room = a->directory - (size_t)start - LOCAL_BYTES;
    MN_CHECK(name_len + extra <= room && size <= room - name_len - extra, MN_ERR_DATA,
             "%s: zip entry %s: expected its %" PRIu64 " bytes in front of byte %zu, the directory",
             a->file, name.text, size, a->directory);
    MN_CHECK(name_len == e->name_len && memcmp(local + LOCAL_BYTES, e->name, name_len) == 0 &&
                 number(local + 8, 2) == 0,
             MN_ERR_DATA, "%s: zip entry %s: its local header is for something else", a->file,
             name.text);
    e->start = (size_t)start;
    e->begin = e->start + LOCAL_BYTES + name_len + extra;
    e->size = (size_t)size;
    return MN_OK;
}

/* Reads the directory record at *at and moves *at behind it. */
static mn_status read_central(mn_zip_entry *e, size_t *at, const archive *a) {
    const size_t end = a->directory + a->directory_size;
    const unsigned char *record = a->data + *at;
    MN_CHECK(end - *at >= CENTRAL_BYTES && number(record, 4) == CENTRAL, MN_ERR_DATA,
             "%s: zip: expected a directory record at byte %zu", a->file, *at);
    const size_t extra_len = (size_t)number(record + 30, 2);
    const size_t comment = (size_t)number(record + 32, 2);
    e->name_len = (size_t)number(record + 28, 2);
    e->name = (const char *)record + CENTRAL_BYTES;
    MN_CHECK(e->name_len + extra_len + comment <= end - *at - CENTRAL_BYTES, MN_ERR_DATA,
             "%s: zip: the directory record at byte %zu passes the directory's end", a->file, *at);
    const mn_shown name = mn_show(e->name, e->name_len);
    uint64_t packed = number(record + 20, 4), size = number(record + 24, 4);
    uint64_t start = number(record + 42, 4);
    uint64_t *const values[3] = {&size, &packed, &start};
    MN_TRY(widen(values, record + CENTRAL_BYTES + e->name_len, extra_len, a, name.text));
    MN_CHECK(!(number(record + 8, 2) & 1), MN_ERR_UNSUPPORTED, "%s: zip entry %s is encrypted",
             a->file, name.text);
    MN_CHECK(number(record + 10, 2) == 0, MN_ERR_UNSUPPORTED,
             "%s: zip entry %s is compressed (method %u): expected stored bytes, as torch.save "
             "writes them",
             a->file, name.text, (unsigned)number(record + 10, 2));
    MN_CHECK(packed == size, MN_ERR_DATA, "%s: zip entry %s: %" PRIu64 " bytes stored as %" PRIu64,
             a->file, name.text, size, packed);
    *at += CENTRAL_BYTES + e->name_len + extra_len + comment;
    return read_local(e, start, size, a);
}

static int compare_names(const char *a, size_t a_len, const char *b, size_t b_len) {
    const int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order ? order : (a_len > b_len) - (a_len < b_len);
}

static int by_name(const void *a, const void *b) {
    const mn_zip_entry *x = a, *y = b;
    return compare_names(x->name, x->name_len, y->name, y->name_len);
}

static int by_start(const void *a, const void *b) {
    const mn_zip_entry *x = a, *y = b;
    return (x->start > y->start) - (x->start < y->start);
}

/* Leaves the entries ordered by name. */
static mn_status check_distinct(mn_zip *zip, const archive *a) {
    if (zip->len > 1) qsort(zip->entries, zip->len, sizeof *zip->entries, by_start);
    for (size_t i = 1; i < zip->len; i++) {
        const mn_zip_entry *before = &zip->entries[i - 1], *e = &zip->entries[i];
        MN_CHECK(before->begin + before->size <= e->start, MN_ERR_DATA,
                 "%s: zip entries %s and %s overlap", a->file,
                 mn_show(before->name, before->name_len).text, mn_show(e->name, e->name_len).text);
    }
    if (zip->len > 1) qsort(zip->entries, zip->len, sizeof *zip->entries, by_name);
    for (size_t i = 1; i < zip->len; i++)
        MN_CHECK(by_name(&zip->entries[i - 1], &zip->entries[i]) != 0, MN_ERR_DATA,
                 "%s: zip entry %s: expected once, found twice", a->file,
                 mn_show(zip->entries[i].name, zip->entries[i].name_len).text);
    return MN_OK;
}

mn_status mn_zip_read(mn_zip *out, const unsigned char *data, size_t size, const char *file) {
    mn_status st = MN_OK;
    archive a = {.data = data, .size = size, .file = file};
    *out = (mn_zip){0};
    MN_GOTO(read_end(&a));
    size_t at = a.directory;
    out->entries = calloc(a.count + 1, sizeof *out->entries);
    MN_CHECK_GOTO(out->entries, MN_ERR_MEMORY, "%s: no memory for %zu entries", file, a.count);
    for (; out->len < a.count; out->len++) MN_GOTO(read_central(&out->entries[out->len], &at, &a));
    MN_CHECK_GOTO(at == a.directory + a.directory_size, MN_ERR_DATA,
                  "%s: zip: expected the directory to end at byte %zu, found %zu", file, at,
                  a.directory + a.directory_size);
    st = check_distinct(out, &a);
done:
    if (st != MN_OK) mn_zip_free(out);
    return st;
}

const mn_zip_entry *mn_zip_find(const mn_zip *zip, const char *name, size_t len) {
    size_t low = 0, high = zip->len;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const mn_zip_entry *e = &zip->entries[middle];
        const int order = compare_names(name, len, e->name, e->name_len);
        if (order == 0) return e;
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

void mn_zip_free(mn_zip *zip) {
    free(zip->entries);
    *zip = (mn_zip){0};
}
