/* test_kernels_map.c - kernels that treat all elements alike: sums, activations and their gradients,
 * casts, AdamW, sums of squares. */
#include "mneme/ops.h"

#include "kernels/outputs.h"
#include "kernels/rows.h"
#include "oracle.h"
#include "oracle_bwd.h"

#include <float.h>

/* Around vectors, around the blocks that threads own (8192, 16384), and several of them. */
static const int64_t sizes[] = {0, 1, 15, 16, 17, 31, 33, 8191, 8192, 8193, 16385, 50001};
enum { SIZES = sizeof sizes / sizeof *sizes };

static mn_tensor flat(const float *x, int64_t n) {
    return mn_tensor_1d((void *)(uintptr_t)x, MN_F32, n);
}

/* ---- Sums --------------------------------------------------------------------------------------- */

static void test_add(void **state) {
    const devices *all = *state;
    for (int i = 0; i < SIZES; i++) {
        guards g = {0};
        uint64_t seed = (uint64_t)i;
        const int64_t n = sizes[i];
        const float *x = guard_random(&g, n, 3, &seed);
        output y = output_open(&g, "add", n, true, &seed);
        for (int64_t j = 0; j < n; j++) {
            y.want[j] += (double)x[j];
            y.bound[j] = unit * fabs(y.want[j]); /* one rounding */
        }
        for (int d = 0; d < all->count; d++) {
            mn_tensor ty = flat(y.data, n);
            const mn_tensor tx = flat(x, n);
            output_reset(&y);
            MN_ASSERT_OK(mn_add(all->dev[d], &ty, &tx));
            output_judge(&y, all->dev[d]);
        }
        output_close(&y);
        guard_free(&g);
    }
}

static void test_zero(void **state) {
    const devices *all = *state;
    for (int i = 0; i < SIZES; i++)
        for (int d = 0; d < all->count; d++) {
            guards g = {0};
            float *y = guard_f32(&g, sizes[i]);
            mn_tensor ty = flat(y, sizes[i]);
            MN_ASSERT_OK(mn_zero(all->dev[d], &ty));
            for (int64_t j = 0; j < sizes[i]; j++) assert_true(y[j] == 0 && !signbit(y[j]));
            guard_free(&g);
        }
}

/* Products of two floats are exact in double, and some hundred additions per lane of 1e-16 each grow like a
 * random walk: 1e-14 leaves room. */
static void square_sum_case(const devices *all, int64_t n) {
    const double before = 5e30; /* added to; of the size of what is added */
    guards g = {0};
    uint64_t seed = (uint64_t)n;
    const float *x = guard_random(&g, n, 1e15, &seed);
    long double exact = (long double)before;
    for (int64_t j = 0; j < n; j++) exact += (long double)x[j] * (long double)x[j];
    const double want = (double)exact;
    double first = 0;
    for (int d = 0; d < all->count; d++) {
        double sum = before;
        const mn_tensor tx = flat(x, n);
        MN_ASSERT_OK(mn_square_sum(all->dev[d], &sum, &tx));
        assert_true(fabs(sum - want) <= 1e-14 * want);
        if (all->dev[d]->threads == 1) first = sum;
        assert_memory_equal(&sum, &first, sizeof sum);
    }
    guard_free(&g);
}

static void test_square_sum(void **state) {
    for (int i = 0; i < SIZES; i++) square_sum_case(*state, sizes[i]);
    square_sum_case(*state,
                    1100003); /* more parts, and more groups of a thread, than CUDA adds at once */
}

