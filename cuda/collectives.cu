/* collectives.cu - sums and gathers between GPUs, through NCCL.
 *
 * Collectives are work in the device's one stream, between its kernels. Communicators are non-blocking: no call of NCCL
 * waits for another rank, and we ask until it is done, with an eye on the clock and on the other ranks. NCCL puts a
 * collective of such a communicator into the stream from a thread that it starts for it, hence the asking behind each
 * one too: what is launched next must come behind it. Blocking communicators would save that thread, and could hang.
 *
 * Whoever waits for the device (mn_cuda_wait) may wait for a rank that is gone. The first thing that goes wrong aborts
 * all groups of the device, which ends NCCL's kernels, so that memory and stream can be given back. The other ranks are
 * told before that, since an abort may wait for theirs. A communicator that failed, or whose ranks have one that gave
 * up, is never finalized: that waits for all of them.
 *
 * The order of sums is NCCL's. All ranks get the same bits, and so does the next run on the same GPUs: rings and trees
 * follow from the topology, the size of the sum chooses among them. Another topology, number of ranks, version of NCCL,
 * algorithm or protocol (NCCL_ALGO, NCCL_PROTO) may add in another order. Sums in NVLink's switches are off unless
 * asked for (nccl_api.c). */
#include "cuda/collectives.h"

#include "cuda/device.h"
#include "cuda/nccl_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static_assert(sizeof(ncclUniqueId) == MN_DEVICE_ID, "NCCL's id has another size");

struct mn_device_group {
    const mn_nccl *nccl;
    ncclComm_t comm;   /* NULL once it was left or has failed */
    mn_stream *stream; /* NULL: its device was closed */
    mn_device_ranks ranks;
    char what[64]; /* the last collective: "sum of 4096 bytes" */
    mn_device_group *next;
};

/* ---- Waiting ------------------------------------------------------------------------------------ */

/* A wait asks at once, then sleeps between questions; the other ranks are looked at now and then. */
typedef struct patience {
    double begun, looked;
    int asked;
} patience;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void abort_all(mn_stream *s) {
    for (mn_device_group *g = s->groups; g; g = g->next) {
        if (g->comm) g->nccl->ncclCommAbort(g->comm);
        g->comm = NULL;
    }
}

/* The group cannot go on: tells the other ranks, then ends what waits on the device. */
static mn_status give_up(mn_device_group *g, const char *what, const char *why) {
    char text[512];
    snprintf(text, sizeof text, "NCCL, %s: %s", what, why);
    const mn_status st = g->ranks.give_up(g->ranks.context, text);
    abort_all(g->stream);
    return st;
}

/* The device itself has failed: likewise for all its groups. Its own error stays. */
static mn_status device_failed(mn_stream *s, cudaError_t code) {
    mn_error_record cause;
    (void)mn_cuda_check(code, "waiting for the device");
    mn_error_save(&cause);
    for (mn_device_group *g = s->groups; g; g = g->next)
        (void)g->ranks.give_up(g->ranks.context, cause.text);
    abort_all(s);
    return mn_error_restore(&cause);
}

/* What another rank has said before it ended NCCL's connection, which is an error of NCCL here: its words, for which
 * there is a moment, tell more. MN_OK: nobody says anything. */
static mn_status words_of_others(mn_device_group *g) {
    const struct timespec pause = {0, 10000000};
    mn_status st = MN_OK;
    for (int i = 0; i < 20 && st == MN_OK; i++) {
        st = g->ranks.look(g->ranks.context);
        if (st == MN_OK) nanosleep(&pause, NULL);
    }
    if (st != MN_OK) abort_all(g->stream);
    return st;
}

/* What NCCL says about its own error. */
static mn_status nccl_failed(mn_device_group *g, const char *what, ncclResult_t result) {
    char why[384];
    MN_TRY(words_of_others(g));
    const char *detail = g->nccl->ncclGetLastError(g->comm);
    snprintf(why, sizeof why, "%s%s%.300s", g->nccl->ncclGetErrorString(result),
             detail && *detail ? ": " : "", detail ? detail : "");
    return give_up(g, what, why);
}

/* Before the next question: fails when it would be in vain. `what` is waited for. */
static mn_status go_on(mn_device_group *g, patience *p, const char *what) {
    enum { AT_ONCE = 1000 };
    static const double look_every = 0.02;
    const struct timespec pause = {0, 50000};
    if (p->asked++ < AT_ONCE) return MN_OK; /* most waits are over before a sleep would be */
    const double now = seconds();
    if (p->begun == 0) p->begun = now;
    if (now - p->looked >= look_every) {
        p->looked = now;
        const mn_status st = g->ranks.look(g->ranks.context);
        if (st != MN_OK) {
            abort_all(g->stream);
            return st;
        }
    }
    if (now - p->begun > g->ranks.limit) {
        char why[64];
        snprintf(why, sizeof why, "not done within %g s", g->ranks.limit);
        return give_up(g, what, why);
    }
    nanosleep(&pause, NULL);
    return MN_OK;
}

