/* stream.h - streams, events and graphs of the simulated runtime; libcublasLt and libnccl use it, too.
 *
 * Work is put into a stream's queue and runs when something waits for it: as late as the program
 * allows, so that a missing wait shows. The legacy stream (0) runs at once, behind all blocking
 * streams. With option lazy_streams = 0 everything runs at once. */
#ifndef SIMGPU_STREAM_H
#define SIMGPU_STREAM_H

#include "simgpu.h"
#include <cuda_runtime_api.h>
#include <functional>
#include <mutex>

namespace sg {

/* Held around every call of the libraries. */
struct Lock {
    Lock();
    ~Lock();
    Lock(const Lock &) = delete;
    Lock &operator=(const Lock &) = delete;
};

using Task = std::function<void()>;

/* Adds work to a stream, or to the graph that captures it. The error is one of capturing. */
cudaError_t submit(cudaStream_t stream, Task task);
/* Runs all that was put into the stream so far. */
cudaError_t drain(cudaStream_t stream);
cudaError_t drain_device();
/* True: a call that must not happen while a stream captures; the capture is spoilt, *error set. */
bool forbidden_in_capture(cudaError_t *error);
bool is_capturing(cudaStream_t stream);
int current_device();
/* A report on a wrong call. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

} // namespace sg
#endif
