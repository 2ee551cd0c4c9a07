/* device.c - opens the CPU as a device: threads, scratch, and the best kernel table it can run. */
#include "cpu/cpu.h"
#include "cpu/onednn.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

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
    if (memory) munmap(memory, bytes);
}

static mn_status cpu_copy(mn_device *device, void *to, const void *from, size_t bytes) {
    (void)device;
    memcpy(to, from, bytes);
    return MN_OK;
}

static mn_status cpu_reserve(mn_device *device, int64_t rows, int64_t width) {
    mn_stream *s = device->stream;
    const size_t bytes = mn_cpu_input_bytes(rows, width);
    if (bytes <= s->input_bytes) return MN_OK;
    cpu_release(device, s->input, s->input_bytes);
    s->input = NULL;
    s->input_bytes = 0;
    MN_TRY(cpu_alloc(device, &s->input, bytes));
    s->input_bytes = bytes;
    return MN_OK;
}

static size_t scratch_bytes(const mn_device *d) { return (size_t)d->threads * MN_CPU_SCRATCH; }

static void cpu_close(mn_device *device) {
    if (device->stream) {
        mn_onednn_close(&device->stream->onednn);
        cpu_release(device, device->stream->scratch, scratch_bytes(device));
        cpu_release(device, device->stream->input, device->stream->input_bytes);
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

#if defined(__x86_64__)
/* Tiles need the processor, the kernel and a request: Linux switches their state on per process. */
bool mn_cpu_has_amx(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const bool bf16 = d >> 22 & 1, tiles = d >> 24 & 1;
    return bf16 && tiles && syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

static bool has_pairs(void) { return __builtin_cpu_supports("avx512bf16"); }
#else
bool mn_cpu_has_amx(void) { return false; }
static bool has_pairs(void) { return false; }
#endif

/* How bf16 products are computed: by oneDNN in tiles, by this backend in pairs, or rounded to bf16 and
 * multiplied as fp32. MNEME_CPU_BF16=tiles|pairs|rounded chooses another way, for tests; oneDNN also
 * works without tiles. */
static mn_status choose_bf16(mn_device *d, const isa *chosen) {
    const bool wide = strcmp(chosen->name, "avx512") == 0;
    const char *wish = getenv("MNEME_CPU_BF16");
    const char *way = wide && mn_cpu_has_amx() ? "tiles"
                      : wide && has_pairs()    ? "pairs"
                                               : "rounded";
    if (wish && (strcmp(wish, "rounded") == 0 || (wide && strcmp(wish, "tiles") == 0) ||
                 (wide && has_pairs() && strcmp(wish, "pairs") == 0)))
        way = wish;
    d->stream->bf16_pairs = strcmp(way, "pairs") == 0;
    if (strcmp(way, "tiles") == 0) MN_TRY(mn_onednn_open(&d->stream->onednn, d->threads));
    snprintf(d->description, sizeof d->description, "cpu: %d thread%s, %s, bf16 %s%s%s", d->threads,
             d->threads == 1 ? "" : "s", chosen->name, way, d->stream->onednn ? " by oneDNN " : "",
             d->stream->onednn ? mn_onednn_version() : "");
    return MN_OK;
}

/* OpenMP asked when the program began: where it binds threads (OMP_PROC_BIND), this one may use a single
 * core by now. */
static int usable_cores(void) { return omp_get_num_procs(); }

mn_status mn_cpu_open(mn_device **out, int threads) {
    mn_status st = MN_OK;
    *out = NULL;
    const isa chosen = choose_isa();
    mn_device *d = calloc(1, sizeof *d);
    MN_CHECK(d, MN_ERR_MEMORY, "no memory for the CPU device");
    *d = (mn_device){.k = chosen.kernels,
                     .name = "cpu",
                     .host_memory = true,
                     .range = mn_host_range,
                     .alloc = cpu_alloc,
                     .release = cpu_release,
                     .upload = cpu_copy,
                     .download = cpu_copy,
                     .reserve = cpu_reserve,
                     .panel_bytes = mn_cpu_panel_bytes,
                     .to_panels = mn_cpu_to_panels,
                     .kv_bytes = mn_cpu_kv_bytes,
                     .close = cpu_close};
    d->threads = threads > 0 ? threads : usable_cores();
    d->stream = calloc(1, sizeof *d->stream);
    MN_CHECK_GOTO(d->stream, MN_ERR_MEMORY, "no memory for the CPU device");
    d->stream->threads = d->threads;
    void *scratch = NULL;
    MN_GOTO(cpu_alloc(d, &scratch, scratch_bytes(d)));
    d->stream->scratch = scratch;
    MN_GOTO(choose_bf16(d, &chosen));
    *out = d;
    d = NULL;
done:
    if (d) cpu_close(d);
    return st;
}
