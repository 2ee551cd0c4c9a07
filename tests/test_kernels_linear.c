/* test_kernels_linear.c - matrix products: all shapes at the edges of the tiles, types of weights,
 * epilogues, both precisions; and the accuracy of GELU over the whole range. */
#include "mneme/ops.h"

#include "kernels/devices.h"
#include "kernels/panels.h"
#include "kernels/rows.h"
#include "oracle.h"

typedef struct linear {
    int64_t m, n, k;
    mn_dtype dtype;
    mn_epilogue epilogue;
    bool bias;
    int64_t padding; /* ldy - n */
    mn_compute compute;
    size_t skew; /* weights this much before their natural address */
} linear;

/* The error that a product may have. Its terms have random signs, so that partial sums are of the size
 * of the root of the sum of squares, and each addition rounds one of them. GELU' is at most 1.13;
 * erf's own error of 1.3e-7 and the rounding of 1 + erf (2 units) are multiplied by x / 2. */
static void linear_bound(double *bound, const linear *c, const double *x, const double *w,
                         const double *bias, const double *before, const double *want) {
    for (int64_t i = 0; i < c->m; i++)
        for (int64_t j = 0; j < c->n; j++) {
            double square = 0, *b = &bound[i * c->n + j];
            for (int64_t k = 0; k < c->k; k++)
                square += x[i * c->k + k] * x[i * c->k + k] * w[j * c->k + k] * w[j * c->k + k];
            const double others = (bias ? fabs(bias[j]) : 0) +
                                  (c->epilogue == MN_EPILOGUE_ADD ? fabs(before[i * c->n + j]) : 0);
            *b = sum_bound(c->k) * sqrt(square) + 8 * unit * others;
            if (c->epilogue == MN_EPILOGUE_GELU)
                *b = 1.13 * *b + 2.5e-7 * fabs(want[i * c->n + j]) +
                     2 * unit * (4 * sqrt(square) + others);
        }
}

/* Weights at an address that is not a multiple of anything but 2. */
static void *skewed_weights(guards *g, const linear *c, uint64_t *state) {
    const size_t bytes = (size_t)(c->n * c->k) * mn_dtype_size(c->dtype);
    char *w = guard_bytes(g, bytes + c->skew);
    void *plain = guard_weights(g, c->dtype, c->n * c->k, 1, state);
    memcpy(w, plain, bytes);
    guard_seal(g, w);
    return w;
}

