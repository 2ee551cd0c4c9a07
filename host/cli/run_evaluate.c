/* run_evaluate.c - the evaluation of a run: the base and every memory in one pass over one backbone. A
 * model that was trained itself shares nothing with the base: it gets a pass of its own, and all of
 * them one results file. */
#include "cli/run.h"

#include "mneme/log.h"

#include <stdio.h>
#include <stdlib.h>

/* Prints the table and marks the evaluation as done. */
static mn_status finish(mn_run *run, const mn_results *results, const char *path) {
    mn_status st = MN_OK;
    if (mn_cli_leads(run->cli)) {
        st = mn_results_print(stdout, results, false);
        mn_log(MN_LOG_INFO, "eval: %s", path);
        if (st == MN_OK) st = mn_run_mark_evaluated(run, path);
    }
    return mn_ranks_agree(run->cli->ranks, st);
}

/* ---- memories ---- */

static mn_status evaluate_memories(mn_run *run, const mn_fever *fever, mn_device *device) {
    mn_eval_options options = mn_run_eval_options(run);
    mn_status st = MN_OK;
    mn_tokenizer *tokenizer = NULL;
    mn_evaluation *evaluation = NULL;
    mn_buf path = {0};
    mn_memory **memories = calloc(run->count + 1, sizeof *memories);
    const mn_memory **views = calloc(run->count + 1, sizeof *views);
    const char **names = calloc(run->count + 1, sizeof *names);
    MN_CHECK_GOTO(memories && views && names, MN_ERR_MEMORY, "no memory for variants");
    MN_GOTO(mn_run_backbone(run, device));
    MN_GOTO(mn_tokenizer_open(&tokenizer, run->keys.model));
    for (size_t i = 0; i < run->count; i++) {
        MN_GOTO(mn_memory_load(&memories[i], run->backbone, run->variants[i].dir));
        views[i] = memories[i];
        names[i] = run->variants[i].name;
    }
    options.memories = views;
    options.names = names;
    options.memory_count = (int64_t)run->count;
    MN_GOTO(mn_evaluation_run(&evaluation, run->backbone, tokenizer, fever, &options));
    MN_GOTO(mn_evaluation_write(evaluation, &path));
    st = finish(run, mn_evaluation_results(evaluation), path.data);
done:
    mn_evaluation_close(&evaluation);
    for (size_t i = 0; memories && i < run->count; i++) mn_memory_close(&memories[i]);
    mn_tokenizer_close(&tokenizer);
    mn_buf_free(&path);
    free(names);
    free(views);
    free(memories);
    return st;
}

/* ---- whole models ---- */

/* What one evaluation needs to live: the last one opened first closes. */
typedef struct pass {
    mn_model *model;
    mn_tokenizer *tokenizer;
    mn_evaluation *evaluation;
} pass;

static mn_status open_pass(pass *p, const char *dir, mn_device *device, const mn_cli *cli) {
    MN_TRY(mn_model_open(&p->model, dir, device, mn_cli_tp(cli)));
    MN_TRY(mn_model_pack(p->model, mn_cli_world(cli)));
    return mn_tokenizer_open(&p->tokenizer, dir);
}

static void close_pass(pass *p) {
    mn_evaluation_close(&p->evaluation);
    mn_tokenizer_close(&p->tokenizer);
    mn_model_close(&p->model);
}

/* One table from the base's evaluation and those of the others, behind it in `passes`. */
static mn_status join_results(mn_run *run, pass *passes, size_t count) {
    mn_results all = *mn_evaluation_results(passes[0].evaluation);
    mn_status st = MN_OK;
    mn_buf path = {0};
    size_t entries = 0;
    for (size_t p = 0; p < count; p++)
        entries += mn_evaluation_results(passes[p].evaluation)->count;
    all.entries = calloc(entries + 1, sizeof *all.entries);
    MN_CHECK(all.entries, MN_ERR_MEMORY, "no memory for %zu results", entries);
    all.count = 0;
    all.seconds = 0;
    for (size_t p = 0; p < count; p++) {
        const mn_results *one = mn_evaluation_results(passes[p].evaluation);
        all.seconds += one->seconds;
        for (size_t i = 0; i < one->count; i++) {
            mn_result_entry *e = &all.entries[all.count++];
            *e = one->entries[i];
            if (p > 0) e->variant = run->variants[p - 1].name;
        }
    }
    MN_GOTO(mn_results_compute(&all, NULL));
    if (mn_cli_leads(run->cli)) st = mn_results_write(&path, &all, run->eval);
    MN_GOTO(mn_ranks_agree(run->cli->ranks, st));
    st = finish(run, &all, path.data);
done:
    free(all.entries);
    mn_buf_free(&path);
    return st;
}

static mn_status evaluate_models(mn_run *run, const mn_fever *fever, mn_device *device) {
    mn_eval_options options = mn_run_eval_options(run);
    mn_status st = MN_OK;
    mn_buf folder = {0}, path = {0};
    pass *passes = calloc(run->count + 1, sizeof *passes);
    MN_CHECK(passes, MN_ERR_MEMORY, "no memory for variants");
    MN_GOTO(mn_path_join(&folder, run->eval, "models"));
    options.output_path = folder.data;
    for (size_t i = 0; i <= run->count; i++) {
        options.model_path = i > 0 ? run->variants[i - 1].dir : run->keys.model;
        mn_log(MN_LOG_INFO, "eval %s", i > 0 ? run->variants[i - 1].name : MN_BASE_VARIANT);
        MN_GOTO(open_pass(&passes[i], options.model_path, device, run->cli));
        MN_GOTO(mn_evaluation_run(&passes[i].evaluation, passes[i].model, passes[i].tokenizer,
                                  fever, &options));
    }
    MN_GOTO(join_results(run, passes, run->count + 1));
    /* Only now do the journals go. */
    for (size_t i = 0; i <= run->count; i++)
        MN_GOTO(mn_evaluation_write(passes[i].evaluation, &path));
done:
    for (size_t i = 0; i <= run->count; i++) close_pass(&passes[i]);
    free(passes);
    mn_buf_free(&path);
    mn_buf_free(&folder);
    return st;
}

mn_status mn_run_evaluate(mn_run *run, mn_device *device) {
    mn_fever *fever = NULL;
    mn_status st = mn_fever_open(&fever, run->data);
    if (st == MN_OK)
        st = mn_run_full(run) ? evaluate_models(run, fever, device)
                              : evaluate_memories(run, fever, device);
    mn_fever_close(&fever);
    return st;
}
