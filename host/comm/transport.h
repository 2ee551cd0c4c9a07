/* transport.h (internal) - how bytes get from one rank to another. All of comm.h stands on these few functions; who
 * implements them (threads.c, the MPI plug-in) knows nothing of collectives, time limits or messages to the user.
 *
 * None of the functions waits for another rank. They may be called from several threads at a time, for different
 * messages. */
#ifndef MNEME_COMM_TRANSPORT_H
#define MNEME_COMM_TRANSPORT_H

#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One message on its way, from its start until it is done or cancelled. Between two ranks, messages of one channel
 * arrive in the order in which they were started; both sides give the same number of bytes, at most
 * MN_MESSAGE_MAX. */
typedef struct mn_message {
    bool sends; /* else receives */
    bool done;
    int peer;    /* the other rank */
    int channel; /* every group has its own */
    size_t bytes;
    const void *from; /* of a message that is sent */
    void *into;       /* of one that is received */
    /* The transport's own: */
    struct mn_message *next;
    int source;
    uint64_t request;
} mn_message;

enum { MN_MESSAGE_MAX = 1 << 30 };

/* What one rank tells all others, beside the messages. */
typedef enum mn_note_kind {
    MN_NOTE_WAITS,  /* it waits for rank `missing`: to find the one who keeps all waiting */
    MN_NOTE_BREAKS, /* nobody can go on: `text` says why, with the name of whom it is about */
    MN_NOTE_LEAVES  /* the same, and the rank has said all that it has to say */
} mn_note_kind;
typedef struct mn_note {
    int32_t kind, origin, missing;
    int32_t words; /* where in `text` they begin, behind the name of the rank that failed */
    char text[MN_ERROR_MAX];
} mn_note;

typedef struct mn_transport {
    int rank, size; /* in the world */
    /* One process per rank: what became of a rank can be seen from outside. */
    bool processes;
    mn_status (*start)(struct mn_transport *t, mn_message *messages, int count);
    /* Sets `done` of those that are; fails when one cannot be any more. */
    mn_status (*test)(struct mn_transport *t, mn_message *messages, int count);
    /* Comes back when a test of these may find more done, or after a moment. `rounds`: how often this wait has been
     * here. */
    void (*pause)(struct mn_transport *t, const mn_message *messages, int count, int rounds);
    /* After a failure only: the world is broken, and the caller frees the buffers. Between threads nothing touches them
     * any more. MPI may still read what was being sent, and write what was coming in: then others get, and this process
     * finds in its memory, what makes no sense. So nothing is computed or saved behind it, and processes say their
     * error and end by _exit. */
    void (*cancel)(struct mn_transport *t, mn_message *messages, int count);
    /* Tells all others. Tries for a second at most; who does not listen does not hear. */
    void (*tell)(struct mn_transport *t, const mn_note *note);
    bool (*told)(struct mn_transport *t,
                 mn_note *note); /* takes a note of another rank, if one came */
    /* Threads: the rank has ended, and nothing more will come from it. NULL with processes. */
    bool (*ended)(struct mn_transport *t, int rank);
    /* Frees it. `orderly`: nothing failed, and all ranks are here. */
    void (*close)(struct mn_transport *t, bool orderly);
} mn_transport;

#endif
