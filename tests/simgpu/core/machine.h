/* machine.h - one launch: warps, their lanes, shared memory, barriers, and what watches over them.
 *
 * Blocks run one after the other. Within a block each warp runs until it waits or its quantum is used.
 * The lanes of a warp may be at several places ("splits", as on GPUs with independent thread
 * scheduling): the split with the lowest pc runs first, splits that meet at a pc become one again. */
#ifndef SIMGPU_MACHINE_H
#define SIMGPU_MACHINE_H

#include "program.h"
#include <algorithm>

namespace sg {

/* An asynchronous copy into shared memory that has not been delivered yet. */
struct PendingCopy {
    u64 to, from;
    u8 bytes, from_bytes; /* the rest is zero */
};

struct LaneCopies {
    std::vector<std::vector<PendingCopy>> groups; /* committed, oldest first */
    std::vector<PendingCopy> open;
    bool any() const { return !groups.empty() || !open.empty(); }
};

struct Split {
    enum State : u8 { READY, COLLECTING, AT_BARRIER };
    int pc = 0;
    u32 mask = 0;
    State state = READY;
    bool go = false; /* COLLECTING is over: the instruction may run for this mask */
    u32 need = 0;    /* COLLECTING: lanes that must come */
    int barrier = 0;
};

struct Warp {
    u32 id = 0, full = 0, alive = 0; /* lanes that exist; that have not exited */
    std::vector<Split> splits;
    std::vector<u64> registers;
    std::vector<u8> local;
    std::vector<LaneCopies> copies; /* per lane */
    u32 carry = 0;
    bool done = false;
    u8 *file = nullptr; /* registers, on a cache line */
};

/* One access to shared memory. Time is the accessing warp's own clock; 0: none. */
struct Access {
    u32 time = 0, instruction = 0;
    u16 warp = 0;
    u8 lane = 0;
    bool atomic = false;
};
struct SharedCell {
    Access write, read,
        other_read; /* other_read: the last one of a warp that did not make `read` */
};

struct NamedBarrier {
    u32 arrived = 0, expected = 0; /* threads; expected 0: all of the block */
    std::vector<u32> clock;        /* what all that arrived had seen */
    u32 count = 0;
    bool all = true, any = false; /* of bar.red */
};

enum class AccessKind : u8 { READ, WRITE, ATOMIC };
constexpr int BARRIERS = 16;

class Machine {
  public:
    Machine(sg_module &module, Kernel &kernel);
    int check(sg_dim3 grid, sg_dim3 block, size_t dynamic_shared);
    int launch(void **args);

    /* ---- what handlers use --------------------------------------------------------------------- */
    sg_module &module;
    Kernel &kernel;
    Warp *warp = nullptr;
    const Inst *inst = nullptr;
    u32 warps_in_block() const { return (u32)warps.size(); }
    u64 instructions() const { return instruction_count; }

    /* The 32 words of a source; scratch holds them when the register has the other width. */
    const u32 *source(const Operand &o, u32 *scratch);
    const u64 *source(const Operand &o, u64 *scratch);
    u32 predicate(const Operand &o) const;
    /* Writes the lanes of the mask. */
    void store(const Operand &o, const u32 *values, u32 mask);
    void store(const Operand &o, const u64 *values, u32 mask);
    void store_predicate(const Operand &o, u32 value, u32 mask);
    const Operand &part(const Operand &o, int i) const {
        return o.kind == Operand::VECTOR ? kernel.parts[o.first + (size_t)i] : o;
    }

    void addresses(const Operand &o, u64 *a);
    /* Checks an access of one lane and gives its bytes; after a report, bytes of a scratch area.
     * value: what a write will write, to tell harmless equal writes. */
    u8 *access(int lane, u64 address, int bytes, Space space, AccessKind kind,
               const u8 *value = nullptr);
    /* The same for a whole warp that reads or writes consecutive global bytes; NULL: go lane by lane. */
    u8 *access_row(const u64 *address, u32 mask, int bytes, AccessKind kind);
    void count_shared(const u64 *address, u32 mask, int bytes);
    void count_global(const u64 *address, u32 mask, int bytes, bool is_store);
    /* Is this a place in shared memory for so many bytes? Reports when not. */
    bool shared_target(int lane, u64 address, int bytes);
    void copy_async(int lane, const PendingCopy &copy); /* starts */
    void deliver(int lane, const PendingCopy &copy);
    void sync_lanes(); /* __syncwarp: the warp's clock goes on */
    void report(bool is_error, const char *kind, int lane, const std::string &message);
    void abort_launch() { aborted = true; }

  private:
    enum : u8 { WRITTEN = 1, IN_FLIGHT = 2 }; /* states of a byte of shared memory */
    sg_dim3 grid{}, block{}, cta{};
    size_t dynamic_bytes = 0, shared_total = 0;
    std::vector<u8> params, shared, shared_state;
    std::vector<SharedCell> cells;
    std::vector<Warp> warps;
    std::vector<u32> clocks; /* [warp][warp]: what a warp has seen of another one's clock */
    u32 clock_base = 0;      /* times up to here are of earlier blocks */
    NamedBarrier barriers[BARRIERS];
    u32 block_serial = 0, first_serial = 0;
    u64 instruction_count = 0;
    u32 instruction_serial = 0;
    bool aborted = false;
    u64 random_state = 1;
    u8 scratch_bytes[64];

