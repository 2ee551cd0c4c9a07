/* attention_cudnn.cu - packed sequences into a dense fp16 batch, cuDNN's plan for its shape, and back.
 *
 * Lengths are rounded up to 64, so that few shapes occur. A shape that was not seen before has its plan built
 * and may make the batch's memory grow, which waits for the stream; from then on nothing is allocated.
 * cuDNN rounds its results to fp16, which mneme's own kernels do not. */
#include "cuda/attention_cudnn.h"
#include "cuda/collectives.h"
#include "cuda/cudnn_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_STEP = 64, PLANS = 64, THREADS = 128 };

typedef struct kept_plan {
    mn_cudnn_shape shape; /* batch 0: nothing is kept here */
    mn_cudnn_plan *plan;  /* NULL: cuDNN has none */
} kept_plan;

struct mn_cuda_cudnn {
    mn_cudnn *cudnn;
    kept_plan kept[PLANS]; /* a ring: the oldest makes room */
    int64_t built;
    bool said; /* that there was a shape without a plan */
    void *memory;
    size_t bytes;
};

mn_status mn_cuda_cudnn_open(struct mn_cuda_cudnn **out) {
    mn_status st = MN_OK;
    mn_cuda_cudnn *c = (mn_cuda_cudnn *)calloc(1, sizeof *c);
    *out = NULL;
    MN_CHECK(c, MN_ERR_MEMORY, "no memory for cuDNN");
    MN_GOTO(mn_cudnn_open(&c->cudnn));
    *out = c;
    c = NULL;
done:
    mn_cuda_cudnn_close(&c);
    return st;
}

void mn_cuda_cudnn_close(struct mn_cuda_cudnn **cudnn) {
    mn_cuda_cudnn *c = *cudnn;
    if (!c) return;
    for (int i = 0; i < PLANS; i++) mn_cudnn_plan_close(&c->kept[i].plan);
    mn_cudnn_close(&c->cudnn);
    cudaFree(c->memory);
    free(c);
    *cudnn = NULL;
}

/* Whether a batch is of the kind that a dense one can stand for. */
static bool dense_enough(const mn_stream *s, const mn_attn_seqs *seqs, const attention_args *a) {
    if (!s->cudnn || a->group != 1 || a->dim % 8 != 0 || a->dim > 128 || !a->aligned) return false;
    for (int64_t i = 0; i < seqs->count; i++) {
        const mn_attn_seq *seq = &seqs->host[i];
        if (seq->shared_len[0] || seq->shared_len[1] || seq->own_len != seq->q_len ||
            seq->q_len <= MN_DECODE_ROWS)
            return false;
    }
    return seqs->count > 0 && seqs->count <= MN_GRID_Z;
}

static void say_refused(mn_cuda_cudnn *c, const mn_cudnn_shape *shape) {
    char text[256];
    snprintf(text, sizeof text,
             "cuDNN has no reproducible plan for attention%s of %lld x %lld tokens, %lld heads of "
             "%lld: mneme's own is used there, and wherever else that is so",
             shape->backward ? " backward" : "", (long long)shape->batch, (long long)shape->length,
             (long long)shape->heads, (long long)shape->head_dim);
    mn_cuda_warn(text);
    c->said = true;
}

static mn_status plan_for(mn_cudnn_plan **out, mn_cuda_cudnn *c, const mn_cudnn_shape *shape) {
    for (int i = 0; i < PLANS; i++) {
        const mn_cudnn_shape *have = &c->kept[i].shape;
        *out = c->kept[i].plan;
        if (have->batch == shape->batch && have->length == shape->length &&
            have->heads == shape->heads && have->head_dim == shape->head_dim &&
            have->backward == shape->backward)
            return MN_OK;
    }
    kept_plan *place = &c->kept[c->built % PLANS];
    mn_cudnn_plan_close(&place->plan);
    place->shape = {};
    const mn_status st = mn_cudnn_plan_build(&place->plan, c->cudnn, shape, NULL);
    if (st != MN_OK && st != MN_ERR_UNSUPPORTED) return st;
    if (st != MN_OK && !c->said) say_refused(c, shape);
    place->shape = *shape;
    c->built++;
    *out = place->plan;
    return MN_OK;
}

static mn_cudnn_shape shape_of(const mn_attn_seqs *seqs, const attention_args *a, bool backward) {
    int64_t length = 0;
    for (int64_t i = 0; i < seqs->count; i++)
        length = seqs->host[i].q_len > length ? seqs->host[i].q_len : length;
    return {.batch = seqs->count,
            .length = mn_ceil_div<int64_t>(length, LENGTH_STEP) * LENGTH_STEP,
            .heads = a->heads,
            .head_dim = a->dim,
            .backward = backward};
}

