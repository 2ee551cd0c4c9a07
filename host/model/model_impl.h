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

static inline void mn_put_element(mn_tensor *t, int64_t i, float value) {
    if (t->dtype == MN_F32) ((float *)t->data)[i] = value;
    else
        ((uint16_t *)t->data)[i] = t->dtype == MN_F16 ? mn_f32_to_f16(value)
                                                      : mn_f32_to_bf16(value);
}

/* An empty model: configuration, name, places for the blocks. */
mn_status mn_model_new(mn_model **out, const mn_model_config *config, const char *path,
                       mn_device *device, mn_comm *tp);

/* Room for this rank's part of a row in the weights arena. */
mn_status mn_model_place_row(mn_model *model, const mn_binding_row *row, mn_dtype dtype);

/* Drawing a weight: of a random stream; weights of norms are about 1. */
typedef struct mn_draw {
    uint64_t seed, stream;
    double deviation; /* of a matrix */
    bool norm_weight;
} mn_draw;
/* Elements `first` to first + count - 1 of the whole tensor go to `host` from its element `at` on. Each depends on
 * the draw and its place in the whole alone: ranks draw what one would have drawn. */
typedef void mn_draw_fill(mn_tensor *host, int64_t at, int64_t first, int64_t count,
                          const mn_draw *draw);
/* Fills a row's tensor in place, or on the host and uploads it. */
mn_status mn_model_fill(mn_device *device, const mn_binding_row *row, mn_draw_fill *fill,
                        const mn_draw *draw);

/* The rotary tables: first call measures, with `fill` after the arena's commit it writes them. */
mn_status mn_model_place_rotary(mn_model *model, bool fill);

#endif