static void test_row_norms(void **state) {
    const devices *all = *state;
    static const int64_t shapes[][2] = {{1, 1}, {3, 33}, {7, 128}, {64, 129}, {5, 4096}, {129, 15}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        guards g = {0};
        uint64_t seed = (uint64_t)i;
        const int64_t rows = shapes[i][0], dim = shapes[i][1];
        const float *x = guard_random(&g, rows * dim, 1e25, &seed); /* squares overflow in fp32 */
        output norm = output_open(&g, "row norms", rows, false, &seed);
        for (int64_t r = 0; r < rows; r++) {
            double square = 0;
            for (int64_t c = 0; c < dim; c++)
                square += (double)x[r * dim + c] * (double)x[r * dim + c];
            norm.want[r] = sqrt(square);
            norm.bound[r] = 1.01 * unit * norm.want[r]; /* one rounding to fp32 */
        }
        for (int d = 0; d < all->count; d++) {
            mn_tensor tn = flat(norm.data, rows);
            const mn_tensor tx = mn_tensor_2d((void *)(uintptr_t)x, MN_F32, rows, dim);
            output_reset(&norm);
            MN_ASSERT_OK(mn_row_norms(all->dev[d], &tn, &tx));
            output_judge(&norm, all->dev[d]);
        }
        output_close(&norm);
        guard_free(&g);
    }
}

/* ---- Activations -------------------------------------------------------------------------------- */

/* Numbers of every size up to 20, and 0, where gelu turns. */
static float *activations(guards *g, int64_t n, uint64_t *state) {
    float *x = guard_f32(g, n);
    for (int64_t i = 0; i < n; i++) {
        const double u = 2 * random_unit(state) - 1;
        x[i] = (float)(i % 7 == 3 ? 0 : i % 2 ? 20 * u * u * u : 3 * u);
    }
    guard_seal(g, x);
    return x;
}

/* erf is 1.3e-7 off at most (vec.h), half of it times x; and a few roundings. */
static void test_gelu_fwd(void **state) {
    const devices *all = *state;
    for (int i = 0; i < SIZES; i++) {
        guards g = {0};
        uint64_t seed = (uint64_t)i;
        const int64_t n = sizes[i];
        const float *x = activations(&g, n, &seed);
        output y = output_open(&g, "gelu", n, false, &seed);
        for (int64_t j = 0; j < n; j++) {
            y.want[j] = ref_gelu((double)x[j]);
            y.bound[j] = 0.65e-7 * fabs((double)x[j]) + 4 * unit * fabs((double)x[j]);
        }
        for (int d = 0; d < all->count; d++)
            for (int in_place = 0; in_place < 2; in_place++) {
                mn_tensor ty = flat(y.data, n), tx = in_place ? ty : flat(x, n);
                output_reset(&y);
                if (in_place) memcpy(y.data, x, (size_t)n * sizeof *x);
                MN_ASSERT_OK(mn_gelu_fwd(all->dev[d], &ty, &tx));
                output_judge(&y, all->dev[d]);
            }
        output_close(&y);
        guard_free(&g);
    }
}

/* Phi by erf: 0.65e-7; x phi(x) <= 0.25 by exp with an argument of up to x^2 / 2 that is rounded:
 * x^2 units of it, where x^3 phi(x) <= 0.47. In all below 2.5e-7 of dy, and its own rounding. */
static void test_gelu_bwd(void **state) {
    const devices *all = *state;
    for (int i = 0; i < SIZES; i++) {
        guards g = {0};
        uint64_t seed = (uint64_t)i;
        const int64_t n = sizes[i];
        const float *x = activations(&g, n, &seed), *dy = guard_random(&g, n, 2, &seed);
        output dx = output_open(&g, "gelu gradient", n, false, &seed);
        for (int64_t j = 0; j < n; j++) {
            dx.want[j] = (double)dy[j] * ref_gelu_slope((double)x[j]);
            dx.bound[j] = 2.5e-7 * fabs((double)dy[j]);
        }
        for (int d = 0; d < all->count; d++)
            for (int in_place = 0; in_place < 2; in_place++) {
                mn_tensor tdx = flat(dx.data, n), tdy = in_place ? tdx : flat(dy, n);
                const mn_tensor tx = flat(x, n);
                output_reset(&dx);
                if (in_place) memcpy(dx.data, dy, (size_t)n * sizeof *dy);
                MN_ASSERT_OK(mn_gelu_bwd(all->dev[d], &tdx, &tdy, &tx));
                output_judge(&dx, all->dev[d]);
            }
        output_close(&dx);
        guard_free(&g);
    }
}

