/* session.h (internal) - the parts of a session that the block files share. */
#ifndef MNEME_MODEL_SESSION_H
#define MNEME_MODEL_SESSION_H

#include "mneme/session.h"
#include "model/watch.h"

struct mn_session {
    mn_model *model;
    mn_session_options limits;
    const mn_memory **variants; /* [limits.variant_count], NULL the base */
    int64_t variant;            /* of the pass at work */
    int64_t trunk_layers;       /* blocks that all variants share */
    bool at_trunk;              /* x is that of the trunk */
    mn_arena prefix, step;
    mn_kv_layer *kv; /* the trunk's layers, then those of each variant's top */
    mn_batch batch;  /* the last one; its arrays are gone */
    /* activations of the current pass, (T, ...) */
    bool
        only_outputs; /* x holds the outputs' rows alone: behind the last block's attention, or all are */
    void *stream;      /* where x lies when a pass begins; it may end in h */
    mn_tensor x;       /* residual stream (T, C) */
    mn_tensor trunk;   /* what the tops begin with (T, C); only with several variants */
    mn_tensor h;       /* a norm's output (T, C) */
    mn_tensor qkv, q;  /* fused projection (T, ld); queries, then attention's output (T, Hq, D) */
    mn_tensor ffn, up; /* inner activations (T, F); up only for Llama */
    mn_tensor inner, down; /* of a memory (T, H), (T, C) */
    mn_tensor out;         /* hidden states of the outputs, (outputs, C) of each variant */
    mn_tensor logits[2];   /* (max_logits, V); the second one for a base among others */
    /* of the batch: in `arrays` on the host, in `sent` on the device, one behind the other */
    mn_tensor ids, positions, rows, outputs; /* i32 */
    mn_attn_seqs seqs;
    unsigned char *arrays, *sent;
    mn_qkv_layout layout;
    mn_watch watch; /* residual streams behind the blocks of the trunk and of one top */
    /* the audit: |h| and |what is added| of each memory, and their ratio */
    mn_tensor norms; /* (memories, 2, outputs) */
    float *host_norms;
    double *change; /* (memories, outputs), host */
};

/* Where q, k and v of this rank's heads stand in a row of the fused projection. */
mn_qkv_layout mn_qkv_layout_of(const mn_model *model);

void mn_session_rows(mn_session *s, int64_t rows); /* of the activations of a block */
/* to = the outputs' rows of a tensor that has the rows of x. */
mn_status mn_session_output_rows(mn_session *s, mn_tensor *to, const mn_tensor *from);

/* ---- variants.c ---- */

mn_status mn_variants_open(mn_session *s); /* after the model and the limits are there */
/* What the widest memory and the one with the most layers need. */
void mn_variants_most(const mn_session *s, int64_t *hidden, int64_t *count);
mn_status mn_variants_lay_out(mn_session *s); /* its part of the step arena */
mn_status mn_variants_commit(mn_session *s);  /* what lies outside of arenas */
void mn_variants_close(mn_session *s);

int64_t mn_session_kv_layers(const mn_session *s);
mn_kv_layer mn_session_kv(const mn_session *s, int64_t layer); /* of the variant at work */
/* Hidden states of the outputs of a variant (outputs, C). */
mn_tensor mn_session_out(const mn_session *s, int64_t variant);
mn_status mn_session_end_trunk(mn_session *s);
/* Another variant is at work; *again: not the first one behind this trunk, x has to become the trunk's. */
mn_status mn_session_begin_top(mn_session *s, int64_t variant, bool *again);
/* Waits for the device: what the memories of the last top have changed. */
mn_status mn_session_read_change(mn_session *s);
bool mn_session_all_outputs(const mn_session *s); /* every token of the batch is one */
/* The memory that the variant at work has behind this block, if any, over the residual stream s->x. */
mn_status mn_session_memory(mn_session *s, int64_t block);

/* ---- blocks.c ---- */

/* One block over the residual stream s->x. */
mn_status mn_neox_block(mn_session *s, int64_t layer, const mn_batch *batch);
mn_status mn_llama_block(mn_session *s, int64_t layer, const mn_batch *batch);

/* s->q = attention of the block's fused projection s->qkv, with keys and values filed in the cache. */
mn_status mn_block_attention(mn_session *s, int64_t layer, const mn_batch *batch);

mn_status mn_session_linear(mn_session *s, mn_tensor *y, int64_t ldy, const mn_tensor *x,
                            const mn_tensor *w, const mn_tensor *bias, mn_epilogue epilogue);

#endif
