/* test_kernels_attention.c - attention of packed sequences: head sizes, lengths at the edges of the
 * chunks, shared spans, chunked prefills, scores of any size. */
#include "kernels/cache.h"
#include "kernels/outputs.h"
#include "kernels/rows.h"

/* What every case stores besides its sequences' own rows: two odd spans that sequences share. */
enum { A_BEGIN = 3, A_LEN = 29, B_BEGIN = 37, B_LEN = 51, OWN_BEGIN = 93, SEQS = 4 };

typedef struct batch {
    mn_attn_seq *seqs;
    int64_t queries, rows;
} batch;

/* Query 0 belongs to nobody. The sequences' queries lie in the batch in another order than the
 * sequences: a plain one, one behind two shared spans, a later chunk behind one, a single query. */
static batch make_batch(guards *g, int32_t len) {
    const int32_t chunk = (len + 2) / 3;
    mn_attn_seq *s = guard_bytes(g, SEQS * sizeof *s);
    s[0] = (mn_attn_seq){
        .q_begin = 2 + chunk, .q_len = len, .own_begin = OWN_BEGIN, .own_len = len};
    s[1] = (mn_attn_seq){.q_begin = 2 + chunk + len,
                         .q_len = len,
                         .shared_begin = {A_BEGIN, B_BEGIN},
                         .shared_len = {A_LEN, B_LEN},
                         .own_begin = OWN_BEGIN + len,
                         .own_len = len};
    s[2] = (mn_attn_seq){.q_begin = 1,
                         .q_len = chunk,
                         .shared_begin = {7, A_BEGIN},
                         .shared_len = {0, A_LEN},
                         .own_begin = OWN_BEGIN + 2 * len,
                         .own_len = len};
    s[3] = (mn_attn_seq){.q_begin = 1 + chunk,
                         .q_len = 1,
                         .shared_begin = {B_BEGIN, A_BEGIN},
                         .shared_len = {B_LEN, 1},
                         .own_begin = OWN_BEGIN + 3 * len,
                         .own_len = 1};
    guard_seal(g, s);
    return (batch){.seqs = s, .queries = 2 + chunk + 2 * len, .rows = OWN_BEGIN + 3 * len + 1};
}

/* The mask of one query: which rows it may see, by the words of kernels.h. The oracle's list must
 * be the same: this checks the checker. */
static void check_mask(const mn_attn_seq *s, int64_t query) {
    int64_t seen = 0;
    for (int64_t i = 0; ref_visible(s, query, i) >= 0; i++) seen++;
    assert_int_equal(seen, s->shared_len[0] + s->shared_len[1] + s->own_len - s->q_len + query + 1);
    assert_int_equal(ref_visible(s, query, seen - 1), s->own_begin + s->own_len - s->q_len + query);
    if (s->shared_len[1])
        assert_int_equal(ref_visible(s, query, s->shared_len[0]), s->shared_begin[1]);
}

/* Errors of a score: those of the sum, and 4 units of each rotated key; they and exp's error change
 * every weight by that share, and the two sums over the keys add theirs. Exact scores have none.
 * Weights below the smallest normal number may be 0. size = sum of weight x |v|, the oracle's result for |v|.
 * In bf16 each weight is rounded to 8 bits before it is multiplied, an error of up to 2^-8 of it. */
