/* checkpoint.c - a Hugging Face folder or one file of it: picks the files, maps them, lets the reader
 * of their kind list the tensors, and finds tensors by name. */
#include "mneme/checkpoint.h"

#include "io/entries.h"
#include "io/safetensors.h"
#include "io/shards.h"
#include "io/torch_bin.h"

#include <stdlib.h>
#include <string.h>

typedef mn_status (*reader)(mn_entries *list, const unsigned char *data, size_t size,
                            const char *file);

typedef struct file_kind {
    const char *name, *file, *index; /* of the format; of its files in a folder */
    reader read;
} file_kind;

static const file_kind safetensors = {"safetensors", "model.safetensors",
                                      "model.safetensors.index.json", mn_safetensors_read};
static const file_kind pytorch = {"pytorch", "pytorch_model.bin", "pytorch_model.bin.index.json",
                                  mn_torch_bin_read};

struct mn_checkpoint {
    char *path;
    const file_kind *kind;
    mn_map **maps;
    size_t maps_len, maps_cap;
    mn_entries all;   /* by name; owns the names */
    mn_stored *items; /* those of `all` that are not refused */
    int64_t count;
};

static mn_status begin(mn_checkpoint **out, const char *path) {
    mn_checkpoint *c = calloc(1, sizeof *c);
    *out = c;
    MN_CHECK(c && (c->path = strdup(path)), MN_ERR_MEMORY, "%s: no memory", path);
    return MN_OK;
}

/* Hands the filled checkpoint over, or closes it. */
static mn_status finish(mn_checkpoint **out, mn_checkpoint **from, mn_status st) {
    mn_checkpoint *c = *from;
    if (st != MN_OK) goto done;
    c->items = malloc((c->all.len + 1) * sizeof *c->items);
    MN_CHECK_GOTO(c->items, MN_ERR_MEMORY, "%s: no memory for %zu tensors", c->path, c->all.len);
    for (size_t i = 0; i < c->all.len; i++)
        if (!c->all.data[i].refused) c->items[c->count++] = c->all.data[i].stored;
    *out = c;
    *from = NULL;
done:
    mn_checkpoint_close(from);
    return st;
}

static const file_kind *guess(const char *path, const unsigned char *data, size_t size) {
    const size_t len = strlen(path), tail = strlen(".safetensors");
    if (len >= tail && strcmp(path + len - tail, ".safetensors") == 0) return &safetensors;
    return size > 8 && data[8] == '{' ? &safetensors : &pytorch;
}

/* `kind` NULL: by name and contents. */
static mn_status add_file(mn_checkpoint *c, const char *path, const file_kind *kind) {
    mn_map *map = NULL;
    MN_TRY(mn_grow(&c->maps, &c->maps_cap, c->maps_len + 1, sizeof *c->maps));
    MN_TRY(mn_map_open(&map, path));
    c->maps[c->maps_len++] = map;
    c->kind = kind ? kind : guess(path, map->data, map->size);
    return c->kind->read(&c->all, map->data, map->size, map->path);
}

static mn_status add_shards(mn_checkpoint *c, const char *dir, const char *index_path,
                            const file_kind *kind) {
    mn_shards shards = {0};
    mn_buf path = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_shards_open(&shards, index_path));
    for (size_t i = 0; i < shards.files_len; i++) {
        MN_GOTO(mn_path_join(&path, dir, shards.files[i]));
        if (!mn_file_exists(path.data)) {
            st = mn_fail(MN_ERR_IO, "%s: weight_map: expected the file %s, found none", index_path,
                         path.data);
            goto done;
        }
        MN_GOTO(add_file(c, path.data, kind));
    }
    MN_GOTO(mn_entries_sort(&c->all));
    st = mn_shards_check(&shards, &c->all);
done:
    mn_buf_free(&path);
    mn_shards_close(&shards);
    return st;
}

