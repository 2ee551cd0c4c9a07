/* ops.c - the forward ops: check shapes and types once, then call the device's kernel. */
#include "core/ops_check.h"

mn_status mn_embed_fwd(mn_device *dev, mn_tensor *x, const mn_tensor *table, const mn_tensor *ids,
                       const mn_id_range *range) {
    const int64_t tokens = ids->shape[0], dim = x->shape[1], vocab = table->shape[0];
    mn_id_range here;
    MN_TRY(want_range("embed", &here, range, vocab));
    MN_TRY(want("embed", "ids", ids, MN_I32, 1, ANY, ANY, ANY));
    MN_TRY(want("embed", "x", x, MN_F32, 2, tokens, ANY, ANY));
    MN_TRY(want_table("embed", "table", table, ANY, dim));
    const int32_t *id = ids->data;
    for (int64_t t = 0; dev->host_memory && t < tokens; t++)
        MN_CHECK(id[t] >= 0 && id[t] < here.total, MN_ERR_DATA,
                 "token %lld has id %d, the model has %lld", (long long)t, id[t],
                 (long long)here.total);
    return MN_RUN(dev, embed_fwd, x->data, table->data, table->dtype, id, here.begin, vocab, tokens,
                  dim);
}

mn_status mn_layernorm_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *x,
                           const mn_tensor *weight, const mn_tensor *bias, float eps) {
    const int64_t rows = x->shape[0], dim = x->shape[1];
    MN_TRY(want("layernorm", "x", x, MN_F32, 2, rows, dim, ANY));
    MN_TRY(want("layernorm", "y", y, MN_F32, 2, rows, dim, ANY));
    MN_TRY(want("layernorm", "weight", weight, MN_F32, 1, dim, ANY, ANY));
    MN_TRY(want("layernorm", "bias", bias, MN_F32, 1, dim, ANY, ANY));
    return MN_RUN(dev, layernorm_fwd, y->data, x->data, weight->data, bias->data, eps, rows, dim);
}

mn_status mn_rmsnorm_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *x, const mn_tensor *weight,
                         float eps) {
    const int64_t rows = x->shape[0], dim = x->shape[1];
    MN_TRY(want("rmsnorm", "x", x, MN_F32, 2, rows, dim, ANY));
    MN_TRY(want("rmsnorm", "y", y, MN_F32, 2, rows, dim, ANY));
    MN_TRY(want("rmsnorm", "weight", weight, MN_F32, 1, dim, ANY, ANY));
    return MN_RUN(dev, rmsnorm_fwd, y->data, x->data, weight->data, eps, rows, dim);
}

mn_status mn_linear_fwd(mn_device *dev, mn_tensor *y, int64_t ldy, const mn_tensor *x,
                        const mn_tensor *w, const mn_tensor *bias, mn_epilogue epilogue,
                        mn_compute compute) {
    const int64_t m = x->shape[0], k = x->shape[1], n = w->shape[0];
    MN_TRY(want("linear", "x", x, MN_F32, 2, m, k, ANY));
    MN_TRY(want_weight("linear", "w", w, n, k));
    MN_TRY(want("linear", "y", y, MN_F32, 2, m, n, ANY));
    MN_CHECK(ldy >= n, MN_ERR_USAGE, "linear: rows of %lld do not hold %lld outputs",
             (long long)ldy, (long long)n);
    if (bias) MN_TRY(want("linear", "bias", bias, MN_F32, 1, n, ANY, ANY));
    return MN_RUN(dev, linear_fwd, y->data, ldy, x->data, w->data, w->dtype, w->layout,
                  bias ? bias->data : NULL, epilogue, compute, m, n, k);
}

