/* tape_backward.c - back through the blocks: the residual stream's gradient, and in full mode those of
 * all weights.
 *
 * d is the gradient of the residual stream; each branch of a block adds its own to it. Norm outputs
 * and activations are computed again where a weight's gradient needs them.
 *
 * Of ranks that share the model each goes back through its own heads and inner units. The gradients of the norms' outputs
 * are parts then; a norm's backward is linear in them, so that parts go through it and one sum behind a parallel
 * block (behind each branch of a sequential one) makes the residual stream's gradient whole again. */
#include "model/tape_impl.h"

mn_status mn_tape_norm_bwd(mn_tape *t, mn_tensor *dx, const mn_tensor *dy, const mn_tensor *x,
                           const mn_tensor *weight, mn_tensor *dweight, mn_tensor *dbias,
                           bool add) {
    const mn_model_config *c = &t->model->config;
    mn_device *dev = t->model->device;
    return c->arch == MN_NEOX
               ? mn_layernorm_bwd(dev, dx, dweight, dbias, dy, x, weight, c->norm_eps, add)
               : mn_rmsnorm_bwd(dev, dx, dweight, dy, x, weight, c->norm_eps, add);
}

/* dx = or += dy w, dy in rows of lddy. */
static mn_status product_bwd(mn_tape *t, mn_tensor *dx, const mn_tensor *dy, int64_t lddy,
                             const mn_tensor *w, bool add) {
    return mn_linear_bwd_x(t->model->device, dx, dx->shape[1], dy, lddy, w, add, t->limits.compute);
}

/* In full mode dw += dy' x, and dbias. */
static mn_status weight_bwd(mn_tape *t, mn_tensor *dw, mn_tensor *dbias, const mn_tensor *dy,
                            int64_t lddy, const mn_tensor *x) {
    return mn_linear_bwd_w(t->model->device, dw, dbias, dy, lddy, x);
}

/* ---- the MLP ---- */

/* tape->dh (r, C) = gradient of the normalised rows that the MLP read; `base` are these rows before
 * the norm. */
static mn_status neox_mlp_bwd(mn_tape *t, const mn_layer *l, mn_layer *g, const mn_kept *k,
                              const mn_tensor *d, const mn_tensor *base) {
    mn_device *dev = t->model->device;
    const int64_t rows = d->shape[0], dim = d->shape[1], inner = t->act.shape[1];
    mn_tensor act = mn_tape_rows(&t->act, rows), dact = mn_tape_rows(&t->dact, rows);
    mn_tensor h = mn_tape_rows(&t->h, rows), dh = mn_tape_rows(&t->dh, rows);
    if (g) {
        MN_TRY(mn_gelu_fwd(dev, &act, &k->up));
        MN_TRY(weight_bwd(t, &g->down_w, &g->down_b, d, dim, &act));
    }
    MN_TRY(product_bwd(t, &dact, d, dim, &l->down_w, false));
    MN_TRY(mn_gelu_bwd(dev, &dact, &dact, &k->up));
    if (g) {
        MN_TRY(mn_tape_norm(t, &h, base, &l->norm2_w, &l->norm2_b));
        MN_TRY(weight_bwd(t, &g->up_w, &g->up_b, &dact, inner, &h));
    }
    return product_bwd(t, &dh, &dact, inner, &l->up_w, false);
}

