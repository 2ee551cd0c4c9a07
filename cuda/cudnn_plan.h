/* cudnn_plan.h (internal) - plans of cuDNN's fused causal attention, forward and backward, one per shape.
 *
 * libcudnn.so.9 is opened at run time: the plug-in does without it. A batch is dense: sequences are filled up
 * to one length. All matrices are fp16, (batch, length, heads, head_dim); stats, the log-sum-exp of scaled
 * scores, and the row sums of dout x out are fp32, (batch, heads, length). No row sees what is behind it,
 * so what fills a sequence up changes none of its own results, provided it is finite and its dout is 0. */
#ifndef MNEME_CUDA_CUDNN_PLAN_H
#define MNEME_CUDA_CUDNN_PLAN_H

#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mn_cudnn mn_cudnn;           /* the library */
typedef struct mn_cudnn_plan mn_cudnn_plan; /* how it computes one shape */

typedef struct mn_cudnn_shape {
    int64_t batch, length, heads, head_dim;
    bool backward;
} mn_cudnn_shape;

/* Where a plan's data are. Forward writes out and stats; backward reads them and dout, writes dq, dk, dv and
 * uses row_sums. `workspace` has at least mn_cudnn_plan_workspace bytes. */
typedef struct mn_cudnn_data {
    void *q, *k, *v, *out, *dout, *dq, *dk, *dv;
    float *stats, *row_sums;
    void *workspace;
    float scale;
} mn_cudnn_data;

/* MN_ERR_UNSUPPORTED when there is no libcudnn.so.9 or it lacks a function. */
mn_status mn_cudnn_open(mn_cudnn **out);
void mn_cudnn_close(mn_cudnn **cudnn); /* safe twice; after its plans */
size_t mn_cudnn_version(const mn_cudnn *cudnn);

/* For the present CUDA device, or, with `device` (JSON, as cuDNN describes devices), for another one: such a
 * plan cannot be executed. Of cuDNN's proposals the first that can be finalised and whose results are the
 * same in every run; MN_ERR_UNSUPPORTED when there is none. */
mn_status mn_cudnn_plan_build(mn_cudnn_plan **out, mn_cudnn *cudnn, const mn_cudnn_shape *shape,
                              const char *device);
void mn_cudnn_plan_close(mn_cudnn_plan **plan); /* safe twice */
size_t mn_cudnn_plan_workspace(const mn_cudnn_plan *plan);
/* Puts the work into the stream (a cudaStream_t). */
mn_status mn_cudnn_plan_run(mn_cudnn_plan *plan, const mn_cudnn_data *data, void *stream);

#ifdef __cplusplus
}
#endif
#endif
