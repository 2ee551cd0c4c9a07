/* attention_decode.cu - attention of few rows over many keys: decoding, and the last tokens of a prompt.
 *
 * A block owns 256 keys of one sequence and key-value head and all rows of that head (one when there is a
 * query head per key-value head). Its warps walk over tiles of 16 keys of their own, without a barrier;
 * then the block merges their softmaxes. A sequence of more keys has several blocks, whose unnormalised
 * parts go to the workspace; attention_merge_kernel adds them in order.
 *
 * Bytes: 4 D per key, read once; 8 D per row; parts add 8 (D + 2) per row and 256 keys. */
#include "cuda/attention.cuh"

/* Shared memory, in halves: Q, then two stages of K and V for each warp. The warps' results lie over it
 * in the end, in rows of PITCH floats, which spreads eight rows of a fragment over the banks. */
template <int DP> struct decode_shape {
    enum {
        WARPS = DP > 128 ? 2 : 4,
        THREADS = WARPS * MN_WARP,
        PITCH = DP + 8,
        TILE = 16 * PITCH,
        STAGE = 2 * TILE,
        HALVES = TILE + WARPS * 2 * STAGE,
        MERGE = WARPS * 16 * (PITCH + 2), /* floats */
        BYTES = HALVES * 2 > MERGE * 4 ? HALVES * 2 : MERGE * 4
    };
};

/* Unfinished results of (sequence, split, key-value head, row): sums o, and (maximum, sum of weights). */
typedef struct parts {
    float *o;
    float2 *stat;
    int splits, rows; /* at most, of a sequence */
} parts;

static __device__ __forceinline__ int64_t part_of(const parts *p, int sequence, int split,
                                                  int kv_heads, int kv_head, int row) {
    return (((int64_t)sequence * p->splits + split) * kv_heads + kv_head) * p->rows + row;
}

static __host__ __device__ __forceinline__ int splits_of(int keys) {
    return (keys + MN_DECODE_KEYS - 1) / MN_DECODE_KEYS;
}

/* The softmaxes of all warps as one, in the order of the warps, and on to the output or to the parts. */
template <int DP>
static __device__ __forceinline__ void merge_warps(const attention_args *a, const visible *v,
                                                   const parts *p, const float *merge, int keys,
                                                   int dim) {
    typedef decode_shape<DP> shape;
    const float *stat = merge + shape::WARPS * 16 * shape::PITCH;
    const int kv_head = (int)blockIdx.y, split = (int)blockIdx.x;
    for (int i = (int)threadIdx.x; i < v->rows * dim; i += shape::THREADS) {
        const int row = i / dim, d = i - row * dim;
        float m = -INFINITY, sum = 0, o = 0;
#pragma unroll
        for (int w = 0; w < shape::WARPS; w++) m = fmaxf(m, stat[(w * 16 + row) * 2]);
        const float base = m == -INFINITY ? 0 : m;
#pragma unroll
        for (int w = 0; w < shape::WARPS; w++) {
            const float weight = exp2_fast(stat[(w * 16 + row) * 2] - base);
            sum += stat[(w * 16 + row) * 2 + 1] * weight;
            o += merge[(w * 16 + row) * shape::PITCH + d] * weight;
        }
        if (keys <= MN_DECODE_KEYS) {
            const int64_t at = query_row(v, row, kv_head, a);
            a->out[at * dim + d] = o / sum;
            if (a->lse && d == 0) a->lse[at] = (m + log2f(sum)) * MN_LN2;
        } else {
            const int64_t at = part_of(p, (int)blockIdx.z, split, a->kv_heads, kv_head, row);
            p->o[at * dim + d] = o;
            if (d == 0) p->stat[at] = make_float2(m, sum);
        }
    }
}

