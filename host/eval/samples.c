/* samples.c - samples_*.jsonl: every prompt with what the model said and how it was read. */
#include "eval/evaluation.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static mn_status put(mn_buf *out, const char *key, const char *text, size_t len) {
    MN_TRY(mn_buf_printf(out, ", \"%s\": ", key));
    return mn_json_quote(out, text, len);
}

static mn_status put_answer(mn_buf *out, const char *key, int label) {
    if (label < 0) return mn_buf_printf(out, ", \"%s\": null", key);
    const char *name = mn_label_name((mn_label)label);
    return put(out, key, name, strlen(name));
}

static mn_status put_choice(mn_buf *out, const mn_evaluation *e, int64_t variant, int64_t prompt) {
    const mn_completion *a = mn_eval_completion(e, variant, prompt);
    MN_TRY(mn_buf_puts(out, ", \"logprob\": {"));
    for (int c = 0; c < MN_LABELS; c++) {
        const char *text = mn_fever_candidates[c];
        if (c) MN_TRY(mn_buf_puts(out, ", "));
        MN_TRY(mn_json_quote(out, text, strlen(text)));
        MN_TRY(mn_buf_puts(out, ": "));
        MN_TRY(mn_json_number(out, a->logprob[c]));
    }
    MN_TRY(mn_buf_puts(out, "}"));
    return put_answer(out, "choice", mn_eval_answer(e, variant, prompt)->chosen);
}

static mn_status put_sample(mn_buf *out, mn_evaluation *e, int64_t variant, int64_t prompt) {
    const eval_prompt *p = &e->prompts[prompt];
    const mn_fever_row *row = &e->fever->eval[p->row];
    const mn_fever_page *page = &e->fever->pages[row->page];
    mn_buf_clear(out);
    MN_TRY(mn_buf_printf(out, "{\"doc_id\": %lld, \"id\": %lld, \"shots\": %d", (long long)p->row,
                         (long long)row->id, p->shots));
    MN_TRY(put(out, "page", page->title, strlen(page->title)));
    MN_TRY(put(out, "claim", row->claim, strlen(row->claim)));
    mn_buf_clear(&e->text);
    MN_TRY(mn_fever_prompt(&e->text, page, p->shots, row->claim));
    MN_TRY(put(out, "prompt", e->text.data, e->text.len));
    MN_TRY(put_answer(out, "gold", (int)row->label));
    if (e->options.generate) {
        MN_TRY(mn_eval_text(e, &mn_eval_completion(e, variant, prompt)->generated, &e->text));
        MN_TRY(put(out, "generation", e->text.data ? e->text.data : "", e->text.len));
        MN_TRY(put_answer(out, "parsed", mn_eval_answer(e, variant, prompt)->generated));
    }
    if (e->options.choice) MN_TRY(put_choice(out, e, variant, prompt));
    return mn_buf_puts(out, "}\n");
}

static mn_status samples_path(mn_buf *out, const mn_evaluation *e, int64_t variant, int shots) {
    char task[MN_TASK_MAX];
    const char *name = e->variants[variant].name;
    snprintf(task, sizeof task, "fever_%dshot%s%s", shots, name ? "@" : "", name ? name : "");
    return mn_results_samples_path(out, &e->results, e->options.output_path, task);
}

static mn_status write_file(mn_evaluation *e, int64_t variant, int shots) {
    mn_status st = MN_OK;
    mn_buf path = {0}, line = {0};
    mn_writer *w = NULL;
    MN_GOTO(samples_path(&path, e, variant, shots));
    MN_GOTO(mn_writer_clean(path.data)); /* the journal is locked: they are nobody's */
    MN_GOTO(mn_writer_open(&w, path.data));
    for (int64_t i = 0; i < e->count; i++) {
        if (e->prompts[i].shots != shots) continue;
        MN_GOTO(put_sample(&line, e, variant, i));
        MN_GOTO(mn_writer_write(w, line.data, line.len));
    }
    MN_GOTO(mn_writer_commit(w));
done:
    mn_writer_close(&w);
    mn_buf_free(&line);
    mn_buf_free(&path);
    return st;
}

mn_status mn_samples_write(mn_evaluation *e) {
    for (int64_t v = e->first_variant; v < e->variant_count; v++)
        for (int i = 0; i < e->options.shots_count; i++)
            MN_TRY(write_file(e, v, e->options.shots[i]));
    return MN_OK;
}

void mn_samples_remove(const mn_evaluation *e) {
    mn_buf path = {0};
    for (int64_t v = e->first_variant; v < e->variant_count; v++)
        for (int i = 0; i < e->options.shots_count; i++)
            if (samples_path(&path, e, v, e->options.shots[i]) == MN_OK) unlink(path.data);
    mn_buf_free(&path);
}