static void run_linear(const devices *all, const linear *c) {
    guards g = {0};
    uint64_t state = (uint64_t)(c->m * 1000003 + c->n * 1009 + c->k);
    const int64_t ldy = c->n + c->padding, span = (c->m - 1) * ldy + c->n, mn = c->m * c->n;
    float *x = guard_random(&g, c->m * c->k, 1, &state);
    void *w = skewed_weights(&g, c, &state);
    float *bias = guard_random(&g, c->n, 1, &state), *before = guard_random(&g, span, 1, &state);
    float *y = guard_f32(&g, span), *packed = test_malloc((size_t)mn * sizeof *packed);
    double *dx = doubles_of(x, MN_F32, c->m * c->k), *dw = doubles_of(w, c->dtype, c->n * c->k);
    double *db = doubles_of(bias, MN_F32, c->n), *want = doubles(mn), *bound = doubles(mn);
    double *start = doubles(mn);
    if (all->dev[0]->narrow_products) {
        for (int64_t i = 0; i < c->m * c->k; i++) dx[i] = rounded_to(c->dtype, dx[i]);
    } else if (c->compute == MN_COMPUTE_BF16) {
        for (int64_t i = 0; i < c->m * c->k; i++) dx[i] = bf16_rounded(dx[i]);
        for (int64_t i = 0; i < c->n * c->k; i++) dw[i] = bf16_rounded(dw[i]);
    }
    for (int64_t i = 0; i < mn; i++) want[i] = start[i] = (double)before[i / c->n * ldy + i % c->n];
    ref_linear(want, dx, dw, c->bias ? db : NULL, c->epilogue, c->m, c->n, c->k);
    linear_bound(bound, c, dx, dw, c->bias ? db : NULL, start, want);
    char what[128];
    snprintf(what, sizeof what, "%lld x %lld x %lld %s, epilogue %d, bias %d, ldy +%lld, bf16 %d",
             (long long)c->m, (long long)c->n, (long long)c->k, mn_dtype_name(c->dtype),
             (int)c->epilogue, c->bias, (long long)c->padding, c->compute == MN_COMPUTE_BF16);
    verdict v = verdict_open(what, want, bound, mn);
    for (int i = 0; i < 2 * all->count; i++) {
        mn_device *dev = all->dev[i % all->count];
        guards mine = {0};
        mn_tensor ty = mn_tensor_2d(y, MN_F32, c->m, c->n), tb = mn_tensor_1d(bias, MN_F32, c->n);
        const mn_tensor tx = mn_tensor_2d(x, MN_F32, c->m, c->k);
        mn_tensor tw = mn_tensor_2d(w, c->dtype, c->n, c->k);
        if (i >= all->count) {
            if (!has_panels(dev, c->dtype)) continue;
            tw = panels_of(&mine, dev, &tw);
        }
        memset(y, 0xFF, (size_t)span * sizeof *y);
        if (c->epilogue == MN_EPILOGUE_ADD)
            for (int64_t r = 0; r < c->m; r++)
                memcpy(y + r * ldy, before + r * ldy, (size_t)c->n * sizeof *y);
        MN_ASSERT_OK(dev->reserve(dev, c->m, c->k));
        const mn_status st = mn_linear_fwd(dev, &ty, ldy, &tx, &tw, c->bias ? &tb : NULL,
                                           c->epilogue, c->compute);
        MN_ASSERT_OK(st);
        for (int64_t e = 0; e < mn; e++) packed[e] = y[e / c->n * ldy + e % c->n];
        verdict_on(&v, dev, packed);
        for (int64_t e = 0; e < span; e++)
            if (e % ldy >= c->n && !isnan(y[e])) fail_msg("%s: padding was written", what);
        guard_check(&g);
        guard_free(&mine);
    }
    verdict_close(&v);
    double *const used[] = {dx, dw, db, want, bound, start};
    for (size_t i = 0; i < sizeof used / sizeof *used; i++) test_free(used[i]);
    test_free(packed);
    guard_free(&g);
}

/* The options that shape number i is tried with: all of them come by every few shapes. */
static linear with_options(int64_t m, int64_t n, int64_t k, unsigned i) {
    return (linear){.m = m,
                    .n = n,
                    .k = k,
                    .dtype = (mn_dtype)(i % 3),
                    .epilogue = (mn_epilogue)(i / 3 % 3),
                    .bias = i / 9 % 2 == 0,
                    .padding = i / 2 % 2 ? 5 : 0};
}

enum { OPTIONS = 18 }; /* 3 types, 3 epilogues, with and without bias */

static void every_option(const devices *all, int64_t m, int64_t n, int64_t k, mn_compute compute) {
    for (unsigned i = 0; i < OPTIONS; i++) {
        linear c = with_options(m, n, k, i);
        c.compute = compute;
        run_linear(all, &c);
    }
}

static void test_linear_fwd(void **state) {
    static const int64_t shapes[][3] = {
        {1, 1, 1},       {1, 1, 31},    {1, 31, 1},    {3, 33, 31},   {7, 128, 33},
        {64, 129, 31},   {5, 4096, 16}, {5, 3, 4096},  {64, 1, 129},  {13, 1, 1},
        {1, 64, 64},     {2, 65, 15},   {4, 63, 16},   {5, 66, 17},   {12, 67, 1023},
        {13, 9, 1023},   {1, 3, 1024},  {13, 5, 1024}, {2, 4, 1025},  {14, 6, 1025},
        {6, 5, 2049},    {15, 3, 2049}, {4, 127, 48},  {8, 128, 63},  {9, 129, 64},
        {13, 255, 40},   {16, 256, 41}, {17, 257, 42}, {1, 511, 23},  {12, 513, 22},
        {31, 513, 21},   {13, 64, 15},  {200, 17, 16}, {33, 16, 130}, {32, 95, 255},
        {33, 96, 256},   {47, 97, 257}, {48, 191, 19}, {49, 193, 33}, {65, 12, 513},
        {20, 11, 1281},  {30, 13, 300}, {1023, 5, 18}, {1024, 3, 17}, {1025, 4, 16},
        {1040, 2, 1030}, {2049, 3, 3},  {5, 300, 7},   {5, 97, 1100}, {1, 300, 70},
        {95, 192, 127},  {96, 8, 511},  {97, 9, 512},  {144, 7, 128}, {145, 385, 129},
        {50, 384, 12},   {6, 577, 9}};
    const unsigned count = sizeof shapes / sizeof *shapes;
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < 3; j++) {
            const linear c = with_options(shapes[i][0], shapes[i][1], shapes[i][2], i + 7 * j);
            run_linear(*state, &c);
        }
    for (int64_t m = 1; m <= 36; m++) { /* around the switch of algorithms, one and two vectors */
        const linear c = with_options(m, 65, 33, (unsigned)m);
        run_linear(*state, &c);
    }
}

