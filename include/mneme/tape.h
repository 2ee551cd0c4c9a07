/* tape.h - the training pass: forward with what backward needs, loss, gradients.
 *
 * A tape belongs to one model and either one memory (the backbone is frozen: gradients flow down to
 * the lowest memory and no further) or the whole model (`full`: every weight is fp32 and gets a
 * gradient). Memory is planned when it is opened; nothing is allocated later. The pass is split in
 * front of the lowest memory: below it nothing ever changes, block `first` included, so what enters
 * that memory may be kept (mn_tape_trunk) and given back (`hidden`). Same input, same bits, whether it
 * was kept or computed just now, and whatever the number of threads. On the CPU, in fp32, what is
 * kept of a sequence does not depend on the other sequences of its batch either (with weights in rows only
 * when there are more than four tokens: fewer add up in another order); cuBLASLt promises no such thing.
 *
 * Ranks that share the model (model->tp) make the same calls with the same batches; loss, verdicts and what is kept are
 * the same on all of them. Each gets the gradients of its slices, and those of what all have in full.
 *
 * The loss is the sum over targets of -log p(target), natural logarithm; gradients are those of
 * `scale` times it and add up until the caller clears them. Logits exist for `loss_rows` rows at a time. */
#ifndef MNEME_TAPE_H
#define MNEME_TAPE_H

#include "mneme/memory.h"
#include "mneme/ops.h"

typedef struct mn_tape_options {
    int64_t max_tokens, max_seqs; /* of a batch */
    int64_t loss_rows;            /* 0: a good default */
    mn_compute compute;           /* of the frozen matrices; memories are always fp32 */
    bool full;                    /* train the model itself; all its tensors must be F32 */
    bool may_overflow;            /* gradients that are not finite are no error: mn_tape_overflow */
} mn_tape_options;

/* A packed batch, host arrays: sequences of tokens one behind the other, each causal and on its own;
 * position 0 is the first token of each. Behind token outputs[i] (index into ids, rising) the model
 * should say targets[i]. */
typedef struct mn_train_batch {
    const int32_t *ids;
    int64_t tokens;
    const int64_t *lengths; /* [seq_count], sums to tokens */
    int64_t seq_count;
    const int32_t *outputs, *targets;
    int64_t output_count;
} mn_train_batch;

typedef struct mn_tape mn_tape;

/* `memory` and `gradients` (mn_memory_like) are NULL in full mode, where `gradients_model` receives
 * the gradients: a model of the same shape (mn_model_like). Both stay the caller's. */
mn_status mn_tape_open(mn_tape **out, mn_model *model, mn_memory *memory, mn_memory *gradients,
                       mn_model *gradients_model, const mn_tape_options *options);
void mn_tape_close(mn_tape **tape);
/* Bytes that opening takes, without opening. */
mn_status mn_tape_plan(int64_t *bytes, mn_model *model, const mn_memory *memory,
                       const mn_tape_options *options);

int64_t mn_tape_first(const mn_tape *tape); /* block of the lowest memory; 0 in full mode */

/* hidden (tokens, C), host memory, fp32 = what leaves block `first` and enters its memory. Targets
 * are not looked at. Not in full mode. */
mn_status mn_tape_trunk(mn_tape *tape, const mn_train_batch *batch, float *hidden);

/* Forward from `hidden` (NULL: from the ids), loss, backward. *loss is overwritten. NaN or infinity
 * in the residual stream, the loss or a gradient is MN_ERR_NUMERIC and names the block, or the weight
 * that is broken; the gradients cannot be used then. A batch without targets has loss 0 and changes no gradient. */
mn_status mn_tape_step(mn_tape *tape, const mn_train_batch *batch, const float *hidden, float scale,
                       double *loss);
/* The same in two: submit returns while a device is at work, finish waits for it. In between the next batch may be sent,
 * which travels meanwhile; it must not change until it is submitted, or another one is. */
mn_status mn_tape_submit(mn_tape *tape, const mn_train_batch *batch, const float *hidden,
                         float scale);
mn_status mn_tape_send(mn_tape *tape, const mn_train_batch *batch, const float *hidden);
mn_status mn_tape_finish(mn_tape *tape, double *loss);
/* Whether a gradient of the last step was NaN or infinite, with `may_overflow`: `scale` was too large for
 * the backend's number types. The gradients cannot be used. */
bool mn_tape_overflow(const mn_tape *tape);
/* Behind such a step: fails as it would have without `may_overflow`. MN_OK when there was no overflow. */
mn_status mn_tape_explain(mn_tape *tape);
/* In full mode over ranks, gradients of norms (and of key-value heads that ranks share) are sums of parts that the
 * ranks have: makes them whole, once behind the last step before the caller reads them. Collective. */
mn_status mn_tape_sum_gradients(mn_tape *tape);
/* Forward only: the loss of a batch. */
mn_status mn_tape_loss(mn_tape *tape, const mn_train_batch *batch, const float *hidden,
                       double *loss);

#endif
