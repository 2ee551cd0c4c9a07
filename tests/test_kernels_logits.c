/* test_kernels_logits.c - what is read off rows of logits: statistics, log-probabilities, samples. */
#include "mneme/ops.h"

#include "kernels/devices.h"
#include "kernels/rows.h"
#include "oracle.h"

static const int64_t vocabs[] = {1, 2, 15, 16, 17, 33, 1023, 1024, 1040, 50304};
enum { VOCABS = sizeof vocabs / sizeof *vocabs, ROWS = 7 };

/* The lse's error: every term exp(x - max) is 4 units off, of x - max itself 1 more, which weighs by
 * its share of the sum; up to 64 terms are added in fp32, the rest in double. */
static double lse_bound(const double *x, int64_t n, double lse) {
    double error = (4 + 64 + 8) * unit + 2 * unit * fabs(lse);
    for (int64_t i = 0; i < n; i++) error += 2 * unit * exp(x[i] - lse) * fabs(x[i] - lse);
    return error;
}

static void stats_case(const devices *all, int64_t vocab, double size, double offset) {
    guards g = {0};
    uint64_t state = (uint64_t)vocab;
    float *logits = guard_f32(&g, ROWS * vocab);
    mn_row_stat *stats = guard_bytes(&g, ROWS * sizeof *stats);
    for (int64_t i = 0; i < ROWS * vocab; i++)
        logits[i] = (float)(offset + size * (2 * random_unit(&state) - 1));
    guard_seal(&g, logits);
    double *x = doubles_of(logits, MN_F32, ROWS * vocab), want[ROWS], bound[ROWS];
    for (int64_t r = 0; r < ROWS; r++) {
        want[r] = ref_lse(x + r * vocab, vocab);
        bound[r] = lse_bound(x + r * vocab, vocab, want[r]);
    }
    verdict v = verdict_open("lse", want, bound, ROWS);
    for (int d = 0; d < all->count; d++) {
        const mn_tensor t = mn_tensor_2d(logits, MN_F32, ROWS, vocab);
        float lse[ROWS];
        memset(stats, 0xFF, ROWS * sizeof *stats);
        MN_ASSERT_OK(mn_row_stats(all->dev[d], stats, &t, NULL));
        for (int64_t r = 0; r < ROWS; r++) {
            const float *row = logits + r * vocab;
            int32_t best = 0;
            for (int32_t i = 1; i < vocab; i++)
                if (row[i] > row[best]) best = i;
            assert_int_equal(stats[r].best_id, best);
            assert_true(stats[r].best == row[best]);
            lse[r] = stats[r].lse;
        }
        verdict_on(&v, all->dev[d], lse);
    }
    verdict_close(&v);
    test_free(x);
    guard_free(&g);
}

static void test_row_stats(void **state) {
    for (int i = 0; i < VOCABS; i++) {
        stats_case(*state, vocabs[i], 1, 0);
        stats_case(*state, vocabs[i], 30, 0);
        stats_case(*state, vocabs[i], 1, -1e4);
        stats_case(*state, vocabs[i], 1e30, 0); /* one term counts, the others are 0 */
    }
}

static mn_row_stat stat_of(mn_device *dev, float *row, int64_t vocab) {
    mn_row_stat stat = {0};
    const mn_tensor t = mn_tensor_2d(row, MN_F32, 1, vocab);
    MN_ASSERT_OK(mn_row_stats(dev, &stat, &t, NULL));
    return stat;
}

/* The lower of two equal maxima is found, 0 and -0 being equal. */
static void tie_case(mn_device *dev, float *row, int n, int i, int j) {
    for (int k = 0; k < n; k++) row[k] = -1 - (float)k;
    row[i] = (i + j) % 2 ? 0.0f : -0.0f;
    row[j] = (i + j) % 3 ? 0.0f : -0.0f;
    assert_int_equal(stat_of(dev, row, n).best_id, i);
}

/* At any two places of a short row; in a long one also where a CUDA thread meets both, in single columns and in
 * groups of four. */
