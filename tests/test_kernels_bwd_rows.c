/* test_kernels_bwd_rows.c - gradients of norms, of the gated norm, of embedding and gather. */
#include "mneme/ops.h"

#include "kernels/outputs.h"
#include "kernels/rows.h"
#include "oracle.h"
#include "oracle_bwd.h"

static const int64_t shapes[][2] = {{1, 1},    {1, 31},   {3, 33},  {7, 128}, {64, 129},
                                    {5, 4096}, {129, 15}, {2, 16},  {17, 17}, {1, 47},
                                    {33, 1},   {600, 40}, {2600, 8}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static mn_tensor matrix(const float *x, int64_t rows, int64_t dim) {
    return mn_tensor_2d((void *)(uintptr_t)x, MN_F32, rows, dim);
}

static mn_tensor vector(const float *x, int64_t dim) {
    return mn_tensor_1d((void *)(uintptr_t)x, MN_F32, dim);
}

/* ---- Norms -------------------------------------------------------------------------------------- */

typedef enum norm_kind { LAYER, RMS, GATED } norm_kind;

typedef struct norm_test {
    norm_kind kind;
    int64_t rows, dim;
    float eps, gate;
    bool add, sums; /* dx adds; dweight and dbias are wanted */
    const float *x, *dy, *weight, *bias, *gates;
    output dx, dweight, dbias, dgate;
} norm_test;

/* With h = (x - mean) scale and g = dy weight: h is off as norm_bound of test_kernels_rows.c says, the
 * scale by its share of that. Each term of dx is off by the roundings of its sum and by what h is. */
static void norm_bound(norm_test *t) {
    const int64_t dim = t->dim;
    const double n = (double)dim, sum = sum_bound(dim), gate = fabs((double)t->gate);
    double gate_size = 0, *size = doubles(2 * dim);
    for (int64_t r = 0; r < t->rows; r++) {
        const float *x = t->x + r * dim, *dy = t->dy + r * dim;
        double mean = 0, mean_size = 0, var = 0, g = 0, gh = 0, geh = 0;
        for (int64_t c = 0; c < dim; c++) {
            mean += t->kind == RMS ? 0 : (double)x[c] / n;
            mean_size += fabs((double)x[c]) / n;
        }
        for (int64_t c = 0; c < dim; c++) var += ((double)x[c] - mean) * ((double)x[c] - mean) / n;
        const double scale = 1 / sqrt(var + (double)t->eps);
        const double shift = t->kind == RMS ? 0 : (sum * mean_size + unit * fabs(mean)) * scale;
        for (int64_t c = 0; c < dim; c++) {
            const double gi = fabs((double)dy[c] * (double)t->weight[c]);
            const double h = fabs((double)x[c] - mean) * scale, eh = shift * (1 + h) + h * sum;
            g += gi / n;
            gh += gi * h / n;
            geh += gi * eh / n;
        }
        for (int64_t c = 0; c < dim; c++) {
            const double d = fabs((double)dy[c]), gi = d * fabs((double)t->weight[c]);
            const double h = fabs((double)x[c] - mean) * scale, eh = shift * (1 + h) + h * sum;
            const double terms = gi + g + h * gh;
            t->dx.bound[r * dim + c] = gate * scale *
                                       (terms * (2 * sum + shift) + eh * gh + h * geh);
            size[c] += d * h;
            size[dim + c] += d;
            t->dweight.bound[c] += gate * d * eh;
            gate_size += d * (eh * fabs((double)t->weight[c]));
        }
    }
    for (int64_t c = 0; c < dim; c++) {
        const double rows = sum_bound(t->rows);
        t->dweight.bound[c] += gate * rows * size[c];
        t->dbias.bound[c] += gate * rows * size[dim + c];
        gate_size += rows * (size[c] * fabs((double)t->weight[c]) +
                             size[dim + c] * fabs((double)t->bias[c]));
    }
    t->dgate.bound[0] = gate_size;
    output *const all[] = {&t->dx, &t->dweight, &t->dbias, &t->dgate};
    for (int i = 0; i < 4; i++) output_rounding(all[i]);
    test_free(size);
}

static void norm_oracle(norm_test *t) {
    const int64_t n = t->rows * t->dim;
    double *x = doubles_of(t->x, MN_F32, n), *dy = doubles_of(t->dy, MN_F32, n);
    double *weight = doubles_of(t->weight, MN_F32, t->dim);
    double *bias = doubles_of(t->bias, MN_F32, t->dim);
    ref_norm_bwd(t->dx.want, t->dweight.want, t->dbias.want, dy, x, weight, (double)t->gate,
                 t->kind != RMS, (double)t->eps, t->rows, t->dim);
    t->dgate.want[0] += ref_gate_bwd(dy, x, weight, bias, (double)t->eps, t->rows, t->dim);
    norm_bound(t);
    double *const used[] = {x, dy, weight, bias};
    for (int i = 0; i < 4; i++) test_free(used[i]);
}

static mn_status norm_call(mn_device *dev, norm_test *t, const float *dy_at) {
    mn_tensor dx = matrix(t->dx.data, t->rows, t->dim), dw = vector(t->dweight.data, t->dim);
    mn_tensor db = vector(t->dbias.data, t->dim), dg = vector(t->dgate.data, 1);
    const mn_tensor dy = matrix(dy_at, t->rows, t->dim), x = matrix(t->x, t->rows, t->dim);
    const mn_tensor weight = vector(t->weight, t->dim), bias = vector(t->bias, t->dim);
    const mn_tensor gate = vector(t->gates, 1);
    mn_tensor *const dwp = t->sums ? &dw : NULL, *const dbp = t->sums ? &db : NULL;
    switch (t->kind) {
    case LAYER: return mn_layernorm_bwd(dev, &dx, dwp, dbp, &dy, &x, &weight, t->eps, t->add);
    case RMS: return mn_rmsnorm_bwd(dev, &dx, dwp, &dy, &x, &weight, t->eps, t->add);
    case GATED: break;
    }
    return mn_gated_norm_bwd(dev, &dx, &dw, &db, &dg, &dy, &x, &weight, &bias, &gate, t->eps);
}

static void norm_run(const devices *all, norm_test *t) {
    const size_t bytes = (size_t)(t->rows * t->dim) * sizeof(float);
    for (int d = 0; d < all->count; d++)
        for (int in_place = 0; in_place < (t->add || t->kind == GATED ? 1 : 2); in_place++) {
            output *const out[] = {&t->dx, &t->dweight, &t->dbias, &t->dgate};
            for (int i = 0; i < 4; i++) output_reset(out[i]);
            if (in_place) memcpy(t->dx.data, t->dy, bytes);
            MN_ASSERT_OK(norm_call(all->dev[d], t, in_place ? t->dx.data : t->dy));
            output_judge(&t->dx, all->dev[d]);
            if (t->sums) output_judge(&t->dweight, all->dev[d]);
            if (t->sums && t->kind != RMS) output_judge(&t->dbias, all->dev[d]);
            if (t->kind == GATED) output_judge(&t->dgate, all->dev[d]);
        }
}

static void norm_case(const devices *all, norm_kind kind, double offset, const int64_t *shape,
                      int variant) {
    static const char *const names[] = {"layernorm", "rmsnorm", "gated norm"};
    guards g = {0};
    uint64_t state = (uint64_t)(shape[0] * 100 + shape[1]);
    const int64_t n = shape[0] * shape[1];
    norm_test t = {.kind = kind,
                   .rows = shape[0],
                   .dim = shape[1],
                   .eps = 1e-5f,
                   .gate = kind == GATED ? 0.7f : 1,
                   .add = variant == 1 && kind != GATED,
                   .sums = variant != 2 || kind == GATED};
    float *x = guard_f32(&g, n), *gates = guard_f32(&g, 1);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(offset + 2 * random_unit(&state) - 1);
    gates[0] = t.gate;
    guard_seal(&g, x);
    guard_seal(&g, gates);
    t.x = x;
    t.gates = gates;
    t.dy = guard_random(&g, n, 2, &state);
    t.weight = guard_random(&g, t.dim, 2, &state);
    t.bias = guard_random(&g, t.dim, 2, &state);
    char what[80];
    snprintf(what, sizeof what, "%s gradient of %lld x %lld around %g, variant %d", names[kind],
             (long long)t.rows, (long long)t.dim, offset, variant);
    t.dx = output_open(&g, what, n, t.add, &state);
    t.dweight = output_open(&g, what, t.dim, true, &state);
    t.dbias = output_open(&g, what, t.dim, true, &state);
    t.dgate = output_open(&g, what, 1, true, &state);
    norm_oracle(&t);
    norm_run(all, &t);
    output *const out[] = {&t.dx, &t.dweight, &t.dbias, &t.dgate};
    for (int i = 0; i < 4; i++) output_close(out[i]);
    guard_free(&g);
}

/* Plain, with a dx that adds, without the gradients of weight and bias. */
static void norm_cases(const devices *all, norm_kind kind) {
    for (int i = 0; i < SHAPES; i++)
        for (int variant = 0; variant < (kind == GATED ? 1 : 3); variant++) {
            norm_case(all, kind, 0, shapes[i], variant);
            norm_case(all, kind, 1000, shapes[i], variant);
        }
}

static void test_layernorm_bwd(void **state) { norm_cases(*state, LAYER); }
static void test_rmsnorm_bwd(void **state) { norm_cases(*state, RMS); }
static void test_gated_norm_bwd(void **state) { norm_cases(*state, GATED); }

/* The norm's error as in test_kernels_rows.c, times the gate; then y's addition. */
static void test_gated_norm_fwd(void **state) {
    const devices *all = *state;
    for (int i = 0; i < SHAPES; i++) {
        guards g = {0};
        uint64_t seed = (uint64_t)i;
        const int64_t rows = shapes[i][0], dim = shapes[i][1], n = rows * dim;
        const float *d = guard_random(&g, n, 1, &seed), *weight = guard_random(&g, dim, 2, &seed);
        const float *bias = guard_random(&g, dim, 2, &seed), *gate = guard_random(&g, 1, 2, &seed);
        output y = output_open(&g, "gated norm", n, true, &seed);
        double *dd = doubles_of(d, MN_F32, n), *dw = doubles_of(weight, MN_F32, dim);
        double *db = doubles_of(bias, MN_F32, dim);
        ref_gated_norm(y.want, dd, dw, db, (double)*gate, 1e-5, rows, dim);
        for (int64_t r = 0; r < rows; r++) {
            double mean = 0, size = 0, var = 0;
            for (int64_t c = 0; c < dim; c++) mean += dd[r * dim + c] / (double)dim;
            for (int64_t c = 0; c < dim; c++) size += fabs(dd[r * dim + c]) / (double)dim;
            for (int64_t c = 0; c < dim; c++)
                var += (dd[r * dim + c] - mean) * (dd[r * dim + c] - mean) / (double)dim;
            const double scale = 1 / sqrt(var + 1e-5);
            const double shift = (sum_bound(dim) * size + unit * fabs(mean)) * scale;
            for (int64_t c = 0; c < dim; c++) {
                const double h = fabs(dd[r * dim + c] - mean) * scale;
                const double error = shift * (1 + h) + h * sum_bound(dim);
                y.bound[r * dim + c] = fabs((double)*gate) *
                                       (fabs(dw[c]) * error + 3 * unit * fabs(db[c]));
            }
        }
        output_rounding(&y);
        for (int k = 0; k < all->count; k++) {
            mn_tensor ty = matrix(y.data, rows, dim);
            const mn_tensor td = matrix(d, rows, dim), tw = vector(weight, dim);
            const mn_tensor tb = vector(bias, dim), tg = vector(gate, 1);
            output_reset(&y);
            MN_ASSERT_OK(mn_gated_norm_fwd(all->dev[k], &ty, &td, &tw, &tb, &tg, 1e-5f));
            output_judge(&y, all->dev[k]);
        }
        output_close(&y);
        double *const used[] = {dd, dw, db};
        for (int k = 0; k < 3; k++) test_free(used[k]);
        guard_free(&g);
    }
}

/* ---- Rows --------------------------------------------------------------------------------------- */

/* Repeated ids add in the order of the tokens: fp32 sums in that order are the result, bit by bit. */
static void test_embed_bwd(void **state) {
    const devices *all = *state;
    for (int i = 0; i < SHAPES; i++) {
        guards g = {0};
        uint64_t seed = (uint64_t)i;
        const int64_t tokens = shapes[i][0], dim = shapes[i][1], vocab = i % 3 ? 5 : 1;
        const float *dx = guard_random(&g, tokens * dim, 2, &seed);
        int32_t *id = guard_i32(&g, tokens);
        for (int64_t t = 0; t < tokens; t++)
            id[t] = (int32_t)(random_bits(&seed) % (uint64_t)vocab);
        guard_seal(&g, id);
        output table = output_open(&g, "embed gradient", vocab * dim, true, &seed);
        float *sum = test_malloc((size_t)(vocab * dim) * sizeof *sum);
        memcpy(sum, table.before, (size_t)(vocab * dim) * sizeof *sum);
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t c = 0; c < dim; c++) sum[id[t] * dim + c] += dx[t * dim + c];
        for (int64_t j = 0; j < vocab * dim; j++) table.want[j] = (double)sum[j]; /* bounds: 0 */
        for (int d = 0; d < all->count; d++) {
            mn_tensor tt = matrix(table.data, vocab, dim);
            const mn_tensor tx = matrix(dx, tokens, dim), ti = mn_tensor_1d(id, MN_I32, tokens);
            output_reset(&table);
            MN_ASSERT_OK(mn_embed_bwd(all->dev[d], &tt, &tx, &ti, NULL));
            output_judge(&table, all->dev[d]);
        }
        test_free(sum);
        output_close(&table);
        guard_free(&g);
    }
}

