/* attention_fwd.cu - attention of packed sequences: prompts and training texts (FlashAttention-2, Dao 2023).
 *
 * A block owns 64 rows (attention.cuh) of one sequence and key-value head, a warp 16 of them. Keys and
 * values come in tiles, the next one while the present one is worked on. Scores and outputs stay in
 * registers. Tiles above a warp's diagonal are left out, and of the tile on it the blocks of 16 keys that
 * no row of the warp sees. Sequences of at most 16 rows are left to attention_decode.cu.
 *
 * Bytes per block: its rows of q and out once (8 D each), and 4 D per key that it sees; keys are read once
 * per 64 rows, from L2 when the tiles of a sequence run together. */
#include "cuda/attention_cudnn.h"

/* Shared memory, in halves: two stages of K and V; with heads above 128, where registers are scarce,
 * also Q. 99 KB at most, what the smallest chips have. */
template <int DP> struct forward_shape {
    enum {
        KEYS = DP > 128 ? 32 : 64,
        PITCH = DP + 8,
        TILE = KEYS * PITCH,
        STAGE = 2 * TILE,
        Q_SHARED = DP > 128,
        /* registers for so many on a multiprocessor; four of 64 dimensions spill on sm_90 */
        BLOCKS = DP <= 96    ? 3
                 : DP <= 128 ? 2
                             : 1,
        BYTES = (2 * STAGE + (Q_SHARED ? MN_ATTENTION_ROWS * PITCH : 0)) * 2
    };
};

/* The warp's rows, divided by their sums. Four lanes write a sector. */
template <int DP, bool EXACT>
static __device__ __forceinline__ void store_rows(const attention_args *a, const visible *v,
                                                  int kv_head, int first, float o[DP / 8][4],
                                                  const float m[2], const float l[2], int dim) {
    const int lane = (int)threadIdx.x % MN_WARP;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float sum = l[h];
        sum += __shfl_xor_sync(MN_FULL_WARP, sum, 1);
        sum += __shfl_xor_sync(MN_FULL_WARP, sum, 2);
        const int row = first + lane / 4 + 8 * h;
        if (row >= v->rows) continue;
        const int64_t at = query_row(v, row, kv_head, a);
        const float norm = 1.0f / sum;
        float *out = a->out + at * dim;
#pragma unroll
        for (int n = 0; n < DP / 8; n++) {
            const int d = n * 8 + lane % 4 * 2;
            const float x = o[n][2 * h] * norm, y = o[n][2 * h + 1] * norm;
            if (EXACT || (a->aligned && d + 1 < dim)) {
                *(float2 *)(out + d) = make_float2(x, y);
            } else {
                if (d < dim) out[d] = x;
                if (d + 1 < dim) out[d + 1] = y;
            }
        }
        if (a->lse && lane % 4 == 0) a->lse[at] = (m[h] + log2f(sum)) * MN_LN2;
    }
}

/* EXACT: the head size is DP, known to the compiler. Else it is a->dim <= DP; columns behind it are
 * zero. */
template <int DP, bool EXACT>
static __global__ void __launch_bounds__(MN_ATTENTION_THREADS, forward_shape<DP>::BLOCKS)
    attention_fwd_kernel(const attention_args a) {
    typedef forward_shape<DP> shape;
    enum { KEYS = shape::KEYS, PITCH = shape::PITCH };
    extern __shared__ __align__(16) __half shared[];
    const visible v = sequence_of(&a.seqs[blockIdx.z], a.group);
    const int kv_head = (int)blockIdx.y,
              first = (int)(gridDim.x - 1 - blockIdx.x) * MN_ATTENTION_ROWS;
    if (v.rows <= MN_DECODE_ROWS || first >= v.rows) return; /* the whole block */

    const int thread = (int)threadIdx.x, warp = thread / MN_WARP, lane = thread % MN_WARP;
    const int dim = EXACT ? DP : a.dim, chunks = (dim + 7) / 8;
    const int64_t ld = (int64_t)a.kv_heads * chunks * 8;
    const __half *k = a.k + kv_head * chunks * 8, *values = a.v + kv_head * chunks * 8;
    const int end = limit_of(&v, first + MN_ATTENTION_ROWS - 1, a.group);
    auto load = [&](int stage, int key) {
        __half *to = shared + stage * shape::STAGE;
        copy_rows<KEYS, MN_ATTENTION_THREADS>(
            to, k, to + shape::TILE, values, PITCH, chunks, thread,
            [&](int row) { return key + row < end ? cache_row(&v, key + row) * ld : -1; });
        copies_commit();
    };
    if (!EXACT) {
        zero_shared(shared, shape::BYTES, MN_ATTENTION_THREADS);
        __syncthreads();
    }
    load(0, 0);
    /* Q stands in the second stage until it is in registers. */
    __half *q_tile = shared + (shape::Q_SHARED ? 2 : 1) * shape::STAGE;
    load_queries<MN_ATTENTION_ROWS, MN_ATTENTION_THREADS>(q_tile, PITCH, &a, &v, kv_head, first,
                                                          dim, thread);
    __syncthreads();
    q_tile += warp * 16 * PITCH;
    uint32_t qf[shape::Q_SHARED ? 1 : DP / 16][4];
    if (!shape::Q_SHARED) {
#pragma unroll
        for (int kk = 0; kk < DP / 16; kk++)
            load_matrices(qf[kk], q_tile + kk * 16 + lane_of_a(lane, PITCH));
    }
    float o[DP / 8][4] = {}, m[2] = {-INFINITY, -INFINITY}, l[2] = {0, 0};
    const int warp_first = first + warp * 16, row = warp_first + lane / 4;
    const int limit0 = limit_of(&v, row, a.group), limit1 = limit_of(&v, row + 8, a.group);
    const int all = limit_of(&v, warp_first, a.group); /* keys that every row of the warp sees */
    const int any = warp_first < v.rows ? limit_of(&v, warp_first + 15, a.group) : 0;
    for (int key = 0, stage = 0; key < end; key += KEYS, stage ^= 1) {
        copies_wait_all();
        __syncthreads(); /* the tile is there, and nobody reads the other stage any more */
        if (key + KEYS < end) load(stage ^ 1, key + KEYS);
        const __half *k_tile = shared + stage * shape::STAGE, *v_tile = k_tile + shape::TILE;
        const uint32_t(*q)[4] = shape::Q_SHARED ? NULL : qf;
        if (key + KEYS <= all && any)
            attend_tile<DP, EXACT, KEYS, false>(o, m, l, q, q_tile, k_tile, v_tile, dim, a.scale,
                                                KEYS / 16, 0, 0);
        else if (key < any)
            attend_tile<DP, EXACT, KEYS, true>(o, m, l, q, q_tile, k_tile, v_tile, dim, a.scale,
                                               (any - key + 15) / 16, limit0 - key, limit1 - key);
    }
    store_rows<DP, EXACT>(&a, &v, kv_head, warp_first, o, m, l, dim);
}

