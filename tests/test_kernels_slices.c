/* test_kernels_slices.c - kernels over slices of a vocabulary, as ranks have them: what they say of a slice, and
 * that all slices together say what the whole does. */
#include "mneme/comm.h" /* parts that differ by one at most */
#include "mneme/ops.h"

#include "kernels/outputs.h"
#include "kernels/rows.h"
#include "oracle.h"
#include "oracle_bwd.h"

enum { DIM = 21, TOKENS = 70 };

/* Vocabulary, and into how many slices; the last two are more than a CUDA block keeps of a row. */
static const int64_t splits[][2] = {{1, 1},  {2, 2},    {5, 3},      {17, 2},    {33, 4},
                                    {67, 3}, {1025, 2}, {4099, 128}, {50304, 1}, {100608, 2}};
enum { SPLITS = sizeof splits / sizeof *splits };

static int32_t *random_ids(guards *g, int64_t count, int64_t vocab, uint64_t *state) {
    int32_t *id = guard_i32(g, count);
    for (int64_t i = 0; i < count; i++) id[i] = (int32_t)(random_bits(state) % (uint64_t)vocab);
    id[0] = (int32_t)vocab - 1;
    guard_seal(g, id);
    return id;
}

/* ---- Rows of a table ---------------------------------------------------------------------------- */

static void embed_case(const devices *all, mn_dtype dtype, int64_t vocab, int64_t begin,
                       int64_t count) {
    guards g = {0};
    uint64_t state = (uint64_t)(vocab + begin);
    const mn_id_range range = {begin, vocab};
    void *table = guard_weights(&g, dtype, count * DIM, 2, &state);
    const int32_t *ids = random_ids(&g, TOKENS, vocab, &state);
    float *x = guard_f32(&g, TOKENS * DIM);
    double *rows = doubles_of(table, dtype, count * DIM), *want = doubles(TOKENS * DIM);
    double *bound = doubles(TOKENS * DIM); /* all 0: exact */
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t c = 0; c < DIM && ids[t] >= begin && ids[t] < begin + count; c++)
            want[t * DIM + c] = rows[(ids[t] - begin) * DIM + c];
    verdict v = verdict_open("embed slice", want, bound, TOKENS * DIM);
    for (int d = 0; d < all->count; d++) {
        mn_tensor tx = mn_tensor_2d(x, MN_F32, TOKENS, DIM);
        const mn_tensor tt = mn_tensor_2d(table, dtype, count, DIM);
        const mn_tensor ti = mn_tensor_1d((void *)(uintptr_t)ids, MN_I32, TOKENS);
        memset(x, 0xFF, mn_tensor_bytes(&tx));
        MN_ASSERT_OK(mn_embed_fwd(all->dev[d], &tx, &tt, &ti, &range));
        verdict_on(&v, all->dev[d], x);
    }
    verdict_close(&v);
    test_free(rows);
    test_free(want);
    test_free(bound);
    guard_free(&g);
}

static void embed_bwd_case(const devices *all, int64_t vocab, int64_t begin, int64_t count) {
    guards g = {0};
    uint64_t state = (uint64_t)(vocab + begin);
    const mn_id_range range = {begin, vocab};
    float *dx = guard_random(&g, TOKENS * DIM, 2, &state);
    const int32_t *ids = random_ids(&g, TOKENS, vocab, &state);
    output table = output_open(&g, "embed slice gradient", count * DIM, true, &state);
    float *sum = test_malloc((size_t)(count * DIM) * sizeof *sum);
    memcpy(sum, table.before, (size_t)(count * DIM) * sizeof *sum);
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t c = 0; c < DIM && ids[t] >= begin && ids[t] < begin + count; c++)
            sum[(ids[t] - begin) * DIM + c] += dx[t * DIM + c];
    for (int64_t i = 0; i < count * DIM; i++) table.want[i] = (double)sum[i]; /* bounds: 0 */
    for (int d = 0; d < all->count; d++) {
        mn_tensor tt = mn_tensor_2d(table.data, MN_F32, count, DIM);
        const mn_tensor tx = mn_tensor_2d(dx, MN_F32, TOKENS, DIM);
        const mn_tensor ti = mn_tensor_1d((void *)(uintptr_t)ids, MN_I32, TOKENS);
        output_reset(&table);
        MN_ASSERT_OK(mn_embed_bwd(all->dev[d], &tt, &tx, &ti, &range));
        output_judge(&table, all->dev[d]);
    }
    test_free(sum);
    output_close(&table);
    guard_free(&g);
}

