/* test_kernels_bwd_linear.c - gradients of matrix products: ugly shapes, weights of every type, rows that
 * are longer than what they hold. */
#include "mneme/ops.h"

#include "kernels/outputs.h"
#include "kernels/panels.h"
#include "kernels/rows.h"
#include "oracle.h"
#include "oracle_bwd.h"

static const int64_t shapes[][3] = {{1, 1, 1},    {1, 31, 33},   {3, 33, 15},  {4, 64, 128},
                                    {5, 17, 129}, {7, 128, 64},  {16, 16, 16}, {17, 200, 47},
                                    {33, 49, 65}, {64, 129, 31}, {129, 1, 70}, {150, 193, 130},
                                    {2, 700, 17}, {49, 5, 1030}, {600, 9, 5}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Rows of `width` in rows of ld, NaN between them. */
static float *spread(guards *g, const float *x, int64_t rows, int64_t width, int64_t ld) {
    float *y = guard_f32(g, (rows - 1) * ld + width);
    for (int64_t r = 0; r < rows; r++) memcpy(y + r * ld, x + r * width, (size_t)width * sizeof *x);
    return y;
}

/* What stands between rows is as it was (all bits set), and goes away. */
static void gather_rows(float *to, const float *from, int64_t rows, int64_t width, int64_t ld) {
    for (int64_t r = 0; r < rows; r++) {
        memcpy(to + r * width, from + r * ld, (size_t)width * sizeof *to);
        const unsigned char *gap = (const void *)(from + r * ld + width);
        for (size_t i = 0; r + 1 < rows && i < (size_t)(ld - width) * sizeof *from; i++)
            assert_int_equal(gap[i], 0xFF);
    }
}

/* size: sum of |a| |b| of the products that make up an element */
static void product_bound(const output *o, const double *size, int64_t terms) {
    for (int64_t i = 0; i < o->n; i++) o->bound[i] = sum_bound(terms) * size[i];
    output_rounding(o);
}

static void absolute(double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = fabs(x[i]);
}

static void rounded(double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = bf16_rounded(x[i]);
}

static void bwd_x_case(const devices *all, const int64_t *shape, mn_dtype dtype, bool add,
                       mn_compute compute, int64_t gap) {
    guards g = {0};
    uint64_t state = (uint64_t)(shape[0] * 7 + shape[1] * 31 + shape[2]);
    const int64_t m = shape[0], n = shape[1], k = shape[2], lddx = k + gap, lddy = n + 2 * gap;
    const float *dy = guard_random(&g, m * n, 1, &state);
    float *wide_dy = spread(&g, dy, m, n, lddy);
    guard_seal(&g, wide_dy);
    void *w = guard_weights(&g, dtype, n * k, 1, &state);
    char what[96];
    snprintf(what, sizeof what, "dx of %lld x %lld x %lld, %s%s%s", (long long)m, (long long)n,
             (long long)k, mn_dtype_name(dtype), add ? ", added" : "",
             compute == MN_COMPUTE_BF16 ? ", bf16" : "");
    output dx = output_open(&g, what, m * k, add, &state);
    double *ddy = doubles_of(dy, MN_F32, m * n), *dw = doubles_of(w, dtype, n * k);
    double *size = doubles(m * k);
    if (compute == MN_COMPUTE_BF16) {
        rounded(ddy, m * n);
        rounded(dw, n * k);
    }
    ref_linear_bwd(dx.want, NULL, NULL, ddy, NULL, dw, m, n, k);
    absolute(ddy, m * n);
    absolute(dw, n * k);
    ref_linear_bwd(size, NULL, NULL, ddy, NULL, dw, m, n, k);
    product_bound(&dx, size, n);
    for (int i = 0; i < 2 * all->count; i++) {
        guards mine = {0};
        mn_device *dev = all->dev[i % all->count];
        mn_tensor tw = mn_tensor_2d(w, dtype, n, k);
        if (i >= all->count) {
            if (!has_panels(dev, dtype)) continue;
            tw = panels_of(&mine, dev, &tw);
        }
        output_reset(&dx);
        float *wide = spread(&mine, dx.data, m, k, lddx);
        mn_tensor tdx = mn_tensor_2d(wide, MN_F32, m, k);
        const mn_tensor tdy = mn_tensor_2d(wide_dy, MN_F32, m, n);
        MN_ASSERT_OK(dev->reserve(dev, m, n > k ? n : k));
        MN_ASSERT_OK(mn_linear_bwd_x(dev, &tdx, lddx, &tdy, lddy, &tw, add, compute));
        gather_rows(dx.data, wide, m, k, lddx);
        output_judge(&dx, dev);
        guard_free(&mine);
    }
    double *const used[] = {ddy, dw, size};
    for (int i = 0; i < 3; i++) test_free(used[i]);
    output_close(&dx);
    guard_free(&g);
}

static void test_linear_bwd_x(void **state) {
    for (int i = 0; i < SHAPES; i++)
        for (int dtype = MN_F32; dtype <= MN_BF16; dtype++)
            for (int compute = MN_COMPUTE_F32; compute <= MN_COMPUTE_BF16; compute++)
                bwd_x_case(*state, shapes[i], (mn_dtype)dtype, (i + dtype + compute) % 2,
                           (mn_compute)compute, i % 3 ? i : 0);
}

static void bwd_w_case(const devices *all, const int64_t *shape, bool bias, int64_t gap) {
    guards g = {0};
    uint64_t state = (uint64_t)(shape[0] * 7 + shape[1] * 31 + shape[2]);
    const int64_t m = shape[0], n = shape[1], k = shape[2], lddy = n + gap;
    const float *dy = guard_random(&g, m * n, 1, &state), *x = guard_random(&g, m * k, 1, &state);
    float *wide_dy = spread(&g, dy, m, n, lddy);
    guard_seal(&g, wide_dy);
    char what[80];
    snprintf(what, sizeof what, "dw of %lld x %lld x %lld", (long long)m, (long long)n,
             (long long)k);
    output dw = output_open(&g, what, n * k, true, &state);
    output db = output_open(&g, what, n, true, &state);
    double *ddy = doubles_of(dy, MN_F32, m * n), *dx = doubles_of(x, MN_F32, m * k);
    double *size = doubles(n * k), *bias_size = doubles(n);
    ref_linear_bwd(NULL, dw.want, db.want, ddy, dx, NULL, m, n, k);
    absolute(ddy, m * n);
    absolute(dx, m * k);
    for (int64_t i = 0; i < n * k; i++) size[i] = fabs((double)dw.before[i]);
    for (int64_t i = 0; i < n; i++) bias_size[i] = fabs((double)db.before[i]);
    ref_linear_bwd(NULL, size, bias_size, ddy, dx, NULL, m, n, k);
    product_bound(&dw, size, m + 1); /* the sum may begin with what was there */
    product_bound(&db, bias_size, m + 1);
    for (int d = 0; d < all->count; d++) {
        mn_device *dev = all->dev[d];
        mn_tensor tdw = mn_tensor_2d(dw.data, MN_F32, n, k);
        mn_tensor tdb = mn_tensor_1d(db.data, MN_F32, n);
        const mn_tensor tdy = mn_tensor_2d(wide_dy, MN_F32, m, n);
        const mn_tensor tx = mn_tensor_2d((void *)(uintptr_t)x, MN_F32, m, k);
        output_reset(&dw);
        output_reset(&db);
        MN_ASSERT_OK(dev->reserve(dev, m, n > k ? n : k));
        MN_ASSERT_OK(mn_linear_bwd_w(dev, &tdw, bias ? &tdb : NULL, &tdy, lddy, &tx));
        output_judge(&dw, dev);
        if (bias) output_judge(&db, dev);
    }
    double *const used[] = {ddy, dx, size, bias_size};
    for (int i = 0; i < 4; i++) test_free(used[i]);
    output_close(&dw);
    output_close(&db);
    guard_free(&g);
}

static void test_linear_bwd_w(void **state) {
    for (int i = 0; i < SHAPES; i++)
        for (int bias = 0; bias < 2; bias++) bwd_w_case(*state, shapes[i], bias, i % 3 ? i : 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {MN_TESTED_BWD_LINEAR(MN_TEST_ROW)};
    return cmocka_run_group_tests(tests, devices_setup, devices_teardown);
}
