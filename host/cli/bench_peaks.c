/* bench_peaks.c - the machine's own limits: chains of multiply-adds that never leave the registers,
 * and a pass over memory that is only summed up.
 *
 * The loops use the widest instructions that the processor has, whatever the device has chosen.
 * Twelve independent chains hide the latency of two units; all loops depend on values that the
 * compiler cannot know, and their results reach the caller. */
#include "cli/bench_peaks.h"

#include "cpu/cpu.h"
#include "mneme/log.h"

#include <omp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
enum { CHAINS = 12, READ_BLOCK = 512 };

/* A loop of `rounds`; `data` has 1 KB of small numbers. */
typedef double (*flop_loop)(int64_t rounds, const float *data);
/* Sums up `bytes`, a multiple of READ_BLOCK, from a 64-byte aligned address. */
typedef uint64_t (*read_loop)(const unsigned char *from, size_t bytes);

typedef struct method {
    const char *name;
    flop_loop run;
    double flops; /* per round */
} method;

/* ---- any processor: four floats at once, a multiplication and an addition ---- */

typedef float four __attribute__((vector_size(16)));
typedef uint64_t eight_words __attribute__((vector_size(64), may_alias));

static double flops_base(int64_t rounds, const float *data) {
    four x, y;
    memcpy(&x, data, sizeof x);
    memcpy(&y, data + 4, sizeof y);
#define CHAIN(i) four a##i = x + (float)i;
    EACH(CHAIN)
#undef CHAIN
    for (int64_t r = 0; r < rounds; r++) {
#define CHAIN(i) a##i = a##i * x + y;
        EACH(CHAIN)
#undef CHAIN
    }
    four sum = {0};
#define CHAIN(i) sum += a##i;
    EACH(CHAIN)
#undef CHAIN
    return (double)(sum[0] + sum[1] + sum[2] + sum[3]);
}

#define READ_BODY                                                                                  \
    eight_words sum[4] = {{0}};                                                                    \
    for (size_t i = 0; i < bytes; i += READ_BLOCK) {                                               \
        const eight_words *w = (const eight_words *)(const void *)(from + i);                      \
        sum[0] += w[0] + w[4];                                                                     \
        sum[1] += w[1] + w[5];                                                                     \
        sum[2] += w[2] + w[6];                                                                     \
        sum[3] += w[3] + w[7];                                                                     \
    }                                                                                              \
    const eight_words all = sum[0] + sum[1] + sum[2] + sum[3];                                     \
    return all[0] + all[1] + all[2] + all[3] + all[4] + all[5] + all[6] + all[7];

static uint64_t read_base(const unsigned char *from, size_t bytes){READ_BODY}

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f")))
#define AVX512_BF16 __attribute__((target("avx512f,avx512bf16")))
#define AMX __attribute__((target("amx-tile,amx-bf16")))

AVX2 static double flops_avx2(int64_t rounds, const float *data) {
    const __m256 x = _mm256_loadu_ps(data), y = _mm256_loadu_ps(data + 8);
#define CHAIN(i) __m256 a##i = _mm256_add_ps(x, _mm256_set1_ps((float)i));
    EACH(CHAIN)
#undef CHAIN
    for (int64_t r = 0; r < rounds; r++) {
#define CHAIN(i) a##i = _mm256_fmadd_ps(a##i, x, y);
        EACH(CHAIN)
#undef CHAIN
    }
    __m256 sum = _mm256_setzero_ps();
#define CHAIN(i) sum = _mm256_add_ps(sum, a##i);
    EACH(CHAIN)
#undef CHAIN
    float lanes[8];
    _mm256_storeu_ps(lanes, sum);
    return (double)(lanes[0] + lanes[1] + lanes[2] + lanes[3]);
}

