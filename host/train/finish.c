/* finish.c - the result of a training: the adapter or the model folder, and train_results.json last;
 * where that file is, the training is done. */
#include "mneme/file.h"
#include "train/options.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char results_file[] = "train_results.json";

static mn_status copy_file(const char *from_dir, const char *to_dir, const char *name) {
    mn_status st = MN_OK;
    mn_buf from = {0}, to = {0};
    mn_map *map = NULL;
    MN_GOTO(mn_path_join(&from, from_dir, name));
    if (!mn_file_exists(from.data)) goto done;
    MN_GOTO(mn_path_join(&to, to_dir, name));
    MN_GOTO(mn_map_open(&map, from.data));
    st = mn_write_file(to.data, map->data, map->size);
done:
    mn_map_close(&map);
    mn_buf_free(&from);
    mn_buf_free(&to);
    return st;
}

/* The model's folder becomes usable by itself: its tokenizer is that of the folder it came from. */
static mn_status save_model(const trainer *t) {
    static const mn_dtype dtypes[] = {MN_F32, MN_F16, MN_BF16};
    static const char *const files[] = {"tokenizer.json", "tokenizer.model",
                                        "tokenizer_config.json", "special_tokens_map.json"};
    for (size_t i = 0; t->leads && i < sizeof files / sizeof *files; i++)
        MN_TRY(copy_file(t->o->model, t->o->output_dir, files[i]));
    return mn_model_save(t->model, t->o->output_dir, dtypes[t->o->save_dtype]);
}

static void summarize(mn_train_summary *out, const trainer *t) {
    const train_state *s = &t->state;
    out->steps = s->step;
    out->epochs_done = s->step / t->steps_per_epoch;
    out->samples = t->samples->train_count;
    out->tokens = s->tokens;
    out->targets = s->targets;
    out->parameters = t->params.numbers;
    out->loss = s->loss_sum / (double)s->targets;
    out->epoch_loss = s->epoch_loss / (double)s->epoch_targets;
    out->eval_loss = s->eval_loss;
    out->seconds = s->seconds + mn_now() - t->begin;
    out->stopped_early = s->stopped_early;
    out->cached_samples = t->cached;
}

static mn_status add(mn_buf *out, const char *key, double value) {
    MN_TRY(mn_buf_printf(out, "  \"%s\": ", key));
    MN_TRY(mn_json_number(out, value));
    return mn_buf_puts(out, ",\n");
}

static mn_status write_results(const trainer *t, const mn_train_summary *s) {
    mn_status st = MN_OK;
    mn_buf text = {0}, path = {0};
    MN_GOTO(mn_buf_printf(&text,
                          "{\n  \"steps\": %" PRId64 ",\n  \"epochs\": %" PRId64
                          ",\n  \"train_samples\": %" PRId64 ",\n  \"train_tokens\": %" PRId64
                          ",\n  \"train_targets\": %" PRId64 ",\n  \"parameters\": %" PRId64
                          ",\n  \"stopped_early\": %s,\n",
                          s->steps, s->epochs_done, s->samples, s->tokens, s->targets,
                          s->parameters, s->stopped_early ? "true" : "false"));
    MN_GOTO(add(&text, "train_loss", s->loss));
    MN_GOTO(add(&text, "epoch_loss", s->epoch_loss));
    MN_GOTO(add(&text, "eval_loss", s->eval_loss));
    MN_GOTO(add(&text, "train_runtime", s->seconds));
    MN_GOTO(add(&text, "train_tokens_per_second", (double)s->tokens / s->seconds));
    MN_GOTO(mn_train_identify(&text, t));
    MN_GOTO(mn_buf_puts(&text, "\n}\n"));
    MN_GOTO(mn_path_join(&path, t->o->output_dir, results_file));
    st = mn_write_file(path.data, text.data, text.len);
done:
    mn_buf_free(&text);
    mn_buf_free(&path);
    return st;
}

/* The first replica writes the weights, each of its ranks what it has of them. */
static mn_status write_all(const trainer *t, const mn_train_summary *summary) {
    if (mn_comm_rank(t->ranks.dp) > 0) return MN_OK;
    if (t->leads) MN_TRY(mn_train_log_sync(t->log));
    MN_TRY(t->memory ? mn_memory_save(t->memory, t->o->output_dir, t->o->model) : save_model(t));
    return t->leads ? write_results(t, summary) : MN_OK;
}

mn_status mn_train_finish(trainer *t, mn_train_summary *summary) {
    MN_TRY(mn_comm_all_reduce(t->ranks.dp, &t->cached, 1, MN_COMM_I64, MN_COMM_SUM));
    summarize(summary, t);
    return mn_ranks_agree(&t->ranks, write_all(t, summary));
}

static mn_status read_results(mn_train_summary *s, const mn_json *doc) {
    const int64_t most = INT64_C(1) << 52;
    const cJSON *o = doc->root;
    MN_TRY(mn_json_i64(&s->steps, doc, o, "steps", 1, most));
    MN_TRY(mn_json_i64(&s->epochs_done, doc, o, "epochs", 0, most));
    MN_TRY(mn_json_i64(&s->samples, doc, o, "train_samples", 1, most));
    MN_TRY(mn_json_i64(&s->tokens, doc, o, "train_tokens", 1, most));
    MN_TRY(mn_json_i64(&s->targets, doc, o, "train_targets", 1, most));
    MN_TRY(mn_json_i64(&s->parameters, doc, o, "parameters", 1, most));
    MN_TRY(mn_json_bool_or(&s->stopped_early, doc, o, "stopped_early", false));
    MN_TRY(mn_json_f64(&s->loss, doc, o, "train_loss"));
    MN_TRY(mn_json_f64_or(&s->epoch_loss, doc, o, "epoch_loss", (double)NAN));
    MN_TRY(mn_json_f64_or(&s->eval_loss, doc, o, "eval_loss", (double)NAN));
    return mn_json_f64(&s->seconds, doc, o, "train_runtime");
}

mn_status mn_train_finished(bool *finished, mn_train_summary *summary, const trainer *t) {
    mn_status st = MN_OK;
    mn_buf path = {0};
    mn_json *doc = NULL;
    *finished = false;
    MN_GOTO(mn_path_join(&path, t->o->output_dir, results_file));
    if (!mn_file_exists(path.data)) goto done;
    MN_GOTO(mn_json_load(&doc, path.data));
    MN_GOTO(mn_train_same(doc, t));
    MN_GOTO(read_results(summary, doc));
    summary->finished_before = true;
    *finished = true;
done:
    mn_json_close(&doc);
    mn_buf_free(&path);
    return st;
}
