/* test_kernels_bwd_attention.c - gradients of attention and of the rotary embedding. */
#include "kernels/cache.h"
#include "kernels/outputs.h"
#include "kernels/rows.h"
#include "oracle_bwd.h"

enum { SEQS = 3 };

/* Query 0 and the last one belong to nobody. Queries and rows lie in opposite orders; between the
 * sequences' rows, at odd places, are rows that nobody stored: NaN. */
typedef struct batch {
    mn_attn_seq seqs[SEQS];
    int64_t queries, rows, stored;
} batch;

static batch make_batch(int32_t len) {
    const int32_t lens[SEQS] = {len, len / 2 + 1, 1};
    batch b = {.queries = 1, .rows = 5};
    for (int i = SEQS - 1; i >= 0; i--) {
        b.seqs[i].q_begin = (int32_t)b.queries;
        b.queries += lens[i];
    }
    for (int i = 0; i < SEQS; i++) {
        b.seqs[i].own_begin = (int32_t)b.rows;
        b.seqs[i].q_len = b.seqs[i].own_len = lens[i];
        b.rows += lens[i] + 3;
        b.stored += lens[i];
    }
    b.queries++;
    return b;
}

typedef struct attention_test {
    batch b;
    store s;
    float scale;
    const float *q, *dout, *out, *lse;
    double *dq_in, *ddout, *dout_size;
    output dq, dk, dv, delta;
} attention_test;

static int64_t query_count(const attention_test *t) {
    return t->b.queries * t->s.e.heads * t->s.e.dim;
}

/* The oracle's output and log-sum-exp, rounded, as a forward pass would have left them; what belongs
 * to nobody is NaN. */
static void forward(attention_test *t, guards *g) {
    const geometry *e = &t->s.e;
    const int64_t n = query_count(t);
    double *want = doubles(n), *scores = doubles(t->b.queries);
    float *out = guard_f32(g, n), *lse = guard_f32(g, t->b.queries * e->heads);
    ref_attention(want, t->dq_in, t->s.k, t->s.v, t->b.seqs, SEQS, e->heads, e->kv_heads, e->dim,
                  (double)t->scale);
    for (int k = 0; k < SEQS; k++)
        for (int64_t i = 0; i < t->b.seqs[k].q_len; i++)
            for (int64_t h = 0; h < e->heads; h++) {
                const int64_t at = (t->b.seqs[k].q_begin + i) * e->heads + h;
                const int64_t group = h / (e->heads / e->kv_heads);
                for (int64_t j = 0; j <= i; j++) {
                    const int64_t key = (t->b.seqs[k].own_begin + j) * e->kv_heads + group;
                    scores[j] = 0;
                    for (int64_t d = 0; d < e->dim; d++)
                        scores[j] += (double)t->scale * t->dq_in[at * e->dim + d] *
                                     t->s.k[key * e->dim + d];
                }
                lse[at] = (float)ref_lse(scores, i + 1);
                for (int64_t d = 0; d < e->dim; d++)
                    out[at * e->dim + d] = (float)want[at * e->dim + d];
            }
    guard_seal(g, out);
    guard_seal(g, lse);
    t->out = out;
    t->lse = lse;
    test_free(want);
    test_free(scores);
}

/* One query's part. A probability is off by its score's error, the rounding of lse, and exp's 4 units;
 * dp and delta by that of their sums, delta also by the rounding of `out`. What is summed over keys or
 * queries adds its own roundings. */
