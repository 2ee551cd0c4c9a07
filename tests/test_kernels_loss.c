/* test_kernels_loss.c - cross entropy and its gradient. */
#include "mneme/ops.h"

#include "kernels/outputs.h"
#include "kernels/rows.h"
#include "oracle.h"
#include "oracle_bwd.h"

typedef struct loss_test {
    int64_t rows, vocab;
    float scale;
    const float *logits;
    int32_t *targets;
    output loss, grad;
} loss_test;

/* A probability is off by exp's 4 units and half a unit of its argument, the distance from the
 * maximum: p * distance <= 0.37; so is their sum, and two products follow. Numbers below the
 * smallest normal one may become 0. */
static void loss_oracle(loss_test *t) {
    double *x = doubles_of(t->logits, MN_F32, t->rows * t->vocab);
    for (int64_t r = 0; r < t->rows; r++) {
        const double *row = x + r * t->vocab, scale = fabs((double)t->scale);
        const double lse = ref_lse(row, t->vocab);
        double *want = t->grad.want + r * t->vocab, high = -INFINITY;
        for (int64_t i = 0; i < t->vocab; i++) high = row[i] > high ? row[i] : high;
        t->loss.want[r] = lse - row[t->targets[r]];
        t->loss.bound[r] = 6 * unit + 2 * unit * fabs(t->loss.want[r]);
        ref_cross_entropy_bwd(want, row, t->targets[r], (double)t->scale, t->vocab);
        for (int64_t i = 0; i < t->vocab; i++) {
            const double p = exp(row[i] - lse);
            t->grad.bound[r * t->vocab + i] = scale *
                                                  (unit * p * (14 + (high - row[i])) + 0x1p-125) +
                                              (i == t->targets[r] ? unit * fabs(want[i]) : 0);
        }
    }
    test_free(x);
}

static void loss_case(const devices *all, int64_t rows, int64_t vocab, double size, float scale) {
    guards g = {0};
    uint64_t state = (uint64_t)(rows * 1000 + vocab);
    const int64_t n = rows * vocab;
    loss_test t = {.rows = rows,
                   .vocab = vocab,
                   .scale = scale,
                   .logits = guard_random(&g, n, size, &state),
                   .targets = guard_i32(&g, rows)};
    for (int64_t r = 0; r < rows; r++)
        t.targets[r] = (int32_t)(random_bits(&state) % (uint64_t)vocab);
    t.targets[0] = (int32_t)vocab - 1;
    guard_seal(&g, t.targets);
    char what[80];
    snprintf(what, sizeof what, "cross entropy of %lld x %lld up to %g", (long long)rows,
             (long long)vocab, size);
    t.loss = output_open(&g, what, rows, false, &state);
    t.grad = output_open(&g, what, n, false, &state);
    loss_oracle(&t);
    for (int d = 0; d < all->count; d++) {
        mn_tensor loss = mn_tensor_1d(t.loss.data, MN_F32, rows);
        mn_tensor logits = mn_tensor_2d(t.grad.data, MN_F32, rows, vocab);
        const mn_tensor targets = mn_tensor_1d(t.targets, MN_I32, rows);
        output_reset(&t.loss);
        memcpy(t.grad.data, t.logits, (size_t)n * sizeof(float));
        MN_ASSERT_OK(mn_cross_entropy(all->dev[d], &loss, &logits, &targets, scale));
        output_judge(&t.loss, all->dev[d]);
        output_judge(&t.grad, all->dev[d]);
    }
    output_close(&t.loss);
    output_close(&t.grad);
    guard_free(&g);
}

/* The long rows are more than a CUDA block keeps in registers, and more than it keeps at all. */
static void test_cross_entropy(void **state) {
    static const int64_t shapes[][2] = {{1, 1},     {1, 2},     {3, 15},   {7, 16},   {2, 17},
                                        {5, 33},    {4, 1023},  {3, 1024}, {2, 1025}, {3, 50304},
                                        {1, 33003}, {1, 60001}, {1, 60004}};
    static const double sizes[] = {1, 20, 1e4}; /* of logits: also where most weights are 0 */
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int j = 0; j < 3; j++)
            loss_case(*state, shapes[i][0], shapes[i][1], sizes[j], j == 1 ? 1 : 0.01f);
}

/* The other rows stay what they are without it. */
static void a_row_that_is_not_finite_has_no_loss(void **state) {
    const devices *all = *state;
    enum { ROWS = 4, VOCAB = 37 };
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int d = 0; d < all->count; d++)
        for (int i = 0; i < 3 * VOCAB; i++) {
            float x[ROWS * VOCAB], loss[ROWS];
            int32_t target[ROWS] = {0, 1, 2, 3};
            for (int j = 0; j < ROWS * VOCAB; j++) x[j] = (float)(j % 7);
            x[2 * VOCAB + i / 3] = bad[i % 3];
            mn_tensor tl = mn_tensor_1d(loss, MN_F32, ROWS);
            mn_tensor tx = mn_tensor_2d(x, MN_F32, ROWS, VOCAB);
            const mn_tensor tt = mn_tensor_1d(target, MN_I32, ROWS);
            MN_ASSERT_OK(mn_cross_entropy(all->dev[d], &tl, &tx, &tt, 1));
            for (int r = 0; r < ROWS; r++) assert_true(isnan(loss[r]) == (r == 2));
            for (int j = 0; j < ROWS * VOCAB; j++) assert_true(j / VOCAB == 2 || isfinite(x[j]));
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MN_TESTED_LOSS(MN_TEST_ROW) cmocka_unit_test(a_row_that_is_not_finite_has_no_loss),
    };
    return cmocka_run_group_tests(tests, devices_setup, devices_teardown);
}
