/* test_checkpoint.c - safetensors files: what is read, what is refused and with which words, what is
 * written; folders with shards. PyTorch files made by hand are in test_checkpoint_pickle.c and
 * test_checkpoint_zip.c, those of PyTorch in test_golden_checkpoint.c. */
#include "check.h"

#include "mneme/checkpoint.h"
#include "mneme/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A whole file: the header's length, the header, `bytes` bytes 0, 1, 2 ... */
static void make_file(mn_buf *out, const char *header, size_t bytes) {
    const uint64_t len = strlen(header);
    mn_buf_clear(out);
    for (int i = 0; i < 8; i++) {
        const unsigned char byte = (unsigned char)(len >> 8 * i);
        MN_ASSERT_OK(mn_buf_append(out, &byte, 1));
    }
    MN_ASSERT_OK(mn_buf_puts(out, header));
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char byte = (unsigned char)i;
        MN_ASSERT_OK(mn_buf_append(out, &byte, 1));
    }
}

static void write_file(const char *path, const char *header, size_t bytes) {
    mn_buf file = {0};
    make_file(&file, header, bytes);
    mn_test_write(path, file.data, file.len);
    mn_buf_free(&file);
}

static void test_reads(void **state) {
    (void)state;
    mn_buf file = {0};
    mn_checkpoint *c = NULL;
    const mn_stored *t = NULL;
    make_file(&file,
              "{\"__metadata__\":{\"format\":\"pt\",\"\":\"\"},"
              "\"z\":{\"dtype\":\"I16\",\"shape\":[2,1,1,1,1,1,1,1],\"data_offsets\":[5,9]},"
              "\"scalar\":{\"shape\":[],\"data_offsets\":[1,5],\"dtype\":\"F32\",\"note\":[{}]},"
              "\"empty\":{\"dtype\":\"F64\",\"shape\":[3,0],\"data_offsets\":[5,5]},"
              "\"eight\":{\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[9,11]},"
              "\"four\":{\"dtype\":\"F4\",\"shape\":[3,2],\"data_offsets\":[11,14]},"
              "\"\\u00e4\\\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}     ",
              14);
    MN_ASSERT_OK(mn_checkpoint_open_memory(&c, file.data, file.len, "some file"));
    const unsigned char *data = (const unsigned char *)file.data + file.len - 14;
    assert_int_equal(mn_checkpoint_count(c), 4);
    assert_string_equal(mn_checkpoint_at(c, 0)->name, "empty");
    assert_string_equal(mn_checkpoint_at(c, 3)->name, "\xc3\xa4\"");
    assert_null(mn_checkpoint_at(c, 4));
    assert_null(mn_checkpoint_at(c, -1));

    assert_non_null(t = mn_checkpoint_find(c, "z"));
    assert_string_equal(t->file, "some file");
    assert_int_equal(t->view.ndim, 8);
    assert_int_equal(t->view.shape[0], 2);
    assert_int_equal(t->view.dtype, MN_I16);
    assert_ptr_equal(t->view.data, data + 5);
    assert_non_null(t = mn_checkpoint_find(c, "scalar"));
    assert_int_equal(t->view.ndim, 0);
    assert_int_equal(mn_tensor_bytes(&t->view), 4);
    assert_ptr_equal(t->view.data, data + 1);
    assert_int_equal(mn_tensor_bytes(&mn_checkpoint_find(c, "empty")->view), 0);

    assert_null(mn_checkpoint_find(c, "eight"));
    MN_ASSERT_FAILS(mn_checkpoint_get(&t, c, "eight"), MN_ERR_UNSUPPORTED,
                    "some file: tensor 'eight': dtype F8_E4M3 is not supported");
    assert_null(t);
    MN_ASSERT_FAILS(mn_checkpoint_get(&t, c, "four"), MN_ERR_UNSUPPORTED, "dtype F4 ");
    MN_ASSERT_FAILS(mn_checkpoint_get(&t, c, "zz"), MN_ERR_DATA,
                    "some file: tensor 'zz': expected, but missing");
    MN_ASSERT_OK(mn_checkpoint_get(&t, c, "z"));
    assert_ptr_equal(t, mn_checkpoint_find(c, "z"));
    mn_checkpoint_close(&c);

    make_file(&file, "{}", 0); /* no tensors: legal */
    MN_ASSERT_OK(mn_checkpoint_open_memory(&c, file.data, file.len, "none"));
    assert_int_equal(mn_checkpoint_count(c), 0);
    assert_null(mn_checkpoint_find(c, "x"));
    mn_checkpoint_close(&c);
    mn_buf_free(&file);
}