mn_status mn_cuda_cudnn_takes(bool *takes, mn_stream *s, const mn_attn_seqs *seqs,
                              const attention_args *a, bool backward) {
    mn_cudnn_plan *plan = NULL;
    s->was_cudnn = *takes = false;
    if (!dense_enough(s, seqs, a)) return MN_OK;
    const mn_cudnn_shape shape = shape_of(seqs, a, backward);
    MN_TRY(plan_for(&plan, s->cudnn, &shape));
    s->was_cudnn = *takes = plan != NULL;
    return MN_OK;
}

/* ---- between packed rows and the dense batch ----------------------------------------------------- */

/* A block owns a place of a sequence; a thread eight neighbours of its heads, in turn. */
typedef struct dense {
    const mn_attn_seq *seqs;
    int length, heads, dim;
} dense;

#define DENSE_ROW(d) ((int64_t)blockIdx.y * (d).length + blockIdx.x) * (d).heads *(d).dim

/* to = the tokens' rows of x (T, H, D), fp16; zeros behind a sequence. */
static __global__ void __launch_bounds__(THREADS)
    gather_tokens_kernel(__half *to, const float *x, const dense d) {
    const mn_attn_seq *seq = &d.seqs[blockIdx.y];
    const bool exists = (int)blockIdx.x < seq->q_len;
    const int width = d.heads * d.dim;
    const float *row = x + (int64_t)(seq->q_begin + (int)blockIdx.x) * width;
    for (int i = (int)threadIdx.x * 8; i < width; i += THREADS * 8)
        *(uint4 *)(to + DENSE_ROW(d) + i) = exists ? eight_halves(row, i, width, true)
                                                   : make_uint4(0, 0, 0, 0);
}

/* to = the tokens' rows of the cache; zeros behind a sequence. */
static __global__ void __launch_bounds__(THREADS)
    gather_cache_kernel(__half *to, const __half *cache, const dense d) {
    const mn_attn_seq *seq = &d.seqs[blockIdx.y];
    const bool exists = (int)blockIdx.x < seq->own_len;
    const int width = d.heads * d.dim;
    const __half *row = cache + (int64_t)(seq->own_begin + (int)blockIdx.x) * width;
    for (int i = (int)threadIdx.x * 8; i < width; i += THREADS * 8)
        *(uint4 *)(to + DENSE_ROW(d) + i) = exists ? *(const uint4 *)(row + i)
                                                   : make_uint4(0, 0, 0, 0);
}

/* The tokens' rows of x (T, H, D) = from. */
static __global__ void __launch_bounds__(THREADS)
    scatter_tokens_kernel(float *x, const __half *from, const dense d) {
    const mn_attn_seq *seq = &d.seqs[blockIdx.y];
    const int width = d.heads * d.dim;
    if ((int)blockIdx.x >= seq->q_len) return;
    float *row = x + (int64_t)(seq->q_begin + (int)blockIdx.x) * width;
    for (int i = (int)threadIdx.x * 4; i < width; i += THREADS * 4) {
        const uint2 h = *(const uint2 *)(from + DENSE_ROW(d) + i);
        const float2 a = __half22float2(*(const __half2 *)&h.x),
                     b = __half22float2(*(const __half2 *)&h.y);
        *(float4 *)(row + i) = make_float4(a.x, a.y, b.x, b.y);
    }
}

/* lse (T, H) = stats (batch, H, length), or the other way round; stats behind a sequence are 0. */
template <bool INTO_STATS>
static __global__ void __launch_bounds__(THREADS)
    move_stats_kernel(float *lse, float *stats, const dense d) {
    const mn_attn_seq *seq = &d.seqs[blockIdx.y];
    const bool exists = (int)blockIdx.x < seq->q_len;
    for (int h = (int)threadIdx.x; h < d.heads; h += THREADS) {
        float *s = stats + ((int64_t)blockIdx.y * d.heads + h) * d.length + blockIdx.x;
        float *l = lse + (int64_t)(seq->q_begin + (int)blockIdx.x) * d.heads + h;
        if (INTO_STATS) *s = exists ? *l : 0;
        else if (exists) *l = *s;
    }
}

/* ---- runs ---------------------------------------------------------------------------------------- */

