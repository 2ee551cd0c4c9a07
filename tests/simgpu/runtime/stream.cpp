/* stream.cpp - queues of work, events, and graphs made by capturing. */
#include "stream.h"
#include "runtime.h"
#include <algorithm>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <memory>
#include <set>
#include <utility>
#include <vector>

namespace sg {
namespace {

struct Graph {
    std::vector<Work> works;
};

struct Capture {
    std::shared_ptr<Graph> graph = std::make_shared<Graph>();
    cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
    bool spoilt = false;
};

struct Stream {
    int device = 0;
    bool blocking = true;
    std::deque<Work> queue;
    bool runs = false; /* its first work is being asked, further up the stack */
    uint64_t submitted = 0, done = 0;
    std::shared_ptr<Capture> capture;
    bool origin = false; /* the capture began here */
    bool joined = true;  /* the origin waits for all that this stream captured */
};

struct Event {
    std::shared_ptr<Stream> stream;
    uint64_t mark = 0; /* work of the stream before the event */
    std::shared_ptr<Capture> capture;
    using Time = Clock::time_point;
    std::shared_ptr<Time> time = std::make_shared<Time>(); /* outlives the event in the queue */
};

struct GraphHandle {
    std::shared_ptr<Graph> graph;
};

std::recursive_mutex mutex;
thread_local int depth; /* how often this thread holds it */
std::condition_variable_any moved;
std::string why_standing;
std::set<std::shared_ptr<Stream>> streams;
uint64_t graphs_launched;
thread_local int device;

bool is_legacy(cudaStream_t s) { return !s || s == cudaStreamLegacy || s == cudaStreamPerThread; }

std::shared_ptr<Stream> find(cudaStream_t s) {
    for (const auto &known : streams)
        if ((cudaStream_t)known.get() == s) return known;
    return nullptr;
}

/* Asks the first work of a stream; on whose behalf does not matter, its device is the stream's. */
bool step(Stream &s) {
    if (s.runs) return false;
    s.runs = true;
    const int before = sg_use_device(s.device);
    const bool done = s.queue.front()();
    sg_use_device(before);
    s.runs = false;
    if (!done) return false;
    s.queue.pop_front();
    s.done++;
    moved.notify_all();
    return true;
}

/* Runs work of the stream up to the mark, as far as it goes without standing still. */
bool advance_until(Stream &s, uint64_t mark) {
    while (s.done < mark && !s.queue.empty())
        if (!step(s)) return false;
    return true;
}

/* The same, and waits where it stands still. False: for too long. */
bool run_until(Stream &s, uint64_t mark) {
    for (auto start = Clock::now(); !advance_until(s, mark);) {
        const uint64_t before = s.done;
        if (!let_others(start)) {
            complain("a stream of device %d stands still: %s", s.device, why_standing.c_str());
            return false;
        }
        if (s.done != before) start = Clock::now();
    }
    return true;
}

std::vector<std::shared_ptr<Stream>> streams_of(int of_device, bool blocking_only) {
    std::vector<std::shared_ptr<Stream>> found;
    for (const auto &s : streams)
        if (s->device == of_device && (s->blocking || !blocking_only)) found.push_back(s);
    return found;
}

cudaError_t run_all(bool blocking_only) {
    cudaError_t e = cudaSuccess;
    for (const auto &s : streams_of(device, blocking_only))
        if (!run_until(*s, s->submitted)) e = remember(cudaErrorLaunchTimeout);
    return e;
}

std::shared_ptr<Capture> any_capture(bool blocking_only) {
    for (const auto &s : streams)
        if (s->capture && (s->blocking || !blocking_only)) return s->capture;
    return nullptr;
}

cudaError_t end_capture(const std::shared_ptr<Capture> &capture) {
    cudaError_t e = capture->spoilt ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
    for (const auto &s : streams) {
        if (s->capture != capture) continue;
        if (!s->origin && !s->joined && !e) e = cudaErrorStreamCaptureUnjoined;
        s->capture = nullptr;
        s->origin = false;
        s->joined = true;
    }
    return e;
}

} // namespace

Lock::Lock() {
    mutex.lock();
    if (++depth == 1) sg_use_device(device);
}
Lock::~Lock() {
    depth--;
    mutex.unlock();
}

/* A condition variable gives back all that the thread holds. */
struct AllHeld {
    const int count = depth;
    void lock() {
        for (int i = 0; i < count; i++) mutex.lock();
        sg_use_device(device);
    }
    void unlock() {
        for (int i = 0; i < count; i++) mutex.unlock();
    }
};

bool let_others(Clock::time_point start) {
    AllHeld held;
    moved.wait_for(held, std::chrono::milliseconds(1));
    return Clock::now() - start < std::chrono::seconds(option_value(Option::PATIENCE));
}

void standing_still(const std::string &reason) { why_standing = reason; }

void advance_device(int of_device) {
    for (const auto &s : streams_of(of_device, false)) advance_until(*s, s->submitted);
}

int stream_device(cudaStream_t stream) {
    const auto s = find(stream);
    return s ? s->device : device;
}

int current_device() { return device; }

void complain(const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sg_add_report(1, text, text);
}

cudaError_t submit(cudaStream_t stream, Task task) {
    return submit_work(stream, [task = std::move(task)] {
        task();
        return true;
    });
}

cudaError_t submit_work(cudaStream_t stream, Work work) {
    if (is_legacy(stream)) {
        if (const auto capture = any_capture(true)) {
            capture->spoilt = true;
            return remember(cudaErrorStreamCaptureImplicit);
        }
        const cudaError_t e = run_all(true);
        for (const auto start = Clock::now(); !work();)
            if (!let_others(start)) return remember(cudaErrorLaunchTimeout);
        return e;
    }
    const auto s = find(stream);
    if (!s) {
        complain("a call names a stream that does not exist");
        return remember(cudaErrorInvalidResourceHandle);
    }
    if (s->capture) {
        s->capture->graph->works.push_back(std::move(work));
        s->joined = s->origin;
        return cudaSuccess;
    }
    s->queue.push_back(std::move(work));
    s->submitted++;
    if (!option_value(Option::LAZY_STREAMS)) advance_until(*s, s->submitted);
    return cudaSuccess;
}

cudaError_t drain(cudaStream_t stream) {
    if (is_legacy(stream)) return run_all(true);
    const auto s = find(stream);
    if (!s) return remember(cudaErrorInvalidResourceHandle);
    if (s->capture) {
        s->capture->spoilt = true;
        return remember(cudaErrorStreamCaptureUnsupported);
    }
    return run_until(*s, s->submitted) ? cudaSuccess : remember(cudaErrorLaunchTimeout);
}

cudaError_t drain_device() {
    cudaError_t e = cudaSuccess;
    return forbidden_in_capture(&e) ? e : run_all(false);
}

bool forbidden_in_capture(cudaError_t *error) {
    const auto capture = any_capture(false);
    if (!capture || capture->mode == cudaStreamCaptureModeRelaxed) return false;
    capture->spoilt = true;
    *error = remember(cudaErrorStreamCaptureUnsupported);
    return true;
}

bool is_capturing(cudaStream_t stream) {
    const auto s = find(stream);
    return s && s->capture;
}

uint64_t take_graph_launches() { return std::exchange(graphs_launched, 0); }

void drain_everything() {
    for (int d = 0; d < option_value(Option::DEVICES); d++) advance_device(d);
}

} // namespace sg