static void query_bound(attention_test *t, const mn_attn_seq *seq, int64_t i, int64_t h) {
    const geometry *e = &t->s.e;
    const int64_t dim = e->dim, group = h / (e->heads / e->kv_heads);
    const int64_t at = (seq->q_begin + i) * e->heads + h;
    const double *q = t->dq_in + at * dim, *dout = t->ddout + at * dim, scale = (double)t->scale;
    const double sums = sum_bound((seq->q_len + 1) * e->heads / e->kv_heads);
    double delta = 0;
    for (int64_t d = 0; d < dim; d++) {
        delta += fabs(dout[d] * (double)t->out[at * dim + d]);
        t->delta.want[at] += dout[d] * (double)t->out[at * dim + d];
    }
    t->delta.bound[at] = sum_bound(dim) * delta;
    for (int64_t j = 0; j <= i; j++) {
        const double *k = t->s.k + ((seq->own_begin + j) * e->kv_heads + group) * dim;
        const double *v = t->s.v + ((seq->own_begin + j) * e->kv_heads + group) * dim;
        const int64_t to = ((seq->q_begin + j) * e->kv_heads + group) * dim;
        double score = 0, size = 0, dp = 0;
        for (int64_t d = 0; d < dim; d++) {
            score += scale * q[d] * k[d];
            size += fabs(scale * q[d] * k[d]);
            dp += fabs(dout[d] * v[d]);
        }
        const double lse = (double)t->lse[at], p = exp(score - lse);
        const double ep = sum_bound(dim) * size + unit * (8 + 2 * fabs(lse) + fabs(score - lse));
        const double ds = scale * p * (dp + delta);
        const double eds = scale * p * (ep + sum_bound(dim) + 4 * unit) * (dp + delta);
        for (int64_t d = 0; d < dim; d++) {
            t->dq.bound[at * dim + d] += (eds + ds * sums) * fabs(k[d]) + 0x1p-120;
            t->dk.bound[to + d] += (eds + ds * sums) * fabs(q[d]) + 0x1p-120;
            t->dv.bound[to + d] += p * (ep + sums) * fabs(dout[d]) + 0x1p-120;
        }
    }
}

static void oracle(attention_test *t) {
    const geometry *e = &t->s.e;
    ref_attention_bwd(t->dq.want, t->dk.want, t->dv.want, t->ddout, t->dq_in, t->s.k, t->s.v,
                      t->b.seqs, SEQS, e->heads, e->kv_heads, e->dim, (double)t->scale);
    for (int k = 0; k < SEQS; k++)
        for (int64_t i = 0; i < t->b.seqs[k].q_len; i++)
            for (int64_t h = 0; h < e->heads; h++) query_bound(t, &t->b.seqs[k], i, h);
}

/* The tokens at both ends, which no sequence covers, hold what they held: NaN. */
static void uncovered(const output *o, int64_t per_token) {
    for (int64_t i = 0; i < per_token; i++)
        assert_true(isnan(o->data[i]) && isnan(o->data[o->n - 1 - i]));
}

/* The verdict on the covered tokens alone. */
static void judge_inner(output *o, const mn_device *dev, int64_t per_token) {
    uncovered(o, per_token);
    for (int64_t i = 0; i < per_token; i++) {
        o->data[i] = o->data[o->n - 1 - i] = 0;
        assert_true(o->want[i] == 0 && o->want[o->n - 1 - i] == 0);
    }
    output_judge(o, dev);
}

static void attention_run(const devices *all, attention_test *t) {
    const geometry *e = &t->s.e;
    const int64_t queries = t->b.queries, heads = e->heads, dim = e->dim, per = heads * dim;
    for (int d = 0; d < all->count; d++) {
        guards mine = {0};
        mn_device *dev = all->dev[d];
        const mn_kv_layer kv = cache_open(&mine, dev, &t->s);
        float *rotated = guard_f32(&mine, t->s.tokens * per);
        MN_ASSERT_OK(store_run(dev, &t->s, rotated, kv));
        guard_seal(&mine, kv.k);
        guard_seal(&mine, kv.v);
        output *const outs[] = {&t->dq, &t->dk, &t->dv, &t->delta};
        for (int i = 0; i < 4; i++) output_reset(outs[i]);
        mn_tensor dq = tensor_3d(t->dq.data, queries, heads, dim);
        mn_tensor dk = tensor_3d(t->dk.data, queries, e->kv_heads, dim);
        mn_tensor dv = tensor_3d(t->dv.data, queries, e->kv_heads, dim);
        mn_tensor delta = mn_tensor_2d(t->delta.data, MN_F32, queries, heads);
        const mn_tensor dout = tensor_3d((void *)(uintptr_t)t->dout, queries, heads, dim);
        const mn_tensor out = tensor_3d((void *)(uintptr_t)t->out, queries, heads, dim);
        const mn_tensor q = tensor_3d((void *)(uintptr_t)t->q, queries, heads, dim);
        const mn_tensor lse = mn_tensor_2d((void *)(uintptr_t)t->lse, MN_F32, queries, heads);
        MN_ASSERT_OK(mn_attention_bwd(dev, &dq, &dk, &dv, &delta, &dout, &out, &q, kv, &lse,
                                      &(mn_attn_seqs){t->b.seqs, t->b.seqs, SEQS}, t->scale));
        judge_inner(&t->dq, dev, per);
        judge_inner(&t->dk, dev, e->kv_heads * dim);
        judge_inner(&t->dv, dev, e->kv_heads * dim);
        judge_inner(&t->delta, dev, heads);
        guard_free(&mine);
    }
}

