/* vec.h - sixteen floats at once, by the compilers' vector extension.
 *
 * The same source becomes one 512-bit, two 256-bit or four 128-bit instructions; only loads of half
 * precision need intrinsics. Loads and stores accept any address. */
#ifndef MNEME_CPU_VEC_H
#define MNEME_CPU_VEC_H

#include "mneme/half.h"

#include <stdint.h>
#include <string.h>
#if defined(__F16C__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

/* About calling conventions of wide vectors: all functions here are inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

enum { VL = 16 };
typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64))); /* for sums and shifts that may wrap */
typedef float vf_any __attribute__((vector_size(64), aligned(1), may_alias));

#define V_INLINE static inline __attribute__((always_inline, unused))
/* Functions with constant tile sizes, to be inlined and unrolled for each of them. Without AVX a
 * vector is four registers: unrolling would only make the fallback large. */
#if defined(__AVX2__)
#define V_TILE V_INLINE
#else
#define V_TILE static __attribute__((noinline, unused))
#endif

V_INLINE vf v_load(const float *p) { return *(const vf_any *)p; }
V_INLINE void v_store(float *p, vf x) { *(vf_any *)p = x; }
/* Spelled out: a broadcast straight from memory; (vf){0} + x would add. */
V_INLINE vf v_set(float x) { return (vf){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }

V_INLINE vf v_load_n(const float *p, int64_t n) { /* n < VL; the rest is 0 */
    float t[VL] = {0};
    memcpy(t, p, (size_t)n * sizeof *t);
    return v_load(t);
}

V_INLINE void v_store_n(float *p, vf x, int64_t n) {
    float t[VL];
    v_store(t, x);
    memcpy(p, t, (size_t)n * sizeof *t);
}

V_INLINE vf v_select(vi mask, vf yes, vf no) { /* lanes of mask: -1 or 0 */
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

/* The second one when either is NaN. */
#if defined(__AVX512F__)
V_INLINE vf v_max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
V_INLINE vf v_min(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
#else
V_INLINE vf v_max(vf a, vf b) { return v_select(a > b, a, b); }
V_INLINE vf v_min(vf a, vf b) { return v_select(a < b, a, b); }
#endif

typedef float vf8 __attribute__((vector_size(32)));
typedef float vf4 __attribute__((vector_size(16)));

/* Halves by shuffles: copying them out of memory would keep x, and every loop that made it, there. */
V_INLINE vf8 v_low(vf x) { return __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7); }
V_INLINE vf8 v_high(vf x) { return __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15); }

V_INLINE float v_sum(vf x) {
    const vf8 y = v_low(x) + v_high(x);
    const vf4 z = __builtin_shufflevector(y, y, 0, 1, 2, 3) +
                  __builtin_shufflevector(y, y, 4, 5, 6, 7);
    return (z[0] + z[2]) + (z[1] + z[3]);
}

V_INLINE float v_max_of(vf x) {
    x = v_max(x,
              __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    x = v_max(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3));
    x = v_max(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1));
    return x[0] > x[1] ? x[0] : x[1];
}

/* fp16 at any address to fp32, exact. */
V_INLINE vf v_load_f16(const uint16_t *p) {
#if defined(__AVX512F__)
    __m256i h;
    memcpy(&h, p, sizeof h);
    return (vf)_mm512_cvtph_ps(h);
#elif defined(__F16C__)
    __m128i lo, hi;
    memcpy(&lo, p, sizeof lo);
    memcpy(&hi, p + 8, sizeof hi);
    const __m256 a = _mm256_cvtph_ps(lo), b = _mm256_cvtph_ps(hi);
    vf v;
    memcpy(&v, &a, sizeof a);
    memcpy((char *)&v + 32, &b, sizeof b);
    return v;
#else
    vf v;
    for (int i = 0; i < VL; i++) {
        uint16_t h;
        memcpy(&h, p + i, sizeof h);
        v[i] = mn_f16_to_f32(h);
    }
    return v;
#endif
}

typedef uint16_t vh __attribute__((vector_size(32)));

V_INLINE vf v_load_bf16(const uint16_t *p) {
    vh h;
    memcpy(&h, p, sizeof h);
    return (vf)(__builtin_convertvector(h, vu) << 16);
}

/* The bits of x rounded to bf16 (nearest even) in the low half of each lane; NaN stays NaN. */
V_INLINE vu v_bf16_bits(vf x) {
    const vu bits = (vu)x, odd = (bits >> 16) & 1;
    const vu rounded = (bits + 0x7FFF + odd) >> 16, quiet = (bits >> 16) | 0x40;
    const vu nan = (vu)(x != x);
    return (nan & quiet) | (~nan & rounded);
}

