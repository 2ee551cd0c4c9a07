/* mma.cuh - the instructions of tensor cores and asynchronous copies that attention is made of (sm_80).
 *
 * Fragments, by lane: an A of 16 x 16 halves is 4 registers, a B of 16 x 8 two, a C of 16 x 8 floats
 * four: C[lane / 4 + 8 * (i / 2)][lane % 4 * 2 + i % 2] is c[i] (PTX ISA, mma.m16n8k16). */
#ifndef MNEME_CUDA_MMA_CUH
#define MNEME_CUDA_MMA_CUH

#include <cuda_fp16.h>
#include <stdint.h>

#define MN_DEVICE static __device__ __forceinline__

enum { MN_WARP = 32 };
#define MN_FULL_WARP 0xffffffffu

MN_DEVICE uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/* Four 8 x 8 matrices of halves; lane i gives the address of row i % 8 of matrix i / 8. */
MN_DEVICE void load_matrices(uint32_t r[4], const __half *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* The same, each matrix transposed. */
MN_DEVICE void load_matrices_transposed(uint32_t r[4], const __half *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* Where in a row-major tile of row length `pitch` this lane points, for a block of 16 x 16:
 * as A, or as B' when the tile's rows are what B's columns are (k by row of the tile). */
MN_DEVICE int lane_of_a(int lane, int pitch) { return (lane & 15) * pitch + (lane >> 4) * 8; }
/* As two B of 16 (k: the tile's columns) x 8 (n: the tile's rows). */
MN_DEVICE int lane_of_b(int lane, int pitch) {
    return ((lane >> 4) * 8 + (lane & 7)) * pitch + (lane >> 3 & 1) * 8;
}
/* As two B of 16 (k: the tile's rows) x 8 (n: the tile's columns), loaded transposed. */
MN_DEVICE int lane_of_b_transposed(int lane, int pitch) { return lane_of_a(lane, pitch); }

/* c += a b */
MN_DEVICE void multiply_add(float c[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* 16 bytes from global to shared memory; zeros when they do not exist (`from` must still be valid). */
MN_DEVICE void copy_16_async(void *to, const void *from, bool exist) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(exist ? 16 : 0)
                 : "memory");
}
MN_DEVICE void copy_8_async(void *to, const void *from, bool exist) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(exist ? 8 : 0)
                 : "memory");
}
/* Ends this thread's group of copies; waits for all groups of this thread. */
MN_DEVICE void copies_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
MN_DEVICE void copies_wait_all(void) { asm volatile("cp.async.wait_group 0;" ::: "memory"); }
MN_DEVICE void copies_wait_all_but_last(void) {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
}

MN_DEVICE uint32_t pack_halves(float low, float high) {
    const __half2 h = __floats2half2_rn(low, high);
    return *(const uint32_t *)&h;
}

/* 2^x, 2 units of error; 0 below 2^-126. */
MN_DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* C of 16 x 16 (two tiles of 8 columns) as the A of a following product. */
MN_DEVICE void as_a(uint32_t a[4], const float left[4], const float right[4]) {
    a[0] = pack_halves(left[0], left[1]);
    a[1] = pack_halves(left[2], left[3]);
    a[2] = pack_halves(right[0], right[1]);
    a[3] = pack_halves(right[2], right[3]);
}

#endif
