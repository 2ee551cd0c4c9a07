/* test_comm.h - what ranks must be able to do together, whatever carries their messages: every function here is run by
 * all ranks of a group. They return a status: an assertion of cmocka belongs to the main thread. */
#ifndef MNEME_TEST_COMM_H
#define MNEME_TEST_COMM_H

#include "mneme/comm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WANT(cond)                                                                                 \
    MN_CHECK(cond, MN_ERR_DATA, "%s:%d: rank %d of %d: %s", __func__, __LINE__,                    \
             mn_comm_rank(comm), mn_comm_size(comm), #cond)

/* Numbers whose sum depends on the order: nothing but the order of the ranks gives these bits. */
static double number_of(int rank, int64_t i) {
    const double tiny = 1.0 / (1 << 20);
    return (rank % 3 == 0   ? 1e7
            : rank % 3 == 1 ? -1e7
                            : tiny) *
               (1 + (double)(i % 13)) +
           tiny * rank;
}

static double get(const void *data, mn_comm_type type, int64_t i) {
    return type == MN_COMM_F32   ? (double)((const float *)data)[i]
           : type == MN_COMM_F64 ? ((const double *)data)[i]
                                 : (double)((const int64_t *)data)[i];
}

static void set(void *data, mn_comm_type type, int64_t i, double x) {
    if (type == MN_COMM_F32) ((float *)data)[i] = (float)x;
    else if (type == MN_COMM_F64) ((double *)data)[i] = x;
    else ((int64_t *)data)[i] = (int64_t)x;
}

/* What all ranks together give for element i, in the type's own arithmetic. */
static double expected(mn_comm_type type, mn_comm_op op, int size, int64_t i) {
    float f = 0;
    double d = 0;
    int64_t n = 0;
    for (int r = 0; r < size; r++) {
        const double x = number_of(r, i);
        const bool first = r == 0;
        if (op == MN_COMM_SUM) {
            f = first ? (float)x : f + (float)x;
            d = first ? x : d + x;
            n = first ? (int64_t)x : n + (int64_t)x;
        } else {
            f = first || (float)x > f ? (float)x : f;
            d = first || x > d ? x : d;
            n = first || (int64_t)x > n ? (int64_t)x : n;
        }
    }
    return type == MN_COMM_F32 ? (double)f : type == MN_COMM_F64 ? d : (double)n;
}

static mn_status reduces(mn_comm *comm, int64_t count, mn_comm_type type, mn_comm_op op) {
    const size_t size = type == MN_COMM_F32 ? 4 : 8;
    mn_status st = MN_OK;
    /* a guard behind the last element */
    unsigned char *data = malloc((size_t)count * size + 1);
    MN_CHECK(data, MN_ERR_MEMORY, "no memory");
    data[(size_t)count * size] = 0xA5;
    for (int64_t i = 0; i < count; i++) set(data, type, i, number_of(mn_comm_rank(comm), i));
    MN_GOTO(mn_comm_all_reduce(comm, data, count, type, op));
    for (int64_t i = 0; i < count; i++)
        MN_CHECK_GOTO(get(data, type, i) == expected(type, op, mn_comm_size(comm), i), MN_ERR_DATA,
                      "all_reduce: type %d, op %d, %lld of %lld: %.17g, not %.17g", (int)type,
                      (int)op, (long long)i, (long long)count, get(data, type, i),
                      expected(type, op, mn_comm_size(comm), i));
    MN_CHECK_GOTO(data[(size_t)count * size] == 0xA5, MN_ERR_DATA, "all_reduce wrote too far");
done:
    free(data);
    return st;
}

/* Counts around the limits of one exchange and of a piece, and such that ranks have no part at all. */
static mn_status all_reduce_sums_in_the_order_of_the_ranks(mn_comm *comm) {
    static const int64_t counts[] = {0, 1, 2, 3, 7, 100, 1023, 1024, 1025, 4097, 300001, 1100003};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (int type = MN_COMM_F32; type <= MN_COMM_I64; type++)
            for (int op = MN_COMM_SUM; op <= MN_COMM_MAX; op++)
                MN_TRY(reduces(comm, counts[i], (mn_comm_type)type, (mn_comm_op)op));
    return MN_OK;
}

static mn_status a_nan_wins(mn_comm *comm) {
    const int size = mn_comm_size(comm), rank = mn_comm_rank(comm);
    for (int who = 0; who < size; who++) {
        float f[3] = {(float)rank, rank == who ? NAN : 1e30f, -INFINITY};
        double d[3] = {rank, rank == who ? NAN : 1e300, -INFINITY};
        MN_TRY(mn_comm_all_reduce(comm, f, 3, MN_COMM_F32, MN_COMM_MAX));
        MN_TRY(mn_comm_all_reduce(comm, d, 3, MN_COMM_F64, MN_COMM_MAX));
        WANT(f[0] == (float)(size - 1) && isnan(f[1]) && f[2] == -INFINITY);
        WANT(d[0] == size - 1 && isnan(d[1]) && d[2] == -INFINITY);
    }
    return MN_OK;
}

static unsigned char byte_of(int rank, size_t i) {
    return (unsigned char)(37 * rank + (int)(i % 251));
}

static mn_status gathers(mn_comm *comm, size_t bytes) {
    const int size = mn_comm_size(comm), rank = mn_comm_rank(comm);
    mn_status st = MN_OK;
    unsigned char *mine = malloc(bytes + 1), *all = calloc(bytes * (size_t)size + 1, 1);
    MN_CHECK_GOTO(mine && all, MN_ERR_MEMORY, "no memory");
    for (size_t i = 0; i < bytes; i++) mine[i] = byte_of(rank, i);
    all[bytes * (size_t)size] = 0xA5;
    MN_GOTO(mn_comm_all_gather(comm, all, mine, bytes));
    for (int r = 0; r < size; r++)
        for (size_t i = 0; i < bytes; i++)
            MN_CHECK_GOTO(all[(size_t)r * bytes + i] == byte_of(r, i), MN_ERR_DATA,
                          "all_gather: byte %zu of %zu from rank %d", i, bytes, r);
    MN_CHECK_GOTO(all[bytes * (size_t)size] == 0xA5, MN_ERR_DATA, "all_gather wrote too far");
    for (int root = 0; root < size; root++) {
        for (size_t i = 0; i < bytes; i++) mine[i] = byte_of(rank == root ? 100 + rank : rank, i);
        MN_GOTO(mn_comm_broadcast(comm, mine, bytes, root));
        for (size_t i = 0; i < bytes; i++)
            MN_CHECK_GOTO(mine[i] == byte_of(100 + root, i), MN_ERR_DATA,
                          "broadcast: byte %zu of %zu from rank %d", i, bytes, root);
    }
done:
    free(all);
    free(mine);
    return st;
}

static mn_status copies_arrive_whole(mn_comm *comm) {
    static const size_t sizes[] = {0, 1, 2, 8, 1000, 65537, 3000001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) MN_TRY(gathers(comm, sizes[i]));
    return MN_OK;
}

/* Rank r has r * 1001 bytes, rank 0 none; they are appended to what is there. */
static mn_status gather_takes_any_length(mn_comm *comm) {
    const int size = mn_comm_size(comm), rank = mn_comm_rank(comm);
    mn_status st = MN_OK;
    mn_buf out = {0};
    const size_t bytes = 1001 * (size_t)rank;
    unsigned char *mine = malloc(bytes + 1);
    MN_CHECK_GOTO(mine, MN_ERR_MEMORY, "no memory");
    for (size_t i = 0; i < bytes; i++) mine[i] = byte_of(rank, i);
    for (int root = -1; root < size; root++) {
        const bool takes = root < 0 || root == rank;
        mn_buf_clear(&out);
        MN_GOTO(mn_buf_puts(&out, "before"));
        MN_GOTO(mn_comm_gather(comm, &out, mine, bytes, root));
        const size_t total = 1001 * (size_t)size * (size_t)(size - 1) / 2;
        MN_CHECK_GOTO(out.len == 6 + (takes ? total : 0), MN_ERR_DATA, "gather: %zu bytes",
                      out.len);
        const unsigned char *at = (const unsigned char *)out.data + 6;
        for (int r = 0; r < size && takes; r++)
            for (size_t i = 0; i < 1001 * (size_t)r; i++, at++)
                MN_CHECK_GOTO(*at == byte_of(r, i), MN_ERR_DATA, "gather: byte %zu of rank %d", i,
                              r);
        MN_CHECK_GOTO(memcmp(out.data, "before", 6) == 0 && out.data[out.len] == '\0', MN_ERR_DATA,
                      "gather: what was there before");
    }
done:
    mn_buf_free(&out);
    free(mine);
    return st;
}

/* Even and odd ranks, and groups of these: none gets what another one sends. */
static mn_status groups_do_not_mix(mn_comm *comm) {
    mn_status st = MN_OK;
    mn_comm *half = NULL, *again = NULL, *quarter = NULL;
    const int rank = mn_comm_rank(comm), size = mn_comm_size(comm);
    MN_GOTO(mn_comm_split(&half, comm, rank % 2));
    MN_GOTO(mn_comm_split(&again, comm, rank % 2));
    MN_GOTO(mn_comm_split(&quarter, half, rank / 2 % 2));
    for (int round = 0; round < 20; round++) {
        int64_t sum = rank, members = 1, of_all = rank, of_quarter = 1;
        MN_GOTO(mn_comm_all_reduce(half, &sum, 1, MN_COMM_I64, MN_COMM_SUM));
        MN_GOTO(mn_comm_all_reduce(comm, &of_all, 1, MN_COMM_I64, MN_COMM_SUM));
        MN_GOTO(mn_comm_all_reduce(again, &members, 1, MN_COMM_I64, MN_COMM_SUM));
        MN_GOTO(mn_comm_all_reduce(quarter, &of_quarter, 1, MN_COMM_I64, MN_COMM_SUM));
        int64_t want = 0, count = 0, few = 0;
        for (int r = rank % 2; r < size; r += 2) {
            want += r;
            count++;
            few += r / 2 % 2 == rank / 2 % 2;
        }
        MN_CHECK_GOTO(sum == want && members == count && of_quarter == few &&
                          of_all == (int64_t)size * (size - 1) / 2 && mn_comm_size(half) == count &&
                          mn_comm_rank(half) == (count > 1 ? rank / 2 : 0),
                      MN_ERR_DATA, "rank %d of %d: groups mix", rank, size);
    }
done:
    mn_comm_close(&quarter);
    mn_comm_close(&again);
    mn_comm_close(&half);
    return st;
}

/* The lowest rank that failed speaks for all, whoever failed; the group is whole afterwards. */
static mn_status ranks_agree_on_failures(mn_comm *comm) {
    const int size = mn_comm_size(comm), rank = mn_comm_rank(comm);
    char text[64];
    WANT(mn_comm_agree(comm, MN_OK) == MN_OK);
    if (size == 1) {
        WANT(mn_comm_agree(comm, mn_fail(MN_ERR_IO, "full")) == MN_ERR_IO);
        WANT(strcmp(mn_error(), "full") == 0);
        return MN_OK;
    }
    for (int who = 0; who < size; who++) {
        mn_status mine = MN_OK;
        if (rank >= who) mine = mn_fail(rank == who ? MN_ERR_NUMERIC : MN_ERR_IO, "at %d", rank);
        WANT(mn_comm_agree(comm, mine) == MN_ERR_NUMERIC);
        snprintf(text, sizeof text, "rank %d (%s): at %d", who, mn_comm_host(comm, who), who);
        WANT(strcmp(mn_error(), text) == 0);
    }
    return mn_comm_barrier(comm);
}

static mn_status ranks_meet_at_a_barrier(mn_comm *comm) {
    for (int i = 0; i < 200; i++) MN_TRY(mn_comm_barrier(comm));
    return MN_OK;
}

/* On the CPU: on its own memory. */
static mn_status tensors_are_added_and_gathered(mn_comm *comm) {
    enum { ROWS = 3, COLS = 5 };
    const int size = mn_comm_size(comm), rank = mn_comm_rank(comm);
    mn_status st = MN_OK;
    mn_device *device = NULL;
    float x[ROWS * COLS], *all = calloc((size_t)size * ROWS * COLS, sizeof *all);
    MN_CHECK_GOTO(all, MN_ERR_MEMORY, "no memory");
    mn_tensor t = mn_tensor_2d(x, MN_F32, ROWS, COLS);
    mn_tensor gathered = mn_tensor_2d(all, MN_F32, (int64_t)size * ROWS, COLS);
    MN_GOTO(mn_device_open(&device, "cpu", 1));
    MN_GOTO(mn_comm_attach(comm, device));
    for (int i = 0; i < ROWS * COLS; i++) x[i] = (float)(rank + i);
    MN_GOTO(mn_comm_gather_tensor(comm, device, &gathered, &t));
    for (int i = 0; i < size * ROWS * COLS; i++)
        MN_CHECK_GOTO(all[i] == (float)(i / (ROWS * COLS) + i % (ROWS * COLS)), MN_ERR_DATA,
                      "gather_tensor: element %d", i);
    MN_GOTO(mn_comm_reduce_tensor(comm, device, &t, MN_COMM_SUM));
    for (int i = 0; i < ROWS * COLS; i++)
        MN_CHECK_GOTO(x[i] == (float)(size * (size - 1) / 2 + size * i), MN_ERR_DATA,
                      "reduce_tensor: element %d", i);
    gathered.shape[0]--;
    if (mn_comm_gather_tensor(comm, device, &gathered, &t) != MN_ERR_USAGE)
        st = mn_fail(MN_ERR_DATA, "gather_tensor took a wrong shape");
done:
    mn_device_close(&device);
    free(all);
    return st;
}

/* All ways to lay ranks out: who shares a model is next to each other. */
static mn_status ranks_are_laid_out(mn_comm *comm) {
    const int size = mn_comm_size(comm), rank = mn_comm_rank(comm);
    for (int tp = 1; tp <= size; tp++) {
        mn_status st = MN_OK;
        mn_ranks ranks;
        mn_comm *world = NULL;
        if (size % tp != 0) continue;
        /* A group like the world, since mn_ranks takes it over. */
        MN_TRY(mn_comm_split(&world, comm, 0));
        MN_TRY(mn_ranks_open(&ranks, world, tp, tp % 2 ? size / tp : 0));
        if (mn_comm_size(ranks.tp) != tp || mn_comm_size(ranks.dp) != size / tp ||
            mn_comm_rank(ranks.tp) != rank % tp || mn_comm_rank(ranks.dp) != rank / tp)
            st = mn_fail(MN_ERR_DATA, "rank %d: tp %d of %d is laid out wrongly", rank, tp, size);
        mn_ranks_close(&ranks);
        mn_ranks_close(&ranks); /* safe twice */
        MN_TRY(st);
    }
    mn_ranks ranks;
    mn_comm *world = NULL;
    MN_TRY(mn_comm_split(&world, comm, 0));
    WANT(mn_ranks_open(&ranks, world, size + 1, 1) == MN_ERR_USAGE);
    WANT(strstr(mn_error(), "ranks are asked for"));
    WANT(!ranks.world && !ranks.tp && !ranks.dp);
    return MN_OK;
}

/* All of the above, which leave the group whole. */
static mn_status comm_suite(mn_comm *comm, void *context) {
    (void)context;
    MN_TRY(all_reduce_sums_in_the_order_of_the_ranks(comm));
    MN_TRY(a_nan_wins(comm));
    MN_TRY(copies_arrive_whole(comm));
    MN_TRY(gather_takes_any_length(comm));
    MN_TRY(groups_do_not_mix(comm));
    MN_TRY(ranks_agree_on_failures(comm));
    MN_TRY(ranks_meet_at_a_barrier(comm));
    MN_TRY(tensors_are_added_and_gathered(comm));
    return ranks_are_laid_out(comm);
}

#endif
