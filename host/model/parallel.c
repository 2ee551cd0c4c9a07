/* parallel.c - see parallel.h. */
#include "model/parallel.h"

mn_status mn_sum_ranks(mn_device *dev, mn_comm *tp, mn_tensor *x) {
    if (!tp) return MN_OK;
    return MN_RANGE(dev, "all-reduce", mn_comm_reduce_tensor(tp, dev, x, MN_COMM_SUM));
}
