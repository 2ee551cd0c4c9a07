/* tensor.c - collectives on tensors. Where the device's memory is the host's, kernels are done when they return, and
 * these are collectives like all others. Another device has a connection of its own to those of the other ranks, made
 * with the help of host messages; it asks the group whether to go on whenever it waits. */
#include "comm/group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The device's own connection ---------------------------------------------------------------- */

/* What every rank tells the others about its device. */
typedef struct card {
    char identity[MN_DEVICE_IDENTITY], name[16];
} card;

static mn_status look(void *comm) { return mn_comm_check(comm); }
static mn_status give_up(void *comm, const char *why) { return mn_comm_break(comm, why); }

/* Two ranks with the same piece of hardware, by name. All ranks find the same pair. */
static mn_status want_different(const mn_comm *c, const card *cards) {
    for (int r = 1; r < c->head.size; r++)
        for (int q = 0; q < r; q++)
            MN_CHECK(
                strcmp(cards[q].identity, cards[r].identity) != 0 ||
                    strcmp(mn_comm_host(c, q), mn_comm_host(c, r)) != 0,
                MN_ERR_USAGE,
                "ranks %d and %d (%s) are on one GPU, %s as %s and %s: every rank needs its own", q,
                r, mn_comm_host(c, r), cards[r].identity, cards[q].name, cards[r].name);
    return MN_OK;
}

mn_status mn_comm_distinct(mn_comm *c, mn_device *device) {
    card mine = {0};
    if (!c || device->host_memory) return MN_OK;
    card *cards = calloc((size_t)c->head.size, sizeof *cards);
    mn_status st = cards ? device->collectives->identity(device, mine.identity)
                         : mn_fail(MN_ERR_MEMORY, "no memory for %d ranks", c->head.size);
    snprintf(mine.name, sizeof mine.name, "%s", device->name);
    MN_GOTO(mn_comm_agree(c, st));
    MN_GOTO(mn_comm_all_gather(c, cards, &mine, sizeof mine));
    MN_GOTO(want_different(c, cards));
done:
    free(cards);
    return st;
}

mn_status mn_comm_attach(mn_comm *c, mn_device *device) {
    if (!c || device->host_memory) return MN_OK;
    if (c->link && device->collectives->serves(c->link, device)) return MN_OK;
    mn_comm_unlink(c); /* from a device that was closed */
    unsigned char id[MN_DEVICE_ID] = {0};
    MN_TRY(mn_comm_distinct(c, device));
    MN_TRY(mn_comm_agree(c, c->head.rank == 0 ? device->collectives->make_id(id) : MN_OK));
    MN_TRY(mn_comm_broadcast(c, id, sizeof id, 0));
    const mn_device_ranks ranks = {c->head.rank, c->head.size, c->world->timeout, look, give_up, c};
    MN_TRY(mn_call_begin(c, "attach", 0));
    mn_device_group *group = NULL;
    MN_TRY(device->collectives->join(&group, device, id, &ranks));
    c->link = group;
    c->leave = device->collectives->leave;
    return MN_OK;
}

void mn_comm_unlink(mn_comm *c) {
    if (c->link) c->leave(&c->link);
}

/* ---- Collectives -------------------------------------------------------------------------------- */

/* A device with memory of its own takes part once it is attached. */
static mn_status begin(mn_comm *c, const mn_device *device, const char *call, size_t bytes) {
    MN_CHECK(c->link && device->collectives->serves(c->link, device), MN_ERR_USAGE,
             "%s: %s is not attached to its group", call, device->name);
    return mn_call_begin(c, call, bytes);
}

static mn_status want_contiguous(const char *call, const mn_tensor *x) {
    MN_CHECK(x->layout == MN_LAYOUT_ROWS, MN_ERR_USAGE, "%s: a tensor in panels", call);
    return MN_OK;
}

mn_comm_traffic mn_comm_tensor_traffic(const mn_comm *c) {
    return c ? c->traffic : (mn_comm_traffic){0};
}

static void count(mn_comm *c, const mn_tensor *x) {
    c->traffic.calls++;
    c->traffic.bytes += (int64_t)mn_tensor_bytes(x);
}

/* A gather without others. Nobody asks for it in a loop: it may go through the host. */
static mn_status copy_alone(mn_device *device, void *out, const void *x, size_t bytes) {
    void *host = malloc(bytes + 1);
    MN_CHECK(host, MN_ERR_MEMORY, "no memory for %zu bytes", bytes);
    mn_status st = device->download(device, host, x, bytes);
    if (st == MN_OK) st = device->upload(device, out, host, bytes);
    free(host);
    return st;
}

mn_status mn_comm_reduce_tensor(mn_comm *c, mn_device *device, mn_tensor *x, mn_comm_op op) {
    if (!c) return MN_OK;
    MN_TRY(want_contiguous("reduce_tensor", x));
    MN_CHECK(x->dtype == MN_F32, MN_ERR_USAGE, "reduce_tensor: sums are f32, not %s",
             mn_dtype_name(x->dtype));
    count(c, x);
    if (device->host_memory)
        return mn_comm_all_reduce(c, x->data, mn_tensor_count(x), MN_COMM_F32, op);
    MN_TRY(begin(c, device, "reduce_tensor", mn_tensor_bytes(x)));
    return device->collectives->reduce(c->link, x->data, mn_tensor_count(x), op == MN_COMM_MAX);
}

mn_status mn_comm_gather_tensor(mn_comm *c, mn_device *device, mn_tensor *out, const mn_tensor *x) {
    MN_TRY(want_contiguous("gather_tensor", x));
    MN_CHECK(out->dtype == x->dtype && mn_tensor_count(out) == mn_tensor_count(x) * mn_comm_size(c),
             MN_ERR_USAGE, "gather_tensor: %lld %s from each of %d ranks do not make %lld %s",
             (long long)mn_tensor_count(x), mn_dtype_name(x->dtype), mn_comm_size(c),
             (long long)mn_tensor_count(out), mn_dtype_name(out->dtype));
    const size_t bytes = mn_tensor_bytes(x);
    if (c) count(c, x);
    if (device->host_memory) return mn_comm_all_gather(c, out->data, x->data, bytes);
    if (!c) return copy_alone(device, out->data, x->data, bytes);
    MN_TRY(begin(c, device, "gather_tensor", bytes));
    return device->collectives->gather(c->link, out->data, x->data, bytes);
}
