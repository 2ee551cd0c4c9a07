/* signals.c - the stop flag, and whether SIGINT came before. The only state that a signal handler may touch. */
#include "mneme/signals.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

/* Ranks as threads set it as well as handlers do, which may write what needs no lock. */
static atomic_int stop;
static atomic_int interrupted; /* by a SIGINT; a stop may have been asked for in other ways */
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "a handler writes the flags");

static void on_signal(int number) {
    if (number == SIGINT && atomic_exchange(&interrupted, 1)) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
    }
    stop = 1;
}

void mn_stop_install(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

bool mn_stop_requested(void) { return stop != 0; }

void mn_stop_request(void) { stop = 1; }
