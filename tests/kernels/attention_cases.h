/* attention_cases.h - attention's problems for tests on a CUDA device: inputs, their way to the device, oracles.
 *
 * Two judgements. Inputs that fp16 holds exactly: every element within what the roundings of weights (and
 * of ds, backward) may cost, so that a wrong mask, index or sum shows. Other inputs: at most twice the error
 * of an oracle that rounds to fp16 where the kernels do. Whatever nobody owns is NaN before and after. */
#ifndef MNEME_TESTS_KERNELS_ATTENTION_CASES_H
#define MNEME_TESTS_KERNELS_ATTENTION_CASES_H

#include "mneme/half.h"

#include "check.h"
#include "kernels/remote.h"
#include "oracle.h"
#include "oracle_bwd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    A_BEGIN = 3,
    A_LEN = 29,
    B_BEGIN = 37,
    B_LEN = 51,
    OWN_BEGIN = 93,
    LONG = 600,
    SEQS = 5,
    MOST_SEQS = 300
};

/* Relative error of a rounding to fp16, and the absolute one of a number below 2^-14. */
static const double half_unit = 0x1p-11, half_tiny = 0x1p-25, unit = 0x1p-24;

typedef struct problem {
    int64_t dim, heads, kv_heads, queries, rows, nseq;
    mn_attn_seq seqs[MOST_SEQS];
    float scale;
    float *q, *dout; /* (queries, heads, dim) */
    float *k, *v;    /* (rows, kv_heads, dim) */
    bool *stored;    /* rows of the cache that some query may see */
} problem;

/* The oracles' view of a problem, with inputs as they are or rounded to fp16. */
typedef struct view {
    double *q, *dout, *k, *v;
} view;

static inline double *doubles(int64_t n) {
    return test_calloc((size_t)(n ? n : 1), sizeof(double));
}

