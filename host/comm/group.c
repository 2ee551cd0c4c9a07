/* group.c - making and ending groups of ranks. */
#include "comm/group.h"

#include <stdlib.h>
#include <string.h>

/* ---- Memory of a group ---- */

static void group_free(mn_comm **comm) {
    mn_comm *c = *comm;
    if (!c) return;
    free(c->scratch);
    free(c->messages);
    free(c->ranks);
    free(c);
    *comm = NULL;
}

/* A group of `size`, whose ranks are the caller's to fill in. */
static mn_status group_make(mn_comm **out, mn_world *world, int rank, int size, int channel) {
    mn_status st = MN_OK;
    *out = NULL;
    mn_comm *c = calloc(1, sizeof *c);
    MN_CHECK_GOTO(c, MN_ERR_MEMORY, "no memory for a group of %d ranks", size);
    c->head.rank = rank;
    c->head.size = size;
    c->world = world;
    c->channel = channel;
    c->ranks = calloc((size_t)size, sizeof *c->ranks);
    c->messages = calloc(2 * (size_t)size, sizeof *c->messages);
    c->scratch = malloc(mn_scratch_bytes(size));
    MN_CHECK_GOTO(c->ranks && c->messages && c->scratch, MN_ERR_MEMORY,
                  "no memory for a group of %d ranks", size);
    *out = c;
    c = NULL;
done:
    group_free(&c);
    return st;
}

/* ---- The world ---- */

static void world_free(mn_world *w) {
    if (!w) return;
    pthread_mutex_destroy(&w->lock);
    free(w->missing);
    free(w->peers);
    free(w);
}

mn_status mn_world_open(mn_comm **out, mn_transport *t, double timeout) {
    mn_status st = MN_OK;
    mn_comm *c = NULL;
    mn_process self;
    *out = NULL;
    mn_world *w = calloc(1, sizeof *w);
    MN_CHECK_GOTO(w, MN_ERR_MEMORY, "no memory for %d ranks", t->size);
    w->transport = t;
    w->timeout = timeout;
    w->next_channel = 1;
    pthread_mutex_init(&w->lock, NULL);
    w->peers = calloc((size_t)t->size, sizeof *w->peers);
    w->missing = calloc((size_t)t->size, sizeof *w->missing);
    MN_CHECK_GOTO(w->peers && w->missing, MN_ERR_MEMORY, "no memory for %d ranks", t->size);
    MN_GOTO(group_make(&c, w, t->rank, t->size, 0));
    for (int r = 0; r < t->size; r++) {
        c->ranks[r] = r;
        memcpy(w->peers[r].host, "?", 2); /* until it has told */
        w->peers[r].place = (uint64_t)r;
        w->missing[r] = -1;
    }
    mn_process_self(&self);
    MN_GOTO(mn_comm_all_gather(c, w->peers, &self, sizeof self));
    *out = c;
    return MN_OK;
done:
    t->close(t, false);
    group_free(&c);
    world_free(w);
    return st;
}

void mn_world_free(mn_comm **comm, bool orderly) {
    if (!*comm) return;
    mn_world *w = (*comm)->world;
    mn_comm_unlink(*comm); /* a thread's world is lent, its rank does not close it */
    mn_comm_leave(w);
    w->transport->close(w->transport, orderly);
    group_free(comm);
    world_free(w);
}

const char *mn_comm_host(const mn_comm *c, int rank) {
    static _Thread_local mn_process self;
    if (c) return c->world->peers[c->ranks[rank]].host;
    mn_process_self(&self);
    return self.host;
}

/* ---- Groups ---- */

/* A channel that no two members have used with each other: no less than any member's next one. */
static mn_status take_channel(int *out, mn_comm *c) {
    int64_t next = c->world->next_channel;
    MN_TRY(mn_comm_all_reduce(c, &next, 1, MN_COMM_I64, MN_COMM_MAX));
    c->world->next_channel = (int)next + 1;
    *out = (int)next;
    return MN_OK;
}

mn_status mn_comm_split(mn_comm **out, mn_comm *parent, int color) {
    mn_status st = MN_OK;
    int channel = 0, size = 0, rank = 0;
    mn_comm *c = NULL;
    *out = NULL;
    if (!parent) return MN_OK;
    int *colors = calloc((size_t)parent->head.size, sizeof *colors);
    MN_CHECK(colors, MN_ERR_MEMORY, "no memory for %d ranks", parent->head.size);
    MN_GOTO(take_channel(&channel, parent));
    MN_GOTO(mn_comm_all_gather(parent, colors, &color, sizeof color));
    for (int r = 0; r < parent->head.size; r++) {
        if (colors[r] != color) continue;
        if (r == parent->head.rank) rank = size;
        size++;
    }
    if (size == 1) goto done; /* a group of one is NULL */
    MN_GOTO(group_make(&c, parent->world, rank, size, channel));
    for (int r = 0, next = 0; r < parent->head.size; r++)
        if (colors[r] == color) c->ranks[next++] = parent->ranks[r];
    *out = c;
done:
    free(colors);
    return st;
}

void mn_comm_close(mn_comm **comm) {
    mn_comm *c = *comm;
    if (!c) return;
    mn_comm_unlink(c);
    *comm = NULL;
    if (c->lent) return;
    if (c->channel != 0) {
        group_free(&c);
        return;
    }
    /* No rank leaves before all others are here: who leaves is taken for dead. */
    const bool orderly = !c->world->broken && mn_comm_barrier(c) == MN_OK;
    mn_world_free(&c, orderly);
}

/* ---- The ranks of one job ---- */

mn_status mn_ranks_open(mn_ranks *out, mn_comm *world, int tp, int dp) {
    mn_status st = MN_OK;
    const int size = mn_comm_size(world), rank = mn_comm_rank(world);
    *out = (mn_ranks){.world = world};
    MN_CHECK_GOTO(tp >= 1 && dp >= 0, MN_ERR_USAGE, "tp %d and dp %d: counts of ranks", tp, dp);
    MN_CHECK_GOTO(dp > 0 || size % tp == 0, MN_ERR_USAGE,
                  "%d ranks were started: they cannot be divided into groups of tp = %d", size, tp);
    MN_CHECK_GOTO(dp == 0 || (int64_t)tp * dp == size, MN_ERR_USAGE,
                  "tp * dp = %d * %d = %lld ranks are asked for, %d %s started", tp, dp,
                  (long long)tp * dp, size, size == 1 ? "was" : "were");
    MN_GOTO(mn_comm_split(&out->tp, world, rank / tp));
    MN_GOTO(mn_comm_split(&out->dp, world, rank % tp));
done:
    if (st != MN_OK) mn_ranks_close(out);
    return st;
}

void mn_ranks_close(mn_ranks *ranks) {
    mn_comm_close(&ranks->dp);
    mn_comm_close(&ranks->tp);
    mn_comm_close(&ranks->world);
}
