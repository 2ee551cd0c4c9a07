/* ops_train.c - the ops of training: gradients, loss, optimizer. Checks first, then the kernel. */
#include "core/ops_check.h"

mn_status mn_add(mn_device *dev, mn_tensor *y, const mn_tensor *x) {
    MN_TRY(want_f32("add", "y", y));
    MN_TRY(want_like("add", "x", x, y));
    return MN_RUN(dev, add, y->data, x->data, mn_tensor_count(y));
}

mn_status mn_zero(mn_device *dev, mn_tensor *y) {
    MN_TRY(want_f32("zero", "y", y));
    return MN_RUN(dev, zero, y->data, mn_tensor_count(y));
}

mn_status mn_cast(mn_device *dev, mn_tensor *y, const mn_tensor *x) {
    MN_TRY(want_float("cast", "x", x));
    MN_TRY(want_float("cast", "y", y));
    MN_TRY(want_shape("cast", "y", y, x));
    return MN_RUN(dev, cast, y->data, y->dtype, x->data, x->dtype, mn_tensor_count(x));
}

mn_status mn_row_norms(mn_device *dev, mn_tensor *norm, const mn_tensor *x) {
    MN_TRY(want("row_norms", "x", x, MN_F32, 2, ANY, ANY, ANY));
    MN_TRY(want("row_norms", "norm", norm, MN_F32, 1, x->shape[0], ANY, ANY));
    return MN_RUN(dev, row_norms, norm->data, x->data, x->shape[0], x->shape[1]);
}

mn_status mn_gelu_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *x) {
    MN_TRY(want_f32("gelu", "x", x));
    MN_TRY(want_like("gelu", "y", y, x));
    return MN_RUN(dev, gelu_fwd, y->data, x->data, mn_tensor_count(x));
}

mn_status mn_gelu_bwd(mn_device *dev, mn_tensor *dx, const mn_tensor *dy, const mn_tensor *x) {
    MN_TRY(want_f32("gelu_bwd", "x", x));
    MN_TRY(want_like("gelu_bwd", "dy", dy, x));
    MN_TRY(want_like("gelu_bwd", "dx", dx, x));
    return MN_RUN(dev, gelu_bwd, dx->data, dy->data, x->data, mn_tensor_count(x));
}

mn_status mn_swiglu_bwd(mn_device *dev, mn_tensor *dgate, mn_tensor *dup, const mn_tensor *dy,
                        const mn_tensor *gate, const mn_tensor *up) {
    MN_TRY(want("swiglu_bwd", "gate", gate, MN_F32, 2, ANY, ANY, ANY));
    MN_TRY(want_like("swiglu_bwd", "up", up, gate));
    MN_TRY(want_like("swiglu_bwd", "dy", dy, gate));
    MN_TRY(want_like("swiglu_bwd", "dgate", dgate, gate));
    MN_TRY(want_like("swiglu_bwd", "dup", dup, gate));
    return MN_RUN(dev, swiglu_bwd, dgate->data, dup->data, dy->data, gate->data, up->data,
                  mn_tensor_count(gate));
}

/* ---- Linear ------------------------------------------------------------------------------------- */

static mn_status want_width(const char *op, const char *name, int64_t ld, int64_t width) {
    MN_CHECK(ld >= width, MN_ERR_USAGE, "%s: rows of %lld in %s do not hold %lld elements", op,
             (long long)ld, name, (long long)width);
    return MN_OK;
}

mn_status mn_linear_bwd_x(mn_device *dev, mn_tensor *dx, int64_t lddx, const mn_tensor *dy,
                          int64_t lddy, const mn_tensor *w, bool add, mn_compute compute) {
    const char *op = "linear_bwd_x";
    const int64_t m = dy->shape[0], n = w->shape[0], k = w->shape[1];
    MN_TRY(want_weight(op, "w", w, n, k));
    MN_TRY(want(op, "dy", dy, MN_F32, 2, m, n, ANY));
    MN_TRY(want(op, "dx", dx, MN_F32, 2, m, k, ANY));
    MN_TRY(want_width(op, "dy", lddy, n));
    MN_TRY(want_width(op, "dx", lddx, k));
    return MN_RUN(dev, linear_bwd_x, dx->data, lddx, dy->data, lddy, w->data, w->dtype, w->layout,
                  add, compute, m, n, k);
}

