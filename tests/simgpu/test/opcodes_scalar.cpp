/* opcodes_scalar.cpp - instructions that lanes execute on their own, against plain scalar code. */
#include "opcodes.h"
#include <algorithm>
#include <cmath>

using namespace test;

namespace {

enum Input { INTEGER, FLOAT32, FLOAT64, HALF, HALF2, BFLOAT, BFLOAT2, SHIFT };

using Reference = u64 (*)(u64 a, u64 b, u64 c);
struct Case {
    const char *lines;
    const char *result; /* "64", "32", "16" or "p" */
    Input input;
    Reference reference;
};

float f32(u64 bits) { return bit_cast<float>((u32)bits); }
double f64(u64 bits) { return bit_cast<double>(bits); }
u64 bits(float f) { return bit_cast<u32>(f); }
u64 bits(double d) { return bit_cast<u64>(d); }

/* The value of a half from its fields: independent of number.h. */
double h16(u64 b) {
    const int e = (int)(b >> 10 & 31), m = (int)(b & 1023);
    const double v = e == 0    ? std::ldexp(m, -24)
                     : e == 31 ? (m ? NAN : INFINITY)
                               : std::ldexp(1024 + m, e - 25);
    return b & 0x8000 ? -v : v;
}
double b16(u64 b) { return bit_cast<float>((u32)(u16)b << 16); }

/* The nearest of all 65536 values, ties to even: slow and simple. */
u64 nearest(double v, double (*value)(u64), u64 infinity) {
    if (std::isnan(v)) return 0x7fff;
    const u64 sign = std::signbit(v) ? 0x8000 : 0;
    const double a = std::fabs(v);
    u64 low = 0, high = infinity; /* value(low) <= a; infinity counts as the next power of two */
    const double last = value(infinity - 1), step = last - value(infinity - 2);
    if (a >= last + step / 2) return sign | infinity;
    while (high - low > 1) {
        const u64 middle = (low + high) / 2;
        (value(middle) <= a ? low : high) = middle;
    }
    if (low == infinity - 1) return sign | low;
    const double down = a - value(low), up = value(low + 1) - a;
    return sign | (down < up || (down == up && !(low & 1)) ? low : low + 1);
}
u64 to_h16(double v) { return nearest(v, h16, 0x7c00); }
u64 to_b16(double v) { return nearest(v, b16, 0x7f80); }
template <class F>
u64 pairwise(u64 a, u64 b, u64 c, double (*value)(u64), u64 (*back)(double), F f) {
    const auto half = [&](int s) {
        return back(f(value(a >> s & 0xffff), value(b >> s & 0xffff), value(c >> s & 0xffff)));
    };
    return half(0) | half(16) << 16;
}

float to_zero(double exact) {
    const float f = (float)exact;
    return std::fabs((double)f) > std::fabs(exact) ? std::nextafter(f, 0.f) : f;
}
float rounded(double exact, bool up) {
    const float f = (float)exact;
    if (up) return (double)f < exact ? std::nextafter(f, INFINITY) : f;
    return (double)f > exact ? std::nextafter(f, -INFINITY) : f;
}

/* The loop of the PTX manual. */
u64 extract(s64 value, int width, u64 position, u64 length, bool with_sign) {
    const u64 last = (u64)width - 1, bits = (u64)value;
    const u64 sign = with_sign && length ? bits >> std::min(position + length - 1, last) & 1 : 0;
    u64 r = 0;
    for (u64 i = 0; i <= last; i++)
        r |= (i < length && position + i <= last ? bits >> (position + i) & 1 : sign) << i;
    return r;
}

#define A (u32) a
#define B (u32) b
#define C (u32) c
#define REF [](u64 a, u64 b, u64 c) -> u64 { (void)a; (void)b; (void)c; return (u64)
#define END                                                                                        \
    ;                                                                                              \
    }

