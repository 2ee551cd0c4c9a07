/* tape_forward.c - the blocks of a training pass, keeping what backward reads.
 *
 * The blocks are those of blocks.c; they differ in where results go. Frozen blocks work in place on
 * one residual stream. Blocks that backward goes through leave their input alone, and the last one
 * goes on with the rows that have targets as soon as it can. */
#include "model/tape_impl.h"

mn_status mn_tape_norm(mn_tape *t, mn_tensor *y, const mn_tensor *x, const mn_tensor *weight,
                       const mn_tensor *bias) {
    const mn_model_config *c = &t->model->config;
    mn_device *dev = t->model->device;
    return c->arch == MN_NEOX ? mn_layernorm_fwd(dev, y, x, weight, bias, c->norm_eps)
                              : mn_rmsnorm_fwd(dev, y, x, weight, c->norm_eps);
}

static mn_status linear(mn_tape *t, mn_tensor *y, const mn_tensor *x, const mn_tensor *w,
                        const mn_tensor *bias, mn_epilogue epilogue) {
    return mn_linear_fwd(t->model->device, y, y->shape[1], x, w, bias, epilogue, t->limits.compute);
}

/* ---- one block ---- */

/* tape->qkv = projections of the normalised input. */
static mn_status project(mn_tape *t, const mn_layer *l) {
    if (t->model->config.arch == MN_NEOX)
        return linear(t, &t->qkv, &t->h, &l->qkv_w, &l->qkv_b, MN_EPILOGUE_STORE);
    const struct {
        int64_t begin;
        const mn_tensor *w;
    } parts[] = {
        {t->layout.q_begin, &l->q_w}, {t->layout.k_begin, &l->k_w}, {t->layout.v_begin, &l->v_w}};
    for (int i = 0; i < 3; i++) {
        mn_tensor y = mn_tensor_2d((float *)t->qkv.data + parts[i].begin, MN_F32, t->qkv.shape[0],
                                   parts[i].w->shape[0]);
        MN_TRY(mn_linear_fwd(t->model->device, &y, t->layout.ld, &t->h, parts[i].w, NULL,
                             MN_EPILOGUE_STORE, t->limits.compute));
    }
    return MN_OK;
}

/* k->attended = attention over x; queries, keys, values and log-sum-exps stay in k. */
static mn_status attend(mn_tape *t, const mn_layer *l, mn_kept *k, const mn_tensor *x) {
    mn_device *dev = t->model->device;
    const mn_model *m = t->model;
    MN_TRY(mn_tape_norm(t, &t->h, x, &l->norm1_w, &l->norm1_b));
    MN_TRY(project(t, l));
    MN_TRY(mn_rope_store_fwd(dev, &k->q, k->kv, &t->qkv, &t->layout, &m->cos_table, &m->sin_table,
                             &t->positions, &t->rows));
    /* in fp32 always: the backward pass computes the probabilities again, from unrounded numbers */
    return mn_attention_fwd(dev, &k->attended, k->lse.data ? &k->lse : NULL, &k->q, k->kv, &t->seqs,
                            t->scale, MN_COMPUTE_F32);
}

/* out += this rank's part of mlp(h) of the normalised rows h. Frozen NeoX blocks have no k->up: the activation is the
 * product's epilogue. */
static mn_status mlp(mn_tape *t, const mn_layer *l, mn_kept *k, mn_tensor *out,
                     const mn_tensor *h) {
    mn_device *dev = t->model->device;
    const bool neox = t->model->config.arch == MN_NEOX;
    mn_tensor act = mn_tape_rows(&t->act, out->shape[0]);
    if (!neox) {
        MN_TRY(linear(t, &k->gate, h, &l->gate_w, NULL, MN_EPILOGUE_STORE));
        MN_TRY(linear(t, &k->up, h, &l->up_w, NULL, MN_EPILOGUE_STORE));
        MN_TRY(mn_swiglu_fwd(dev, &act, &k->gate, &k->up));
    } else if (k->up.data) {
        MN_TRY(linear(t, &k->up, h, &l->up_w, &l->up_b, MN_EPILOGUE_STORE));
        MN_TRY(mn_gelu_fwd(dev, &act, &k->up));
    } else MN_TRY(linear(t, &act, h, &l->up_w, &l->up_b, MN_EPILOGUE_GELU));
    return linear(t, out, &act, &l->down_w, neox ? mn_part_bias(t->model->tp, &l->down_b) : NULL,
                  MN_EPILOGUE_ADD);
}

/* Everything behind attention, for the rows that `out` holds: their residual stream moves on.
 * `attended` (r, Hq D) belongs to the same rows. */
