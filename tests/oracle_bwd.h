/* oracle_bwd.h - the gradients of oracle.h's formulas, written out in double.
 *
 * Every sum is taken in the order of the formula, nothing is shared or saved. That they are the
 * derivatives is shown in test_kernels_bwd_oracle.c by complex step. Include oracle.h first, a template
 * without a guard of its own. */
#ifndef MNEME_TESTS_ORACLE_BWD_H
#define MNEME_TESTS_ORACLE_BWD_H

static inline double ref_gelu_slope(double x) {
    return 0.5 * (1 + erf(x * 0.7071067811865476)) + x * 0.3989422804014327 * exp(-0.5 * x * x);
}

static inline void ref_swiglu_bwd(double *dgate, double *dup, const double *dy, const double *gate,
                                  const double *up, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const double sigma = 1 / (1 + exp(-gate[i])), rest = 1 / (1 + exp(gate[i]));
        dgate[i] = dy[i] * up[i] * sigma * (1 + gate[i] * rest);
        dup[i] = dy[i] * gate[i] * sigma;
    }
}

/* centred: LayerNorm, else RMSNorm. dx += factor * ..., dweight and dbias likewise. */
static inline void ref_norm_bwd(double *dx, double *dweight, double *dbias, const double *dy,
                                const double *x, const double *weight, double factor, bool centred,
                                double eps, int64_t rows, int64_t dim) {
    for (int64_t r = 0; r < rows; r++, dx += dim, dy += dim, x += dim) {
        double mean = 0, var = 0, g = 0, gh = 0;
        const double n = (double)dim;
        for (int64_t c = 0; c < dim; c++) mean += centred ? x[c] / n : 0;
        for (int64_t c = 0; c < dim; c++) var += (x[c] - mean) * (x[c] - mean) / n;
        const double scale = 1 / sqrt(var + eps);
        for (int64_t c = 0; c < dim; c++) {
            g += centred ? dy[c] * weight[c] / n : 0;
            gh += dy[c] * weight[c] * (x[c] - mean) * scale / n;
        }
        for (int64_t c = 0; c < dim; c++) {
            const double h = (x[c] - mean) * scale;
            dx[c] += factor * scale * (dy[c] * weight[c] - g - h * gh);
            dweight[c] += factor * dy[c] * h;
            if (dbias) dbias[c] += factor * dy[c];
        }
    }
}

/* d/dgate of gate * layernorm(d): the sum over dy * layernorm(d) */
static inline double ref_gate_bwd(const double *dy, const double *d, const double *weight,
                                  const double *bias, double eps, int64_t rows, int64_t dim) {
    double sum = 0;
    for (int64_t r = 0; r < rows; r++, dy += dim, d += dim) {
        double mean = 0, var = 0;
        for (int64_t c = 0; c < dim; c++) mean += d[c] / (double)dim;
        for (int64_t c = 0; c < dim; c++) var += (d[c] - mean) * (d[c] - mean) / (double)dim;
        for (int64_t c = 0; c < dim; c++)
            sum += dy[c] * ((d[c] - mean) / sqrt(var + eps) * weight[c] + bias[c]);
    }
    return sum;
}

/* dx (M, K) += dy w;   dw (N, K) += dy' x */
static inline void ref_linear_bwd(double *dx, double *dw, double *dbias, const double *dy,
                                  const double *x, const double *w, int64_t m, int64_t n,
                                  int64_t k) {
    for (int64_t r = 0; r < m; r++)
        for (int64_t c = 0; c < n; c++) {
            for (int64_t i = 0; dx && i < k; i++) dx[r * k + i] += dy[r * n + c] * w[c * k + i];
            for (int64_t i = 0; dw && i < k; i++) dw[c * k + i] += dy[r * n + c] * x[r * k + i];
            if (dbias) dbias[c] += dy[r * n + c];
        }
}

/* The transpose of ref_rotate. */
static inline void ref_rotate_bwd(double *dx, const double *dout, const double *cos_table,
                                  const double *sin_table, int64_t position, int64_t rotary,
                                  int64_t dim) {
    const int64_t half = rotary / 2;
    for (int64_t d = 0; d < dim; d++) dx[d] = dout[d];
    for (int64_t d = 0; d < half; d++) {
        const double c = cos_table[position * half + d], s = sin_table[position * half + d];
        dx[d] = dout[d] * c + dout[d + half] * s;
        dx[d + half] = dout[d + half] * c - dout[d] * s;
    }
}

/* dq, dout, q (T, Hq, D); dk, dv (T, Hkv, D) by token; k, v (rows, Hkv, D) by row. All +=. Sequences
 * as mn_attention_bwd wants them. */
static inline void ref_attention_bwd(double *dq, double *dk, double *dv, const double *dout,
                                     const double *q, const double *k, const double *v,
                                     const mn_attn_seq *seqs, int64_t nseq, int64_t heads,
                                     int64_t kv_heads, int64_t dim, double scale) {
    for (int64_t n = 0; n < nseq; n++)
        for (int64_t i = 0; i < seqs[n].q_len; i++)
            for (int64_t h = 0; h < heads; h++) {
                const int64_t at = ((seqs[n].q_begin + i) * heads + h) * dim;
                const int64_t group = h / (heads / kv_heads);
                double max = -INFINITY, sum = 0, delta = 0;
                for (int pass = 0; pass < 4; pass++)
                    for (int64_t j = 0; j <= i; j++) {
                        const int64_t key = ((seqs[n].own_begin + j) * kv_heads + group) * dim;
                        const int64_t to = ((seqs[n].q_begin + j) * kv_heads + group) * dim;
                        double score = 0, dp = 0;
                        for (int64_t d = 0; d < dim; d++) {
                            score += scale * q[at + d] * k[key + d];
                            dp += dout[at + d] * v[key + d];
                        }
                        if (pass == 0) max = score > max ? score : max;
                        else if (pass == 1) sum += exp(score - max);
                        else if (pass == 2) delta += exp(score - max) / sum * dp;
                        if (pass < 3) continue;
                        const double p = exp(score - max) / sum, ds = scale * p * (dp - delta);
                        for (int64_t d = 0; d < dim; d++) {
                            dq[at + d] += ds * k[key + d];
                            dk[to + d] += ds * q[at + d];
                            dv[to + d] += p * dout[at + d];
                        }
                    }
            }
}

/* scale (softmax(logits) - onehot(target)) of one row */
static inline void ref_cross_entropy_bwd(double *dx, const double *x, int32_t target, double scale,
                                         int64_t n) {
    const double lse = ref_lse(x, n);
    for (int64_t i = 0; i < n; i++) dx[i] = scale * (exp(x[i] - lse) - (i == target));
}

#endif