mn_status mn_rope_store_fwd(mn_device *dev, mn_tensor *q, mn_kv_layer kv, const mn_tensor *qkv,
                            const mn_qkv_layout *layout, const mn_tensor *cos_table,
                            const mn_tensor *sin_table, const mn_tensor *positions,
                            const mn_tensor *rows) {
    const char *op = "rope_store";
    const int64_t tokens = q->shape[0], half = layout->rotary_dims / 2;
    MN_TRY(want(op, "q", q, MN_F32, 3, tokens, layout->heads, layout->head_dim));
    MN_TRY(want(op, "qkv", qkv, MN_F32, 2, tokens, layout->ld, ANY));
    MN_TRY(want(op, "positions", positions, MN_I32, 1, tokens, ANY, ANY));
    MN_TRY(want(op, "rows", rows, MN_I32, 1, tokens, ANY, ANY));
    MN_TRY(want(op, "cos", cos_table, MN_F32, 2, ANY, half, ANY));
    MN_TRY(want(op, "sin", sin_table, MN_F32, 2, cos_table->shape[0], half, ANY));
    MN_CHECK(kv.head_dim == layout->head_dim && layout->rotary_dims % 2 == 0 &&
                 layout->rotary_dims <= layout->head_dim,
             MN_ERR_USAGE, "%s: head size %lld, rotary %lld, cache %lld do not fit", op,
             (long long)layout->head_dim, (long long)layout->rotary_dims, (long long)kv.head_dim);
    const int32_t *position = positions->data, *row = rows->data;
    for (int64_t t = 0; dev->host_memory && t < tokens; t++) {
        MN_CHECK(position[t] >= 0 && position[t] < cos_table->shape[0], MN_ERR_USAGE,
                 "%s: position %d, the model has %lld", op, position[t],
                 (long long)cos_table->shape[0]);
        MN_CHECK(row[t] >= 0 && row[t] < kv.rows, MN_ERR_USAGE,
                 "%s: cache row %d, the cache has %lld", op, row[t], (long long)kv.rows);
    }
    return MN_RUN(dev, rope_store_fwd, q->data, kv, qkv->data, layout, cos_table->data,
                  sin_table->data, position, row, tokens);
}

static mn_status want_span(const mn_kv_layer *kv, int64_t seq, int32_t begin, int32_t len) {
    MN_CHECK(begin >= 0 && len >= 0 && (int64_t)begin + len <= kv->rows, MN_ERR_USAGE,
             "attention: sequence %lld reads rows %d to %lld of %lld", (long long)seq, begin,
             (long long)begin + len, (long long)kv->rows);
    return MN_OK;
}

mn_status mn_attention_fwd(mn_device *dev, mn_tensor *out, mn_tensor *lse, const mn_tensor *q,
                           mn_kv_layer kv, const mn_attn_seqs *seqs, float scale,
                           mn_compute compute) {
    enum { MAX_HEAD = 512 };
    const int64_t tokens = q->shape[0], heads = q->shape[1];
    MN_TRY(want("attention", "q", q, MN_F32, 3, tokens, heads, kv.head_dim));
    MN_TRY(want("attention", "out", out, MN_F32, 3, tokens, heads, kv.head_dim));
    if (lse) MN_TRY(want("attention", "lse", lse, MN_F32, 2, tokens, heads, ANY));
    MN_CHECK(kv.head_dim <= MAX_HEAD && heads % kv.kv_heads == 0, MN_ERR_USAGE,
             "attention: %lld heads of size %lld over %lld key-value heads", (long long)heads,
             (long long)kv.head_dim, (long long)kv.kv_heads);
    MN_CHECK(scale > 0, MN_ERR_USAGE, "attention: scale %g is not positive", (double)scale);
    for (int64_t i = 0; i < seqs->count; i++) {
        const mn_attn_seq *s = &seqs->host[i];
        for (int j = 0; j < MN_SHARED_SPANS; j++)
            MN_TRY(want_span(&kv, i, s->shared_begin[j], s->shared_len[j]));
        MN_TRY(want_span(&kv, i, s->own_begin, s->own_len));
        MN_CHECK(s->q_begin >= 0 && s->q_len > 0 && (int64_t)s->q_begin + s->q_len <= tokens &&
                     s->own_len >= s->q_len,
                 MN_ERR_USAGE, "attention: sequence %lld has queries %d + %d of %lld, %d own rows",
                 (long long)i, s->q_begin, s->q_len, (long long)tokens, s->own_len);
    }
    return MN_RUN(dev, attention_fwd, out->data, lse ? lse->data : NULL, q->data, kv, seqs, heads,
                  scale, compute);
}

mn_status mn_swiglu_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *gate, const mn_tensor *up) {
    MN_TRY(want("swiglu", "gate", gate, MN_F32, 2, ANY, ANY, ANY));
    MN_TRY(want_like("swiglu", "up", up, gate));
    MN_TRY(want_like("swiglu", "y", y, gate));
    return MN_RUN(dev, swiglu_fwd, y->data, gate->data, up->data, gate->shape[0], gate->shape[1]);
}

