/* memory.cpp - device memory with shadows. Freed blocks stay in quarantine so that late uses are seen. */
#include "memory.h"
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <new>
#include <utility>

namespace sg {

namespace {

constexpr size_t QUARANTINE_BYTES = 256u << 20;

std::map<u64, std::unique_ptr<Allocation>> live;
std::deque<std::unique_ptr<Allocation>> quarantine;
size_t quarantine_bytes;
Allocation *last_found;

/* A range of one allocation, or NULL. An empty range may stand at its end. */
Allocation *range(u64 address, size_t bytes) {
    if (!in_device(address)) return nullptr;
    const u64 host = address & ~DEVICE;
    Allocation *a = find_allocation(host);
    return a && host + bytes <= a->base + a->bytes ? a : nullptr;
}

int outside(const char *what, u64 address, size_t bytes) {
    std::string text = format("out of bounds: %s of %zu bytes at 0x%llx", what, bytes,
                              (unsigned long long)address);
    if (in_device(address)) text += describe_wild(address & ~DEVICE);
    else text += ", which is not device memory";
    add_report(true, std::string(what) + std::to_string(address), text);
    return -1;
}

} // namespace

int device_in_use;

Allocation::Allocation(size_t n, std::string title)
    : bytes(n), cells(nullptr), device(device_in_use), name(std::move(title)) {
    void *p;
    if (posix_memalign(&p, 256, n + 2 * RED_ZONE + 256)) throw std::bad_alloc();
    block = (u8 *)p;
    base = (u64)block + RED_ZONE;
    memset(block, 0xFF, RED_ZONE);
    memset(block + RED_ZONE, (int)options.poison, n);
    memset(block + RED_ZONE + n, 0xFF, RED_ZONE + 256);
    /* 16 bytes more, so that a shadow may be read in words */
    initialised = (u8 *)calloc(n + 16, 1);
    if (!initialised) {
        free(block);
        throw std::bad_alloc();
    }
}

Allocation::~Allocation() {
    free(block);
    free(initialised);
    free(cells);
}

void Allocation::make_cells() {
    cells = (GlobalCell *)calloc(bytes / 2 + 16, sizeof *cells);
    if (!cells) throw std::bad_alloc();
}

Allocation *new_allocation(size_t bytes, const std::string &name) {
    auto a = std::make_unique<Allocation>(bytes, name);
    Allocation *result = a.get();
    live[a->base] = std::move(a);
    return result;
}

void drop_variable(Allocation *a) {
    last_found = nullptr;
    live.erase(a->base);
}

Allocation *find_allocation(u64 host) {
    if (last_found && host - last_found->base < last_found->bytes) return last_found;
    auto it = live.upper_bound(host);
    if (it == live.begin()) return nullptr;
    Allocation *a = (--it)->second.get();
    if (host - a->base >= a->bytes) return nullptr;
    return last_found = a;
}

std::string describe_wild(u64 host) {
    for (const auto &a : quarantine)
        if (host - a->base < a->bytes)
            return format(", inside the freed block '%s' of %zu bytes", a->name.c_str(), a->bytes);
    auto it = live.upper_bound(host);
    if (it == live.begin()) return ", before all device memory";
    const Allocation &a = *(--it)->second;
    const long long past = (long long)(host - a.base - a.bytes);
    if (past < 0)
        return format(", which crosses the end of '%s' (%zu bytes)", a.name.c_str(), a.bytes);
    return format(", %lld bytes past the end of '%s' (%zu bytes)", past, a.name.c_str(), a.bytes);
}

} // namespace sg

using namespace sg;

