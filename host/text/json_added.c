/* json_added.c - added tokens and the template of tokenizer.json. */
#include "text/impl.h"

#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef struct added {
    const char *text;
    size_t len;
    int32_t id;
    unsigned strip;
    bool special, normalized;
} added;

static mn_status read_added(added *a, const mn_json *doc, const cJSON *node) {
    int64_t id;
    bool left, right, single;
    MN_TRY(mn_json_i64(&id, doc, node, "id", 0, MN_VOCAB_LIMIT - 1));
    MN_TRY(mn_json_text(&a->text, &a->len, doc, node, "content", MN_MATCH_LIMIT));
    if (a->len == 0) return mn_json_fail(doc, node, "\"content\" is empty");
    MN_TRY(mn_json_bool_or(&a->special, doc, node, "special", false));
    MN_TRY(mn_json_bool_or(&a->normalized, doc, node, "normalized", !a->special));
    MN_TRY(mn_json_bool_or(&left, doc, node, "lstrip", false));
    MN_TRY(mn_json_bool_or(&right, doc, node, "rstrip", false));
    MN_TRY(mn_json_bool_or(&single, doc, node, "single_word", false));
    if (single) return mn_json_unsupported(doc, node, "single_word");
    a->id = (int32_t)id;
    a->strip = (left ? MN_STRIP_LEFT : 0u) | (right ? MN_STRIP_RIGHT : 0u);
    return MN_OK;
}

/* A token that the model has keeps its id; another one may not take an id that is used. */
static mn_status add_to_vocab(mn_tokenizer *t, const added *a, const mn_json *doc,
                              const cJSON *node) {
    const int32_t known = mn_vocab_find(&t->vocab, a->text, a->len);
    if (known == a->id) return MN_OK;
    if (known >= 0)
        return mn_json_fail(doc, node, "'%.100s' has the id %d in the vocabulary, %d here", a->text,
                            (int)known, (int)a->id);
    if (mn_vocab_has(&t->vocab, a->id)) {
        size_t len;
        const char *other = mn_vocab_text(&t->vocab, a->id, &len);
        return mn_json_fail(doc, node, "the id %d of '%.100s' already belongs to '%.*s'",
                            (int)a->id, a->text, (int)(len < 100 ? len : 100), other);
    }
    return mn_vocab_add(&t->vocab, a->text, a->len, a->id);
}

/* Into the matcher it belongs to. A token that is looked for in normalized text is normalized too:
 * with Llama's normalizer "</s>" becomes a metaspace and "</s>". */
static mn_status add_to_matcher(mn_tokenizer *t, const added *a, mn_buf buf[2], const mn_json *doc,
                                const cJSON *node) {
    const char *text = a->text;
    size_t len = a->len;
    if (!a->normalized) return mn_matcher_add(&t->added_raw, text, len, a->id, a->strip);
    MN_TRY(mn_normalize(&t->normalizer, buf, a->text, a->len, false, &text, &len));
    if (len > MN_MATCH_LIMIT) return mn_json_unsupported(doc, node, "a token of this length");
    if (len == 0) return MN_OK;
    return mn_matcher_add(&t->added_normalized, text, len, a->id, a->strip);
}

mn_status mn_json_added(mn_tokenizer *t, const mn_json *doc) {
    mn_status st = MN_OK;
    mn_buf buf[2] = {{0}, {0}};
    const cJSON *list = NULL, *node;
    added a;
    if (mn_json_has(doc->root, "added_tokens"))
        MN_TRY(mn_json_array(&list, doc, doc->root, "added_tokens"));
    cJSON_ArrayForEach(node, list) {
        MN_GOTO(read_added(&a, doc, node));
        MN_GOTO(add_to_vocab(t, &a, doc, node));
    }
    t->special = calloc((size_t)t->vocab.size, sizeof *t->special);
    MN_CHECK_GOTO(t->special, MN_ERR_MEMORY, "%s: no memory", doc->name);
    for (int special = 1; special >= 0; special--) /* of equal texts the special one counts */
        cJSON_ArrayForEach(node, list) {
            MN_GOTO(read_added(&a, doc, node));
            if (a.special != special) continue;
            t->special[a.id] = t->special[a.id] || a.special;
            MN_GOTO(add_to_matcher(t, &a, buf, doc, node));
        }
done:
    mn_buf_free(&buf[0]);
    mn_buf_free(&buf[1]);
    return st;
}

/* The ids that stand for one special token of a template. */
static mn_status template_ids(mn_tokenizer *t, const mn_json *doc, const cJSON *node,
                              const cJSON *token, mn_ids *out) {
    const cJSON *table, *entry, *ids, *item;
    const char *name;
    MN_TRY(mn_json_string(&name, doc, token, "id"));
    MN_TRY(mn_json_object(&table, doc, node, "special_tokens"));
    MN_TRY(mn_json_object(&entry, doc, table, name));
    MN_TRY(mn_json_array(&ids, doc, entry, "ids"));
    cJSON_ArrayForEach(item, ids) {
        int64_t id;
        MN_TRY(mn_json_as_i64(&id, doc, item, 0, INT32_MAX));
        if (!mn_vocab_has(&t->vocab, (int32_t)id))
            return mn_json_fail(doc, item, "the id %lld is not in the vocabulary", (long long)id);
        MN_TRY(mn_ids_push(out, (int32_t)id));
    }
    return MN_OK;
}

static mn_status read_template(mn_tokenizer *t, const mn_json *doc, const cJSON *node) {
    const cJSON *single, *item;
    bool text_seen = false;
    if (t->prefix.len || t->suffix.len) return mn_json_unsupported(doc, node, "two templates");
    MN_TRY(mn_json_array(&single, doc, node, "single"));
    cJSON_ArrayForEach(item, single) {
        const cJSON *part;
        if (mn_json_has(item, "Sequence")) {
            if (text_seen) return mn_json_unsupported(doc, item, "the text twice");
            text_seen = true;
            continue;
        }
        MN_TRY(mn_json_object(&part, doc, item, "SpecialToken"));
        MN_TRY(template_ids(t, doc, node, part, text_seen ? &t->suffix : &t->prefix));
    }
    if (!text_seen) return mn_json_unsupported(doc, single, "a template without the text");
    return MN_OK;
}

static mn_status post_processor(mn_tokenizer *t, const mn_json *doc, const cJSON *node, int depth) {
    const char *type;
    MN_TRY(mn_json_string(&type, doc, node, "type"));
    if (strcmp(type, "ByteLevel") == 0) return MN_OK; /* only offsets */
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(t, doc, node);
    if (strcmp(type, "Sequence") != 0 || depth > 0)
        return mn_json_unsupported(doc, node, "this post_processor");
    const cJSON *list, *item;
    MN_TRY(mn_json_array(&list, doc, node, "processors"));
    cJSON_ArrayForEach(item, list) MN_TRY(post_processor(t, doc, item, depth + 1));
    return MN_OK;
}

mn_status mn_json_template(mn_tokenizer *t, const mn_json *doc) {
    const cJSON *node;
    if (!mn_json_has(doc->root, "post_processor")) return MN_OK;
    MN_TRY(mn_json_get(&node, doc, doc->root, "post_processor"));
    return post_processor(t, doc, node, 0);
}
