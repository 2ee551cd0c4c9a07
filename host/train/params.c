/* params.c - see params.h. */
#include "train/params.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    UNIT = 16,          /* parts begin on 64 bytes, as tensors do */
    MOST_SENT = 1 << 20 /* numbers of a piece of weights on its way: 4 MiB from each replica */
};

static bool decays(const mn_train_options *o, mn_param_group group) {
    return (o->decay_groups >> group & 1u) != 0;
}

/* Key-value heads may be at several ranks each. */
static int copies_of(const mn_slice *slice, const mn_comm *tp) {
    const int64_t ranks = mn_comm_size(tp);
    if (slice->axis < 0) return (int)ranks;
    const int64_t times = ranks * slice->count / slice->whole; /* 1 and a bit where parts differ */
    return times > 1 ? (int)times : 1;
}

static mn_status open_memory(train_params *p, mn_memory *memory, const mn_train_options *o) {
    MN_TRY(mn_memory_like(&p->memory_grads, memory));
    for (int64_t i = 0; i < p->count; i++) {
        mn_memory_param value, grad;
        train_param *t = &p->items[i];
        mn_memory_param_at(&value, memory, i);
        mn_memory_param_at(&grad, p->memory_grads, i);
        *t = (train_param){.decays = decays(o, value.group),
                           .copies = copies_of(&value.slice, p->tp),
                           .slice = value.slice,
                           .value = value.tensor,
                           .grad = grad.tensor};
        memcpy(t->name, value.name, sizeof value.name);
    }
    return MN_OK;
}

/* Norms by their names, other vectors are biases; a model has no gates. */
static mn_param_group group_of(const mn_binding_row *row) {
    if (row->ndim == 2) return MN_PARAM_WEIGHT;
    return strstr(row->name, "norm") ? MN_PARAM_NORM : MN_PARAM_BIAS;
}

static mn_status open_model(train_params *p, mn_model *model, const mn_train_options *o) {
    MN_TRY(mn_model_like(&p->model_grads, model));
    for (int64_t i = 0; i < p->count; i++) {
        mn_binding_row value, grad;
        train_param *t = &p->items[i];
        mn_binding_at(&value, &model->config, model, i);
        mn_binding_at(&grad, &model->config, p->model_grads, i);
        *t = (train_param){.decays = decays(o, group_of(&value)),
                           .copies = copies_of(&value.slice, p->tp),
                           .slice = value.slice,
                           .value = value.weight,
                           .grad = grad.weight};
        memcpy(t->name, value.name, sizeof value.name);
    }
    return MN_OK;
}

/* ---- the vector of all and its parts ---- */

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Where the part of a replica begins; that of `size` is the end. */
static int64_t part_begin(const train_params *p, int rank) {
    const int64_t total = p->flat.shape[0], units = (total + UNIT - 1) / UNIT;
    return min64(mn_part_begin(units, rank, mn_comm_size(p->owners)) * UNIT, total);
}

static void place_items(train_params *p) {
    const mn_arena *grads = p->memory_grads ? &p->memory_grads->weights : &p->model_grads->weights;
    p->flat = mn_tensor_1d(grads->base, MN_F32, (int64_t)(grads->used / sizeof(float)));
    p->own = part_begin(p, mn_comm_rank(p->owners));
    p->own_count = part_begin(p, mn_comm_rank(p->owners) + 1) - p->own;
    for (int64_t i = 0; i < p->count; i++) {
        train_param *t = &p->items[i];
        const int64_t numbers = mn_tensor_count(t->value);
        t->flat = (float *)t->grad->data - (float *)p->flat.data;
        assert(t->flat >= 0 && t->flat + numbers <= p->flat.shape[0]);
        t->begin = min64(max64(p->own - t->flat, 0), numbers);
        t->count = min64(max64(p->own + p->own_count - t->flat, 0), numbers) - t->begin;
        const mn_tensor whole = mn_slice_whole(&t->slice, t->value);
        p->numbers += mn_tensor_count(&whole);
    }
}

static mn_status lay_out_moments(train_params *p) {
    const size_t bytes = (size_t)p->own_count * sizeof(float);
    MN_TRY(mn_arena_alloc(&p->moments, &p->mean, bytes));
    return mn_arena_alloc(&p->moments, &p->square, bytes);
}

