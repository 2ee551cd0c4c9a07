/* test_kernels_rows.c - kernels that work row by row: embedding, gather, norms, SwiGLU, and the count of
 * what is not finite. */
#include "mneme/ops.h"

#include "kernels/devices.h"
#include "kernels/rows.h"
#include "oracle.h"

#include <float.h>

static const int64_t shapes[][2] = {{1, 1},    {1, 31},   {3, 33},  {7, 128}, {64, 129},
                                    {5, 4096}, {129, 15}, {2, 16},  {17, 17}, {1, 47},
                                    {33, 1},   {3, 1023}, {400, 20}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* `m` row numbers below `rows`; the first and the last row are among them. */
static int32_t *random_rows(guards *g, int64_t m, int64_t rows, uint64_t *state) {
    int32_t *id = guard_i32(g, m);
    for (int64_t i = 0; i < m; i++) id[i] = (int32_t)(random_bits(state) % (uint64_t)rows);
    id[0] = (int32_t)(rows - 1);
    id[m - 1] = 0;
    guard_seal(g, id);
    return id;
}

static void embed_case(const devices *all, mn_dtype dtype, int64_t vocab, int64_t tokens,
                       int64_t dim) {
    guards g = {0};
    uint64_t state = (uint64_t)(vocab * 31 + tokens * 7 + dim);
    void *table = guard_weights(&g, dtype, vocab * dim, 2, &state);
    int32_t *ids = random_rows(&g, tokens, vocab, &state);
    float *x = guard_f32(&g, tokens * dim);
    double *dt = doubles_of(table, dtype, vocab * dim), *want = doubles(tokens * dim);
    double *bound = doubles(tokens * dim); /* all 0: exact */
    ref_rows(want, dt, ids, tokens, dim);
    verdict v = verdict_open(mn_dtype_name(dtype), want, bound, tokens * dim);
    for (int d = 0; d < all->count; d++) {
        mn_tensor tx = mn_tensor_2d(x, MN_F32, tokens, dim);
        const mn_tensor tt = mn_tensor_2d(table, dtype, vocab, dim);
        const mn_tensor ti = mn_tensor_1d(ids, MN_I32, tokens);
        memset(x, 0xFF, mn_tensor_bytes(&tx));
        MN_ASSERT_OK(mn_embed_fwd(all->dev[d], &tx, &tt, &ti, NULL));
        verdict_on(&v, all->dev[d], x);
    }
    verdict_close(&v);
    test_free(dt);
    test_free(want);
    test_free(bound);
    guard_free(&g);
}

static void test_embed_fwd(void **state) {
    for (int i = 0; i < SHAPES; i++)
        for (int dtype = MN_F32; dtype <= MN_BF16; dtype++)
            embed_case(*state, (mn_dtype)dtype, i % 3 ? 50 : 1, shapes[i][0], shapes[i][1]);
}

/* All 65536 values of a half type, in rows of `dim`. */
static void every_value_in_rows(mn_device *dev, mn_dtype dtype, int64_t dim) {
    enum { N = 65536 };
    guards g = {0};
    const int64_t rows = N / dim;
    uint16_t *table = guard_bytes(&g, N * sizeof *table);
    float *x = guard_f32(&g, N);
    int32_t *ids = guard_i32(&g, rows);
    for (int i = 0; i < N; i++) table[i] = (uint16_t)i;
    for (int32_t i = 0; i < rows; i++) ids[i] = i;
    mn_tensor tx = mn_tensor_2d(x, MN_F32, rows, dim);
    const mn_tensor tt = mn_tensor_2d(table, dtype, rows, dim);
    const mn_tensor ti = mn_tensor_1d(ids, MN_I32, rows);
    MN_ASSERT_OK(mn_embed_fwd(dev, &tx, &tt, &ti, NULL));
    for (int i = 0; i < N; i++) {
        const float want = float_of(table, dtype, i);
        if (isnan(want)) assert_true(isnan(x[i]));
        else if (memcmp(&want, &x[i], sizeof want) != 0)
            fail_msg("%s, rows of %lld: %04x became %a, not %a", dev->description, (long long)dim,
                     i, (double)x[i], (double)want);
    }
    guard_free(&g);
}

/* By whole vectors, and by what is left when a row is shorter than one. */
static void every_half_value_is_converted_exactly(void **state) {
    const devices *all = *state;
    for (int dtype = MN_F16; dtype <= MN_BF16; dtype++)
        for (int d = 0; d < all->count; d++) {
            every_value_in_rows(all->dev[d], (mn_dtype)dtype, 65536);
            every_value_in_rows(all->dev[d], (mn_dtype)dtype, 8);
        }
}

static void test_gather_fwd(void **state) {
    const devices *all = *state;
    for (int i = 0; i < SHAPES; i++) {
        guards g = {0};
        uint64_t seed = (uint64_t)i;
        const int64_t rows = shapes[i][0], dim = shapes[i][1], m = 2 * rows + 1;
        float *x = guard_random(&g, rows * dim, 1, &seed), *y = guard_f32(&g, m * dim);
        int32_t *id = random_rows(&g, m, rows, &seed);
        double *dx = doubles_of(x, MN_F32, rows * dim), *want = doubles(m * dim);
        double *bound = doubles(m * dim); /* all 0: exact */
        ref_rows(want, dx, id, m, dim);
        verdict v = verdict_open("gather", want, bound, m * dim);
        for (int d = 0; d < all->count; d++) {
            mn_tensor ty = mn_tensor_2d(y, MN_F32, m, dim);
            const mn_tensor tx = mn_tensor_2d(x, MN_F32, rows, dim);
            const mn_tensor ti = mn_tensor_1d(id, MN_I32, m);
            memset(y, 0xFF, mn_tensor_bytes(&ty));
            MN_ASSERT_OK(mn_gather_fwd(all->dev[d], &ty, &tx, &ti));
            verdict_on(&v, all->dev[d], y);
        }
        verdict_close(&v);
        test_free(dx);
        test_free(want);
        test_free(bound);
        guard_free(&g);
    }
}

/* ---- Norms -------------------------------------------------------------------------------------- */

/* With h = (x - mean) * scale: the mean is off by sum_bound x mean|x|, which moves every h by that
 * times scale and the variance as well; sums of squares and the two roundings of h add their own. */
static void norm_bound(double *bound, const double *x, const double *weight, const double *bias,
                       bool centred, double eps, int64_t rows, int64_t dim) {
    for (int64_t r = 0; r < rows; r++, x += dim, bound += dim) {
        double mean = 0, size = 0, var = 0;
        for (int64_t c = 0; c < dim; c++) mean += centred ? x[c] / (double)dim : 0;
        for (int64_t c = 0; c < dim; c++) size += fabs(x[c]) / (double)dim;
        for (int64_t c = 0; c < dim; c++) var += (x[c] - mean) * (x[c] - mean) / (double)dim;
        const double scale = 1 / sqrt(var + eps);
        const double shift = centred ? (sum_bound(dim) * size + unit * fabs(mean)) * scale : 0;
        for (int64_t c = 0; c < dim; c++) {
            const double h = fabs(x[c] - mean) * scale;
            const double error = shift * (1 + h) + h * sum_bound(dim);
            bound[c] = fabs(weight[c]) * error + 2 * unit * (bias ? fabs(bias[c]) : 0);
        }
    }
}

/* Numbers of size 1 around `offset`; the last row is 0 but for one element. */
static float *norm_input(guards *g, double offset, int64_t rows, int64_t dim, uint64_t *state) {
    float *x = guard_f32(g, rows * dim);
    for (int64_t i = 0; i < rows * dim; i++) x[i] = (float)(offset + 2 * random_unit(state) - 1);
    if (rows > 1) {
        memset(x + (rows - 1) * dim, 0, (size_t)dim * sizeof *x);
        x[rows * dim - 1] = 1;
    }
    guard_seal(g, x);
    return x;
}

static void norm_case(const devices *all, bool layer, double offset, int64_t rows, int64_t dim) {
    guards g = {0};
    uint64_t state = (uint64_t)(rows * 100 + dim);
    const int64_t n = rows * dim;
    const float eps = 1e-5f;
    const int64_t odd = rows % 2; /* with one element more, weights begin elsewhere than rows */
    float *x = norm_input(&g, offset, rows, dim, &state), *y = guard_f32(&g, n);
    float *weight = guard_random(&g, dim + odd, 2, &state);
    float *bias = guard_random(&g, dim, 2, &state);
    double *dx = doubles_of(x, MN_F32, n), *dw = doubles_of(weight, MN_F32, dim);
    double *db = doubles_of(bias, MN_F32, dim), *want = doubles(n), *bound = doubles(n);
    if (layer) ref_layernorm(want, dx, dw, db, (double)eps, rows, dim);
    else ref_rmsnorm(want, dx, dw, (double)eps, rows, dim);
    norm_bound(bound, dx, dw, layer ? db : NULL, layer, (double)eps, rows, dim);
    char what[64];
    snprintf(what, sizeof what, "%s of %lld x %lld around %g", layer ? "layernorm" : "rmsnorm",
             (long long)rows, (long long)dim, offset);
    verdict v = verdict_open(what, want, bound, n);
    for (int d = 0; d < all->count; d++)
        for (int in_place = 0; in_place < 2; in_place++) {
            mn_tensor ty = mn_tensor_2d(y, MN_F32, rows, dim), tx = ty;
            const mn_tensor tw = mn_tensor_1d(weight, MN_F32, dim);
            const mn_tensor tb = mn_tensor_1d(bias, MN_F32, dim);
            memset(y, 0xFF, mn_tensor_bytes(&ty));
            if (in_place) memcpy(y, x, mn_tensor_bytes(&ty));
            else tx.data = x;
            MN_ASSERT_OK(layer ? mn_layernorm_fwd(all->dev[d], &ty, &tx, &tw, &tb, eps)
                               : mn_rmsnorm_fwd(all->dev[d], &ty, &tx, &tw, eps));
            if (in_place) assert_memory_equal(y, v.first, (size_t)n * sizeof *y);
            verdict_on(&v, all->dev[d], y);
        }
    verdict_close(&v);
    double *const used[] = {dx, dw, db, want, bound};
    for (size_t i = 0; i < sizeof used / sizeof *used; i++) test_free(used[i]);
    guard_free(&g);
}

static void test_layernorm_fwd(void **state) {
    for (int i = 0; i < SHAPES; i++) {
        norm_case(*state, true, 0, shapes[i][0], shapes[i][1]);
        norm_case(*state, true, 1000, shapes[i][0], shapes[i][1]);
    }
}

static void test_rmsnorm_fwd(void **state) {
    for (int i = 0; i < SHAPES; i++) {
        norm_case(*state, false, 0, shapes[i][0], shapes[i][1]);
        norm_case(*state, false, 1000, shapes[i][0], shapes[i][1]);
    }
}

/* ---- SwiGLU ------------------------------------------------------------------------------------- */

/* exp(-x) is 2 units in the last place off, and infinite from 88.72 on, where silu is still
 * -88.72 e^-88.72 = -2.7e-37; then an addition, a division, a product. */
static void swiglu_case(const devices *all, const char *what, const float *gate, const float *up,
                        int64_t rows, int64_t dim) {
    guards g = {0};
    const int64_t n = rows * dim;
    float *y = guard_f32(&g, n);
    double *dg = doubles_of(gate, MN_F32, n), *du = doubles_of(up, MN_F32, n);
    double *want = doubles(n), *bound = doubles(n);
    ref_swiglu(want, dg, du, n);
    for (int64_t i = 0; i < n; i++)
        bound[i] = 8 * unit * fabs(want[i]) + (dg[i] < -80 ? 2.7e-37 * fabs(du[i]) : 0) + 0x1p-148;
    verdict v = verdict_open(what, want, bound, n);
    for (int d = 0; d < all->count; d++)
        for (int in_place = 0; in_place < 2; in_place++) {
            mn_tensor ty = mn_tensor_2d(y, MN_F32, rows, dim), tg = ty;
            const mn_tensor tu = mn_tensor_2d((void *)(uintptr_t)up, MN_F32, rows, dim);
            memset(y, 0xFF, mn_tensor_bytes(&ty));
            if (in_place) memcpy(y, gate, mn_tensor_bytes(&ty));
            else tg.data = (void *)(uintptr_t)gate;
            MN_ASSERT_OK(mn_swiglu_fwd(all->dev[d], &ty, &tg, &tu));
            if (in_place) assert_memory_equal(y, v.first, (size_t)n * sizeof *y);
            verdict_on(&v, all->dev[d], y);
        }
    verdict_close(&v);
    double *const used[] = {dg, du, want, bound};
    for (size_t i = 0; i < sizeof used / sizeof *used; i++) test_free(used[i]);
    guard_free(&g);
}

static void test_swiglu_fwd(void **state) {
    for (int i = 0; i < SHAPES; i++) {
        guards g = {0};
        uint64_t seed = (uint64_t)i;
        const int64_t rows = shapes[i][0], dim = shapes[i][1];
        float *gate = guard_random(&g, rows * dim, 6, &seed);
        float *up = guard_random(&g, rows * dim, 3, &seed);
        swiglu_case(*state, "swiglu", gate, up, rows, dim);
        guard_free(&g);
    }
}

/* Steps of 1/256 where exp has values, and every power of two; this is v_exp, seen through silu. */
static void silu_over_the_whole_range(void **state) {
    const devices *all = *state;
    enum { FINE = 2 * 110 * 256 + 1, COARSE = 4 * 277, N = FINE + COARSE };
    guards g = {0};
    float *x = guard_f32(&g, N), *up = guard_f32(&g, N);
    for (int i = 0; i < N; i++) up[i] = 1;
    for (int i = 0; i < FINE; i++) x[i] = (float)(i - 110 * 256) / 256;
    for (int i = 0; i < COARSE; i++)
        x[FINE + i] = ldexpf(i & 2 ? -1.37f : 1.37f, i / 4 - 149) * (i & 1 ? 1.2f : 1);
    x[N - 1] = -1e30f;
    guard_seal(&g, x);
    guard_seal(&g, up);
    swiglu_case(all, "silu", x, up, 1, N);
    for (int d = 0; d < all->count; d++) {
        float special[] = {INFINITY, NAN, 0.0f, -0.0f, 1.0f};
        const float factor[] = {1, 1, 1, 1, NAN};
        mn_tensor tg = mn_tensor_2d(special, MN_F32, 1, 5);
        const mn_tensor tu = mn_tensor_2d((void *)(uintptr_t)factor, MN_F32, 1, 5);
        MN_ASSERT_OK(mn_swiglu_fwd(all->dev[d], &tg, &tg, &tu));
        assert_true(special[0] == INFINITY && isnan(special[1]) && special[2] == 0 &&
                    special[3] == 0 && isnan(special[4]));
    }
    guard_free(&g);
}

/* ---- Not finite --------------------------------------------------------------------------------- */

static void test_count_nonfinite(void **state) {
    const devices *all = *state;
    /* the last one: more than a CUDA thread's four groups in each of its blocks */
    static const int64_t sizes[] = {0,  1,  15,    16,    17,    31,    33,     63,
                                    64, 65, 16383, 16384, 16385, 50001, 1100003};
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        guards g = {0};
        const int64_t n = sizes[i];
        uint64_t seed = (uint64_t)n;
        float *x = guard_f32(&g, n);
        int64_t want = 1000;
        for (int64_t j = 0; j < n; j++) {
            const uint64_t kind = random_bits(&seed) % 8;
            const bool edge = j == 0 || j == n - 1;
            x[j] = kind == 0 ? FLT_MAX : kind == 1 ? -FLT_MAX : kind == 2 ? 0x1p-149f : (float)j;
            if (edge || kind == 7) x[j] = bad[j % 3];
            want += edge || kind == 7;
        }
        guard_seal(&g, x);
        for (int d = 0; d < all->count; d++) {
            int64_t count = 1000; /* counted on top */
            const mn_tensor tx = mn_tensor_1d(x, MN_F32, n);
            MN_ASSERT_OK(mn_count_nonfinite(all->dev[d], &count, &tx));
            assert_int_equal(count, want);
        }
        guard_free(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MN_TESTED_ROWS(MN_TEST_ROW) cmocka_unit_test(every_half_value_is_converted_exactly),
        cmocka_unit_test(silu_over_the_whole_range),
    };
    return cmocka_run_group_tests(tests, devices_setup, devices_teardown);
}
