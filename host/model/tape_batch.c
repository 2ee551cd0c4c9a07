/* tape_batch.c - takes a batch in: checks it, gives every tensor its rows, and runs the passes. */
#include "model/tape_impl.h"

static mn_status check_batch(const mn_tape *t, const mn_train_batch *b) {
    const mn_model_config *c = &t->model->config;
    int64_t sum = 0;
    MN_CHECK(b->tokens > 0 && b->tokens <= t->limits.max_tokens && b->seq_count > 0 &&
                 b->seq_count <= t->limits.max_seqs,
             MN_ERR_USAGE, "a batch of %lld tokens and %lld sequences for a tape of %lld and %lld",
             (long long)b->tokens, (long long)b->seq_count, (long long)t->limits.max_tokens,
             (long long)t->limits.max_seqs);
    for (int64_t i = 0; i < b->seq_count; i++) {
        MN_CHECK(b->lengths[i] > 0 && b->lengths[i] <= c->max_positions, MN_ERR_USAGE,
                 "sequence %lld has %lld tokens, the model has %lld positions", (long long)i,
                 (long long)b->lengths[i], (long long)c->max_positions);
        sum += b->lengths[i];
    }
    MN_CHECK(sum == b->tokens, MN_ERR_USAGE, "sequences of %lld tokens in a batch of %lld",
             (long long)sum, (long long)b->tokens);
    MN_CHECK(b->output_count >= 0 && b->output_count <= b->tokens, MN_ERR_USAGE,
             "%lld targets for %lld tokens", (long long)b->output_count, (long long)b->tokens);
    for (int64_t i = 0; i < b->output_count; i++) {
        const int32_t at = b->outputs[i], before = i > 0 ? b->outputs[i - 1] : -1;
        MN_CHECK(at > before && at < b->tokens, MN_ERR_USAGE,
                 "target %lld stands behind token %d, %d to %lld expected", (long long)i, at,
                 before + 1, (long long)b->tokens - 1);
        MN_CHECK(b->targets[i] >= 0 && b->targets[i] < c->vocab, MN_ERR_DATA,
                 "target %lld is token %d, the model has %lld", (long long)i, b->targets[i],
                 (long long)c->vocab);
    }
    return MN_OK;
}

/* Gives every tensor as many rows as the batch has. */
static void set_rows(mn_tape *t, int64_t tokens, int64_t outputs) {
    const int64_t layers = t->model->config.layers;
    mn_tensor *const all[] = {&t->trunk,       &t->h,         &t->dh,       &t->grad,
                              &t->qkv,         &t->act,       &t->dact,     &t->side,
                              &t->dout,        &t->dq,        &t->dk,       &t->dv,
                              &t->delta,       &t->ids,       &t->rows,     &t->inner,
                              &t->dinner,      &t->positions, &t->frozen.q, &t->frozen.attended,
                              &t->frozen.gate, &t->frozen.up};
    mn_tensor *const some[] = {&t->last, &t->grad_last, &t->outputs, &t->targets};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) all[i]->shape[0] = tokens;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) some[i]->shape[0] = outputs;
    for (int64_t i = t->first; i < layers; i++) {
        mn_kept *k = &t->kept[i];
        mn_tensor *const front[] = {&k->x, &k->q, &k->attended, &k->lse};
        mn_tensor *const behind[] = {&k->middle, &k->gate, &k->up, &k->y, &k->pre, &k->down};
        for (size_t j = 0; j < sizeof front / sizeof *front; j++) front[j]->shape[0] = tokens;
        for (size_t j = 0; j < sizeof behind / sizeof *behind; j++)
            behind[j]->shape[0] = i == layers - 1 ? outputs : tokens;
    }
    t->compact = outputs < tokens;
}

