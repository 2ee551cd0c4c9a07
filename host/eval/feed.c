/* feed.c - packs pending tokens of tracks into forward passes and reads what is wanted of the logits. */
#include "eval/feed.h"

#include "mneme/rng.h"

#include <math.h>
#include <stdlib.h>

typedef struct feed_output {
    track *of;
    int64_t at;   /* own token whose next token is wanted */
    int64_t slot; /* of the track's `best`, for the first variant */
} feed_output;

/* Targets per chunk of logits: the candidates of a row seldom number more than this. */
enum { TARGETS_PER_ROW = 2 * MN_MAX_CANDIDATES };

mn_status mn_track_target(track *t, int64_t at, int32_t id, int candidate) {
    MN_TRY(mn_grow(&t->targets, &t->target_cap, (size_t)t->target_count + 1, sizeof *t->targets));
    t->targets[t->target_count++] = (feed_target){.at = at, .id = id, .candidate = candidate};
    return MN_OK;
}

void mn_track_free(track *t) {
    mn_ids_free(&t->tokens);
    mn_ids_free(&t->best);
    free(t->targets);
    *t = (track){0};
}

/* What kernels write and read for the logits of one pass. */
static mn_status lay_out_results(feed *f, size_t rows) {
    const size_t targets = (size_t)f->target_cap;
    const struct {
        void *place;
        size_t bytes;
    } arrays[] = {{&f->device.target_row, targets * sizeof *f->device.target_row},
                  {&f->device.target_id, targets * sizeof *f->device.target_id},
                  {&f->device.target_value, targets * sizeof *f->device.target_value},
                  {&f->device.sampled, rows * sizeof *f->device.sampled},
                  {&f->device.uniform, rows * sizeof *f->device.uniform},
                  {&f->device.difference, rows * sizeof *f->device.difference},
                  {&f->device.stats, rows * sizeof *f->device.stats}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        MN_TRY(mn_arena_alloc(&f->results, arrays[i].place, arrays[i].bytes));
    return mn_vocab_lay_out(&f->vocab, &f->results);
}

mn_status mn_feed_open(feed *f, mn_session *session, int64_t stride, float temperature,
                       uint64_t seed) {
    const mn_session_options *limits = mn_session_limits(session);
    const size_t tokens = (size_t)limits->max_tokens, rows = (size_t)limits->max_logits;
    const size_t targets = rows * TARGETS_PER_ROW;
    *f = (feed){.session = session,
                .variants = mn_session_variants(session),
                .stride = stride,
                .base = -1,
                .temperature = temperature,
                .seed = seed,
                .target_cap = (int64_t)targets};
    f->active = calloc((size_t)f->variants, sizeof *f->active);
    f->ids = calloc(tokens, sizeof *f->ids);
    f->positions = calloc(tokens, sizeof *f->positions);
    f->rows = calloc(tokens, sizeof *f->rows);
    f->outputs = calloc(tokens, sizeof *f->outputs);
    f->wanted = calloc(tokens, sizeof *f->wanted);
    f->seqs = calloc((size_t)limits->max_seqs, sizeof *f->seqs);
    f->target_row = calloc(targets, sizeof *f->target_row);
    f->target_id = calloc(targets, sizeof *f->target_id);
    f->target_value = calloc(targets, sizeof *f->target_value);
    f->target_candidate = calloc(targets, sizeof *f->target_candidate);
    f->target_answers = calloc(targets, sizeof(mn_completion *));
    f->sampled = calloc(rows, sizeof *f->sampled);
    f->uniform = calloc(rows, sizeof *f->uniform);
    f->difference = calloc(rows, sizeof *f->difference);
    f->stats = calloc(rows, sizeof *f->stats);
    MN_CHECK(f->active && f->ids && f->positions && f->rows && f->outputs && f->wanted && f->seqs &&
                 f->target_row && f->target_id && f->target_value && f->target_candidate &&
                 f->target_answers && f->sampled && f->uniform && f->difference && f->stats,
             MN_ERR_MEMORY, "no memory to feed batches of %zu tokens", tokens);
    MN_TRY(
        mn_vocab_open(&f->vocab, mn_session_model(session), limits->max_logits, temperature > 0));
    mn_arena_init(&f->results, "results", mn_session_model(session)->device);
    MN_TRY(lay_out_results(f, rows));
    MN_TRY(mn_arena_commit(&f->results));
    MN_TRY(lay_out_results(f, rows));
    for (int64_t v = f->variants; v-- > 0;) {
        f->active[v] = true;
        if (!mn_session_variant(session, v)) f->base = v;
    }
    return MN_OK;
}

void mn_feed_close(feed *f) {
    free(f->active);
    free(f->ids);
    free(f->positions);
    free(f->rows);
    free(f->outputs);
    free(f->wanted);
    free(f->seqs);
    free(f->target_row);
    free(f->target_id);
    free(f->target_value);
    free(f->target_candidate);
    free(f->target_answers);
    free(f->sampled);
    free(f->uniform);
    free(f->difference);
    free(f->stats);
    mn_vocab_close(&f->vocab);
    mn_arena_free(&f->results);
    *f = (feed){0};
}

static int64_t pending(const track *t) { return (int64_t)t->tokens.len - t->fed; }

/* Wants the next token behind own token `at`: a slot of `best` for each variant. */
static mn_status want_output(feed *f, mn_batch *b, track *t, int64_t at) {
    f->wanted[b->output_count] = (feed_output){.of = t, .at = at, .slot = (int64_t)t->best.len};
    f->outputs[b->output_count++] = (int32_t)b->tokens;
    for (int64_t v = 0; v < f->variants; v++) MN_TRY(mn_ids_push(&t->best, -1));
    return MN_OK;
}

/* Adds the next `count` tokens of a track to the batch. */
static mn_status add_tokens(feed *f, mn_batch *b, track *t, int64_t count) {
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
        if (at >= t->want_from) MN_TRY(want_output(f, b, t, at));
        b->tokens++;
    }
    t->fed += count;
    return MN_OK;
}

