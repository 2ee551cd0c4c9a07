/* test_kernels_rope.c - rotary embedding, and what of k and v arrives in the cache. */
#include "kernels/cache.h"
#include "kernels/rows.h"

/* Every stored v, exactly: a query that sees one row gets that row. */
static void check_values(mn_device *dev, const store *s, mn_kv_layer kv) {
    guards g = {0};
    const int64_t heads = s->e.kv_heads, dim = s->e.dim, n = s->tokens * heads * dim;
    float *q = guard_f32(&g, n), *out = guard_f32(&g, n);
    mn_attn_seq *seqs = guard_bytes(&g, (size_t)s->tokens * sizeof *seqs);
    for (int64_t i = 0; i < n; i++) q[i] = (float)(i % 7);
    for (int32_t t = 0; t < s->tokens; t++)
        seqs[t] = (mn_attn_seq){.q_begin = t, .q_len = 1, .own_begin = s->row[t], .own_len = 1};
    guard_seal(&g, seqs);
    const mn_tensor tq = tensor_3d(q, s->tokens, heads, dim);
    mn_tensor to = tensor_3d(out, s->tokens, heads, dim);
    MN_ASSERT_OK(mn_attention_fwd(dev, &to, NULL, &tq, kv, seqs, s->tokens, 1, MN_COMPUTE_F32));
    for (int64_t i = 0; i < n; i++)
        if ((double)out[i] != s->v[s->row[i / (heads * dim)] * heads * dim + i % (heads * dim)])
            fail_msg("%s: stored value %lld is %g", dev->description, (long long)i, (double)out[i]);
    guard_free(&g);
}

/* Every stored k: token 0 has k = v = 0, all others v = 1. A query q = e_d / 2 that sees row 0 and
 * row r gets the logistic function of k[r][d] / 2. */
static void check_keys(mn_device *dev, const store *s, mn_kv_layer kv) {
    guards g = {0};
    const int64_t heads = s->e.kv_heads, dim = s->e.dim, queries = s->tokens * dim;
    float *q = guard_f32(&g, queries * heads * dim), *out = guard_f32(&g, queries * heads * dim);
    mn_attn_seq *seqs = guard_bytes(&g, (size_t)queries * sizeof *seqs);
    for (int64_t i = 0; i < queries * heads * dim; i++)
        q[i] = i % dim == i / (heads * dim) % dim ? 0.5f : 0.0f;
    for (int32_t i = 0; i < queries; i++)
        seqs[i] = (mn_attn_seq){.q_begin = i,
                                .q_len = 1,
                                .own_begin = s->row[i / dim],
                                .own_len = 1,
                                .shared_begin = {s->row[0]},
                                .shared_len = {1}};
    const mn_tensor tq = tensor_3d(q, queries, heads, dim);
    mn_tensor to = tensor_3d(out, queries, heads, dim);
    MN_ASSERT_OK(mn_attention_fwd(dev, &to, NULL, &tq, kv, seqs, queries, 1, MN_COMPUTE_F32));
    for (int64_t i = dim; i < queries; i++) /* token 0 sees only itself, twice */
        for (int64_t h = 0; h < heads; h++) {
            const double p = (double)out[(i * heads + h) * dim];
            const double got = 2 * log(p / (1 - p));
            const double want = s->k[(s->row[i / dim] * heads + h) * dim + i % dim];
            /* k itself 4 units, p about 8; the logit multiplies by 1 / (p (1 - p)) < 6, and 2 */
            if (!(fabs(got - want) <= 100 * unit))
                fail_msg("%s: stored key of token %lld, head %lld, %lld is %.8g, expected %.8g",
                         dev->description, (long long)(i / dim), (long long)h, (long long)(i % dim),
                         got, want);
        }
    guard_free(&g);
}

/* Checks q, and either all keys or all values of the cache. */
static void rope_case(const devices *all, const geometry *e, int64_t tokens, int64_t rows,
                      bool keys) {
    guards g = {0};
    store s;
    uint64_t state = (uint64_t)(e->dim * 10 + e->rotary + tokens);
    store_open(&s, &g, e, tokens, rows, false, &state);
    for (int64_t t = 0; keys && t < tokens; t++)
        for (int64_t h = 0; h < e->kv_heads; h++)
            for (int64_t d = 0; d < e->dim; d++) {
                float *row = s.qkv + t * s.layout.ld + h * s.layout.kv_stride + d;
                row[s.layout.v_begin] = t > 0;
                if (t == 0) row[s.layout.k_begin] = 0;
            }
    store_seal(&s, &g);
    const int64_t n = tokens * e->heads * e->dim;
    float *q = guard_f32(&g, n);
    double *bound = doubles(n); /* two products below 1 and their sum, each rounded */
    for (int64_t i = 0; i < n; i++) bound[i] = i % e->dim < e->rotary ? 4 * unit : 0;
    char what[64];
    snprintf(what, sizeof what, "rope: size %lld, rotary %lld, %s", (long long)e->dim,
             (long long)e->rotary, e->interleaved ? "interleaved" : "concatenated");
    verdict v = verdict_open(what, s.q, bound, n);
    for (int d = 0; d < all->count; d++) {
        guards own = {0};
        const mn_kv_layer kv = cache_open(&own, all->dev[d], &s);
        memset(q, 0xFF, (size_t)n * sizeof *q);
        MN_ASSERT_OK(store_run(all->dev[d], &s, q, kv));
        verdict_on(&v, all->dev[d], q);
        if (keys) check_keys(all->dev[d], &s, kv);
        else check_values(all->dev[d], &s, kv);
        guard_free(&own);
    }
    verdict_close(&v);
    test_free(bound);
    store_close(&s);
    guard_free(&g);
}

