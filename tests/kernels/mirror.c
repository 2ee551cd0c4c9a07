/* mirror.c - copies of arguments to a device and back, around every fp32 kernel. */
#include "kernels/mirror.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_ARGUMENTS = 12 };

typedef struct argument {
    void *host; /* where it is copied back to, when it is an output */
    const void *key;
    unsigned char *memory, *data; /* on the device */
    size_t bytes;
} argument;

typedef struct mirror {
    mn_device device;
    mn_device *inner;
    bool aligned;
    argument argument[MOST_ARGUMENTS]; /* of the call that runs */
    int count;
} mirror;

static mirror *mirror_of(mn_stream *s) { return (mirror *)(void *)s; }

/* ---- Copies of arguments ------------------------------------------------------------------------ */

static argument *take(mirror *m, const void *host, size_t bytes) {
    for (int i = 0; i < m->count; i++)
        if (m->argument[i].key == host) {
            assert_int_equal(m->argument[i].bytes, bytes);
            return &m->argument[i];
        }
    assert_true(m->count < MOST_ARGUMENTS);
    const size_t lead = m->aligned ? 0 : (uintptr_t)host % 16;
    argument *a = &m->argument[m->count++];
    *a = (argument){.key = host, .bytes = bytes};
    void *memory = NULL;
    MN_ASSERT_OK(m->inner->alloc(m->inner, &memory, lead + bytes));
    a->memory = memory;
    a->data = a->memory + lead;
    if (bytes) MN_ASSERT_OK(m->inner->upload(m->inner, a->data, host, bytes));
    return a;
}

static void *in_bytes(mirror *m, const void *host, size_t bytes) {
    return host ? take(m, host, bytes)->data : NULL;
}

static void *out_bytes(mirror *m, void *host, size_t bytes) {
    if (!host) return NULL;
    argument *a = take(m, host, bytes);
    a->host = host;
    return a->data;
}

/* n elements */
static const float *in(mirror *m, const float *x, int64_t n) {
    return in_bytes(m, x, (size_t)n * sizeof *x);
}
static const int32_t *in_i32(mirror *m, const int32_t *x, int64_t n) {
    return in_bytes(m, x, (size_t)n * sizeof *x);
}
static float *out(mirror *m, float *x, int64_t n) { return out_bytes(m, x, (size_t)n * sizeof *x); }

/* An input is what it was. */
static void check_input(mirror *m, const argument *a) {
    void *now = test_malloc(a->bytes);
    MN_ASSERT_OK(m->inner->download(m->inner, now, a->data, a->bytes));
    assert_memory_equal(now, a->key, a->bytes);
    test_free(now);
}

/* Copies outputs back and forgets the arguments. Returns `st`. */
static mn_status finish(mirror *m, mn_status st) {
    for (int i = 0; i < m->count; i++) {
        const argument *a = &m->argument[i];
        if (st == MN_OK && a->bytes) {
            if (a->host) MN_ASSERT_OK(m->inner->download(m->inner, a->host, a->data, a->bytes));
            else check_input(m, a);
        }
        m->inner->release(m->inner, a->memory, a->bytes + (size_t)(a->data - a->memory));
    }
    m->count = 0;
    return st;
}

/* As many rows as the ids reach. */
static int64_t rows_of(const int32_t *id, int64_t n) {
    int64_t rows = 0;
    for (int64_t i = 0; i < n; i++) rows = id[i] >= rows ? id[i] + 1 : rows;
    return rows;
}

/* ---- Kernels ------------------------------------------------------------------------------------ */

/* FINISH(row, arguments behind the stream) */
#define FINISH(row, ...) finish(m, m->inner->k->row(m->inner->stream, __VA_ARGS__))
#define MIRROR mirror *m = mirror_of(s)

static mn_status embed_fwd(mn_stream *s, float *x, const void *table, mn_dtype dtype,
                           const int32_t *ids, int64_t begin, int64_t vocab, int64_t tokens,
                           int64_t dim) {
    MIRROR;
    const size_t bytes = (size_t)(vocab * dim) * mn_dtype_size(dtype);
    return FINISH(embed_fwd, out(m, x, tokens * dim), in_bytes(m, table, bytes), dtype,
                  in_i32(m, ids, tokens), begin, vocab, tokens, dim);
}

