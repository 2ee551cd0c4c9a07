/* isa_norm_bwd.c - gradients of LayerNorm, RMSNorm and the gated norm of the memories.
 *
 * With h = (x - mean) r, r = 1 / sqrt(var + eps) and g = dy weight (Ba et al. 2016):
 *     dx = r (g - mean(g) - h mean(g h)),   dweight = sum over rows of dy h,   dbias = sum of dy.
 * RMSNorm has no mean(g), and its mean is 0. A thread owns a block of ROWS rows: it writes their dx and
 * their part of the column sums. Then it owns columns and adds the parts in the order of the blocks, so
 * that the sums do not depend on the number of threads. */
#include "cpu/isa.h"
#include "cpu/vec.h"

#include <math.h>

enum { ROWS = 16, WAVE = 32, COLUMNS = 256 };

typedef struct norm {
    float *dx, *dweight, *dbias, *dgate; /* all but dx may be NULL */
    const float *dy, *x, *weight, *bias;
    float gate; /* what the norm's output was multiplied by */
    float eps;
    bool centred, add;
    int64_t rows, dim;
    float *parts; /* [block][2][dim]: sums of dy h and of dy; NULL: not wanted */
} norm;

typedef struct moments {
    float mean, scale; /* h = (x - mean) * scale */
    float g, gh;       /* means of g and of g h */
} moments;

V_INLINE vf load(const float *p, int64_t n) { return n >= VL ? v_load(p) : v_load_n(p, n); }

V_INLINE void store(float *p, vf x, int64_t n) {
    if (n >= VL) v_store(p, x);
    else v_store_n(p, x, n);
}

/* The first n lanes of x, n < VL, and 0 for the rest. */
V_INLINE vf first(vf x, int64_t n) {
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return v_select(lane < (int32_t)n, x, v_set(0));
}

/* body(i, n) for every vector of a row: n is VL, and what is left in the last one. */
#define EACH_VECTOR(dim, body)                                                                     \
    do {                                                                                           \
        int64_t i = 0;                                                                             \
        for (; i + VL <= (dim); i += VL) body(i, VL);                                              \
        if (i < (dim)) body(i, (dim)-i);                                                           \
    } while (0)

static moments row_moments(const norm *p, const float *dy, const float *x) {
    const int64_t dim = p->dim;
    const float *weight = p->weight, n = (float)dim;
    moments m = {0};
    vf sum = v_set(0), square = v_set(0), g = v_set(0), gh = v_set(0);
#define ADD(i, left) sum += load(x + (i), left)
    if (p->centred) EACH_VECTOR(dim, ADD);
#undef ADD
    m.mean = v_sum(sum) / n;
    const float mean = m.mean;
#define ADD(i, left)                                                                               \
    do {                                                                                           \
        const vf d = load(x + (i), left) - mean,                                                   \
                 gi = load(dy + (i), left) * load(weight + (i), left);                             \
        square += (left) == VL ? d * d : first(d * d, left);                                       \
        g += gi;                                                                                   \
        gh += gi * d;                                                                              \
    } while (0)
    EACH_VECTOR(dim, ADD); /* behind the end of a row g is 0, but d is not */
#undef ADD
    m.scale = 1.0f / sqrtf(v_sum(square) / n + p->eps);
    m.g = p->centred ? v_sum(g) / n : 0;
    m.gh = v_sum(gh) * m.scale / n;
    return m;
}

/* dx of a row, which may overwrite dy. */
static void row_gradient(const norm *p, int64_t r, const moments *of) {
    const moments m = *of;
    const float *x = p->x + r * p->dim, *dy = p->dy + r * p->dim, *weight = p->weight;
    float *dx = p->dx + r * p->dim;
    const float scale = m.scale * p->gate;
    const bool add = p->add;
#define WRITE(i, left)                                                                             \
    do {                                                                                           \
        const vf h = (load(x + (i), left) - m.mean) * m.scale;                                     \
        vf out = (load(dy + (i), left) * load(weight + (i), left) - m.g - h * m.gh) * scale;       \
        if (add) out += load(dx + (i), left);                                                      \
        store(dx + (i), out, left);                                                                \
    } while (0)
    EACH_VECTOR(p->dim, WRITE);
#undef WRITE
}

/* A block's sums of dy h and of dy: in registers, over a few columns at a time. */
static void block_sums(const norm *p, float *part, int64_t begin, int64_t end, const moments *m) {
    const int64_t dim = p->dim;
#define SUM(i, left)                                                                               \
    do {                                                                                           \
        vf h = v_set(0), d = v_set(0);                                                             \
        for (int64_t r = begin; r < end; r++) {                                                    \
            const vf dy = load(p->dy + r * dim + (i), left);                                       \
            h += dy *                                                                              \
                 ((load(p->x + r * dim + (i), left) - m[r - begin].mean) * m[r - begin].scale);    \
            d += dy;                                                                               \
        }                                                                                          \
        store(part + (i), h, left);                                                                \
        store(part + dim + (i), d, left);                                                          \
    } while (0)
    EACH_VECTOR(dim, SUM);
#undef SUM
}

