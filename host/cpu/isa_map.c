/* isa_map.c - kernels that treat every element alike: activations and their gradients, sums, casts,
 * AdamW. One thread owns fixed blocks of elements, so that every element takes the same way through
 * vectors and remainders for any number of threads. */
#include "cpu/isa.h"
#include "cpu/vec.h"

#include <math.h>

enum { BLOCK = 1 << 13 };

V_INLINE vf load(const float *p, int64_t n) { return n >= VL ? v_load(p) : v_load_n(p, n); }

V_INLINE void store(float *p, vf x, int64_t n) {
    if (n >= VL) v_store(p, x);
    else v_store_n(p, x, n);
}

/* Runs `body` for every begin of a vector with `left` elements from there to the end. */
#define EACH_VECTOR(s, n, body)                                                                    \
    _Pragma("omp parallel for num_threads(s->threads) schedule(static) if (n > BLOCK)") for (      \
        int64_t block = 0; block < (n); block += BLOCK) {                                          \
        const int64_t end = block + BLOCK < (n) ? block + BLOCK : (n);                             \
        for (int64_t i = block; i < end; i += VL) {                                                \
            const int64_t left = end - i;                                                          \
            body                                                                                   \
        }                                                                                          \
    }

mn_status MN_CPU(add)(mn_stream *s, float *y, const float *x, int64_t n) {
    EACH_VECTOR(s, n, store(y + i, load(y + i, left) + load(x + i, left), left);)
    return MN_OK;
}

mn_status MN_CPU(zero)(mn_stream *s, float *y, int64_t n) {
    EACH_VECTOR(s, n, store(y + i, v_set(0), left);)
    return MN_OK;
}

mn_status MN_CPU(gelu_fwd)(mn_stream *s, float *y, const float *x, int64_t n) {
    EACH_VECTOR(s, n, store(y + i, v_gelu(load(x + i, left)), left);)
    return MN_OK;
}

mn_status MN_CPU(gelu_bwd)(mn_stream *s, float *dx, const float *dy, const float *x, int64_t n) {
    EACH_VECTOR(s, n, store(dx + i, load(dy + i, left) * v_gelu_slope(load(x + i, left)), left);)
    return MN_OK;
}

/* sigma = 1 / (1 + exp(-g)) and 1 - sigma both from exp(-|g|), which neither overflows nor cancels:
 *     dup = dy g sigma,   dgate = dy up sigma (1 + g (1 - sigma)) */
V_INLINE void swiglu_slope(float *dgate, float *dup, const float *dy, const float *gate,
                           const float *up, int64_t n) {
    const vf d = load(dy, n), g = load(gate, n), u = load(up, n), none = v_set(0);
    const vf e = v_exp(v_select(g < none, g, -g)), high = 1.0f / (1.0f + e), low = e * high;
    const vf sigma = v_select(g < none, low, high), rest = v_select(g < none, high, low);
    store(dup, d * g * sigma, n);
    store(dgate, d * u * sigma * (1.0f + g * rest), n);
}

mn_status MN_CPU(swiglu_bwd)(mn_stream *s, float *dgate, float *dup, const float *dy,
                             const float *gate, const float *up, int64_t n) {
    EACH_VECTOR(s, n, swiglu_slope(dgate + i, dup + i, dy + i, gate + i, up + i, left);)
    return MN_OK;
}

/* ---- Casts -------------------------------------------------------------------------------------- */

static const void *at(const void *data, mn_dtype dtype, int64_t i) {
    return (const char *)data + (size_t)i * mn_dtype_size(dtype);
}

static void f32_to_f16(uint16_t *to, const float *from, int64_t n) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) v_store_f16(to + i, v_load(from + i));
    for (; i < n; i++) to[i] = mn_f32_to_f16(from[i]);
}

/* At most BLOCK elements. */
static void cast_block(void *y, mn_dtype to, const void *x, mn_dtype from, int64_t n) {
    float wide[BLOCK];
    if (to == MN_F32) {
        MN_CPU(to_f32)(y, x, from, n);
    } else if (to == MN_BF16) {
        MN_CPU(to_bf16)(y, x, from, n);
    } else if (from == MN_F32) {
        f32_to_f16(y, x, n);
    } else {
        MN_CPU(to_f32)(wide, x, from, n);
        f32_to_f16(y, wide, n);
    }
}

mn_status MN_CPU(cast)(mn_stream *s, void *y, mn_dtype to, const void *x, mn_dtype from,
                       int64_t n) {
#pragma omp parallel for num_threads(s->threads) schedule(static) if (n > BLOCK)
    for (int64_t i = 0; i < n; i += BLOCK) {
        void *out = (char *)y + (size_t)i * mn_dtype_size(to);
        cast_block(out, to, at(x, from, i), from, n - i < BLOCK ? n - i : BLOCK);
    }
    return MN_OK;
}

/* ---- Optimizer ---------------------------------------------------------------------------------- */

V_INLINE vf v_sqrt(vf x) {
    vf y;
    for (int i = 0; i < VL; i++) y[i] = sqrtf(x[i]);
    return y;
}

V_INLINE void adamw_vector(float *param, float *m, float *v, const float *grad,
                           const mn_adamw *step, int64_t n) {
    const vf g = step->grad_scale * load(grad, n);
    const vf mean = step->beta1 * load(m, n) + (1 - step->beta1) * g;
    const vf square = step->beta2 * load(v, n) + (1 - step->beta2) * (g * g);
    const vf old = load(param, n), kept = old - step->lr * step->decay * old;
    const vf size = v_sqrt(square / step->correction2) + step->eps;
    store(m, mean, n);
    store(v, square, n);
    store(param, kept - step->lr / step->correction1 * (mean / size), n);
}

mn_status MN_CPU(adamw)(mn_stream *s, float *param, float *m, float *v, const float *grad,
                        const mn_adamw *step, int64_t n) {
    EACH_VECTOR(s, n, adamw_vector(param + i, m + i, v + i, grad + i, step, left);)
    return MN_OK;
}
