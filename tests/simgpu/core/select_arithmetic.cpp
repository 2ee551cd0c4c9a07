/* select_arithmetic.cpp - add, mul, mad, fma and their relatives for integers and floats. */
#include "lanes.h"
#include <cfenv>

namespace sg {

namespace {

constexpr int rounding_modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};

/* Results may depend on the rounding mode: these read volatile copies, so that nothing is computed
 * before the mode is set. */
struct Add {
    template <class T> static T apply(T a, T b) {
        if constexpr (std::is_floating_point_v<T>) return a + b;
        else return (T)((std::make_unsigned_t<T>)a + (std::make_unsigned_t<T>)b);
    }
    template <class T> static T slow(T a, T b, T) {
        volatile T x = a, y = b;
        return x + y;
    }
};
struct Sub {
    template <class T> static T apply(T a, T b) {
        if constexpr (std::is_floating_point_v<T>) return a - b;
        else return (T)((std::make_unsigned_t<T>)a - (std::make_unsigned_t<T>)b);
    }
    template <class T> static T slow(T a, T b, T) {
        volatile T x = a, y = b;
        return x - y;
    }
};
struct Mul {
    template <class T> static T apply(T a, T b) {
        if constexpr (std::is_floating_point_v<T>) return a * b;
        else return (T)((Word<T>)(std::make_unsigned_t<T>)a * (Word<T>)(std::make_unsigned_t<T>)b);
    }
    template <class T> static T slow(T a, T b, T) {
        volatile T x = a, y = b;
        return x * y;
    }
};
struct Div {
    template <class T> static T apply(T a, T b) {
        if constexpr (std::is_floating_point_v<T>) return a / b;
        else if (b == 0) return (T)-1; /* what the hardware gives */
        else if (std::is_signed_v<T> && b == (T)-1) return Sub::apply<T>(0, a);
        else return (T)(a / b);
    }
    template <class T> static T slow(T a, T b, T) {
        volatile T x = a, y = b;
        return x / y;
    }
};
struct Rem {
    template <class T> static T apply(T a, T b) {
        if (b == 0) return a;
        return std::is_signed_v<T> && b == (T)-1 ? (T)0 : (T)(a % b);
    }
};
struct Fma {
    template <class T> static T apply(T a, T b, T c) {
        if constexpr (sizeof(T) == 4) return __builtin_fmaf(a, b, c);
        else return __builtin_fma(a, b, c);
    }
    template <class T> static T slow(T a, T b, T c) {
        volatile T x = a, y = b, z = c;
        return apply<T>(x, y, z);
    }
};
struct MulAdd {
    template <class T> static T apply(T a, T b, T c) { return Add::apply(Mul::apply(a, b), c); }
};
struct Sad {
    template <class T> static T apply(T a, T b, T c) {
        return Add::apply(c, a > b ? Sub::apply(a, b) : Sub::apply(b, a));
    }
};
/* NaN loses against a number, unless .NaN; -0 is below +0. */
struct Min {
    template <class T> static T apply(T a, T b) {
        if constexpr (std::is_floating_point_v<T>) {
            if (a == b) return std::signbit(a) ? a : b;
            return std::fmin(a, b);
        } else return std::min(a, b);
    }
};
struct Max {
    template <class T> static T apply(T a, T b) {
        if constexpr (std::is_floating_point_v<T>) {
            if (a == b) return std::signbit(a) ? b : a;
            return std::fmax(a, b);
        } else return std::max(a, b);
    }
};
struct Abs {
    template <class T> static T apply(T a) {
        if constexpr (std::is_floating_point_v<T>) return std::fabs(a);
        else return std::is_signed_v<T> && (s64)a < 0 ? Sub::apply<T>(0, a) : a;
    }
};
struct Neg {
    template <class T> static T apply(T a) {
        if constexpr (std::is_floating_point_v<T>) return -a;
        else return Sub::apply<T>(0, a);
    }
};

/* f32 with .ftz, .sat or a rounding mode. */
template <class Op, int N> void float_slow(Machine &m, const Inst &i, u32 mask) {
    map3<float>(m, i, mask, [&](float a, float b, float c) {
        if (i.ftz) a = flush(a), b = flush(b), c = flush(c);
        float r = with_rounding(i.rounding, Op::template slow<float>, a, b, c);
        if (i.sat) r = saturate(r);
        if (i.approx) r = approximate(r);
        return i.ftz ? flush(r) : r;
    });
}
template <class Op> void double_slow(Machine &m, const Inst &i, u32 mask) {
    map3<double>(m, i, mask, [&](double a, double b, double c) {
        return with_rounding(i.rounding, Op::template slow<double>, a, b, c);
    });
}
/* map3 reads a third source; two-operand instructions give their second again. */
void repeat_second(Inst &i) {
    if (i.operands == 3) i.op[3] = i.op[2];
}

template <class Op> Handler float_binary(Inst &i) {
    const bool plain = !i.rounding && !i.ftz && !i.sat && !i.approx;
    if (i.type == Type::F32 && plain) return run2<float, Op>;
    if (i.type == Type::F64 && !i.rounding) return run2<double, Op>;
    repeat_second(i);
    if (i.type == Type::F32) return float_slow<Op, 2>;
    if (i.type == Type::F64) return double_slow<Op>;
    return [](Machine &m, const Inst &inst, u32 mask) {
        map_half<2>(m, inst, mask,
                    [](double *x) { return Op::template apply<double>(x[0], x[1]); });
    };
}

/* The high or the double-width product. */
template <class T, class Wide, bool WIDE> void long_product(Machine &m, const Inst &i, u32 mask) {
    Word<T> sa[LANES], sb[LANES];
    u64 sc[LANES], r[LANES];
    const Word<T> *a = m.source(i.op[1], sa), *b = m.source(i.op[2], sb);
    const u64 *c = i.operands > 3 ? m.source(i.op[3], sc) : nullptr; /* mad */
    u32 carry = 0;
    for (int l = 0; l < LANES; l++) {
        const Wide product = (Wide)value_of<T>(a[l]) * (Wide)value_of<T>(b[l]);
        constexpr int width = 8 * (int)sizeof(T);
        using U = std::make_unsigned_t<T>;
        const u64 keep = WIDE ? (u64)product : (u64)(U)(product >> width);
        const bool carry_in = i.sub && (m.warp->carry >> l & 1);
        r[l] = keep + (c ? c[l] : 0) + carry_in;
        if (!WIDE && c) {
            const u128 sum = (u128)keep + (U)c[l] + carry_in;
            carry |= (u32)(sum >> width & 1) << l;
        }
    }
    if (i.carry) m.warp->carry = (m.warp->carry & ~mask) | (carry & mask);
    m.store(i.op[0], r, mask);
}

template <bool WIDE> Handler product(const Inst &i, const Statement &s) {
    switch (i.type) {
    case Type::U16: return long_product<u16, u32, WIDE>;
    case Type::S16: return long_product<s16, s32, WIDE>;
    case Type::U32: return long_product<u32, u64, WIDE>;
    case Type::S32: return long_product<s32, s64, WIDE>;
    case Type::U64: return long_product<u64, u128, WIDE>;
    case Type::S64: return long_product<s64, s128, WIDE>;
    default: s.unsupported();
    }
}

enum Chain : u8 { ADD, SUB, MULTIPLY_ADD };

/* add.cc, addc, sub.cc, subc, mad.lo.cc, madc.lo: sub2 is the Chain, sub says "with carry in". */
void carry_chain(Machine &m, const Inst &i, u32 mask) {
    u64 sa[LANES], sb[LANES], sc[LANES], r[LANES];
    const u64 *a = m.source(i.op[1], sa), *b = m.source(i.op[2], sb);
    const u64 *c = i.sub2 == MULTIPLY_ADD ? m.source(i.op[3], sc) : nullptr;
    const int width = 8 * bytes_of(i.type);
    const u64 keep = width == 64 ? ~0ull : (1ull << width) - 1;
    u32 carry = 0;
    for (int l = 0; l < LANES; l++) {
        const u32 in = i.sub ? m.warp->carry >> l & 1 : 0;
        u128 sum = 0;
        switch (i.sub2) {
        case ADD: sum = (u128)(a[l] & keep) + (b[l] & keep) + in; break;
        case SUB: sum = (u128)(a[l] & keep) - (b[l] & keep) - in; break;
        default: sum = (u128)(a[l] * b[l] & keep) + (c[l] & keep) + in;
        }
        r[l] = (u64)sum & keep;
        carry |= (u32)(sum >> width & 1) << l;
    }
    if (i.carry) m.warp->carry = (m.warp->carry & ~mask) | (carry & mask);
    m.store(i.op[0], r, mask);
}

Handler chain(Inst &i, Chain kind, bool with_carry) {
    i.sub = with_carry;
    i.sub2 = kind;
    return carry_chain;
}

template <bool ADDS> void saturated(Machine &m, const Inst &i, u32 mask) {
    map2<s32>(m, i, mask, [](s32 a, s32 b) {
        const s64 r = ADDS ? (s64)a + b : (s64)a - b;
        return (s32)std::min<s64>(std::max<s64>(r, INT32_MIN), INT32_MAX);
    });
}

template <class Op, Chain KIND, bool ADDS> Handler sum(Inst &i) {
    if (is_float(i.type)) return float_binary<Op>(i);
    if (i.carry) return chain(i, KIND, false);
    if (i.sat) return saturated<ADDS>;
    return SG_FOR_INTEGER(run2, Op, i.type);
}

template <bool HIGH> u64 product24(bool with_sign, u64 a, u64 b) {
    const auto narrow = [=](u64 v) {
        return with_sign ? (s64)((s32)(v << 8) >> 8) : (s64)(v & 0xffffff);
    };
    const s64 p = narrow(a) * narrow(b);
    return (u64)(HIGH ? p >> 16 : p);
}
template <bool HIGH> void mul24(Machine &m, const Inst &i, u32 mask) {
    u32 sa[LANES], sb[LANES], sc[LANES], r[LANES];
    const u32 *a = m.source(i.op[1], sa), *b = m.source(i.op[2], sb);
    const u32 *c = i.operands > 3 ? m.source(i.op[3], sc) : nullptr;
    for (int l = 0; l < LANES; l++)
        r[l] = (u32)product24<HIGH>(is_signed(i.type), a[l], b[l]) + (c ? c[l] : 0);
    m.store(i.op[0], r, mask);
}

/* min and max of floats; .xorsign gives the result the product's sign. */
template <class Op> void float_extreme(Machine &m, const Inst &i, u32 mask) {
    map3<float>(m, i, mask, [&](float a, float b, float c) {
        if (i.ftz) a = flush(a), b = flush(b), c = flush(c);
        float r = Op::template apply<float>(Op::template apply<float>(a, b), c);
        if (i.nan && (std::isnan(a) || std::isnan(b) || std::isnan(c)))
            r = bit_cast<float>(0x7fffffffu);
        return i.sub ? std::copysign(r, std::signbit(a) != std::signbit(b) ? -1.f : 1.f) : r;
    });
}
template <class Op> void half_extreme(Machine &m, const Inst &i, u32 mask) {
    map_half<2>(m, i, mask, [&](double *x) {
        const double r = Op::template apply<double>(x[0], x[1]);
        return i.nan && (std::isnan(x[0]) || std::isnan(x[1])) ? (double)NAN : r;
    });
}
template <class Op> Handler extreme(Inst &i, const Statement &s) {
    i.sub = s.has("xorsign");
    const bool three = i.operands > 3;
    if (is_half(i.type)) return !three && !i.sub ? half_extreme<Op> : (s.unsupported(), nullptr);
    if (i.type == Type::F64) return run2<double, Op>;
    if (i.type != Type::F32) return SG_FOR_INTEGER(run2, Op, i.type);
    if (!three && !i.ftz && !i.nan && !i.sub) return run2<float, Op>;
    repeat_second(i);
    return float_extreme<Op>;
}

/* abs and neg work on the sign bit, so NaN stays what it is. */
template <class Op, bool FLIP> Handler sign_change(const Inst &i) {
    if (!is_float(i.type)) return SG_FOR_INTEGER(run1, Op, i.type);
    if (i.type == Type::F64) return run1<double, Op>;
    if (i.type == Type::F32) {
        if (!i.ftz) return run1<float, Op>;
        return [](Machine &m, const Inst &inst, u32 mask) {
            map1<float>(m, inst, mask, [](float a) { return flush(Op::template apply<float>(a)); });
        };
    }
    return [](Machine &m, const Inst &inst, u32 mask) {
        const u32 sign = is_pair(inst.type) ? 0x80008000u : 0x8000u;
        map1<u32>(m, inst, mask, [=](u32 a) { return FLIP ? a ^ sign : a & ~sign; });
    };
}

} // namespace