template <int DP>
static __global__ void __launch_bounds__(decode_shape<DP>::THREADS)
    attention_decode_kernel(const attention_args a, const parts p) {
    typedef decode_shape<DP> shape;
    enum { PITCH = shape::PITCH, Q_SHARED = DP > 128, STEP = shape::WARPS * 16 };
    extern __shared__ __align__(16) __half shared[];
    const visible v = sequence_of(&a.seqs[blockIdx.z], a.group);
    const int kv_head = (int)blockIdx.y, begin = (int)blockIdx.x * MN_DECODE_KEYS;
    const int keys = limit_of(&v, v.rows - 1, a.group);
    if (v.rows > MN_DECODE_ROWS || v.rows == 0 || begin >= keys) return; /* the whole block */

    const int warp = (int)threadIdx.x / MN_WARP, lane = (int)threadIdx.x % MN_WARP;
    const int dim = a.dim, chunks = (dim + 7) / 8;
    const int64_t ld = (int64_t)a.kv_heads * chunks * 8;
    const __half *k = a.k + kv_head * chunks * 8, *values = a.v + kv_head * chunks * 8;
    const int end = min(keys, begin + MN_DECODE_KEYS);
    __half *stages = shared + shape::TILE + warp * 2 * shape::STAGE;
    auto load = [&](int stage, int key) {
        __half *to = stages + stage * shape::STAGE;
        copy_rows<16, MN_WARP>(to, k, to + shape::TILE, values, PITCH, chunks, lane, [&](int row) {
            return key + row < end ? cache_row(&v, key + row) * ld : -1;
        });
        copies_commit();
    };
    if (dim < DP) {
        zero_shared(shared, shape::HALVES * 2, shape::THREADS);
        __syncthreads();
    }
    int key = begin + warp * 16;
    if (key < end) load(0, key);
    load_queries<16, shape::THREADS>(shared, PITCH, &a, &v, kv_head, 0, dim, (int)threadIdx.x);
    __syncthreads();
    uint32_t qf[Q_SHARED ? 1 : DP / 16][4];
    if (!Q_SHARED) {
#pragma unroll
        for (int kk = 0; kk < DP / 16; kk++)
            load_matrices(qf[kk], shared + kk * 16 + lane_of_a(lane, PITCH));
    }
    float o[DP / 8][4] = {}, m[2] = {-INFINITY, -INFINITY}, l[2] = {0, 0};
    const int limit0 = limit_of(&v, lane / 4, a.group),
              limit1 = limit_of(&v, lane / 4 + 8, a.group);
    for (int stage = 0; key < end; key += STEP, stage ^= 1) {
        if (key + STEP < end) {
            load(stage ^ 1, key + STEP);
            copies_wait_all_but_last();
        } else {
            copies_wait_all();
        }
        __syncwarp(); /* the other lanes' copies are there, too */
        const __half *k_tile = stages + stage * shape::STAGE;
        attend_tile<DP, false, 16, true>(o, m, l, Q_SHARED ? NULL : qf, shared, k_tile,
                                         k_tile + shape::TILE, dim, a.scale, 1, limit0 - key,
                                         limit1 - key);
        __syncwarp(); /* nobody reads the stage any more */
    }
    __syncthreads(); /* nor any other part of shared memory */
    float *merge = (float *)shared, *stat = merge + shape::WARPS * 16 * PITCH;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = warp * 16 + lane / 4 + 8 * h;
        float sum = l[h];
        sum += __shfl_xor_sync(MN_FULL_WARP, sum, 1);
        sum += __shfl_xor_sync(MN_FULL_WARP, sum, 2);
        if (lane % 4 == 0) *(float2 *)(stat + row * 2) = make_float2(m[h], sum);
#pragma unroll
        for (int n = 0; n < DP / 8; n++)
            *(float2 *)(merge + row * PITCH + n * 8 + lane % 4 * 2) = make_float2(o[n][2 * h],
                                                                                  o[n][2 * h + 1]);
    }
    __syncthreads();
    merge_warps<DP>(&a, &v, &p, merge, keys, dim);
}

