/* cmd_inspect.c - mneme inspect: what is in a model's folder or a file of weights. Tensors are
 * listed, not read: it takes the same time for a large model as for a small one. */
#include "cli/inspect.h"

#include "cli/commands.h"
#include "cli/common.h"

typedef struct inspect_options {
    const char *model;
    bool json, tensors;
} inspect_options;

static const mn_option rows[] = {
    MN_OPT_PATH(inspect_options, model, "PATH", mn_required,
                "a model's folder, or one file of weights (safetensors or PyTorch)"),
    MN_OPT_FLAG(inspect_options, tensors, "false",
                "list every tensor; without it only those that are not used"),
    MN_OPT_FLAG(inspect_options, json, "false", "one JSON object, always with every tensor"),
};

static mn_status run(const mn_cli *cli, const void *options) {
    const inspect_options *o = options;
    mn_device *device = NULL;
    mn_inspection found = {0};
    mn_buf out = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_cli_device_open(&device, cli));
    MN_GOTO(mn_inspect(&found, o->model, device));
    MN_GOTO(o->json ? mn_inspect_json(&out, &found) : mn_inspect_text(&out, &found, o->tensors));
    MN_GOTO(mn_print(&out));
    if (found.problems.count == 1) st = mn_fail(MN_ERR_DATA, "%s", found.problems.lines[0]);
    else if (found.problems.count > 1)
        st = mn_fail(MN_ERR_DATA, "%s (the first of %zu problems)", found.problems.lines[0],
                     found.problems.count);
done:
    mn_buf_free(&out);
    mn_inspection_free(&found);
    mn_device_close(&device);
    return st;
}

static const mn_command command = {
    .name = "inspect",
    .about = "Shows what is in a model's folder: architecture, sizes, files, tensors, tokenizer, "
             "and all that keeps it from being loaded, with exit code 1. No weights are read.",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
    .examples = {"mneme inspect --model pythia-410m", "mneme inspect --model pythia-410m --tensors",
                 "mneme inspect --model Llama-2-7b-hf --json"},
    .run = run,
};

mn_status mn_cmd_inspect(int argc, char **argv) {
    inspect_options options;
    return mn_command_main(&command, &options, argc, argv);
}
