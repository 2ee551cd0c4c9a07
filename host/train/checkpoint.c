/* checkpoint.c - the state of a training on disk, and back.
 *
 * A checkpoint is written into a folder of a temporary name, every file synced, the folder renamed to
 * checkpoint-N, and DONE written last: what has no DONE does not count. Weights lie in the same form
 * as in the result (an adapter, or in full mode a model in fp32), AdamW's means in
 * optimizer.safetensors as exp_avg.NAME and exp_avg_sq.NAME, all else in trainer_state.json. */
#include "train/trainer.h"

#include "mneme/checkpoint.h"
#include "mneme/json.h"
#include "train/folders.h"
#include "train/options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char adapter_file[] = "adapter_model.safetensors", model_file[] = "model.safetensors",
                  optimizer_file[] = "optimizer.safetensors", state_file[] = "trainer_state.json";
static const char *const means[] = {"exp_avg", "exp_avg_sq"};

typedef char tensor_name[128];

/* ---- writing ---- */

/* What all means are called, and their shapes; returns the bytes of the largest. */
static size_t list_means(mn_stored *heads, tensor_name *names, const train_params *params) {
    size_t most = 0;
    for (int64_t i = 0; i < 2 * params->count; i++) {
        const train_param *p = &params->items[i / 2];
        snprintf(names[i], sizeof names[i], "%s.%s", means[i % 2], p->name);
        heads[i] = (mn_stored){.name = names[i], .view = mn_slice_whole(&p->slice, p->value)};
        const size_t bytes = mn_tensor_bytes(&heads[i].view);
        if (bytes > most) most = bytes;
    }
    return most;
}

/* Both means of every parameter; the vectors in `moments` have this rank's numbers. Those that share the model send
 * theirs to the first of them, one tensor at a time. */
static mn_status save_optimizer(const trainer *t, const char *path, const float *const moments[2]) {
    const int64_t count = 2 * t->params.count;
    mn_status st = MN_OK;
    mn_writer *writer = NULL;
    void *whole = NULL;
    mn_stored *heads = calloc((size_t)count, sizeof *heads);
    tensor_name *names = calloc((size_t)count, sizeof *names);
    MN_CHECK_GOTO(heads && names, MN_ERR_MEMORY, "%s: no memory", path);
    const size_t most = list_means(heads, names, &t->params);
    if (t->leads) whole = malloc(most);
    MN_CHECK_GOTO(whole || !t->leads, MN_ERR_MEMORY, "%s: no memory for %zu bytes", path, most);
    if (t->leads) MN_GOTO(mn_safetensors_begin(&writer, path, heads, count, NULL));
    for (int64_t i = 0; i < count; i++) {
        const train_param *p = &t->params.items[i / 2];
        mn_tensor part = *p->value;
        part.data = (void *)(uintptr_t)(moments[i % 2] + p->flat); /* only read */
        MN_GOTO(mn_slice_gather(whole, t->ranks.tp, NULL, &part, &p->slice));
        if (t->leads) MN_GOTO(mn_writer_write(writer, whole, mn_tensor_bytes(&heads[i].view)));
    }
    if (t->leads) st = mn_writer_commit(writer);
done:
    mn_writer_close(&writer);
    free(whole);
    free(names);
    free(heads);
    return st;
}

static mn_status add_number(mn_buf *out, const char *key, double value) {
    MN_TRY(mn_buf_printf(out, "  \"%s\": ", key));
    MN_TRY(mn_json_number(out, value)); /* NaN becomes null */
    return mn_buf_puts(out, ",\n");
}

mn_status mn_train_identify(mn_buf *out, const trainer *t) {
    MN_TRY(mn_buf_printf(out,
                         "  \"model_fingerprint\": \"%016" PRIx64
                         "\",\n  \"data_fingerprint\": \"%016" PRIx64 "\",\n  \"options\": ",
                         t->identity.model, t->identity.samples));
    return mn_train_options_json(out, t->o);
}

static mn_status save_state(const trainer *t, const char *path) {
    const train_state *s = &t->state;
    mn_status st = MN_OK;
    mn_buf text = {0};
    MN_GOTO(mn_buf_printf(&text,
                          "{\n  \"format\": 1,\n  \"step\": %" PRId64 ",\n  \"steps\": %" PRId64
                          ",\n  \"tokens\": %" PRId64 ",\n  \"targets\": %" PRId64
                          ",\n  \"window_targets\": %" PRId64 ",\n  \"epoch_targets\": %" PRId64
                          ",\n  \"bad_evals\": %" PRId64 ",\n",
                          s->step, t->steps, s->tokens, s->targets, s->window_targets,
                          s->epoch_targets, s->bad_evals));
    MN_GOTO(add_number(&text, "loss_sum", s->loss_sum));
    MN_GOTO(add_number(&text, "window_loss", s->window_loss));
    MN_GOTO(add_number(&text, "epoch_loss", s->epoch_loss));
    MN_GOTO(add_number(&text, "best_eval", s->best_eval));
    MN_GOTO(add_number(&text, "eval_loss", s->eval_loss));
    if (t->scale.active) {
        MN_GOTO(add_number(&text, "loss_scale", t->scale.factor));
        MN_GOTO(mn_buf_printf(&text, "  \"loss_scale_good\": %" PRId64 ",\n", t->scale.good));
    }
    MN_GOTO(add_number(&text, "seconds", s->seconds + mn_now() - t->begin));
    MN_GOTO(mn_train_identify(&text, t));
    MN_GOTO(mn_buf_puts(&text, "\n}\n"));
    st = mn_write_file(path, text.data, text.len);
done:
    mn_buf_free(&text);
    return st;
}

