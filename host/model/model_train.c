/* model_train.c - models whose weights are written: every tensor fp32 in the weights arena. */
#include "model/model_impl.h"

#include "mneme/ops.h"
#include "mneme/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Every row of the binding table, by its order in the file. */
static mn_status place_weights(mn_model *m) {
    for (int64_t i = 0; i < mn_binding_count(&m->config); i++) {
        mn_binding_row row;
        mn_binding_at(&row, &m->config, m, i);
        MN_TRY(mn_model_place_row(m, &row, MN_F32));
    }
    return MN_OK;
}

/* A model of zeros; gradients never need the rotary tables. */
static mn_status make_zeros(mn_model **out, const mn_model_config *config, const char *name,
                            mn_device *device, mn_comm *tp, bool rotary) {
    mn_model *m = NULL;
    mn_status st = MN_OK;
    *out = NULL;
    MN_GOTO(mn_model_new(&m, config, name, device, tp));
    for (int pass = 0; pass < 2; pass++) {
        if (pass) MN_GOTO(mn_arena_commit(&m->weights));
        MN_GOTO(place_weights(m));
        if (rotary) MN_GOTO(mn_model_place_rotary(m, pass));
    }
    if (config->tied) m->head_w = m->embed_w;
    *out = m;
    m = NULL;
done:
    mn_model_close(&m);
    return st;
}

mn_status mn_model_like(mn_model **out, const mn_model *model) {
    return make_zeros(out, &model->config, model->path, model->device, model->tp, false);
}

mn_status mn_model_trainable(mn_model **out, const mn_model *model) {
    mn_model *m = NULL;
    mn_model source = *model; /* the binding table gives writable places; these are only read */
    mn_status st = MN_OK;
    *out = NULL;
    MN_GOTO(make_zeros(&m, &model->config, model->path, model->device, model->tp, true));
    for (int64_t i = 0; i < mn_binding_count(&model->config); i++) {
        mn_binding_row to, from;
        mn_binding_at(&to, &model->config, m, i);
        mn_binding_at(&from, &model->config, &source, i);
        MN_GOTO(mn_cast(m->device, to.weight, from.weight));
    }
    *out = m;
    m = NULL;
done:
    mn_model_close(&m);
    return st;
}

/* N(0, deviation): each draw of four words gives two pairs (Box and Muller 1958). The value depends on
 * seed, stream and place alone, not on the number of threads. */
static void fill_normal(float *to, int64_t first, int64_t count, const mn_draw *draw) {
    const uint32_t key[2] = {(uint32_t)draw->seed, (uint32_t)(draw->seed >> 32)};
    const int64_t end = first + count;
    for (int64_t d = first / 4; 4 * d < end; d++) {
        const uint32_t counter[4] = {(uint32_t)d, (uint32_t)(d >> 32), (uint32_t)draw->stream,
                                     (uint32_t)(draw->stream >> 32)};
        const double two_pi = 6.283185307179586;
        uint32_t r[4];
        double v[4];
        mn_philox4x32(r, counter, key);
        for (int p = 0; p < 4; p += 2) {
            /* (r + 1) / 2^32 is in (0, 1]: the logarithm is finite */
            const double radius = sqrt(-2 * log(((double)r[p] + 1) * 0x1p-32));
            const double angle = two_pi * (double)r[p + 1] * 0x1p-32;
            v[p] = radius * cos(angle);
            v[p + 1] = radius * sin(angle);
        }
        for (int64_t e = 4 * d; e < 4 * d + 4; e++)
            if (e >= first && e < end) to[e - first] = (float)(draw->deviation * v[e % 4]);
    }
}

/* Matrices normal, weights of norms 1, biases 0. */
static void fill_initial(mn_tensor *t, int64_t at, int64_t first, int64_t count,
                         const mn_draw *draw) {
    float *values = (float *)t->data + at;
    if (t->ndim == 2) fill_normal(values, first, count, draw);
    else
        for (int64_t e = 0; e < count; e++) values[e] = draw->norm_weight ? 1 : 0;
}

mn_status mn_model_init(mn_model **out, const mn_model_config *config, const char *name,
                        uint64_t seed, mn_device *device, mn_comm *tp) {
    const uint64_t streams = UINT64_C(0x696e6974) << 32; /* "init": far from those of the data */
    mn_model *m = NULL;
    mn_status st = MN_OK;
    *out = NULL;
    MN_TRY(mn_comm_attach(tp, device));
    MN_GOTO(make_zeros(&m, config, name, device, tp, true));
    for (int64_t i = 0; i < mn_binding_count(config); i++) {
        mn_binding_row row;
        mn_binding_at(&row, config, m, i);
        const mn_draw draw = {.seed = seed,
                              .stream = streams + (uint64_t)i,
                              .deviation = config->initializer_range,
                              .norm_weight = strstr(row.name, "norm.weight") != NULL};
        MN_GOTO(mn_model_fill(device, &row, fill_initial, &draw));
    }
    *out = m;
    m = NULL;
done:
    mn_model_close(&m);
    return st;
}
