/* test_core_file.c - maps, folders, hashes; and that a file is replaced whole or not at all. */
#include "mneme/file.h"

#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int make_folder(void **state) {
    mn_test_path *dir = malloc(sizeof *dir);
    if (!dir) return -1;
    *dir = mn_test_tmpdir();
    *state = dir;
    return 0;
}

static int remove_folder(void **state) {
    mn_test_path *dir = *state;
    mn_test_rmdir(dir->text);
    free(dir);
    return 0;
}

static const char *folder(void **state) { return ((mn_test_path *)*state)->text; }

static int entries_in(const char *dir) {
    DIR *d = opendir(dir);
    assert_non_null(d);
    int count = -2; /* . and .. */
    while (readdir(d)) count++;
    closedir(d);
    return count;
}

static void assert_file(const char *path, const char *text) {
    char *found = mn_test_read(path, NULL);
    assert_string_equal(found, text);
    free(found);
}

/* ---- Reading ------------------------------------------------------------------------------------ */

static void a_map_shows_the_file(void **state) {
    const mn_test_path path = mn_test_join(folder(state), "a.bin");
    const mn_test_path empty = mn_test_join(folder(state), "empty");
    mn_test_write(path.text, "a\0b\n", 4);
    mn_test_write(empty.text, NULL, 0);
    mn_map *map = NULL;
    MN_ASSERT_OK(mn_map_open(&map, path.text));
    assert_int_equal(map->size, 4);
    assert_memory_equal(map->data, "a\0b\n", 4);
    assert_string_equal(map->path, path.text);
    mn_map_close(&map);
    assert_null(map);
    mn_map_close(&map);
    MN_ASSERT_OK(mn_map_open(&map, empty.text));
    assert_true(map->size == 0 && map->data == NULL);
    mn_map_close(&map);
}

static void what_cannot_be_mapped_is_named(void **state) {
    const mn_test_path missing = mn_test_join(folder(state), "missing.bin");
    const char *const odd[] = {folder(state), "/dev/null", "/dev/full"};
    mn_map *map = (mn_map *)1;
    MN_ASSERT_FAILS(mn_map_open(&map, missing.text), MN_ERR_IO, "missing.bin: No such file");
    assert_null(map);
    for (size_t i = 0; i < 3; i++) {
        map = (mn_map *)1;
        MN_ASSERT_FAILS(mn_map_open(&map, odd[i]), MN_ERR_IO, odd[i]);
        assert_null(map);
    }
}

static void small_files_are_read_whole(void **state) {
    const mn_test_path path = mn_test_join(folder(state), "small");
    mn_buf buf = {0};
    mn_test_puts(path.text, "hello");
    MN_ASSERT_OK(mn_read_file(&buf, path.text, 5));
    assert_string_equal(buf.data, "hello");
    MN_ASSERT_OK(mn_read_file(&buf, path.text, 500)); /* appends */
    assert_string_equal(buf.data, "hellohello");
    MN_ASSERT_FAILS(mn_read_file(&buf, path.text, 4), MN_ERR_DATA, "5 bytes, at most 4");
    assert_string_equal(buf.data, "hellohello");
    mn_buf_free(&buf);
    mn_test_write(path.text, NULL, 0);
    MN_ASSERT_OK(mn_read_file(&buf, path.text, 0));
    assert_string_equal(buf.data, "");
    MN_ASSERT_FAILS(mn_read_file(&buf, folder(state), 9), MN_ERR_IO, folder(state));
    mn_buf_free(&buf);
}

/* FIPS 180-2, appendix B, and the hash of nothing. */
static void hashes_are_those_of_the_standard(void **state) {
    static char million[1000000];
    const mn_test_path path = mn_test_join(folder(state), "hashed");
    char hex[MN_SHA256_HEX];
    mn_test_puts(path.text, "abc");
    MN_ASSERT_OK(mn_sha256_file(hex, path.text));
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    memset(million, 'a', sizeof million);
    mn_test_write(path.text, million, sizeof million);
    MN_ASSERT_OK(mn_sha256_file(hex, path.text));
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    memset(hex, 0, sizeof hex);
    MN_ASSERT_OK(mn_sha256_large(hex, path.text));
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    mn_test_write(path.text, NULL, 0);
    MN_ASSERT_OK(mn_sha256_file(hex, path.text));
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    MN_ASSERT_FAILS(mn_sha256_file(hex, folder(state)), MN_ERR_IO, folder(state));
    MN_ASSERT_FAILS(mn_sha256_file(hex, "/nowhere/x"), MN_ERR_IO, "/nowhere/x: No such file");
}

