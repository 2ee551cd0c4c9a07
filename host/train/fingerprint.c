/* fingerprint.c - see fingerprint.h. */
#include "train/fingerprint.h"

#include "mneme/checkpoint.h"

#include <string.h>

uint64_t mn_fingerprint(uint64_t hash, const void *bytes, size_t len) {
    const unsigned char *at = bytes;
    for (size_t i = 0; i < len; i++) hash = (hash ^ at[i]) * UINT64_C(1099511628211);
    return hash;
}

static mn_status add_file(uint64_t *hash, const char *path) {
    enum { BLOCKS = 1024, BLOCK = 16384 };
    mn_map *map = NULL;
    MN_TRY(mn_map_open(&map, path));
    const uint64_t size = map->size;
    *hash = mn_fingerprint(*hash, &size, sizeof size);
    if (size <= BLOCKS * BLOCK) {
        *hash = mn_fingerprint(*hash, map->data, map->size);
    } else {
        const size_t step = (map->size - BLOCK) / (BLOCKS - 1);
        for (size_t b = 0; b < BLOCKS; b++)
            *hash = mn_fingerprint(*hash, map->data + b * step, BLOCK);
    }
    mn_map_close(&map);
    return MN_OK;
}

mn_status mn_fingerprint_model(uint64_t *out, const char *dir, bool weights) {
    mn_status st = MN_OK;
    mn_buf path = {0};
    mn_checkpoint *checkpoint = NULL;
    const char *last = "";
    *out = MN_FINGERPRINT_SEED;
    MN_GOTO(mn_path_join(&path, dir, "config.json"));
    MN_GOTO(add_file(out, path.data));
    if (!weights) goto done;
    MN_GOTO(mn_checkpoint_open(&checkpoint, dir));
    for (int64_t i = 0; i < mn_checkpoint_count(checkpoint); i++) {
        const char *file = mn_checkpoint_at(checkpoint, i)->file;
        if (strcmp(file, last) == 0)
            continue; /* a file may come twice: the hash stays a function of them */
        last = file;
        MN_GOTO(add_file(out, file));
    }
done:
    mn_checkpoint_close(&checkpoint);
    mn_buf_free(&path);
    return st;
}