    u32 &clock(u32 of, u32 about) { return clocks[of * warps.size() + about]; }
    u32 random();

    /* machine.cpp */
    void start_block();
    void fill_specials(Warp &w);
    void run_block();
    void report_deadlock();
    std::string where(int lane) const;

    /* control.cpp */
    void run_warp(Warp &w, long long quantum);
    enum class Next { SAME, PICK };
    int pick();
    int nearest_other(size_t split) const;
    Next step(size_t at, int *limit);
    Next branch(size_t at, const Inst &i, u32 mask);
    Next branch_index(size_t at, const Inst &i, u32 mask);
    Next exit_lanes(size_t at, u32 mask);
    bool keep_masked(size_t at, u32 mask, int *limit);

    /* barrier.cpp */
    Next barrier(size_t at, const Inst &i, u32 mask);
    void release_barriers();
    void check_arrival(Warp &w, int id);
    void wake(Warp &w, int id, const NamedBarrier &b);
    u32 alive_threads() const;

    /* collective.cpp */
    Next collective(size_t at, const Inst &i, u32 mask);
    Next collective_by_mask(size_t at, const Inst &i, u32 mask, const u32 *need);
    void run_collective(const Inst &i, u32 mask);
    void merge_collecting(int pc);
    void recheck_collecting();

    /* access.cpp and race.cpp */
    u8 *shared_access(int lane, u64 address, int bytes, Space space, AccessKind kind,
                      const u8 *value);
    u8 *global_access(int lane, u64 address, int bytes, AccessKind kind);
    u8 *wild(const char *kind, int lane, const std::string &message);
    void bad_shared_state(int lane, u64 offset, int bytes, AccessKind kind);
    void track_shared(int lane, u64 offset, int bytes, AccessKind kind, const u8 *value);
    void conflict(const Access &before, const Access &now, bool writes, const char *what,
                  size_t cell, u64 offset, int bytes, const u8 *value);
    void track_global(int lane, Allocation *a, u64 offset, int bytes, AccessKind kind);
};

inline const u32 *Machine::source(const Operand &o, u32 *scratch) {
    if (o.kind == Operand::REGISTER) {
        if (o.width <= 32) return (const u32 *)(warp->file + o.offset);
        const u64 *wide = (const u64 *)(warp->file + o.offset);
        for (int i = 0; i < LANES; i++) scratch[i] = (u32)wide[i];
        return scratch;
    }
    if (o.kind == Operand::IMMEDIATE) return (const u32 *)(kernel.constants.data() + o.offset);
    if (o.kind != Operand::PREDICATE) throw Error("bad source operand: " + kernel.name);
    const u32 bits = predicate(o);
    for (int i = 0; i < LANES; i++) scratch[i] = bits >> i & 1;
    return scratch;
}

inline const u64 *Machine::source(const Operand &o, u64 *scratch) {
    if (o.kind == Operand::REGISTER && o.width == 64) return (const u64 *)(warp->file + o.offset);
    if (o.kind == Operand::IMMEDIATE)
        return (const u64 *)(kernel.constants.data() + o.offset + 4 * LANES);
    u32 narrow[LANES];
    const u32 *from = source(o, narrow);
    for (int i = 0; i < LANES; i++) scratch[i] = from[i];
    return scratch;
}

inline u32 Machine::predicate(const Operand &o) const {
    if (o.kind == Operand::IMMEDIATE) return o.value ? ~0u : 0;
    const u32 bits = *(const u32 *)(warp->file + o.offset);
    return o.negate ? ~bits : bits;
}

inline void Machine::store(const Operand &o, const u32 *values, u32 mask) {
    if (o.kind == Operand::SINK) return;
    if (o.width == 64) {
        u64 wide[LANES];
        for (int i = 0; i < LANES; i++) wide[i] = values[i];
        store(o, wide, mask);
        return;
    }
    u32 *to = (u32 *)(warp->file + o.offset);
    const u32 keep = o.width == 16 ? 0xffffu : ~0u;
    if (mask == ~0u) {
        for (int i = 0; i < LANES; i++) to[i] = values[i] & keep;
        return;
    }
    for (int i = 0; i < LANES; i++) to[i] = mask >> i & 1 ? values[i] & keep : to[i];
}

inline void Machine::store(const Operand &o, const u64 *values, u32 mask) {
    if (o.kind == Operand::SINK) return;
    if (o.width != 64) {
        u32 narrow[LANES];
        for (int i = 0; i < LANES; i++) narrow[i] = (u32)values[i];
        store(o, narrow, mask);
        return;
    }
    u64 *to = (u64 *)(warp->file + o.offset);
    for (int i = 0; i < LANES; i++) to[i] = mask >> i & 1 ? values[i] : to[i];
}

inline void Machine::store_predicate(const Operand &o, u32 value, u32 mask) {
    if (o.kind == Operand::SINK) return;
    u32 &to = *(u32 *)(warp->file + o.offset);
    to = (to & ~mask) | (value & mask);
}

} // namespace sg
#endif
