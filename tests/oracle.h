/* oracle.h - the reference of every kernel: its formula, plain and slow, in double.
 *
 * A template: include it for REAL = double (the default), and once more with
 *     #define REAL double complex
 *     #define FN(name) name##_c
 * for derivatives by complex step, d/dx f = Im f(x + 1e-30 i) / 1e-30. Hence everything here is
 * analytic in REAL: no absolute values, no maxima; a softmax subtracts the real part of its maximum.
 * Letters and layouts are those of mneme/ops.h; caches are plain here: k, v (rows, Hkv, D). */
#include "mneme/kernels.h"

#include <stdbool.h>
#include <stdint.h>
#include <tgmath.h>
#undef I /* of complex.h: too short a name to give away */

#ifndef REAL
#define REAL double
#define FN(name) name
#endif

/* erf(a + bi) for a tiny b: its tangent. C has no complex erf; for a real x the second term is 0. */
static inline REAL FN(ref_erf)(REAL x) {
    const double a = creal(x), two_over_sqrt_pi = 1.1283791670955126;
    return erf(a) + (x - a) * two_over_sqrt_pi * exp(-a * a);
}

static inline REAL FN(ref_gelu)(REAL x) {
    return 0.5 * x * (1.0 + FN(ref_erf)(x * 0.7071067811865476));
}

static inline REAL FN(ref_silu)(REAL x) { return x / (1.0 + exp(-x)); }

/* y = x[rows]: gather, and embed with the table as x */
static inline void FN(ref_rows)(REAL *y, const REAL *x, const int32_t *rows, int64_t m,
                                int64_t dim) {
    for (int64_t r = 0; r < m; r++)
        for (int64_t c = 0; c < dim; c++) y[r * dim + c] = x[rows[r] * dim + c];
}

static inline void FN(ref_layernorm)(REAL *y, const REAL *x, const REAL *weight, const REAL *bias,
                                     double eps, int64_t rows, int64_t dim) {
    for (int64_t r = 0; r < rows; r++, x += dim, y += dim) {
        REAL mean = 0, var = 0;
        for (int64_t c = 0; c < dim; c++) mean += x[c] / (double)dim;
        for (int64_t c = 0; c < dim; c++) var += (x[c] - mean) * (x[c] - mean) / (double)dim;
        for (int64_t c = 0; c < dim; c++)
            y[c] = (x[c] - mean) / sqrt(var + eps) * weight[c] + bias[c];
    }
}

static inline void FN(ref_rmsnorm)(REAL *y, const REAL *x, const REAL *weight, double eps,
                                   int64_t rows, int64_t dim) {
    for (int64_t r = 0; r < rows; r++, x += dim, y += dim) {
        REAL square = 0;
        for (int64_t c = 0; c < dim; c++) square += x[c] * x[c] / (double)dim;
        for (int64_t c = 0; c < dim; c++) y[c] = x[c] / sqrt(square + eps) * weight[c];
    }
}

/* y += gate * layernorm(d) */
static inline void FN(ref_gated_norm)(REAL *y, const REAL *d, const REAL *weight, const REAL *bias,
                                      REAL gate, double eps, int64_t rows, int64_t dim) {
    for (int64_t r = 0; r < rows; r++, d += dim, y += dim) {
        REAL mean = 0, var = 0;
        for (int64_t c = 0; c < dim; c++) mean += d[c] / (double)dim;
        for (int64_t c = 0; c < dim; c++) var += (d[c] - mean) * (d[c] - mean) / (double)dim;
        for (int64_t c = 0; c < dim; c++)
            y[c] += gate * ((d[c] - mean) / sqrt(var + eps) * weight[c] + bias[c]);
    }
}

/* y has no padding here: ldy = N. bias may be NULL. */
static inline void FN(ref_linear)(REAL *y, const REAL *x, const REAL *w, const REAL *bias,
                                  mn_epilogue epilogue, int64_t m, int64_t n, int64_t k) {
    for (int64_t r = 0; r < m; r++)
        for (int64_t c = 0; c < n; c++) {
            REAL sum = bias ? bias[c] : 0;
            for (int64_t i = 0; i < k; i++) sum += x[r * k + i] * w[c * k + i];
            REAL *out = &y[r * n + c];
            if (epilogue == MN_EPILOGUE_ADD) *out += sum;
            else *out = epilogue == MN_EPILOGUE_GELU ? FN(ref_gelu)(sum) : sum;
        }
}