/* exp is 2 units in the last place (4 units here) off and feeds sigma and its rest, each rounded
 * three times; the gradient adds 1 and g rest, so its error counts on both. exp is 0 below the smallest
 * normal number. `target`: 0 both fresh, 1 dgate is dy, 2 dup is dy. */
static void swiglu_bwd_case(const devices *all, const float *dy, const float *gate, const float *up,
                            int64_t rows, int64_t dim) {
    guards g = {0};
    uint64_t seed = 0;
    const int64_t n = rows * dim;
    output out[2] = {output_open(&g, "swiglu dgate", n, false, &seed),
                     output_open(&g, "swiglu dup", n, false, &seed)};
    double *ddy = doubles_of(dy, MN_F32, n), *dg = doubles_of(gate, MN_F32, n);
    double *du = doubles_of(up, MN_F32, n);
    ref_swiglu_bwd(out[0].want, out[1].want, ddy, dg, du, n);
    for (int64_t i = 0; i < n; i++) {
        const double sigma = 1 / (1 + exp(-dg[i])), rest = 1 - sigma;
        const double tiny = 0x1p-126 * (2 + fabs(dg[i]));
        const double size = sigma * (1 + fabs(dg[i]) * rest);
        out[0].bound[i] = (16 * unit * size + tiny) * (fabs(ddy[i] * du[i]) + tiny);
        out[1].bound[i] = 10 * unit * fabs(out[1].want[i]) + tiny * (fabs(ddy[i]) + tiny);
    }
    for (int d = 0; d < all->count; d++)
        for (int target = 0; target < 3; target++) {
            mn_tensor t[2] = {mn_tensor_2d(out[0].data, MN_F32, rows, dim),
                              mn_tensor_2d(out[1].data, MN_F32, rows, dim)};
            const mn_tensor fresh = mn_tensor_2d((void *)(uintptr_t)dy, MN_F32, rows, dim);
            const mn_tensor tg = mn_tensor_2d((void *)(uintptr_t)gate, MN_F32, rows, dim);
            const mn_tensor tu = mn_tensor_2d((void *)(uintptr_t)up, MN_F32, rows, dim);
            for (int i = 0; i < 2; i++) output_reset(&out[i]);
            if (target) memcpy(out[target - 1].data, dy, (size_t)n * sizeof *dy);
            MN_ASSERT_OK(mn_swiglu_bwd(all->dev[d], &t[0], &t[1], target ? &t[target - 1] : &fresh,
                                       &tg, &tu));
            for (int i = 0; i < 2; i++) output_judge(&out[i], all->dev[d]);
        }
    for (int i = 0; i < 2; i++) output_close(&out[i]);
    double *const used[] = {ddy, dg, du};
    for (int i = 0; i < 3; i++) test_free(used[i]);
    guard_free(&g);
}

static void test_swiglu_bwd(void **state) {
    for (int i = 1; i < SIZES; i++) {
        guards g = {0};
        uint64_t seed = (uint64_t)i;
        const int64_t n = sizes[i];
        const float *dy = guard_random(&g, n, 2, &seed), *up = guard_random(&g, n, 3, &seed);
        float *gate = guard_f32(&g, n);
        for (int64_t j = 0; j < n; j++) { /* up to where exp has no values any more */
            const double u = 2 * random_unit(&seed) - 1;
            gate[j] = (float)(j % 3 ? 8 * u : 120 * u);
        }
        guard_seal(&g, gate);
        swiglu_bwd_case(*state, dy, gate, up, 1, n);
        if (n % 3 == 0) swiglu_bwd_case(*state, dy, gate, up, 3, n / 3);
        guard_free(&g);
    }
}

/* ---- Casts -------------------------------------------------------------------------------------- */

static uint16_t half_of(mn_dtype to, float f) {
    return to == MN_F16 ? mn_f32_to_f16(f) : mn_f32_to_bf16(f);
}