mn_status mn_linear_bwd_w(mn_device *dev, mn_tensor *dw, mn_tensor *dbias, const mn_tensor *dy,
                          int64_t lddy, const mn_tensor *x) {
    const char *op = "linear_bwd_w";
    const int64_t m = x->shape[0], k = x->shape[1], n = dw->shape[0];
    MN_TRY(want(op, "x", x, MN_F32, 2, m, k, ANY));
    MN_TRY(want(op, "dw", dw, MN_F32, 2, n, k, ANY));
    MN_TRY(want(op, "dy", dy, MN_F32, 2, m, n, ANY));
    MN_TRY(want_width(op, "dy", lddy, n));
    if (dbias) MN_TRY(want(op, "dbias", dbias, MN_F32, 1, n, ANY, ANY));
    return MN_RUN(dev, linear_bwd_w, dw->data, dbias ? dbias->data : NULL, dy->data, lddy, x->data,
                  m, n, k);
}

/* ---- Norms -------------------------------------------------------------------------------------- */

/* x, dx and dy (T, C), the norm's weight (C). */
static mn_status want_norm(const char *op, const mn_tensor *dx, const mn_tensor *dy,
                           const mn_tensor *x, const mn_tensor *weight) {
    MN_TRY(want(op, "x", x, MN_F32, 2, ANY, ANY, ANY));
    MN_TRY(want_like(op, "dy", dy, x));
    MN_TRY(want_like(op, "dx", dx, x));
    return want(op, "weight", weight, MN_F32, 1, x->shape[1], ANY, ANY);
}

mn_status mn_layernorm_bwd(mn_device *dev, mn_tensor *dx, mn_tensor *dweight, mn_tensor *dbias,
                           const mn_tensor *dy, const mn_tensor *x, const mn_tensor *weight,
                           float eps, bool add) {
    const char *op = "layernorm_bwd";
    MN_TRY(want_norm(op, dx, dy, x, weight));
    MN_CHECK(!dweight == !dbias, MN_ERR_USAGE, "%s: dweight and dbias, or neither", op);
    if (dweight) MN_TRY(want_like(op, "dweight", dweight, weight));
    if (dbias) MN_TRY(want_like(op, "dbias", dbias, weight));
    return MN_RUN(dev, layernorm_bwd, dx->data, dweight ? dweight->data : NULL,
                  dbias ? dbias->data : NULL, dy->data, x->data, weight->data, eps, add,
                  x->shape[0], x->shape[1]);
}

mn_status mn_rmsnorm_bwd(mn_device *dev, mn_tensor *dx, mn_tensor *dweight, const mn_tensor *dy,
                         const mn_tensor *x, const mn_tensor *weight, float eps, bool add) {
    MN_TRY(want_norm("rmsnorm_bwd", dx, dy, x, weight));
    if (dweight) MN_TRY(want_like("rmsnorm_bwd", "dweight", dweight, weight));
    return MN_RUN(dev, rmsnorm_bwd, dx->data, dweight ? dweight->data : NULL, dy->data, x->data,
                  weight->data, eps, add, x->shape[0], x->shape[1]);
}

static mn_status want_gate(const char *op, const char *name, const mn_tensor *gate) {
    return want(op, name, gate, MN_F32, 1, 1, ANY, ANY);
}

mn_status mn_gated_norm_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *d,
                            const mn_tensor *weight, const mn_tensor *bias, const mn_tensor *gate,
                            float eps) {
    const char *op = "gated_norm";
    MN_TRY(want(op, "d", d, MN_F32, 2, ANY, ANY, ANY));
    MN_TRY(want_like(op, "y", y, d));
    MN_TRY(want(op, "weight", weight, MN_F32, 1, d->shape[1], ANY, ANY));
    MN_TRY(want_like(op, "bias", bias, weight));
    MN_TRY(want_gate(op, "gate", gate));
    return MN_RUN(dev, gated_norm_fwd, y->data, d->data, weight->data, bias->data, gate->data, eps,
                  d->shape[0], d->shape[1]);
}

mn_status mn_gated_norm_bwd(mn_device *dev, mn_tensor *dd, mn_tensor *dweight, mn_tensor *dbias,
                            mn_tensor *dgate, const mn_tensor *dy, const mn_tensor *d,
                            const mn_tensor *weight, const mn_tensor *bias, const mn_tensor *gate,
                            float eps) {
    const char *op = "gated_norm_bwd";
    MN_TRY(want(op, "d", d, MN_F32, 2, ANY, ANY, ANY));
    MN_TRY(want_like(op, "dy", dy, d));
    MN_TRY(want_like(op, "dd", dd, d));
    MN_TRY(want(op, "weight", weight, MN_F32, 1, d->shape[1], ANY, ANY));
    MN_TRY(want_like(op, "bias", bias, weight));
    MN_TRY(want_like(op, "dweight", dweight, weight));
    MN_TRY(want_like(op, "dbias", dbias, weight));
    MN_TRY(want_gate(op, "gate", gate));
    MN_TRY(want_gate(op, "dgate", dgate));
    return MN_RUN(dev, gated_norm_bwd, dd->data, dweight->data, dbias->data, dgate->data, dy->data,
                  d->data, weight->data, bias->data, gate->data, eps, d->shape[0], d->shape[1]);
}

