/* nccl.cpp - libnccl between the simulated devices of one process: ranks are threads, or one thread
 * with a group. A collective runs when all ranks have called it, after the work of their streams. */
#include "core/number.h"
#include "runtime/stream.h"
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <map>
#include <memory>
#include <nccl.h>
#include <string>
#include <vector>

using namespace sg;

namespace {

enum Kind { ALL_REDUCE, BROADCAST, ALL_GATHER, REDUCE_SCATTER, REDUCE };
constexpr auto PATIENCE = std::chrono::seconds(20); /* then a collective counts as hanging */

struct Call {
    Kind kind;
    const void *send;
    void *receive;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t op;
    int root;
};
struct World {
    std::mutex mutex;
    std::condition_variable changed;
    int size = 0;
    std::vector<std::vector<Call>> calls; /* per rank, in order */
    size_t done = 0;
    bool broken = false;
};
struct Comm {
    std::shared_ptr<World> world;
    int rank;
    size_t posted = 0;
};
struct Posted {
    Comm *comm;
    Call call;
    cudaStream_t stream;
    int device;
};

std::mutex registry;
std::map<std::string, std::shared_ptr<World>> worlds;
int next_id;
thread_local int group_depth;
thread_local std::vector<Posted> group;

std::shared_ptr<World> make_world(int size) {
    auto w = std::make_shared<World>();
    w->size = size;
    w->calls.resize((size_t)size);
    return w;
}

size_t bytes_of(ncclDataType_t t) {
    switch (t) {
    case ncclInt8:
    case ncclUint8: return 1;
    case ncclFloat16:
    case ncclBfloat16: return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32: return 4;
    default: return 8;
    }
}

template <class T> T combine(ncclRedOp_t op, T a, T b) {
    switch (op) {
    case ncclProd: return (T)(a * b);
    case ncclMax: return b > a ? b : a;
    case ncclMin: return b < a ? b : a;
    default: return (T)(a + b);
    }
}

/* Elements of ranks 0, 1, ... combined in this order, in the type itself; halves in float. */
template <class T>
void reduce_as(const Call &c, const std::vector<std::vector<u8>> &from, size_t first, u8 *to) {
    for (size_t i = 0; i < c.count; i++) {
        T v, x;
        memcpy(&v, &from[0][(first + i) * sizeof v], sizeof v);
        for (size_t r = 1; r < from.size(); r++) {
            memcpy(&x, &from[r][(first + i) * sizeof x], sizeof x);
            v = combine(c.op, v, x);
        }
        if (c.op == ncclAvg) v = (T)(v / (T)from.size());
        memcpy(to + i * sizeof v, &v, sizeof v);
    }
}
void reduce_half(const Call &c, const std::vector<std::vector<u8>> &from, size_t first, u8 *to) {
    const bool bf = c.type == ncclBfloat16;
    const auto at = [&](size_t rank, size_t i) {
        u16 bits;
        memcpy(&bits, &from[rank][(first + i) * 2], 2);
        return bf ? bf16_to_float(bits) : half_to_float(bits);
    };
    for (size_t i = 0; i < c.count; i++) {
        float v = at(0, i);
        for (size_t r = 1; r < from.size(); r++) v = combine(c.op, v, at(r, i));
        if (c.op == ncclAvg) v /= (float)from.size();
        const u16 bits = bf ? bf16_from_float(v) : half_from_float(v);
        memcpy(to + 2 * i, &bits, 2);
    }
}
void reduce(const Call &c, const std::vector<std::vector<u8>> &from, size_t first, u8 *to) {
    switch (c.type) {
    case ncclInt8: reduce_as<s8>(c, from, first, to); break;
    case ncclUint8: reduce_as<u8>(c, from, first, to); break;
    case ncclInt32: reduce_as<s32>(c, from, first, to); break;
    case ncclUint32: reduce_as<u32>(c, from, first, to); break;
    case ncclInt64: reduce_as<s64>(c, from, first, to); break;
    case ncclUint64: reduce_as<u64>(c, from, first, to); break;
    case ncclFloat32: reduce_as<float>(c, from, first, to); break;
    case ncclFloat64: reduce_as<double>(c, from, first, to); break;
    default: reduce_half(c, from, first, to);
    }
}

bool agree(const Call &a, const Call &b) {
    return a.kind == b.kind && a.count == b.count && a.type == b.type && a.op == b.op &&
           a.root == b.root;
}

u8 *buffer(const void *p, size_t bytes, int rank) {
    u8 *h = (u8 *)sg_host_view((u64)p, bytes);
    if (!h)
        complain("nccl: the buffer %p of %zu bytes of rank %d is not device memory", p, bytes,
                 rank);
    return h;
}

/* One collective of all ranks. */
bool run(World &w, size_t n) {
    Lock lock;
    const Call &c = w.calls[0][n];
    const size_t size = (size_t)w.size, bytes = c.count * bytes_of(c.type);
    for (size_t r = 1; r < size; r++)
        if (!agree(c, w.calls[r][n])) {
            complain("nccl: ranks 0 and %zu disagree about collective %zu (kinds %d and %d, counts "
                     "%zu and %zu)",
                     r, n, c.kind, w.calls[r][n].kind, c.count, w.calls[r][n].count);
            return false;
        }
    const size_t send_bytes = c.kind == REDUCE_SCATTER ? bytes * size : bytes;
    const size_t receive_bytes = c.kind == ALL_GATHER ? bytes * size : bytes;
    std::vector<std::vector<u8>> from(size);
    for (size_t r = 0; r < size; r++) {
        if (c.kind == BROADCAST && (int)r != c.root) continue;
        const void *send = w.calls[r][n].send;
        const u8 *h = buffer(send, send_bytes, (int)r);
        if (!h) return false;
        sg_mark_read((u64)send, send_bytes, "nccl reads");
        from[r].assign(h, h + send_bytes);
    }
    for (size_t r = 0; r < size; r++) {
        if (c.kind == REDUCE && (int)r != c.root) continue;
        void *receive = w.calls[r][n].receive;
        u8 *to = buffer(receive, receive_bytes, (int)r);
        if (!to) return false;
        if (c.kind == BROADCAST) memcpy(to, from[(size_t)c.root].data(), bytes);
        else if (c.kind == ALL_GATHER)
            for (size_t q = 0; q < size; q++) memcpy(to + q * bytes, from[q].data(), bytes);
        else reduce(c, from, c.kind == REDUCE_SCATTER ? r * c.count : 0, to);
        sg_mark_written((u64)receive, receive_bytes);
    }
    return true;
}

ncclResult_t wait_for(Comm *comm, size_t call) {
    World &w = *comm->world;
    std::unique_lock<std::mutex> lock(w.mutex);
    if (!w.changed.wait_for(lock, PATIENCE, [&] { return w.done > call || w.broken; })) {
        Lock runtime;
        complain("nccl: collective %zu hangs: not all ranks called it", call);
        return ncclInternalError;
    }
    return w.broken ? ncclInvalidUsage : ncclSuccess;
}

/* Posts the calls of the group and runs what is complete by them. */
ncclResult_t flush() {
    std::vector<std::pair<Comm *, size_t>> waits;
    const int saved = current_device();
    for (const Posted &p : group) {
        cudaSetDevice(p.device);
        if (cudaStreamSynchronize(p.stream)) return ncclUnhandledCudaError;
        World &w = *p.comm->world;
        std::unique_lock<std::mutex> lock(w.mutex);
        w.calls[(size_t)p.comm->rank].push_back(p.call);
        waits.push_back({p.comm, p.comm->posted++});
        for (bool complete = true; !w.broken;) {
            for (const auto &calls : w.calls) complete &= calls.size() > w.done;
            if (!complete) break;
            w.broken = !run(w, w.done);
            w.done++;
            w.changed.notify_all();
        }
    }
    cudaSetDevice(saved);
    group.clear();
    for (const auto &[comm, call] : waits)
        if (const ncclResult_t e = wait_for(comm, call)) return e;
    return ncclSuccess;
}

ncclResult_t post(ncclComm_t comm, const Call &call, cudaStream_t stream) {
    group.push_back({(Comm *)comm, call, stream, current_device()});
    return group_depth ? ncclSuccess : flush();
}

} // namespace

