/* session.h - one model at work: key-value cache, activations, the forward pass of a packed batch.
 *
 * Memory is planned when the session is opened: an arena for the cache ("prefix") and one for
 * activations ("step"); nothing is allocated later. A session is used by one thread at a time. */
#ifndef MNEME_SESSION_H
#define MNEME_SESSION_H

#include "mneme/model.h"
#include "mneme/ops.h"

typedef struct mn_session_options {
    int64_t max_tokens; /* per forward pass */
    int64_t kv_rows;    /* tokens that the cache holds */
    int64_t max_seqs;   /* packed sequences per forward pass */
    int64_t max_logits; /* rows of logits held at once */
    mn_compute compute;
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

/* Runs all blocks and the final norm of the outputs. NaN or infinity in the residual stream is
 * MN_ERR_NUMERIC with the layer's number (and the weight at fault, if it is one). */
mn_status mn_session_forward(mn_session *session, const mn_batch *batch);

/* Logits of outputs first .. first + count - 1 of the last forward pass; count <= max_logits. The
 * tensor (count, V) lives until the next call. */
mn_status mn_session_logits(mn_session *session, int64_t first, int64_t count, mn_tensor *logits);

#endif
