/* tensorboard.h - scalars for TensorBoard: an event file, written record by record.
 *
 * A record is its length, the masked CRC-32C of the length, a protocol buffer of type tensorflow.Event
 * and the masked CRC-32C of that (tensorflow/core/lib/io/record_writer.h). TensorBoard finds files whose
 * names contain "tfevents". Nothing is allocated between open and close. */
#ifndef MNEME_TENSORBOARD_H
#define MNEME_TENSORBOARD_H

#include "mneme/status.h"

#include <stdint.h>

typedef struct mn_events mn_events;

/* Replaces the file and writes its version record. */
mn_status mn_events_open(mn_events **out, const char *path);
/* `wall_time` in seconds since 1970; `tag` at most 200 bytes ("train/loss"). */
mn_status mn_events_scalar(mn_events *events, const char *tag, int64_t step, double wall_time,
                           double value);
mn_status mn_events_flush(mn_events *events);  /* readers see what was written so far */
mn_status mn_events_close(mn_events **events); /* flushes; safe twice */

#endif