/* Rounded to nearest even: subnormals stay, too large numbers become infinite, NaN stays NaN. */
V_INLINE void v_store_f16(uint16_t *p, vf x) {
#if defined(__AVX512F__)
    const __m256i h = _mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    memcpy(p, &h, sizeof h);
#elif defined(__F16C__)
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    const __m128i lo = _mm256_cvtps_ph((__m256)v_low(x), NEAREST);
    const __m128i hi = _mm256_cvtps_ph((__m256)v_high(x), NEAREST);
    memcpy(p, &lo, sizeof lo);
    memcpy((char *)p + sizeof lo, &hi, sizeof hi);
#else
    for (int i = 0; i < VL; i++) {
        const uint16_t h = mn_f32_to_f16(x[i]);
        memcpy((char *)p + 2 * i, &h, sizeof h);
    }
#endif
}

/* Two vectors of numbers to one of pairs of bf16: low[i] in the low half of lane i. */
V_INLINE vf v_join_bf16(vf low, vf high) {
#if defined(__AVX512F__) /* the caller knows that the processor has AVX512_BF16 */
    static const uint16_t turns[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i both;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(low), "v"(high));
    return (vf)_mm512_permutexvar_epi16(_mm512_loadu_si512(turns), both);
#else
    return (vf)(v_bf16_bits(low) | v_bf16_bits(high) << 16);
#endif
}

V_INLINE void v_store_bf16(uint16_t *p, vf x) {
    const vh h = __builtin_convertvector(v_bf16_bits(x), vh);
    memcpy(p, &h, sizeof h);
}

V_INLINE vf v_round_bf16(vf x) { return (vf)(v_bf16_bits(x) << 16); }

