/* device.h - opening and describing CUDA devices. */
#ifndef MNEME_CUDA_DEVICE_H
#define MNEME_CUDA_DEVICE_H

#include "cuda/stream.h"

mn_status mn_cuda_device_open(mn_device **out, int index);
mn_status mn_cuda_supported(int index); /* fails by name when the device is too old */
/* "NVIDIA H100 80GB HBM3, sm_90, 132 multiprocessors, 79.6 GiB" */
mn_status mn_cuda_describe(char *text, size_t size, int index);
/* Makes the stream's device the calling thread's: work may come from any thread, one at a time. */
mn_status mn_cuda_use(const mn_stream *stream);

#endif
