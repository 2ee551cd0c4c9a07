/* rows_bwd.cu - gradients of embedding and gather: rows that are added to rows by number. */
#include "cuda/block.cuh"

enum { BLOCK = 256, WARPS = BLOCK / WARP, CHUNKS = 4, LIST = 2 * CHUNKS * BLOCK };

/* Threads for rows of this many groups: whole warps, at most a block. */
static unsigned threads_for(int64_t groups) {
    const int64_t threads = mn_ceil_div<int64_t>(groups, WARP) * WARP;
    return threads < BLOCK ? (unsigned)threads : (unsigned)BLOCK;
}

/* ---- Gather ------------------------------------------------------------------------------------- */

/* A block owns row rows[blockIdx] of dx. Bytes, must and do: 12 an element (dx, dx, dy). */
template <int VEC>
__global__ static void __launch_bounds__(BLOCK)
    gather_bwd_kernel(float *dx, const float *dy, const int32_t *rows, int64_t dim) {
    const float *from = dy + (int64_t)blockIdx.x * dim;
    float *to = dx + (int64_t)rows[blockIdx.x] * dim;
#pragma unroll 2
    for (int64_t c = (int64_t)threadIdx.x * VEC; c < dim; c += (int64_t)blockDim.x * VEC) {
        float a[VEC], b[VEC];
        load_group<VEC>(a, from + c);
        load_group<VEC>(b, to + c);
#pragma unroll
        for (int j = 0; j < VEC; j++) b[j] += a[j];
        store_group<VEC>(to + c, b);
    }
}

extern "C" mn_status mn_cuda_gather_bwd(mn_stream *s, float *dx, const float *dy,
                                        const int32_t *rows, int64_t m, int64_t dim) {
    if (m == 0 || dim == 0) return MN_OK;
    if (mn_cuda_rows_aligned(dx, dim) && mn_cuda_aligned(dy))
        gather_bwd_kernel<4>
            <<<(unsigned)m, threads_for(dim / 4), 0, s->stream>>>(dx, dy, rows, dim);
    else gather_bwd_kernel<1><<<(unsigned)m, threads_for(dim), 0, s->stream>>>(dx, dy, rows, dim);
    MN_CUDA_LAUNCHED("gather_bwd");
    return MN_OK;
}

/* ---- Embedding ---------------------------------------------------------------------------------- */

/* Is there an i in [begin, end) with ids[i] == id? The same answer for every thread. */
static __device__ __forceinline__ bool any_equal(const int32_t *ids, int32_t id, int64_t begin,
                                                 int64_t end) {
    bool hit = false;
#pragma unroll
    for (int k = 0; k < CHUNKS; k++) {
        const int64_t i = begin + k * BLOCK + threadIdx.x;
        hit = hit || (i < end && ids[i] == id);
    }
    return __syncthreads_or(hit);
}

/* Appends the i in [begin, begin + BLOCK) below `end` with ids[i] == id to the list, in order; returns its new
 * length. The list may be read and the function called again when it has returned. */
static __device__ __forceinline__ int append_equal(int32_t *list, int count, int *hits,
                                                   const int32_t *ids, int32_t id, int64_t begin,
                                                   int64_t end) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int64_t i = begin + threadIdx.x;
    const bool hit = i < end && ids[i] == id;
    const unsigned mask = __ballot_sync(ALL_LANES, hit);
    if (lane == 0) hits[warp] = __popc(mask);
    __syncthreads();
    int at = count, total = count;
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        if (w < warp) at += hits[w];
        total += hits[w];
    }
    if (hit) list[at + __popc(mask & ((1u << lane) - 1))] = (int32_t)i;
    __syncthreads();
    return total;
}

/* row += dx of the listed tokens, in the order of the list; a thread owns its columns. */
template <int VEC>
static __device__ __forceinline__ void add_listed(float *row, const float *dx, const int32_t *list,
                                                  int count, int64_t dim) {
    for (int64_t c = (int64_t)threadIdx.x * VEC; c < dim; c += (int64_t)BLOCK * VEC) {
        float sum[VEC];
        load_group<VEC>(sum, row + c);
#pragma unroll 4
        for (int k = 0; k < count; k++) {
            float x[VEC];
            load_group<VEC>(x, dx + (int64_t)list[k] * dim + c);
#pragma unroll
            for (int j = 0; j < VEC; j++) sum[j] += x[j];
        }
        store_group<VEC>(row + c, sum);
    }
}

/* The block of the first token with an id owns that row of the table: it lists all tokens with this id and
 * adds them in their order. The blocks of the others leave: no two blocks write to one row. Bytes that
 * must move: 4 an element of dx, 8 of every row of the table that changes; besides these, every block
 * reads up to 4 bytes of each id, which the second-level cache holds. */
template <int VEC>
__global__ static void __launch_bounds__(BLOCK)
    embed_bwd_kernel(float *dtable, const float *dx, const int32_t *ids, int64_t begin_id,
                     int64_t vocab, int64_t tokens, int64_t dim) {
    __shared__ int32_t list[LIST];
    __shared__ int hits[WARPS];
    const int64_t token = blockIdx.x;
    const int32_t id = ids[token];
    if (id < begin_id || id >= begin_id + vocab) return; /* another rank's row */
    for (int64_t begin = 0; begin < token; begin += CHUNKS * BLOCK)
        if (any_equal(ids, id, begin, token)) return;
    float *row = dtable + (id - begin_id) * dim;
    int count = 0;
    for (int64_t begin = token; begin < tokens; begin += CHUNKS * BLOCK) {
        if (!any_equal(ids, id, begin, tokens)) continue;
        for (int k = 0; k < CHUNKS; k++)
            count = append_equal(list, count, hits, ids, id, begin + k * BLOCK, tokens);
        if (count <= LIST - CHUNKS * BLOCK) continue;
        add_listed<VEC>(row, dx, list, count, dim);
        count = 0;
        __syncthreads(); /* the list is read before it is written again */
    }
    add_listed<VEC>(row, dx, list, count, dim);
}

extern "C" mn_status mn_cuda_embed_bwd(mn_stream *s, float *dtable, const float *dx,
                                       const int32_t *ids, int64_t begin, int64_t vocab,
                                       int64_t tokens, int64_t dim) {
    if (tokens == 0 || dim == 0) return MN_OK;
    const bool fours = mn_cuda_rows_aligned(dtable, dim) && mn_cuda_aligned(dx);
    const auto kernel = fours ? embed_bwd_kernel<4> : embed_bwd_kernel<1>;
    kernel<<<(unsigned)tokens, BLOCK, 0, s->stream>>>(dtable, dx, ids, begin, vocab, tokens, dim);
    MN_CUDA_LAUNCHED("embed_bwd");
    return MN_OK;
}
