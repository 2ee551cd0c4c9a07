/* blocks.c - one transformer block of each architecture, forward.
 *
 * GPT-NeoX (Black et al. 2022; transformers modeling_gpt_neox.py): LayerNorms with bias, fused
 * per-head q k v, GELU; residuals parallel (both branches read the block's input) or sequential.
 * Llama-2 (Touvron et al. 2023; transformers modeling_llama.py): RMSNorms, no biases, SwiGLU.
 *
 * Ranks that share the model have heads and inner units of their own. What their branches add to the residual
 * stream is summed behind a parallel block once, in a sequential one behind each branch (parallel.h). */
#include "model/parallel.h"
#include "model/session.h"

#include <math.h>

mn_status mn_session_linear(mn_session *s, mn_tensor *y, int64_t ldy, const mn_tensor *x,
                            const mn_tensor *w, const mn_tensor *bias, mn_epilogue epilogue) {
    return mn_linear_fwd(s->model->device, y, ldy, x, w, bias, epilogue, s->limits.compute);
}

static bool is_last(const mn_session *s, int64_t layer) {
    return layer + 1 == s->model->config.layers;
}

mn_status mn_block_attention(mn_session *s, int64_t layer, const mn_batch *batch) {
    mn_device *dev = s->model->device;
    const mn_model *m = s->model;
    MN_TRY(mn_rope_store_fwd(dev, &s->q, mn_session_kv(s, layer), &s->qkv, &s->layout,
                             &m->cos_table, &m->sin_table, &s->positions, &s->rows));
    if (is_last(s, layer) && batch->output_count == 0) return MN_OK; /* nobody will look */
    const float scale = 1.0f / sqrtf((float)m->config.head_dim);
    return mn_attention_fwd(dev, &s->q, NULL, &s->q, mn_session_kv(s, layer), &s->seqs, scale,
                            s->limits.compute);
}

/* Attention's output as the matrix (T, Hq D) that the output projection reads. */
static mn_tensor heads_flat(const mn_session *s) {
    return mn_tensor_2d(s->q.data, MN_F32, s->q.shape[0], s->q.shape[1] * s->q.shape[2]);
}

/* Behind the last block's attention only the rows that have logits are read: the residual stream and
 * attention's output shrink to them. The other tokens have served as keys and values. */
static mn_status keep_outputs(mn_session *s, mn_tensor *attended) {
    mn_device *dev = s->model->device;
    const int64_t rows = s->outputs.shape[0];
    if (s->only_outputs) return MN_OK;
    mn_tensor x = mn_tensor_2d(s->h.data, MN_F32, rows, s->x.shape[1]);
    mn_tensor q = mn_tensor_2d(s->qkv.data, MN_F32, rows, attended->shape[1]);
    MN_TRY(mn_gather_fwd(dev, &x, &s->x, &s->outputs));
    MN_TRY(mn_gather_fwd(dev, &q, attended, &s->outputs));
    s->h.data = s->x.data;
    s->x.data = x.data;
    *attended = q;
    mn_session_rows(s, rows);
    s->only_outputs = true;
    return MN_OK;
}