static void ties_go_to_the_lowest_id(void **state) {
    const devices *all = *state;
    static const int apart[] = {1, 3, 511, 512, 513, 1024, 2047, 2048, 2049, 4096};
    enum { N = 37, FOURS = 40, LONG = 4104 };
    float row[LONG];
    for (int d = 0; d < all->count; d++) {
        for (int n = N; n <= FOURS; n += FOURS - N)
            for (int i = 0; i < n; i++)
                for (int j = i; j < n; j++) tie_case(all->dev[d], row, n, i, j);
        for (int n = LONG - 1; n <= LONG; n++)
            for (size_t k = 0; k < sizeof apart / sizeof *apart; k++)
                for (int i = 0; i < 8 && i + apart[k] < n; i++)
                    tie_case(all->dev[d], row, n, i, i + apart[k]);
    }
    for (int k = 0; k < N; k++) row[k] = -3;
    assert_int_equal(stat_of(all->dev[0], row, N).best_id, 0);
}

/* NaN or an infinity anywhere: the row has no statistics, and says so. Its neighbours keep theirs. */
static void a_number_that_is_none_spoils_its_row(void **state) {
    const devices *all = *state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    enum { N = 37 };
    for (int d = 0; d < all->count; d++)
        for (int at = 0; at < N; at++)
            for (int b = 0; b < 3; b++) {
                float rows[3 * N] = {0};
                mn_row_stat stats[3];
                rows[N + at] = bad[b];
                const mn_tensor t = mn_tensor_2d(rows, MN_F32, 3, N);
                MN_ASSERT_OK(mn_row_stats(all->dev[d], stats, &t, NULL));
                assert_true(isnan(stats[1].lse) && isnan(stats[1].best));
                assert_in_range(stats[1].best_id, 0, N - 1);
                for (int r = 0; r < 3; r += 2)
                    assert_true(stats[r].best_id == 0 && stats[r].best == 0 &&
                                fabs((double)stats[r].lse - log(N)) < 1e-6);
            }
}

static void test_logprob_gather(void **state) {
    const devices *all = *state;
    enum { N = 23, M = 5 };
    for (int i = 0; i < VOCABS; i++) {
        guards g = {0};
        const int64_t vocab = vocabs[i];
        uint64_t seed = (uint64_t)vocab;
        float *logits = guard_random(&g, M * vocab, 9, &seed), *out = guard_f32(&g, N);
        mn_row_stat *stats = guard_bytes(&g, M * sizeof *stats);
        int32_t *row = guard_i32(&g, N), *id = guard_i32(&g, N);
        double want[N], bound[N];
        for (int r = 0; r < M; r++) stats[r] = (mn_row_stat){.lse = (float)r + 0.1f};
        for (int j = 0; j < N; j++) {
            row[j] = (int32_t)(random_bits(&seed) % M);
            id[j] = j == 0 ? (int32_t)vocab - 1 : (int32_t)(random_bits(&seed) % (uint64_t)vocab);
            want[j] = (double)logits[row[j] * vocab + id[j]] - (double)stats[row[j]].lse;
            bound[j] = unit * fabs(want[j]); /* one subtraction */
        }
        row[N - 1] = M - 1; /* the very last number */
        id[N - 1] = (int32_t)vocab - 1;
        want[N - 1] = (double)logits[M * vocab - 1] - (double)stats[M - 1].lse;
        bound[N - 1] = unit * fabs(want[N - 1]);
        guard_seal(&g, stats);
        guard_seal(&g, row);
        guard_seal(&g, id);
        verdict v = verdict_open("logprob", want, bound, N);
        for (int d = 0; d < all->count; d++) {
            mn_tensor to = mn_tensor_1d(out, MN_F32, N);
            const mn_tensor tl = mn_tensor_2d(logits, MN_F32, M, vocab);
            const mn_tensor tr = mn_tensor_1d(row, MN_I32, N), ti = mn_tensor_1d(id, MN_I32, N);
            memset(out, 0xFF, N * sizeof *out);
            MN_ASSERT_OK(mn_logprob_gather(all->dev[d], &to, &tl, stats, &tr, &ti, NULL));
            verdict_on(&v, all->dev[d], out);
        }
        verdict_close(&v);
        guard_free(&g);
    }
}

/* ---- Samples ------------------------------------------------------------------------------------ */

/* ids (rows) drawn with u (rows) from logits (rows, vocab) on one device */
static void draw(mn_device *dev, int32_t *ids, const float *logits, const float *u,
                 float temperature, int64_t rows, int64_t vocab) {
    mn_tensor ti = mn_tensor_1d(ids, MN_I32, rows);
    const mn_tensor tl = mn_tensor_2d((void *)(uintptr_t)logits, MN_F32, rows, vocab);
    const mn_tensor tu = mn_tensor_1d((void *)(uintptr_t)u, MN_F32, rows);
    MN_ASSERT_OK(mn_sample(dev, &ti, &tl, &tu, temperature));
}