/* Some properties are the CPU's: its ways of multiplying, weights where they lie in a file. */
static void only_on_the_cpu(const devices *all) {
    if (all->dev[0]->narrow_products) skip();
}

/* Neither the number of other rows nor what they hold changes a row's bits, as long as one algorithm
 * serves all of these sizes: few rows (1 to 4), or many. */
static void other_rows_do_not_matter(void **state) {
    const devices *all = *state;
    enum { N = 101, K = 1100, MAX = 70 };
    only_on_the_cpu(all);
    static const int64_t few[] = {1, 2, 3, 4, 0}, many[] = {16, 17, 31, 32, 33, 48, 49, 70, 0};
    guards g = {0};
    uint64_t seed = 5;
    float *x = guard_random(&g, MAX * K, 1, &seed), *y = guard_f32(&g, MAX * N), first[N];
    void *w = guard_weights(&g, MN_F16, N * K, 1, &seed);
    for (int kind = 0; kind < 4; kind++)
        for (int d = 0; d < all->count; d++)
            for (const int64_t *m = kind % 2 ? many : few; *m; m++) {
                mn_tensor ty = mn_tensor_2d(y, MN_F32, *m, N);
                const mn_tensor tx = mn_tensor_2d(x + (MAX - *m) * K, MN_F32, *m, K);
                const mn_tensor tw = mn_tensor_2d(w, MN_F16, N, K);
                MN_ASSERT_OK(all->dev[d]->reserve(all->dev[d], *m, K));
                MN_ASSERT_OK(mn_linear_fwd(all->dev[d], &ty, N, &tx, &tw, NULL, MN_EPILOGUE_STORE,
                                           kind < 2 ? MN_COMPUTE_F32 : MN_COMPUTE_BF16));
                const float *last = y + (*m - 1) * N; /* always the same input */
                if (*m == 1 || *m == 16) memcpy(first, last, sizeof first);
                if (memcmp(first, last, sizeof first) != 0)
                    fail_msg("%s, %s: with %lld rows the last has other bits",
                             all->dev[d]->description, kind < 2 ? "fp32" : "bf16", (long long)*m);
            }
    guard_free(&g);
}

static void all_options_of_small_products(void **state) {
    every_option(*state, 1, 67, 35, MN_COMPUTE_F32);
    every_option(*state, 5, 67, 35, MN_COMPUTE_F32);
    every_option(*state, 13, 67, 35, MN_COMPUTE_F32);
}

/* From panels the bits are the same for any number of rows: there is one order of the sums. */
static void panels_have_one_order(void **state) {
    const devices *all = *state;
    enum { N = 101, K = 2065, MAX = 70 };
    static const int64_t counts[] = {1, 2, 3, 4, 5, 8, 11, 12, 13, 16, 33, 70};
    guards g = {0};
    uint64_t seed = 6;
    float *x = guard_random(&g, MAX * K, 1, &seed), *y = guard_f32(&g, MAX * N), first[N];
    void *w = guard_weights(&g, MN_F16, N * K, 1, &seed);
    const mn_tensor rows = mn_tensor_2d(w, MN_F16, N, K);
    for (int d = 0; d < all->count; d++)
        for (int compute = MN_COMPUTE_F32; compute <= MN_COMPUTE_BF16; compute++) {
            if (!has_panels(all->dev[d], MN_F16)) continue;
            if (compute == MN_COMPUTE_BF16 && strstr(all->dev[d]->description, "oneDNN"))
                continue; /* its sums have an order of their own for each shape */
            guards mine = {0};
            const mn_tensor tw = panels_of(&mine, all->dev[d], &rows);
            for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
                const int64_t m = counts[i];
                mn_tensor ty = mn_tensor_2d(y, MN_F32, m, N);
                const mn_tensor tx = mn_tensor_2d(x + (MAX - m) * K, MN_F32, m, K);
                MN_ASSERT_OK(all->dev[d]->reserve(all->dev[d], m, K));
                MN_ASSERT_OK(mn_linear_fwd(all->dev[d], &ty, N, &tx, &tw, NULL, MN_EPILOGUE_STORE,
                                           (mn_compute)compute));
                const float *last = y + (m - 1) * N; /* always the same input */
                if (m == 1) memcpy(first, last, sizeof first);
                if (memcmp(first, last, sizeof first) != 0)
                    fail_msg("%s, compute %d: with %lld rows the last has other bits",
                             all->dev[d]->description, compute, (long long)m);
            }
            guard_free(&mine);
        }
    guard_free(&g);
}

