/* select_compare.cpp - setp, set, selp, slct, testp, copysign. */
#include "lanes.h"

namespace sg {

namespace {

/* In the order of the list in comparison(): ordered, unsigned names, unordered. */
enum Comparison : u8 {
    EQ,
    NE,
    LT,
    LE,
    GT,
    GE,
    LO,
    LS,
    HI,
    HS,
    EQU,
    NEU,
    LTU,
    LEU,
    GTU,
    GEU,
    NUM,
    NANS
};
enum Combine : u8 { ALONE, WITH_AND, WITH_OR, WITH_XOR };

template <class T> bool relation(int c, T a, T b) {
    switch (c) {
    case EQ: return a == b;
    case NE: return a != b;
    case LT: return a < b;
    case LE: return a <= b;
    case GT: return a > b;
    default: return a >= b;
    }
}

bool compare_float(int c, double a, double b) {
    const bool unordered = std::isnan(a) || std::isnan(b);
    if (c == NUM) return !unordered;
    if (c == NANS) return unordered;
    if (unordered) return c >= EQU;
    return relation(c >= EQU ? c - EQU : c, a, b);
}

template <class T> u32 compare_lanes(Machine &m, const Inst &i, int c) {
    Word<T> sa[LANES], sb[LANES];
    const Word<T> *a = m.source(i.op[1], sa), *b = m.source(i.op[2], sb);
    u32 r = 0;
    if constexpr (std::is_floating_point_v<T>) {
        for (int l = 0; l < LANES; l++) {
            T x = value_of<T>(a[l]), y = value_of<T>(b[l]);
            if (sizeof(T) == 4 && i.ftz) x = flush((float)x), y = flush((float)y);
            r |= (u32)compare_float(c, x, y) << l;
        }
    } else {
        for (int l = 0; l < LANES; l++)
            r |= (u32)relation(c, value_of<T>(a[l]), value_of<T>(b[l])) << l;
    }
    return r;
}

u32 compare_half(Machine &m, const Inst &i, Type t, int part) {
    u32 sa[LANES], sb[LANES], r = 0;
    const u32 *a = m.source(i.op[1], sa), *b = m.source(i.op[2], sb);
    const auto number = [&](u32 word) {
        const u16 bits = (u16)(word >> (16 * part));
        return is_bf16(t) ? bf16_to_float(bits) : half_to_float(bits);
    };
    for (int l = 0; l < LANES; l++) r |= (u32)compare_float(i.sub, number(a[l]), number(b[l])) << l;
    return r;
}

/* A bit per lane. lo, ls, hi, hs compare as unsigned, whatever the type. */
u32 compare(Machine &m, const Inst &i, Type t, int part) {
    if (is_half(t)) return compare_half(m, i, t, part);
    const bool as_unsigned = i.sub >= LO && i.sub <= HS;
    const int c = as_unsigned ? LT + (i.sub - LO) : i.sub;
    switch (t) {
    case Type::F32: return compare_lanes<float>(m, i, c);
    case Type::F64: return compare_lanes<double>(m, i, c);
    case Type::S16: return as_unsigned ? compare_lanes<u16>(m, i, c) : compare_lanes<s16>(m, i, c);
    case Type::S32: return as_unsigned ? compare_lanes<u32>(m, i, c) : compare_lanes<s32>(m, i, c);
    case Type::S64: return as_unsigned ? compare_lanes<u64>(m, i, c) : compare_lanes<s64>(m, i, c);
    default: break;
    }
    return bytes_of(t) == 8   ? compare_lanes<u64>(m, i, c)
           : bytes_of(t) == 4 ? compare_lanes<u32>(m, i, c)
                              : compare_lanes<u16>(m, i, c);
}

u32 combine(Machine &m, const Inst &i, u32 r) {
    if (i.sub2 == ALONE) return r;
    const u32 p = m.predicate(i.op[3]);
    return i.sub2 == WITH_AND ? r & p : i.sub2 == WITH_OR ? r | p : r ^ p;
}

void setp(Machine &m, const Inst &i, u32 mask) {
    const u32 r = compare(m, i, i.type, 0);
    if (is_pair(i.type)) { /* one predicate per half */
        const u32 high = compare(m, i, i.type, 1);
        m.store_predicate(m.part(i.op[0], 0), combine(m, i, r), mask);
        m.store_predicate(m.part(i.op[0], 1), combine(m, i, high), mask);
        return;
    }
    const u32 yes = combine(m, i, r), no = combine(m, i, ~r);
    m.store_predicate(m.part(i.op[0], 0), yes, mask);
    if (i.op[0].kind == Operand::VECTOR) m.store_predicate(m.part(i.op[0], 1), no, mask);
}

/* The written form of "true": all bits of an integer, 1.0 of a float. */
u32 truth(Type t) {
    switch (t) {
    case Type::F32: return 0x3f800000;
    case Type::F16:
    case Type::F16X2: return 0x3c00;
    case Type::BF16:
    case Type::BF16X2: return 0x3f80;
    default: return ~0u;
    }
}

void set(Machine &m, const Inst &i, u32 mask) {
    u32 r[LANES];
    if (is_pair(i.type2)) {
        const u32 low = combine(m, i, compare(m, i, i.type2, 0)),
                  high = combine(m, i, compare(m, i, i.type2, 1));
        const u32 one = truth(i.type) & 0xffff;
        for (int l = 0; l < LANES; l++)
            r[l] = (low >> l & 1 ? one : 0) | (high >> l & 1 ? one << 16 : 0);
    } else {
        const u32 c = combine(m, i, compare(m, i, i.type2, 0));
        for (int l = 0; l < LANES; l++) r[l] = c >> l & 1 ? truth(i.type) : 0;
    }
    m.store(i.op[0], r, mask);
}

void comparison(Inst &i, const Statement &s) {
    const int c = s.which({"eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu",
                           "ltu", "leu", "gtu", "geu", "num", "nan"});
    if (c < 0) s.unsupported();
    i.sub = (u8)c;
    i.sub2 = s.has("and") ? WITH_AND : s.has("or") ? WITH_OR : s.has("xor") ? WITH_XOR : ALONE;
}

template <class T> void selp(Machine &m, const Inst &i, u32 mask) {
    T sa[LANES], sb[LANES], r[LANES];
    const T *a = m.source(i.op[1], sa), *b = m.source(i.op[2], sb);
    const u32 p = m.predicate(i.op[3]);
    for (int l = 0; l < LANES; l++) r[l] = p >> l & 1 ? a[l] : b[l];
    m.store(i.op[0], r, mask);
}

template <class T> void slct(Machine &m, const Inst &i, u32 mask) {
    T sa[LANES], sb[LANES], r[LANES];
    u32 sc[LANES];
    const T *a = m.source(i.op[1], sa), *b = m.source(i.op[2], sb);
    const u32 *c = m.source(i.op[3], sc);
    for (int l = 0; l < LANES; l++) {
        const bool first = i.type2 == Type::F32 ? bit_cast<float>(c[l]) >= 0 : (s32)c[l] >= 0;
        r[l] = first ? a[l] : b[l];
    }
    m.store(i.op[0], r, mask);
}

template <class T> void testp(Machine &m, const Inst &i, u32 mask) {
    Word<T> sa[LANES];
    const Word<T> *a = m.source(i.op[1], sa);
    u32 r = 0;
    for (int l = 0; l < LANES; l++) {
        const int kind = std::fpclassify(value_of<T>(a[l]));
        bool yes = false;
        switch (i.sub) {
        case 0: yes = kind != FP_INFINITE && kind != FP_NAN; break;
        case 1: yes = kind == FP_INFINITE; break;
        case 2: yes = kind != FP_NAN; break;
        case 3: yes = kind == FP_NAN; break;
        case 4: yes = kind == FP_NORMAL; break;
        default: yes = kind == FP_SUBNORMAL;
        }
        r |= (u32)yes << l;
    }
    m.store_predicate(i.op[0], r, mask);
}

/* The sign of the first source on the second. */
struct CopySign {
    template <class T> static T apply(T a, T b) { return std::copysign(b, a); }
};

} // namespace

Handler select_setp(Inst &i, const Statement &s) {
    comparison(i, s);
    return setp;
}
Handler select_set(Inst &i, const Statement &s) {
    comparison(i, s);
    if (i.type2 == Type::NONE) s.unsupported();
    return set;
}
Handler select_selp(Inst &i, const Statement &) {
    return bytes_of(i.type) == 8 ? selp<u64> : selp<u32>;
}
Handler select_slct(Inst &i, const Statement &) {
    return bytes_of(i.type) == 8 ? slct<u64> : slct<u32>;
}
Handler select_testp(Inst &i, const Statement &s) {
    const int kind = s.which({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
    if (kind < 0) s.unsupported();
    i.sub = (u8)kind;
    return i.type == Type::F64 ? testp<double> : testp<float>;
}
Handler select_copysign(Inst &i, const Statement &) {
    return i.type == Type::F64 ? run2<double, CopySign> : run2<float, CopySign>;
}

} // namespace sg
