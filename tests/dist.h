/* dist.h - the ranks of a test as threads: each with its own device, its place among tp and dp, and its own part of
 * the test, which returns a status (cmocka's assertions belong to the main thread). */
#ifndef MNEME_TEST_DIST_H
#define MNEME_TEST_DIST_H

#include "mneme/comm.h"
#include "mneme/device.h"

#include <stdio.h>
#include <string.h>

#define WANT(cond, ...) MN_CHECK(cond, MN_ERR_DATA, __VA_ARGS__)

/* What the ranks open: "cpu", or "cuda" for rank r on cuda:r. */
static const char *dist_device = "cpu";

typedef mn_status dist_main(const mn_ranks *ranks, mn_device *device, void *context);

typedef struct dist_job {
    int tp, dp;
    dist_main *main;
    void *context;
} dist_job;

static mn_status dist_rank(mn_comm *world, void *context) {
    const dist_job *job = context;
    mn_status st = MN_OK;
    mn_device *device = NULL;
    mn_ranks ranks;
    char spec[16];
    snprintf(spec, sizeof spec, strcmp(dist_device, "cuda") == 0 ? "cuda:%d" : "cpu",
             mn_comm_rank(world));
    MN_TRY(mn_ranks_open(&ranks, world, job->tp, job->dp));
    MN_GOTO(mn_device_open(&device, spec, 1));
    st = job->main(&ranks, device, job->context);
done:
    mn_device_close(&device);
    mn_ranks_close(&ranks);
    return st;
}

/* Runs tp * dp ranks and waits for them. */
static inline mn_status dist_run(int tp, int dp, dist_main *main, void *context) {
    const double patience = 300; /* seconds for a message: sanitizers are slow */
    dist_job job = {.tp = tp, .dp = dp, .main = main, .context = context};
    return mn_comm_threads(tp * dp, patience, dist_rank, &job);
}

#endif
