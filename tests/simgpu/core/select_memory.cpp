/* select_memory.cpp - ld, st, atom, red. */
#include "lanes.h"

namespace sg {

namespace {

enum AtomicOp : u8 { ADD, MIN, MAX, AND, OR, XOR, EXCH, CAS, INC, DEC };

bool is_shared(const Inst &i, const u64 *a, u32 mask) {
    return i.space == Space::SHARED ||
           (i.space == Space::GENERIC && window_of(a[__builtin_ctz(mask)]) == SHARED_WINDOW);
}

void count(Machine &m, const Inst &i, const u64 *a, u32 mask, int bytes, bool is_store) {
    if (is_shared(i, a, mask)) m.count_shared(a, mask, bytes);
    else if (in_device(a[__builtin_ctz(mask)])) m.count_global(a, mask, bytes, is_store);
}

bool may_be_global(const Inst &i) { return i.space == Space::GLOBAL || i.space == Space::GENERIC; }

/* T is the element in memory, V the number of elements. */
template <class T, int V> void load(Machine &m, const Inst &i, u32 mask) {
    constexpr int bytes = (int)sizeof(T) * V;
    using W = Word<T>;
    u64 a[LANES];
    W r[V][LANES];
    m.addresses(i.op[1], a);
    count(m, i, a, mask, bytes, false);
    const u8 *row = may_be_global(i) ? m.access_row(a, mask, bytes, AccessKind::READ) : nullptr;
    for (int l = 0; l < LANES; l++) {
        if (!row && !(mask >> l & 1)) continue;
        const u8 *p = row ? row + l * bytes : m.access(l, a[l], bytes, i.space, AccessKind::READ);
        T element[V];
        memcpy(element, p, sizeof element);
        for (int v = 0; v < V; v++) /* signed elements are extended to the register */
            r[v][l] = std::is_signed_v<T> ? (W)(s64)element[v] : (W)element[v];
    }
    for (int v = 0; v < V; v++) m.store(m.part(i.op[0], v), r[v], mask);
}

template <class T, int V> void keep(Machine &m, const Inst &i, u32 mask) {
    constexpr int bytes = (int)sizeof(T) * V;
    using W = Word<T>;
    u64 a[LANES];
    W scratch[V][LANES];
    const W *from[V];
    m.addresses(i.op[0], a);
    count(m, i, a, mask, bytes, true);
    for (int v = 0; v < V; v++) from[v] = m.source(m.part(i.op[1], v), scratch[v]);
    u8 *row = may_be_global(i) ? m.access_row(a, mask, bytes, AccessKind::WRITE) : nullptr;
    for (int l = 0; l < LANES; l++) {
        if (!(mask >> l & 1)) continue;
        T element[V];
        for (int v = 0; v < V; v++) element[v] = (T)from[v][l];
        u8 *p = row ? row + l * bytes
                    : m.access(l, a[l], bytes, i.space, AccessKind::WRITE, (const u8 *)element);
        memcpy(p, element, sizeof element);
    }
}

/* A signed narrow element in a 64-bit register needs the 64-bit extension. */
template <class T> void load_signed_wide(Machine &m, const Inst &i, u32 mask) {
    u64 a[LANES], r[LANES] = {};
    m.addresses(i.op[1], a);
    count(m, i, a, mask, sizeof(T), false);
    for (int l = 0; l < LANES; l++)
        if (mask >> l & 1) {
            T element;
            memcpy(&element, m.access(l, a[l], sizeof(T), i.space, AccessKind::READ),
                   sizeof element);
            r[l] = (u64)(s64)element;
        }
    m.store(i.op[0], r, mask);
}

#define SG_BY_VECTOR(f, T, vec)                                                                    \
    ((vec) == 1 ? f<T, 1> : (vec) == 2 ? f<T, 2> : (vec) == 4 ? f<T, 4> : (Handler) nullptr)

template <class T> u64 atomic_integer(int op, u64 old, u64 b, u64 c) {
    const T o = (T)old, x = (T)b;
    switch (op) {
    case ADD: return (u64)(T)(old + b);
    case MIN: return (u64)std::min(o, x);
    case MAX: return (u64)std::max(o, x);
    case AND: return (u64)(o & x);
    case OR: return (u64)(o | x);
    case XOR: return (u64)(o ^ x);
    case EXCH: return (u64)x;
    case CAS: return (u64)(o == x ? (T)c : o);
    case INC: return o >= x ? 0 : (u64)(T)(o + 1);
    default: return o == 0 || o > x ? (u64)x : (u64)(T)(o - 1); /* DEC */
    }
}

u16 atomic_half(bool bf, int op, u16 old, u16 b) {
    const double o = bf ? bf16_to_float(old) : half_to_float(old);
    const double x = bf ? bf16_to_float(b) : half_to_float(b);
    const double r = op == ADD ? o + x : op == MIN ? std::fmin(o, x) : std::fmax(o, x);
    return bf ? bf16_from_double(r) : half_from_double(r);
}

u64 atomic_result(int op, Type t, u64 old, u64 b, u64 c) {
    if (op == EXCH || op == CAS) {
        const u64 keep = bytes_of(t) == 8 ? ~0ull : (1ull << 8 * bytes_of(t)) - 1;
        return op == EXCH || (old & keep) == (b & keep) ? (op == EXCH ? b : c) : old;
    }
    switch (t) {
    case Type::F32: {
        const float o = bit_cast<float>((u32)old), x = bit_cast<float>((u32)b);
        return bit_cast<u32>(op == ADD ? o + x : op == MIN ? std::fmin(o, x) : std::fmax(o, x));
    }
    case Type::F64: return bit_cast<u64>(bit_cast<double>(old) + bit_cast<double>(b));
    case Type::F16:
    case Type::BF16: return atomic_half(is_bf16(t), op, (u16)old, (u16)b);
    case Type::F16X2:
    case Type::BF16X2:
        return atomic_half(is_bf16(t), op, (u16)old, (u16)b) |
               (u64)atomic_half(is_bf16(t), op, (u16)(old >> 16), (u16)(b >> 16)) << 16;
    case Type::S32: return (u32)atomic_integer<s32>(op, old, b, c);
    case Type::S64: return atomic_integer<s64>(op, old, b, c);
    default:
        return bytes_of(t) == 8 ? atomic_integer<u64>(op, old, b, c)
                                : atomic_integer<u32>(op, old, b, c);
    }
}

/* Lanes come one after the other; odd seeds let the last lane come first. */
void atomic(Machine &m, const Inst &i, u32 mask) {
    const int at = i.sub2; /* operand with the address: 0 for red, 1 for atom */
    u64 a[LANES], sb[LANES], sc[LANES], r[LANES] = {};
    m.addresses(i.op[at], a);
    stats.atomics++;
    const u64 *b = m.source(i.op[at + 1], sb);
    const u64 *c = i.operands > at + 2 ? m.source(i.op[at + 2], sc) : b;
    const int bytes = bytes_of(i.type);
    for (int n = 0; n < LANES; n++) {
        const int l = options.schedule_seed & 1 ? LANES - 1 - n : n;
        if (!(mask >> l & 1)) continue;
        u8 *p = m.access(l, a[l], bytes, i.space, AccessKind::ATOMIC);
        u64 old = 0;
        memcpy(&old, p, (size_t)bytes);
        const u64 now = atomic_result(i.sub, i.type, old, b[l], c[l]);
        memcpy(p, &now, (size_t)bytes);
        r[l] = old;
    }
    if (at == 1) m.store(i.op[0], r, mask);
}

Handler select_atomic(Inst &i, const Statement &s, u8 address_operand) {
    const int op = s.which({"add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"});
    if (op < 0 || s.types.empty() || i.vec > 1) s.unsupported();
    i.type = s.types.back();
    if (is_float(i.type) && op != ADD && op != MIN && op != MAX && op != EXCH) s.unsupported();
    i.sub = (u8)op;
    i.sub2 = address_operand;
    return atomic;
}

} // namespace

Handler select_ld(Inst &i, const Statement &s) {
    const bool wide = i.op[0].width == 64;
    switch (i.type) {
    case Type::S8:
        return i.vec > 1 ? (s.unsupported(), nullptr) : wide ? load_signed_wide<s8> : load<s8, 1>;
    case Type::S16:
        return i.vec > 1 ? SG_BY_VECTOR(load, s16, i.vec)
               : wide    ? load_signed_wide<s16>
                         : load<s16, 1>;
    case Type::S32:
        return i.vec == 1 && wide ? load_signed_wide<s32> : SG_BY_VECTOR(load, u32, i.vec);
    default: break;
    }
    switch (bytes_of(i.type)) {
    case 1: return SG_BY_VECTOR(load, u8, i.vec);
    case 2: return SG_BY_VECTOR(load, u16, i.vec);
    case 4: return SG_BY_VECTOR(load, u32, i.vec);
    default: return i.vec <= 2 ? SG_BY_VECTOR(load, u64, i.vec) : (s.unsupported(), nullptr);
    }
}

Handler select_st(Inst &i, const Statement &s) {
    switch (bytes_of(i.type)) {
    case 1: return SG_BY_VECTOR(keep, u8, i.vec);
    case 2: return SG_BY_VECTOR(keep, u16, i.vec);
    case 4: return SG_BY_VECTOR(keep, u32, i.vec);
    default: return i.vec <= 2 ? SG_BY_VECTOR(keep, u64, i.vec) : (s.unsupported(), nullptr);
    }
}

Handler select_atom(Inst &i, const Statement &s) { return select_atomic(i, s, 1); }
Handler select_red(Inst &i, const Statement &s) { return select_atomic(i, s, 0); }

/* Fences order what blocks and warps see; this machine never reorders. Prefetches are hints. */
Handler select_nothing(Inst &, const Statement &) {
    return [](Machine &, const Inst &, u32) {};
}

} // namespace sg