/* The files of a checkpoint, by the first replica: each of its ranks writes what it has of the weights. */
static mn_status save_into(const trainer *t, const char *dir, const float *const moments[2]) {
    mn_status st = MN_OK;
    mn_buf path = {0};
    if (t->leads) MN_GOTO(mn_make_dirs(dir));
    MN_GOTO(t->memory ? mn_memory_save(t->memory, dir, t->o->model)
                      : mn_model_save(t->model, dir, MN_F32));
    MN_GOTO(mn_path_join(&path, dir, optimizer_file));
    MN_GOTO(save_optimizer(t, path.data, moments));
    MN_GOTO(mn_path_join(&path, dir, state_file));
    if (t->leads) st = save_state(t, path.data);
done:
    mn_buf_free(&path);
    return st;
}

static mn_status save_folder(const trainer *t, const float *const moments[2]) {
    mn_status st = MN_OK;
    mn_buf path = {0}, temporary = {0};
    MN_GOTO(mn_buf_printf(&path, "%s/checkpoint-%" PRId64, t->o->output_dir, t->state.step));
    MN_GOTO(mn_buf_printf(&temporary, "%s.tmp", path.data));
    if (t->leads) MN_GOTO(mn_train_log_sync(t->log));
    if (t->leads) MN_GOTO(mn_folder_remove(temporary.data));
    MN_GOTO(save_into(t, temporary.data, moments));
    if (!t->leads) goto done;
    MN_GOTO(mn_folder_remove(path.data)); /* one without DONE, of a run that was killed */
    if (rename(temporary.data, path.data) != 0) {
        st = mn_fail_errno(path.data);
        goto done;
    }
    MN_GOTO(mn_folder_finish(path.data));
    st = mn_folder_limit(t->o->output_dir, t->o->save_total_limit);
done:
    if (st != MN_OK && t->leads && temporary.data) mn_folder_drop(temporary.data);
    mn_buf_free(&path);
    mn_buf_free(&temporary);
    return st;
}

mn_status mn_train_save(trainer *t) {
    mn_status st = MN_OK;
    const float *moments[2] = {NULL};
    mn_buf room[2] = {{0}};
    for (int i = 0; i < 2; i++) /* where replicas share them, the first one gets them all */
        MN_GOTO(mn_params_moments(&moments[i], &room[i], &t->params, i == 1));
    if (mn_comm_rank(t->ranks.dp) == 0) st = save_folder(t, moments);
    st = mn_ranks_agree(&t->ranks, st);
done:
    for (int i = 0; i < 2; i++) mn_buf_free(&room[i]);
    return mn_fail_in(st, "step %lld: checkpoint", (long long)t->state.step);
}

/* ---- reading ---- */

/* Of this rank's part of a parameter, or of a mean of it, the numbers from `first` on that `to` has room for. */
static mn_status load_tensor(const trainer *t, const mn_checkpoint *file, const char *name,
                             const train_param *p, int64_t first, const mn_tensor *to) {
    const mn_tensor whole = mn_slice_whole(&p->slice, p->value), *like = &whole;
    const mn_stored *s = NULL;
    char found[96], expected[96];
    MN_TRY(mn_checkpoint_get(&s, file, name));
    bool same = s->view.dtype == MN_F32 && s->view.ndim == like->ndim;
    for (int i = 0; same && i < like->ndim; i++) same = s->view.shape[i] == like->shape[i];
    MN_CHECK(same, MN_ERR_DATA, "%s: tensor %s: expected %s %s, found %s %s", s->file, name,
             mn_dtype_name(MN_F32),
             mn_shape_text(expected, sizeof expected, like->shape, like->ndim),
             mn_dtype_name(s->view.dtype),
             mn_shape_text(found, sizeof found, s->view.shape, s->view.ndim));
    return mn_slice_load_some(t->device, to, p->value, first, &p->slice, s);
}

static mn_status load_tensors(const trainer *t, const char *dir) {
    mn_status st = MN_OK;
    mn_buf path = {0};
    mn_checkpoint *weights = NULL, *optimizer = NULL;
    MN_GOTO(mn_path_join(&path, dir, t->memory ? adapter_file : model_file));
    MN_GOTO(mn_checkpoint_open_file(&weights, path.data));
    MN_GOTO(mn_path_join(&path, dir, optimizer_file));
    MN_GOTO(mn_checkpoint_open_file(&optimizer, path.data));
    for (int64_t i = 0; i < t->params.count; i++) {
        const train_param *p = &t->params.items[i];
        MN_GOTO(load_tensor(t, weights, p->name, p, 0, p->value));
        for (int m = 0; m < 2; m++) {
            tensor_name name;
            snprintf(name, sizeof name, "%s.%s", means[m], p->name);
            MN_GOTO(load_tensor(t, optimizer, name, p, p->begin, m == 0 ? &p->mean : &p->square));
        }
    }
done:
    mn_checkpoint_close(&weights);
    mn_checkpoint_close(&optimizer);
    mn_buf_free(&path);
    return st;
}

