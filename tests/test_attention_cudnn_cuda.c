/* test_attention_cudnn_cuda.c - attention through cuDNN: packed texts into a dense batch and back, forward and
 * backward, against oracles that round to fp16 where cuDNN does. Calls that cuDNN does not take go to the
 * backend's own kernels. */
#include "kernels/attention_cases.h"

/* cuDNN's results are fp16; nothing else here is. */
static bool all_halves(const problem *p, const float *x, int64_t per, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (covered(p, i / per) && rounded((double)x[i]) != (double)x[i]) return false;
    return true;
}

static void round_all(double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = rounded(x[i]);
}

static void forward(mn_device *dev, const problem *p, const view *exact, const view *half) {
    const int64_t n = query_floats(p), nl = p->queries * p->heads;
    double *want = doubles(n), *other = doubles(n);
    float *out = test_malloc((size_t)n * sizeof *out), *lse = test_malloc((size_t)nl * sizeof *lse);
    ref_attention(want, exact->q, exact->k, exact->v, p->seqs, p->nseq, p->heads, p->kv_heads,
                  p->dim, (double)p->scale);
    forward_on(dev, p, false, out, lse);
    assert_true(dev->was_cudnn(dev));
    assert_true(all_halves(p, out, p->heads * p->dim, n));
    for (int64_t s = 0; s < p->nseq; s++)
        for (int64_t i = 0; i < p->seqs[s].q_len; i++)
            for (int64_t h = 0; h < p->heads; h++) {
                const int64_t at = (p->seqs[s].q_begin + i) * p->heads + h;
                row_view r = row_open(p, half, &p->seqs[s], i, h);
                half_row(other + at * p->dim, &r, half, p->dim);
                /* of the rounded inputs, in fp32 */
                if (!(fabs((double)lse[at] - r.lse) <= 1e-5 * (1 + fabs(r.lse))))
                    fail_msg("log-sum-exp %lld is %g, expected %g", (long long)at, (double)lse[at],
                             r.lse);
                row_close(&r);
            }
    round_all(other, n);
    judge_halves("attention by cuDNN", p, out, want, other, p->heads * p->dim, n);
    test_free(want);
    test_free(other);
    test_free(out);
    test_free(lse);
}

static void backward(mn_device *dev, const problem *p, const view *exact, const view *half) {
    const int64_t n = query_floats(p), nk = p->queries * p->kv_heads * p->dim;
    gradient_sums want = sums_open(p), other = sums_open(p);
    gradients got = gradients_open(p);
    float *out = test_malloc((size_t)n * sizeof *out);
    float *lse = test_malloc((size_t)(p->queries * p->heads) * sizeof *lse);
    forward_result(out, lse, p, half);
    ref_attention_bwd(want.dq, want.dk, want.dv, exact->dout, exact->q, exact->k, exact->v, p->seqs,
                      p->nseq, p->heads, p->kv_heads, p->dim, (double)p->scale);
    backward_on(dev, p, out, lse, &got);
    assert_true(dev->was_cudnn(dev));
    backward_sums(&other, p, half, out, true);
    round_all(other.dq, n);
    round_all(other.dk, nk);
    round_all(other.dv, nk);
    assert_true(all_halves(p, got.dq, p->heads * p->dim, n));
    judge_halves("dq by cuDNN", p, got.dq, want.dq, other.dq, p->heads * p->dim, n);
    judge_halves("dk by cuDNN", p, got.dk, want.dk, other.dk, p->kv_heads * p->dim, nk);
    judge_halves("dv by cuDNN", p, got.dv, want.dv, other.dv, p->kv_heads * p->dim, nk);
    sums_close(&want);
    sums_close(&other);
    gradients_close(&got);
    test_free(out);
    test_free(lse);
}

