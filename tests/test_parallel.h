/* test_parallel.h - a model over ranks as threads, for the tests that compare it with the model alone.
 *
 * What runs in a rank returns a status: assertions of cmocka belong to the main thread. */
#ifndef MNEME_TESTS_TEST_PARALLEL_H
#define MNEME_TESTS_TEST_PARALLEL_H

#include "check.h"

#include "mneme/comm.h"
#include "mneme/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RANKS = 6, PATIENCE = 600 }; /* seconds; nothing here waits for it */

/* Both forms of residual, tied and untied output, grouped heads; a vocabulary that no number of ranks divides; and more
 * ranks than key-value heads, so that 2, 3 or 4 of them share one. */
typedef struct layout {
    const char *folder;
    int sizes[2];
} layout;
static const layout layouts[] = {{"tests/golden/neox-parallel", {2, 4}},
                                 {"tests/golden/neox-sequential", {2, 4}},
                                 {"tests/golden/llama-mha", {2, 4}},
                                 {"tests/golden/llama-gqa", {2, 6}},
                                 {"tests/golden/llama-bin", {2, 4}}};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* What one rank has of the gradients or weights: copies, one behind the other, and where they belong. */
typedef struct part {
    char name[96];
    mn_slice slice;
    mn_tensor tensor; /* of the part; owns its data */
} part;

static inline mn_status part_take(part *p, const char *name, const mn_slice *slice,
                                  const mn_tensor *from) {
    const size_t bytes = mn_tensor_bytes(from);
    *p = (part){.slice = *slice, .tensor = *from};
    snprintf(p->name, sizeof p->name, "%s", name);
    p->tensor.data = malloc(bytes);
    MN_CHECK(p->tensor.data, MN_ERR_MEMORY, "no memory for %s", name);
    memcpy(p->tensor.data, from->data, bytes);
    return MN_OK;
}

/* Adds |part - whole|^2 and |whole|^2 over the places that the part has. */
static inline void part_compare(const part *p, const float *whole, double *difference,
                                double *length) {
    const mn_runs runs = mn_slice_runs(&p->slice, &p->tensor);
    const float *got = p->tensor.data;
    for (int64_t r = 0; r < runs.count; r++)
        for (int64_t i = 0; i < runs.length; i++) {
            const double want = (double)whole[runs.first + r * runs.stride + i];
            const double off = (double)got[r * runs.length + i] - want;
            *difference += off * off;
            *length += want * want;
        }
}

#endif