/* Where the parts of a dense batch lie; enough memory for them. */
static mn_status place(mn_stream *s, mn_cudnn_data *data, const mn_cudnn_shape *shape,
                       size_t workspace) {
    mn_cuda_cudnn *c = s->cudnn;
    const size_t rows = (size_t)(shape->batch * shape->length * shape->heads);
    const size_t matrix = rows * (size_t)shape->head_dim * 2, stats = (rows * 4 + 255) / 256 * 256;
    void **const part[] = {&data->q,    &data->k,  &data->v,  &data->out,
                           &data->dout, &data->dq, &data->dk, &data->dv};
    const size_t matrices = shape->backward ? 8 : 4;
    const size_t bytes = matrices * matrix + 2 * stats +
                         workspace; /* a matrix is whole 256 bytes */
    if (bytes > c->bytes) {
        MN_TRY(mn_cuda_wait(s, NULL));
        MN_CUDA_TRY(cudaFree(c->memory));
        c->memory = NULL;
        c->bytes = 0;
        MN_CUDA_TRY(cudaMalloc(&c->memory, bytes));
        c->bytes = bytes;
    }
    unsigned char *at = (unsigned char *)c->memory;
    for (size_t i = 0; i < matrices; i++, at += matrix) *part[i] = at;
    data->stats = (float *)(void *)at;
    data->row_sums = (float *)(void *)(at + stats);
    data->workspace = at + 2 * stats;
    return MN_OK;
}

static mn_status prepare(mn_stream *s, const attention_args *a, const mn_attn_seqs *seqs,
                         bool backward, mn_cudnn_plan **plan, mn_cudnn_data *data, dense *d) {
    const mn_cudnn_shape shape = shape_of(seqs, a, backward);
    const int64_t length = shape.length;
    MN_TRY(plan_for(plan, s->cudnn, &shape));
    MN_TRY(place(s, data, &shape, mn_cudnn_plan_workspace(*plan)));
    data->scale = a->scale / MN_LOG2E;
    *d = {.seqs = a->seqs, .length = (int)length, .heads = a->heads, .dim = a->dim};
    const dim3 grid((unsigned)length, (unsigned)seqs->count);
    gather_tokens_kernel<<<grid, THREADS, 0, s->stream>>>((__half *)data->q, a->q, *d);
    gather_cache_kernel<<<grid, THREADS, 0, s->stream>>>((__half *)data->k, a->k, *d);
    gather_cache_kernel<<<grid, THREADS, 0, s->stream>>>((__half *)data->v, a->v, *d);
    MN_CUDA_LAUNCHED("attention's dense batch");
    return MN_OK;
}

mn_status mn_cuda_cudnn_forward(mn_stream *s, const attention_args *a, const mn_attn_seqs *seqs) {
    mn_cudnn_data data = {};
    mn_cudnn_plan *plan;
    dense d;
    MN_TRY(prepare(s, a, seqs, false, &plan, &data, &d));
    MN_TRY(mn_cudnn_plan_run(plan, &data, s->stream));
    const dim3 grid((unsigned)d.length, (unsigned)seqs->count);
    scatter_tokens_kernel<<<grid, THREADS, 0, s->stream>>>(a->out, (const __half *)data.out, d);
    if (a->lse) move_stats_kernel<false><<<grid, THREADS, 0, s->stream>>>(a->lse, data.stats, d);
    MN_CUDA_LAUNCHED("attention out of the dense batch");
    return MN_OK;
}

mn_status mn_cuda_cudnn_backward(mn_stream *s, const attention_args *a, const mn_attn_seqs *seqs,
                                 const float *dout, float *dq, float *dk, float *dv) {
    mn_cudnn_data data = {};
    mn_cudnn_plan *plan;
    dense d;
    MN_TRY(prepare(s, a, seqs, true, &plan, &data, &d));
    const dim3 grid((unsigned)d.length, (unsigned)seqs->count);
    gather_tokens_kernel<<<grid, THREADS, 0, s->stream>>>((__half *)data.out, a->out, d);
    gather_tokens_kernel<<<grid, THREADS, 0, s->stream>>>((__half *)data.dout, dout, d);
    move_stats_kernel<true><<<grid, THREADS, 0, s->stream>>>(a->lse, data.stats, d);
    MN_CUDA_LAUNCHED("attention's dense batch");
    MN_TRY(mn_cudnn_plan_run(plan, &data, s->stream));
    scatter_tokens_kernel<<<grid, THREADS, 0, s->stream>>>(dq, (const __half *)data.dq, d);
    scatter_tokens_kernel<<<grid, THREADS, 0, s->stream>>>(dk, (const __half *)data.dk, d);
    scatter_tokens_kernel<<<grid, THREADS, 0, s->stream>>>(dv, (const __half *)data.dv, d);
    MN_CUDA_LAUNCHED("attention out of the dense batch");
    return MN_OK;
}