static inline double random_unit(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

static inline double rounded(double x) { return (double)mn_f16_to_f32(mn_f32_to_f16((float)x)); }

static inline int64_t query_floats(const problem *p) { return p->queries * p->heads * p->dim; }
static inline int64_t cache_floats(const problem *p) { return p->rows * p->kv_heads * p->dim; }

static inline float *random_floats(int64_t n, double size, bool exact, uint64_t *state) {
    float *x = test_malloc((size_t)(n ? n : 1) * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        const double r = size * (2 * random_unit(state) - 1);
        x[i] = (float)(exact ? rounded(r) : r);
    }
    return x;
}

static inline void fill(problem *p, bool exact, uint64_t seed) {
    uint64_t state = seed * 7919 + (uint64_t)p->dim;
    p->scale = (float)(1 / sqrt((double)p->dim));
    p->q = random_floats(query_floats(p), 2, exact, &state);
    p->dout = random_floats(query_floats(p), 1, exact, &state);
    p->k = random_floats(cache_floats(p), 1.5, exact, &state);
    p->v = random_floats(cache_floats(p), 1, exact, &state);
    p->stored = test_calloc((size_t)p->rows, sizeof *p->stored);
    for (int64_t n = 0; n < p->nseq; n++) {
        const mn_attn_seq *s = &p->seqs[n];
        for (int64_t j = 0, row; (row = ref_visible(s, s->q_len - 1, j)) >= 0; j++)
            p->stored[row] = true;
    }
}

static inline void problem_free(problem *p) {
    test_free(p->q);
    test_free(p->dout);
    test_free(p->k);
    test_free(p->v);
    test_free(p->stored);
}

static inline view view_open(const problem *p, bool half) {
    const int64_t nq = query_floats(p), nk = cache_floats(p);
    const view w = {doubles(nq), doubles(nq), doubles(nk), doubles(nk)};
    for (int64_t i = 0; i < nq; i++) {
        w.q[i] = half ? rounded((double)p->q[i]) : (double)p->q[i];
        w.dout[i] = half ? rounded((double)p->dout[i]) : (double)p->dout[i];
    }
    for (int64_t i = 0; i < nk; i++) {
        w.k[i] = half ? rounded((double)p->k[i]) : (double)p->k[i];
        w.v[i] = half ? rounded((double)p->v[i]) : (double)p->v[i];
    }
    return w;
}

static inline void view_close(view *w) {
    test_free(w->q);
    test_free(w->dout);
    test_free(w->k);
    test_free(w->v);
}

/* Query 0 belongs to nobody; the sequences' queries lie in the batch in another order than they do: a plain
 * one, one behind two shared spans, a later chunk behind one, a single query, a few queries far behind. */
static inline problem forward_problem(int64_t dim, int64_t heads, int64_t kv_heads, int32_t len,
                                      bool exact) {
    const int32_t chunk = (len + 2) / 3, few = len < 3 ? len : 3;
    const int32_t own = OWN_BEGIN, begin = 2 + chunk + few;
    problem p = {.dim = dim, .heads = heads, .kv_heads = kv_heads, .nseq = SEQS};
    p.seqs[0] = (mn_attn_seq){.q_begin = begin, .q_len = len, .own_begin = own, .own_len = len};
    p.seqs[1] = (mn_attn_seq){.q_begin = begin + len,
                              .q_len = len,
                              .shared_begin = {A_BEGIN, B_BEGIN},
                              .shared_len = {A_LEN, B_LEN},
                              .own_begin = own + len,
                              .own_len = len};
    p.seqs[2] = (mn_attn_seq){.q_begin = 1,
                              .q_len = chunk,
                              .shared_begin = {7, A_BEGIN},
                              .shared_len = {0, A_LEN},
                              .own_begin = own + 2 * len,
                              .own_len = len};
    p.seqs[3] = (mn_attn_seq){.q_begin = 1 + chunk,
                              .q_len = 1,
                              .shared_begin = {B_BEGIN, A_BEGIN},
                              .shared_len = {B_LEN, 1},
                              .own_begin = own + 3 * len,
                              .own_len = 1};
    p.seqs[4] = (mn_attn_seq){.q_begin = 2 + chunk,
                              .q_len = few,
                              .shared_begin = {A_BEGIN, B_BEGIN},
                              .shared_len = {A_LEN, B_LEN},
                              .own_begin = own + 3 * len + 2,
                              .own_len = LONG};
    p.queries = begin + 2 * len;
    p.rows = own + 3 * len + 2 + LONG;
    fill(&p, exact, (uint64_t)len);
    return p;
}

/* Three sequences of own rows only; queries and rows in opposite orders, with gaps that nobody stored. */
static inline problem training_problem(int64_t dim, int64_t heads, int64_t kv_heads,
                                       const int32_t lens[3], bool exact) {
    problem p = {
        .dim = dim, .heads = heads, .kv_heads = kv_heads, .nseq = 3, .queries = 1, .rows = 5};
    for (int i = 2; i >= 0; i--) {
        p.seqs[i].q_begin = (int32_t)p.queries;
        p.queries += lens[i];
    }
    for (int i = 0; i < 3; i++) {
        p.seqs[i].own_begin = (int32_t)p.rows;
        p.seqs[i].q_len = p.seqs[i].own_len = lens[i];
        p.rows += lens[i] + 3;
    }
    p.queries++;
    fill(&p, exact, (uint64_t)lens[0] + 1000);
    return p;
}

/* ---- on the device ------------------------------------------------------------------------------ */

static inline int64_t kv_width(int64_t dim) { return (dim + 7) / 8 * 8; }

/* The cache as the backend keeps it. Rows that nobody may see are NaN. */
static inline void *upload_cache(remote *r, const problem *p, const float *from) {
    const int64_t width = kv_width(p->dim), n = p->rows * p->kv_heads * width;
    uint16_t *h = test_malloc((size_t)n * sizeof *h);
    assert_int_equal(r->dev->kv_bytes(p->rows, p->kv_heads, p->dim), n * 2);
    for (int64_t i = 0; i < p->rows * p->kv_heads; i++)
        for (int64_t d = 0; d < width; d++)
            h[i * width + d] = !p->stored[i / p->kv_heads] ? 0xFFFF
                               : d < p->dim                ? mn_f32_to_f16(from[i * p->dim + d])
                                                           : 0;
    void *out = remote_copy(r, h, (size_t)n * sizeof *h);
    test_free(h);
    return out;
}

static inline bool covered(const problem *p, int64_t query) {
    for (int64_t n = 0; n < p->nseq; n++)
        if (query >= p->seqs[n].q_begin && query < p->seqs[n].q_begin + p->seqs[n].q_len)
            return true;
    return false;
}

/* A copy of the rows of a query each that some sequence covers; NaN for the others, which no kernel may
 * let into a result. */
static inline float *upload_queries(remote *r, const problem *p, const float *x, int64_t per) {
    float *h = test_malloc((size_t)(p->queries * per) * sizeof *h);
    for (int64_t i = 0; i < p->queries * per; i++) h[i] = covered(p, i / per) ? x[i] : NAN;
    float *out = remote_copy(r, h, (size_t)(p->queries * per) * sizeof *h);
    test_free(h);
    return out;
}

typedef struct device_problem {
    mn_kv_layer kv;
    mn_attn_seqs seqs;
    float *q;
} device_problem;

static inline device_problem upload_problem(remote *r, const problem *p) {
    return (device_problem){
        .kv = {.k = upload_cache(r, p, p->k),
               .v = upload_cache(r, p, p->v),
               .rows = p->rows,
               .kv_heads = p->kv_heads,
               .head_dim = p->dim},
        .seqs = {.host = p->seqs,
                 .device = remote_copy(r, p->seqs, (size_t)p->nseq * sizeof *p->seqs),
                 .count = p->nseq},
        .q = upload_queries(r, p, p->q, p->heads * p->dim)};
}

static inline mn_tensor tensor_3d(float *x, int64_t a, int64_t b, int64_t c) {
    return (mn_tensor){.data = x, .shape = {a, b, c}, .ndim = 3, .dtype = MN_F32};
}

/* out and lse (may be NULL) on the host. `in_place`: out is q. */
static inline void forward_on(mn_device *dev, const problem *p, bool in_place, float *out,
                              float *lse) {
    remote r = remote_open(dev);
    const device_problem d = upload_problem(&r, p);
    const int64_t n = query_floats(p), nl = p->queries * p->heads;
    float *to = in_place ? d.q : remote_floats(&r, n), *l = lse ? remote_floats(&r, nl) : NULL;
    const mn_tensor tq = tensor_3d(d.q, p->queries, p->heads, p->dim);
    mn_tensor tout = tensor_3d(to, p->queries, p->heads, p->dim);
    mn_tensor tl = mn_tensor_2d(l, MN_F32, p->queries, p->heads);
    MN_ASSERT_OK(mn_attention_fwd(dev, &tout, lse ? &tl : NULL, &tq, d.kv, &d.seqs, p->scale,
                                  MN_COMPUTE_F32));
    remote_read(&r, out, to, (size_t)n * sizeof *out);
    if (lse) remote_read(&r, lse, l, (size_t)nl * sizeof *lse);
    remote_close(&r);
}

typedef struct gradients {
    float *dq, *dk, *dv, *delta;
} gradients;

static inline gradients gradients_open(const problem *p) {
    const size_t nq = (size_t)query_floats(p), nk = (size_t)(p->queries * p->kv_heads * p->dim);
    return (gradients){.dq = test_malloc(nq * sizeof(float)),
                       .dk = test_malloc(nk * sizeof(float)),
                       .dv = test_malloc(nk * sizeof(float)),
                       .delta = test_malloc((size_t)(p->queries * p->heads) * sizeof(float))};
}

static inline void gradients_close(gradients *g) {
    test_free(g->dq);
    test_free(g->dk);
    test_free(g->dv);
    test_free(g->delta);
}

static inline void backward_on(mn_device *dev, const problem *p, const float *out, const float *lse,
                               gradients *g) {
    remote r = remote_open(dev);
    const int64_t t = p->queries, h = p->heads, c = p->kv_heads, dim = p->dim;
    const device_problem d = upload_problem(&r, p);
    MN_ASSERT_OK(dev->reserve(dev, t, h * (kv_width(dim) + 2)));
    const mn_tensor q = tensor_3d(d.q, t, h, dim);
    const mn_tensor tout = tensor_3d(upload_queries(&r, p, out, h * dim), t, h, dim);
    const mn_tensor dout = tensor_3d(upload_queries(&r, p, p->dout, h * dim), t, h, dim);
    const mn_tensor tl = mn_tensor_2d(upload_queries(&r, p, lse, h), MN_F32, t, h);
    mn_tensor dq = tensor_3d(remote_floats(&r, t * h * dim), t, h, dim);
    mn_tensor dk = tensor_3d(remote_floats(&r, t * c * dim), t, c, dim);
    mn_tensor dv = tensor_3d(remote_floats(&r, t * c * dim), t, c, dim);
    mn_tensor delta = mn_tensor_2d(remote_floats(&r, t * h), MN_F32, t, h);
    MN_ASSERT_OK(mn_attention_bwd(dev, &dq, &dk, &dv, &delta, &dout, &tout, &q, d.kv, &tl, &d.seqs,
                                  p->scale));
    remote_read(&r, g->dq, dq.data, (size_t)(t * h * dim) * sizeof(float));
    remote_read(&r, g->dk, dk.data, (size_t)(t * c * dim) * sizeof(float));
    remote_read(&r, g->dv, dv.data, (size_t)(t * c * dim) * sizeof(float));
    remote_read(&r, g->delta, delta.data, (size_t)(t * h) * sizeof(float));
    remote_close(&r);
}

/* ---- oracles ------------------------------------------------------------------------------------ */

/* What one query and head sees: weights and sizes for the bounds. */
typedef struct row_view {
    int64_t keys;
    double *weight, *score_error; /* of each visible key */
    int64_t *key;                 /* its row of k and v, in elements */
    double lse;
} row_view;

/* Errors of a score: of a sum of exact products in fp32, which tensor cores may truncate rather than round
 * (twice the error), and of its product with the scale. 2^x adds 2 units, its argument's rounding that of
 * the largest number that it is the difference of. */
static inline row_view row_open(const problem *p, const view *w, const mn_attn_seq *s, int64_t i,
                                int64_t h) {
    const int64_t dim = p->dim, group = h / (p->heads / p->kv_heads);
    const double *q = w->q + ((s->q_begin + i) * p->heads + h) * dim;
    row_view r = {0};
    while (ref_visible(s, i, r.keys) >= 0) r.keys++;
    r.weight = doubles(r.keys);
    r.score_error = doubles(r.keys);
    r.key = test_malloc((size_t)r.keys * sizeof *r.key);
    double largest = 0;
    for (int64_t j = 0; j < r.keys; j++) {
        double sum = 0, size = 0;
        r.key[j] = (ref_visible(s, i, j) * p->kv_heads + group) * dim;
        for (int64_t d = 0; d < dim; d++) {
            sum += q[d] * w->k[r.key[j] + d];
            size += fabs(q[d] * w->k[r.key[j] + d]);
        }
        r.weight[j] = sum * (double)p->scale;
        r.score_error[j] = size * (double)p->scale * (2 * sqrt((double)dim) + 4) * unit;
        largest = fmax(largest, fabs(r.weight[j]));
    }
    r.lse = ref_lse(r.weight, r.keys);
    for (int64_t j = 0; j < r.keys; j++) {
        r.weight[j] = exp(r.weight[j] - r.lse);
        r.score_error[j] += (4 * largest + 8) * unit;
    }
    return r;
}

static inline void row_close(row_view *r) {
    test_free(r->weight);
    test_free(r->score_error);
    test_free(r->key);
}

/* What is left of a row whose weights are rounded relative to their largest, as the kernels do. */
static inline void half_row(double *out, const row_view *r, const view *w, int64_t dim) {
    double top = 0, sum = 0;
    for (int64_t j = 0; j < r->keys; j++) top = fmax(top, r->weight[j]);
    for (int64_t d = 0; d < dim; d++) out[d] = 0;
    for (int64_t j = 0; j < r->keys; j++) {
        sum += r->weight[j] / top;
        for (int64_t d = 0; d < dim; d++)
            out[d] += rounded(r->weight[j] / top) * w->v[r->key[j] + d];
    }
    for (int64_t d = 0; d < dim; d++) out[d] /= sum;
}

static inline void judge(const char *what, const problem *p, const float *got, const double *want,
                         const double *bound, int64_t per, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (!covered(p, i / per)) {
            if (!isnan(got[i])) fail_msg("%s: %lld, nobody's, was written", what, (long long)i);
            continue;
        }
        const double error = fabs((double)got[i] - want[i]);
        if (!(error <= bound[i]))
            fail_msg(
                "%s: dim %lld, heads %lld on %lld, first length %d: element %lld (token %lld) is "
                "%.7g, expected %.7g, off by %.3g, allowed %.3g",
                what, (long long)p->dim, (long long)p->heads, (long long)p->kv_heads,
                p->seqs[0].q_len, (long long)i, (long long)(i / per), (double)got[i], want[i],
                error, bound[i]);
    }
}

