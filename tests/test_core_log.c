/* test_core_log.c - log lines and progress, on a terminal and elsewhere, under a clock of the test's own. */
#include "mneme/log.h"

#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Takes the place of the C library's: seconds since the system's start, plus what the test adds. */
static _Atomic long fake_seconds;

int clock_gettime(clockid_t clock, struct timespec *t) {
    const int result = (int)syscall(SYS_clock_gettime, clock, t);
    t->tv_sec += fake_seconds;
    return result;
}

static void pass_seconds(long seconds) { fake_seconds += seconds; }

/* ---- Catching standard error -------------------------------------------------------------------- */

typedef struct capture {
    int saved, source; /* the real standard error; where to read what went to the other */
    char text[1 << 16];
} capture;

static void capture_begin(capture *c, int target, int source) {
    fflush(stderr);
    *c = (capture){.saved = dup(STDERR_FILENO), .source = source};
    assert_true(c->saved >= 0 && dup2(target, STDERR_FILENO) >= 0);
}

/* What was written; standard error is the real one again. */
static const char *capture_end(capture *c) {
    fflush(stderr);
    dup2(c->saved, STDERR_FILENO);
    close(c->saved);
    size_t used = 0;
    for (;;) {
        const ssize_t got = read(c->source, c->text + used, sizeof c->text - 1 - used);
        if (got <= 0) break;
        used += (size_t)got;
    }
    c->text[used] = '\0';
    return c->text;
}

/* Standard error becomes a file, read from another descriptor. */
static void capture_file(capture *c) {
    char path[] = "/tmp/mneme-test-log-XXXXXX";
    const int target = mkstemp(path);
    assert_true(target >= 0);
    const int source = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(source >= 0);
    unlink(path);
    capture_begin(c, target, source);
    close(target);
}

static void capture_file_end(capture *c, const char *want) {
    const char *text = capture_end(c);
    close(c->source);
    assert_string_equal(text, want);
}

/* ---- Log lines ---------------------------------------------------------------------------------- */

static void lines_have_levels(void **state) {
    (void)state;
    capture c;
    capture_file(&c);
    for (int level = MN_LOG_ERROR; level <= MN_LOG_DEBUG; level++)
        mn_log((mn_log_level)level, "%s %d", "level", level);
    mn_log_set_level(MN_LOG_DEBUG);
    mn_log(MN_LOG_DEBUG, "now");
    mn_log_set_level(MN_LOG_ERROR);
    mn_log(MN_LOG_WARN, "hidden");
    mn_log(MN_LOG_ERROR, "shown");
    mn_log_set_level(MN_LOG_INFO);
    capture_file_end(&c, "error: level 0\nwarning: level 1\nlevel 2\ndebug: now\nerror: shown\n");
}

enum { WRITERS = 4, LINES = 200 };

static void *write_lines(void *argument) {
    for (int i = 0; i < LINES; i++) mn_log(MN_LOG_INFO, "%s%s", (char *)argument, "----------");
    return NULL;
}

static void threads_do_not_mix_their_lines(void **state) {
    (void)state;
    static char names[WRITERS][2] = {"a", "b", "c", "d"};
    pthread_t thread[WRITERS];
    capture c;
    capture_file(&c);
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_lines, names[i]), 0);
    for (int i = 0; i < WRITERS; i++) pthread_join(thread[i], NULL);
    const char *at = capture_end(&c);
    close(c.source);
    int count[WRITERS] = {0};
    for (; *at; at += 12) {
        assert_in_range(*at, 'a', 'd');
        assert_memory_equal(at + 1, "----------\n", 11);
        count[*at - 'a']++;
    }
    for (int i = 0; i < WRITERS; i++) assert_int_equal(count[i], LINES);
}

/* ---- Progress ----------------------------------------------------------------------------------- */