static void rows_of_other_slices_are_left_out(void **state) {
    for (int i = 0; i < SPLITS - 3; i++)
        for (int r = 0; r<splits[i][1]; r += splits[i][1]> 8 ? 31 : 1) {
            const int64_t begin = mn_part_begin(splits[i][0], r, (int)splits[i][1]);
            const int64_t count = mn_part_count(splits[i][0], r, (int)splits[i][1]);
            for (int dtype = MN_F32; dtype <= MN_BF16; dtype++)
                embed_case(*state, (mn_dtype)dtype, splits[i][0], begin, count);
            embed_bwd_case(*state, splits[i][0], begin, count);
        }
}

/* ---- Statistics --------------------------------------------------------------------------------- */

/* A slice of each row as a matrix of its own. */
static float *slice_of(guards *g, const float *logits, int64_t rows, int64_t vocab, int64_t begin,
                       int64_t count) {
    float *out = guard_f32(g, rows * count);
    for (int64_t r = 0; r < rows; r++)
        memcpy(out + r * count, logits + r * vocab + begin, (size_t)count * sizeof *out);
    return out;
}

/* Ids of a slice begin where it does; log-probabilities of others are 0. */
static void slices_count_from_where_they_begin(void **state) {
    const devices *all = *state;
    enum { ROWS = 3, V = 41, BEGIN = 100, TOTAL = 1000, N = 4 };
    guards g = {0};
    uint64_t seed = 3;
    const mn_id_range range = {BEGIN, TOTAL};
    float *logits = guard_random(&g, ROWS * V, 5, &seed), out[N];
    int32_t row[N] = {0, 1, 2, 2}, id[N] = {BEGIN - 1, BEGIN, BEGIN + V - 1, BEGIN + V};
    const mn_tensor tl = mn_tensor_2d(logits, MN_F32, ROWS, V);
    const mn_tensor tr = mn_tensor_1d(row, MN_I32, N), ti = mn_tensor_1d(id, MN_I32, N);
    mn_tensor to = mn_tensor_1d(out, MN_F32, N);
    for (int d = 0; d < all->count; d++) {
        mn_row_stat whole[ROWS], slice[ROWS];
        MN_ASSERT_OK(mn_row_stats(all->dev[d], whole, &tl, NULL));
        MN_ASSERT_OK(mn_row_stats(all->dev[d], slice, &tl, &range));
        for (int r = 0; r < ROWS; r++) {
            assert_int_equal(slice[r].best_id, whole[r].best_id + BEGIN);
            assert_true(slice[r].lse == whole[r].lse && slice[r].best == whole[r].best);
        }
        memset(out, 0xFF, sizeof out);
        MN_ASSERT_OK(mn_logprob_gather(all->dev[d], &to, &tl, slice, &tr, &ti, &range));
        assert_true(out[0] == 0 && out[3] == 0);
        assert_true(out[1] == logits[V] - slice[1].lse);
        assert_true(out[2] == logits[3 * V - 1] - slice[2].lse);
    }
    guard_free(&g);
}

