/* bench_fanout.c - the work of an evaluation of many variants: the claims of one page behind their
 * shared demonstrations, by the base alone and by the base and memories at 70 to 80 % of the depth in
 * one pass, with everything that an evaluation reads: likeliest tokens, letters, the effect audit. */
#include "cli/bench.h"

#include "mneme/memory.h"
#include "mneme/rng.h"
#include "mneme/signals.h"

#include <stdio.h>
#include <stdlib.h>

enum { WHOLE = MN_BENCH_SHARED + MN_BENCH_OWN, MEMORIES = MN_BENCH_VARIANTS - 1 };

typedef struct fan {
    mn_bench *b;
    mn_session *session; /* at work: the base alone, or all */
    mn_session *all;
    mn_memory *memories[MEMORIES];
    int64_t claims;
    int32_t *ids;               /* the shared tokens, then each claim's own */
    mn_bench_batch prefix, own; /* two passes */
    mn_bench_reader reader;
    mn_bench_answers alone, base; /* of the base */
    mn_bench_answers others;      /* of the memories: read, not kept */
} fan;

static mn_status open_arrays(fan *f) {
    const int64_t claims = f->claims;
    const int64_t tokens = MN_BENCH_SHARED + claims * MN_BENCH_OWN;
    const int64_t vocab = f->b->model->config.vocab;
    f->ids = malloc((size_t)tokens * sizeof *f->ids);
    MN_CHECK(f->ids, MN_ERR_MEMORY, "no memory for %lld claims", (long long)claims);
    MN_TRY(mn_bench_answers_open(&f->alone, claims));
    MN_TRY(mn_bench_answers_open(&f->base, claims));
    MN_TRY(mn_bench_answers_open(&f->others, claims));
    for (int64_t i = 0; i < tokens; i++)
        f->ids[i] = (int32_t)mn_rng_below((uint64_t)f->b->options->seed, 2, (uint64_t)i, vocab);
    return mn_bench_reader_open(&f->reader, f->b->device, claims, vocab);
}

static mn_status open_batches(fan *f) {
    MN_TRY(mn_bench_batch_open(&f->prefix, MN_BENCH_SHARED, 1));
    MN_TRY(mn_bench_batch_open(&f->own, f->claims * MN_BENCH_OWN, f->claims));
    mn_bench_batch_clear(&f->prefix);
    mn_bench_batch_clear(&f->own);
    mn_bench_batch_add(&f->prefix, &(mn_bench_seq){.ids = f->ids, .count = MN_BENCH_SHARED});
    for (int64_t i = 0; i < f->claims; i++)
        mn_bench_batch_add(&f->own,
                           &(mn_bench_seq){.ids = f->ids + MN_BENCH_SHARED + i * MN_BENCH_OWN,
                                           .count = MN_BENCH_OWN,
                                           .shared = MN_BENCH_SHARED,
                                           .own_begin = MN_BENCH_SHARED + i * MN_BENCH_OWN,
                                           .output = true});
    return MN_OK;
}

/* The base and the memories in one session. */
static mn_status open_all(fan *f) {
    int64_t kv_bytes = 0, step_bytes = 0;
    const mn_memory *variants[MN_BENCH_VARIANTS] = {NULL};
    for (int i = 0; i < MEMORIES; i++) {
        const mn_memory_options options = {
            .from = 0.7, .to = 0.8, .gate = 1, .seed = (uint64_t)f->b->options->seed + (uint64_t)i};
        MN_TRY(mn_memory_create(&f->memories[i], f->b->model, &options));
        variants[1 + i] = f->memories[i];
    }
    mn_session_options limits = *mn_session_limits(f->b->session);
    limits.variants = variants;
    limits.variant_count = MN_BENCH_VARIANTS;
    limits.audit = true;
    MN_TRY(mn_session_plan(&kv_bytes, &step_bytes, f->b->model, &limits));
    MN_TRY(mn_bench_want_memory(f->b, (double)kv_bytes + (double)step_bytes, "the fan-out"));
    return mn_session_open(&f->all, f->b->model, &limits);
}

static void fan_close(fan *f) {
    mn_session_close(&f->all);
    for (int i = 0; i < MEMORIES; i++) mn_memory_close(&f->memories[i]);
    mn_bench_batch_close(&f->own);
    mn_bench_batch_close(&f->prefix);
    mn_bench_answers_close(&f->others);
    mn_bench_answers_close(&f->base);
    mn_bench_answers_close(&f->alone);
    mn_bench_reader_close(&f->reader);
    free(f->ids);
}

/* ---- work ---- */

static mn_status pass(fan *f, const mn_bench_batch *batch) {
    MN_TRY(mn_session_trunk(f->session, &batch->batch));
    for (int64_t v = 0; v < mn_session_variants(f->session); v++)
        MN_TRY(mn_session_top(f->session, v));
    return MN_OK;
}

/* Answers of one variant; `base`: logits to compare with. */
static mn_status answer(fan *f, int64_t variant, mn_tensor *logits, const mn_tensor *base,
                        const mn_bench_answers *out) {
    MN_TRY(mn_session_variant_logits(f->session, variant, 0, f->claims, logits));
    MN_TRY(mn_bench_read(&f->reader, logits, out, 0));
    return base ? mn_bench_read_difference(&f->reader, logits, base) : MN_OK;
}

