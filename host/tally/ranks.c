/* ranks.c - the other ranks of a plan: a transport whose messages have always arrived, and are zeros. */
#include "tally/tally.h"

#include "comm/group.h"

#include <stdlib.h>
#include <string.h>

typedef struct imagined {
    mn_transport base; /* first: its address is the transport's */
    tally *tally;
} imagined;

static mn_status start(mn_transport *t, mn_message *messages, int count) {
    (void)t;
    for (int i = 0; i < count; i++) {
        if (!messages[i].sends && messages[i].bytes > 0)
            memset(messages[i].into, 0, messages[i].bytes);
        messages[i].done = true;
    }
    return MN_OK;
}

static mn_status test(mn_transport *t, mn_message *messages, int count) {
    (void)t;
    (void)messages;
    (void)count;
    return MN_OK;
}

static void pause_at(mn_transport *t, const mn_message *messages, int count, int rounds) {
    (void)t;
    (void)messages;
    (void)count;
    (void)rounds;
}

static void cancel(mn_transport *t, mn_message *messages, int count) {
    (void)t;
    (void)messages;
    (void)count;
}

static void tell(mn_transport *t, const mn_note *note) {
    (void)t;
    (void)note;
}

static bool told(mn_transport *t, mn_note *note) {
    (void)t;
    (void)note;
    return false;
}

static void close_transport(mn_transport *t, bool orderly) {
    (void)orderly;
    free(t);
}

/* In a ring every rank sends (n - 1) / n of what all get together, and for a sum twice that: once to add up, once to
 * tell (Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms). */
static mn_status count_collective(mn_transport *t, bool sum, int64_t count, size_t bytes) {
    const double n = t->size, all = (double)bytes * (sum ? 2 : n);
    return tally_add(((imagined *)(void *)t)->tally,
                     (mn_tally_row){.kernel = sum ? "all-reduce" : "all-gather",
                                    .shape = {count},
                                    .unit = MN_TALLY_LINK,
                                    .bytes = all * (n - 1) / n});
}

static mn_status open_group(mn_comm **out, tally *counts, int size, int rank) {
    *out = NULL;
    if (size == 1) return MN_OK;
    imagined *made = calloc(1, sizeof *made);
    MN_CHECK(made, MN_ERR_MEMORY, "no memory for %d ranks", size);
    *made = (imagined){.base = {.rank = rank,
                                .size = size,
                                .start = start,
                                .test = test,
                                .pause = pause_at,
                                .cancel = cancel,
                                .tell = tell,
                                .told = told,
                                .collective = count_collective,
                                .close = close_transport},
                       .tally = counts};
    return mn_world_open(out, &made->base, MN_COMM_TIMEOUT);
}

mn_status mn_tally_ranks(mn_ranks *out, mn_device *device, int tp, int tp_rank, int dp,
                         int dp_rank) {
    tally *counts = tally_of(device->stream);
    *out = (mn_ranks){0};
    MN_TRY(open_group(&out->tp, counts, tp, tp_rank));
    return open_group(&out->dp, counts, dp, dp_rank);
}
