/* test_core_numbers.c - half precision and random numbers, against definitions and published values. */
#include "mneme/half.h"
#include "mneme/rng.h"

#include "check.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* ---- Half precision ----------------------------------------------------------------------------- */

/* A 16-bit float type: how many of its bits are mantissa, and the exponent's bias. */
typedef struct half_type {
    const char *name;
    int mantissa, bias;
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
} half_type;

static const half_type types[] = {{"fp16", 10, 15, mn_f16_to_f32, mn_f32_to_f16},
                                  {"bf16", 7, 127, mn_bf16_to_f32, mn_f32_to_bf16}};

/* By the definition of IEEE 754. The code of infinity gives the power of two that would follow. */
static double value_of(const half_type *t, unsigned code) {
    const int mantissa = (int)(code & ((1u << t->mantissa) - 1));
    const int exponent = (int)((code & 0x7FFF) >> t->mantissa);
    const double sign = code & 0x8000 ? -1 : 1;
    if (exponent == 0) return sign * ldexp(mantissa, 1 - t->bias - t->mantissa);
    return sign * ldexp(mantissa + (1 << t->mantissa), exponent - t->bias - t->mantissa);
}

static unsigned infinity_of(const half_type *t) { return 0x7FFFu >> t->mantissa << t->mantissa; }

static void every_half_is_widened_exactly(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++)
        for (unsigned code = 0; code < 0x10000; code++) {
            const float f = types[i].widen((uint16_t)code);
            const unsigned magnitude = code & 0x7FFF, infinity = infinity_of(&types[i]);
            const bool negative = code & 0x8000;
            if (magnitude > infinity) assert_true(isnan(f));
            else if (magnitude == infinity) assert_true(f == (negative ? -INFINITY : INFINITY));
            else if ((double)f != value_of(&types[i], code) || !!signbit(f) != negative)
                fail_msg("%s %04x is %a", types[i].name, code, (double)f);
            const uint16_t back = types[i].narrow(f); /* and comes back as it was */
            if (magnitude > infinity) assert_true((back & 0x7FFFu) > infinity);
            else assert_int_equal(back, code);
        }
}

/* The nearest value, the even one of two: found by comparing distances, which are exact in double. */
static void check_narrow(const half_type *t, float f) {
    const unsigned infinity = infinity_of(t), sign = signbit(f) ? 0x8000 : 0;
    const double x = fabs((double)f);
    unsigned low = 0, high = infinity; /* value(low) <= x; codes are in the order of values */
    while (low < high) {
        const unsigned middle = (low + high + 1) / 2;
        if (value_of(t, middle) <= x) low = middle;
        else high = middle - 1;
    }
    unsigned want = low;
    if (low < infinity) {
        const double down = x - value_of(t, low), up = value_of(t, low + 1) - x;
        if (up < down || (up == down && low % 2)) want = low + 1;
    }
    const unsigned got = t->narrow(f);
    if (got != (want | sign))
        fail_msg("%a to %s is %04x, expected %04x", (double)f, t->name, got, want | sign);
}

static float float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void floats_are_narrowed_to_the_nearest(void **state) {
    (void)state;
    uint32_t bits = 12345;
    for (size_t i = 0; i < 2; i++) {
        /* all the middles between two neighbours, and the floats on both sides of them */
        for (unsigned code = 0; code < infinity_of(&types[i]); code++) {
            const double a = value_of(&types[i], code), b = value_of(&types[i], code + 1);
            const float middle = (float)(a / 2 + b / 2);
            if ((double)middle != a / 2 + b / 2) continue; /* below the floats' own smallest */
            check_narrow(&types[i], middle);
            check_narrow(&types[i], -middle);
            check_narrow(&types[i], nextafterf(middle, 0));
            check_narrow(&types[i], nextafterf(middle, INFINITY));
        }
        for (int n = 0; n < 200000; n++) { /* any floats: every exponent, subnormals */
            bits = bits * 1664525u + 1013904223u;
            const float f = float_of_bits(bits ^ bits >> 15);
            if (isfinite(f)) check_narrow(&types[i], f);
        }
    }
}

