/* select_move.cpp - mov with its packing forms, and conversion between generic and other addresses. */
#include "lanes.h"

namespace sg {

namespace {

template <class T> void mov(Machine &m, const Inst &i, u32 mask) {
    T scratch[LANES];
    m.store(i.op[0], m.source(i.op[1], scratch), mask);
}

void mov_clock(Machine &m, const Inst &i, u32 mask) {
    u64 r[LANES];
    std::fill(r, r + LANES, m.instructions());
    m.store(i.op[0], r, mask);
}

/* mov.b64 {lo, hi}, x */
void unpack(Machine &m, const Inst &i, u32 mask) {
    u64 scratch[LANES], whole[LANES], r[LANES];
    const u64 *a = m.source(i.op[1], scratch);
    std::copy(a, a + LANES, whole); /* a part may be the source */
    const int bits = 8 * bytes_of(i.type) / i.op[0].count;
    for (int p = 0; p < i.op[0].count; p++) {
        for (int l = 0; l < LANES; l++) r[l] = whole[l] >> (p * bits) & ((1ull << bits) - 1);
        m.store(m.part(i.op[0], p), r, mask);
    }
}

/* mov.b64 x, {lo, hi} */
void pack(Machine &m, const Inst &i, u32 mask) {
    u64 r[LANES] = {}, scratch[LANES];
    const int bits = 8 * bytes_of(i.type) / i.op[1].count;
    for (int p = 0; p < i.op[1].count; p++) {
        const u64 *a = m.source(m.part(i.op[1], p), scratch);
        for (int l = 0; l < LANES; l++) r[l] |= (a[l] & ((1ull << bits) - 1)) << (p * bits);
    }
    m.store(i.op[0], r, mask);
}

u64 window(Space space) {
    return space == Space::SHARED  ? SHARED_WINDOW
           : space == Space::LOCAL ? LOCAL_WINDOW
           : space == Space::PARAM ? PARAM_WINDOW
                                   : 0;
}

void to_generic(Machine &m, const Inst &i, u32 mask) {
    const u64 w = window(i.space);
    map1<u64>(m, i, mask, [=](u64 a) { return w ? (a & OFFSET_MASK) | w : a; });
}

void from_generic(Machine &m, const Inst &i, u32 mask) {
    const u64 w = window(i.space);
    u64 scratch[LANES], r[LANES];
    const u64 *a = m.source(i.op[1], scratch);
    for (int l = 0; l < LANES; l++) {
        if (w && (mask >> l & 1) && in_device(a[l]))
            m.report(true, "bad address", l, "cvta.to of a global address to another space");
        r[l] = w && window_of(a[l]) == w ? a[l] & OFFSET_MASK : a[l];
    }
    m.store(i.op[0], r, mask);
}

void isspacep(Machine &m, const Inst &i, u32 mask) {
    u64 scratch[LANES];
    const u64 *a = m.source(i.op[1], scratch);
    u32 r = 0;
    for (int l = 0; l < LANES; l++)
        r |= (u32)(i.space == Space::GLOBAL ? in_device(a[l]) : window_of(a[l]) == window(i.space))
             << l;
    m.store_predicate(i.op[0], r, mask);
}

} // namespace

Handler select_mov(Inst &i, const Statement &) {
    if (i.op[1].kind == Operand::CLOCK) return mov_clock;
    if (i.type == Type::PRED)
        return [](Machine &m, const Inst &inst, u32 mask) {
            m.store_predicate(inst.op[0], m.predicate(inst.op[1]), mask);
        };
    if (i.op[0].kind == Operand::VECTOR) return unpack;
    if (i.op[1].kind == Operand::VECTOR) return pack;
    return bytes_of(i.type) == 8 ? mov<u64> : mov<u32>;
}

Handler select_cvta(Inst &, const Statement &s) { return s.has("to") ? from_generic : to_generic; }
Handler select_isspacep(Inst &, const Statement &) { return isspacep; }

} // namespace sg