/* ---- Attention ---------------------------------------------------------------------------------- */

mn_status mn_rope_bwd(mn_device *dev, mn_tensor *dqkv, const mn_tensor *dq, const mn_tensor *dk,
                      const mn_tensor *dv, const mn_qkv_layout *layout, const mn_tensor *cos_table,
                      const mn_tensor *sin_table, const mn_tensor *positions) {
    const char *op = "rope_bwd";
    const int64_t tokens = dq->shape[0], half = layout->rotary_dims / 2, kv_heads = dk->shape[1];
    MN_TRY(want(op, "dq", dq, MN_F32, 3, tokens, layout->heads, layout->head_dim));
    MN_TRY(want(op, "dk", dk, MN_F32, 3, tokens, kv_heads, layout->head_dim));
    MN_TRY(want_like(op, "dv", dv, dk));
    MN_TRY(want(op, "dqkv", dqkv, MN_F32, 2, tokens, layout->ld, ANY));
    MN_TRY(want(op, "positions", positions, MN_I32, 1, tokens, ANY, ANY));
    MN_TRY(want(op, "cos", cos_table, MN_F32, 2, ANY, half, ANY));
    MN_TRY(want(op, "sin", sin_table, MN_F32, 2, cos_table->shape[0], half, ANY));
    MN_CHECK(layout->rotary_dims % 2 == 0 && layout->rotary_dims <= layout->head_dim, MN_ERR_USAGE,
             "%s: head size %lld, rotary %lld do not fit", op, (long long)layout->head_dim,
             (long long)layout->rotary_dims);
    MN_TRY(want_ids(dev, op, "position", positions, cos_table->shape[0], MN_ERR_USAGE));
    return MN_RUN(dev, rope_bwd, dqkv->data, dq->data, dk->data, dv->data, layout, kv_heads,
                  cos_table->data, sin_table->data, positions->data, tokens);
}

/* A sequence of the backward pass: own rows only, each of them a query of this call. */
static mn_status want_sequence(const mn_attn_seq *s, int64_t index, int64_t tokens, int64_t rows) {
    bool shared = false;
    for (int j = 0; j < MN_SHARED_SPANS; j++) shared = shared || s->shared_len[j] != 0;
    MN_CHECK(!shared && s->own_len == s->q_len, MN_ERR_USAGE,
             "attention_bwd: sequence %lld has %d queries on %d own rows%s; all rows must be its "
             "queries",
             (long long)index, s->q_len, s->own_len, shared ? " and shared ones" : "");
    MN_CHECK(s->q_begin >= 0 && s->q_len > 0 && (int64_t)s->q_begin + s->q_len <= tokens &&
                 s->own_begin >= 0 && (int64_t)s->own_begin + s->own_len <= rows,
             MN_ERR_USAGE,
             "attention_bwd: sequence %lld has queries %d + %d of %lld, rows from %d of %lld",
             (long long)index, s->q_begin, s->q_len, (long long)tokens, s->own_begin,
             (long long)rows);
    return MN_OK;
}

mn_status mn_attention_bwd(mn_device *dev, mn_tensor *dq, mn_tensor *dk, mn_tensor *dv,
                           mn_tensor *delta, const mn_tensor *dout, const mn_tensor *out,
                           const mn_tensor *q, mn_kv_layer kv, const mn_tensor *lse,
                           const mn_attn_seqs *seqs, float scale) {
    enum { MAX_HEAD = 512 };
    const char *op = "attention_bwd";
    const int64_t tokens = q->shape[0], heads = q->shape[1];
    MN_TRY(want(op, "q", q, MN_F32, 3, tokens, heads, kv.head_dim));
    MN_TRY(want_like(op, "out", out, q));
    MN_TRY(want_like(op, "dout", dout, q));
    MN_TRY(want_like(op, "dq", dq, q));
    MN_TRY(want(op, "dk", dk, MN_F32, 3, tokens, kv.kv_heads, kv.head_dim));
    MN_TRY(want_like(op, "dv", dv, dk));
    MN_TRY(want(op, "lse", lse, MN_F32, 2, tokens, heads, ANY));
    MN_TRY(want_like(op, "delta", delta, lse));
    MN_CHECK(kv.head_dim <= MAX_HEAD && heads % kv.kv_heads == 0, MN_ERR_USAGE,
             "%s: %lld heads of size %lld over %lld key-value heads", op, (long long)heads,
             (long long)kv.head_dim, (long long)kv.kv_heads);
    for (int64_t i = 0; i < seqs->count; i++)
        MN_TRY(want_sequence(&seqs->host[i], i, tokens, kv.rows));
    return MN_RUN(dev, attention_bwd, dq->data, dk->data, dv->data, delta->data, dout->data,
                  out->data, q->data, kv, lse->data, seqs, heads, scale);
}

