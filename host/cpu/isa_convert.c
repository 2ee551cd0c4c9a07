/* isa_convert.c - weights and activations from one float type to another. */
#include "cpu/isa.h"
#include "cpu/vec.h"

void MN_CPU(to_f32)(float *to, const void *from, mn_dtype dtype, int64_t n) {
    int64_t i = 0;
    if (dtype == MN_F32) {
        memcpy(to, from, (size_t)n * sizeof *to);
    } else if (dtype == MN_F16) {
        const uint16_t *h = from;
        for (; i + VL <= n; i += VL) v_store(to + i, v_load_f16(h + i));
        for (; i < n; i++) to[i] = mn_f16_to_f32(h[i]);
    } else {
        const uint16_t *h = from;
        for (; i + VL <= n; i += VL) v_store(to + i, v_load_bf16(h + i));
        for (; i < n; i++) to[i] = mn_bf16_to_f32(h[i]);
    }
}

void MN_CPU(to_bf16)(uint16_t *to, const void *from, mn_dtype dtype, int64_t n) {
    int64_t i = 0;
    if (dtype == MN_BF16) {
        memcpy(to, from, (size_t)n * sizeof *to);
    } else if (dtype == MN_F16) {
        const uint16_t *h = from;
        for (; i + VL <= n; i += VL) v_store_bf16(to + i, v_load_f16(h + i));
        for (; i < n; i++) to[i] = mn_f32_to_bf16(mn_f16_to_f32(h[i]));
    } else {
        const float *f = from;
        for (; i + VL <= n; i += VL) v_store_bf16(to + i, v_load(f + i));
        for (; i < n; i++) to[i] = mn_f32_to_bf16(f[i]);
    }
}

void MN_CPU(round_bf16)(float *to, const float *from, int64_t n) {
    V_MAP(n, from, to, v_round_bf16);
}
