/* rope.cu - rotates q and k by position and files k and v, rounded to fp16, in the cache; turns gradients back.
 *
 * A block owns a token. Its cosines and sines wait in shared memory; a thread then takes pieces of V
 * elements, one of them or, where they rotate, the two that turn together. Bytes per token: forward 4 per
 * element of q, k and v, 4 per element of q, 2 per element of k and v, 4 R for the angles; backward 4 and 4
 * per element. */
#include "cuda/kv.h"
#include "cuda/mma.cuh"
#include "cuda/stream.h"

enum { THREADS = 256 };

/* A head is `rotating` pieces whose partner stands `half` further, then pieces that stand alone, from
 * element 2 half on: `pieces` in all. */
typedef struct turning {
    const float *cos_table, *sin_table;
    const int32_t *positions;
    int half, rotating, pieces, dim;
} turning;

template <int V> struct piece { float x[V]; };

template <int V> MN_DEVICE piece<V> read(const float *from) {
    piece<V> p;
    if (V == 4) {
        *(float4 *)p.x = *(const float4 *)from;
    } else {
#pragma unroll
        for (int i = 0; i < V; i++) p.x[i] = from[i];
    }
    return p;
}

template <int V> MN_DEVICE void write(float *to, piece<V> p) {
    if (V == 4) {
        *(float4 *)to = *(const float4 *)p.x;
    } else {
#pragma unroll
        for (int i = 0; i < V; i++) to[i] = p.x[i];
    }
}

template <int V> MN_DEVICE void write(__half *to, piece<V> p) {
    if (V == 4) {
        *(uint2 *)to = make_uint2(pack_halves(p.x[0], p.x[1 % V]),
                                  pack_halves(p.x[2 % V], p.x[3 % V]));
    } else {
#pragma unroll
        for (int i = 0; i < V; i++) to[i] = __float2half_rn(p.x[i]);
    }
}

/* Piece i of a head, turned by the angles (c, s), or back. */
template <int V, bool BACK, typename Out>
MN_DEVICE void turn(Out *to, const float *from, int i, const turning *t, const float *c,
                    const float *s) {
    if (i >= t->rotating) {
        const int d = 2 * t->half + (i - t->rotating) * V;
        write<V>(to + d, read<V>(from + d));
        return;
    }
    const int d = i * V;
    const piece<V> a = read<V>(from + d), b = read<V>(from + d + t->half);
    const piece<V> cosine = read<V>(c + d), sine = read<V>(s + d);
    piece<V> x, y;
#pragma unroll
    for (int e = 0; e < V; e++) {
        const float si = BACK ? -sine.x[e] : sine.x[e];
        x.x[e] = a.x[e] * cosine.x[e] - b.x[e] * si;
        y.x[e] = b.x[e] * cosine.x[e] + a.x[e] * si;
    }
    write<V>(to + d, x);
    write<V>(to + d + t->half, y);
}

/* The token's angles: `half` cosines, `half` sines. */
MN_DEVICE const float *angles(float *shared, const turning *t) {
    const int64_t at = (int64_t)t->positions[blockIdx.x] * t->half;
    for (int i = (int)threadIdx.x; i < t->half; i += THREADS) {
        shared[i] = t->cos_table[at + i];
        shared[t->half + i] = t->sin_table[at + i];
    }
    __syncthreads();
    return shared;
}

template <int V>
static __global__ void __launch_bounds__(THREADS)
    rope_store_kernel(float *q, __half *k, __half *v, const float *qkv, const mn_qkv_layout layout,
                      int kv_heads, const int32_t *rows, const turning t) {
    extern __shared__ __align__(16) float shared[];
    const float *c = angles(shared, &t), *s = c + t.half;
    const int64_t token = blockIdx.x;
    const int heads = (int)layout.heads, width = (int)mn_cuda_kv_width(t.dim), plain = t.dim / V;
    const int turned = (heads + kv_heads) * t.pieces, all = turned + kv_heads * plain;
    const float *from = qkv + token * layout.ld;
    const int64_t row = (int64_t)rows[token] * kv_heads * width;
    for (int i = (int)threadIdx.x; i < all; i += THREADS) {
        if (i < turned) {
            const int head = i / t.pieces, at = i - head * t.pieces;
            if (head < heads)
                turn<V, false>(q + (token * heads + head) * t.dim,
                               from + layout.q_begin + head * layout.q_stride, at, &t, c, s);
            else
                turn<V, false>(k + row + (head - heads) * width,
                               from + layout.k_begin + (head - heads) * layout.kv_stride, at, &t, c,
                               s);
        } else {
            const int head = (i - turned) / plain, d = (i - turned - head * plain) * V;
            write<V>(v + row + head * width + d,
                     read<V>(from + layout.v_begin + head * layout.kv_stride + d));
        }
    }
    const int fill = width - t.dim; /* zeros behind a head of the cache */
    for (int i = (int)threadIdx.x; i < kv_heads * fill; i += THREADS) {
        const int64_t at = row + i / fill * width + t.dim + i % fill;
        k[at] = v[at] = __float2half_rn(0);
    }
}

