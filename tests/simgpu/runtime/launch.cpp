/* launch.cpp - launches of kernels, their attributes, and the summary at the end of the program. */
#include "runtime.h"
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <unistd.h>
#include <vector>

namespace sg {
namespace {

struct Configuration {
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
};
thread_local std::vector<Configuration> configurations;

struct Totals {
    unsigned long launches = 0;
    sg_stats stats{};
};
constexpr sg_work NO_WORK = {0, 0, 14695981039346656037u};
struct Summary {
    std::map<std::string, Totals> kernels;
    sg_stats all{};
    sg_work work = NO_WORK;
    double seconds = 0;
};
Summary &summary() { /* lives until after atexit */
    static Summary *s = new Summary;
    return *s;
}

void add_up(sg_stats *sum, const sg_stats *one) {
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)one;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++) to[i] += from[i];
}

/* FNV-1a. */
void add_to_sequence(const void *data, size_t bytes) {
    uint64_t &h = summary().work.sequence;
    for (size_t i = 0; i < bytes; i++) h = (h ^ ((const unsigned char *)data)[i]) * 1099511628211u;
}

void note(const Registered &k, dim3 grid, dim3 block, size_t shared, void **args) {
    int count = 0;
    sg_kernel_params(k.module, k.name.c_str(), &count, nullptr);
    std::vector<size_t> sizes((size_t)count);
    sg_kernel_params(k.module, k.name.c_str(), &count, sizes.data());
    add_to_sequence(k.name.data(), k.name.size());
    add_to_sequence(&grid, sizeof grid);
    add_to_sequence(&block, sizeof block);
    add_to_sequence(&shared, sizeof shared);
    for (size_t i = 0; i < sizes.size(); i++) add_to_sequence(args[i], sizes[i]);
    summary().work.kernels++;
}

void run(const Registered &k, dim3 grid, dim3 block, size_t shared, void **args) {
    const auto start = std::chrono::steady_clock::now();
    sg_launch(k.module, k.name.c_str(), {grid.x, grid.y, grid.z}, {block.x, block.y, block.z},
              shared, args);
    summary().seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
                             .count();
    note(k, grid, block, shared, args);
    Totals &t = summary().kernels[k.name];
    t.launches++;
    add_up(&t.stats, sg_last_stats());
    add_up(&summary().all, sg_last_stats());
}

/* The values of the arguments, which the caller may change after the call. */
struct Arguments {
    std::vector<unsigned char> bytes;
    std::vector<size_t> offsets;
};

cudaError_t launch(const void *f, dim3 grid, dim3 block, void **args, size_t shared,
                   cudaStream_t stream) {
    Lock lock;
    const Registered *k = kernel_of(f);
    if (!k) return remember(cudaErrorInvalidDeviceFunction);
    if (stream_device(stream) != current_device()) {
        complain("kernel %s launched into a stream of device %d while device %d is the thread's",
                 k->name.c_str(), stream_device(stream), current_device());
        return remember(cudaErrorInvalidResourceHandle);
    }
    if (shared > k->shared_limit()) {
        complain("kernel %s launched with %zu bytes of dynamic shared memory, its limit is %zu "
                 "(cudaFuncSetAttribute)",
                 k->name.c_str(), shared, k->shared_limit());
        return remember(cudaErrorInvalidValue);
    }
    const int bad = sg_check_launch(k->module, k->name.c_str(), {grid.x, grid.y, grid.z},
                                    {block.x, block.y, block.z}, shared);
    if (bad == SG_BAD_LAUNCH) return remember(cudaErrorInvalidConfiguration);
    if (bad) return remember(cudaErrorNoKernelImageForDevice);
    int count = 0;
    sg_kernel_params(k->module, k->name.c_str(), &count, nullptr);
    std::vector<size_t> sizes((size_t)count);
    sg_kernel_params(k->module, k->name.c_str(), &count, sizes.data());
    auto copy = std::make_shared<Arguments>();
    for (size_t i = 0; i < sizes.size(); i++) {
        copy->offsets.push_back(copy->bytes.size());
        copy->bytes.insert(copy->bytes.end(), (unsigned char *)args[i],
                           (unsigned char *)args[i] + sizes[i]);
    }
    return submit(stream, [k = *k, grid, block, shared, copy] {
        std::vector<void *> pointers;
        for (const size_t offset : copy->offsets) pointers.push_back(copy->bytes.data() + offset);
        run(k, grid, block, shared, pointers.data());
    });
}

double ratio(uint64_t a, uint64_t b) { return b ? (double)a / (double)b : 0; }