static void test_rope_store_fwd(void **state) {
    static const geometry cases[] = {
        {15, 2, 2, 14, true, 0},    {15, 3, 1, 6, false, 5}, {16, 2, 2, 16, true, 0},
        {16, 4, 2, 4, false, 1},    {20, 2, 2, 10, true, 3}, {64, 2, 2, 16, true, 0},
        {64, 4, 1, 64, false, 0},   {80, 2, 2, 20, true, 0}, {96, 2, 1, 0, false, 7},
        {128, 2, 1, 128, false, 0}, {1, 1, 1, 0, true, 0},   {2, 1, 1, 2, false, 0},
        {256, 1, 1, 64, true, 2}};
    static const int64_t tokens[] = {1, 5, 16, 19};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t n = tokens[i % 4], m = tokens[(i + 1) % 4] + 1;
        rope_case(*state, &cases[i], n, round16(n + 3), false);
        rope_case(*state, &cases[i], m, round16(m + 3), true);
    }
}

/* The number of rows of a cache is the caller's; mn_device.kv_bytes says what memory that takes. */
static void caches_of_any_number_of_rows(void **state) {
    static const geometry e = {20, 3, 3, 10, false, 0};
    for (int64_t rows = 1; rows <= 33; rows += rows == 2 || rows == 18 ? 13 : 1) {
        rope_case(*state, &e, rows, rows, false);
        rope_case(*state, &e, rows, rows, true);
    }
}

/* Tokens whose rows are neighbours may be stored together: the same bits as one by one. Whole blocks
 * lie behind a shifted beginning, before an incomplete end and in another order of rows. */
static void neighbours_case(mn_device *dev, const geometry *e, int64_t first_row) {
    enum { TOKENS = 16 * 3 + 5, ROWS = 96 };
    guards g = {0};
    store s;
    uint64_t state = (uint64_t)(e->dim + first_row);
    store_open(&s, &g, e, TOKENS, ROWS, false, &state);
    for (int32_t t = 0; t < TOKENS; t++) s.row[t] = (int32_t)first_row + t;
    for (int32_t t = 20; t < 24; t++) s.row[t] = (int32_t)first_row + 43 - t; /* 23 .. 20 */
    store_seal(&s, &g);
    const size_t bytes = dev->kv_bytes(ROWS, e->kv_heads, e->dim);
    const mn_kv_layer together = cache_open(&g, dev, &s), apart = cache_open(&g, dev, &s);
    float *q = guard_f32(&g, TOKENS * e->heads * e->dim);
    float *q_apart = guard_f32(&g, TOKENS * e->heads * e->dim);
    memset(together.k, 0, bytes);
    memset(together.v, 0, bytes);
    memset(apart.k, 0, bytes);
    memset(apart.v, 0, bytes);
    MN_ASSERT_OK(store_run(dev, &s, q, together));
    for (int64_t t = 0; t < TOKENS; t++) {
        store one = s;
        one.tokens = 1;
        one.qkv += t * s.layout.ld;
        one.position += t;
        one.row += t;
        MN_ASSERT_OK(store_run(dev, &one, q_apart + t * e->heads * e->dim, apart));
    }
    assert_memory_equal(together.k, apart.k, bytes);
    assert_memory_equal(together.v, apart.v, bytes);
    assert_memory_equal(q, q_apart, (size_t)(TOKENS * e->heads * e->dim) * sizeof *q);
    store_close(&s);
    guard_free(&g);
}

static void neighbours_are_stored_as_one_by_one(void **state) {
    static const geometry cases[] = {{16, 2, 2, 4, true, 0},     {20, 2, 2, 10, true, 0},
                                     {64, 2, 2, 16, true, 3},    {80, 3, 1, 20, false, 0},
                                     {128, 2, 2, 128, false, 0}, {272, 1, 1, 32, true, 0}};
    const devices *all = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int d = 0; d < all->count; d++)
            for (int64_t first = 0; first <= 32; first += i % 2 ? 16 : 11)
                neighbours_case(all->dev[d], &cases[i], first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MN_TESTED_ROPE(MN_TEST_ROW) cmocka_unit_test(caches_of_any_number_of_rows),
        cmocka_unit_test(neighbours_are_stored_as_one_by_one),
    };
    return cmocka_run_group_tests(tests, devices_setup, devices_teardown);
}
