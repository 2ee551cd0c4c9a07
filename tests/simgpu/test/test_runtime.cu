/* test_runtime.cu - the simulated libcudart as a program sees it: streams that run late, events, graphs,
 * pinned and pageable memory, attributes, errors; and libcublasLt (test_products.cuh). */
#include "test_products.cuh"

#include <vector>

namespace {

__constant__ int factor[1];
__device__ int counter = 5;

__global__ void fill(int *p, int value, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) p[i] = value;
}
__global__ void scale(int *to, const int *from, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) to[i] = from[i] * factor[0];
    if (i == 0) counter++;
}
__global__ void __launch_bounds__(64) use_shared(int *p) {
    extern __shared__ int room[];
    room[threadIdx.x] = threadIdx.x;
    __syncthreads();
    p[threadIdx.x] = room[threadIdx.x ^ 1];
}

constexpr int N = 256;
constexpr size_t BYTES = N * sizeof(int);

void on(cudaStream_t s, int *p, int value) { fill<<<2, 128, 0, s>>>(p, value, N); }

struct Buffers {
    int *device, *other, *pinned;
    cudaStream_t a, b;
    Buffers() {
        CALL(cudaMalloc(&device, BYTES));
        CALL(cudaMalloc(&other, BYTES));
        CALL(cudaMallocHost(&pinned, BYTES));
        CALL(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
        CALL(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
    }
    ~Buffers() {
        CALL(cudaStreamDestroy(a));
        CALL(cudaStreamDestroy(b));
        CALL(cudaFree(device));
        CALL(cudaFree(other));
        CALL(cudaFreeHost(pinned));
    }
};

void streams_run_late() {
    Buffers m;
    m.pinned[7] = 1;
    on(m.a, m.device, 42);
    CALL(cudaMemcpyAsync(m.pinned, m.device, BYTES, cudaMemcpyDeviceToHost, m.a));
    CHECK(m.pinned[7] == 1); /* nobody waited yet */
    CHECK(cudaStreamQuery(m.a) == cudaErrorNotReady);
    CALL(cudaStreamSynchronize(m.a));
    CHECK(m.pinned[7] == 42 && cudaStreamQuery(m.a) == cudaSuccess);

    int pageable[N] = {};
    on(m.a, m.device, 43);
    CALL(cudaMemcpyAsync(pageable, m.device, BYTES, cudaMemcpyDeviceToHost, m.a));
    CHECK(pageable[0] == 43); /* copies to pageable memory return when they are done */

    pageable[0] = m.pinned[0] = 1;
    CALL(cudaMemcpyAsync(m.device, pageable, 4, cudaMemcpyHostToDevice, m.a));
    CALL(cudaMemcpyAsync(m.device + 1, m.pinned, 4, cudaMemcpyHostToDevice, m.a));
    pageable[0] = m.pinned[0] = 2; /* too early for the pinned one */
    CALL(cudaMemcpyAsync(pageable, m.device, 8, cudaMemcpyDeviceToHost, m.a));
    CHECK(pageable[0] == 1 && pageable[1] == 2);

    cudaStream_t blocking; /* the legacy stream waits for it, and it for the legacy stream */
    CALL(cudaStreamCreate(&blocking));
    on(blocking, m.device, 44);
    CALL(cudaMemcpy(pageable, m.device, BYTES, cudaMemcpyDeviceToHost));
    CHECK(pageable[5] == 44);
    CALL(cudaStreamDestroy(blocking));
    CHECK(sg_report_count() == 0);
}

void waits_between_streams() {
    for (const bool waits : {false, true}) {
        Buffers m;
        cudaEvent_t ready, end;
        float ms = -1;
        CALL(cudaEventCreate(&ready));
        CALL(cudaEventCreate(&end));
        on(m.a, m.device, 3);
        CALL(cudaEventRecord(ready, m.a));
        on(m.a, m.other, 9); /* behind the event */
        if (waits) CALL(cudaStreamWaitEvent(m.b, ready, 0));
        CALL(cudaMemcpyAsync(m.pinned, m.device, BYTES, cudaMemcpyDeviceToHost, m.b));
        CALL(cudaEventRecord(end, m.b));
        CALL(cudaEventSynchronize(end));
        if (waits) {
            CHECK(m.pinned[0] == 3 && sg_report_count() == 0);
            CHECK(cudaEventQuery(ready) == cudaSuccess &&
                  cudaStreamQuery(m.a) == cudaErrorNotReady);
            CALL(cudaEventElapsedTime(&ms, ready, end));
            CHECK(ms >= 0);
        } else CHECK(take_report("uninitialised read: copy to host"));
        CALL(cudaDeviceSynchronize());
        CALL(cudaEventDestroy(ready));
        CALL(cudaEventDestroy(end));
    }
}

void capture(cudaStream_t a, cudaStream_t b, int *x, int *y, cudaGraph_t *graph) {
    cudaEvent_t fork, join;
    CALL(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
    CALL(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
    CALL(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal));
    on(a, x, 2);
    CALL(cudaEventRecord(fork, a));
    CALL(cudaStreamWaitEvent(b, fork, 0));
    scale<<<2, 128, 0, b>>>(y, x, N);
    CALL(cudaEventRecord(join, b));
    CALL(cudaStreamWaitEvent(a, join, 0));
    CALL(cudaStreamEndCapture(a, graph));
    CALL(cudaEventDestroy(fork));
    CALL(cudaEventDestroy(join));
}

void graphs() {
    Buffers m;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    size_t nodes = 0;
    int ten = 10, count = 0, result[N];
    CALL(cudaMemcpyToSymbol(factor, &ten, sizeof ten));
    capture(m.a, m.b, m.device, m.other, &graph);
    CALL(cudaGraphGetNodes(graph, nullptr, &nodes));
    CHECK(nodes == 2);
    CALL(cudaGraphInstantiate(&exec, graph, 0));
    CALL(cudaMemcpyFromSymbol(&count, counter, sizeof count));
    CHECK(count == 5); /* nothing has run */
    for (int i = 0; i < 3; i++) CALL(cudaGraphLaunch(exec, m.a));
    CALL(cudaStreamSynchronize(m.a));
    CALL(cudaMemcpy(result, m.other, BYTES, cudaMemcpyDeviceToHost));
    CALL(cudaMemcpyFromSymbol(&count, counter, sizeof count));
    CHECK(result[0] == 20 && result[N - 1] == 20 && count == 8);
    cudaGraph_t again;
    capture(m.a, m.b, m.device, m.other, &again);
    CALL(cudaGraphExecUpdate(exec, again, nullptr));
    CALL(cudaGraphDestroy(graph));
    CALL(cudaGraphDestroy(again));
    CALL(cudaGraphExecDestroy(exec));

    /* A synchronisation inside spoils the capture; so does work that nobody joins. */
    CALL(cudaStreamBeginCapture(m.a, cudaStreamCaptureModeGlobal));
    CHECK(cudaStreamSynchronize(m.a) == cudaErrorStreamCaptureUnsupported);
    CHECK(cudaStreamEndCapture(m.a, &graph) == cudaErrorStreamCaptureInvalidated && !graph);
    cudaEvent_t fork;
    CALL(cudaEventCreate(&fork));
    CALL(cudaStreamBeginCapture(m.a, cudaStreamCaptureModeGlobal));
    CALL(cudaEventRecord(fork, m.a));
    CALL(cudaStreamWaitEvent(m.b, fork, 0));
    on(m.b, m.device, 1);
    CHECK(cudaStreamEndCapture(m.a, &graph) == cudaErrorStreamCaptureUnjoined);
    CALL(cudaStreamBeginCapture(m.a, cudaStreamCaptureModeThreadLocal));
    int *p;
    CHECK(cudaMalloc(&p, 4) == cudaErrorStreamCaptureUnsupported);
    CHECK(cudaStreamEndCapture(m.a, &graph) == cudaErrorStreamCaptureInvalidated);
    CALL(cudaEventDestroy(fork));
    cudaGetLastError();
    CHECK(sg_report_count() == 0);
}

void attributes() {
    Buffers m;
    cudaDeviceProp p;
    int value = 0, devices = 0, device = -1, blocks = 0;
    CALL(cudaGetDeviceCount(&devices));
    CHECK(devices == 2); /* SIMGPU_DEVICES of the test */
    CALL(cudaSetDevice(1));
    CALL(cudaGetDevice(&device));
    CHECK(device == 1);
    CALL(cudaSetDevice(0));
    CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice &&
          cudaGetLastError() == cudaErrorInvalidDevice);
    CHECK(cudaGetLastError() == cudaSuccess);
    CALL(cudaGetDeviceProperties(&p, 0));
    CALL(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0));
    CHECK(p.major == 8 && p.warpSize == 32 && value == p.multiProcessorCount);
    size_t free_before, free_after, total;
    void *q;
    CALL(cudaMemGetInfo(&free_before, &total));
    CALL(cudaMalloc(&q, 1 << 20));
    CALL(cudaMemGetInfo(&free_after, &total));
    CHECK(free_before - free_after == 1 << 20 && total == p.totalGlobalMem);
    cudaPointerAttributes a;
    CALL(cudaPointerGetAttributes(&a, q));
    CHECK(a.type == cudaMemoryTypeDevice);
    CALL(cudaPointerGetAttributes(&a, m.pinned));
    CHECK(a.type == cudaMemoryTypeHost);
    CALL(cudaFree(q));
    CHECK(cudaMalloc(&q, total + 1) == cudaErrorMemoryAllocation && !q);
    cudaGetLastError();

    use_shared<<<1, 64, 60000>>>(m.device);
    CHECK(cudaGetLastError() == cudaErrorInvalidValue && take_report("cudaFuncSetAttribute"));
    CALL(cudaFuncSetAttribute(use_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000));
    use_shared<<<1, 64, 60000>>>(m.device);
    CHECK(cudaGetLastError() == cudaSuccess);
    CHECK(cudaFuncSetAttribute(use_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 200000) ==
          cudaErrorInvalidValue);
    cudaGetLastError();
    use_shared<<<1, 128, 512>>>(m.device);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration &&
          take_report("__launch_bounds__ says 64"));
    CALL(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, use_shared, 64, 60000));
    CHECK(blocks == 2); /* by shared memory */
    CALL(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, use_shared, 64, 256));
    CHECK(blocks == 32);
    CHECK(!strcmp(cudaGetErrorName(cudaErrorInvalidValue), "cudaErrorInvalidValue"));
    CHECK(!strcmp(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory"));
}

/* A device's kernels, streams and limits are its own. */
void devices() {
    Buffers m;
    cudaDeviceProp p, q;
    CALL(cudaGetDeviceProperties(&p, 0));
    CALL(cudaGetDeviceProperties(&q, 1));
    CHECK(memcmp(&p.uuid, &q.uuid, sizeof p.uuid) != 0 && p.pciBusID != q.pciBusID);
    CALL(cudaSetDevice(1));
    on(m.a, m.device, 1);
    CHECK(cudaGetLastError() == cudaErrorInvalidResourceHandle &&
          take_report("a stream of device 0 while device 1"));
    use_shared<<<1, 64, 60000>>>(m.device); /* the limit was raised on device 0 */
    CHECK(cudaGetLastError() == cudaErrorInvalidValue && take_report("cudaFuncSetAttribute"));
    fill<<<1, 1>>>(m.device, 1, 1);
    CALL(cudaGetLastError());
    CHECK(take_report("which is on device 0; the kernel runs on device 1"));
    CALL(cudaSetDevice(0));
    on(m.a, m.device, 3);
    CALL(cudaSetDevice(1)); /* whoever waits, the kernel runs where its stream is */
    CALL(cudaStreamSynchronize(m.a));
    CALL(cudaSetDevice(0));
    CHECK(sg_report_count() == 0);
}

void wrong_copies() {
    Buffers m;
    int host[N] = {};
    CHECK(cudaMemcpy(m.device, host, BYTES, cudaMemcpyDeviceToHost) ==
          cudaErrorInvalidMemcpyDirection);
    CHECK(take_report("the kind does not fit the pointers"));
    CHECK(cudaMemcpy(m.device + 1, host, BYTES, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    CHECK(take_report("out of bounds"));
    CHECK(cudaMemsetAsync(m.device, 0, BYTES + 4, m.a) == cudaErrorInvalidValue &&
          take_report("out of bounds"));
    CALL(cudaMemset(m.device, 1, BYTES));
    CALL(cudaMemcpy2D(host, 16, m.device, 8, 8, 4, cudaMemcpyDeviceToHost));
    CHECK(host[0] == 0x01010101 && host[2] == 0 && host[4] == 0x01010101);
    on((cudaStream_t)host, m.device, 1);
    CHECK(cudaGetLastError() == cudaErrorInvalidResourceHandle &&
          take_report("a stream that does not exist"));
    CHECK(cudaFreeHost(host) == cudaErrorInvalidValue && take_report("cudaFreeHost"));
    cudaGetLastError();
}

} // namespace

int main() {
    sg_option("print", 0);
    sg_option("devices", 2);
    streams_run_late();
    waits_between_streams();
    graphs();
    attributes();
    devices();
    wrong_copies();
    products();
    CHECK(sg_live_allocations() == 0);
    printf("runtime: %d checks, %d failed\n", checks, failures);
    return failures ? 1 : 0;
}
