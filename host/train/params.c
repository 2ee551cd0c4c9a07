/* params.c - see params.h. */
#include "train/params.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GRADIENT, MEAN, SQUARE };

static bool decays(const mn_train_options *o, mn_param_group group) {
    return (o->decay_groups >> group & 1u) != 0;
}

static mn_status open_memory(train_params *p, mn_memory *memory, const mn_train_options *o) {
    for (int s = 0; s < 3; s++) MN_TRY(mn_memory_like(&p->memory_state[s], memory));
    for (int64_t i = 0; i < p->count; i++) {
        mn_memory_param value, state[3];
        train_param *t = &p->items[i];
        mn_memory_param_at(&value, memory, i);
        for (int s = 0; s < 3; s++) mn_memory_param_at(&state[s], p->memory_state[s], i);
        *t = (train_param){.decays = decays(o, value.group),
                           .value = value.tensor,
                           .grad = state[GRADIENT].tensor,
                           .mean = state[MEAN].tensor,
                           .square = state[SQUARE].tensor};
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
    for (int s = 0; s < 3; s++) MN_TRY(mn_model_like(&p->model_state[s], model));
    for (int64_t i = 0; i < p->count; i++) {
        mn_binding_row value, state[3];
        train_param *t = &p->items[i];
        mn_binding_at(&value, &model->config, model, i);
        for (int s = 0; s < 3; s++) mn_binding_at(&state[s], &model->config, p->model_state[s], i);
        *t = (train_param){.decays = decays(o, group_of(&value)),
                           .value = value.weight,
                           .grad = state[GRADIENT].weight,
                           .mean = state[MEAN].weight,
                           .square = state[SQUARE].weight};
        memcpy(t->name, value.name, sizeof value.name);
    }
    return MN_OK;
}

static mn_status open_sums(train_params *p) {
    const size_t bytes = (size_t)p->count * sizeof *p->sums;
    p->sums = malloc(bytes);
    MN_CHECK(p->sums, MN_ERR_MEMORY, "no memory for %lld parameters", (long long)p->count);
    mn_arena_init(&p->scratch, "gradient norm", p->device);
    MN_TRY(mn_arena_alloc(&p->scratch, &p->device_sums, bytes));
    MN_TRY(mn_arena_commit(&p->scratch));
    return mn_arena_alloc(&p->scratch, &p->device_sums, bytes);
}

mn_status mn_params_open(train_params *p, mn_model *model, mn_memory *memory,
                         const mn_train_options *options) {
    *p = (train_params){.device = model->device};
    p->count = memory ? memory->count * MN_MEMORY_PARAMS : mn_binding_count(&model->config);
    p->items = calloc((size_t)p->count, sizeof *p->items);
    MN_CHECK(p->items, MN_ERR_MEMORY, "no memory for %lld parameters", (long long)p->count);
    MN_TRY(memory ? open_memory(p, memory, options) : open_model(p, model, options));
    for (int64_t i = 0; i < p->count; i++) p->numbers += mn_tensor_count(p->items[i].value);
    return open_sums(p);
}

void mn_params_close(train_params *p) {
    for (int s = 0; s < 3; s++) {
        mn_memory_close(&p->memory_state[s]);
        mn_model_close(&p->model_state[s]);
    }
    mn_arena_free(&p->scratch);
    free(p->sums);
    free(p->items);
    *p = (train_params){0};
}

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
    for (int64_t i = 0; i < p->count; i++) {
        sum += p->sums[i];
        MN_CHECK(isfinite(sum), MN_ERR_NUMERIC, "the gradient of %s is not finite",
                 p->items[i].name);
    }
    *norm = sqrt(sum);
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
        const train_param *t = &p->items[i];
        a.decay = t->decays ? (float)o->weight_decay : 0;
        MN_TRY(mn_adamw_step(p->device, t->value, t->mean, t->square, t->grad, &a));
    }
    return MN_OK;
}
