/* bench_prefix.c - the work of an evaluation: many claims about one page, whose few-shot prompts
 * begin alike. Once as whole prompts, once with the common part computed a single time. */
#include "cli/bench.h"

#include "mneme/rng.h"
#include "mneme/signals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHOLE = MN_BENCH_SHARED + MN_BENCH_OWN };

int64_t mn_bench_whole_batch(int64_t claims) { return claims < 8 ? claims : 8; }

typedef struct page {
    mn_bench *b;
    mn_session *session;
    int64_t claims;
    int32_t *ids; /* (claims, WHOLE): prompts, the first SHARED ids of all of them the same */
    mn_bench_batch batch;
    mn_bench_reader reader;
    mn_bench_answers *answers; /* of the current run */
} page;

static mn_status page_open(page *p, mn_bench *b) {
    const int64_t claims = b->options->claims, vocab = b->model->config.vocab;
    *p = (page){.b = b, .session = b->session, .claims = claims};
    p->ids = malloc((size_t)claims * WHOLE * sizeof *p->ids);
    MN_CHECK(p->ids, MN_ERR_MEMORY, "no memory for %lld claims", (long long)claims);
    for (int64_t i = 0; i < claims * WHOLE; i++) {
        const bool shared = i % WHOLE < MN_BENCH_SHARED;
        p->ids[i] = shared && i >= WHOLE
                        ? p->ids[i % WHOLE]
                        : (int32_t)mn_rng_below((uint64_t)b->options->seed, 1, (uint64_t)i, vocab);
    }
    MN_TRY(mn_bench_reader_open(&p->reader, b->device, claims, vocab));
    const int64_t whole = mn_bench_whole_batch(claims) * WHOLE, own = claims * MN_BENCH_OWN;
    const int64_t tokens = whole > own ? whole : own;
    return mn_bench_batch_open(&p->batch, tokens > WHOLE ? tokens : WHOLE, claims);
}

static void page_close(page *p) {
    mn_bench_batch_close(&p->batch);
    mn_bench_reader_close(&p->reader);
    free(p->ids);
}

/* Claims first .. first + count - 1 are the outputs of the last pass. */
static mn_status answer(page *p, int64_t first, int64_t count) {
    mn_tensor logits;
    MN_TRY(mn_session_logits(p->session, 0, count, &logits));
    return mn_bench_read(&p->reader, &logits, p->answers, first);
}

static void batch_whole(page *p, int64_t first, int64_t count) {
    mn_bench_batch_clear(&p->batch);
    for (int64_t i = 0; i < count; i++)
        mn_bench_batch_add(&p->batch, &(mn_bench_seq){.ids = p->ids + (first + i) * WHOLE,
                                                      .count = WHOLE,
                                                      .own_begin = i * WHOLE,
                                                      .output = true});
}

static void batch_prefix(page *p) {
    mn_bench_batch_clear(&p->batch);
    mn_bench_batch_add(&p->batch, &(mn_bench_seq){.ids = p->ids, .count = MN_BENCH_SHARED});
}

static void batch_claims(page *p) {
    mn_bench_batch_clear(&p->batch);
    for (int64_t i = 0; i < p->claims; i++)
        mn_bench_batch_add(&p->batch,
                           &(mn_bench_seq){.ids = p->ids + i * WHOLE + MN_BENCH_SHARED,
                                           .count = MN_BENCH_OWN,
                                           .shared = MN_BENCH_SHARED,
                                           .own_begin = MN_BENCH_SHARED + i * MN_BENCH_OWN,
                                           .output = true});
}

/* Whole prompts from claim `first` on, as many as go into a pass. */
static mn_status whole_pass(page *p, int64_t first) {
    const int64_t step = mn_bench_whole_batch(p->claims), left = p->claims - first;
    const int64_t count = left < step ? left : step;
    batch_whole(p, first, count);
    MN_TRY(mn_session_forward(p->session, &p->batch.batch));
    return answer(p, first, count);
}