/* ---- Folders and paths -------------------------------------------------------------------------- */

static void folders_are_made_with_their_parents(void **state) {
    const mn_test_path deep = mn_test_join(folder(state), "a/b//c/");
    const mn_test_path file = mn_test_join(folder(state), "a/file");
    const mn_test_path below = mn_test_join(file.text, "x");
    MN_ASSERT_OK(mn_make_dirs(deep.text));
    assert_true(mn_dir_exists(deep.text) && !mn_file_exists(deep.text));
    MN_ASSERT_OK(mn_make_dirs(deep.text)); /* is there already */
    MN_ASSERT_OK(mn_make_dirs("/"));
    mn_test_puts(file.text, "");
    assert_true(mn_file_exists(file.text) && !mn_dir_exists(file.text));
    MN_ASSERT_FAILS(mn_make_dirs(file.text), MN_ERR_IO, "not a folder");
    MN_ASSERT_FAILS(mn_make_dirs(below.text), MN_ERR_IO, "a/file");
    assert_false(mn_file_exists(below.text) || mn_dir_exists(below.text));
    assert_int_not_equal(mn_make_dirs(""), MN_OK);
}

static void paths_are_joined(void **state) {
    (void)state;
    mn_buf path = {0};
    MN_ASSERT_OK(mn_path_join(&path, "runs/1", "log.jsonl"));
    assert_string_equal(path.data, "runs/1/log.jsonl");
    MN_ASSERT_OK(mn_path_join(&path, "/", "x")); /* clears what was there */
    assert_string_equal(path.data, "/x");
    MN_ASSERT_OK(mn_path_join(&path, "a/", "x"));
    assert_string_equal(path.data, "a/x");
    mn_buf_free(&path);
}

/* ---- Writing ------------------------------------------------------------------------------------ */

static void a_commit_replaces_the_file(void **state) {
    const mn_test_path dir = mn_test_join(folder(state), "commit");
    const mn_test_path path = mn_test_join(dir.text, "f");
    mn_test_mkdir(dir.text);
    mn_test_puts(path.text, "old");
    mn_writer *w = NULL;
    MN_ASSERT_OK(mn_writer_open(&w, path.text));
    MN_ASSERT_OK(mn_writer_write(w, "n", 1));
    MN_ASSERT_OK(mn_writer_write(w, "", 0));
    MN_ASSERT_OK(mn_writer_printf(w, "e%s%d", "w", 7));
    assert_file(path.text, "old");
    assert_int_equal(entries_in(dir.text), 2); /* the temporary file is beside it */
    MN_ASSERT_OK(mn_writer_commit(w));
    assert_file(path.text, "new7");
    mn_writer_close(&w);
    assert_null(w);
    mn_writer_close(&w);
    assert_int_equal(entries_in(dir.text), 1);
    MN_ASSERT_OK(mn_write_file(path.text, NULL, 0));
    assert_file(path.text, "");
    struct stat info;
    assert_int_equal(stat(path.text, &info), 0);
    assert_true(info.st_mode & S_IWUSR && info.st_mode & S_IRUSR && !(info.st_mode & S_IXUSR));
}

static void without_a_commit_nothing_happened(void **state) {
    const mn_test_path dir = mn_test_join(folder(state), "dropped");
    const mn_test_path old = mn_test_join(dir.text, "old"), fresh = mn_test_join(dir.text, "new");
    mn_test_mkdir(dir.text);
    mn_test_puts(old.text, "old");
    mn_writer *w[2] = {NULL, NULL};
    MN_ASSERT_OK(mn_writer_open(&w[0], old.text));
    MN_ASSERT_OK(mn_writer_open(&w[1], fresh.text));
    for (int i = 0; i < 2; i++) {
        MN_ASSERT_OK(mn_writer_printf(w[i], "half of it"));
        mn_writer_close(&w[i]);
    }
    assert_file(old.text, "old");
    assert_int_equal(entries_in(dir.text), 1);
}

