/* tape_impl.h (internal) - the parts of a tape that its files share.
 *
 * Rows: T all tokens of the batch, R those with targets. The last block computes keys and values for T
 * and everything behind its attention for R only. Tensors have as many rows as the batch at hand. */
#ifndef MNEME_MODEL_TAPE_IMPL_H
#define MNEME_MODEL_TAPE_IMPL_H

#include "mneme/tape.h"
#include "mneme/vocab.h"
#include "model/parallel.h"
#include "model/watch.h"

/* What backward reads of one block; what is cheap (norms, activations) is computed again. r is T, in
 * the last block R. In the block in front of the lowest memory only the memory's part exists. */
typedef struct mn_kept {
    mn_tensor x;           /* (T, C) what entered */
    mn_tensor middle;      /* (r, C) behind the attention; sequential residuals only */
    mn_tensor q, attended; /* (T, Hq, D) */
    mn_tensor lse;         /* (T, Hq) */
    mn_kv_layer kv;
    mn_tensor gate, up;  /* (r, F) before the activation; gate for Llama only */
    mn_tensor y;         /* (r, C) what entered the memory */
    mn_tensor pre, down; /* (r, H), (r, C) of the memory */
} mn_kept;

/* Attention walks over keys in pieces that begin at such rows: where a sequence stands in its batch
 * must not change the order of its sums. */
enum { MN_TAPE_KV_ALIGN = 16 };

struct mn_tape {
    mn_model *model, *model_grad;
    mn_memory *memory, *memory_grad;
    mn_tape_options limits;
    int64_t first; /* block of the lowest memory; 0 in full mode */
    float scale;   /* of attention scores */
    mn_qkv_layout layout;
    mn_arena training, step;
    mn_kept *kept;   /* [layers]; from `first` on */
    mn_kept frozen;  /* scratch of the blocks that keep nothing */
    mn_tensor trunk; /* (T, C) residual stream up to the lowest memory */
    mn_tensor last;  /* (R, C) residual stream behind all blocks */
    /* the batch */
    mn_tensor ids, positions, rows, outputs, targets; /* i32 */
    mn_attn_seq *device_seqs;
    mn_attn_seqs seqs;
    bool compact;        /* R < T */
    const int32_t *sent; /* the ids of a batch that is there already; NULL: none */
    /* scratch */
    mn_tensor h, dh;           /* (T, C) a norm's output; its gradient */
    mn_tensor grad, grad_last; /* (T, C), (R, C) gradient of the residual stream */
    mn_tensor qkv;             /* (T, ld) fused projection, its gradient */
    mn_tensor act, dact, side; /* (T, F) inner activations and gradients; side for Llama only */
    mn_tensor dout, dq;        /* (T, Hq, D) */
    mn_tensor dk, dv, delta;   /* (T, Hkv, D), (T, Hq) */
    mn_tensor inner, dinner;   /* (T, H) of a memory */
    mn_tensor logits, losses;  /* (loss_rows, V), (R) */
    mn_tensor shared_kv; /* (Hkv D, C) of all ranks; only where some share a head, in full mode */
    mn_vocab vocab;      /* reads logits */
    mn_watch watch;      /* residual streams and gradients of the pass */
    bool overflow;       /* a gradient of the last step was not finite, and may be */
    int64_t overflow_at; /* of the watched */
    /* host memory: what is uploaded and downloaded */
    int32_t *host_positions, *host_rows;
    mn_attn_seq *host_seqs;
    float *host_losses;
};

/* ---- tape_forward.c ---- */

/* tape->trunk = what enters the lowest memory, from the ids. */
mn_status mn_tape_run_trunk(mn_tape *tape);
/* tape->last, with all that backward needs. From tape->trunk, or from the ids in full mode. */
mn_status mn_tape_run_top(mn_tape *tape);

/* y = the architecture's norm of x; `bias` is not looked at for Llama. y may be x. */
mn_status mn_tape_norm(mn_tape *tape, mn_tensor *y, const mn_tensor *x, const mn_tensor *weight,
                       const mn_tensor *bias);
/* Whether x is finite will be known behind the pass; the message says "numbers of the `what` block B". */
mn_status mn_tape_watch(mn_tape *tape, const mn_tensor *x, const char *what, int64_t block);
mn_status mn_tape_watch_gradient(mn_tape *tape, const mn_tensor *x, const char *what,
                                 int64_t block);
/* Waits for the device. Fails for the first thing that was not finite: residual streams, the loss (NULL: there
 * is none), gradients. */
mn_status mn_tape_verdict(mn_tape *tape, const double *loss);

/* ---- tape_loss.c ---- */

/* Final norm, output matrix, losses; with `backward` also tape->grad_last = the gradient of tape->last. */
mn_status mn_tape_run_loss(mn_tape *tape, float scale, bool backward);
mn_status mn_tape_read_loss(mn_tape *tape, double *loss); /* waits for the device */

/* ---- tape_backward.c ---- */

/* From tape->grad_last down to the lowest memory, or to the ids in full mode. */
mn_status mn_tape_run_back(mn_tape *tape);

/* dx += (or =) the norm's backward of dy at x; dweight and dbias only in full mode, else NULL. */
mn_status mn_tape_norm_bwd(mn_tape *tape, mn_tensor *dx, const mn_tensor *dy, const mn_tensor *x,
                           const mn_tensor *weight, mn_tensor *dweight, mn_tensor *dbias, bool add);

/* Back through the memory behind `block`: its gradients, and *d (r, C) moves in front of it unless it
 * is the lowest. */
mn_status mn_tape_memory_bwd(mn_tape *tape, int64_t block, mn_tensor *d);

/* ---- tape_sum.c ---- */

bool mn_tape_shares_kv(const mn_tape *tape); /* there are more ranks than key-value heads */

/* A view of the first rows of a tensor, with the same columns. */
static inline mn_tensor mn_tape_rows(const mn_tensor *t, int64_t rows) {
    mn_tensor view = *t;
    view.shape[0] = rows;
    return view;
}

/* (T, Hq, D) as the matrix (T, Hq D). */
static inline mn_tensor mn_tape_flat(const mn_tensor *t) {
    return mn_tensor_2d(t->data, MN_F32, t->shape[0], t->shape[1] * t->shape[2]);
}

#endif
