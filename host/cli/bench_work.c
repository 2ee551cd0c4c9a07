/* bench_work.c - times a piece of work between readings of the machine's peaks; a prompt read whole
 * and tokens written one by one. */
#include "cli/bench.h"

#include "mneme/rng.h"
#include "mneme/signals.h"

#include <stdio.h>
#include <stdlib.h>

mn_status mn_bench_peak(double *out, mn_bench *b, mn_peak which) {
    MN_CHECK(!mn_stop_requested(), MN_STOPPED, "stopped on request");
    mn_bench_readings *r = &b->readings[which];
    MN_TRY(mn_grow(&r->rates, &r->cap, r->count + 1, sizeof *r->rates));
    if (b->peaks) *out = mn_peaks_read(b->peaks, which);
    else MN_TRY(mn_device_peaks_read(out, b->device_peaks, which));
    r->rates[r->count++] = *out;
    return MN_OK;
}

mn_peak mn_bench_flop_peak(const mn_bench *b) {
    const bool half = b->device->narrow_products ? mn_bench_dtype(b->model) != MN_F32
                                                 : b->compute == MN_COMPUTE_BF16;
    return half ? MN_PEAK_BF16 : MN_PEAK_F32;
}

mn_status mn_bench_wait(mn_bench *b) {
    int32_t word;
    return b->device->download(b->device, &word, b->mark, sizeof word);
}

mn_status mn_bench_time(mn_bench *b, mn_bench_work *w, mn_status (*warm_up)(void *),
                        mn_status (*run)(void *), void *context) {
    double before = 0, behind = 0;
    MN_TRY(warm_up(context));
    MN_TRY(mn_bench_peak(&before, b, w->limit));
    const double end = mn_now() + (double)b->options->max_seconds;
    for (w->runs = 0; w->runs < b->options->repeat; w->runs++) {
        if (w->runs > 0 && mn_now() > end) break;
        const double begin = mn_now();
        MN_TRY(run(context));
        MN_TRY(mn_bench_wait(b));
        w->seconds[w->runs] = mn_now() - begin;
        MN_TRY(mn_bench_peak(&behind, b, w->limit));
        w->peaks[w->runs] = before > behind ? before : behind;
        before = behind;
        mn_progress_add(b->progress, 1);
    }
    mn_progress_add(b->progress, b->options->repeat - w->runs);
    return MN_OK;
}

/* One sequence at work: its ids, and a batch for the tokens of a pass. */
typedef struct text {
    mn_bench *b;
    mn_bench_batch batch;
    mn_bench_reader reader;
    int32_t *ids;
    int64_t context, steps;
} text;

static mn_status text_open(text *t, mn_bench *b, int64_t tokens) {
    *t = (text){.b = b};
    t->ids = malloc((size_t)tokens * sizeof *t->ids);
    MN_CHECK(t->ids, MN_ERR_MEMORY, "no memory for %lld ids", (long long)tokens);
    const int64_t vocab = b->model->config.vocab;
    for (int64_t i = 0; i < tokens; i++)
        t->ids[i] = (int32_t)mn_rng_below((uint64_t)b->options->seed, 0, (uint64_t)i, vocab);
    MN_TRY(mn_bench_reader_open(&t->reader, b->device, 1, vocab));
    return mn_bench_batch_open(&t->batch, tokens, 1);
}

static void text_close(text *t) {
    mn_bench_batch_close(&t->batch);
    mn_bench_reader_close(&t->reader);
    free(t->ids);
}

/* Tokens begin .. begin + count - 1 of the sequence, and the logits behind the last one. */
static mn_status pass(text *t, int64_t begin, int64_t count, mn_tensor *logits) {
    mn_bench_batch_clear(&t->batch);
    mn_bench_batch_add(
        &t->batch,
        &(mn_bench_seq){.ids = t->ids + begin, .count = count, .before = begin, .output = true});
    MN_TRY(mn_session_forward(t->b->session, &t->batch.batch));
    return mn_session_logits(t->b->session, 0, 1, logits);
}

static mn_status prefill_run(void *context) {
    text *t = context;
    mn_tensor logits;
    return pass(t, 0, t->context, &logits);
}

mn_status mn_bench_prefill(mn_bench *b) {
    mn_bench_work *w = &b->works[b->work_count];
    text t = {0};
    mn_status st = MN_OK;
    mn_tensor logits;
    MN_GOTO(text_open(&t, b, b->options->tokens));
    t.context = b->options->tokens;
    *w = (mn_bench_work){.name = "prefill",
                         .unit = "tokens/s",
                         .units = (double)t.context,
                         .limit = mn_bench_flop_peak(b)};
    snprintf(w->title, sizeof w->title, "prefill, %lld tokens", (long long)t.context);
    MN_GOTO(pass(&t, 0, t.context, &logits));
    w->flops = mn_bench_flops(&b->model->config, &t.batch.batch);
    w->bytes = mn_bench_bytes(b->model, &t.batch.batch);
    MN_GOTO(mn_bench_time(b, w, prefill_run, prefill_run, &t));
    b->work_count++;
done:
    text_close(&t);
    return st;
}

/* Greedy: every step waits for the one before. The cache rows behind the context are written anew
 * by each run. */
static mn_status decode_run(void *context) {
    text *t = context;
    for (int64_t i = t->context; i < t->context + t->steps; i++) {
        mn_tensor logits;
        MN_TRY(pass(t, i, 1, &logits));
        MN_TRY(mn_bench_read_best(&t->reader, &logits, &t->ids[i + 1]));
    }
    return MN_OK;
}

mn_status mn_bench_decode(mn_bench *b) {
    mn_bench_work *w = &b->works[b->work_count];
    text t = {0};
    mn_status st = MN_OK;
    mn_tensor logits;
    MN_GOTO(text_open(&t, b, b->options->context + b->options->steps + 1));
    t.context = b->options->context;
    t.steps = b->options->steps;
    *w = (mn_bench_work){
        .name = "decode", .unit = "tokens/s", .units = (double)t.steps, .limit = MN_PEAK_READ};
    snprintf(w->title, sizeof w->title, "decode, %lld tokens behind %lld", (long long)t.steps,
             (long long)t.context);
    MN_GOTO(pass(&t, 0, t.context, &logits));
    for (int64_t i = t.context; i < t.context + t.steps; i++) {
        mn_bench_batch_clear(&t.batch);
        mn_bench_batch_add(
            &t.batch, &(mn_bench_seq){.ids = t.ids + i, .count = 1, .before = i, .output = true});
        w->flops += mn_bench_flops(&b->model->config, &t.batch.batch);
        w->bytes += mn_bench_bytes(b->model, &t.batch.batch);
    }
    MN_GOTO(mn_bench_time(b, w, decode_run, decode_run, &t));
    b->work_count++;
done:
    text_close(&t);
    return st;
}
