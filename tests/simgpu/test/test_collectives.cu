/* test_collectives.cu - collectives between two simulated devices: from two threads, and from one with a group. */
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
    CALL(ncclGroupStart()); /* different counts */
    for (int r = 0; r < RANKS; r++)
        CALL(ncclAllReduce(ranks[r]->in, ranks[r]->out, N - r, ncclFloat, ncclSum, comms[r],
                           ranks[r]->stream));
    CHECK(ncclGroupEnd() != ncclSuccess && take_report("disagree about collective"));
    for (ncclComm_t c : comms) CALL(ncclCommDestroy(c));
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
    printf("collectives: %d checks, %d failed\n", checks, failures);
    return failures ? 1 : 0;
}
