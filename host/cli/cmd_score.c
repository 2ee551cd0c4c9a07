/* cmd_score.c - mneme score: how likely is a given continuation of a context. */
#include "cli/commands.h"
#include "cli/kept.h"
#include "cli/launch.h"

#include <string.h>

typedef struct score_options {
    const char *model, *adapter, *jsonl;
    int64_t batch_size;
    int compute;
    bool no_share;
} score_options;

static const mn_option rows[] = {
    MN_OPT_PATH(score_options, model, "DIR", mn_required, "a Hugging Face model folder"),
    MN_OPT_PATH(score_options, adapter, "DIR", NULL,
                "an adapter folder: its memory is at work in the model"),
    MN_OPT_PATH(score_options, jsonl, "FILE", mn_required,
                "objects with \"context\" and \"continuation\", one per line; - is standard input"),
    MN_OPT_I64_AUTO(score_options, batch_size, "auto", 1, 65536, "prompts per batch"),
    MN_OPT_CHOICE(score_options, compute, "f32", mn_compute_choices,
                  "what inputs of matrix products are rounded to"),
    MN_OPT_FLAG(score_options, no_share, "false",
                "compute every prompt as a whole, for comparison"),
};

typedef struct reader {
    const mn_loaded *loaded;
    mn_buf text;
    mn_ids whole;
} reader;

/* Context and continuation are tokenised as one text and cut where the context's own tokens end
 * (white space at the context's end goes to the continuation), as lm-evaluation-harness does. A
 * context without tokens becomes the model's BOS, or EOS where it has none. */
static mn_status cut(reader *r, mn_kept *kept, const char *before, const char *after) {
    const mn_tokenizer *tokenizer = r->loaded->tokenizer;
    const mn_model_config *c = &r->loaded->model->config;
    size_t end = strlen(before);
    while (end > 0 && strchr(" \t\r\n", before[end - 1])) end--;
    MN_TRY(mn_tokenizer_encode(tokenizer, before, end, MN_TOKENIZE_SPECIAL, &kept->prompt));
    size_t own = kept->prompt.len;
    mn_buf_clear(&r->text);
    MN_TRY(mn_buf_printf(&r->text, "%s%s", before, after));
    r->whole.len = 0;
    if (own == 0) {
        const int32_t start = c->bos >= 0 ? c->bos : c->eos;
        MN_CHECK(start >= 0, MN_ERR_DATA,
                 "an empty context, and the model has no BOS or EOS token");
        MN_TRY(mn_ids_push(&r->whole, start));
        own = 1;
    }
    MN_TRY(
        mn_tokenizer_encode(tokenizer, r->text.data, r->text.len, MN_TOKENIZE_SPECIAL, &r->whole));
    MN_CHECK(r->whole.len > own, MN_ERR_DATA, "the continuation has no tokens");
    kept->prompt.len = 0;
    MN_TRY(mn_ids_append(&kept->prompt, r->whole.data, own));
    return mn_ids_append(&kept->continuation, r->whole.data + own, r->whole.len - own);
}

static mn_status fill(void *context, mn_kept *kept, const mn_input *input) {
    const char *before, *after;
    MN_TRY(mn_input_string(&before, input, "context"));
    MN_TRY(mn_input_string(&after, input, "continuation"));
    return mn_fail_in(cut(context, kept, before, after), "%s", kept->where);
}

static mn_status print_scores(mn_kept_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        mn_kept *k = &list->items[i];
        MN_TRY(mn_record_key(&k->record, "logprob"));
        MN_TRY(mn_json_number(&k->record, list->answers[i].logprob[0]));
        MN_TRY(mn_record_key(&k->record, "tokens"));
        MN_TRY(mn_buf_printf(&k->record, "%zu", k->continuation.len));
        MN_TRY(mn_record_key(&k->record, "greedy"));
        MN_TRY(mn_buf_puts(&k->record, list->answers[i].greedy[0] ? "true" : "false"));
        MN_TRY(mn_record_end(&k->record));
        MN_TRY(mn_print(&k->record));
    }
    return MN_OK;
}

static mn_status run(const mn_cli *cli, const void *options) {
    static const char *const replaced[] = {"logprob", "tokens", "greedy", NULL};
    const score_options *o = options;
    const mn_plan_options plan = {.batch_size = o->batch_size, .share_prefixes = !o->no_share};
    const mn_complete_hooks hooks = {.eos = -1};
    mn_loaded loaded = {0};
    mn_kept_list list = {0};
    reader r = {.loaded = &loaded};
    mn_status st = MN_OK;
    MN_GOTO(mn_loaded_open(&loaded, cli, o->model));
    MN_GOTO(mn_adapters_open_one(&loaded.adapters, loaded.model, o->adapter));
    MN_GOTO(mn_kept_read(&list, o->jsonl, cli->ranks, replaced, fill, &r));
    MN_GOTO(mn_kept_answer(&list, &loaded, &plan, (mn_compute)o->compute, 0, &hooks));
    MN_GOTO(print_scores(&list));
done:
    mn_launch_tell(cli, st);
    mn_buf_free(&r.text);
    mn_ids_free(&r.whole);
    mn_kept_free(&list);
    mn_loaded_close(&loaded);
    return st;
}

static const mn_command command = {
    .name = "score",
    .about =
        "Adds to each object the log-probability of its continuation behind its context "
        "(natural logarithm, summed over the continuation's tokens), the number of those tokens "
        "and whether greedy decoding would say the same. Contexts that begin alike are computed "
        "once.",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
    .examples = {"mneme score --model pythia-70m --jsonl pairs.jsonl",
                 "mneme score --model pythia-70m --jsonl - --batch_size 32",
                 "mneme score --model pythia-70m --adapter doc --jsonl pairs.jsonl"},
    .ranks = MN_RANKS_MODEL,
    .run = run,
};

mn_status mn_cmd_score(int argc, char **argv) {
    score_options options;
    return mn_command_main(&command, &options, argc, argv);
}
