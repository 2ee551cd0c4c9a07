/* watch.c - see watch.h. */
#include "model/watch.h"

#include <stdlib.h>

mn_status mn_watch_open(mn_watch *w, mn_device *device, mn_comm *tp, int64_t room) {
    *w = (mn_watch){.device = device, .tp = tp, .room = room};
    w->items = calloc((size_t)room, sizeof *w->items);
    w->found = calloc((size_t)room, sizeof *w->found);
    MN_CHECK(w->items && w->found, MN_ERR_MEMORY, "no memory to watch %lld tensors",
             (long long)room);
    return MN_OK;
}

mn_status mn_watch_lay_out(mn_watch *w, mn_arena *arena) {
    return mn_arena_alloc(arena, &w->counts, (size_t)w->room * sizeof *w->counts);
}

void mn_watch_close(mn_watch *w) {
    free(w->items);
    free(w->found);
    *w = (mn_watch){0};
}

mn_status mn_watch_clear(mn_watch *w, int64_t begin, int64_t end) {
    /* Zeros are zeros in every type. */
    mn_tensor counts = mn_tensor_1d(w->counts + begin, MN_F32, 2 * (end - begin));
    return begin < end ? mn_zero(w->device, &counts) : MN_OK;
}

mn_status mn_watch_put(mn_watch *w, int64_t place, const mn_tensor *x) {
    return mn_count_nonfinite(w->device, &w->counts[place], x);
}

mn_status mn_watch_begin(mn_watch *w) {
    w->count = 0;
    return mn_watch_clear(w, 0, w->room);
}

mn_status mn_watch_add(mn_watch *w, const mn_tensor *x, mn_watched item) {
    MN_CHECK(w->count < w->room, MN_ERR_USAGE, "more than %lld tensors are watched",
             (long long)w->room);
    item.numbers = mn_tensor_count(x);
    w->items[w->count] = item;
    return mn_watch_put(w, w->count++, x);
}

static mn_status look(mn_watch *w, int64_t count, int64_t *first) {
    *first = -1;
    if (count == 0) return MN_OK;
    MN_TRY(w->device->download(w->device, w->found, w->counts, (size_t)count * sizeof *w->found));
    MN_TRY(mn_comm_all_reduce(w->tp, w->found, count, MN_COMM_I64, MN_COMM_MAX));
    for (int64_t i = count; i-- > 0;)
        if (w->found[i] > 0) *first = i;
    if (*first < 0) return MN_OK;
    /* Slices differ by one row or column, the message must not. */
    return mn_comm_all_reduce(w->tp, &w->items[*first].numbers, 1, MN_COMM_I64, MN_COMM_MAX);
}

mn_status mn_watch_look(mn_watch *w, int64_t *first) { return look(w, w->count, first); }

mn_status mn_watch_look_at_all(mn_watch *w, int64_t *first) { return look(w, w->room, first); }
