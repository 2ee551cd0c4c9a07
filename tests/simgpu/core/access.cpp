/* access.cpp - every access to memory passes here: bounds, alignment, initialisation; and its cost. */
#include "machine.h"

namespace sg {

namespace {
const char *name_of(AccessKind kind) {
    return kind == AccessKind::READ ? "read" : kind == AccessKind::WRITE ? "write" : "atomic";
}
unsigned long long show(u64 v) { return v; }
} // namespace

void Machine::addresses(const Operand &o, u64 *a) {
    if (!o.width) {
        std::fill(a, a + LANES, o.value);
    } else if (o.width == 64) {
        const u64 *base = (const u64 *)(warp->file + o.offset);
        for (int i = 0; i < LANES; i++) a[i] = base[i] + o.value;
    } else {
        const u32 *base = (const u32 *)(warp->file + o.offset);
        for (int i = 0; i < LANES; i++) a[i] = base[i] + (u32)o.value;
    }
}

/* The program goes on with bytes that nobody else sees. */
u8 *Machine::wild(const char *kind, int lane, const std::string &message) {
    report(true, kind, lane, message);
    memset(scratch_bytes, 0, sizeof scratch_bytes);
    return scratch_bytes;
}

u8 *Machine::access(int lane, u64 address, int bytes, Space space, AccessKind kind,
                    const u8 *value) {
    if (address & (u64)(bytes - 1))
        return wild("misaligned address", lane,
                    format("%s of %d bytes at 0x%llx", name_of(kind), bytes, show(address)));
    const u64 window = window_of(address), offset = address & OFFSET_MASK;
    if (space == Space::SHARED || (space == Space::GENERIC && window == SHARED_WINDOW))
        return shared_access(lane, address, bytes, space, kind, value);
    if (space == Space::LOCAL || window == LOCAL_WINDOW) {
        if (offset + (u64)bytes > kernel.local_bytes)
            return wild("out of bounds", lane,
                        format("local %s at offset %llu of %zu", name_of(kind), show(offset),
                               kernel.local_bytes));
        return warp->local.data() + (size_t)lane * kernel.local_bytes + offset;
    }
    if (space == Space::PARAM || window == PARAM_WINDOW) {
        if (offset + (u64)bytes > kernel.param_total || kind != AccessKind::READ)
            return wild("out of bounds", lane,
                        format("parameter %s at offset %llu of %zu", name_of(kind), show(offset),
                               kernel.param_total));
        return params.data() + offset;
    }
    return global_access(lane, address, bytes, kind);
}

u8 *Machine::shared_access(int lane, u64 address, int bytes, Space space, AccessKind kind,
                           const u8 *value) {
    const u64 offset = address & OFFSET_MASK, window = address >> 56;
    if (space == Space::SHARED && window && window != SHARED_WINDOW >> 56)
        return wild("bad address", lane,
                    format("shared %s at 0x%llx, which is not a shared address", name_of(kind),
                           show(address)));
    if (offset + (u64)bytes > shared_total)
        return wild(
            "out of bounds", lane,
            format("shared %s of %d bytes at offset %llu, the block has %zu bytes (%zu static, "
                   "%zu dynamic)",
                   name_of(kind), bytes, show(offset), shared_total, kernel.shared_bytes,
                   dynamic_bytes));
    u8 *state = &shared_state[offset];
    if (!all_ones(state, bytes)) bad_shared_state(lane, offset, bytes, kind);
    if (options.check_race) track_shared(lane, offset, bytes, kind, value);
    if (kind != AccessKind::READ) memset(state, WRITTEN, (size_t)bytes);
    return &shared[offset];
}

void Machine::bad_shared_state(int lane, u64 offset, int bytes, AccessKind kind) {
    bool in_flight = false, unset = false;
    for (int i = 0; i < bytes; i++) {
        in_flight |= (shared_state[offset + (u64)i] & IN_FLIGHT) != 0;
        unset |= !(shared_state[offset + (u64)i] & WRITTEN);
    }
    if (in_flight)
        report(true, "in-flight cp.async", lane,
               format("shared %s at offset %llu before cp.async.wait_group completed the copy",
                      name_of(kind), show(offset)));
    else if (unset && kind != AccessKind::WRITE && options.check_init)
        report(true, "uninitialised read", lane,
               format("shared %s of %d bytes at offset %llu", name_of(kind), bytes, show(offset)));
}

u8 *Machine::global_access(int lane, u64 address, int bytes, AccessKind kind) {
    if (!in_device(address)) {
        const u64 window = address >> 56;
        return wild(address < 4096 ? "null pointer" : "bad address", lane,
                    format("global %s of %d bytes at 0x%llx, which is not device memory%s",
                           name_of(kind), bytes, show(address),
                           window == SHARED_WINDOW >> 56 || window == LOCAL_WINDOW >> 56
                               ? " (a shared or local address)"
                               : ""));
    }
    const u64 host = address & ~DEVICE;
    Allocation *a = find_allocation(host);
    if (!a || host + (u64)bytes > a->base + a->bytes)
        return wild("out of bounds", lane,
                    format("global %s of %d bytes at 0x%llx%s", name_of(kind), bytes, show(address),
                           describe_wild(host).c_str()));
    if (a->device != device_in_use && a->device >= 0)
        return wild("memory of another device", lane,
                    format("global %s of %d bytes at '%s', which is on device %d; the kernel runs "
                           "on device %d",
                           name_of(kind), bytes, a->name.c_str(), a->device, device_in_use));
    const u64 offset = host - a->base;
    if (kind != AccessKind::READ && a->read_only)
        return wild("write to constant memory", lane,
                    format("at '%s'+%llu", a->name.c_str(), show(offset)));
    u8 *state = a->initialised + offset;
    if (kind != AccessKind::WRITE && options.check_init && !all_ones(state, bytes))
        report(true, "uninitialised read", lane,
               format("global %s of %d bytes at '%s'+%llu", name_of(kind), bytes, a->name.c_str(),
                      show(offset)));
    if (kind != AccessKind::READ) memset(state, 1, (size_t)bytes);
    if (options.check_race_global) track_global(lane, a, offset, bytes, kind);
    return (u8 *)host;
}

/* All 32 lanes, consecutive, inside one allocation, nothing to report: the common case at the cost of
 * one access. Whatever is unusual goes lane by lane, which says what is wrong and where. */
u8 *Machine::access_row(const u64 *address, u32 mask, int bytes, AccessKind kind) {
    const u64 first = address[0];
    if (mask != ~0u || !in_device(first) || (first & (u64)(bytes - 1)) || bytes < 2) return nullptr;
    u64 gaps = 0;
    for (int i = 1; i < LANES; i++) gaps |= address[i] ^ (first + (u64)(i * bytes));
    const u64 host = first & ~DEVICE;
    const size_t total = (size_t)bytes * LANES;
    Allocation *a = gaps ? nullptr : find_allocation(host);
    if (!a || host + total > a->base + a->bytes || a->read_only || a->device != device_in_use)
        return nullptr;
    const u64 offset = host - a->base;
    u8 *state = a->initialised + offset;
    if (kind == AccessKind::READ && options.check_init) {
        u64 ones = ~0ull;
        for (size_t i = 0; i < total; i += 8) {
            u64 word;
            memcpy(&word, state + i, 8);
            ones &= word;
        }
        if (ones != 0x0101010101010101ull) return nullptr;
    }
    if (options.check_race_global) {
        if (!a->cells) a->make_cells();
        GlobalCell *c = a->cells + offset / 2;
        bool foreign = inst->is_volatile;
        for (size_t i = 0; i < total / 2; i++) {
            const u32 writer = c[i].writer & ~ATOMIC_WRITER;
            foreign |= writer >= first_serial && (writer != block_serial || inst->non_coherent);
            if (kind == AccessKind::WRITE)
                foreign |= read_by_others(c[i], block_serial, first_serial);
        }
        if (foreign) return nullptr;
        for (size_t i = 0; i < total / 2; i++) {
            if (kind == AccessKind::WRITE) c[i].writer = block_serial;
            else
                c[i].reader = block_serial |
                              (read_by_others(c[i], block_serial, first_serial) ? MANY_READERS : 0);
        }
    }
    if (kind == AccessKind::WRITE) memset(state, 1, total);
    return (u8 *)host;
}

/* Bytes are spread over 32 banks of 4 bytes. A wavefront serves each bank once; lanes that read the
 * same word share it. Requests of 8 and 16 bytes per lane go in halves and quarters of a warp. */
void Machine::count_shared(const u64 *address, u32 mask, int bytes) {
    stats.shared_requests++;
    const int lanes = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8, words = (bytes + 3) / 4;
    for (int first = 0; first < LANES; first += lanes) {
        const u32 part = lanes == LANES ? mask : mask >> first & ((1u << lanes) - 1);
        if (!part) continue;
        u64 seen[32][32];
        u8 count[32] = {};
        int wavefronts = 0;
        for (int lane = 0; lane < lanes; lane++) {
            if (!(part >> lane & 1)) continue;
            for (int w = 0; w < words; w++) {
                const u64 word = (address[first + lane] >> 2) + (u64)w;
                const int bank = word & 31;
                bool known = false;
                for (int i = 0; i < count[bank]; i++) known |= seen[bank][i] == word;
                if (known) continue;
                seen[bank][count[bank]++] = word;
                wavefronts = std::max(wavefronts, (int)count[bank]);
            }
        }
        stats.shared_wavefronts += (u64)wavefronts;
        stats.shared_ideal++;
    }
}

/* Distinct 32-byte sectors that the lanes touch. */
void Machine::count_global(const u64 *address, u32 mask, int bytes, bool is_store) {
    u64 sectors[2 * LANES];
    int count = 0;
    for (int lane = 0; lane < LANES; lane++) {
        if (!(mask >> lane & 1)) continue;
        const u64 first = address[lane] >> 5, last = (address[lane] + (u64)bytes - 1) >> 5;
        for (u64 sector = first; sector <= last; sector++)
            if (!count || sectors[count - 1] != sector) sectors[count++] = sector;
    }
    bool rising = true;
    for (int i = 1; i < count; i++) rising &= sectors[i - 1] < sectors[i];
    if (!rising) {
        std::sort(sectors, sectors + count);
        count = (int)(std::unique(sectors, sectors + count) - sectors);
    }
    (is_store ? stats.store_requests : stats.load_requests)++;
    (is_store ? stats.store_sectors : stats.load_sectors) += (u64)count;
}

} // namespace sg
