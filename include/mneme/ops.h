/* ops.h - the contract between the model and a backend: maths, shapes, types, aliasing.
 *
 * An op checks shapes and types once and calls the device's kernel. Letters: T tokens, C model
 * dimension, F inner dimension, Hq/Hkv query and key-value heads, D head size, V vocabulary,
 * M rows. Activations are fp32. Outputs come first; no output may alias an input unless said. All data
 * is device memory, also arrays and single numbers that are passed as plain pointers (stats, sums, counts). Ids and
 * rows are checked where the device's memory is the host's; elsewhere whoever uploads them has done so. */
#ifndef MNEME_OPS_H
#define MNEME_OPS_H

#include "mneme/device.h"

/* The part of a vocabulary that is here, where ranks share it: rows of a table, columns of logits. Ids are always those
 * of the whole. A NULL is all of it. */
typedef struct mn_id_range {
    int64_t begin, total; /* ids begin .. begin + number of rows or columns - 1 of `total` */
} mn_id_range;

/* x = table[ids], 0 for ids that are not here.
 *   x (T, C) f32;  table (V, C) any float type;  ids (T) i32, checked */
mn_status mn_embed_fwd(mn_device *dev, mn_tensor *x, const mn_tensor *table, const mn_tensor *ids,
                       const mn_id_range *range);

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
 * The mask is mn_attn_seq's: shared spans whole, own rows causal. scale > 0; D up to 512, on CUDA 256.
 *   out, q (T, Hq, D) f32, out may be q;  lse (T, Hq) f32 gets the log-sum-exp of the scores, or NULL */
mn_status mn_attention_fwd(mn_device *dev, mn_tensor *out, mn_tensor *lse, const mn_tensor *q,
                           mn_kv_layer kv, const mn_attn_seqs *seqs, float scale,
                           mn_compute compute);

/* y = silu(gate) * up (Shazeer 2020).   y, gate, up (T, F) f32, y may be gate */
mn_status mn_swiglu_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *gate, const mn_tensor *up);

/* y = x[rows].   y (M, C), x (T, C) f32;  rows (M) i32, checked */
mn_status mn_gather_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *x, const mn_tensor *rows);

/* Per row of logits: log-sum-exp, largest value, its lowest id.   logits (M, V) f32; stats[M] */
mn_status mn_row_stats(mn_device *dev, mn_row_stat *stats, const mn_tensor *logits,
                       const mn_id_range *range);
/* stats[r] = those of row r as a whole, from the stats of its slices, which come by rising ids.
 *   stats[rows];  parts[slices][rows] */
mn_status mn_row_stats_merge(mn_device *dev, mn_row_stat *stats, const mn_row_stat *parts,
                             int64_t slices, int64_t rows);

/* out[i] = logits[row[i], id[i]] - stats[row[i]].lse, 0 for ids that are not here.   out, row, id (n) */
mn_status mn_logprob_gather(mn_device *dev, mn_tensor *out, const mn_tensor *logits,
                            const mn_row_stat *stats, const mn_tensor *row, const mn_tensor *id,
                            const mn_id_range *range);

/* ids[i] = the first id at which the running sum of softmax(logits[i] / temperature) exceeds u[i].
 *   ids (M) i32;  logits (M, V) f32;  u (M) f32 in [0, 1);  temperature > 0 */
mn_status mn_sample(mn_device *dev, mn_tensor *ids, const mn_tensor *logits, const mn_tensor *u,
                    float temperature);

/* y += x.   any equal shapes, f32 */
mn_status mn_add(mn_device *dev, mn_tensor *y, const mn_tensor *x);
mn_status mn_zero(mn_device *dev, mn_tensor *y); /* f32 */
/* y = x in y's type (f32, f16 or bf16; rounded to nearest even).   any equal shapes */
mn_status mn_cast(mn_device *dev, mn_tensor *y, const mn_tensor *x);
/* norm[t] = Euclidean norm of x[t].   norm (T), x (T, C) f32 */
mn_status mn_row_norms(mn_device *dev, mn_tensor *norm, const mn_tensor *x);

/* out[r] = the largest |x[r][i] - y[r][i]|; NaN when one of them is not finite.
 *   out (M), x, y (M, V) f32 */
mn_status mn_row_difference(mn_device *dev, mn_tensor *out, const mn_tensor *x, const mn_tensor *y);

/* y += gate * layernorm(d): the end of the memory block, y being the residual stream.
 *   y, d (T, C), weight, bias (C), gate (1) f32 */
mn_status mn_gated_norm_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *d,
                            const mn_tensor *weight, const mn_tensor *bias, const mn_tensor *gate,
                            float eps);

/* y = gelu(x), exact (erf) form.   any equal shapes, f32, y may be x */
mn_status mn_gelu_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *x);

/* ---- gradients ----
 *
 * "=" overwrites, "+=" adds. Gradients of parameters always add. Sums over tokens have a fixed order
 * that does not depend on the number of threads. */

/* dx = dy w, or dx += dy w.   dx (M, K), dy (M, N) f32 in rows of lddx and lddy;  w (N, K) any float type */
mn_status mn_linear_bwd_x(mn_device *dev, mn_tensor *dx, int64_t lddx, const mn_tensor *dy,
                          int64_t lddy, const mn_tensor *w, bool add, mn_compute compute);
