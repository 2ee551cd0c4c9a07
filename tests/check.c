/* check.c - the helpers of check.h. They use the C library alone, apart from mneme's error record:
 * a fault in mneme's own file functions must not hide behind a test that uses them. */
#include "check.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* MNEME_TEST_ONLY=PATTERN runs only the tests of these names: cmocka has no option for it. */
__attribute__((constructor)) static void choose_tests(void) {
    const char *only = getenv("MNEME_TEST_ONLY");
    if (only) cmocka_set_test_filter(only);
}

static mn_test_path make_path(const char *dir, const char *name) {
    mn_test_path path;
    const int len = snprintf(path.text, sizeof path.text, "%s/%s", dir, name);
    if (len < 0 || (size_t)len >= sizeof path.text) fail_msg("path too long: %s/%s", dir, name);
    return path;
}

mn_test_path mn_test_tmpdir(void) {
    const char *base = getenv("TMPDIR");
    mn_test_path path = make_path(base && *base ? base : "/tmp", "mneme-test-XXXXXX");
    if (!mkdtemp(path.text)) fail_msg("%s: %s", path.text, strerror(errno));
    return path;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

void mn_test_rmdir(const char *dir) {
    if (nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        fail_msg("cannot remove %s: %s", dir, strerror(errno));
}

mn_test_path mn_test_join(const char *dir, const char *name) { return make_path(dir, name); }

mn_test_path mn_test_source(const char *relative) { return make_path(MN_SOURCE_DIR, relative); }

void mn_test_mkdir(const char *path) {
    if (mkdir(path, 0777) != 0) fail_msg("%s: %s", path, strerror(errno));
}

void mn_test_write(const char *path, const void *bytes, size_t len) {
    FILE *file = fopen(path, "wb");
    if (!file) fail_msg("%s: %s", path, strerror(errno));
    const size_t put = len ? fwrite(bytes, 1, len, file) : 0;
    if (fclose(file) != 0 || put != len) fail_msg("cannot write %s", path);
}

void mn_test_puts(const char *path, const char *text) { mn_test_write(path, text, strlen(text)); }

char *mn_test_read(const char *path, size_t *len) {
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &info) != 0) fail_msg("%s: %s", path, strerror(errno));
    const size_t size = (size_t)info.st_size;
    char *text = malloc(size + 1);
    if (!text || fread(text, 1, size, file) != size) fail_msg("cannot read %s", path);
    fclose(file);
    text[size] = '\0';
    if (len) *len = size;
    return text;
}

mn_test_path mn_test_real(const char *test, const char *relative) {
    const char *root = getenv("MNEME_REAL_DATA");
    const mn_test_path path = make_path(root && *root ? root : MN_SOURCE_DIR "/../shared/data",
                                        relative);
    if (access(path.text, R_OK) != 0) {
        print_message("%s: skipped, needs %s\n", test, path.text);
        skip();
    }
    return path;
}

void mn_test_status(mn_status got, mn_status want, const char *part, const char *call,
                    const char *file, int line) {
    if (got != want) {
        print_error("%s gave %s (%s), expected %s\n", call, mn_status_name(got),
                    got == MN_OK ? "no error" : mn_error(), mn_status_name(want));
        _fail(file, line);
    }
    if (part && !strstr(mn_error(), part)) {
        print_error("%s: the message \"%s\" does not contain \"%s\"\n", call, mn_error(), part);
        _fail(file, line);
    }
}
