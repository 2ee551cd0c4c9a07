/* read_train.c - one training: its log, line by line, and what it says at its end. */
#include "report/runs.h"

#include "mneme/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_MAX = 1 << 30 };

/* A resumed training logs the steps behind its checkpoint again: the later line counts. */
static mn_status add_point(mn_rundir_curve *curve, double step, double value) {
    while (curve->count > 0 && curve->points[curve->count - 1].step >= step) curve->count--;
    MN_TRY(mn_grow(&curve->points, &curve->cap, curve->count + 1, sizeof *curve->points));
    curve->points[curve->count++] = (mn_rundir_point){.step = step, .value = value};
    return MN_OK;
}

static mn_status read_line(mn_rundir_training *t, const mn_json *line) {
    int64_t step;
    double loss, eval_loss;
    if (!cJSON_IsObject(line->root)) return mn_json_fail(line, line->root, "expected an object");
    MN_TRY(mn_json_i64(&step, line, line->root, "step", 0, INT64_C(1) << 52));
    MN_TRY(mn_json_f64_or(&loss, line, line->root, "loss", NAN));
    MN_TRY(mn_json_f64_or(&eval_loss, line, line->root, "eval_loss", NAN));
    if (!isnan(loss)) MN_TRY(add_point(&t->loss, (double)step, loss));
    return isnan(eval_loss) ? MN_OK : add_point(&t->eval, (double)step, eval_loss);
}

static mn_status read_log(mn_rundir_training *t) {
    mn_buf text = {0}, place = {0};
    mn_json *line = NULL;
    mn_status st = MN_OK;
    const char *at;
    size_t len;
    MN_GOTO(mn_read_file(&text, t->log_path, LOG_MAX));
    /* A program that is killed while it writes leaves a line without an end. */
    if (text.len > 0 && text.data[text.len - 1] != '\n') {
        t->torn = true;
        while (text.len > 0 && text.data[text.len - 1] != '\n') text.len--;
    }
    mn_lines lines = mn_lines_over(text.data, text.len);
    while (mn_lines_next(&lines, &at, &len)) {
        mn_json_close(&line);
        mn_buf_clear(&place);
        MN_GOTO(mn_buf_printf(&place, "%s:%lld", t->log_path, (long long)lines.number));
        MN_GOTO(mn_json_parse(&line, at, len, place.data));
        MN_GOTO(read_line(t, line));
    }
done:
    mn_json_close(&line);
    mn_buf_free(&place);
    mn_buf_free(&text);
    return st;
}

static mn_status read_end(mn_rundir_training *t, const char *path) {
    static const char *const names[] = {"options", "config", "args"};
    const int64_t most = INT64_C(1) << 52;
    MN_TRY(mn_json_load(&t->results, path));
    const mn_json *doc = t->results;
    if (!cJSON_IsObject(doc->root)) return mn_json_fail(doc, doc->root, "expected an object");
    MN_TRY(mn_json_f64_or(&t->train_loss, doc, doc->root, "train_loss", NAN));
    MN_TRY(mn_json_f64_or(&t->runtime, doc, doc->root, "train_runtime", NAN));
    MN_TRY(mn_json_i64_or(&t->tokens, doc, doc->root, "train_tokens", 0, most, -1));
    MN_TRY(mn_json_i64_or(&t->steps, doc, doc->root, "steps", 0, most, -1));
    for (size_t i = 0; i < sizeof names / sizeof *names && !t->options; i++)
        if (mn_json_has(doc->root, names[i]))
            MN_TRY(mn_json_object(&t->options, doc, doc->root, names[i]));
    return MN_OK;
}

mn_status mn_rundir_read_training(mn_rundir *run, const char *dir, const char *id) {
    mn_rundir_training t = {.train_loss = NAN, .runtime = NAN, .tokens = -1, .steps = -1};
    mn_buf log = {0}, end = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_path_join(&log, dir, "train_log.jsonl"));
    MN_GOTO(mn_path_join(&end, dir, "train_results.json"));
    if (!mn_file_exists(log.data) && !mn_file_exists(end.data)) goto done;
    MN_GOTO(mn_rundir_variant_at(&t.variant, run, id));
    t.log_path = mn_strdup_n(log.data, log.len);
    MN_CHECK_GOTO(t.log_path, MN_ERR_MEMORY, "report: no memory");
    if (mn_file_exists(log.data)) MN_GOTO(read_log(&t));
    if (mn_file_exists(end.data)) {
        const char *update = NULL;
        MN_GOTO(read_end(&t, end.data));
        if (t.options) MN_GOTO(mn_json_string_or(&update, t.results, t.options, "update", NULL));
        if (update && strcmp(update, "full") == 0) MN_GOTO(mn_rundir_variant_full(run, t.variant));
    }
    MN_GOTO(mn_grow(&run->trainings, &run->training_cap, run->training_count + 1,
                    sizeof *run->trainings));
    run->trainings[run->training_count++] = t;
    t = (mn_rundir_training){0};
done:
    mn_json_close(&t.results);
    free(t.log_path);
    free(t.loss.points);
    free(t.eval.points);
    mn_buf_free(&end);
    mn_buf_free(&log);
    return st;
}
