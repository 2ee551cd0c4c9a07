/* isa_dot.c - products of up to four rows with weights that lie in rows: fp32 ones, and those of models too
 * large for a copy in panels. Weights are read once, as they lie in the file.
 *
 * Memory is the limit. One weight row after the other is read, a single sequential stream per thread, which
 * the processor prefetches best when it is left alone (24 GB/s with prefetches of our own, 38 without). Sums
 * run along K in vectors and are folded at the end. */
#include "cpu/isa.h"
#include "cpu/vec.h"

/* What a weight is stored as, and whether it is rounded to bf16 on the way (as for many rows: the
 * number of rows must not change the answer). */
typedef enum form { FORM_F32, FORM_F16, FORM_BF16, FORM_F32_ROUNDED, FORM_F16_ROUNDED } form;

V_INLINE vf load_weight(const void *w, form f, int64_t i) {
    switch (f) {
    case FORM_F32: return v_load((const float *)w + i);
    case FORM_F16: return v_load_f16((const uint16_t *)w + i);
    case FORM_BF16: return v_load_bf16((const uint16_t *)w + i);
    case FORM_F32_ROUNDED: return v_round_bf16(v_load((const float *)w + i));
    case FORM_F16_ROUNDED: return v_round_bf16_of_f16(v_load_f16((const uint16_t *)w + i));
    }
    return v_set(0);
}

V_INLINE size_t form_size(form f) {
    return f == FORM_F32 || f == FORM_F32_ROUNDED ? sizeof(float) : sizeof(uint16_t);
}

V_INLINE vf load_weight_n(const void *w, form f, int64_t i, int64_t n) {
    uint16_t padded[2 * VL] = {0}; /* room for VL floats */
    memcpy(padded, (const char *)w + (size_t)i * form_size(f), (size_t)n * form_size(f));
    return load_weight(padded, f, 0);
}

/* y (mt, nt) = x (mt, k) w (nt, k)', all sizes but k known when this is inlined; `unroll` vectors of
 * k have sums of their own, to hide the latency of the additions. */
V_TILE void tile(float *y, int64_t ldy, const float *x, const char *w, form f, int64_t k,
                 const int mt, const int nt, const int unroll) {
    vf acc[16];
    const size_t row_bytes = (size_t)k * form_size(f);
    for (int i = 0; i < mt * nt * unroll; i++) acc[i] = v_set(0);
    int64_t i = 0;
    for (; i + VL * unroll <= k; i += VL * unroll) {
        for (int u = 0; u < unroll; u++) {
            vf wv[4];
            for (int n = 0; n < nt; n++)
                wv[n] = load_weight(w + (size_t)n * row_bytes, f, i + u * VL);
            for (int m = 0; m < mt; m++) {
                const vf xv = v_load(x + m * k + i + u * VL);
                for (int n = 0; n < nt; n++) acc[(m * nt + n) * unroll + u] += xv * wv[n];
            }
        }
    }
    for (; i < k; i += VL) {
        const int64_t left = k - i < VL ? k - i : VL;
        for (int n = 0; n < nt; n++) {
            const vf wv = load_weight_n(w + (size_t)n * row_bytes, f, i, left);
            for (int m = 0; m < mt; m++)
                acc[(m * nt + n) * unroll] += v_load_n(x + m * k + i, left) * wv;
        }
    }
    for (int m = 0; m < mt; m++)
        for (int n = 0; n < nt; n++) {
            const vf *a = acc + (m * nt + n) * unroll;
            vf sum = a[0];
            for (int u = 1; u < unroll; u++) sum += a[u];
            y[m * ldy + n] = v_sum(sum);
        }
}

/* One weight row for 1 to 4 rows of x. */
V_TILE void row_tiles(float *y, int64_t ldy, const float *x, const char *w, form f, int64_t m,
                      int64_t k) {
    enum { UNROLL = 4 };
    switch (m) {
    case 1: tile(y, ldy, x, w, f, k, 1, 1, UNROLL); break;
    case 2: tile(y, ldy, x, w, f, k, 2, 1, UNROLL); break;
    case 3: tile(y, ldy, x, w, f, k, 3, 1, UNROLL); break;
    default: tile(y, ldy, x, w, f, k, 4, 1, UNROLL); break;
    }
}

V_TILE void panel(float *y, int64_t ldy, const float *x, const char *w, form f, int64_t m,
                  int64_t n, int64_t k) {
    const size_t row_bytes = (size_t)k * form_size(f);
    for (int64_t j = 0; j < n; j++) row_tiles(y + j, ldy, x, w + (size_t)j * row_bytes, f, m, k);
}

void MN_CPU(dot_panel)(float *y, int64_t ldy, const float *x, const void *w, mn_dtype dtype,
                       bool rounded, int64_t m, int64_t n, int64_t k) {
    const form f = dtype == MN_BF16  ? FORM_BF16
                   : dtype == MN_F16 ? (rounded ? FORM_F16_ROUNDED : FORM_F16)
                                     : (rounded ? FORM_F32_ROUNDED : FORM_F32);
    switch (f) { /* one copy of the loops for each form */
    case FORM_F32: panel(y, ldy, x, w, FORM_F32, m, n, k); break;
    case FORM_F16: panel(y, ldy, x, w, FORM_F16, m, n, k); break;
    case FORM_BF16: panel(y, ldy, x, w, FORM_BF16, m, n, k); break;
    case FORM_F32_ROUNDED: panel(y, ldy, x, w, FORM_F32_ROUNDED, m, n, k); break;
    case FORM_F16_ROUNDED: panel(y, ldy, x, w, FORM_F16_ROUNDED, m, n, k); break;
    }
}