/* A call of NCCL that may be in progress: until it is done. */
static mn_status finish_call(mn_device_group *g, const char *what, ncclResult_t result) {
    patience p = {};
    while (result == ncclInProgress) {
        const ncclResult_t asked = g->nccl->ncclCommGetAsyncError(g->comm, &result);
        if (asked != ncclSuccess) result = asked;
        if (result == ncclInProgress) MN_TRY(go_on(g, &p, what));
    }
    return result == ncclSuccess ? MN_OK : nccl_failed(g, what, result);
}

static mn_status broken(mn_device_group *g) {
    MN_TRY(g->ranks.look(g->ranks.context)); /* says why */
    return mn_fail(MN_ERR_COMM, "rank %d: its group of GPUs was ended", g->ranks.rank);
}

mn_status mn_cuda_wait(mn_stream *s, cudaEvent_t event) {
    patience p = {};
    if (!s->groups)
        return mn_cuda_check(event ? cudaEventSynchronize(event) : cudaStreamSynchronize(s->stream),
                             "waiting for the device");
    for (;;) {
        const cudaError_t code = event ? cudaEventQuery(event) : cudaStreamQuery(s->stream);
        if (code != cudaSuccess && code != cudaErrorNotReady) return device_failed(s, code);
        for (mn_device_group *g = s->groups; g; g = g->next) {
            ncclResult_t result = ncclSuccess;
            if (!g->comm) return broken(g);
            const ncclResult_t asked = g->nccl->ncclCommGetAsyncError(g->comm, &result);
            if (asked != ncclSuccess || result != ncclSuccess)
                return nccl_failed(g, g->what, asked != ncclSuccess ? asked : result);
        }
        if (code == cudaSuccess) return MN_OK;
        cudaGetLastError(); /* "not ready" is no error of a launch */
        MN_TRY(go_on(s->groups, &p, s->groups->what));
    }
}

void mn_cuda_settle(mn_stream *s) {
    if (!s->groups) return;
    for (const mn_device_group *g = s->groups; g; g = g->next)
        if (!g->comm) return; /* aborted: nothing is waited for any more */
    mn_error_record before;
    mn_error_save(&before);
    (void)mn_cuda_wait(s, NULL);
    mn_error_restore(&before);
}

/* ---- Joining and leaving ------------------------------------------------------------------------ */

/* "GPU-8f2c4a1e... at 0000:3b:00.0": parts of one GPU (MIG) share the place. */
static mn_status identity(mn_device *device, char text[MN_DEVICE_IDENTITY]) {
    const mn_nccl *nccl;
    cudaDeviceProp p;
    size_t n = 4;
    MN_TRY(mn_nccl_open(&nccl));
    MN_CUDA_TRY(cudaGetDeviceProperties(&p, device->stream->device));
    snprintf(text, MN_DEVICE_IDENTITY, "GPU-");
    for (int i = 0; i < 16; i++, n += 2)
        snprintf(text + n, MN_DEVICE_IDENTITY - n, "%02x", (unsigned char)p.uuid.bytes[i]);
    snprintf(text + n, MN_DEVICE_IDENTITY - n, " at %04x:%02x:%02x.0", (unsigned)p.pciDomainID,
             (unsigned)p.pciBusID, (unsigned)p.pciDeviceID);
    return MN_OK;
}

static mn_status make_id(unsigned char id[MN_DEVICE_ID]) {
    const mn_nccl *nccl;
    ncclUniqueId made;
    MN_TRY(mn_nccl_open(&nccl));
    const ncclResult_t r = nccl->ncclGetUniqueId(&made);
    MN_CHECK(r == ncclSuccess, MN_ERR_COMM, "NCCL: ncclGetUniqueId: %s: %s",
             nccl->ncclGetErrorString(r), nccl->ncclGetLastError(NULL));
    memcpy(id, &made, sizeof made);
    return MN_OK;
}

/* Orderly where nothing failed: then all ranks come here. */
static void disconnect(mn_device_group *g) {
    if (!g->comm) return;
    if (g->ranks.look(g->ranks.context) != MN_OK) {
        abort_all(g->stream);
        return;
    }
    const ncclResult_t r = g->nccl->ncclCommFinalize(g->comm);
    if (finish_call(g, "the end of the group", r) != MN_OK) return; /* which has aborted */
    g->nccl->ncclCommDestroy(g->comm);
    g->comm = NULL;
}

