/* vocab.c - see vocab.h. */
#include "mneme/vocab.h"

#include "model/parallel.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLED = 8 }; /* rows that are gathered at a time: 1.6 MB of Pythia's */

/* Numbers of a row's statistics, as they travel. */
enum { STAT_NUMBERS = sizeof(mn_row_stat) / sizeof(int32_t) };

static const mn_id_range *range_of(const mn_vocab *v) { return v->model->tp ? &v->range : NULL; }

mn_status mn_vocab_open(mn_vocab *v, const mn_model *model, int64_t rows, bool sampling) {
    const size_t total = (size_t)model->config.vocab, here = (size_t)model->shard.vocab;
    *v = (mn_vocab){
        .model = model, .range = {model->shard.vocab_begin, model->config.vocab}, .rows = rows};
    if (!model->tp || !sampling) return MN_OK;
    v->part = malloc(SAMPLED * here * sizeof *v->part);
    v->assembled = malloc(SAMPLED * total * sizeof *v->assembled);
    MN_CHECK(v->part && v->assembled, MN_ERR_MEMORY, "no memory for %d rows of %zu logits", SAMPLED,
             total);
    return MN_OK;
}

mn_status mn_vocab_lay_out(mn_vocab *v, mn_arena *arena) {
    const size_t bytes = (size_t)v->rows * sizeof *v->mine;
    if (!v->model->tp) return MN_OK;
    MN_TRY(mn_arena_alloc(arena, &v->mine, bytes));
    MN_TRY(mn_arena_alloc(arena, &v->all, (size_t)v->model->shard.size * bytes));
    if (!v->part) return MN_OK;
    return mn_arena_alloc(arena, &v->whole, SAMPLED * (size_t)v->range.total * sizeof *v->whole);
}

void mn_vocab_close(mn_vocab *v) {
    free(v->part);
    free(v->assembled);
    mn_buf_free(&v->gathered);
    *v = (mn_vocab){0};
}

mn_status mn_vocab_embed(const mn_model *m, mn_tensor *x, const mn_tensor *ids) {
    const mn_id_range range = {m->shard.vocab_begin, m->config.vocab};
    MN_TRY(mn_embed_fwd(m->device, x, &m->embed_w, ids, m->tp ? &range : NULL));
    return mn_sum_ranks(m->device, m->tp, x);
}

mn_status mn_vocab_stats(mn_vocab *v, mn_row_stat *stats, const mn_tensor *logits) {
    mn_device *dev = v->model->device;
    const int64_t rows = logits->shape[0], ranks = v->model->shard.size;
    if (!v->model->tp) return mn_row_stats(dev, stats, logits, NULL);
    MN_CHECK(rows <= v->rows, MN_ERR_USAGE, "statistics of %lld rows of logits, %lld planned",
             (long long)rows, (long long)v->rows);
    MN_TRY(mn_row_stats(dev, v->mine, logits, &v->range));
    const mn_tensor mine = mn_tensor_1d(v->mine, MN_I32, rows * STAT_NUMBERS);
    mn_tensor all = mn_tensor_2d(v->all, MN_I32, ranks, rows * STAT_NUMBERS);
    MN_TRY(MN_RANGE(dev, "all-gather", mn_comm_gather_tensor(v->model->tp, dev, &all, &mine)));
    return mn_row_stats_merge(dev, stats, v->all, ranks, rows);
}

mn_status mn_vocab_logprobs(mn_vocab *v, mn_tensor *out, const mn_tensor *logits,
                            const mn_row_stat *stats, const mn_tensor *row, const mn_tensor *id) {
    mn_device *dev = v->model->device;
    MN_TRY(mn_logprob_gather(dev, out, logits, stats, row, id, range_of(v)));
    return mn_sum_ranks(dev, v->model->tp, out);
}

mn_status mn_vocab_difference(mn_vocab *v, mn_tensor *out, const mn_tensor *x, const mn_tensor *y) {
    mn_device *dev = v->model->device;
    MN_TRY(mn_row_difference(dev, out, x, y));
    if (!v->model->tp) return MN_OK;
    return MN_RANGE(dev, "all-reduce", mn_comm_reduce_tensor(v->model->tp, dev, out, MN_COMM_MAX));
}

/* v->whole = rows first .. first + count - 1 of the logits of all ranks. */
static mn_status gather_rows(mn_vocab *v, const mn_tensor *logits, int64_t first, int64_t count) {
    mn_device *dev = v->model->device;
    const size_t here = (size_t)logits->shape[1], total = (size_t)v->range.total;
    const size_t bytes = (size_t)count * here * sizeof *v->part;
    const int ranks = v->model->shard.size;
    MN_TRY(dev->download(dev, v->part, (const float *)logits->data + (size_t)first * here, bytes));
    mn_buf_clear(&v->gathered);
    MN_TRY(mn_comm_gather(v->model->tp, &v->gathered, v->part, bytes, -1));
    MN_CHECK(v->gathered.len == (size_t)count * total * sizeof(float), MN_ERR_COMM,
             "%zu bytes of logits from %d ranks, %zu expected", v->gathered.len, ranks,
             (size_t)count * total * sizeof(float));
    const char *from = v->gathered.data;
    for (int r = 0; r < ranks; r++) {
        const size_t begin = (size_t)mn_part_begin(v->range.total, r, ranks);
        const size_t width = (size_t)mn_part_count(v->range.total, r, ranks) * sizeof(float);
        for (int64_t i = 0; i < count; i++, from += width)
            memcpy(v->assembled + (size_t)i * total + begin, from, width);
    }
    return dev->upload(dev, v->whole, v->assembled, (size_t)count * total * sizeof *v->whole);
}

mn_status mn_vocab_sample(mn_vocab *v, mn_tensor *ids, const mn_tensor *logits, const mn_tensor *u,
                          float temperature) {
    mn_device *dev = v->model->device;
    const int64_t rows = logits->shape[0];
    if (!v->model->tp) return mn_sample(dev, ids, logits, u, temperature);
    MN_CHECK(v->part, MN_ERR_USAGE, "this vocabulary was not opened for sampling");
    for (int64_t first = 0; first < rows; first += SAMPLED) {
        const int64_t count = rows - first < SAMPLED ? rows - first : SAMPLED;
        MN_TRY(gather_rows(v, logits, first, count));
        const mn_tensor whole = mn_tensor_2d(v->whole, MN_F32, count, v->range.total);
        const mn_tensor some = mn_tensor_1d((float *)u->data + first, MN_F32, count);
        mn_tensor drawn = mn_tensor_1d((int32_t *)ids->data + first, MN_I32, count);
        MN_TRY(mn_sample(dev, &drawn, &whole, &some, temperature));
    }
    return MN_OK;
}

mn_status mn_vocab_cross_entropy(mn_vocab *v, mn_tensor *loss, mn_tensor *logits,
                                 const mn_tensor *targets, float scale) {
    mn_device *dev = v->model->device;
    if (!v->model->tp) return mn_cross_entropy(dev, loss, logits, targets, scale);
    MN_TRY(mn_vocab_stats(v, v->mine, logits));
    MN_TRY(mn_cross_entropy_part(dev, loss, logits, v->mine, targets, scale, &v->range));
    return mn_sum_ranks(dev, v->model->tp, loss);
}
