/* blocks.c - one transformer block of each architecture, forward.
 *
 * GPT-NeoX (Black et al. 2022; transformers modeling_gpt_neox.py): LayerNorms with bias, fused
 * per-head q k v, GELU; residuals parallel (both branches read the block's input) or sequential.
 * Llama-2 (Touvron et al. 2023; transformers modeling_llama.py): RMSNorms, no biases, SwiGLU. */
#include "model/session.h"

#include <math.h>

mn_status mn_session_linear(mn_session *s, mn_tensor *y, int64_t ldy, const mn_tensor *x,
                            const mn_tensor *w, const mn_tensor *bias, mn_epilogue epilogue) {
    return mn_linear_fwd(s->model->device, y, ldy, x, w, bias, epilogue, s->limits.compute);
}

mn_status mn_block_attention(mn_session *s, int64_t layer, const mn_batch *batch) {
    mn_device *dev = s->model->device;
    const mn_model *m = s->model;
    MN_TRY(mn_rope_store_fwd(dev, &s->q, mn_session_kv(s, layer), &s->qkv, &s->layout,
                             &m->cos_table, &m->sin_table, &s->positions, &s->rows));
    const float scale = 1.0f / sqrtf((float)m->config.head_dim);
    return mn_attention_fwd(dev, &s->q, NULL, &s->q, mn_session_kv(s, layer), s->seqs,
                            batch->seq_count, scale);
}

/* Attention's output as the matrix (T, Hq D) that the output projection reads. */
static mn_tensor heads_flat(const mn_session *s) {
    return mn_tensor_2d(s->q.data, MN_F32, s->q.shape[0], s->q.shape[1] * s->q.shape[2]);
}

mn_status mn_neox_block(mn_session *s, int64_t layer, const mn_batch *batch) {
    mn_device *dev = s->model->device;
    const mn_model_config *c = &s->model->config;
    const mn_layer *l = &s->model->layers[layer];
    MN_TRY(mn_layernorm_fwd(dev, &s->h, &s->x, &l->norm1_w, &l->norm1_b, c->norm_eps));
    MN_TRY(mn_session_linear(s, &s->qkv, s->layout.ld, &s->h, &l->qkv_w, &l->qkv_b,
                             MN_EPILOGUE_STORE));
    MN_TRY(mn_block_attention(s, layer, batch));
    /* The MLP of a parallel block reads the block's input: normalise it before the residual moves. */
    if (c->parallel_residual)
        MN_TRY(mn_layernorm_fwd(dev, &s->h, &s->x, &l->norm2_w, &l->norm2_b, c->norm_eps));
    const mn_tensor attended = heads_flat(s);
    MN_TRY(mn_session_linear(s, &s->x, c->dim, &attended, &l->out_w, &l->out_b, MN_EPILOGUE_ADD));
    if (!c->parallel_residual)
        MN_TRY(mn_layernorm_fwd(dev, &s->h, &s->x, &l->norm2_w, &l->norm2_b, c->norm_eps));
    MN_TRY(mn_session_linear(s, &s->ffn, c->ffn_dim, &s->h, &l->up_w, &l->up_b, MN_EPILOGUE_GELU));
    return mn_session_linear(s, &s->x, c->dim, &s->ffn, &l->down_w, &l->down_b, MN_EPILOGUE_ADD);
}

mn_status mn_llama_block(mn_session *s, int64_t layer, const mn_batch *batch) {
    mn_device *dev = s->model->device;
    const mn_model_config *c = &s->model->config;
    const mn_layer *l = &s->model->layers[layer];
    const int64_t tokens = s->x.shape[0];
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
    const mn_tensor attended = heads_flat(s);
    MN_TRY(mn_session_linear(s, &s->x, c->dim, &attended, &l->out_w, NULL, MN_EPILOGUE_ADD));
    MN_TRY(mn_rmsnorm_fwd(dev, &s->h, &s->x, &l->norm2_w, c->norm_eps));
    MN_TRY(mn_session_linear(s, &s->ffn, c->ffn_dim, &s->h, &l->gate_w, NULL, MN_EPILOGUE_STORE));
    MN_TRY(mn_session_linear(s, &s->up, c->ffn_dim, &s->h, &l->up_w, NULL, MN_EPILOGUE_STORE));
    MN_TRY(mn_swiglu_fwd(dev, &s->ffn, &s->ffn, &s->up));
    return mn_session_linear(s, &s->x, c->dim, &s->ffn, &l->down_w, NULL, MN_EPILOGUE_ADD);
}
