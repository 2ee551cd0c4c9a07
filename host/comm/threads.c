/* threads.c - ranks as threads of one process, for tests: every rank has a box in which the others lay what they send,
 * and takes it from there with one copy. */
#include "comm/group.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The states of a message that is sent; guarded by the lock. While it is copied the lock is free. */
enum { POSTED, TAKEN, FINISHED };

typedef struct box {
    mn_message *first, **end; /* what others have sent to this rank */
    pthread_cond_t changed;   /* something happened that may matter to this rank */
    bool ended;
    mn_note *notes; /* (size) the last one of each other rank */
    bool *news;     /* (size) which were not taken yet */
} box;

typedef struct hub {
    pthread_mutex_t lock; /* of all that follows */
    int size, open;       /* open: boxes whose condition exists */
    box *boxes;           /* (size) */
    bool noted;
    mn_note note;            /* the first: later ones are its consequences */
    mn_error_record failure; /* of the first rank that failed */
} hub;

typedef struct end {   /* one rank's end of the hub */
    mn_transport base; /* first: its address is the end's */
    hub *hub;
} end;

static hub *hub_of(mn_transport *t) { return ((end *)(void *)t)->hub; }

/* ---- The transport ---- */

static mn_status start(mn_transport *t, mn_message *messages, int count) {
    hub *h = hub_of(t);
    pthread_mutex_lock(&h->lock);
    for (int i = 0; i < count; i++) {
        mn_message *m = &messages[i];
        m->source = t->rank;
        m->request = POSTED;
        m->next = NULL;
        if (!m->sends) continue;
        box *b = &h->boxes[m->peer];
        *b->end = m;
        b->end = &m->next;
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&h->lock);
    return MN_OK;
}

/* Where the link to the first message for m is: *link is NULL when none has come. */
static mn_message **find(box *b, const mn_message *m) {
    mn_message **link = &b->first;
    while (*link && ((*link)->source != m->peer || (*link)->channel != m->channel))
        link = &(*link)->next;
    return link;
}

static void unlink_message(box *b, mn_message **link) {
    if (b->end == &(*link)->next) b->end = link;
    *link = (*link)->next;
}

/* Takes what has come for m. Called with the lock, which it leaves while it copies. */
static mn_status take(hub *h, int rank, mn_message *m) {
    mn_message **link = find(&h->boxes[rank], m);
    mn_message *sent = *link;
    if (!sent) return MN_OK;
    if (sent->bytes != m->bytes)
        return mn_fail(MN_ERR_COMM, "rank %d sent %zu bytes where %zu were expected", m->peer,
                       sent->bytes, m->bytes);
    unlink_message(&h->boxes[rank], link);
    sent->request = TAKEN;
    pthread_mutex_unlock(&h->lock);
    if (m->bytes > 0) memcpy(m->into, sent->from, m->bytes);
    pthread_mutex_lock(&h->lock);
    sent->request = FINISHED; /* the last access: the sender may now forget it */
    m->done = true;
    pthread_cond_broadcast(&h->boxes[m->peer].changed);
    return MN_OK;
}

static mn_status test(mn_transport *t, mn_message *messages, int count) {
    hub *h = hub_of(t);
    mn_status st = MN_OK;
    pthread_mutex_lock(&h->lock);
    for (int i = 0; i < count && st == MN_OK; i++) {
        mn_message *m = &messages[i];
        if (m->done) continue;
        if (m->sends) m->done = m->request == FINISHED;
        else st = take(h, t->rank, m);
    }
    pthread_mutex_unlock(&h->lock);
    return st;
}

/* Whether a test would find more, or the wait is in vain. */
static bool changed(hub *h, int rank, const mn_message *messages, int count) {
    box *b = &h->boxes[rank];
    for (int r = 0; r < h->size; r++)
        if (b->news[r]) return true;
    for (int i = 0; i < count; i++) {
        const mn_message *m = &messages[i];
        if (m->done) continue;
        if (h->boxes[m->peer].ended) return true;
        if (m->sends ? m->request == FINISHED : *find(b, m) != NULL) return true;
    }
    return false;
}

static void pause_for(mn_transport *t, const mn_message *messages, int count, int rounds) {
    enum { NANOSECONDS = 100000000 }; /* the caller looks at its time limit */
    hub *h = hub_of(t);
    struct timespec until;
    (void)rounds;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += NANOSECONDS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&h->lock);
    while (!changed(h, t->rank, messages, count))
        if (pthread_cond_timedwait(&h->boxes[t->rank].changed, &h->lock, &until) != 0) break;
    pthread_mutex_unlock(&h->lock);
}

static void cancel(mn_transport *t, mn_message *messages, int count) {
    hub *h = hub_of(t);
    pthread_mutex_lock(&h->lock);
    for (int i = 0; i < count; i++) {
        mn_message *m = &messages[i];
        if (!m->sends || m->done) continue;
        box *b = &h->boxes[m->peer];
        mn_message **link = &b->first;
        while (*link && *link != m) link = &(*link)->next;
        if (*link) unlink_message(b, link);
        else
            while (m->request == TAKEN) /* it is being copied */
                pthread_cond_wait(&h->boxes[t->rank].changed, &h->lock);
    }
    pthread_mutex_unlock(&h->lock);
}

static void wake_all(hub *h) {
    for (int r = 0; r < h->size; r++) pthread_cond_broadcast(&h->boxes[r].changed);
}

static void tell(mn_transport *t, const mn_note *note) {
    hub *h = hub_of(t);
    pthread_mutex_lock(&h->lock);
    for (int r = 0; r < h->size; r++) {
        if (r == t->rank) continue;
        h->boxes[r].notes[t->rank] = *note;
        h->boxes[r].news[t->rank] = true;
    }
    wake_all(h);
    pthread_mutex_unlock(&h->lock);
}

