/* test_complete.h - the golden models, and what the completion engine must say, computed without it:
 * one forward pass over each whole prompt and continuation, nothing shared, batched or remembered;
 * the softmax in double. */
#ifndef MNEME_TEST_COMPLETE_H
#define MNEME_TEST_COMPLETE_H

#include "check.h"

#include "mneme/complete.h"
#include "mneme/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POSITIONS = 640 }; /* of every golden model */

typedef struct subject {
    mn_device *device;
    mn_model *model;
    mn_session *session; /* for whole sequences */
    mn_compute compute;
    int64_t vocab;
    double *rows; /* log-probabilities behind tokens `first` and on, (most_rows, vocab) */
    int64_t first, most_rows;
} subject;

static inline void subject_open_any(subject *s, const char *path, int threads, int64_t most_rows,
                                    mn_compute compute) {
    const mn_session_options options = {.max_tokens = POSITIONS,
                                        .kv_rows = POSITIONS,
                                        .max_seqs = 1,
                                        .max_logits = most_rows,
                                        .compute = compute};
    *s = (subject){.most_rows = most_rows, .compute = compute};
    MN_ASSERT_OK(mn_device_open(&s->device, "cpu", threads));
    MN_ASSERT_OK(mn_model_open(&s->model, path, s->device, NULL));
    MN_ASSERT_OK(mn_session_open(&s->session, s->model, &options));
    s->vocab = s->model->config.vocab;
    s->rows = calloc((size_t)(most_rows * s->vocab), sizeof *s->rows);
    assert_non_null(s->rows);
}

/* For models with a large vocabulary: few rows at a time. */
static inline void subject_open_path(subject *s, const char *path, int threads, int64_t most_rows) {
    subject_open_any(s, path, threads, most_rows, MN_COMPUTE_F32);
}

static inline void subject_open(subject *s, const char *folder, int threads) {
    subject_open_path(s, mn_test_source(folder).text, threads, POSITIONS);
}

static inline void subject_close(subject *s) {
    free(s->rows);
    mn_session_close(&s->session);
    mn_model_close(&s->model);
    mn_device_close(&s->device);
}

static inline double *row_of(const subject *s, int64_t token) {
    return s->rows + (token - s->first) * s->vocab;
}

/* row_of(s, i) = the log-probabilities of what follows token i, for i from `first` on. */
static inline void naive_forward(subject *s, const int32_t *ids, int64_t len, int64_t first) {
    int32_t at[POSITIONS];
    mn_tensor logits;
    assert_true(len <= POSITIONS && len - first <= s->most_rows);
    s->first = first;
    for (int32_t i = 0; i < len; i++) at[i] = i;
    const mn_attn_seq seq = {.q_len = (int32_t)len, .own_len = (int32_t)len};
    const mn_batch batch = {.ids = ids,
                            .positions = at,
                            .rows = at,
                            .tokens = len,
                            .seqs = &seq,
                            .seq_count = 1,
                            .outputs = at + first,
                            .output_count = len - first};
    MN_ASSERT_OK(mn_session_forward(s->session, &batch));
    MN_ASSERT_OK(mn_session_logits(s->session, 0, len - first, &logits));
    for (int64_t r = first; r < len; r++) {
        const float *x = (const float *)logits.data + (r - first) * s->vocab;
        double high = -INFINITY, sum = 0;
        for (int64_t i = 0; i < s->vocab; i++) high = fmax(high, (double)x[i]);
        for (int64_t i = 0; i < s->vocab; i++) sum += exp((double)x[i] - high);
        for (int64_t i = 0; i < s->vocab; i++) row_of(s, r)[i] = (double)x[i] - high - log(sum);
    }
}

/* The likeliest token of a row; *margin becomes its lead over the second where that is smaller. */
static inline int32_t naive_best(const subject *s, int64_t row, double *margin) {
    const double *x = row_of(s, row);
    int32_t best = 0;
    for (int32_t i = 1; i < s->vocab; i++)
        if (x[i] > x[best]) best = i;
    for (int32_t i = 0; i < s->vocab; i++)
        if (i != best) *margin = fmin(*margin, x[best] - x[i]);
    return best;
}

/* Log-likelihood of a continuation, every token of it after the true ones. */
static inline double naive_score(subject *s, const int32_t *prompt, int64_t len, const mn_ids *next,
                                 bool *greedy, double *margin) {
    int32_t ids[POSITIONS];
    double sum = 0;
    memcpy(ids, prompt, (size_t)len * sizeof *ids);
    memcpy(ids + len, next->data, (next->len - 1) * sizeof *ids);
    naive_forward(s, ids, len + (int64_t)next->len - 1, len - 1);
    *greedy = true;
    for (int64_t i = 0; i < (int64_t)next->len; i++) {
        const int64_t row = len - 1 + i;
        sum += row_of(s, row)[next->data[i]];
        if (naive_best(s, row, margin) != next->data[i]) *greedy = false;
    }
    return sum;
}

