/* collective.cpp - instructions that wait for lanes: shuffles, votes, ldmatrix, mma, __syncwarp. */
#include "machine.h"

namespace sg {

void Machine::run_collective(const Inst &i, u32 mask) {
    inst = &i;
    i.run(*this, i, mask);
}

/* Splits that wait at pc for the same lanes become one; it may go when all of them are here. */
void Machine::merge_collecting(int pc) {
    auto &s = warp->splits;
    for (size_t f = 0; f < s.size(); f++) {
        if (s[f].state != Split::COLLECTING || s[f].pc != pc) continue;
        for (size_t j = f + 1; j < s.size();) {
            if (s[j].state == Split::COLLECTING && s[j].pc == pc && s[j].need == s[f].need) {
                s[f].mask |= s[j].mask;
                s.erase(s.begin() + (long)j);
            } else j++;
        }
        const u32 must = s[f].need & warp->alive;
        if ((s[f].mask & must) == must) {
            s[f].state = Split::READY;
            s[f].go = true;
        }
    }
}

void Machine::recheck_collecting() {
    std::vector<int> places;
    for (const Split &s : warp->splits)
        if (s.state == Split::COLLECTING) places.push_back(s.pc);
    for (const int pc : places) merge_collecting(pc);
}

Machine::Next Machine::collective(size_t at, const Inst &i, u32 mask) {
    Split &s = warp->splits[at];
    if (!s.go) {
        u32 need = ~0u;
        if (i.masked) {
            u32 scratch[LANES];
            const u32 *wanted = source(i.op[i.operands - 1], scratch);
            need = wanted[__builtin_ctz(mask)];
            for (int lane = 0; lane < LANES; lane++)
                if ((mask >> lane & 1) && wanted[lane] != need)
                    return collective_by_mask(at, i, mask, wanted);
            if (mask & ~need)
                report(true, "membermask", __builtin_ctz(mask & ~need),
                       format("the executing lane is not in the member mask 0x%08x", need));
            if (need != ~0u && (need & ~warp->full))
                report(true, "membermask", -1, "the member mask names lanes that do not exist");
        }
        s.need = need;
        const u32 must = need & warp->alive;
        if ((s.mask & must) != must) {
            s.state = Split::COLLECTING;
            merge_collecting(s.pc);
            return Next::PICK;
        }
    }
    s.go = false;
    const u32 exited = s.need & warp->full & ~warp->alive; /* perhaps while the others waited */
    if (!i.masked && s.mask != ~0u)
        report(true, "partial warp", -1, "the instruction needs all 32 lanes");
    else if (i.masked && exited)
        report(false, "membermask", -1,
               format("the member mask 0x%08x names exited lanes 0x%08x", s.need, exited));
    run_collective(i, s.mask);
    s.pc++;
    return Next::SAME;
}

/* Lanes that came together may name different masks: each group waits for its own. */
Machine::Next Machine::collective_by_mask(size_t at, const Inst &i, u32 mask, const u32 *wanted) {
    auto &splits = warp->splits;
    const Split base = splits[at];
    u32 need[LANES], done = 0;
    std::copy(wanted, wanted + LANES, need); /* the instruction may overwrite the register */
    splits.erase(splits.begin() + (long)at);
    for (u32 left = mask; left;) {
        const u32 mine = need[__builtin_ctz(left)];
        u32 group = 0;
        for (int lane = 0; lane < LANES; lane++)
            if ((left >> lane & 1) && need[lane] == mine) group |= 1u << lane;
        left &= ~group;
        if (group & ~mine)
            report(true, "membermask", __builtin_ctz(group & ~mine),
                   format("the executing lane is not in the member mask 0x%08x", mine));
        const u32 must = mine & warp->alive;
        if ((group & must) == must) {
            run_collective(i, group);
            done |= group;
            continue;
        }
        Split wait = base;
        wait.mask = group;
        wait.need = mine;
        wait.state = Split::COLLECTING;
        wait.go = false;
        splits.push_back(wait);
    }
    if (done) {
        Split on = base;
        on.mask = done;
        on.go = false;
        on.pc++;
        splits.push_back(on);
    }
    merge_collecting(base.pc);
    return Next::PICK;
}

} // namespace sg
