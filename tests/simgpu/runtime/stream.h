/* stream.h - streams, events and graphs of the simulated runtime; libcublasLt and libnccl use it, too.
 *
 * Work is put into a stream's queue and runs when something waits for it: as late as the program
 * allows, so that a missing wait shows. The legacy stream (0) runs at once, behind all blocking
 * streams. With option lazy_streams = 0 everything runs at once. */
#ifndef SIMGPU_STREAM_H
#define SIMGPU_STREAM_H

#include "simgpu.h"
#include <chrono>
#include <cuda_runtime_api.h>
#include <functional>
#include <mutex>
#include <string>

namespace sg {

/* Held around every call of the libraries. */
struct Lock {
    Lock();
    ~Lock();
    Lock(const Lock &) = delete;
    Lock &operator=(const Lock &) = delete;
};

using Task = std::function<void()>;

/* Work that may have to stand still for other streams: true when it is done; asked again until then. */
using Work = std::function<bool()>;

/* Adds work to a stream, or to the graph that captures it. The error is one of capturing. */
cudaError_t submit(cudaStream_t stream, Task task);
cudaError_t submit_work(cudaStream_t stream, Work work);
/* Why the work that was asked last stands still: for the report when that takes too long. */
void standing_still(const std::string &reason);
/* Runs what the streams of a device can do without standing still. */
void advance_device(int device);
/* Lets other threads have the lock for a moment; false when that was so for option patience since `start`. */
using Clock = std::chrono::steady_clock;
bool let_others(Clock::time_point start);
int stream_device(cudaStream_t stream); /* of the legacy stream: the current one */
/* Runs all that was put into the stream so far. An error: it stands still for good, which is reported. */
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
