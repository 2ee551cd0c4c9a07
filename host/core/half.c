/* half.c - IEEE binary16 and bfloat16 conversions on bits, round to nearest even. */
#include "mneme/half.h"

#include <math.h>
#include <string.h>

static float from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t to_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float mn_f16_to_f32(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    const uint32_t exponent = (h >> 10) & 31u, mantissa = h & 0x3FFu;
    if (exponent == 31) return from_bits(sign | 0x7F800000u | mantissa << 13);
    if (exponent == 0) {
        const float tiny = ldexpf((float)mantissa, -24); /* zero and subnormals, exact */
        return sign ? -tiny : tiny;
    }
    return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t mn_f32_to_f16(float f) {
    const uint32_t bits = to_bits(f), sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return (uint16_t)(sign | 0x7E00u);  /* NaN */
    if (magnitude >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* 65520 and more: infinity */
    if (magnitude < 0x38800000u) { /* below 2^-14: subnormal, unit 2^-24 */
        const float scaled = from_bits(magnitude) * 0x1p24f;
        return (uint16_t)(sign | (uint32_t)lrintf(scaled));
    }
    const uint32_t odd = magnitude >> 13 & 1u;
    return (uint16_t)(sign | (magnitude - 0x38000000u + 0xFFFu + odd) >> 13);
}

float mn_bf16_to_f32(uint16_t h) { return from_bits((uint32_t)h << 16); }

uint16_t mn_f32_to_bf16(float f) {
    const uint32_t bits = to_bits(f);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}