extern "C" {

uint64_t sg_malloc(size_t bytes) {
    static int serial;
    if (sg_live_bytes() + bytes > (size_t)options.memory_mib << 20) return 0;
    try {
        return new_allocation(bytes, "buffer " + std::to_string(++serial))->base | DEVICE;
    } catch (const std::bad_alloc &) {
        return 0;
    }
}

int sg_free(uint64_t address) {
    const auto it = live.find(address & ~DEVICE);
    if (!in_device(address) || it == live.end() || it->second->is_variable) {
        add_report(true, "free" + std::to_string(address),
                   format("free of 0x%llx, which is no allocation%s", (unsigned long long)address,
                          in_device(address) ? describe_wild(address & ~DEVICE).c_str() : ""));
        return -1;
    }
    Allocation *a = it->second.get();
    for (size_t i = 0; i < RED_ZONE; i++)
        if (a->block[i] != 0xFF || a->block[RED_ZONE + a->bytes + i] != 0xFF) {
            add_report(true, "red zone" + a->name, "the host wrote outside '" + a->name + "'");
            break;
        }
    memset(a->block + RED_ZONE, 0xDD, a->bytes);
    last_found = nullptr;
    quarantine_bytes += a->bytes;
    quarantine.push_back(std::move(it->second));
    live.erase(it);
    while (quarantine_bytes > QUARANTINE_BYTES) {
        quarantine_bytes -= quarantine.front()->bytes;
        quarantine.pop_front();
    }
    return 0;
}

int sg_use_device(int device) { return std::exchange(device_in_use, device); }

int sg_device_of(const void *address) {
    const Allocation *a = in_device((u64)address) ? find_allocation((u64)address & ~DEVICE)
                                                  : nullptr;
    return a ? a->device : -1;
}

int sg_is_device(const void *address) { return in_device((u64)address); }

void *sg_host_view(uint64_t address, size_t bytes) {
    return range(address, bytes) ? (void *)(address & ~DEVICE) : nullptr;
}

void sg_mark_written(uint64_t address, size_t bytes) {
    if (Allocation *a = range(address, bytes))
        memset(a->initialised + ((address & ~DEVICE) - a->base), 1, bytes);
}

void sg_mark_read(uint64_t address, size_t bytes, const char *what) {
    Allocation *a = range(address, bytes);
    if (!a || !options.check_init) return;
    const size_t first = (address & ~DEVICE) - a->base;
    const void *hole = memchr(a->initialised + first, 0, bytes);
    if (hole)
        add_report(true, what + a->name,
                   format("uninitialised read: %s '%s'+%llu", what, a->name.c_str(),
                          (unsigned long long)((const u8 *)hole - a->initialised)));
}

int sg_copy_in(uint64_t to, const void *from, size_t bytes) {
    if (!bytes) return 0;
    void *p = sg_host_view(to, bytes);
    if (!p) return outside("copy to device", to, bytes);
    memcpy(p, from, bytes);
    sg_mark_written(to, bytes);
    return 0;
}

int sg_copy_out(void *to, uint64_t from, size_t bytes) {
    if (!bytes) return 0;
    const void *p = sg_host_view(from, bytes);
    if (!p) return outside("copy from device", from, bytes);
    sg_mark_read(from, bytes, "copy to host of");
    memcpy(to, p, bytes);
    return 0;
}

int sg_copy(uint64_t to, uint64_t from, size_t bytes) {
    if (!bytes) return 0;
    Allocation *d = range(to, bytes), *s = range(from, bytes);
    if (!d) return outside("copy inside the device", to, bytes);
    if (!s) return outside("copy inside the device", from, bytes);
    const u64 dh = to & ~DEVICE, sh = from & ~DEVICE;
    memmove((void *)dh, (const void *)sh, bytes);
    memmove(d->initialised + (dh - d->base), s->initialised + (sh - s->base), bytes);
    return 0;
}

int sg_fill(uint64_t to, int value, size_t bytes) {
    if (!bytes) return 0;
    void *p = sg_host_view(to, bytes);
    if (!p) return outside("fill", to, bytes);
    memset(p, value, bytes);
    sg_mark_written(to, bytes);
    return 0;
}

size_t sg_live_bytes(void) {
    size_t n = 0;
    for (const auto &a : live) n += a.second->is_variable ? 0 : a.second->bytes;
    return n;
}

size_t sg_live_allocations(void) {
    return (size_t)std::count_if(live.begin(), live.end(),
                                 [](const auto &a) { return !a.second->is_variable; });
}
}