#define T(dtype, shape, offsets)                                                                   \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(dtype, shape, offsets) "{\"w\":" T(dtype, shape, offsets) "}"

static const struct {
    const char *header;
    size_t bytes;
    mn_status status;
    const char *part;
} refused[] = {
    {"", 0, MN_ERR_DATA, "expected a header that begins with '{', found ''"},
    {" {}", 0, MN_ERR_DATA, "expected a header that begins with '{', found ' '"},
    {"[]", 0, MN_ERR_DATA, "expected a header that begins with '{', found '['"},
    {"{", 0, MN_ERR_DATA, "broken JSON at column 1"},
    {"{}{}", 0, MN_ERR_DATA, "broken JSON at column 3"},
    {"{\"w\":1}", 0, MN_ERR_DATA, "tensor 'w': entry: expected an object"},
    {"{\"w\":{}}", 0, MN_ERR_DATA, "tensor 'w': dtype: expected, but missing"},
    {"{\"w\":{\"dtype\":\"F32\"}}", 0, MN_ERR_DATA, "tensor 'w': shape: expected, but missing"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[]}}", 0, MN_ERR_DATA,
     "tensor 'w': data_offsets: expected, but missing"},
    {"{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, MN_ERR_DATA,
     "tensor 'w': dtype: expected once, found twice"},
    {"{\"w\":{\"dtype\":1,\"shape\":[],\"data_offsets\":[0,4]}}", 4, MN_ERR_DATA,
     "tensor 'w': dtype: expected a string"},
    {ONE("f32", "[]", "[0,4]"), 4, MN_ERR_DATA,
     "tensor 'w': dtype: expected a dtype of the format, found 'f32'"},
    {ONE("F32", "1", "[0,4]"), 4, MN_ERR_DATA, "tensor 'w': shape: expected an array"},
    {ONE("F32", "[-1]", "[0,4]"), 4, MN_ERR_DATA,
     "tensor 'w': shape: expected an integer from 0 to 2^53, found -1"},
    {ONE("F32", "[1.5]", "[0,4]"), 4, MN_ERR_DATA, "found 1.5"},
    {ONE("F32", "[9223372036854775808]", "[0,4]"), 4, MN_ERR_DATA, "found 9.22337203685477"},
    {ONE("F32", "[\"1\"]", "[0,4]"), 4, MN_ERR_DATA, "tensor 'w': shape: expected an integer"},
    {ONE("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, MN_ERR_UNSUPPORTED,
     "tensor 'w': shape: expected at most 8 dimensions, found 9"},
    {ONE("F32", "[4294967296,4294967296]", "[0,4]"), 4, MN_ERR_DATA,
     "tensor 'w': shape: expected fewer than 2^63 elements, found (4294967296, 4294967296)"},
    {ONE("F32", "[4294967296,4294967296,0]", "[0,0]"), 0, MN_ERR_DATA, "fewer than 2^63 elements"},
    {ONE("F64", "[1125899906842624,4096]", "[0,0]"), 0, MN_ERR_DATA,
     "tensor 'w': data_offsets: expected the bytes of F64 (1125899906842624, 4096)"},
    {ONE("F32", "[]", "4"), 4, MN_ERR_DATA, "data_offsets: expected an array of 2, found 0"},
    {ONE("F32", "[]", "[0]"), 4, MN_ERR_DATA, "data_offsets: expected an array of 2, found 1"},
    {ONE("F32", "[]", "[0,2,4]"), 4, MN_ERR_DATA, "data_offsets: expected an array of 2, found 3"},
    {ONE("F32", "[]", "[4,0]"), 4, MN_ERR_DATA, "expected a begin before the end, found 4 and 0"},
    {ONE("F32", "[]", "[0,1e300]"), 4, MN_ERR_DATA, "data_offsets: expected an integer from 0"},
    {ONE("F32", "[2]", "[0,8]"), 7, MN_ERR_DATA,
     "tensor 'w': data_offsets: expected an end within the 7 data bytes of the file, found 8"},
    {ONE("F32", "[2]", "[0,4]"), 4, MN_ERR_DATA,
     "tensor 'w': data_offsets: expected the bytes of F32 (2) (2 elements of 32 bits), found 4"},
    {ONE("F8_E4M3", "[3]", "[0,4]"), 4, MN_ERR_DATA, "expected the bytes of F8_E4M3 (3)"},
    {ONE("F4", "[3]", "[0,2]"), 2, MN_ERR_DATA, "(3 elements of 4 bits), found 2"},
    {ONE("F32", "[]", "[0,4]"), 5, MN_ERR_DATA,
     "expected the data to end at data byte 4 with tensor 'w', found 5 bytes"},
    {"{}", 1, MN_ERR_DATA, "expected the data to end at data byte 0"},
    {ONE("U8", "[1]", "[1,2]"), 2, MN_ERR_DATA,
     "tensor 'w': expected to begin at data byte 0, found 1: the bytes between"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[3,5]") "}", 5, MN_ERR_DATA,
     "tensor 'b': expected to begin at data byte 2, found 3: the bytes between"},
    {"{\"a\":" T("U8", "[2]", "[1,3]") ",\"b\":" T("U8", "[2]", "[0,2]") "}", 3, MN_ERR_DATA,
     "tensor 'a': expected to begin at data byte 2 or later, found 1, inside tensor 'b'"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[0,2]") "}", 2, MN_ERR_DATA,
     "inside tensor 'a'"},
    {"{\"w\":" T("U8", "[1]", "[0,1]") ",\"w\":" T("U8", "[1]", "[1,2]") "}", 2, MN_ERR_DATA,
     "tensor 'w': expected once, found twice"},
    {"{\"a\\u0000b\":" T("U8", "[1]", "[0,1]") "}", 1, MN_ERR_DATA, "expected names without NUL"},
    {"{\"\xff\":" T("U8", "[1]", "[0,1]") "}", 1, MN_ERR_DATA, "expected a name in UTF-8"},
    {"{\"__metadata__\":[]}", 0, MN_ERR_DATA, "$.__metadata__: expected an object of strings"},
    {"{\"__metadata__\":{\"a\":1}}", 0, MN_ERR_DATA, "$.__metadata__.a: expected a string"},
    {"{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0, MN_ERR_DATA, "key 'a': expected once"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, MN_ERR_DATA, "expected once, found twice"},
};