static void put_in(mn_device_group *g, mn_stream *s) {
    g->stream = s;
    g->next = s->groups;
    s->groups = g;
}

static void take_out(mn_device_group *g) {
    mn_device_group **at = &g->stream->groups;
    while (*at != g) at = &(*at)->next;
    *at = g->next;
    g->stream = NULL;
}

static bool serves(const mn_device_group *g, const mn_device *device) {
    return g->stream == device->stream;
}

static void leave(mn_device_group **group) {
    mn_device_group *g = *group;
    if (!g) return;
    if (g->stream) {
        mn_cuda_use(g->stream);
        mn_cuda_settle(g->stream);
        disconnect(g);
        take_out(g);
    }
    free(g);
    *group = NULL;
}

void mn_cuda_collectives_close(mn_stream *s) {
    mn_cuda_settle(s);
    while (s->groups) {
        disconnect(s->groups);
        take_out(s->groups);
    }
}

static mn_status join(mn_device_group **out, mn_device *device,
                      const unsigned char id[MN_DEVICE_ID], const mn_device_ranks *ranks) {
    mn_status st = MN_OK;
    ncclUniqueId made;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    mn_device_group *g = (mn_device_group *)calloc(1, sizeof *g);
    *out = NULL;
    MN_CHECK(g, MN_ERR_MEMORY, "no memory for a group of GPUs");
    g->ranks = *ranks;
    put_in(g, device->stream);
    snprintf(g->what, sizeof g->what, "connecting %d GPUs", ranks->size);
    memcpy(&made, id, sizeof made);
    config.blocking = 0;
    MN_GOTO(mn_nccl_open(&g->nccl));
    MN_GOTO(mn_cuda_use(g->stream));
    MN_GOTO(finish_call(
        g, g->what,
        g->nccl->ncclCommInitRankConfig(&g->comm, ranks->size, made, ranks->rank, &config)));
    *out = g;
    g = NULL;
done:
    if (g) {
        if (g->comm) g->nccl->ncclCommAbort(g->comm);
        take_out(g);
        free(g);
    }
    return st;
}

/* ---- Collectives -------------------------------------------------------------------------------- */

/* Floats as integers of the same order, and back; every NaN becomes the largest, which comes back as a NaN: NCCL's
 * own maximum of floats drops them. A thread owns an element. */
static __global__ void order_kernel(float *x, int64_t count, bool back) {
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const int bits = __float_as_int(x[i]);
    const int turned = bits < 0 ? bits ^ 0x7fffffff : bits; /* its own inverse */
    x[i] = __int_as_float(!back && isnan(x[i]) ? 0x7fffffff : turned);
}

static mn_status order(mn_stream *s, float *x, int64_t count, bool back) {
    enum { THREADS = 256 };
    if (count == 0) return MN_OK;
    order_kernel<<<(unsigned)mn_ceil_div<int64_t>(count, THREADS), THREADS, 0, s->stream>>>(
        x, count, back);
    MN_CUDA_LAUNCHED("the order of a maximum");
    return MN_OK;
}

/* The group that was used last is the first of the list: who waits names its collective. */
static mn_status begin(mn_device_group *g, const char *name, size_t bytes) {
    mn_stream *s = g->stream;
    if (!g->comm) return broken(g);
    take_out(g);
    put_in(g, s);
    snprintf(g->what, sizeof g->what, "%s of %zu bytes", name, bytes);
    return mn_cuda_use(g->stream);
}

static mn_status reduce(mn_device_group *g, float *x, int64_t count, bool maximum) {
    const size_t n = (size_t)count;
    MN_TRY(begin(g, maximum ? "maximum" : "sum", n * sizeof *x));
    mn_cuda_range("nccl_reduce");
    mn_status st = maximum ? order(g->stream, x, count, false) : MN_OK;
    if (st == MN_OK)
        st = finish_call(g, g->what,
                         g->nccl->ncclAllReduce(x, x, n, maximum ? ncclInt32 : ncclFloat32,
                                                maximum ? ncclMax : ncclSum, g->comm,
                                                g->stream->stream));
    if (st == MN_OK && maximum) st = order(g->stream, x, count, true);
    mn_cuda_range(NULL);
    return st;
}

static mn_status gather(mn_device_group *g, void *out, const void *x, size_t bytes) {
    MN_TRY(begin(g, "gather", bytes));
    mn_cuda_range("nccl_gather");
    const mn_status st = finish_call(
        g, g->what, g->nccl->ncclAllGather(x, out, bytes, ncclUint8, g->comm, g->stream->stream));
    mn_cuda_range(NULL);
    return st;
}

const mn_device_collectives mn_cuda_collectives = {identity, make_id, join, serves,
                                                   reduce,   gather,  leave};
