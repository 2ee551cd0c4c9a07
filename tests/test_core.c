/* test_core.c - error records, growable memory, tensors, the stop flag. */
#include "mneme/buf.h"
#include "mneme/signals.h"
#include "mneme/tensor.h"

#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Errors ------------------------------------------------------------------------------------- */

static void a_failure_leaves_its_text(void **state) {
    (void)state;
    assert_int_equal(mn_fail(MN_ERR_DATA, "%s: tensor %d", "w.bin", 7), MN_ERR_DATA);
    assert_string_equal(mn_error(), "w.bin: tensor 7");
    mn_fail(MN_ERR_IO, "%s again", mn_error()); /* the arguments may be the record itself */
    assert_string_equal(mn_error(), "w.bin: tensor 7 again");
    assert_int_equal(mn_fail_in(MN_ERR_IO, "shard %d", 2), MN_ERR_IO);
    assert_string_equal(mn_error(), "shard 2: w.bin: tensor 7 again");
    mn_fail_in(MN_ERR_IO, "<%s>", mn_error());
    assert_string_equal(mn_error(),
                        "<shard 2: w.bin: tensor 7 again>: shard 2: w.bin: tensor 7 again");
    assert_int_equal(mn_fail_in(MN_OK, "not me"), MN_OK);
    assert_null(strstr(mn_error(), "not me"));
}

static void long_texts_are_cut(void **state) {
    (void)state;
    static char text[3 * MN_ERROR_MAX];
    memset(text, 'x', sizeof text - 1);
    mn_fail(MN_ERR_DATA, "%s", text);
    assert_int_equal(strlen(mn_error()), MN_ERROR_MAX - 1);
    mn_fail(MN_ERR_DATA, "short");
    mn_fail_in(MN_ERR_DATA, "%s", text);
    assert_int_equal(strlen(mn_error()), MN_ERROR_MAX - 1);
    mn_fail(MN_ERR_DATA, "%s", text);
    mn_fail_in(MN_ERR_DATA, "place");
    assert_int_equal(strlen(mn_error()), MN_ERROR_MAX - 1);
    assert_memory_equal(mn_error(), "place: xxx", 10);
    for (size_t place = MN_ERROR_MAX - 4; place < MN_ERROR_MAX; place++) {
        mn_fail(MN_ERR_DATA, "end");
        mn_fail_in(MN_ERR_DATA, "%.*s", (int)place, text);
        assert_in_range(strlen(mn_error()), place, MN_ERROR_MAX - 1);
    }
}

static void errno_becomes_text(void **state) {
    (void)state;
    errno = ENOENT;
    assert_int_equal(mn_fail_errno("100%s.bin"), MN_ERR_IO);
    assert_string_equal(mn_error(), "100%s.bin: No such file or directory");
    errno = ENOMEM;
    assert_int_equal(mn_fail_errno("map"), MN_ERR_MEMORY);
}

static mn_status pass(mn_status st, int *reached) {
    MN_TRY(st);
    ++*reached;
    MN_CHECK(*reached < 2, MN_ERR_USAGE, "reached %d", *reached);
    return MN_OK;
}

static mn_status leave(bool ok, int *released) {
    mn_status st = MN_OK;
    MN_GOTO(ok ? MN_OK : mn_fail(MN_ERR_MEMORY, "first"));
    MN_CHECK_GOTO(*released > 0, MN_ERR_NUMERIC, "second");
done:
    ++*released;
    return st;
}

static void macros_leave_early(void **state) {
    (void)state;
    int count = 0;
    assert_int_equal(pass(MN_STOPPED, &count), MN_STOPPED);
    assert_int_equal(count, 0);
    assert_int_equal(pass(MN_OK, &count), MN_OK);
    MN_ASSERT_FAILS(pass(MN_OK, &count), MN_ERR_USAGE, "reached 2");
    count = 0;
    MN_ASSERT_FAILS(leave(true, &count), MN_ERR_NUMERIC, "second");
    MN_ASSERT_FAILS(leave(false, &count), MN_ERR_MEMORY, "first");
    assert_int_equal(leave(true, &count), MN_OK);
    assert_int_equal(count, 3);
}

typedef struct worker {
    mn_error_record record;
    char before[8];
} worker;

static void *fail_elsewhere(void *argument) {
    worker *w = argument;
    snprintf(w->before, sizeof w->before, "%s", mn_error());
    mn_fail(MN_ERR_NUMERIC, "layer 3");
    mn_error_save(&w->record);
    return NULL;
}