static void attention_bound(double *bound, const store *s, const batch *b, const double *q,
                            double scale, bool exact, mn_compute compute) {
    const double rounding = compute == MN_COMPUTE_BF16 ? 0x1p-8 : 0;
    const int64_t dim = s->e.dim, heads = s->e.heads, per = heads / s->e.kv_heads;
    const int64_t count = s->rows * s->e.kv_heads * dim;
    double *v = doubles(count), *size = doubles(b->queries * heads * dim);
    for (int64_t i = 0; i < count; i++) v[i] = fabs(s->v[i]);
    ref_attention(size, q, s->k, v, b->seqs, SEQS, heads, s->e.kv_heads, dim, scale);
    for (int64_t n = 0; n < SEQS; n++)
        for (int64_t i = 0; i < b->seqs[n].q_len; i++)
            for (int64_t h = 0; h < heads; h++) {
                const double *x = q + ((b->seqs[n].q_begin + i) * heads + h) * dim;
                double largest = 0, turned = 0, tiny = 0;
                int64_t keys = 0;
                for (int64_t row; (row = ref_visible(&b->seqs[n], i, keys)) >= 0; keys++) {
                    double sum = 0;
                    for (int64_t d = 0; d < dim; d++)
                        sum += fabs(x[d] * s->k[(row * s->e.kv_heads + h / per) * dim + d]);
                    largest = sum > largest ? sum : largest;
                    tiny += 25 * 0x1p-126; /* no |v| is above 25 */
                }
                for (int64_t d = 0; d < dim; d++) turned += fabs(x[d]);
                const double score = exact ? 0
                                           : scale * (sum_bound(dim) * largest + 4 * unit * turned);
                for (int64_t d = 0; d < dim; d++) {
                    const int64_t at = ((b->seqs[n].q_begin + i) * heads + h) * dim + d;
                    bound[at] = size[at] * (2 * (score + sum_bound(keys)) + rounding) + tiny;
                }
            }
    test_free(v);
    test_free(size);
}

/* log-sum-exp of a query's scores. It is off by a score's error, by the roundings of the sum of the
 * weights, and by its own. */
static void lse_oracle(output *lse, const store *s, const batch *b, const double *q, double scale,
                       bool exact) {
    const int64_t dim = s->e.dim, heads = s->e.heads, per = heads / s->e.kv_heads;
    double *scores = doubles(b->rows);
    for (int64_t n = 0; n < SEQS; n++)
        for (int64_t i = 0; i < b->seqs[n].q_len; i++)
            for (int64_t h = 0; h < heads; h++) {
                const int64_t at = (b->seqs[n].q_begin + i) * heads + h;
                const double *x = q + at * dim;
                double largest = 0, turned = 0;
                int64_t keys = 0;
                for (int64_t row; (row = ref_visible(&b->seqs[n], i, keys)) >= 0; keys++) {
                    const double *k = s->k + (row * s->e.kv_heads + h / per) * dim;
                    double sum = 0;
                    scores[keys] = 0;
                    for (int64_t d = 0; d < dim; d++) {
                        scores[keys] += scale * x[d] * k[d];
                        sum += fabs(x[d] * k[d]);
                    }
                    largest = sum > largest ? sum : largest;
                }
                for (int64_t d = 0; d < dim; d++) turned += fabs(x[d]);
                lse->want[at] = ref_lse(scores, keys);
                lse->bound[at] = (exact ? 0
                                        : scale * (sum_bound(dim) * largest + 4 * unit * turned)) +
                                 sum_bound(keys) + 2 * unit * fabs(lse->want[at]);
            }
    test_free(scores);
}

static void attention_on(mn_device *dev, float *out, float *lse, const float *q, const store *s,
                         const batch *b, mn_kv_layer kv, double scale, mn_compute compute) {
    const mn_tensor tq = tensor_3d((void *)(uintptr_t)q, b->queries, s->e.heads, s->e.dim);
    mn_tensor to = tensor_3d(out, b->queries, s->e.heads, s->e.dim);
    mn_tensor tl = mn_tensor_2d(lse, MN_F32, b->queries, s->e.heads);
    MN_ASSERT_OK(mn_attention_fwd(dev, &to, lse ? &tl : NULL, &tq, kv, b->seqs, SEQS, (float)scale,
                                  compute));
}

/* Cache rows that no token was stored to hold NaN: nobody may see them. In bf16 the inputs are whole
 * numbers that bf16 holds, and the scale is a power of two: scores are exact, only weights are rounded. */
