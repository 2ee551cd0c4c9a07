/* memory.h - the trainable memories of one variant: small gated networks behind some blocks.
 *
 *   out = y + gate * LayerNorm(down(gelu(up(y)))),   y the output of a block (T, C)
 *
 * up (H, C) and down (C, H) with biases, LayerNorm with weight, bias and eps 1e-5, one scalar gate;
 * all fp32. Initial values as published: both matrices orthogonal with gain sqrt(2) (Saxe et al. 2014;
 * torch.nn.init.orthogonal_: Q of the QR decomposition of a normal matrix, signs fixed by R's
 * diagonal), biases 0, LayerNorm 1 and 0, gate 1. Any number of memories can be loaded beside one
 * backbone; a memory owns its arena and is closed before the device.
 *
 * Ranks that share the model share its memories by hidden units: each has some rows of up with their biases, the
 * same columns of down, and all the rest. */
#ifndef MNEME_MEMORY_H
#define MNEME_MEMORY_H

#include "mneme/model.h"

enum { MN_MEMORY_HIDDEN = 128, MN_MEMORY_PARAMS = 7 };

typedef struct mn_memory_layer {
    int64_t block;                                              /* it stands behind this block */
    mn_tensor up_w, up_b, down_w, down_b, norm_w, norm_b, gate; /* what is here of them */
} mn_memory_layer;

typedef struct mn_memory {
    char *name;                 /* "gpt_wikipage" */
    int64_t hidden, dim, count; /* of all ranks together */
    int64_t units, unit_begin;  /* the hidden units that are here */
    mn_memory_layer *layers;    /* [count], by rising block */
    mn_device *device;
    mn_comm *tp; /* the model's */
    mn_arena weights;
} mn_memory;

typedef struct mn_memory_options {
    const char *name;
    int64_t hidden;        /* 0: MN_MEMORY_HIDDEN */
    double from, to;       /* block i of n when from <= i / n < to; at least one */
    const int64_t *blocks; /* or this list, when block_count > 0 */
    int64_t block_count;
    double gate; /* initial value */
    uint64_t seed;
} mn_memory_options;

/* Blocks of the range, rising; returns how many. `out` holds `layers` of them. When no block lies in
 * the range the one nearest below `to` is taken. */
int64_t mn_memory_blocks(int64_t *out, int64_t layers, double from, double to);

mn_status mn_memory_create(mn_memory **out, const mn_model *model,
                           const mn_memory_options *options);
/* The same shape, all zeros: gradients and optimizer state. */
mn_status mn_memory_like(mn_memory **out, const mn_memory *memory);
/* DIR/adapter_config.json and DIR/adapter_model.safetensors; checked against the model. Collective over the ranks
 * that share it, as is saving: the files are those of one rank, whatever their number. */
mn_status mn_memory_load(mn_memory **out, const mn_model *model, const char *dir);
/* Writes both files, atomically each, the config last. `base_model` goes into the config. */
mn_status mn_memory_save(const mn_memory *memory, const char *dir, const char *base_model);
void mn_memory_close(mn_memory **memory);

/* Parameter `index` of count * MN_MEMORY_PARAMS, by block, in the order of the struct. The name is that
 * of the adapter file: "memory.17.up.weight" ... "memory.17.gate". */
typedef enum mn_param_group {
    MN_PARAM_WEIGHT,
    MN_PARAM_BIAS,
    MN_PARAM_NORM,
    MN_PARAM_GATE
} mn_param_group;
typedef struct mn_memory_param {
    char name[64];
    mn_param_group group;
    mn_tensor *tensor;
    mn_slice slice; /* what of the whole it is */
} mn_memory_param;
void mn_memory_param_at(mn_memory_param *out, mn_memory *memory, int64_t index);
int64_t mn_memory_parameters(const mn_memory *memory); /* numbers in all, over all ranks */

const mn_memory_layer *mn_memory_at(const mn_memory *memory,
                                    int64_t block); /* or NULL; NULL memory too */

/* x += the memory's output, in place, that of the hidden units of all ranks of `tp`. `inner` (T, units) and
 * `down` (T, C) are left as gelu(up(x)) and down(..), for the effect audit and the tape; `pre` (T, units) gets
 * up(x) before the activation, or is NULL.   x (T, C) f32 */
mn_status mn_memory_fwd(mn_device *dev, mn_comm *tp, mn_tensor *x, const mn_memory_layer *layer,
                        mn_tensor *pre, mn_tensor *inner, mn_tensor *down);

#endif
