/* test_slices.h - ranks as threads that share a golden model, and what their slices must be. */
#ifndef MNEME_TEST_SLICES_H
#define MNEME_TEST_SLICES_H

#include "check.h"

#include "mneme/log.h"
#include "mneme/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 6, TIMEOUT = 300 };

#define WANT(cond, ...) MN_CHECK(cond, MN_ERR_DATA, __VA_ARGS__)

/* What one rank of a test does, and what it finds whole. */
typedef struct job {
    mn_model *whole;
    mn_memory *memory;
    const char *dir, *other; /* to read, to write */
    mn_dtype dtype;
    int64_t hidden;
    bool far; /* on devices with a memory of their own */
} job;

typedef struct rank_bench {
    mn_device *device;
    mn_model *model;
    mn_memory *memory;
} rank_bench;

static inline void close_rank(rank_bench *b) {
    mn_memory_close(&b->memory);
    mn_model_close(&b->model);
    mn_device_close(&b->device);
}

/* A far device's group does nothing: slices are gathered by the host. */
struct mn_device_group {
    mn_device *device;
};

static inline mn_status far_identity(mn_device *device, char text[MN_DEVICE_IDENTITY]) {
    snprintf(text, MN_DEVICE_IDENTITY, "%p", (void *)device);
    return MN_OK;
}
static inline mn_status far_id(unsigned char id[MN_DEVICE_ID]) {
    memset(id, 0, MN_DEVICE_ID);
    return MN_OK;
}
static inline mn_status far_join(mn_device_group **out, mn_device *device,
                                 const unsigned char id[MN_DEVICE_ID],
                                 const mn_device_ranks *ranks) {
    (void)id;
    (void)ranks;
    *out = malloc(sizeof **out);
    MN_CHECK(*out, MN_ERR_MEMORY, "no memory");
    (*out)->device = device;
    return MN_OK;
}
static inline bool far_serves(const mn_device_group *group, const mn_device *device) {
    return group->device == device;
}
static inline void far_leave(mn_device_group **group) {
    free(*group);
    *group = NULL;
}
static const mn_device_collectives far_collectives = {.identity = far_identity,
                                                      .make_id = far_id,
                                                      .join = far_join,
                                                      .serves = far_serves,
                                                      .leave = far_leave};

/* The CPU; a far one takes all ways that one takes whose memory the host cannot reach. */
static inline mn_status open_device(rank_bench *b, const job *j, int threads) {
    MN_TRY(mn_device_open(&b->device, "cpu", threads));
    if (!j->far) return MN_OK;
    b->device->host_memory = false;
    b->device->collectives = &far_collectives;
    return MN_OK;
}

static inline mn_test_path golden(const char *name) {
    return mn_test_join(mn_test_source("tests/golden").text, name);
}

#endif
