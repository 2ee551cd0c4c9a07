/* fuzz_safetensors.c - one safetensors file. What opens must be fit to be read: every byte of every
 * tensor is touched. */
#include "mneme/checkpoint.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mn_checkpoint *c = NULL;
    const mn_stored *t = NULL;
    /* The name decides the kind, whatever the contents look like. */
    if (mn_checkpoint_open_memory(&c, data, size, "fuzz.safetensors") != MN_OK) {
        if (c || !*mn_error()) abort();
        return 0;
    }
    uint64_t sum = 0;
    size_t bytes = 0;
    for (int64_t i = 0; i < mn_checkpoint_count(c); i++) {
        t = mn_checkpoint_at(c, i);
        if (mn_checkpoint_find(c, t->name) != t) abort();
        const unsigned char *at = t->view.data;
        for (size_t k = 0; k < mn_tensor_bytes(&t->view); k++) sum += at[k];
        bytes += mn_tensor_bytes(&t->view);
    }
    if (bytes > size || sum > bytes * 255) abort();
    if (mn_checkpoint_get(&t, c, "no such tensor") == MN_OK) abort();
    mn_checkpoint_close(&c);
    return 0;
}
