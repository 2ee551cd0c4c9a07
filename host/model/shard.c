/* shard.c - which part of a model each of its ranks has. */
#include "mneme/model.h"

mn_status mn_shard_of(mn_shard *out, const mn_model_config *c, int rank, int size) {
    MN_CHECK(c->heads % size == 0, MN_ERR_USAGE,
             "%d ranks cannot share a model with %lld heads: their number must divide it", size,
             (long long)c->heads);
    const bool shared = c->kv_heads < size; /* several ranks have the same key-value head */
    MN_CHECK(shared ? size % c->kv_heads == 0 : c->kv_heads % size == 0, MN_ERR_USAGE,
             "%d ranks cannot share %lld key-value heads: one number must divide the other", size,
             (long long)c->kv_heads);
    MN_CHECK(c->ffn_dim >= size && c->vocab >= size, MN_ERR_USAGE,
             "%d ranks are too many for this model", size);
    *out = (mn_shard){
        .rank = rank,
        .size = size,
        .heads = c->heads / size,
        .head_begin = c->heads / size * rank,
        .kv_heads = shared ? 1 : c->kv_heads / size,
        .kv_head_begin = shared ? rank / (size / c->kv_heads) : c->kv_heads / size * rank,
        .ffn_dim = mn_part_count(c->ffn_dim, rank, size),
        .ffn_begin = mn_part_begin(c->ffn_dim, rank, size),
        .vocab = mn_part_count(c->vocab, rank, size),
        .vocab_begin = mn_part_begin(c->vocab, rank, size),
    };
    return MN_OK;
}