/* Parts come rounded: each weighs by its share, so that all of them are off by the largest one's rounding at most. */
static void merge_case(const devices *all, int64_t rows, int64_t vocab, int64_t slices, double size,
                       double offset) {
    guards g = {0};
    uint64_t state = (uint64_t)(vocab + rows);
    mn_row_stat *parts = guard_bytes(&g, (size_t)(slices * rows) * sizeof *parts);
    mn_row_stat *stats = guard_bytes(&g, (size_t)rows * sizeof *stats);
    double *x = doubles(vocab), *want = doubles(rows), *bound = doubles(rows);
    float *lse = test_malloc((size_t)rows * sizeof *lse);
    int32_t *best = test_malloc((size_t)rows * sizeof *best);
    for (int64_t r = 0; r < rows; r++) {
        double most = 0;
        for (int64_t i = 0; i < vocab; i++) /* few values: the largest stands in several slices */
            x[i] = (double)(float)(offset + size * (double)(random_bits(&state) % 8));
        best[r] = 0;
        for (int32_t i = 1; i < vocab; i++) best[r] = x[i] > x[best[r]] ? i : best[r];
        for (int s = 0; s < slices; s++) {
            const int64_t begin = mn_part_begin(vocab, s, (int)slices);
            const int64_t count = mn_part_count(vocab, s, (int)slices);
            int64_t high = begin;
            for (int64_t i = begin; i < begin + count; i++) high = x[i] > x[high] ? i : high;
            mn_row_stat *p = &parts[s * rows + r];
            *p = (mn_row_stat){(float)ref_lse(x + begin, count), (float)x[high], (int32_t)high};
            most = fmax(most, fabs((double)p->lse));
        }
        want[r] = ref_lse(x, vocab);
        bound[r] = unit * (most + fabs(want[r])) + 1e-12;
    }
    guard_seal(&g, parts);
    verdict v = verdict_open("merged lse", want, bound, rows);
    for (int d = 0; d < all->count; d++) {
        memset(stats, 0xFF, (size_t)rows * sizeof *stats);
        MN_ASSERT_OK(mn_row_stats_merge(all->dev[d], stats, parts, slices, rows));
        for (int64_t r = 0; r < rows; r++) {
            assert_int_equal(stats[r].best_id, best[r]);
            lse[r] = stats[r].lse;
            float high = parts[r].best;
            for (int64_t s = 1; s < slices; s++) high = fmaxf(high, parts[s * rows + r].best);
            assert_true(stats[r].best == high);
        }
        verdict_on(&v, all->dev[d], lse);
    }
    verdict_close(&v);
    test_free(x);
    test_free(want);
    test_free(bound);
    test_free(lse);
    test_free(best);
    guard_free(&g);
}

static void test_row_stats_merge(void **state) {
    for (int i = 0; i < SPLITS; i++) {
        const int64_t rows = splits[i][0] > 1000 ? 3 : i % 2 ? 7 : 1100; /* blocks of 512 threads */
        merge_case(*state, rows, splits[i][0], splits[i][1], 0.5, 0);
        merge_case(*state, rows, splits[i][0], splits[i][1], 20, 0);
        merge_case(*state, rows, splits[i][0], splits[i][1], 1, -1e4);
        merge_case(*state, rows, splits[i][0], splits[i][1], 1e30, 0);
    }
}

/* In any slice, also where another one has larger numbers. */
static void a_broken_slice_spoils_its_row(void **state) {
    const devices *all = *state;
    enum { SLICES = 3, ROWS = 3 };
    for (int d = 0; d < all->count; d++)
        for (int s = 0; s < SLICES; s++)
            for (int r = 0; r < ROWS; r++) {
                mn_row_stat parts[SLICES * ROWS], stats[ROWS];
                for (int i = 0; i < SLICES * ROWS; i++)
                    parts[i] = (mn_row_stat){.lse = (float)i, .best = (float)i - 1, .best_id = i};
                parts[s * ROWS + r] = (mn_row_stat){.lse = NAN, .best = NAN};
                MN_ASSERT_OK(mn_row_stats_merge(all->dev[d], stats, parts, SLICES, ROWS));
                for (int i = 0; i < ROWS; i++) {
                    assert_true(isnan(stats[i].lse) == (i == r));
                    assert_true(isnan(stats[i].best) == (i == r));
                }
            }
}

/* ---- Loss --------------------------------------------------------------------------------------- */

typedef struct loss_test {
    int64_t rows, vocab, begin, count;
    double scale;
    const double *logits; /* (rows, vocab) */
    const mn_row_stat *stats;
    const int32_t *targets;
} loss_test;

/* A probability is off by exp's 4 units, those of its argument, and the rounding of the log-sum-exp. */
static void loss_oracle(const loss_test *t, output *loss, output *grad) {
    double *whole = doubles(t->vocab);
    for (int64_t r = 0; r < t->rows; r++) {
        const double *x = t->logits + r * t->vocab, lse = ref_lse(x, t->vocab);
        const int64_t target = t->targets[r] - t->begin;
        ref_cross_entropy_bwd(whole, x, t->targets[r], t->scale, t->vocab);
        for (int64_t i = 0; i < t->count; i++) {
            const double at = x[t->begin + i], want = whole[t->begin + i];
            grad->want[r * t->count + i] = want;
            grad->bound[r * t->count + i] = t->scale * (unit * exp(at - lse) *
                                                            (10 + fabs(at - lse) + 2 * fabs(lse)) +
                                                        0x1p-125) +
                                            (i == target ? unit * fabs(want) : 0);
        }
        if (target < 0 || target >= t->count) continue; /* exactly 0 */
        loss->want[r] = lse - x[t->targets[r]];
        loss->bound[r] = unit * (fabs(lse) + fabs(loss->want[r]));
    }
    test_free(whole);
}

