/* feed.c - packs pending tokens of tracks into forward passes and reads what is wanted of the logits. */
#include "eval/feed.h"

#include "mneme/rng.h"

#include <math.h>
#include <stdlib.h>

typedef struct feed_output {
    track *of;
    int64_t at; /* own token whose next token is wanted */
} feed_output;

/* Targets per chunk of logits: the candidates of a row seldom number more than this. */
enum { TARGETS_PER_ROW = 2 * MN_MAX_CANDIDATES };

mn_status mn_track_target(track *t, int64_t at, int32_t id, double *logprob, bool *greedy) {
    MN_TRY(mn_grow(&t->targets, &t->target_cap, (size_t)t->target_count + 1, sizeof *t->targets));
    t->targets[t->target_count++] = (feed_target){
        .at = at, .id = id, .logprob = logprob, .greedy = greedy};
    return MN_OK;
}

void mn_track_free(track *t) {
    mn_ids_free(&t->tokens);
    mn_ids_free(&t->best);
    free(t->targets);
    *t = (track){0};
}

mn_status mn_feed_open(feed *f, mn_session *session, float temperature, uint64_t seed) {
    const mn_session_options *limits = mn_session_limits(session);
    const size_t tokens = (size_t)limits->max_tokens, rows = (size_t)limits->max_logits;
    const size_t targets = rows * TARGETS_PER_ROW;
    *f = (feed){.session = session,
                .temperature = temperature,
                .seed = seed,
                .target_cap = (int64_t)targets};
    f->ids = calloc(tokens, sizeof *f->ids);
    f->positions = calloc(tokens, sizeof *f->positions);
    f->rows = calloc(tokens, sizeof *f->rows);
    f->outputs = calloc(tokens, sizeof *f->outputs);
    f->wanted = calloc(tokens, sizeof *f->wanted);
    f->seqs = calloc((size_t)limits->max_seqs, sizeof *f->seqs);
    f->target_row = calloc(targets, sizeof *f->target_row);
    f->target_id = calloc(targets, sizeof *f->target_id);
    f->target_value = calloc(targets, sizeof *f->target_value);
    f->target_of = calloc(targets, sizeof(feed_target *));
    f->sampled = calloc(rows, sizeof *f->sampled);
    f->uniform = calloc(rows, sizeof *f->uniform);
    f->stats = calloc(rows, sizeof *f->stats);
    MN_CHECK(f->ids && f->positions && f->rows && f->outputs && f->wanted && f->seqs &&
                 f->target_row && f->target_id && f->target_value && f->target_of && f->sampled &&
                 f->uniform && f->stats,
             MN_ERR_MEMORY, "no memory to feed batches of %zu tokens", tokens);
    return MN_OK;
}

void mn_feed_close(feed *f) {
    free(f->ids);
    free(f->positions);
    free(f->rows);
    free(f->outputs);
    free(f->wanted);
    free(f->seqs);
    free(f->target_row);
    free(f->target_id);
    free(f->target_value);
    free(f->target_of);
    free(f->sampled);
    free(f->uniform);
    free(f->stats);
    *f = (feed){0};
}

static int64_t pending(const track *t) { return (int64_t)t->tokens.len - t->fed; }

/* Adds the next `count` tokens of a track to the batch. */
static void add_tokens(feed *f, mn_batch *b, track *t, int64_t count) {
    mn_attn_seq *seq = &f->seqs[b->seq_count++];
    *seq = (mn_attn_seq){.q_begin = (int32_t)b->tokens,
                         .q_len = (int32_t)count,
                         .own_begin = t->own_row,
                         .own_len = (int32_t)(t->fed + count)};
    for (int i = 0; i < MN_SHARED_SPANS; i++) {
        seq->shared_begin[i] = t->shared_begin[i];
        seq->shared_len[i] = t->shared_len[i];
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = t->fed + i;
        f->ids[b->tokens] = t->tokens.data[at];
        f->positions[b->tokens] = t->position + (int32_t)at;
        f->rows[b->tokens] = t->own_row + (int32_t)at;
        if (at >= t->want_from) {
            f->wanted[b->output_count] = (feed_output){.of = t, .at = at};
            f->outputs[b->output_count++] = (int32_t)b->tokens;
        }
        b->tokens++;
    }
    t->fed += count;
}