static mn_status llama_mlp_bwd(mn_tape *t, const mn_layer *l, mn_layer *g, const mn_kept *k,
                               const mn_tensor *d, const mn_tensor *base) {
    mn_device *dev = t->model->device;
    const int64_t rows = d->shape[0], dim = d->shape[1], inner = t->act.shape[1];
    mn_tensor act = mn_tape_rows(&t->act, rows), dgate = mn_tape_rows(&t->dact, rows);
    mn_tensor dup = mn_tape_rows(&t->side, rows);
    mn_tensor h = mn_tape_rows(&t->h, rows), dh = mn_tape_rows(&t->dh, rows);
    if (g) {
        MN_TRY(mn_swiglu_fwd(dev, &act, &k->gate, &k->up));
        MN_TRY(weight_bwd(t, &g->down_w, NULL, d, dim, &act));
    }
    MN_TRY(product_bwd(t, &dgate, d, dim, &l->down_w, false));
    MN_TRY(mn_swiglu_bwd(dev, &dgate, &dup, &dgate, &k->gate, &k->up));
    if (g) {
        MN_TRY(mn_tape_norm(t, &h, base, &l->norm2_w, NULL));
        MN_TRY(weight_bwd(t, &g->gate_w, NULL, &dgate, inner, &h));
        MN_TRY(weight_bwd(t, &g->up_w, NULL, &dup, inner, &h));
    }
    MN_TRY(product_bwd(t, &dh, &dgate, inner, &l->gate_w, false));
    return product_bwd(t, &dh, &dup, inner, &l->up_w, true);
}

/* ---- attention ---- */

/* tape->dout (T, Hq, D) = gradient of the attention's output: zero but for the rows with targets. */
static mn_status attended_bwd(mn_tape *t, const mn_layer *l, mn_layer *g, const mn_kept *k,
                              const mn_tensor *d) {
    mn_device *dev = t->model->device;
    const bool compact = d->shape[0] < t->dout.shape[0];
    mn_tensor attended = mn_tape_flat(&k->attended), dout = mn_tape_flat(&t->dout);
    mn_tensor rows = mn_tape_flat(&t->dq); /* free until the attention's backward */
    rows.shape[0] = d->shape[0];
    if (g && compact) {
        MN_TRY(mn_gather_fwd(dev, &rows, &attended, &t->outputs));
        attended = rows;
    }
    if (g)
        MN_TRY(
            weight_bwd(t, &g->out_w, g->out_b.data ? &g->out_b : NULL, d, d->shape[1], &attended));
    if (!compact) return product_bwd(t, &dout, d, d->shape[1], &l->out_w, false);
    MN_TRY(product_bwd(t, &rows, d, d->shape[1], &l->out_w, false));
    MN_TRY(mn_zero(dev, &dout));
    return mn_gather_bwd(dev, &dout, &rows, &t->outputs);
}

/* tape->dh (T, C) = gradient of the block's first norm, from tape->dout. */
static mn_status projections_bwd(mn_tape *t, const mn_layer *l, mn_layer *g, const mn_kept *k) {
    mn_device *dev = t->model->device;
    const mn_model *m = t->model;
    const int64_t ld = t->layout.ld, tokens = t->qkv.shape[0];
    MN_TRY(mn_attention_bwd(dev, &t->dq, &t->dk, &t->dv, &t->delta, &t->dout, &k->attended, &k->q,
                            k->kv, &k->lse, &t->seqs, t->scale));
    MN_TRY(mn_rope_bwd(dev, &t->qkv, &t->dq, &t->dk, &t->dv, &t->layout, &m->cos_table,
                       &m->sin_table, &t->positions));
    if (g) MN_TRY(mn_tape_norm(t, &t->h, &k->x, &l->norm1_w, &l->norm1_b));
    if (m->config.arch == MN_NEOX) {
        if (g) MN_TRY(weight_bwd(t, &g->qkv_w, &g->qkv_b, &t->qkv, ld, &t->h));
        return product_bwd(t, &t->dh, &t->qkv, ld, &l->qkv_w, false);
    }
    const struct {
        int64_t begin;
        const mn_tensor *w;
        mn_tensor *dw;
    } parts[] = {{t->layout.q_begin, &l->q_w, g ? &g->q_w : NULL},
                 {t->layout.k_begin, &l->k_w, g ? &g->k_w : NULL},
                 {t->layout.v_begin, &l->v_w, g ? &g->v_w : NULL}};
    for (int i = 0; i < 3; i++) {
        const mn_tensor dy = mn_tensor_2d((float *)t->qkv.data + parts[i].begin, MN_F32, tokens,
                                          parts[i].w->shape[0]);
        if (g) MN_TRY(weight_bwd(t, parts[i].dw, NULL, &dy, ld, &t->h));
        MN_TRY(product_bwd(t, &t->dh, &dy, ld, parts[i].w, i > 0));
    }
    return MN_OK;
}

