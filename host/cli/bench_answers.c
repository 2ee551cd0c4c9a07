/* bench_answers.c - what an evaluation reads of logits: likeliest tokens, log-probabilities of the label letters,
 * differences from the base. */
#include "cli/bench.h"

#include <math.h>
#include <stdlib.h>

const int32_t mn_bench_letters[MN_BENCH_LETTERS] = {34, 35, 36};

mn_status mn_bench_answers_open(mn_bench_answers *a, int64_t claims) {
    a->best = calloc((size_t)claims, sizeof *a->best);
    a->logprob = calloc((size_t)claims * MN_BENCH_LETTERS, sizeof *a->logprob);
    MN_CHECK(a->best && a->logprob, MN_ERR_MEMORY, "no memory for the answers of %lld claims",
             (long long)claims);
    return MN_OK;
}

void mn_bench_answers_close(mn_bench_answers *a) {
    free(a->best);
    free(a->logprob);
    *a = (mn_bench_answers){0};
}

static mn_status lay_out(mn_bench_reader *r) {
    const size_t claims = (size_t)r->claims, letters = claims * MN_BENCH_LETTERS;
    MN_TRY(mn_arena_alloc(&r->arena, &r->stats, claims * sizeof *r->stats));
    MN_TRY(mn_arena_alloc(&r->arena, &r->row, letters * sizeof *r->row));
    MN_TRY(mn_arena_alloc(&r->arena, &r->letter, letters * sizeof *r->letter));
    MN_TRY(mn_arena_alloc(&r->arena, &r->logprob, letters * sizeof *r->logprob));
    return mn_arena_alloc(&r->arena, &r->difference, claims * sizeof *r->difference);
}

/* Row and letter of every claim's letters. */
static mn_status send_places(mn_bench_reader *r, int64_t vocab) {
    const size_t letters = (size_t)r->claims * MN_BENCH_LETTERS;
    int32_t *row = calloc(2 * letters, sizeof *row), *letter = row + letters;
    MN_CHECK(row, MN_ERR_MEMORY, "no memory for %lld claims", (long long)r->claims);
    for (size_t i = 0; i < letters; i++) {
        row[i] = (int32_t)(i / MN_BENCH_LETTERS);
        letter[i] = (int32_t)(mn_bench_letters[i % MN_BENCH_LETTERS] % vocab);
    }
    mn_status st = r->device->upload(r->device, r->row, row, letters * sizeof *row);
    if (st == MN_OK) st = r->device->upload(r->device, r->letter, letter, letters * sizeof *letter);
    free(row);
    return st;
}

mn_status mn_bench_reader_open(mn_bench_reader *r, mn_device *device, int64_t claims,
                               int64_t vocab) {
    *r = (mn_bench_reader){.device = device, .claims = claims};
    mn_arena_init(&r->arena, "results", device);
    r->host_stats = calloc((size_t)claims, sizeof *r->host_stats);
    r->host_difference = calloc((size_t)claims, sizeof *r->host_difference);
    MN_CHECK(r->host_stats && r->host_difference, MN_ERR_MEMORY, "no memory for %lld claims",
             (long long)claims);
    MN_TRY(lay_out(r));
    MN_TRY(mn_arena_commit(&r->arena));
    MN_TRY(lay_out(r));
    return send_places(r, vocab);
}

void mn_bench_reader_close(mn_bench_reader *r) {
    mn_arena_free(&r->arena);
    free(r->host_stats);
    free(r->host_difference);
    *r = (mn_bench_reader){0};
}

static mn_status read_stats(mn_bench_reader *r, const mn_tensor *logits) {
    MN_TRY(mn_row_stats(r->device, r->stats, logits, NULL));
    return r->device->download(r->device, r->host_stats, r->stats,
                               (size_t)logits->shape[0] * sizeof *r->stats);
}

mn_status mn_bench_read(mn_bench_reader *r, const mn_tensor *logits, const mn_bench_answers *out,
                        int64_t first) {
    const int64_t count = logits->shape[0], letters = count * MN_BENCH_LETTERS;
    mn_tensor logprob = mn_tensor_1d(r->logprob, MN_F32, letters);
    const mn_tensor row = mn_tensor_1d(r->row, MN_I32, letters);
    const mn_tensor letter = mn_tensor_1d(r->letter, MN_I32, letters);
    MN_TRY(read_stats(r, logits));
    for (int64_t i = 0; i < count; i++) out->best[first + i] = r->host_stats[i].best_id;
    MN_TRY(mn_logprob_gather(r->device, &logprob, logits, r->stats, &row, &letter, NULL));
    return r->device->download(r->device, out->logprob + first * MN_BENCH_LETTERS, logprob.data,
                               mn_tensor_bytes(&logprob));
}

mn_status mn_bench_read_best(mn_bench_reader *r, const mn_tensor *logits, int32_t *best) {
    MN_TRY(read_stats(r, logits));
    *best = r->host_stats[0].best_id;
    return MN_OK;
}

mn_status mn_bench_read_difference(mn_bench_reader *r, const mn_tensor *logits,
                                   const mn_tensor *base) {
    mn_tensor difference = mn_tensor_1d(r->difference, MN_F32, logits->shape[0]);
    MN_TRY(mn_row_difference(r->device, &difference, logits, base));
    return r->device->download(r->device, r->host_difference, difference.data,
                               mn_tensor_bytes(&difference));
}

static int best_letter(const float *logprob) {
    int best = 0;
    for (int i = 1; i < MN_BENCH_LETTERS; i++)
        if (logprob[i] > logprob[best]) best = i;
    return best;
}

mn_bench_agreement mn_bench_compare(const mn_bench_answers *a, const mn_bench_answers *b,
                                    int64_t claims) {
    mn_bench_agreement out = {.claims = claims};
    for (int64_t i = 0; i < claims; i++) {
        const float *x = a->logprob + i * MN_BENCH_LETTERS, *y = b->logprob + i * MN_BENCH_LETTERS;
        out.best += a->best[i] == b->best[i];
        out.letter += best_letter(x) == best_letter(y);
        for (int j = 0; j < MN_BENCH_LETTERS; j++)
            out.max_difference = fmax(out.max_difference, fabs((double)x[j] - (double)y[j]));
    }
    return out;
}
