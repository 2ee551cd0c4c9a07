/* race.cpp - accesses that nothing orders.
 *
 * Shared memory: each warp has a clock that goes on at barriers and __syncwarp; at a barrier warps take
 * over what the others had seen ("vector clocks"). An access is ordered before mine when my warp has
 * seen the time of it. Global memory: blocks of one launch may come in any order, so what one wrote
 * another may neither read nor write, unless both use atomics or volatile accesses. */
#include "machine.h"

namespace sg {

namespace {
unsigned long long show(u64 v) { return v; }
} // namespace

void Machine::conflict(const Access &before, const Access &now, bool writes, const char *what,
                       size_t cell, u64 offset, int bytes, const u8 *value) {
    if (before.time <= clock_base || (before.atomic && now.atomic)) return;
    const unsigned long long place = show((u64)cell << kernel.shared_granule_shift);
    const bool both_write = writes && what[0] == 'w' && what[6] == 'w';
    const bool same_value = both_write && value && !memcmp(value, &shared[offset], (size_t)bytes);
    if (before.warp != now.warp) {
        if (clock(now.warp, before.warp) >= before.time) return;
        report(!same_value, same_value ? "shared-memory race (same value)" : "shared-memory race",
               now.lane,
               format("%s at shared offset 0x%llx: thread %d and thread %d, no barrier between",
                      what, place, before.warp * LANES + before.lane, now.warp * LANES + now.lane));
    } else if (before.lane == now.lane) {
        return;
    } else if (before.instruction == now.instruction) {
        if (both_write && value && !same_value)
            report(
                true, "shared-memory race", now.lane,
                format(
                    "two lanes of one instruction write different values at shared offset 0x%llx",
                    place));
    } else if (options.check_race_warp && before.time == now.time) {
        report(false, "warp-level hazard", now.lane,
               format("%s at shared offset 0x%llx: lanes %d and %d of warp %d, no __syncwarp or "
                      "__syncthreads between",
                      what, place, before.lane, now.lane, now.warp));
    }
}

void Machine::track_shared(int lane, u64 offset, int bytes, AccessKind kind, const u8 *value) {
    const bool writes = kind != AccessKind::READ;
    Access now;
    now.time = clock(warp->id, warp->id);
    now.instruction = instruction_serial;
    now.warp = (u16)warp->id;
    now.lane = (u8)lane;
    now.atomic = kind == AccessKind::ATOMIC || inst->is_volatile;
    const int shift = kernel.shared_granule_shift;
    const size_t last = (offset + (u64)bytes - 1) >> shift;
    for (size_t cell = offset >> shift; cell <= last; cell++) {
        SharedCell &c = cells[cell];
        const char *after_write = writes ? "write-write" : "read-after-write";
        if (c.write.time > clock_base && (c.write.warp != now.warp || c.write.lane != now.lane))
            conflict(c.write, now, writes, after_write, cell, offset, bytes, value);
        if (writes) {
            if (c.read.time > clock_base)
                conflict(c.read, now, writes, "write-after-read", cell, offset, bytes, value);
            if (c.other_read.time > clock_base)
                conflict(c.other_read, now, writes, "write-after-read", cell, offset, bytes, value);
            c.write = now;
        } else {
            if (c.read.time > clock_base && c.read.warp != now.warp) c.other_read = c.read;
            c.read = now;
        }
    }
}

void Machine::track_global(int lane, Allocation *a, u64 offset, int bytes, AccessKind kind) {
    if (!a->cells) a->make_cells();
    const bool atomic = kind == AccessKind::ATOMIC || inst->is_volatile;
    const char *const verb = kind == AccessKind::READ    ? "read"
                             : kind == AccessKind::WRITE ? "write"
                                                         : "atomic";
    for (u64 cell = offset / 2; cell <= (offset + (u64)bytes - 1) / 2; cell++) {
        GlobalCell &c = a->cells[cell];
        const u32 writer = c.writer & ~ATOMIC_WRITER;
        const bool written_now = writer >= first_serial; /* in this launch */
        if (written_now && inst->non_coherent)
            report(true, "non-coherent load of written data", lane,
                   format("ld.global.nc at '%s'+%llu, written earlier in this launch",
                          a->name.c_str(), show(offset)));
        if (written_now && writer != block_serial && !((c.writer & ATOMIC_WRITER) && atomic))
            report(false, "cross-block race", lane,
                   format("%s at '%s'+%llu, written by another block of this launch", verb,
                          a->name.c_str(), show(offset)));
        if (kind != AccessKind::READ) {
            if (read_by_others(c, block_serial, first_serial) && !atomic)
                report(false, "cross-block race", lane,
                       format("%s at '%s'+%llu, read by another block of this launch", verb,
                              a->name.c_str(), show(offset)));
            c.writer = block_serial | (atomic ? ATOMIC_WRITER : 0);
        } else if (!inst->is_volatile) {
            c.reader = block_serial |
                       (read_by_others(c, block_serial, first_serial) ? MANY_READERS : 0);
        }
    }
}

bool Machine::shared_target(int lane, u64 address, int bytes) {
    const u64 offset = address & OFFSET_MASK;
    if (!in_device(address) && !(offset & (u64)(bytes - 1)) && offset + (u64)bytes <= shared_total)
        return true;
    report(true, offset & (u64)(bytes - 1) ? "misaligned address" : "out of bounds", lane,
           format("cp.async to shared offset %llu, %d bytes, the block has %zu", show(offset),
                  bytes, shared_total));
    return false;
}

void Machine::copy_async(int lane, const PendingCopy &copy) {
    if (options.check_race) track_shared(lane, copy.to, copy.bytes, AccessKind::WRITE, nullptr);
    PendingCopy p = copy;
    if (!options.lazy_cp_async) {
        deliver(lane, p);
        return;
    }
    for (u32 i = 0; i < p.bytes; i++) shared_state[p.to + i] |= IN_FLIGHT;
    if (p.from_bytes) { /* report a bad source where the copy was asked for */
        const u64 host = p.from & ~DEVICE;
        const Allocation *a = in_device(p.from) ? find_allocation(host) : nullptr;
        if (!a || host + p.from_bytes > a->base + a->bytes) {
            access(lane, p.from, p.from_bytes, Space::GLOBAL, AccessKind::READ);
            p.from_bytes = 0;
        }
    }
    warp->copies[(size_t)lane].open.push_back(p);
}

void Machine::deliver(int lane, const PendingCopy &p) {
    u8 bytes[16] = {};
    if (p.from_bytes == p.bytes)
        memcpy(bytes, access(lane, p.from, p.from_bytes, Space::GLOBAL, AccessKind::READ),
               p.from_bytes);
    else /* src-size need not be a power of two */
        for (u32 i = 0; i < p.from_bytes; i++)
            bytes[i] = *access(lane, p.from + i, 1, Space::GLOBAL, AccessKind::READ);
    memset(&shared_state[p.to], 0, p.bytes);
    u8 *to = access(lane, p.to, p.bytes, Space::SHARED, AccessKind::WRITE, bytes);
    memcpy(to, bytes, p.bytes);
}

} // namespace sg
