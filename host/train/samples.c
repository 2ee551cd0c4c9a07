/* samples.c - a set of samples: chunks, the held-out part, the fingerprint, the random order. */
#include "train/samples.h"

#include "mneme/rng.h"
#include "train/fingerprint.h"

#include <math.h>
#include <stdlib.h>

const char *const mn_train_methods[] = {"gpt_wikipage", "gpt_template", "gpt_wikipage_and_template",
                                        NULL};
const char *const mn_template_losses[] = {"answer", "all", NULL};

int64_t mn_sample_inputs(const mn_train_sample *sample) { return sample->len - 1; }
int64_t mn_sample_targets(const mn_train_sample *sample) {
    return sample->len - sample->loss_begin;
}

static mn_status check_options(const mn_samples_options *o) {
    const int64_t stride = o->chunk_stride > 0 ? o->chunk_stride : o->chunk_length;
    MN_CHECK(o->chunk_length >= 1, MN_ERR_USAGE, "chunk_length: %lld is less than 1",
             (long long)o->chunk_length);
    MN_CHECK(o->chunk_length <= o->max_positions, MN_ERR_USAGE,
             "chunk_length: %lld tokens are more than the model's %lld positions",
             (long long)o->chunk_length, (long long)o->max_positions);
    MN_CHECK(stride <= o->chunk_length, MN_ERR_USAGE,
             "chunk_stride: %lld is more than chunk_length, %lld: tokens would be left out",
             (long long)stride, (long long)o->chunk_length);
    MN_CHECK(o->validation_fraction >= 0 && o->validation_fraction < 1, MN_ERR_USAGE,
             "validation_fraction: %g is not from 0 to below 1", o->validation_fraction);
    MN_CHECK(o->num_fewshot >= 0 && o->num_fewshot <= MN_MAX_SHOTS, MN_ERR_USAGE,
             "num_fewshot: %d is not from 0 to %d", o->num_fewshot, MN_MAX_SHOTS);
    return MN_OK;
}

mn_status mn_samples_new(mn_samples **out, const mn_samples_options *options) {
    *out = NULL;
    MN_TRY(check_options(options));
    mn_samples *s = calloc(1, sizeof *s);
    MN_CHECK(s, MN_ERR_MEMORY, "no memory for training samples");
    *out = s;
    return MN_OK;
}

void mn_samples_close(mn_samples **samples) {
    mn_samples *s = *samples;
    if (!s) return;
    mn_ids_free(&s->ids);
    free(s->items);
    free(s);
    *samples = NULL;
}

static mn_status add(mn_samples *s, mn_train_sample sample) {
    MN_TRY(mn_grow(&s->items, &s->cap, (size_t)s->count + 1, sizeof *s->items));
    s->items[s->count++] = sample;
    return MN_OK;
}

mn_status mn_samples_chunks(mn_samples *s, size_t begin, const mn_samples_options *o,
                            const char *name) {
    const int64_t len = (int64_t)(s->ids.len - begin), length = o->chunk_length;
    const int64_t stride = o->chunk_stride > 0 ? o->chunk_stride : length;
    MN_CHECK(len >= 2, MN_ERR_DATA, "%s: a text of %lld tokens leaves nothing to predict", name,
             (long long)len);
    /* A chunk at `at` asks for tokens up to at + length; the one before went up to at - stride + length. */
    for (int64_t at = 0;; at += stride) {
        const int64_t left = len - at;
        MN_TRY(add(s, (mn_train_sample){.begin = (int64_t)begin + at,
                                        .len = left < length + 1 ? left : length + 1,
                                        .loss_begin = at == 0 ? 1 : length + 1 - stride}));
        if (at + length >= len - 1) return MN_OK;
    }
}

mn_status mn_samples_whole(mn_samples *s, size_t begin, int64_t loss_begin,
                           const mn_samples_options *o, const char *name) {
    const int64_t len = (int64_t)(s->ids.len - begin);
    MN_CHECK(loss_begin >= 1 && loss_begin < len, MN_ERR_DATA,
             "%s: a prompt of %lld tokens and a completion of %lld: both need at least one", name,
             (long long)loss_begin, (long long)(len - loss_begin));
    MN_CHECK(len - 1 <= o->max_positions, MN_ERR_DATA,
             "%s has %lld tokens; the model has room for %lld", name, (long long)len,
             (long long)o->max_positions + 1);
    return add(s, (mn_train_sample){.begin = (int64_t)begin, .len = len, .loss_begin = loss_begin});
}

/* Moves the held-out samples behind the others; both parts keep their order. */
static mn_status hold_out(mn_samples *s, const mn_samples_options *o) {
    enum { STREAM = 0x76616c69 }; /* "vali" */
    mn_status st = MN_OK;
    int64_t held = (int64_t)(o->validation_fraction * (double)s->count + 0.5), kept = 0;
    if (o->validation_fraction > 0 && held < 1) held = 1;
    MN_CHECK(held < s->count, MN_ERR_USAGE,
             "validation_fraction: %g of %lld samples leaves none to train on",
             o->validation_fraction, (long long)s->count);
    s->train_count = s->count - held;
    if (held == 0) return MN_OK;
    bool *is_held = calloc((size_t)s->count, sizeof *is_held);
    mn_train_sample *sorted = calloc((size_t)s->count, sizeof *sorted);
    MN_CHECK_GOTO(is_held && sorted, MN_ERR_MEMORY, "no memory for %lld samples",
                  (long long)s->count);
    for (int64_t i = 0; i < held; i++)
        is_held[mn_train_shuffle(o->seed, STREAM, i, s->count)] = true;
    for (int64_t i = 0; i < s->count; i++)
        sorted[is_held[i] ? s->train_count + i - kept : kept] = s->items[i], kept += !is_held[i];
    free(s->items);
    s->items = sorted;
    s->cap = (size_t)s->count;
    sorted = NULL;
done:
    free(is_held);
    free(sorted);
    return st;
}

mn_status mn_samples_finish(mn_samples *s, const mn_samples_options *o, const char *source) {
    MN_CHECK(s->count > 0, MN_ERR_DATA, "%s: nothing to train on", source);
    MN_TRY(hold_out(s, o));
    s->fingerprint = mn_fingerprint(MN_FINGERPRINT_SEED, s->ids.data,
                                    s->ids.len * sizeof *s->ids.data);
    s->fingerprint = mn_fingerprint(s->fingerprint, s->items, (size_t)s->count * sizeof *s->items);
    s->fingerprint = mn_fingerprint(s->fingerprint, &s->train_count, sizeof s->train_count);
    return MN_OK;
}

/* ---- random order ---- */

int64_t mn_train_shuffle(uint64_t seed, uint64_t stream, int64_t index, int64_t n) {
    enum { ROUNDS = 6 };
    int half = 1; /* bits of each half: 4^half >= n */
    while (half < 31 && (INT64_C(1) << (2 * half)) < n) half++;
    const uint64_t mask = (UINT64_C(1) << half) - 1;
    uint64_t x = (uint64_t)index;
    do {
        uint64_t left = x >> half, right = x & mask;
        for (uint64_t round = 0; round < ROUNDS; round++) {
            const uint64_t mixed = left ^ (mn_rng_u32(seed, stream, round << 32 | right) & mask);
            left = right;
            right = mixed;
        }
        x = left << half | right;
    } while (x >= (uint64_t)n);
    return (int64_t)x;
}
