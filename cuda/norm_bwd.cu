/* norm_bwd.cu - gradients of LayerNorm, RMSNorm and the gated norm of the memories.
 *
 * With h = (x - mean) r, r = 1 / sqrt(var + eps) and g = dy weight (Ba et al. 2016):
 *     dx = r (g - mean(g) - h mean(g h)),   dweight = sum over rows of dy h,   dbias = sum of dy.
 * RMSNorm has no mean(g), and its mean is 0; a gate multiplies all of them.
 *
 * A block owns every gridDim-th row: it holds a row's x and dy and the weight in registers (row.cuh), writes
 * dx, and adds the row's share to column sums in shared memory. These go to the workspace once per block, and a
 * second kernel adds them in the order of the blocks. How many blocks there are depends on the shape alone,
 * not on the number of multiprocessors, and so does the order of all sums. Bytes that must move, an element: 12 (x, dy, dx), 16
 * where dx adds; the workspace takes 16 more per block and column. */
#include "cuda/row.cuh"

enum { PART_ROWS = 4, MIN_PARTS = 256, MAX_PARTS = 384, PARTS_ELEMENTS = 1 << 20 };

/* Blocks that share the rows: at least PART_ROWS rows each, so that their sums cost less than the rows. */
static int64_t parts_of(int64_t rows, int64_t dim) {
    const int64_t wanted = mn_ceil_div<int64_t>(rows, PART_ROWS), n = PARTS_ELEMENTS / dim;
    int64_t most = n < MAX_PARTS ? n : (int64_t)MAX_PARTS;
    if (most < MIN_PARTS) most = MIN_PARTS;
    return wanted < most ? wanted : most;
}

typedef struct norm_gradient {
    float *dx;
    const float *dy, *x, *weight, *bias, *gate; /* bias and gate: of the gated norm, else NULL */
    float *parts;                               /* [gridDim][2][dim] sums of dy h and of dy */
    double *gate_parts; /* [gridDim] sums of dy (h weight + bias), or NULL */
    int64_t rows;
    int dim;
    float eps;
    bool add;
} norm_gradient;

/* dx of one row from its centred x, its dy and the sums over g and g (x - mean); dy may be dx. */
template <int VEC, int N>
static __device__ __forceinline__ void
write_dx(const norm_gradient &p, int64_t r, const float (&h)[N], const float (&dy)[N],
         const float (&w)[N], float g, float gh, float scale) {
    float out[N];
#pragma unroll
    for (int j = 0; j < N; j++) out[j] = (dy[j] * w[j] - g - h[j] * gh) * scale;
    if (p.add) {
        float old[N];
        load_row<VEC>(old, p.dx + r * p.dim, p.dim);
#pragma unroll
        for (int j = 0; j < N; j++) out[j] += old[j];
    }
    store_row<VEC>(p.dx + r * p.dim, out, p.dim);
}

/* sums[column] += x, each by the thread that holds the column. */
template <int VEC, int N>
static __device__ __forceinline__ void add_row(float *sums, const float (&x)[N], int dim) {
#pragma unroll
    for (int j = 0; j < N; j += VEC) {
        const int c = held_column<VEC>(j);
        if (c >= dim) continue;
        float old[VEC];
        load_group<VEC>(old, sums + c);
#pragma unroll
        for (int k = 0; k < VEC; k++) old[k] += x[j + k];
        store_group<VEC>(sums + c, old);
    }
}

/* The block's column sums [2][dim], and its share of the gate's gradient: `products`, what all rows' sums of
 * dy h weight add up to, and the sums of dy times the bias. */
template <int VEC>
static __device__ __forceinline__ void write_parts(const norm_gradient &p, const float *columns,
                                                   double products, block_sums<double, 1> *sums) {
    float *part = p.parts + (int64_t)blockIdx.x * 2 * p.dim;
    double gate[1] = {threadIdx.x == 0 ? products : 0};
#pragma unroll 1
    for (int c = (int)threadIdx.x * VEC; c < p.dim; c += (int)blockDim.x * VEC) {
        float dweight[VEC], dbias[VEC];
        load_group<VEC>(dweight, columns + c);
        load_group<VEC>(dbias, columns + p.dim + c);
        store_group<VEC>(part + c, dweight);
        store_group<VEC>(part + p.dim + c, dbias);
        if (!p.gate_parts) continue;
        float bias[VEC];
        load_group<VEC>(bias, p.bias + c);
#pragma unroll
        for (int k = 0; k < VEC; k++) gate[0] += (double)bias[k] * (double)dbias[k];
    }
    if (!p.gate_parts) return;
    block_sum(gate, sums, 0);
    if (threadIdx.x == 0) p.gate_parts[blockIdx.x] = gate[0];
}

