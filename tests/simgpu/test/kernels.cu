/* kernels.cu - ordinary kernels for test_kernels.cpp: reductions, rows, divergence, a tensor-core
 * product with double-buffered cp.async, causal attention. */
#include <cstdint>
#include <cuda_fp16.h>

namespace {

constexpr unsigned ALL = 0xffffffffu;

__device__ float warp_sum(float v) {
    for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(ALL, v, o);
    return v;
}
__device__ float warp_max(float v) {
    for (int o = 16; o; o >>= 1) v = fmaxf(v, __shfl_xor_sync(ALL, v, o));
    return v;
}

/* The sum or maximum over the block, in all threads. */
template <bool MAX> __device__ float block_reduce(float v) {
    __shared__ float part[32];
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, warps = (blockDim.x + 31) >> 5;
    v = MAX ? warp_max(v) : warp_sum(v);
    if (lane == 0) part[warp] = v;
    __syncthreads();
    if (warp == 0) {
        v = lane < warps ? part[lane] : (MAX ? -INFINITY : 0.f);
        v = MAX ? warp_max(v) : warp_sum(v);
        if (lane == 0) part[0] = v;
    }
    __syncthreads();
    v = part[0];
    __syncthreads();
    return v;
}

__device__ uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ void load_matrices_4(uint32_t (&r)[4], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p))
                 : "memory");
}
template <bool TRANSPOSE> __device__ void load_matrices_2(uint32_t (&r)[2], const void *p) {
    if (TRANSPOSE)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(shared_address(p))
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(shared_address(p))
                     : "memory");
}
__device__ void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* 16 bytes, or zeros when there is nothing to copy */
__device__ void copy_async(void *to, const void *from, bool any) {
    const int bytes = any ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(bytes)
                 : "memory");
}
__device__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ void wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
__device__ uint32_t pack(float a, float b) {
    const __half2 h = __floats2half2_rn(a, b);
    return *(const uint32_t *)&h;
}

} // namespace

extern "C" {

__global__ void vector_add(const float *a, const float *b, float *c, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) c[i] = a[i] + b[i];
}

/* A partial sum per block, and the total by atomics. */
__global__ void block_sum(const float *x, float *part, float *total, int n) {
    float s = 0.f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        s += x[i];
    s = block_reduce<false>(s);
    if (threadIdx.x == 0) {
        part[blockIdx.x] = s;
        atomicAdd(total, s);
    }
}

__global__ void layer_norm(const __half *x, const __half *g, const __half *b, __half *y,
                           float *mean, float *rstd, int columns, float eps) {
    const __half *xr = x + (size_t)blockIdx.x * columns;
    __half *yr = y + (size_t)blockIdx.x * columns;
    float s = 0.f, v = 0.f;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) s += __half2float(xr[i]);
    const float m = block_reduce<false>(s) / columns;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) {
        const float d = __half2float(xr[i]) - m;
        v += d * d;
    }
    const float r = rsqrtf(block_reduce<false>(v) / columns + eps);
    for (int i = threadIdx.x; i < columns; i += blockDim.x)
        yr[i] = __float2half((__half2float(xr[i]) - m) * r * __half2float(g[i]) +
                             __half2float(b[i]));
    if (threadIdx.x == 0) {
        mean[blockIdx.x] = m;
        rstd[blockIdx.x] = r;
    }
}

__global__ void softmax(const __half2 *x, __half2 *y, int pairs, float scale) {
    const __half2 *xr = x + (size_t)blockIdx.x * pairs;
    __half2 *yr = y + (size_t)blockIdx.x * pairs;
    float top = -INFINITY, s = 0.f;
    for (int i = threadIdx.x; i < pairs; i += blockDim.x) {
        const float2 f = __half22float2(xr[i]);
        top = fmaxf(top, fmaxf(f.x, f.y));
    }
    top = block_reduce<true>(top);
    for (int i = threadIdx.x; i < pairs; i += blockDim.x) {
        const float2 f = __half22float2(xr[i]);
        s += __expf((f.x - top) * scale) + __expf((f.y - top) * scale);
    }
    s = 1.f / block_reduce<false>(s);
    for (int i = threadIdx.x; i < pairs; i += blockDim.x) {
        const float2 f = __half22float2(xr[i]);
        yr[i] = __floats2half2_rn(__expf((f.x - top) * scale) * s, __expf((f.y - top) * scale) * s);
    }
}

__global__ void gelu(const __half *x, __half *by_tanh, __half *by_erf, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float v = __half2float(x[i]);
    by_tanh[i] = __float2half(0.5f * v *
                              (1.f + tanhf(0.7978845608f * (v + 0.044715f * v * v * v))));
    by_erf[i] = __float2half(0.5f * v * (1.f + erff(v * 0.70710678f)));
}

