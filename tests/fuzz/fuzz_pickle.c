/* fuzz_pickle.c - the pickle machine, or a whole PyTorch file when the input begins like a zip archive
 * (or, by chance, a safetensors file). Every byte of every tensor that opens is touched. */
#include "io/pickle.h"
#include "mneme/checkpoint.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_file(const uint8_t *data, size_t size) {
    mn_checkpoint *c = NULL;
    if (mn_checkpoint_open_memory(&c, data, size, "fuzz.bin") != MN_OK) {
        if (c || !*mn_error()) abort();
        return;
    }
    uint64_t sum = 0;
    for (int64_t i = 0; i < mn_checkpoint_count(c); i++) {
        const mn_stored *t = mn_checkpoint_at(c, i);
        const unsigned char *at = t->view.data;
        if (mn_checkpoint_find(c, t->name) != t || mn_tensor_bytes(&t->view) > size) abort();
        /* Tensors may share a storage: a small file can name much data. */
        for (size_t k = 0; k < mn_tensor_bytes(&t->view) && i < 100; k++) sum += at[k];
    }
    if (sum > 100 * 255 * (uint64_t)size) abort();
    mn_checkpoint_close(&c);
}

static void read_pickle(const uint8_t *data, size_t size) {
    mn_pickle_dict dict;
    if (mn_pickle_read(&dict, data, size, "fuzz.pkl") != MN_OK && dict.len) abort();
    const char *begin = (const char *)data, *end = begin + size;
    for (size_t i = 0; i < dict.len; i++) {
        const mn_pickle_tensor *t = &dict.data[i];
        if (t->name < begin || t->name_len > (size_t)(end - t->name)) abort();
        if (t->key < begin || t->key_len > (size_t)(end - t->key)) abort();
        if (t->ndim < 0 || t->ndim > MN_MAX_DIMS || t->storage_count < 0) abort();
    }
    mn_pickle_free(&dict);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0 && data[0] == 0x80) read_pickle(data, size);
    else read_file(data, size);
    return 0;
}
