/* cmd_generate.c - mneme generate: what the model says next. */
#include "cli/commands.h"
#include "cli/kept.h"
#include "cli/launch.h"

#include <stdio.h>
#include <string.h>

typedef struct generate_options {
    const char *model, *adapter, *prompt, *jsonl;
    int64_t max_new_tokens, seed, batch_size;
    double temperature;
    int compute;
} generate_options;

static const mn_option rows[] = {
    MN_OPT_PATH(generate_options, model, "DIR", mn_required, "a Hugging Face model folder"),
    MN_OPT_PATH(generate_options, adapter, "DIR", NULL,
                "an adapter folder: its memory is at work in the model"),
    MN_OPT_STRING(generate_options, prompt, "TEXT", NULL, "the text to go on from"),
    MN_OPT_PATH(generate_options, jsonl, "FILE", NULL,
                "many prompts: objects with \"prompt\", one per line; - is standard input. Adds "
                "\"generation\" and \"ids\" to them"),
    MN_OPT_I64(generate_options, max_new_tokens, "32", 1, 1000000,
               "tokens at most; it also ends at the model's end-of-text token"),
    MN_OPT_F64(generate_options, temperature, "0", 0, 100,
               "0 takes the likeliest token, more is more random"),
    MN_OPT_I64(generate_options, seed, "0", 0, MN_OPTION_NO_MAX, "of the random choices"),
    MN_OPT_I64_AUTO(generate_options, batch_size, "auto", 1, 65536, "prompts per batch"),
    MN_OPT_CHOICE(generate_options, compute, "f32", mn_compute_choices,
                  "what inputs of matrix products are rounded to"),
};

/* The prompt's tokens; an empty one starts from BOS (or EOS), as a document does. */
static mn_status encode(const mn_loaded *l, const char *text, mn_ids *ids) {
    const mn_model_config *c = &l->model->config;
    MN_TRY(mn_tokenizer_encode(l->tokenizer, text, strlen(text), MN_TOKENIZE_SPECIAL, ids));
    if (ids->len > 0) return MN_OK;
    MN_CHECK(c->bos >= 0 || c->eos >= 0, MN_ERR_DATA,
             "an empty prompt, and the model has no BOS or EOS token");
    return mn_ids_push(ids, c->bos >= 0 ? c->bos : c->eos);
}

static mn_status fill(void *context, mn_kept *kept, const mn_input *input) {
    const char *text;
    MN_TRY(mn_input_string(&text, input, "prompt"));
    return mn_fail_in(encode(context, text, &kept->prompt), "%s", kept->where);
}

static mn_status decode(const mn_loaded *l, const mn_ids *ids, mn_buf *out) {
    mn_buf_clear(out);
    for (size_t i = 0; i < ids->len; i++)
        if (ids->data[i] < mn_tokenizer_size(l->tokenizer)) /* padding rows of the vocabulary */
            MN_TRY(mn_tokenizer_piece(l->tokenizer, ids->data[i], out));
    return MN_OK;
}

static mn_status print_records(mn_kept_list *list, const mn_loaded *l, mn_buf *text) {
    for (size_t i = 0; i < list->count; i++) {
        mn_kept *k = &list->items[i];
        const mn_ids *ids = &list->answers[i].generated;
        MN_TRY(decode(l, ids, text));
        MN_TRY(mn_record_key(&k->record, "generation"));
        MN_TRY(mn_json_quote(&k->record, text->data ? text->data : "", text->len));
        MN_TRY(mn_record_ids(&k->record, "ids", ids->data, ids->len));
        MN_TRY(mn_record_end(&k->record));
        MN_TRY(mn_print(&k->record));
    }
    return MN_OK;
}

static mn_status one_prompt(mn_kept_list *list, const mn_loaded *l, const char *text) {
    MN_TRY(mn_grow(&list->items, &list->cap, 1, sizeof *list->items));
    list->items[0] = (mn_kept){.where = strdup("--prompt")};
    list->count = 1;
    MN_CHECK(list->items[0].where, MN_ERR_MEMORY, "no memory for a prompt");
    return mn_fail_in(encode(l, text, &list->items[0].prompt), "--prompt");
}

static mn_status run(const mn_cli *cli, const void *options) {
    static const char *const replaced[] = {"generation", "ids", NULL};
    const generate_options *o = options;
    const mn_plan_options plan = {.batch_size = o->batch_size, .share_prefixes = true};
    mn_loaded loaded = {0};
    mn_kept_list list = {0};
    mn_buf text = {0};
    mn_status st = MN_OK;
    MN_CHECK(!o->prompt != !o->jsonl, MN_ERR_USAGE, "give either --prompt or --jsonl");
    MN_GOTO(mn_loaded_open(&loaded, cli, o->model));
    MN_GOTO(mn_adapters_open_one(&loaded.adapters, loaded.model, o->adapter));
    if (o->jsonl) MN_GOTO(mn_kept_read(&list, o->jsonl, cli->ranks, replaced, fill, &loaded));
    else MN_GOTO(one_prompt(&list, &loaded, o->prompt));
    const mn_complete_hooks hooks = {.eos = loaded.model->config.eos,
                                     .temperature = (float)o->temperature,
                                     .seed = (uint64_t)o->seed};
    MN_GOTO(
        mn_kept_answer(&list, &loaded, &plan, (mn_compute)o->compute, o->max_new_tokens, &hooks));
    if (o->jsonl) {
        MN_GOTO(print_records(&list, &loaded, &text));
    } else {
        MN_GOTO(decode(&loaded, &list.answers[0].generated, &text));
        MN_GOTO(mn_buf_puts(&text, "\n"));
        MN_GOTO(mn_print(&text));
    }
done:
    mn_launch_tell(cli, st);
    mn_buf_free(&text);
    mn_kept_free(&list);
    mn_loaded_close(&loaded);
    return st;
}

static const mn_command command = {
    .name = "generate",
    .about = "Prints what a model says behind a prompt: the likeliest tokens, or sampled ones. "
             "The same seed gives the same text, whatever the batch size and number of threads.",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
    .examples =
        {"mneme generate --model pythia-70m --prompt \"The capital of France is\"",
         "mneme generate --model pythia-70m --jsonl prompts.jsonl --temperature 0.8 --seed 7",
         "mneme generate --model pythia-70m --adapter doc --prompt \"The capital of France is\""},
    .ranks = MN_RANKS_MODEL,
    .run = run,
};

mn_status mn_cmd_generate(int argc, char **argv) {
    generate_options options;
    return mn_command_main(&command, &options, argc, argv);
}