template <bool CENTRED, bool SUMS, int VEC>
__global__ static void __launch_bounds__(ROW_THREADS) norm_bwd_kernel(norm_gradient p) {
    enum { HELD = held<VEC>::COUNT };
    __shared__ block_sums<float, 1> mean_sums;
    __shared__ block_sums<float, 3> sums;
    __shared__ block_sums<double, 1> gate_sums;
    extern __shared__ float4 column_sums[]; /* [2][dim]: every thread adds to its own columns */
    float *columns = (float *)column_sums, w[HELD] = {0};
    if (SUMS) store_row<VEC>(columns, w, p.dim);
    if (SUMS) store_row<VEC>(columns + p.dim, w, p.dim);
    load_row<VEC>(w, p.weight, p.dim);
    const float gate = p.gate ? *p.gate : 1.0f, n = (float)p.dim;
    double products = 0;
    int turn = 0;
    for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x, turn ^= 1) {
        float h[HELD], dy[HELD];
        load_row<VEC>(h, p.x + r * p.dim, p.dim);
        load_row<VEC>(dy, p.dy + r * p.dim, p.dim);
        if (CENTRED) {
            float mean[1] = {held_sum(h)};
            block_sum(mean, &mean_sums, turn);
            subtract_mean<VEC>(h, mean[0] / n, p.dim);
        }
        float s[3] = {0, 0, 0}; /* of (x - mean)^2, g (x - mean), g */
#pragma unroll
        for (int j = 0; j < HELD; j++) {
            const float g = dy[j] * w[j];
            s[0] += h[j] * h[j];
            s[1] += g * h[j];
            s[2] += g;
        }
        block_sum(s, &sums, turn);
        const float scale = 1.0f / sqrtf(s[0] / n + p.eps);
#pragma unroll
        for (int j = 0; j < HELD; j++) h[j] *= scale;
        write_dx<VEC>(p, r, h, dy, w, CENTRED ? s[2] / n : 0.0f, s[1] * scale / n, scale * gate);
        if (SUMS) {
            products += (double)(s[1] * scale);
            add_row<VEC>(columns + p.dim, dy, p.dim);
#pragma unroll
            for (int j = 0; j < HELD; j++) dy[j] *= h[j];
            add_row<VEC>(columns, dy, p.dim);
        }
    }
    if (SUMS) write_parts<VEC>(p, columns, products, &gate_sums);
}

/* ---- The sum over the parts --------------------------------------------------------------------- */

enum { COLUMNS = WARP, GROUPS = 8 };

typedef struct part_sums {
    float *dweight, *dbias, *dgate; /* dbias, dgate may be NULL */
    const float *parts, *gate;
    const double *gate_parts;
    int64_t count;
    int dim;
} part_sums;

/* A block owns 32 columns of dweight (blockIdx.y 0) or dbias (1). Thread group k of 8 adds the parts k,
 * k + 8, ..., and the first group adds the eight sums. */
__global__ static void __launch_bounds__(COLUMNS *GROUPS) norm_parts_kernel(part_sums p) {
    __shared__ float sums[GROUPS][COLUMNS];
    __shared__ block_sums<double, 1> gate_sums;
    const int column = threadIdx.x % COLUMNS, group = threadIdx.x / COLUMNS;
    const int c = (int)blockIdx.x * COLUMNS + column;
    const float *from = p.parts + (int64_t)blockIdx.y * p.dim + c;
    float sum = 0;
    if (c < p.dim) {
#pragma unroll 8
        for (int64_t part = group; part < p.count; part += GROUPS) sum += from[part * 2 * p.dim];
    }
    sums[group][column] = sum;
    __syncthreads();
    float *to = blockIdx.y ? p.dbias : p.dweight;
    if (group == 0 && c < p.dim) {
        for (int k = 1; k < GROUPS; k++) sum += sums[k][column];
        to[c] += (p.gate ? *p.gate : 1.0f) * sum;
    }
    if (!p.dgate || blockIdx.x + blockIdx.y > 0) return;
    double gate[1] = {0};
    for (int64_t part = threadIdx.x; part < p.count; part += COLUMNS * GROUPS)
        gate[0] += p.gate_parts[part];
    block_sum(gate, &gate_sums, 0);
    if (threadIdx.x == 0) *p.dgate += (float)gate[0];
}

/* ---- Launchers ---------------------------------------------------------------------------------- */

