/* test_comm.c - ranks as threads of this process: all collectives, and what happens when a rank fails or does not
 * come. The thread sanitizer runs this, too. */
#include "test_comm.h"

#include "check.h"
#include "mneme/log.h"
#include "mneme/signals.h"

#include <stdatomic.h>
#include <unistd.h>

enum { PATIENCE = 300 }; /* seconds; nothing here waits for it */

static void every_collective_with_any_number_of_ranks(void **state) {
    (void)state;
    static const int sizes[] = {1, 2, 3, 4, 8};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        MN_ASSERT_OK(mn_comm_threads(sizes[i], PATIENCE, comm_suite, NULL));
    MN_ASSERT_FAILS(mn_comm_threads(0, PATIENCE, comm_suite, NULL), MN_ERR_USAGE, "at least one");
}

/* ---- Failures: every rank keeps what it was told ---- */

enum { RANKS = 4 };
typedef struct told {
    mn_error_record errors[RANKS];
    double limit;
} told;

/* Waits for the other ranks outside of their group: a failure may break the call before the one that it is meant for,
 * where some still are. */
static atomic_int arrived;
static void meet(void) {
    arrived++;
    while (arrived < RANKS) usleep(100);
}

/* The record of a call that had to fail, and of the next one, which fails at once with the same words. */
static mn_status keep(told *t, mn_comm *comm, mn_status got) {
    const int rank = mn_comm_rank(comm);
    mn_error_save(&t->errors[rank]);
    t->errors[rank].status = got;
    if (got == MN_OK) return MN_OK;
    if (mn_comm_barrier(comm) != got || strcmp(mn_error(), t->errors[rank].text) != 0)
        return mn_fail(MN_ERR_DATA, "the next call says: %s", mn_error());
    return mn_error_restore(&t->errors[rank]);
}

static void assert_told(const told *t, int except, const char *text) {
    for (int r = 0; r < RANKS; r++) {
        if (r == except) continue;
        assert_int_equal(t->errors[r].status, MN_ERR_COMM);
        if (!strstr(t->errors[r].text, text))
            fail_msg("rank %d was told '%s', not '%s'", r, t->errors[r].text, text);
    }
}

/* Rank 2 fails by itself while the others wait for it in a sum of 12 bytes. */
static mn_status one_fails(mn_comm *comm, void *context) {
    float x[3] = {0};
    meet();
    if (mn_comm_rank(comm) == 2) return mn_fail(MN_ERR_IO, "prepared/x: the disk is full");
    return keep(context, comm, mn_comm_all_reduce(comm, x, 3, MN_COMM_F32, MN_COMM_SUM));
}

static void the_others_learn_why_a_rank_failed(void **state) {
    (void)state;
    told t = {0};
    arrived = 0;
    MN_ASSERT_FAILS(mn_comm_threads(RANKS, PATIENCE, one_fails, &t), MN_ERR_IO,
                    "prepared/x: the disk is full");
    assert_told(&t, 2, "all_reduce of 12 bytes: rank 2 (");
    assert_told(&t, 2, "): prepared/x: the disk is full");
}

/* The group that breaks is a part of one: those outside of it learn it, too. */
static mn_status one_aborts(mn_comm *comm, void *context) {
    mn_comm *pair = NULL;
    mn_status st = MN_OK;
    MN_TRY(mn_comm_split(&pair, comm, mn_comm_rank(comm) / 2));
    meet();
    if (mn_comm_rank(comm) == 1) {
        mn_fail(MN_ERR_NUMERIC, "step 7: the loss is NaN");
        mn_comm_abort(pair);
        st = mn_comm_barrier(comm); /* broken for the one who did it, too */
    } else {
        st = keep(context, comm, mn_comm_barrier(comm));
    }
    mn_comm_close(&pair);
    return st;
}

static void a_rank_that_gives_up_ends_all_groups(void **state) {
    (void)state;
    told t = {0};
    arrived = 0;
    MN_ASSERT_FAILS(mn_comm_threads(RANKS, PATIENCE, one_aborts, &t), MN_ERR_COMM,
                    "step 7: the loss is NaN");
    assert_told(&t, 1, "barrier of 0 bytes: rank 1 (");
    assert_told(&t, 1, "): step 7: the loss is NaN");
}

static mn_status one_returns(mn_comm *comm, void *context) {
    mn_buf out = {0};
    meet();
    if (mn_comm_rank(comm) == 0) return MN_OK; /* it believes that all is done */
    const mn_status st = keep(context, comm, mn_comm_gather(comm, &out, "abc", 3, 1));
    mn_buf_free(&out);
    return st;
}