/* A warp owns a row of a sequence with several parts; its lanes own the dimensions. */
enum { MERGE_WARPS = 4 };
static __global__ void __launch_bounds__(MERGE_WARPS *MN_WARP)
    attention_merge_kernel(const attention_args a, const parts p) {
    const visible v = sequence_of(&a.seqs[blockIdx.y], a.group);
    const int i = (int)blockIdx.x * MERGE_WARPS + (int)threadIdx.x / MN_WARP;
    const int row = i % p.rows, kv_head = i / p.rows, lane = (int)threadIdx.x % MN_WARP;
    if (v.rows > MN_DECODE_ROWS || row >= v.rows || kv_head >= a.kv_heads) return;
    const int splits = splits_of(limit_of(&v, v.rows - 1, a.group));
    if (splits == 1) return; /* done by its only block */
    const int64_t at = query_row(&v, row, kv_head, &a);
    float m = -INFINITY, sum = 0;
    for (int s = 0; s < splits; s++)
        m = fmaxf(m, p.stat[part_of(&p, (int)blockIdx.y, s, a.kv_heads, kv_head, row)].x);
    for (int s = 0; s < splits; s++) {
        const float2 stat = p.stat[part_of(&p, (int)blockIdx.y, s, a.kv_heads, kv_head, row)];
        sum += stat.y * exp2_fast(stat.x - m);
    }
    for (int d = lane; d < a.dim; d += MN_WARP) {
        float o = 0;
        for (int s = 0; s < splits; s++) {
            const int64_t part = part_of(&p, (int)blockIdx.y, s, a.kv_heads, kv_head, row);
            o += p.o[part * a.dim + d] * exp2_fast(p.stat[part].x - m);
        }
        a.out[at * a.dim + d] = o / sum;
    }
    if (a.lse && lane == 0) a.lse[at] = (m + log2f(sum)) * MN_LN2;
}

template <int DP>
static mn_status launch(mn_stream *s, const attention_args *a, const parts *p, unsigned count) {
    typedef decode_shape<DP> shape;
    const dim3 grid((unsigned)p->splits, (unsigned)a->kv_heads, count);
    MN_CUDA_TRY(cudaFuncSetAttribute(attention_decode_kernel<DP>,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, shape::BYTES));
    attention_decode_kernel<DP><<<grid, shape::THREADS, shape::BYTES, s->stream>>>(*a, *p);
    MN_CUDA_LAUNCHED("attention_decode");
    if (p->splits == 1) return MN_OK;
    const unsigned blocks = (unsigned)mn_ceil_div(a->kv_heads * p->rows, (int)MERGE_WARPS);
    attention_merge_kernel<<<dim3(blocks, count), MERGE_WARPS * MN_WARP, 0, s->stream>>>(*a, *p);
    MN_CUDA_LAUNCHED("attention_merge");
    return MN_OK;
}

/* Sequences share the workspace: as many go into one launch as it has room for. */
mn_status mn_cuda_attention_decode(mn_stream *s, const attention_args *args,
                                   const mn_attn_seqs *seqs) {
    attention_args a = *args;
    parts p = {};
    for (int64_t i = 0; i < seqs->count; i++) {
        const mn_attn_seq *seq = &seqs->host[i];
        const int rows = seq->q_len * a.group;
        if (rows == 0 || rows > MN_DECODE_ROWS) continue;
        const int splits = splits_of(seq->shared_len[0] + seq->shared_len[1] + seq->own_len);
        p.rows = rows > p.rows ? rows : p.rows;
        p.splits = splits > p.splits ? splits : p.splits;
    }
    if (p.rows == 0) return MN_OK;
    int64_t room = MN_GRID_Z;
    if (p.splits > 1) {
        const int64_t per = (int64_t)p.splits * a.kv_heads * p.rows; /* parts of a sequence */
        const int64_t bytes = per * (a.dim + 2) * (int64_t)sizeof(float);
        const int64_t fit = (int64_t)s->scratch_bytes / bytes;
        room = fit < room ? fit : room;
        MN_TRY(mn_cuda_scratch(s, &p.stat, (size_t)((room > 0 ? room : 1) * bytes)));
        p.o = (float *)(p.stat + room * per);
    }
    for (int64_t at = 0; at < seqs->count; at += room, a.seqs += room) {
        const unsigned count = (unsigned)mn_attention_batch(seqs->count - at, room);
        if (a.dim <= 64) MN_TRY(launch<64>(s, &a, &p, count));
        else if (a.dim <= 128) MN_TRY(launch<128>(s, &a, &p, count));
        else MN_TRY(launch<256>(s, &a, &p, count));
    }
    return MN_OK;
}