/* `size` of the queries: with large ones, softmax is nearly a choice of one row. */
static void attention_case(const devices *all, const geometry *e, int32_t len, double size) {
    guards g = {0};
    uint64_t state = (uint64_t)(e->dim * 1000 + len);
    attention_test t = {.b = make_batch(len), .scale = (float)(1 / sqrt((double)e->dim))};
    store_open(&t.s, &g, e, t.b.stored, round16(t.b.rows), false, &state);
    int32_t token = 0;
    for (int k = 0; k < SEQS; k++)
        for (int32_t i = 0; i < t.b.seqs[k].own_len; i++)
            t.s.row[token++] = t.b.seqs[k].own_begin + i;
    store_seal(&t.s, &g);
    const int64_t n = query_count(&t), kn = t.b.queries * e->kv_heads * e->dim;
    t.q = guard_random(&g, n, size, &state);
    t.dout = guard_random(&g, n, 1, &state);
    t.dq_in = doubles_of(t.q, MN_F32, n);
    t.ddout = doubles_of(t.dout, MN_F32, n);
    forward(&t, &g);
    char what[4][96];
    static const char *const names[] = {"dq", "dk", "dv", "delta"};
    output *const outs[] = {&t.dq, &t.dk, &t.dv, &t.delta};
    const int64_t counts[] = {n, kn, kn, t.b.queries * e->heads};
    for (int i = 0; i < 4; i++) {
        snprintf(what[i], sizeof what[i], "%s: head size %lld, %lld heads on %lld, %d queries",
                 names[i], (long long)e->dim, (long long)e->heads, (long long)e->kv_heads, len);
        *outs[i] = output_open(&g, what[i], counts[i], false, &state);
    }
    oracle(&t);
    attention_run(all, &t);
    for (int i = 0; i < 4; i++) output_close(outs[i]);
    test_free(t.dq_in);
    test_free(t.ddout);
    store_close(&t.s);
    guard_free(&g);
}

static void test_attention_bwd(void **state) {
    static const int64_t sizes[] = {1, 15, 16, 20, 64, 80, 128, 256};
    static const int64_t groups[][2] = {{2, 2}, {4, 2}, {1, 1}, {3, 1}, {6, 3}};
    static const int32_t lengths[] = {1, 15, 16, 17, 63, 64, 65, 130};
    unsigned i = 0;
    for (size_t d = 0; d < sizeof sizes / sizeof *sizes; d++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++, i++) {
            const int64_t *group = groups[lengths[l] > 100 ? 2 : i % 5];
            const geometry e = {.dim = sizes[d],
                                .heads = group[0],
                                .kv_heads = group[1],
                                .interleaved = group[0] == group[1],
                                .padding = i % 4};
            attention_case(*state, &e, lengths[l], i % 3 == 2 ? 50 : 2);
        }
}

/* ---- Rotary embedding --------------------------------------------------------------------------- */

/* Each element is a sum of two products. */
static void head_oracle(double *want, double *bound, const double *dout, const double *c,
                        const double *s, int64_t position, int64_t rotary, int64_t dim) {
    ref_rotate_bwd(want, dout, c, s, position, rotary, dim);
    for (int64_t d = 0; d < rotary; d++) {
        const int64_t other = d < rotary / 2 ? d + rotary / 2 : d - rotary / 2;
        bound[d] = 2 * unit * (fabs(dout[d]) + fabs(dout[other]));
    }
}