static void a_rank_that_returned_is_named(void **state) {
    (void)state;
    told t = {0};
    arrived = 0;
    MN_ASSERT_FAILS(mn_comm_threads(RANKS, PATIENCE, one_returns, &t), MN_ERR_COMM, "has ended");
    assert_told(&t, 0, "gather of 3 bytes: rank 0 (");
    assert_told(&t, 0, ") has ended");
}

/* Rank 3 stays away until the others have given up. */
static atomic_int given_up;
static mn_status one_is_late(mn_comm *comm, void *context) {
    int64_t x[2] = {0};
    meet();
    if (mn_comm_rank(comm) == 3) {
        while (given_up < RANKS - 1) usleep(1000);
        return mn_comm_barrier(comm);
    }
    const mn_status st = mn_comm_broadcast(comm, x, sizeof x, 3);
    given_up++;
    return keep(context, comm, st);
}

static void a_rank_that_does_not_come_is_named(void **state) {
    (void)state;
    told t = {0};
    arrived = 0;
    given_up = 0;
    const double begin = mn_now();
    MN_ASSERT_FAILS(mn_comm_threads(RANKS, 0.5, one_is_late, &t), MN_ERR_COMM, "rank 3 (");
    assert_true(mn_now() - begin >= 0.5);
    assert_told(&t, 3, "broadcast of 16 bytes: rank 3 (");
    assert_told(&t, 3, ") has not come within 0.5 s");
}

/* Calls that do not belong together are found where their sizes differ. */
static mn_status one_is_confused(mn_comm *comm, void *context) {
    double x[4] = {0};
    const int64_t count = mn_comm_rank(comm) == 1 ? 3 : 4;
    meet();
    return keep(context, comm, mn_comm_all_reduce(comm, x, count, MN_COMM_F64, MN_COMM_SUM));
}

static void calls_that_do_not_match_fail(void **state) {
    (void)state;
    told t = {0};
    arrived = 0;
    MN_ASSERT_FAILS(mn_comm_threads(RANKS, PATIENCE, one_is_confused, &t), MN_ERR_COMM,
                    "bytes where");
    assert_told(&t, -1, "sent ");
}

/* Failures at any moment of a busy group: nobody hangs, and memory that was lent is not written any more. */
static mn_status many_and_one_fails(mn_comm *comm, void *context) {
    const int when = *(const int *)context;
    mn_status st = MN_OK;
    for (int i = 0; st == MN_OK && i < 40; i++) {
        float *x = calloc(3000, sizeof *x); /* more than one exchange */
        if (mn_comm_rank(comm) == when % RANKS && i == when) {
            free(x);
            return mn_fail(MN_ERR_DATA, "round %d", when);
        }
        st = mn_comm_all_reduce(comm, x, 3000, MN_COMM_F32, MN_COMM_SUM);
        free(x);
    }
    return st;
}

static void a_failure_at_any_moment_ends_all(void **state) {
    (void)state;
    for (int when = 0; when < 40; when++)
        MN_ASSERT_FAILS(mn_comm_threads(RANKS, PATIENCE, many_and_one_fails, &when), MN_ERR_DATA,
                        "round");
}

/* The last test: a stop cannot be taken back. */
static mn_status one_asks_to_stop(mn_comm *comm, void *context) {
    bool stop = true;
    (void)context;
    MN_TRY(mn_comm_stop(comm, &stop));
    WANT(!stop);
    MN_TRY(mn_comm_barrier(comm));
    if (mn_comm_rank(comm) == 1) mn_stop_request();
    MN_TRY(mn_comm_stop(comm, &stop));
    WANT(stop);
    return MN_OK;
}

static void a_stop_is_agreed(void **state) {
    (void)state;
    MN_ASSERT_OK(mn_comm_threads(RANKS, PATIENCE, one_asks_to_stop, NULL));
    bool stop = false;
    MN_ASSERT_OK(mn_comm_stop(NULL, &stop));
    assert_true(stop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_collective_with_any_number_of_ranks),
        cmocka_unit_test(the_others_learn_why_a_rank_failed),
        cmocka_unit_test(a_rank_that_gives_up_ends_all_groups),
        cmocka_unit_test(a_rank_that_returned_is_named),
        cmocka_unit_test(a_rank_that_does_not_come_is_named),
        cmocka_unit_test(calls_that_do_not_match_fail),
        cmocka_unit_test(a_failure_at_any_moment_ends_all),
        cmocka_unit_test(a_stop_is_agreed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
