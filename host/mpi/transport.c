/* transport.c - messages between processes, by MPI: libmneme_mpi.so.
 *
 * MPI carries bytes and nothing else. Its own collectives and blocking calls are not used: they would wait for a rank
 * that has died until somebody ends the job, and could not say for whom. Every message is tested for until the caller
 * gives up. One lock lets one thread at a time into MPI, which need not know of threads more than that. */
#include "comm/plugin.h"

#include <limits.h>
#include <mpi.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const mn_plugin_host *host;

/* Notes have a tag of their own, groups the ones behind it. */
enum { NOTE_TAG = 0, FIRST_TAG = 1 };

typedef struct end {
    mn_transport base; /* first: its address is the end's */
    pthread_mutex_t lock;
    int tags;            /* the greatest tag */
    mn_note inbox;       /* where the next note comes in */
    MPI_Request waiting; /* for it */
    int leaving;         /* ranks that sent their last note */
} end;

_Static_assert(sizeof(MPI_Request) <= sizeof(uint64_t), "a request fits into a message");

static end *end_of(mn_transport *t) { return (end *)(void *)t; }

static mn_status fail(const char *what, int code) {
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int len = 0;
    MPI_Error_string(code, text, &len);
    return host->fail(MN_ERR_COMM, "%s: %s", what, text);
}

/* ---- Messages ---- */

static MPI_Request get_request(const mn_message *m) {
    MPI_Request request;
    memcpy(&request, &m->request, sizeof request);
    return request;
}

static void set_request(mn_message *m, MPI_Request request) {
    m->request = 0;
    memcpy(&m->request, &request, sizeof request);
}

static mn_status start_one(end *e, mn_message *m) {
    MPI_Request request = MPI_REQUEST_NULL;
    const int bytes = (int)m->bytes, tag = FIRST_TAG + m->channel;
    if (tag > e->tags) return host->fail(MN_ERR_COMM, "too many groups of ranks for this MPI");
    const int code = m->sends ? MPI_Isend(m->from, bytes, MPI_BYTE, m->peer, tag, MPI_COMM_WORLD,
                                          &request)
                              : MPI_Irecv(m->into, bytes, MPI_BYTE, m->peer, tag, MPI_COMM_WORLD,
                                          &request);
    set_request(m, code == MPI_SUCCESS ? request : MPI_REQUEST_NULL);
    return code == MPI_SUCCESS ? MN_OK : fail(m->sends ? "MPI_Isend" : "MPI_Irecv", code);
}

static mn_status start(mn_transport *t, mn_message *messages, int count) {
    end *e = end_of(t);
    mn_status st = MN_OK;
    for (int i = 0; i < count; i++) set_request(&messages[i], MPI_REQUEST_NULL);
    pthread_mutex_lock(&e->lock);
    for (int i = 0; i < count && st == MN_OK; i++) st = start_one(e, &messages[i]);
    pthread_mutex_unlock(&e->lock);
    return st;
}

static mn_status test_one(mn_message *m) {
    MPI_Request request = get_request(m);
    MPI_Status status;
    int done = 0, bytes = 0;
    const int code = MPI_Test(&request, &done, &status);
    set_request(m, request);
    if (code != MPI_SUCCESS) return fail(m->sends ? "a message that was sent" : "a message", code);
    m->done = done;
    if (!done || m->sends) return MN_OK;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    if ((size_t)bytes == m->bytes) return MN_OK;
    return host->fail(MN_ERR_COMM, "rank %d sent %d bytes where %zu were expected", m->peer, bytes,
                      m->bytes);
}

static mn_status test(mn_transport *t, mn_message *messages, int count) {
    end *e = end_of(t);
    mn_status st = MN_OK;
    pthread_mutex_lock(&e->lock);
    for (int i = 0; i < count && st == MN_OK; i++)
        if (!messages[i].done) st = test_one(&messages[i]);
    pthread_mutex_unlock(&e->lock);
    return st;
}

/* The first rounds only let others run: a message between processes of a host takes microseconds. Later ones sleep,
 * so that a rank that waits long costs nothing. */
