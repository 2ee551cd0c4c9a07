/* tensor.c - collectives on tensors. Where the device's memory is the host's, kernels are done when they return, and
 * these are collectives like all others. */
#include "comm/group.h"

#include <string.h>

mn_status mn_comm_attach(mn_comm *c, mn_device *device) {
    if (!c || device->host_memory) return MN_OK;
    return mn_fail(MN_ERR_UNSUPPORTED, "%s: no collectives on this device", device->name);
}

void mn_comm_unlink(mn_comm *c) { c->link = NULL; }

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

mn_status mn_comm_reduce_tensor(mn_comm *c, mn_device *device, mn_tensor *x, mn_comm_op op) {
    if (!c) return MN_OK;
    MN_TRY(want_contiguous("reduce_tensor", x));
    MN_CHECK(x->dtype == MN_F32, MN_ERR_USAGE, "reduce_tensor: sums are f32, not %s",
             mn_dtype_name(x->dtype));
    count(c, x);
    if (!device->host_memory) return mn_comm_attach(c, device);
    return mn_comm_all_reduce(c, x->data, mn_tensor_count(x), MN_COMM_F32, op);
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
    return mn_comm_attach(c, device);
}
