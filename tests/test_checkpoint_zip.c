/* test_checkpoint_zip.c - archives that are wrong in one place each and what the refusal says; an
 * archive of 26 GB. */
#include "torch_file.h"

#include "mneme/checkpoint.h"
#include "mneme/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static void good_archive(torch_file *a, bool wide) {
    static const float values[4] = {1, 2, 3, 4};
    static const char pickle[] = P "}" TEXT1("w") GOOD "s.";
    *a = (torch_file){.wide = wide};
    torch_add(a, "m/data.pkl", pickle, sizeof pickle - 1, 0);
    torch_add(a, "m/data/0", values, sizeof values, 0);
    torch_add(a, "m/byteorder", "little", 6, 0);
    torch_add(a, "m/.data/serialization_id", "7", 1, 0);
    torch_finish(a);
}

/* One field of a sound archive of four entries replaced: `at` bytes behind the signature. */
static const struct {
    uint32_t signature;
    int at, bytes;
    uint64_t value;
    bool wide;
    const char *part;
    mn_status status;
} patches[] = {
    {0x04034b50, 0, 4, 0x04034b51, 0, "expected a PyTorch file (a zip archive), found something",
     BAD},
    {0x04034b50, 4, 4, 0, 0, NULL, MN_OK}, /* version and flags do not matter */
    {0x04034b50, 8, 2, 8, 0, "'m/data.pkl': its local header is for something else", BAD},
    {0x04034b50, 26, 2, 9, 0, "'m/data.pkl': its local header is for something else", BAD},
    {0x04034b50, 30, 1, 'M', 0, "'m/data.pkl': its local header is for something else", BAD},
    {0x04034b50, 28, 2, 0xffff, 0, "'m/data.pkl': expected its 1", BAD},
    {0x02014b50, 0, 4, 0, 0, "zip: expected a directory record at byte ", BAD},
    {0x02014b50, 8, 2, 1, 0, "zip entry 'm/data.pkl' is encrypted", NOT},
    {0x02014b50, 10, 2, 8, 0, "zip entry 'm/data.pkl' is compressed (method 8): expected stored",
     NOT},
    {0x02014b50, 20, 4, 7, 0, " bytes stored as 7", BAD},
    {0x02014b50, 20, 8, 0x7fffffff7fffffff, 0,
     "'m/data.pkl': expected its 2147483647 bytes in front", BAD},
    {0x02014b50, 28, 2, 0xffff, 0, "passes the directory's end", BAD},
    {0x02014b50, 32, 2, 0xffff, 0, "passes the directory's end", BAD},
    {0x02014b50, 42, 4, 1, 0, "'m/data.pkl': expected its local header at byte 1", BAD},
    {0x02014b50, 42, 4, 0xffffffff, 0, "expected its local header at byte 4294967295", BAD},
    {0x02014b50, 46, 1, 'M', 0, "local header is for something else", BAD},
    {0x02014b50, 64, 2, 20, 1, "'m/data.pkl': the ZIP64 field is too short", BAD},
    {0x02014b50, 74, 8, 1, 1, " bytes stored as 1", BAD},
    {0x02014b50, 82, 8, UINT64_MAX, 1, "expected its local header at byte 18446744073709551615",
     BAD},
    {0x06054b50, 4, 2, 1, 0, "an archive of several disks", NOT},
    {0x06054b50, 8, 2, 3, 0, "an archive of several disks", NOT},
    {0x06054b50, 8, 4, 0x03e803e8, 0, "1000 entries in a directory of ", BAD},
    {0x06054b50, 8, 4, 0x00030003, 0, "expected the directory to end at byte ", BAD},
    {0x06054b50, 8, 4, 0x00050005, 0, "expected a directory record at byte ", BAD},
    {0x06054b50, 12, 4, 0x7fffffff, 0, "found 2147483647 bytes at ", BAD},
    {0x06054b50, 16, 4, 0x7fffffff, 0, "expected the directory in front of byte ", BAD},
    {0x06054b50, 20, 2, 1, 0, "expected a zip archive with a directory at its end", BAD},
    {0x06054b50, 8, 2, 5, 1, "the end records disagree: 5 and 4", BAD},
    {0x07064b50, 8, 8, UINT64_MAX, 1, "expected the ZIP64 end record at byte 18446744073709551615",
     BAD},
    {0x06064b50, 0, 4, 0, 1, "expected the ZIP64 end record at byte ", BAD},
    {0x06064b50, 24, 8, 5, 1, "an archive of several disks", NOT},
    {0x06064b50, 40, 8, UINT64_MAX, 1, "found 18446744073709551615 bytes at ", BAD},
    {0x06064b50, 48, 8, UINT64_MAX, 1, "bytes at 18446744073709551615", BAD},
};

