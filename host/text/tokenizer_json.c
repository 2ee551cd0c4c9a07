/* tokenizer_json.c - reads tokenizer.json, the format of Hugging Face tokenizers. Truncation and
 * padding are not looked at: they belong to a batch, not to a text. */
#include "text/impl.h"

#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

mn_status mn_json_unsupported(const mn_json *doc, const cJSON *node, const char *what) {
    mn_error_record record;
    char *value = cJSON_PrintUnformatted(node);
    mn_json_fail(doc, node, "%s is not supported: %.120s", what, value ? value : "?");
    cJSON_free(value);
    mn_error_save(&record);
    record.status = MN_ERR_UNSUPPORTED;
    return mn_error_restore(&record);
}

mn_status mn_json_text(const char **out, size_t *len, const mn_json *doc, const cJSON *obj,
                       const char *key, size_t limit) {
    MN_TRY(mn_json_string(out, doc, obj, key));
    *len = strlen(*out);
    if (mn_utf8_valid(*out, *len) != *len)
        return mn_json_fail(doc, obj, "\"%s\" is malformed UTF-8", key);
    if (*len > limit) {
        const cJSON *node;
        MN_TRY(mn_json_get(&node, doc, obj, key));
        return mn_json_unsupported(doc, node, "a string of this length");
    }
    return MN_OK;
}

/* cJSON ends a string at a NUL, so "\u0000" would silently cut a token short. */
static bool has_nul(const char *text, size_t len) {
    static const char nul[] = "\\u0000";
    const char *end = text + len;
    for (const char *at = text; (at = memmem(at, (size_t)(end - at), nul, 6)) != NULL; at++) {
        size_t slashes = 1;
        while (at - slashes + 1 > text && at[-(ptrdiff_t)slashes] == '\\') slashes++;
        if (slashes % 2) return true;
    }
    return false;
}

static const char *kind_of(const mn_tokenizer *t) {
    if (t->bpe.bytes) return "byte-level BPE";
    return t->bpe.fallback ? "BPE with byte fallback" : "BPE";
}

mn_status mn_tokenizer_read_json(mn_tokenizer *t, const char *text, size_t len) {
    mn_status st = MN_OK;
    mn_json *doc = NULL;
    const char *version;
    MN_CHECK(len == 0 || !has_nul(text, len), MN_ERR_UNSUPPORTED,
             "%s: a NUL character inside a string is not supported", t->name);
    MN_GOTO(mn_json_parse(&doc, text, len, t->name));
    MN_GOTO(mn_json_string_or(&version, doc, doc->root, "version", "1.0"));
    MN_CHECK_GOTO(strcmp(version, "1.0") == 0, MN_ERR_UNSUPPORTED,
                  "%s: $.version: only 1.0 is supported, found %.40s", t->name, version);
    MN_GOTO(mn_json_pipeline(t, doc));
    MN_GOTO(mn_json_bpe(t, doc));
    MN_GOTO(mn_json_added(t, doc));
    MN_GOTO(mn_json_template(t, doc));
    t->kind = kind_of(t);
done:
    mn_json_close(&doc);
    return st;
}