static mn_status layernorm_fwd(mn_stream *s, float *y, const float *x, const float *weight,
                               const float *bias, float eps, int64_t rows, int64_t dim) {
    MIRROR;
    return FINISH(layernorm_fwd, out(m, y, rows * dim), in(m, x, rows * dim), in(m, weight, dim),
                  in(m, bias, dim), eps, rows, dim);
}

static mn_status rmsnorm_fwd(mn_stream *s, float *y, const float *x, const float *weight, float eps,
                             int64_t rows, int64_t dim) {
    MIRROR;
    return FINISH(rmsnorm_fwd, out(m, y, rows * dim), in(m, x, rows * dim), in(m, weight, dim), eps,
                  rows, dim);
}

static mn_status swiglu_fwd(mn_stream *s, float *y, const float *gate, const float *up,
                            int64_t rows, int64_t dim) {
    MIRROR;
    const int64_t n = rows * dim;
    return FINISH(swiglu_fwd, out(m, y, n), in(m, gate, n), in(m, up, n), rows, dim);
}

static mn_status gather_fwd(mn_stream *s, float *y, const float *x, const int32_t *rows,
                            int64_t count, int64_t dim) {
    MIRROR;
    return FINISH(gather_fwd, out(m, y, count * dim), in(m, x, rows_of(rows, count) * dim),
                  in_i32(m, rows, count), count, dim);
}

static mn_status row_stats(mn_stream *s, mn_row_stat *stats, const float *logits, int64_t begin,
                           int64_t rows, int64_t vocab) {
    MIRROR;
    return FINISH(row_stats, out_bytes(m, stats, (size_t)rows * sizeof *stats),
                  in(m, logits, rows * vocab), begin, rows, vocab);
}

static mn_status row_stats_merge(mn_stream *s, mn_row_stat *stats, const mn_row_stat *parts,
                                 int64_t slices, int64_t rows) {
    MIRROR;
    const size_t bytes = (size_t)rows * sizeof *stats;
    return FINISH(row_stats_merge, out_bytes(m, stats, bytes),
                  in_bytes(m, parts, (size_t)slices * bytes), slices, rows);
}

static mn_status logprob_gather(mn_stream *s, float *result, const float *logits,
                                const mn_row_stat *stats, const int32_t *row, const int32_t *id,
                                int64_t begin, int64_t count, int64_t vocab) {
    MIRROR;
    const int64_t rows = rows_of(row, count);
    return FINISH(logprob_gather, out(m, result, count), in(m, logits, rows * vocab),
                  in_bytes(m, stats, (size_t)rows * sizeof *stats), in_i32(m, row, count),
                  in_i32(m, id, count), begin, count, vocab);
}

static mn_status sample(mn_stream *s, int32_t *id, const float *logits, const float *u,
                        float temperature, int64_t rows, int64_t vocab) {
    MIRROR;
    return FINISH(sample, out_bytes(m, id, (size_t)rows * sizeof *id), in(m, logits, rows * vocab),
                  in(m, u, rows), temperature, rows, vocab);
}

static mn_status count_nonfinite(mn_stream *s, int64_t *count, const float *x, int64_t n) {
    MIRROR;
    return FINISH(count_nonfinite, out_bytes(m, count, sizeof *count), in(m, x, n), n);
}

static mn_status layernorm_bwd(mn_stream *s, float *dx, float *dweight, float *dbias,
                               const float *dy, const float *x, const float *weight, float eps,
                               bool add, int64_t rows, int64_t dim) {
    MIRROR;
    const int64_t n = rows * dim;
    return FINISH(layernorm_bwd, out(m, dx, n), out(m, dweight, dim), out(m, dbias, dim),
                  in(m, dy, n), in(m, x, n), in(m, weight, dim), eps, add, rows, dim);
}

static mn_status rmsnorm_bwd(mn_stream *s, float *dx, float *dweight, const float *dy,
                             const float *x, const float *weight, float eps, bool add, int64_t rows,
                             int64_t dim) {
    MIRROR;
    const int64_t n = rows * dim;
    return FINISH(rmsnorm_bwd, out(m, dx, n), out(m, dweight, dim), in(m, dy, n), in(m, x, n),
                  in(m, weight, dim), eps, add, rows, dim);
}

static mn_status gelu_fwd(mn_stream *s, float *y, const float *x, int64_t n) {
    MIRROR;
    return FINISH(gelu_fwd, out(m, y, n), in(m, x, n), n);
}

static mn_status gelu_bwd(mn_stream *s, float *dx, const float *dy, const float *x, int64_t n) {
    MIRROR;
    return FINISH(gelu_bwd, out(m, dx, n), in(m, dy, n), in(m, x, n), n);
}

