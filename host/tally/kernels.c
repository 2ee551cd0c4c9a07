/* kernels.c - what one call of each kernel costs: the rows of kernels.def, in its order, without arithmetic. */
#include "tally/tally.h"

#include <stdlib.h>

#define MN_KERNEL(name, params) static mn_status count_##name params;
#include "mneme/kernels.def"
#undef MN_KERNEL

const mn_kernels tally_kernels = {
#define MN_KERNEL(name, params) .name = count_##name,
#include "mneme/kernels.def"
#undef MN_KERNEL
};

enum { F32 = sizeof(float), I32 = sizeof(int32_t) };

/* A kernel that moves `numbers` floats, a few more bytes, and has no products. */
static mn_status moves(mn_stream *s, const char *kernel, int64_t rows, int64_t cols, double numbers,
                       double more) {
    return tally_add(tally_of(s), (mn_tally_row){.kernel = kernel,
                                                 .shape = {rows, cols},
                                                 .unit = MN_TALLY_F32,
                                                 .bytes = numbers * F32 + more});
}

/* A product with m x n x k steps. */
static mn_status multiplies(mn_stream *s, const char *kernel, int64_t m, int64_t n, int64_t k,
                            mn_dtype weights, double bytes) {
    const mn_tally_unit unit = weights == MN_F32 ? MN_TALLY_F32 : MN_TALLY_TENSOR;
    return tally_add(tally_of(s), (mn_tally_row){.kernel = kernel,
                                                 .shape = {m, n, k},
                                                 .unit = unit,
                                                 .flops = 2 * (double)m * (double)n * (double)k,
                                                 .bytes = bytes});
}

static double area(int64_t rows, int64_t cols) { return (double)rows * (double)cols; }

/* ---- attention ---- */

typedef struct span {
    int64_t begin, end;
} span;

static int by_begin(const void *a, const void *b) {
    const int64_t x = ((const span *)a)->begin, y = ((const span *)b)->begin;
    return (x > y) - (x < y);
}

/* Queries, pairs of a query and a key that it sees, and rows of the cache that anyone sees. */
typedef struct view {
    double queries, pairs, rows;
} view;

static mn_status look(view *out, const mn_attn_seqs *seqs) {
    int64_t count = 0, end = 0;
    *out = (view){0};
    span *spans = calloc((size_t)(seqs->count * (1 + MN_SHARED_SPANS)) + 1, sizeof *spans);
    MN_CHECK(spans, MN_ERR_MEMORY, "no memory to count %lld sequences", (long long)seqs->count);
    for (int64_t i = 0; i < seqs->count; i++) {
        const mn_attn_seq *s = &seqs->host[i];
        const double q = s->q_len;
        out->queries += q;
        out->pairs += q * (s->own_len - q) + q * (q + 1) / 2;
        spans[count++] = (span){s->own_begin, s->own_begin + s->own_len};
        for (int j = 0; j < MN_SHARED_SPANS; j++) {
            if (s->shared_len[j] == 0) continue;
            out->pairs += q * s->shared_len[j];
            spans[count++] = (span){s->shared_begin[j], s->shared_begin[j] + s->shared_len[j]};
        }
    }
    qsort(spans, (size_t)count, sizeof *spans, by_begin);
    for (int64_t i = 0; i < count; i++) { /* every row once */
        const int64_t begin = spans[i].begin > end ? spans[i].begin : end;
        if (spans[i].end <= begin) continue;
        out->rows += (double)(spans[i].end - begin);
        end = spans[i].end;
    }
    free(spans);
    return MN_OK;
}

/* K and V of one row of a cache. */
static double kv_row_bytes(mn_stream *s, mn_kv_layer kv) {
    const size_t bytes = tally_of(s)->device.kv_bytes(kv.rows, kv.kv_heads, kv.head_dim);
    return 2 * (double)bytes / (double)kv.rows;
}

static mn_status count_attention_fwd(mn_stream *s, float *out, float *lse, const float *q,
                                     mn_kv_layer kv, const mn_attn_seqs *seqs, int64_t heads,
                                     float scale, mn_compute compute) {
    view v;
    (void)out, (void)q, (void)scale, (void)compute;
    MN_TRY(look(&v, seqs));
    const double row = (double)(2 * heads * kv.head_dim + (lse ? heads : 0)) * F32;
    return tally_add(tally_of(s),
                     (mn_tally_row){.kernel = "attention_fwd",
                                    .shape = {(int64_t)v.queries, heads, kv.head_dim},
                                    .unit = MN_TALLY_TENSOR,
                                    .flops = 4 * area(heads, kv.head_dim) * v.pairs,
                                    .bytes = v.queries * row + v.rows * kv_row_bytes(s, kv)});
}

