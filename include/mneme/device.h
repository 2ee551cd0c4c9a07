/* device.h - a device: its kernels, its memory, its order of execution.
 *
 * The registry opens a device by name: "cpu", "cuda" (the first GPU), "cuda:N", or "auto" (the first GPU,
 * else the CPU). The caller closes it after everything that lives on it. Arenas hold the memory of one lifetime each (weights, training state, prefix, step). */
#ifndef MNEME_DEVICE_H
#define MNEME_DEVICE_H

#include "mneme/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Work that comes again: what decides its kernels and their arguments, but for what they read of the device's memory. */
typedef struct mn_repeat {
    const void *owner; /* whose memory they use; mn_device.forget before it goes */
    int64_t part;      /* which work of the owner */
    int64_t rows;      /* of its tensors */
    int64_t keys;      /* that a row of attention sees at most */
} mn_repeat;

typedef struct mn_device mn_device;

/* ---- Collectives between devices (their one caller is host/comm/tensor.c) ---- */

enum { MN_DEVICE_IDENTITY = 128, MN_DEVICE_ID = 128 };

/* The ranks that do a collective together, one device each, and what ends a rank's wait for the others. */
typedef struct mn_device_ranks {
    int rank, size;
    double limit; /* seconds that a wait may last */
    /* Fails when another rank is known to have ended or given up; asked many times a second while waiting. */
    mn_status (*look)(void *context);
    /* This rank cannot go on, and why: tells the others. Returns the error. */
    mn_status (*give_up)(void *context, const char *why);
    void *context;
} mn_device_ranks;

typedef struct mn_device_group mn_device_group; /* of a backend */

/* A wait for the device, in `join` or in any later function of the device, ends when the group breaks: an error of
 * another rank or of the connection, or the limit. From then on the device refuses to do anything for the group. */
typedef struct mn_device_collectives {
    /* Names the piece of hardware: equal for two devices of a host that are one. Fails where the backend lacks
     * what collectives need. */
    mn_status (*identity)(mn_device *device, char text[MN_DEVICE_IDENTITY]);
    mn_status (*make_id)(unsigned char id[MN_DEVICE_ID]); /* at rank 0, by which all join */
    mn_status (*join)(mn_device_group **out, mn_device *device,
                      const unsigned char id[MN_DEVICE_ID], const mn_device_ranks *ranks);
    /* Whether it is the group of this device, and the device still open. */
    bool (*serves)(const mn_device_group *group, const mn_device *device);
    /* Both take their turn among the kernels. x = sum or maximum (a NaN wins) over the ranks, in place. */
    mn_status (*reduce)(mn_device_group *group, float *x, int64_t count, bool maximum);
    /* out (size x bytes) = the `bytes` of every rank; `x` may be its place in it. */
    mn_status (*gather)(mn_device_group *group, void *out, const void *x, size_t bytes);
    void (*leave)(mn_device_group **group); /* safe twice, and after the device was closed */
} mn_device_collectives;

/* ---- Devices ---- */