static void elsewhere_progress_is_a_line_every_ten_seconds(void **state) {
    (void)state;
    capture c;
    capture_file(&c);
    mn_progress *p = mn_progress_begin("scan", "pages", 400);
    mn_progress_add(p, 50);
    pass_seconds(5);
    mn_progress_add(p, 10); /* too early */
    pass_seconds(5);
    mn_progress_add(p, 40); /* 100 in 10 seconds */
    mn_progress_add(p, 0);
    pass_seconds(9);
    mn_progress_add(p, 50);
    pass_seconds(1);
    mn_progress_add(p, 50); /* 200 in 20 */
    pass_seconds(3600);
    mn_progress_add(p, 0); /* 200 in 3620: the other 200 take 1h00m20s */
    mn_progress_end(&p);
    assert_null(p);
    mn_progress_end(&p);
    mn_progress_add(p, 5);
    const char *text = capture_end(&c);
    close(c.source);
    /* the real clock runs on during the test: the last digits of the rate are not fixed */
    int done[3], total[3], percent[3], used = 0;
    float rate[3];
    char left[3][16];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sscanf(text, "scan: %d of %d pages (%d%%), %f pages/s, %15s left%n",
                                &done[i], &total[i], &percent[i], &rate[i], left[i], &used),
                         5);
        assert_int_equal(text[used], '\n');
        text += used + 1;
        assert_int_equal(total[i], 400);
    }
    assert_string_equal(text, "");
    assert_true(done[0] == 100 && percent[0] == 25 && done[1] == 200 && percent[1] == 50);
    assert_true(rate[0] > 9 && rate[0] < 10.1f && rate[2] > 0.05f && rate[2] < 0.06f);
    assert_memory_equal(left[0], "3", 1); /* 30s */
    assert_memory_equal(left[2], "1h00m", 6);
}

static void progress_without_a_total_or_a_listener(void **state) {
    (void)state;
    capture c;
    capture_file(&c);
    mn_progress *p = mn_progress_begin("job", "bytes", 0);
    pass_seconds(11);
    mn_progress_add(p, 0); /* nothing of nothing: no rate, no division by it */
    mn_progress_end(&p);
    mn_log_set_level(MN_LOG_WARN);
    p = mn_progress_begin("quiet", "bytes", 10);
    pass_seconds(11);
    mn_progress_add(p, 5);
    mn_progress_end(&p);
    mn_log_set_level(MN_LOG_INFO);
    p = mn_progress_begin("short", "bytes", 10);
    mn_progress_add(p, 10);
    mn_progress_end(&p);
    capture_file_end(&c, "job: 0 of 0 bytes (0%), 0 bytes/s, ? left\n");
}

/* Standard error becomes a pseudo terminal; the master's end shows what a user would see. */
static void on_a_terminal_progress_is_one_line(void **state) {
    (void)state;
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    const int slave = master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0
                          ? open(ptsname(master), O_RDWR | O_NOCTTY)
                          : -1;
    if (slave < 0) {
        print_message("%s: skipped, no pseudo terminals here\n", __func__);
        skip();
    }
    static const char clear[] = "\r\033[K";
    capture c;
    capture_begin(&c, slave, master);
    mn_progress *p = mn_progress_begin("scan", "pages", 4);
    pass_seconds(1);
    mn_progress_add(p, 1); /* nothing in the first two seconds */
    pass_seconds(1);
    mn_progress_add(p, 1);
    mn_progress_add(p, 0); /* not ten times a second */
    mn_log(MN_LOG_INFO, "by the way");
    pass_seconds(1);
    mn_progress_add(p, 2);
    mn_progress_end(&p);
    const char *at = capture_end(&c);
    close(master);
    close(slave);
    assert_memory_equal(at, clear, 4);
    at += 4;
    assert_memory_equal(at, "scan [###############...............]  50% ", 43);
    at = strstr(at, clear); /* the line makes room for the log's, which stays */
    assert_non_null(at);
    assert_memory_equal(at, "\r\033[Kby the way\r\n", 16);
    at += 16;
    assert_memory_equal(at, "\r\033[Kscan [##############################] 100% ", 47);
    at = strstr(at + 4, clear); /* the end leaves nothing */
    assert_non_null(at);
    assert_string_equal(at, clear);
}

static void time_passes(void **state) {
    (void)state;
    const double before = mn_now();
    pass_seconds(100);
    const double passed = mn_now() - before;
    assert_true(passed >= 100 && passed < 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_have_levels),
        cmocka_unit_test(threads_do_not_mix_their_lines),
        cmocka_unit_test(elsewhere_progress_is_a_line_every_ten_seconds),
        cmocka_unit_test(progress_without_a_total_or_a_listener),
        cmocka_unit_test(on_a_terminal_progress_is_one_line),
        cmocka_unit_test(time_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