/* Four products for a pair (dv, dp, dq, dk), everywhere in mneme: the scores, computed again, are no work that is asked
 * for. */
static mn_status count_attention_bwd(mn_stream *s, float *dq, float *dk, float *dv, float *delta,
                                     const float *dout, const float *out, const float *q,
                                     mn_kv_layer kv, const float *lse, const mn_attn_seqs *seqs,
                                     int64_t heads, float scale) {
    view v;
    (void)dq, (void)dk, (void)dv, (void)delta, (void)dout, (void)out, (void)q, (void)lse;
    (void)scale;
    MN_TRY(look(&v, seqs));
    const double row = (double)((4 * heads + 2 * kv.kv_heads) * kv.head_dim + heads) * F32;
    return tally_add(tally_of(s),
                     (mn_tally_row){.kernel = "attention_bwd",
                                    .shape = {(int64_t)v.queries, heads, kv.head_dim},
                                    .unit = MN_TALLY_TENSOR,
                                    .flops = 8 * area(heads, kv.head_dim) * v.pairs,
                                    .bytes = v.queries * row + v.rows * kv_row_bytes(s, kv)});
}

/* ---- products ---- */

static mn_status count_linear_fwd(mn_stream *s, float *y, int64_t ldy, const float *x,
                                  const void *w, mn_dtype dtype, mn_layout layout,
                                  const float *bias, mn_epilogue epilogue, mn_compute compute,
                                  int64_t m, int64_t n, int64_t k) {
    (void)y, (void)ldy, (void)x, (void)w, (void)layout, (void)compute;
    const double result = area(m, n) * (epilogue == MN_EPILOGUE_ADD ? 2 : 1);
    const double floats = area(m, k) + result + (bias ? (double)n : 0);
    return multiplies(s, "linear_fwd", m, n, k, dtype,
                      floats * F32 + area(n, k) * (double)mn_dtype_size(dtype));
}

static mn_status count_linear_bwd_x(mn_stream *s, float *dx, int64_t lddx, const float *dy,
                                    int64_t lddy, const void *w, mn_dtype dtype, mn_layout layout,
                                    bool add, mn_compute compute, int64_t m, int64_t n, int64_t k) {
    (void)dx, (void)lddx, (void)dy, (void)lddy, (void)w, (void)layout, (void)compute;
    const double floats = area(m, n) + area(m, k) * (add ? 2 : 1);
    return multiplies(s, "linear_bwd_x", m, n, k, dtype,
                      floats * F32 + area(n, k) * (double)mn_dtype_size(dtype));
}

static mn_status count_linear_bwd_w(mn_stream *s, float *dw, float *dbias, const float *dy,
                                    int64_t lddy, const float *x, int64_t m, int64_t n, int64_t k) {
    (void)dw, (void)dy, (void)lddy, (void)x;
    const double floats = area(m, n) + area(m, k) + 2 * area(n, k) + (dbias ? 2 * (double)n : 0);
    return multiplies(s, "linear_bwd_w", m, n, k, MN_F32, floats * F32);
}

/* ---- norms ---- */

static mn_status count_layernorm_fwd(mn_stream *s, float *y, const float *x, const float *weight,
                                     const float *bias, float eps, int64_t rows, int64_t dim) {
    (void)y, (void)x, (void)weight, (void)bias, (void)eps;
    return moves(s, "layernorm_fwd", rows, dim, 2 * area(rows, dim) + 2 * (double)dim, 0);
}

static mn_status count_rmsnorm_fwd(mn_stream *s, float *y, const float *x, const float *weight,
                                   float eps, int64_t rows, int64_t dim) {
    (void)y, (void)x, (void)weight, (void)eps;
    return moves(s, "rmsnorm_fwd", rows, dim, 2 * area(rows, dim) + (double)dim, 0);
}

static mn_status count_layernorm_bwd(mn_stream *s, float *dx, float *dweight, float *dbias,
                                     const float *dy, const float *x, const float *weight,
                                     float eps, bool add, int64_t rows, int64_t dim) {
    (void)dx, (void)dbias, (void)dy, (void)x, (void)weight, (void)eps;
    return moves(s, "layernorm_bwd", rows, dim,
                 area(rows, dim) * (add ? 4 : 3) + (double)dim * (dweight ? 5 : 1), 0);
}

static mn_status count_rmsnorm_bwd(mn_stream *s, float *dx, float *dweight, const float *dy,
                                   const float *x, const float *weight, float eps, bool add,
                                   int64_t rows, int64_t dim) {
    (void)dx, (void)dy, (void)x, (void)weight, (void)eps;
    return moves(s, "rmsnorm_bwd", rows, dim,
                 area(rows, dim) * (add ? 4 : 3) + (double)dim * (dweight ? 3 : 1), 0);
}