/* Every second row, backwards; the others stay. One rounding. */
static void test_gather_bwd(void **state) {
    const devices *all = *state;
    for (int i = 0; i < SHAPES; i++) {
        guards g = {0};
        uint64_t seed = (uint64_t)i;
        const int64_t m = shapes[i][0], dim = shapes[i][1], rows = 2 * m;
        const float *dy = guard_random(&g, m * dim, 2, &seed);
        int32_t *row = guard_i32(&g, m);
        for (int64_t r = 0; r < m; r++) row[r] = (int32_t)(rows - 1 - 2 * r);
        guard_seal(&g, row);
        output dx = output_open(&g, "gather gradient", rows * dim, true, &seed);
        for (int64_t r = 0; r < m; r++)
            for (int64_t c = 0; c < dim; c++) {
                const int64_t at = row[r] * dim + c;
                dx.want[at] += (double)dy[r * dim + c];
                dx.bound[at] = unit * fabs(dx.want[at]);
            }
        for (int d = 0; d < all->count; d++) {
            mn_tensor tx = matrix(dx.data, rows, dim);
            const mn_tensor ty = matrix(dy, m, dim), tr = mn_tensor_1d(row, MN_I32, m);
            output_reset(&dx);
            MN_ASSERT_OK(mn_gather_bwd(all->dev[d], &tx, &ty, &tr));
            output_judge(&dx, all->dev[d]);
        }
        output_close(&dx);
        guard_free(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {MN_TESTED_BWD_ROWS(MN_TEST_ROW)};
    return cmocka_run_group_tests(tests, devices_setup, devices_teardown);
}
