/* attention_bwd.cu - gradients of causal attention (Dao et al. 2022), bit for bit the same in every run.
 *
 * With p = exp(scale q k - lse) and delta = <dout, out>:
 *     dv = sum p dout,   ds = p (<dout, v> - delta),   dq = scale sum ds k,   dk = scale sum ds q.
 * Three kernels. The first computes delta and rounds q and dout to fp16 once. The second owns rows and
 * walks over the keys they see: dq. The third owns keys and walks over the rows that see them: dk and dv.
 * Scores are computed twice, but no sum crosses a block: no atomics, and the order of sums is fixed.
 * Rows are packed as in attention.cuh: the heads of a group are summed where their keys are. */
#include "cuda/attention_cudnn.h"

/* A warp owns a row (query and head). Bytes per row: reads 12 D, writes 4 D and 12. */
enum { PREPARE_WARPS = 8 };
static __global__ void __launch_bounds__(PREPARE_WARPS *MN_WARP)
    attention_prepare_kernel(const backward_args a, const float *dout, const float *out,
                             const float *q) {
    const mn_attn_seq *seq = &a.seqs[blockIdx.y];
    const int64_t i = (int64_t)blockIdx.x * PREPARE_WARPS + threadIdx.x / MN_WARP;
    const int lane = (int)threadIdx.x % MN_WARP, width = (int)mn_cuda_kv_width(a.dim);
    if (i >= (int64_t)seq->q_len * a.heads) return; /* the whole warp */
    const int64_t row = (int64_t)seq->q_begin * a.heads + i;
    float sum = 0;
    if (a.dim % 4 == 0 && a.aligned) {
        for (int d = lane * 4; d < width; d += MN_WARP * 4) {
            float4 g = make_float4(0, 0, 0, 0), x = g;
            if (d < a.dim) {
                const float4 y = *(const float4 *)(out + row * a.dim + d);
                g = *(const float4 *)(dout + row * a.dim + d);
                x = *(const float4 *)(q + row * a.dim + d);
                sum += g.x * y.x + g.y * y.y + g.z * y.z + g.w * y.w;
            }
            *(uint2 *)(a.dout + row * width + d) = make_uint2(pack_halves(g.x, g.y),
                                                              pack_halves(g.z, g.w));
            *(uint2 *)(a.q + row * width + d) = make_uint2(pack_halves(x.x, x.y),
                                                           pack_halves(x.z, x.w));
        }
    } else {
        for (int d = lane; d < width; d += MN_WARP) {
            const float g = d < a.dim ? dout[row * a.dim + d] : 0;
            if (d < a.dim) sum += g * out[row * a.dim + d];
            a.dout[row * width + d] = __float2half_rn(g);
            a.q[row * width + d] = __float2half_rn(d < a.dim ? q[row * a.dim + d] : 0);
        }
    }
#pragma unroll
    for (int step = MN_WARP / 2; step > 0; step /= 2)
        sum += __shfl_xor_sync(MN_FULL_WARP, sum, step);
    if (lane == 0) {
        a.delta[row] = sum;
        a.stat[row] = make_float2(a.lse[row] * MN_LOG2E, sum);
    }
}

static int64_t longest(const mn_attn_seqs *seqs) {
    int64_t most = 0;
    for (int64_t i = 0; i < seqs->count; i++)
        if (seqs->host[i].q_len > most) most = seqs->host[i].q_len;
    return most;
}

/* One behind the last token of any sequence. */
static int64_t tokens_of(const mn_attn_seqs *seqs) {
    int64_t end = 0;
    for (int64_t i = 0; i < seqs->count; i++) {
        const int64_t mine = (int64_t)seqs->host[i].q_begin + seqs->host[i].q_len;
        end = mine > end ? mine : end;
    }
    return end;
}

extern "C" mn_status mn_cuda_attention_bwd(mn_stream *s, float *dq, float *dk, float *dv,
                                           float *delta, const float *dout, const float *out,
                                           const float *q, mn_kv_layer kv, const float *lse,
                                           const mn_attn_seqs *seqs, int64_t heads, float scale) {
    const int64_t dim = kv.head_dim, width = mn_cuda_kv_width(dim);
    const int64_t most = longest(seqs), rows = tokens_of(seqs) * heads;
    const uintptr_t places = (uintptr_t)dq | (uintptr_t)dk | (uintptr_t)dv | (uintptr_t)dout |
                             (uintptr_t)out | (uintptr_t)q;
    MN_CHECK(dim <= MN_ATTENTION_MAX_HEAD, MN_ERR_USAGE,
             "attention on CUDA takes heads of at most %d dimensions, not %lld",
             MN_ATTENTION_MAX_HEAD, (long long)dim);
    if (most == 0) return MN_OK;
    const attention_args forward = {.out = (float *)(uintptr_t)out,
                                    .lse = (float *)(uintptr_t)lse,
                                    .q = q,
                                    .k = (const __half *)(const void *)kv.k,
                                    .v = (const __half *)(const void *)kv.v,
                                    .seqs = seqs->device,
                                    .heads = (int)heads,
                                    .kv_heads = (int)kv.kv_heads,
                                    .group = (int)(heads / kv.kv_heads),
                                    .dim = (int)dim,
                                    .scale = scale * MN_LOG2E,
                                    .aligned = dim % 4 == 0 && places % 16 == 0};
    bool dense;
    MN_TRY(mn_cuda_cudnn_takes(&dense, s, seqs, &forward, true));
    if (dense) return mn_cuda_cudnn_backward(s, &forward, seqs, dout, dq, dk, dv);
    backward_args a = {.dq = dq,
                       .dk = dk,
                       .dv = dv,
                       .delta = delta,
                       .lse = lse,
                       .k = forward.k,
                       .v = forward.v,
                       .q = NULL,
                       .dout = NULL,
                       .stat = NULL,
                       .seqs = NULL,
                       .heads = forward.heads,
                       .kv_heads = forward.kv_heads,
                       .group = forward.group,
                       .dim = (int)dim,
                       .scale = scale,
                       .aligned = forward.aligned};
    MN_TRY(mn_cuda_scratch(s, &a.q, (size_t)(rows * (width * 4 + (int64_t)sizeof *a.stat))));
    a.dout = a.q + rows * width;
    a.stat = (float2 *)(a.dout + rows * width);
    for (int64_t at = 0; at < seqs->count; at += MN_GRID_Z) {
        const unsigned count = (unsigned)mn_attention_batch(seqs->count - at, MN_GRID_Z);
        const dim3 grid((unsigned)mn_ceil_div<int64_t>(most * heads, PREPARE_WARPS), count);
        a.seqs = seqs->device + at;
        attention_prepare_kernel<<<grid, PREPARE_WARPS * MN_WARP, 0, s->stream>>>(a, dout, out, q);
        MN_CUDA_LAUNCHED("attention_bwd");
        MN_TRY(mn_cuda_attention_bwd_queries(s, &a, most, count));
        MN_TRY(mn_cuda_attention_bwd_keys(s, &a, most, count));
    }
    return MN_OK;
}