static mn_status run(fan *f, mn_session *session, mn_bench_answers *base_answers) {
    mn_tensor base, logits;
    MN_CHECK(!mn_stop_requested(), MN_STOPPED, "stopped on request");
    f->session = session;
    MN_TRY(pass(f, &f->prefix));
    MN_TRY(pass(f, &f->own));
    MN_TRY(answer(f, 0, &base, NULL, base_answers));
    for (int64_t v = 1; v < mn_session_variants(session); v++)
        MN_TRY(answer(f, v, &logits, &base, &f->others));
    return MN_OK;
}

static mn_status run_one(fan *f) { return run(f, f->b->session, &f->alone); }
static mn_status run_all(fan *f) { return run(f, f->all, &f->base); }

static mn_status timed(fan *f, mn_bench_work *w, mn_status (*work)(fan *), double *before) {
    double behind = 0;
    const double begin = mn_now();
    MN_TRY(work(f));
    MN_TRY(mn_bench_wait(f->b));
    w->seconds[w->runs] = mn_now() - begin;
    MN_TRY(mn_bench_peak(&behind, f->b, w->limit));
    w->peaks[w->runs++] = *before > behind ? *before : behind;
    *before = behind;
    mn_progress_add(f->b->progress, 1);
    return MN_OK;
}

/* In turns, so that whatever else the machine does meets both. */
static mn_status time_both(fan *f, mn_bench_work *one, mn_bench_work *all) {
    double before = 0;
    const int64_t repeat = f->b->options->repeat;
    MN_TRY(run_one(f));
    MN_TRY(run_all(f));
    MN_TRY(mn_bench_peak(&before, f->b, one->limit));
    const double end = mn_now() + (double)f->b->options->max_seconds;
    while (one->runs < repeat && (one->runs == 0 || mn_now() <= end)) {
        MN_TRY(timed(f, one, run_one, &before));
        MN_TRY(timed(f, all, run_all, &before));
    }
    mn_progress_add(f->b->progress, 2 * (repeat - one->runs));
    return MN_OK;
}

/* ---- what it must cost ---- */

/* The work of `layers` blocks; a top also reads its outputs, the trunk and one variant the embedding. */
static void add_blocks(mn_bench_work *w, const mn_bench *b, const mn_bench_batch *batch,
                       int64_t layers, bool embeds, bool outputs) {
    mn_model part = *b->model;
    mn_batch work = batch->batch;
    const double embedding = (double)(work.tokens * part.config.dim) *
                             (double)mn_dtype_size(mn_bench_dtype(b->model));
    part.config.layers = layers;
    if (!outputs) work.output_count = 0;
    w->flops += mn_bench_flops(&part.config, &work);
    w->bytes += mn_bench_bytes(&part, &work) - (embeds ? 0 : embedding);
}

static void add_memories(mn_bench_work *w, const fan *f, const mn_bench_batch *batch) {
    for (int i = 0; i < MEMORIES; i++) {
        const mn_memory *m = f->memories[i];
        w->flops += 4 * (double)(batch->batch.tokens * m->count * m->hidden * m->dim);
        w->bytes += (double)mn_memory_parameters(m) * (double)sizeof(float);
    }
}

static void describe(fan *f, mn_bench_work *one, mn_bench_work *all) {
    const int64_t layers = f->b->model->config.layers;
    const int64_t trunk = f->memories[0]->layers[0].block + 1;
    const mn_bench_batch *const batches[] = {&f->prefix, &f->own};
    *one = (mn_bench_work){.name = "fanout_one",
                           .unit = "claims/s",
                           .units = (double)f->claims,
                           .limit = mn_bench_flop_peak(f->b)};
    *all = *one;
    all->name = "fanout_all";
    snprintf(one->title, sizeof one->title, "%lld claims, the base alone", (long long)f->claims);
    snprintf(all->title, sizeof all->title, "%lld claims, %d variants", (long long)f->claims,
             MN_BENCH_VARIANTS);
    for (int i = 0; i < 2; i++) {
        add_blocks(one, f->b, batches[i], layers, true, true);
        add_blocks(all, f->b, batches[i], trunk, true, false);
        for (int v = 0; v < MN_BENCH_VARIANTS; v++)
            add_blocks(all, f->b, batches[i], layers - trunk, false, true);
        add_memories(all, f, batches[i]);
    }
}

mn_status mn_bench_fanout(mn_bench *b) {
    mn_bench_work *one = &b->works[b->work_count], *all = one + 1;
    fan f = {.b = b, .claims = b->options->claims};
    mn_status st = MN_OK;
    MN_GOTO(open_arrays(&f));
    MN_GOTO(open_batches(&f));
    MN_GOTO(open_all(&f));
    describe(&f, one, all);
    MN_GOTO(time_both(&f, one, all));
    b->fanout = mn_bench_compare(&f.alone, &f.base, f.claims);
    b->fanout_work = b->work_count;
    b->has_fanout = true;
    b->work_count += 2;
done:
    fan_close(&f);
    return st;
}
