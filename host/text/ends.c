/* ends.c - which tokens begin and end a text, where the tokenizer's own file does not say it. */
#include "text/impl.h"

#include "mneme/file.h"

#include <string.h>

static mn_status load_beside(mn_json **out, const char *folder, const char *name) {
    mn_buf path = {0};
    mn_status st = mn_path_join(&path, folder, name);
    *out = NULL;
    if (st == MN_OK && mn_file_exists(path.data)) st = mn_json_load(out, path.data);
    mn_buf_free(&path);
    return st;
}

/* "bos_token": "<s>" or {"content": "<s>", ...}. */
static mn_status by_text(int32_t *id, const mn_tokenizer *t, const mn_json *doc, const char *key) {
    const cJSON *node;
    const char *text;
    if (*id >= 0 || !mn_json_has(doc->root, key)) return MN_OK;
    MN_TRY(mn_json_get(&node, doc, doc->root, key));
    MN_TRY(cJSON_IsObject(node) ? mn_json_string(&text, doc, node, "content")
                                : mn_json_as_string(&text, doc, node));
    *id = mn_vocab_find(&t->vocab, text, strlen(text));
    if (*id < 0)
        return mn_json_fail(doc, node, "'%.100s' is not in the vocabulary of %s", text, t->name);
    return MN_OK;
}

/* "eos_token_id": 2 or [2, 3], of which the first one counts. */
static mn_status by_id(int32_t *id, const mn_tokenizer *t, const mn_json *doc, const char *key) {
    const cJSON *node;
    int64_t value;
    if (*id >= 0 || !mn_json_has(doc->root, key)) return MN_OK;
    MN_TRY(mn_json_get(&node, doc, doc->root, key));
    if (cJSON_IsArray(node) && node->child) node = node->child;
    MN_TRY(mn_json_as_i64(&value, doc, node, INT32_MIN, INT32_MAX));
    if (value < 0) return MN_OK;
    if (!mn_vocab_has(&t->vocab, (int32_t)value))
        return mn_json_fail(doc, node, "the id %lld is not in the vocabulary of %s",
                            (long long)value, t->name);
    *id = (int32_t)value;
    return MN_OK;
}

static mn_status template_switch(const mn_json *doc, const char *key, int32_t id, mn_ids *where) {
    bool add;
    MN_TRY(mn_json_bool_or(&add, doc, doc->root, key, where->len > 0));
    if (add == (where->len > 0)) return MN_OK;
    where->len = 0;
    return add && id >= 0 ? mn_ids_push(where, id) : MN_OK;
}

static mn_status from_files(mn_tokenizer *t, const char *folder, bool sentencepiece) {
    mn_status st = MN_OK;
    mn_json *doc = NULL;
    MN_GOTO(load_beside(&doc, folder, "tokenizer_config.json"));
    if (doc) {
        MN_GOTO(by_text(&t->bos, t, doc, "bos_token"));
        MN_GOTO(by_text(&t->eos, t, doc, "eos_token"));
        if (sentencepiece) {
            MN_GOTO(template_switch(doc, "add_bos_token", t->bos, &t->prefix));
            MN_GOTO(template_switch(doc, "add_eos_token", t->eos, &t->suffix));
        }
    }
    mn_json_close(&doc);
    MN_GOTO(load_beside(&doc, folder, "config.json"));
    if (doc) {
        MN_GOTO(by_id(&t->bos, t, doc, "bos_token_id"));
        MN_GOTO(by_id(&t->eos, t, doc, "eos_token_id"));
    }
done:
    mn_json_close(&doc);
    return st;
}

static void by_name(int32_t *id, const mn_tokenizer *t, const char *const *names, size_t count) {
    for (size_t i = 0; *id < 0 && i < count; i++) {
        const int32_t found = mn_vocab_find(&t->vocab, names[i], strlen(names[i]));
        if (found >= 0 && t->special[found]) *id = found;
    }
}

mn_status mn_tokenizer_find_ends(mn_tokenizer *t, const char *folder, bool sentencepiece) {
    static const char *const starts[] = {"<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"};
    static const char *const ends[] = {"</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"};
    if (folder) MN_TRY(from_files(t, folder, sentencepiece));
    if (sentencepiece) return MN_OK; /* its file names them */
    if (t->bos < 0 && t->prefix.len) t->bos = t->prefix.data[0];
    by_name(&t->bos, t, starts, sizeof starts / sizeof *starts);
    by_name(&t->eos, t, ends, sizeof ends / sizeof *ends);
    return MN_OK;
}
