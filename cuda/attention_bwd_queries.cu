/* attention_bwd_queries.cu - the gradient of the queries.
 *
 * A block owns 64 rows of one sequence and key-value head, a warp 16 of them, whose dq stays in registers. It
 * walks over tiles of keys and values, the next one on its way, in steps of 16 keys: scores, <dout, v>, ds,
 * and ds k. Steps above the warp's diagonal are left out.
 *
 * Bytes per block: 4 D + 8 per row, 4 D per key that it sees; writes 4 D per row. */
#include "cuda/attention_bwd.cuh"

/* In halves: two stages of K and V, then Q and dout; these lie in the second stage when the warps keep
 * them in registers. 99 KB at most. */
template <int DP> struct queries_shape {
    enum {
        KEYS = DP > 128 ? 16 : 64,
        PITCH = DP + 8,
        TILE = KEYS * PITCH,
        STAGE = 2 * TILE,
        ROWS_TILE = MN_ATTENTION_ROWS * PITCH,
        SHARED_ROWS = DP > 128,
        BLOCKS = DP <= 64    ? 3
                 : DP <= 128 ? 2
                             : 1, /* registers for so many on a multiprocessor */
        BYTES = (2 * STAGE + (SHARED_ROWS ? 2 * ROWS_TILE : 0)) * 2
    };
};

/* What a lane knows of its two rows, lane / 4 + 8 h of the warp's. */
typedef struct row_pair {
    float lse[2], delta[2];
    int limit[2]; /* keys that the row sees */
} row_pair;

/* dq of 16 rows += ds k over 16 keys, of which number `key` is the first. */
template <int DP, bool EXACT>
static __device__ __forceinline__ void
query_step(float dq[DP / 8][4], const uint32_t (*qf)[4], const uint32_t (*gf)[4],
           const __half *q_tile, const __half *g_tile, const __half *k_tile, const __half *v_tile,
           const row_pair *r, int key, float scale, int dim) {
    enum { PITCH = DP + 8 };
    const int lane = (int)threadIdx.x % MN_WARP;
    float s[2][4] = {}, dp[2][4] = {};
#pragma unroll
    for (int kk = 0; kk < DP / 16; kk++) {
        if (!EXACT && kk * 16 >= dim) continue;
        uint32_t a[4], g[4], b[4];
        if (qf) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                a[i] = qf[kk][i];
                g[i] = gf[kk][i];
            }
        } else {
            load_matrices(a, q_tile + kk * 16 + lane_of_a(lane, PITCH));
            load_matrices(g, g_tile + kk * 16 + lane_of_a(lane, PITCH));
        }
        load_matrices(b, k_tile + kk * 16 + lane_of_b(lane, PITCH));
        multiply_add(s[0], a, b);
        multiply_add(s[1], a, b + 2);
        load_matrices(b, v_tile + kk * 16 + lane_of_b(lane, PITCH));
        multiply_add(dp[0], g, b);
        multiply_add(dp[1], g, b + 2);
    }
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const bool seen = key + n * 8 + lane % 4 * 2 + i % 2 < r->limit[i / 2];
            const float p = exp2_fast(fmaf(s[n][i], scale, -r->lse[i / 2]));
            s[n][i] = seen ? p * (dp[n][i] - r->delta[i / 2]) : 0;
        }
    uint32_t ds[4];
    as_a(ds, s[0], s[1]);
#pragma unroll
    for (int n = 0; n < DP / 16; n++) {
        if (!EXACT && n * 16 >= dim) continue;
        uint32_t b[4];
        load_matrices_transposed(b, k_tile + n * 16 + lane_of_b_transposed(lane, PITCH));
        multiply_add(dq[2 * n], ds, b);
        if (EXACT || n * 16 + 8 < dim) multiply_add(dq[2 * n + 1], ds, b + 2);
    }
}

