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
    int axis; /* the one of the hidden units, that ranks cut; -1: none */
} params[MN_MEMORY_PARAMS] = {
    {"up.weight", MN_PARAM_WEIGHT, 0},   {"up.bias", MN_PARAM_BIAS, 0},
    {"down.weight", MN_PARAM_WEIGHT, 1}, {"down.bias", MN_PARAM_BIAS, -1},
    {"norm.weight", MN_PARAM_NORM, -1},  {"norm.bias", MN_PARAM_NORM, -1},
    {"gate", MN_PARAM_GATE, -1},
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
        l->up_w = mn_tensor_2d(NULL, MN_F32, m->units, m->dim);
        l->up_b = mn_tensor_1d(NULL, MN_F32, m->units);
        l->down_w = mn_tensor_2d(NULL, MN_F32, m->dim, m->units);
        l->down_b = l->norm_w = l->norm_b = mn_tensor_1d(NULL, MN_F32, m->dim);
        l->gate = mn_tensor_1d(NULL, MN_F32, 1);
        for (int64_t p = 0; p < MN_MEMORY_PARAMS; p++) {
            mn_tensor *t = param_of(l, p);
            MN_TRY(mn_arena_alloc(&m->weights, &t->data, mn_tensor_bytes(t)));
        }
    }
    return MN_OK;
}

static mn_status check_shape(const mn_memory_shape *s, int ranks) {
    MN_CHECK(s->count > 0, MN_ERR_USAGE, "memory %s: no block to stand behind", s->name);
    for (int64_t i = 0; i < s->count; i++) {
        const int64_t block = s->blocks[i];
        MN_CHECK(block >= 0 && block < s->layers, MN_ERR_USAGE,
                 "memory %s: block %lld, the model has 0 to %lld", s->name, (long long)block,
                 (long long)s->layers - 1);
        MN_CHECK(i == 0 || block > s->blocks[i - 1], MN_ERR_USAGE,
                 "memory %s: block %lld stands behind block %lld in the list, rising ones expected",
                 s->name, (long long)block, (long long)s->blocks[i - 1]);
    }
    MN_CHECK(s->hidden >= ranks, MN_ERR_USAGE,
             "memory %s: %d ranks cannot share %lld hidden units: each needs one", s->name, ranks,
             (long long)s->hidden);
    return MN_OK;
}

mn_status mn_memory_plan(mn_memory **out, mn_device *device, mn_comm *tp,
                         const mn_memory_shape *shape) {
    const int rank = mn_comm_rank(tp), ranks = mn_comm_size(tp);
    mn_status st = MN_OK;
    mn_memory *m = NULL;
    *out = NULL;
    MN_TRY(check_shape(shape, ranks));
    m = calloc(1, sizeof *m);
    MN_CHECK(m, MN_ERR_MEMORY, "no memory for memory %s", shape->name);
    m->hidden = shape->hidden;
    m->units = mn_part_count(shape->hidden, rank, ranks);
    m->unit_begin = mn_part_begin(shape->hidden, rank, ranks);
    m->dim = shape->dim;
    m->count = shape->count;
    m->device = device;
    m->tp = tp;
    m->name = strdup(shape->name);
    m->layers = calloc((size_t)m->count, sizeof *m->layers);
    mn_arena_init(&m->weights, "memory", device);
    MN_CHECK_GOTO(m->name && m->layers, MN_ERR_MEMORY, "no memory for memory %s", shape->name);
    for (int64_t i = 0; i < m->count; i++) m->layers[i].block = shape->blocks[i];
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

mn_status mn_memory_new(mn_memory **out, mn_device *device, mn_comm *tp,
                        const mn_memory_shape *shape) {
    MN_TRY(mn_memory_plan(out, device, tp, shape));
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

mn_status mn_memory_like(mn_memory **out, const mn_memory *m) {
    int64_t *blocks = malloc((size_t)m->count * sizeof *blocks);
    *out = NULL;
    MN_CHECK(blocks, MN_ERR_MEMORY, "no memory for memory %s", m->name);
    for (int64_t i = 0; i < m->count; i++) blocks[i] = m->layers[i].block;
    const mn_status st = mn_memory_new(out, m->device, m->tp,
                                       &(mn_memory_shape){.name = m->name,
                                                          .hidden = m->hidden,
                                                          .dim = m->dim,
                                                          .layers = blocks[m->count - 1] + 1,
                                                          .blocks = blocks,
                                                          .count = m->count});
    free(blocks);
    return st;
}

/* ---- initial values ---- */

static void fill(float *to, int64_t n, double value) {
    for (int64_t i = 0; i < n; i++) to[i] = (float)value;
}

/* Parameter p of a layer, all of it, into `values`. A matrix has a random stream of its own, counted by block,
 * so that a block starts alike whatever other blocks have memories. */
static mn_status initial(float *values, const mn_tensor *whole, int64_t p, int64_t block,
                         const mn_memory_options *o) {
    enum { GATE = MN_MEMORY_PARAMS - 1, NORM_W = 4 };
    const uint64_t streams = UINT64_C(0x6d656d) << 40; /* "mem": far from those of the data */
    if (whole->ndim == 2)
        return mn_orthogonal(values, whole->shape[0], whole->shape[1], sqrt(2), o->seed,
                             streams + (uint64_t)(block * MN_MEMORY_PARAMS + p));
    fill(values, whole->shape[0], p == GATE ? o->gate : p == NORM_W ? 1 : 0);
    return MN_OK;
}

/* Orthogonal is a matrix as a whole: every rank makes all of it and keeps its part. */
static mn_status fill_initial(mn_memory *m, const mn_memory_options *o) {
    mn_status st = MN_OK;
    float *values = malloc((size_t)(m->hidden * m->dim) * sizeof *values);
    MN_CHECK(values, MN_ERR_MEMORY, "no memory for memory %s", m->name);
    for (int64_t i = 0; i < m->count * MN_MEMORY_PARAMS; i++) {
        mn_memory_param row;
        mn_memory_param_at(&row, m, i);
        mn_stored all = {
            .name = row.name, .view = mn_slice_whole(&row.slice, row.tensor), .file = m->name};
        all.view.data = values;
        MN_GOTO(initial(values, &all.view, i % MN_MEMORY_PARAMS,
                        m->layers[i / MN_MEMORY_PARAMS].block, o));
        MN_GOTO(mn_slice_load(m->device, row.tensor, &row.slice, &all));
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
    MN_GOTO(mn_memory_new(&m, model->device, model->tp,
                          &(mn_memory_shape){.name = o.name,
                                             .hidden = o.hidden,
                                             .dim = model->config.dim,
                                             .layers = layers,
                                             .blocks = o.blocks,
                                             .count = o.block_count}));
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
    const int64_t all = out->tensor->shape[0];
    out->slice = params[p].axis < 0 ? (mn_slice){.axis = -1, .count = all, .whole = all}
                                    : (mn_slice){params[p].axis, memory->unit_begin, memory->units,
                                                 memory->hidden};
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
