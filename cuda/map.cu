/* map.cu - kernels that treat every element alike: sums, activations and their gradients, AdamW.
 *
 * A thread owns one group of 4 neighbouring elements: it loads them from every input, and then writes
 * them to every output, so that outputs may be inputs. Inputs and outputs move once, 4 bytes an element each,
 * which is what they must; the arithmetic (at most about 60 instructions an element) hides behind that. */
#include "cuda/block.cuh"

enum { BLOCK = 256 };

template <int N> struct sources { const float *at[N]; };
template <int N> struct targets { float *at[N]; };

/* OP has IN and OUT, and computes out[OUT] of one element from in[IN]. */
template <int VEC, class OP>
__global__ static void __launch_bounds__(BLOCK)
    map_kernel(OP op, targets<OP::OUT> to, sources<OP::IN> from, int64_t n) {
    const int64_t i = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) * VEC;
    if (i >= n) return;
    float in[OP::IN][VEC], out[OP::OUT][VEC];
    const int64_t left = n - i;
#pragma unroll
    for (int a = 0; a < OP::IN; a++) {
        if (VEC == 1 || left >= VEC) {
            load_group<VEC>(in[a], from.at[a] + i);
        } else {
#pragma unroll
            for (int j = 0; j < VEC; j++) in[a][j] = j < left ? from.at[a][i + j] : 0;
        }
    }
#pragma unroll
    for (int j = 0; j < VEC; j++) {
        float x[OP::IN], y[OP::OUT];
#pragma unroll
        for (int a = 0; a < OP::IN; a++) x[a] = in[a][j];
        op(y, x);
#pragma unroll
        for (int a = 0; a < OP::OUT; a++) out[a][j] = y[a];
    }
#pragma unroll
    for (int a = 0; a < OP::OUT; a++) {
        if (VEC == 1 || left >= VEC) {
            store_group<VEC>(to.at[a] + i, out[a]);
        } else {
#pragma unroll
            for (int j = 0; j < VEC; j++)
                if (j < left) to.at[a][i + j] = out[a][j];
        }
    }
}

template <class OP>
static mn_status map(mn_stream *s, const char *name, OP op, targets<OP::OUT> to,
                     sources<OP::IN> from, int64_t n) {
    bool aligned = true;
    for (int a = 0; a < OP::OUT; a++) aligned = aligned && mn_cuda_aligned(to.at[a]);
    for (int a = 0; a < OP::IN; a++) aligned = aligned && mn_cuda_aligned(from.at[a]);
    if (n == 0) return MN_OK;
    const unsigned blocks = (unsigned)mn_ceil_div<int64_t>(n, aligned ? 4 * BLOCK : BLOCK);
    if (aligned) map_kernel<4><<<blocks, BLOCK, 0, s->stream>>>(op, to, from, n);
    else map_kernel<1><<<blocks, BLOCK, 0, s->stream>>>(op, to, from, n);
    MN_CUDA_LAUNCHED(name);
    return MN_OK;
}

/* ---- Sums --------------------------------------------------------------------------------------- */

struct add_op {
    enum { IN = 2, OUT = 1 };
    __device__ void operator()(float *y, const float *x) const { y[0] = x[0] + x[1]; }
};

extern "C" mn_status mn_cuda_add(mn_stream *s, float *y, const float *x, int64_t n) {
    return map(s, "add", add_op{}, {{y}}, {{y, x}}, n);
}

extern "C" mn_status mn_cuda_zero(mn_stream *s, float *y, int64_t n) {
    if (n > 0) MN_CUDA_TRY(cudaMemsetAsync(y, 0, (size_t)n * sizeof *y, s->stream));
    return MN_OK;
}

/* ---- Activations -------------------------------------------------------------------------------- */

struct gelu_op {
    enum { IN = 1, OUT = 1 };
    __device__ void operator()(float *y, const float *x) const {
        y[0] = 0.5f * x[0] * (1.0f + erff(x[0] * 0.70710678f));
    }
};

extern "C" mn_status mn_cuda_gelu_fwd(mn_stream *s, float *y, const float *x, int64_t n) {
    return map(s, "gelu_fwd", gelu_op{}, {{y}}, {{x}}, n);
}

/* d/dx x Phi(x) = Phi(x) + x phi(x) */
struct gelu_slope_op {
    enum { IN = 2, OUT = 1 };
    __device__ void operator()(float *dx, const float *in) const {
        const float dy = in[0], x = in[1];
        const float phi = x * 0.39894228f * expf(-0.5f * x * x);
        dx[0] = dy * (0.5f * (1.0f + erff(x * 0.70710678f)) + phi);
    }
};

extern "C" mn_status mn_cuda_gelu_bwd(mn_stream *s, float *dx, const float *dy, const float *x,
                                      int64_t n) {
    return map(s, "gelu_bwd", gelu_slope_op{}, {{dx}}, {{dy, x}}, n);
}

struct swiglu_op {
    enum { IN = 2, OUT = 1 };
    __device__ void operator()(float *y, const float *in) const {
        const float gate = in[0], up = in[1];
        y[0] = gate / (1.0f + expf(-gate)) * up;
    }
};

extern "C" mn_status mn_cuda_swiglu_fwd(mn_stream *s, float *y, const float *gate, const float *up,
                                        int64_t rows, int64_t dim) {
    return map(s, "swiglu_fwd", swiglu_op{}, {{y}}, {{gate, up}}, rows * dim);
}

/* sigma = 1 / (1 + exp(-g)) and 1 - sigma both from exp(-|g|), which neither overflows nor cancels:
 *     dup = dy g sigma,   dgate = dy up sigma (1 + g (1 - sigma)) */
struct swiglu_slope_op {
    enum { IN = 3, OUT = 2 };
    __device__ void operator()(float *out, const float *in) const {
        const float dy = in[0], g = in[1], up = in[2];
        const float e = expf(-fabsf(g)), high = 1.0f / (1.0f + e), low = e * high;
        const float sigma = g < 0 ? low : high, rest = g < 0 ? high : low;
        out[0] = dy * up * sigma * (1.0f + g * rest);
        out[1] = dy * g * sigma;
    }
};

extern "C" mn_status mn_cuda_swiglu_bwd(mn_stream *s, float *dgate, float *dup, const float *dy,
                                        const float *gate, const float *up, int64_t n) {
    return map(s, "swiglu_bwd", swiglu_slope_op{}, {{dgate, dup}}, {{dy, gate, up}}, n);
}

/* ---- Optimizer ---------------------------------------------------------------------------------- */

struct adamw_op {
    enum { IN = 4, OUT = 3 };
    mn_adamw step;
    __device__ void operator()(float *out, const float *in) const {
        const float old = in[0], g = step.grad_scale * in[3];
        const float mean = step.beta1 * in[1] + (1 - step.beta1) * g;
        const float square = step.beta2 * in[2] + (1 - step.beta2) * (g * g);
        const float size = sqrtf(square / step.correction2) + step.eps;
        out[0] = old - step.lr * step.decay * old - step.lr / step.correction1 * (mean / size);
        out[1] = mean;
        out[2] = square;
    }
};

extern "C" mn_status mn_cuda_adamw(mn_stream *s, float *param, float *m, float *v,
                                   const float *grad, const mn_adamw *step, int64_t n) {
    return map(s, "adamw", adamw_op{*step}, {{param, m, v}}, {{param, m, v, grad}}, n);
}
