/* cmd_eval.c - mneme eval: the few-shot FEVER table of a model. */
#include "cli/commands.h"
#include "cli/keys.h"
#include "cli/launch.h"
#include "cli/loaded.h"
#include "mneme/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const scorings[] = {"generate", "choice", NULL};
static const char *const unparsed_rules[] = {"wrong", "class", "nei", "drop", NULL};

const mn_option mn_eval_rows[MN_EVAL_ROWS] = {
    MN_OPT_PATH(mn_eval_keys, model, "DIR", mn_required, "a Hugging Face model folder"),
    MN_OPT_STRING(
        mn_eval_keys, adapter, "DIR,DIR..", NULL,
        "adapter folders: each is evaluated beside the model without one, in the same pass "
        "('\\,' is a comma of a name)"),
    MN_OPT_FLAG(mn_eval_keys, no_base, "false", "only the adapters"),
    MN_OPT_PATH(mn_eval_keys, data, "DIR", mn_required, "a folder that mneme prepare has written"),
    MN_OPT_I64_LIST(mn_eval_keys, num_fewshot, "0,1,2,3,4,5", 0, MN_MAX_SHOTS,
                    "numbers of demonstrations"),
    MN_OPT_CHOICE_LIST(mn_eval_keys, scoring, "generate,choice", scorings,
                       "read the answer off generated text, or take the likeliest candidate"),
    MN_OPT_I64_AUTO(mn_eval_keys, batch_size, "auto", 1, 65536, "prompts per batch"),
    MN_OPT_I64(mn_eval_keys, limit, "0", 0, MN_OPTION_NO_MAX, "rows to evaluate; 0 for all"),
    MN_OPT_I64(mn_eval_keys, max_gen_toks, "8", 1, 256,
               "tokens of a generated answer; it also ends at ')' or a new line"),
    MN_OPT_CHOICE(mn_eval_keys, unparsed, "wrong", unparsed_rules,
                  "how an answer counts that cannot be read"),
    MN_OPT_I64(mn_eval_keys, bootstrap_iters, "2000", 0, 1000000,
               "replicates for the intervals; 0 for none"),
    MN_OPT_I64(mn_eval_keys, seed, "1234", 0, MN_OPTION_NO_MAX, "of the bootstrap"),
    MN_OPT_CHOICE(mn_eval_keys, compute, "f32", mn_compute_choices,
                  "what inputs of matrix products are rounded to"),
    MN_OPT_PATH(mn_eval_keys, output_path, "PATH", "results",
                "folder (or name ending in .json) for results, samples and the journal"),
    MN_OPT_FLAG(mn_eval_keys, log_samples, "false", "write every prompt and answer as well"),
    MN_OPT_FLAG(mn_eval_keys, no_share, "false", "compute every prompt as a whole, for comparison"),
};

mn_eval_options mn_eval_library(const mn_eval_keys *o) {
    mn_eval_options e = {.limit = o->limit,
                         .batch_size = o->batch_size,
                         .max_gen_toks = o->max_gen_toks,
                         .share_prefixes = !o->no_share,
                         .compute = (mn_compute)o->compute,
                         .unparsed = (mn_unparsed)o->unparsed,
                         .bootstrap_iters = (int)o->bootstrap_iters,
                         .seed = (uint64_t)o->seed,
                         .model_path = o->model,
                         .data_path = o->data,
                         .output_path = o->output_path,
                         .log_samples = o->log_samples,
                         .no_base = o->no_base};
    for (size_t i = 0; i < o->num_fewshot.count; i++)
        e.shots[e.shots_count++] = (int)o->num_fewshot.items[i];
    for (size_t i = 0; i < o->scoring.count; i++) {
        e.generate |= o->scoring.items[i] == MN_SCORING_GENERATE;
        e.choice |= o->scoring.items[i] == MN_SCORING_CHOICE;
    }
    return e;
}

/* Logs of ranks lie where the results do: in a folder, or beside a file. */
static mn_status log_beside(const mn_cli *cli, const char *output_path) {
    static const char end[] = ".json";
    const size_t len = strlen(output_path);
    if (len < sizeof end || strcmp(output_path + len - (sizeof end - 1), end) != 0)
        return mn_launch_log(cli, output_path);
    const char *slash = strrchr(output_path, '/');
    char *folder = slash ? mn_strdup_n(output_path, (size_t)(slash - output_path) + 1)
                         : strdup(".");
    MN_CHECK(folder, MN_ERR_MEMORY, "%s: no memory", output_path);
    const mn_status st = mn_launch_log(cli, folder);
    free(folder);
    return st;
}

static mn_status run(const mn_cli *cli, const void *options) {
    const mn_eval_keys *o = options;
    mn_eval_options settings = mn_eval_library(o);
    mn_status st = MN_OK;
    mn_loaded loaded = {0};
    mn_fever *fever = NULL;
    mn_evaluation *evaluation = NULL;
    mn_buf path = {0};
    MN_TRY(log_beside(cli, o->output_path));
    settings.ranks = cli->ranks;
    MN_GOTO(mn_fever_open(&fever, o->data));
    MN_GOTO(mn_loaded_open(&loaded, cli, o->model));
    MN_GOTO(mn_adapters_open(&loaded.adapters, loaded.model, o->adapter));
    settings.memories = (const mn_memory *const *)loaded.adapters.memories;
    settings.names = (const char *const *)loaded.adapters.names;
    settings.memory_count = loaded.adapters.count;
    MN_GOTO(mn_evaluation_run(&evaluation, loaded.model, loaded.tokenizer, fever, &settings));
    MN_GOTO(mn_evaluation_write(evaluation, &path));
    MN_GOTO(mn_results_print(stdout, mn_evaluation_results(evaluation), false));
    if (path.len > 0) mn_log(MN_LOG_INFO, "written: %s", path.data);
done:
    mn_launch_tell(cli, st);
    mn_buf_free(&path);
    mn_evaluation_close(&evaluation);
    mn_loaded_close(&loaded);
    mn_fever_close(&fever);
    return st;
}

static const mn_command command = {
    .name = "eval",
    .about =
        "Evaluates a model on a prepared FEVER folder, for several numbers of demonstrations in "
        "one pass: the demonstrations of a page are computed once and shared by its claims. "
        "Adapters are evaluated in the same pass, with an audit of what they change. "
        "Prints the table and writes results and, on request, every sample. Interrupted, the "
        "same command goes on where it stopped.",
    .rows = mn_eval_rows,
    .row_count = MN_EVAL_ROWS,
    .examples =
        {"mneme eval --model pythia-410m --data prepared --num_fewshot 0,1,5",
         "mneme eval --model llama-2-7b --data prepared --compute bf16 --limit 200",
         "mneme eval --model pythia-410m --data prepared --num_fewshot 1 --adapter doc,temp"},
    .ranks = MN_RANKS_ALL,
    .run = run,
};

mn_status mn_cmd_eval(int argc, char **argv) {
    mn_eval_keys options;
    return mn_command_main(&command, &options, argc, argv);
}