static mn_status swiglu_bwd(mn_stream *s, float *dgate, float *dup, const float *dy,
                            const float *gate, const float *up, int64_t n) {
    MIRROR;
    return FINISH(swiglu_bwd, out(m, dgate, n), out(m, dup, n), in(m, dy, n), in(m, gate, n),
                  in(m, up, n), n);
}

static mn_status embed_bwd(mn_stream *s, float *dtable, const float *dx, const int32_t *ids,
                           int64_t begin, int64_t vocab, int64_t tokens, int64_t dim) {
    MIRROR;
    return FINISH(embed_bwd, out(m, dtable, vocab * dim), in(m, dx, tokens * dim),
                  in_i32(m, ids, tokens), begin, vocab, tokens, dim);
}

static mn_status gather_bwd(mn_stream *s, float *dx, const float *dy, const int32_t *rows,
                            int64_t count, int64_t dim) {
    MIRROR;
    return FINISH(gather_bwd, out(m, dx, rows_of(rows, count) * dim), in(m, dy, count * dim),
                  in_i32(m, rows, count), count, dim);
}

static mn_status cross_entropy(mn_stream *s, float *loss, float *logits, const int32_t *targets,
                               float scale, int64_t rows, int64_t vocab) {
    MIRROR;
    return FINISH(cross_entropy, out(m, loss, rows), out(m, logits, rows * vocab),
                  in_i32(m, targets, rows), scale, rows, vocab);
}

static mn_status cross_entropy_part(mn_stream *s, float *loss, float *logits,
                                    const mn_row_stat *stats, const int32_t *targets, float scale,
                                    int64_t begin, int64_t rows, int64_t vocab) {
    MIRROR;
    return FINISH(cross_entropy_part, out(m, loss, rows), out(m, logits, rows * vocab),
                  in_bytes(m, stats, (size_t)rows * sizeof *stats), in_i32(m, targets, rows), scale,
                  begin, rows, vocab);
}

static mn_status gated_norm_fwd(mn_stream *s, float *y, const float *d, const float *weight,
                                const float *bias, const float *gate, float eps, int64_t rows,
                                int64_t dim) {
    MIRROR;
    return FINISH(gated_norm_fwd, out(m, y, rows * dim), in(m, d, rows * dim), in(m, weight, dim),
                  in(m, bias, dim), in(m, gate, 1), eps, rows, dim);
}

static mn_status gated_norm_bwd(mn_stream *s, float *dd, float *dweight, float *dbias, float *dgate,
                                const float *dy, const float *d, const float *weight,
                                const float *bias, const float *gate, float eps, int64_t rows,
                                int64_t dim) {
    MIRROR;
    const int64_t n = rows * dim;
    return FINISH(gated_norm_bwd, out(m, dd, n), out(m, dweight, dim), out(m, dbias, dim),
                  out(m, dgate, 1), in(m, dy, n), in(m, d, n), in(m, weight, dim), in(m, bias, dim),
                  in(m, gate, 1), eps, rows, dim);
}

static mn_status row_norms(mn_stream *s, float *norm, const float *x, int64_t rows, int64_t dim) {
    MIRROR;
    return FINISH(row_norms, out(m, norm, rows), in(m, x, rows * dim), rows, dim);
}

static mn_status row_difference(mn_stream *s, float *result, const float *x, const float *y,
                                int64_t rows, int64_t dim) {
    MIRROR;
    return FINISH(row_difference, out(m, result, rows), in(m, x, rows * dim), in(m, y, rows * dim),
                  rows, dim);
}

static mn_status add(mn_stream *s, float *y, const float *x, int64_t n) {
    MIRROR;
    return FINISH(add, out(m, y, n), in(m, x, n), n);
}

static mn_status zero(mn_stream *s, float *y, int64_t n) {
    MIRROR;
    return FINISH(zero, out(m, y, n), n);
}

static mn_status cast(mn_stream *s, void *y, mn_dtype to, const void *x, mn_dtype from, int64_t n) {
    MIRROR;
    return FINISH(cast, out_bytes(m, y, (size_t)n * mn_dtype_size(to)), to,
                  in_bytes(m, x, (size_t)n * mn_dtype_size(from)), from, n);
}

static mn_status square_sum(mn_stream *s, double *sum, const float *x, int64_t n) {
    MIRROR;
    return FINISH(square_sum, out_bytes(m, sum, sizeof *sum), in(m, x, n), n);
}