static void test_refuses_archives(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof patches / sizeof *patches; i++) {
        torch_file a;
        mn_checkpoint *c = NULL;
        good_archive(&a, patches[i].wide);
        MN_ASSERT_OK(mn_checkpoint_open_memory(&c, a.file.data, a.file.len, "m.bin"));
        mn_checkpoint_close(&c);
        char *at = memmem(a.file.data, a.file.len, &patches[i].signature, 4);
        assert_non_null(at);
        memcpy(at + patches[i].at, &patches[i].value, (size_t)patches[i].bytes);
        const mn_status st = mn_checkpoint_open_memory(&c, a.file.data, a.file.len, "m.bin");
        MN_ASSERT_FAILS(st, patches[i].status, patches[i].part);
        mn_checkpoint_close(&c);
        torch_drop(&a);
    }
}

static void test_refuses_whole_files(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *part;
        mn_status status;
    } rows[] = {
        {S(""), "expected a PyTorch file (a zip archive), found something else in 0 bytes", BAD},
        {S("PK\3\4"), "expected a zip archive with a directory at its end, found none in 4", BAD},
        {S("hello, world"), "found something else in 12 bytes", BAD},
        {S("\200\2\212\12l\374\234F\371 j\250P\31."), "torch.load and save it again", NOT},
        {S("version https://git-lfs.github.com/spec/v1\noid "), "git lfs pull", BAD},
        {S("PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "<name>/data.pkl, found 0 other", BAD},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mn_checkpoint *c = NULL;
        MN_ASSERT_FAILS(mn_checkpoint_open_memory(&c, rows[i].bytes, rows[i].len, "m.bin"),
                        rows[i].status, rows[i].part);
    }
}

static void test_refuses_entries(void **state) {
    (void)state;
    static const char pickle[] = P "}.";
    for (int i = 0; i < 5; i++) {
        static const char *const parts[] = {
            "zip entry 'm/x': expected once, found twice",
            "expected one entry <name>/data.pkl, found 'm/data.pkl' and 'n/data.pkl'",
            "zip entries 'm/outer' and 'm/inner' overlap",
            "byteorder: expected 'little', found 'big'",
            "<name>/data.pkl, found 2 other entries",
        };
        torch_file a = {0};
        mn_checkpoint *c = NULL;
        torch_add(&a, i == 4 ? "m/deep/data.pkl" : "m/data.pkl", pickle, sizeof pickle - 1, 0);
        torch_add(&a, "m/x", "", 0, 0);
        if (i == 0) torch_add(&a, "m/x", "", 0, 0);
        if (i == 1) torch_add(&a, "n/data.pkl", pickle, sizeof pickle - 1, 0);
        if (i == 2) {
            mn_buf inner = {0};
            torch_local_header(&inner, "m/inner");
            torch_add(&a, "m/outer", inner.data, inner.len, 0);
            torch_directory_record(&a, "m/inner", a.file.len - inner.len, 0);
            mn_buf_free(&inner);
        }
        if (i == 3) torch_add(&a, "m/byteorder", "big", 3, 0);
        torch_finish(&a);
        MN_ASSERT_FAILS(mn_checkpoint_open_memory(&c, a.file.data, a.file.len, "m.bin"),
                        i == 3 ? MN_ERR_UNSUPPORTED : MN_ERR_DATA, parts[i]);
        torch_drop(&a);
    }
}

/* 26 GB in one storage, so ZIP64: opening costs the directory and the pickle. */
static void test_opens_large_files_at_once(void **state) {
    (void)state;
    static const char pickle[] = P "}" TEXT1("w")
        MAKE(STORAGE("HalfStorage", TEXT1("0"), "\212\5\0\0\0\100\3"), "K\0",
             "\212\5\0\0\0\100\3\205", "K\1\205") "s.";
    const uint64_t bytes = UINT64_C(26) << 30;
    const mn_test_path dir = mn_test_tmpdir();
    const mn_test_path path = mn_test_join(dir.text, "pytorch_model.bin");
    torch_file a = {.wide = true};
    torch_add(&a, "m/data/0", "", 0, bytes);
    torch_add(&a, "m/data.pkl", pickle, sizeof pickle - 1, 0);
    torch_finish(&a);
    const int fd = open(path.text, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, a.file.data, a.split, 0), a.split);
    const ssize_t rest = (ssize_t)(a.file.len - a.split);
    if (pwrite(fd, a.file.data + a.split, (size_t)rest, (off_t)(a.split + bytes)) != rest) {
        print_message("%s: skipped, no sparse files here\n", __func__);
        close(fd);
        torch_drop(&a);
        mn_test_rmdir(dir.text);
        skip();
    }
    close(fd);
    mn_checkpoint *c = NULL;
    const double start = mn_now();
    MN_ASSERT_OK(mn_checkpoint_open(&c, dir.text));
    const double seconds = mn_now() - start;
    assert_int_equal(mn_tensor_bytes(&mn_checkpoint_find(c, "w")->view), bytes);
    assert_int_equal(((const char *)mn_checkpoint_find(c, "w")->view.data)[bytes - 1], 0);
    mn_checkpoint_close(&c);
    print_message("%s: %.3f ms\n", __func__, seconds * 1e3);
    assert_true(seconds < 0.5);
    torch_drop(&a);
    mn_test_rmdir(dir.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses_archives),
        cmocka_unit_test(test_refuses_whole_files),
        cmocka_unit_test(test_refuses_entries),
        cmocka_unit_test(test_opens_large_files_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