/* Every finite number between two neighbouring halves, at both and at the middle, and just beside;
 * and what is not finite. Bits of half.c, but any NaN will do for a NaN. */
static float *hard_numbers(guards *g, mn_dtype to, int64_t *n) {
    *n = 0x8000 * 5;
    float *x = guard_f32(g, *n);
    for (int64_t i = 0; i < 0x8000; i++) {
        const uint16_t low = (uint16_t)i, high = (uint16_t)(i + 1 < 0x8000 ? i + 1 : i);
        const float a = to == MN_F16 ? mn_f16_to_f32(low) : mn_bf16_to_f32(low);
        const float b = to == MN_F16 ? mn_f16_to_f32(high) : mn_bf16_to_f32(high);
        const float middle = isfinite(b) ? a + (b - a) / 2 : to == MN_F16 ? 65520 : FLT_MAX;
        const float five[] = {a, middle, nextafterf(middle, 0), nextafterf(middle, INFINITY),
                              -middle};
        memcpy(x + 5 * i, five, sizeof five);
    }
    guard_seal(g, x);
    return x;
}

static bool same_bits(mn_dtype type, const void *a, const void *b, int64_t i) {
    const float x = float_of(a, type, i), y = float_of(b, type, i);
    return (isnan(x) && isnan(y)) || (x == y && signbit(x) == signbit(y));
}

static void cast_case(const devices *all, mn_dtype to, mn_dtype from, const void *x, int64_t n) {
    char *want = test_malloc((size_t)n * mn_dtype_size(to) + 1);
    for (int64_t i = 0; i < n; i++) {
        const float f = float_of(x, from, i);
        const uint16_t h = half_of(to == MN_BF16 ? MN_BF16 : MN_F16, f);
        if (to == MN_F32) memcpy(want + i * 4, &f, sizeof f);
        else memcpy(want + i * 2, &h, sizeof h);
    }
    for (int d = 0; d < all->count; d++) {
        guards g = {0};
        const int64_t odd = n / 16 %
                            2; /* with one element more, the result begins elsewhere than x */
        mn_tensor ty = mn_tensor_1d(guard_bytes(&g, (size_t)(n + odd) * mn_dtype_size(to)), to, n);
        const mn_tensor tx = mn_tensor_1d((void *)(uintptr_t)x, from, n);
        MN_ASSERT_OK(mn_cast(all->dev[d], &ty, &tx));
        for (int64_t i = 0; i < n; i++)
            if (!same_bits(to, ty.data, want, i))
                fail_msg("%s: %s %a becomes %s %a", all->dev[d]->description, mn_dtype_name(from),
                         (double)float_of(x, from, i), mn_dtype_name(to),
                         (double)float_of(ty.data, to, i));
        guard_free(&g);
    }
    test_free(want);
}

static void test_cast(void **state) {
    static const mn_dtype types[] = {MN_F32, MN_F16, MN_BF16};
    for (int i = 0; i < SIZES; i++)
        for (int from = 0; from < 3; from++)
            for (int to = 0; to < 3; to++) {
                guards g = {0};
                uint64_t seed = (uint64_t)i;
                const void *x = guard_weights(&g, types[from], sizes[i], 2, &seed);
                cast_case(*state, types[to], types[from], x, sizes[i]);
                guard_free(&g);
            }
}

static void casts_round_every_number_to_nearest_even(void **state) {
    for (int to = MN_F16; to <= MN_BF16; to++) {
        guards g = {0};
        int64_t n;
        const float *x = hard_numbers(&g, (mn_dtype)to, &n);
        cast_case(*state, (mn_dtype)to, MN_F32, x, n);
        uint16_t *every = guard_bytes(&g, 65536 * sizeof *every);
        for (int i = 0; i < 65536; i++) every[i] = (uint16_t)i;
        for (int other = MN_F32; other <= MN_BF16; other++)
            cast_case(*state, (mn_dtype)other, (mn_dtype)to, every, 65536);
        guard_free(&g);
    }
}

/* ---- AdamW -------------------------------------------------------------------------------------- */

