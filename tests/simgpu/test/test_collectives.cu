/* test_collectives.cu - collectives between two simulated devices: from two threads, and from one with a group; what
 * must be reported, and what non-blocking communicators promise. */
#include "runtime_check.cuh"

#include <nccl.h>
#include <thread>
#include <vector>

namespace {

constexpr int RANKS = 2, N = 100;

struct Rank {
    float *in, *out;
    cudaStream_t stream;
    explicit Rank(int r) {
        std::vector<float> v(N);
        for (int i = 0; i < N; i++) v[i] = 10.f * r + i;
        CALL(cudaSetDevice(r));
        CALL(cudaMalloc(&in, N * sizeof *in));
        CALL(cudaMalloc(&out, RANKS * N * sizeof *out));
        CALL(cudaStreamCreate(&stream));
        CALL(cudaMemcpyAsync(in, v.data(), N * sizeof *in, cudaMemcpyHostToDevice, stream));
    }
    std::vector<float> get(int n) {
        std::vector<float> v(n);
        CALL(cudaMemcpyAsync(v.data(), out, n * sizeof *out, cudaMemcpyDeviceToHost, stream));
        return v;
    }
    ~Rank() {
        CALL(cudaStreamDestroy(stream));
        CALL(cudaFree(in));
        CALL(cudaFree(out));
    }
};

void one_rank(int r, ncclUniqueId id) {
    ncclComm_t comm;
    Rank m(r);
    CALL(ncclCommInitRank(&comm, RANKS, id, r));
    CALL(ncclAllReduce(m.in, m.out, N, ncclFloat, ncclSum, comm, m.stream));
    CHECK(m.get(N)[3] == 16);
    CALL(ncclAllReduce(m.in, m.out, N, ncclFloat, ncclMax, comm, m.stream));
    CHECK(m.get(N)[3] == 13);
    CALL(ncclAllGather(m.in, m.out, N, ncclFloat, comm, m.stream));
    CHECK(m.get(2 * N)[N + 3] == 13 && m.get(2 * N)[3] == 3);
    CALL(ncclReduceScatter(m.in, m.out, N / 2, ncclFloat, ncclSum, comm, m.stream));
    CHECK(m.get(N / 2)[3] == (r ? 116 : 16));
    CALL(ncclBroadcast(m.in, m.out, N, ncclFloat, 1, comm, m.stream));
    CHECK(m.get(N)[0] == 10);
    CALL(ncclCommDestroy(comm));
}

void group() {
    ncclComm_t comms[RANKS];
    Rank a(0), b(1);
    Rank *ranks[] = {&a, &b};
    CALL(ncclCommInitAll(comms, RANKS, nullptr));
    CALL(ncclGroupStart());
    for (int r = 0; r < RANKS; r++) {
        CALL(cudaSetDevice(r));
        CALL(ncclAllReduce(ranks[r]->in, ranks[r]->out, N, ncclFloat, ncclAvg, comms[r],
                           ranks[r]->stream));
    }
    CALL(ncclGroupEnd());
    CHECK(a.get(N)[3] == 8 && b.get(N)[3] == 8);
    CHECK(sg_report_count() == 0);
    for (ncclComm_t c : comms) CALL(ncclCommDestroy(c));
}

/* ---- planted faults ------------------------------------------------------------------------------ */

ncclResult_t state_of(ncclComm_t comm) {
    ncclResult_t e = ncclSuccess;
    CALL(ncclCommGetAsyncError(comm, &e));
    return e;
}

/* The error comes later, and the streams stand still until both have aborted. */
void different_counts() {
    ncclComm_t comms[RANKS];
    Rank a(0), b(1);
    Rank *ranks[] = {&a, &b};
    CALL(ncclCommInitAll(comms, RANKS, nullptr));
    for (int r = 0; r < RANKS; r++)
        CALL(ncclAllReduce(ranks[r]->in, ranks[r]->out, N - r, ncclFloat, ncclSum, comms[r],
                           ranks[r]->stream));
    CHECK(state_of(comms[0]) == ncclSuccess && sg_report_count() == 0);
    for (int i = 0; i < 9; i++) CHECK(cudaStreamQuery(a.stream) == cudaErrorNotReady);
    CHECK(take_report("disagree about collective 0"));
    CHECK(state_of(comms[0]) == ncclInvalidUsage && state_of(comms[1]) == ncclInvalidUsage);
    for (ncclComm_t c : comms) CALL(ncclCommAbort(c));
    CALL(cudaStreamSynchronize(a.stream));
}

/* Reported where somebody waits for it, and only there. */
void missing_rank() {
    ncclComm_t comms[RANKS];
    Rank a(0), b(1);
    CALL(ncclCommInitAll(comms, RANKS, nullptr));
    CALL(ncclAllReduce(a.in, a.out, N, ncclFloat, ncclSum, comms[0], a.stream));
    for (int i = 0; i < 9; i++) CHECK(cudaStreamQuery(a.stream) == cudaErrorNotReady);
    CHECK(sg_report_count() == 0);
    sg_option("patience", 0);
    CHECK(cudaStreamSynchronize(a.stream) == cudaErrorLaunchTimeout);
    CHECK(take_report("rank 1 of 2 has not come to collective 0"));
    sg_option("patience", 120);
    CALL(ncclCommAbort(comms[1])); /* the others are told */
    CHECK(state_of(comms[0]) == ncclRemoteError);
    CHECK(strstr(ncclGetLastError(comms[0]), "rank 1 has aborted"));
    CALL(ncclCommDestroy(comms[0])); /* wrong after an error */
    CHECK(take_report("ncclCommAbort is the call"));
    (void)cudaGetLastError();
}

/* Two ranks on one device, memory and streams of the wrong one. */
void wrong_device() {
    ncclComm_t comms[RANKS];
    const int same[] = {1, 1};
    CHECK(ncclCommInitAll(comms, RANKS, same) == ncclInvalidUsage);
    for (ncclComm_t c : comms) CALL(ncclCommAbort(c));
    Rank a(0), b(1);
    CALL(ncclCommInitAll(comms, RANKS, nullptr));
    CHECK(ncclAllReduce(b.in, b.out, N, ncclFloat, ncclSum, comms[0], b.stream) ==
          ncclInvalidUsage);
    CHECK(take_report("works in a stream of device 1"));
    CALL(ncclAllReduce(a.in, a.out, N, ncclFloat, ncclSum, comms[0], a.stream));
    CALL(ncclAllReduce(a.in, b.out, N, ncclFloat, ncclSum, comms[1], b.stream));
    for (int i = 0; i < 9; i++) CHECK(cudaStreamQuery(a.stream) == cudaErrorNotReady);
    CHECK(take_report("of rank 1, which is on device 1, is on device 0"));
    for (ncclComm_t c : comms) CALL(ncclCommAbort(c));
}

void planted_failure() {
    ncclComm_t comms[RANKS];
    Rank a(0), b(1);
    Rank *ranks[] = {&a, &b};
    sg_option("nccl_fail", 2);
    CALL(ncclCommInitAll(comms, RANKS, nullptr));
    for (int i = 0; i < 2; i++)
        for (int r = 0; r < RANKS; r++)
            CALL(ncclAllReduce(ranks[r]->in, ranks[r]->out, N, ncclFloat, ncclSum, comms[r],
                               ranks[r]->stream));
    for (int i = 0; i < 9; i++) CHECK(cudaStreamQuery(b.stream) == cudaErrorNotReady);
    CHECK(state_of(comms[0]) == ncclRemoteError && state_of(comms[1]) == ncclRemoteError);
    for (ncclComm_t c : comms) CALL(ncclCommAbort(c));
    CHECK(b.get(N)[3] == 16); /* the first was done */
    sg_option("nccl_fail", 0);
}

/* ---- non-blocking -------------------------------------------------------------------------------- */

/* Nothing is there before somebody asked: not the group, and not the collective. */
void non_blocking() {
    ncclComm_t comms[RANKS];
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    Rank a(0), b(1);
    Rank *ranks[] = {&a, &b};
    config.blocking = 0;
    CALL(ncclGetUniqueId(&id));
    for (int r = 0; r < RANKS; r++) {
        CALL(cudaSetDevice(r));
        CHECK(ncclCommInitRankConfig(&comms[r], RANKS, id, r, &config) == ncclInProgress);
        if (!r) CHECK(state_of(comms[0]) == ncclInProgress);
    }
    CHECK(state_of(comms[0]) == ncclSuccess && state_of(comms[1]) == ncclSuccess);
    for (int r = 0; r < RANKS; r++)
        CHECK(ncclAllReduce(ranks[r]->in, ranks[r]->out, N, ncclFloat, ncclSum, comms[r],
                            ranks[r]->stream) == ncclInProgress);
    CHECK(ncclAllReduce(a.in, a.out, N, ncclFloat, ncclSum, comms[0], a.stream) ==
          ncclInvalidUsage);
    CHECK(take_report("while its last call is in progress"));
    CALL(cudaStreamSynchronize(a.stream)); /* the stream is empty: too early */
    for (ncclComm_t c : comms) {
        CHECK(state_of(c) == ncclInProgress);
        CHECK(state_of(c) == ncclSuccess);
    }
    CHECK(a.get(N)[3] == 16);
    CALL(cudaStreamSynchronize(b.stream));
    CHECK(ncclCommFinalize(comms[0]) == ncclInProgress);
    for (int i = 0; i < 9; i++) CHECK(state_of(comms[0]) == ncclInProgress); /* rank 1 is missing */
    CHECK(ncclCommFinalize(comms[1]) == ncclInProgress);
    for (ncclComm_t c : comms) {
        CHECK(state_of(c) == ncclSuccess);
        CALL(ncclCommDestroy(c));
    }
}

} // namespace

int main() {
    ncclUniqueId id;
    sg_option("print", 0);
    sg_option("devices", RANKS);
    CALL(ncclGetUniqueId(&id));
    std::thread other(one_rank, 1, id);
    one_rank(0, id);
    other.join();
    group();
    different_counts();
    missing_rank();
    wrong_device();
    planted_failure();
    non_blocking();
    CHECK(sg_report_count() == 0);
    printf("collectives: %d checks, %d failed\n", checks, failures);
    return failures ? 1 : 0;
}
