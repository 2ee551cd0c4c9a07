/* remote.h - for tests of one device whose memory is not the host's: its memory, of one case, and copies. */
#ifndef MNEME_TESTS_KERNELS_REMOTE_H
#define MNEME_TESTS_KERNELS_REMOTE_H

#include "mneme/ops.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { REMOTE_BLOCKS = 32 };

typedef struct remote {
    mn_device *dev;
    void *block[REMOTE_BLOCKS];
    size_t bytes[REMOTE_BLOCKS];
    int count;
} remote;

static inline remote remote_open(mn_device *dev) { return (remote){.dev = dev}; }

static inline void *remote_bytes(remote *r, size_t bytes) {
    assert_true(r->count < REMOTE_BLOCKS);
    MN_ASSERT_OK(r->dev->alloc(r->dev, &r->block[r->count], bytes));
    r->bytes[r->count] = bytes;
    return r->block[r->count++];
}

static inline void *remote_copy(remote *r, const void *from, size_t bytes) {
    void *to = remote_bytes(r, bytes);
    MN_ASSERT_OK(r->dev->upload(r->dev, to, from, bytes));
    return to;
}

/* NaN all over. */
static inline float *remote_floats(remote *r, int64_t n) {
    const size_t bytes = (size_t)n * sizeof(float);
    void *nan = test_malloc(bytes ? bytes : 1);
    memset(nan, 0xFF, bytes);
    float *to = remote_copy(r, nan, bytes);
    test_free(nan);
    return to;
}

static inline void remote_read(remote *r, void *to, const void *from, size_t bytes) {
    MN_ASSERT_OK(r->dev->download(r->dev, to, from, bytes));
}

static inline void remote_close(remote *r) {
    for (int i = 0; i < r->count; i++) r->dev->release(r->dev, r->block[i], r->bytes[i]);
    *r = (remote){0};
}

/* Group setup: *state becomes the CUDA device; without one the whole program is skipped. */
static inline int remote_setup(void **state) {
    mn_device *dev = NULL;
    if (mn_device_open(&dev, "cuda", 0) != MN_OK) {
        print_message("skipped: %s\n", mn_error());
        exit(77);
    }
    *state = dev;
    return 0;
}

static inline int remote_teardown(void **state) {
    mn_device *dev = *state;
    mn_device_close(&dev);
    return 0;
}

#endif
