/* copies.h - copies between host and device: through pinned memory, uploads on a stream of their own. */
#ifndef MNEME_CUDA_COPIES_H
#define MNEME_CUDA_COPIES_H

#include "cuda/stream.h"

mn_status mn_cuda_copies_open(struct mn_cuda_copies **out);
void mn_cuda_copies_close(struct mn_cuda_copies **copies); /* behind all work; safe twice */

/* Returns as soon as `from` may change. For the kernels the copy takes its turn; on its way to the device it runs
 * beside those in front of it. */
mn_status mn_cuda_upload(mn_device *device, void *to, const void *from, size_t bytes);
/* Waits for all work in the stream. */
mn_status mn_cuda_download(mn_device *device, void *to, const void *from, size_t bytes);

#endif