/* Two shapes in turn, the first of them again: a plan per shape. */
static void texts(void **state) {
    static const int32_t lens[][3] = {{40, 21, 17}, {65, 64, 100}, {33, 20, 18}};
    static const int64_t sizes[] = {64, 40, 128};
    mn_device *dev = *state;
    MN_ASSERT_OK(dev->attention(dev, true));
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
        for (size_t d = 0; d < sizeof sizes / sizeof *sizes; d++) {
            problem p = training_problem(sizes[d], 2, 2, lens[i], false);
            view exact = view_open(&p, false), half = view_open(&p, true);
            forward(dev, &p, &exact, &half);
            backward(dev, &p, &exact, &half);
            view_close(&exact);
            view_close(&half);
            problem_free(&p);
        }
    MN_ASSERT_OK(dev->attention(dev, false));
}

/* Grouped heads, odd head sizes, short texts and shared spans give the same bits with and without cuDNN. */
static void what_it_does_not_take(void **state) {
    static const int32_t lens[] = {40, 21, 17}, few[] = {40, 16, 17};
    mn_device *dev = *state;
    problem p[] = {training_problem(64, 4, 2, lens, false), training_problem(20, 2, 2, lens, false),
                   training_problem(64, 2, 2, few, false), forward_problem(64, 2, 2, 17, false)};
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) {
        const int64_t n = query_floats(&p[i]);
        float *out[2];
        for (int with = 0; with < 2; with++) {
            out[with] = test_malloc((size_t)n * sizeof(float));
            MN_ASSERT_OK(dev->attention(dev, with));
            forward_on(dev, &p[i], false, out[with], NULL);
            assert_false(dev->was_cudnn(dev));
        }
        assert_memory_equal(out[0], out[1], (size_t)n * sizeof(float));
        assert_false(all_halves(&p[i], out[0], p[i].heads * p[i].dim, n));
        test_free(out[0]);
        test_free(out[1]);
        problem_free(&p[i]);
    }
    MN_ASSERT_OK(dev->attention(dev, false));
}

/* Shapes that cuDNN refuses: the backend's own attention, forward and backward, and all others as before. */
static void no_plan(void **state) {
    static const int32_t lens[] = {40, 21, 17}, refused[] = {90, 21, 17};
    mn_device *dev = *state;
    if (!getenv("MNEME_TEST_SIMULATED")) {
        print_message("skipped: plans are refused by the simulated cuDNN only\n");
        skip();
    }
    MN_ASSERT_OK(dev->attention(dev, true));
    problem p = training_problem(64, 2, 2, lens, false),
            q = training_problem(64, 2, 2, refused, false);
    float *by_cudnn = test_malloc((size_t)query_floats(&p) * sizeof(float));
    float *out[2];
    forward_on(dev, &p, false, by_cudnn, NULL); /* has a plan from here on */
    assert_true(all_halves(&p, by_cudnn, p.heads * p.dim, query_floats(&p)));
    setenv("SIMGPU_CUDNN_NO_PLAN", "1", 1);
    for (int with = 1; with >= 0; with--) {
        out[with] = test_malloc((size_t)query_floats(&q) * sizeof(float));
        if (!with) MN_ASSERT_OK(dev->attention(dev, false));
        else forward_on(dev, &p, false, by_cudnn, NULL);
        forward_on(dev, &q, false, out[with], NULL);
        assert_false(dev->was_cudnn(dev));
    }
    unsetenv("SIMGPU_CUDNN_NO_PLAN");
    assert_memory_equal(out[0], out[1], (size_t)query_floats(&q) * sizeof(float));
    assert_false(all_halves(&q, out[1], q.heads * q.dim, query_floats(&q)));
    assert_true(all_halves(&p, by_cudnn, p.heads * p.dim, query_floats(&p)));
    test_free(out[0]);
    test_free(out[1]);
    test_free(by_cudnn);
    problem_free(&q);
    problem_free(&p);
}

static int setup(void **state) {
    remote_setup(state);
    mn_device *dev = *state;
    if (dev->attention(dev, true) == MN_OK) return 0;
    if (getenv("MNEME_TEST_SIMULATED")) return -1;
    print_message("skipped: %s\n", mn_error());
    exit(77);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts),
                                       cmocka_unit_test(what_it_does_not_take),
                                       cmocka_unit_test(no_plan)};
    return cmocka_run_group_tests(tests, setup, remote_teardown);
}