static void attention_case(const devices *all, const geometry *e, int32_t len, bool exact,
                           mn_compute compute) {
    guards g = {0};
    store s;
    uint64_t state = (uint64_t)(e->dim * 1000 + len);
    const batch b = make_batch(&g, len);
    store_open(&s, &g, e, b.rows, round16(b.rows), exact, &state);
    for (int32_t t = 0; t < s.tokens; t++) { /* rows 0.. in any order, none behind the last */
        const int32_t other = (int32_t)(random_bits(&state) % (uint64_t)(t + 1));
        s.row[t] = s.row[other];
        s.row[other] = t;
    }
    store_seal(&s, &g);
    const int64_t n = b.queries * e->heads * e->dim, own = e->heads * e->dim;
    const double scale = compute == MN_COMPUTE_BF16 ? 0x1p-10
                         : exact                    ? 1
                                                    : 1 / sqrt((double)e->dim);
    float *q = guard_f32(&g, n), *out = guard_f32(&g, n);
    for (int64_t i = 0; i < n; i++) {
        const double x = 2 * random_unit(&state) - 1;
        q[i] = (float)(exact ? rint(25 * x) : 2 * x);
    }
    guard_seal(&g, q);
    double *dq = doubles_of(q, MN_F32, n), *want = doubles(n), *bound = doubles(n);
    ref_attention(want, dq, s.k, s.v, b.seqs, SEQS, e->heads, e->kv_heads, e->dim, scale);
    attention_bound(bound, &s, &b, dq, scale, exact, compute);
    output lse = output_open(&g, "lse", b.queries * e->heads, false, &state);
    lse_oracle(&lse, &s, &b, dq, scale, exact);
    char what[96];
    snprintf(what, sizeof what, "head size %lld, %lld heads on %lld, %d queries%s",
             (long long)e->dim, (long long)e->heads, (long long)e->kv_heads, len,
             compute == MN_COMPUTE_BF16 ? ", bf16"
             : exact                    ? ", exact"
                                        : "");
    verdict v = verdict_open(what, want + own, bound + own, n - own);
    for (int d = 0; d < all->count; d++) {
        guards mine = {0};
        mn_device *dev = all->dev[d];
        const mn_kv_layer kv = cache_open(&mine, dev, &s);
        float *rotated = guard_f32(&mine, s.tokens * own);
        MN_ASSERT_OK(store_run(dev, &s, rotated, kv));
        guard_seal(&mine, kv.k);
        guard_seal(&mine, kv.v);
        memset(out, 0xFF, (size_t)n * sizeof *out);
        output_reset(&lse);
        attention_on(dev, out, lse.data, q, &s, &b, kv, scale, compute);
        for (int64_t i = 0; i < own; i++) assert_true(isnan(out[i])); /* nobody's query */
        verdict_on(&v, dev, out + own);
        for (int64_t h = 0; h < e->heads; h++) {
            assert_true(isnan(lse.data[h]));
            lse.data[h] = 0; /* as the oracle has it */
        }
        output_judge(&lse, dev);
        if (dev->threads == MAX_TEST_THREADS) { /* out may be q, and lse may be left out */
            memcpy(out, q, (size_t)n * sizeof *out);
            attention_on(dev, out, NULL, out, &s, &b, kv, scale, compute);
            assert_memory_equal(out + own, v.first, (size_t)(n - own) * sizeof *out);
        }
        guard_free(&mine);
    }
    for (int i = 0; i < SEQS; i++)
        for (int64_t j = 0; j < b.seqs[i].q_len; j++) check_mask(&b.seqs[i], j);
    verdict_close(&v);
    output_close(&lse);
    double *const used[] = {dq, want, bound};
    for (size_t i = 0; i < sizeof used / sizeof *used; i++) test_free(used[i]);
    store_close(&s);
    guard_free(&g);
}

static void test_attention_fwd(void **state) {
    static const int64_t sizes[] = {15, 16, 20, 64, 80, 96, 128, 256, 1};
    static const int64_t groups[][2] = {{2, 2}, {4, 2}, {1, 1}, {3, 1}, {6, 3}};
    static const int32_t lengths[] = {1, 15, 16, 17, 63, 64, 65, 200};
    unsigned i = 0;
    for (size_t d = 0; d < sizeof sizes / sizeof *sizes; d++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++, i++) {
            const int64_t *group = groups[lengths[l] == 200 ? 2 : i % 5];
            const geometry e = {.dim = sizes[d],
                                .heads = group[0],
                                .kv_heads = group[1],
                                .rotary = sizes[d] / 2 / (i % 3 + 1) * 2 % (sizes[d] + 1),
                                .interleaved = group[0] == group[1],
                                .padding = i % 4};
            attention_case(*state, &e, lengths[l], false, MN_COMPUTE_F32);
        }
}

