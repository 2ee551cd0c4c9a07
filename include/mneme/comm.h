/* comm.h - ranks that do one job together: messages between their host memories, sums between their devices.
 *
 * A communicator is a group of ranks 0 .. size-1, one per process (MPI) or per thread (tests). NULL is the group of
 * one that needs no messages: every function takes it. Calls are collective: all ranks of the group make the same
 * calls in the same order, each from one thread at a time. They block until this rank's part is done and its
 * buffers may be used again; buffers are the caller's, host memory unless said.
 *
 * Sums are made in the order of the ranks: all ranks get the same bits, and the next run does, too. Sums between GPUs
 * are NCCL's: the same bits on all ranks and in every run on the same GPUs, but in an order of its own.
 *
 * A call fails (MN_ERR_COMM) when another rank has ended, has given up (mn_comm_abort) or has not come within the
 * time limit; the message names that rank, its host, the call and its bytes. The group is then broken: later calls
 * fail at once with the same message, also those of all other groups of these ranks. Nobody waits longer than the limit
 * and two seconds, in which those who wait find out whom all are waiting for. */
#ifndef MNEME_COMM_H
#define MNEME_COMM_H

#include "mneme/buf.h"
#include "mneme/device.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mn_comm mn_comm;

enum { MN_COMM_TIMEOUT = 600 }; /* default of the time limit, seconds */

typedef enum mn_comm_type { MN_COMM_F32, MN_COMM_F64, MN_COMM_I64 } mn_comm_type;
typedef enum mn_comm_op { MN_COMM_SUM, MN_COMM_MAX } mn_comm_op; /* MAX: a NaN wins */

static inline int mn_comm_rank(const mn_comm *comm);
static inline int mn_comm_size(const mn_comm *comm);

/* ---- Making and ending groups ---- */

/* The group of a launcher (mpirun, srun), all of its processes; *out stays NULL without one, or with one process.
 * MPI is opened only when a launcher's environment is found: its plug-in, libmneme_mpi.so, is optional. */
mn_status mn_comm_launched(mn_comm **out, double timeout);
/* How many processes the launcher started; 1 without one. Opens nothing. */
int mn_comm_started(void);

/* What stands between this process and MPI. */
typedef struct mn_mpi_state {
    int started;       /* as mn_comm_started has it */
    char launcher[32]; /* "mpirun (Open MPI)"; "": nobody who starts several */
    char plugin[512];  /* its file; "" when it was not found */
    char library[128]; /* "Open MPI v4.1.4" */
    char why[1024];    /* why there is none; "" when there is */
} mn_mpi_state;
bool mn_mpi_probe(mn_mpi_state *out); /* loads MPI, without starting it */

/* `size` ranks as threads of this process: runs `rank_main` in each and waits for all. Every rank has its own error
 * record; the first rank's that failed becomes the caller's. A rank that returns early with a failure breaks the
 * group for the others. The communicator is lent: closing it, or handing it to mn_ranks_open, leaves it as it is.
 * size 1: the caller's own thread, and NULL. */
typedef mn_status mn_comm_main(mn_comm *comm, void *context);
mn_status mn_comm_threads(int size, double timeout, mn_comm_main *rank_main, void *context);

/* A group of those with the same `color`, ordered by rank. Closed before its parent. */
mn_status mn_comm_split(mn_comm **out, mn_comm *parent, int color);
/* Safe twice. That of all ranks waits for the others (who leaves is taken for dead), but after a failure two seconds at
 * most; then MPI is left as it is, and the process must end by _exit. */
void mn_comm_close(mn_comm **comm);
/* Tells the others that this rank gives up and why (mn_error()); they fail with that text at their next call, or in
 * the one that they wait in. Waits for nobody. */
void mn_comm_abort(mn_comm *comm);
/* Behind mn_comm_abort: whether a rank below this one gives up with the same words; one of them is enough for whoever
 * reads. Waits for a second at most. */
bool mn_comm_echoes(mn_comm *comm);
const char *mn_comm_host(const mn_comm *comm, int rank); /* "node3" */

/* ---- Host memory ---- */

