/* ranks.c - a program for mpirun: what ranks do together, or what they say when one of them is lost.
 *   ranks suite            all of test_comm.h
 *   ranks work [LIMIT]     sums of 4000 bytes without end; each rank first writes "rank R is process P"
 *   ranks fail             rank 2 fails by itself while the others work
 *   ranks late             rank 1 does not come, the limit is 2 s
 * Leaves with 0, or with 1 and the error on standard error. */
#include "../test_comm.h"
#include "mneme/signals.h"

#include <unistd.h>

/* Like a training: alternately with those that share a model and with those that share the work. */
static mn_status work(const mn_ranks *ranks, const char *mode) {
    float x[1000] = {0};
    const int rank = mn_comm_rank(ranks->world);
    for (int64_t step = 0;; step++) {
        MN_TRY(mn_comm_all_reduce(ranks->tp, x, 1000, MN_COMM_F32, MN_COMM_SUM));
        MN_TRY(mn_comm_all_reduce(ranks->dp, x, 1000, MN_COMM_F32, MN_COMM_MAX));
        if (step == 0) printf("rank %d is process %lld\n", rank, (long long)getpid());
        fflush(stdout);
        if (step < 50) continue;
        usleep(1000);
        if (strcmp(mode, "fail") == 0 && rank == 2)
            return mn_fail(MN_ERR_IO, "prepared/x: the disk is full");
        if (strcmp(mode, "late") == 0 && rank == 1) sleep(20);
    }
}

static mn_status run(mn_comm *world, const char *mode) {
    mn_status st = MN_OK;
    mn_ranks ranks = {.world = world};
    if (strcmp(mode, "suite") == 0) {
        st = comm_suite(world, NULL);
        if (st == MN_OK && mn_comm_rank(world) == 0)
            printf("%d ranks, %s\n", mn_comm_size(world), st == MN_OK ? "all well" : mn_error());
    } else {
        MN_GOTO(mn_ranks_open(&ranks, world, 2, 0));
        world = NULL;
        st = work(&ranks, mode);
    }
done:
    if (st != MN_OK) {
        fprintf(stderr, "rank %d: %s\n", mn_comm_rank(ranks.world), mn_error());
        mn_comm_abort(ranks.world);
    }
    mn_ranks_close(&ranks);
    return st;
}

int main(int argc, char **argv) {
    mn_stop_install(); /* mpirun asks the others to stop when one has ended */
    mn_comm *world = NULL;
    const char *mode = argc > 1 ? argv[1] : "suite";
    const double limit = argc > 2 ? strtod(argv[2], NULL) : strcmp(mode, "late") == 0 ? 2 : 600;
    mn_status st = mn_comm_launched(&world, limit);
    if (st == MN_OK) st = run(world, mode);
    else fprintf(stderr, "%s\n", mn_error());
    _exit(st != MN_OK); /* MPI cannot be left otherwise after a failure */
}
