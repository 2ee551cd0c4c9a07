/* attention_bwd.cuh (internal) - what the kernels of attention's backward pass share. */
#ifndef MNEME_CUDA_ATTENTION_BWD_CUH
#define MNEME_CUDA_ATTENTION_BWD_CUH

#include "cuda/attention.cuh"

typedef struct backward_args {
    float *dq, *dk, *dv, *delta;
    const float *lse;
    const __half *k, *v;
    __half *q, *dout; /* rounded, (T, Hq, width of the cache) */
    float2 *stat;     /* (T, Hq): lse in units of log2, delta */
    const mn_attn_seq *seqs;
    int heads, kv_heads, group, dim;
    float scale;
    bool aligned; /* rows of all matrices are made of whole 16 bytes */
} backward_args;

/* The row of q, dout and stat that row `row` of the sequence stands for. */
MN_DEVICE int64_t backward_row(const backward_args *a, const mn_attn_seq *seq, int kv_head,
                               int row) {
    const int query = row / a->group;
    return (int64_t)(seq->q_begin + query) * a->heads + kv_head * a->group + row - query * a->group;
}

/* Two neighbours of a row of a gradient, of which `dim` elements exist. */
template <bool EXACT>
MN_DEVICE void store_pair(float *row, int d, float x, float y, int dim, bool aligned) {
    if (EXACT || (aligned && d + 1 < dim)) {
        *(float2 *)(row + d) = make_float2(x, y);
    } else {
        if (d < dim) row[d] = x;
        if (d + 1 < dim) row[d + 1] = y;
    }
}

/* dq; dk and dv. `most`: the longest sequence of the `count` ones at args->seqs. */
mn_status mn_cuda_attention_bwd_queries(mn_stream *s, const backward_args *args, int64_t most,
                                        unsigned count);
mn_status mn_cuda_attention_bwd_keys(mn_stream *s, const backward_args *args, int64_t most,
                                     unsigned count);

#endif
