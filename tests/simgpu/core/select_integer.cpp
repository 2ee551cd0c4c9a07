/* select_integer.cpp - logic, shifts, bit fields and other integer instructions. */
#include "lanes.h"

namespace sg {

namespace {

struct And {
    template <class T> static T apply(T a, T b) { return a & b; }
};
struct Or {
    template <class T> static T apply(T a, T b) { return a | b; }
};
struct Xor {
    template <class T> static T apply(T a, T b) { return a ^ b; }
};
struct Not {
    template <class T> static T apply(T a) { return ~a; }
};
struct CNot {
    template <class T> static T apply(T a) { return a == 0; }
};

template <class Op> void predicate2(Machine &m, const Inst &i, u32 mask) {
    m.store_predicate(i.op[0], Op::apply(m.predicate(i.op[1]), m.predicate(i.op[2])), mask);
}

template <class Op> Handler logic(const Inst &i) {
    if (i.type == Type::PRED) return predicate2<Op>;
    return bytes_of(i.type) == 8 ? run2<u64, Op> : run2<u32, Op>;
}

/* Shift amounts beyond the width act as the width. The amount is always 32 bits. */
template <class T> void shift_left(Machine &m, const Inst &i, u32 mask) {
    Word<T> sa[LANES], r[LANES];
    u32 sb[LANES];
    const Word<T> *a = m.source(i.op[1], sa);
    const u32 *n = m.source(i.op[2], sb);
    for (int l = 0; l < LANES; l++)
        r[l] = word_of<T>(n[l] >= 8 * sizeof(T) ? (T)0 : (T)(a[l] << n[l]));
    m.store(i.op[0], r, mask);
}
template <class T> void shift_right(Machine &m, const Inst &i, u32 mask) {
    constexpr u32 width = 8 * sizeof(T);
    Word<T> sa[LANES], r[LANES];
    u32 sb[LANES];
    const Word<T> *a = m.source(i.op[1], sa);
    const u32 *n = m.source(i.op[2], sb);
    for (int l = 0; l < LANES; l++) {
        const T v = value_of<T>(a[l]), sign = std::is_signed_v<T> && v < 0 ? (T)-1 : (T)0;
        r[l] = word_of<T>(n[l] >= width ? sign : (T)(v >> n[l]));
    }
    m.store(i.op[0], r, mask);
}

template <bool LEFT, bool WRAP> struct Funnel {
    static u32 apply(u32 low, u32 high, u32 amount) {
        const u32 n = WRAP ? amount & 31 : std::min(amount, 32u);
        const u64 both = (u64)high << 32 | low;
        return LEFT ? (u32)(both << n >> 32) : (u32)(both >> n);
    }
};

/* Selects bytes of b:a; modes other than the default take the selector from the low bits of c. */
u32 permute(int mode, u32 a, u32 b, u32 c) {
    const u64 bytes = (u64)b << 32 | a;
    const u32 n = c & 3;
    u32 r = 0;
    for (u32 i = 0; i < 4; i++) {
        u32 from;
        bool replicate_sign = false;
        switch (mode) {
        case 0: from = n + i; break;                 /* f4e */
        case 1: from = (n - i) & 7; break;           /* b4e */
        case 2: from = n; break;                     /* rc8 */
        case 3: from = std::max(n, i); break;        /* ecl */
        case 4: from = std::min(n, i); break;        /* ecr */
        case 5: from = (c & 1) * 2 + (i & 1); break; /* rc16 */
        default: from = c >> (4 * i) & 7; replicate_sign = c >> (4 * i + 3) & 1;
        }
        u32 byte = (u32)(bytes >> (8 * from)) & 255;
        if (replicate_sign) byte = byte & 128 ? 255 : 0;
        r |= byte << (8 * i);
    }
    return r;
}

u64 low_bits(u32 n) { return n >= 64 ? ~0ull : (1ull << n) - 1; }

template <class T> T extract_field(T a, u32 position, u32 length) {
    constexpr u32 width = 8 * sizeof(T);
    using U = std::make_unsigned_t<T>;
    if (!length) return 0;
    if (!std::is_signed_v<T>)
        return position >= width ? (T)0 : (T)(((U)a >> position) & low_bits(length));
    const u32 top = std::min(position + length - 1, width - 1);
    const u64 sign = (U)a >> top & 1 ? ~0ull : 0, bits = position >= width ? 0 : (U)a >> position;
    const u64 keep = top >= position ? low_bits(top - position + 1) : 0;
    return (T)((bits & keep) | (sign & ~keep));
}

template <class T> void bit_extract(Machine &m, const Inst &i, u32 mask) {
    Word<T> sa[LANES], r[LANES];
    u32 sb[LANES], sc[LANES];
    const Word<T> *a = m.source(i.op[1], sa);
    const u32 *position = m.source(i.op[2], sb), *length = m.source(i.op[3], sc);
    for (int l = 0; l < LANES; l++)
        r[l] = word_of<T>(extract_field(value_of<T>(a[l]), position[l] & 255, length[l] & 255));
    m.store(i.op[0], r, mask);
}

template <class T> void bit_insert(Machine &m, const Inst &i, u32 mask) {
    T sa[LANES], sb[LANES], r[LANES];
    u32 sc[LANES], sd[LANES];
    const T *a = m.source(i.op[1], sa), *b = m.source(i.op[2], sb);
    const u32 *position = m.source(i.op[3], sc), *length = m.source(i.op[4], sd);
    for (int l = 0; l < LANES; l++) {
        const u32 p = position[l] & 255, n = length[l] & 255;
        const T field = p >= 8 * sizeof(T) ? (T)0 : (T)(low_bits(n) << p);
        r[l] = (b[l] & ~field) | (p < 8 * sizeof(T) ? (T)(a[l] << p) & field : (T)0);
    }
    m.store(i.op[0], r, mask);
}

/* Results of these are 32 bits for any type. */
template <class T, class F> void count_bits(Machine &m, const Inst &i, u32 mask, F f) {
    T sa[LANES];
    u32 r[LANES];
    const T *a = m.source(i.op[1], sa);
    for (int l = 0; l < LANES; l++) r[l] = f(a[l]);
    m.store(i.op[0], r, mask);
}
u32 leading_zeros(u32 a) { return a ? (u32)__builtin_clz(a) : 32; }
u32 leading_zeros(u64 a) { return a ? (u32)__builtin_clzll(a) : 64; }
template <class T> void clz(Machine &m, const Inst &i, u32 mask) {
    count_bits<T>(m, i, mask, [](T a) { return leading_zeros(a); });
}
template <class T> void popc(Machine &m, const Inst &i, u32 mask) {
    count_bits<T>(m, i, mask, [](T a) { return (u32)__builtin_popcountll(a); });
}
/* The highest bit that is not the sign; with .shiftamt, how far it is from the top. */
template <class T> void find_leading(Machine &m, const Inst &i, u32 mask) {
    const bool with_sign = is_signed(i.type), amount = i.sub;
    count_bits<T>(m, i, mask, [=](T a) {
        constexpr u32 top = 8 * sizeof(T) - 1;
        const u32 zeros = leading_zeros(with_sign && a >> top ? (T)~a : a);
        return zeros > top ? ~0u : amount ? zeros : top - zeros;
    });
}

struct Reverse {
    template <class T> static T apply(T a) {
        T r = 0;
        for (size_t i = 0; i < 8 * sizeof(T); i++) r = (T)(r << 1 | (a >> i & 1));
        return r;
    }
};

/* Three-input logic: bit k of the table is the result for inputs a b c = k in binary. */
void lop3(Machine &m, const Inst &i, u32 mask) {
    u32 sa[LANES], sb[LANES], sc[LANES], r[LANES] = {};
    const u32 *a = m.source(i.op[1], sa), *b = m.source(i.op[2], sb), *c = m.source(i.op[3], sc);
    const u32 table = (u32)i.op[4].value;
    for (u32 k = 0; k < 8; k++) {
        if (!(table >> k & 1)) continue;
        const u32 na = k & 4 ? 0 : ~0u, nb = k & 2 ? 0 : ~0u, nc = k & 1 ? 0 : ~0u;
        for (int l = 0; l < LANES; l++) r[l] |= (a[l] ^ na) & (b[l] ^ nb) & (c[l] ^ nc);
    }
    m.store(i.op[0], r, mask);
}

} // namespace

Handler select_and(Inst &i, const Statement &) { return logic<And>(i); }
Handler select_or(Inst &i, const Statement &) { return logic<Or>(i); }
Handler select_xor(Inst &i, const Statement &) { return logic<Xor>(i); }

Handler select_not(Inst &i, const Statement &) {
    if (i.type == Type::PRED)
        return [](Machine &m, const Inst &inst, u32 mask) {
            m.store_predicate(inst.op[0], ~m.predicate(inst.op[1]), mask);
        };
    return bytes_of(i.type) == 8 ? run1<u64, Not> : run1<u32, Not>;
}

Handler select_cnot(Inst &i, const Statement &) { return SG_FOR_INTEGER(run1, CNot, i.type); }

Handler select_shl(Inst &i, const Statement &) {
    return bytes_of(i.type) == 8   ? shift_left<u64>
           : bytes_of(i.type) == 4 ? shift_left<u32>
                                   : shift_left<u16>;
}

Handler select_shr(Inst &i, const Statement &) {
    if (is_signed(i.type))
        return i.type == Type::S64   ? shift_right<s64>
               : i.type == Type::S32 ? shift_right<s32>
                                     : shift_right<s16>;
    return bytes_of(i.type) == 8   ? shift_right<u64>
           : bytes_of(i.type) == 4 ? shift_right<u32>
                                   : shift_right<u16>;
}

Handler select_shf(Inst &, const Statement &s) {
    if (s.has("l"))
        return s.has("wrap") ? run3<u32, Funnel<true, true>> : run3<u32, Funnel<true, false>>;
    return s.has("wrap") ? run3<u32, Funnel<false, true>> : run3<u32, Funnel<false, false>>;
}

Handler select_bfe(Inst &i, const Statement &s) {
    switch (i.type) {
    case Type::U32: return bit_extract<u32>;
    case Type::S32: return bit_extract<s32>;
    case Type::U64: return bit_extract<u64>;
    case Type::S64: return bit_extract<s64>;
    default: s.unsupported();
    }
}

Handler select_bfi(Inst &i, const Statement &) {
    return bytes_of(i.type) == 8 ? bit_insert<u64> : bit_insert<u32>;
}
Handler select_bfind(Inst &i, const Statement &s) {
    i.sub = s.has("shiftamt");
    return bytes_of(i.type) == 8 ? find_leading<u64> : find_leading<u32>;
}
Handler select_brev(Inst &i, const Statement &) {
    return bytes_of(i.type) == 8 ? run1<u64, Reverse> : run1<u32, Reverse>;
}
Handler select_clz(Inst &i, const Statement &) {
    return bytes_of(i.type) == 8 ? clz<u64> : clz<u32>;
}
Handler select_popc(Inst &i, const Statement &) {
    return bytes_of(i.type) == 8 ? popc<u64> : popc<u32>;
}

Handler select_prmt(Inst &i, const Statement &s) {
    const int mode = s.which({"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"});
    i.sub = (u8)(mode < 0 ? 6 : mode);
    return [](Machine &m, const Inst &inst, u32 mask) {
        map3<u32>(m, inst, mask, [&](u32 a, u32 b, u32 c) { return permute(inst.sub, a, b, c); });
    };
}

Handler select_lop3(Inst &i, const Statement &s) {
    if (i.operands != 5 || i.op[4].kind != Operand::IMMEDIATE || s.has("BoolOp")) s.unsupported();
    return lop3;
}

} // namespace sg