mn_status mn_comm_all_reduce(mn_comm *comm, void *data, int64_t count, mn_comm_type type,
                             mn_comm_op op); /* in place */
/* out = the `bytes` of every rank, one behind the other; `mine` may be this rank's part of `out`. */
mn_status mn_comm_all_gather(mn_comm *comm, void *out, const void *mine, size_t bytes);
/* Appends what every rank has, of any length, in the order of the ranks; only at `root`, or (root < 0) everywhere. */
mn_status mn_comm_gather(mn_comm *comm, mn_buf *out, const void *mine, size_t bytes, int root);
mn_status mn_comm_broadcast(mn_comm *comm, void *data, size_t bytes, int root);
mn_status mn_comm_barrier(mn_comm *comm);

/* All ranks return the same: the status of the lowest rank that has one other than MN_OK, with its message ("rank 2
 * (node3): ..."). For what may fail on one rank alone. */
mn_status mn_comm_agree(mn_comm *comm, mn_status mine);
/* *stop = a stop was requested (signals.h) at some rank; then it is at all. Once per step of every long loop. */
mn_status mn_comm_stop(mn_comm *comm, bool *stop);

/* ---- Device memory: sums and gathers take their turn among the device's kernels ---- */

/* Before the first of them: what the device itself needs (NCCL on CUDA; nothing on the CPU). Refuses two ranks on one
 * GPU by name; MN_ERR_UNSUPPORTED, with the package's name, without NCCL. Collective; nothing happens a second time.
 * A group and its devices may be closed in any order. */
mn_status mn_comm_attach(mn_comm *comm, mn_device *device);
/* That refusal alone, for ranks that never sum with each other. Collective. */
mn_status mn_comm_distinct(mn_comm *comm, mn_device *device);
/* x = sum or maximum over the ranks, in place, f32. On CUDA it may return before it is done. */
mn_status mn_comm_reduce_tensor(mn_comm *comm, mn_device *device, mn_tensor *x, mn_comm_op op);
/* out (size, ...) = x of every rank; same type, contiguous. */
mn_status mn_comm_gather_tensor(mn_comm *comm, mn_device *device, mn_tensor *out,
                                const mn_tensor *x);

/* What the last two did on this rank since the group was made: calls, and bytes of x. For comparison with a plan. */
typedef struct mn_comm_traffic {
    int64_t calls, bytes;
} mn_comm_traffic;
mn_comm_traffic mn_comm_tensor_traffic(const mn_comm *comm);

/* ---- The ranks of one job ---- */

/* world = dp replicas of tp ranks that share one model; world rank = replica * tp + its rank in tp. */
typedef struct mn_ranks {
    mn_comm *world, *tp, *dp; /* NULL: of one */
} mn_ranks;
/* tp * dp must be the size of the world; dp 0: what is left. Takes the world over, in any case. */
mn_status mn_ranks_open(mn_ranks *out, mn_comm *world, int tp, int dp);
void mn_ranks_close(mn_ranks *ranks);
/* How a part of the job ends that may have failed on this rank alone: all return the same (mn_comm_agree). Where ranks
 * share a model, others may wait inside a pass for the one that failed: then it gives up for all (mn_comm_abort). What
 * fails inside a collective call just returns: the group is broken. NULL: alone. */
mn_status mn_ranks_agree(const mn_ranks *ranks, mn_status mine);

/* The part of `total` that rank `rank` of `size` has: [begin, begin + count), parts that differ by one at most. */
static inline int64_t mn_part_begin(int64_t total, int rank, int size) {
    return total / size * rank + (rank < total % size ? rank : total % size);
}
static inline int64_t mn_part_count(int64_t total, int rank, int size) {
    return mn_part_begin(total, rank + 1, size) - mn_part_begin(total, rank, size);
}

/* What all kinds of groups begin with (host/comm has the rest). */
struct mn_comm_head {
    int rank, size;
};
static inline int mn_comm_rank(const mn_comm *comm) {
    return comm ? ((const struct mn_comm_head *)(const void *)comm)->rank : 0;
}
static inline int mn_comm_size(const mn_comm *comm) {
    return comm ? ((const struct mn_comm_head *)(const void *)comm)->size : 1;
}

#endif