static void the_ends_of_half(void **state) {
    (void)state;
    assert_int_equal(mn_f32_to_f16(65504.0f), 0x7BFF); /* the largest */
    assert_int_equal(mn_f32_to_f16(65519.996f), 0x7BFF);
    assert_int_equal(mn_f32_to_f16(65520.0f), 0x7C00); /* half way to 65536: even is infinity */
    assert_int_equal(mn_f32_to_f16(-1e30f), 0xFC00);
    assert_int_equal(mn_f32_to_f16(0x1p-14f), 0x0400); /* the smallest normal */
    assert_int_equal(mn_f32_to_f16(0x1p-24f), 0x0001); /* the smallest */
    assert_int_equal(mn_f32_to_f16(0x1p-25f), 0x0000); /* a tie: even is 0 */
    assert_int_equal(mn_f32_to_f16(0x1.000002p-25f), 0x0001);
    assert_int_equal(mn_f32_to_f16(-0.0f), 0x8000);
    assert_int_equal(mn_f32_to_f16(INFINITY), 0x7C00);
    assert_int_equal(mn_f32_to_bf16(3.38953139e38f), 0x7F7F); /* the largest */
    assert_int_equal(mn_f32_to_bf16(0x1.FFFFFEp127f), 0x7F80);
    assert_int_equal(mn_f32_to_bf16(-INFINITY), 0xFF80);
    assert_int_equal(mn_f32_to_bf16(0x1.01p0f), 0x3F80); /* a tie: down to even */
    assert_int_equal(mn_f32_to_bf16(0x1.03p0f), 0x3F82); /* a tie: up to even */
    static const uint32_t nans[] = {0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001, 0x7FFFFFFF};
    for (size_t i = 0; i < sizeof nans / sizeof *nans; i++) /* a payload in low bits only, too */
        for (size_t t = 0; t < 2; t++) {
            const uint16_t h = types[t].narrow(float_of_bits(nans[i]));
            assert_true((h & 0x7FFFu) > infinity_of(&types[t]));
        }
}

/* Where the compiler has the type, its conversions agree as well. */
static void the_compiler_agrees(void **state) {
    (void)state;
#if defined(__FLT16_MANT_DIG__) && !defined(__clang__)
    __extension__ typedef _Float16 f16;
    uint32_t bits = 99;
    for (int n = 0; n < 300000; n++) {
        bits = bits * 1664525u + 1013904223u;
        const float f = float_of_bits(bits);
        if (isnan(f)) continue;
        const f16 h = (f16)f;
        uint16_t want;
        memcpy(&want, &h, sizeof want);
        assert_int_equal(mn_f32_to_f16(f), want);
        assert_true(mn_f16_to_f32(want) == (float)h);
    }
#else
    print_message("%s: skipped, this compiler has no _Float16\n", __func__);
    skip();
#endif
}

/* ---- Random numbers ----------------------------------------------------------------------------- */

/* Known answers of the authors' Random123 distribution, philox4x32-10. */
static void philox_gives_the_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } known[] = {
        {{0}, {0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];
        mn_philox4x32(out, known[i].counter, known[i].key);
        assert_memory_equal(out, known[i].want, sizeof out);
    }
}

/* Runs are reproduced by (seed, stream, index): what these mean must never change. */
static void a_draw_is_fixed_for_ever(void **state) {
    (void)state;
    const uint64_t seed = 0x299f31d0a4093822, stream = 0x0370734413198a2e;
    const uint64_t index = 0x85a308d3243f6a88;
    assert_int_equal(mn_rng_u32(0, 0, 0), 0x6627e8d5);
    assert_int_equal(mn_rng_u32(UINT64_MAX, UINT64_MAX, UINT64_MAX), 0x408f276d);
    assert_int_equal(mn_rng_u32(seed, stream, index), 0xd16cfe09);
    /* 0xd16cfe0994fdcceb / 2^64, cut to 53 bits */
    assert_true(mn_rng_uniform(seed, stream, index) == 0x1.a2d9fc1329fb9p-1);
    assert_int_equal(mn_rng_below(seed, stream, index, 1000), 818);
    /* Box-Muller of that and of 0x5001e42024126ea1 / 2^64 = 0.31252885 */
    assert_true(fabs(mn_rng_normal(seed, stream, index) -
                     sqrt(-2 * log(1 - 0x1.a2d9fc1329fb9p-1)) * cos(2 * acos(-1) * 0.3125288561)) <
                1e-8);
}

