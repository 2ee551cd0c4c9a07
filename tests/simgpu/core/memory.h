/* memory.h - device memory with shadows: which bytes are initialised, which block touched them last. */
#ifndef SIMGPU_MEMORY_H
#define SIMGPU_MEMORY_H

#include "report.h"

namespace sg {

/* Who touched two bytes last. Serials of blocks grow over all launches of the process. */
struct GlobalCell {
    u32 writer; /* the top bit: by an atomic or volatile access */
    u32 reader; /* the top bit: also another block of its launch */
};
constexpr u32 ATOMIC_WRITER = 1u << 31, MANY_READERS = 1u << 31;

/* Whether another block than `block` read the cell in the launch whose first block is `first`. */
inline bool read_by_others(const GlobalCell &c, u32 block, u32 first) {
    const u32 reader = c.reader & ~MANY_READERS;
    return reader >= first && (reader != block || (c.reader & MANY_READERS));
}
constexpr size_t RED_ZONE = 256; /* guard bytes on both sides */

struct Allocation {
    u64 base; /* the host's address */
    size_t bytes;
    u8 *block;         /* what the system gave: red zone, bytes, red zone */
    u8 *initialised;   /* one byte per byte; pages that nobody touches cost nothing */
    GlobalCell *cells; /* one per two bytes, made by the first kernel that comes */
    bool read_only = false, is_variable = false;
    int device; /* -1: a variable, which every device has */
    std::string name;

    Allocation(size_t bytes, std::string name);
    ~Allocation();
    Allocation(const Allocation &) = delete;
    Allocation &operator=(const Allocation &) = delete;
    void make_cells();
};

extern int device_in_use;
Allocation *new_allocation(size_t bytes, const std::string &name);
void drop_variable(Allocation *a); /* of a module that goes */
/* The allocation that holds the host address, or NULL. */
Allocation *find_allocation(u64 host);
/* "inside the freed block ..." or "N bytes past the end of ..." for a message. */
std::string describe_wild(u64 host);

/* All of n shadow bytes equal to 1? n is 1, 2, 4, 8 or 16. */
inline bool all_ones(const u8 *shadow, int n) {
    constexpr u64 ones = 0x0101010101010101ull;
    u64 a = 0, b;
    switch (n) {
    case 1: return *shadow == 1;
    case 2: memcpy(&a, shadow, 2); return a == (u16)ones;
    case 4: memcpy(&a, shadow, 4); return a == (u32)ones;
    case 8: memcpy(&a, shadow, 8); return a == ones;
    default:
        memcpy(&a, shadow, 8);
        memcpy(&b, shadow + 8, 8);
        return a == ones && b == ones;
    }
}

} // namespace sg
#endif
