/* select_async.cpp - cp.async: copies that deliver when their group is waited for. */
#include "lanes.h"

namespace sg {

namespace {

/* cp.async [shared], [global], bytes {, src-size | , ignore-predicate} */
void start_copies(Machine &m, const Inst &i, u32 mask) {
    u64 to[LANES], from[LANES];
    u32 scratch[LANES];
    m.addresses(i.op[0], to);
    m.addresses(i.op[1], from);
    const int bytes = (int)i.op[2].value;
    const u32 *given = nullptr;
    u32 ignored = 0, fetches = 0;
    if (i.operands > 3) {
        if (i.op[3].kind == Operand::PREDICATE) ignored = m.predicate(i.op[3]);
        else given = m.source(i.op[3], scratch);
    }
    stats.cp_async++;
    m.count_shared(to, mask, bytes);
    PendingCopy copies[LANES];
    for (int l = 0; l < LANES; l++) {
        if (!(mask >> l & 1)) continue;
        int from_bytes = ignored >> l & 1 ? 0 : given ? (int)given[l] : bytes;
        if (from_bytes > bytes) {
            m.report(true, "cp.async", l,
                     format("src-size %d is larger than cp-size %d", from_bytes, bytes));
            from_bytes = bytes;
        }
        if (from_bytes) fetches |= 1u << l;
        copies[l] = {to[l] & OFFSET_MASK, from[l], (u8)bytes, (u8)from_bytes};
    }
    if (fetches) m.count_global(from, fetches, bytes, false);
    for (int l = 0; l < LANES; l++) {
        if (!(mask >> l & 1)) continue;
        if ((fetches >> l & 1) && (from[l] & (u64)(bytes - 1)))
            m.report(true, "misaligned address", l,
                     format("cp.async source 0x%llx", (unsigned long long)from[l]));
        else if (m.shared_target(l, to[l], bytes)) m.copy_async(l, copies[l]);
    }
}

void commit(Machine &m, const Inst &, u32 mask) {
    for (int l = 0; l < LANES; l++) {
        if (!(mask >> l & 1)) continue;
        LaneCopies &c = m.warp->copies[(size_t)l];
        c.groups.push_back(std::move(c.open));
        c.open.clear();
    }
}

/* wait_group N leaves the newest N groups in flight; wait_all leaves nothing. */
void wait(Machine &m, const Inst &i, u32 mask) {
    const bool all = i.sub;
    const size_t may_stay = all ? 0 : i.op[0].value;
    for (int l = 0; l < LANES; l++) {
        if (!(mask >> l & 1)) continue;
        LaneCopies &c = m.warp->copies[(size_t)l];
        size_t done = 0;
        for (; c.groups.size() - done > may_stay; done++)
            for (const PendingCopy &p : c.groups[done]) m.deliver(l, p);
        c.groups.erase(c.groups.begin(), c.groups.begin() + (long)done);
        if (!all) continue;
        for (const PendingCopy &p : c.open) m.deliver(l, p);
        c.open.clear();
    }
}

} // namespace

Handler select_cp(Inst &i, const Statement &s) {
    if (!s.has("async") || s.has("bulk") || s.has("mbarrier")) s.unsupported();
    if (s.has("commit_group")) return commit;
    i.sub = s.has("wait_all");
    if (i.sub || s.has("wait_group")) return wait;
    if (i.operands < 3 || i.op[2].kind != Operand::IMMEDIATE) s.unsupported();
    i.space = Space::
        SHARED; /* as an access of that many bytes, for the unit in which races are tracked */
    i.type = Type::B32;
    i.vec = (u8)(i.op[2].value / 4);
    return start_copies;
}

} // namespace sg
