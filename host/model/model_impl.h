/* model_impl.h (internal) - what the files that make models share. */
#ifndef MNEME_MODEL_MODEL_IMPL_H
#define MNEME_MODEL_MODEL_IMPL_H

#include "mneme/half.h"
#include "mneme/model.h"

#include <string.h>

/* Element i of a float tensor in host memory, at any address. */
static inline float mn_element(const mn_tensor *t, int64_t i) {
    const unsigned char *at = (const unsigned char *)t->data + (size_t)i * mn_dtype_size(t->dtype);
    float f;
    uint16_t h;
    if (t->dtype == MN_F32) {
        memcpy(&f, at, sizeof f);
        return f;
    }
    memcpy(&h, at, sizeof h);
    return t->dtype == MN_F16 ? mn_f16_to_f32(h) : mn_bf16_to_f32(h);
}

/* An empty model: configuration, name, places for the blocks. */
mn_status mn_model_new(mn_model **out, const mn_model_config *config, const char *path,
                       mn_device *device);

/* Drawing a weight: of a random stream; weights of norms are about 1. */
typedef struct mn_draw {
    uint64_t seed, stream;
    double deviation; /* of a matrix */
    bool norm_weight;
} mn_draw;
typedef void mn_draw_fill(mn_tensor *host, const mn_draw *draw); /* finds zeros */
/* Fills a tensor in place, or on the host and uploads it. */
mn_status mn_model_fill(mn_device *device, mn_tensor *to, mn_draw_fill *fill, const mn_draw *draw);

/* The rotary tables: first call measures, with `fill` after the arena's commit it writes them. */
mn_status mn_model_place_rotary(mn_model *model, bool fill);

#endif