AVX512 static double flops_avx512(int64_t rounds, const float *data) {
    const __m512 x = _mm512_loadu_ps(data), y = _mm512_loadu_ps(data + 16);
#define CHAIN(i) __m512 a##i = _mm512_add_ps(x, _mm512_set1_ps((float)i));
    EACH(CHAIN)
#undef CHAIN
    for (int64_t r = 0; r < rounds; r++) {
#define CHAIN(i) a##i = _mm512_fmadd_ps(a##i, x, y);
        EACH(CHAIN)
#undef CHAIN
    }
    __m512 sum = _mm512_setzero_ps();
#define CHAIN(i) sum = _mm512_add_ps(sum, a##i);
    EACH(CHAIN)
#undef CHAIN
    return (double)_mm512_reduce_add_ps(sum);
}

AVX512_BF16 static double flops_avx512_bf16(int64_t rounds, const float *data) {
    const __m512bh x = (__m512bh)_mm512_loadu_si512(data),
                   y = (__m512bh)_mm512_loadu_si512(data + 16);
#define CHAIN(i) __m512 a##i = _mm512_set1_ps((float)i);
    EACH(CHAIN)
#undef CHAIN
    for (int64_t r = 0; r < rounds; r++) {
#define CHAIN(i) a##i = _mm512_dpbf16_ps(a##i, x, y);
        EACH(CHAIN)
#undef CHAIN
    }
    __m512 sum = _mm512_setzero_ps();
#define CHAIN(i) sum = _mm512_add_ps(sum, a##i);
    EACH(CHAIN)
#undef CHAIN
    return (double)_mm512_reduce_add_ps(sum);
}

/* Four products of 16 x 32 by 32 x 16 into tiles of their own. */
AMX static double flops_amx(int64_t rounds, const float *data) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t column_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    float tile[16 * 16];
    for (int i = 0; i < 8; i++) {
        shape.column_bytes[i] = 64;
        shape.rows[i] = 16;
    }
    _tile_loadconfig(&shape);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, data, 64);
    _tile_loadd(5, data, 64);
    _tile_loadd(6, data, 64);
    _tile_loadd(7, data, 64);
    for (int64_t r = 0; r < rounds; r++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, tile, 64);
    double sum = (double)tile[0];
    _tile_stored(1, tile, 64);
    sum += (double)tile[1];
    _tile_stored(2, tile, 64);
    sum += (double)tile[2];
    _tile_stored(3, tile, 64);
    _tile_release();
    return sum + (double)tile[3];
}

AVX2 static uint64_t read_avx2(const unsigned char *from, size_t bytes){READ_BODY} AVX512
    static uint64_t read_avx512(const unsigned char *from, size_t bytes) {
    READ_BODY
}

static method f32_method(void) {
    if (__builtin_cpu_supports("avx512f"))
        return (method){"AVX-512 FMA in registers", flops_avx512, CHAINS * 32};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (method){"AVX2 FMA in registers", flops_avx2, CHAINS * 16};
    return (method){"SSE in registers", flops_base, CHAINS * 8};
}

static method bf16_method(void) {
    if (mn_cpu_has_amx()) return (method){"AMX bf16 in tiles", flops_amx, 4 * 2 * 16 * 16 * 32};
    if (__builtin_cpu_supports("avx512bf16"))
        return (method){"AVX-512 bf16 dot products in registers", flops_avx512_bf16, CHAINS * 64};
    method m = f32_method();
    m.name = "no bf16 instructions: that of fp32";
    return m;
}

static read_loop choose_read(void) {
    if (__builtin_cpu_supports("avx512f")) return read_avx512;
    return __builtin_cpu_supports("avx2") ? read_avx2 : read_base;
}
#else
static method f32_method(void) {
    return (method){"4 floats at once", flops_base, CHAINS * 8};
}
static method bf16_method(void) {
    method m = f32_method();
    m.name = "that of fp32";
    return m;
}
static read_loop choose_read(void) { return read_base; }
#endif

