/* kernels.h - the function table that a backend fills, and the plain structs that kernels take.
 *
 * kernels.def is the list; this header only turns it into types. Nothing but ops.c and the backends
 * calls through the table. */
#ifndef MNEME_KERNELS_H
#define MNEME_KERNELS_H

#include "mneme/status.h"
#include "mneme/tensor.h"

#include <stdbool.h>
#include <stdint.h>

/* A backend's own order of execution: threads and workspace on the CPU, a CUDA stream on a GPU. */
typedef struct mn_stream mn_stream;

/* What a matrix product does with its result. */
typedef enum mn_epilogue {
    MN_EPILOGUE_STORE, /* y  = x w' + bias */
    MN_EPILOGUE_GELU,  /* y  = gelu(x w' + bias), exact (erf) form */
    MN_EPILOGUE_ADD    /* y += x w' + bias */
} mn_epilogue;

/* Inputs of matrix products are rounded to this; sums are always fp32. On CUDA the weights' type decides
 * instead, and attention's inputs are fp16. */
typedef enum mn_compute { MN_COMPUTE_F32, MN_COMPUTE_BF16 } mn_compute;

/* Where q, k and v of head h stand in one row of the fused projection (elements):
 * NeoX interleaves per head (stride 3 D), Llama concatenates (stride D). */
typedef struct mn_qkv_layout {
    int64_t ld; /* row length */
    int64_t q_begin, k_begin, v_begin;
    int64_t q_stride, kv_stride; /* from one head to the next */
    int64_t heads, head_dim;
    int64_t rotary_dims; /* the first ones of a head rotate, half-split: (i, i + rotary_dims / 2) */
} mn_qkv_layout;

/* Keys and values of one layer. The inner layout is the backend's own (mn_device.kv_bytes gives its size);
 * only rope_store_fwd writes it and only attention reads it. */
typedef struct mn_kv_layer {
    float *k, *v;
    int64_t rows, kv_heads, head_dim;
} mn_kv_layer;

/* One packed sequence: its queries, and the cache rows that they see. `shared` spans are visible to
 * every query; of its own rows, query i of q_len sees the first own_len - q_len + i + 1. */
enum { MN_SHARED_SPANS = 2 };
typedef struct mn_attn_seq {
    int32_t q_begin, q_len;
    int32_t shared_begin[MN_SHARED_SPANS], shared_len[MN_SHARED_SPANS]; /* length 0: unused */
    int32_t own_begin, own_len;
} mn_attn_seq;

/* The sequences of a batch: `host` gives the shapes of the work, kernels of a device read `device`.
 * Both may be the same array where the device's memory is the host's. */
typedef struct mn_attn_seqs {
    const mn_attn_seq *host, *device;
    int64_t count;
} mn_attn_seqs;

typedef struct mn_row_stat {
    float lse, best; /* log-sum-exp of the row, its largest value; NaN when the row has one */
    int32_t best_id; /* the lowest id that has the largest value */
} mn_row_stat;

/* One AdamW step (Loshchilov and Hutter 2019), as torch.optim.AdamW computes it:
 *   g = grad_scale * grad;  param -= lr * decay * param;  m = b1 m + (1 - b1) g;
 *   v = b2 v + (1 - b2) g^2;  param -= lr / correction1 * m / (sqrt(v / correction2) + eps)
 * with correction1 = 1 - b1^t, correction2 = 1 - b2^t for step t = 1, 2 .. */
typedef struct mn_adamw {
    float lr, beta1, beta2, eps, decay, correction1, correction2, grad_scale;
} mn_adamw;

typedef struct mn_kernels {
#define MN_KERNEL(name, params) mn_status(*name) params;
#include "mneme/kernels.def"
#undef MN_KERNEL
} mn_kernels;

#endif
