/* batch.c - packs samples one behind the other, with what enters the lowest block with a memory.
 *
 * A kept sample must equal the one that is computed again, beside whatever others: fill_hidden. */
#include "train/trainer.h"

#include <stdlib.h>
#include <string.h>

static int by_size(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

int64_t mn_batch_most_tokens(const mn_samples *s, int64_t batch_size) {
    int64_t most = 0;
    int64_t *sizes = calloc((size_t)s->count, sizeof *sizes);
    if (!sizes) return 0;
    for (int64_t i = 0; i < s->count; i++) sizes[i] = mn_sample_inputs(&s->items[i]);
    qsort(sizes, (size_t)s->count, sizeof *sizes, by_size);
    for (int64_t i = 0; i < batch_size && i < s->count; i++) most += sizes[i];
    free(sizes);
    return most;
}

mn_status mn_batch_open(train_batch *b, const mn_samples *samples, int64_t batch_size, int64_t dim,
                        bool trunk) {
    *b = (train_batch){.max_tokens = mn_batch_most_tokens(samples, batch_size)};
    b->max_seqs = batch_size < samples->count ? batch_size : samples->count;
    const size_t tokens = (size_t)b->max_tokens, seqs = (size_t)b->max_seqs;
    MN_CHECK(tokens > 0, MN_ERR_MEMORY, "no memory for a batch");
    b->ids = calloc(tokens, sizeof *b->ids);
    b->outputs = calloc(tokens, sizeof *b->outputs);
    b->targets = calloc(tokens, sizeof *b->targets);
    b->lengths = calloc(seqs, sizeof *b->lengths);
    b->samples = calloc(seqs, sizeof *b->samples);
    if (trunk) b->hidden = calloc(tokens * (size_t)dim, sizeof *b->hidden);
    MN_CHECK(b->ids && b->outputs && b->targets && b->lengths && b->samples &&
                 (b->hidden || !trunk),
             MN_ERR_MEMORY, "no memory for a batch of %zu tokens", tokens);
    return MN_OK;
}

void mn_batch_close(train_batch *b) {
    free(b->ids);
    free(b->outputs);
    free(b->targets);
    free(b->lengths);
    free(b->samples);
    free(b->hidden);
    *b = (train_batch){0};
}

/* Neighbours in the batch whose trunk must be computed. */
typedef struct stretch {
    int64_t first, count, at, tokens; /* samples; their place in the batch */
} stretch;

static mn_status run_trunk(trainer *t, train_batch *b, stretch *s) {
    const int64_t dim = t->model->config.dim;
    float *hidden = b->hidden + s->at * dim;
    const mn_train_batch part = {.ids = b->ids + s->at,
                                 .tokens = s->tokens,
                                 .lengths = b->lengths + s->first,
                                 .seq_count = s->count};
    if (s->count == 0) return MN_OK;
    MN_TRY(mn_tape_trunk(t->tape, &part, hidden));
    mn_cache_round(t->o->activation_cache_dtype, hidden, s->tokens * dim);
    for (int64_t i = s->first; t->cache && i < s->first + s->count; i++) {
        mn_cache_put(t->cache, b->samples[i], hidden);
        hidden += b->lengths[i] * dim;
    }
    *s = (stretch){0};
    return MN_OK;
}

/* What enters the lowest memory: kept, or computed now. Samples may be computed together, since more
 * than FEW rows give the same bits whatever the other rows are (tape.h); shorter ones go alone. */
static mn_status fill_hidden(trainer *t, train_batch *b, int64_t count, int64_t step) {
    enum { FEW = 4 };
    const int64_t *samples = b->samples;
    stretch missing = {0};
    int64_t at = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t length = b->lengths[i];
        const bool kept = mn_cache_get(t->cache, samples[i], b->hidden + at * t->model->config.dim);
        if (t->cache && mn_cache_first_time(t->cache, samples[i], step)) b->kept += kept;
        if (kept || length <= FEW) MN_TRY(run_trunk(t, b, &missing));
        if (!kept) {
            if (missing.count == 0) missing = (stretch){.first = i, .at = at};
            missing.count++;
            missing.tokens += length;
            if (length <= FEW) MN_TRY(run_trunk(t, b, &missing));
        }
        at += length;
    }
    return run_trunk(t, b, &missing);
}

bool mn_batch_is_kept(const trainer *t, const train_batch *b, int64_t count) {
    for (int64_t i = 0; b->hidden && i < count; i++)
        if (!mn_cache_has(t->cache, b->samples[i])) return false;
    return true;
}

mn_status mn_batch_fill(trainer *t, train_batch *b, int64_t count, int64_t step) {
    const int64_t *samples = b->samples;
    int64_t tokens = 0, outputs = 0;
    mn_range_begin(t->device, "loader");
    for (int64_t i = 0; i < count; i++) {
        const mn_train_sample *s = &t->samples->items[samples[i]];
        const int32_t *ids = t->samples->ids.data + s->begin;
        b->lengths[i] = mn_sample_inputs(s);
        memcpy(b->ids + tokens, ids, (size_t)b->lengths[i] * sizeof *ids);
        for (int64_t at = s->loss_begin; at < s->len; at++) {
            b->outputs[outputs] = (int32_t)(tokens + at - 1);
            b->targets[outputs++] = ids[at];
        }
        tokens += b->lengths[i];
    }
    mn_range_end(t->device);
    b->kept = 0;
    if (b->hidden) MN_TRY(fill_hidden(t, b, count, step));
    b->view = (mn_train_batch){.ids = b->ids,
                               .tokens = tokens,
                               .lengths = b->lengths,
                               .seq_count = count,
                               .outputs = b->outputs,
                               .targets = b->targets,
                               .output_count = outputs};
    return MN_OK;
}