static mn_status add_folder(mn_checkpoint *c, const char *dir) {
    const file_kind *const kinds[] = {&safetensors, &pytorch};
    mn_buf path = {0};
    mn_status st = MN_OK;
    MN_CHECK_GOTO(mn_dir_exists(dir), MN_ERR_IO, "%s: expected a folder, found none", dir);
    for (size_t i = 0; i < 2; i++) {
        MN_GOTO(mn_path_join(&path, dir, kinds[i]->file));
        if (mn_file_exists(path.data)) {
            MN_GOTO(add_file(c, path.data, kinds[i]));
            st = mn_entries_sort(&c->all);
            goto done;
        }
        MN_GOTO(mn_path_join(&path, dir, kinds[i]->index));
        if (mn_file_exists(path.data)) {
            st = add_shards(c, dir, path.data, kinds[i]);
            goto done;
        }
    }
    st = mn_fail(MN_ERR_IO, "%s: expected %s, %s, %s or %s, found none of them", dir,
                 safetensors.file, safetensors.index, pytorch.file, pytorch.index);
done:
    mn_buf_free(&path);
    return st;
}

mn_status mn_checkpoint_open(mn_checkpoint **out, const char *dir) {
    mn_checkpoint *c = NULL;
    *out = NULL;
    mn_status st = begin(&c, dir);
    if (st == MN_OK) st = add_folder(c, dir);
    return finish(out, &c, st);
}

mn_status mn_checkpoint_open_file(mn_checkpoint **out, const char *path) {
    mn_checkpoint *c = NULL;
    *out = NULL;
    mn_status st = begin(&c, path);
    if (st == MN_OK) st = add_file(c, path, NULL);
    if (st == MN_OK) st = mn_entries_sort(&c->all);
    return finish(out, &c, st);
}

mn_status mn_checkpoint_open_memory(mn_checkpoint **out, const void *data, size_t size,
                                    const char *name) {
    mn_checkpoint *c = NULL;
    *out = NULL;
    mn_status st = begin(&c, name);
    if (st == MN_OK) {
        c->kind = guess(name, data, size);
        st = c->kind->read(&c->all, data, size, c->path);
    }
    if (st == MN_OK) st = mn_entries_sort(&c->all);
    return finish(out, &c, st);
}

void mn_checkpoint_close(mn_checkpoint **checkpoint) {
    mn_checkpoint *c = *checkpoint;
    if (!c) return;
    free(c->items);
    mn_entries_free(&c->all);
    for (size_t i = c->maps_len; i > 0; i--) mn_map_close(&c->maps[i - 1]);
    free(c->maps);
    free(c->path);
    free(c);
    *checkpoint = NULL;
}

int64_t mn_checkpoint_count(const mn_checkpoint *c) { return c->count; }

const mn_stored *mn_checkpoint_at(const mn_checkpoint *c, int64_t index) {
    return index >= 0 && index < c->count ? &c->items[index] : NULL;
}

static int by_stored(const void *name, const void *item) {
    return strcmp(name, ((const mn_stored *)item)->name);
}

static int by_entry(const void *name, const void *item) {
    return strcmp(name, ((const mn_entry *)item)->stored.name);
}

const mn_stored *mn_checkpoint_find(const mn_checkpoint *c, const char *name) {
    return bsearch(name, c->items, (size_t)c->count, sizeof *c->items, by_stored);
}

mn_status mn_checkpoint_get(const mn_stored **out, const mn_checkpoint *c, const char *name) {
    *out = mn_checkpoint_find(c, name);
    if (*out) return MN_OK;
    const mn_shown shown = mn_show(name, strlen(name));
    const mn_entry *refused = c->all.len ? bsearch(name, c->all.data, c->all.len,
                                                   sizeof *c->all.data, by_entry)
                                         : NULL;
    MN_CHECK(!refused, MN_ERR_UNSUPPORTED, "%s: tensor %s: dtype %s is not supported",
             refused->stored.file, shown.text, refused->refused);
    return mn_fail(MN_ERR_DATA, "%s: tensor %s: expected, but missing", c->path, shown.text);
}

const char *mn_checkpoint_format(const mn_checkpoint *c) { return c->kind->name; }
