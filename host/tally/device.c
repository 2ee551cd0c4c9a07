/* device.c - the counting device: addresses without memory, and the ledger of its calls. */
#include "tally/tally.h"

#include "cpu/cpu.h"
#include "cuda/sizes.h"
#include "mneme/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

/* Far from everything that exists, so that whoever reads from such an address is stopped at once. */
static const uintptr_t first_address = (uintptr_t)1 << 46;
enum { PAGE = 4096 };

static mn_status count_alloc(mn_device *device, void **out, size_t bytes) {
    tally *t = tally_of(device->stream);
    *out = (void *)t->next;
    t->next += (bytes + PAGE - 1) / PAGE * PAGE;
    t->memory += bytes;
    return MN_OK;
}

static void count_release(mn_device *device, void *memory, size_t bytes) {
    if (memory) tally_of(device->stream)->memory -= bytes;
}

static mn_status count_upload(mn_device *device, void *to, const void *from, size_t bytes) {
    (void)to;
    (void)from;
    return tally_add(
        tally_of(device->stream),
        (mn_tally_row){.kernel = "upload", .unit = MN_TALLY_HOST, .bytes = (double)bytes});
}

static mn_status count_download(mn_device *device, void *to, const void *from, size_t bytes) {
    (void)from;
    memset(to, 0, bytes);
    return tally_add(
        tally_of(device->stream),
        (mn_tally_row){.kernel = "download", .unit = MN_TALLY_HOST, .bytes = (double)bytes});
}

/* Workspaces only grow, as on the devices. */
static mn_status count_reserve(mn_device *device, int64_t rows, int64_t width) {
    tally *t = tally_of(device->stream);
    const size_t bytes = t->cuda ? mn_cuda_scratch_bytes(rows, width)
                                 : mn_cpu_input_bytes(rows, width);
    if (bytes <= t->reserved) return MN_OK;
    t->memory += bytes - t->reserved;
    t->workspace += bytes - t->reserved;
    t->reserved = bytes;
    return MN_OK;
}

static mn_status count_panels(mn_device *device, void *panels, const mn_tensor *rows) {
    (void)device;
    (void)panels;
    (void)rows;
    return MN_OK;
}

static void count_close(mn_device *device) {
    tally *t = tally_of(device->stream);
    free(t->places);
    free(t->rows);
    free(t);
}

/* ---- opening ---- */

mn_status mn_tally_open(mn_device **out, mn_tally_like like) {
    tally *t = calloc(1, sizeof *t);
    *out = NULL;
    MN_CHECK(t, MN_ERR_MEMORY, "no memory for a counting device");
    t->cuda = like == MN_TALLY_CUDA;
    t->next = first_address;
    mn_device *d = &t->device;
    *d = (mn_device){.k = &tally_kernels,
                     .stream = (mn_stream *)(void *)t,
                     .name = t->cuda ? "a planned GPU" : "a planned CPU",
                     .host_memory = !t->cuda,
                     .narrow_products = t->cuda,
                     .threads = 1,
                     .alloc = count_alloc,
                     .release = count_release,
                     .upload = count_upload,
                     .download = count_download,
                     .reserve = count_reserve,
                     .collectives = t->cuda ? &tally_collectives : NULL,
                     .kv_bytes = t->cuda ? mn_cuda_kv_bytes : mn_cpu_kv_bytes,
                     .close = count_close};
    snprintf(d->description, sizeof d->description, "%s: nothing is computed", d->name);
    if (t->cuda) {
        t->memory = t->workspace = MN_CUDA_LINEAR_WORKSPACE + MN_CUDA_SLOTS * MN_CUDA_SLOT_BYTES;
        count_reserve(d, 0, 0);
    } else {
        d->panel_bytes = mn_cpu_panel_bytes;
        d->to_panels = count_panels;
    }
    *out = d;
    return MN_OK;
}

/* ---- the ledger ---- */

static bool same_row(const mn_tally_row *a, const mn_tally_row *b) {
    return a->unit == b->unit && memcmp(a->shape, b->shape, sizeof a->shape) == 0 &&
           strcmp(a->kernel, b->kernel) == 0;
}

/* The place of a row, or the free one where it belongs. */
static int32_t *find_place(const tally *t, const mn_tally_row *row) {
    uint64_t h = (uint64_t)row->unit;
    for (const char *c = row->kernel; *c; c++) h = (h ^ (unsigned char)*c) * 1099511628211u;
    for (int i = 0; i < MN_TALLY_DIMS; i++) h = (h ^ (uint64_t)row->shape[i]) * 0x9e3779b97f4a7c15u;
    size_t at = (size_t)(h >> 20) % t->place_count;
    while (t->places[at] > 0 && !same_row(&t->rows[t->places[at] - 1], row))
        at = (at + 1) % t->place_count;
    return &t->places[at];
}

/* At most half of the places are taken. */
static mn_status make_room(tally *t) {
    MN_TRY(mn_grow(&t->rows, &t->cap, t->count + 1, sizeof *t->rows));
    if (2 * (t->count + 1) <= t->place_count) return MN_OK;
    const size_t more = t->place_count > 0 ? 2 * t->place_count : 256;
    int32_t *places = calloc(more, sizeof *places);
    MN_CHECK(places, MN_ERR_MEMORY, "no memory to count %zu kinds of calls", more);
    free(t->places);
    t->places = places;
    t->place_count = more;
    for (size_t i = 0; i < t->count; i++) *find_place(t, &t->rows[i]) = (int32_t)i + 1;
    return MN_OK;
}

mn_status tally_add(tally *t, mn_tally_row call) {
    MN_TRY(make_room(t));
    int32_t *place = find_place(t, &call);
    if (*place == 0) {
        t->rows[t->count++] = call;
        *place = (int32_t)t->count;
        t->rows[*place - 1].calls = 1;
        return MN_OK;
    }
    mn_tally_row *row = &t->rows[*place - 1];
    row->calls++;
    row->flops += call.flops;
    row->bytes += call.bytes;
    return MN_OK;
}

/* ---- reading it ---- */

static const tally *const_tally(const mn_device *device) {
    return (const tally *)(const void *)device;
}

int64_t mn_tally_memory(const mn_device *device) { return (int64_t)const_tally(device)->memory; }

int64_t mn_tally_workspace(const mn_device *device) {
    return (int64_t)const_tally(device)->workspace;
}

const mn_tally_row *mn_tally_rows(const mn_device *device, int64_t *count) {
    *count = (int64_t)const_tally(device)->count;
    return const_tally(device)->rows;
}

void mn_tally_clear(mn_device *device) {
    tally *t = tally_of(device->stream);
    t->count = 0;
    if (t->places) memset(t->places, 0, t->place_count * sizeof *t->places);
}
