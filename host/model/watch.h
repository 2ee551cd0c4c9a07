/* watch.h (internal) - NaN and infinity in tensors: counted on the device as a pass goes, looked at once
 * behind it. Reading each count at once would make the host wait for the device at every block. */
#ifndef MNEME_MODEL_WATCH_H
#define MNEME_MODEL_WATCH_H

#include "mneme/comm.h"
#include "mneme/ops.h"

typedef struct mn_watched {
    const char *what; /* for the message */
    int64_t block, numbers;
    bool gradient;
} mn_watched;

typedef struct mn_watch {
    mn_device *device;
    mn_comm *tp;       /* the ranks that shall come to the same verdict, or NULL */
    mn_watched *items; /* [room] */
    int64_t *found;    /* [room] counts on the host, once looked at */
    int64_t *counts;   /* [room] on the device */
    int64_t count, room;
} mn_watch;

/* The host's part; the device's. */
mn_status mn_watch_open(mn_watch *out, mn_device *device, mn_comm *tp, int64_t room);
mn_status mn_watch_lay_out(mn_watch *watch, mn_arena *arena);
void mn_watch_close(mn_watch *watch); /* safe twice */

mn_status mn_watch_begin(mn_watch *watch); /* forgets what was watched */
/* One read of x; under a thousandth of the work of a block. */
mn_status mn_watch_add(mn_watch *watch, const mn_tensor *x, mn_watched item);
/* Waits for the device. *first is the first item with NaN or infinity at any rank, -1 without one; counts and
 * numbers are the largest of a rank. */
mn_status mn_watch_look(mn_watch *watch, int64_t *first);

/* For those who know what stands in which place: kernels alone, no items. All places are looked at. */
mn_status mn_watch_clear(mn_watch *watch, int64_t begin, int64_t end);
mn_status mn_watch_put(mn_watch *watch, int64_t place, const mn_tensor *x);
mn_status mn_watch_look_at_all(mn_watch *watch, int64_t *first);

#endif
