/* collectives_none.cu - in place of collectives.cu where the plug-in was built without NCCL's headers. */
#include "cuda/collectives.h"

static mn_status unsupported(mn_device *device, char text[MN_DEVICE_IDENTITY]) {
    (void)text;
    return mn_fail(MN_ERR_UNSUPPORTED,
                   "%s: several GPUs need NCCL, without which this CUDA backend was built (package "
                   "libnccl-dev)",
                   device->name);
}

static void leave(mn_device_group **group) { (void)group; } /* there is none */

const mn_device_collectives mn_cuda_collectives = {unsupported, NULL, NULL, NULL,
                                                   NULL,        NULL, leave};

mn_status mn_cuda_wait(mn_stream *s, cudaEvent_t event) {
    return event ? mn_cuda_check(cudaEventSynchronize(event), "waiting for the device")
                 : mn_cuda_check(cudaStreamSynchronize(s->stream), "waiting for the device");
}

void mn_cuda_settle(mn_stream *s) { (void)s; }
void mn_cuda_collectives_close(mn_stream *s) { (void)s; }