__global__ void rotary(__half2 *x, int pairs, float base) {
    const int t = blockIdx.x, i = threadIdx.x;
    if (i >= pairs) return;
    float s, c;
    sincosf(t * powf(base, -2.f * i / (2.f * pairs)), &s, &c);
    const float2 f = __half22float2(x[t * pairs + i]);
    x[t * pairs + i] = __floats2half2_rn(f.x * c - f.y * s, f.x * s + f.y * c);
}

__global__ void half_fma(const __half2 *a, const __half2 *b, const __half2 *c, __half2 *d, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) d[i] = __hmax2(__hfma2(a[i], b[i], c[i]), __hmul2(a[i], c[i]));
}

__global__ void histogram(const int *x, int *bins, unsigned *odd, int n) {
    __shared__ int count[16];
    if (threadIdx.x < 16) count[threadIdx.x] = 0;
    __syncthreads();
    const int i = blockIdx.x * blockDim.x + threadIdx.x, v = i < n ? x[i] : -1;
    const unsigned mask = __ballot_sync(ALL, v & 1);
    if ((threadIdx.x & 31) == 0) odd[i >> 5] = mask;
    if (v >= 0) atomicAdd(&count[v & 15], 1);
    __syncthreads();
    if (threadIdx.x < 16) atomicAdd(&bins[threadIdx.x], count[threadIdx.x]);
}

__global__ void collatz(const unsigned *x, unsigned *steps, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned v = x[i], s = 0;
    for (; v != 1; s++) v = v & 1 ? 3 * v + 1 : v >> 1;
    steps[i] = s;
}

/* C (m x n) = A (m x k) B (k x n), all row-major; tiles of 64 x 64 x 32, four warps of 32 x 32. */
__global__ void __launch_bounds__(128)
    product(const __half *__restrict__ A, const __half *__restrict__ B, __half *__restrict__ C,
            int m, int n, int k) {
    constexpr int BM = 64, BN = 64, BK = 32, PA = BK + 8, PB = BN + 8;
    __shared__ __align__(16) __half sa[2][BM * PA];
    __shared__ __align__(16) __half sb[2][BK * PB];
    const int tid = threadIdx.x, lane = tid & 31, w = tid >> 5, wm = (w >> 1) * 32,
              wn = (w & 1) * 32;
    const int bm = blockIdx.y * BM, bn = blockIdx.x * BN;
    float acc[2][4][4] = {};
    const auto load = [&](int stage, int k0) {
        for (int i = tid; i < BM * BK / 8; i += 128) {
            const int r = i / (BK / 8), c = i % (BK / 8) * 8;
            const bool in = bm + r < m && k0 + c < k;
            copy_async(&sa[stage][r * PA + c], in ? A + (size_t)(bm + r) * k + k0 + c : A, in);
        }
        for (int i = tid; i < BK * BN / 8; i += 128) {
            const int r = i / (BN / 8), c = i % (BN / 8) * 8;
            const bool in = k0 + r < k && bn + c < n;
            copy_async(&sb[stage][r * PB + c], in ? B + (size_t)(k0 + r) * n + bn + c : B, in);
        }
        commit();
    };
    const int tiles = (k + BK - 1) / BK;
    load(0, 0);
    for (int t = 0; t < tiles; t++) {
        if (t + 1 < tiles) {
            load((t + 1) & 1, (t + 1) * BK);
            wait<1>();
        } else wait<0>();
        __syncthreads();
        const __half *as = sa[t & 1], *bs = sb[t & 1];
        for (int kk = 0; kk < BK; kk += 16) {
            uint32_t a[2][4], b[4][2];
            for (int i = 0; i < 2; i++)
                load_matrices_4(a[i], as + (wm + i * 16 + (lane & 15)) * PA + kk + (lane >> 4) * 8);
            for (int j = 0; j < 4; j++)
                load_matrices_2<true>(b[j], bs + (kk + (lane & 15)) * PB + wn + j * 8);
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 4; j++) mma(acc[i][j], a[i], b[j]);
        }
        __syncthreads();
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            for (int h = 0; h < 2; h++) {
                const int r = bm + wm + i * 16 + (lane >> 2) + h * 8,
                          c = bn + wn + j * 8 + (lane & 3) * 2;
                if (r < m && c < n)
                    *(__half2 *)(C + (size_t)r * n + c) = __floats2half2_rn(acc[i][j][2 * h],
                                                                            acc[i][j][2 * h + 1]);
            }
}

