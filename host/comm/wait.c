/* wait.c - the one place where a rank waits for others, and what ends a wait: everything has come, a rank has ended,
 * hangs or gave up, the time is over. */
#include "comm/group.h"
#include "mneme/log.h"
#include "mneme/signals.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Looks at the other processes, seconds; more often when a stop is asked for: mpirun asks the others for it when one
 * has ended, and kills them a second later. */
static const double look_every = 0.25, look_every_stopping = 0.05;
/* So many looks in a row must find a rank stopped: a job that is suspended as a whole wakes up one by one. */
enum { LOOKS_STOPPED = 20 };
/* Behind the time limit: for the others to tell for whom they wait, seconds. */
static const double answers_take = 2;

typedef struct wait_state {
    double now, waited, looked; /* seconds; `waited` counts while this process ran */
    int stopped_looks;          /* in a row with a stopped rank */
    bool told;                  /* for whom this rank waits */
    int rounds;
} wait_state;

/* ---- A broken group ---- */

static mn_status broken_error(mn_world *w) {
    mn_error_record error;
    pthread_mutex_lock(&w->lock);
    error = w->error;
    pthread_mutex_unlock(&w->lock);
    return mn_error_restore(&error);
}

/* Breaks the group: what the note says, and what this rank was doing, is the error of every call from now on. */
static mn_status break_group(mn_comm *c, const mn_note *note) {
    mn_world *w = c->world;
    pthread_mutex_lock(&w->lock);
    if (!w->broken) {
        char place[64] = "";
        if (c->call) snprintf(place, sizeof place, "%s of %zu bytes: ", c->call, c->call_bytes);
        w->error.status = MN_ERR_COMM;
        snprintf(w->error.text, sizeof w->error.text, "%s%.*s", place,
                 (int)(sizeof w->error.text - sizeof place), note->text);
        w->note = *note;
        w->broken = true;
    }
    pthread_mutex_unlock(&w->lock);
    return broken_error(w);
}

/* Breaks it for all, with a note that this rank wrote. */
static mn_status break_and_tell(mn_comm *c, mn_note *note) {
    note->kind = MN_NOTE_BREAKS;
    note->origin = c->world->transport->rank;
    const mn_status st = break_group(c, note);
    c->world->transport->tell(c->world->transport, note);
    return st;
}

mn_status mn_comm_break(mn_comm *c, const char *why) {
    mn_note note = {0};
    snprintf(note.text, sizeof note.text, "rank %d (%s): %.900s", c->world->transport->rank,
             c->world->peers[c->world->transport->rank].host, why);
    return break_and_tell(c, &note);
}

void mn_comm_abort(mn_comm *c) {
    if (!c) return;
    mn_world *w = c->world;
    /* The others know. But what another gave up for, with the same words, may be this rank's own failure. */
    if (w->broken && (w->own || strcmp(w->note.text + w->note.words, mn_error()) != 0)) return;
    mn_error_record saved;
    mn_error_save(&saved);
    mn_note note = {.kind = MN_NOTE_BREAKS, .origin = w->transport->rank};
    note.words = snprintf(note.text, sizeof note.text, "rank %d (%s): ", note.origin,
                          w->peers[note.origin].host);
    snprintf(note.text + note.words, sizeof note.text - (size_t)note.words, "%.900s", saved.text);
    c->call = NULL;
    break_group(c, &note);
    w->own = true;
    w->transport->tell(w->transport, &note);
    mn_error_restore(&saved);
}

bool mn_comm_echoes(mn_comm *c) {
    if (!c || !c->world->broken || !c->world->own) return false;
    mn_world *w = c->world;
    const char *words = w->note.text + w->note.words;
    if (w->note.origin < w->transport->rank && strcmp(words, mn_error()) == 0) return true;
    const struct timespec moment = {.tv_nsec = 1000000};
    mn_note note;
    for (const double end = mn_now() + 1; w->transport->rank > 0 && mn_now() < end;) {
        if (!w->transport->told(w->transport, &note)) nanosleep(&moment, NULL);
        else if (note.kind != MN_NOTE_WAITS && note.origin < w->transport->rank &&
                 strcmp(note.text + note.words, words) == 0)
            return true;
    }
    return false;
}

void mn_comm_leave(mn_world *w) {
    mn_note note = w->note;
    note.kind = MN_NOTE_LEAVES;
    note.origin = w->transport->rank;
    if (w->broken) w->transport->tell(w->transport, &note);
}

/* ---- What became of the others ---- */

/* Appends "rank 2 (node3)". */
static void add_rank(mn_note *note, const mn_world *w, int rank) {
    const size_t used = strlen(note->text);
    snprintf(note->text + used, sizeof note->text - used, "rank %d (%s)", rank,
             w->peers[rank].host);
}

static void add_text(mn_note *note, const char *text) {
    const size_t used = strlen(note->text);
    snprintf(note->text + used, sizeof note->text - used, "%s", text);
}

/* A thread that returned while a message of it is missing. One that was seen to have returned has sent and taken all
 * that it ever will: only then another test tells the truth. */
static bool see_threads(mn_comm *c, mn_note *note) {
    mn_world *w = c->world;
    for (int i = 0; i < c->count; i++) {
        mn_message *m = &c->messages[i];
        if (m->done || !w->transport->ended(w->transport, m->peer)) continue;
        if (w->transport->test(w->transport, m, 1) != MN_OK || m->done) continue;
        add_rank(note, w, m->peer);
        add_text(note, " has ended");
        return true;
    }
    return false;
}

/* A process of this host that is gone, or has been stopped for some time: any, since no rank can do without the
 * others, and the one that is waited for may itself wait for it. */