const Case cases[] = {
    {"add.u32 %r32, %a32, %b32;", "32", INTEGER, REF(u32)(A + B) END},
    {"add.s64 %r64, %a64, %b64;", "64", INTEGER, REF(a + b) END},
    {"add.u16 %r16, %a16, %b16;", "16", INTEGER, REF(u16)(a + b) END},
    {"add.sat.s32 %r32, %a32, %b32;", "32", INTEGER,
     REF(u32) std::clamp<s64>((s64)(s32)a + (s32)b, INT32_MIN, INT32_MAX) END},
    {"add.cc.u32 %r32, %a32, %b32; addc.u32 %r32, %c32, 5;", "32", INTEGER,
     REF(u32)(C + 5 + (((a & 0xffffffff) + (b & 0xffffffff)) >> 32)) END},
    {"sub.s32 %r32, %a32, %b32;", "32", INTEGER, REF(u32)(A - B) END},
    {"sub.cc.u64 %r64, %a64, %b64; subc.u64 %r64, %c64, 0;", "64", INTEGER, REF(c - (a < b)) END},
    {"mul.lo.s32 %r32, %a32, %b32;", "32", INTEGER, REF(u32)(A *B) END},
    {"mul.lo.u16 %r16, %a16, %b16;", "16", INTEGER, REF(u16)((a & 0xffff) * (b & 0xffff)) END},
    {"mul.hi.u32 %r32, %a32, %b32;", "32", INTEGER, REF((u64)A *B >> 32) END},
    {"mul.hi.s64 %r64, %a64, %b64;", "64", INTEGER, REF(((s128)(s64)a * (s64)b) >> 64) END},
    {"mul.wide.s32 %r64, %a32, %b32;", "64", INTEGER, REF((s64)(s32)a *(s32)b) END},
    {"mul.wide.u16 %r32, %a16, %b16;", "32", INTEGER, REF((u32)(u16)a *(u16)b) END},
    {"mul24.lo.s32 %r32, %a32, %b32;", "32", INTEGER,
     REF(u32)((s64)((s32)(A << 8) >> 8) * ((s32)(B << 8) >> 8)) END},
    {"mad24.hi.u32 %r32, %a32, %b32, %c32;", "32", INTEGER,
     REF(u32)(((a & 0xffffff) * (b & 0xffffff) >> 16) + C) END},
    {"mad.lo.u32 %r32, %a32, %b32, %c32;", "32", INTEGER, REF(u32)(A *B + C) END},
    {"mad.wide.u32 %r64, %a32, %b32, %c64;", "64", INTEGER, REF((u64)A *B + c) END},
    {"mad.hi.s32 %r32, %a32, %b32, %c32;", "32", INTEGER,
     REF(u32)(((s64)(s32)a * (s32)b >> 32) + (s32)c) END},
    {"mad.lo.cc.u32 %r32, %a32, %b32, %c32; madc.hi.u32 %r32, %a32, %b32, 0;", "32", INTEGER,
     REF(u32)(((u64)A * B + C) >> 32) END},
    {"sad.s32 %r32, %a32, %b32, %c32;", "32", INTEGER,
     REF(u32)(C + (u32)std::llabs((s64)(s32)a - (s32)b)) END},
    {"div.s32 %r32, %a32, %b32;", "32", INTEGER,
     REF(u32)((s32)b == 0 ? -1 : (s64)(s32)a / (s32)b) END},
    {"div.u64 %r64, %a64, %b64;", "64", INTEGER, REF(b ? a / b : ~0ull) END},
    {"rem.u32 %r32, %a32, %b32;", "32", INTEGER, REF(B ? A % B : A) END},
    {"rem.s64 %r64, %a64, %b64;", "64", INTEGER, REF(b ? (s128)(s64)a % (s64)b : (s64)a) END},
    {"min.s32 %r32, %a32, %b32;", "32", INTEGER, REF(u32) std::min((s32)a, (s32)b) END},
    {"max.u64 %r64, %a64, %b64;", "64", INTEGER, REF std::max(a, b) END},
    {"min.s16 %r16, %a16, %b16;", "16", INTEGER, REF(u16) std::min((s16)a, (s16)b) END},
    {"abs.s32 %r32, %a32;", "32", INTEGER, REF(u32)((s32)a < 0 ? 0 - A : A) END},
    {"neg.s64 %r64, %a64;", "64", INTEGER, REF(0 - a) END},
    {"and.b64 %r64, %a64, %b64;", "64", INTEGER, REF(a &b) END},
    {"or.b32 %r32, %a32, 0x0ff0;", "32", INTEGER, REF(A | 0xff0) END},
    {"xor.b16 %r16, %a16, %b16;", "16", INTEGER, REF(u16)(a ^ b) END},
    {"not.b32 %r32, %a32;", "32", INTEGER, REF(u32) ~a END},
    {"cnot.b32 %r32, %a32;", "32", INTEGER, REF(A == 0) END},
    {"setp.lt.s32 %s0, %a32, %b32; setp.ne.u32 %s1, %c32, 0; and.pred %p, %s0, %s1;", "p", INTEGER,
     REF((s32)a < (s32)b && C != 0) END},
    {"setp.lt.s32 %s0, %a32, %b32; setp.ne.u32 %s1, %c32, 0; xor.pred %p, %s0, %s1; not.pred %p, "
     "%p;",
     "p", INTEGER, REF(((s32)a < (s32)b) == (C != 0)) END},
    {"shl.b32 %r32, %a32, %b32;", "32", SHIFT, REF(B > 31 ? 0 : (u32)(A << B)) END},
    {"shl.b64 %r64, %a64, %b32;", "64", SHIFT, REF(B > 63 ? 0 : a << B) END},
    {"shr.u32 %r32, %a32, %b32;", "32", SHIFT, REF(B > 31 ? 0 : A >> B) END},
    {"shr.s32 %r32, %a32, %b32;", "32", SHIFT, REF(u32)((s32)a >> std::min(B, 31u)) END},
    {"shr.s64 %r64, %a64, %b32;", "64", SHIFT, REF((s64)a >> std::min(B, 63u)) END},
    {"shr.s16 %r16, %a16, %b32;", "16", SHIFT, REF(u16)((s16)a >> std::min(B, 15u)) END},
    {"shf.l.wrap.b32 %r32, %a32, %c32, %b32;", "32", SHIFT,
     REF(u32)(((u64)C << 32 | A) << (B & 31) >> 32) END},
    {"shf.r.clamp.b32 %r32, %a32, %c32, %b32;", "32", SHIFT,
     REF(u32)(((u64)C << 32 | A) >> std::min(B, 32u)) END},
    {"bfe.u32 %r32, %a32, %b32, %c32;", "32", SHIFT,
     REF extract((s64)(a & 0xffffffff), 32, b & 255, c & 255, false) END},
    {"bfe.s32 %r32, %a32, %b32, %c32;", "32", SHIFT,
     REF extract((s32)a, 32, b & 255, c & 255, true) END},
    {"bfe.u64 %r64, %a64, %b32, %c32;", "64", SHIFT,
     REF extract((s64)a, 64, b & 255, c & 255, false) END},
    {"bfi.b32 %r32, %a32, %c32, %b32, 7;", "32", SHIFT,
     REF(u32)(B > 31 ? C : (C & ~(u32)(127ull << B)) | ((A & 127) << B)) END},
    {"bfind.s32 %r32, %a32;", "32", INTEGER,
     REF(u32)((s32)a < 0 ? (~A ? 31 - __builtin_clz(~A) : -1)
              : A        ? 31 - __builtin_clz(A)
                         : -1) END},
    {"bfind.shiftamt.u64 %r32, %a64;", "32", INTEGER, REF(a ? (u32)__builtin_clzll(a) : ~0u) END},
    {"brev.b32 %r32, %a32; brev.b32 %r32, %r32; brev.b32 %q32, 1; xor.b32 %r32, %r32, %q32;", "32",
     INTEGER, REF(A ^ 0x80000000u) END},
    {"clz.b32 %r32, %a32;", "32", INTEGER, REF(A ? (u64)__builtin_clz(A) : 32) END},
    {"clz.b64 %r32, %a64;", "32", INTEGER, REF(a ? (u64)__builtin_clzll(a) : 64) END},
    {"popc.b64 %r32, %a64;", "32", INTEGER, REF __builtin_popcountll(a) END},
    {"prmt.b32 %r32, %a32, %b32, 0x7410;", "32", INTEGER,
     REF((A & 0xffff) | (B & 0xff) << 16 | (B >> 24) << 24) END},
    {"prmt.b32.rc16 %r32, %a32, %b32, 1;", "32", INTEGER, REF((A >> 16) | (A >> 16) << 16) END},
    {"lop3.b32 %r32, %a32, %b32, %c32, 0xe8;", "32", INTEGER, REF((A & B) | (A & C) | (B & C)) END},
    {"lop3.b32 %r32, %a32, %b32, %c32, 0x1b;", "32", INTEGER,
     REF(u32)((~A & ~B & ~C) | (~A & ~B & C) | (~A & B & C) | (A & ~B & ~C)) END},
    {"selp.b32 %r32, %a32, %b32, %q;", "32", INTEGER, REF B END},
    {"setp.gt.u64 %q, %a64, %b64; selp.b64 %r64, %a64, %b64, %q;", "64", INTEGER,
     REF std::max(a, b) END},
    {"slct.u32.s32 %r32, %a32, %b32, %c32;", "32", INTEGER, REF((s32)c >= 0 ? A : B) END},
    {"setp.lo.or.u32 %p|%q, %a32, %b32, %q;", "p", INTEGER, REF(A < B) END},
    {"setp.ge.s64 %q|%p, %a64, %b64;", "p", INTEGER, REF !((s64)a >= (s64)b) END},
    {"set.le.u32.s32 %r32, %a32, %b32;", "32", INTEGER,
     REF((s32)a <= (s32)b ? 0xffffffffu : 0) END},
    {"mov.b64 {%y5, %y6}, %a64; mov.b64 %r64, {%y6, %y5};", "64", INTEGER,
     REF(a << 32 | a >> 32) END},
    {"mov.b32 {%z1, %z2}, %a32; mov.b32 %r32, {%z2, %z1};", "32", INTEGER,
     REF(A << 16 | A >> 16) END},
    {"cvt.s64.s32 %r64, %a32;", "64", INTEGER, REF(s64)(s32) a END},
    {"cvt.u32.s16 %r32, %a16;", "32", INTEGER, REF(u32)(s16) a END},
    {"cvt.s8.s32 %r32, %a32;", "32", INTEGER, REF(u32)(s8) a END},
    {"cvt.sat.u16.s32 %r16, %a32;", "16", INTEGER, REF std::clamp((s32)a, 0, 65535) END},
    {"cvt.rn.f32.s32 %r32, %a32;", "32", INTEGER, REF bits((float)(s32)a) END},
    {"cvt.rz.f32.u32 %r32, %a32;", "32", INTEGER, REF bits(to_zero((double)A)) END},
    {"cvt.rn.f64.u64 %r64, %a64;", "64", INTEGER, REF bits((double)a) END},
    {"cvt.rn.f16.s16 %r16, %a16;", "16", INTEGER, REF to_h16((s16)a) END},
    {"cvta.to.global.u64 %r64, %x1; cvta.global.u64 %r64, %r64; isspacep.global %p, %r64;", "p",
     INTEGER, REF 1 END},
    {"cvta.shared.u64 %r64, 16; isspacep.shared %p, %r64;", "p", INTEGER, REF 1 END},
    /* single precision */
    {"add.f32 %r32, %a32, %b32;", "32", FLOAT32, REF bits(f32(a) + f32(b)) END},
    {"add.rz.f32 %r32, %a32, %b32;", "32", FLOAT32, REF bits(to_zero((double)f32(a) + f32(b))) END},
    {"sub.rm.f32 %r32, %a32, %b32;", "32", FLOAT32,
     REF bits(f32(a) == f32(b) ? -0.f : rounded((double)f32(a) - f32(b), false)) END},
    {"mul.rp.f32 %r32, %a32, %b32;", "32", FLOAT32,
     REF bits(rounded((double)f32(a) * f32(b), true)) END},
    {"add.sat.f32 %r32, %a32, %b32;", "32", FLOAT32,
     REF bits(std::clamp(f32(a) + f32(b), 0.f, 1.f)) END},
    {"mul.ftz.f32 %r32, %a32, 0f00800000; mul.ftz.f32 %r32, %r32, 0f3e800000;", "32", FLOAT32,
     REF[](float v){const auto z = [](float x) {
         return std::fabs(x) < 1.17549435e-38f ? std::copysign(0.f, x) : x;
     };
return bits(z(z(z(v) * 1.17549435e-38f) * 0.25f));
} // namespace
(f32(a)) END
}
,
    {"fma.rn.f32 %r32, %a32, %b32, %c32;", "32", FLOAT32,
     REF bits(std::fma(f32(a), f32(b), f32(c))) END},
    {"mad.f32 %r32, %a32, %b32, %c32;", "32", FLOAT32,
     REF bits(std::fma(f32(a), f32(b), f32(c))) END},
    {"div.rn.f32 %r32, %a32, %b32;", "32", FLOAT32, REF bits(f32(a) / f32(b)) END},
    {"min.f32 %r32, %a32, %b32;", "32", FLOAT32, REF bits(std::fmin(f32(a), f32(b))) END},
    {"max.NaN.f32 %r32, %a32, 0f7fc00000;", "32", FLOAT32, REF bits(NAN + 0.f) END},
    {"max.f32 %r32, %a32, 0f7fc00000;", "32", FLOAT32, REF A END},
    {"abs.f32 %r32, %a32;", "32", FLOAT32, REF(A & 0x7fffffff) END},
    {"neg.f32 %r32, %a32;", "32", FLOAT32, REF(A ^ 0x80000000) END},
    {"setp.ltu.f32 %p, %a32, %b32;", "p", FLOAT32, REF !(f32(a) >= f32(b)) END},
    {"setp.nan.f32 %p, %a32, 0f7fc00000;", "p", FLOAT32, REF 1 END},
    {"set.gt.f32.f32 %r32, %a32, %b32;", "32", FLOAT32, REF bits(f32(a) > f32(b) ? 1.f : 0.f) END},
    {"testp.normal.f32 %p, %a32;", "p", FLOAT32, REF std::isnormal(f32(a)) END},
    {"copysign.f32 %r32, %a32, %b32;", "32", FLOAT32, REF((A & 0x80000000) | (B & 0x7fffffff)) END},
    {"slct.b32.f32 %r32, %b32, %c32, %a32;", "32", FLOAT32, REF(f32(a) >= 0 ? B : C) END},
    {"cvt.rzi.s32.f32 %r32, %a32;", "32", FLOAT32, REF(u32)(s32) f32(a) END},
    {"cvt.rni.f32.f32 %r32, %a32;", "32", FLOAT32, REF bits(std::nearbyint(f32(a))) END},
    {"cvt.rmi.s64.f32 %r64, %a32;", "64", FLOAT32, REF(s64) std::floor(f32(a)) END},
    {"cvt.rpi.u32.f32 %r32, %a32;", "32", FLOAT32,
     REF(f32(a) <= 0 ? 0 : (u32)std::ceil(f32(a))) END},
    {"cvt.f64.f32 %r64, %a32;", "64", FLOAT32, REF bits((double)f32(a)) END},
    {"cvt.rn.f16.f32 %r16, %a32;", "16", FLOAT32, REF to_h16(f32(a)) END},
    {"cvt.rn.bf16.f32 %r16, %a32;", "16", FLOAT32, REF to_b16(f32(a)) END},
    {"cvt.rn.f16x2.f32 %r32, %a32, %b32;", "32", FLOAT32,
     REF(to_h16(f32(a)) << 16 | to_h16(f32(b))) END},
    {"cvt.rn.relu.bf16x2.f32 %r32, %a32, %b32;", "32", FLOAT32,
     REF(to_b16(std::max(f32(a), 0.f)) << 16 | to_b16(std::max(f32(b), 0.f))) END},
    {"sqrt.rn.f32 %r32, %a32;", "32", FLOAT32, REF bits(std::sqrt(f32(a))) END},
    {"rcp.rn.f32 %r32, %a32;", "32", FLOAT32, REF bits(1 / f32(a)) END},
    {"rsqrt.approx.f32 %r32, %a32;", "32", FLOAT32,
     REF bits((float)(1 / std::sqrt((double)f32(a)))) END},
    {"ex2.approx.f32 %r32, %a32;", "32", FLOAT32, REF bits((float)std::exp2((double)f32(a))) END},
    {"lg2.approx.f32 %r32, %a32;", "32", FLOAT32, REF bits((float)std::log2((double)f32(a))) END},
    {"sin.approx.f32 %r32, %a32;", "32", FLOAT32, REF bits((float)std::sin((double)f32(a))) END},
    {"cos.approx.f32 %r32, %a32;", "32", FLOAT32, REF bits((float)std::cos((double)f32(a))) END},
    {"tanh.approx.f32 %r32, %a32;", "32", FLOAT32, REF bits((float)std::tanh((double)f32(a))) END},
    /* double precision */
    {"add.f64 %r64, %a64, %b64;", "64", FLOAT64, REF bits(f64(a) + f64(b)) END},
    {"mul.f64 %r64, %a64, %b64;", "64", FLOAT64, REF bits(f64(a) * f64(b)) END},
    {"fma.rn.f64 %r64, %a64, %b64, %c64;", "64", FLOAT64,
     REF bits(std::fma(f64(a), f64(b), f64(c))) END},
    {"div.rn.f64 %r64, %a64, %b64;", "64", FLOAT64, REF bits(f64(a) / f64(b)) END},
    {"max.f64 %r64, %a64, %b64;", "64", FLOAT64, REF bits(std::fmax(f64(a), f64(b))) END},
    {"setp.le.f64 %p, %a64, %b64;", "p", FLOAT64, REF(f64(a) <= f64(b)) END},
    {"cvt.rn.f32.f64 %r32, %a64;", "32", FLOAT64, REF bits((float)f64(a)) END},
    {"cvt.rzi.s64.f64 %r64, %a64;", "64", FLOAT64, REF(s64) f64(a) END},
    {"sqrt.rn.f64 %r64, %a64;", "64", FLOAT64, REF bits(std::sqrt(f64(a))) END},
    /* 16-bit formats */
    {"cvt.f32.f16 %r32, %a16;", "32", HALF, REF bits((float)h16(a & 0xffff)) END},
    {"cvt.rzi.s32.f16 %r32, %a16;", "32", HALF,
     REF(u32)(s32) std::clamp(h16(a & 0xffff), -0x1p31, 0x1p31 - 1) END},
    {"add.f16 %r16, %a16, %b16;", "16", HALF, REF to_h16(h16(a & 0xffff) + h16(b & 0xffff)) END},
    {"mul.f16x2 %r32, %a32, %b32;", "32", HALF2,
     REF pairwise(a, b, c, h16, to_h16, [](double x, double y, double) { return x * y; }) END},
    {"sub.bf16x2 %r32, %a32, %b32;", "32", BFLOAT2,
     REF pairwise(a, b, c, b16, to_b16, [](double x, double y, double) { return x - y; }) END},
    {"fma.rn.f16x2 %r32, %a32, %b32, %c32;", "32", HALF2,
     REF pairwise(a, b, c, h16, to_h16, [](double x, double y, double z) { return x * y + z; })
         END},
    {"fma.rn.bf16x2 %r32, %a32, %b32, %c32;", "32", BFLOAT2,
     REF pairwise(a, b, c, b16, to_b16, [](double x, double y, double z) { return x * y + z; })
         END},
    {"max.f16x2 %r32, %a32, %b32;", "32", HALF2,
     REF pairwise(a, b, c, h16, to_h16, [](double x, double y, double) { return std::fmax(x, y); })
         END},
    {"neg.bf16x2 %r32, %a32;", "32", BFLOAT2, REF(A ^ 0x80008000) END},
    {"abs.f16 %r16, %a16;", "16", HALF, REF(a & 0x7fff) END},
    {"setp.lt.f16 %p, %a16, %b16;", "p", HALF, REF(h16(a & 0xffff) < h16(b & 0xffff)) END},
    {"setp.gt.f16x2 %q|%p, %a32, %b32;", "p", HALF2,
     REF(h16(a >> 16 & 0xffff) > h16(b >> 16 & 0xffff)) END},
    {"set.gt.bf16x2.bf16x2 %r32, %a32, %b32;", "32", BFLOAT2,
     REF((b16(a) > b16(b) ? 0x3f80 : 0) | (b16(a >> 16) > b16(b >> 16) ? 0x3f800000 : 0)) END},
    {"ex2.approx.f16 %r16, %a16;", "16", HALF, REF to_h16(std::exp2(h16(a & 0xffff))) END},
    {"cvt.rn.f16.f64 %r16, %a64;", "16", FLOAT64, REF to_h16(f64(a)) END},
}
;