static void test_refuses(void **state) {
    (void)state;
    mn_buf file = {0};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        mn_checkpoint *c = NULL;
        make_file(&file, refused[i].header, refused[i].bytes);
        MN_ASSERT_FAILS(mn_checkpoint_open_memory(&c, file.data, file.len, "m.safetensors"),
                        refused[i].status, refused[i].part);
        assert_null(c);
        assert_memory_equal(mn_error(), "m.safetensors: ", 15);
    }
    mn_buf_free(&file);
}

static void test_refuses_lengths(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *part;
    } rows[] = {
        {"", 0, "at least 8 bytes, found 0"},
        {"\2\0\0\0\0\0\0", 7, "at least 8 bytes, found 7"},
        {"\3\0\0\0\0\0\0\0{}", 10, "expected a header of 3 bytes, found a file of 10"},
        {"\0\0\0\0\0\0\0\x80{}", 10, "found a length of 9223372036854775808"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, "found a length of 18446744073709551615"},
        {"\1\xe1\xf5\5\0\0\0\0{}", 10, "at most 100000000 bytes, found a length of 100000001"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", 57, "git lfs pull"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mn_checkpoint *c = NULL;
        MN_ASSERT_FAILS(mn_checkpoint_open_memory(&c, rows[i].bytes, rows[i].len, "m.safetensors"),
                        MN_ERR_DATA, rows[i].part);
    }
}

/* A name from a file must not reach a terminal as it is. */
static void test_shows_names_safely(void **state) {
    (void)state;
    mn_buf file = {0}, header = {0};
    mn_checkpoint *c = NULL;
    MN_ASSERT_OK(mn_buf_puts(&header, "{\"\\u001b[31m"));
    for (int i = 0; i < 3000; i++) MN_ASSERT_OK(mn_buf_puts(&header, "x"));
    MN_ASSERT_OK(mn_buf_puts(&header, "\":7}"));
    make_file(&file, header.data, 0);
    MN_ASSERT_FAILS(mn_checkpoint_open_memory(&c, file.data, file.len, "m.safetensors"),
                    MN_ERR_DATA, "m.safetensors: tensor '?[31mxxx");
    assert_non_null(strstr(mn_error(), "x...': entry: expected an object"));
    mn_buf_free(&header);
    mn_buf_free(&file);
}

