/* tape_watch.c - what was not finite in a pass, and whose fault it is. */
#include "model/tape_impl.h"

#include <math.h>

mn_status mn_tape_watch(mn_tape *t, const mn_tensor *x, const char *what, int64_t block) {
    return mn_watch_add(&t->watch, x, (mn_watched){.what = what, .block = block});
}

mn_status mn_tape_watch_gradient(mn_tape *t, const mn_tensor *x, const char *what, int64_t block) {
    return mn_watch_add(&t->watch, x, (mn_watched){.what = what, .block = block, .gradient = true});
}

/* A broken number of the memory explains the rest. */
static mn_status check_memory(mn_tape *t) {
    int64_t first = -1;
    mn_memory_param row;
    if (!t->memory) return MN_OK;
    MN_TRY(mn_watch_begin(&t->watch));
    for (int64_t i = 0; i < t->memory->count * MN_MEMORY_PARAMS; i++) {
        mn_memory_param_at(&row, t->memory, i);
        MN_TRY(mn_watch_add(&t->watch, row.tensor, (mn_watched){.block = i}));
    }
    MN_TRY(mn_watch_look(&t->watch, &first));
    if (first < 0) return MN_OK;
    mn_memory_param_at(&row, t->memory, first);
    return mn_fail(MN_ERR_NUMERIC, "memory %s: %lld of %lld numbers of %s are NaN or infinite",
                   t->memory->name, (long long)t->watch.found[first],
                   (long long)t->watch.items[first].numbers, row.name);
}

static mn_status explain(mn_tape *t, int64_t index) {
    const mn_watched w = t->watch.items[index];
    const int64_t bad = t->watch.found[index];
    MN_TRY(mn_model_check_finite(t->model)); /* a broken weight explains it better */
    MN_TRY(check_memory(t));
    if (w.block >= 0)
        return mn_fail(
            MN_ERR_NUMERIC, "%s: %lld of %lld numbers of the %s block %lld are NaN or infinite",
            t->model->path, (long long)bad, (long long)w.numbers, w.what, (long long)w.block);
    mn_binding_row row;
    mn_binding_at(&row, &t->model->config, NULL, -1 - w.block);
    return mn_fail(MN_ERR_NUMERIC,
                   "%s: %lld of %lld numbers of the gradient of %s are NaN or infinite",
                   t->model->path, (long long)bad, (long long)w.numbers, row.name);
}

mn_status mn_tape_verdict(mn_tape *t, const double *loss) {
    int64_t first = -1;
    t->overflow = false;
    MN_TRY(mn_watch_look(&t->watch, &first));
    if (first >= 0 && !t->watch.items[first].gradient) return explain(t, first);
    MN_CHECK(!loss || isfinite(*loss), MN_ERR_NUMERIC,
             "%s: the loss of %lld targets is %g, behind block %lld", t->model->path,
             (long long)t->last.shape[0], *loss, (long long)t->model->config.layers - 1);
    t->overflow = first >= 0;
    t->overflow_at = first;
    return first < 0 || t->limits.may_overflow ? MN_OK : explain(t, first);
}

mn_status mn_tape_explain(mn_tape *t) { return t->overflow ? explain(t, t->overflow_at) : MN_OK; }