/* What is read of one variant: `rows` rows of logits from output `first` on. */
typedef struct chunk {
    int64_t variant, rows;
    const feed_output *wanted;
    mn_tensor logits;
} chunk;

static mn_status fail_on_nan(const feed *f, const chunk *c) {
    const mn_memory *memory = mn_session_variant(f->session, c->variant);
    for (int64_t r = 0; r < c->rows; r++) {
        if (!isnan(f->stats[r].lse)) continue;
        MN_TRY(
            mn_model_check_finite(mn_session_model(f->session))); /* a weight explains it better */
        return mn_fail(
            MN_ERR_NUMERIC,
            "the logits of a token at position %lld are NaN or infinite (output matrix)%s%s",
            (long long)c->wanted[r].of->position + (long long)c->wanted[r].at,
            memory ? ", with memory " : "", memory ? memory->name : "");
    }
    return MN_OK;
}

/* The likeliest or sampled next token behind each output of a chunk. */
static mn_status read_best(feed *f, const chunk *c) {
    mn_device *dev = mn_session_model(f->session)->device;
    MN_TRY(fail_on_nan(f, c));
    if (f->temperature > 0) {
        for (int64_t r = 0; r < c->rows; r++) {
            const track *t = c->wanted[r].of;
            const int64_t index = t->drawn + c->wanted[r].slot / f->variants;
            f->uniform[r] = (float)mn_rng_uniform(f->seed, t->stream, (uint64_t)index) *
                            0.99999994f;
        }
        mn_tensor ids = mn_tensor_1d(f->device.sampled, MN_I32, c->rows);
        const mn_tensor u = mn_tensor_1d(f->device.uniform, MN_F32, c->rows);
        MN_TRY(dev->upload(dev, u.data, f->uniform, mn_tensor_bytes(&u)));
        MN_TRY(mn_vocab_sample(&f->vocab, &ids, &c->logits, &u, f->temperature));
        MN_TRY(dev->download(dev, f->sampled, ids.data, mn_tensor_bytes(&ids)));
    }
    for (int64_t r = 0; r < c->rows; r++)
        c->wanted[r].of->best.data[c->wanted[r].slot + c->variant] = f->temperature > 0
                                                                         ? f->sampled[r]
                                                                         : f->stats[r].best_id;
    return MN_OK;
}

/* Log-probabilities of `count` collected targets. */
static mn_status flush_targets(feed *f, const chunk *c, int64_t count) {
    if (count == 0) return MN_OK;
    mn_device *dev = mn_session_model(f->session)->device;
    mn_tensor value = mn_tensor_1d(f->device.target_value, MN_F32, count);
    const mn_tensor row = mn_tensor_1d(f->device.target_row, MN_I32, count);
    const mn_tensor id = mn_tensor_1d(f->device.target_id, MN_I32, count);
    MN_TRY(dev->upload(dev, row.data, f->target_row, mn_tensor_bytes(&row)));
    MN_TRY(dev->upload(dev, id.data, f->target_id, mn_tensor_bytes(&id)));
    MN_TRY(mn_vocab_logprobs(&f->vocab, &value, &c->logits, f->device.stats, &row, &id));
    MN_TRY(dev->download(dev, f->target_value, value.data, mn_tensor_bytes(&value)));
    for (int64_t i = 0; i < count; i++) {
        mn_completion *a = f->target_answers[i] + c->variant * f->stride;
        a->logprob[f->target_candidate[i]] += (double)f->target_value[i];
        if (f->stats[f->target_row[i]].best_id != f->target_id[i])
            a->greedy[f->target_candidate[i]] = false;
    }
    return MN_OK;
}