static void loss_case(const devices *all, loss_test *t, const float *logits) {
    guards g = {0};
    uint64_t state = (uint64_t)(t->vocab + t->begin);
    const mn_id_range range = {t->begin, t->vocab};
    const float *mine = slice_of(&g, logits, t->rows, t->vocab, t->begin, t->count);
    output loss = output_open(&g, "loss of a slice", t->rows, false, &state);
    output grad = output_open(&g, "gradient of a slice", t->rows * t->count, false, &state);
    loss_oracle(t, &loss, &grad);
    for (int d = 0; d < all->count; d++) {
        mn_tensor tl = mn_tensor_1d(loss.data, MN_F32, t->rows);
        mn_tensor tg = mn_tensor_2d(grad.data, MN_F32, t->rows, t->count);
        const mn_tensor tt = mn_tensor_1d((void *)(uintptr_t)t->targets, MN_I32, t->rows);
        output_reset(&loss);
        memcpy(grad.data, mine, (size_t)(t->rows * t->count) * sizeof *mine);
        MN_ASSERT_OK(
            mn_cross_entropy_part(all->dev[d], &tl, &tg, t->stats, &tt, (float)t->scale, &range));
        output_judge(&loss, all->dev[d]);
        output_judge(&grad, all->dev[d]);
    }
    output_close(&loss);
    output_close(&grad);
    guard_free(&g);
}

static void loss_cases(const devices *all, int64_t rows, int64_t vocab, int64_t slices, double size,
                       double scale) {
    guards g = {0};
    uint64_t state = (uint64_t)(vocab + rows);
    float *logits = guard_random(&g, rows * vocab, size, &state);
    mn_row_stat *stats = guard_bytes(&g, (size_t)rows * sizeof *stats);
    double *x = doubles_of(logits, MN_F32, rows * vocab);
    for (int64_t r = 0; r < rows; r++)
        stats[r] = (mn_row_stat){.lse = (float)ref_lse(x + r * vocab, vocab)};
    guard_seal(&g, stats);
    loss_test t = {.rows = rows,
                   .vocab = vocab,
                   .scale = scale,
                   .logits = x,
                   .stats = stats,
                   .targets = random_ids(&g, rows, vocab, &state)};
    for (int s = 0; s<slices; s += slices> 8 ? 63 : 1) {
        t.begin = mn_part_begin(vocab, s, (int)slices);
        t.count = mn_part_count(vocab, s, (int)slices);
        loss_case(all, &t, logits);
    }
    test_free(x);
    guard_free(&g);
}

static void test_cross_entropy_part(void **state) {
    for (int i = 0; i < SPLITS; i++) {
        const int64_t rows = splits[i][0] > 5000 ? 2 : 5;
        loss_cases(*state, rows, splits[i][0], splits[i][1], 1, 1);
        loss_cases(*state, rows, splits[i][0], splits[i][1], 20, 0.0078125);
    }
}

/* The gradient of a row whose whole is broken is NaN in every slice. */
static void a_broken_row_has_no_gradient(void **state) {
    const devices *all = *state;
    enum { ROWS = 2, V = 9 };
    const mn_id_range range = {V, 2 * V};
    for (int d = 0; d < all->count; d++) {
        float x[ROWS * V] = {0}, loss[ROWS];
        const mn_row_stat stats[ROWS] = {{.lse = NAN}, {.lse = 3}};
        int32_t target[ROWS] = {V + 1, V + 1};
        mn_tensor tl = mn_tensor_1d(loss, MN_F32, ROWS), tx = mn_tensor_2d(x, MN_F32, ROWS, V);
        const mn_tensor tt = mn_tensor_1d(target, MN_I32, ROWS);
        MN_ASSERT_OK(mn_cross_entropy_part(all->dev[d], &tl, &tx, stats, &tt, 1, &range));
        assert_true(isnan(loss[0]) && loss[1] == 3);
        for (int i = 0; i < ROWS * V; i++) assert_true(isnan(x[i]) == (i < V));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MN_TESTED_SLICES(MN_TEST_ROW) cmocka_unit_test(rows_of_other_slices_are_left_out),
        cmocka_unit_test(slices_count_from_where_they_begin),
        cmocka_unit_test(a_broken_slice_spoils_its_row),
        cmocka_unit_test(a_broken_row_has_no_gradient),
    };
    return cmocka_run_group_tests(tests, devices_setup, devices_teardown);
}