/* max and root mean square of the error at most twice what the rounding oracle's are. */
static inline void judge_halves(const char *what, const problem *p, const float *got,
                                const double *want, const double *half, int64_t per, int64_t n) {
    double most = 0, allowed = 0, squares = 0, allowed_squares = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!covered(p, i / per)) continue;
        const double error = (double)got[i] - want[i], oracle = half[i] - want[i];
        most = fmax(most, fabs(error));
        allowed = fmax(allowed, fabs(oracle));
        squares += error * error;
        allowed_squares += oracle * oracle;
        size = fmax(size, fabs(want[i]));
    }
    if (!(most <= 2 * allowed + 1e-6 * size &&
          squares <= 4 * allowed_squares + 1e-12 * size * size))
        fail_msg("%s: dim %lld, heads %lld on %lld, first length %d: error %.3g (rms %.3g), the "
                 "oracle with fp16's roundings %.3g (%.3g)",
                 what, (long long)p->dim, (long long)p->heads, (long long)p->kv_heads,
                 p->seqs[0].q_len, most, sqrt(squares / (double)n), allowed,
                 sqrt(allowed_squares / (double)n));
}

/* ---- backward oracles --------------------------------------------------------------------------- */

/* out and lse of the forward pass, as the oracle has them. */
static inline void forward_result(float *out, float *lse, const problem *p, const view *w) {
    double *o = doubles(query_floats(p));
    ref_attention(o, w->q, w->k, w->v, p->seqs, p->nseq, p->heads, p->kv_heads, p->dim,
                  (double)p->scale);
    for (int64_t i = 0; i < query_floats(p); i++) out[i] = (float)o[i];
    for (int64_t i = 0; i < p->queries * p->heads; i++) lse[i] = 0;
    for (int64_t n = 0; n < p->nseq; n++)
        for (int64_t i = 0; i < p->seqs[n].q_len; i++)
            for (int64_t h = 0; h < p->heads; h++) {
                row_view r = row_open(p, w, &p->seqs[n], i, h);
                lse[(p->seqs[n].q_begin + i) * p->heads + h] = (float)r.lse;
                row_close(&r);
            }
    test_free(o);
}

