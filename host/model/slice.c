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

/* Runs `from` to `to` into `out`. */
static void copy_runs(unsigned char *out, const mn_runs *runs, int64_t from, int64_t to,
                      const unsigned char *whole, size_t size) {
    const size_t bytes = (size_t)runs->length * size;
    for (int64_t r = from; r < to; r++, out += bytes)
        memcpy(out, whole + (size_t)(runs->first + r * runs->stride) * size, bytes);
}

/* Through a buffer of some megabytes: a copy to a device costs microseconds however short it is. */
static mn_status upload_runs(mn_device *device, const mn_tensor *part, const mn_runs *runs,
                             const mn_stored *stored, size_t size) {
    const size_t bytes = (size_t)runs->length * size, most = (size_t)16 << 20;
    const int64_t at_once = bytes < most ? (int64_t)(most / bytes) : 1;
    const size_t room = (size_t)(at_once < runs->count ? at_once : runs->count) * bytes;
    mn_status st = MN_OK;
    unsigned char *copy = malloc(room), *to = part->data;
    MN_CHECK(copy, MN_ERR_MEMORY, "%s: no memory for a part of tensor %s", stored->file,
             stored->name);
    for (int64_t r = 0; r < runs->count; r += at_once) {
        const int64_t end = r + at_once < runs->count ? r + at_once : runs->count;
        copy_runs(copy, runs, r, end, stored->view.data, size);
        MN_GOTO(device->upload(device, to + (size_t)r * bytes, copy, (size_t)(end - r) * bytes));
    }
done:
    free(copy);
    return st;
}

mn_status mn_slice_load(mn_device *device, const mn_tensor *part, const mn_slice *slice,
                        const mn_stored *stored) {
    const mn_runs runs = mn_slice_runs(slice, part);
    const size_t size = mn_dtype_size(part->dtype);
    const unsigned char *whole = stored->view.data;
    if (runs.count == 1)
        return device->upload(device, part->data, whole + (size_t)runs.first * size,
                              mn_tensor_bytes(part));
    if (!device->host_memory) return upload_runs(device, part, &runs, stored, size);
    copy_runs(part->data, &runs, 0, runs.count, whole, size);
    return MN_OK;
}
