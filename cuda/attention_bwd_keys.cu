/* attention_bwd_keys.cu - the gradients of keys and values.
 *
 * A block owns 64 keys of one sequence and key-value head, a warp 16 of them; their dk and dv stay in
 * registers. It walks over tiles of the rows that see the keys, the next one on its way, in steps of 16 rows:
 * scores and <dout, v> transposed (keys x rows), so that p' and ds' are at once the left factors of
 * dv += p' dout and dk += ds' q. Steps of which no row sees a key of the warp are left out. Heads above 128
 * have a block for each half of the columns of dk and dv.
 *
 * Bytes per block: 4 D per key, 4 D + 8 per row that sees one; writes 8 D per key. */
#include "cuda/attention_bwd.cuh"

enum { KEYS = MN_ATTENTION_ROWS };

/* In halves: K and V, then two stages of Q and dout. A row's `stat` stands where the row of Q is filled
 * up to PITCH. 99 KB at most. */
template <int DP> struct keys_shape {
    enum {
        ROWS = DP > 128  ? 16
               : DP > 64 ? 32
                         : 64, /* of a stage */
        PITCH = DP + 8,
        KEYS_TILE = KEYS * PITCH,
        ROWS_TILE = ROWS * PITCH,
        STAGE = 2 * ROWS_TILE,
        PARTS = DP > 128 ? 2 : 1,
        COLUMNS = DP / PARTS,    /* of dk and dv that a block owns */
        IN_REGISTERS = DP <= 96, /* K and V of the warp */
        BLOCKS = DP <= 64    ? 3
                 : DP <= 128 ? 2
                             : 1, /* registers for so many on a multiprocessor */
        BYTES = (2 * KEYS_TILE + 2 * STAGE) * 2
    };
};

/* p' and ds' of 16 keys x 16 rows as left factors. The rows begin with number `row`; the lane's keys are
 * seen by rows from from[h] on, and there are `rows`. */
template <int DP, bool EXACT>
static __device__ __forceinline__ void
weights(uint32_t p[4], uint32_t ds[4], const uint32_t (*kf)[4], const uint32_t (*vf)[4],
        const __half *k_tile, const __half *v_tile, const __half *q_tile, const __half *g_tile,
        int row, int rows, const int from[2], float scale, int dim) {
    enum { PITCH = DP + 8 };
    const int lane = (int)threadIdx.x % MN_WARP;
    float s[2][4] = {}, dp[2][4] = {};
#pragma unroll
    for (int kk = 0; kk < DP / 16; kk++) {
        if (!EXACT && kk * 16 >= dim) continue;
        uint32_t a[4], b[4];
        load_matrices(b, q_tile + kk * 16 + lane_of_b(lane, PITCH));
        if (!kf) load_matrices(a, k_tile + kk * 16 + lane_of_a(lane, PITCH));
        multiply_add(s[0], kf ? kf[kk] : a, b);
        multiply_add(s[1], kf ? kf[kk] : a, b + 2);
        load_matrices(b, g_tile + kk * 16 + lane_of_b(lane, PITCH));
        if (!kf) load_matrices(a, v_tile + kk * 16 + lane_of_a(lane, PITCH));
        multiply_add(dp[0], kf ? vf[kk] : a, b);
        multiply_add(dp[1], kf ? vf[kk] : a, b + 2);
    }
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int column = n * 8 + lane % 4 * 2 + e;
            const float2 stat = *(const float2 *)(q_tile + column * PITCH + DP);
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int i = 2 * h + e;
                const bool seen = row + column >= from[h] && row + column < rows;
                const float x = seen ? exp2_fast(fmaf(s[n][i], scale, -stat.x)) : 0;
                s[n][i] = x;
                dp[n][i] = x * (dp[n][i] - stat.y);
            }
        }
    as_a(p, s[0], s[1]);
    as_a(ds, dp[0], dp[1]);
}

/* sum (16 x COLUMNS) += a x (16 rows of the tile). */
template <int COLUMNS, int PITCH, bool EXACT>
static __device__ __forceinline__ void add_rows(float sum[COLUMNS / 8][4], const uint32_t a[4],
                                                const __half *tile, int columns) {
    const int lane = (int)threadIdx.x % MN_WARP;
#pragma unroll
    for (int n = 0; n < COLUMNS / 16; n++) {
        if (!EXACT && n * 16 >= columns) continue;
        uint32_t b[4];
        load_matrices_transposed(b, tile + n * 16 + lane_of_b_transposed(lane, PITCH));
        multiply_add(sum[2 * n], a, b);
        if (EXACT || n * 16 + 8 < columns) multiply_add(sum[2 * n + 1], a, b + 2);
    }
}