static bool see_processes(mn_comm *c, wait_state *s, mn_note *note) {
    mn_world *w = c->world;
    const int mine = w->transport->rank;
    bool one_is_stopped = false;
    char text[64];
    for (int r = 0; r < w->transport->size; r++) {
        const mn_process *p = &w->peers[r];
        if (r == mine || p->place != w->peers[mine].place) continue;
        const mn_process_state state = mn_process_look(p);
        if (state == MN_PROCESS_RUNS) continue;
        if (state == MN_PROCESS_STOPPED) {
            one_is_stopped = true;
            if (s->stopped_looks < LOOKS_STOPPED) continue;
        }
        add_rank(note, w, r);
        snprintf(text, sizeof text, " %s (process %lld)",
                 state == MN_PROCESS_GONE ? "has ended" : "is stopped", (long long)p->id);
        add_text(note, text);
        return true;
    }
    s->stopped_looks = one_is_stopped ? s->stopped_looks + 1 : 0;
    return false;
}

/* Some rank that this one waits for; -1 when there is none. */
static int first_missing(const mn_comm *c) {
    for (int i = 0; i < c->count; i++)
        if (!c->messages[i].done) return c->messages[i].peer;
    return -1;
}

static void tell_missing(mn_comm *c) {
    mn_transport *t = c->world->transport;
    const mn_note note = {.kind = MN_NOTE_WAITS, .origin = t->rank, .missing = first_missing(c)};
    t->tell(t, &note);
}

/* Names the one who keeps all waiting: not the one that is missing here when that one waits itself. */
static void see_late(mn_comm *c, mn_note *note) {
    mn_world *w = c->world;
    char text[64];
    int late = first_missing(c);
    for (int steps = 0; steps < w->transport->size && w->missing[late] >= 0; steps++)
        late = w->missing[late];
    add_rank(note, w, late);
    snprintf(text, sizeof text, " has not come within %g s", w->timeout);
    add_text(note, text);
}

/* Takes the notes that came. Fails when one of them breaks the group. */
static mn_status take_notes(mn_comm *c) {
    mn_world *w = c->world;
    mn_note note;
    while (w->transport->told(w->transport, &note)) {
        if (note.kind != MN_NOTE_WAITS) return break_group(c, &note);
        w->missing[note.origin] = note.missing;
        w->asked = true;
    }
    return MN_OK;
}

/* One look around: fails when the wait is in vain. `s` may begin as zeros. */
static mn_status look(mn_comm *c, wait_state *s) {
    mn_world *w = c->world;
    mn_note note = {0};
    if (w->broken) return broken_error(w);
    MN_TRY(take_notes(c));
    const double now = mn_now(), step = s->now > 0 ? now - s->now : 0;
    s->now = now;
    s->waited += step < 1 ? step : 1; /* a process that was stopped itself has not waited */
    if (!w->transport->processes) {
        if (see_threads(c, &note)) return break_and_tell(c, &note);
    } else if (now - s->looked >= (mn_stop_requested() ? look_every_stopping : look_every)) {
        s->looked = now;
        if (see_processes(c, s, &note)) return break_and_tell(c, &note);
    }
    if (c->count == 0) return MN_OK; /* mn_comm_check: it waits for no messages */
    if (!s->told && (w->asked || s->waited >= w->timeout)) {
        s->told = true;
        tell_missing(c);
    }
    if (s->waited < w->timeout + answers_take) return MN_OK;
    see_late(c, &note);
    return break_and_tell(c, &note);
}

mn_status mn_comm_check(mn_comm *c) {
    if (!c) return MN_OK;
    wait_state s = {.stopped_looks = c->stopped_looks};
    c->count = 0;
    const mn_status st = look(c, &s);
    c->stopped_looks = s.stopped_looks;
    return st;
}

/* ---- Messages ---- */

mn_status mn_call_begin(mn_comm *c, const char *call, size_t bytes) {
    c->call = call;
    c->call_bytes = bytes;
    c->count = 0;
    return c->world->broken ? broken_error(c->world) : take_notes(c);
}

static mn_message *next_message(mn_comm *c, int rank, size_t bytes) {
    mn_message *m = &c->messages[c->count++];
    *m = (mn_message){.peer = c->ranks[rank], .channel = c->channel, .bytes = bytes};
    return m;
}

void mn_send(mn_comm *c, int rank, const void *from, size_t bytes) {
    mn_message *m = next_message(c, rank, bytes);
    m->sends = true;
    m->from = from;
}

void mn_receive(mn_comm *c, int rank, void *into, size_t bytes) {
    next_message(c, rank, bytes)->into = into;
}

static bool all_done(const mn_comm *c) {
    for (int i = 0; i < c->count; i++)
        if (!c->messages[i].done) return false;
    return true;
}

mn_status mn_exchange(mn_comm *c) {
    mn_transport *t = c->world->transport;
    wait_state s = {0};
    mn_status st = t->start(t, c->messages, c->count);
    while (st == MN_OK) {
        st = t->test(t, c->messages, c->count);
        if (st != MN_OK || all_done(c)) break;
        st = look(c, &s);
        /* A rank that has just left may have sent before what this call waits for; then it is whole. */
        if (st != MN_OK && t->test(t, c->messages, c->count) == MN_OK && all_done(c)) {
            st = MN_OK;
            break;
        }
        if (st == MN_OK) t->pause(t, c->messages, c->count, s.rounds++);
    }
    if (st != MN_OK) {
        t->cancel(t, c->messages, c->count);
        if (!c->world->broken) st = mn_comm_break(c, mn_error()); /* the transport itself failed */
    }
    c->count = 0;
    return st;
}
