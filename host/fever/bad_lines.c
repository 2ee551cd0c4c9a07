/* bad_lines.c - counts skipped lines and keeps the places of the first few. */
#include "fever/bad_lines.h"

#include "mneme/buf.h"
#include "mneme/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static mn_status show(mn_bad_lines *bad, const char *message) {
    if (bad->shown == MN_BAD_SHOWN) return MN_OK;
    char *copy = mn_strdup_n(message, strlen(message));
    MN_CHECK(copy, MN_ERR_MEMORY, "no memory for a message");
    bad->first[bad->shown++] = copy;
    return MN_OK;
}

mn_status mn_bad_note(mn_bad_lines *bad, const char *message) {
    bad->count++;
    return show(bad, message);
}

mn_status mn_bad_merge(mn_bad_lines *into, const mn_bad_lines *from) {
    into->count += from->count;
    for (int i = 0; i < from->shown; i++) MN_TRY(show(into, from->first[i]));
    return MN_OK;
}

void mn_bad_log(const mn_bad_lines *bad) {
    if (bad->count == 0) return;
    mn_log(MN_LOG_WARN, "%" PRId64 " broken line%s skipped%s", bad->count,
           bad->count == 1 ? " was" : "s were",
           bad->count > bad->shown ? "; the first ones:" : ":");
    for (int i = 0; i < bad->shown; i++) mn_log(MN_LOG_WARN, "  %s", bad->first[i]);
}

void mn_bad_free(mn_bad_lines *bad) {
    for (int i = 0; i < bad->shown; i++) free(bad->first[i]);
    *bad = (mn_bad_lines){0};
}
