/* shards.h - the index of a checkpoint in several files: which tensor lies in which file. */
#ifndef MNEME_IO_SHARDS_H
#define MNEME_IO_SHARDS_H

#include "io/entries.h"
#include "mneme/json.h"

typedef struct mn_shard_row {
    const char *tensor, *file; /* file name inside the folder */
} mn_shard_row;

typedef struct mn_shards {
    mn_json *doc;       /* owns the texts */
    mn_shard_row *rows; /* by tensor */
    size_t len;
    const char **files; /* each once, by name */
    size_t files_len;
} mn_shards;

/* Fails unless weight_map gives each tensor once, with the plain name of a file. */
mn_status mn_shards_open(mn_shards *out, const char *index_path);
/* `found` is sorted and came from exactly the named files (its `file` paths end in their names): the
 * map and the files must speak of the same tensors in the same places. */
mn_status mn_shards_check(const mn_shards *shards, const mn_entries *found);
void mn_shards_close(mn_shards *shards);

#endif