/* Appends `count` greedy tokens, everything computed anew for each. */
static inline void naive_generate(subject *s, const int32_t *prompt, int64_t len, int64_t count,
                                  mn_ids *out, double *margin) {
    int32_t ids[POSITIONS];
    memcpy(ids, prompt, (size_t)len * sizeof *ids);
    for (int64_t i = 0; i < count; i++) {
        naive_forward(s, ids, len + i, len + i - 1);
        ids[len + i] = naive_best(s, len + i - 1, margin);
        MN_ASSERT_OK(mn_ids_push(out, ids[len + i]));
    }
}

/* ---- what other programs say: tests/golden/.../reference.safetensors ---- */

typedef struct reference {
    mn_checkpoint *file;
    const int32_t *ids, *rows; /* a sequence, and the positions whose logits are kept */
    const float *logits;       /* (count, vocab) */
    int64_t len, count;
    double range; /* largest logit - smallest */
} reference;

static inline const mn_tensor *reference_tensor(const reference *r, const char *name) {
    const mn_stored *s = NULL;
    MN_ASSERT_OK(mn_checkpoint_get(&s, r->file, name));
    return &s->view;
}

static inline void reference_open(reference *r, const subject *s, const char *folder) {
    const mn_test_path dir = mn_test_source(folder);
    double low = INFINITY, high = -INFINITY;
    *r = (reference){0};
    MN_ASSERT_OK(
        mn_checkpoint_open_file(&r->file, mn_test_join(dir.text, "reference.safetensors").text));
    r->len = reference_tensor(r, "ids_513")->shape[0];
    r->ids = reference_tensor(r, "ids_513")->data;
    r->count = reference_tensor(r, "rows_513")->shape[0];
    r->rows = reference_tensor(r, "rows_513")->data;
    r->logits = reference_tensor(r, "logits_513")->data;
    for (int64_t i = 0; i < r->count * s->vocab; i++) {
        low = fmin(low, (double)r->logits[i]);
        high = fmax(high, (double)r->logits[i]);
    }
    r->range = high - low;
}

/* Log-probability of a token behind kept row `row`. */
static inline double reference_logprob(const reference *r, const subject *s, int64_t row,
                                       int32_t id) {
    const float *x = r->logits + row * s->vocab;
    double high = -INFINITY, sum = 0;
    for (int64_t i = 0; i < s->vocab; i++) high = fmax(high, (double)x[i]);
    for (int64_t i = 0; i < s->vocab; i++) sum += exp((double)x[i] - high);
    return (double)x[id] - high - log(sum);
}

/* How far the naive way is from that: what single precision costs in this model. */
static inline double naive_error(subject *s, const char *folder) {
    reference r;
    double worst = 0;
    reference_open(&r, s, folder);
    naive_forward(s, r.ids, r.len, 0);
    for (int64_t i = 0; i < r.count; i++)
        for (int32_t id = 0; id < s->vocab; id++)
            worst = mn_worse(worst,
                             fabs(row_of(s, r.rows[i])[id] - reference_logprob(&r, s, i, id)));
    mn_checkpoint_close(&r.file);
    return worst;
}

/* ---- the engine ---- */

typedef struct setting {
    int64_t batch_size;
    bool share;
    int64_t max_tokens, kv_rows; /* 0: the defaults */
} setting;

static inline mn_plan *make_plan(const subject *s, const mn_request *requests, int64_t count,
                                 const setting *how) {
    const mn_model_config *c = &s->model->config;
    const size_t row = 2 * s->device->kv_bytes(16, c->kv_heads, c->head_dim) / 16;
    const mn_plan_options options = {.batch_size = how->batch_size,
                                     .share_prefixes = how->share,
                                     .max_tokens = how->max_tokens,
                                     .kv_bytes = how->kv_rows * c->layers * (int64_t)row};
    mn_plan *plan = NULL;
    MN_ASSERT_OK(mn_plan_make(&plan, s->model, requests, count, &options));
    return plan;
}

static inline mn_status run_plan(const subject *s, const mn_plan *plan, mn_completion *answers,
                                 const mn_complete_hooks *hooks) {
    mn_session *session = NULL;
    mn_session_options room;
    mn_plan_session(&room, plan);
    room.compute = s->compute;
    MN_ASSERT_OK(mn_session_open(&session, s->model, &room));
    const mn_status st = mn_complete(session, plan, answers, hooks);
    mn_session_close(&session);
    return st;
}

/* Plans and answers; free the answers with mn_completions_free and free. */
static inline mn_completion *complete(const subject *s, const mn_request *requests, int64_t count,
                                      const setting *how, const mn_complete_hooks *hooks) {
    mn_completion *answers = calloc((size_t)count + 1, sizeof *answers);
    mn_plan *plan = make_plan(s, requests, count, how);
    assert_non_null(answers);
    MN_ASSERT_OK(run_plan(s, plan, answers, hooks));
    mn_plan_close(&plan);
    return answers;
}

static inline void drop(mn_completion *answers, int64_t count) {
    mn_completions_free(answers, count);
    free(answers);
}

static inline int32_t random_id(const subject *s, uint64_t stream, uint64_t index) {
    return (int32_t)mn_rng_below(20240229, stream, index, s->vocab);
}

#endif