mn_status mn_gather_fwd(mn_device *dev, mn_tensor *y, const mn_tensor *x, const mn_tensor *rows) {
    const int64_t m = rows->shape[0], dim = x->shape[1];
    MN_TRY(want("gather", "rows", rows, MN_I32, 1, m, ANY, ANY));
    MN_TRY(want("gather", "x", x, MN_F32, 2, ANY, dim, ANY));
    MN_TRY(want("gather", "y", y, MN_F32, 2, m, dim, ANY));
    const int32_t *row = rows->data;
    for (int64_t i = 0; dev->host_memory && i < m; i++)
        MN_CHECK(row[i] >= 0 && row[i] < x->shape[0], MN_ERR_USAGE, "gather: row %d of %lld",
                 row[i], (long long)x->shape[0]);
    return MN_RUN(dev, gather_fwd, y->data, x->data, row, m, dim);
}

mn_status mn_row_stats(mn_device *dev, mn_row_stat *stats, const mn_tensor *logits,
                       const mn_id_range *range) {
    mn_id_range here;
    MN_TRY(want("row_stats", "logits", logits, MN_F32, 2, ANY, ANY, ANY));
    MN_TRY(want_range("row_stats", &here, range, logits->shape[1]));
    return MN_RUN(dev, row_stats, stats, logits->data, here.begin, logits->shape[0],
                  logits->shape[1]);
}

mn_status mn_row_stats_merge(mn_device *dev, mn_row_stat *stats, const mn_row_stat *parts,
                             int64_t slices, int64_t rows) {
    MN_CHECK(slices > 0 && rows >= 0, MN_ERR_USAGE, "row_stats_merge: %lld slices of %lld rows",
             (long long)slices, (long long)rows);
    return MN_RUN(dev, row_stats_merge, stats, parts, slices, rows);
}

mn_status mn_row_difference(mn_device *dev, mn_tensor *out, const mn_tensor *x,
                            const mn_tensor *y) {
    const int64_t rows = x->shape[0], dim = x->shape[1];
    MN_TRY(want("row_difference", "x", x, MN_F32, 2, rows, dim, ANY));
    MN_TRY(want("row_difference", "y", y, MN_F32, 2, rows, dim, ANY));
    MN_TRY(want("row_difference", "out", out, MN_F32, 1, rows, ANY, ANY));
    return MN_RUN(dev, row_difference, out->data, x->data, y->data, rows, dim);
}

mn_status mn_logprob_gather(mn_device *dev, mn_tensor *out, const mn_tensor *logits,
                            const mn_row_stat *stats, const mn_tensor *row, const mn_tensor *id,
                            const mn_id_range *range) {
    const int64_t n = out->shape[0];
    mn_id_range here;
    MN_TRY(want("logprob_gather", "out", out, MN_F32, 1, n, ANY, ANY));
    MN_TRY(want("logprob_gather", "logits", logits, MN_F32, 2, ANY, ANY, ANY));
    MN_TRY(want("logprob_gather", "row", row, MN_I32, 1, n, ANY, ANY));
    MN_TRY(want("logprob_gather", "id", id, MN_I32, 1, n, ANY, ANY));
    MN_TRY(want_range("logprob_gather", &here, range, logits->shape[1]));
    const int32_t *r = row->data, *v = id->data;
    for (int64_t i = 0; dev->host_memory && i < n; i++)
        MN_CHECK(r[i] >= 0 && r[i] < logits->shape[0] && v[i] >= 0 && v[i] < here.total,
                 MN_ERR_USAGE, "logprob_gather: row %d, id %d of (%lld, %lld)", r[i], v[i],
                 (long long)logits->shape[0], (long long)here.total);
    return MN_RUN(dev, logprob_gather, out->data, logits->data, stats, r, v, here.begin, n,
                  logits->shape[1]);
}

mn_status mn_sample(mn_device *dev, mn_tensor *ids, const mn_tensor *logits, const mn_tensor *u,
                    float temperature) {
    const int64_t rows = logits->shape[0];
    MN_TRY(want("sample", "logits", logits, MN_F32, 2, rows, ANY, ANY));
    MN_TRY(want("sample", "ids", ids, MN_I32, 1, rows, ANY, ANY));
    MN_TRY(want("sample", "u", u, MN_F32, 1, rows, ANY, ANY));
    MN_CHECK(temperature > 0, MN_ERR_USAGE, "sample: temperature %g must be above 0",
             (double)temperature);
    return MN_RUN(dev, sample, ids->data, logits->data, u->data, temperature, rows,
                  logits->shape[1]);
}

mn_status mn_count_nonfinite(mn_device *dev, int64_t *count, const mn_tensor *x) {
    MN_CHECK(x->dtype == MN_F32, MN_ERR_USAGE, "count_nonfinite: x is %s, F32 expected",
             mn_dtype_name(x->dtype));
    return MN_RUN(dev, count_nonfinite, count, x->data, mn_tensor_count(x));
}