extern "C" {

ncclResult_t ncclGetVersion(int *v) {
    *v = NCCL_VERSION_CODE;
    return ncclSuccess;
}
const char *ncclGetErrorString(ncclResult_t r) { return r ? "nccl error" : "no error"; }
const char *ncclGetLastError(ncclComm_t) { return ""; }
ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    const std::lock_guard<std::mutex> lock(registry);
    memset(id, 0, sizeof *id);
    snprintf((char *)id, sizeof *id, "world %d", next_id++);
    return ncclSuccess;
}
ncclResult_t ncclCommInitRank(ncclComm_t *comm, int size, ncclUniqueId id, int rank) {
    const std::lock_guard<std::mutex> lock(registry);
    auto &world = worlds[(char *)&id];
    if (!world) world = make_world(size);
    if (world->size != size || rank < 0 || rank >= size) return ncclInvalidArgument;
    *comm = (ncclComm_t) new Comm{world, rank};
    return ncclSuccess;
}
ncclResult_t ncclCommInitAll(ncclComm_t *comms, int size, const int *) {
    const auto world = make_world(size);
    for (int r = 0; r < size; r++) comms[r] = (ncclComm_t) new Comm{world, r};
    return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    delete (Comm *)comm;
    return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t) { return ncclSuccess; }