/* The formula of kernels.h, step by step in double. */
static void ref_adamw(double *p, double *m, double *v, double grad, const mn_adamw *s) {
    const double g = (double)s->grad_scale * grad, b1 = (double)s->beta1, b2 = (double)s->beta2;
    *p -= (double)s->lr * (double)s->decay * *p;
    *m = b1 * *m + (1 - b1) * g;
    *v = b2 * *v + (1 - b2) * g * g;
    *p -= (double)s->lr / (double)s->correction1 * *m /
          (sqrt(*v / (double)s->correction2) + (double)s->eps);
}

/* Errors of each result: m and v are sums of two rounded products, one of g and one of g^2 (1 - beta
 * is exact); the update has eight roundings of its own besides those of m and of the root of v. */
static void adamw_case(const devices *all, int64_t n, const mn_adamw *step) {
    guards g = {0};
    uint64_t seed = (uint64_t)n;
    const float *grad = guard_random(&g, n, 3, &seed);
    output p = output_open(&g, "adamw: parameters", n, true, &seed);
    output m = output_open(&g, "adamw: m", n, true, &seed);
    output v = output_open(&g, "adamw: v", n, true, &seed);
    float *squares = guard_f32(&g, n); /* v is not negative */
    for (int64_t i = 0; i < n; i++) {
        squares[i] = i % 5 ? v.before[i] * v.before[i] : 0;
        v.want[i] = (double)squares[i];
    }
    v.before = squares;
    for (int64_t i = 0; i < n; i++) {
        const double gi = fabs((double)step->grad_scale * (double)grad[i]), before = p.want[i];
        const double m0 = fabs(m.want[i]);
        ref_adamw(&p.want[i], &m.want[i], &v.want[i], (double)grad[i], step);
        m.bound[i] = 3 * unit * (m0 + (1 - (double)step->beta1) * gi);
        v.bound[i] = 5 * unit * v.want[i] + 0x1p-149;
        const double root = sqrt(v.want[i] / (double)step->correction2) + (double)step->eps;
        const double rate = (double)step->lr / (double)step->correction1;
        p.bound[i] = 4 * unit * fabs(before) +
                     rate / root * (m.bound[i] + 12 * unit * fabs(m.want[i]));
    }
    for (int d = 0; d < all->count; d++) {
        mn_tensor tp = flat(p.data, n), tm = flat(m.data, n), tv = flat(v.data, n);
        const mn_tensor tg = flat(grad, n);
        output_reset(&p);
        output_reset(&m);
        output_reset(&v);
        MN_ASSERT_OK(mn_adamw_step(all->dev[d], &tp, &tm, &tv, &tg, step));
        output_judge(&p, all->dev[d]);
        output_judge(&m, all->dev[d]);
        output_judge(&v, all->dev[d]);
    }
    output_close(&p);
    output_close(&m);
    output_close(&v);
    guard_free(&g);
}

static void test_adamw(void **state) {
    static const mn_adamw steps[] = {
        {.lr = 1e-3f,
         .beta1 = 0.9f,
         .beta2 = 0.999f,
         .eps = 1e-8f,
         .decay = 0.05f,
         .correction1 = 0.1f,
         .correction2 = 1e-3f,
         .grad_scale = 1},
        {.lr = 0.5f,
         .beta1 = 0.5f,
         .beta2 = 0.75f,
         .eps = 0.1f,
         .decay = 0,
         .correction1 = 1,
         .correction2 = 0.9f,
         .grad_scale = 0.25f},
        {.lr = 0,
         .beta1 = 0,
         .beta2 = 0.95f,
         .eps = 1e-6f,
         .decay = 1,
         .correction1 = 1,
         .correction2 = 1,
         .grad_scale = -2},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        for (int j = 0; j < SIZES; j++) adamw_case(*state, sizes[j], &steps[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MN_TESTED_MAP(MN_TEST_ROW) cmocka_unit_test(casts_round_every_number_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, devices_setup, devices_teardown);
}