/* The sum of probabilities below id, and with it; the drawn id's interval holds u. */
static void check_draw(const double *x, int64_t vocab, double temperature, double u, int32_t id) {
    double max = x[0], sum = 0, below = 0;
    if (id < 0 || id >= vocab) fail_msg("id %d of %lld", id, (long long)vocab);
    for (int64_t i = 0; i < vocab; i++) max = x[i] > max ? x[i] : max;
    for (int64_t i = 0; i < vocab; i++) sum += exp((x[i] - max) / temperature);
    for (int64_t i = 0; i < id; i++) below += exp((x[i] - max) / temperature) / sum;
    const double upto = below + exp((x[id] - max) / temperature) / sum;
    const double slack = 1e-12 * (double)vocab; /* sums in double, in any order */
    if (!(below <= u + slack && upto > u - slack))
        fail_msg("u %.9g drew id %d of %lld, which has %.9g to %.9g", u, id, (long long)vocab,
                 below, upto);
}

static void test_sample(void **state) {
    const devices *all = *state;
    enum { M = 9 };
    static const float temperatures[] = {1.0f, 0.3f, 3.0f, 1e-4f, 1e6f};
    for (int i = 0; i < VOCABS; i++) {
        guards g = {0};
        const int64_t vocab = vocabs[i];
        uint64_t seed = (uint64_t)vocab;
        float *logits = guard_random(&g, M * vocab, 5, &seed), *u = guard_f32(&g, M);
        int32_t *ids = guard_i32(&g, M), first[M];
        double *x = doubles_of(logits, MN_F32, M * vocab);
        for (int r = 0; r < M; r++) u[r] = (float)r / M;
        u[M - 1] = 1 - 0x1p-24f; /* the largest below 1 */
        guard_seal(&g, u);
        for (int t = 0; t < (vocab > 2000 ? 1 : 5); t++)
            for (int d = 0; d < all->count; d++) {
                memset(ids, 0xFF, M * sizeof *ids);
                draw(all->dev[d], ids, logits, u, temperatures[t], M, vocab);
                if (d == 0)
                    for (int r = 0; r < M; r++)
                        check_draw(x + r * vocab, vocab, (double)temperatures[t], (double)u[r],
                                   ids[r]);
                if (d == 0) memcpy(first, ids, sizeof first);
                assert_memory_equal(ids, first, sizeof first); /* whatever the instruction set */
            }
        test_free(x);
        guard_free(&g);
    }
}

/* u runs evenly over [0, 1): every id comes as often as its probability says, give or take one. */
static void samples_are_distributed_as_the_softmax(void **state) {
    const devices *all = *state;
    enum { N = 6, DRAWS = 6000 };
    static const float row[N] = {1.0f, -2.0f, 0.5f, -1000.0f, 3.0f, 0.0f};
    float *logits = test_malloc(sizeof(float) * N * DRAWS), *u = test_malloc(sizeof(float) * DRAWS);
    int32_t *ids = test_malloc(sizeof *ids * DRAWS);
    const double temperature = 2;
    double p[N], sum = 0;
    for (int i = 0; i < N; i++) sum += p[i] = exp((double)row[i] / temperature);
    for (int i = 0; i < DRAWS; i++) {
        memcpy(logits + (size_t)i * N, row, sizeof row);
        u[i] = ((float)i + 0.5f) / DRAWS;
    }
    for (int d = 0; d < all->count; d++) {
        int count[N] = {0};
        draw(all->dev[d], ids, logits, u, (float)temperature, DRAWS, N);
        for (int i = 0; i < DRAWS; i++) {
            assert_in_range(ids[i], 0, N - 1);
            count[ids[i]]++;
        }
        for (int i = 0; i < N; i++)
            if (fabs(count[i] - DRAWS * p[i] / sum) > 1)
                fail_msg("id %d came %d times, expected %.1f", i, count[i], DRAWS * p[i] / sum);
    }
    test_free(logits);
    test_free(u);
    test_free(ids);
}

