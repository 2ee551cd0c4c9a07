/* ranks.c - the other ranks of a plan. */
#include "tally/tally.h"

#include <stdlib.h>
static mn_status group(mn_comm **out, int rank, int size) {
    struct mn_comm_head *head = size > 1 ? calloc(1, sizeof *head) : NULL;
    *out = (mn_comm *)(void *)head;
    if (size == 1) return MN_OK;
    MN_CHECK(head, MN_ERR_MEMORY, "no memory for ranks");
    *head = (struct mn_comm_head){rank, size};
    return MN_OK;
}
mn_status mn_tally_ranks(mn_ranks *out, mn_device *device, int tp, int tp_rank, int dp,
                         int dp_rank) {
    (void)device;
    *out = (mn_ranks){0};
    MN_TRY(group(&out->tp, tp_rank, tp));
    return group(&out->dp, dp_rank, dp);
}