ncclResult_t ncclCommAbort(ncclComm_t comm) { return ncclCommDestroy(comm); }
ncclResult_t ncclCommCount(const ncclComm_t comm, int *n) {
    *n = ((Comm *)comm)->world->size;
    return ncclSuccess;
}
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *r) {
    *r = ((Comm *)comm)->rank;
    return ncclSuccess;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t *e) {
    *e = ncclSuccess;
    return ncclSuccess;
}
ncclResult_t ncclGroupStart(void) {
    group_depth++;
    return ncclSuccess;
}
ncclResult_t ncclGroupEnd(void) { return --group_depth ? ncclSuccess : flush(); }

ncclResult_t ncclAllReduce(const void *send, void *receive, size_t n, ncclDataType_t t,
                           ncclRedOp_t op, ncclComm_t c, cudaStream_t s) {
    return post(c, {ALL_REDUCE, send, receive, n, t, op, 0}, s);
}
ncclResult_t ncclBroadcast(const void *send, void *receive, size_t n, ncclDataType_t t, int root,
                           ncclComm_t c, cudaStream_t s) {
    return post(c, {BROADCAST, send, receive, n, t, ncclSum, root}, s);
}
ncclResult_t ncclAllGather(const void *send, void *receive, size_t n, ncclDataType_t t,
                           ncclComm_t c, cudaStream_t s) {
    return post(c, {ALL_GATHER, send, receive, n, t, ncclSum, 0}, s);
}
ncclResult_t ncclReduceScatter(const void *send, void *receive, size_t n, ncclDataType_t t,
                               ncclRedOp_t op, ncclComm_t c, cudaStream_t s) {
    return post(c, {REDUCE_SCATTER, send, receive, n, t, op, 0}, s);
}
ncclResult_t ncclReduce(const void *send, void *receive, size_t n, ncclDataType_t t, ncclRedOp_t op,
                        int root, ncclComm_t c, cudaStream_t s) {
    return post(c, {REDUCE, send, receive, n, t, op, root}, s);
}
}
