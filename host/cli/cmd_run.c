/* cmd_run.c - mneme run CONFIG: a whole experiment in one folder. Here are its keys: its own and those
 * that it takes over from the commands whose work it does. */
#include "cli/commands.h"
#include "cli/launch.h"
#include "cli/loaded.h"
#include "cli/run.h"

#include <string.h>

/* Everything of a variant's name. */
static const char *const methods[] = {"pretrained", "gpt_wikipage", "gpt_template",
                                      "gpt_wikipage_and_template", NULL};

static const mn_option rows[] = {
    MN_OPT_PATH(mn_run_keys, model, "DIR", mn_required,
                "the backbone: a Hugging Face model folder"),
    MN_OPT_PATH(mn_run_keys, run_dir, "DIR", mn_required,
                "folder for all that the run makes; a run that was interrupted goes on there"),
    MN_OPT_PATH(mn_run_keys, claims, "FILE", "fever/paper_dev.jsonl",
                "FEVER claims to evaluate on"),
    MN_OPT_PATH(mn_run_keys, train_claims, "FILE", "fever/train.jsonl",
                "FEVER training claims, for demonstrations and training"),
    MN_OPT_PATH(mn_run_keys, wiki, "PATH", "fever/wiki-pages.zip",
                "FEVER's Wikipedia pages: a folder of wiki-*.jsonl, a zip of them, or one file"),
    MN_OPT_PATH(mn_run_keys, data, "DIR", NULL,
                "a folder that mneme prepare has written, instead of these three"),
    MN_OPT_CHOICE_LIST(
        mn_run_keys, methods, "pretrained,gpt_wikipage,gpt_template,gpt_wikipage_and_template",
        methods,
        "what to compare: each one but the first is trained with every weight decay; "
        "the first is evaluated in any case"),
    MN_OPT_F64_LIST(mn_run_keys, weight_decays, "0.05", 0, 100, "of AdamW"),
    MN_OPT_I64(mn_run_keys, train_num_fewshot, "1", 0, MN_MAX_SHOTS,
               "demonstrations in a training template"),
    MN_OPT_CHOICE(mn_run_keys, compute, "f32", mn_compute_choices,
                  "what inputs of matrix products with frozen weights are rounded to"),
    MN_OPT_I64(mn_run_keys, seed, "1234", 0, MN_OPTION_NO_MAX,
               "of initial weights, the order of samples and the bootstrap"),
    MN_OPT_I64(mn_run_keys, prepare_seed, "0", 0, MN_OPTION_NO_MAX,
               "for the order of demonstrations and for --nei random-page"),
    MN_OPT_FLAG(mn_run_keys, dry_run, "false",
                "print what is to be done and what it takes, and do nothing"),
};
enum { ROWS = sizeof rows / sizeof *rows };

/* What a run's own keys stand for. */
static const char *const prepare_hidden[] = {"claims", "train_claims", "wiki", "out", "seed", NULL};
static const char *const train_hidden[] = {"model",   "data",         "texts", "output_dir",
                                           "method",  "weight_decay", "init",  "num_fewshot",
                                           "compute", "seed",         NULL};
static const char *const eval_hidden[] = {"model",       "data",    "adapter", "no_base",
                                          "output_path", "compute", "seed",    NULL};

/* ---- what keys are bound to ---- */

static bool in_table(const mn_option *table, size_t count, const char *key) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, key) == 0) return true;
    return false;
}

/* Rows of train_keys.def that change no weight. */
static bool is_free(const char *key) {
    enum { MN_BEARS = 0, MN_FREE = 1 };
    static const struct {
        const char *name;
        int bearing;
    } bearings[] = {
#define MN_KEY_PATH(field, what, text, bearing, about) {#field, bearing},
#define MN_KEY_TEXT(field, text, bearing, about) {#field, bearing},
#define MN_KEY_CHOICE(field, text, names, bearing, about) {#field, bearing},
#define MN_KEY_F64(field, text, low, high, bearing, about) {#field, bearing},
#define MN_KEY_I64(field, text, low, high, bearing, about) {#field, bearing},
#define MN_KEY_FLAG(field, text, bearing, about) {#field, bearing},
#include "mneme/train_keys.def"
    };
    for (size_t i = 0; i < sizeof bearings / sizeof *bearings; i++)
        if (strcmp(bearings[i].name, key) == 0) return bearings[i].bearing == MN_FREE;
    return false;
}

unsigned mn_run_bound(const char *key) {
    enum {
        EVALUATED = MN_RUN_EVALUATED,
        TRAINED = MN_RUN_TRAINED | EVALUATED,
        PREPARED = MN_RUN_PREPARED | TRAINED
    };
    static const struct {
        const char *name;
        unsigned bound;
    } own[] = {{"model", TRAINED},   {"claims", PREPARED}, {"train_claims", PREPARED},
               {"wiki", PREPARED},   {"data", TRAINED},    {"train_num_fewshot", TRAINED},
               {"compute", TRAINED}, {"seed", TRAINED},    {"prepare_seed", PREPARED},
               {"batch_size", 0},    {"log_samples", 0},   {"no_share", 0}};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(own[i].name, key) == 0) return own[i].bound;
    if (in_table(rows, ROWS, key)) return 0;
    if (in_table(mn_prepare_rows, MN_PREPARE_ROWS, key)) return PREPARED;
    if (in_table(mn_train_rows, MN_TRAIN_ROWS, key)) return is_free(key) ? 0 : TRAINED;
    return in_table(mn_eval_rows, MN_EVAL_ROWS, key) ? EVALUATED : 0;
}

/* ---- the command ---- */

static mn_status plan(void *context) { return mn_run_plan(context); }

static mn_status run(const mn_cli *cli, const void *options) {
    mn_status st = MN_OK;
    mn_run r = {.lock = -1};
    MN_GOTO(mn_run_open(&r, cli, options));
    st = r.keys.dry_run ? mn_launch_alone(cli, plan, &r) : mn_run_steps(&r);
done:
    mn_run_close(&r);
    return st;
}

#define PART(what, table, size, field, hidden_names)                                               \
    {                                                                                              \
        .title = what, .rows = table, .count = size, .offset = offsetof(mn_run_keys, field),       \
        .hidden = hidden_names                                                                     \
    }

static const mn_command command = {
    .name = "run",
    .operand = "CONFIG",
    .about =
        "Runs a whole experiment from a config file, a JSON object with these keys: prepares the "
        "data if needed, trains a memory for each method and weight decay, evaluates them and the "
        "base in one pass, and writes the report. What the run folder holds already is skipped: "
        "the "
        "same command goes on where it was interrupted. Paths are relative to the current folder.",
    .rows = rows,
    .row_count = ROWS,
    .parts = {PART("Keys of 'mneme prepare'", mn_prepare_rows, MN_PREPARE_ROWS, prepare,
                   prepare_hidden),
              PART("Keys of 'mneme train'", mn_train_rows, MN_TRAIN_ROWS, train, train_hidden),
              PART("Keys of 'mneme eval'", mn_eval_rows, MN_EVAL_ROWS, eval, eval_hidden)},
    .examples = {"mneme run configs/demo.json", "mneme run configs/pythia-410m.json --dry-run",
                 "mneme run configs/llama-2-7b.json --compute bf16 --run_dir runs/7b"},
    .ranks = MN_RANKS_ALL,
    .run = run,
};

mn_status mn_cmd_run(int argc, char **argv) {
    mn_run_keys keys;
    return mn_command_main(&command, &keys, argc, argv);
}