static void no_rows_are_no_work(void **state) {
    const devices *all = *state;
    enum { N = 33, K = 7 };
    guards g = {0};
    uint64_t seed = 7;
    void *w = guard_weights(&g, MN_F16, N * K, 1, &seed);
    const mn_tensor rows = mn_tensor_2d(w, MN_F16, N, K);
    for (int d = 0; d < all->count; d++) {
        guards mine = {0};
        const mn_tensor tw = has_panels(all->dev[d], MN_F16) ? panels_of(&mine, all->dev[d], &rows)
                                                             : rows;
        mn_tensor y = mn_tensor_2d(NULL, MN_F32, 0, N), x = mn_tensor_2d(NULL, MN_F32, 0, K);
        MN_ASSERT_OK(
            mn_linear_fwd(all->dev[d], &y, N, &x, &tw, NULL, MN_EPILOGUE_STORE, MN_COMPUTE_F32));
        MN_ASSERT_OK(mn_linear_bwd_x(all->dev[d], &x, K, &y, N, &tw, false, MN_COMPUTE_F32));
        guard_free(&mine);
    }
    guard_free(&g);
}

/* A tensor in a file may begin anywhere: 2 bytes off for half precision, and fp32 likewise. */
static void weights_at_odd_addresses(void **state) {
    only_on_the_cpu(*state);
    for (unsigned i = 0; i < 12; i++) {
        linear c = with_options(i < 6 ? 3 : 14, 70, 1030, i);
        c.skew = 2 + 4 * (i % 4);
        run_linear(*state, &c);
    }
}

static void inputs_rounded_to_bf16(void **state) {
    static const int64_t shapes[][3] = {{1, 1, 1},     {1, 33, 31},   {3, 64, 1025},  {12, 65, 100},
                                        {13, 1, 1},    {13, 257, 33}, {16, 31, 17},   {20, 513, 64},
                                        {14, 5, 2049}, {64, 129, 31}, {13, 300, 4100}};
    only_on_the_cpu(*state);
    const unsigned count = sizeof shapes / sizeof *shapes;
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < 2; j++) {
            linear c = with_options(shapes[i][0], shapes[i][1], shapes[i][2], i + 5 * j);
            c.compute = MN_COMPUTE_BF16;
            run_linear(*state, &c);
        }
    every_option(*state, 4, 66, 34, MN_COMPUTE_BF16);
    every_option(*state, 15, 66, 34, MN_COMPUTE_BF16);
}

/* Depths of many blocks. */
static void longest_rows(void **state) {
    static const int64_t lengths[] = {32768, 32800, 49152, 49184};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const linear rounded = {
            .m = 13, .n = 17, .k = lengths[i], .dtype = MN_F16, .compute = MN_COMPUTE_BF16};
        run_linear(*state, &rounded);
    }
    const linear plain = {.m = 13, .n = 2, .k = 49184, .dtype = MN_F16};
    run_linear(*state, &plain);
}

