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

V_INLINE moments row_moments(const norm *p, const float *dy, const float *x) {
    const int64_t dim = p->dim;
    const float n = (float)dim;
    moments m = {0};
    vf sum = v_set(0), square = v_set(0);
    for (int64_t i = 0; p->centred && i < dim; i += VL) sum += load(x + i, dim - i);
    m.mean = v_sum(sum) / n;
    int64_t i = 0;
    for (; i + VL <= dim; i += VL) {
        const vf d = v_load(x + i) - m.mean;
        square += d * d;
    }
    float rest = 0;
    for (int64_t j = i; j < dim; j++) rest += (x[j] - m.mean) * (x[j] - m.mean);
    m.scale = 1.0f / sqrtf((v_sum(square) + rest) / n + p->eps);
    vf g = v_set(0), gh = v_set(0);
    for (i = 0; i < dim; i += VL) { /* behind the end g is 0 */
        const vf gi = load(dy + i, dim - i) * load(p->weight + i, dim - i);
        g += gi;
        gh += gi * (load(x + i, dim - i) - m.mean);
    }
    m.g = p->centred ? v_sum(g) / n : 0;
    m.gh = v_sum(gh) * m.scale / n;
    return m;
}

/* dx of row r, which may overwrite dy, and the row's share of the sums. */
V_INLINE void row_gradient(const norm *p, int64_t r, float *part) {
    const int64_t dim = p->dim;
    const float *x = p->x + r * dim, *dy = p->dy + r * dim;
    float *dx = p->dx + r * dim;
    const moments m = row_moments(p, dy, x);
    const float scale = m.scale * p->gate;
    for (int64_t i = 0; i < dim; i += VL) {
        const int64_t n = dim - i;
        const vf d = load(dy + i, n), h = (load(x + i, n) - m.mean) * m.scale;
        vf out = (d * load(p->weight + i, n) - m.g - h * m.gh) * scale;
        if (part) {
            store(part + i, load(part + i, n) + d * h, n);
            store(part + dim + i, load(part + dim + i, n) + d, n);
        }
        if (p->add) out += load(dx + i, n);
        store(dx + i, out, n);
    }
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
            float *part = p.parts ? p.parts + b * 2 * dim : NULL;
            if (part) memset(part, 0, (size_t)(2 * dim) * sizeof *part);
            for (int64_t r = begin; r < end; r++) row_gradient(&p, r, part);
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
                                 float *dgate, const float *dy, const float *d,
                                 const float *weight, const float *bias, const float *gate,
                                 float eps, int64_t rows, int64_t dim) {
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
