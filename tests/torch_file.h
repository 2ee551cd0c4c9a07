/* torch_file.h - PyTorch files made by hand, byte by byte, for the tests of the reader. */
#ifndef MNEME_TESTS_TORCH_FILE_H
#define MNEME_TESTS_TORCH_FILE_H

#include "check.h"

#include "mneme/buf.h"

#include <stdbool.h>
#include <string.h>

/* A zip archive in the making. `hole` bytes behind the first `split` ones are left out. */
typedef struct torch_file {
    mn_buf file, directory;
    unsigned count;
    bool wide; /* ZIP64: every size and offset in the extra field */
    uint64_t hole;
    size_t split;
} torch_file;

static inline void torch_number(mn_buf *out, int bytes, uint64_t value) {
    for (int i = 0; i < bytes; i++, value >>= 8) {
        const unsigned char byte = (unsigned char)(value & 0xff);
        MN_ASSERT_OK(mn_buf_append(out, &byte, 1));
    }
}

static inline void torch_local_header(mn_buf *out, const char *name) {
    torch_number(out, 4, 0x04034b50);
    torch_number(out, 22, 0); /* method 0; sizes and checksum follow in the directory */
    torch_number(out, 2, strlen(name));
    torch_number(out, 2, 3); /* padding, as torch aligns with it */
    MN_ASSERT_OK(mn_buf_puts(out, name));
    torch_number(out, 3, 0);
}

static inline void torch_directory_record(torch_file *a, const char *name, uint64_t start,
                                          uint64_t size) {
    mn_buf *out = &a->directory;
    torch_number(out, 4, 0x02014b50);
    torch_number(out, 16, 0);
    torch_number(out, 4, a->wide ? 0xffffffff : size);
    torch_number(out, 4, a->wide ? 0xffffffff : size);
    torch_number(out, 2, strlen(name));
    torch_number(out, 2, a->wide ? 34 : 0);
    torch_number(out, 10, 0);
    torch_number(out, 4, a->wide ? 0xffffffff : start);
    MN_ASSERT_OK(mn_buf_puts(out, name));
    if (a->wide) {
        torch_number(out, 2, 7777); /* somebody else's field comes first */
        torch_number(out, 2, 2);
        torch_number(out, 2, 0);
        torch_number(out, 2, 1);
        torch_number(out, 2, 24);
        torch_number(out, 8, size);
        torch_number(out, 8, size);
        torch_number(out, 8, start);
    }
    a->count++;
}

/* `hole` more bytes belong to the entry. */
static inline void torch_add(torch_file *a, const char *name, const void *bytes, size_t len,
                             uint64_t hole) {
    torch_directory_record(a, name, a->file.len + a->hole, len + hole);
    torch_local_header(&a->file, name);
    MN_ASSERT_OK(mn_buf_append(&a->file, bytes, len));
    if (hole) a->split = a->file.len;
    a->hole += hole;
}

static inline void torch_finish(torch_file *a) {
    const uint64_t start = a->file.len + a->hole;
    MN_ASSERT_OK(mn_buf_append(&a->file, a->directory.data, a->directory.len));
    if (a->wide) {
        const uint64_t at = a->file.len + a->hole;
        torch_number(&a->file, 4, 0x06064b50);
        torch_number(&a->file, 8, 44);
        torch_number(&a->file, 12, 0);
        torch_number(&a->file, 8, a->count);
        torch_number(&a->file, 8, a->count);
        torch_number(&a->file, 8, a->directory.len);
        torch_number(&a->file, 8, start);
        torch_number(&a->file, 4, 0x07064b50);
        torch_number(&a->file, 4, 0);
        torch_number(&a->file, 8, at);
        torch_number(&a->file, 4, 1);
    }
    torch_number(&a->file, 4, 0x06054b50);
    torch_number(&a->file, 4, 0);
    torch_number(&a->file, 2, a->wide ? 0xffff : a->count);
    torch_number(&a->file, 2, a->wide ? 0xffff : a->count);
    torch_number(&a->file, 4, a->wide ? 0xffffffff : a->directory.len);
    torch_number(&a->file, 4, a->wide ? 0xffffffff : start);
    torch_number(&a->file, 2, 0);
}

static inline void torch_drop(torch_file *a) {
    mn_buf_free(&a->file);
    mn_buf_free(&a->directory);
}

/* Pickles as C strings; only octal escapes, which end after three digits. */
#define P "\200\2" /* protocol 2 */
#define TEXT1(c) "X\1\0\0\0" c
#define CPU "X\3\0\0\0cpu"
#define ORDERED "ccollections\nOrderedDict\n"
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"
#define PARAMETER "ctorch._utils\n_rebuild_parameter\n"
#define STORAGE(type, key, count) "(X\7\0\0\0storagectorch\n" type "\n" key CPU count "tQ"
#define FLOAT4 STORAGE("FloatStorage", TEXT1("0"), "K\4")
#define MAKE(storage, offset, size, stride)                                                        \
    REBUILD "(" storage offset size stride "\211" ORDERED ")RtR"
#define W(storage, offset, size, stride) P "}" TEXT1("w") MAKE(storage, offset, size, stride) "s."
#define GOOD MAKE(FLOAT4, "K\0", "K\2K\2\206", "K\2K\1\206")

/* Short, for tables. */
#define BAD MN_ERR_DATA
#define NOT MN_ERR_UNSUPPORTED
#define S(text) text, sizeof text - 1

#endif
