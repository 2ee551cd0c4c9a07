/* nccl.cpp - libnccl between the simulated devices of one process: ranks are threads, or one thread
 * with a group. A collective is work in the ranks' streams and happens when all of them have come to it.
 *
 * A communicator with blocking = 0 does as late as it may what it was told: it has joined when all ranks have and
 * somebody asked, and a collective enters the stream when the caller has asked for the second time whether it
 * is there. Whoever does not ask finds his work in the wrong order. */
#include "world.h"
#include <cstdio>
#include <cstring>
#include <map>

using namespace sg;

namespace {

struct Posted {
    std::shared_ptr<Member> member;
    Call call;
    cudaStream_t stream;
};

std::map<std::string, std::shared_ptr<World>> worlds;
std::map<ncclComm_t, std::shared_ptr<Member>> communicators;
int next_id;
thread_local int group_depth;
thread_local std::vector<Posted> group;

/* NULL, and a report: the communicator is gone, or never was. */
std::shared_ptr<Member> find(ncclComm_t comm, const char *call) {
    const auto found = communicators.find(comm);
    if (found != communicators.end()) return found->second;
    complain("nccl: %s of a communicator that does not exist", call);
    return nullptr;
}

ncclResult_t put(const std::shared_ptr<Member> &m, const Call &call, cudaStream_t stream) {
    if (stream_device(stream) != m->device) {
        complain("nccl: rank %d, which is on device %d, works in a stream of device %d", m->rank,
                 m->device, stream_device(stream));
        return ncclInvalidUsage;
    }
    m->put++;
    return submit_work(stream, collective(m, call)) ? ncclUnhandledCudaError : ncclSuccess;
}

/* Hands the calls of the group to their communicators. */
ncclResult_t flush() {
    ncclResult_t result = ncclSuccess;
    std::vector<Posted> calls;
    calls.swap(group);
    for (const Posted &p : calls) {
        ncclResult_t r = ncclInProgress;
        if (p.member->blocking) r = put(p.member, p.call, p.stream);
        else {
            p.member->pending.push_back({p.call, p.stream});
            p.member->questions = 0;
            p.member->state = ncclInProgress;
        }
        if (r) result = r;
    }
    return result;
}

ncclResult_t post(ncclComm_t comm, const Call &call, cudaStream_t stream) {
    Lock lock;
    const auto m = find(comm, "a collective");
    if (!m) return ncclInvalidArgument;
    if (m->state != ncclSuccess) {
        if (m->state == ncclInProgress)
            complain("nccl: rank %d calls a collective while its last call is in progress",
                     m->rank);
        return ncclInvalidUsage;
    }
    group.push_back({m, call, stream});
    return group_depth ? ncclSuccess : flush();
}

/* All ranks are there: two on one device are refused, as the real library does. */
void joined(World &w) {
    for (int r = 0; r < w.size; r++)
        for (int q = 0; q < r; q++)
            if (w.members[(size_t)r]->device == w.members[(size_t)q]->device) {
                w.fail(ncclInvalidUsage, "Duplicate GPU detected");
                return;
            }
    for (Member *m : w.members) m->state = ncclSuccess;
}

ncclResult_t join(ncclComm_t *comm, std::shared_ptr<World> world, int rank, int device,
                  bool blocking) {
    if (rank < 0 || rank >= world->size || world->members[(size_t)rank]) return ncclInvalidArgument;
    const auto m = std::make_shared<Member>();
    m->world = world;
    m->rank = rank;
    m->device = device;
    m->blocking = blocking;
    m->state = ncclInProgress;
    world->members[(size_t)rank] = m.get();
    *comm = (ncclComm_t)m.get();
    communicators[*comm] = m;
    if (world->complete()) joined(*world);
    return ncclSuccess;
}

ncclResult_t leave(ncclComm_t comm, bool abort) {
    Lock lock;
    const auto m = find(comm, abort ? "ncclCommAbort" : "ncclCommDestroy");
    if (!m) return ncclInvalidArgument;
    World &w = *m->world;
    if (!abort && m->state != ncclSuccess) {
        complain("nccl: rank %d ends a communicator that %s: ncclCommAbort is the call", m->rank,
                 m->state == ncclInProgress ? "is in progress" : "failed");
        abort = true;
    }
    for (const auto start = Clock::now(); !abort && w.done < m->put && !w.broken;) {
        advance_device(m->device);
        if (w.done < m->put && !let_others(start)) break;
    }
    if (!m->finalizes) w.finalizing++;
    if (abort) {
        m->aborted = true;
        w.fail(ncclRemoteError, "rank " + std::to_string(m->rank) + " has aborted");
    }
    w.members[(size_t)m->rank] = nullptr;
    communicators.erase(comm);
    return ncclSuccess;
}

} // namespace