static bool told(mn_transport *t, mn_note *note) {
    hub *h = hub_of(t);
    box *b = &h->boxes[t->rank];
    bool news = false;
    pthread_mutex_lock(&h->lock);
    for (int r = 0; r < h->size && !news; r++) {
        news = b->news[r];
        if (news) *note = b->notes[r];
        b->news[r] = false;
    }
    pthread_mutex_unlock(&h->lock);
    return news;
}

static bool ended(mn_transport *t, int rank) {
    hub *h = hub_of(t);
    pthread_mutex_lock(&h->lock);
    const bool has = h->boxes[rank].ended;
    pthread_mutex_unlock(&h->lock);
    return has;
}

static void close_end(mn_transport *t, bool orderly) {
    (void)orderly;
    free(t);
}

static mn_status open_end(mn_transport **out, hub *h, int rank) {
    end *e = calloc(1, sizeof *e);
    *out = NULL;
    MN_CHECK(e, MN_ERR_MEMORY, "no memory for rank %d", rank);
    e->hub = h;
    e->base = (mn_transport){
        .rank = rank,
        .size = h->size,
        .start = start,
        .test = test,
        .pause = pause_for,
        .cancel = cancel,
        .tell = tell,
        .told = told,
        .ended = ended,
        .close = close_end,
    };
    *out = &e->base;
    return MN_OK;
}

/* ---- The threads ---- */

typedef struct rank_start {
    hub *hub;
    int rank;
    double timeout;
    mn_comm_main *rank_main;
    void *context;
    pthread_t thread;
} rank_start;

/* The first failure is the cause, what the other ranks return its consequence. */
static void note_failure(hub *h, mn_status st) {
    if (st == MN_OK) return;
    pthread_mutex_lock(&h->lock);
    if (h->failure.status == MN_OK) mn_error_save(&h->failure);
    h->failure.status = h->failure.status == MN_OK ? st : h->failure.status;
    pthread_mutex_unlock(&h->lock);
}

static void *run_rank(void *argument) {
    rank_start *s = argument;
    mn_transport *transport = NULL;
    mn_comm *comm = NULL;
    mn_status st = open_end(&transport, s->hub, s->rank);
    if (st == MN_OK) st = mn_world_open(&comm, transport, s->timeout);
    if (comm) comm->lent = true;
    if (st == MN_OK) st = s->rank_main(comm, s->context);
    note_failure(s->hub, st);
    if (st != MN_OK && st != MN_STOPPED) mn_comm_abort(comm); /* to stop, all have agreed */
    pthread_mutex_lock(&s->hub->lock);
    s->hub->boxes[s->rank].ended = true;
    wake_all(s->hub);
    pthread_mutex_unlock(&s->hub->lock);
    mn_world_free(&comm, st == MN_OK);
    return NULL;
}

static void hub_close(hub *h) {
    for (int r = 0; r < h->open; r++) {
        pthread_cond_destroy(&h->boxes[r].changed);
        free(h->boxes[r].notes);
        free(h->boxes[r].news);
    }
    pthread_mutex_destroy(&h->lock);
    free(h->boxes);
}

static mn_status hub_open(hub *h, int size) {
    pthread_condattr_t attr;
    bool memory = true;
    *h = (hub){.lock = PTHREAD_MUTEX_INITIALIZER, .size = size};
    h->boxes = calloc((size_t)size, sizeof *h->boxes);
    MN_CHECK(h->boxes, MN_ERR_MEMORY, "no memory for %d ranks", size);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    for (; h->open < size; h->open++) {
        box *b = &h->boxes[h->open];
        b->end = &b->first;
        b->notes = calloc((size_t)size, sizeof *b->notes);
        b->news = calloc((size_t)size, sizeof *b->news);
        pthread_cond_init(&b->changed, &attr);
        memory &= b->notes && b->news;
    }
    pthread_condattr_destroy(&attr);
    MN_CHECK(memory, MN_ERR_MEMORY, "no memory for %d ranks", size);
    return MN_OK;
}

mn_status mn_comm_threads(int size, double timeout, mn_comm_main *rank_main, void *context) {
    MN_CHECK(size >= 1, MN_ERR_USAGE, "%d ranks: at least one is needed", size);
    if (size == 1) return rank_main(NULL, context);
    hub h;
    int started = 0;
    mn_status st = hub_open(&h, size);
    rank_start *starts = calloc((size_t)size, sizeof *starts);
    if (st == MN_OK && !starts) st = mn_fail(MN_ERR_MEMORY, "no memory for %d ranks", size);
    for (; st == MN_OK && started < size; started++) {
        rank_start *s = &starts[started];
        *s = (rank_start){&h, started, timeout, rank_main, context, 0};
        if (pthread_create(&s->thread, NULL, run_rank, s) != 0) {
            st = mn_fail(MN_ERR_MEMORY, "rank %d: no thread can be started", started);
            break;
        }
    }
    if (st != MN_OK && started > 0) { /* those that run miss the others */
        pthread_mutex_lock(&h.lock);
        for (int r = started; r < size; r++) h.boxes[r].ended = true;
        wake_all(&h);
        pthread_mutex_unlock(&h.lock);
    }
    for (int r = 0; r < started; r++) pthread_join(starts[r].thread, NULL);
    free(starts);
    hub_close(&h);
    if (st != MN_OK) return st;
    return h.failure.status == MN_OK ? MN_OK : mn_error_restore(&h.failure);
}
