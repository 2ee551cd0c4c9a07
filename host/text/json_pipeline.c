/* json_pipeline.c - normalizer, pre_tokenizer and decoder of tokenizer.json. */
#include "text/impl.h"

#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { NESTING = 8, NORM_STEPS = 16 };

static mn_status type_of(const char **type, const mn_json *doc, const cJSON *node) {
    return mn_json_string(type, doc, node, "type");
}

static bool is(const char *type, const char *name) { return strcmp(type, name) == 0; }

/* {"String": "..."}, at most MN_REPLACE_LIMIT bytes and not empty. */
static mn_status string_pattern(const char **out, size_t *len, const mn_json *doc,
                                const cJSON *node) {
    const cJSON *pattern;
    MN_TRY(mn_json_object(&pattern, doc, node, "pattern"));
    if (!mn_json_has(pattern, "String"))
        return mn_json_unsupported(doc, pattern, "a pattern that is no String");
    MN_TRY(mn_json_text(out, len, doc, pattern, "String", MN_REPLACE_LIMIT));
    return *len ? MN_OK : mn_json_fail(doc, pattern, "an empty pattern");
}

/* A string of one character. */
static mn_status character(const char **out, size_t *len, const mn_json *doc, const cJSON *node,
                           const char *key) {
    MN_TRY(mn_json_text(out, len, doc, node, key, 4));
    if (*len == 0 || mn_utf8_size((*out)[0]) != *len)
        return mn_json_fail(doc, node, "\"%s\" is not one character", key);
    return MN_OK;
}

static mn_status normalizer(mn_tokenizer *t, const mn_json *doc, const cJSON *node, int depth) {
    const char *type, *from = NULL, *to = NULL;
    size_t from_len = 0, to_len = 0;
    if (cJSON_IsNull(node)) return MN_OK;
    MN_TRY(type_of(&type, doc, node));
    if (is(type, "Sequence")) {
        const cJSON *list, *item;
        if (depth == NESTING) return mn_json_unsupported(doc, node, "nesting this deep");
        MN_TRY(mn_json_array(&list, doc, node, "normalizers"));
        cJSON_ArrayForEach(item, list) MN_TRY(normalizer(t, doc, item, depth + 1));
        return MN_OK;
    }
    if (t->normalizer.count == NORM_STEPS)
        return mn_json_unsupported(doc, node, "a longer list of steps");
    if (is(type, "NFC")) return mn_normalizer_add(&t->normalizer, MN_NORM_NFC, NULL, 0, NULL, 0);
    if (is(type, "Prepend")) {
        MN_TRY(mn_json_text(&to, &to_len, doc, node, "prepend", MN_REPLACE_LIMIT));
        return mn_normalizer_add(&t->normalizer, MN_NORM_PREPEND, NULL, 0, to, to_len);
    }
    if (!is(type, "Replace")) return mn_json_unsupported(doc, node, "this normalizer");
    MN_TRY(string_pattern(&from, &from_len, doc, node));
    MN_TRY(mn_json_text(&to, &to_len, doc, node, "content", MN_REPLACE_LIMIT));
    return mn_normalizer_add(&t->normalizer, MN_NORM_REPLACE, from, from_len, to, to_len);
}

static mn_status byte_stage(mn_pre_stage *s, const mn_json *doc, const cJSON *node) {
    bool space, cut;
    MN_TRY(mn_json_bool_or(&space, doc, node, "add_prefix_space", true));
    MN_TRY(mn_json_bool_or(&cut, doc, node, "use_regex", true));
    s->kind = MN_PRE_BYTES;
    s->prepend = space ? MN_PREPEND_ALWAYS : MN_PREPEND_NEVER;
    s->mark[0] = ' ';
    s->mark_len = 1;
    return cut ? mn_regex_gpt2(&s->regex) : MN_OK;
}

static mn_status split_stage(mn_pre_stage *s, const mn_json *doc, const cJSON *node) {
    const char *behavior, *text;
    const cJSON *pattern;
    size_t len;
    MN_TRY(mn_json_string(&behavior, doc, node, "behavior"));
    if (!is(behavior, "Isolated"))
        return mn_json_unsupported(doc, node, "a behavior other than Isolated");
    MN_TRY(mn_json_object(&pattern, doc, node, "pattern"));
    s->kind = MN_PRE_SPLIT;
    const bool plain = mn_json_has(pattern, "String");
    MN_TRY(mn_json_text(&text, &len, doc, pattern, plain ? "String" : "Regex", SIZE_MAX));
    return mn_fail_in(mn_regex_compile(&s->regex, text, plain ? MN_REGEX_LITERAL : MN_REGEX_ONIG),
                      "%s: the Split pre_tokenizer", doc->name);
}

/* prepend_scheme, or the older add_prefix_space: false. */
static mn_status prepend_of(mn_prepend *out, const mn_json *doc, const cJSON *node) {
    const char *scheme;
    bool space;
    MN_TRY(mn_json_bool_or(&space, doc, node, "add_prefix_space", true));
    MN_TRY(mn_json_string_or(&scheme, doc, node, "prepend_scheme", space ? "always" : "never"));
    if (is(scheme, "always")) *out = MN_PREPEND_ALWAYS;
    else if (is(scheme, "first")) *out = MN_PREPEND_FIRST;
    else if (is(scheme, "never")) *out = MN_PREPEND_NEVER;
    else return mn_json_unsupported(doc, node, "this prepend_scheme");
    if (!space && *out != MN_PREPEND_NEVER)
        return mn_json_fail(doc, node, "add_prefix_space is false, prepend_scheme is \"%s\"",
                            scheme);
    return MN_OK;
}

