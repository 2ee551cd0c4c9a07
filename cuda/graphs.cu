/* graphs.cu - work that comes again (mn_device.repeat) is recorded as a CUDA graph and submitted as one.
 *
 * A step of decoding has hundreds of kernels of some microseconds each: submitting them one by one takes the host
 * longer than they run. Nothing that changes from step to step is an argument: ids, positions, cache rows and
 * lengths lie in device memory, where an upload puts them in front of the record. Grids depend on the key alone; on
 * the keys that a row sees only by the number of pieces that attention cuts them into.
 *
 * The first time a key comes its work runs as it is, which also loads kernels and makes the plans of its products;
 * the second time it is recorded (the driver allocates what it needs for that, once); from then on the record is
 * submitted. MNEME_CUDA_GRAPHS=0 in the environment records nothing. Nor does a device that works with other
 * ranks: a collective has a part of the host's (NCCL is asked whether it is there), which a record would leave out. */
#include "cuda/graphs.h"

#include "cuda/attention.cuh"
#include "cuda/device.h"

#include <stdlib.h>
#include <string.h>

enum { RECORDS = 64 };

typedef struct record {
    const void *owner; /* NULL: free */
    int64_t part, rows, splits;
    int64_t used;          /* the call that used it last */
    cudaGraphExec_t graph; /* NULL: came once so far */
} record;

struct mn_cuda_graphs {
    bool off;
    int64_t calls;
    record records[RECORDS];
};

mn_status mn_cuda_graphs_open(mn_cuda_graphs **out) {
    const char *wish = getenv("MNEME_CUDA_GRAPHS");
    *out = NULL;
    MN_CHECK(!wish || strcmp(wish, "0") == 0 || strcmp(wish, "1") == 0, MN_ERR_USAGE,
             "MNEME_CUDA_GRAPHS=%s: 0 (record nothing) or 1 expected", wish);
    *out = (mn_cuda_graphs *)calloc(1, sizeof **out);
    MN_CHECK(*out, MN_ERR_MEMORY, "no memory for recorded work");
    (*out)->off = wish && strcmp(wish, "0") == 0;
    return MN_OK;
}

static void drop(record *r) {
    if (r->graph) cudaGraphExecDestroy(r->graph);
    memset(r, 0, sizeof *r);
}

void mn_cuda_graphs_close(mn_cuda_graphs **graphs) {
    mn_cuda_graphs *g = *graphs;
    if (!g) return;
    for (int i = 0; i < RECORDS; i++) drop(&g->records[i]);
    free(g);
    *graphs = NULL;
}

/* Those of an owner, or all. A graph must not go while it runs. */
static void forget(mn_stream *s, const void *owner) {
    mn_cuda_graphs *g = s->graphs;
    bool waited = false;
    for (int i = 0; g && i < RECORDS; i++) {
        record *r = &g->records[i];
        if (!r->owner || (owner && r->owner != owner)) continue;
        if (r->graph && !waited) cudaStreamSynchronize(s->stream);
        waited = waited || r->graph;
        drop(r);
    }
}

void mn_cuda_forget(mn_device *device, const void *owner) { forget(device->stream, owner); }

void mn_cuda_forget_all(mn_stream *s) { forget(s, NULL); }

/* The key's record; else a free one, or that which was not used for longest, emptied. */
static record *find(mn_stream *s, const mn_repeat *key, bool *known) {
    mn_cuda_graphs *g = s->graphs;
    const int64_t splits = mn_ceil_div<int64_t>(key->keys, MN_DECODE_KEYS);
    record *oldest = &g->records[0];
    *known = true;
    for (int i = 0; i < RECORDS; i++) {
        record *r = &g->records[i];
        if (r->owner == key->owner && r->part == key->part && r->rows == key->rows &&
            r->splits == splits)
            return r;
        if (r->used < oldest->used) oldest = r;
    }
    *known = false;
    if (oldest->graph) cudaStreamSynchronize(s->stream);
    drop(oldest);
    oldest->owner = key->owner;
    oldest->part = key->part;
    oldest->rows = key->rows;
    oldest->splits = splits;
    return oldest;
}

/* Nothing runs while it is recorded. Other threads may go on using the device. */
static mn_status make(record *r, mn_stream *s, mn_status (*work)(void *context), void *context) {
    cudaGraph_t graph = NULL;
    MN_CUDA_TRY(cudaStreamBeginCapture(s->stream, cudaStreamCaptureModeThreadLocal));
    mn_status st = work(context);
    const cudaError_t ended = cudaStreamEndCapture(s->stream, &graph);
    const char *what = "recording work that comes again (MNEME_CUDA_GRAPHS=0 does without)";
    if (st == MN_OK) st = mn_cuda_check(ended, what);
    if (st == MN_OK) st = mn_cuda_check(cudaGraphInstantiate(&r->graph, graph, 0), what);
    if (graph) cudaGraphDestroy(graph);
    return st;
}

mn_status mn_cuda_repeat(mn_device *device, const mn_repeat *key, mn_status (*work)(void *context),
                         void *context) {
    mn_stream *s = device->stream;
    bool known = false;
    if (s->graphs->off || s->groups) return work(context);
    MN_TRY(mn_cuda_use(s));
    record *r = find(s, key, &known);
    r->used = ++s->graphs->calls;
    if (!known) return work(context);
    if (!r->graph) MN_TRY(make(r, s, work, context));
    MN_CUDA_TRY(cudaGraphLaunch(r->graph, s->stream));
    return MN_OK;
}
