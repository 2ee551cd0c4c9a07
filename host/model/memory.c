/* memory.c - the memories of one variant: where they stand, their parameters, forward. */
#include "model/memory_impl.h"
#include "model/parallel.h"

#include "mneme/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One row per parameter, in the order of the struct. */
static const struct {
    const char *name;
    mn_param_group group;
} params[MN_MEMORY_PARAMS] = {
    {"up.weight", MN_PARAM_WEIGHT},   {"up.bias", MN_PARAM_BIAS},
    {"down.weight", MN_PARAM_WEIGHT}, {"down.bias", MN_PARAM_BIAS},
    {"norm.weight", MN_PARAM_NORM},   {"norm.bias", MN_PARAM_NORM},
    {"gate", MN_PARAM_GATE},
};

static mn_tensor *param_of(mn_memory_layer *l, int64_t index) {
    mn_tensor *const tensors[MN_MEMORY_PARAMS] = {&l->up_w,   &l->up_b,   &l->down_w, &l->down_b,
                                                  &l->norm_w, &l->norm_b, &l->gate};
    return tensors[index];
}

int64_t mn_memory_blocks(int64_t *out, int64_t layers, double from, double to) {
    int64_t count = 0, below = 0;
    for (int64_t i = 0; i < layers; i++) {
        /* Division rounds to the double nearest to i / n, which 0.7 as a literal is, too. */
        const double at = (double)i / (double)layers;
        if (at < to) below = i;
        if (at >= from && at < to) out[count++] = i;
    }
    if (count == 0) out[count++] = below;
    return count;
}

/* ---- making and closing ---- */

static mn_status place(mn_memory *m) {
    for (int64_t i = 0; i < m->count; i++) {
        mn_memory_layer *l = &m->layers[i];
        l->up_w = mn_tensor_2d(NULL, MN_F32, m->hidden, m->dim);
        l->up_b = mn_tensor_1d(NULL, MN_F32, m->hidden);
        l->down_w = mn_tensor_2d(NULL, MN_F32, m->dim, m->hidden);
        l->down_b = l->norm_w = l->norm_b = mn_tensor_1d(NULL, MN_F32, m->dim);
        l->gate = mn_tensor_1d(NULL, MN_F32, 1);
        for (int64_t p = 0; p < MN_MEMORY_PARAMS; p++) {
            mn_tensor *t = param_of(l, p);
            MN_TRY(mn_arena_alloc(&m->weights, &t->data, mn_tensor_bytes(t)));
        }
    }
    return MN_OK;
}

static mn_status check_blocks(const char *name, const int64_t *blocks, int64_t count,
                              int64_t layers) {
    MN_CHECK(count > 0, MN_ERR_USAGE, "memory %s: no block to stand behind", name);
    for (int64_t i = 0; i < count; i++) {
        MN_CHECK(blocks[i] >= 0 && blocks[i] < layers, MN_ERR_USAGE,
                 "memory %s: block %lld, the model has 0 to %lld", name, (long long)blocks[i],
                 (long long)layers - 1);
        MN_CHECK(i == 0 || blocks[i] > blocks[i - 1], MN_ERR_USAGE,
                 "memory %s: block %lld stands behind block %lld in the list, rising ones expected",
                 name, (long long)blocks[i], (long long)blocks[i - 1]);
    }
    return MN_OK;
}

mn_status mn_memory_plan(mn_memory **out, mn_device *device, const char *name, int64_t hidden,
                         int64_t dim, int64_t layers, const int64_t *blocks, int64_t count) {
    mn_status st = MN_OK;
    mn_memory *m = NULL;
    *out = NULL;
    MN_TRY(check_blocks(name, blocks, count, layers));
    m = calloc(1, sizeof *m);
    MN_CHECK(m, MN_ERR_MEMORY, "no memory for memory %s", name);
    m->hidden = hidden;
    m->dim = dim;
    m->count = count;
    m->device = device;
    m->name = strdup(name);
    m->layers = calloc((size_t)count, sizeof *m->layers);
    mn_arena_init(&m->weights, "memory", device);
    MN_CHECK_GOTO(m->name && m->layers, MN_ERR_MEMORY, "no memory for memory %s", name);
    for (int64_t i = 0; i < count; i++) m->layers[i].block = blocks[i];
    MN_GOTO(place(m));
    *out = m;
    m = NULL;
done:
    mn_memory_close(&m);
    return st;
}

mn_status mn_memory_commit(mn_memory *m) {
    MN_TRY(mn_arena_commit(&m->weights));
    return place(m);
}

mn_status mn_memory_new(mn_memory **out, mn_device *device, const char *name, int64_t hidden,
                        int64_t dim, int64_t layers, const int64_t *blocks, int64_t count) {
    MN_TRY(mn_memory_plan(out, device, name, hidden, dim, layers, blocks, count));
    const mn_status st = mn_memory_commit(*out);
    if (st != MN_OK) mn_memory_close(out);
    return st;
}

void mn_memory_close(mn_memory **memory) {
    mn_memory *m = *memory;
    if (!m) return;
    mn_arena_free(&m->weights);
    free(m->layers);
    free(m->name);
    free(m);
    *memory = NULL;
}

mn_status mn_memory_like(mn_memory **out, const mn_memory *memory) {
    mn_status st = MN_OK;
    int64_t *blocks = malloc((size_t)memory->count * sizeof *blocks);
    *out = NULL;
    MN_CHECK(blocks, MN_ERR_MEMORY, "no memory for memory %s", memory->name);
    for (int64_t i = 0; i < memory->count; i++) blocks[i] = memory->layers[i].block;
    st = mn_memory_new(out, memory->device, memory->name, memory->hidden, memory->dim,
                       blocks[memory->count - 1] + 1, blocks, memory->count);
    free(blocks);
    return st;
}

