/* cmd_plan.c - mneme plan: memory of every GPU, time and messages of a model over ranks, before there is a GPU or a
 * weight. */
#include "cli/outlook.h"

#include "cli/commands.h"
#include "cli/common.h"

static const mn_option rows[] = {
    MN_OPT_PATH(mn_outlook_options, model, "NAME", NULL,
                "one of the twelve models by name (pythia-410m, llama-2-13b ...), or a folder with "
                "config.json; weights are not needed. Without it: which layouts of all twelve fit"),
    MN_OPT_CHOICE_LIST(mn_outlook_options, gpu, "a100-80gb,h100-sxm", mn_gpu_names,
                       "whose data sheets the times are calculated from"),
    MN_OPT_FLAG(mn_outlook_options, roofline, "false",
                "every kernel of a step and a pass, of the first layout: arithmetic, bytes, time"),
    MN_OPT_CHOICE(mn_outlook_options, dtype, "f16", mn_outlook_dtypes,
                  "type of the matrices of the frozen model"),
    MN_OPT_CHOICE(mn_outlook_options, backend, "cuda", mn_outlook_backends,
                  "whose memory is planned: a GPU's, or that of processes on the CPU (without "
                  "times)"),
    MN_OPT_I64(mn_outlook_options, per_device_train_batch_size, "4", 1, 65536,
               "samples of a training step"),
    MN_OPT_I64(mn_outlook_options, chunk_length, "256", 1, 1048576, "tokens of a sample"),
    MN_OPT_I64(mn_outlook_options, memory.hidden, "128", 1, 1048576, "inner width of a memory"),
    MN_OPT_I64(mn_outlook_options, memories, "3", 0, 64,
               "memories that are evaluated beside the base"),
    MN_OPT_I64(mn_outlook_options, pages, "8", 1, 1024, "pages of an evaluation"),
    MN_OPT_I64(mn_outlook_options, claims, "31", 1, 1024, "claims about each page"),
    MN_OPT_I64(mn_outlook_options, prefix_tokens, "120", 0, 1048576,
               "tokens that all prompts of a page begin with"),
    MN_OPT_I64(mn_outlook_options, claim_tokens, "12", 1, 1048576, "tokens of a claim"),
    MN_OPT_I64(mn_outlook_options, prompt_tokens, "512", 1, 1048576, "tokens of a prompt"),
    MN_OPT_FLAG(mn_outlook_options, json, "false",
                "one JSON object instead of tables; with --roofline also the kernels of every "
                "layout"),
};

static mn_status plan_one(mn_buf *out, const mn_outlook_options *o) {
    mn_outlook outlook;
    mn_status st = mn_outlook_open(&outlook, o, o->model, true);
    if (st == MN_OK)
        st = o->json       ? mn_outlooks_json(out, &outlook, 1)
             : o->roofline ? mn_outlook_roofline(out, &outlook)
                           : mn_outlook_text(out, &outlook);
    mn_outlook_close(&outlook);
    return st;
}

static mn_status plan_all(mn_buf *out, const mn_outlook_options *o) {
    mn_outlook all[MN_MODELS] = {{0}};
    mn_status st = MN_OK;
    for (int i = 0; i < MN_MODELS; i++)
        MN_GOTO(mn_outlook_open(&all[i], o, mn_model_config_name(i), false));
    st = o->json ? mn_outlooks_json(out, all, MN_MODELS) : mn_outlooks_text(out, all, MN_MODELS);
done:
    for (int i = 0; i < MN_MODELS; i++) mn_outlook_close(&all[i]);
    return st;
}

static mn_status run(const mn_cli *cli, const void *options) {
    mn_outlook_options o = *(const mn_outlook_options *)options;
    mn_buf out = {0};
    mn_status st = MN_OK;
    o.tp = mn_options_given(cli->options, "tp") ? (int)cli->common.tp : 0;
    o.dp = (int)cli->common.dp;
    MN_CHECK(o.model || !o.roofline, MN_ERR_USAGE, "--roofline needs --model NAME");
    MN_CHECK(o.backend == 0 || !o.roofline, MN_ERR_USAGE,
             "--roofline is about GPUs, not about --backend cpu");
    st = o.model ? plan_one(&out, &o) : plan_all(&out, &o);
    if (st == MN_OK) st = mn_print(&out);
    mn_buf_free(&out);
    return st;
}

static const mn_command command = {
    .name = "plan",
    .about =
        "Calculates what a model takes over any layout of ranks: bytes of each GPU, what fits, "
        "the time of a training step and of claims by the GPUs' data sheets, messages "
        "between ranks. Neither weights nor a GPU are needed: the program's own code lays out "
        "its memory and makes its calls on a device that only counts. With --tp or --dp only such "
        "layouts, else all of up to 8 ranks, with replicas by powers of two.",
    .ranks = MN_RANKS_PLANNED,
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
    .examples = {"mneme plan", "mneme plan --model llama-2-13b --tp 2 --dp 4 --gpu a100-40gb",
                 "mneme plan --model pythia-410m --roofline"},
    .run = run,
};

mn_status mn_cmd_plan(int argc, char **argv) {
    mn_outlook_options options;
    return mn_command_main(&command, &options, argc, argv);
}
