/* number.h - fixed-width names, bit casts, and the 16-bit floating-point formats. */
#ifndef SIMGPU_NUMBER_H
#define SIMGPU_NUMBER_H

#include <cmath>
#include <cstdint>
#include <cstring>
#ifdef __F16C__
#include <immintrin.h>
#endif

namespace sg {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using s8 = int8_t;
using s16 = int16_t;
using s32 = int32_t;
using s64 = int64_t;
__extension__ using u128 = unsigned __int128;
__extension__ using s128 = __int128;

constexpr int LANES = 32;

template <class To, class From> inline To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

inline float half_to_float(u16 h) {
#ifdef __F16C__
    return _cvtsh_ss(h);
#else
    const u32 sign = (h & 0x8000u) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
    if (exponent == 31) return bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
    if (exponent) return bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
    const float value = ldexpf((float)mantissa, -24);
    return sign ? -value : value;
#endif
}

inline float bf16_to_float(u16 b) { return bit_cast<float>((u32)b << 16); }

/* A float whose last bit says "inexact": rounding it again, to 22 bits or fewer, rounds once. */
inline float round_to_odd(double d) {
    float f = (float)d;
    if ((double)f == d || std::isnan(d)) return f;
    u32 bits = bit_cast<u32>(f);
    if (std::fabs((double)f) > std::fabs(d)) bits--; /* towards zero; inf becomes the largest */
    return bit_cast<float>(bits | 1);
}

/* Nearest, ties to even; NaN is PTX's canonical 0x7fff. */
inline u16 half_from_float(float f) {
    if (std::isnan(f)) return 0x7fff;
#ifdef __F16C__
    return (u16)_cvtss_sh(f, 0);
#else
    const u16 sign = std::signbit(f) ? 0x8000 : 0;
    const double a = std::fabs((double)f);
    if (a >= 65520.0) return (u16)(sign | 0x7c00);
    int e;
    frexp(a, &e);
    e = e - 1 < -14 ? -14 : e - 1;
    const u32 m = (u32)nearbyint(ldexp(a, 10 - e)); /* may carry into the exponent */
    return (u16)(sign + (m < 1024 ? m : ((u32)(e + 15) << 10) + m - 1024));
#endif
}
inline u16 half_from_double(double d) { return half_from_float(round_to_odd(d)); }

inline u16 bf16_from_float(float f) {
    if (std::isnan(f)) return 0x7fff;
    const u32 bits = bit_cast<u32>(f);
    return (u16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline u16 bf16_from_double(double d) { return bf16_from_float(round_to_odd(d)); }

/* a * b + c of 16-bit formats in double. The product is exact; when the sum is not, its last bit says so. */
inline double fused_to_odd(double a, double b, double c) {
    const double p = a * b, s = p + c;
    if (!std::isfinite(s)) return s;
    const double t = s - p, error = (p - (s - t)) + (c - t);
    if (error == 0 || (bit_cast<u64>(s) & 1)) return s;
    return std::nextafter(s, error > 0 ? INFINITY : -INFINITY);
}

inline float flush(float f) { /* denormals to zero of the same sign */
    return std::fpclassify(f) == FP_SUBNORMAL ? std::copysign(0.f, f) : f;
}
inline float saturate(float f) { return f > 0.f ? (f < 1.f ? f : 1.f) : 0.f; } /* NaN becomes 0 */

} // namespace sg
#endif
