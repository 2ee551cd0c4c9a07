/* faults.cu - one planted fault per kind of report, each beside its mended twin. test_faults.cpp demands
 * that NAME_fault is reported and NAME_mended is not. */
#include <cassert>
#include <cstdint>

#define TWINS(name, parameters, arguments)                                                         \
    extern "C" __global__ void __launch_bounds__(128) name##_fault parameters {                    \
        name<true> arguments;                                                                      \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(128) name##_mended parameters {                   \
        name<false> arguments;                                                                     \
    }
#define OUT (float *out, const float *in)
#define ARGS (out, in)

namespace {

__device__ uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/* Another warp reads what this one wrote. */
template <bool FAULT> __device__ void race(float *out, const float *in) {
    __shared__ float s[128];
    s[threadIdx.x] = in[threadIdx.x];
    if (!FAULT) __syncthreads();
    out[threadIdx.x] = s[threadIdx.x ^ 64];
}

/* The barrier before the buffer is filled again is missing: write after read. */
template <bool FAULT> __device__ void race_reuse(float *out, const float *in) {
    __shared__ float s[128];
    float sum = 0;
    for (int i = 0; i < 2; i++) {
        s[threadIdx.x] = in[threadIdx.x];
        __syncthreads();
        sum += s[threadIdx.x ^ 64];
        if (!FAULT) __syncthreads();
    }
    out[threadIdx.x] = sum;
}

/* All warps write the same word: harmless only when the value is the same, and a warning then. */
template <bool FAULT> __device__ void race_same(float *out, const float *in) {
    __shared__ float s[1];
    if (FAULT || threadIdx.x == 0) s[0] = in[0];
    __syncthreads();
    out[threadIdx.x] = s[0];
}

/* Lanes of one store write different values to one word. */
template <bool FAULT> __device__ void lanes_collide(float *out, const float *in) {
    __shared__ float s[128];
    s[FAULT ? threadIdx.x / 2 : threadIdx.x] = in[threadIdx.x] + threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x / 2];
}

/* Lanes of one warp exchange through shared memory. */
template <bool FAULT> __device__ void missing_syncwarp(float *out, const float *in) {
    __shared__ float s[128];
    s[threadIdx.x] = in[threadIdx.x];
    if (!FAULT) __syncwarp();
    out[threadIdx.x] = s[threadIdx.x ^ 1];
}

template <bool FAULT> __device__ void uninitialised_shared(float *out, const float *in) {
    __shared__ float s[128];
    if (!FAULT || threadIdx.x < 64) s[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x];
}

/* `out` holds nothing yet. */
template <bool FAULT> __device__ void uninitialised_global(float *out, const float *in) {
    out[threadIdx.x] = FAULT ? out[threadIdx.x] + 1 : in[threadIdx.x];
}

template <bool FAULT> __device__ void past_the_end(float *out, const float *in) {
    out[threadIdx.x] = in[threadIdx.x + (FAULT ? 1 : 0)];
}
template <bool FAULT> __device__ void before_the_start(float *out, const float *in) {
    out[(int)threadIdx.x - (FAULT ? 1 : 0)] = in[threadIdx.x];
}
template <bool FAULT> __device__ void past_shared(float *out, const float *in) {
    extern __shared__ float dynamic[]; /* 128 floats */
    dynamic[threadIdx.x + (FAULT ? 1 : 0)] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = dynamic[threadIdx.x | 1];
}

template <bool FAULT> __device__ void misaligned(float *out, const float *in) {
    const float2 v = *(const float2 *)(in + (FAULT ? 1 : 2));
    out[threadIdx.x] = v.x + v.y;
}

/* An address that the kernel makes up. */
template <bool FAULT> __device__ void null_pointer(float *out, const float *in) {
    out[threadIdx.x] = FAULT ? *(const float *)(uint64_t)(threadIdx.x * 4) : in[threadIdx.x];
}

/* Half of each warp leaves without the barrier. */
template <bool FAULT> __device__ void skipped_barrier(float *out, const float *in) {
    if (!FAULT || threadIdx.x % 32 < 16) __syncthreads();
    out[threadIdx.x] = in[threadIdx.x];
}

/* The halves of each warp come to different barrier instructions. */
template <bool FAULT> __device__ void divergent_barrier(float *out, const float *in) {
    if (!FAULT || threadIdx.x % 32 < 16) {
        out[threadIdx.x] = in[threadIdx.x];
        asm volatile("bar.sync 0;" ::: "memory");
    } else {
        asm volatile("bar.sync 0;" ::: "memory");
        out[threadIdx.x] = 2;
    }
}

/* The last warp waits at another barrier than the others. */
template <bool FAULT> __device__ void deadlock(float *out, const float *in) {
    if (FAULT && threadIdx.x >= 96) asm volatile("bar.sync 1, 128;");
    else asm volatile("bar.sync 2, 128;");
    out[threadIdx.x] = in[threadIdx.x];
}

template <bool FAULT> __device__ void disagreeing_barrier(float *out, const float *in) {
    if (FAULT && threadIdx.x < 32) asm volatile("bar.sync 1, 96;");
    else asm volatile("bar.sync 1, 128;");
    out[threadIdx.x] = in[threadIdx.x];
}

/* Lanes that exited cannot be waited for. */
template <bool FAULT> __device__ void barrier_after_exit(float *out, const float *in) {
    out[threadIdx.x] = in[threadIdx.x];
    if (FAULT && threadIdx.x % 32 == 5) return;
    __syncthreads();
    out[threadIdx.x] += 1;
}

