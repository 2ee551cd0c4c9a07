/* attention.cuh (internal) - what the attention kernels share: rows, visible keys, tiles in shared memory.
 *
 * Query heads that read one key-value head are `group` rows of one matrix: row r of a sequence is query
 * r / group, head r % group of the group. All keys that a sequence may see, shared spans first, form one
 * list; row r sees its first `limit` keys, whatever their places in the cache. So tiles are full but for
 * the last one, and results depend neither on the cache nor on other sequences of the batch. */
#ifndef MNEME_CUDA_ATTENTION_CUH
#define MNEME_CUDA_ATTENTION_CUH

#include "cuda/kv.h"
#include "cuda/mma.cuh"
#include "cuda/stream.h"

enum {
    MN_ATTENTION_ROWS = 64, /* of a block: four warps with 16 each */
    MN_ATTENTION_THREADS = 128,
    MN_DECODE_ROWS = 16, /* up to so many rows, a sequence goes to the decoding kernel */
    MN_DECODE_KEYS =
        256, /* keys of one block of it: fixed, so that bits depend on the sequence alone */
    MN_ATTENTION_MAX_HEAD = 256,
    MN_GRID_Z = 65535 /* sequences of one launch at most */
};

#define MN_LOG2E 1.4426950408889634f
#define MN_LN2 0.6931471805599453f

typedef struct attention_args {
    float *out, *lse; /* lse may be NULL */
    const float *q;   /* may be out */
    const __half *k, *v;
    const mn_attn_seq *seqs; /* device */
    int heads, kv_heads, group, dim;
    float scale;  /* of scores, times log2 e: softmax is computed in powers of two */
    bool aligned; /* rows of q and out are made of whole 16 bytes */
} attention_args;

/* attention_decode.cu: the sequences of at most MN_DECODE_ROWS rows; the others are left alone. */
mn_status mn_cuda_attention_decode(mn_stream *s, const attention_args *args,
                                   const mn_attn_seqs *seqs);

/* A variant of a kernel: head sizes padded to DP, or (EXACT) DP itself in rows of whole 16 bytes. */
template <int DP, bool EXACT> struct head_size {
    static constexpr int padded = DP;
    static constexpr bool exact = EXACT;
};

/* launch(head_size) with the variant that takes heads of `dim`. */
template <typename Launch>
static mn_status mn_attention_sized(int64_t dim, bool aligned, const Launch &launch) {
    if (aligned) {
        if (dim == 64) return launch(head_size<64, true>());
        if (dim == 80) return launch(head_size<80, true>());
        if (dim == 96) return launch(head_size<96, true>());
        if (dim == 128) return launch(head_size<128, true>());
        if (dim == 256) return launch(head_size<256, true>());
    }
    if (dim <= 64) return launch(head_size<64, false>());
    if (dim <= 128) return launch(head_size<128, false>());
    return launch(head_size<256, false>());
}

/* How many of the `left` sequences go into the next launch, of at most `room`. */
static inline int64_t mn_attention_batch(int64_t left, int64_t room) {
    return left < room ? left : room;
}

/* What of a sequence does not depend on the row. Key j stands in cache row base[span] + j. */
typedef struct visible {
    int base0, base1, base2;
    int end0, end1; /* of the shared spans in the list of keys */
    int before;     /* keys that query 0 sees, without the one that is its own */
    int rows, q_begin;
} visible;

MN_DEVICE visible sequence_of(const mn_attn_seq *s, int group) {
    visible v;
    v.end0 = s->shared_len[0];
    v.end1 = v.end0 + s->shared_len[1];
    v.base0 = s->shared_begin[0];
    v.base1 = s->shared_begin[1] - v.end0;
    v.base2 = s->own_begin - v.end1;
    v.before = v.end1 + s->own_len - s->q_len;
    v.rows = s->q_len * group;
    v.q_begin = s->q_begin;
    return v;
}

