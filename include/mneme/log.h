/* log.h - what the program says while it works: log lines and progress, always on standard error.
 *
 * On a terminal a progress bar redraws one line; elsewhere it is a plain line every ten seconds.
 * The sink is process-wide and may be used from any thread. */
#ifndef MNEME_LOG_H
#define MNEME_LOG_H

#include "mneme/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum mn_log_level { MN_LOG_ERROR, MN_LOG_WARN, MN_LOG_INFO, MN_LOG_DEBUG } mn_log_level;

void mn_log_set_level(mn_log_level level); /* default MN_LOG_INFO */
void mn_log(mn_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* From here on this process is one of several ranks and not their speaker: errors go to standard error behind its name,
 * everything else to the end of a file (NULL: nowhere). */
mn_status mn_log_rank(const char *name, const char *path);

/* One running job. `total` and `done` are in the unit's own measure (pages, bytes, claims).
 * Nothing is shown during the first two seconds. Steps may come from any thread. */
typedef struct mn_progress mn_progress;
mn_progress *mn_progress_begin(const char *what, const char *unit, int64_t total); /* may be NULL */
void mn_progress_add(mn_progress *progress, int64_t steps); /* accepts NULL */
void mn_progress_end(mn_progress **progress);               /* clears the bar; safe twice */

double mn_now(void); /* monotonic seconds */

#endif
