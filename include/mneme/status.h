/* status.h - how a function of mneme fails: a status code to act on, a thread's error record to read.
 *
 * Every fallible function returns mn_status. The first one to fail writes the record with mn_fail();
 * callers pass the code up, at most adding a place with mn_fail_in(). Only cli/ prints it and exits.
 * The record belongs to the thread; a worker hands its own over with mn_error_save / mn_error_restore. */
#ifndef MNEME_STATUS_H
#define MNEME_STATUS_H

typedef enum mn_status {
    MN_OK = 0,
    MN_ERR_USAGE,       /* the caller or the command line asks for something that makes no sense */
    MN_ERR_IO,          /* the operating system refused: missing file, full disk */
    MN_ERR_DATA,        /* a file's contents are wrong; the message names file and place */
    MN_ERR_MEMORY,      /* not enough memory, or an arena's plan was exceeded */
    MN_ERR_UNSUPPORTED, /* valid, but mneme does not do it */
    MN_ERR_NUMERIC,     /* NaN or infinity where a number is needed */
    MN_ERR_COMM,        /* another rank has ended, given up or hangs; the message names it */
    MN_STOPPED          /* stopped on request after saving; the run can be resumed */
} mn_status;

enum { MN_ERROR_MAX = 1024 };

typedef struct mn_error_record {
    mn_status status;
    char text[MN_ERROR_MAX];
} mn_error_record;

/* Writes the calling thread's record and returns `status`. */
mn_status mn_fail(mn_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "<format>: " in front of the calling thread's record and returns `status` unchanged;
 * does nothing when status is MN_OK. */
mn_status mn_fail_in(mn_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Fails with MN_ERR_IO and "<what>: <strerror(errno)>". Reads errno first. */
mn_status mn_fail_errno(const char *what);

const char *mn_error(void); /* the calling thread's text; "" when nothing failed yet */
void mn_error_save(mn_error_record *out);
mn_status mn_error_restore(const mn_error_record *record); /* returns its status */
const char *mn_status_name(mn_status status);

#define MN_TRY(call)                                                                               \
    do {                                                                                           \
        const mn_status mn_try_ = (call);                                                          \
        if (mn_try_ != MN_OK) return mn_try_;                                                      \
    } while (0)

/* For functions with a `mn_status st` and a `done:` label that releases in reverse order. */
#define MN_GOTO(call)                                                                              \
    do {                                                                                           \
        st = (call);                                                                               \
        if (st != MN_OK) goto done;                                                                \
    } while (0)

#define MN_CHECK(cond, ...)                                                                        \
    do {                                                                                           \
        if (!(cond)) return mn_fail(__VA_ARGS__);                                                  \
    } while (0)

#define MN_CHECK_GOTO(cond, ...)                                                                   \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            st = mn_fail(__VA_ARGS__);                                                             \
            goto done;                                                                             \
        }                                                                                          \
    } while (0)

#endif