template <bool CENTRED, bool SUMS, int VEC>
static mn_status launch(mn_stream *s, const norm_gradient *p, int64_t parts) {
    const auto kernel = norm_bwd_kernel<CENTRED, SUMS, VEC>;
    const unsigned blocks = SUMS ? (unsigned)parts : mn_row_blocks<VEC>(s, p->rows, p->dim);
    const size_t shared = SUMS ? 2 * (size_t)p->dim * sizeof(float) : 0;
    if (SUMS)
        MN_CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         2 * held<VEC>::ROW_MAX * sizeof(float)));
    kernel<<<blocks, mn_row_threads<VEC>(p->dim), shared, s->stream>>>(*p);
    MN_CUDA_LAUNCHED("the gradient of a norm");
    return MN_OK;
}

template <bool CENTRED, bool SUMS>
static mn_status launch_rows(mn_stream *s, const char *name, const norm_gradient *p,
                             int64_t parts) {
    const bool fours = mn_cuda_rows_aligned(p->x, p->dim) && mn_cuda_aligned(p->dy) &&
                       mn_cuda_aligned(p->dx) && mn_cuda_aligned(p->weight) &&
                       mn_cuda_aligned(p->bias);
    MN_TRY(mn_row_check(name, p->dim, fours));
    return fours ? launch<CENTRED, SUMS, 4>(s, p, parts) : launch<CENTRED, SUMS, 1>(s, p, parts);
}

template <bool CENTRED>
static mn_status norm_bwd(mn_stream *s, const char *name, norm_gradient p, float *dweight,
                          float *dbias, float *dgate, int64_t dim) {
    if (p.rows == 0 || dim == 0) return MN_OK;
    MN_TRY(mn_row_check(name, dim, dim % 4 == 0));
    p.dim = (int)dim;
    if (!dweight) return launch_rows<CENTRED, false>(s, name, &p, 0);
    const int64_t count = parts_of(p.rows, dim);
    MN_TRY(mn_cuda_scratch(s, &p.parts, (size_t)count * (2 * (size_t)dim * 4 + 8)));
    p.gate_parts = dgate ? (double *)(p.parts + 2 * dim * count) : NULL;
    MN_TRY((launch_rows<CENTRED, true>(s, name, &p, count)));
    const part_sums sums = {.dweight = dweight,
                            .dbias = dbias,
                            .dgate = dgate,
                            .parts = p.parts,
                            .gate = p.gate,
                            .gate_parts = p.gate_parts,
                            .count = count,
                            .dim = p.dim};
    const dim3 grid((unsigned)mn_ceil_div<int64_t>(dim, COLUMNS), dbias ? 2 : 1);
    norm_parts_kernel<<<grid, COLUMNS * GROUPS, 0, s->stream>>>(sums);
    MN_CUDA_LAUNCHED(name);
    return MN_OK;
}

static norm_gradient gradient_of(float *dx, const float *dy, const float *x, const float *weight,
                                 float eps, int64_t rows) {
    norm_gradient p = {};
    p.dx = dx;
    p.dy = dy;
    p.x = x;
    p.weight = weight;
    p.eps = eps;
    p.rows = rows;
    return p;
}

extern "C" mn_status mn_cuda_layernorm_bwd(mn_stream *s, float *dx, float *dweight, float *dbias,
                                           const float *dy, const float *x, const float *weight,
                                           float eps, bool add, int64_t rows, int64_t dim) {
    norm_gradient p = gradient_of(dx, dy, x, weight, eps, rows);
    p.add = add;
    return norm_bwd<true>(s, "layernorm_bwd", p, dweight, dbias, NULL, dim);
}

extern "C" mn_status mn_cuda_rmsnorm_bwd(mn_stream *s, float *dx, float *dweight, const float *dy,
                                         const float *x, const float *weight, float eps, bool add,
                                         int64_t rows, int64_t dim) {
    norm_gradient p = gradient_of(dx, dy, x, weight, eps, rows);
    p.add = add;
    return norm_bwd<false>(s, "rmsnorm_bwd", p, dweight, NULL, NULL, dim);
}

extern "C" mn_status mn_cuda_gated_norm_bwd(mn_stream *s, float *dd, float *dweight, float *dbias,
                                            float *dgate, const float *dy, const float *d,
                                            const float *weight, const float *bias,
                                            const float *gate, float eps, int64_t rows,
                                            int64_t dim) {
    norm_gradient p = gradient_of(dd, dy, d, weight, eps, rows);
    p.bias = bias;
    p.gate = gate;
    return norm_bwd<true>(s, "gated_norm_bwd", p, dweight, dbias, dgate, dim);
}
