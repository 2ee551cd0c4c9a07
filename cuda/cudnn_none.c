/* cudnn_none.c - in the place of cuDNN where the plug-in was built without its headers. */
#include "cuda/cudnn_plan.h"

static mn_status missing(void) {
    return mn_fail(MN_ERR_UNSUPPORTED, "this build has no cuDNN: cudnn.h was not found");
}

mn_status mn_cudnn_open(mn_cudnn **out) {
    *out = NULL;
    return missing();
}

void mn_cudnn_close(mn_cudnn **cudnn) { *cudnn = NULL; }

size_t mn_cudnn_version(const mn_cudnn *cudnn) {
    (void)cudnn;
    return 0;
}

mn_status mn_cudnn_plan_build(mn_cudnn_plan **out, mn_cudnn *cudnn, const mn_cudnn_shape *shape,
                              const char *device) {
    (void)cudnn;
    (void)shape;
    (void)device;
    *out = NULL;
    return missing();
}

void mn_cudnn_plan_close(mn_cudnn_plan **plan) { *plan = NULL; }

size_t mn_cudnn_plan_workspace(const mn_cudnn_plan *plan) {
    (void)plan;
    return 0;
}

mn_status mn_cudnn_plan_run(mn_cudnn_plan *plan, const mn_cudnn_data *data, void *stream) {
    (void)plan;
    (void)data;
    (void)stream;
    return missing();
}