/* Causal attention of head size 64: q, k, v, o are [heads][length][64], 64 queries a block. */
__global__ void __launch_bounds__(128) attention(const __half *q, const __half *k, const __half *v,
                                                 __half *o, float *lse, int length, float scale) {
    constexpr int D = 64, BT = 64, P = D + 8;
    extern __shared__ __align__(16) __half shared[];
    __half *sq = shared, *sk = shared + BT * P, *sv = shared + 3 * BT * P;
    const int tid = threadIdx.x, lane = tid & 31, w = tid >> 5, q0 = blockIdx.x * BT;
    const size_t base = (size_t)blockIdx.y * length * D;
    const auto load = [&](__half *s, const __half *g, int t0) {
        for (int i = tid; i < BT * D / 8; i += 128) {
            const int r = i / (D / 8), c = i % (D / 8) * 8;
            const bool in = t0 + r < length;
            copy_async(s + r * P + c, g + base + (size_t)(in ? t0 + r : 0) * D + c, in);
        }
    };
    load(sq, q, q0);
    load(sk, k, 0);
    load(sv, v, 0);
    commit();
    float acc[8][4] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.f, 0.f};
    uint32_t qf[4][4];
    const int tiles = blockIdx.x + 1;
    const float scale2 = scale * 1.4426950408889634f;
    for (int t = 0; t < tiles; t++) {
        if (t + 1 < tiles) {
            load(sk + ((t + 1) & 1) * BT * P, k, (t + 1) * BT);
            load(sv + ((t + 1) & 1) * BT * P, v, (t + 1) * BT);
            commit();
            wait<1>();
        } else wait<0>();
        __syncthreads();
        if (t == 0)
#pragma unroll
            for (int kk = 0; kk < 4; kk++)
                load_matrices_4(qf[kk],
                                sq + (w * 16 + (lane & 15)) * P + kk * 16 + (lane >> 4) * 8);
        const __half *kt = sk + (t & 1) * BT * P, *vt = sv + (t & 1) * BT * P;
        float s[8][4] = {};
#pragma unroll
        for (int kk = 0; kk < 4; kk++)
#pragma unroll
            for (int j = 0; j < 8; j++) {
                uint32_t b[2];
                load_matrices_2<false>(b, kt + (j * 8 + (lane & 7)) * P + kk * 16 +
                                              ((lane >> 3) & 1) * 8);
                mma(s[j], qf[kk], b);
            }
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = q0 + w * 16 + (lane >> 2) + h * 8;
            float m = top[h];
#pragma unroll
            for (int j = 0; j < 8; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int column = t * BT + j * 8 + (lane & 3) * 2 + e;
                    float &x = s[j][2 * h + e];
                    x = column > row || column >= length ? -INFINITY : x * scale2;
                    m = fmaxf(m, x);
                }
            m = fmaxf(m, __shfl_xor_sync(ALL, m, 1));
            m = fmaxf(m, __shfl_xor_sync(ALL, m, 2));
            const float shrink = exp2f(top[h] - m);
            float part = 0.f;
            top[h] = m;
#pragma unroll
            for (int j = 0; j < 8; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float &x = s[j][2 * h + e];
                    x = exp2f(x - m);
                    part += x;
                    acc[j][2 * h + e] *= shrink;
                }
            sum[h] = sum[h] * shrink + part;
        }
#pragma unroll
        for (int kk = 0; kk < 4; kk++) {
            const uint32_t a[4] = {
                pack(s[2 * kk][0], s[2 * kk][1]), pack(s[2 * kk][2], s[2 * kk][3]),
                pack(s[2 * kk + 1][0], s[2 * kk + 1][1]), pack(s[2 * kk + 1][2], s[2 * kk + 1][3])};
#pragma unroll
            for (int j = 0; j < 8; j++) {
                uint32_t b[2];
                load_matrices_2<true>(b, vt + (kk * 16 + (lane & 15)) * P + j * 8);
                mma(acc[j], a, b);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float s = sum[h];
        s += __shfl_xor_sync(ALL, s, 1);
        s += __shfl_xor_sync(ALL, s, 2);
        const int row = q0 + w * 16 + (lane >> 2) + h * 8;
        if (row >= length) continue;
#pragma unroll
        for (int j = 0; j < 8; j++)
            *(__half2 *)(o + base + (size_t)row * D + j * 8 + (lane & 3) * 2) = __floats2half2_rn(
                acc[j][2 * h] / s, acc[j][2 * h + 1] / s);
        if ((lane & 3) == 0)
            lse[(size_t)blockIdx.y * length + row] = (top[h] + log2f(s)) * 0.6931471805599453f;
    }
}

} // extern "C"