template <int DP, bool EXACT>
static __global__ void __launch_bounds__(MN_ATTENTION_THREADS, keys_shape<DP>::BLOCKS)
    attention_bwd_keys_kernel(const backward_args a) {
    typedef keys_shape<DP> shape;
    enum { ROWS = shape::ROWS, PITCH = shape::PITCH, COLUMNS = shape::COLUMNS };
    extern __shared__ __align__(16) __half shared[];
    const mn_attn_seq seq = a.seqs[blockIdx.z];
    const int kv_head = (int)blockIdx.y / shape::PARTS;
    const int column = (int)blockIdx.y % shape::PARTS * COLUMNS, first = (int)blockIdx.x * KEYS;
    const int rows = seq.q_len * a.group;
    if (first >= seq.own_len) return; /* the whole block */

    const int thread = (int)threadIdx.x, warp = thread / MN_WARP, lane = thread % MN_WARP;
    const int dim = EXACT ? DP : a.dim, chunks = (dim + 7) / 8, width = chunks * 8;
    const int64_t ld = (int64_t)a.kv_heads * width;
    __half *k_tile = shared, *v_tile = shared + shape::KEYS_TILE,
           *stages = v_tile + shape::KEYS_TILE;
    auto load = [&](int stage, int begin) {
        __half *to = stages + stage * shape::STAGE;
        copy_rows<ROWS, MN_ATTENTION_THREADS>(
            to, a.q, to + shape::ROWS_TILE, a.dout, PITCH, chunks, thread, [&](int row) {
                return begin + row < rows ? backward_row(&a, &seq, kv_head, begin + row) * width
                                          : -1;
            });
        if (thread < ROWS) {
            const int row = begin + thread < rows ? begin + thread : rows - 1;
            copy_8_async(to + thread * PITCH + DP, a.stat + backward_row(&a, &seq, kv_head, row),
                         true);
        }
        copies_commit();
    };
    if (!EXACT) {
        zero_shared(shared, shape::BYTES, MN_ATTENTION_THREADS);
        __syncthreads();
    }
    copy_rows<KEYS, MN_ATTENTION_THREADS>(
        k_tile, a.k + kv_head * width, v_tile, a.v + kv_head * width, PITCH, chunks, thread,
        [&](int row) {
            return first + row < seq.own_len ? (seq.own_begin + first + row) * ld : -1;
        });
    int row = first * a.group / ROWS * ROWS;
    load(0, row);
    copies_wait_all();
    __syncthreads();
    k_tile += warp * 16 * PITCH;
    v_tile += warp * 16 * PITCH;
    uint32_t kf[shape::IN_REGISTERS ? DP / 16 : 1][4], vf[shape::IN_REGISTERS ? DP / 16 : 1][4];
    if (shape::IN_REGISTERS) {
#pragma unroll
        for (int kk = 0; kk < DP / 16; kk++) {
            load_matrices(kf[kk], k_tile + kk * 16 + lane_of_a(lane, PITCH));
            load_matrices(vf[kk], v_tile + kk * 16 + lane_of_a(lane, PITCH));
        }
    }
    const int warp_first = first + warp * 16, key = warp_first + lane / 4;
    const int from[2] = {key * a.group, (key + 8) * a.group};
    const float scale = a.scale * MN_LOG2E;
    float dk[COLUMNS / 8][4] = {}, dv[COLUMNS / 8][4] = {};
    for (int stage = 0; row < rows; row += ROWS, stage ^= 1) {
        copies_wait_all();
        __syncthreads(); /* the tile is there, and nobody reads the other stage any more */
        if (row + ROWS < rows) load(stage ^ 1, row + ROWS);
        const __half *q_tile = stages + stage * shape::STAGE, *g_tile = q_tile + shape::ROWS_TILE;
        for (int j = 0; j < ROWS && row + j < rows; j += 16) {
            if (row + j + 16 <= warp_first * a.group) continue; /* the whole warp */
            uint32_t p[4], ds[4];
            weights<DP, EXACT>(p, ds, shape::IN_REGISTERS ? kf : NULL, vf, k_tile, v_tile,
                               q_tile + j * PITCH, g_tile + j * PITCH, row + j, rows, from, scale,
                               dim);
            add_rows<COLUMNS, PITCH, EXACT>(dv, p, g_tile + j * PITCH + column, dim - column);
            add_rows<COLUMNS, PITCH, EXACT>(dk, ds, q_tile + j * PITCH + column, dim - column);
        }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (key + 8 * h >= seq.own_len) continue;
        const int64_t at = ((int64_t)(seq.q_begin + key + 8 * h) * a.kv_heads + kv_head) * dim +
                           column;
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; n++) {
            const int d = n * 8 + lane % 4 * 2;
            store_pair<EXACT>(a.dv + at, d, dv[n][2 * h], dv[n][2 * h + 1], dim - column,
                              a.aligned);
            store_pair<EXACT>(a.dk + at, d, a.scale * dk[n][2 * h], a.scale * dk[n][2 * h + 1],
                              dim - column, a.aligned);
        }
    }
}

template <int DP, bool EXACT>
static mn_status launch(mn_stream *s, const backward_args *a, int64_t most, unsigned count) {
    typedef keys_shape<DP> shape;
    const dim3 grid((unsigned)mn_ceil_div<int64_t>(most, KEYS),
                    (unsigned)(a->kv_heads * shape::PARTS), count);
    MN_CUDA_TRY(cudaFuncSetAttribute(attention_bwd_keys_kernel<DP, EXACT>,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, shape::BYTES));
    attention_bwd_keys_kernel<DP, EXACT>
        <<<grid, MN_ATTENTION_THREADS, shape::BYTES, s->stream>>>(*a);
    MN_CUDA_LAUNCHED("attention_bwd_keys");
    return MN_OK;
}

mn_status mn_cuda_attention_bwd_keys(mn_stream *s, const backward_args *a, int64_t most,
                                     unsigned count) {
    return mn_attention_sized(a->dim, a->aligned, [&](auto size) {
        typedef decltype(size) variant;
        return launch<variant::padded, variant::exact>(s, a, most, count);
    });
}
