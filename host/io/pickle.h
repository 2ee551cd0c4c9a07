/* pickle.h - the state dict in the data.pkl of a PyTorch file: a list of what each tensor is.
 *
 * A pickle is a program for a stack machine; Python's own machine may call anything. This one has no
 * calls: it knows the opcodes and the few globals that a state dict needs, as data, and refuses every
 * other. It does not recurse, and its time and memory grow linearly with the pickle. */
#ifndef MNEME_IO_PICKLE_H
#define MNEME_IO_PICKLE_H

#include "mneme/tensor.h"

typedef struct mn_pickle_tensor {
    const char *name, *key; /* in the pickle, without a NUL; the key names the storage */
    size_t name_len, key_len;
    mn_dtype dtype;
    int64_t storage_count; /* elements of the whole storage, >= 0 */
    int64_t offset;        /* of the first element, in elements; may be anything */
    int64_t shape[MN_MAX_DIMS], stride[MN_MAX_DIMS]; /* may be anything */
    int ndim;
} mn_pickle_tensor;

typedef struct mn_pickle_dict {
    mn_pickle_tensor *data;
    size_t len, cap;
} mn_pickle_dict;

/* The tensors in the order of the state dict; a name may occur twice. `file` is for messages. On
 * failure *out is empty. */
mn_status mn_pickle_read(mn_pickle_dict *out, const unsigned char *data, size_t size,
                         const char *file);
void mn_pickle_free(mn_pickle_dict *dict);

#endif
