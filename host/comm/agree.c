/* agree.c - how ranks of a job learn that one of them has failed. */
#include "mneme/comm.h"

mn_status mn_ranks_agree(const mn_ranks *ranks, mn_status mine) {
    if (!ranks) return mine;
    if (mn_comm_size(ranks->tp) == 1) return mn_comm_agree(ranks->world, mine);
    if (mine != MN_OK) mn_comm_abort(ranks->world);
    return mine;
}