static mn_status adamw(mn_stream *s, float *param, float *mean, float *square, const float *grad,
                       const mn_adamw *step, int64_t n) {
    MIRROR;
    return FINISH(adamw, out(m, param, n), out(m, mean, n), out(m, square, n), in(m, grad, n), step,
                  n);
}

/* Rows of `width` in rows of ld: what stands between them goes along. */
static int64_t span_of(int64_t rows, int64_t ld, int64_t width) {
    return rows > 0 ? (rows - 1) * ld + width : 0;
}

static const void *in_weights(mirror *m, const void *w, mn_dtype dtype, int64_t n) {
    return in_bytes(m, w, (size_t)n * mn_dtype_size(dtype));
}

static mn_status linear_fwd(mn_stream *s, float *y, int64_t ldy, const float *x, const void *w,
                            mn_dtype dtype, mn_layout layout, const float *bias,
                            mn_epilogue epilogue, mn_compute compute, int64_t rows, int64_t n,
                            int64_t k) {
    MIRROR;
    return FINISH(linear_fwd, out(m, y, span_of(rows, ldy, n)), ldy, in(m, x, rows * k),
                  in_weights(m, w, dtype, n * k), dtype, layout, in(m, bias, n), epilogue, compute,
                  rows, n, k);
}

static mn_status linear_bwd_x(mn_stream *s, float *dx, int64_t lddx, const float *dy, int64_t lddy,
                              const void *w, mn_dtype dtype, mn_layout layout, bool add_to,
                              mn_compute compute, int64_t rows, int64_t n, int64_t k) {
    MIRROR;
    return FINISH(linear_bwd_x, out(m, dx, span_of(rows, lddx, k)), lddx,
                  in(m, dy, span_of(rows, lddy, n)), lddy, in_weights(m, w, dtype, n * k), dtype,
                  layout, add_to, compute, rows, n, k);
}

static mn_status linear_bwd_w(mn_stream *s, float *dw, float *dbias, const float *dy, int64_t lddy,
                              const float *x, int64_t rows, int64_t n, int64_t k) {
    MIRROR;
    return FINISH(linear_bwd_w, out(m, dw, n * k), out(m, dbias, n),
                  in(m, dy, span_of(rows, lddy, n)), lddy, in(m, x, rows * k), rows, n, k);
}

#define ROW(name) .name = name

static const mn_kernels kernels = {
    ROW(embed_fwd),
    ROW(layernorm_fwd),
    ROW(rmsnorm_fwd),
    ROW(swiglu_fwd),
    ROW(gather_fwd),
    ROW(row_stats),
    ROW(row_stats_merge),
    ROW(logprob_gather),
    ROW(sample),
    ROW(count_nonfinite),
    ROW(layernorm_bwd),
    ROW(rmsnorm_bwd),
    ROW(gelu_fwd),
    ROW(gelu_bwd),
    ROW(swiglu_bwd),
    ROW(embed_bwd),
    ROW(gather_bwd),
    ROW(cross_entropy),
    ROW(cross_entropy_part),
    ROW(gated_norm_fwd),
    ROW(gated_norm_bwd),
    ROW(row_norms),
    ROW(row_difference),
    ROW(add),
    ROW(zero),
    ROW(cast),
    ROW(square_sum),
    ROW(adamw),
    ROW(linear_fwd),
    ROW(linear_bwd_x),
    ROW(linear_bwd_w),
};

/* ---- The device --------------------------------------------------------------------------------- */

static void mirror_close(mn_device *device) {
    mirror *m = mirror_of(device->stream);
    mn_device_close(&m->inner);
    free(m);
}

static mn_status mirror_reserve(mn_device *device, int64_t rows, int64_t width) {
    mirror *m = mirror_of(device->stream);
    return m->inner->reserve(m->inner, rows, width);
}

mn_device *mirror_open(mn_device *device, int threads, bool aligned) {
    mirror *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->inner = device;
    m->aligned = aligned;
    m->device = (mn_device){.k = &kernels,
                            .stream = (mn_stream *)(void *)m,
                            .name = device->name,
                            .host_memory = true,
                            .narrow_products = device->narrow_products,
                            .reserve = mirror_reserve,
                            .threads = threads,
                            .close = mirror_close};
    memcpy(m->device.description, device->description, sizeof device->description);
    return &m->device;
}