template <int DP, bool EXACT>
static mn_status launch(mn_stream *s, attention_args a, int64_t count, int64_t rows) {
    enum { BYTES = forward_shape<DP>::BYTES };
    const int tiles = (int)mn_ceil_div<int64_t>(rows, MN_ATTENTION_ROWS);
    MN_CUDA_TRY(cudaFuncSetAttribute(attention_fwd_kernel<DP, EXACT>,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES));
    for (int64_t at = 0; at < count; at += MN_GRID_Z, a.seqs += MN_GRID_Z) {
        const unsigned z = (unsigned)mn_attention_batch(count - at, MN_GRID_Z);
        const dim3 grid((unsigned)tiles, (unsigned)a.kv_heads, z);
        attention_fwd_kernel<DP, EXACT><<<grid, MN_ATTENTION_THREADS, BYTES, s->stream>>>(a);
        MN_CUDA_LAUNCHED("attention_fwd");
    }
    return MN_OK;
}

/* The rows of the longest sequence that goes to this kernel; 0: none does. */
static int64_t longest(const mn_attn_seqs *seqs, int64_t group) {
    int64_t most = 0;
    for (int64_t i = 0; i < seqs->count; i++) {
        const int64_t rows = seqs->host[i].q_len * group;
        if (rows > MN_DECODE_ROWS && rows > most) most = rows;
    }
    return most;
}

extern "C" mn_status mn_cuda_attention_fwd(mn_stream *s, float *out, float *lse, const float *q,
                                           mn_kv_layer kv, const mn_attn_seqs *seqs, int64_t heads,
                                           float scale, mn_compute compute) {
    (void)compute; /* fp16 inputs, fp32 sums, whatever is asked for */
    const int64_t dim = kv.head_dim, group = heads / kv.kv_heads, rows = longest(seqs, group);
    MN_CHECK(dim <= MN_ATTENTION_MAX_HEAD, MN_ERR_USAGE,
             "attention on CUDA takes heads of at most %d dimensions, not %lld",
             MN_ATTENTION_MAX_HEAD, (long long)dim);
    const attention_args a = {.out = out,
                              .lse = lse,
                              .q = q,
                              .k = (const __half *)(const void *)kv.k,
                              .v = (const __half *)(const void *)kv.v,
                              .seqs = seqs->device,
                              .heads = (int)heads,
                              .kv_heads = (int)kv.kv_heads,
                              .group = (int)group,
                              .dim = (int)dim,
                              .scale = scale * MN_LOG2E,
                              .aligned = dim % 4 == 0 && ((uintptr_t)q | (uintptr_t)out) % 16 == 0};
    bool dense;
    MN_TRY(mn_cuda_cudnn_takes(&dense, s, seqs, &a, false));
    if (dense) return mn_cuda_cudnn_forward(s, &a, seqs);
    MN_TRY(mn_cuda_attention_decode(s, &a, seqs));
    if (rows == 0) return MN_OK;
    return mn_attention_sized(dim, a.aligned, [&](auto size) {
        typedef decltype(size) variant;
        return launch<variant::padded, variant::exact>(s, a, seqs->count, rows);
    });
}
