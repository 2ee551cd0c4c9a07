/* graphs.h - work that comes again, recorded as CUDA graphs. */
#ifndef MNEME_CUDA_GRAPHS_H
#define MNEME_CUDA_GRAPHS_H

#include "cuda/stream.h"

mn_status mn_cuda_graphs_open(struct mn_cuda_graphs **out);
void mn_cuda_graphs_close(struct mn_cuda_graphs **graphs); /* behind all work; safe twice */

/* mn_device.repeat and mn_device.forget */
mn_status mn_cuda_repeat(mn_device *device, const mn_repeat *key, mn_status (*work)(void *context),
                         void *context);
void mn_cuda_forget(mn_device *device, const void *owner);
void mn_cuda_forget_all(mn_stream *s);

#endif
