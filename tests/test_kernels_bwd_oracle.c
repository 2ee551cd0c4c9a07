/* test_kernels_bwd_oracle.c - the reference gradients are the derivatives of the reference formulas: by
 * complex step, to the last digits of a double. */
#include "check.h"

#include <complex.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#define REAL double complex
#define FN(name) name##_c
#include "oracle.h"
#include "oracle_bwd.h"

static const double tiny = 1e-30;
enum { MAX = 256 };

static double number(int i) { return 1.3 * sin(1.7 * i + 0.4); }

/* How a formula's inputs become one number: its outputs, weighted with dy. */
typedef double complex (*formula)(const double complex *x, const double *dy);

/* Every derivative of f at x (n inputs) equals what the reference gradient says. */
static void check(const char *what, formula f, const double *x, int n, const double *dy,
                  const double *gradient) {
    for (int i = 0; i < n; i++) {
        double complex z[MAX];
        for (int j = 0; j < n; j++) z[j] = x[j];
        z[i] += tiny * _Complex_I;
        const double want = cimag(f(z, dy)) / tiny;
        if (!(fabs(gradient[i] - want) <= 1e-13 * (1 + fabs(want))))
            fail_msg("%s, input %d: %.17g, by complex step %.17g", what, i, gradient[i], want);
    }
}

static double complex weighted(const double complex *y, const double *dy, int n) {
    double complex sum = 0;
    for (int i = 0; i < n; i++) sum += dy[i] * y[i];
    return sum;
}

static void fill(double *x, int n, int from) {
    for (int i = 0; i < n; i++) x[i] = number(from + i);
}

/* ---- Activations: x (N), or gate (N), up (N) --------------------------------------------------- */

enum { N = 20 };

static double complex gelu(const double complex *x, const double *dy) {
    double complex y[N];
    for (int i = 0; i < N; i++) y[i] = ref_gelu_c(x[i]);
    return weighted(y, dy, N);
}

static double complex swiglu(const double complex *x, const double *dy) {
    double complex y[N];
    ref_swiglu_c(y, x, x + N, N);
    return weighted(y, dy, N);
}

static void activations(void **state) {
    (void)state;
    double x[2 * N], dy[N], gradient[2 * N];
    fill(x, 2 * N, 0);
    fill(dy, N, 50);
    for (int i = 0; i < N; i++) gradient[i] = dy[i] * ref_gelu_slope(3 * x[i]);
    double wide[N];
    for (int i = 0; i < N; i++) wide[i] = 3 * x[i];
    check("gelu", gelu, wide, N, dy, gradient);
    ref_swiglu_bwd(gradient, gradient + N, dy, x, x + N, N);
    check("swiglu", swiglu, x, 2 * N, dy, gradient);
}

/* ---- Norms: x (R, C), weight (C), bias (C), gate ------------------------------------------------ */

enum { R = 3, C = 5, RC = R * C };
static const double eps = 1e-3;

static double complex layernorm(const double complex *x, const double *dy) {
    double complex y[RC];
    ref_layernorm_c(y, x, x + RC, x + RC + C, eps, R, C);
    return weighted(y, dy, RC);
}

static double complex rmsnorm(const double complex *x, const double *dy) {
    double complex y[RC];
    ref_rmsnorm_c(y, x, x + RC, eps, R, C);
    return weighted(y, dy, RC);
}

static double complex gated_norm(const double complex *x, const double *dy) {
    double complex y[RC];
    for (int i = 0; i < RC; i++) y[i] = number(90 + i);
    ref_gated_norm_c(y, x, x + RC, x + RC + C, x[RC + 2 * C], eps, R, C);
    return weighted(y, dy, RC);
}

static void norms(void **state) {
    (void)state;
    double x[RC + 2 * C + 1], dy[RC], g[RC + 2 * C + 1] = {0};
    fill(x, RC + 2 * C + 1, 0);
    fill(dy, RC, 50);
    ref_norm_bwd(g, g + RC, g + RC + C, dy, x, x + RC, 1, true, eps, R, C);
    check("layernorm", layernorm, x, RC + 2 * C, dy, g);
    memset(g, 0, sizeof g);
    ref_norm_bwd(g, g + RC, NULL, dy, x, x + RC, 1, false, eps, R, C);
    check("rmsnorm", rmsnorm, x, RC + C, dy, g);
    memset(g, 0, sizeof g);
    ref_norm_bwd(g, g + RC, g + RC + C, dy, x, x + RC, x[RC + 2 * C], true, eps, R, C);
    g[RC + 2 * C] = ref_gate_bwd(dy, x, x + RC, x + RC + C, eps, R, C);
    check("gated norm", gated_norm, x, RC + 2 * C + 1, dy, g);
}