static void rope_oracle(output *o, const store *s, const float *const grads[3]) {
    const geometry *e = &s->e;
    const int64_t dim = e->dim, half = e->rotary / 2,
                  heads[] = {e->heads, e->kv_heads, e->kv_heads};
    const int64_t begin[] = {s->layout.q_begin, s->layout.k_begin, s->layout.v_begin};
    double *c = doubles_of(s->cos_table, MN_F32, s->positions * half);
    double *sn = doubles_of(s->sin_table, MN_F32, s->positions * half);
    for (int part = 0; part < 3; part++) {
        double *dout = doubles_of(grads[part], MN_F32, s->tokens * heads[part] * dim);
        const int64_t stride = part ? s->layout.kv_stride : s->layout.q_stride;
        for (int64_t t = 0; t < s->tokens; t++)
            for (int64_t h = 0; h < heads[part]; h++) {
                const int64_t at = t * s->layout.ld + begin[part] + h * stride;
                head_oracle(o->want + at, o->bound + at, dout + (t * heads[part] + h) * dim, c, sn,
                            s->position[t], part == 2 ? 0 : e->rotary, dim);
            }
        test_free(dout);
    }
    test_free(c);
    test_free(sn);
}

static void rope_case(const devices *all, const geometry *e, int64_t tokens) {
    guards g = {0};
    store s;
    uint64_t state = (uint64_t)(e->dim * 100 + tokens);
    store_open(&s, &g, e, tokens, tokens, false, &state);
    store_seal(&s, &g);
    const int64_t nq = tokens * e->heads * e->dim, nk = tokens * e->kv_heads * e->dim;
    const int64_t used = s.layout.ld - e->padding, half = e->rotary / 2;
    const float *grads[] = {guard_random(&g, nq, 1, &state), guard_random(&g, nk, 1, &state),
                            guard_random(&g, nk, 1, &state)};
    output o = output_open(&g, "rope gradient", tokens * s.layout.ld, false, &state);
    rope_oracle(&o, &s, grads);
    for (int d = 0; d < all->count; d++) {
        mn_tensor dqkv = mn_tensor_2d(o.data, MN_F32, tokens, s.layout.ld);
        const mn_tensor dq = tensor_3d((void *)(uintptr_t)grads[0], tokens, e->heads, e->dim);
        const mn_tensor dk = tensor_3d((void *)(uintptr_t)grads[1], tokens, e->kv_heads, e->dim);
        const mn_tensor dv = tensor_3d((void *)(uintptr_t)grads[2], tokens, e->kv_heads, e->dim);
        const mn_tensor c = mn_tensor_2d(s.cos_table, MN_F32, s.positions, half);
        const mn_tensor sn = mn_tensor_2d(s.sin_table, MN_F32, s.positions, half);
        const mn_tensor positions = mn_tensor_1d(s.position, MN_I32, tokens);
        output_reset(&o);
        MN_ASSERT_OK(
            mn_rope_bwd(all->dev[d], &dqkv, &dq, &dk, &dv, &s.layout, &c, &sn, &positions));
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t i = used; i < s.layout.ld; i++) { /* of no head: untouched */
                assert_true(isnan(o.data[t * s.layout.ld + i]));
                o.data[t * s.layout.ld + i] = 0;
            }
        output_judge(&o, all->dev[d]);
    }
    output_close(&o);
    store_close(&s);
    guard_free(&g);
}

static void test_rope_bwd(void **state) {
    static const int64_t sizes[][2] = {{1, 0},   {2, 2},   {15, 6},   {16, 16},
                                       {64, 16}, {80, 40}, {128, 128}};
    static const int64_t groups[][2] = {{2, 2}, {4, 2}, {1, 1}, {3, 1}};
    static const int64_t tokens[] = {1, 2, 33};
    for (int i = 0; i < 7 * 3; i++) {
        const int64_t *group = groups[i % 4];
        const geometry e = {.dim = sizes[i / 3][0],
                            .rotary = sizes[i / 3][1],
                            .heads = group[0],
                            .kv_heads = group[1],
                            .interleaved = group[0] == group[1],
                            .padding = i % 3};
        rope_case(*state, &e, tokens[i % 3]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {MN_TESTED_BWD_ATTENTION(MN_TEST_ROW)};
    return cmocka_run_group_tests(tests, devices_setup, devices_teardown);
}
