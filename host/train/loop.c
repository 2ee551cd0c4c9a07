/* loop.c - the steps: samples by their place in the order, gradients, clipping, AdamW, validation, and
 * what is due in between (log, checkpoint, early end, a stop on request). */
#include "train/trainer.h"

#include <math.h>

/* The order of an epoch's samples: a stream of its own each. */
static uint64_t epoch_stream(int64_t epoch) {
    return UINT64_C(0x65706f6368) << 24 | (uint64_t)epoch; /* "epoch" */
}

/* Places [begin, end) in the order of an epoch. */
typedef struct span {
    int64_t epoch, begin, end;
} span;

static span span_of(const trainer *t, int64_t step) {
    const int64_t size = t->o->per_device_train_batch_size * t->o->gradient_accumulation_steps;
    const int64_t at = step % t->steps_per_epoch * size, n = t->samples->train_count;
    return (span){step / t->steps_per_epoch, at, at + size < n ? at + size : n};
}

static int64_t sample_at(const trainer *t, int64_t epoch, int64_t place) {
    return mn_train_shuffle((uint64_t)t->o->seed, epoch_stream(epoch), place,
                            t->samples->train_count);
}

/* The part of a step that this rank computes: a contiguous run for each replica. */
static span own_part(const trainer *t, span s) {
    const int rank = mn_comm_rank(t->ranks.dp), size = mn_comm_size(t->ranks.dp);
    const int64_t n = s.end - s.begin, begin = s.begin + mn_part_begin(n, rank, size);
    return (span){s.epoch, begin, begin + mn_part_count(n, rank, size)};
}

/* The samples of a part of an epoch, of this step or the next. */
static mn_status fill(trainer *t, train_batch *b, span s, int64_t step) {
    b->epoch = s.epoch;
    b->begin = s.begin;
    b->end = s.end;
    return mn_batch_fill(t, b, s.end - s.begin, step);
}

static void choose(const trainer *t, train_batch *b, span s) {
    for (int64_t i = s.begin; i < s.end; i++) b->samples[i - s.begin] = sample_at(t, s.epoch, i);
}

/* t->batch = these samples: read ahead, or now. */
static mn_status take_batch(trainer *t, span s) {
    const train_batch other = t->batch;
    if (t->ahead.end > 0 && t->ahead.epoch == s.epoch && t->ahead.begin == s.begin &&
        t->ahead.end == s.end) {
        t->batch = t->ahead;
        t->ahead = other;
        t->ahead.end = 0;
    } else {
        choose(t, &t->batch, s);
        MN_TRY(fill(t, &t->batch, s, t->state.step));
    }
    t->cached += t->batch.kept;
    return MN_OK;
}

/* While the device is at work: the next batch, of what is left of this step or of the next one, and its way to the
 * device; unless it needs the device itself, because its hidden states are not kept yet. */
static mn_status read_ahead(trainer *t, span left) {
    const int64_t batch = t->o->per_device_train_batch_size;
    int64_t step = t->state.step;
    if (left.begin == left.end) {
        if (++step == t->steps) return MN_OK;
        left = own_part(t, span_of(t, step));
    }
    if (left.end - left.begin > batch) left.end = left.begin + batch;
    if (left.begin == left.end || t->ahead.end > 0) return MN_OK;
    choose(t, &t->ahead, left);
    if (!mn_batch_is_kept(t, &t->ahead, left.end - left.begin)) return MN_OK;
    MN_TRY(fill(t, &t->ahead, left, step));
    return mn_tape_send(t->tape, &t->ahead.view, t->ahead.hidden);
}

/* Gradients of the loss over the span's targets times `scale`; *loss is the sum over targets. *overflow: the scale was
 * too large, and there are no gradients. */
