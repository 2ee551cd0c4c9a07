/* vocab.h - the vocabulary of a model, of which each of the ranks that share the model has a slice: embedding, what is read
 * off logits, loss.
 *
 * Logits (M, shard.vocab) are this rank's slice and are never gathered, but for sampling. Ids are those of the whole
 * vocabulary, and every result is that of whole rows, the same on all ranks. Without tp these are the ops of the
 * same names (ops.h), bit by bit. All calls are collective; tensors are device memory. */
#ifndef MNEME_VOCAB_H
#define MNEME_VOCAB_H

#include "mneme/buf.h"
#include "mneme/model.h"
#include "mneme/ops.h"

/* Scratch for up to `rows` rows of logits at a time. */
typedef struct mn_vocab {
    const mn_model *model;
    mn_id_range range;
    int64_t rows;
    mn_row_stat *mine, *all; /* [rows], [ranks][rows], device; NULL without tp, like the rest */
    /* sampling gathers some rows, through the host */
    float *whole;            /* (some rows, V), device */
    float *part, *assembled; /* (some rows, shard.vocab), (some rows, V), host */
    mn_buf gathered;
} mn_vocab;

/* The host's part; `sampling`: mn_vocab_sample will be called. Then the device's, in the caller's arena. */
mn_status mn_vocab_open(mn_vocab *out, const mn_model *model, int64_t rows, bool sampling);
mn_status mn_vocab_lay_out(mn_vocab *vocab, mn_arena *arena);
void mn_vocab_close(mn_vocab *vocab); /* safe twice */

/* x (T, C) = rows of the embedding */
mn_status mn_vocab_embed(const mn_model *model, mn_tensor *x, const mn_tensor *ids);
mn_status mn_vocab_stats(mn_vocab *vocab, mn_row_stat *stats, const mn_tensor *logits);
/* `stats` from mn_vocab_stats */
mn_status mn_vocab_logprobs(mn_vocab *vocab, mn_tensor *out, const mn_tensor *logits,
                            const mn_row_stat *stats, const mn_tensor *row, const mn_tensor *id);
mn_status mn_vocab_difference(mn_vocab *vocab, mn_tensor *out, const mn_tensor *x,
                              const mn_tensor *y);
mn_status mn_vocab_sample(mn_vocab *vocab, mn_tensor *ids, const mn_tensor *logits,
                          const mn_tensor *u, float temperature);
/* Losses of whole rows; logits become this rank's slice of the gradient. */
mn_status mn_vocab_cross_entropy(mn_vocab *vocab, mn_tensor *loss, mn_tensor *logits,
                                 const mn_tensor *targets, float scale);

#endif
