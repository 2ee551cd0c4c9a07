/* device.c - opens the CPU as a device: threads, scratch, and the best kernel table it can run. */
#include "cpu/cpu.h"
#include "cpu/onednn.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

static mn_status cpu_alloc(mn_device *device, void **out, size_t bytes) {
    (void)device;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MN_CHECK(memory != MAP_FAILED, MN_ERR_MEMORY, "no memory for %.1f MB", (double)bytes / 1e6);
    if (bytes >= HUGE_PAGE) madvise(memory, bytes, MADV_HUGEPAGE);
    *out = memory;
    return MN_OK;
}

static void cpu_release(mn_device *device, void *memory, size_t bytes) {
    (void)device;
    munmap(memory, bytes);
}

static mn_status cpu_copy(mn_device *device, void *to, const void *from, size_t bytes) {
    (void)device;
    memcpy(to, from, bytes);
    return MN_OK;
}

static mn_status cpu_reserve(mn_device *device, int64_t rows, int64_t width) {
    mn_stream *s = device->stream;
    const size_t bytes = (size_t)(mn_round16(rows) * width) * sizeof(float);
    if (bytes <= s->input_bytes) return MN_OK;
    free(s->input);
    s->input_bytes = 0;
    s->input = aligned_alloc(64, (bytes + 63) / 64 * 64);
    MN_CHECK(s->input, MN_ERR_MEMORY, "no memory for %zu bytes of rounded inputs", bytes);
    s->input_bytes = bytes;
    return MN_OK;
}

static size_t cpu_kv_bytes(int64_t rows, int64_t kv_heads, int64_t head_dim) {
    return (size_t)(mn_round16(rows) * kv_heads * mn_round16(head_dim)) * sizeof(float);
}

static void cpu_close(mn_device *device) {
    if (device->stream) {
        mn_onednn_close(&device->stream->onednn);
        free(device->stream->scratch);
        free(device->stream->input);
        free(device->stream);
    }
    free(device);
}

typedef struct isa {
    const char *name;
    const mn_kernels *kernels;
} isa;

/* MNEME_CPU_ISA=base|avx2|avx512 lowers the choice, for tests and tools that lack instructions. */
static isa choose_isa(void) {
    const isa base = {"base", &mn_cpu_base_kernels};
#if defined(__x86_64__)
    const isa avx2 = {"avx2", &mn_cpu_avx2_kernels}, avx512 = {"avx512", &mn_cpu_avx512_kernels};
    const char *wish = getenv("MNEME_CPU_ISA");
    __builtin_cpu_init();
    const bool has2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool has512 = has2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    if (wish && strcmp(wish, "base") == 0) return base;
    if (has512 && !(wish && strcmp(wish, "avx2") == 0)) return avx512;
    if (has2) return avx2;
#endif
    return base;
}

static int usable_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    return omp_get_num_procs();
}

mn_status mn_cpu_open(mn_device **out, int threads) {
    mn_status st = MN_OK;
    *out = NULL;
    const isa chosen = choose_isa();
    mn_device *d = calloc(1, sizeof *d);
    MN_CHECK(d, MN_ERR_MEMORY, "no memory for the CPU device");
    *d = (mn_device){.k = chosen.kernels,
                     .name = "cpu",
                     .host_memory = true,
                     .alloc = cpu_alloc,
                     .release = cpu_release,
                     .upload = cpu_copy,
                     .download = cpu_copy,
                     .reserve = cpu_reserve,
                     .kv_bytes = cpu_kv_bytes,
                     .close = cpu_close};
    d->threads = threads > 0 ? threads : usable_cores();
    d->stream = calloc(1, sizeof *d->stream);
    MN_CHECK_GOTO(d->stream, MN_ERR_MEMORY, "no memory for the CPU device");
    d->stream->threads = d->threads;
    d->stream->scratch = aligned_alloc(64, (size_t)d->threads * MN_CPU_SCRATCH);
    MN_CHECK_GOTO(d->stream->scratch, MN_ERR_MEMORY, "no memory for the CPU device's scratch");
    MN_GOTO(mn_onednn_open(&d->stream->onednn, d->threads));
    snprintf(d->description, sizeof d->description, "cpu: %d thread%s, %s, oneDNN %s", d->threads,
             d->threads == 1 ? "" : "s", chosen.name, mn_onednn_version());
    *out = d;
    d = NULL;
done:
    if (d) cpu_close(d);
    return st;
}