extern "C" {

ncclResult_t ncclGetVersion(int *v) {
    *v = NCCL_VERSION_CODE;
    return ncclSuccess;
}
const char *ncclGetErrorString(ncclResult_t r) {
    static const char *const texts[] = {"no error",       "unhandled cuda error", "system error",
                                        "internal error", "invalid argument",     "invalid usage",
                                        "remote error",   "in progress"};
    return (unsigned)r < sizeof texts / sizeof *texts ? texts[r] : "unknown error";
}
const char *ncclGetLastError(ncclComm_t comm) {
    Lock lock;
    const auto found = communicators.find(comm);
    return found == communicators.end() ? "" : found->second->text.c_str();
}
ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    Lock lock;
    memset(id, 0, sizeof *id);
    snprintf((char *)id, sizeof *id, "world %d", next_id++);
    return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
    Lock lock;
    const bool blocking = !config || config->blocking != 0;
    auto &world = worlds[(char *)&id];
    *comm = nullptr;
    if (!world) world = std::make_shared<World>(size);
    if (world->size != size) return ncclInvalidArgument;
    const ncclResult_t r = join(comm, world, rank, current_device(), blocking);
    if (r || group_depth) return r;
    const auto m = communicators[*comm];
    if (!blocking) return ncclInProgress;
    for (const auto start = Clock::now(); m->state == ncclInProgress;)
        if (!let_others(start)) {
            complain("nccl: rank %d waits in vain for %d ranks to join", rank, size);
            return ncclInternalError;
        }
    return m->state;
}
ncclResult_t ncclCommInitRank(ncclComm_t *comm, int size, ncclUniqueId id, int rank) {
    return ncclCommInitRankConfig(comm, size, id, rank, nullptr);
}
ncclResult_t ncclCommInitAll(ncclComm_t *comms, int size, const int *devices) {
    Lock lock;
    const auto world = std::make_shared<World>(size);
    for (int r = 0; r < size; r++)
        if (const ncclResult_t e = join(&comms[r], world, r, devices ? devices[r] : r, true))
            return e;
    return world->members[0]->state;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) { return leave(comm, false); }
/* Done when all that the rank called is, and when all ranks have come here; a non-blocking one is asked about it. */
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    Lock lock;
    const auto m = find(comm, "ncclCommFinalize");
    if (!m || m->state != ncclSuccess) return ncclInvalidUsage;
    if (!m->finalizes) m->world->finalizing++;
    m->finalizes = true;
    if (m->blocking) return ncclSuccess;
    m->state = ncclInProgress;
    return ncclInProgress;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) { return leave(comm, true); }
ncclResult_t ncclCommCount(const ncclComm_t comm, int *n) {
    *n = ((Member *)comm)->world->size;
    return ncclSuccess;
}
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *r) {
    *r = ((Member *)comm)->rank;
    return ncclSuccess;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *e) {
    Lock lock;
    const auto m = find(comm, "ncclCommGetAsyncError");
    if (!m) return ncclInvalidArgument;
    if (!m->pending.empty() && ++m->questions > 1 && m->state == ncclInProgress) {
        m->state = ncclSuccess;
        for (const auto &[call, stream] : m->pending)
            if (const ncclResult_t r = put(m, call, stream)) m->state = r;
        m->pending.clear();
    }
    if (m->finalizes && m->state == ncclInProgress) {
        const World &w = *m->world;
        advance_device(m->device);
        if (w.done >= m->put && w.finalizing == w.size) m->state = ncclSuccess;
    }
    *e = m->state;
    return ncclSuccess;
}
ncclResult_t ncclGroupStart(void) {
    group_depth++;
    return ncclSuccess;
}
ncclResult_t ncclGroupEnd(void) {
    Lock lock;
    return --group_depth ? ncclSuccess : flush();
}

ncclResult_t ncclAllReduce(const void *send, void *receive, size_t n, ncclDataType_t t,
                           ncclRedOp_t op, ncclComm_t c, cudaStream_t s) {
    return post(c, {Kind::ALL_REDUCE, send, receive, n, t, op, 0}, s);
}
ncclResult_t ncclBroadcast(const void *send, void *receive, size_t n, ncclDataType_t t, int root,
                           ncclComm_t c, cudaStream_t s) {
    return post(c, {Kind::BROADCAST, send, receive, n, t, ncclSum, root}, s);
}
ncclResult_t ncclAllGather(const void *send, void *receive, size_t n, ncclDataType_t t,
                           ncclComm_t c, cudaStream_t s) {
    return post(c, {Kind::ALL_GATHER, send, receive, n, t, ncclSum, 0}, s);
}
ncclResult_t ncclReduceScatter(const void *send, void *receive, size_t n, ncclDataType_t t,
                               ncclRedOp_t op, ncclComm_t c, cudaStream_t s) {
    return post(c, {Kind::REDUCE_SCATTER, send, receive, n, t, op, 0}, s);
}
ncclResult_t ncclReduce(const void *send, void *receive, size_t n, ncclDataType_t t, ncclRedOp_t op,
                        int root, ncclComm_t c, cudaStream_t s) {
    return post(c, {Kind::REDUCE, send, receive, n, t, op, root}, s);
}
}