static void test_writes(void **state) {
    (void)state;
    const mn_test_path dir = mn_test_tmpdir();
    const mn_test_path path = mn_test_join(dir.text, "t.safetensors");
    unsigned char bytes[64];
    mn_stored list[MN_DTYPES + 2];
    char names[MN_DTYPES][20];
    mn_checkpoint *c = NULL;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 7);
    for (int i = 0; i < MN_DTYPES; i++) { /* names against the order of the list */
        snprintf(names[i], sizeof names[i], "%c \"\\\n\xc3\xa4", 'z' - i);
        list[i] = (mn_stored){names[i], mn_tensor_2d(bytes + i, (mn_dtype)i, 3, 2), NULL};
    }
    list[MN_DTYPES] = (mn_stored){"scalar", {.data = bytes, .dtype = MN_F16}, NULL};
    list[MN_DTYPES + 1] = (mn_stored){"empty", mn_tensor_1d(NULL, MN_F32, 0), NULL};
    MN_ASSERT_OK(mn_safetensors_write(path.text, list, MN_DTYPES + 2, "{\"k\\n\":\"v\\\"\"}"));

    size_t len;
    char *text = mn_test_read(path.text, &len);
    const char *data = strstr(text + 8, "}}") + 2; /* the header's end */
    static const char begin[] = "{\"__metadata__\":{\"k\\n\":\"v\\\"\"},\"z ";
    assert_memory_equal(text + 8, begin, sizeof begin - 1);
    while (*data == ' ') data++;
    assert_int_equal((data - text) % 64, 0);
    assert_int_equal((unsigned char)text[0] + 256 * (unsigned char)text[1], data - text - 8);
    assert_memory_equal(data, bytes, 24); /* the first of the list, not of the names */
    MN_ASSERT_OK(mn_checkpoint_open_file(&c, path.text));
    assert_int_equal(mn_checkpoint_count(c), MN_DTYPES + 2);
    for (int i = 0; i < MN_DTYPES + 2; i++) {
        const mn_stored *t = mn_checkpoint_find(c, list[i].name);
        assert_non_null(t);
        assert_int_equal(t->view.dtype, list[i].view.dtype);
        assert_int_equal(t->view.ndim, list[i].view.ndim);
        assert_memory_equal(t->view.shape, list[i].view.shape, sizeof t->view.shape);
        const size_t size = mn_tensor_bytes(&list[i].view);
        if (size) assert_memory_equal(t->view.data, list[i].view.data, size);
    }
    mn_checkpoint_close(&c);
    free(text);

    MN_ASSERT_OK(mn_safetensors_write(path.text, NULL, 0, NULL));
    text = mn_test_read(path.text, &len);
    assert_int_equal(len, 64);
    assert_memory_equal(text, "8\0\0\0\0\0\0\0{}  ", 12);
    free(text);
    mn_test_rmdir(dir.text);
}

static void test_write_refuses(void **state) {
    (void)state;
    const mn_test_path dir = mn_test_tmpdir();
    const mn_test_path path = mn_test_join(dir.text, "t.safetensors");
    float x[2] = {1, 2};
    const mn_tensor good = mn_tensor_1d(x, MN_F32, 2);
    const struct {
        mn_stored list[2];
        int64_t count;
        const char *metadata;
        mn_status status;
        const char *part;
    } rows[] = {
        {{{"a", good, 0}, {"a", good, 0}},
         2,
         NULL,
         MN_ERR_USAGE,
         "tensor 'a': expected once, found"},
        {{{"__metadata__", good, 0}}, 1, NULL, MN_ERR_USAGE, "the format keeps this name"},
        {{{"\xff", good, 0}}, 1, NULL, MN_ERR_USAGE, "expected a name in UTF-8"},
        {{{"a", {.data = x, .shape = {-1}, .ndim = 1}, 0}}, 1, NULL, MN_ERR_USAGE, "F32 (-1)"},
        {{{"a", {.data = x, .shape = {INT64_MAX}, .ndim = 1}, 0}}, 1, NULL, MN_ERR_USAGE, "2^53"},
        {{{"a", {.data = x, .ndim = 9}, 0}}, 1, NULL, MN_ERR_USAGE, "9 dimensions is not a tensor"},
        {{{"a", {.data = x, .dtype = MN_DTYPES}, 0}}, 1, NULL, MN_ERR_USAGE, "is not a tensor"},
        {{{"a", {.shape = {1}, .ndim = 1}, 0}}, 1, NULL, MN_ERR_USAGE, "tensor 'a' has no data"},
        {{{"a", good, 0}}, -1, NULL, MN_ERR_USAGE, "-1 tensors"},
        {{{"a", good, 0}}, 1, "{", MN_ERR_DATA, "t.safetensors: metadata: broken JSON"},
        {{{"a", good, 0}}, 1, "[]", MN_ERR_DATA, "metadata: $: expected an object of strings"},
        {{{"a", good, 0}}, 1, "{\"a\":1}", MN_ERR_DATA, "metadata: $.a: expected a string"},
        {{{"a", good, 0}}, 1, "{\"a\":\"\",\"a\":\"\"}", MN_ERR_DATA, "key 'a': expected once"},
    };
    mn_test_puts(path.text, "old");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        MN_ASSERT_FAILS(
            mn_safetensors_write(path.text, rows[i].list, rows[i].count, rows[i].metadata),
            rows[i].status, rows[i].part);
        char *text = mn_test_read(path.text, NULL);
        assert_string_equal(text, "old");
        free(text);
    }
    const mn_stored one = {"a", good, NULL};
    MN_ASSERT_FAILS(mn_safetensors_write(mn_test_join(dir.text, "none/t").text, &one, 1, NULL),
                    MN_ERR_IO, "none/t: ");
    mn_test_rmdir(dir.text);
}