static mn_status own_gradients(trainer *t, span s, float scale, double *loss, bool *overflow) {
    const int64_t batch = t->o->per_device_train_batch_size;
    for (int64_t i = s.begin; i < s.end; i += batch) {
        const int64_t count = s.end - i < batch ? s.end - i : batch;
        double sum = 0;
        MN_TRY(take_batch(t, (span){s.epoch, i, i + count}));
        MN_TRY(mn_tape_submit(t->tape, &t->batch.view, t->batch.hidden, scale));
        MN_TRY(read_ahead(t, (span){s.epoch, i + count, s.end}));
        MN_TRY(mn_tape_finish(t->tape, &sum));
        MN_CHECK(isfinite(sum), MN_ERR_NUMERIC, "the loss is %g", sum);
        *loss += sum;
        *overflow = mn_tape_overflow(t->tape); /* the same where ranks share the model */
        if (*overflow) return MN_OK;
    }
    return MN_OK;
}

/* Adds up the gradients of all replicas, in one message behind the last batch. For memories it could hardly be hidden:
 * those of Llama-2-13B (4 blocks, width 128) are 5.3 M numbers, 21 MB; twice that over a 25 GB/s network takes
 * 1.7 ms, while one sample of 256 tokens through the top of 12 blocks, forward and backward, is about 4 TFLOP, 20 ms at
 * 200 TFLOP/s. In full mode a message is as large as the model: 1.6 GB for Pythia-410M, 130 ms over that network against
 * 12 ms of work for 4 samples; hidden behind the backward pass it would still be 130 ms, and over NVLink at 300 GB/s 12
 * instead of 23. That would need a tape that says when a block's gradients are final, and sums on a stream of
 * their own: not worth it for the two models that are trained so. */
static mn_status reduce_gradients(trainer *t) {
    if (mn_comm_size(t->ranks.dp) == 1) return MN_OK;
    return MN_RANGE(t->device, "all-reduce",
                    mn_comm_reduce_tensor(t->ranks.dp, t->device, &t->params.flat, MN_COMM_SUM));
}

/* Gradients of the mean over all targets of the step, times the loss's scale; *loss is the sum over targets.
 * Samples are a pure function of the step, so that every rank knows how many targets all have together. */
static mn_status try_gradients(trainer *t, span s, mn_train_step *report, double *loss,
                               bool *overflow) {
    report->targets = report->tokens = 0;
    for (int64_t i = s.begin; i < s.end; i++) {
        const mn_train_sample *sample = &t->samples->items[sample_at(t, s.epoch, i)];
        report->targets += mn_sample_targets(sample);
        report->tokens += mn_sample_inputs(sample);
    }
    const float scale = (float)(t->scale.factor / (double)report->targets);
    *loss = 0;
    *overflow = false;
    mn_status st = mn_params_clear(&t->params);
    if (st == MN_OK) st = own_gradients(t, own_part(t, s), scale, loss, overflow);
    MN_TRY(mn_train_join(t, st, loss, overflow));
    return *overflow ? MN_OK : reduce_gradients(t);
}

/* Fails on all ranks with the words of the one whose gradients overflowed. */
static mn_status explain(trainer *t) {
    double no_loss = 0;
    bool no_overflow = false;
    return mn_train_join(t, mn_tape_explain(t->tape), &no_loss, &no_overflow);
}

/* The same samples again, with smaller scales, until nothing overflows. */
static mn_status gradients(trainer *t, span s, mn_train_step *report, double *loss) {
    bool overflow = false;
    MN_TRY(try_gradients(t, s, report, loss, &overflow));
    while (overflow) {
        if (t->scale.factor <= 1) MN_TRY(explain(t)); /* smaller scales would not help */
        MN_TRY(mn_loss_scale_overflow(&t->scale));
        mn_log(MN_LOG_DEBUG, "step %lld: a gradient overflows, the loss's scale is now %g",
               (long long)report->step, t->scale.factor);
        MN_TRY(try_gradients(t, s, report, loss, &overflow));
    }
    MN_TRY(mn_tape_sum_gradients(t->tape));
    MN_TRY(mn_params_norm(&report->grad_norm, &t->params));
    report->grad_norm /= t->scale.factor;
    return MN_OK;
}