mn_status mn_neox_block(mn_session *s, int64_t layer, const mn_batch *batch) {
    mn_device *dev = s->model->device;
    mn_comm *tp = s->model->tp;
    const mn_model_config *c = &s->model->config;
    const mn_layer *l = &s->model->layers[layer];
    MN_TRY(mn_layernorm_fwd(dev, &s->h, &s->x, &l->norm1_w, &l->norm1_b, c->norm_eps));
    MN_TRY(mn_session_linear(s, &s->qkv, s->layout.ld, &s->h, &l->qkv_w, &l->qkv_b,
                             MN_EPILOGUE_STORE));
    MN_TRY(mn_block_attention(s, layer, batch));
    mn_tensor attended = heads_flat(s);
    if (is_last(s, layer)) {
        if (batch->output_count == 0) return MN_OK;
        MN_TRY(keep_outputs(s, &attended));
    }
    /* The MLP of a parallel block reads the block's input: normalise it before the residual moves. */
    if (c->parallel_residual)
        MN_TRY(mn_layernorm_fwd(dev, &s->h, &s->x, &l->norm2_w, &l->norm2_b, c->norm_eps));
    MN_TRY(mn_begin_parts(dev, tp, &s->x));
    MN_TRY(mn_session_linear(s, &s->x, c->dim, &attended, &l->out_w, mn_part_bias(tp, &l->out_b),
                             MN_EPILOGUE_ADD));
    if (!c->parallel_residual) {
        MN_TRY(mn_sum_ranks(dev, tp, &s->x));
        MN_TRY(mn_layernorm_fwd(dev, &s->h, &s->x, &l->norm2_w, &l->norm2_b, c->norm_eps));
        MN_TRY(mn_begin_parts(dev, tp, &s->x));
    }
    MN_TRY(mn_session_linear(s, &s->ffn, s->ffn.shape[1], &s->h, &l->up_w, &l->up_b,
                             MN_EPILOGUE_GELU));
    MN_TRY(mn_session_linear(s, &s->x, c->dim, &s->ffn, &l->down_w, mn_part_bias(tp, &l->down_b),
                             MN_EPILOGUE_ADD));
    return mn_sum_ranks(dev, tp, &s->x);
}

mn_status mn_llama_block(mn_session *s, int64_t layer, const mn_batch *batch) {
    mn_device *dev = s->model->device;
    mn_comm *tp = s->model->tp;
    const mn_model_config *c = &s->model->config;
    const mn_layer *l = &s->model->layers[layer];
    const int64_t tokens = s->x.shape[0], inner = s->ffn.shape[1];
    const struct {
        int64_t begin;
        const mn_tensor *w;
    } parts[] = {
        {s->layout.q_begin, &l->q_w}, {s->layout.k_begin, &l->k_w}, {s->layout.v_begin, &l->v_w}};
    MN_TRY(mn_rmsnorm_fwd(dev, &s->h, &s->x, &l->norm1_w, c->norm_eps));
    for (int i = 0; i < 3; i++) {
        mn_tensor y = mn_tensor_2d((float *)s->qkv.data + parts[i].begin, MN_F32, tokens,
                                   parts[i].w->shape[0]);
        MN_TRY(mn_session_linear(s, &y, s->layout.ld, &s->h, parts[i].w, NULL, MN_EPILOGUE_STORE));
    }
    MN_TRY(mn_block_attention(s, layer, batch));
    mn_tensor attended = heads_flat(s);
    if (is_last(s, layer)) {
        if (batch->output_count == 0) return MN_OK;
        MN_TRY(keep_outputs(s, &attended));
    }
    MN_TRY(mn_begin_parts(dev, tp, &s->x));
    MN_TRY(mn_session_linear(s, &s->x, c->dim, &attended, &l->out_w, NULL, MN_EPILOGUE_ADD));
    MN_TRY(mn_sum_ranks(dev, tp, &s->x));
    MN_TRY(mn_rmsnorm_fwd(dev, &s->h, &s->x, &l->norm2_w, c->norm_eps));
    MN_TRY(mn_session_linear(s, &s->ffn, inner, &s->h, &l->gate_w, NULL, MN_EPILOGUE_STORE));
    MN_TRY(mn_session_linear(s, &s->up, inner, &s->h, &l->up_w, NULL, MN_EPILOGUE_STORE));
    MN_TRY(mn_swiglu_fwd(dev, &s->ffn, &s->ffn, &s->up));
    MN_TRY(mn_begin_parts(dev, tp, &s->x));
    MN_TRY(mn_session_linear(s, &s->x, c->dim, &s->ffn, &l->down_w, NULL, MN_EPILOGUE_ADD));
    return mn_sum_ranks(dev, tp, &s->x);
}
