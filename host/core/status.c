/* status.c - the error record of each thread. */
#include "mneme/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local mn_error_record record;

mn_status mn_fail(mn_status status, const char *format, ...) {
    /* Formatted beside the record first: the arguments may point into it. */
    char text[MN_ERROR_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(record.text, text, sizeof text);
    record.status = status;
    return status;
}

mn_status mn_fail_in(mn_status status, const char *format, ...) {
    if (status == MN_OK) return status;
    char place[MN_ERROR_MAX], text[MN_ERROR_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(place, sizeof place, format, args);
    va_end(args);
    const size_t used = strlen(place), room = sizeof text - used;
    memcpy(text, place, used);
    if (room > 2) {
        /* as much of the old text as fits behind "place: " */
        const size_t kept = strnlen(record.text, room - 3);
        memcpy(text + used, ": ", 2);
        memcpy(text + used + 2, record.text, kept);
        text[used + 2 + kept] = '\0';
    } else {
        text[used] = '\0';
    }
    memcpy(record.text, text, sizeof text);
    record.status = status;
    return status;
}

mn_status mn_fail_errno(const char *what) {
    const int code = errno;
    char text[128] = "";
    return mn_fail(code == ENOMEM ? MN_ERR_MEMORY : MN_ERR_IO, "%s: %s", what,
                   strerror_r(code, text, sizeof text));
}

const char *mn_error(void) { return record.text; }

void mn_error_save(mn_error_record *out) { *out = record; }

mn_status mn_error_restore(const mn_error_record *saved) {
    record = *saved;
    return saved->status;
}

const char *mn_status_name(mn_status status) {
    switch (status) {
    case MN_OK: return "ok";
    case MN_ERR_USAGE: return "wrong usage";
    case MN_ERR_IO: return "input/output error";
    case MN_ERR_DATA: return "bad data";
    case MN_ERR_MEMORY: return "out of memory";
    case MN_ERR_UNSUPPORTED: return "not supported";
    case MN_ERR_NUMERIC: return "not a number";
    case MN_ERR_COMM: return "communication";
    case MN_STOPPED: return "stopped on request";
    }
    return "unknown status";
}