static void pause_for(mn_transport *t, const mn_message *messages, int count, int rounds) {
    enum { YIELDS = 200, STEP = 2000, LONGEST = 1000000 }; /* nanoseconds */
    (void)t;
    (void)messages;
    (void)count;
    if (rounds < YIELDS) {
        sched_yield();
        return;
    }
    const int more = rounds - YIELDS;
    const long ns = more < LONGEST / STEP ? (more + 1L) * STEP : LONGEST;
    nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

/* After a failure only, behind which no messages are tested for. A receive that is cancelled may still be served by
 * hardware that has begun to; what is sent stays with MPI. */
static void cancel(mn_transport *t, mn_message *messages, int count) {
    end *e = end_of(t);
    pthread_mutex_lock(&e->lock);
    for (int i = 0; i < count; i++) {
        MPI_Request request = get_request(&messages[i]);
        if (messages[i].done || request == MPI_REQUEST_NULL) continue;
        if (!messages[i].sends) MPI_Cancel(&request);
        MPI_Request_free(&request);
    }
    pthread_mutex_unlock(&e->lock);
}

/* ---- Notes ---- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The note must outlive its messages, and a rank that hangs never takes its own: then copy and requests are left to the
 * end of the process, which is near. */
static void tell(mn_transport *t, const mn_note *note) {
    end *e = end_of(t);
    mn_note *copy = malloc(sizeof *copy);
    MPI_Request *requests = calloc((size_t)t->size, sizeof *requests);
    if (!copy || !requests) { /* others will find out by themselves */
        free(copy);
        free(requests);
        return;
    }
    *copy = *note;
    pthread_mutex_lock(&e->lock);
    for (int r = 0; r < t->size; r++) {
        requests[r] = MPI_REQUEST_NULL;
        if (r != t->rank)
            MPI_Isend(copy, (int)sizeof *copy, MPI_BYTE, r, NOTE_TAG, MPI_COMM_WORLD, &requests[r]);
    }
    pthread_mutex_unlock(&e->lock);
    int left = t->size;
    for (const double end_at = now() + 1; left > 0 && now() < end_at;) {
        pthread_mutex_lock(&e->lock);
        for (int done = 1; left > 0 && done; left -= done)
            if (MPI_Test(&requests[left - 1], &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) done = 0;
        pthread_mutex_unlock(&e->lock);
        if (left > 0) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    if (left > 0) return;
    free(copy);
    free(requests);
}

static mn_status expect_note(end *e) {
    const int code = MPI_Irecv(&e->inbox, (int)sizeof e->inbox, MPI_BYTE, MPI_ANY_SOURCE, NOTE_TAG,
                               MPI_COMM_WORLD, &e->waiting);
    return code == MPI_SUCCESS ? MN_OK : fail("MPI_Irecv", code);
}

static bool told(mn_transport *t, mn_note *note) {
    end *e = end_of(t);
    int came = 0;
    pthread_mutex_lock(&e->lock);
    if (e->waiting != MPI_REQUEST_NULL &&
        MPI_Test(&e->waiting, &came, MPI_STATUS_IGNORE) != MPI_SUCCESS)
        came = 0;
    if (came) {
        *note = e->inbox;
        e->leaving += note->kind == MN_NOTE_LEAVES;
        note->text[sizeof note->text - 1] = '\0';
        if (expect_note(e) != MN_OK) e->waiting = MPI_REQUEST_NULL;
    }
    pthread_mutex_unlock(&e->lock);
    return came;
}

/* ---- Life ---- */

/* The first process that leaves ends the others: mpirun sees to that. Until all have told that they give up, or for
 * two seconds, none leaves, so that each gets to say what it knows. */
static void wait_for_notes(mn_transport *t) {
    const double end_at = now() + 2;
    mn_note note;
    while (end_of(t)->leaving < t->size - 1 && now() < end_at)
        if (!told(t, &note)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* After a failure MPI is left as it is: MPI_Finalize would wait for the others. So is the memory of this end, which
 * messages may be on their way in and out of. */
static void close_end(mn_transport *t, bool orderly) {
    end *e = end_of(t);
    if (!orderly) {
        wait_for_notes(t);
        return;
    }
    if (e->waiting != MPI_REQUEST_NULL) {
        MPI_Cancel(&e->waiting);
        MPI_Wait(&e->waiting, MPI_STATUS_IGNORE); /* of a cancelled one: at once */
    }
    MPI_Finalize();
    pthread_mutex_destroy(&e->lock);
    free(e);
}

static mn_status start_mpi(end *e) {
    int provided = 0, found = 0, started = 0;
    int *greatest = NULL;
    MPI_Initialized(&started);
    if (started) return host->fail(MN_ERR_COMM, "MPI has been started before");
    const int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided);
    if (code != MPI_SUCCESS) return fail("MPI_Init_thread", code);
    if (provided < MPI_THREAD_SERIALIZED)
        return host->fail(MN_ERR_UNSUPPORTED, "this MPI does not work with threads");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &e->base.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &e->base.size);
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &greatest, &found);
    e->tags = found ? *greatest : 32767;
    return expect_note(e);
}

static mn_status open_end(mn_transport **out) {
    *out = NULL;
    end *e = calloc(1, sizeof *e);
    if (!e) return host->fail(MN_ERR_MEMORY, "no memory for MPI");
    e->waiting = MPI_REQUEST_NULL;
    e->base = (mn_transport){
        .processes = true,
        .start = start,
        .test = test,
        .pause = pause_for,
        .cancel = cancel,
        .tell = tell,
        .told = told,
        .close = close_end,
    };
    const mn_status st = start_mpi(e);
    if (st != MN_OK) {
        free(e);
        return st;
    }
    pthread_mutex_init(&e->lock, NULL);
    *out = &e->base;
    return MN_OK;
}

__attribute__((visibility("default"))) const mn_mpi_plugin *
mn_mpi_open(const mn_plugin_host *program);

const mn_mpi_plugin *mn_mpi_open(const mn_plugin_host *program) {
    static mn_mpi_plugin plugin = {
        .abi = MN_MPI_ABI,
        .transport_bytes = sizeof(mn_transport),
        .message_bytes = sizeof(mn_message),
        .note_bytes = sizeof(mn_note),
        .open = open_end,
    };
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int len = 0;
    host = program;
    MPI_Get_library_version(version, &len); /* "Open MPI v4.1.4, package: ..." or lines of MPICH */
    version[strcspn(version, ",\n")] = '\0';
    for (char *c = version; *c; c++)
        if (*c == '\t') *c = ' ';
    snprintf(plugin.library, sizeof plugin.library, "%.*s", (int)sizeof plugin.library - 1,
             version);
    return &plugin;
}
