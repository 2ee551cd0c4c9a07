/* bench_batch.c - packed batches for the benchmark, and the arithmetic and memory traffic that they
 * cannot do without. */
#include "cli/bench.h"

#include <stdlib.h>

mn_status mn_bench_batch_open(mn_bench_batch *out, int64_t tokens, int64_t seqs) {
    *out = (mn_bench_batch){.max_tokens = tokens, .max_seqs = seqs};
    int32_t **const arrays[] = {&out->ids, &out->positions, &out->rows, &out->outputs};
    bool all = true;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        all = (*arrays[i] = calloc((size_t)tokens, sizeof(int32_t))) && all;
    out->seqs = calloc((size_t)seqs, sizeof *out->seqs);
    if (all && out->seqs) return MN_OK;
    mn_bench_batch_close(out);
    return mn_fail(MN_ERR_MEMORY, "no memory for a batch of %lld tokens", (long long)tokens);
}

void mn_bench_batch_close(mn_bench_batch *b) {
    free(b->ids);
    free(b->positions);
    free(b->rows);
    free(b->outputs);
    free(b->seqs);
    *b = (mn_bench_batch){0};
}

void mn_bench_batch_clear(mn_bench_batch *b) {
    b->batch = (mn_batch){.ids = b->ids,
                          .positions = b->positions,
                          .rows = b->rows,
                          .seqs = b->seqs,
                          .outputs = b->outputs};
}

void mn_bench_batch_add(mn_bench_batch *b, const mn_bench_seq *s) {
    mn_batch *to = &b->batch;
    b->seqs[to->seq_count++] = (mn_attn_seq){.q_begin = (int32_t)to->tokens,
                                             .q_len = (int32_t)s->count,
                                             .shared_len = {(int32_t)s->shared},
                                             .own_begin = (int32_t)s->own_begin,
                                             .own_len = (int32_t)(s->before + s->count)};
    for (int64_t i = 0; i < s->count; i++, to->tokens++) {
        b->ids[to->tokens] = s->ids[i];
        b->positions[to->tokens] = (int32_t)(s->shared + s->before + i);
        b->rows[to->tokens] = (int32_t)(s->own_begin + s->before + i);
    }
    if (s->output) b->outputs[to->output_count++] = (int32_t)(to->tokens - 1);
}

/* Elements of the matrices, or of the vectors, that belong to the blocks. */
static double block_elements(const mn_model_config *c, int ndim) {
    double total = 0;
    for (int64_t i = 0; i < mn_binding_count(c); i++) {
        mn_binding_row row;
        mn_binding_at(&row, c, NULL, i);
        if (row.layer >= 0 && row.ndim == ndim)
            total += (double)row.shape[0] * (double)(ndim == 2 ? row.shape[1] : 1);
    }
    return total;
}

double mn_bench_flops(const mn_model_config *c, const mn_batch *batch) {
    double pairs = 0; /* of a query and a key that it sees */
    for (int64_t i = 0; i < batch->seq_count; i++) {
        const mn_attn_seq *s = &batch->seqs[i];
        const double q = s->q_len, before = s->own_len - s->q_len;
        for (int j = 0; j < MN_SHARED_SPANS; j++) pairs += q * s->shared_len[j];
        pairs += q * before + q * (q + 1) / 2;
    }
    const double blocks = 2 * block_elements(c, 2) * (double)batch->tokens;
    /* a product with the key and one with the value, two operations for each number */
    const double attention = 4 * (double)(c->layers * c->heads * c->head_dim) * pairs;
    const double head = 2 * (double)c->vocab * (double)c->dim * (double)batch->output_count;
    return blocks + attention + head;
}

double mn_bench_weight_bytes(const mn_model_config *c, mn_dtype dtype) {
    const double matrices = block_elements(c, 2) + (double)c->vocab * (double)c->dim;
    const double vectors = block_elements(c, 1) + (double)c->dim * (c->arch == MN_NEOX ? 2 : 1);
    return matrices * (double)mn_dtype_size(dtype) + vectors * (double)sizeof(float);
}

mn_dtype mn_bench_dtype(const mn_model *model) { return model->head_w.dtype; }

double mn_bench_bytes(const mn_model *model, const mn_batch *batch) {
    const mn_model_config *c = &model->config;
    const mn_dtype dtype = mn_bench_dtype(model);
    double rows = 0, shared = 0;
    for (int64_t i = 0; i < batch->seq_count; i++) {
        const mn_attn_seq *s = &batch->seqs[i];
        rows += s->own_len;
        if (s->shared_len[0] > shared) shared = s->shared_len[0];
    }
    enum { SOME = 16 }; /* rows: caches are made of so many */
    const double row = (double)model->device->kv_bytes(SOME, c->kv_heads, c->head_dim) / SOME;
    const double cache = (rows + shared) * 2 * (double)c->layers * row;
    const double embedding = (double)(batch->tokens * c->dim) * (double)mn_dtype_size(dtype);
    const double head = (double)c->vocab * (double)c->dim * (double)mn_dtype_size(dtype);
    return mn_bench_weight_bytes(c, dtype) - (batch->output_count ? 0 : head) + embedding + cache;
}