static mn_status metaspace_stage(mn_pre_stage *s, const mn_json *doc, const cJSON *node) {
    const char *mark;
    s->kind = MN_PRE_METASPACE;
    MN_TRY(character(&mark, &s->mark_len, doc, node, "replacement"));
    memcpy(s->mark, mark, s->mark_len);
    MN_TRY(prepend_of(&s->prepend, doc, node));
    return mn_json_bool_or(&s->cut, doc, node, "split", true);
}

static mn_status pre_tokenizer(mn_tokenizer *t, const mn_json *doc, const cJSON *node, int depth) {
    const char *type;
    if (cJSON_IsNull(node)) return MN_OK;
    MN_TRY(type_of(&type, doc, node));
    if (is(type, "Sequence")) {
        const cJSON *list, *item;
        if (depth == NESTING) return mn_json_unsupported(doc, node, "nesting this deep");
        MN_TRY(mn_json_array(&list, doc, node, "pretokenizers"));
        cJSON_ArrayForEach(item, list) MN_TRY(pre_tokenizer(t, doc, item, depth + 1));
        return MN_OK;
    }
    if (t->pre.count == MN_PRE_STAGES)
        return mn_json_unsupported(doc, node, "a longer list of stages");
    if (t->pre.bytes) return mn_json_unsupported(doc, node, "a stage behind ByteLevel");
    mn_pre_stage *s = &t->pre.stages[t->pre.count++];
    if (is(type, "ByteLevel")) {
        t->pre.bytes = true;
        return byte_stage(s, doc, node);
    }
    if (is(type, "Split")) return split_stage(s, doc, node);
    if (is(type, "Metaspace")) return metaspace_stage(s, doc, node);
    return mn_json_unsupported(doc, node, "this pre_tokenizer");
}

static mn_status decoder_step(mn_dec_step *s, const mn_json *doc, const cJSON *node,
                              const char *type) {
    const char *from = NULL, *to = NULL;
    int64_t start, stop;
    if (is(type, "ByteLevel")) s->kind = MN_DEC_BYTES;
    else if (is(type, "ByteFallback")) s->kind = MN_DEC_FALLBACK;
    else if (is(type, "Fuse")) s->kind = MN_DEC_FUSE;
    else if (is(type, "Replace")) {
        s->kind = MN_DEC_REPLACE;
        MN_TRY(string_pattern(&from, &s->from_len, doc, node));
        MN_TRY(mn_json_text(&to, &s->to_len, doc, node, "content", MN_REPLACE_LIMIT));
    } else if (is(type, "Strip")) {
        s->kind = MN_DEC_STRIP;
        MN_TRY(character(&from, &s->from_len, doc, node, "content"));
        MN_TRY(mn_json_i64(&start, doc, node, "start", 0, INT32_MAX));
        MN_TRY(mn_json_i64(&stop, doc, node, "stop", 0, INT32_MAX));
        s->start = (size_t)start;
        s->stop = (size_t)stop;
    } else if (is(type, "Metaspace")) {
        mn_prepend prepend;
        s->kind = MN_DEC_METASPACE;
        MN_TRY(character(&from, &s->from_len, doc, node, "replacement"));
        MN_TRY(prepend_of(&prepend, doc, node));
        s->start = prepend != MN_PREPEND_NEVER;
    } else return mn_json_unsupported(doc, node, "this decoder");
    if (from) memcpy(s->from, from, s->from_len);
    if (to) memcpy(s->to, to, s->to_len);
    return MN_OK;
}

static mn_status decoder(mn_tokenizer *t, const mn_json *doc, const cJSON *node, int depth) {
    const char *type;
    MN_TRY(type_of(&type, doc, node));
    if (is(type, "Sequence")) {
        const cJSON *list, *item;
        if (depth == NESTING) return mn_json_unsupported(doc, node, "nesting this deep");
        MN_TRY(mn_json_array(&list, doc, node, "decoders"));
        cJSON_ArrayForEach(item, list) MN_TRY(decoder(t, doc, item, depth + 1));
        return MN_OK;
    }
    if (t->decoder.count == MN_DECODE_STEPS)
        return mn_json_unsupported(doc, node, "a longer list of steps");
    return decoder_step(&t->decoder.steps[t->decoder.count++], doc, node, type);
}

mn_status mn_json_pipeline(mn_tokenizer *t, const mn_json *doc) {
    const cJSON *node;
    if (mn_json_has(doc->root, "normalizer")) {
        MN_TRY(mn_json_get(&node, doc, doc->root, "normalizer"));
        MN_TRY(normalizer(t, doc, node, 0));
    }
    if (mn_json_has(doc->root, "pre_tokenizer")) {
        MN_TRY(mn_json_get(&node, doc, doc->root, "pre_tokenizer"));
        MN_TRY(pre_tokenizer(t, doc, node, 0));
    }
    t->decoder.spaced = !mn_json_has(doc->root, "decoder");
    if (t->decoder.spaced) return MN_OK;
    MN_TRY(mn_json_get(&node, doc, doc->root, "decoder"));
    return decoder(t, doc, node, 0);
}