template <bool FAULT> __device__ void copy_not_awaited(float *out, const float *in) {
    __shared__ __align__(16) float s[512];
    asm volatile(
        "cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(shared_address(s + 4 * threadIdx.x)),
        "l"(in)
        : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    if (!FAULT) asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    out[threadIdx.x] = s[4 * threadIdx.x];
    if (FAULT) asm volatile("cp.async.wait_all;" ::: "memory");
}

/* One group of two may still be in flight, and it is the one that is read. */
template <bool FAULT> __device__ void wrong_group_awaited(float *out, const float *in) {
    __shared__ __align__(16) float s[1024];
    for (int g = 0; g < 2; g++) {
        asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(
                         shared_address(s + 512 * g + 4 * threadIdx.x)),
                     "l"(in)
                     : "memory");
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    if (FAULT) asm volatile("cp.async.wait_group 1;" ::: "memory");
    else asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    out[threadIdx.x] = s[512 + 4 * threadIdx.x];
    asm volatile("cp.async.wait_all;" ::: "memory");
}

template <bool FAULT> __device__ void copy_at_exit(float *out, const float *in) {
    __shared__ __align__(16) float s[512];
    out[threadIdx.x] = in[threadIdx.x];
    asm volatile(
        "cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(shared_address(s + 4 * threadIdx.x)),
        "l"(in)
        : "memory");
    if (!FAULT) asm volatile("cp.async.wait_all;" ::: "memory");
}

/* Lanes 16 to 31 take part and are not in the mask. */
template <bool FAULT> __device__ void member_mask(float *out, const float *in) {
    out[threadIdx.x] = __shfl_xor_sync(FAULT ? 0xffffu : 0xffffffffu, in[threadIdx.x], 1);
}

/* The lower half reads lanes that are not there. */
template <bool FAULT> __device__ void shuffle_inactive(float *out, const float *in) {
    out[threadIdx.x] = in[threadIdx.x];
    if (threadIdx.x % 32 < 16)
        out[threadIdx.x] = __shfl_xor_sync(0xffffu, in[threadIdx.x], FAULT ? 16 : 1);
}

template <bool FAULT> __device__ void partial_warp(float *out, const float *in) {
    __shared__ __align__(16) float s[128];
    uint32_t r = 0;
    s[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = 0;
    if (FAULT && threadIdx.x == 3) return;
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(r)
                 : "r"(shared_address(s + threadIdx.x % 8 * 4))
                 : "memory");
    out[threadIdx.x] = __uint_as_float(r);
}

/* Two blocks, one element. */
template <bool FAULT> __device__ void cross_block(float *out, const float *in) {
    const int first = FAULT ? 0 : 128 * blockIdx.x;
    out[first + threadIdx.x] = in[threadIdx.x];
}

/* The read-only path may hold what was there before. */
template <bool FAULT> __device__ void stale_read_only(float *out, const float *in) {
    out[threadIdx.x] = in[threadIdx.x];
    float v;
    if (FAULT)
        asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(v) : "l"(out + threadIdx.x) : "memory");
    else asm volatile("ld.global.f32 %0, [%1];" : "=f"(v) : "l"(out + threadIdx.x) : "memory");
    out[threadIdx.x] = v;
}

__constant__ float table[4] = {1, 2, 3, 4};
template <bool FAULT> __device__ void write_constant(float *out, const float *in) {
    out[threadIdx.x] = in[threadIdx.x] + table[threadIdx.x % 4];
    if (FAULT) asm volatile("st.f32 [%0], 0f40a00000;" ::"l"(table + threadIdx.x % 4) : "memory");
}

template <bool FAULT> __device__ void endless(float *out, const float *in) {
    volatile float *o = out;
    o[threadIdx.x] = in[threadIdx.x];
    for (int i = 0; FAULT || i < 10; i++) o[threadIdx.x] = (float)i;
}

template <bool FAULT> __device__ void assertion(float *out, const float *in) {
    out[threadIdx.x] = in[threadIdx.x];
    assert(threadIdx.x < (FAULT ? 100 : 128));
}

template <bool FAULT> __device__ void plain(float *out, const float *in) {
    out[threadIdx.x] = in[threadIdx.x];
}

} // namespace

TWINS(race, OUT, ARGS)
TWINS(race_reuse, OUT, ARGS)
TWINS(race_same, OUT, ARGS)
TWINS(lanes_collide, OUT, ARGS)
TWINS(missing_syncwarp, OUT, ARGS)
TWINS(uninitialised_shared, OUT, ARGS)
TWINS(uninitialised_global, OUT, ARGS)
TWINS(past_the_end, OUT, ARGS)
TWINS(before_the_start, OUT, ARGS)
TWINS(past_shared, OUT, ARGS)
TWINS(misaligned, OUT, ARGS)
TWINS(null_pointer, OUT, ARGS)
TWINS(skipped_barrier, OUT, ARGS)
TWINS(divergent_barrier, OUT, ARGS)
TWINS(deadlock, OUT, ARGS)
TWINS(disagreeing_barrier, OUT, ARGS)
TWINS(barrier_after_exit, OUT, ARGS)
TWINS(copy_not_awaited, OUT, ARGS)
TWINS(wrong_group_awaited, OUT, ARGS)
TWINS(copy_at_exit, OUT, ARGS)
TWINS(member_mask, OUT, ARGS)
TWINS(shuffle_inactive, OUT, ARGS)
TWINS(partial_warp, OUT, ARGS)
TWINS(cross_block, OUT, ARGS)
TWINS(stale_read_only, OUT, ARGS)
TWINS(write_constant, OUT, ARGS)
TWINS(endless, OUT, ARGS)
TWINS(assertion, OUT, ARGS)
TWINS(plain, OUT, ARGS)
