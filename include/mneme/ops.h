/* ops.h - the contract between the model and a backend: maths, shapes, types, aliasing.
 *
 * An op checks shapes and types once and calls the device's kernel. Letters: T tokens, C model
 * dimension, F inner dimension, Hq/Hkv query and key-value heads, D head size, V vocabulary,
 * M rows. Activations are fp32. Outputs come first; no output may alias an input unless said. */
#ifndef MNEME_OPS_H
#define MNEME_OPS_H

#include "mneme/device.h"

/* x = table[ids].   x (T, C) f32;  table (V, C) any float type;  ids (T) i32, checked */
mn_status mn_embed_fwd(mn_device *dev, mn_tensor *x, const mn_tensor *table, const mn_tensor *ids);

/* y = (x - mean) / sqrt(var + eps) * weight + bias, biased variance (Ba et al. 2016).
 *   y, x (T, C) f32, y may be x;  weight, bias (C) f32 */
mn_status mn_layernorm_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *x,
                           const mn_tensor *weight, const mn_tensor *bias, float eps);

/* y = x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019).
 *   y, x (T, C) f32, y may be x;  weight (C) f32 */
mn_status mn_rmsnorm_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *x, const mn_tensor *weight,
                         float eps);

/* y = x w' + bias, then the epilogue (kernels.h).
 *   y (M, N) f32 in rows of ldy >= N;  x (M, K) f32;  w (N, K) f32/f16/bf16;  bias (N) f32 or NULL */
mn_status mn_linear_fwd(mn_device *dev, mn_tensor *y, int64_t ldy, const mn_tensor *x,
                        const mn_tensor *w, const mn_tensor *bias, mn_epilogue epilogue,
                        mn_compute compute);

/* Rotary embedding of q and k (Su et al. 2021, half-split pairs as in GPT-NeoX), k and v into rows of the cache.
 *   q (T, Hq, D) f32;  qkv (T, ld) f32;  cos, sin (P, R/2) f32;  positions, rows (T) i32, rows distinct */
mn_status mn_rope_store_fwd(mn_device *dev, mn_tensor *q, mn_kv_layer kv, const mn_tensor *qkv,
                            const mn_qkv_layout *layout, const mn_tensor *cos_table,
                            const mn_tensor *sin_table, const mn_tensor *positions,
                            const mn_tensor *rows);

/* out = softmax(scale q k' + mask) v per query head; head h reads key-value head h / (Hq / Hkv).
 * The mask is mn_attn_seq's: shared spans whole, own rows causal.
 *   out, q (T, Hq, D) f32, out may be q */
mn_status mn_attention_fwd(mn_device *dev, mn_tensor *out, const mn_tensor *q, mn_kv_layer kv,
                           const mn_attn_seq *seqs, int64_t nseq, float scale);

/* gate = silu(gate) * up (Shazeer 2020).   gate, up (T, F) f32 */
mn_status mn_swiglu_fwd(mn_device *dev, mn_tensor *gate, const mn_tensor *up);

/* y = x[rows].   y (M, C), x (T, C) f32;  rows (M) i32, checked */
mn_status mn_gather_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *x, const mn_tensor *rows);

/* Per row of logits: log-sum-exp, largest value, its lowest id.   logits (M, V) f32; stats[M] */
mn_status mn_row_stats(mn_device *dev, mn_row_stat *stats, const mn_tensor *logits);

/* out[i] = logits[row[i], id[i]] - stats[row[i]].lse.   out, row, id (n) */
mn_status mn_logprob_gather(mn_device *dev, mn_tensor *out, const mn_tensor *logits,
                            const mn_row_stat *stats, const mn_tensor *row, const mn_tensor *id);

/* ids[i] = the first id at which the running sum of softmax(logits[i] / temperature) exceeds u[i].
 *   ids (M) i32;  logits (M, V) f32;  u (M) f32 in [0, 1);  temperature > 0 */
mn_status mn_sample(mn_device *dev, mn_tensor *ids, const mn_tensor *logits, const mn_tensor *u,
                    float temperature);

/* *count += NaNs and infinities in x. */
mn_status mn_count_nonfinite(mn_device *dev, int64_t *count, const mn_tensor *x);

#endif
