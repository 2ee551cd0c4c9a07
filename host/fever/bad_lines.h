/* bad_lines.h - broken lines that were skipped on request: how many, and where the first ones
 * are. */
#ifndef MNEME_HOST_FEVER_BAD_LINES_H
#define MNEME_HOST_FEVER_BAD_LINES_H

#include "mneme/status.h"

#include <stdint.h>

enum { MN_BAD_SHOWN = 5 };

typedef struct mn_bad_lines {
    int64_t count;
    int shown;
    char *first[MN_BAD_SHOWN]; /* "file:line: what is wrong" */
} mn_bad_lines;

mn_status mn_bad_note(mn_bad_lines *bad, const char *message);
mn_status mn_bad_merge(mn_bad_lines *into, const mn_bad_lines *from); /* `from` comes later */
void mn_bad_log(const mn_bad_lines *bad);                             /* nothing when count is 0 */
void mn_bad_free(mn_bad_lines *bad);                                  /* safe twice */

#endif