float with_rounding(int mode, float (*f)(float, float, float), float a, float b, float c) {
    if (mode) fesetround(rounding_modes[mode]);
    const float r = f(a, b, c);
    if (mode) fesetround(FE_TONEAREST);
    return r;
}
double with_rounding(int mode, double (*f)(double, double, double), double a, double b, double c) {
    if (mode) fesetround(rounding_modes[mode]);
    const double r = f(a, b, c);
    if (mode) fesetround(FE_TONEAREST);
    return r;
}

float approximate(float f) {
    if (!options.approx_noise || !std::isfinite(f) || f == 0) return f;
    const u32 bits = bit_cast<u32>(f), hash = bits * 2654435761u;
    const int n = (int)options.approx_noise;
    return bit_cast<float>(bits + (u32)((int)(hash >> 16) % (2 * n + 1) - n));
}

Handler select_add(Inst &i, const Statement &) { return sum<Add, ADD, true>(i); }
Handler select_sub(Inst &i, const Statement &) { return sum<Sub, SUB, false>(i); }

Handler select_mul(Inst &i, const Statement &s) {
    if (is_float(i.type)) return float_binary<Mul>(i);
    if (i.wide) return product<true>(i, s);
    if (i.hi) return product<false>(i, s);
    return SG_FOR_INTEGER(run2, Mul, i.type);
}