/* dw += dy' x;  dbias += column sums of dy.   dw (N, K), dbias (N) or NULL, dy (M, N) in rows of lddy, x (M, K) f32 */
mn_status mn_linear_bwd_w(mn_device *dev, mn_tensor *dw, mn_tensor *dbias, const mn_tensor *dy,
                          int64_t lddy, const mn_tensor *x);

/* Backward of mn_layernorm_fwd; mean and variance are computed again from x. dx = or +=;
 * dweight, dbias (C) += (both or neither NULL).   dx may be dy when `add` is false */
mn_status mn_layernorm_bwd(mn_device *dev, mn_tensor *dx, mn_tensor *dweight, mn_tensor *dbias,
                           const mn_tensor *dy, const mn_tensor *x, const mn_tensor *weight,
                           float eps, bool add);
mn_status mn_rmsnorm_bwd(mn_device *dev, mn_tensor *dx, mn_tensor *dweight, const mn_tensor *dy,
                         const mn_tensor *x, const mn_tensor *weight, float eps, bool add);

/* dx = dy gelu'(x).   any equal shapes, f32, dx may be dy */
mn_status mn_gelu_bwd(mn_device *dev, mn_tensor *dx, const mn_tensor *dy, const mn_tensor *x);
/* Backward of mn_swiglu_fwd: dgate =, dup =.   dgate or dup may be dy */
mn_status mn_swiglu_bwd(mn_device *dev, mn_tensor *dgate, mn_tensor *dup, const mn_tensor *dy,
                        const mn_tensor *gate, const mn_tensor *up);

/* Backward of mn_rope_store_fwd: dqkv = the fused gradient, dq and dk rotated back.
 *   dqkv (T, ld), dq (T, Hq, D), dk, dv (T, Hkv, D) f32 */
mn_status mn_rope_bwd(mn_device *dev, mn_tensor *dqkv, const mn_tensor *dq, const mn_tensor *dk,
                      const mn_tensor *dv, const mn_qkv_layout *layout, const mn_tensor *cos_table,
                      const mn_tensor *sin_table, const mn_tensor *positions);

/* Backward of mn_attention_fwd (Dao et al. 2022): probabilities are computed again from lse. Each
 * sequence must consist of own rows only, all of them queries of this call (own_len == q_len), no
 * shared spans, and the tokens of dk, dv are those of the queries: token q_begin + i has cache row
 * own_begin + i. Tokens that no sequence covers keep what they had.
 *   dq, dout, out, q (T, Hq, D);  dk, dv (T, Hkv, D) =;  lse, delta (T, Hq), delta is scratch */
mn_status mn_attention_bwd(mn_device *dev, mn_tensor *dq, mn_tensor *dk, mn_tensor *dv,
                           mn_tensor *delta, const mn_tensor *dout, const mn_tensor *out,
                           const mn_tensor *q, mn_kv_layer kv, const mn_tensor *lse,
                           const mn_attn_seqs *seqs, float scale);

/* dtable[ids] += dx, but for ids that are not here.
 *   dtable (V, C), dx (T, C) f32;  ids (T) i32, may repeat: added in token order */
mn_status mn_embed_bwd(mn_device *dev, mn_tensor *dtable, const mn_tensor *dx, const mn_tensor *ids,
                       const mn_id_range *range);
/* dx[rows] += dy.   dx (T, C), dy (M, C) f32;  rows (M) i32, distinct */
mn_status mn_gather_bwd(mn_device *dev, mn_tensor *dx, const mn_tensor *dy, const mn_tensor *rows);

/* loss[r] = lse(logits[r]) - logits[r][targets[r]];  logits[r] = scale (softmax(logits[r]) - onehot).
 * A row with NaN or infinity gives loss NaN.   loss (M) f32;  logits (M, V) f32;  targets (M) i32 */
mn_status mn_cross_entropy(mn_device *dev, mn_tensor *loss, mn_tensor *logits,
                           const mn_tensor *targets, float scale);

/* The same of a slice of each row, with the stats of the whole row: loss[r] is 0 where the target is not here.
 * A NaN in stats makes the slice's gradient NaN. */
mn_status mn_cross_entropy_part(mn_device *dev, mn_tensor *loss, mn_tensor *logits,
                                const mn_row_stat *stats, const mn_tensor *targets, float scale,
                                const mn_id_range *range);

/* Backward of mn_gated_norm_fwd with respect to all but y (whose gradient is dy itself).
 *   dd (T, C) =;  dweight, dbias (C), dgate (1) += */
mn_status mn_gated_norm_bwd(mn_device *dev, mn_tensor *dd, mn_tensor *dweight, mn_tensor *dbias,
                            mn_tensor *dgate, const mn_tensor *dy, const mn_tensor *d,
                            const mn_tensor *weight, const mn_tensor *bias, const mn_tensor *gate,
                            float eps);

/* ---- optimizer ---- */

mn_status mn_square_sum(mn_device *dev, double *sum, const mn_tensor *x); /* *sum += */
/* kernels.h gives the formula.   param, m, v, grad: equal shapes, f32 */
mn_status mn_adamw_step(mn_device *dev, mn_tensor *param, mn_tensor *m, mn_tensor *v,
                        const mn_tensor *grad, const mn_adamw *step);

/* *count += NaNs and infinities in x. */
mn_status mn_count_nonfinite(mn_device *dev, int64_t *count, const mn_tensor *x);

#endif
