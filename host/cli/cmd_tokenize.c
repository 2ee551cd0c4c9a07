/* cmd_tokenize.c - mneme tokenize: objects with a text in, the same objects with its ids out, or
 * the other way round. One object at a time, in order. */
#include "cli/commands.h"
#include "cli/common.h"
#include "mneme/tokenizer.h"

#include <string.h>

typedef struct tokenize_options {
    const char *model, *jsonl, *text;
    bool decode, add_special_tokens, skip_special_tokens;
} tokenize_options;

static const mn_option rows[] = {
    MN_OPT_PATH(tokenize_options, model, "PATH", mn_required,
                "a model's folder, or a tokenizer.json or tokenizer.model"),
    MN_OPT_PATH(
        tokenize_options, jsonl, "FILE", NULL,
        "objects with \"text\" (or \"ids\" with --decode), one per line; - is standard input"),
    MN_OPT_STRING(tokenize_options, text, "TEXT", NULL,
                  "tokenize this text instead of a file and show the tokens as well"),
    MN_OPT_FLAG(tokenize_options, decode, "false", "from ids to text"),
    MN_OPT_FLAG(tokenize_options, add_special_tokens, "false",
                "put in front what the model expects there (Llama: <s>)"),
    MN_OPT_FLAG(tokenize_options, skip_special_tokens, "false",
                "with --decode: leave special tokens out of the text"),
};

/* {"text": "..", "ids": [..], "tokens": [..]} for --text. */
static mn_status show_text(const mn_tokenizer *tokenizer, const char *text, unsigned flags) {
    mn_status st = MN_OK;
    mn_ids ids = {0};
    mn_buf out = {0}, piece = {0};
    MN_GOTO(mn_tokenizer_encode(tokenizer, text, strlen(text), flags, &ids));
    MN_GOTO(mn_buf_puts(&out, "{"));
    MN_GOTO(mn_record_key(&out, "text"));
    MN_GOTO(mn_json_quote(&out, text, strlen(text)));
    MN_GOTO(mn_record_ids(&out, "ids", ids.data, ids.len));
    MN_GOTO(mn_record_key(&out, "tokens"));
    MN_GOTO(mn_buf_puts(&out, "["));
    for (size_t i = 0; i < ids.len; i++) {
        mn_buf_clear(&piece);
        if (i > 0) MN_GOTO(mn_buf_puts(&out, ", "));
        MN_GOTO(mn_tokenizer_piece(tokenizer, ids.data[i], &piece));
        MN_GOTO(mn_json_quote(&out, piece.len ? piece.data : "", piece.len));
    }
    MN_GOTO(mn_buf_puts(&out, "]"));
    MN_GOTO(mn_record_end(&out));
    st = mn_print(&out);
done:
    mn_buf_free(&piece);
    mn_buf_free(&out);
    mn_ids_free(&ids);
    return st;
}

/* The current object with its "ids" added. */
static mn_status encode_record(mn_buf *out, mn_ids *ids, const mn_tokenizer *tokenizer,
                               const mn_input *in, unsigned flags) {
    static const char *const replaced[] = {"ids", NULL};
    const char *text;
    MN_TRY(mn_input_string(&text, in, "text"));
    ids->len = 0;
    MN_TRY(mn_tokenizer_encode(tokenizer, text, strlen(text), flags, ids));
    MN_TRY(mn_record_begin(out, in, replaced));
    return mn_record_ids(out, "ids", ids->data, ids->len);
}

/* The current object with the "text" of its ids added. */
static mn_status decode_record(mn_buf *out, mn_buf *text, mn_ids *ids,
                               const mn_tokenizer *tokenizer, const mn_input *in,
                               const mn_json *doc, bool skip_special) {
    static const char *const replaced[] = {"text", NULL};
    const cJSON *list, *item;
    MN_TRY(mn_json_array(&list, doc, doc->root, "ids"));
    ids->len = 0;
    cJSON_ArrayForEach(item, list) {
        int64_t id;
        MN_TRY(mn_json_as_i64(&id, doc, item, 0, mn_tokenizer_size(tokenizer) - 1));
        MN_TRY(mn_ids_push(ids, (int32_t)id));
    }
    mn_buf_clear(text);
    MN_TRY(mn_fail_in(mn_tokenizer_decode(tokenizer, ids->data, ids->len, skip_special, text), "%s",
                      doc->name));
    MN_TRY(mn_record_begin(out, in, replaced));
    MN_TRY(mn_record_key(out, "text"));
    return mn_json_quote(out, text->len ? text->data : "", text->len);
}

static mn_status run_file(const mn_tokenizer *tokenizer, const tokenize_options *o,
                          unsigned flags) {
    mn_status st = MN_OK;
    mn_input *in = NULL;
    mn_buf out = {0}, text = {0};
    mn_ids ids = {0};
    const mn_json *doc = NULL;
    MN_GOTO(mn_input_open(&in, o->jsonl));
    for (;;) {
        MN_GOTO(mn_input_next(in, &doc));
        if (!doc) break;
        mn_buf_clear(&out);
        if (o->decode)
            MN_GOTO(decode_record(&out, &text, &ids, tokenizer, in, doc, o->skip_special_tokens));
        else MN_GOTO(encode_record(&out, &ids, tokenizer, in, flags));
        MN_GOTO(mn_record_end(&out));
        MN_GOTO(mn_print(&out));
        if (mn_input_live(in)) MN_GOTO(mn_print_flush());
    }
done:
    mn_ids_free(&ids);
    mn_buf_free(&text);
    mn_buf_free(&out);
    mn_input_close(&in);
    return st;
}

static mn_status run(const mn_cli *cli, const void *options) {
    const tokenize_options *o = options;
    const unsigned flags = o->add_special_tokens ? MN_TOKENIZE_SPECIAL : 0;
    mn_tokenizer *tokenizer = NULL;
    (void)cli;
    MN_CHECK(!o->jsonl != !o->text, MN_ERR_USAGE, "one of --jsonl FILE and --text TEXT is needed");
    MN_CHECK(!(o->decode && o->text), MN_ERR_USAGE, "--decode reads ids: it needs --jsonl FILE");
    MN_CHECK(!(o->decode && o->add_special_tokens), MN_ERR_USAGE,
             "--add_special_tokens has no meaning with --decode");
    MN_CHECK(o->decode || !o->skip_special_tokens, MN_ERR_USAGE,
             "--skip_special_tokens has no meaning without --decode");
    MN_TRY(mn_tokenizer_open(&tokenizer, o->model));
    const mn_status st = o->text ? show_text(tokenizer, o->text, flags)
                                 : run_file(tokenizer, o, flags);
    mn_tokenizer_close(&tokenizer);
    return st;
}

static const mn_command command = {
    .name = "tokenize",
    .about =
        "Turns text into token ids, or ids into text with --decode. Every object comes out as it "
        "went in, with \"ids\" (or \"text\") added at its end.",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
    .examples = {"mneme tokenize --model pythia-70m --text \"A claim.\"",
                 "mneme tokenize --model pythia-70m --jsonl texts.jsonl > ids.jsonl",
                 "mneme tokenize --model pythia-70m --decode --jsonl - < ids.jsonl"},
    .run = run,
};

mn_status mn_cmd_tokenize(int argc, char **argv) {
    tokenize_options options;
    return mn_command_main(&command, &options, argc, argv);
}