/* An id whose probability is 0 is never drawn, not even at the ends of the range of u. */
static void impossible_ids_are_never_drawn(void **state) {
    const devices *all = *state;
    enum { N = 20 };
    float logits[2 * N];
    const float u[2] = {0, 1 - 0x1p-24f};
    for (int i = 0; i < 2 * N; i++) logits[i] = -2000;
    for (int r = 0; r < 2; r++)
        for (int i = 3; i < 17; i++) logits[r * N + i] = 10;
    for (int d = 0; d < all->count; d++) {
        int32_t ids[2];
        draw(all->dev[d], ids, logits, u, 1, 2, N);
        assert_int_equal(ids[0], 3);
        assert_int_equal(ids[1], 16);
    }
}

/* Rows with NaN are the caller's fault and found by row_stats; the id must still be an id. */
static void a_spoiled_row_draws_some_id(void **state) {
    const devices *all = *state;
    enum { N = 20 };
    float logits[N] = {0};
    const float u = 0.5f;
    logits[7] = NAN;
    for (int d = 0; d < all->count; d++) {
        int32_t id = -1;
        draw(all->dev[d], &id, logits, &u, 1, 1, N);
        assert_in_range(id, 0, N - 1);
    }
}

/* ---- Differences -------------------------------------------------------------------------------- */

static void test_row_difference(void **state) {
    const devices *all = *state;
    for (int i = 0; i < VOCABS; i++) {
        guards g = {0};
        const int64_t vocab = vocabs[i];
        uint64_t seed = (uint64_t)vocab;
        float *x = guard_random(&g, ROWS * vocab, 3, &seed);
        float *y = guard_random(&g, ROWS * vocab, 3, &seed), *out = guard_f32(&g, ROWS);
        double want[ROWS] = {0}, bound[ROWS];
        for (int64_t r = 0; r < ROWS; r++) {
            for (int64_t c = 0; c < vocab; c++)
                want[r] = fmax(want[r], fabs((double)x[r * vocab + c] - (double)y[r * vocab + c]));
            bound[r] = unit * want[r]; /* one subtraction */
        }
        verdict v = verdict_open("difference", want, bound, ROWS);
        for (int d = 0; d < all->count; d++) {
            mn_tensor to = mn_tensor_1d(out, MN_F32, ROWS);
            const mn_tensor tx = mn_tensor_2d(x, MN_F32, ROWS, vocab);
            const mn_tensor ty = mn_tensor_2d(y, MN_F32, ROWS, vocab);
            memset(out, 0xFF, ROWS * sizeof *out);
            MN_ASSERT_OK(mn_row_difference(all->dev[d], &to, &tx, &ty));
            verdict_on(&v, all->dev[d], out);
            MN_ASSERT_OK(mn_row_difference(all->dev[d], &to, &tx, &tx));
            for (int r = 0; r < ROWS; r++) assert_true(out[r] == 0);
        }
        verdict_close(&v);
        guard_free(&g);
    }
}

/* One number in one column, of either sign, is found wherever it stands; what is no number is, too. */
static void one_difference_is_found_anywhere(void **state) {
    const devices *all = *state;
    static const float values[] = {2.5f, -2.5f, NAN, INFINITY, -INFINITY};
    enum { N = 37 };
    for (int d = 0; d < all->count; d++)
        for (int at = 0; at < 2 * N; at++)
            for (int k = 0; k < 5; k++) {
                float x[2 * N] = {0}, y[2 * N] = {0}, out[2];
                mn_tensor to = mn_tensor_1d(out, MN_F32, 2);
                const mn_tensor tx = mn_tensor_2d(x, MN_F32, 2, N);
                const mn_tensor ty = mn_tensor_2d(y, MN_F32, 2, N);
                y[at] = values[k];
                MN_ASSERT_OK(mn_row_difference(all->dev[d], &to, &tx, &ty));
                assert_true(k < 2 ? out[at / N] == 2.5f : isnan(out[at / N]));
                assert_true(out[1 - at / N] == 0);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MN_TESTED_LOGITS(MN_TEST_ROW) cmocka_unit_test(ties_go_to_the_lowest_id),
        cmocka_unit_test(a_number_that_is_none_spoils_its_row),
        cmocka_unit_test(samples_are_distributed_as_the_softmax),
        cmocka_unit_test(impossible_ids_are_never_drawn),
        cmocka_unit_test(a_spoiled_row_draws_some_id),
        cmocka_unit_test(one_difference_is_found_anywhere),
    };
    return cmocka_run_group_tests(tests, devices_setup, devices_teardown);
}
