/* json_bpe.c - the model of tokenizer.json: vocabulary, merges and what to do with the unknown. */
#include "text/impl.h"

#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

/* Options that mneme has only at the value that says "not used". */
static mn_status check_unused(const mn_json *doc, const cJSON *model) {
    static const char *const keys[] = {"dropout", "continuing_subword_prefix",
                                       "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!mn_json_has(model, keys[i])) continue;
        const cJSON *node;
        MN_TRY(mn_json_get(&node, doc, model, keys[i]));
        const bool none = (cJSON_IsNumber(node) && node->valuedouble == 0) ||
                          (cJSON_IsString(node) && node->valuestring[0] == '\0');
        if (!none) return mn_json_unsupported(doc, node, "a value other than null");
    }
    return MN_OK;
}

static mn_status read_vocab(mn_tokenizer *t, const mn_json *doc, const cJSON *model) {
    const cJSON *vocab, *item;
    MN_TRY(mn_json_object(&vocab, doc, model, "vocab"));
    cJSON_ArrayForEach(item, vocab) {
        int64_t id;
        const char *text = item->string;
        const size_t len = strlen(text);
        MN_TRY(mn_json_as_i64(&id, doc, item, 0, MN_VOCAB_LIMIT - 1));
        if (mn_utf8_valid(text, len) != len)
            return mn_json_fail(doc, item, "the token of id %lld is malformed UTF-8",
                                (long long)id);
        if (mn_vocab_has(&t->vocab, (int32_t)id)) {
            size_t other_len;
            const char *other = mn_vocab_text(&t->vocab, (int32_t)id, &other_len);
            return mn_json_fail(doc, item, "id %lld already belongs to '%.*s'", (long long)id,
                                (int)(other_len < 100 ? other_len : 100), other);
        }
        if (mn_vocab_find(&t->vocab, text, len) >= 0)
            return mn_json_fail(doc, item, "the token '%.100s' is there twice", text);
        MN_TRY(mn_vocab_add(&t->vocab, text, len, (int32_t)id));
    }
    if (t->vocab.size == 0) return mn_json_fail(doc, vocab, "the vocabulary is empty");
    return MN_OK;
}

/* "a b" or ["a", "b"]. */
static mn_status parts_of(const mn_json *doc, const cJSON *item, const char *part[2],
                          size_t len[2]) {
    if (cJSON_IsArray(item)) {
        const cJSON *first = item->child, *second = first ? first->next : NULL;
        if (!second || second->next) return mn_json_fail(doc, item, "expected two tokens");
        MN_TRY(mn_json_as_string(&part[0], doc, first));
        MN_TRY(mn_json_as_string(&part[1], doc, second));
        len[0] = strlen(part[0]);
        len[1] = strlen(part[1]);
        return MN_OK;
    }
    const char *text;
    MN_TRY(mn_json_as_string(&text, doc, item));
    const char *space = strchr(text, ' ');
    if (!space || strchr(space + 1, ' '))
        return mn_json_fail(doc, item, "expected two tokens with a space between, found '%.100s'",
                            text);
    part[0] = text;
    len[0] = (size_t)(space - text);
    part[1] = space + 1;
    len[1] = strlen(space + 1);
    return MN_OK;
}

static mn_status read_merge(mn_tokenizer *t, const mn_json *doc, const cJSON *item, uint32_t rank,
                            mn_buf *both) {
    const char *part[2];
    size_t len[2];
    int32_t id[2];
    MN_TRY(parts_of(doc, item, part, len));
    mn_buf_clear(both);
    for (int i = 0; i < 2; i++) {
        id[i] = mn_vocab_find(&t->vocab, part[i], len[i]);
        if (id[i] < 0)
            return mn_json_fail(doc, item, "merges the unknown token '%.*s'",
                                (int)(len[i] < 100 ? len[i] : 100), part[i]);
        MN_TRY(mn_buf_append(both, part[i], len[i]));
    }
    const int32_t into = mn_vocab_find(&t->vocab, both->data, both->len);
    if (into < 0)
        return mn_json_fail(doc, item, "merges to the unknown token '%.100s'", both->data);
    return mn_bpe_add_merge(&t->bpe, id[0], id[1], rank, into, both->data, len[0], both->len);
}

static mn_status read_merges(mn_tokenizer *t, const mn_json *doc, const cJSON *model) {
    mn_status st = MN_OK;
    const cJSON *merges, *item;
    mn_buf both = {0};
    uint32_t rank = 0;
    MN_TRY(mn_json_array(&merges, doc, model, "merges"));
    cJSON_ArrayForEach(item, merges) {
        if (cJSON_IsString(item) && strncmp(item->valuestring, "#version", 8) == 0) continue;
        MN_GOTO(read_merge(t, doc, item, rank++, &both));
    }
done:
    mn_buf_free(&both);
    return st;
}

static mn_status read_unknown(mn_tokenizer *t, const mn_json *doc, const cJSON *model) {
    const char *unknown;
    MN_TRY(mn_json_string_or(&unknown, doc, model, "unk_token", NULL));
    t->bpe.unknown = -1;
    if (!unknown) return MN_OK;
    t->bpe.unknown = mn_vocab_find(&t->vocab, unknown, strlen(unknown));
    if (t->bpe.unknown < 0)
        return mn_json_fail(doc, model, "unk_token '%.100s' is not in the vocabulary", unknown);
    return MN_OK;
}

mn_status mn_json_bpe(mn_tokenizer *t, const mn_json *doc) {
    const cJSON *model;
    const char *type;
    mn_bpe *b = &t->bpe;
    MN_TRY(mn_json_object(&model, doc, doc->root, "model"));
    MN_TRY(mn_json_string_or(&type, doc, model, "type", "BPE"));
    if (strcmp(type, "BPE") != 0) {
        const cJSON *node;
        MN_TRY(mn_json_get(&node, doc, model, "type"));
        return mn_json_unsupported(doc, node, "a model other than BPE");
    }
    MN_TRY(check_unused(doc, model));
    MN_TRY(mn_json_bool_or(&b->fuse_unknown, doc, model, "fuse_unk", false));
    MN_TRY(mn_json_bool_or(&b->fallback, doc, model, "byte_fallback", false));
    MN_TRY(mn_json_bool_or(&b->whole_words, doc, model, "ignore_merges", false));
    b->bytes = t->pre.bytes;
    if (b->bytes && b->fallback) {
        const cJSON *node;
        MN_TRY(mn_json_get(&node, doc, model, "byte_fallback"));
        return mn_json_unsupported(doc, node, "byte_fallback together with ByteLevel");
    }
    MN_TRY(read_vocab(t, doc, model));
    MN_TRY(read_unknown(t, doc, model));
    MN_TRY(mn_bpe_symbols(b, &t->vocab));
    MN_TRY(read_merges(t, doc, model));
    return mn_bpe_words(b, &t->vocab);
}