/* 0 x infinity: K is no multiple of the vectors, and what fills them up must not turn into NaN. */
static void infinities_stay_infinities(void **state) {
    const devices *all = *state;
    enum { N = 5, K = 19 };
    for (int64_t m = 1; m <= 13; m += 12)
        for (int d = 0; d < all->count; d++) {
            guards g = {0};
            float *x = guard_f32(&g, m * K), *w = guard_f32(&g, N * K), *y = guard_f32(&g, m * N);
            for (int64_t i = 0; i < m * K; i++) x[i] = 1;
            for (int i = 0; i < N * K; i++) w[i] = i / K == 2 && i % K == K - 1 ? INFINITY : 1;
            w[4 * K + 1] = NAN;
            MN_ASSERT_OK(all->dev[d]->reserve(all->dev[d], m, K));
            mn_tensor ty = mn_tensor_2d(y, MN_F32, m, N);
            const mn_tensor tx = mn_tensor_2d(x, MN_F32, m, K), tw = mn_tensor_2d(w, MN_F32, N, K);
            MN_ASSERT_OK(mn_linear_fwd(all->dev[d], &ty, N, &tx, &tw, NULL, MN_EPILOGUE_STORE,
                                       MN_COMPUTE_F32));
            for (int64_t i = 0; i < m * N; i++) {
                if (i % N == 4) assert_true(isnan(y[i]));
                else assert_true(y[i] == (i % N == 2 ? INFINITY : (float)K));
            }
            guard_free(&g);
        }
}

/* GELU of x itself: one row, K = 1, the input 1 and the weights x. */
static void gelu_of(mn_device *dev, float *y, const float *x, int64_t n) {
    float one = 1;
    mn_tensor ty = mn_tensor_2d(y, MN_F32, 1, n);
    const mn_tensor tx = mn_tensor_2d(&one, MN_F32, 1, 1);
    const mn_tensor tw = mn_tensor_2d((void *)(uintptr_t)x, MN_F32, n, 1);
    MN_ASSERT_OK(dev->reserve(dev, 1, 1));
    MN_ASSERT_OK(mn_linear_fwd(dev, &ty, n, &tx, &tw, NULL, MN_EPILOGUE_GELU, MN_COMPUTE_F32));
}

/* The whole range: steps of 1/512 up to 9, and every power of two from 2^-149 to 2^127. */
static void gelu_over_the_whole_range(void **state) {
    const devices *all = *state;
    enum { FINE = 2 * 9 * 512 + 1, COARSE = 2 * 2 * 277, N = FINE + COARSE };
    guards g = {0};
    float *x = guard_f32(&g, N), *y = guard_f32(&g, N);
    double *want = doubles(N), *bound = doubles(N);
    for (int i = 0; i < FINE; i++) x[i] = (float)(i - 9 * 512) / 512;
    for (int i = 0; i < COARSE; i++)
        x[FINE + i] = ldexpf(i & 2 ? -1.37f : 1.37f, i / 4 - 149) * (i & 1 ? 1.2f : 1);
    x[N - 1] = -1e30f;
    guard_seal(&g, x);
    for (int i = 0; i < N; i++) {
        want[i] = ref_gelu((double)x[i]);
        bound[i] = 0.5 * fabs((double)x[i]) * (1.3e-7 + 4 * unit) + 2 * unit * fabs(want[i]) +
                   0x1p-149;
    }
    verdict v = verdict_open("gelu", want, bound, N);
    for (int d = 0; d < all->count; d++) {
        gelu_of(all->dev[d], y, x, N);
        verdict_on(&v, all->dev[d], y);
        for (int i = 0; i < N; i++) /* towards minus infinity it fades out from below */
            if (x[i] < 0 && y[i] > 0) fail_msg("gelu(%g) = %g is positive", x[i], y[i]);
        const float special[] = {INFINITY, NAN, 0.0f, -0.0f};
        float out[4];
        gelu_of(all->dev[d], out, special, 4);
        assert_true(out[0] == INFINITY && isnan(out[1]) && out[2] == 0 && out[3] == 0);
    }
    verdict_close(&v);
    test_free(want);
    test_free(bound);
    guard_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MN_TESTED_LINEAR(MN_TEST_ROW) cmocka_unit_test(other_rows_do_not_matter),
        cmocka_unit_test(panels_have_one_order),
        cmocka_unit_test(no_rows_are_no_work),
        cmocka_unit_test(all_options_of_small_products),
        cmocka_unit_test(weights_at_odd_addresses),
        cmocka_unit_test(inputs_rounded_to_bf16),
        cmocka_unit_test(longest_rows),
        cmocka_unit_test(infinities_stay_infinities),
        cmocka_unit_test(gelu_over_the_whole_range),
    };
    return cmocka_run_group_tests(tests, devices_setup, devices_teardown);
}