#define U8(name, from, to)                                                                         \
    "\"" name "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[" from "," to "]}"
#define MAP(rows) "{\"metadata\":{\"total_size\":2},\"weight_map\":{" rows "}}"

static void test_shards(void **state) {
    (void)state;
    static const struct {
        const char *index, *part; /* part NULL: it opens */
        mn_status status;
    } rows[] = {
        {MAP("\"a\":\"1.st\",\"b\":\"2.st\",\"c\":\"1.st\""), NULL, MN_OK},
        {MAP("\"a\":\"1.st\",\"b\":\"1.st\",\"c\":\"1.st\",\"d\":\"2.st\""),
         "index.json: tensor 'b': expected in '1.st', found in ", MN_ERR_DATA},
        {MAP("\"a\":\"1.st\",\"b\":\"2.st\",\"c\":\"1.st\",\"d\":\"2.st\""),
         "index.json: tensor 'd': expected in '2.st', found in no shard", MN_ERR_DATA},
        {MAP("\"a\":\"1.st\",\"b\":\"2.st\""),
         "1.st: tensor 'c': found in the file, but weight_map", MN_ERR_DATA},
        {MAP("\"a\":\"1.st\",\"b\":\"3.st\",\"c\":\"1.st\""),
         "1.st: tensor 'a': expected once, found in ", MN_ERR_DATA},
        {MAP("\"a\":\"1.st\",\"b\":\"4.st\""), "4.st, found none", MN_ERR_IO},
        {MAP("\"a\":\"sub/1.st\""),
         "tensor 'a': expected the name of a file in the same folder, found "
         "'sub/1.st'",
         MN_ERR_DATA},
        {MAP("\"a\":\"/etc/passwd\""), "found '/etc/passwd'", MN_ERR_DATA},
        {MAP("\"a\":\"..\""), "found '..'", MN_ERR_DATA},
        {MAP("\"a\":\"..\\\\1.st\""), "found '..\\1.st'", MN_ERR_DATA},
        {MAP("\"a\":\"\""), "found ''", MN_ERR_DATA},
        {MAP("\"a\":7"), "weight_map: tensor 'a': expected the name of a file", MN_ERR_DATA},
        {MAP("\"a\":\"1.st\",\"a\":\"1.st\""), "tensor 'a': expected once, found twice",
         MN_ERR_DATA},
        {MAP(""), "weight_map: expected tensors, found none", MN_ERR_DATA},
        {"{\"weight_map\":{\"a\":\"1.st\"},\"weight_map\":{}}", "key 'weight_map': expected once",
         MN_ERR_DATA},
        {"{\"weight_map\":[]}", "$.weight_map: expected an object, found an array", MN_ERR_DATA},
        {"{}", "the key \"weight_map\" is missing", MN_ERR_DATA},
        {"[]", "weight_map", MN_ERR_DATA},
        {"{", "index.json: broken JSON", MN_ERR_DATA},
        {"version https://git-lfs.github.com/spec/v1\noid ", "git lfs pull", MN_ERR_DATA},
    };
    const mn_test_path dir = mn_test_tmpdir();
    write_file(mn_test_join(dir.text, "1.st").text, "{" U8("c", "0", "1") "," U8("a", "1", "2") "}",
               2);
    write_file(mn_test_join(dir.text, "2.st").text, "{" U8("b", "0", "1") "}", 1);
    write_file(mn_test_join(dir.text, "3.st").text, "{" U8("a", "0", "1") "}", 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mn_checkpoint *c = NULL;
        mn_test_puts(mn_test_join(dir.text, "model.safetensors.index.json").text, rows[i].index);
        if (rows[i].part) {
            MN_ASSERT_FAILS(mn_checkpoint_open(&c, dir.text), rows[i].status, rows[i].part);
            assert_null(c);
            continue;
        }
        MN_ASSERT_OK(mn_checkpoint_open(&c, dir.text));
        assert_int_equal(mn_checkpoint_count(c), 3);
        assert_string_equal(mn_checkpoint_find(c, "a")->file, mn_test_join(dir.text, "1.st").text);
        assert_string_equal(mn_checkpoint_find(c, "b")->file, mn_test_join(dir.text, "2.st").text);
        assert_int_equal(*(unsigned char *)mn_checkpoint_find(c, "a")->view.data, 1);
        mn_checkpoint_close(&c);
    }
    mn_test_rmdir(dir.text);
}

