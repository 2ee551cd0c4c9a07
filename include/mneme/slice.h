/* slice.h - the part of a tensor that one of the ranks of a model has, and the ways between it and the whole.
 *
 * A part is a tensor of its own, contiguous, cut along one axis. Tensors have one or two axes here. */
#ifndef MNEME_SLICE_H
#define MNEME_SLICE_H

#include "mneme/checkpoint.h"
#include "mneme/comm.h"
#include "mneme/device.h"

typedef struct mn_slice {
    int axis;                    /* 0 or 1; -1: every rank has all of the tensor */
    int64_t begin, count, whole; /* along the axis (of -1: along 0): what is here, of how many */
} mn_slice;

/* Where the part lies in the whole: `count` stretches of `length` elements, one behind the other in the part; the
 * first begins at element `first` of the whole, the others `stride` elements further each. */
typedef struct mn_runs {
    int64_t count, length, first, stride;
} mn_runs;

mn_runs mn_slice_runs(const mn_slice *slice, const mn_tensor *part);
/* The part where it lies in the whole; without an address when it lies there in several runs. */
mn_tensor mn_slice_part(const mn_slice *slice, const mn_tensor *whole);

/* The whole's shape, without an address. */
mn_tensor mn_slice_whole(const mn_slice *slice, const mn_tensor *part);

/* Copies this rank's part of a stored tensor, whose shape has been checked, into `part` on the device, in the type
 * that both have. Reads no other bytes of the file. */
mn_status mn_slice_load(mn_device *device, const mn_tensor *part, const mn_slice *slice,
                        const mn_stored *stored);
/* Of a part of this shape, only as many elements as `to` has, from `first` on. */
mn_status mn_slice_load_some(mn_device *device, const mn_tensor *to, const mn_tensor *part,
                             int64_t first, const mn_slice *slice, const mn_stored *stored);
/* Brings the parts of all ranks together: the whole tensor in host memory at `whole`, on rank 0 of `comm` alone; the
 * others' may be NULL. Collective; what several ranks have must be the same. `device` NULL: parts are in host memory. */
mn_status mn_slice_gather(void *whole, mn_comm *comm, mn_device *device, const mn_tensor *part,
                          const mn_slice *slice);

#endif
