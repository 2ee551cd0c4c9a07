/* control.cpp - the loop that runs a warp: which lanes go on, branches, exits. */
#include "machine.h"
#include "opcode.h"

namespace sg {

/* Joins ready splits that meet and picks the one with the lowest pc; -1: all wait. */
int Machine::pick() {
    auto &s = warp->splits;
    int best = -1;
    for (size_t i = 0; i < s.size(); i++) {
        if (s[i].state != Split::READY) continue;
        for (size_t j = i + 1; j < s.size();) {
            if (s[j].state == Split::READY && s[j].pc == s[i].pc && !s[j].go && !s[i].go) {
                s[i].mask |= s[j].mask;
                s.erase(s.begin() + (long)j);
            } else j++;
        }
        if (best < 0 || s[i].pc < s[(size_t)best].pc) best = (int)i;
    }
    return best;
}

/* The pc at which another ready split waits; this one may run up to there. */
int Machine::nearest_other(size_t split) const {
    int limit = INT32_MAX;
    for (size_t j = 0; j < warp->splits.size(); j++)
        if (j != split && warp->splits[j].state == Split::READY)
            limit = std::min(limit, warp->splits[j].pc);
    return limit;
}

void Machine::run_warp(Warp &w, long long quantum) {
    warp = &w;
    for (int at; quantum > 0 && !aborted && (at = pick()) >= 0;) {
        int limit = nearest_other((size_t)at);
        while (quantum-- > 0 && !aborted) {
            if (step((size_t)at, &limit) == Next::PICK) break;
            if (w.splits[(size_t)at].pc >= limit) break;
        }
    }
}

Machine::Next Machine::step(size_t at, int *limit) {
    Split &s = warp->splits[at];
    const Inst &i = kernel.code[(size_t)s.pc];
    inst = &i;
    u32 mask = s.mask;
    if (i.guarded) {
        const u32 guard = *(const u32 *)(warp->file + i.guard);
        mask &= i.guard_negate ? ~guard : guard;
    }
    instruction_serial++;
    instruction_count++;
    stats.warp_insts++;
    stats.thread_insts += (u64)__builtin_popcount(mask);
    if (options.trace)
        fprintf(stderr, "[%u,%u,%u w%u pc%d %08x] %s\n", cta.x, cta.y, cta.z, warp->id, s.pc, mask,
                kernel.origin[(size_t)s.pc].text.c_str());
    if (instruction_count > (u64)options.max_insts) {
        report(true, "instruction limit", -1,
               "the launch ran too many instructions (an endless loop?)");
        aborted = true;
        return Next::PICK;
    }
    switch (i.flow) {
    case Flow::BRANCH: return branch(at, i, mask);
    case Flow::BRANCH_INDEX: return mask ? branch_index(at, i, mask) : (s.pc++, Next::SAME);
    case Flow::EXIT: return exit_lanes(at, mask);
    case Flow::BARRIER: return keep_masked(at, mask, limit) ? barrier(at, i, mask) : Next::SAME;
    case Flow::COLLECTIVE:
        return keep_masked(at, mask, limit) ? collective(at, i, mask) : Next::SAME;
    default:
        if (mask) i.run(*this, i, mask);
        s.pc++;
        return Next::SAME;
    }
}

/* Lanes whose guard is false step over the instruction; false: that is all of them. */
bool Machine::keep_masked(size_t at, u32 mask, int *limit) {
    Split &s = warp->splits[at];
    if (mask == s.mask) return true;
    if (!mask) {
        s.pc++;
        return false;
    }
    Split over = s;
    over.mask = s.mask & ~mask;
    over.pc++;
    over.go = false;
    s.mask = mask;
    *limit = std::min(*limit, over.pc);
    warp->splits.push_back(over);
    return true;
}

Machine::Next Machine::branch(size_t at, const Inst &i, u32 mask) {
    Split &s = warp->splits[at];
    stats.branches++;
    if (mask == s.mask) s.pc = i.target;
    else if (!mask) s.pc++;
    else {
        stats.divergent_branches++;
        Split jump = s;
        jump.mask = mask;
        jump.pc = i.target;
        jump.go = false;
        s.mask &= ~mask;
        s.pc++;
        warp->splits.push_back(jump);
        return Next::PICK;
    }
    return Next::SAME;
}

Machine::Next Machine::branch_index(size_t at, const Inst &i, u32 mask) {
    auto &splits = warp->splits;
    const auto &table = kernel.branch_tables[(size_t)i.target];
    u32 scratch[LANES];
    const u32 *index = source(i.op[0], scratch);
    Split rest = splits[at];
    splits.erase(splits.begin() + (long)at);
    for (u32 left = mask; left;) {
        const int lane = __builtin_ctz(left);
        Split jump = rest;
        jump.mask = 0;
        for (int l = lane; l < LANES; l++)
            if ((left >> l & 1) && index[l] == index[lane]) jump.mask |= 1u << l;
        left &= ~jump.mask;
        if (index[lane] >= table.size()) {
            report(true, "branch index", lane,
                   format("index %u of %zu targets", index[lane], table.size()));
            aborted = true;
            return Next::PICK;
        }
        jump.pc = table[index[lane]];
        splits.push_back(jump);
    }
    rest.mask &= ~mask;
    rest.pc++;
    if (rest.mask) splits.push_back(rest);
    return Next::PICK;
}

Machine::Next Machine::exit_lanes(size_t at, u32 mask) {
    Split &s = warp->splits[at];
    warp->alive &= ~mask;
    for (int lane = 0; lane < LANES; lane++) {
        LaneCopies &c = warp->copies[(size_t)lane];
        if (!(mask >> lane & 1) || !c.any()) continue;
        bool any = !c.open.empty();
        for (const auto &group : c.groups) any |= !group.empty();
        if (any)
            report(false, "cp.async not waited for", lane, "a thread exits with copies in flight");
        c.groups.push_back(std::move(c.open));
        for (const auto &group : c.groups)
            for (const PendingCopy &p : group)
                for (u32 b = 0; b < p.bytes; b++) shared_state[p.to + b] &= (u8)~IN_FLIGHT;
        c = LaneCopies();
    }
    s.mask &= ~mask;
    if (s.mask) s.pc++;
    else {
        warp->splits.erase(warp->splits.begin() + (long)at);
        warp->done = warp->splits.empty();
    }
    if (!mask) return Next::SAME;
    release_barriers(); /* others may have waited for these lanes */
    recheck_collecting();
    return Next::PICK;
}

Handler select_flow(Inst &, const Statement &) { return nullptr; } /* step() does it all */

Handler select_trap(Inst &, const Statement &) {
    return [](Machine &m, const Inst &, u32 mask) {
        m.report(true, "trap", __builtin_ctz(mask), "trap executed");
        m.abort_launch();
    };
}

} // namespace sg