/* Scores of whole numbers up to +-1e5 and more: exact, so nothing excuses an error, and exp must
 * not overflow. Softmax is then nearly a choice of one row. */
static void scores_of_any_size(void **state) {
    static const int64_t sizes[] = {15, 64, 256};
    static const int32_t lengths[] = {1, 17, 65, 130};
    for (size_t d = 0; d < 3; d++)
        for (size_t l = 0; l < 4; l++) {
            const geometry e = {.dim = sizes[d], .heads = 2, .kv_heads = 1, .padding = 1};
            attention_case(*state, &e, lengths[l], true, MN_COMPUTE_F32);
        }
}

static void inputs_rounded_to_bf16(void **state) {
    static const int64_t sizes[] = {1, 15, 20, 64, 80, 128, 256};
    static const int32_t lengths[] = {1, 2, 15, 17, 48, 49, 65, 130};
    for (size_t d = 0; d < sizeof sizes / sizeof *sizes; d++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            const geometry e = {
                .dim = sizes[d], .heads = 2, .kv_heads = 1 + (int64_t)(d + l) % 2, .padding = 1};
            attention_case(*state, &e, lengths[l], true, MN_COMPUTE_BF16);
        }
}

/* A row of keys that grows: the maximum moves with every chunk, by 1e4 in all, up or down. */
static void maxima_that_move(void **state) {
    const devices *all = *state;
    enum { KEYS = 200, DIM = 16 };
    const geometry e = {.dim = DIM, .heads = 1, .kv_heads = 1};
    for (int down = 0; down < 2; down++) {
        guards g = {0};
        store s;
        uint64_t seed = 1;
        store_open(&s, &g, &e, KEYS, round16(KEYS), false, &seed);
        for (int32_t t = 0; t < KEYS; t++) {
            float *row = s.qkv + t * s.layout.ld;
            for (int i = 0; i < 3 * DIM; i++) row[i] = 0;
            s.row[t] = t;
            row[DIM] = (float)(down ? KEYS - t : t) * 50 - 5000;
            row[2 * DIM] = (float)t;
        }
        store_seal(&s, &g);
        float *q = guard_f32(&g, DIM), *out = guard_f32(&g, DIM),
              *rotated = guard_f32(&g, KEYS * DIM);
        for (int i = 0; i < DIM; i++) q[i] = 1;
        for (int d = 0; d < all->count; d++) {
            guards mine = {0};
            const mn_kv_layer kv = cache_open(&mine, all->dev[d], &s);
            const mn_attn_seq seq = {.q_len = 1, .own_len = KEYS};
            const mn_tensor tq = tensor_3d(q, 1, 1, DIM);
            mn_tensor to = tensor_3d(out, 1, 1, DIM);
            MN_ASSERT_OK(store_run(all->dev[d], &s, rotated, kv));
            MN_ASSERT_OK(
                mn_attention_fwd(all->dev[d], &to, NULL, &tq, kv, &seq, 1, 1, MN_COMPUTE_F32));
            /* the next best row has weight e^-50 */
            assert_true(fabsf(out[0] - (float)(down ? 0 : KEYS - 1)) < 1e-4f && out[1] == 0);
            guard_free(&mine);
        }
        store_close(&s);
        guard_free(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MN_TESTED_ATTENTION(MN_TEST_ROW) cmocka_unit_test(scores_of_any_size),
        cmocka_unit_test(inputs_rounded_to_bf16),
        cmocka_unit_test(maxima_that_move),
    };
    return cmocka_run_group_tests(tests, devices_setup, devices_teardown);
}