static mn_status count_gated_norm_fwd(mn_stream *s, float *y, const float *d, const float *weight,
                                      const float *bias, const float *gate, float eps, int64_t rows,
                                      int64_t dim) {
    (void)y, (void)d, (void)weight, (void)bias, (void)gate, (void)eps;
    return moves(s, "gated_norm_fwd", rows, dim, 3 * area(rows, dim) + 2 * (double)dim + 1, 0);
}

static mn_status count_gated_norm_bwd(mn_stream *s, float *dd, float *dweight, float *dbias,
                                      float *dgate, const float *dy, const float *d,
                                      const float *weight, const float *bias, const float *gate,
                                      float eps, int64_t rows, int64_t dim) {
    (void)dd, (void)dweight, (void)dbias, (void)dgate, (void)dy, (void)d, (void)weight, (void)bias;
    (void)gate, (void)eps;
    return moves(s, "gated_norm_bwd", rows, dim, 3 * area(rows, dim) + 6 * (double)dim + 3, 0);
}

/* ---- rows and elements ---- */

static mn_status count_embed_fwd(mn_stream *s, float *x, const void *table, mn_dtype dtype,
                                 const int32_t *ids, int64_t begin, int64_t vocab, int64_t tokens,
                                 int64_t dim) {
    (void)x, (void)table, (void)ids, (void)begin, (void)vocab;
    return moves(s, "embed_fwd", tokens, dim, area(tokens, dim),
                 area(tokens, dim) * (double)mn_dtype_size(dtype) + (double)tokens * I32);
}

static mn_status count_embed_bwd(mn_stream *s, float *dtable, const float *dx, const int32_t *ids,
                                 int64_t begin, int64_t vocab, int64_t tokens, int64_t dim) {
    (void)dtable, (void)dx, (void)ids, (void)begin, (void)vocab;
    return moves(s, "embed_bwd", tokens, dim, 3 * area(tokens, dim), (double)tokens * I32);
}

/* Of the tables, a token needs a row of cosines and one of sines. */
static mn_status count_rope_store_fwd(mn_stream *s, float *q, mn_kv_layer kv, const float *qkv,
                                      const mn_qkv_layout *layout, const float *cos_table,
                                      const float *sin_table, const int32_t *positions,
                                      const int32_t *rows, int64_t tokens) {
    (void)q, (void)qkv, (void)cos_table, (void)sin_table, (void)positions, (void)rows;
    const int64_t queries = layout->heads * layout->head_dim, keys = kv.kv_heads * kv.head_dim;
    const double numbers = area(tokens, 2 * queries + 2 * keys + layout->rotary_dims);
    return moves(s, "rope_store_fwd", tokens, layout->ld, numbers,
                 (double)tokens * (kv_row_bytes(s, kv) + 2 * I32));
}

static mn_status count_rope_bwd(mn_stream *s, float *dqkv, const float *dq, const float *dk,
                                const float *dv, const mn_qkv_layout *layout, int64_t kv_heads,
                                const float *cos_table, const float *sin_table,
                                const int32_t *positions, int64_t tokens) {
    (void)dqkv, (void)dq, (void)dk, (void)dv, (void)cos_table, (void)sin_table, (void)positions;
    const int64_t row = (layout->heads + 2 * kv_heads) * layout->head_dim;
    return moves(s, "rope_bwd", tokens, layout->ld, area(tokens, 2 * row + layout->rotary_dims),
                 (double)tokens * I32);
}

static mn_status count_swiglu_fwd(mn_stream *s, float *y, const float *gate, const float *up,
                                  int64_t rows, int64_t dim) {
    (void)y, (void)gate, (void)up;
    return moves(s, "swiglu_fwd", rows, dim, 3 * area(rows, dim), 0);
}

static mn_status count_swiglu_bwd(mn_stream *s, float *dgate, float *dup, const float *dy,
                                  const float *gate, const float *up, int64_t n) {
    (void)dgate, (void)dup, (void)dy, (void)gate, (void)up;
    return moves(s, "swiglu_bwd", n, 0, 5 * (double)n, 0);
}

static mn_status count_gelu_fwd(mn_stream *s, float *y, const float *x, int64_t n) {
    (void)y, (void)x;
    return moves(s, "gelu_fwd", n, 0, 2 * (double)n, 0);
}

static mn_status count_gelu_bwd(mn_stream *s, float *dx, const float *dy, const float *x,
                                int64_t n) {
    (void)dx, (void)dy, (void)x;
    return moves(s, "gelu_bwd", n, 0, 3 * (double)n, 0);
}

static mn_status count_gather_fwd(mn_stream *s, float *y, const float *x, const int32_t *rows,
                                  int64_t m, int64_t dim) {
    (void)y, (void)x, (void)rows;
    return moves(s, "gather_fwd", m, dim, 2 * area(m, dim), (double)m * I32);
}

