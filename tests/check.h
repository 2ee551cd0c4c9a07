/* check.h - what the tests share: cmocka, folders and files of a test, statuses, real data.
 *
 * A helper that cannot do its job fails the running test. Paths are values: nothing to free, and
 * mn_test_source("data/x").text may stand right in a call. A test writes only below its own
 * temporary folder and removes it. */
#ifndef MNEME_TESTS_CHECK_H
#define MNEME_TESTS_CHECK_H

#include "mneme/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The greater one, where a NaN is worse than any number. */
static inline double mn_worse(double a, double b) { return b <= a ? a : b > a ? b : INFINITY; }

typedef struct mn_test_path {
    char text[1024];
} mn_test_path;

mn_test_path mn_test_tmpdir(void);   /* a new empty folder below $TMPDIR or /tmp */
void mn_test_rmdir(const char *dir); /* with all that is in it; it may be gone already */
mn_test_path mn_test_join(const char *dir, const char *name);
mn_test_path mn_test_source(const char *relative); /* a path inside the repository */

void mn_test_mkdir(const char *path); /* one level */
void mn_test_write(const char *path, const void *bytes, size_t len);
void mn_test_puts(const char *path, const char *text);
/* The whole file with a NUL behind it; free() it. `len` may be NULL. */
char *mn_test_read(const char *path, size_t *len);

/* A path inside the real data: $MNEME_REAL_DATA, else ../shared/data beside the repository. When it
 * is not there, prints the test's name and skips the test. */
#define MN_TEST_REAL(relative) mn_test_real(__func__, relative)
mn_test_path mn_test_real(const char *test, const char *relative);

/* The call returns MN_OK, else the test fails and shows the error record. */
#define MN_ASSERT_OK(call) mn_test_status((call), MN_OK, NULL, #call, __FILE__, __LINE__)
/* The call returns `status` and the error record contains `part` (NULL: not looked at). */
#define MN_ASSERT_FAILS(call, status, part)                                                        \
    mn_test_status((call), (status), (part), #call, __FILE__, __LINE__)
void mn_test_status(mn_status got, mn_status want, const char *part, const char *call,
                    const char *file, int line);

#endif