Handler select_mul24(Inst &i, const Statement &) { return i.hi ? mul24<true> : mul24<false>; }
Handler select_mad24(Inst &i, const Statement &) { return i.hi ? mul24<true> : mul24<false>; }

Handler select_fma(Inst &i, const Statement &) {
    const bool plain = !i.rounding && !i.ftz && !i.sat;
    if (i.type == Type::F32) return plain ? run3<float, Fma> : float_slow<Fma, 3>;
    if (i.type == Type::F64) return i.rounding ? double_slow<Fma> : run3<double, Fma>;
    return [](Machine &m, const Inst &inst, u32 mask) {
        map_half<3>(m, inst, mask, [](double *x) { return fused_to_odd(x[0], x[1], x[2]); });
    };
}

Handler select_mad(Inst &i, const Statement &s) {
    if (is_float(i.type)) return select_fma(i, s);
    if (i.wide) return product<true>(i, s);
    if (i.hi) return product<false>(i, s);
    if (i.carry) return chain(i, MULTIPLY_ADD, false);
    return SG_FOR_INTEGER(run3, MulAdd, i.type);
}
Handler select_madc(Inst &i, const Statement &s) {
    if (!i.hi) return chain(i, MULTIPLY_ADD, true);
    i.sub = true;
    return product<false>(i, s);
}
Handler select_addc(Inst &i, const Statement &) { return chain(i, ADD, true); }
Handler select_subc(Inst &i, const Statement &) { return chain(i, SUB, true); }

Handler select_div(Inst &i, const Statement &) {
    if (is_float(i.type)) return float_binary<Div>(i);
    return SG_FOR_INTEGER(run2, Div, i.type);
}
Handler select_rem(Inst &i, const Statement &) { return SG_FOR_INTEGER(run2, Rem, i.type); }
Handler select_sad(Inst &i, const Statement &) { return SG_FOR_INTEGER(run3, Sad, i.type); }
Handler select_min(Inst &i, const Statement &s) { return extreme<Min>(i, s); }
Handler select_max(Inst &i, const Statement &s) { return extreme<Max>(i, s); }
Handler select_abs(Inst &i, const Statement &) { return sign_change<Abs, false>(i); }
Handler select_neg(Inst &i, const Statement &) { return sign_change<Neg, true>(i); }

} // namespace sg
