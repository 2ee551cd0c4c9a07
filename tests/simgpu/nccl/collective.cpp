/* collective.cpp - what a collective does when the streams of all ranks have come to it. */
#include "core/number.h"
#include "runtime/runtime.h"
#include "world.h"

namespace sg {
namespace {

bool agree(const Call &a, const Call &b) {
    return a.kind == b.kind && a.count == b.count && a.type == b.type && a.op == b.op &&
           a.root == b.root;
}

/* Memory of the rank's own device, or NULL and a report. */
u8 *buffer(const World &w, size_t rank, const void *p, size_t bytes) {
    const int device = w.members[rank]->device;
    u8 *h = (u8 *)sg_host_view((u64)p, bytes);
    if (!h)
        complain("nccl: the buffer %p of %zu bytes of rank %zu is not device memory", p, bytes,
                 rank);
    else if (sg_device_of(p) != device) {
        complain("nccl: the buffer %p of rank %zu, which is on device %d, is on device %d", p, rank,
                 device, sg_device_of(p));
        h = nullptr;
    }
    return h;
}

bool same_call(const World &w) {
    const Call &c = w.waiting[0].front();
    for (size_t r = 1; r < (size_t)w.size; r++)
        if (const Call &other = w.waiting[r].front(); !agree(c, other)) {
            complain("nccl: ranks 0 and %zu disagree about collective %zu (kinds %d and %d, counts "
                     "%zu and %zu)",
                     r, w.done, (int)c.kind, (int)other.kind, c.count, other.count);
            return false;
        }
    return true;
}

/* The collective that all ranks wait in. */
bool run(World &w) {
    if (!same_call(w)) return false;
    const Call &c = w.waiting[0].front();
    const size_t size = (size_t)w.size, bytes = c.count * bytes_of(c.type);
    const size_t send_bytes = c.kind == Kind::REDUCE_SCATTER ? bytes * size : bytes;
    const size_t receive_bytes = c.kind == Kind::ALL_GATHER ? bytes * size : bytes;
    std::vector<std::vector<u8>> from(size);
    for (size_t r = 0; r < size; r++) {
        if (c.kind == Kind::BROADCAST && (int)r != c.root) continue;
        const void *send = w.waiting[r].front().send;
        const u8 *h = buffer(w, r, send, send_bytes);
        if (!h) return false;
        sg_mark_read((u64)send, send_bytes, "nccl reads");
        from[r].assign(h, h + send_bytes);
    }
    for (size_t r = 0; r < size; r++) {
        if (c.kind == Kind::REDUCE && (int)r != c.root) continue;
        void *receive = w.waiting[r].front().receive;
        u8 *to = buffer(w, r, receive, receive_bytes);
        if (!to) return false;
        if (c.kind == Kind::BROADCAST) memcpy(to, from[(size_t)c.root].data(), bytes);
        else if (c.kind == Kind::ALL_GATHER)
            for (size_t q = 0; q < size; q++) memcpy(to + q * bytes, from[q].data(), bytes);
        else reduce(c, from, c.kind == Kind::REDUCE_SCATTER ? r * c.count : 0, to);
        sg_mark_written((u64)receive, receive_bytes);
    }
    return true;
}

/* True when every rank's stream stands at collective `number`. The other devices work by themselves, also while
 * their threads wait for something else. */
bool all_there(World &w, size_t number) {
    for (size_t r = 0; r < (size_t)w.size; r++) {
        if (w.waiting[r].empty() && w.members[r]) advance_device(w.members[r]->device);
        if (w.broken || w.done > number) return false;
        if (w.waiting[r].empty()) {
            standing_still("nccl: rank " + std::to_string(r) + " of " + std::to_string(w.size) +
                           " has not come to collective " + std::to_string(number));
            return false;
        }
    }
    return true;
}

} // namespace

bool World::complete() const {
    for (const Member *m : members)
        if (!m) return false;
    return true;
}

void World::fail(ncclResult_t error, const std::string &reason) {
    broken = true;
    for (Member *m : members)
        if (m && !m->aborted && (m->state == ncclSuccess || m->state == ncclInProgress)) {
            m->state = error;
            m->text = reason;
        }
}

Work collective(const std::shared_ptr<Member> &member, const Call &call) {
    constexpr size_t NONE = (size_t)-1;
    return [member, call, number = NONE]() mutable {
        World &w = *member->world;
        if (member->aborted) return true;
        if (number == NONE) {
            number = member->reached++;
            w.waiting[(size_t)member->rank].push_back(call);
        }
        if (w.done > number) return true;
        if (w.broken) {
            standing_still("nccl: its group is broken, and it was not aborted");
            return false;
        }
        if (!all_there(w, number)) return w.done > number || member->aborted;
        if ((long long)number + 1 == option_value(Option::NCCL_FAIL)) {
            w.fail(ncclRemoteError, "a planted failure of the network");
            return false;
        }
        if (!run(w)) {
            w.fail(ncclInvalidUsage, "the ranks' calls do not fit each other");
            return false;
        }
        for (auto &calls : w.waiting) calls.pop_front();
        w.done++;
        return true;
    };
}

} // namespace sg
