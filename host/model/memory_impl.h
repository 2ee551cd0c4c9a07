/* memory_impl.h (internal) - how memories are made, for memory.c and the adapter files. */
#ifndef MNEME_MODEL_MEMORY_IMPL_H
#define MNEME_MODEL_MEMORY_IMPL_H

#include "mneme/memory.h"

#define MN_MEMORY_NORM_EPS 1e-5f
enum { MN_MEMORY_MAX_HIDDEN = 1 << 20 };

/* Blocks must be rising and below `layers`; the hidden units as many as the ranks at least. */
typedef struct mn_memory_shape {
    const char *name;
    int64_t hidden, dim, layers;
    const int64_t *blocks;
    int64_t count;
} mn_memory_shape;

/* A memory of zeros; `tp` shares it. */
mn_status mn_memory_new(mn_memory **out, mn_device *device, mn_comm *tp,
                        const mn_memory_shape *shape);

/* The same in two steps: names and shapes first, without data, for who wants to check them; then zeros. */
mn_status mn_memory_plan(mn_memory **out, mn_device *device, mn_comm *tp,
                         const mn_memory_shape *shape);
mn_status mn_memory_commit(mn_memory *memory);

/* adapter.c, a memory from its two files: the shape that adapter_config.json gives, without data, since the
 * weights may say otherwise; then the weights, if they have exactly this shape. */
mn_status mn_memory_configure(mn_memory **out, const mn_model *model, const mn_json *config);
mn_status mn_memory_fill(mn_memory *memory, const mn_checkpoint *weights);

/* out (rows, cols) gets gain times a random matrix with orthonormal rows or, when there are more rows
 * than columns, orthonormal columns; drawn from (seed, stream). */
mn_status mn_orthogonal(float *out, int64_t rows, int64_t cols, double gain, uint64_t seed,
                        uint64_t stream);

#endif
