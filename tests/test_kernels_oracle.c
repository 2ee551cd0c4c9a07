/* test_kernels_oracle.c - the reference itself: values known by hand, and that derivatives by complex
 * step are derivatives, which shows that every formula is analytic. */
#include "check.h"

#include <complex.h>
#include <math.h>
#include <string.h>

#include "oracle.h"
#define REAL double complex
#define FN(name) name##_c
#include "oracle.h"

static void near(double got, double want) {
    if (!(fabs(got - want) <= 1e-14 * (1 + fabs(want))))
        fail_msg("%.17g, expected %.17g", got, want);
}

static void formulas_have_their_known_values(void **state) {
    (void)state;
    near(ref_gelu(1), 0.8413447460685429); /* x Phi(x), tables of the normal distribution */
    near(ref_gelu(-2), -2 * 0.022750131948179207);
    near(ref_silu(1), 0.7310585786300049);
    const double x[4] = {1, 2, 3, 6}, one[4] = {1, 1, 1, 1}, zero[4] = {0};
    double y[8];
    ref_layernorm(y, x, one, zero, 0.5, 1, 4); /* mean 3, variance 3.5: divided by 2 */
    near(y[0], -1);
    near(y[3], 1.5);
    ref_rmsnorm(y, x, one, 3.5, 1, 4); /* mean square 12.5: divided by 4 */
    near(y[3], 1.5);
    near(ref_lse(x, 4), 6 + log(1 + exp(-3) + exp(-4) + exp(-5)));
    const double w[8] = {1, 0, 0, 0, 1, 1, 1, 1}, bias[2] = {10, 20};
    y[0] = y[1] = 100;
    ref_linear(y, x, w, bias, MN_EPILOGUE_ADD, 1, 2, 4);
    near(y[0], 111);
    near(y[1], 132);
    ref_linear(y, x, w, NULL, MN_EPILOGUE_STORE, 1, 2, 4);
    near(y[1], 12);
    ref_swiglu(y, one, x, 4);
    near(y[3], 6 * 0.7310585786300049);
}

/* Position 1 turns by 90 degrees: (a, b) becomes (-b, a), whatever does not rotate stays. */
static void rope_turns_pairs(void **state) {
    (void)state;
    const double cos_table[4] = {1, 1, 0, 0}, sin_table[4] = {0, 0, 1, 1};
    const double from[5] = {1, 2, 3, 4, 5}, want[5] = {-3, -4, 1, 2, 5};
    double to[5];
    ref_rotate(to, from, cos_table, sin_table, 1, 4, 5);
    for (int i = 0; i < 5; i++) near(to[i], want[i]);
    ref_rotate(to, from, cos_table, sin_table, 0, 4, 5);
    for (int i = 0; i < 5; i++) near(to[i], from[i]);
}

/* One head of size 1, scores 0 for all: the mean of what is seen. Rows hold 2^row. */
static void attention_sees_what_it_may(void **state) {
    (void)state;
    const double q[3] = {0, 0, 0}, k[8] = {0}, v[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const mn_attn_seq seq = {.q_begin = 1,
                             .q_len = 2,
                             .shared_begin = {6, 0},
                             .shared_len = {1, 2},
                             .own_begin = 2,
                             .own_len = 3};
    double out[3] = {-1, -1, -1};
    ref_attention(out, q, k, v, &seq, 1, 1, 1, 1, 1);
    near(out[0], -1);
    near(out[1], (64 + 1 + 2 + 4 + 8) / 5.0);
    near(out[2], (64 + 1 + 2 + 4 + 8 + 16) / 6.0);
}

/* ---- Derivatives -------------------------------------------------------------------------------- */

enum { N = 24 }; /* inputs of each function below; its outputs are summed with weights */

static double weight_of(int i) { return 1 + 0.37 * (i % 5); }

/* f: one number from N numbers, real and complex. `what` chooses the kernel. */
#define PROBE(name, R, F)                                                                          \
    static R name(const R *x, int what) {                                                          \
        const mn_attn_seq seq = {.q_len = 2, .shared_len = {1, 0}, .own_begin = 1, .own_len = 3};  \
        const double table[2] = {0.6, 0.8};                                                        \
        R y[N] = {0}, sum = 0;                                                                     \
        switch (what) {                                                                            \
        case 0: F(ref_layernorm)(y, x, x + 12, x + 18, 1e-5, 2, 6); break;                         \
        case 1: F(ref_rmsnorm)(y, x, x + 12, 1e-5, 2, 6); break;                                   \
        case 2: F(ref_linear)(y, x, x + 6, x + 15, MN_EPILOGUE_GELU, 2, 3, 3); break;              \
        case 3: F(ref_swiglu)(y, x, x + 12, 12); break;                                            \
        case 4: y[0] = F(ref_lse)(x, N); break;                                                    \
        case 5: F(ref_attention)(y, x, x + 4, x + 12, &seq, 1, 1, 1, 2, 0.7); break;               \
        case 6: F(ref_rotate)(y, x, table, table + 1, 0, 2, 5); break;                             \
        default: y[0] = F(ref_silu)(x[0]) * F(ref_gelu)(x[1]); break;                              \
        }                                                                                          \
        for (int i = 0; i < N; i++) sum += weight_of(i) * y[i];                                    \
        return sum;                                                                                \
    }
#define PLAIN(name) name
#define COMPLEX(name) name##_c
PROBE(probe, double, PLAIN)
PROBE(probe_c, double complex, COMPLEX)

static void complex_steps_are_derivatives(void **state) {
    (void)state;
    const double tiny = 1e-30, step = 1e-5;
    for (int what = 0; what < 8; what++)
        for (int i = 0; i < N; i++) {
            double x[N];
            double complex z[N];
            for (int j = 0; j < N; j++) z[j] = x[j] = sin(1.7 * j + 0.4) * 1.3;
            z[i] += tiny * _Complex_I;
            const double complex f = probe_c(z, what);
            near(creal(f), probe(x, what));
            const double here = x[i];
            double side[4]; /* central differences of fourth order: error step^4, and rounding */
            for (int s = 0; s < 4; s++) {
                x[i] = here + step * (double[]){-2, -1, 1, 2}[s];
                side[s] = probe(x, what);
            }
            const double want = (side[0] - 8 * side[1] + 8 * side[2] - side[3]) / (12 * step);
            if (!(fabs(cimag(f) / tiny - want) <= 1e-8 * (1 + fabs(want))))
                fail_msg("function %d, input %d: %.12g, by differences %.12g", what, i,
                         cimag(f) / tiny, want);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formulas_have_their_known_values),
        cmocka_unit_test(rope_turns_pairs),
        cmocka_unit_test(attention_sees_what_it_may),
        cmocka_unit_test(complex_steps_are_derivatives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
