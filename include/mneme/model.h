/* model.h - a language model as Hugging Face publishes it: configuration, weights, where they lie.
 *
 * config.json gives the shapes; the binding table (host/model/binding.c) has one row per tensor and
 * serves loading, checking, inspecting and random weights. Matrices stay as stored (fp16, bf16 or
 * fp32) in the mapped files or move to panels; vectors (norms, biases) are kept as fp32. The model owns
 * the checkpoint and its arenas; it is read-only after opening and packing. */
#ifndef MNEME_MODEL_H
#define MNEME_MODEL_H

#include "mneme/checkpoint.h"
#include "mneme/comm.h"
#include "mneme/device.h"
#include "mneme/json.h"
#include "mneme/slice.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum mn_arch { MN_NEOX, MN_LLAMA } mn_arch;

typedef struct mn_model_config {
    mn_arch arch;
    int64_t dim, layers, heads, kv_heads, head_dim, rotary_dims, ffn_dim, vocab, max_positions;
    double rope_base;
    float norm_eps;
    double initializer_range; /* standard deviation of the matrices of a new model */
    bool parallel_residual;   /* NeoX: x + attention(ln1 x) + mlp(ln2 x) */
    bool tied;                /* the output matrix is the embedding */
    int32_t bos, eos;         /* -1: none */
} mn_model_config;

mn_status mn_model_config_load(mn_model_config *out, const char *dir); /* DIR/config.json */
mn_status mn_model_config_parse(mn_model_config *out, const mn_json *doc);
/* One of the twelve models of the experiment by name ("pythia-410m", "llama-2-7b" ...); an unknown
 * name fails with the list. */
mn_status mn_model_config_named(mn_model_config *out, const char *name);
enum { MN_MODELS = 12 };
const char *mn_model_config_name(int index); /* of the twelve, 0 .. MN_MODELS - 1 */
/* Fails when a tokenizer has more ids than the model; `name` is for the message. */
mn_status mn_model_fits_tokens(const mn_model_config *config, int64_t tokens, const char *name);
const char *mn_arch_name(mn_arch arch); /* "GPT-NeoX", "Llama" */

/* What one of the ranks that share a model has of it (tensor parallelism as in Shoeybi et al. 2019, Megatron-LM):
 * whole heads with their columns of the output projection, inner units of the MLP, words of the vocabulary. Where
 * there are more ranks than key-value heads, several have the same one. */
typedef struct mn_shard {
    int rank, size;
    int64_t heads, head_begin, kv_heads, kv_head_begin, ffn_dim, ffn_begin, vocab, vocab_begin;
} mn_shard;
/* Fails when `size` does not divide the heads, or neither of key-value heads and `size` divides the other. */
mn_status mn_shard_of(mn_shard *out, const mn_model_config *config, int rank, int size);

typedef struct mn_layer {
    mn_tensor norm1_w, norm1_b, norm2_w, norm2_b;
    mn_tensor qkv_w, qkv_b;  /* NeoX: fused, per head q k v */
    mn_tensor q_w, k_w, v_w; /* Llama */
    mn_tensor out_w, out_b;  /* attention output */
    mn_tensor gate_w;        /* Llama */
    mn_tensor up_w, up_b, down_w, down_b;
} mn_layer;

typedef struct mn_model {
    mn_model_config config; /* of the whole model */
    mn_shard shard;         /* what of it is here; without tp all of it */
    mn_comm *tp;            /* the ranks that share it, the caller's; NULL: this one alone */
    mn_device *device;
    mn_tensor embed_w, head_w, norm_w, norm_b;
    mn_layer *layers;
    mn_tensor cos_table, sin_table; /* (max_positions, rotary_dims / 2) */
    mn_checkpoint *checkpoint;      /* NULL: random weights */
    mn_arena weights;               /* what is not read in place */
    mn_arena panels;                /* mn_model_pack's copies */
    char *path;                     /* the folder, or the shape's name */
} mn_model;

/* With `tp` (NULL: alone) this rank reads and keeps its slices only. Collective, as are packing, saving and passes. */
mn_status mn_model_open(mn_model **out, const char *dir, mn_device *device, mn_comm *tp);
/* Random weights of a shape, for benchmarks: matrices of `dtype`, about N(0, 0.02). Ranks draw slices of what one
 * alone draws, here and in mn_model_init. */
mn_status mn_model_random(mn_model **out, const mn_model_config *config, const char *name,
                          mn_dtype dtype, uint64_t seed, mn_device *device, mn_comm *tp);
/* For planning, on a device that only counts (tally.h): memory as mn_model_open takes it for files of `dtype`, and no
 * numbers. */
mn_status mn_model_outline(mn_model **out, const mn_model_config *config, const char *name,
                           mn_dtype dtype, mn_device *device, mn_comm *tp);
/* Copies the matrices of half precision that only products read to the layout that the device likes best
 * (device.h), once; their rows are let go. Where the device has no such layout, or the memory for it is
 * not there, they stay where they lie: slower, with the same results but for the order of the sums.
 * `job`: all ranks at work, those on this host need memory at the same time; NULL: the model's own. */
mn_status mn_model_pack(mn_model *model, const mn_comm *job);
/* Bytes that packing takes, without packing. */
mn_status mn_model_pack_plan(int64_t *bytes, mn_model *model);
/* What training the model itself needs (`update: full`): every tensor fp32 in the weights arena, to be
 * written by the optimizer. Initial values of a new model as Hugging Face's classes have them: matrices
 * N(0, initializer_range), biases 0, norms 1. */
mn_status mn_model_init(mn_model **out, const mn_model_config *config, const char *name,
                        uint64_t seed, mn_device *device, mn_comm *tp);
/* Both are as `model` is over its ranks. */
mn_status mn_model_trainable(mn_model **out, const mn_model *model); /* a copy of rows in fp32 */
mn_status mn_model_like(mn_model **out, const mn_model *model); /* the same shape in fp32, zeros */
/* DIR/model.safetensors in `dtype` and DIR/config.json, which transformers reads; each is replaced
 * atomically, the config last. A packed model is refused. */
mn_status mn_model_save(const mn_model *model, const char *dir, mn_dtype dtype);
void mn_model_close(mn_model **model);
/* Matrices are used where they lie in the mapped file, if they are aligned; vectors become fp32. */
bool mn_model_in_place(const mn_device *device, const mn_tensor *stored);

/* Rows of the binding table for one configuration, in file order. */
typedef struct mn_binding_row {
    char name[96];
    int64_t shape[2]; /* of the whole tensor */
    int ndim;
    int64_t layer;     /* -1: not part of a block */
    mn_slice slice;    /* what the model's rank has of it; all of it without a model */
    mn_tensor *weight; /* its place in a model; NULL without one */
} mn_binding_row;
int64_t mn_binding_count(const mn_model_config *config);
void mn_binding_at(mn_binding_row *out, const mn_model_config *config, mn_model *model,
                   int64_t index);
/* Fails unless a stored tensor has the row's shape and a float type. */
mn_status mn_binding_check(const mn_binding_row *row, const mn_stored *stored);
/* Buffers that old files carry and that are recomputed: masks, inv_freq. */
bool mn_binding_is_buffer(const char *name);
/* An output matrix that a file stores although the model's is tied to the embedding. */
bool mn_binding_is_tied_output(const mn_model_config *config, const char *name);

int64_t mn_model_parameters(const mn_model_config *config);

/* After numbers went wrong: fails with the tensor, file and element of the first NaN or infinite
 * weight, or returns MN_OK when all are finite. Reads every weight. Collective: all ranks name the same one. */
mn_status mn_model_check_finite(mn_model *model);

#endif
