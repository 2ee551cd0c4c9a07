/* test_kernels_vec.c - the vector functions of the CPU backend: what vec.h promises of each of them.
 * They are compiled here for the plainest instruction set; the kernel tests see the others. */
#pragma GCC diagnostic ignored "-Wpsabi" /* vectors wider than registers, all inlined */
#include "cpu/vec.h"

#include "check.h"

#include <math.h>
#include <stdbool.h>

static float float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void exp_of(float *y, const float *x) { v_store(y, v_exp(v_load(x))); }
static void erf_of(float *y, const float *x) { v_store(y, v_erf(v_load(x))); }

/* Every `step`-th float of each sign is handed to `f`, then to `check`. */
static void sweep(uint32_t step, void (*f)(float *, const float *), void (*check)(float, float)) {
    for (uint64_t bits = 0; bits < (uint64_t)1 << 32; bits += (uint64_t)step * VL) {
        float x[VL], y[VL];
        for (uint32_t i = 0; i < VL; i++) x[i] = float_of_bits((uint32_t)bits + i * step);
        f(y, x);
        for (int i = 0; i < VL; i++) check(x[i], y[i]);
    }
}

/* The distance of the float behind |x|, at least that of the smallest normal numbers. */
static double last_place(double x) { return ldexp(1, (fabs(x) < 0x1p-126 ? -126 : ilogb(x)) - 23); }

static void check_exp(float x, float y) {
    const double want = exp((double)x);
    bool good;
    if (isnan(x)) good = isnan(y);
    else if (x > 88.72f) good = y == INFINITY; /* the largest float is e^88.7228 */
    else if (x < -87.33f) good = y == 0;       /* the smallest normal number is e^-87.3365 */
    else good = fabs((double)y - want) <= 2 * last_place(want);
    if (!good) fail_msg("exp(%.9g) = %.9g, expected %.9g", (double)x, (double)y, want);
}

static void exponentials(void **state) {
    (void)state;
    static const float ends[VL] = {0.0f,   -0.0f,   88.72f, 88.73f,    -87.33f,  -87.34f,
                                   -87.4f, 88.8f,   1e30f,  -1e30f,    INFINITY, -INFINITY,
                                   NAN,    -103.5f, 1e-40f, 88.722839f};
    float y[VL];
    exp_of(y, ends);
    for (int i = 0; i < VL; i++) check_exp(ends[i], y[i]);
    assert_true(y[0] == 1 && y[1] == 1 && y[14] == 1);
    sweep(997, exp_of, check_exp);
}

/* 1.3e-7, and one rounding of a result below 1. */
static void check_erf(float x, float y) {
    const double want = erf((double)x);
    const bool good = isnan(x) ? isnan(y)
                               : fabs((double)y - want) <= 1.3e-7 + 0x1p-24 && fabsf(y) <= 1 &&
                                     !signbit(x) == !signbit(y);
    if (!good) fail_msg("erf(%.9g) = %.9g, expected %.9g", (double)x, (double)y, want);
}

static void error_functions(void **state) {
    (void)state;
    static const float ends[VL] = {0.0f,     -0.0f,      0.99999994f, 1.0f,   -1.0f, 1.0000001f,
                                   3.95f,    3.9500003f, 4.0f,        -10.0f, 1e30f, -1e30f,
                                   INFINITY, -INFINITY,  NAN,         1e-40f};
    float y[VL];
    erf_of(y, ends);
    for (int i = 0; i < VL; i++) check_erf(ends[i], y[i]);
    assert_true(y[10] == 1 && y[11] == -1 && y[12] == 1 && y[13] == -1);
    sweep(997, erf_of, check_erf);
}

static void check_bf16(const float *x) {
    uint16_t h[VL];
    v_store_bf16(h, v_load(x));
    for (int i = 0; i < VL; i++) {
        const uint16_t want = mn_f32_to_bf16(x[i]);
        if (isnan(x[i]) ? (h[i] & 0x7FFF) <= 0x7F80 : h[i] != want)
            fail_msg("%a to bf16 is %04x, expected %04x", (double)x[i], h[i], want);
    }
}

static void rounding_to_bf16(void **state) {
    (void)state;
    for (uint64_t bits = 0; bits < (uint64_t)1 << 32; bits += 1009 * VL) {
        float x[VL];
        for (uint32_t i = 0; i < VL; i++) x[i] = float_of_bits((uint32_t)bits + i * 1009);
        check_bf16(x);
    }
    for (uint32_t high = 0; high < 0x10000; high += 4) { /* ties, and both sides of them */
        static const uint32_t low[4] = {0x7FFF, 0x8000, 0x8001, 0xFFFF};
        float x[VL];
        for (uint32_t i = 0; i < VL; i++) x[i] = float_of_bits((high + i / 4) << 16 | low[i % 4]);
        check_bf16(x);
    }
}

static void sums_and_largest(void **state) {
    (void)state;
    float x[VL];
    for (int i = 0; i < VL; i++) x[i] = (float)(1 << i);
    assert_true(v_sum(v_load(x)) == 65535); /* every lane once */
    for (int i = 0; i < VL; i++) {
        for (int j = 0; j < VL; j++) x[j] = -10 - (float)((i + j) % VL);
        x[i] = -3;
        assert_true(v_max_of(v_load(x)) == -3);
    }
    const vf a = v_set(2), b = v_set(-5), m = v_max(a, b), n = v_min(a, b);
    for (int i = 0; i < VL; i++) assert_true(m[i] == 2 && n[i] == -5);
}

/* Loads and stores of part of a vector touch that part. */
static void parts_of_vectors(void **state) {
    (void)state;
    float from[VL], to[VL + 1];
    for (int i = 0; i < VL; i++) from[i] = (float)(i + 1);
    for (int n = 0; n < VL; n++) {
        float *part = test_malloc((size_t)(n ? n : 1) * sizeof *part); /* guarded behind */
        memcpy(part, from, (size_t)n * sizeof *part);
        const vf v = v_load_n(part, n);
        for (int i = 0; i < VL; i++) assert_true(v[i] == (i < n ? from[i] : 0));
        v_store_n(part, v + 1, n);
        for (int i = 0; i < n; i++) assert_true(part[i] == from[i] + 1);
        test_free(part);
    }
    for (int i = 0; i <= VL; i++) to[i] = -1;
    v_store(to, v_load(from));
    assert_memory_equal(to, from, sizeof from);
    assert_true(to[VL] == -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exponentials),     cmocka_unit_test(error_functions),
        cmocka_unit_test(rounding_to_bf16), cmocka_unit_test(sums_and_largest),
        cmocka_unit_test(parts_of_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