template <int V>
static __global__ void __launch_bounds__(THREADS)
    rope_bwd_kernel(float *dqkv, const float *dq, const float *dk, const float *dv,
                    const mn_qkv_layout layout, int kv_heads, const turning t) {
    extern __shared__ __align__(16) float shared[];
    const float *c = angles(shared, &t), *s = c + t.half;
    const int64_t token = blockIdx.x;
    const int heads = (int)layout.heads, plain = t.dim / V;
    const int turned = (heads + kv_heads) * t.pieces, all = turned + kv_heads * plain;
    float *to = dqkv + token * layout.ld;
    for (int i = (int)threadIdx.x; i < all; i += THREADS) {
        if (i < turned) {
            const int head = i / t.pieces, at = i - head * t.pieces, kv = head - heads;
            if (head < heads)
                turn<V, true>(to + layout.q_begin + head * layout.q_stride,
                              dq + (token * heads + head) * t.dim, at, &t, c, s);
            else
                turn<V, true>(to + layout.k_begin + kv * layout.kv_stride,
                              dk + (token * kv_heads + kv) * t.dim, at, &t, c, s);
        } else {
            const int kv = (i - turned) / plain, d = (i - turned - kv * plain) * V;
            write<V>(to + layout.v_begin + kv * layout.kv_stride + d,
                     read<V>(dv + (token * kv_heads + kv) * t.dim + d));
        }
    }
}

/* Whether heads and their halves, wherever they stand, are made of whole 16 bytes. */
static bool in_fours(const mn_qkv_layout *l, uintptr_t places) {
    const int64_t all = l->ld | l->q_begin | l->k_begin | l->v_begin | l->q_stride | l->kv_stride |
                        l->head_dim | l->rotary_dims / 2;
    return all % 4 == 0 && places % 16 == 0;
}

static turning turning_of(const mn_qkv_layout *l, const float *cos_table, const float *sin_table,
                          const int32_t *positions, int v) {
    const int half = (int)(l->rotary_dims / 2), dim = (int)l->head_dim;
    return {.cos_table = cos_table,
            .sin_table = sin_table,
            .positions = positions,
            .half = half,
            .rotating = half / v,
            .pieces = (dim - half) / v,
            .dim = dim};
}

extern "C" mn_status mn_cuda_rope_store_fwd(mn_stream *s, float *q, mn_kv_layer kv,
                                            const float *qkv, const mn_qkv_layout *layout,
                                            const float *cos_table, const float *sin_table,
                                            const int32_t *positions, const int32_t *rows,
                                            int64_t tokens) {
    const bool fours = in_fours(layout, (uintptr_t)q | (uintptr_t)qkv);
    const turning t = turning_of(layout, cos_table, sin_table, positions, fours ? 4 : 1);
    const size_t bytes = (size_t)t.half * 2 * sizeof(float);
    const unsigned blocks = (unsigned)tokens;
    const int kv_heads = (int)kv.kv_heads;
    __half *k = (__half *)(void *)kv.k, *v = (__half *)(void *)kv.v;
    if (tokens == 0) return MN_OK;
    if (fours)
        rope_store_kernel<4>
            <<<blocks, THREADS, bytes, s->stream>>>(q, k, v, qkv, *layout, kv_heads, rows, t);
    else
        rope_store_kernel<1>
            <<<blocks, THREADS, bytes, s->stream>>>(q, k, v, qkv, *layout, kv_heads, rows, t);
    MN_CUDA_LAUNCHED("rope_store_fwd");
    return MN_OK;
}

extern "C" mn_status mn_cuda_rope_bwd(mn_stream *s, float *dqkv, const float *dq, const float *dk,
                                      const float *dv, const mn_qkv_layout *layout,
                                      int64_t kv_heads, const float *cos_table,
                                      const float *sin_table, const int32_t *positions,
                                      int64_t tokens) {
    const bool fours = in_fours(layout,
                                (uintptr_t)dqkv | (uintptr_t)dq | (uintptr_t)dk | (uintptr_t)dv);
    const turning t = turning_of(layout, cos_table, sin_table, positions, fours ? 4 : 1);
    const size_t bytes = (size_t)t.half * 2 * sizeof(float);
    const unsigned blocks = (unsigned)tokens;
    if (tokens == 0) return MN_OK;
    if (fours)
        rope_bwd_kernel<4>
            <<<blocks, THREADS, bytes, s->stream>>>(dqkv, dq, dk, dv, *layout, (int)kv_heads, t);
    else
        rope_bwd_kernel<1>
            <<<blocks, THREADS, bytes, s->stream>>>(dqkv, dq, dk, dv, *layout, (int)kv_heads, t);
    MN_CUDA_LAUNCHED("rope_bwd");
    return MN_OK;
}
