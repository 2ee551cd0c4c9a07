/* ranks.c - the other ranks of a plan: a transport whose messages have always arrived, and are zeros. */
#include "tally/tally.h"

#include "comm/group.h"

#include <stdlib.h>
#include <string.h>

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

/* ---- The device's part ---- */

struct mn_device_group {
    tally *tally;
    int size;
};

/* In a ring every rank sends (n - 1) / n of what all get together, and for a sum twice that: once to add up, once to
 * tell (Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms). */
static mn_status send_in_ring(mn_device_group *g, const char *call, int64_t count, double all) {
    return tally_add(g->tally, (mn_tally_row){.kernel = call,
                                              .shape = {count},
                                              .unit = MN_TALLY_LINK,
                                              .bytes = all * (g->size - 1) / g->size});
}

static mn_status reduce(mn_device_group *g, float *x, int64_t count, bool maximum) {
    (void)x;
    (void)maximum;
    return send_in_ring(g, "all-reduce", count, 2 * (double)count * (double)sizeof(float));
}

static mn_status gather(mn_device_group *g, void *out, const void *x, size_t bytes) {
    (void)out;
    (void)x;
    return send_in_ring(g, "all-gather", (int64_t)bytes, (double)bytes * g->size);
}

static bool serves(const mn_device_group *g, const mn_device *device) {
    return &g->tally->device == device;
}

static void leave(mn_device_group **group) {
    free(*group);
    *group = NULL;
}

/* Groups come with their connection: nobody has to find the others. */
const mn_device_collectives tally_collectives = {
    .serves = serves, .reduce = reduce, .gather = gather, .leave = leave};

/* ---- Groups ---- */

static mn_status open_group(mn_comm **out, tally *counts, int size, int rank) {
    *out = NULL;
    if (size == 1) return MN_OK;
    mn_transport *made = calloc(1, sizeof *made);
    MN_CHECK(made, MN_ERR_MEMORY, "no memory for %d ranks", size);
    *made = (mn_transport){.rank = rank,
                           .size = size,
                           .start = start,
                           .test = test,
                           .pause = pause_at,
                           .cancel = cancel,
                           .tell = tell,
                           .told = told,
                           .close = close_transport};
    MN_TRY(mn_world_open(out, made, MN_COMM_TIMEOUT));
    if (!counts->cuda) return MN_OK;
    mn_device_group *link = calloc(1, sizeof *link);
    MN_CHECK(link, MN_ERR_MEMORY, "no memory for %d ranks", size);
    *link = (mn_device_group){counts, size};
    (*out)->link = link;
    (*out)->leave = leave;
    return MN_OK;
}

mn_status mn_tally_ranks(mn_ranks *out, mn_device *device, int tp, int tp_rank, int dp,
                         int dp_rank) {
    tally *counts = tally_of(device->stream);
    *out = (mn_ranks){0};
    MN_TRY(open_group(&out->tp, counts, tp, tp_rank));
    return open_group(&out->dp, counts, dp, dp_rank);
}