typedef struct gradient_sums {
    double *dq, *dk, *dv, *delta;
} gradient_sums;

static inline gradient_sums sums_open(const problem *p) {
    const int64_t nk = p->queries * p->kv_heads * p->dim;
    return (gradient_sums){doubles(query_floats(p)), doubles(nk), doubles(nk),
                           doubles(p->queries * p->heads)};
}

static inline void sums_close(gradient_sums *s) {
    test_free(s->dq);
    test_free(s->dk);
    test_free(s->dv);
    test_free(s->delta);
}

/* One query and head of the backward pass. half: the gradient itself, with p and ds rounded; else the
 * bounds: p is off by its score's error and, for dv, a rounding; ds by the same and the error of dp and
 * delta; sums over keys or rows are in fp32. */
static inline void backward_row(gradient_sums *g, const problem *p, const view *w, const float *out,
                                const mn_attn_seq *s, int64_t i, int64_t h, bool half) {
    const int64_t dim = p->dim, at = (s->q_begin + i) * p->heads + h;
    const int64_t group = h / (p->heads / p->kv_heads);
    const double *q = w->q + at * dim, *dout = w->dout + at * dim, scale = (double)p->scale;
    row_view r = row_open(p, w, s, i, h);
    double delta = 0, delta_size = 0;
    for (int64_t d = 0; d < dim; d++) {
        delta += (double)p->dout[at * dim + d] * (double)out[at * dim + d];
        delta_size += fabs((double)p->dout[at * dim + d] * (double)out[at * dim + d]);
    }
    const double sum_error = (2 * sqrt((double)dim) + 4) * unit;
    const double sums = (2 * sqrt((double)(s->q_len * p->heads)) + 16) * unit;
    if (!half) g->delta[at] = 2 * sum_error * delta_size;
    for (int64_t j = 0; j < r.keys; j++) {
        const double *k = w->k + r.key[j], *v = w->v + r.key[j], weight = r.weight[j];
        const int64_t to = ((s->q_begin + j) * p->kv_heads + group) * dim;
        double dp = 0, dp_size = 0;
        for (int64_t d = 0; d < dim; d++) {
            dp += dout[d] * v[d];
            dp_size += fabs(dout[d] * v[d]);
        }
        const double ds = weight * (dp - delta);
        /* lse arrives rounded, and its product with log2 e is rounded again */
        const double ep = r.score_error[j] + 4 * unit * (fabs(r.lse) + 1);
        const double eds = fabs(ds) * (half_unit + ep + sums) +
                           weight * 2 * (sum_error + 2 * unit) * (dp_size + delta_size) + half_tiny;
        const double dv_part = half ? rounded(weight)
                                    : weight * (half_unit + ep + sums) + half_tiny;
        const double ds_part = half ? rounded(ds) : eds;
        for (int64_t d = 0; d < dim; d++) {
            g->dq[at * dim + d] += scale * ds_part * (half ? k[d] : fabs(k[d]));
            g->dk[to + d] += scale * ds_part * (half ? q[d] : fabs(q[d]));
            g->dv[to + d] += dv_part * (half ? dout[d] : fabs(dout[d]));
        }
    }
    row_close(&r);
}

static inline void backward_sums(gradient_sums *g, const problem *p, const view *w,
                                 const float *out, bool half) {
    for (int64_t n = 0; n < p->nseq; n++)
        for (int64_t i = 0; i < p->seqs[n].q_len; i++)
            for (int64_t h = 0; h < p->heads; h++)
                backward_row(g, p, w, out, &p->seqs[n], i, h, half);
}

#endif