/* One head's row; (i, i + rotary / 2) turn together by the angle of row `position` of the tables. */
static inline void FN(ref_rotate)(REAL *to, const REAL *from, const double *cos_table,
                                  const double *sin_table, int64_t position, int64_t rotary,
                                  int64_t dim) {
    const int64_t half = rotary / 2;
    for (int64_t d = 0; d < dim; d++) to[d] = from[d];
    for (int64_t d = 0; d < half; d++) {
        const double c = cos_table[position * half + d], s = sin_table[position * half + d];
        to[d] = from[d] * c - from[d + half] * s;
        to[d + half] = from[d + half] * c + from[d] * s;
    }
}

/* q (T, Hq, D), and row rows[t] of k, v (rows, Hkv, D), from qkv (T, ld) */
static inline void FN(ref_rope_store)(REAL *q, REAL *k, REAL *v, const REAL *qkv,
                                      const mn_qkv_layout *l, int64_t kv_heads,
                                      const double *cos_table, const double *sin_table,
                                      const int32_t *positions, const int32_t *rows,
                                      int64_t tokens) {
    const int64_t dim = l->head_dim;
    for (int64_t t = 0; t < tokens; t++, qkv += l->ld) {
        for (int64_t h = 0; h < l->heads; h++) FN(ref_rotate)
        (q + (t * l->heads + h) * dim, qkv + l->q_begin + h * l->q_stride, cos_table, sin_table,
         positions[t], l->rotary_dims, dim);
        for (int64_t h = 0; h < kv_heads; h++) {
            const int64_t at = (rows[t] * kv_heads + h) * dim;
            FN(ref_rotate)
            (k + at, qkv + l->k_begin + h * l->kv_stride, cos_table, sin_table, positions[t],
             l->rotary_dims, dim);
            for (int64_t d = 0; d < dim; d++) v[at + d] = qkv[l->v_begin + h * l->kv_stride + d];
        }
    }
}

/* The i-th cache row that a query sees, for i = 0, 1, ...; -1 behind the last one. */
static inline int64_t FN(ref_visible)(const mn_attn_seq *seq, int64_t query, int64_t i) {
    for (int span = 0; span < MN_SHARED_SPANS; span++) {
        if (i < seq->shared_len[span]) return seq->shared_begin[span] + i;
        i -= seq->shared_len[span];
    }
    return i <= seq->own_len - seq->q_len + query ? seq->own_begin + i : -1;
}

/* out, q (T, Hq, D): softmax over the visible rows, two passes, no tricks */
static inline void FN(ref_attention)(REAL *out, const REAL *q, const REAL *k, const REAL *v,
                                     const mn_attn_seq *seqs, int64_t nseq, int64_t heads,
                                     int64_t kv_heads, int64_t dim, double scale) {
    for (int64_t n = 0; n < nseq; n++)
        for (int64_t i = 0; i < seqs[n].q_len; i++)
            for (int64_t h = 0; h < heads; h++) {
                const int64_t at = ((seqs[n].q_begin + i) * heads + h) * dim;
                const int64_t group = h / (heads / kv_heads);
                double max = -INFINITY;
                REAL sum = 0;
                for (int pass = 0; pass < 2; pass++) {
                    if (pass == 1)
                        for (int64_t d = 0; d < dim; d++) out[at + d] = 0;
                    for (int64_t j = 0, row; (row = FN(ref_visible)(&seqs[n], i, j)) >= 0; j++) {
                        const int64_t key = (row * kv_heads + group) * dim;
                        REAL score = 0;
                        for (int64_t d = 0; d < dim; d++) score += scale * q[at + d] * k[key + d];
                        if (pass == 0) {
                            max = creal(score) > max ? creal(score) : max;
                            continue;
                        }
                        const REAL p = exp(score - max);
                        sum += p;
                        for (int64_t d = 0; d < dim; d++) out[at + d] += p * v[key + d];
                    }
                }
                for (int64_t d = 0; d < dim; d++) out[at + d] /= sum;
            }
}

static inline void FN(ref_swiglu)(REAL *y, const REAL *gate, const REAL *up, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = FN(ref_silu)(gate[i]) * up[i];
}

/* log-sum-exp of x (n) */
static inline REAL FN(ref_lse)(const REAL *x, int64_t n) {
    double max = -INFINITY;
    REAL sum = 0;
    for (int64_t i = 0; i < n; i++) max = creal(x[i]) > max ? creal(x[i]) : max;
    for (int64_t i = 0; i < n; i++) sum += exp(x[i] - max);
    return max + log(sum);
}

/* sum over rows of what the target costs */
static inline REAL FN(ref_cross_entropy)(const REAL *logits, const int32_t *targets, int64_t rows,
                                         int64_t vocab) {
    REAL loss = 0;
    for (int64_t r = 0; r < rows; r++)
        loss += FN(ref_lse)(logits + r * vocab, vocab) - logits[r * vocab + targets[r]];
    return loss;
}

#undef REAL
#undef FN