static void two_writers_do_not_mix(void **state) {
    const mn_test_path path = mn_test_join(folder(state), "both");
    mn_writer *a = NULL, *b = NULL;
    MN_ASSERT_OK(mn_writer_open(&a, path.text));
    MN_ASSERT_OK(mn_writer_open(&b, path.text));
    MN_ASSERT_OK(mn_writer_printf(a, "first "));
    MN_ASSERT_OK(mn_writer_printf(b, "second"));
    MN_ASSERT_OK(mn_writer_printf(a, "writer"));
    MN_ASSERT_OK(mn_writer_commit(a));
    assert_file(path.text, "first writer");
    MN_ASSERT_OK(mn_writer_commit(b));
    assert_file(path.text, "second");
    mn_writer_close(&a);
    mn_writer_close(&b);
}

/* A process that ends without closing its writer leaves the temporary file. */
static void what_dead_writers_left_goes(void **state) {
    const mn_test_path dir = mn_test_join(folder(state), "dead");
    const mn_test_path path = mn_test_join(dir.text, "f");
    const char *const others[] = {
        "f", "f.tmp", "f.tmp-Ab3dE", "f.tmp-Ab3dEfg", "g.tmp-Ab3dEf", "ff.tmp-Ab3dEf"};
    const int count = sizeof others / sizeof *others;
    mn_test_mkdir(dir.text);
    for (int i = 0; i < count; i++) mn_test_puts(mn_test_join(dir.text, others[i]).text, "");
    for (int i = 0; i < 2; i++) {
        const pid_t child = fork();
        if (child == 0) {
            mn_writer *w = NULL;
            _exit(mn_writer_open(&w, path.text) == MN_OK ? 0 : 1);
        }
        int code = -1;
        assert_int_equal(waitpid(child, &code, 0), child);
        assert_int_equal(code, 0);
    }
    assert_int_equal(entries_in(dir.text), count + 2);
    MN_ASSERT_OK(mn_writer_clean(path.text));
    assert_int_equal(entries_in(dir.text), count);
    for (int i = 0; i < count; i++) assert_file(mn_test_join(dir.text, others[i]).text, "");
    MN_ASSERT_OK(mn_writer_clean(path.text));
    MN_ASSERT_OK(mn_writer_clean(mn_test_join(dir.text, "none/f").text));
    MN_ASSERT_FAILS(mn_writer_clean(mn_test_join(path.text, "f").text), MN_ERR_IO,
                    "Not a directory");
}

static void places_that_cannot_be_written(void **state) {
    const mn_test_path path = mn_test_join(folder(state), "no/such/folder");
    const mn_test_path dir = mn_test_join(folder(state), "taken");
    const mn_test_path inside = mn_test_join(dir.text, "x");
    mn_writer *w = (mn_writer *)1;
    MN_ASSERT_FAILS(mn_writer_open(&w, path.text), MN_ERR_IO, "no/such/folder: No such file");
    assert_null(w);
    mn_test_mkdir(dir.text); /* a folder has the name of the file */
    mn_test_puts(inside.text, "");
    const int before = entries_in(folder(state));
    MN_ASSERT_FAILS(mn_write_file(dir.text, "x", 1), MN_ERR_IO, "taken: ");
    assert_true(mn_file_exists(inside.text));
    assert_int_equal(entries_in(folder(state)), before);
}

/* A process that dies in the middle leaves the old file. */
static void a_killed_writer_leaves_the_old_file(void **state) {
    const mn_test_path path = mn_test_join(folder(state), "killed");
    mn_test_puts(path.text, "old");
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        static char block[1 << 16];
        mn_writer *w = NULL;
        if (mn_writer_open(&w, path.text) == MN_OK &&
            mn_writer_write(w, block, sizeof block) == MN_OK)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_file(path.text, "old");
}

/* ---- No more room ------------------------------------------------------------------------------- */

enum { LIMIT = 40000 };

/* From here on no file of this process grows beyond LIMIT: writing fails as on a full disk. */
static struct rlimit limit_files(void) {
    struct rlimit old, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){.rlim_cur = LIMIT, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    return old;
}