static void test_folders(void **state) {
    (void)state;
    static const char *const files[] = {"pytorch_model.bin.index.json", "pytorch_model.bin",
                                        "model.safetensors.index.json", "model.safetensors"};
    const mn_test_path dir = mn_test_tmpdir();
    mn_checkpoint *c = NULL;
    MN_ASSERT_FAILS(
        mn_checkpoint_open(&c, dir.text), MN_ERR_IO,
        "expected model.safetensors, model.safetensors.index.json, pytorch_model.bin or "
        "pytorch_model.bin.index.json, found none");
    MN_ASSERT_FAILS(mn_checkpoint_open(&c, mn_test_join(dir.text, "none").text), MN_ERR_IO,
                    "none: expected a folder");
    MN_ASSERT_FAILS(mn_checkpoint_open_file(&c, mn_test_join(dir.text, "none").text), MN_ERR_IO,
                    "none: ");
    for (int i = 0; i < 4; i++) { /* each one hides those before it */
        mn_test_puts(mn_test_join(dir.text, files[i]).text, "broken");
        MN_ASSERT_FAILS(mn_checkpoint_open(&c, dir.text), MN_ERR_DATA, files[i]);
    }
    const mn_test_path odd = mn_test_join(dir.text, "named.bin"); /* contents decide */
    write_file(odd.text, "{" U8("a", "0", "1") "}", 1);
    MN_ASSERT_OK(mn_checkpoint_open_file(&c, odd.text));
    assert_string_equal(mn_checkpoint_format(c), "safetensors");
    mn_checkpoint_close(&c);
    mn_test_rmdir(dir.text);
}

/* 26 GB that nobody reads: opening costs the header alone. */
static void test_opens_large_files_at_once(void **state) {
    (void)state;
    const mn_test_path dir = mn_test_tmpdir();
    const mn_test_path path = mn_test_join(dir.text, "model.safetensors");
    const int64_t elements = INT64_C(13) << 30;
    char header[200];
    snprintf(header, sizeof header, ONE("F16", "[%lld]", "[0,%lld]"), (long long)elements,
             (long long)elements * 2);
    write_file(path.text, header, 0);
    const int64_t size = 8 + (int64_t)strlen(header) + elements * 2;
    if (truncate(path.text, size) != 0) {
        print_message("%s: skipped, no sparse files here\n", __func__);
        mn_test_rmdir(dir.text);
        skip();
    }
    mn_checkpoint *c = NULL;
    const double start = mn_now();
    MN_ASSERT_OK(mn_checkpoint_open(&c, dir.text));
    const double seconds = mn_now() - start;
    assert_int_equal(mn_tensor_bytes(&mn_checkpoint_find(c, "w")->view), elements * 2);
    assert_int_equal(((const char *)mn_checkpoint_find(c, "w")->view.data)[elements * 2 - 1], 0);
    mn_checkpoint_close(&c);
    print_message("%s: %.3f ms\n", __func__, seconds * 1e3);
    assert_true(seconds < 0.5); /* reading 26 GB takes far longer on any disk */
    mn_test_rmdir(dir.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_refuses_lengths),
        cmocka_unit_test(test_shows_names_safely),
        cmocka_unit_test(test_writes),
        cmocka_unit_test(test_write_refuses),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_opens_large_files_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