static mn_status open_moments(train_params *p) {
    mn_arena_init(&p->moments, "optimizer", p->device);
    MN_TRY(lay_out_moments(p));
    MN_TRY(mn_arena_commit(&p->moments));
    MN_TRY(lay_out_moments(p));
    for (int64_t i = 0; i < p->count; i++) {
        train_param *t = &p->items[i];
        const int64_t at = t->flat + t->begin - p->own;
        t->mean = mn_tensor_1d(t->count ? p->mean + at : NULL, MN_F32, t->count);
        t->square = mn_tensor_1d(t->count ? p->square + at : NULL, MN_F32, t->count);
    }
    return MN_OK;
}

static mn_status lay_out_scratch(train_params *p) {
    const size_t replicas = (size_t)mn_comm_size(p->owners), bytes = (size_t)p->piece * 4;
    MN_TRY(mn_arena_alloc(&p->scratch, &p->device_sums, (size_t)p->count * sizeof *p->sums));
    if (p->piece == 0) return MN_OK;
    MN_TRY(mn_arena_alloc(&p->scratch, &p->sent, bytes));
    return mn_arena_alloc(&p->scratch, &p->received, replicas * bytes);
}

static mn_status open_scratch(train_params *p) {
    p->sums = malloc((size_t)p->count * sizeof *p->sums);
    MN_CHECK(p->sums, MN_ERR_MEMORY, "no memory for %lld parameters", (long long)p->count);
    /* The first part is no smaller than the others. */
    if (mn_comm_size(p->owners) > 1) p->piece = min64(part_begin(p, 1), MOST_SENT);
    mn_arena_init(&p->scratch, "optimizer's scratch", p->device);
    MN_TRY(lay_out_scratch(p));
    MN_TRY(mn_arena_commit(&p->scratch));
    return lay_out_scratch(p);
}

mn_status mn_params_open(train_params *p, mn_model *model, mn_memory *memory,
                         const mn_train_options *options, mn_comm *owners) {
    *p = (train_params){.device = model->device, .tp = model->tp, .owners = owners};
    p->count = memory ? memory->count * MN_MEMORY_PARAMS : mn_binding_count(&model->config);
    p->items = calloc((size_t)p->count, sizeof *p->items);
    MN_CHECK(p->items, MN_ERR_MEMORY, "no memory for %lld parameters", (long long)p->count);
    MN_TRY(memory ? open_memory(p, memory, options) : open_model(p, model, options));
    place_items(p);
    MN_TRY(open_moments(p));
    return open_scratch(p);
}

void mn_params_close(train_params *p) {
    mn_memory_close(&p->memory_grads);
    mn_model_close(&p->model_grads);
    mn_arena_free(&p->moments);
    mn_arena_free(&p->scratch);
    free(p->sums);
    free(p->items);
    *p = (train_params){0};
}

/* ---- gradients ---- */

mn_status mn_params_clear(train_params *p) {
    for (int64_t i = 0; i < p->count; i++) MN_TRY(mn_zero(p->device, p->items[i].grad));
    return MN_OK;
}

mn_status mn_params_norm(double *norm, const train_params *p) {
    /* Zeros are zeros in every type. */
    mn_tensor zeros = mn_tensor_1d(p->device_sums, MN_F32, 2 * p->count);
    double sum = 0;
    MN_TRY(mn_zero(p->device, &zeros));
    for (int64_t i = 0; i < p->count; i++)
        MN_TRY(mn_square_sum(p->device, &p->device_sums[i], p->items[i].grad));
    MN_TRY(p->device->download(p->device, p->sums, p->device_sums,
                               (size_t)p->count * sizeof *p->sums));
    for (int64_t i = 0; i < p->count; i++) p->sums[i] /= p->items[i].copies;
    MN_TRY(mn_comm_all_reduce(p->tp, p->sums, p->count, MN_COMM_F64, MN_COMM_SUM));
    for (int64_t i = 0; i < p->count; i++) {
        sum += p->sums[i];
        MN_CHECK(isfinite(sum), MN_ERR_NUMERIC, "the gradient of %s is not finite",
                 p->items[i].name);
    }
    *norm = sqrt(sum);
    return MN_OK;
}