/* ---- one block ---- */

/* *d: gradient of the block's output (r, C), then of its input (T, C). */
static mn_status block_bwd(mn_tape *t, int64_t block, mn_tensor *d) {
    mn_device *dev = t->model->device;
    mn_comm *tp = t->model->tp;
    const mn_model_config *c = &t->model->config;
    const mn_layer *l = &t->model->layers[block];
    mn_layer *g = t->limits.full ? &t->model_grad->layers[block] : NULL;
    const mn_kept *k = &t->kept[block];
    const bool compact = d->shape[0] < k->x.shape[0];
    const mn_tensor dh = mn_tape_rows(&t->dh, d->shape[0]);
    mn_tensor base = c->parallel_residual ? k->x : k->middle;
    if (compact && c->parallel_residual) {
        base = mn_tape_rows(&t->grad, d->shape[0]); /* free until *d moves there */
        MN_TRY(mn_gather_fwd(dev, &base, &k->x, &t->outputs));
    }
    MN_TRY(c->arch == MN_NEOX ? neox_mlp_bwd(t, l, g, k, d, &base)
                              : llama_mlp_bwd(t, l, g, k, d, &base));
    /* A parallel block's attention sees the gradient of the output, a sequential one's that of the
     * stream between attention and MLP. */
    if (c->parallel_residual) MN_TRY(attended_bwd(t, l, g, k, d));
    MN_TRY(mn_begin_parts(dev, tp, d));
    MN_TRY(mn_tape_norm_bwd(t, d, &dh, &base, &l->norm2_w, g ? &g->norm2_w : NULL,
                            g ? &g->norm2_b : NULL, true));
    if (!c->parallel_residual) {
        MN_TRY(mn_sum_ranks(dev, tp, d));
        MN_TRY(attended_bwd(t, l, g, k, d));
        MN_TRY(mn_begin_parts(dev, tp, d));
    }
    MN_TRY(projections_bwd(t, l, g, k));
    if (compact) {
        MN_TRY(mn_zero(dev, &t->grad));
        MN_TRY(mn_gather_bwd(dev, &t->grad, d, &t->outputs));
        *d = t->grad;
    }
    MN_TRY(mn_tape_norm_bwd(t, d, &t->dh, &k->x, &l->norm1_w, g ? &g->norm1_w : NULL,
                            g ? &g->norm1_b : NULL, true));
    MN_TRY(mn_sum_ranks(dev, tp, d));
    return mn_tape_watch_gradient(t, d, "gradient in front of", block);
}

/* Weights have no block: their numbers in the binding table, counted down from -1. */
static mn_status watch_weight_gradients(mn_tape *t) {
    for (int64_t i = 0; i < mn_binding_count(&t->model->config); i++) {
        mn_binding_row row;
        mn_binding_at(&row, &t->model->config, t->model_grad, i);
        MN_TRY(mn_tape_watch_gradient(t, row.weight, NULL, -1 - i));
    }
    return MN_OK;
}

mn_status mn_tape_run_back(mn_tape *t) {
    mn_tensor d = t->grad_last;
    for (int64_t i = t->model->config.layers - 1; i >= t->first; i--) {
        if (mn_memory_at(t->memory, i))
            MN_TRY(MN_RANGE(t->model->device, "memory", mn_tape_memory_bwd(t, i, &d)));
        if (t->limits.full || i > t->first)
            MN_TRY(MN_RANGE(t->model->device, "block", block_bwd(t, i, &d)));
    }
    if (!t->limits.full) return MN_OK;
    MN_TRY(mn_embed_bwd(t->model->device, &t->model_grad->embed_w, &d, &t->ids, &t->vocab.range));
    return watch_weight_gradients(t);
}
