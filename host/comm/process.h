/* process.h (internal) - who a rank is, and whether it still runs, as the operating system of this host sees it. */
#ifndef MNEME_COMM_PROCESS_H
#define MNEME_COMM_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mn_process {
    char host[64]; /* "node3" */
    int64_t id;
    uint64_t begun; /* tells it from a later process with the same id */
    uint64_t
        place; /* the running system and its table of processes: equal where ids mean the same */
} mn_process;

typedef enum mn_process_state {
    MN_PROCESS_RUNS,
    MN_PROCESS_GONE,
    MN_PROCESS_STOPPED
} mn_process_state;

void mn_process_self(mn_process *out);
/* Of a process at the same place. What cannot be seen runs. */
mn_process_state mn_process_look(const mn_process *process);

#endif
