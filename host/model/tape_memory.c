/* tape_memory.c - backward through one memory, all in fp32. */
#include "model/memory_impl.h"
#include "model/tape_impl.h"

static mn_status watch_gradients(mn_tape *t, const mn_memory_layer *g) {
    const mn_tensor *const all[] = {&g->up_w,   &g->up_b,   &g->down_w, &g->down_b,
                                    &g->norm_w, &g->norm_b, &g->gate};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        MN_TRY(mn_tape_watch_gradient(t, all[i], "memory's gradient behind", g->block));
    return MN_OK;
}

/* out = y + gate LN(down(gelu(pre))), pre = up(y). Ranks have hidden units each, and with them the gradients of their
 * rows of up and columns of down; all other gradients are whole on each of them. */
mn_status mn_tape_memory_bwd(mn_tape *t, int64_t block, mn_tensor *d) {
    mn_device *dev = t->model->device;
    const mn_memory_layer *m = mn_memory_at(t->memory, block);
    const mn_memory_layer *found = mn_memory_at(t->memory_grad, block);
    const mn_kept *k = &t->kept[block];
    mn_memory_layer g = *found; /* views: the numbers are the caller's */
    const int64_t rows = d->shape[0], hidden = t->memory->units, dim = t->memory->dim;
    mn_tensor ddown = mn_tape_rows(&t->dh, rows);
    mn_tensor inner = mn_tape_rows(&t->inner, rows), dinner = mn_tape_rows(&t->dinner, rows);
    MN_TRY(mn_gated_norm_bwd(dev, &ddown, &g.norm_w, &g.norm_b, &g.gate, d, &k->down, &m->norm_w,
                             &m->norm_b, &m->gate, MN_MEMORY_NORM_EPS));
    MN_TRY(mn_gelu_fwd(dev, &inner, &k->pre));
    MN_TRY(mn_linear_bwd_w(dev, &g.down_w, &g.down_b, &ddown, dim, &inner));
    MN_TRY(mn_linear_bwd_x(dev, &dinner, hidden, &ddown, dim, &m->down_w, false, MN_COMPUTE_F32));
    MN_TRY(mn_gelu_bwd(dev, &dinner, &dinner, &k->pre));
    MN_TRY(mn_linear_bwd_w(dev, &g.up_w, &g.up_b, &dinner, hidden, &k->y));
    MN_TRY(watch_gradients(t, &g));
    if (block == t->first) return MN_OK; /* what is below never changes */
    MN_TRY(mn_begin_parts(dev, t->model->tp, d));
    MN_TRY(mn_linear_bwd_x(dev, d, dim, &dinner, hidden, &m->up_w, true, MN_COMPUTE_F32));
    return mn_sum_ranks(dev, t->model->tp, d);
}
