/* inspect.h - what `mneme inspect` finds in a model's folder or in one file of weights: everything
 * that can be known without reading a tensor's numbers, and all that is wrong with it. */
#ifndef MNEME_CLI_INSPECT_H
#define MNEME_CLI_INSPECT_H

#include "mneme/memory.h"

typedef enum mn_tensor_use {
    MN_USE_WEIGHT,
    MN_USE_BUFFER, /* recomputed: masks, inv_freq */
    MN_USE_TIED,   /* a stored copy of the tied output matrix */
    MN_USE_NONE,   /* not part of the model */
    MN_USE_UNKNOWN /* there is no configuration to tell */
} mn_tensor_use;

typedef struct mn_found {
    const mn_stored *stored;
    mn_tensor_use use;
} mn_found;

typedef struct mn_found_file {
    const char *path;
    int64_t bytes, tensors;
} mn_found_file;

typedef struct mn_text_list {
    char **lines;
    size_t count, cap;
} mn_text_list;

typedef struct mn_inspection {
    const char *path;
    const mn_device *device; /* that a model would be opened on */
    bool single_file, has_config, has_tokenizer, tokenizer_works;
    mn_model_config config;
    mn_checkpoint **checkpoints; /* one, or each readable shard of a broken folder */
    size_t checkpoint_count, checkpoint_cap;
    const char *format; /* NULL: no file could be read */
    mn_found *tensors;  /* by name */
    size_t tensor_count;
    mn_found_file *files; /* by path */
    size_t file_count;
    char tokenizer_kind[64];
    int32_t tokenizer_size, tokenizer_bos, tokenizer_eos;
    int64_t mapped_bytes, converted_bytes; /* of the weights: used in the files, kept as fp32 */
    int64_t kv_bytes;                      /* per token */
    int64_t *memory_blocks;                /* that memories stand behind unless said otherwise */
    int64_t memory_block_count;
    mn_text_list problems, notes;
} mn_inspection;

/* Fails only when memory is out or `path` is not there; what is wrong inside becomes a problem. */
mn_status mn_inspect(mn_inspection *out, const char *path, mn_device *device);
void mn_inspection_free(mn_inspection *found); /* safe twice */

const char *mn_tensor_use_name(mn_tensor_use use);

/* ---- inspect_report.c ---- */

mn_status mn_inspect_text(mn_buf *out, const mn_inspection *found, bool tensors);
mn_status mn_inspect_json(mn_buf *out, const mn_inspection *found);

#endif
