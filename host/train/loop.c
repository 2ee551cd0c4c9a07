/* loop.c - the steps: samples by their place in the order, gradients, clipping, AdamW, validation, and
 * what is due in between (log, checkpoint, early end, a stop on request). */
#include "train/trainer.h"

#include "mneme/signals.h"

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

/* Gradients of the mean over all targets of the span, times the loss's scale; *loss is the sum over targets.
 * *overflow: the scale was too large, and there are no gradients. */
static mn_status try_gradients(trainer *t, span s, mn_train_step *report, double *loss,
                               bool *overflow) {
    const int64_t batch = t->o->per_device_train_batch_size;
    report->targets = report->tokens = 0;
    for (int64_t i = s.begin; i < s.end; i++)
        report->targets += mn_sample_targets(&t->samples->items[sample_at(t, s.epoch, i)]);
    const float scale = (float)(t->scale.factor / (double)report->targets);
    MN_TRY(mn_params_clear(&t->params));
    *loss = 0;
    for (int64_t i = s.begin; i < s.end; i += batch) {
        const int64_t count = s.end - i < batch ? s.end - i : batch;
        double sum = 0;
        for (int64_t j = 0; j < count; j++) t->batch.samples[j] = sample_at(t, s.epoch, i + j);
        MN_TRY(mn_batch_fill(t, t->batch.samples, count));
        MN_TRY(mn_tape_step(t->tape, &t->batch.view, t->batch.hidden, scale, &sum));
        MN_CHECK(isfinite(sum), MN_ERR_NUMERIC, "the loss is %g", sum);
        *loss += sum;
        report->tokens += t->batch.view.tokens;
        *overflow = mn_tape_overflow(t->tape);
        if (*overflow) return MN_OK;
    }
    return MN_OK;
}

/* The same samples again, with smaller scales, until nothing overflows. */
static mn_status gradients(trainer *t, span s, mn_train_step *report, double *loss) {
    bool overflow = false;
    MN_TRY(try_gradients(t, s, report, loss, &overflow));
    while (overflow) {
        if (t->scale.factor <= 1) MN_TRY(mn_tape_explain(t->tape));
        MN_TRY(mn_loss_scale_overflow(&t->scale));
        mn_log(MN_LOG_DEBUG, "step %lld: a gradient overflows, the loss's scale is now %g",
               (long long)report->step, t->scale.factor);
        MN_TRY(try_gradients(t, s, report, loss, &overflow));
    }
    MN_TRY(mn_params_norm(&report->grad_norm, &t->params));
    report->grad_norm /= t->scale.factor;
    return MN_OK;
}

/* Weights move. */
static mn_status update(trainer *t, const mn_train_step *report, double scale) {
    mn_range_begin(t->device, "update");
    const mn_status st = mn_params_step(&t->params, t->o, report->step, report->learning_rate,
                                        scale);
    mn_range_end(t->device);
    return st;
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
    MN_TRY(update(t, report, fmin(clip, 1) / t->scale.factor));
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
    return mn_train_log_add(t->log, &line);
}

static mn_status validate(trainer *t, double epoch) {
    const mn_samples *s = t->samples;
    train_state *state = &t->state;
    double loss = 0;
    int64_t targets = 0;
    for (int64_t i = s->train_count; i < s->count; i += t->batch.max_seqs) {
        int64_t count = s->count - i;
        double sum = 0;
        if (count > t->batch.max_seqs) count = t->batch.max_seqs;
        for (int64_t j = 0; j < count; j++) t->batch.samples[j] = i + j;
        MN_TRY(mn_batch_fill(t, t->batch.samples, count));
        MN_TRY(mn_tape_loss(t->tape, &t->batch.view, t->batch.hidden, &sum));
        loss += sum;
        targets += t->batch.view.output_count;
    }
    state->eval_loss = loss / (double)targets;
    const bool better = isnan(state->best_eval) || state->eval_loss < state->best_eval;
    if (better) state->best_eval = state->eval_loss;
    state->bad_evals = better ? 0 : state->bad_evals + 1;
    const int64_t patience = t->o->early_stopping_patience;
    state->stopped_early = patience > 0 && state->bad_evals >= patience;
    mn_log(MN_LOG_INFO, "epoch %.2f: validation loss %.4f%s%s", epoch, state->eval_loss,
           better ? ", the best so far" : "",
           state->stopped_early ? "; no better for long enough, ending" : "");
    return mn_train_log_add(t->log, &(train_line){.step = state->step,
                                                  .epoch = epoch,
                                                  .loss = state->eval_loss,
                                                  .validation = true});
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
    if (o->on_step) MN_TRY(o->on_step(o->context, report));
    if (is_due(step, o->save_steps) && !ends) MN_TRY(mn_train_save(t));
    if (!mn_stop_requested() || ends || t->state.stopped_early) return MN_OK;
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
    mn_progress *progress = mn_progress_begin("training", "steps", t->steps - first);
    t->last_logged = begin;
    t->last_tokens = t->state.tokens;
    while (t->state.step < t->steps && !t->state.stopped_early) {
        mn_train_step report;
        MN_GOTO(take_step(t, &report));
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