static void unlimit_files(const struct rlimit *old) {
    assert_int_equal(setrlimit(RLIMIT_FSIZE, old), 0);
    signal(SIGXFSZ, SIG_DFL);
}

/* Writes 2 * LIMIT bytes in pieces of `piece`; the first failure, which commit gives at the latest. */
static mn_status write_too_much(mn_writer *w, size_t piece) {
    static char bytes[2 * LIMIT];
    memset(bytes, 'x', sizeof bytes);
    for (size_t at = 0; at < sizeof bytes; at += piece) {
        const size_t left = sizeof bytes - at;
        MN_TRY(mn_writer_write(w, bytes + at, left < piece ? left : piece));
    }
    return mn_writer_commit(w);
}

static void a_full_disk_leaves_the_old_file(void **state) {
    static const size_t pieces[] = {1, 100, 4096, 2 * LIMIT};
    const mn_test_path dir = mn_test_join(folder(state), "full");
    const mn_test_path path = mn_test_join(dir.text, "f");
    mn_test_mkdir(dir.text);
    mn_test_puts(path.text, "old");
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        mn_writer *w = NULL;
        MN_ASSERT_OK(mn_writer_open(&w, path.text));
        const struct rlimit old = limit_files();
        const mn_status st = write_too_much(w, pieces[i]);
        unlimit_files(&old);
        MN_ASSERT_FAILS(st, MN_ERR_IO, "full/f: File too large");
        mn_writer_close(&w);
        assert_file(path.text, "old");
        assert_int_equal(entries_in(dir.text), 1);
    }
}

/* The last bytes stand in a buffer until the commit: it must see that they did not arrive. */
static void a_commit_sees_what_was_buffered(void **state) {
    const mn_test_path path = mn_test_join(folder(state), "buffered");
    mn_test_puts(path.text, "old");
    mn_writer *w = NULL;
    char bytes[600] = {0};
    MN_ASSERT_OK(mn_writer_open(&w, path.text));
    struct rlimit old, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){.rlim_cur = 100, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const mn_status wrote = mn_writer_write(w, bytes, sizeof bytes), st = mn_writer_commit(w);
    unlimit_files(&old);
    assert_int_equal(wrote, MN_OK);
    MN_ASSERT_FAILS(st, MN_ERR_IO, "buffered: ");
    mn_writer_close(&w);
    assert_file(path.text, "old");
}

/* Room comes back after a write failed and went unnoticed: the file has a hole and must not be
 * committed. */
static void a_failed_write_cannot_be_committed(void **state) {
    static char bytes[2 * LIMIT];
    const mn_test_path path = mn_test_join(folder(state), "hole");
    mn_test_puts(path.text, "old");
    mn_writer *w = NULL;
    MN_ASSERT_OK(mn_writer_open(&w, path.text));
    const struct rlimit old = limit_files();
    const mn_status st = mn_writer_write(w, bytes, sizeof bytes);
    unlimit_files(&old);
    assert_int_equal(st, MN_ERR_IO);
    assert_int_equal(mn_writer_commit(w), MN_ERR_IO);
    mn_writer_close(&w);
    assert_file(path.text, "old");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_map_shows_the_file),
        cmocka_unit_test(what_cannot_be_mapped_is_named),
        cmocka_unit_test(small_files_are_read_whole),
        cmocka_unit_test(hashes_are_those_of_the_standard),
        cmocka_unit_test(folders_are_made_with_their_parents),
        cmocka_unit_test(paths_are_joined),
        cmocka_unit_test(a_commit_replaces_the_file),
        cmocka_unit_test(without_a_commit_nothing_happened),
        cmocka_unit_test(two_writers_do_not_mix),
        cmocka_unit_test(what_dead_writers_left_goes),
        cmocka_unit_test(places_that_cannot_be_written),
        cmocka_unit_test(a_killed_writer_leaves_the_old_file),
        cmocka_unit_test(a_full_disk_leaves_the_old_file),
        cmocka_unit_test(a_commit_sees_what_was_buffered),
        cmocka_unit_test(a_failed_write_cannot_be_committed),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