u64 make_input(Input kind, int i, int which) {
    static const u64 special[] = {0,
                                  1,
                                  ~0ull,
                                  0x7fffffff,
                                  0x80000000,
                                  0x7fffffffffffffffull,
                                  0x8000000000000000ull,
                                  0x8000,
                                  0x7fff,
                                  0xffffffff,
                                  31,
                                  32};
    const size_t specials = sizeof special / sizeof *special;
    const int exponent = (int)(random_bits() % 24) - 8; /* sums and products stay exact in double */
    const float moderate = std::ldexp((float)((s64)(random_bits() % 4096) - 2048), exponent - 6);
    switch (kind) {
    case INTEGER:
        if (i < (int)(specials * specials))
            return special[which == 0 ? (size_t)i / specials : (size_t)i % specials];
        return random_bits() >> (random_bits() % 64);
    case SHIFT:
        return which == 0 ? random_bits() : which == 1 ? random_bits() % 70 : random_bits() >> 32;
    case FLOAT32: return bits(moderate);
    case FLOAT64: return bits((double)moderate * (1 + 1e-9 * (double)(random_bits() % 1000)));
    case HALF: return to_h16(moderate);
    case HALF2: return to_h16(moderate) | to_h16(random_float() * 4) << 16;
    case BFLOAT: return to_b16(moderate);
    default: return to_b16(moderate) | to_b16(random_float() * 4) << 16;
    }
}