static void draws_have_the_right_moments(void **state) {
    (void)state;
    enum { N = 200000 };
    double uniform[2] = {0}, normal[4] = {0}, lag = 0, last = 0;
    for (uint64_t i = 0; i < N; i++) {
        const double u = mn_rng_uniform(7, 3, i), z = mn_rng_normal(7, 4, i);
        assert_true(u >= 0 && u < 1 && isfinite(z));
        uniform[0] += u / N;
        uniform[1] += (u - 0.5) * (u - 0.5) / N;
        lag += (u - 0.5) * last / N;
        last = u - 0.5;
        for (int k = 0; k < 4; k++) normal[k] += pow(z, k + 1) / N;
    }
    /* five standard errors of each */
    const double s = 5 / sqrt((double)N);
    assert_true(fabs(uniform[0] - 0.5) < s * sqrt(1.0 / 12));
    assert_true(fabs(uniform[1] - 1.0 / 12) < s * sqrt(1.0 / 180));
    assert_true(fabs(lag) < s / 12);
    assert_true(fabs(normal[0]) < s);
    assert_true(fabs(normal[1] - 1) < s * sqrt(2.0));
    assert_true(fabs(normal[2]) < s * sqrt(15.0));
    assert_true(fabs(normal[3] - 3) < s * sqrt(96.0));
}

/* Neighbouring seeds, streams and indices, and those that differ above bit 32, share nothing. */
static void every_part_of_the_counter_counts(void **state) {
    (void)state;
    static const uint64_t steps[] = {1, 2, (uint64_t)1 << 31, (uint64_t)1 << 32, (uint64_t)1 << 63};
    int equal = 0;
    for (uint64_t i = 0; i < 1000; i++)
        for (size_t k = 0; k < 5; k++) {
            const uint32_t base = mn_rng_u32(i, i, i);
            equal += base == mn_rng_u32(i + steps[k], i, i);
            equal += base == mn_rng_u32(i, i + steps[k], i);
            equal += base == mn_rng_u32(i, i, i + steps[k]);
        }
    assert_int_equal(equal, 0); /* by chance: once in 290000 runs, and the numbers are fixed */
}

static void whole_numbers_are_even(void **state) {
    (void)state;
    enum { SIDES = 7, N = 70000 };
    int64_t count[SIDES] = {0};
    double chi = 0;
    for (uint64_t i = 0; i < N; i++) {
        const int64_t x = mn_rng_below(1, 2, i, SIDES);
        assert_in_range(x, 0, SIDES - 1);
        count[x]++;
        assert_int_equal(mn_rng_below(1, 2, i, 1), 0);
        const int64_t big = mn_rng_below(1, 2, i, INT64_MAX);
        assert_true(big >= 0 && big < INT64_MAX);
    }
    for (int i = 0; i < SIDES; i++) chi += pow((double)(count[i] - N / SIDES), 2) / (N / SIDES);
    assert_true(chi > 0.3 && chi < 27); /* 6 degrees of freedom: 0.9999 of all runs */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_is_widened_exactly),
        cmocka_unit_test(floats_are_narrowed_to_the_nearest),
        cmocka_unit_test(the_ends_of_half),
        cmocka_unit_test(the_compiler_agrees),
        cmocka_unit_test(philox_gives_the_known_answers),
        cmocka_unit_test(a_draw_is_fixed_for_ever),
        cmocka_unit_test(draws_have_the_right_moments),
        cmocka_unit_test(every_part_of_the_counter_counts),
        cmocka_unit_test(whole_numbers_are_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
