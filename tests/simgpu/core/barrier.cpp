/* barrier.cpp - bar and barrier: arrival, release, and barriers that not all lanes reach together. */
#include "machine.h"
#include "opcode.h"

namespace sg {

namespace {
enum BarrierKind : u8 { SYNC, ARRIVE, REDUCE };
enum Reduction : u8 { POPC, AND, OR };
} // namespace

/* bar.warp.sync waits like shfl does: for the lanes of its mask. */
Handler select_bar(Inst &i, const Statement &s) {
    if (s.has("warp")) {
        i.flow = Flow::COLLECTIVE;
        i.masked = true;
        return [](Machine &m, const Inst &, u32) { m.sync_lanes(); };
    }
    if (s.has("cluster")) s.unsupported();
    i.sub = s.has("arrive") ? ARRIVE : s.has("red") ? REDUCE : SYNC;
    i.sub2 = s.has("popc") ? POPC : s.has("and") ? AND : OR;
    i.aligned |= s.opcode == "bar"; /* bar.sync is barrier.sync.aligned */
    return nullptr;
}

void Machine::sync_lanes() { clock(warp->id, warp->id)++; }

u32 Machine::alive_threads() const {
    u32 n = 0;
    for (const Warp &w : warps) n += (u32)__builtin_popcount(w.alive);
    return n;
}

Machine::Next Machine::barrier(size_t at, const Inst &i, u32 mask) {
    Split &s = warp->splits[at];
    const int lane = __builtin_ctz(mask);
    const int first = i.sub == REDUCE ? 1 : 0; /* behind the destination */
    u32 scratch[LANES];
    const u32 id = source(i.op[first], scratch)[lane];
    if (id >= BARRIERS) {
        report(true, "barrier", lane, format("barrier %u of %d", id, BARRIERS));
        aborted = true;
        return Next::PICK;
    }
    const int plain_operands = first + 1 + (i.sub == REDUCE ? 1 : 0);
    const u32 expected = i.operands > plain_operands ? source(i.op[first + 1], scratch)[lane] : 0;
    NamedBarrier &b = barriers[id];
    if (b.arrived && b.expected != expected)
        report(true, "barrier", lane, "threads disagree about the barrier's number of threads");
    b.expected = expected;
    if (b.clock.empty()) b.clock.assign(warps.size(), 0);
    for (u32 v = 0; v < warps.size(); v++) b.clock[v] = std::max(b.clock[v], clock(warp->id, v));
    clock(warp->id, warp->id)++;
    const u32 lanes = (u32)__builtin_popcount(mask);
    b.arrived += expected ? (lanes + LANES - 1) / LANES * LANES
                          : lanes; /* counted in whole warps */
    if (i.sub == REDUCE) {
        const u32 votes = predicate(i.op[i.operands - 1]) & mask;
        b.count += (u32)__builtin_popcount(votes);
        b.all &= votes == mask;
        b.any |= votes != 0;
    }
    if (i.sub == ARRIVE) s.pc++;
    else {
        s.state = Split::AT_BARRIER;
        s.barrier = (int)id;
    }
    release_barriers();
    return Next::PICK;
}

/* bar.sync is for whole warps: lanes that come on different ways, or later, are undefined behaviour. */
void Machine::check_arrival(Warp &w, int id) {
    u32 here = 0;
    int pc = -1, places = 0;
    bool aligned = false;
    for (const Split &s : w.splits) {
        if (s.state != Split::AT_BARRIER || s.barrier != id) continue;
        here |= s.mask;
        places += s.pc != pc;
        pc = s.pc;
        aligned |= kernel.code[(size_t)s.pc].aligned;
    }
    if (!here || !aligned) return;
    warp = &w;
    inst = &kernel.code[(size_t)pc];
    const int lane = __builtin_ctz(here);
    if (places > 1)
        report(true, "divergent barrier", lane,
               "lanes of one warp wait at different bar.sync instructions");
    else if (here != w.alive)
        report(
            true, "divergent barrier", lane,
            format("bar.sync reached by lanes 0x%08x of warp %u while lanes 0x%08x are elsewhere",
                   here, w.id, w.alive & ~here));
    else if (here != w.full)
        report(
            false, "barrier after partial exit", lane,
            format("bar.sync by lanes 0x%08x of warp %u, the other lanes have exited", here, w.id));
}

void Machine::wake(Warp &w, int id, const NamedBarrier &b) {
    for (Split &s : w.splits) {
        if (s.state != Split::AT_BARRIER || s.barrier != id) continue;
        warp = &w;
        for (u32 v = 0; v < warps.size(); v++)
            clock(w.id, v) = std::max(clock(w.id, v), b.clock[v]);
        const Inst &i = kernel.code[(size_t)s.pc];
        if (i.sub == REDUCE && i.sub2 == POPC) {
            u32 counts[LANES];
            std::fill(counts, counts + LANES, b.count);
            store(i.op[0], counts, s.mask);
        } else if (i.sub == REDUCE) {
            store_predicate(i.op[0], (i.sub2 == AND ? b.all : b.any) ? ~0u : 0, s.mask);
        }
        s.state = Split::READY;
        s.pc++;
    }
}

void Machine::release_barriers() {
    Warp *const saved_warp = warp;
    const Inst *const saved_inst = inst;
    for (int id = 0; id < BARRIERS; id++) {
        NamedBarrier &b = barriers[id];
        if (!b.arrived || b.arrived < (b.expected ? b.expected : alive_threads())) continue;
        stats.barriers++;
        for (Warp &w : warps) check_arrival(w, id);
        for (Warp &w : warps) wake(w, id, b);
        b = NamedBarrier();
    }
    warp = saved_warp;
    inst = saved_inst;
}

} // namespace sg