static mn_status count_gather_bwd(mn_stream *s, float *dx, const float *dy, const int32_t *rows,
                                  int64_t m, int64_t dim) {
    (void)dx, (void)dy, (void)rows;
    return moves(s, "gather_bwd", m, dim, 3 * area(m, dim), (double)m * I32);
}

static mn_status count_row_norms(mn_stream *s, float *norm, const float *x, int64_t rows,
                                 int64_t dim) {
    (void)norm, (void)x;
    return moves(s, "row_norms", rows, dim, area(rows, dim) + (double)rows, 0);
}

static mn_status count_row_difference(mn_stream *s, float *out, const float *x, const float *y,
                                      int64_t rows, int64_t dim) {
    (void)out, (void)x, (void)y;
    return moves(s, "row_difference", rows, dim, 2 * area(rows, dim) + (double)rows, 0);
}

static mn_status count_add(mn_stream *s, float *y, const float *x, int64_t n) {
    (void)y, (void)x;
    return moves(s, "add", n, 0, 3 * (double)n, 0);
}

static mn_status count_zero(mn_stream *s, float *y, int64_t n) {
    (void)y;
    return moves(s, "zero", n, 0, (double)n, 0);
}

static mn_status count_cast(mn_stream *s, void *y, mn_dtype to, const void *x, mn_dtype from,
                            int64_t n) {
    (void)y, (void)x;
    return moves(s, "cast", n, 0, 0, (double)n * (double)(mn_dtype_size(to) + mn_dtype_size(from)));
}

static mn_status count_count_nonfinite(mn_stream *s, int64_t *count, const float *x, int64_t n) {
    (void)count, (void)x;
    return moves(s, "count_nonfinite", n, 0, (double)n, 0);
}

/* ---- logits and the loss ---- */

static mn_status count_row_stats(mn_stream *s, mn_row_stat *stats, const float *logits,
                                 int64_t begin, int64_t rows, int64_t vocab) {
    (void)stats, (void)logits, (void)begin;
    return moves(s, "row_stats", rows, vocab, area(rows, vocab), (double)rows * sizeof *stats);
}

static mn_status count_row_stats_merge(mn_stream *s, mn_row_stat *stats, const mn_row_stat *parts,
                                       int64_t slices, int64_t rows) {
    (void)parts;
    return moves(s, "row_stats_merge", slices, rows, 0,
                 (double)(slices + 1) * (double)rows * sizeof *stats);
}

static mn_status count_logprob_gather(mn_stream *s, float *out, const float *logits,
                                      const mn_row_stat *stats, const int32_t *row,
                                      const int32_t *id, int64_t begin, int64_t count,
                                      int64_t vocab) {
    (void)out, (void)logits, (void)stats, (void)row, (void)id, (void)begin, (void)vocab;
    /* the result, a logit and a log-sum-exp; where they stand */
    return moves(s, "logprob_gather", count, 0, 3 * (double)count, 2 * (double)count * I32);
}

static mn_status count_sample(mn_stream *s, int32_t *id, const float *logits, const float *u,
                              float temperature, int64_t rows, int64_t vocab) {
    (void)id, (void)logits, (void)u, (void)temperature;
    return moves(s, "sample", rows, vocab, area(rows, vocab) + (double)rows, (double)rows * I32);
}

static mn_status count_cross_entropy(mn_stream *s, float *loss, float *logits,
                                     const int32_t *targets, float scale, int64_t rows,
                                     int64_t vocab) {
    (void)loss, (void)logits, (void)targets, (void)scale;
    return moves(s, "cross_entropy", rows, vocab, 2 * area(rows, vocab) + (double)rows,
                 (double)rows * I32);
}

static mn_status count_cross_entropy_part(mn_stream *s, float *loss, float *logits,
                                          const mn_row_stat *stats, const int32_t *targets,
                                          float scale, int64_t begin, int64_t rows, int64_t vocab) {
    (void)loss, (void)logits, (void)targets, (void)scale, (void)begin;
    return moves(s, "cross_entropy_part", rows, vocab, 2 * area(rows, vocab) + (double)rows,
                 (double)rows * (I32 + sizeof *stats));
}

/* ---- the optimizer ---- */

static mn_status count_square_sum(mn_stream *s, double *sum, const float *x, int64_t n) {
    (void)sum, (void)x;
    return moves(s, "square_sum", n, 0, (double)n, sizeof *sum);
}

/* Parameter and both means are read and written, the gradient is read. */
static mn_status count_adamw(mn_stream *s, float *param, float *m, float *v, const float *grad,
                             const mn_adamw *step, int64_t n) {
    (void)param, (void)m, (void)v, (void)grad, (void)step;
    return moves(s, "adamw", n, 0, 7 * (double)n, 0);
}
