/* tape_loss.c - final norm, output matrix and cross-entropy, some rows at a time. */
#include "model/tape_impl.h"

/* Rows first .. first + count - 1 of a matrix. */
static mn_tensor slice(const mn_tensor *t, int64_t first, int64_t count) {
    const size_t row = (size_t)t->shape[1] * mn_dtype_size(t->dtype);
    return mn_tensor_2d((char *)t->data + (size_t)first * row, t->dtype, count, t->shape[1]);
}

/* Losses of some rows; their logits become the gradient and, with `backward`, go on to dh. */
static mn_status run_rows(mn_tape *t, int64_t first, int64_t count, float scale, bool backward) {
    mn_device *dev = t->model->device;
    const mn_model *m = t->model;
    const mn_tensor h = slice(&t->h, first, count);
    mn_tensor dh = slice(&t->dh, first, count);
    mn_tensor logits = mn_tape_rows(&t->logits, count);
    mn_tensor losses = mn_tensor_1d((float *)t->losses.data + first, MN_F32, count);
    const mn_tensor targets = mn_tensor_1d((int32_t *)t->targets.data + first, MN_I32, count);
    const int64_t vocab = logits.shape[1];
    MN_TRY(mn_linear_fwd(dev, &logits, vocab, &h, &m->head_w, NULL, MN_EPILOGUE_STORE,
                         t->limits.compute));
    MN_TRY(mn_vocab_cross_entropy(&t->vocab, &losses, &logits, &targets, scale));
    if (!backward) return MN_OK;
    if (t->limits.full)
        MN_TRY(mn_linear_bwd_w(dev, &t->model_grad->head_w, NULL, &logits, vocab, &h));
    return mn_linear_bwd_x(dev, &dh, m->config.dim, &logits, vocab, &m->head_w, false,
                           t->limits.compute);
}

mn_status mn_tape_run_loss(mn_tape *t, float scale, bool backward) {
    const mn_model *m = t->model;
    const int64_t rows = t->last.shape[0], layers = m->config.layers;
    /* Slices of about the same size: none is too short for a product at full speed. */
    const int64_t slices = (rows + t->limits.loss_rows - 1) / t->limits.loss_rows;
    mn_tensor h = mn_tape_rows(&t->h, rows), dh = mn_tape_rows(&t->dh, rows);
    MN_TRY(mn_tape_norm(t, &h, &t->last, &m->norm_w, &m->norm_b));
    for (int64_t i = 0; i < slices; i++) {
        const int64_t first = i * rows / slices, end = (i + 1) * rows / slices;
        MN_TRY(run_rows(t, first, end - first, scale, backward));
    }
    if (!backward) return MN_OK;
    /* With tp dh are parts of the gradient, and so is what the norm makes of them: it is linear in them. */
    mn_model *g = t->model_grad;
    MN_TRY(mn_tape_norm_bwd(t, &t->grad_last, &dh, &t->last, &m->norm_w, g ? &g->norm_w : NULL,
                            g ? &g->norm_b : NULL, false));
    MN_TRY(mn_sum_ranks(m->device, m->tp, &t->grad_last));
    return mn_tape_watch_gradient(t, &t->grad_last, "gradient behind", layers - 1);
}

mn_status mn_tape_read_loss(mn_tape *t, double *loss) {
    mn_device *dev = t->model->device;
    const int64_t rows = t->last.shape[0];
    *loss = 0;
    MN_TRY(dev->download(dev, t->host_losses, t->losses.data, (size_t)rows * sizeof(float)));
    for (int64_t i = 0; i < rows; i++) *loss += (double)t->host_losses[i];
    return MN_OK;
}
