/* select_convert.cpp - cvt: between integers, between floats, and across. */
#include "lanes.h"

namespace sg {

namespace {

double integral(double v, int rounding) {
    switch (rounding) {
    case 1: return std::nearbyint(v);
    case 2: return std::trunc(v);
    case 3: return std::floor(v);
    default: return std::ceil(v);
    }
}

/* 16-bit formats round to nearest, or to zero with .rz. */
u16 narrow(Type t, double v, int rounding) {
    const bool bf = is_bf16(t);
    u16 r = bf ? bf16_from_double(v) : half_from_double(v);
    const double back = bf ? bf16_to_float(r) : half_to_float(r);
    if (rounding == 1 && std::fabs(back) > std::fabs(v)) r--;
    return r;
}

double float_value(Type t, u64 bits, bool ftz) {
    switch (t) {
    case Type::F64: return bit_cast<double>(bits);
    case Type::F16: return half_to_float((u16)bits);
    case Type::BF16: return bf16_to_float((u16)bits);
    default: {
        const float f = bit_cast<float>((u32)bits);
        return ftz ? flush(f) : f;
    }
    }
}

float double_to_float(double v, int mode) {
    static thread_local volatile double input;
    input = v;
    return with_rounding(
        mode, [](float, float, float) { return (float)input; }, 0, 0, 0);
}

u64 float_bits(const Inst &i, double v) {
    switch (i.type) {
    case Type::F64: return bit_cast<u64>(v);
    case Type::F32: {
        const float f = i.rounding ? double_to_float(v, i.rounding) : (float)v;
        return bit_cast<u32>(i.ftz ? flush(f) : f);
    }
    case Type::TF32: return (bit_cast<u32>((float)v) + 0x1000) & ~0x1fffu; /* .rna */
    default: return narrow(i.type, v, i.rounding);
    }
}

/* Out of range gives the nearest integer that there is; NaN gives 0, for 64 bits 2^63. */
u64 integer_from_float(Type t, double v, int rounding) {
    v = integral(v, rounding ? rounding : 2);
    const int width = 8 * bytes_of(t);
    if (std::isnan(v)) return width == 64 ? 1ull << 63 : 0;
    if (is_signed(t)) {
        const double limit = std::ldexp(1, width - 1);
        if (v <= -limit) return (u64)(s64)-limit;
        if (v >= limit) return (1ull << (width - 1)) - 1;
        return (u64)(s64)v;
    }
    if (v <= 0) return 0;
    if (v >= std::ldexp(1, width)) return width == 64 ? ~0ull : (1ull << width) - 1;
    return (u64)v;
}

u64 sign_or_zero_extend(Type t, u64 v) {
    switch (bytes_of(t)) {
    case 1: return is_signed(t) ? (u64)(s64)(s8)v : (u8)v;
    case 2: return is_signed(t) ? (u64)(s64)(s16)v : (u16)v;
    case 4: return is_signed(t) ? (u64)(s64)(s32)v : (u32)v;
    default: return v;
    }
}

u64 integer_saturated(Type to, Type from, u64 v) {
    const int width = 8 * bytes_of(to);
    if (is_signed(to)) {
        const s64 high = (s64)((1ull << (width - 1)) - 1), low = -high - 1;
        if (!is_signed(from) && (s64)v < 0) return (u64)high;
        return (u64)std::min(std::max((s64)v, low), high);
    }
    if (is_signed(from) && (s64)v < 0) return 0;
    return std::min(v, (u64)(width == 64 ? ~0ull : (1ull << width) - 1));
}

u64 float_from_integer(const Inst &i, u64 v) {
    const bool with_sign = is_signed(i.type2);
    if (i.type == Type::F64 || i.type == Type::F32) {
        /* Only 64-bit sources can be inexact in double; they are rounded once, in the mode asked for. */
        static thread_local volatile u64 input;
        static thread_local volatile bool input_signed;
        input = v;
        input_signed = with_sign;
        if (i.type == Type::F64)
            return bit_cast<u64>(with_rounding(
                i.rounding,
                [](double, double, double) {
                    return input_signed ? (double)(s64)input : (double)input;
                },
                0, 0, 0));
        return bit_cast<u32>(with_rounding(
            i.rounding,
            [](float, float, float) { return input_signed ? (float)(s64)input : (float)input; }, 0,
            0, 0));
    }
    return narrow(i.type, with_sign ? (double)(s64)v : (double)v, i.rounding);
}

u64 convert(const Inst &i, u64 bits) {
    if (is_float(i.type2)) {
        double v = float_value(i.type2, bits, i.ftz);
        if (!is_float(i.type)) return integer_from_float(i.type, v, i.integer_rounding);
        if (i.integer_rounding) v = integral(v, i.integer_rounding);
        if (i.sat) v = v > 0 ? std::min(v, 1.0) : 0;
        if (i.relu && v < 0) v = 0;
        return float_bits(i, v);
    }
    const u64 v = sign_or_zero_extend(i.type2, bits);
    if (is_float(i.type)) return float_from_integer(i, v);
    return sign_or_zero_extend(i.type, i.sat ? integer_saturated(i.type, i.type2, v) : v);
}

void cvt(Machine &m, const Inst &i, u32 mask) {
    u64 scratch[LANES], r[LANES] = {};
    const u64 *a = m.source(i.op[1], scratch);
    for (int l = 0; l < LANES; l++)
        if (mask >> l & 1) r[l] = convert(i, a[l]);
    m.store(i.op[0], r, mask);
}

/* cvt.rn.f16x2.f32 d, high, low */
void cvt_pair(Machine &m, const Inst &i, u32 mask) {
    u32 sh[LANES], sl[LANES], r[LANES];
    const u32 *high = m.source(i.op[1], sh), *low = m.source(i.op[2], sl);
    const auto half = [&](u32 bits) {
        float f = bit_cast<float>(bits);
        if (i.relu && f < 0) f = 0;
        return (u32)narrow(i.type, f, i.rounding);
    };
    for (int l = 0; l < LANES; l++) r[l] = half(low[l]) | half(high[l]) << 16;
    m.store(i.op[0], r, mask);
}

/* The usual ones without asking about types for every lane. */
void half_to_single(Machine &m, const Inst &i, u32 mask) {
    map1<u32>(m, i, mask, [](u32 a) { return bit_cast<u32>(half_to_float((u16)a)); });
}
void single_to_half(Machine &m, const Inst &i, u32 mask) {
    map1<u32>(m, i, mask, [](u32 a) { return (u32)half_from_float(bit_cast<float>(a)); });
}
void single_to_half_pair(Machine &m, const Inst &i, u32 mask) {
    map2<u32>(m, i, mask, [](u32 high, u32 low) {
        return half_from_float(bit_cast<float>(low)) | (u32)half_from_float(bit_cast<float>(high))
                                                           << 16;
    });
}
template <class From> void widen(Machine &m, const Inst &i, u32 mask) {
    u32 scratch[LANES];
    u64 r[LANES];
    const u32 *a = m.source(i.op[1], scratch);
    for (int l = 0; l < LANES; l++) r[l] = (u64)(s64)(From)a[l];
    m.store(i.op[0], r, mask);
}

} // namespace

Handler select_cvt(Inst &i, const Statement &s) {
    if (s.types.size() < 2) s.unsupported();
    const Type to = i.type, from = i.type2;
    const bool plain = !i.rounding && !i.integer_rounding && !i.sat && !i.relu && !i.ftz;
    if (is_pair(to)) {
        if (from != Type::F32 || i.operands != 3 || s.has("rs")) s.unsupported();
        return plain && to == Type::F16X2 ? single_to_half_pair : cvt_pair;
    }
    if (is_pair(from)) s.unsupported();
    if (plain && to == Type::F32 && from == Type::F16) return half_to_single;
    if (plain && to == Type::F16 && from == Type::F32) return single_to_half;
    if (bytes_of(to) == 8 && !is_float(to) && from == Type::S32) return widen<s32>;
    if (bytes_of(to) == 8 && !is_float(to) && from == Type::U32) return widen<u32>;
    return cvt;
}

} // namespace sg