void print_summary() {
    for (int i = 0; i < sg_report_count(); i++) {
        int is_error;
        uint64_t times;
        const char *text = sg_report(i, &is_error, &times);
        fprintf(stderr, "simgpu: %s x%llu: %s\n", is_error ? "ERROR" : "warning",
                (unsigned long long)times, text);
    }
    fprintf(stderr, "simgpu: %.2f s in kernels, %zu allocations of %zu bytes not freed\n",
            summary().seconds, sg_live_allocations(), sg_live_bytes());
    fprintf(stderr,
            "simgpu: kernel launches thread_insts mma loads sectors/load stores sectors/store "
            "shared_wavefronts shared_ideal barriers divergent_branches\n");
    for (const auto &[name, t] : summary().kernels) {
        const sg_stats &s = t.stats;
        fprintf(stderr, "simgpu: %s %lu %llu %llu %llu %.3f %llu %.3f %llu %llu %llu %llu\n",
                name.c_str(), t.launches, (unsigned long long)s.thread_insts,
                (unsigned long long)s.mma, (unsigned long long)s.load_requests,
                ratio(s.load_sectors, s.load_requests), (unsigned long long)s.store_requests,
                ratio(s.store_sectors, s.store_requests), (unsigned long long)s.shared_wavefronts,
                (unsigned long long)s.shared_ideal, (unsigned long long)s.barriers,
                (unsigned long long)s.divergent_branches);
    }
}

} // namespace

size_t Registered::shared_limit() const {
    const auto found = raised.find(current_device());
    return found == raised.end() ? SHARED_DEFAULT : found->second;
}

extern "C" void sg_totals(const char *part, sg_stats *sums) {
    Lock lock;
    *sums = sg_stats{};
    for (const auto &[name, t] : summary().kernels)
        if (name.find(part) != std::string::npos) add_up(sums, &t.stats);
}

namespace {

/* Status 97: something was reported. Standard output was the program's; it is flushed. */
void finish() {
    Lock lock;
    drain_everything();
    if (option_value(Option::SUMMARY)) print_summary();
    fflush(stdout);
    fflush(stderr);
    if (sg_report_count() && option_value(Option::FAIL)) _exit(97);
}

} // namespace

void start_runtime() {
    static bool started;
    if (started) return;
    started = true;
    sg_options_from_environment();
    atexit(finish);
}

} // namespace sg

using namespace sg;

extern "C" {

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared,
                                     struct CUstream_st *stream) {
    configurations.push_back({grid, block, shared, stream});
    return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
    if (configurations.empty()) return remember(cudaErrorMissingConfiguration);
    const Configuration c = configurations.back();
    configurations.pop_back();
    *grid = c.grid;
    *block = c.block;
    *shared = c.shared;
    *(cudaStream_t *)stream = c.stream;
    return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *f) {
    Lock lock;
    *kernel = (cudaKernel_t)f;
    return kernel_of(f) ? cudaSuccess : remember(cudaErrorInvalidDeviceFunction);
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **args,
                               size_t shared, cudaStream_t stream) {
    return launch(kernel, grid, block, args, shared, stream);
}
cudaError_t cudaLaunchKernel(const void *f, dim3 grid, dim3 block, void **args, size_t shared,
                             cudaStream_t stream) {
    return launch(f, grid, block, args, shared, stream);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *f, void **args) {
    return launch(f, c->gridDim, c->blockDim, args, c->dynamicSmemBytes, c->stream);
}

cudaError_t cudaFuncSetAttribute(const void *f, enum cudaFuncAttribute attribute, int value) {
    Lock lock;
    Registered *k = kernel_of(f);
    if (!k) return remember(cudaErrorInvalidDeviceFunction);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    size_t used = 0;
    int threads;
    sg_kernel_limits(k->module, k->name.c_str(), &used, &threads);
    if (value < 0 || (size_t)value + used > SHARED_OPT_IN) return remember(cudaErrorInvalidValue);
    k->raised[current_device()] = (size_t)value;
    return cudaSuccess;
}
cudaError_t cudaFuncSetCacheConfig(const void *, enum cudaFuncCache) { return cudaSuccess; }

/* numRegs stays 0: PTX does not tell how many registers the assembler will use. */
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *a, const void *f) {
    Lock lock;
    const Registered *k = kernel_of(f);
    memset(a, 0, sizeof *a);
    if (!k) return remember(cudaErrorInvalidDeviceFunction);
    int threads = 0;
    if (sg_kernel_limits(k->module, k->name.c_str(), &a->sharedSizeBytes, &threads))
        return remember(cudaErrorNoKernelImageForDevice);
    a->maxThreadsPerBlock = threads ? threads : 1024;
    a->maxDynamicSharedSizeBytes = (int)k->shared_limit();
    a->ptxVersion = a->binaryVersion = 80;
    return cudaSuccess;
}

/* By threads, blocks and shared memory; registers are not known here. */
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *f, int threads,
                                                          size_t shared) {
    struct cudaFuncAttributes a;
    if (const cudaError_t e = cudaFuncGetAttributes(&a, f)) return e;
    const size_t reserved = 1024, bytes = a.sharedSizeBytes + shared + reserved;
    const int warps = (threads + 31) / 32;
    *blocks = threads <= 0 || threads > a.maxThreadsPerBlock
                  ? 0
                  : std::min({64 / warps, 32, (int)(SHARED_PER_SM / bytes)});
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *f,
                                                                   int threads, size_t shared,
                                                                   unsigned) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, f, threads, shared);
}
}

extern "C" void sg_work_done(sg_work *out) {
    sg::Lock lock;
    sg::drain_everything();
    *out = sg::summary().work;
    out->graphs = sg::take_graph_launches();
    sg::summary().work = sg::NO_WORK;
}

extern "C" void sg_total_stats(sg_stats *out) {
    sg::Lock lock;
    *out = sg::summary().all;
}