/* ---- the step ---- */

/* Numbers first .. first + count - 1 of a tensor, row after row. */
static mn_tensor numbers_of(const mn_tensor *t, int64_t first, int64_t count) {
    return mn_tensor_1d((float *)t->data + first, MN_F32, count);
}

/* Copies what of a stretch of the flat vector, which `values` holds, belongs to weights: into the weights, or
 * out of them. */
static mn_status copy_weights(const train_params *p, float *values, int64_t first, int64_t count,
                              bool into) {
    for (int64_t i = 0; i < p->count; i++) {
        const train_param *t = &p->items[i];
        const int64_t begin = max64(t->flat, first);
        const int64_t end = min64(t->flat + mn_tensor_count(t->value), first + count);
        if (begin >= end) continue;
        mn_tensor weights = numbers_of(t->value, begin - t->flat, end - begin);
        mn_tensor packed = mn_tensor_1d(values + (begin - first), MN_F32, end - begin);
        MN_TRY(mn_cast(p->device, into ? &weights : &packed, into ? &packed : &weights));
    }
    return MN_OK;
}

/* Every replica gets the weights that the others have moved, piece by piece. */
static mn_status exchange(train_params *p) {
    const int replicas = mn_comm_size(p->owners), me = mn_comm_rank(p->owners);
    for (int64_t at = 0; at < part_begin(p, 1); at += p->piece) {
        const mn_tensor sent = mn_tensor_1d(p->sent, MN_F32, p->piece);
        mn_tensor received = mn_tensor_2d(p->received, MN_F32, replicas, p->piece);
        MN_TRY(copy_weights(p, p->sent, p->own + at, min64(p->piece, p->own_count - at), false));
        MN_TRY(mn_comm_gather_tensor(p->owners, p->device, &received, &sent));
        for (int r = 0; r < replicas; r++) {
            const int64_t first = part_begin(p, r) + at, left = part_begin(p, r + 1) - first;
            if (r != me)
                MN_TRY(copy_weights(p, p->received + r * p->piece, first, min64(p->piece, left),
                                    true));
        }
    }
    return MN_OK;
}

mn_status mn_params_step(train_params *p, const mn_train_options *o, int64_t step,
                         double learning_rate, double scale) {
    mn_adamw a = {.lr = (float)learning_rate,
                  .beta1 = (float)o->adam_beta1,
                  .beta2 = (float)o->adam_beta2,
                  .eps = (float)o->adam_epsilon,
                  .correction1 = (float)(1 - pow(o->adam_beta1, (double)step)),
                  .correction2 = (float)(1 - pow(o->adam_beta2, (double)step)),
                  .grad_scale = (float)scale};
    for (int64_t i = 0; i < p->count; i++) {
        train_param *t = &p->items[i];
        if (t->count == 0) continue;
        mn_tensor value = numbers_of(t->value, t->begin, t->count);
        const mn_tensor grad = numbers_of(t->grad, t->begin, t->count);
        a.decay = t->decays ? (float)o->weight_decay : 0;
        MN_TRY(mn_adamw_step(p->device, &value, &t->mean, &t->square, &grad, &a));
    }
    return p->piece > 0 ? exchange(p) : MN_OK;
}

/* ---- for checkpoints ---- */

mn_status mn_params_moments(const float **values, mn_buf *room, const train_params *p,
                            bool square) {
    const size_t bytes = (size_t)p->own_count * sizeof(float);
    mn_status st = MN_OK;
    mn_buf copy = {0};
    const void *mine = square ? p->square : p->mean;
    mn_buf_clear(room);
    if (!p->device->host_memory) {
        MN_GOTO(mn_buf_reserve(&copy, bytes));
        MN_GOTO(p->device->download(p->device, copy.data, mine, bytes));
        copy.len = bytes;
        mine = copy.data;
    }
    if (mn_comm_size(p->owners) > 1) {
        MN_GOTO(mn_comm_gather(p->owners, room, mine, bytes, 0));
    } else if (copy.data) {
        mn_buf_free(room);
        *room = copy;
        copy = (mn_buf){0};
    }
    *values = room->data ? (const void *)room->data : mine;
done:
    mn_buf_free(&copy);
    return st;
}
