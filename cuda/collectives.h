/* collectives.h (internal) - connections of a device to those of other ranks, and waits that their failure ends. */
#ifndef MNEME_CUDA_COLLECTIVES_H
#define MNEME_CUDA_COLLECTIVES_H

#include "cuda/stream.h"

extern const mn_device_collectives mn_cuda_collectives;

/* Wait for the event, or (NULL) for all work in the stream. With ranks that wait for each other the work may never
 * end: then these ask the groups on the way, and fail when one breaks. */
mn_status mn_cuda_wait(mn_stream *s, cudaEvent_t event);
/* Before memory or the stream goes: waits as far as that makes sense; nothing hangs behind it. */
void mn_cuda_settle(mn_stream *s);
void mn_cuda_collectives_close(mn_stream *s); /* leaves all groups */

#endif
