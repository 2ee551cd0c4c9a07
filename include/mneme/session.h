/* session.h - one model at work: key-value cache, activations, the forward pass of a packed batch.
 *
 * Memory is planned when the session is opened: an arena for the cache ("prefix") and one for
 * activations ("step"); nothing is allocated later. A session is used by one thread at a time.
 *
 * Ranks that share the model (model->tp) open their sessions alike and make the same calls: each has its heads' part of the
 * cache and of the activations, the residual stream and all decisions are the same on all of them.
 *
 * Several variants of the model can be at work over one trunk: the base and memories (memory.h). All
 * blocks up to the lowest one with a memory behind it are the same for every variant; they and their
 * cache are the trunk, computed once per batch (mn_session_trunk). What follows is a variant's own top
 * with a cache of its own (mn_session_top). Tokens of the trunk's cache that a variant overwrites are
 * overwritten for all of them. */
#ifndef MNEME_SESSION_H
#define MNEME_SESSION_H

#include "mneme/memory.h"
#include "mneme/ops.h"

typedef struct mn_session_options {
    int64_t max_tokens; /* per forward pass */
    int64_t kv_rows;    /* tokens that the cache holds */
    int64_t max_seqs;   /* packed sequences per forward pass */
    int64_t max_logits; /* rows of logits held at once */
    mn_compute compute;
    /* NULL is the base. The memories are the caller's and outlive the session, the list need not. No
     * list: the base alone. */
    const mn_memory *const *variants;
    int64_t variant_count;
    bool audit; /* measure what each memory changes: mn_session_change */
} mn_session_options;

typedef struct mn_session mn_session;
mn_status mn_session_open(mn_session **out, mn_model *model, const mn_session_options *options);
void mn_session_close(mn_session **session);
/* Bytes that opening with these options takes, without opening. */
mn_status mn_session_plan(int64_t *kv_bytes, int64_t *step_bytes, mn_model *model,
                          const mn_session_options *options);
const mn_session_options *mn_session_limits(const mn_session *session);
mn_model *mn_session_model(const mn_session *session);

/* A packed batch, host arrays. Token t stands at positions[t] of its sequence and its keys and
 * values go to cache row rows[t]. The hidden states of tokens outputs[0..] are kept for logits. */
typedef struct mn_batch {
    const int32_t *ids, *positions, *rows; /* [tokens] */
    int64_t tokens;
    const mn_attn_seq *seqs;
    int64_t seq_count;
    const int32_t *outputs; /* ascending */
    int64_t output_count;
} mn_batch;

/* Runs the trunk. The batch is copied. */
mn_status mn_session_trunk(mn_session *session, const mn_batch *batch);
/* Runs the rest of the blocks and the final norm of the outputs for one variant, from the last trunk
 * pass; any of them, in any order, as often as wanted. NaN or infinity in the residual stream, the trunk's
 * too, is MN_ERR_NUMERIC with the block's number (and the weight or memory at fault, if it is one). */
mn_status mn_session_top(mn_session *session, int64_t variant);
/* Trunk and top of the first variant. */
mn_status mn_session_forward(mn_session *session, const mn_batch *batch);

/* Logits of outputs first .. first + count - 1 of the variant's last top; count <= max_logits. The
 * tensor (count, shard.vocab) lives until the next call; that of a base among several variants until the base's
 * next call, so that others can be compared with it. Ranks have a slice each: vocab.h reads them. */
mn_status mn_session_variant_logits(mn_session *session, int64_t variant, int64_t first,
                                    int64_t count, mn_tensor *logits);
mn_status mn_session_logits(mn_session *session, int64_t first, int64_t count,
                            mn_tensor *logits); /* of the first variant */

int64_t mn_session_variants(const mn_session *session);
const mn_memory *mn_session_variant(const mn_session *session,
                                    int64_t variant); /* NULL: the base */

/* With `audit`: |delta h| / |h| at each output of the last top behind memory `index` (by rising block)
 * of its variant, Euclidean norms of what the memory adds and of what it adds to. Host memory
 * [outputs], until the next top. */
const double *mn_session_change(const mn_session *session, int64_t index);

#endif