static void a_record_belongs_to_its_thread(void **state) {
    (void)state;
    pthread_t thread;
    worker w = {.before = "?"};
    mn_fail(MN_ERR_USAGE, "mine");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &w), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(w.before, ""); /* nothing had failed there yet */
    assert_string_equal(mn_error(), "mine");
    assert_int_equal(mn_error_restore(&w.record), MN_ERR_NUMERIC);
    assert_string_equal(mn_error(), "layer 3");
}

static void statuses_have_names(void **state) {
    (void)state;
    for (int a = MN_OK; a <= MN_STOPPED; a++)
        for (int b = MN_OK; b < a; b++)
            assert_string_not_equal(mn_status_name((mn_status)a), mn_status_name((mn_status)b));
    assert_string_equal(mn_status_name((mn_status)99), "unknown status");
}

/* ---- Growable memory ---------------------------------------------------------------------------- */

static void bytes_are_appended_with_a_nul(void **state) {
    (void)state;
    mn_buf buf = {0}, empty = {0};
    MN_ASSERT_OK(mn_buf_append(&buf, NULL, 0));
    assert_string_equal(buf.data, "");
    for (int i = 0; i < 1000; i++) {
        const char c[3] = {(char)i, (char)(i / 256), 0};
        MN_ASSERT_OK(mn_buf_append(&buf, c, (size_t)(i % 4)));
        assert_true(buf.cap > buf.len && buf.data[buf.len] == '\0');
    }
    assert_int_equal(buf.len, 1500);
    assert_memory_equal(buf.data + 1497, "\xE7\x03", 3); /* 999, its two bytes and the 0 */
    const size_t cap = buf.cap;
    mn_buf_clear(&buf);
    assert_true(buf.len == 0 && buf.cap == cap && buf.data[0] == '\0');
    MN_ASSERT_OK(mn_buf_puts(&buf, "ab"));
    MN_ASSERT_OK(mn_buf_printf(&buf, "%0*d|%s", 300, 7, ""));
    assert_int_equal(buf.len, 2 + 300 + 1);
    assert_memory_equal(buf.data, "ab000", 5);
    assert_string_equal(buf.data + 300, "07|");
    mn_buf_free(&buf);
    mn_buf_free(&buf);
    assert_true(!buf.data && !buf.len && !buf.cap);
    mn_buf_clear(&empty);
    mn_buf_free(&empty);
}

static void absurd_sizes_are_refused(void **state) {
    (void)state;
    mn_buf buf = {0};
    MN_ASSERT_OK(mn_buf_puts(&buf, "kept"));
    for (size_t less = 0; less < 8; less++)
        MN_ASSERT_FAILS(mn_buf_reserve(&buf, SIZE_MAX - less), MN_ERR_MEMORY, "no memory");
    assert_string_equal(buf.data, "kept");
    mn_buf_free(&buf);

    int64_t *data = NULL;
    size_t cap = 0;
    MN_ASSERT_OK(mn_grow(&data, &cap, 5, sizeof *data));
    assert_true(cap >= 5);
    for (size_t i = 0; i < cap; i++) data[i] = (int64_t)i;
    const size_t before = cap;
    MN_ASSERT_FAILS(mn_grow(&data, &cap, SIZE_MAX / 8 + 1, sizeof *data), MN_ERR_MEMORY, NULL);
    MN_ASSERT_FAILS(mn_grow(&data, &cap, SIZE_MAX, sizeof *data), MN_ERR_MEMORY, NULL);
    MN_ASSERT_FAILS(mn_grow(&data, &cap, SIZE_MAX / 2 + 2, 1), MN_ERR_MEMORY, NULL);
    assert_int_equal(cap, before);
    MN_ASSERT_OK(mn_grow(&data, &cap, before, sizeof *data)); /* enough already */
    assert_int_equal(cap, before);
    MN_ASSERT_OK(mn_grow(&data, &cap, before + 1, sizeof *data));
    assert_int_equal(cap, 2 * before);
    for (size_t i = 0; i < before; i++) assert_int_equal(data[i], i);
    free(data);
}

static void ids_and_copies(void **state) {
    (void)state;
    mn_ids ids = {0};
    MN_ASSERT_OK(mn_ids_append(&ids, NULL, 0));
    for (int32_t i = 0; i < 100; i++) MN_ASSERT_OK(mn_ids_push(&ids, i - 50));
    const int32_t more[3] = {7, INT32_MIN, INT32_MAX};
    MN_ASSERT_OK(mn_ids_append(&ids, more, 3));
    assert_int_equal(ids.len, 103);
    for (int32_t i = 0; i < 100; i++) assert_int_equal(ids.data[i], i - 50);
    assert_memory_equal(ids.data + 100, more, sizeof more);
    mn_ids_free(&ids);
    mn_ids_free(&ids);
    char *copy = mn_strdup_n("abcdef", 3), *empty = mn_strdup_n(NULL, 0);
    assert_string_equal(copy, "abc");
    assert_string_equal(empty, "");
    free(copy);
    free(empty);
}