using namespace sg;

extern "C" {

cudaError_t cudaGetDeviceCount(int *count) {
    *count = (int)option_value(Option::DEVICES);
    return *count ? cudaSuccess : remember(cudaErrorNoDevice);
}
cudaError_t cudaSetDevice(int d) {
    if (d < 0 || d >= option_value(Option::DEVICES)) return remember(cudaErrorInvalidDevice);
    Lock lock;
    device = d;
    sg_use_device(d);
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *d) {
    *d = device;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    Lock lock;
    auto s = std::make_shared<Stream>();
    s->device = device;
    s->blocking = !(flags & cudaStreamNonBlocking);
    *stream = (cudaStream_t)s.get();
    streams.insert(std::move(s));
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithFlags(stream, 0); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int) {
    return cudaStreamCreateWithFlags(stream, flags);
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = *greatest = 0;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    Lock lock;
    const auto s = find(stream);
    if (!s) return remember(cudaErrorInvalidResourceHandle);
    const bool done = run_until(*s, s->submitted);
    streams.erase(s);
    if (!done) return remember(cudaErrorLaunchTimeout);
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    Lock lock;
    return drain(stream);
}
/* One piece of work per question, so that a loop of questions ends. The answer is how it was before. */
cudaError_t cudaStreamQuery(cudaStream_t stream) {
    Lock lock;
    const auto s = find(stream);
    if (!s || s->queue.empty()) return cudaSuccess;
    step(*s);
    return cudaErrorNotReady;
}
cudaError_t cudaDeviceSynchronize(void) {
    Lock lock;
    return drain_device();
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t f, void *data) {
    Lock lock;
    return submit(stream, [=] { f(data); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    *event = (cudaEvent_t) new Event;
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    Lock lock;
    delete (Event *)event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    Lock lock;
    Event *e = (Event *)event;
    const auto s = find(stream);
    e->stream = s;
    e->capture = s ? s->capture : nullptr;
    e->mark = s ? s->submitted : 0;
    if (e->capture) return cudaSuccess; /* a place in the graph, no work */
    const cudaError_t error = submit(stream,
                                     [t = e->time] { *t = std::chrono::steady_clock::now(); });
    if (s) e->mark = s->submitted;
    return error;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
    return cudaEventRecord(event, stream);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    Lock lock;
    const Event *e = (const Event *)event;
    if (e->capture) return remember(cudaErrorCapturedEvent);
    if (e->stream && !run_until(*e->stream, e->mark)) return remember(cudaErrorLaunchTimeout);
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    Lock lock;
    const Event *e = (const Event *)event;
    if (e->capture) return remember(cudaErrorCapturedEvent);
    if (!e->stream || e->stream->done >= e->mark) return cudaSuccess;
    step(*e->stream);
    return cudaErrorNotReady;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end) {
    Lock lock;
    for (const cudaEvent_t event : {start, end})
        if (cudaEventQuery(event)) return cudaErrorNotReady;
    *ms = std::chrono::duration<float, std::milli>(*((Event *)end)->time - *((Event *)start)->time)
              .count();
    return cudaSuccess;
}
/* In a capture an event of a capturing stream draws the waiting one into the same graph. */
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    Lock lock;
    const Event *e = (const Event *)event;
    const auto s = find(stream);
    if (e->capture && s) {
        if (s->capture && s->capture != e->capture) return remember(cudaErrorStreamCaptureMerge);
        if (!s->capture) s->joined = false;
        s->capture = e->capture;
        if (s->origin && e->stream) e->stream->joined = true;
        return cudaSuccess;
    }
    if (s && s->capture) return remember(cudaErrorStreamCaptureIsolation);
    if (!e->stream) return cudaSuccess; /* never recorded, or in the legacy stream */
    return submit_work(stream, [from = e->stream, mark = e->mark] {
        return advance_until(*from, mark) && from->done >= mark;
    });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    Lock lock;
    const auto s = find(stream);
    if (!s) return remember(cudaErrorStreamCaptureUnsupported); /* the legacy stream cannot */
    if (s->capture) return remember(cudaErrorIllegalState);
    s->capture = std::make_shared<Capture>();
    s->capture->mode = mode;
    s->origin = true;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    Lock lock;
    const auto s = find(stream);
    *graph = nullptr;
    if (!s || !s->capture) return remember(cudaErrorIllegalState);
    if (!s->origin) return remember(cudaErrorStreamCaptureUnmatched);
    const auto capture = s->capture;
    const cudaError_t e = end_capture(capture);
    if (e) return remember(e);
    *graph = (cudaGraph_t) new GraphHandle{capture->graph};
    return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    Lock lock;
    const auto s = find(stream);
    *status = !s || !s->capture    ? cudaStreamCaptureStatusNone
              : s->capture->spoilt ? cudaStreamCaptureStatusInvalidated
                                   : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    Lock lock;
    const auto copy = std::make_shared<Graph>(*((GraphHandle *)graph)->graph);
    *exec = (cudaGraphExec_t) new GraphHandle{copy};
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long f) {
    return cudaGraphInstantiate(exec, graph, f);
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    Lock lock;
    graphs_launched++;
    for (const Work &work : ((GraphHandle *)exec)->graph->works)
        if (const cudaError_t e = submit_work(stream, work)) return e;
    return cudaSuccess;
}
/* The pieces of work have no shape to compare but their number. */
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo *info) {
    Lock lock;
    GraphHandle *to = (GraphHandle *)exec;
    const Graph &from = *((GraphHandle *)graph)->graph;
    const bool fits = to->graph->works.size() == from.works.size();
    if (info)
        info->result = fits ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
    if (!fits) return remember(cudaErrorGraphExecUpdateFailure);
    to->graph = std::make_shared<Graph>(from);
    return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
    Lock lock;
    const size_t n = ((GraphHandle *)graph)->graph->works.size();
    if (nodes) return remember(cudaErrorNotSupported); /* nodes cannot be shown, only counted */
    *count = n;
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete (GraphHandle *)graph;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete (GraphHandle *)exec;
    return cudaSuccess;
}
}