/* ---- Rows --------------------------------------------------------------------------------------- */

mn_status mn_embed_bwd(mn_device *dev, mn_tensor *dtable, const mn_tensor *dx, const mn_tensor *ids,
                       const mn_id_range *range) {
    const int64_t tokens = ids->shape[0], dim = dx->shape[1];
    mn_id_range here;
    MN_TRY(want("embed_bwd", "ids", ids, MN_I32, 1, ANY, ANY, ANY));
    MN_TRY(want("embed_bwd", "dx", dx, MN_F32, 2, tokens, dim, ANY));
    MN_TRY(want("embed_bwd", "dtable", dtable, MN_F32, 2, ANY, dim, ANY));
    MN_TRY(want_range("embed_bwd", &here, range, dtable->shape[0]));
    MN_TRY(want_ids(dev, "embed_bwd", "id", ids, here.total, MN_ERR_DATA));
    return MN_RUN(dev, embed_bwd, dtable->data, dx->data, ids->data, here.begin, dtable->shape[0],
                  tokens, dim);
}

mn_status mn_gather_bwd(mn_device *dev, mn_tensor *dx, const mn_tensor *dy, const mn_tensor *rows) {
    const int64_t m = rows->shape[0], dim = dx->shape[1];
    MN_TRY(want("gather_bwd", "rows", rows, MN_I32, 1, ANY, ANY, ANY));
    MN_TRY(want("gather_bwd", "dx", dx, MN_F32, 2, ANY, dim, ANY));
    MN_TRY(want("gather_bwd", "dy", dy, MN_F32, 2, m, dim, ANY));
    MN_TRY(want_ids(dev, "gather_bwd", "row", rows, dx->shape[0], MN_ERR_USAGE));
    return MN_RUN(dev, gather_bwd, dx->data, dy->data, rows->data, m, dim);
}

mn_status mn_cross_entropy(mn_device *dev, mn_tensor *loss, mn_tensor *logits,
                           const mn_tensor *targets, float scale) {
    const char *op = "cross_entropy";
    const int64_t rows = logits->shape[0], vocab = logits->shape[1];
    MN_TRY(want(op, "logits", logits, MN_F32, 2, ANY, ANY, ANY));
    MN_TRY(want(op, "loss", loss, MN_F32, 1, rows, ANY, ANY));
    MN_TRY(want(op, "targets", targets, MN_I32, 1, rows, ANY, ANY));
    MN_TRY(want_ids(dev, op, "target", targets, vocab, MN_ERR_DATA));
    return MN_RUN(dev, cross_entropy, loss->data, logits->data, targets->data, scale, rows, vocab);
}

mn_status mn_cross_entropy_part(mn_device *dev, mn_tensor *loss, mn_tensor *logits,
                                const mn_row_stat *stats, const mn_tensor *targets, float scale,
                                const mn_id_range *range) {
    const char *op = "cross_entropy_part";
    const int64_t rows = logits->shape[0], vocab = logits->shape[1];
    mn_id_range here;
    MN_TRY(want(op, "logits", logits, MN_F32, 2, ANY, ANY, ANY));
    MN_TRY(want(op, "loss", loss, MN_F32, 1, rows, ANY, ANY));
    MN_TRY(want(op, "targets", targets, MN_I32, 1, rows, ANY, ANY));
    MN_TRY(want_range(op, &here, range, vocab));
    MN_TRY(want_ids(dev, op, "target", targets, here.total, MN_ERR_DATA));
    return MN_RUN(dev, cross_entropy_part, loss->data, logits->data, stats, targets->data, scale,
                  here.begin, rows, vocab);
}

/* ---- Optimizer ---------------------------------------------------------------------------------- */

mn_status mn_square_sum(mn_device *dev, double *sum, const mn_tensor *x) {
    MN_TRY(want_f32("square_sum", "x", x));
    return MN_RUN(dev, square_sum, sum, x->data, mn_tensor_count(x));
}

mn_status mn_adamw_step(mn_device *dev, mn_tensor *param, mn_tensor *m, mn_tensor *v,
                        const mn_tensor *grad, const mn_adamw *step) {
    MN_TRY(want_f32("adamw", "param", param));
    MN_TRY(want_like("adamw", "m", m, param));
    MN_TRY(want_like("adamw", "v", v, param));
    MN_TRY(want_like("adamw", "grad", grad, param));
    return MN_RUN(dev, adamw, param->data, m->data, v->data, grad->data, step,
                  mn_tensor_count(param));
}
