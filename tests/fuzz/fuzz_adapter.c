/* fuzz_adapter.c - an adapter folder: adapter_config.json, a NUL, and adapter_model.safetensors. What loads is
 * a memory that the model can use: rising blocks that it has, its width, and only numbers. */
#include "model/memory_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A width and a number of blocks is all that a memory knows of its model. */
static mn_model *open_model(void) {
    static mn_device *device;
    static char name[] = "model";
    static mn_model model = {.path = name, .config = {.dim = 4, .layers = 3}};
    if (!device && mn_device_open(&device, "cpu", 1) != MN_OK) abort();
    model.device = device;
    return &model;
}

static mn_status load(mn_memory **out, const uint8_t *data, size_t size) {
    const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
    const size_t text = end ? (size_t)(end - data) : size;
    mn_json *config = NULL;
    mn_checkpoint *weights = NULL;
    mn_status st = MN_OK;
    MN_GOTO(mn_json_parse(&config, (const char *)data, text, "adapter_config.json"));
    MN_GOTO(mn_memory_configure(out, open_model(), config));
    MN_GOTO(mn_checkpoint_open_memory(&weights, data + text + (end != NULL),
                                      size - text - (end != NULL), "adapter_model.safetensors"));
    st = mn_memory_fill(*out, weights);
done:
    mn_checkpoint_close(&weights);
    mn_json_close(&config);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mn_memory *m = NULL;
    if (load(&m, data, size) != MN_OK) {
        if (!*mn_error()) abort();
        mn_memory_close(&m);
        return 0;
    }
    if (m->dim != 4 || m->hidden < 1 || m->count < 1 || m->count > 3) abort();
    for (int64_t i = 0; i < m->count; i++)
        if (m->layers[i].block > 2 || m->layers[i].block < (i > 0 ? m->layers[i - 1].block + 1 : 0))
            abort();
    for (int64_t p = 0; p < m->count * MN_MEMORY_PARAMS; p++) {
        mn_memory_param param;
        mn_memory_param_at(&param, m, p);
        const float *x = param.tensor->data;
        for (int64_t i = 0; i < mn_tensor_count(param.tensor); i++)
            if (!isfinite(x[i])) abort();
    }
    if ((size_t)mn_memory_parameters(m) * sizeof(float) > size) abort();
    mn_memory_close(&m);
    return 0;
}