static void block(const norm *p, int64_t begin, int64_t end, float *part) {
    moments m[ROWS];
    for (int64_t r = begin; r < end; r++)
        m[r - begin] = row_moments(p, p->dy + r * p->dim, p->x + r * p->dim);
    if (part) block_sums(p, part, begin, end, m);
    for (int64_t r = begin; r < end; r++) row_gradient(p, r, &m[r - begin]);
}

/* Sums the parts of columns [begin, end) over the blocks, in order, into the first part. */
static void add_parts(float *parts, int64_t stride, int64_t blocks, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += VL) {
        vf sum = load(parts + i, end - i);
        for (int64_t b = 1; b < blocks; b++) sum += load(parts + b * stride + i, end - i);
        store(parts + i, sum, end - i);
    }
}

static void add_scaled(float *y, const float *x, float factor, int64_t begin, int64_t end) {
    for (int64_t i = begin; y && i < end; i += VL)
        store(y + i, load(y + i, end - i) + factor * load(x + i, end - i), end - i);
}

static void add_columns(const norm *p, int64_t blocks, int64_t begin, int64_t end) {
    add_parts(p->parts, 2 * p->dim, blocks, begin, end);
    add_scaled(p->dweight, p->parts, p->gate, begin, end);
    add_parts(p->parts + p->dim, 2 * p->dim, blocks, begin, end);
    add_scaled(p->dbias, p->parts + p->dim, p->gate, begin, end);
}

/* sum over rows and columns of dy (h weight + bias), from the columns' sums */
static double gate_sum(const norm *p) {
    double sum = 0;
    for (int64_t i = 0; i < p->dim; i++)
        sum += (double)p->weight[i] * (double)p->parts[i] +
               (double)p->bias[i] * (double)p->parts[p->dim + i];
    return sum;
}

static mn_status norm_bwd(mn_stream *s, const norm *of) {
    norm p = *of;
    const int64_t dim = p.dim;
    int64_t wave = MN_CPU_SCRATCH / (int64_t)sizeof(float) / (2 * dim);
    MN_CHECK(wave > 0, MN_ERR_UNSUPPORTED, "norms of rows of %lld elements", (long long)dim);
    if (wave > WAVE) wave = WAVE;
    p.parts = p.dweight ? mn_cpu_scratch(s, 0) : NULL;
    double gate = 0;
#pragma omp parallel num_threads(s->threads) if (p.rows > 1)
    for (int64_t first = 0; first < p.rows; first += wave * ROWS) {
        const int64_t left = (p.rows - first + ROWS - 1) / ROWS, blocks = left < wave ? left : wave;
#pragma omp for schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t begin = first + b * ROWS;
            const int64_t end = begin + ROWS < p.rows ? begin + ROWS : p.rows;
            block(&p, begin, end, p.parts ? p.parts + b * 2 * dim : NULL);
        }
        if (!p.parts) continue;
#pragma omp for schedule(static)
        for (int64_t c = 0; c < dim; c += COLUMNS)
            add_columns(&p, blocks, c, c + COLUMNS < dim ? c + COLUMNS : dim);
        if (!p.dgate) continue;
#pragma omp single
        gate += gate_sum(&p);
    }
    if (p.dgate) *p.dgate += (float)gate;
    return MN_OK;
}

mn_status MN_CPU(layernorm_bwd)(mn_stream *s, float *dx, float *dweight, float *dbias,
                                const float *dy, const float *x, const float *weight, float eps,
                                bool add, int64_t rows, int64_t dim) {
    const norm p = {.dx = dx,
                    .dweight = dweight,
                    .dbias = dbias,
                    .dy = dy,
                    .x = x,
                    .weight = weight,
                    .gate = 1,
                    .eps = eps,
                    .centred = true,
                    .add = add,
                    .rows = rows,
                    .dim = dim};
    return norm_bwd(s, &p);
}

mn_status MN_CPU(rmsnorm_bwd)(mn_stream *s, float *dx, float *dweight, const float *dy,
                              const float *x, const float *weight, float eps, bool add,
                              int64_t rows, int64_t dim) {
    const norm p = {.dx = dx,
                    .dweight = dweight,
                    .dy = dy,
                    .x = x,
                    .weight = weight,
                    .gate = 1,
                    .eps = eps,
                    .add = add,
                    .rows = rows,
                    .dim = dim};
    return norm_bwd(s, &p);
}

mn_status MN_CPU(gated_norm_bwd)(mn_stream *s, float *dd, float *dweight, float *dbias,
                                 float *dgate, const float *dy, const float *d, const float *weight,
                                 const float *bias, const float *gate, float eps, int64_t rows,
                                 int64_t dim) {
    const norm p = {.dx = dd,
                    .dweight = dweight,
                    .dbias = dbias,
                    .dgate = dgate,
                    .dy = dy,
                    .x = d,
                    .weight = weight,
                    .bias = bias,
                    .gate = *gate,
                    .eps = eps,
                    .centred = true,
                    .rows = rows,
                    .dim = dim};
    return norm_bwd(s, &p);
}
