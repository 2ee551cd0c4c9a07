/* shards.c - reads model.safetensors.index.json and pytorch_model.bin.index.json, compares them with
 * what the shards hold. */
#include "io/shards.h"

#include <stdlib.h>
#include <string.h>

static mn_status load(mn_json **out, const char *path) {
    mn_map *map = NULL;
    MN_TRY(mn_map_open(&map, path));
    mn_status st = mn_refuse_lfs_pointer(map->data, map->size, path);
    if (st == MN_OK) st = mn_json_parse(out, (const char *)map->data, map->size, path);
    mn_map_close(&map);
    return st;
}

/* The index comes from outside: it must not lead out of its folder. */
static bool plain_name(const char *name) {
    return *name && strcmp(name, ".") != 0 && !strpbrk(name, "/\\") && !strstr(name, "..");
}

static mn_status read_rows(mn_shards *s, const cJSON *map) {
    const cJSON *node;
    size_t count = 0;
    cJSON_ArrayForEach(node, map) count++;
    MN_CHECK(count > 0, MN_ERR_DATA, "%s: weight_map: expected tensors, found none", s->doc->name);
    s->rows = calloc(count, sizeof *s->rows);
    s->files = calloc(count, sizeof *s->files);
    MN_CHECK(s->rows && s->files, MN_ERR_MEMORY, "%s: no memory for %zu names", s->doc->name,
             count);
    cJSON_ArrayForEach(node, map) {
        const mn_shown tensor = mn_show(node->string, strlen(node->string));
        MN_CHECK(cJSON_IsString(node), MN_ERR_DATA,
                 "%s: weight_map: tensor %s: expected the name of a file, found something else",
                 s->doc->name, tensor.text);
        MN_CHECK(plain_name(node->valuestring), MN_ERR_DATA,
                 "%s: weight_map: tensor %s: expected the name of a file in the same folder, found "
                 "%s",
                 s->doc->name, tensor.text,
                 mn_show(node->valuestring, strlen(node->valuestring)).text);
        s->rows[s->len] = (mn_shard_row){node->string, node->valuestring};
        s->files[s->len++] = node->valuestring;
    }
    return MN_OK;
}

static int by_tensor(const void *a, const void *b) {
    return strcmp(((const mn_shard_row *)a)->tensor, ((const mn_shard_row *)b)->tensor);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

mn_status mn_shards_open(mn_shards *out, const char *index_path) {
    mn_status st = MN_OK;
    const cJSON *map = NULL;
    const char *twice = NULL;
    *out = (mn_shards){0};
    MN_GOTO(load(&out->doc, index_path));
    MN_GOTO(mn_json_object(&map, out->doc, out->doc->root, "weight_map"));
    MN_GOTO(mn_json_twice(&twice, out->doc->root));
    MN_CHECK_GOTO(!twice, MN_ERR_DATA, "%s: key %s: expected once, found twice", index_path,
                  mn_show(twice, strlen(twice)).text);
    MN_GOTO(mn_json_twice(&twice, map));
    MN_CHECK_GOTO(!twice, MN_ERR_DATA, "%s: weight_map: tensor %s: expected once, found twice",
                  index_path, mn_show(twice, strlen(twice)).text);
    MN_GOTO(read_rows(out, map));
    qsort(out->rows, out->len, sizeof *out->rows, by_tensor);
    qsort(out->files, out->len, sizeof *out->files, by_text);
    for (size_t i = 0; i < out->len; i++)
        if (i == 0 || strcmp(out->files[i], out->files[out->files_len - 1]) != 0)
            out->files[out->files_len++] = out->files[i];
done:
    if (st != MN_OK) mn_shards_close(out);
    return st;
}

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

mn_status mn_shards_check(const mn_shards *s, const mn_entries *found) {
    size_t row = 0, entry = 0;
    while (row < s->len || entry < found->len) { /* both by name: walk them side by side */
        const mn_shard_row *want = row < s->len ? &s->rows[row] : NULL;
        const mn_stored *have = entry < found->len ? &found->data[entry].stored : NULL;
        const int order = !want ? 1 : !have ? -1 : strcmp(want->tensor, have->name);
        MN_CHECK(order >= 0, MN_ERR_DATA, "%s: tensor %s: expected in %s, found in no shard",
                 s->doc->name, mn_show(want->tensor, strlen(want->tensor)).text,
                 mn_show(want->file, strlen(want->file)).text);
        const mn_shown name = mn_show(have->name, strlen(have->name));
        MN_CHECK(order <= 0, MN_ERR_DATA,
                 "%s: tensor %s: found in the file, but weight_map in %s does not name it",
                 have->file, name.text, s->doc->name);
        MN_CHECK(strcmp(want->file, file_name(have->file)) == 0, MN_ERR_DATA,
                 "%s: tensor %s: expected in %s, found in %s", s->doc->name, name.text,
                 mn_show(want->file, strlen(want->file)).text, have->file);
        row++;
        entry++;
    }
    return MN_OK;
}

void mn_shards_close(mn_shards *s) {
    free(s->files);
    free(s->rows);
    mn_json_close(&s->doc);
    *s = (mn_shards){0};
}