bool same(u64 got, u64 want, const Case &c) {
    if (got == want) return true;
    const std::string w = c.result;
    const bool single = c.input == FLOAT32 && w == "32";
    if (single && std::isnan(f32(got)) && std::isnan(f32(want))) return true;
    if (w == "64" && c.input == FLOAT64 && std::isnan(f64(got)) && std::isnan(f64(want)))
        return true;
    const bool zero = single && f32(got) == 0 && f32(want) == 0;
    return zero && std::string(c.lines).find("min") == 0; /* fmin may give either zero */
}

} // namespace

void test::scalar_opcodes() {
    constexpr int N = 512;
    for (const Case &c : cases) {
        std::vector<u64> a(N), b(N), d(N);
        for (int i = 0; i < N; i++) {
            a[(size_t)i] = make_input(c.input, i, 0);
            b[(size_t)i] = make_input(c.input, i, 1);
            d[(size_t)i] = make_input(c.input, i, 2);
        }
        const std::vector<u64> r = run_kernel(kernel_text(c.lines, c.result), a, b, d);
        std::string detail;
        for (size_t i = 0; i < N && detail.empty(); i++) {
            const u64 want = c.reference(a[i], b[i], d[i]);
            if (!same(r[i], want, c)) {
                char text[200];
                snprintf(text, sizeof text, "a %llx b %llx c %llx gives %llx, not %llx",
                         (unsigned long long)a[i], (unsigned long long)b[i],
                         (unsigned long long)d[i], (unsigned long long)r[i],
                         (unsigned long long)want);
                detail = text;
            }
        }
        check(detail.empty(), c.lines, detail);
    }
}
