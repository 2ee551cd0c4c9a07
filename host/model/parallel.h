/* parallel.h (internal) - sums over the ranks that share a model; without them nothing happens.
 *
 * A matrix that is cut along its inputs (attention's output, the MLP's second, a memory's down) gives each rank a
 * part of the result, one cut along its outputs a part of its input's gradient. Such parts are added to what all
 * ranks have: that counts on rank 0 alone meanwhile, so that one sum over the ranks makes all of it whole. */
#ifndef MNEME_MODEL_PARALLEL_H
#define MNEME_MODEL_PARALLEL_H

#include "mneme/comm.h"
#include "mneme/ops.h"

/* x = the sum over the ranks, the same bits on all of them; a range of its own for profilers. */
mn_status mn_sum_ranks(mn_device *device, mn_comm *tp, mn_tensor *x);

/* x counts on rank 0 alone: the others have 0. Parts are added to it until mn_sum_ranks. */
static inline mn_status mn_begin_parts(mn_device *device, const mn_comm *tp, mn_tensor *x) {
    return mn_comm_rank(tp) > 0 ? mn_zero(device, x) : MN_OK;
}
/* A bias that is added to parts must be added once. */
static inline const mn_tensor *mn_part_bias(const mn_comm *tp, const mn_tensor *bias) {
    return mn_comm_rank(tp) > 0 ? NULL : bias;
}

#endif
