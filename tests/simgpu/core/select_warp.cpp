/* select_warp.cpp - shuffles, votes, matches, reductions of a warp. */
#include "lanes.h"

namespace sg {

namespace {

enum ShuffleMode : u8 { UP, DOWN, BUTTERFLY, INDEX };
enum VoteMode : u8 { BALLOT, ANY, ALL, UNIFORM };

/* Lane that lane l reads; *in_range false: it keeps its own value. c holds clamp and segment mask. */
int shuffle_source(int mode, int l, u32 b, u32 c, bool *in_range) {
    const u32 segment = c >> 8 & 31, clamp = c & 31, lane = (u32)l, n = b & 31;
    const int highest = (int)((lane & segment) | (clamp & ~segment));
    int from;
    switch (mode) {
    case UP: from = l - (int)n; break;
    case DOWN: from = l + (int)n; break;
    case BUTTERFLY: from = l ^ (int)n; break;
    default: from = (int)((lane & segment) | (n & ~segment));
    }
    *in_range = mode == UP ? from >= highest : from <= highest;
    return *in_range ? from : l;
}

void shuffle(Machine &m, const Inst &i, u32 mask) {
    stats.shuffles++;
    u32 sa[LANES], sb[LANES], sc[LANES], r[LANES] = {}, valid = 0;
    const u32 *a = m.source(i.op[1], sa), *b = m.source(i.op[2], sb), *c = m.source(i.op[3], sc);
    for (int l = 0; l < LANES; l++) {
        if (!(mask >> l & 1)) continue;
        bool in_range;
        const int from = shuffle_source(i.sub, l, b[l], c[l], &in_range);
        if (!(mask >> from & 1))
            m.report(true, "shuffle from inactive lane", l,
                     format("lane %d reads lane %d, which %s (mask 0x%08x)", l, from,
                            m.warp->alive >> from & 1 ? "does not take part" : "has exited", mask));
        r[l] = a[from];
        valid |= (u32)in_range << l;
    }
    m.store(m.part(i.op[0], 0), r, mask);
    if (i.op[0].kind == Operand::VECTOR) m.store_predicate(m.part(i.op[0], 1), valid, mask);
}

void vote(Machine &m, const Inst &i, u32 mask) {
    const u32 yes = m.predicate(i.op[1]) & mask;
    if (i.sub == BALLOT) {
        u32 r[LANES];
        std::fill(r, r + LANES, yes);
        m.store(i.op[0], r, mask);
        return;
    }
    const bool result = i.sub == ANY ? yes != 0 : i.sub == ALL ? yes == mask : yes == mask || !yes;
    m.store_predicate(i.op[0], result ? ~0u : 0, mask);
}

/* match.any: lanes with my value; match.all: the mask when all are equal, else 0. */
template <class T> void match(Machine &m, const Inst &i, u32 mask) {
    T scratch[LANES];
    u32 r[LANES] = {};
    const T *a = m.source(i.op[1], scratch);
    bool all = true;
    for (int l = 0; l < LANES; l++)
        for (int k = 0; k < LANES; k++) {
            if (!(mask >> l & mask >> k & 1)) continue;
            if (a[k] == a[l]) r[l] |= 1u << k;
            else all = false;
        }
    if (i.sub) std::fill(r, r + LANES, all ? mask : 0);
    m.store(m.part(i.op[0], 0), r, mask);
    if (i.op[0].kind == Operand::VECTOR) m.store_predicate(m.part(i.op[0], 1), all ? ~0u : 0, mask);
}

template <class T> void redux(Machine &m, const Inst &i, u32 mask) {
    u32 scratch[LANES], r[LANES];
    const u32 *a = m.source(i.op[1], scratch);
    T v = (T)a[__builtin_ctz(mask)];
    for (int l = __builtin_ctz(mask) + 1; l < LANES; l++) {
        if (!(mask >> l & 1)) continue;
        const T x = (T)a[l];
        switch (i.sub) {
        case 0: v = (T)((u32)v + a[l]); break;
        case 1: v = std::min(v, x); break;
        case 2: v = std::max(v, x); break;
        case 3: v &= x; break;
        case 4: v |= x; break;
        default: v ^= x;
        }
    }
    std::fill(r, r + LANES, (u32)v);
    m.store(i.op[0], r, mask);
}

void activemask(Machine &m, const Inst &i, u32 mask) {
    u32 r[LANES];
    std::fill(r, r + LANES, mask);
    m.store(i.op[0], r, mask);
}

/* Only the .sync forms have a member mask, their last operand. */
void need_sync(Inst &i, const Statement &s) {
    if (!s.has("sync")) s.unsupported();
    i.masked = true;
}

} // namespace

Handler select_shfl(Inst &i, const Statement &s) {
    need_sync(i, s);
    const int mode = s.which({"up", "down", "bfly", "idx"});
    if (mode < 0) s.unsupported();
    i.sub = (u8)mode;
    return shuffle;
}

Handler select_vote(Inst &i, const Statement &s) {
    need_sync(i, s);
    const int mode = s.which({"ballot", "any", "all", "uni"});
    if (mode < 0) s.unsupported();
    i.sub = (u8)mode;
    return vote;
}

Handler select_match(Inst &i, const Statement &s) {
    need_sync(i, s);
    i.sub = s.has("all");
    return bytes_of(i.type) == 8 ? match<u64> : match<u32>;
}

Handler select_redux(Inst &i, const Statement &s) {
    need_sync(i, s);
    const int op = s.which({"add", "min", "max", "and", "or", "xor"});
    if (op < 0 || is_float(i.type)) s.unsupported();
    i.sub = (u8)op;
    return i.type == Type::S32 ? redux<s32> : redux<u32>;
}

Handler select_activemask(Inst &, const Statement &) { return activemask; }

} // namespace sg