/* ---- initial values ---- */

static void fill(float *to, int64_t n, double value) {
    for (int64_t i = 0; i < n; i++) to[i] = (float)value;
}

/* Parameter p of a layer into `values`. A matrix has a random stream of its own, counted by block, so
 * that a block starts alike whatever other blocks have memories. */
static mn_status initial(float *values, const mn_tensor *t, int64_t p, int64_t block,
                         const mn_memory_options *o) {
    enum { GATE = MN_MEMORY_PARAMS - 1, NORM_W = 4 };
    const uint64_t streams = UINT64_C(0x6d656d) << 40; /* "mem": far from those of the data */
    if (t->ndim == 2)
        return mn_orthogonal(values, t->shape[0], t->shape[1], sqrt(2), o->seed,
                             streams + (uint64_t)(block * MN_MEMORY_PARAMS + p));
    fill(values, t->shape[0], p == GATE ? o->gate : p == NORM_W ? 1 : 0);
    return MN_OK;
}

static mn_status fill_initial(mn_memory *m, const mn_memory_options *o) {
    mn_status st = MN_OK;
    float *values = malloc((size_t)(m->hidden * m->dim) * sizeof *values);
    MN_CHECK(values, MN_ERR_MEMORY, "no memory for memory %s", m->name);
    for (int64_t i = 0; i < m->count; i++)
        for (int64_t p = 0; p < MN_MEMORY_PARAMS; p++) {
            mn_tensor *t = param_of(&m->layers[i], p);
            MN_GOTO(initial(values, t, p, m->layers[i].block, o));
            MN_GOTO(m->device->upload(m->device, t->data, values, mn_tensor_bytes(t)));
        }
done:
    free(values);
    return st;
}

mn_status mn_memory_create(mn_memory **out, const mn_model *model,
                           const mn_memory_options *options) {
    const int64_t layers = model->config.layers;
    mn_status st = MN_OK;
    mn_memory *m = NULL;
    mn_memory_options o = *options;
    int64_t *blocks = NULL;
    *out = NULL;
    if (!o.name) o.name = "memory";
    if (o.hidden == 0) o.hidden = MN_MEMORY_HIDDEN;
    MN_CHECK(o.hidden > 0 && o.hidden <= MN_MEMORY_MAX_HIDDEN, MN_ERR_USAGE,
             "memory %s: hidden size %lld is not in 1 to %d", o.name, (long long)o.hidden,
             MN_MEMORY_MAX_HIDDEN);
    MN_CHECK(isfinite(o.gate), MN_ERR_USAGE, "memory %s: gate %g is not a number", o.name, o.gate);
    if (o.block_count == 0) {
        MN_CHECK(o.from >= 0 && o.from < o.to && o.to <= 1, MN_ERR_USAGE,
                 "memory %s: location [%g, %g) is not a range of depth within 0 to 1", o.name,
                 o.from, o.to);
        blocks = malloc((size_t)layers * sizeof *blocks);
        MN_CHECK(blocks, MN_ERR_MEMORY, "no memory for memory %s", o.name);
        o.block_count = mn_memory_blocks(blocks, layers, o.from, o.to);
        o.blocks = blocks;
    }
    MN_GOTO(mn_memory_new(&m, model->device, o.name, o.hidden, model->config.dim, layers, o.blocks,
                          o.block_count));
    MN_GOTO(fill_initial(m, &o));
    *out = m;
    m = NULL;
done:
    mn_memory_close(&m);
    free(blocks);
    return st;
}

/* ---- looking things up ---- */

void mn_memory_param_at(mn_memory_param *out, mn_memory *memory, int64_t index) {
    mn_memory_layer *l = &memory->layers[index / MN_MEMORY_PARAMS];
    const int64_t p = index % MN_MEMORY_PARAMS;
    *out = (mn_memory_param){.group = params[p].group, .tensor = param_of(l, p)};
    snprintf(out->name, sizeof out->name, "memory.%lld.%s", (long long)l->block, params[p].name);
}

int64_t mn_memory_parameters(const mn_memory *memory) {
    /* up, down; their biases; the norm's two; the gate */
    const int64_t h = memory->hidden, c = memory->dim;
    return memory->count * (2 * h * c + h + c + 2 * c + 1);
}

const mn_memory_layer *mn_memory_at(const mn_memory *memory, int64_t block) {
    for (int64_t i = 0; memory && i < memory->count; i++)
        if (memory->layers[i].block == block) return &memory->layers[i];
    return NULL;
}

/* ---- forward ---- */

mn_status mn_memory_fwd(mn_device *dev, mn_comm *tp, mn_tensor *x, const mn_memory_layer *l,
                        mn_tensor *pre, mn_tensor *inner, mn_tensor *down) {
    const int64_t hidden = l->up_w.shape[0], dim = l->down_w.shape[0];
    /* Without `pre` the activation is taken in place: same bits. */
    mn_tensor *up = pre ? pre : inner;
    MN_TRY(
        mn_linear_fwd(dev, up, hidden, x, &l->up_w, &l->up_b, MN_EPILOGUE_STORE, MN_COMPUTE_F32));
    MN_TRY(mn_gelu_fwd(dev, inner, up));
    MN_TRY(mn_linear_fwd(dev, down, dim, inner, &l->down_w, mn_part_bias(tp, &l->down_b),
                         MN_EPILOGUE_STORE, MN_COMPUTE_F32));
    MN_TRY(mn_sum_ranks(dev, tp, down));
    return mn_gated_norm_fwd(dev, x, down, &l->norm_w, &l->norm_b, &l->gate, MN_MEMORY_NORM_EPS);
}