/* One step. When it fails for its numbers, no weight has been touched. */
static mn_status take_step(trainer *t, mn_train_step *report) {
    const mn_train_options *o = t->o;
    train_state *state = &t->state;
    const span s = span_of(t, state->step);
    double loss = 0;
    *report = (mn_train_step){.step = state->step + 1, .steps = t->steps};
    report->learning_rate = o->learning_rate * mn_train_rate(o->lr_scheduler_type, state->step,
                                                             o->warmup_steps, t->steps);
    MN_TRY(mn_fail_in(gradients(t, s, report, &loss), "step %lld of %lld", (long long)report->step,
                      (long long)t->steps));
    /* As torch.nn.utils.clip_grad_norm_ has it, 1e-6 included. */
    const double clip = o->max_grad_norm > 0 ? o->max_grad_norm / (report->grad_norm + 1e-6) : 1;
    MN_TRY(MN_RANGE(t->device, "update",
                    mn_params_step(&t->params, o, report->step, report->learning_rate,
                                   fmin(clip, 1) / t->scale.factor)));
    mn_loss_scale_good(&t->scale);
    if (s.begin == 0) state->epoch_loss = 0, state->epoch_targets = 0;
    state->step++;
    state->tokens += report->tokens;
    state->targets += report->targets;
    state->epoch_targets += report->targets;
    state->window_targets += report->targets;
    state->loss_sum += loss;
    state->epoch_loss += loss;
    state->window_loss += loss;
    report->loss = loss / (double)report->targets;
    report->epoch = (double)state->step / (double)t->steps_per_epoch;
    return MN_OK;
}

static mn_status log_step(trainer *t, const mn_train_step *step) {
    const double now = mn_now(), passed = now - t->last_logged;
    const train_line line = {
        .step = step->step,
        .epoch = step->epoch,
        .loss = t->state.window_loss / (double)t->state.window_targets,
        .grad_norm = step->grad_norm,
        .learning_rate = step->learning_rate,
        .tokens = t->state.tokens,
        .tokens_per_second = passed > 0 ? (double)(t->state.tokens - t->last_tokens) / passed : 0};
    t->last_logged = now;
    t->last_tokens = t->state.tokens;
    t->state.window_loss = 0;
    t->state.window_targets = 0;
    mn_log(MN_LOG_DEBUG, "step %lld of %lld: loss %.4f, gradient %.3g, rate %.3g, %.0f tokens/s",
           (long long)line.step, (long long)t->steps, line.loss, line.grad_norm, line.learning_rate,
           line.tokens_per_second);
    return mn_comm_agree(t->ranks.world, t->leads ? mn_train_log_add(t->log, &line) : MN_OK);
}

/* The loss of the held-out samples; their batches are handed out over the replicas. */
static mn_status held_out_loss(trainer *t, double *loss) {
    const mn_samples *s = t->samples;
    const int rank = mn_comm_rank(t->ranks.dp), size = mn_comm_size(t->ranks.dp);
    const int64_t most = t->batch.max_seqs, held = s->count - s->train_count;
    const int64_t batches = (held + most - 1) / most, first = mn_part_begin(batches, rank, size);
    for (int64_t b = first; b < first + mn_part_count(batches, rank, size); b++) {
        const int64_t count = held - b * most < most ? held - b * most : most;
        double sum = 0;
        for (int64_t j = 0; j < count; j++) t->batch.samples[j] = s->train_count + b * most + j;
        MN_TRY(mn_batch_fill(t, &t->batch, count, t->state.step));
        t->cached += t->batch.kept;
        MN_TRY(mn_tape_loss(t->tape, &t->batch.view, t->batch.hidden, &sum));
        *loss += sum;
    }
    return MN_OK;
}