template <int DP, bool EXACT>
static __global__ void __launch_bounds__(MN_ATTENTION_THREADS, queries_shape<DP>::BLOCKS)
    attention_bwd_queries_kernel(const backward_args a) {
    typedef queries_shape<DP> shape;
    enum { KEYS = shape::KEYS, PITCH = shape::PITCH, IN_REGISTERS = !shape::SHARED_ROWS };
    extern __shared__ __align__(16) __half shared[];
    const mn_attn_seq seq = a.seqs[blockIdx.z];
    const int kv_head = (int)blockIdx.y,
              first = (int)(gridDim.x - 1 - blockIdx.x) * MN_ATTENTION_ROWS;
    const int rows = seq.q_len * a.group;
    if (first >= rows) return; /* the whole block */

    const int thread = (int)threadIdx.x, warp = thread / MN_WARP, lane = thread % MN_WARP;
    const int dim = EXACT ? DP : a.dim, chunks = (dim + 7) / 8, width = chunks * 8;
    const int64_t ld = (int64_t)a.kv_heads * width;
    const __half *k = a.k + seq.own_begin * ld + kv_head * width;
    const __half *values = a.v + seq.own_begin * ld + kv_head * width;
    const int end = min(first + MN_ATTENTION_ROWS - 1, rows - 1) / a.group + 1;
    auto load = [&](int stage, int key) {
        __half *to = shared + stage * shape::STAGE;
        copy_rows<KEYS, MN_ATTENTION_THREADS>(
            to, k, to + shape::TILE, values, PITCH, chunks, thread,
            [&](int row) { return key + row < end ? (key + row) * ld : -1; });
        copies_commit();
    };
    if (!EXACT) {
        zero_shared(shared, shape::BYTES, MN_ATTENTION_THREADS);
        __syncthreads();
    }
    __half *q_tile = shared + (IN_REGISTERS ? 1 : 2) * shape::STAGE,
           *g_tile = q_tile + shape::ROWS_TILE;
    copy_rows<MN_ATTENTION_ROWS, MN_ATTENTION_THREADS>(
        q_tile, a.q, g_tile, a.dout, PITCH, chunks, thread, [&](int row) {
            return first + row < rows ? backward_row(&a, &seq, kv_head, first + row) * width : -1;
        });
    copies_commit();
    load(0, 0);
    copies_wait_all_but_last();
    __syncthreads();
    q_tile += warp * 16 * PITCH;
    g_tile += warp * 16 * PITCH;
    uint32_t qf[IN_REGISTERS ? DP / 16 : 1][4], gf[IN_REGISTERS ? DP / 16 : 1][4];
    if (IN_REGISTERS) {
#pragma unroll
        for (int kk = 0; kk < DP / 16; kk++) {
            load_matrices(qf[kk], q_tile + kk * 16 + lane_of_a(lane, PITCH));
            load_matrices(gf[kk], g_tile + kk * 16 + lane_of_a(lane, PITCH));
        }
    }
    const int warp_first = first + warp * 16;
    row_pair r;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = warp_first + lane / 4 + 8 * h;
        const float2 stat = row < rows ? a.stat[backward_row(&a, &seq, kv_head, row)]
                                       : make_float2(0, 0);
        r.lse[h] = stat.x;
        r.delta[h] = stat.y;
        r.limit[h] = row < rows ? row / a.group + 1 : 0;
    }
    const int any = warp_first < rows ? min(warp_first + 15, rows - 1) / a.group + 1 : 0;
    const float scale = a.scale * MN_LOG2E;
    float dq[DP / 8][4] = {};
    for (int key = 0, stage = 0; key < end; key += KEYS, stage ^= 1) {
        copies_wait_all();
        __syncthreads(); /* the tile is there, and nobody reads the other stage any more */
        if (key + KEYS < end) load(stage ^ 1, key + KEYS);
        const __half *k_tile = shared + stage * shape::STAGE;
        for (int j = 0; j < KEYS && key + j < any; j += 16)
            query_step<DP, EXACT>(dq, IN_REGISTERS ? qf : NULL, gf, q_tile, g_tile,
                                  k_tile + j * PITCH, k_tile + shape::TILE + j * PITCH, &r, key + j,
                                  scale, dim);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = warp_first + lane / 4 + 8 * h;
        if (row >= rows) continue;
        float *out = a.dq + backward_row(&a, &seq, kv_head, row) * dim;
#pragma unroll
        for (int n = 0; n < DP / 8; n++)
            store_pair<EXACT>(out, n * 8 + lane % 4 * 2, a.scale * dq[n][2 * h],
                              a.scale * dq[n][2 * h + 1], dim, a.aligned);
    }
}

template <int DP, bool EXACT>
static mn_status launch(mn_stream *s, const backward_args *a, int64_t most, unsigned count) {
    enum { BYTES = queries_shape<DP>::BYTES };
    const dim3 grid((unsigned)mn_ceil_div<int64_t>(most * a->group, MN_ATTENTION_ROWS),
                    (unsigned)a->kv_heads, count);
    MN_CUDA_TRY(cudaFuncSetAttribute(attention_bwd_queries_kernel<DP, EXACT>,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES));
    attention_bwd_queries_kernel<DP, EXACT><<<grid, MN_ATTENTION_THREADS, BYTES, s->stream>>>(*a);
    MN_CUDA_LAUNCHED("attention_bwd_queries");
    return MN_OK;
}

mn_status mn_cuda_attention_bwd_queries(mn_stream *s, const backward_args *a, int64_t most,
                                        unsigned count) {
    return mn_attention_sized(a->dim, a->aligned, [&](auto size) {
        typedef decltype(size) variant;
        return launch<variant::padded, variant::exact>(s, a, most, count);
    });
}