static mn_status read_targets(feed *f, const chunk *c) {
    int64_t count = 0, next = 0;
    for (int64_t r = 0; r < c->rows; r++) {
        const track *t = c->wanted[r].of;
        if (r == 0 || t != c->wanted[r - 1].of) next = t->target_done;
        for (; next < t->target_count && t->targets[next].at == c->wanted[r].at; next++) {
            if (count == f->target_cap) {
                MN_TRY(flush_targets(f, c, count));
                count = 0;
            }
            f->target_row[count] = (int32_t)r;
            f->target_id[count] = t->targets[next].id;
            f->target_candidate[count] = t->targets[next].candidate;
            f->target_answers[count++] = t->answers;
        }
    }
    return flush_targets(f, c, count);
}

/* Every variant has read its targets up to here. */
static void pass_targets(const feed_output *wanted, int64_t rows) {
    for (int64_t r = 0; r < rows; r++) {
        track *t = wanted[r].of;
        while (t->target_done < t->target_count && t->targets[t->target_done].at <= wanted[r].at)
            t->target_done++;
    }
}

/* The largest difference of a logit, for the answer of each row. */
static mn_status compare_logits(feed *f, const chunk *c, const mn_tensor *base) {
    mn_device *dev = mn_session_model(f->session)->device;
    mn_tensor difference = mn_tensor_1d(f->device.difference, MN_F32, c->rows);
    MN_TRY(mn_vocab_difference(&f->vocab, &difference, &c->logits, base));
    MN_TRY(dev->download(dev, f->difference, difference.data, mn_tensor_bytes(&difference)));
    for (int64_t r = 0; r < c->rows; r++) {
        mn_completion *a = c->wanted[r].of->answers + c->variant * f->stride;
        a->compared = true;
        a->logit_change = fmax(a->logit_change, (double)f->difference[r]);
    }
    return MN_OK;
}

static mn_status read_variant(feed *f, chunk *c, int64_t first, const mn_tensor *base) {
    mn_device *dev = mn_session_model(f->session)->device;
    MN_TRY(mn_session_variant_logits(f->session, c->variant, first, c->rows, &c->logits));
    MN_TRY(mn_vocab_stats(&f->vocab, f->device.stats, &c->logits));
    MN_TRY(dev->download(dev, f->stats, f->device.stats, (size_t)c->rows * sizeof *f->stats));
    MN_TRY(read_best(f, c));
    MN_TRY(read_targets(f, c));
    return base ? compare_logits(f, c, base) : MN_OK;
}

/* The base comes first: its logits stay while those of the others are compared with them. */
static mn_status read_chunk(feed *f, int64_t first, int64_t rows) {
    chunk base = {.variant = f->base, .rows = rows, .wanted = f->wanted + first};
    const bool has_base = f->base >= 0 && f->active[f->base];
    if (has_base) MN_TRY(read_variant(f, &base, first, NULL));
    for (int64_t v = 0; v < f->variants; v++) {
        chunk c = {.variant = v, .rows = rows, .wanted = f->wanted + first};
        if (v == f->base || !f->active[v]) continue;
        MN_TRY(read_variant(f, &c, first, has_base && f->audit ? &base.logits : NULL));
    }
    pass_targets(f->wanted + first, rows);
    return MN_OK;
}

/* Adds up what the memories of the last top changed at the outputs. */
static void note_changes(feed *f, int64_t variant, int64_t outputs) {
    const mn_memory *memory = mn_session_variant(f->session, variant);
    for (int64_t m = 0; memory && m < memory->count; m++) {
        const double *change = mn_session_change(f->session, m);
        for (int64_t r = 0; r < outputs; r++)
            f->wanted[r].of->answers[variant * f->stride].change[m] += change[r];
    }
    for (int64_t r = 0; r < outputs; r++) f->wanted[r].of->answers[variant * f->stride].outputs++;
}

static mn_status run_pass(feed *f, const mn_batch *b) {
    const int64_t most = mn_session_limits(f->session)->max_logits;
    MN_TRY(mn_session_trunk(f->session, b));
    for (int64_t v = 0; v < f->variants; v++) {
        if (!f->active[v]) continue;
        MN_TRY(mn_session_top(f->session, v));
        if (f->audit) note_changes(f, v, b->output_count);
    }
    for (int64_t first = 0; first < b->output_count; first += most)
        MN_TRY(
            read_chunk(f, first, b->output_count - first < most ? b->output_count - first : most));
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
            if (left > 0) MN_TRY(add_tokens(f, &b, &tracks[at], left < room ? left : room));
            if (pending(&tracks[at]) == 0) at++;
        }
        if (b.tokens == 0) break;
        MN_TRY(run_pass(f, &b));
    }
    return MN_OK;
}