struct mn_device {
    const mn_kernels *k;
    mn_stream *stream;
    const char *name;      /* "cpu", "cuda:0" */
    char description[128]; /* "cpu: 2 threads, avx512, bf16 pairs" */
    bool host_memory;      /* its memory is the host's: mapped files serve as weights */
    /* Products with fp16 and bf16 weights round their other input to that type, attention rounds to fp16. */
    bool narrow_products;
    int threads;
    mn_status (*alloc)(mn_device *device, void **out, size_t bytes); /* zeroed, 64-aligned */
    void (*release)(mn_device *device, void *memory, size_t bytes);
    /* Both take their turn among the kernels. An upload may return before it is done, but `from` may change then; a
     * download waits. */
    mn_status (*upload)(mn_device *device, void *to, const void *from, size_t bytes);
    mn_status (*download)(mn_device *device, void *to, const void *from, size_t bytes);
    /* Workspace for matrix products with up to `rows` rows of up to `width` inputs; before step 0. */
    mn_status (*reserve)(mn_device *device, int64_t rows, int64_t width);
    /* Weights (n, k) of half precision in the layout that products like best: its bytes, and the copy.
     * NULL where products read rows. */
    size_t (*panel_bytes)(int64_t n, int64_t k);
    mn_status (*to_panels)(mn_device *device, void *panels, const mn_tensor *rows);
    size_t (*kv_bytes)(int64_t rows, int64_t kv_heads,
                       int64_t head_dim); /* of K or of V, one layer */
    /* Who computes attention where both can: cuDNN, or the backend itself (as it does after opening). NULL where
     * there is no choice. MN_ERR_UNSUPPORTED when cuDNN is not installed. */
    mn_status (*attention)(mn_device *device, bool cudnn);
    /* Whether the last attention was cuDNN's, which does not take all. NULL with `attention`. */
    bool (*was_cudnn)(const mn_device *device);
    /* Puts work(context) among the kernels: it calls kernels alone, and waits for nothing. When the same key comes
     * again, the device may record the kernels, and later submit the record without calling `work`. NULL: it never
     * does (mn_device_repeat). `forget` drops what was recorded for an owner. */
    mn_status (*repeat)(mn_device *device, const mn_repeat *key, mn_status (*work)(void *context),
                        void *context);
    void (*forget)(mn_device *device, const void *owner);
    /* Begins a named range of the host's work for profilers, NULL ends the innermost; or is NULL. */
    void (*range)(const char *name);
    const mn_device_collectives *collectives; /* NULL where the memory is the host's */
    void (*close)(mn_device *device);
};

/* Begins a named range of the calling thread for profilers that listen to NVTX (nsys does), NULL ends the innermost.
 * Does nothing where mneme was built without NVTX's headers. */
void mn_host_range(const char *name);

static inline void mn_range_begin(const mn_device *device, const char *name) {
    if (device->range) device->range(name);
}
static inline void mn_range_end(const mn_device *device) {
    if (device->range) device->range(NULL);
}
static inline mn_status mn_range_done(const mn_device *device, mn_status st) {
    mn_range_end(device);
    return st;
}
/* The status of `call`, made inside the named range. */
#define MN_RANGE(device, name, call) (mn_range_begin(device, name), mn_range_done(device, call))

static inline mn_status mn_device_repeat(mn_device *device, const mn_repeat *key,
                                         mn_status (*work)(void *context), void *context) {
    return device->repeat ? device->repeat(device, key, work, context) : work(context);
}
static inline void mn_device_forget(mn_device *device, const void *owner) {
    if (device->forget) device->forget(device, owner);
}

/* threads 0: all cores that this process may use. */
mn_status mn_device_open(mn_device **out, const char *spec, int threads);
void mn_device_close(mn_device **device);
mn_status
mn_device_check(const char *spec); /* fails when no device can have this name; opens nothing */

mn_status mn_cpu_open(mn_device **out, int threads); /* host/cpu: always there */

/* ---- CUDA ---- */

/* What stands between this process and a GPU. */
typedef struct mn_cuda_state {
    int devices;         /* that can be used */
    char why[1024];      /* why there are none; "" when there are */
    char driver[16];     /* the CUDA version that the driver knows, "13.0"; "" without one */
    char plugin[512];    /* the backend's file; "" when it was not looked for or not found */
    char libraries[128]; /* "built with CUDA 13.0, runs with 13.0" */
} mn_cuda_state;
/* Whether there is a device that can be used. Takes a millisecond where there is no driver. */
bool mn_cuda_probe(mn_cuda_state *out);
mn_status mn_cuda_device_text(char *text, size_t size, int index); /* "NVIDIA H100, sm_90, ..." */
mn_status mn_cuda_open(mn_device **out, int index);

/* Lay out, commit, lay out again: before the commit every allocation returns an offset as NULL and
 * is only counted; after it they come from one block, in the same order. */
typedef struct mn_arena {
    const char *name;
    mn_device *device;
    unsigned char *base; /* NULL while measuring */
    size_t size, used;
} mn_arena;

void mn_arena_init(mn_arena *arena, const char *name, mn_device *device);
mn_status mn_arena_alloc(mn_arena *arena, void *out_ptr, size_t bytes); /* 64-byte aligned */
mn_status mn_arena_commit(mn_arena *arena); /* allocates what was measured; starts over at 0 */
void mn_arena_free(mn_arena *arena);        /* safe twice */

#endif
