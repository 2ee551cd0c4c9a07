/* texts.c - training texts as samples: pages and templates of a prepared folder, or a jsonl file. */
#include "train/samples.h"

#include "mneme/json.h"

#include <string.h>

static mn_status encode(mn_samples *s, const mn_tokenizer *tokenizer, const char *text,
                        unsigned flags) {
    return mn_tokenizer_encode(tokenizer, text, strlen(text), flags, &s->ids);
}

static mn_status end_text(mn_samples *s, const mn_tokenizer *tokenizer,
                          const mn_samples_options *o) {
    if (!o->append_eos) return MN_OK;
    const int32_t eos = mn_tokenizer_eos(tokenizer);
    MN_CHECK(eos >= 0, MN_ERR_USAGE, "append_eos: the tokenizer has no end token");
    return mn_ids_push(&s->ids, eos);
}

static mn_status add_page(mn_samples *s, const mn_fever_page *page, const mn_tokenizer *tokenizer,
                          const mn_samples_options *o) {
    const size_t begin = s->ids.len;
    mn_buf name = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_buf_printf(&name, "page %s", page->title));
    MN_GOTO(encode(s, tokenizer, page->text, MN_TOKENIZE_SPECIAL));
    MN_GOTO(end_text(s, tokenizer, o));
    st = mn_samples_chunks(s, begin, o, name.data);
done:
    mn_buf_free(&name);
    return st;
}

static mn_status add_template(mn_samples *s, const mn_fever *fever, const mn_fever_row *row,
                              const mn_tokenizer *tokenizer, const mn_samples_options *o,
                              mn_buf *text) {
    const mn_fever_page *page = &fever->pages[row->page];
    const size_t begin = s->ids.len;
    mn_buf name = {0};
    mn_status st = MN_OK;
    MN_GOTO(
        mn_buf_printf(&name, "training claim %lld on page %s", (long long)row->id, page->title));
    mn_buf_clear(text);
    MN_GOTO(mn_fail_in(mn_fever_prompt(text, page, o->num_fewshot, row->claim), "%s", name.data));
    MN_GOTO(encode(s, tokenizer, text->data, MN_TOKENIZE_SPECIAL));
    const int64_t prompt = (int64_t)(s->ids.len - begin);
    MN_GOTO(encode(s, tokenizer, mn_fever_candidates[row->label], MN_TOKENIZE_CONTINUE));
    st = mn_samples_whole(s, begin, o->template_loss == MN_LOSS_ALL ? 1 : prompt, o, name.data);
done:
    mn_buf_free(&name);
    return st;
}

mn_status mn_samples_fever(mn_samples **out, const mn_fever *fever, const mn_tokenizer *tokenizer,
                           const mn_samples_options *options) {
    mn_status st = MN_OK;
    mn_samples *s = NULL;
    mn_buf text = {0};
    *out = NULL;
    MN_GOTO(mn_samples_new(&s, options));
    if (options->method != MN_TRAIN_TEMPLATE)
        for (int64_t p = 0; p < fever->page_count; p++)
            MN_GOTO(add_page(s, &fever->pages[p], tokenizer, options));
    if (options->method != MN_TRAIN_WIKIPAGE)
        for (int64_t r = 0; r < fever->train_count; r++)
            MN_GOTO(add_template(s, fever, &fever->train[r], tokenizer, options, &text));
    MN_GOTO(mn_samples_finish(s, options, "the prepared folder"));
    *out = s;
    s = NULL;
done:
    mn_samples_close(&s);
    mn_buf_free(&text);
    return st;
}

/* ---- a jsonl file ---- */

static mn_status add_line(mn_samples *s, const mn_json *doc, const mn_tokenizer *tokenizer,
                          const mn_samples_options *o) {
    const size_t begin = s->ids.len;
    const char *text = NULL, *completion = NULL;
    MN_CHECK(cJSON_IsObject(doc->root), MN_ERR_DATA, "%s: a JSON object is expected", doc->name);
    if (mn_json_has(doc->root, "text")) {
        MN_TRY(mn_json_string(&text, doc, doc->root, "text"));
        MN_TRY(encode(s, tokenizer, text, MN_TOKENIZE_SPECIAL));
        MN_TRY(end_text(s, tokenizer, o));
        return mn_samples_chunks(s, begin, o, doc->name);
    }
    MN_CHECK(mn_json_has(doc->root, "prompt"), MN_ERR_DATA,
             "%s: expected \"text\", or \"prompt\" and \"completion\"", doc->name);
    MN_TRY(mn_json_string(&text, doc, doc->root, "prompt"));
    MN_TRY(mn_json_string(&completion, doc, doc->root, "completion"));
    MN_TRY(encode(s, tokenizer, text, MN_TOKENIZE_SPECIAL));
    const int64_t prompt = (int64_t)(s->ids.len - begin);
    MN_TRY(encode(s, tokenizer, completion, MN_TOKENIZE_CONTINUE));
    MN_TRY(end_text(s, tokenizer, o));
    return mn_samples_whole(s, begin, o->template_loss == MN_LOSS_ALL ? 1 : prompt, o, doc->name);
}

mn_status mn_samples_texts(mn_samples **out, const char *path, const mn_tokenizer *tokenizer,
                           const mn_samples_options *options) {
    mn_status st = MN_OK;
    mn_samples *s = NULL;
    mn_map *map = NULL;
    mn_json *doc = NULL;
    mn_buf name = {0};
    const char *line;
    size_t len;
    *out = NULL;
    MN_GOTO(mn_samples_new(&s, options));
    MN_GOTO(mn_map_open(&map, path));
    mn_lines lines = mn_lines_over(map->data, map->size);
    while (mn_lines_next(&lines, &line, &len)) {
        mn_json_close(&doc);
        mn_buf_clear(&name);
        MN_GOTO(mn_buf_printf(&name, "%s:%lld", path, (long long)lines.number));
        MN_GOTO(mn_json_parse(&doc, line, len, name.data));
        MN_GOTO(add_line(s, doc, tokenizer, options));
    }
    MN_GOTO(mn_samples_finish(s, options, path));
    *out = s;
    s = NULL;
done:
    mn_json_close(&doc);
    mn_map_close(&map);
    mn_samples_close(&s);
    mn_buf_free(&name);
    return st;
}
