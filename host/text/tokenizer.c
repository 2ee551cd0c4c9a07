/* tokenizer.c - opens and closes tokenizers, ids back to text, the small questions. */
#include "text/impl.h"

#include "mneme/file.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 1 << 28 };

typedef mn_status (*read_fn)(mn_tokenizer *t, const char *data, size_t len);

static mn_status read_json(mn_tokenizer *t, const char *data, size_t len) {
    return mn_tokenizer_read_json(t, data, len);
}

static mn_status read_model(mn_tokenizer *t, const char *data, size_t len) {
    return mn_tokenizer_read_model(t, data, len);
}

static mn_status open_with(mn_tokenizer **out, read_fn read, const void *data, size_t len,
                           const char *name, const char *folder) {
    mn_status st = MN_OK;
    mn_tokenizer *t = calloc(1, sizeof *t);
    *out = NULL;
    MN_CHECK_GOTO(t && (t->name = strdup(name)), MN_ERR_MEMORY, "%s: no memory", name);
    t->bos = t->eos = -1;
    MN_CHECK_GOTO(len <= FILE_LIMIT, MN_ERR_UNSUPPORTED,
                  "%s: a tokenizer of %zu bytes is not supported", name, len);
    MN_GOTO(read(t, data, len));
    MN_GOTO(mn_tokenizer_find_ends(t, folder, read == read_model));
    *out = t;
    t = NULL;
done:
    mn_tokenizer_close(&t);
    return st;
}

mn_status mn_tokenizer_from_json(mn_tokenizer **out, const char *text, size_t len,
                                 const char *name) {
    return open_with(out, read_json, text, len, name, NULL);
}

mn_status mn_tokenizer_from_model(mn_tokenizer **out, const void *data, size_t len,
                                  const char *name) {
    return open_with(out, read_model, data, len, name, NULL);
}

/* By its name; a file of another name is JSON when it starts as an object. */
static bool is_model(const mn_map *map) {
    const size_t len = strlen(map->path);
    if (len >= 6 && strcmp(map->path + len - 6, ".model") == 0) return true;
    if (len >= 5 && strcmp(map->path + len - 5, ".json") == 0) return false;
    size_t i = 0;
    while (i < map->size && memchr(" \t\r\n", map->data[i], 4)) i++;
    return i == map->size || map->data[i] != '{';
}

static mn_status open_file(mn_tokenizer **out, const char *path) {
    mn_status st = MN_OK;
    mn_map *map = NULL;
    char *folder = NULL;
    const char *slash = strrchr(path, '/');
    MN_GOTO(mn_map_open(&map, path));
    folder = slash == path ? mn_strdup_n("/", 1)
             : slash       ? mn_strdup_n(path, (size_t)(slash - path))
                           : mn_strdup_n(".", 1);
    MN_CHECK_GOTO(folder, MN_ERR_MEMORY, "%s: no memory", path);
    MN_GOTO(
        open_with(out, is_model(map) ? read_model : read_json, map->data, map->size, path, folder));
done:
    free(folder);
    mn_map_close(&map);
    return st;
}

mn_status mn_tokenizer_open(mn_tokenizer **out, const char *path) {
    static const char *const names[] = {"tokenizer.json", "tokenizer.model"};
    *out = NULL;
    if (!mn_dir_exists(path)) return open_file(out, path);
    mn_status st = MN_OK;
    mn_buf file = {0};
    for (size_t i = 0; i < 2; i++) {
        MN_GOTO(mn_path_join(&file, path, names[i]));
        if (!mn_file_exists(file.data)) continue;
        MN_GOTO(open_file(out, file.data));
        goto done;
    }
    st = mn_fail(MN_ERR_IO, "%s: neither tokenizer.json nor tokenizer.model is there", path);
done:
    mn_buf_free(&file);
    return st;
}

void mn_tokenizer_close(mn_tokenizer **tokenizer) {
    mn_tokenizer *t = *tokenizer;
    if (!t) return;
    mn_ids_free(&t->suffix);
    mn_ids_free(&t->prefix);
    mn_bpe_free(&t->bpe);
    mn_pretokenizer_free(&t->pre);
    mn_normalizer_free(&t->normalizer);
    mn_matcher_free(&t->added_normalized);
    mn_matcher_free(&t->added_raw);
    free(t->special);
    mn_vocab_free(&t->vocab);
    free(t->name);
    free(t);
    *tokenizer = NULL;
}

static mn_status add_token(const mn_tokenizer *t, int32_t id, mn_parts *parts) {
    MN_CHECK(mn_vocab_has(&t->vocab, id), MN_ERR_DATA, "%s: no token has the id %d", t->name,
             (int)id);
    size_t len;
    const char *text = mn_vocab_text(&t->vocab, id, &len);
    return mn_parts_add(parts, text, len);
}

mn_status mn_tokenizer_decode(const mn_tokenizer *t, const int32_t *ids, size_t count,
                              bool skip_special, mn_buf *out) {
    mn_status st = MN_OK;
    const size_t begin = out->len;
    mn_parts parts = {0};
    MN_TRY(mn_buf_append(out, "", 0)); /* a NUL even behind nothing */
    for (size_t i = 0; i < count; i++)
        if (!skip_special || !mn_vocab_has(&t->vocab, ids[i]) || !t->special[ids[i]])
            MN_GOTO(add_token(t, ids[i], &parts));
    MN_GOTO(mn_decode(&t->decoder, &parts, false, out));
done:
    if (st != MN_OK) {
        out->len = begin;
        out->data[begin] = '\0';
    }
    mn_parts_free(&parts);
    return st;
}

mn_status mn_tokenizer_piece(const mn_tokenizer *t, int32_t id, mn_buf *out) {
    mn_parts parts = {0};
    mn_status st = add_token(t, id, &parts);
    if (st == MN_OK) st = mn_decode(&t->decoder, &parts, true, out);
    mn_parts_free(&parts);
    return st;
}

int32_t mn_tokenizer_size(const mn_tokenizer *t) { return t->vocab.size; }
int32_t mn_tokenizer_bos(const mn_tokenizer *t) { return t->bos; }
int32_t mn_tokenizer_eos(const mn_tokenizer *t) { return t->eos; }
const char *mn_tokenizer_kind(const mn_tokenizer *t) { return t->kind; }
