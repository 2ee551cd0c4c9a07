/* slice.c - see slice.h. */
#include "mneme/slice.h"

#include <stdlib.h>
#include <string.h>

/* Rows stand together in one run, so that only a matrix cut by columns has more. */
mn_runs mn_slice_runs(const mn_slice *slice, const mn_tensor *part) {
    if (slice->axis == 1 && slice->count < slice->whole)
        return (mn_runs){part->shape[0], slice->count, slice->begin, slice->whole};
    const int64_t row = part->ndim == 2 ? part->shape[1] : 1;
    return (mn_runs){1, mn_tensor_count(part), slice->begin * row, 0};
}

mn_tensor mn_slice_part(const mn_slice *slice, const mn_tensor *whole) {
    mn_tensor part = *whole;
    if (slice->axis >= 0) part.shape[slice->axis] = slice->count;
    const mn_runs runs = mn_slice_runs(slice, &part);
    const size_t begin = (size_t)runs.first * mn_dtype_size(part.dtype);
    part.data = whole->data && runs.count == 1 ? (unsigned char *)whole->data + begin : NULL;
    return part;
}

mn_tensor mn_slice_whole(const mn_slice *slice, const mn_tensor *part) {
    mn_tensor whole = *part;
    if (slice->axis >= 0) whole.shape[slice->axis] = slice->whole;
    whole.data = NULL;
    return whole;
}

/* Elements `first` .. `end` - 1 of a part. */
static void copy_elements(unsigned char *out, const mn_runs *runs, int64_t first, int64_t end,
                          const unsigned char *whole, size_t size) {
    while (first < end) {
        const int64_t run = first / runs->length, at = first % runs->length;
        const int64_t left = runs->length - at, count = left < end - first ? left : end - first;
        const int64_t from = runs->first + run * runs->stride + at;
        memcpy(out, whole + (size_t)from * size, (size_t)count * size);
        out += (size_t)count * size;
        first += count;
    }
}

/* Through a buffer of some megabytes: a copy to a device costs microseconds however short it is. */
static mn_status upload_elements(mn_device *device, const mn_tensor *to, const mn_runs *runs,
                                 int64_t first, const mn_stored *stored) {
    const int64_t piece = 4 << 20, all = mn_tensor_count(to), end = first + all;
    const size_t size = mn_dtype_size(to->dtype);
    mn_status st = MN_OK;
    unsigned char *copy = malloc((size_t)(all < piece ? all : piece) * size), *at = to->data;
    MN_CHECK(copy, MN_ERR_MEMORY, "%s: no memory for a part of tensor %s", stored->file,
             stored->name);
    for (int64_t i = first; i < end; i += piece) {
        const int64_t until = end - i < piece ? end : i + piece;
        const size_t bytes = (size_t)(until - i) * size;
        copy_elements(copy, runs, i, until, stored->view.data, size);
        MN_GOTO(device->upload(device, at, copy, bytes));
        at += bytes;
    }
done:
    free(copy);
    return st;
}

mn_status mn_slice_load_some(mn_device *device, const mn_tensor *to, const mn_tensor *part,
                             int64_t first, const mn_slice *slice, const mn_stored *stored) {
    const mn_runs runs = mn_slice_runs(slice, part);
    const size_t size = mn_dtype_size(to->dtype);
    const unsigned char *whole = stored->view.data;
    if (mn_tensor_count(to) == 0) return MN_OK;
    if (runs.count == 1)
        return device->upload(device, to->data, whole + (size_t)(runs.first + first) * size,
                              mn_tensor_bytes(to));
    if (!device->host_memory) return upload_elements(device, to, &runs, first, stored);
    copy_elements(to->data, &runs, first, first + mn_tensor_count(to), whole, size);
    return MN_OK;
}

mn_status mn_slice_load(mn_device *device, const mn_tensor *part, const mn_slice *slice,
                        const mn_stored *stored) {
    return mn_slice_load_some(device, part, part, 0, slice, stored);
}

/* ---- from the ranks to the whole ---- */

/* Runs of a part to their places. */
static void spread_runs(unsigned char *whole, const mn_runs *runs, const unsigned char *part,
                        size_t size) {
    const size_t bytes = (size_t)runs->length * size;
    for (int64_t r = 0; r < runs->count; r++, part += bytes)
        memcpy(whole + (size_t)(runs->first + r * runs->stride) * size, part, bytes);
}

/* The parts of all ranks, one behind the other, each where its rank says. */
static void put_together(void *whole, const mn_slice *slices, int ranks, const mn_tensor *own,
                         const unsigned char *parts) {
    for (int r = 0; r < ranks; r++) {
        mn_tensor part = *own;
        part.shape[slices[r].axis] = slices[r].count;
        const mn_runs runs = mn_slice_runs(&slices[r], &part);
        spread_runs(whole, &runs, parts, mn_dtype_size(part.dtype));
        parts += mn_tensor_bytes(&part);
    }
}

mn_status mn_slice_gather(void *whole, mn_comm *comm, mn_device *device, const mn_tensor *part,
                          const mn_slice *slice) {
    const int ranks = mn_comm_size(comm), rank = mn_comm_rank(comm);
    const bool host = !device || device->host_memory;
    const size_t bytes = mn_tensor_bytes(part);
    mn_status st = MN_OK;
    if (slice->axis < 0 || ranks == 1) {
        if (rank == 0 && host) memcpy(whole, part->data, bytes);
        return rank == 0 && !host ? device->download(device, whole, part->data, bytes) : MN_OK;
    }
    mn_buf parts = {0};
    mn_slice *slices = calloc((size_t)ranks, sizeof *slices);
    void *copy = host ? NULL : malloc(bytes);
    const void *mine = host ? part->data : copy;
    if (!slices || !mine)
        st = mn_fail(MN_ERR_MEMORY, "no memory for %zu bytes of a tensor's part", bytes);
    if (st == MN_OK && copy) st = device->download(device, copy, part->data, bytes);
    MN_GOTO(mn_comm_agree(comm, st));
    MN_GOTO(mn_comm_all_gather(comm, slices, slice, sizeof *slice));
    MN_GOTO(mn_comm_gather(comm, &parts, mine, bytes, 0));
    if (rank == 0) put_together(whole, slices, ranks, part, (unsigned char *)parts.data);
done:
    mn_buf_free(&parts);
    free(copy);
    free(slices);
    return st;
}