static mn_status validate(trainer *t, double epoch) {
    const mn_samples *s = t->samples;
    train_state *state = &t->state;
    double loss = 0;
    int64_t targets = 0;
    bool overflow = false; /* there are no gradients */
    const mn_status st = held_out_loss(t, &loss);
    MN_TRY(mn_train_join(t, st, &loss, &overflow));
    for (int64_t i = s->train_count; i < s->count; i++) targets += mn_sample_targets(&s->items[i]);
    state->eval_loss = loss / (double)targets;
    const bool better = isnan(state->best_eval) || state->eval_loss < state->best_eval;
    if (better) state->best_eval = state->eval_loss;
    state->bad_evals = better ? 0 : state->bad_evals + 1;
    const int64_t patience = t->o->early_stopping_patience;
    state->stopped_early = patience > 0 && state->bad_evals >= patience;
    mn_log(MN_LOG_INFO, "epoch %.2f: validation loss %.4f%s%s", epoch, state->eval_loss,
           better ? ", the best so far" : "",
           state->stopped_early ? "; no better for long enough, ending" : "");
    const train_line line = {
        .step = state->step, .epoch = epoch, .loss = state->eval_loss, .validation = true};
    return mn_comm_agree(t->ranks.world, t->leads ? mn_train_log_add(t->log, &line) : MN_OK);
}

static bool is_due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

static void tell_epoch(const trainer *t, double begin, int64_t first) {
    const train_state *s = &t->state;
    const double each = (mn_now() - begin) / (double)(s->step - first);
    mn_log(MN_LOG_INFO, "epoch %lld of %lld: loss %.4f, %.3g s/step, %.0f s left",
           (long long)(s->step / t->steps_per_epoch),
           (long long)((t->steps + t->steps_per_epoch - 1) / t->steps_per_epoch),
           s->epoch_loss / (double)s->epoch_targets, each, each * (double)(t->steps - s->step));
}

/* All that a finished step may bring with it. */
static mn_status after_step(trainer *t, const mn_train_step *report) {
    const mn_train_options *o = t->o;
    const int64_t step = report->step;
    const bool ends = step == t->steps, epoch_ends = step % t->steps_per_epoch == 0 || ends;
    if (is_due(step, o->logging_steps) || ends) MN_TRY(log_step(t, report));
    const bool validates = o->eval_steps > 0 ? is_due(step, o->eval_steps) || ends : epoch_ends;
    if (validates && t->samples->train_count < t->samples->count)
        MN_TRY(validate(t, report->epoch));
    if (t->state.stopped_early && t->state.window_targets > 0) MN_TRY(log_step(t, report));
    if (o->on_step) MN_TRY(mn_comm_agree(t->ranks.world, o->on_step(o->context, report)));
    if (is_due(step, o->save_steps) && !ends) MN_TRY(mn_train_save(t));
    if (ends || t->state.stopped_early) return MN_OK;
    bool stop = false;
    MN_TRY(mn_comm_stop(t->ranks.world, &stop));
    if (!stop) return MN_OK;
    if (!is_due(step, o->save_steps)) MN_TRY(mn_train_save(t));
    return mn_fail(MN_STOPPED,
                   "stopped on request after step %lld of %lld, which is saved; the "
                   "same command goes on",
                   (long long)step, (long long)t->steps);
}

mn_status mn_train_loop(trainer *t) {
    const double tell_every = 10;
    mn_status st = MN_OK;
    const int64_t first = t->state.step;
    double told = mn_now();
    const double begin = told;
    mn_progress *progress = t->leads ? mn_progress_begin("training", "steps", t->steps - first)
                                     : NULL;
    t->last_logged = begin;
    t->last_tokens = t->state.tokens;
    while (t->state.step < t->steps && !t->state.stopped_early) {
        mn_train_step report;
        MN_GOTO(MN_RANGE(t->device, "step", take_step(t, &report)));
        mn_progress_add(progress, 1);
        if (report.step % t->steps_per_epoch == 0 &&
            (mn_now() - told >= tell_every || report.step == t->steps)) {
            told = mn_now();
            tell_epoch(t, begin, first);
        }
        MN_GOTO(after_step(t, &report));
    }
done:
    mn_progress_end(&progress);
    return st;
}
