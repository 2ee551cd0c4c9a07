/* session.h (internal) - the parts of a session that the block files share. */
#ifndef MNEME_MODEL_SESSION_H
#define MNEME_MODEL_SESSION_H

#include "mneme/session.h"

struct mn_session {
    mn_model *model;
    mn_session_options limits;
    mn_arena prefix, step;
    mn_kv_layer *kv; /* one per layer */
    /* activations of the current pass, (T, ...) */
    mn_tensor x;       /* residual stream (T, C) */
    mn_tensor h;       /* a norm's output (T, C) */
    mn_tensor qkv, q;  /* fused projection (T, ld); queries, then attention's output (T, Hq, D) */
    mn_tensor ffn, up; /* inner activations (T, F); up only for Llama */
    mn_tensor out;     /* hidden states of the outputs (outputs, C) */
    mn_tensor logits;  /* (max_logits, V) */
    mn_tensor ids, positions, rows, outputs; /* i32 */
    mn_attn_seq *seqs;
    mn_qkv_layout layout;
};

/* Where q, k and v stand in a row of the fused projection. */
mn_qkv_layout mn_qkv_layout_of(const mn_model_config *config);

/* One block over the residual stream s->x. */
mn_status mn_neox_block(mn_session *s, int64_t layer, const mn_batch *batch);
mn_status mn_llama_block(mn_session *s, int64_t layer, const mn_batch *batch);

/* s->q = attention of the block's fused projection s->qkv, with keys and values filed in the cache. */
mn_status mn_block_attention(mn_session *s, int64_t layer, const mn_batch *batch);

mn_status mn_session_linear(mn_session *s, mn_tensor *y, int64_t ldy, const mn_tensor *x,
                            const mn_tensor *w, const mn_tensor *bias, mn_epilogue epilogue);

#endif
