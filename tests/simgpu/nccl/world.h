/* world.h - what the files of the simulated libnccl share: groups of ranks and their collectives. */
#ifndef SIMGPU_NCCL_WORLD_H
#define SIMGPU_NCCL_WORLD_H

#include "runtime/stream.h"
#include <deque>
#include <memory>
#include <nccl.h>
#include <string>
#include <vector>

namespace sg {

enum class Kind { ALL_REDUCE, BROADCAST, ALL_GATHER, REDUCE_SCATTER, REDUCE };

struct Call {
    Kind kind;
    const void *send;
    void *receive;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t op;
    int root;
};

struct Member;

/* A group of ranks. Collectives are numbered in the order in which the ranks' streams come to them. */
struct World {
    int size = 0;
    std::vector<Member *> members;         /* NULL: has not joined yet, or is gone */
    std::vector<std::deque<Call>> waiting; /* per rank: collectives from number `done` on */
    size_t done = 0;
    int finalizing = 0;  /* ranks that have begun to leave */
    bool broken = false; /* nothing is done any more: streams stand still until they abort */

    explicit World(int n) : size(n), members((size_t)n), waiting((size_t)n) {}
    bool complete() const;
    /* The ranks' next error is this; nobody is told until he asks. */
    void fail(ncclResult_t error, const std::string &text);
};

/* A rank of a group: what ncclComm_t points to, and what its work in the streams holds on to. */
struct Member {
    std::shared_ptr<World> world;
    int rank, device;
    bool blocking;
    bool aborted = false, finalizes = false;
    size_t put = 0, reached = 0; /* collectives in its stream so far; that the stream came to */
    ncclResult_t state = ncclSuccess;
    std::string text;                                   /* of the last error */
    std::vector<std::pair<Call, cudaStream_t>> pending; /* called, not yet in the stream */
    int questions = 0;                                  /* since it was called */
};

size_t bytes_of(ncclDataType_t type);
/* to = the elements from `first` on of all ranks, combined in the order of the ranks. */
void reduce(const Call &call, const std::vector<std::vector<unsigned char>> &from, size_t first,
            unsigned char *to);
/* The work of one rank's collective: a piece for its stream. */
Work collective(const std::shared_ptr<Member> &member, const Call &call);

} // namespace sg
#endif
