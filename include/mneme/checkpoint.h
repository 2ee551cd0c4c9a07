/* checkpoint.h - the tensors of a Hugging Face folder, by name, as views of mapped files.
 *
 * A folder holds, in this order of preference: model.safetensors, model.safetensors.index.json with
 * its shards, pytorch_model.bin, pytorch_model.bin.index.json with its shards. Every file is mapped
 * and checked completely when it is opened (header, names, shapes, offsets); tensor data is not read.
 * The checkpoint owns the maps: views live as long as it does. An opened checkpoint never changes,
 * any number of threads may read it.
 *
 * safetensors: https://huggingface.co/docs/safetensors (8-byte little-endian header length, JSON
 * header, data). PyTorch .bin: a stored zip with data.pkl and one file per storage; the pickle is read
 * by a machine that knows only what a state dict needs and refuses every other opcode and global.
 * Numbers, strings, booleans and None in a state dict are no tensors and are left out. */
#ifndef MNEME_CHECKPOINT_H
#define MNEME_CHECKPOINT_H

#include "mneme/file.h"
#include "mneme/tensor.h"

#include <stdbool.h>

typedef struct mn_stored {
    const char *name;
    mn_tensor view;   /* data points into the map, may be unaligned and must not be written */
    const char *file; /* path of the file that holds it */
} mn_stored;

typedef struct mn_checkpoint mn_checkpoint;

mn_status mn_checkpoint_open(mn_checkpoint **out, const char *dir); /* a Hugging Face folder */
/* One file of either kind. A name that ends in .safetensors decides, else the contents do. */
mn_status mn_checkpoint_open_file(mn_checkpoint **out, const char *path);
/* One file of either kind that lies in memory, which must outlive the checkpoint. `name` stands for
 * its path. */
mn_status mn_checkpoint_open_memory(mn_checkpoint **out, const void *data, size_t size,
                                    const char *name);
void mn_checkpoint_close(mn_checkpoint **checkpoint);

/* Tensors of a dtype that mn_dtype lacks (F8_E4M3, U32 ...) are checked like all others, but not
 * counted, listed or found; only mn_checkpoint_get knows them and says why it refuses them. */
int64_t mn_checkpoint_count(const mn_checkpoint *checkpoint);
const mn_stored *mn_checkpoint_at(const mn_checkpoint *checkpoint,
                                  int64_t index); /* by name order */
const mn_stored *mn_checkpoint_find(const mn_checkpoint *checkpoint,
                                    const char *name); /* or NULL */
/* Like find, but says what is wrong: MN_ERR_DATA when the tensor is missing, MN_ERR_UNSUPPORTED when
 * its dtype is not one of mn_dtype. */
mn_status mn_checkpoint_get(const mn_stored **out, const mn_checkpoint *checkpoint,
                            const char *name);
const char *mn_checkpoint_format(const mn_checkpoint *checkpoint); /* "safetensors" or "pytorch" */

/* Writes tensors to one safetensors file, atomically, in the order given; `metadata` is a JSON object
 * text of string values, or NULL (transformers wants {"format":"pt"}). The data begins at a multiple
 * of 64 bytes; the format allows no holes, so a tensor behind one of odd size is less aligned.
 * `file` of the tensors is not looked at. */
mn_status mn_safetensors_write(const char *path, const mn_stored *tensors, int64_t count,
                               const char *metadata);
/* The same for who does not have all tensors at once: writes what stands in front of the data. The caller
 * writes the data of every tensor in this order, without gaps, and commits. */
mn_status mn_safetensors_begin(mn_writer **out, const char *path, const mn_stored *tensors,
                               int64_t count, const char *metadata);

#endif