static mn_status rest_of_block(mn_tape *t, const mn_layer *l, mn_kept *k, mn_tensor *out,
                               const mn_tensor *attended) {
    const mn_model_config *c = &t->model->config;
    mn_device *dev = t->model->device;
    mn_comm *tp = t->model->tp;
    mn_tensor h = mn_tape_rows(&t->h, out->shape[0]);
    /* The MLP of a parallel block reads the block's input: normalise it before the residual moves. */
    if (c->parallel_residual) MN_TRY(mn_tape_norm(t, &h, out, &l->norm2_w, &l->norm2_b));
    MN_TRY(mn_begin_parts(dev, tp, out));
    MN_TRY(linear(t, out, attended, &l->out_w,
                  c->arch == MN_NEOX ? mn_part_bias(tp, &l->out_b) : NULL, MN_EPILOGUE_ADD));
    if (!c->parallel_residual) {
        MN_TRY(mn_sum_ranks(dev, tp, out));
        if (k->middle.data) MN_TRY(mn_cast(dev, &k->middle, out));
        MN_TRY(mn_tape_norm(t, &h, out, &l->norm2_w, &l->norm2_b));
        MN_TRY(mn_begin_parts(dev, tp, out));
    }
    MN_TRY(mlp(t, l, k, out, &h));
    return mn_sum_ranks(dev, tp, out);
}

static mn_status frozen_block(mn_tape *t, int64_t block) {
    const mn_layer *l = &t->model->layers[block];
    MN_TRY(attend(t, l, &t->frozen, &t->trunk));
    const mn_tensor attended = mn_tape_flat(&t->frozen.attended);
    MN_TRY(rest_of_block(t, l, &t->frozen, &t->trunk, &attended));
    return mn_tape_watch(t, &t->trunk, "residual stream behind", block);
}

/* out (r, C) = the block of k->x (T, C), without its memory. */
static mn_status kept_block(mn_tape *t, int64_t block, mn_tensor *out) {
    mn_device *dev = t->model->device;
    const mn_layer *l = &t->model->layers[block];
    mn_kept *k = &t->kept[block];
    MN_TRY(attend(t, l, k, &k->x));
    mn_tensor attended = mn_tape_flat(&k->attended);
    if (block < t->model->config.layers - 1 || !t->compact) MN_TRY(mn_cast(dev, out, &k->x));
    else {
        /* Other rows matter to those with targets through their keys and values only. */
        mn_tensor rows = mn_tape_flat(&t->dq);
        rows.shape[0] = out->shape[0];
        MN_TRY(mn_gather_fwd(dev, out, &k->x, &t->outputs));
        MN_TRY(mn_gather_fwd(dev, &rows, &attended, &t->outputs));
        attended = rows;
    }
    return rest_of_block(t, l, k, out, &attended);
}

/* out (r, C): behind the memory of `block`. The lowest memory reads the trunk's result, others find
 * theirs in `out`. */
static mn_status apply_memory(mn_tape *t, int64_t block, mn_tensor *out) {
    mn_device *dev = t->model->device;
    const mn_memory_layer *m = mn_memory_at(t->memory, block);
    mn_kept *k = &t->kept[block];
    if (!m) return MN_OK;
    if (block > t->first) MN_TRY(mn_cast(dev, &k->y, out));
    else if (block < t->model->config.layers - 1) MN_TRY(mn_cast(dev, out, &k->y));
    else {
        MN_TRY(mn_gather_fwd(dev, &k->y, &t->trunk, &t->outputs));
        MN_TRY(mn_cast(dev, out, &k->y));
    }
    mn_tensor inner = mn_tape_rows(&t->inner, out->shape[0]);
    return MN_RANGE(dev, "memory",
                    mn_memory_fwd(dev, t->model->tp, out, m, &k->pre, &inner, &k->down));
}

/* ---- passes ---- */

mn_status mn_tape_run_trunk(mn_tape *t) {
    MN_TRY(mn_vocab_embed(t->model, &t->trunk, &t->ids));
    for (int64_t i = 0; i <= t->first; i++)
        MN_TRY(MN_RANGE(t->model->device, "block", frozen_block(t, i)));
    return MN_OK;
}

mn_status mn_tape_run_top(mn_tape *t) {
    const int64_t layers = t->model->config.layers;
    if (t->limits.full) MN_TRY(mn_vocab_embed(t->model, &t->kept[0].x, &t->ids));
    for (int64_t i = t->first; i < layers; i++) {
        mn_tensor *out = i < layers - 1 ? &t->kept[i + 1].x : &t->last;
        if (t->limits.full || i > t->first)
            MN_TRY(MN_RANGE(t->model->device, "block", kept_block(t, i, out)));
        MN_TRY(apply_memory(t, i, out));
        MN_TRY(mn_tape_watch(t, out, "residual stream behind", i));
    }
    return MN_OK;
}