/* The same for a number that was fp16: its NaNs have no low bits that could carry into the sign. */
V_INLINE vf v_round_bf16_of_f16(vf x) {
    const vu bits = (vu)x;
    return (vf)((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000u);
}

/* exp(x), 2 units in the last place over the normal range; 0 below -87.3, infinity above 88.7.
 * x = n ln2 + r, |r| <= ln2 / 2; minimax polynomial of degree 6 for exp(r), error 2e-9. NaN stays. */
V_INLINE vf v_exp(vf x) {
    const float log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    const vf t = v_min(v_max(x, v_set(-87.4f)), v_set(88.8f));
    const vf shifted = t * log2e + magic, n = shifted - magic;
    const vf r = (t - n * ln2_high) - n * ln2_low;
    vf p = v_set(1.3836842e-3f);
    p = p * r + 8.3748158e-3f;
    p = p * r + 4.1668225e-2f;
    p = p * r + 1.6666420e-1f;
    p = p * r + 4.9999991e-1f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
#if defined(__AVX512F__)
    vf y = (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    /* 2^n in two factors, since n = 128 has no exponent of its own */
    const vi i = __builtin_convertvector(n, vi), half = i >> 1;
    const vf a = (vf)((half + 127) << 23), b = (vf)((i - half + 127) << 23);
    vf y = p * a * b;
#endif
    y = v_select(x < v_set(-87.33f), v_set(0.0f), y);
    y = v_select(x > v_set(88.72f), v_set(__builtin_inff()), y);
    return v_select(x == x, y, x);
}

#if defined(__AVX512F__)
/* erf(x), absolute error below 1.3e-7: sixteen polynomials of degree 5 over [0, 4), each around the
 * middle of its quarter, coefficients (constant first) looked up by vector; 1 from 3.95 on. They
 * interpolate erf at Chebyshev points, in double, rounded to fp32 (error of the fit 6e-8). */
V_INLINE vf v_erf(vf x) {
    static const float c[6][VL] = {
        {0.140316203f, 0.404116899f, 0.623240888f, 0.784075081f, 0.888388216f, 0.948170066f,
         0.978443742f, 0.99199003f, 0.997345984f, 0.999217033f, 0.999794602f, 0.999952137f,
         0.999990106f, 0.999998212f, 0.999999702f, 0.99999994f},
        {1.11088526f, 0.980352819f, 0.763499558f, 0.524745047f, 0.318273962f, 0.170359775f,
         0.0804722607f, 0.0335458294f, 0.0123408204f, 0.004006478f, 0.00114787521f, 0.000290228345f,
         6.47587149e-05f, 1.27517533e-05f, 2.21592404e-06f, 3.39823345e-07f},
        {-0.138857558f, -0.367625445f, -0.477181554f, -0.459150493f, -0.35806033f, -0.234247714f,
         -0.130769402f, -0.0628989935f, -0.0262239985f, -0.00951495953f, -0.00301286369f,
         -0.000834249309f, -0.000202308423f, -4.30168475e-05f, -8.02722025e-06f, -1.31555464e-06f},
        {-0.358720094f, -0.234875441f, -0.0556737408f, 0.0929210559f, 0.162451014f, 0.157937899f,
         0.114841461f, 0.0674417689f, 0.0330376625f, 0.0137305176f, 0.0048903334f, 0.00150246348f,
         0.00039998311f, 9.2568851e-05f, 1.86693869e-05f, 3.28737565e-06f},
        {0.0681782365f, 0.165413633f, 0.175493583f, 0.112152815f, 0.0283349641f, -0.0299829599f,
         -0.0493812561f, -0.0421630777f, -0.0264029484f, -0.0132059548f, -0.00546693942f,
         -0.00190853619f, -0.000568220916f, -0.000145342099f, -3.21033585e-05f, -6.14636247e-06f},
        {0.10362111f, 0.0453474596f, -0.027088888f, -0.0667813793f, -0.0610986724f, -0.0306385886f,
         -0.00227928814f, 0.011347224f, 0.0124515528f, 0.00836014282f, 0.00423377566f,
         0.00172564492f, 0.000583217654f, 0.000166177706f, 4.03350859e-05f, 8.3985642e-06f},
    };
    const vi sign = (vi)x & (int32_t)0x80000000;
    const vf a = (vf)((vi)x & 0x7FFFFFFF), near = v_min(a, v_set(3.999f));
    const vi segment = __builtin_convertvector(near * 4.0f, vi);
    const vf r = near - (__builtin_convertvector(segment, vf) * 0.25f + 0.125f);
    vf y = (vf)_mm512_permutexvar_ps((__m512i)segment, (__m512)v_load(c[5]));
    for (int i = 4; i >= 0; i--)
        y = y * r + (vf)_mm512_permutexvar_ps((__m512i)segment, (__m512)v_load(c[i]));
    y = v_select(a < v_set(3.95f), y, v_set(1.0f));
    return v_select(x == x, (vf)((vi)y | sign), x);
}
#else
/* erf(x), absolute error below 1.3e-7. |x| < 1: x P(x^2); else 1 - exp(-Q(|x|)), which is 1 from
 * 3.95 on. Both are minimax fits in double, rounded to fp32. */
V_INLINE vf v_erf(vf x) {
    const vi sign = (vi)x & (int32_t)0x80000000;
    const vf a = (vf)((vi)x & 0x7FFFFFFF), s = x * x;
    vf small = v_set(7.8891193e-5f);
    small = small * s - 8.0208411e-4f;
    small = small * s + 5.1895352e-3f;
    small = small * s - 2.6854444e-2f;
    small = small * s + 1.1283600e-1f;
    small = small * s - 3.7612626e-1f;
    small = small * s + 1.1283791f;
    const vf c = v_min(a, v_set(3.95f));
    vf q = v_set(2.1686850e-5f);
    q = q * c - 4.4133636e-4f;
    q = q * c + 4.2045619e-3f;
    q = q * c - 2.5208257e-2f;
    q = q * c + 1.0841858e-1f;
    q = q * c + 6.3321990e-1f;
    q = q * c + 1.1295785f;
    q = q * c - 1.8804033e-4f;
    const vf big = (vf)((vi)(1.0f - v_exp(-q)) | sign);
    vf y = v_select(a < v_set(1.0f), small * x, big);
    return v_select(x == x, y, x);
}

#endif

V_INLINE vf v_gelu(vf x) { return 0.5f * x * (1.0f + v_erf(x * 0.70710678f)); }
V_INLINE vf v_silu(vf x) { return x / (1.0f + v_exp(-x)); }

/* d/dx x Phi(x) = Phi(x) + x phi(x) */
V_INLINE vf v_gelu_slope(vf x) {
    return 0.5f * (1.0f + v_erf(x * 0.70710678f)) + x * 0.39894228f * v_exp(-0.5f * x * x);
}

/* The largest of n numbers; NaN when there is a NaN or an infinity among them. */
V_INLINE float v_row_max(const float *x, int64_t n) {
    vf best = v_set(-__builtin_inff()), seen = v_set(0);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        const vf v = v_load(x + i);
        best = v_max(v, best);
        seen += v - v; /* becomes NaN with the first NaN or infinity */
    }
    float max = v_max_of(best), bad = v_sum(seen);
    for (; i < n; i++) {
        max = x[i] > max ? x[i] : max;
        bad += x[i] - x[i];
    }
    return bad == 0 ? max : __builtin_nanf("");
}

/* out[i] = f(x[i]) for i < n: whole vectors, then a padded tail. */
#define V_MAP(n, x, out, f)                                                                        \
    do {                                                                                           \
        int64_t v_i = 0;                                                                           \
        for (; v_i + VL <= (n); v_i += VL) v_store((out) + v_i, f(v_load((x) + v_i)));             \
        if (v_i < (n)) v_store_n((out) + v_i, f(v_load_n((x) + v_i, (n)-v_i)), (n)-v_i);           \
    } while (0)

#endif
