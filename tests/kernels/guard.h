/* guard.h - memory for kernel tests that notices every step over its edges.
 *
 * A block ends where a page without access begins: reading or writing one byte too many is a crash.
 * In front of it stands a canary; new memory is 0xFF all over: a NaN in every float type, -1 in
 * every integer. Inputs are sealed (read-only) once they are filled. Because a block ends at the end of a
 * page, its beginning has the alignment of its size only: odd counts give odd addresses. */
#ifndef MNEME_TESTS_KERNELS_GUARD_H
#define MNEME_TESTS_KERNELS_GUARD_H

#include "mneme/half.h"
#include "mneme/tensor.h"

#include "check.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARD_BLOCKS = 48 };

typedef struct guard_block {
    unsigned char *map, *data; /* the mapping with its two closed pages; the block in it */
    size_t map_bytes;
} guard_block;

/* All blocks of one test case; a zeroed struct is an empty one. */
typedef struct guards {
    guard_block block[GUARD_BLOCKS];
    int count;
} guards;

static inline void *guard_bytes(guards *g, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inner = (bytes + page - 1) / page * page;
    assert_true(g->count < GUARD_BLOCKS);
    guard_block *b = &g->block[g->count++];
    b->map_bytes = inner + 2 * page;
    b->map = mmap(NULL, b->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(b->map != MAP_FAILED);
    b->data = b->map + page + inner - bytes;
    if (inner) {
        assert_int_equal(mprotect(b->map + page, inner, PROT_READ | PROT_WRITE), 0);
        memset(b->map + page, 0xFF, inner);
    }
    return b->data;
}

static inline float *guard_f32(guards *g, int64_t n) {
    return guard_bytes(g, (size_t)n * sizeof(float));
}

static inline int32_t *guard_i32(guards *g, int64_t n) {
    return guard_bytes(g, (size_t)n * sizeof(int32_t));
}

static inline const guard_block *guard_find(const guards *g, const void *data) {
    for (int i = 0; i < g->count; i++)
        if (g->block[i].data == data) return &g->block[i];
    fail_msg("not a guarded block");
    return NULL;
}

/* From now on writing to the block is a crash. */
static inline void guard_seal(const guards *g, const void *data) {
    const guard_block *b = guard_find(g, data);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (b->map_bytes > 2 * page)
        assert_int_equal(mprotect(b->map + page, b->map_bytes - 2 * page, PROT_READ), 0);
}

/* The canaries in front of all blocks are as they were. */
static inline void guard_check(const guards *g) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < g->count; i++)
        for (const unsigned char *at = g->block[i].map + page; at < g->block[i].data; at++)
            if (*at != 0xFF)
                fail_msg("block %d: byte %td in front of it was written", i, g->block[i].data - at);
}

static inline void guard_free(guards *g) {
    guard_check(g);
    for (int i = 0; i < g->count; i++) munmap(g->block[i].map, g->block[i].map_bytes);
    g->count = 0;
}

/* ---- Numbers ------------------------------------------------------------------------------------ */

/* splitmix64 of Steele et al. (2014): the library's own generator must not test the library. */
static inline uint64_t random_bits(uint64_t *state) {
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline double random_unit(uint64_t *state) { /* [0, 1) */
    return (double)(random_bits(state) >> 11) * 0x1p-53;
}

/* A new sealed block of n numbers in [-size, size). */
static inline float *guard_random(guards *g, int64_t n, double size, uint64_t *state) {
    float *x = guard_f32(g, n);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(size * (2 * random_unit(state) - 1));
    guard_seal(g, x);
    return x;
}

static inline float float_of(const void *data, mn_dtype dtype, int64_t i) {
    float f;
    uint16_t h;
    if (dtype == MN_F32) {
        memcpy(&f, (const char *)data + i * 4, sizeof f);
        return f;
    }
    memcpy(&h, (const char *)data + i * 2, sizeof h);
    return dtype == MN_F16 ? mn_f16_to_f32(h) : mn_bf16_to_f32(h);
}

/* A new sealed block of n weights in [-size, size) of a float type. */
static inline void *guard_weights(guards *g, mn_dtype dtype, int64_t n, double size,
                                  uint64_t *state) {
    char *w = guard_bytes(g, (size_t)n * mn_dtype_size(dtype));
    for (int64_t i = 0; i < n; i++) {
        const float f = (float)(size * (2 * random_unit(state) - 1));
        const uint16_t h = dtype == MN_F16 ? mn_f32_to_f16(f) : mn_f32_to_bf16(f);
        if (dtype == MN_F32) memcpy(w + i * 4, &f, sizeof f);
        else memcpy(w + i * 2, &h, sizeof h);
    }
    guard_seal(g, w);
    return w;
}

static inline double bf16_rounded(double x) {
    return (double)mn_bf16_to_f32(mn_f32_to_bf16((float)x));
}

static inline double rounded_to(mn_dtype dtype, double x) {
    if (dtype == MN_F16) return (double)mn_f16_to_f32(mn_f32_to_f16((float)x));
    return dtype == MN_BF16 ? bf16_rounded(x) : x;
}

/* The same numbers as doubles, for the oracle; free() them. */
static inline double *doubles_of(const void *data, mn_dtype dtype, int64_t n) {
    double *x = test_malloc((size_t)(n ? n : 1) * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (double)float_of(data, dtype, i);
    return x;
}

static inline double *doubles(int64_t n) {
    return test_calloc((size_t)(n ? n : 1), sizeof(double));
}

#endif
