/* tape_sum.c - gradients of which every rank has a part: those of norms, which all ranks have and each fed with its
 * share of the branches' gradients, and those of key-value heads that several ranks attend to. */
#include "model/tape_impl.h"

bool mn_tape_shares_kv(const mn_tape *t) {
    return t->model->shard.size > t->model->config.kv_heads;
}

static mn_status sum_all(const mn_model *g, mn_tensor *const *tensors, int count) {
    for (int i = 0; i < count; i++) /* Llama's norms have no biases */
        if (tensors[i]->data) MN_TRY(mn_sum_ranks(g->device, g->tp, tensors[i]));
    return MN_OK;
}

static mn_status sum_norms(mn_model *g) {
    mn_tensor *const last[] = {&g->norm_w, &g->norm_b};
    MN_TRY(sum_all(g, last, 2));
    for (int64_t i = 0; i < g->config.layers; i++) {
        mn_layer *l = &g->layers[i];
        mn_tensor *const norms[] = {&l->norm1_w, &l->norm1_b, &l->norm2_w, &l->norm2_b};
        MN_TRY(sum_all(g, norms, 4));
    }
    return MN_OK;
}

/* The heads of all ranks side by side, each the sum over the ranks that have it. */
static mn_status sum_shared(mn_tape *t, mn_tensor *grad) {
    mn_device *dev = t->model->device;
    const int64_t dim = t->shared_kv.shape[1];
    const int64_t first = t->model->shard.kv_head_begin * t->model->config.head_dim;
    mn_tensor mine = mn_tensor_2d((float *)t->shared_kv.data + first * dim, MN_F32, grad->shape[0],
                                  dim);
    MN_TRY(mn_zero(dev, &t->shared_kv));
    MN_TRY(mn_cast(dev, &mine, grad));
    MN_TRY(mn_sum_ranks(dev, t->model->tp, &t->shared_kv));
    return mn_cast(dev, grad, &mine);
}

mn_status mn_tape_sum_gradients(mn_tape *t) {
    if (!t->model->tp || !t->limits.full) return MN_OK;
    MN_TRY(sum_norms(t->model_grad));
    for (int64_t i = 0; mn_tape_shares_kv(t) && i < t->model->config.layers; i++) {
        MN_TRY(sum_shared(t, &t->model_grad->layers[i].k_w));
        MN_TRY(sum_shared(t, &t->model_grad->layers[i].v_w));
    }
    return MN_OK;
}