static mn_status same_print(const mn_json *doc, const char *key, uint64_t want, const char *what) {
    const char *text = NULL;
    char now[17];
    snprintf(now, sizeof now, "%016" PRIx64, want);
    MN_TRY(mn_json_string(&text, doc, doc->root, key));
    MN_CHECK(strcmp(text, now) == 0, MN_ERR_USAGE,
             "%s was made with %s; take another output_dir, or resume_from_checkpoint never to "
             "start anew",
             doc->name, what);
    return MN_OK;
}

mn_status mn_train_same(const mn_json *doc, const trainer *t) {
    const cJSON *options = NULL;
    MN_TRY(mn_json_object(&options, doc, doc->root, "options"));
    MN_TRY(mn_train_options_match(doc, options, t->o));
    MN_TRY(same_print(doc, "model_fingerprint", t->identity.model,
                      "another model (key model: the files have changed)"));
    return same_print(doc, "data_fingerprint", t->identity.samples,
                      "other training texts (keys data and texts, or the tokenizer)");
}

static mn_status load_state(trainer *t, const char *path) {
    const int64_t most = INT64_C(1) << 52;
    mn_status st = MN_OK;
    mn_json *doc = NULL;
    train_state s = {0};
    int64_t format = 0;
    MN_GOTO(mn_json_load(&doc, path));
    const cJSON *o = doc->root;
    MN_GOTO(mn_json_i64(&format, doc, o, "format", 1, 1));
    MN_GOTO(mn_train_same(doc, t));
    MN_GOTO(mn_json_i64(&s.step, doc, o, "step", 1, t->steps));
    MN_GOTO(mn_json_i64(&s.tokens, doc, o, "tokens", 0, most));
    MN_GOTO(mn_json_i64(&s.targets, doc, o, "targets", 0, most));
    MN_GOTO(mn_json_i64(&s.window_targets, doc, o, "window_targets", 0, most));
    MN_GOTO(mn_json_i64(&s.epoch_targets, doc, o, "epoch_targets", 0, most));
    MN_GOTO(mn_json_i64(&s.bad_evals, doc, o, "bad_evals", 0, most));
    MN_GOTO(mn_json_f64(&s.loss_sum, doc, o, "loss_sum"));
    MN_GOTO(mn_json_f64(&s.window_loss, doc, o, "window_loss"));
    MN_GOTO(mn_json_f64(&s.epoch_loss, doc, o, "epoch_loss"));
    MN_GOTO(mn_json_f64_or(&s.best_eval, doc, o, "best_eval", (double)NAN));
    MN_GOTO(mn_json_f64_or(&s.eval_loss, doc, o, "eval_loss", (double)NAN));
    MN_GOTO(mn_json_f64(&s.seconds, doc, o, "seconds"));
    if (t->scale.active) { /* a training that began elsewhere has none */
        MN_GOTO(mn_json_f64_or(&t->scale.factor, doc, o, "loss_scale", t->scale.factor));
        MN_GOTO(mn_json_i64_or(&t->scale.good, doc, o, "loss_scale_good", 0, most, 0));
        MN_CHECK_GOTO(t->scale.factor >= 1 && frexp(t->scale.factor, &(int){0}) == 0.5, MN_ERR_DATA,
                      "%s: $.loss_scale: expected a power of two, found %g", path, t->scale.factor);
    }
    const int64_t patience = t->o->early_stopping_patience;
    s.stopped_early = patience > 0 && s.bad_evals >= patience;
    t->state = s;
done:
    mn_json_close(&doc);
    return st;
}

mn_status mn_train_restore(trainer *t, const char *dir) {
    mn_status st = MN_OK;
    mn_buf path = {0};
    MN_GOTO(mn_path_join(&path, dir, state_file));
    MN_GOTO(load_state(t, path.data));
    MN_GOTO(load_tensors(t, dir));
    mn_log(MN_LOG_INFO, "going on from %s: step %lld of %lld", dir, (long long)t->state.step,
           (long long)t->steps);
done:
    mn_buf_free(&path);
    return st;
}

mn_status mn_train_find(mn_buf *path, const mn_train_options *o) {
    const char *from = o->resume_from_checkpoint;
    mn_buf_clear(path);
    if (!from || strcmp(from, "never") == 0) return MN_OK;
    if (strcmp(from, "auto") == 0) return mn_folder_newest(path, o->output_dir);
    MN_CHECK(mn_folder_is_complete(from), MN_ERR_USAGE,
             "resume_from_checkpoint: %s is no complete checkpoint: it has no file DONE", from);
    return mn_buf_puts(path, from);
}