static mn_status whole_warm_up(void *context) { return whole_pass(context, 0); }

static mn_status whole_run(void *context) {
    page *p = context;
    for (int64_t i = 0; i < p->claims; i += mn_bench_whole_batch(p->claims)) {
        MN_CHECK(!mn_stop_requested(), MN_STOPPED, "stopped on request");
        MN_TRY(whole_pass(p, i));
    }
    return MN_OK;
}

static mn_status shared_run(void *context) {
    page *p = context;
    batch_prefix(p);
    MN_TRY(mn_session_forward(p->session, &p->batch.batch));
    batch_claims(p);
    MN_TRY(mn_session_forward(p->session, &p->batch.batch));
    return answer(p, 0, p->claims);
}

static void add_cost(mn_bench_work *w, const page *p) {
    w->flops += mn_bench_flops(&p->b->model->config, &p->batch.batch);
    w->bytes += mn_bench_bytes(p->b->model, &p->batch.batch);
}

static mn_status time_whole(page *p) {
    mn_bench_work *w = &p->b->works[p->b->work_count];
    const int64_t step = mn_bench_whole_batch(p->claims);
    *w = (mn_bench_work){.name = "prefix_whole",
                         .unit = "claims/s",
                         .units = (double)p->claims,
                         .limit = mn_bench_flop_peak(p->b)};
    snprintf(w->title, sizeof w->title, "%lld claims, whole prompts", (long long)p->claims);
    for (int64_t i = 0; i < p->claims; i += step) {
        batch_whole(p, i, p->claims - i < step ? p->claims - i : step);
        add_cost(w, p);
    }
    MN_TRY(mn_bench_time(p->b, w, whole_warm_up, whole_run, p));
    p->b->work_count++;
    return MN_OK;
}

static mn_status time_shared(page *p) {
    mn_bench_work *w = &p->b->works[p->b->work_count];
    *w = (mn_bench_work){.name = "prefix_shared",
                         .unit = "claims/s",
                         .units = (double)p->claims,
                         .limit = mn_bench_flop_peak(p->b)};
    snprintf(w->title, sizeof w->title, "%lld claims, shared prefix", (long long)p->claims);
    batch_prefix(p);
    add_cost(w, p);
    batch_claims(p);
    add_cost(w, p);
    MN_TRY(mn_bench_time(p->b, w, shared_run, shared_run, p));
    p->b->work_count++;
    return MN_OK;
}

/* The same claims, computed in fp32. */
static mn_status answer_in_f32(page *p) {
    mn_session_options limits = *mn_session_limits(p->b->session);
    limits.compute = MN_COMPUTE_F32;
    MN_TRY(mn_session_open(&p->session, p->b->model, &limits));
    const mn_status st = shared_run(p);
    mn_session_close(&p->session);
    return st;
}

mn_status mn_bench_prefix(mn_bench *b) {
    page p = {0};
    mn_bench_answers whole = {0}, shared = {0}, exact = {0};
    mn_status st = MN_OK;
    MN_GOTO(page_open(&p, b));
    MN_GOTO(mn_bench_answers_open(&whole, p.claims));
    MN_GOTO(mn_bench_answers_open(&shared, p.claims));
    MN_GOTO(mn_bench_answers_open(&exact, p.claims));
    p.answers = &whole;
    MN_GOTO(time_whole(&p));
    p.answers = &shared;
    MN_GOTO(time_shared(&p));
    b->sharing = mn_bench_compare(&whole, &shared, p.claims);
    b->has_sharing = true;
    if (b->compute == MN_COMPUTE_F32) goto done;
    p.answers = &exact;
    MN_GOTO(answer_in_f32(&p));
    b->rounding = mn_bench_compare(&exact, &shared, p.claims);
    b->has_rounding = true;
done:
    mn_bench_answers_close(&exact);
    mn_bench_answers_close(&shared);
    mn_bench_answers_close(&whole);
    page_close(&p);
    return st;
}
