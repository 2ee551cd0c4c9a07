/* arena.c - one block of device memory per lifetime: measured first, then allocated once. */
#include "mneme/device.h"

#include <string.h>

enum { ALIGNMENT = 64 };

void mn_arena_init(mn_arena *arena, const char *name, mn_device *device) {
    *arena = (mn_arena){.name = name, .device = device};
}

mn_status mn_arena_alloc(mn_arena *arena, void *out_ptr, size_t bytes) {
    void *memory = NULL;
    MN_CHECK(arena->used <= SIZE_MAX - ALIGNMENT && bytes <= SIZE_MAX - ALIGNMENT - arena->used,
             MN_ERR_MEMORY, "the %s arena cannot hold %zu more bytes", arena->name, bytes);
    const size_t next = arena->used + (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (arena->base) {
        MN_CHECK(next <= arena->size, MN_ERR_MEMORY,
                 "the %s arena is planned for %zu bytes, %zu are wanted", arena->name, arena->size,
                 next);
        memory = arena->base + arena->used;
    }
    arena->used = next;
    memcpy(out_ptr, &memory, sizeof memory);
    return MN_OK;
}

mn_status mn_arena_commit(mn_arena *arena) {
    void *memory = NULL;
    const size_t bytes = arena->used ? arena->used : ALIGNMENT;
    const mn_status st = arena->device->alloc(arena->device, &memory, bytes);
    if (st != MN_OK) return mn_fail_in(st, "the %s arena", arena->name);
    arena->base = memory;
    arena->size = bytes;
    arena->used = 0;
    return MN_OK;
}

void mn_arena_free(mn_arena *arena) {
    if (arena->base) arena->device->release(arena->device, arena->base, arena->size);
    arena->base = NULL;
    arena->size = arena->used = 0;
}