MN_DEVICE int cache_row(const visible *v, int key) {
    return key + (key < v->end0 ? v->base0 : key < v->end1 ? v->base1 : v->base2);
}

/* How many keys a row sees; rows behind the last see what the last one does. */
MN_DEVICE int limit_of(const visible *v, int row, int group) {
    return v->before + min(row, v->rows - 1) / group + 1;
}

/* (token, head) of a row as one number: the row of q and out that it stands for. */
MN_DEVICE int64_t query_row(const visible *v, int row, int kv_head, const attention_args *a) {
    const int query = row / a->group;
    return (int64_t)(v->q_begin + query) * a->heads + kv_head * a->group + row - query * a->group;
}

/* Rows of `chunks` x 8 halves of two matrices into two tiles of ROWS rows, asynchronously, by THREADS
 * threads; offset(row) is where a row begins in both, negative for a row of zeros. Eight lanes, one
 * phase of shared memory, take two chunks (a sector of global memory) of four rows two apart: as `pitch`
 * is an odd number of chunks, these are 32 banks. */
template <int ROWS, int THREADS, typename Offset>
MN_DEVICE void copy_rows(__half *tile_a, const __half *a, __half *tile_b, const __half *b,
                         int pitch, int chunks, int thread, Offset offset) {
    const int pairs = (chunks + 1) / 2;
    for (int u = thread / 8; u < ROWS / 4 * pairs; u += THREADS / 8) {
        const int set = u / pairs, chunk = 2 * (u - set * pairs) + (thread & 1);
        const int row = set / 2 * 8 + set % 2 + (thread >> 1 & 3) * 2;
        if (chunk >= chunks) continue;
        const int64_t at = offset(row);
        const int64_t from = (at < 0 ? 0 : at) + chunk * 8;
        const int to = row * pitch + chunk * 8;
        copy_16_async(tile_a + to, a + from, at >= 0);
        copy_16_async(tile_b + to, b + from, at >= 0);
    }
}

/* Eight floats of a row from `d` on, `dim` in all, as halves; zeros behind the last. */
MN_DEVICE uint4 eight_halves(const float *row, int d, int dim, bool aligned) {
    float x[8];
    if (aligned && d + 8 <= dim) {
        *(float4 *)x = *(const float4 *)(row + d);
        *(float4 *)(x + 4) = *(const float4 *)(row + d + 4);
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++) x[i] = d + i < dim ? row[d + i] : 0.0f;
    }
    return make_uint4(pack_halves(x[0], x[1]), pack_halves(x[2], x[3]), pack_halves(x[4], x[5]),
                      pack_halves(x[6], x[7]));
}

/* ROWS rows of q from row `first` of the sequence on, rounded to halves; zeros behind the last. Lanes
 * are dealt out as in copy_rows. */
template <int ROWS, int THREADS>
MN_DEVICE void load_queries(__half *tile, int pitch, const attention_args *a, const visible *v,
                            int kv_head, int first, int dim, int thread) {
    const int chunks = (dim + 7) / 8, pairs = (chunks + 1) / 2;
    for (int u = thread / 8; u < ROWS / 4 * pairs; u += THREADS / 8) {
        const int set = u / pairs, chunk = 2 * (u - set * pairs) + (thread & 1);
        const int row = set / 2 * 8 + set % 2 + (thread >> 1 & 3) * 2;
        if (chunk >= chunks) continue;
        uint4 x = make_uint4(0, 0, 0, 0);
        if (first + row < v->rows)
            x = eight_halves(a->q + query_row(v, first + row, kv_head, a) * dim, chunk * 8, dim,
                             a->aligned);
        *(uint4 *)(tile + row * pitch + chunk * 8) = x;
    }
}

MN_DEVICE void zero_shared(void *shared, int bytes, int threads) {
    for (int i = (int)threadIdx.x; i < bytes / 16; i += threads)
        ((uint4 *)shared)[i] = make_uint4(0, 0, 0, 0);
}