/* The likeliest or sampled next token behind each output of a chunk. */
static mn_status read_best(feed *f, const mn_tensor *logits, const feed_output *wanted,
                           int64_t rows) {
    mn_device *dev = mn_session_model(f->session)->device;
    for (int64_t r = 0; r < rows; r++) {
        if (!isnan(f->stats[r].lse)) continue;
        MN_TRY(
            mn_model_check_finite(mn_session_model(f->session))); /* a weight explains it better */
        return mn_fail(MN_ERR_NUMERIC,
                       "the logits of a token at position %lld are NaN or infinite (output matrix)",
                       (long long)wanted[r].of->position + (long long)wanted[r].at);
    }
    if (f->temperature > 0) {
        for (int64_t r = 0; r < rows; r++) {
            track *t = wanted[r].of;
            f->uniform[r] = (float)mn_rng_uniform(f->seed, t->stream, (uint64_t)t->drawn++) *
                            0.99999994f;
        }
        mn_tensor ids = mn_tensor_1d(f->sampled, MN_I32, rows);
        const mn_tensor u = mn_tensor_1d(f->uniform, MN_F32, rows);
        MN_TRY(mn_sample(dev, &ids, logits, &u, f->temperature));
    }
    for (int64_t r = 0; r < rows; r++)
        MN_TRY(mn_ids_push(&wanted[r].of->best,
                           f->temperature > 0 ? f->sampled[r] : f->stats[r].best_id));
    return MN_OK;
}

/* Log-probabilities of `count` collected targets. */
static mn_status flush_targets(feed *f, const mn_tensor *logits, int64_t count) {
    if (count == 0) return MN_OK;
    mn_tensor value = mn_tensor_1d(f->target_value, MN_F32, count);
    const mn_tensor row = mn_tensor_1d(f->target_row, MN_I32, count);
    const mn_tensor id = mn_tensor_1d(f->target_id, MN_I32, count);
    MN_TRY(mn_logprob_gather(mn_session_model(f->session)->device, &value, logits, f->stats, &row,
                             &id));
    for (int64_t i = 0; i < count; i++) {
        *f->target_of[i]->logprob += (double)f->target_value[i];
        if (f->stats[f->target_row[i]].best_id != f->target_id[i]) *f->target_of[i]->greedy = false;
    }
    return MN_OK;
}

static mn_status read_targets(feed *f, const mn_tensor *logits, const feed_output *wanted,
                              int64_t rows) {
    int64_t count = 0;
    for (int64_t r = 0; r < rows; r++) {
        track *t = wanted[r].of;
        while (t->target_done < t->target_count && t->targets[t->target_done].at == wanted[r].at) {
            if (count == f->target_cap) {
                MN_TRY(flush_targets(f, logits, count));
                count = 0;
            }
            feed_target *target = &t->targets[t->target_done++];
            f->target_row[count] = (int32_t)r;
            f->target_id[count] = target->id;
            f->target_of[count++] = target;
        }
    }
    return flush_targets(f, logits, count);
}

static mn_status read_outputs(feed *f, int64_t count) {
    const int64_t most = mn_session_limits(f->session)->max_logits;
    for (int64_t first = 0; first < count; first += most) {
        const int64_t rows = count - first < most ? count - first : most;
        mn_tensor logits;
        MN_TRY(mn_session_logits(f->session, first, rows, &logits));
        MN_TRY(mn_row_stats(mn_session_model(f->session)->device, f->stats, &logits));
        MN_TRY(read_best(f, &logits, f->wanted + first, rows));
        MN_TRY(read_targets(f, &logits, f->wanted + first, rows));
    }
    return MN_OK;
}

mn_status mn_feed_run(feed *f, track *tracks, int64_t count) {
    const mn_session_options *limits = mn_session_limits(f->session);
    int64_t at = 0;
    while (at < count && pending(&tracks[at]) == 0) at++;
    while (at < count) {
        mn_batch b = {.ids = f->ids,
                      .positions = f->positions,
                      .rows = f->rows,
                      .seqs = f->seqs,
                      .outputs = f->outputs};
        while (at < count && b.tokens < limits->max_tokens && b.seq_count < limits->max_seqs) {
            const int64_t room = limits->max_tokens - b.tokens, left = pending(&tracks[at]);
            if (left > 0) add_tokens(f, &b, &tracks[at], left < room ? left : room);
            if (pending(&tracks[at]) == 0) at++;
        }
        if (b.tokens == 0) break;
        MN_TRY(mn_session_forward(f->session, &b));
        MN_TRY(read_outputs(f, b.output_count));
    }
    return MN_OK;
}