struct mn_peaks {
    int threads, chunks;
    double seconds;
    unsigned char *memory;
    size_t bytes;
    method flops[2]; /* MN_PEAK_F32, MN_PEAK_BF16 */
    int64_t rounds[2];
    read_loop read;
    float numbers[256]; /* 0.5: chains of fp32 converge, sums of bf16 products stay finite */
    volatile double sink;
};

static double flops_once(mn_peaks *p, mn_peak which) {
    const method *m = &p->flops[which];
    const int64_t rounds = p->rounds[which];
    double sum = 0;
    const double begin = mn_now();
#pragma omp parallel for num_threads(p->threads) schedule(static, 1) reduction(+ : sum)
    for (int i = 0; i < p->threads; i++) sum += m->run(rounds, p->numbers);
    const double seconds = mn_now() - begin;
    p->sink = sum;
    return (double)p->threads * (double)rounds * m->flops / seconds;
}

static double read_once(mn_peaks *p) {
    const size_t part = p->bytes / (size_t)p->threads / READ_BLOCK * READ_BLOCK;
    uint64_t sum = 0;
    const double begin = mn_now();
#pragma omp parallel for num_threads(p->threads) schedule(static, 1) reduction(+ : sum)
    for (int i = 0; i < p->threads; i++) sum += p->read(p->memory + part * (size_t)i, part);
    const double seconds = mn_now() - begin;
    p->sink = (double)sum;
    return (double)p->threads * (double)part / seconds;
}

double mn_peaks_read(mn_peaks *p, mn_peak which) {
    double best = 0;
    for (int i = 0; i < p->chunks; i++) {
        const double rate = which == MN_PEAK_READ ? read_once(p) : flops_once(p, which);
        if (rate > best) best = rate;
    }
    return best;
}

static double thread_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Rounds that take `seconds` of one thread's own time, which others here do not disturb. */
static void calibrate(mn_peaks *p, mn_peak which) {
    int64_t rounds = 256;
    double taken = 0;
    while (taken < 0.25 * p->seconds && rounds < INT64_C(1) << 40) {
        rounds *= 2;
        const double begin = thread_seconds();
        p->sink = p->flops[which].run(rounds, p->numbers);
        taken = thread_seconds() - begin;
    }
    p->rounds[which] = (int64_t)((double)rounds * p->seconds / taken);
}

mn_status mn_peaks_open(mn_peaks **out, int threads, size_t bytes, double seconds, int chunks) {
    *out = NULL;
    mn_peaks *p = calloc(1, sizeof *p);
    MN_CHECK(p, MN_ERR_MEMORY, "no memory for the peak measurements");
    *p = (mn_peaks){.threads = threads, .chunks = chunks, .seconds = seconds, .bytes = bytes};
    for (int i = 0; i < 256; i++) p->numbers[i] = 0.5f;
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    p->flops[MN_PEAK_F32] = f32_method();
    p->flops[MN_PEAK_BF16] = bf16_method();
    p->read = choose_read();
    p->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->memory == MAP_FAILED) {
        free(p);
        return mn_fail(MN_ERR_MEMORY, "no memory for a read test over %.1f GB",
                       (double)bytes / 1e9);
    }
    madvise(p->memory, bytes, MADV_HUGEPAGE);
    /* Each thread touches what it will read: on several memory nodes the pages lie beside it. */
    const size_t part = bytes / (size_t)threads;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int i = 0; i < threads; i++) memset(p->memory + part * (size_t)i, i + 1, part);
    calibrate(p, MN_PEAK_F32);
    calibrate(p, MN_PEAK_BF16);
    *out = p;
    return MN_OK;
}

void mn_peaks_close(mn_peaks **peaks) {
    mn_peaks *p = *peaks;
    if (!p) return;
    munmap(p->memory, p->bytes);
    free(p);
    *peaks = NULL;
}

size_t mn_peaks_bytes(const mn_peaks *p) { return p->bytes; }

const char *mn_peak_method(mn_peak which) {
    if (which == MN_PEAK_READ) return "one pass over memory, read in order";
    return which == MN_PEAK_F32 ? f32_method().name : bf16_method().name;
}