/* ---- Linear: x (R, C), w (4, C), bias (4) ------------------------------------------------------- */

static double complex linear(const double complex *x, const double *dy) {
    double complex y[R * 4];
    ref_linear_c(y, x, x + RC, x + RC + 4 * C, MN_EPILOGUE_STORE, R, 4, C);
    return weighted(y, dy, R * 4);
}

static void products(void **state) {
    (void)state;
    double x[RC + 4 * C + 4], dy[R * 4], g[RC + 4 * C + 4] = {0};
    fill(x, RC + 4 * C + 4, 0);
    fill(dy, R * 4, 50);
    ref_linear_bwd(g, g + RC, g + RC + 4 * C, dy, x, x + RC, R, 4, C);
    check("linear", linear, x, RC + 4 * C + 4, dy, g);
}

/* ---- Attention: 4 heads on 2, head size 3, two sequences ---------------------------------------- */

enum { HEADS = 4, KV = 2, DIM = 3, TOKENS = 7, ROWS = 9, NQ = TOKENS * HEADS * DIM };
enum { NK = ROWS * KV * DIM, NDK = TOKENS * KV * DIM };
static const mn_attn_seq seqs[] = {{.q_begin = 3, .q_len = 4, .own_begin = 1, .own_len = 4},
                                   {.q_begin = 0, .q_len = 2, .own_begin = 6, .own_len = 2}};

static double complex attention(const double complex *x, const double *dy) {
    double complex y[NQ] = {0};
    ref_attention_c(y, x, x + NQ, x + NQ + NK, seqs, 2, HEADS, KV, DIM, 0.7);
    return weighted(y, dy, NQ);
}

/* From tokens of dk, dv to the rows of the cache that the formula reads. */
static void by_row(double *to, const double *from) {
    memset(to, 0, NK * sizeof *to);
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < seqs[n].q_len; i++)
            memcpy(to + (seqs[n].own_begin + i) * KV * DIM, from + (seqs[n].q_begin + i) * KV * DIM,
                   KV * DIM * sizeof *to);
}

static void attends(void **state) {
    (void)state;
    double x[NQ + 2 * NK], dy[NQ], g[NQ + 2 * NK] = {0}, dk[NDK] = {0}, dv[NDK] = {0};
    fill(x, NQ + 2 * NK, 0);
    fill(dy, NQ, 500);
    ref_attention_bwd(g, dk, dv, dy, x, x + NQ, x + NQ + NK, seqs, 2, HEADS, KV, DIM, 0.7);
    by_row(g + NQ, dk);
    by_row(g + NQ + NK, dv);
    check("attention", attention, x, NQ + 2 * NK, dy, g);
}

static double complex rotation(const double complex *x, const double *dy) {
    const double cos_table[4] = {1, 1, 0.6, -0.28}, sin_table[4] = {0, 0, 0.8, 0.96};
    double complex y[5];
    ref_rotate_c(y, x, cos_table, sin_table, 1, 4, 5);
    return weighted(y, dy, 5);
}

static void rotates(void **state) {
    (void)state;
    const double cos_table[4] = {1, 1, 0.6, -0.28}, sin_table[4] = {0, 0, 0.8, 0.96};
    double x[5], dy[5], g[5];
    fill(x, 5, 0);
    fill(dy, 5, 50);
    ref_rotate_bwd(g, dy, cos_table, sin_table, 1, 4, 5);
    check("rotation", rotation, x, 5, dy, g);
}

/* ---- Loss --------------------------------------------------------------------------------------- */

static const int32_t targets[R] = {4, 0, 2};

static double complex cross_entropy(const double complex *x, const double *dy) {
    return dy[0] * ref_cross_entropy_c(x, targets, R, C);
}

static void loses(void **state) {
    (void)state;
    double x[RC], g[RC];
    const double scale = 0.3;
    fill(x, RC, 0);
    for (int r = 0; r < R; r++) ref_cross_entropy_bwd(g + r * C, x + r * C, targets[r], scale, C);
    check("cross entropy", cross_entropy, x, RC, &scale, g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations), cmocka_unit_test(norms),   cmocka_unit_test(products),
        cmocka_unit_test(attends),     cmocka_unit_test(rotates), cmocka_unit_test(loses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