mn_status mn_tape_send(mn_tape *t, const mn_train_batch *b, const float *hidden) {
    mn_device *dev = t->model->device;
    int32_t at = 0, row = 0;
    MN_TRY(check_batch(t, b));
    MN_CHECK(!hidden || !t->limits.full, MN_ERR_USAGE,
             "nothing is frozen when the whole model trains");
    for (int64_t i = 0; i < b->seq_count; i++) {
        const int32_t len = (int32_t)b->lengths[i];
        t->host_seqs[i] = (mn_attn_seq){
            .q_begin = at, .q_len = len, .own_begin = row, .own_len = len};
        for (int32_t p = 0; p < len; p++) {
            t->host_positions[at + p] = p;
            t->host_rows[at + p] = row + p;
        }
        at += len;
        row += (len + MN_TAPE_KV_ALIGN - 1) / MN_TAPE_KV_ALIGN * MN_TAPE_KV_ALIGN;
    }
    const size_t tokens = (size_t)b->tokens * sizeof(int32_t),
                 outputs = (size_t)b->output_count * sizeof(int32_t);
    const struct {
        void *to;
        const void *from;
        size_t bytes;
    } arrays[] = {{t->ids.data, b->ids, tokens},
                  {t->positions.data, t->host_positions, tokens},
                  {t->rows.data, t->host_rows, tokens},
                  {t->outputs.data, b->outputs, outputs},
                  {t->targets.data, b->targets, outputs},
                  {t->device_seqs, t->host_seqs, (size_t)b->seq_count * sizeof *t->host_seqs},
                  {t->trunk.data, hidden, hidden ? tokens * (size_t)t->model->config.dim : 0}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (arrays[i].bytes > 0)
            MN_TRY(dev->upload(dev, arrays[i].to, arrays[i].from, arrays[i].bytes));
    t->sent = b->ids;
    return MN_OK;
}

/* Sends the batch unless it is there. */
static mn_status bind_batch(mn_tape *t, const mn_train_batch *b, const float *hidden) {
    if (t->sent != b->ids) MN_TRY(mn_tape_send(t, b, hidden));
    t->sent = NULL;
    t->seqs = (mn_attn_seqs){t->host_seqs, t->device_seqs, b->seq_count};
    set_rows(t, b->tokens, b->output_count);
    return MN_OK;
}

mn_status mn_tape_trunk(mn_tape *t, const mn_train_batch *batch, float *hidden) {
    mn_device *dev = t->model->device;
    MN_CHECK(!t->limits.full, MN_ERR_USAGE, "nothing is frozen when the whole model trains");
    MN_TRY(MN_RANGE(dev, "loader", bind_batch(t, batch, NULL)));
    MN_TRY(mn_watch_begin(&t->watch));
    MN_TRY(MN_RANGE(dev, "trunk", mn_tape_run_trunk(t)));
    MN_TRY(dev->download(dev, hidden, t->trunk.data, mn_tensor_bytes(&t->trunk)));
    return mn_tape_verdict(t, NULL);
}

static mn_status forward(mn_tape *t, const mn_train_batch *batch, const float *hidden) {
    mn_device *dev = t->model->device;
    MN_TRY(MN_RANGE(dev, "loader", bind_batch(t, batch, hidden)));
    if (batch->output_count == 0) return MN_OK;
    MN_TRY(mn_watch_begin(&t->watch));
    if (!hidden && !t->limits.full) MN_TRY(MN_RANGE(dev, "trunk", mn_tape_run_trunk(t)));
    return MN_RANGE(dev, "forward", mn_tape_run_top(t));
}

mn_status mn_tape_loss(mn_tape *t, const mn_train_batch *batch, const float *hidden, double *loss) {
    *loss = 0;
    MN_TRY(forward(t, batch, hidden));
    if (batch->output_count == 0) return MN_OK;
    MN_TRY(mn_tape_run_loss(t, 1, false));
    MN_TRY(mn_tape_read_loss(t, loss));
    return mn_tape_verdict(t, loss);
}

mn_status mn_tape_submit(mn_tape *t, const mn_train_batch *batch, const float *hidden,
                         float scale) {
    const mn_device *dev = t->model->device;
    t->overflow = false;
    MN_TRY(forward(t, batch, hidden));
    if (batch->output_count == 0) return MN_OK;
    MN_TRY(MN_RANGE(dev, "loss", mn_tape_run_loss(t, scale, true)));
    return MN_RANGE(dev, "backward", mn_tape_run_back(t));
}

mn_status mn_tape_finish(mn_tape *t, double *loss) {
    *loss = 0;
    if (t->last.shape[0] == 0) return MN_OK;
    MN_TRY(mn_tape_read_loss(t, loss));
    return mn_tape_verdict(t, loss);
}

mn_status mn_tape_step(mn_tape *t, const mn_train_batch *batch, const float *hidden, float scale,
                       double *loss) {
    *loss = 0;
    MN_TRY(mn_tape_submit(t, batch, hidden, scale));
    return mn_tape_finish(t, loss);
}