/* ---- Tensors ------------------------------------------------------------------------------------ */

static void tensors_know_their_size(void **state) {
    (void)state;
    static const struct {
        mn_dtype dtype;
        size_t size;
        const char *name;
    } want[] = {{MN_F32, 4, "F32"}, {MN_F16, 2, "F16"},  {MN_BF16, 2, "BF16"}, {MN_F64, 8, "F64"},
                {MN_I64, 8, "I64"}, {MN_I32, 4, "I32"},  {MN_I16, 2, "I16"},   {MN_I8, 1, "I8"},
                {MN_U8, 1, "U8"},   {MN_BOOL, 1, "BOOL"}};
    assert_int_equal(sizeof want / sizeof *want, MN_DTYPES);
    for (size_t i = 0; i < MN_DTYPES; i++) {
        assert_int_equal(mn_dtype_size(want[i].dtype), want[i].size);
        assert_string_equal(mn_dtype_name(want[i].dtype), want[i].name);
    }
    float data[6];
    const mn_tensor scalar = {.data = data, .dtype = MN_F64};
    const mn_tensor line = mn_tensor_1d(data, MN_BF16, 5), empty = mn_tensor_2d(data, MN_F32, 0, 9);
    const mn_tensor cube = {.shape = {1 << 20, 1 << 10, 1 << 8}, .ndim = 3, .dtype = MN_F16};
    assert_int_equal(mn_tensor_count(&scalar), 1);
    assert_int_equal(mn_tensor_bytes(&scalar), 8);
    assert_true(line.data == data && line.ndim == 1 && line.shape[0] == 5);
    assert_int_equal(mn_tensor_bytes(&line), 10);
    assert_true(empty.ndim == 2 && empty.shape[1] == 9);
    assert_int_equal(mn_tensor_count(&empty), 0);
    assert_int_equal(mn_tensor_bytes(&cube), (size_t)1 << 39);
}

static void shapes_are_written(void **state) {
    (void)state;
    const int64_t shape[MN_MAX_DIMS] = {3, 64, 1, 9007199254740993};
    char text[64];
    assert_string_equal(mn_shape_text(text, sizeof text, shape, 0), "()");
    assert_string_equal(mn_shape_text(text, sizeof text, shape, 1), "(3)");
    assert_string_equal(mn_shape_text(text, sizeof text, shape, 4), "(3, 64, 1, 9007199254740993)");
    for (size_t size = 1; size < 12; size++) {
        memset(text, '#', sizeof text);
        mn_shape_text(text, size, shape, 3);
        assert_memory_equal(text, "(3, 64, 1)", size - 1 < 10 ? size - 1 : 10);
        assert_true(strlen(text) == (size - 1 < 10 ? size - 1 : 10) && text[size] == '#');
    }
}

/* ---- Stop requests ------------------------------------------------------------------------------ */

/* In a process of its own: sends itself the signals, leaves with 1 when a stop was requested. */
static int status_after(const int *signals, int count) {
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        mn_stop_install();
        for (int i = 0; i < count; i++) raise(signals[i]);
        _exit(mn_stop_requested());
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void signals_ask_for_a_stop(void **state) {
    (void)state;
    const int term[] = {SIGTERM, SIGTERM, SIGUSR1}, user[] = {SIGUSR1}, twice[] = {SIGINT, SIGINT};
    assert_int_equal(WEXITSTATUS(status_after(NULL, 0)), 0);
    assert_int_equal(WEXITSTATUS(status_after(term, 3)), 1);
    assert_int_equal(WEXITSTATUS(status_after(user, 1)), 1);
    const int once = status_after(twice, 1), ended = status_after(twice, 2);
    assert_true(WIFEXITED(once) && WEXITSTATUS(once) == 1);
    assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGINT);
    assert_false(mn_stop_requested()); /* not in this process */
    mn_stop_request();
    assert_true(mn_stop_requested());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_leaves_its_text),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(errno_becomes_text),
        cmocka_unit_test(macros_leave_early),
        cmocka_unit_test(a_record_belongs_to_its_thread),
        cmocka_unit_test(statuses_have_names),
        cmocka_unit_test(bytes_are_appended_with_a_nul),
        cmocka_unit_test(absurd_sizes_are_refused),
        cmocka_unit_test(ids_and_copies),
        cmocka_unit_test(tensors_know_their_size),
        cmocka_unit_test(shapes_are_written),
        cmocka_unit_test(signals_ask_for_a_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