/* Scores s of 16 rows become weights 2^(scale s - m), m the new maximum of scale s; the earlier sums
 * l and o are brought to it. A row that has seen no key yet has m = -infinity. */
template <int DP, int KEYS>
MN_DEVICE void soften(float o[DP / 8][4], float m[2], float l[2], float s[KEYS / 8][4],
                      float scale) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = -INFINITY;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) top = fmaxf(top, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
        top = fmaxf(top, __shfl_xor_sync(MN_FULL_WARP, top, 1));
        top = fmaxf(top, __shfl_xor_sync(MN_FULL_WARP, top, 2));
        const float next = fmaxf(m[h], top * scale);
        const float base = next == -INFINITY ? 0 : next;
        const float shrink = exp2_fast(m[h] - base);
        float sum = 0;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float *x = &s[n][2 * h + e];
                *x = exp2_fast(fmaf(*x, scale, -base));
                sum += *x;
            }
        m[h] = next;
        l[h] = l[h] * shrink + sum; /* of this lane's keys */
#pragma unroll
        for (int n = 0; n < DP / 8; n++) {
            o[n][2 * h] *= shrink;
            o[n][2 * h + 1] *= shrink;
        }
    }
}

/* 16 rows (a warp) over the KEYS keys of a tile: scores, online softmax (Milakov and Gimelshein 2018), and
 * what the values add to o. With PARTIAL only `groups` x 16 keys are looked at, and row lane / 4 sees
 * `visible0` keys of the tile, row lane / 4 + 8 `visible1`. Q comes from registers (qf) or, when that is
 * NULL, from its tile. */
template <int DP, bool EXACT, int KEYS, bool PARTIAL>
MN_DEVICE void attend_tile(float o[DP / 8][4], float m[2], float l[2], const uint32_t (*qf)[4],
                           const __half *q_tile, const __half *k_tile, const __half *v_tile,
                           int dim, float scale, int groups, int visible0, int visible1) {
    enum { PITCH = DP + 8 };
    const int lane = (int)threadIdx.x % MN_WARP;
    float s[KEYS / 8][4];
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) s[n][i] = 0;
#pragma unroll
    for (int kk = 0; kk < DP / 16; kk++) {
        if (!EXACT && kk * 16 >= dim) continue;
        uint32_t a[4];
        if (qf) {
#pragma unroll
            for (int i = 0; i < 4; i++) a[i] = qf[kk][i];
        } else {
            load_matrices(a, q_tile + kk * 16 + lane_of_a(lane, PITCH));
        }
#pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
            if (PARTIAL && j >= groups) continue;
            uint32_t b[4];
            load_matrices(b, k_tile + j * 16 * PITCH + kk * 16 + lane_of_b(lane, PITCH));
            multiply_add(s[2 * j], a, b);
            multiply_add(s[2 * j + 1], a, b + 2);
        }
    }
    if (PARTIAL) {
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (n * 8 + lane % 4 * 2 + i % 2 >= (i / 2 ? visible1 : visible0))
                    s[n][i] = -INFINITY;
    }
    soften<DP, KEYS>(o, m, l, s, scale);
#pragma unroll
    for (int j = 0; j < KEYS / 16; j++) {
        if (PARTIAL && j >= groups) continue;
        uint32_t a[4];
        as_a(a, s[2 * j], s[2 * j + 1]);
#pragma unroll
        for (int n = 0; n < DP / 16; n++) {
            if (!EXACT && n * 16 >= dim) continue;
            uint32_t b[4];
            load_matrices_transposed(b, v_tile + j * 16 * PITCH + n * 16 +
                                            lane_of_b_transposed(lane, PITCH));
            multiply_add(o[2 * n], a, b);
            if (EXACT || n * 16 + 8 < dim) multiply_add(o[2 * n + 1], a, b + 2);
        }
    }
}

#endif
