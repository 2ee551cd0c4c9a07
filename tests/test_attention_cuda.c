/* test_attention_cuda.c - attention on a CUDA device against double oracles: head sizes, grouped heads, lengths
 * at the edges of tiles, shared spans, chunks, decoding; gradients. */
#include "kernels/attention_cases.h"

/* ---- forward ------------------------------------------------------------------------------------ */

/* A weight is off by its score's error and by one rounding to fp16; the sums over the keys are in fp32. */
static void forward_bound(double *bound, double *lse, double *lse_bound, const problem *p,
                          const view *w) {
    for (int64_t n = 0; n < p->nseq; n++)
        for (int64_t i = 0; i < p->seqs[n].q_len; i++)
            for (int64_t h = 0; h < p->heads; h++) {
                const int64_t at = (p->seqs[n].q_begin + i) * p->heads + h;
                row_view r = row_open(p, w, &p->seqs[n], i, h);
                const double sums = (2 * sqrt((double)r.keys) + 16) * unit;
                double worst = 0;
                for (int64_t j = 0; j < r.keys; j++) {
                    worst += r.weight[j] * r.score_error[j];
                    for (int64_t d = 0; d < p->dim; d++)
                        bound[at * p->dim + d] += fabs(w->v[r.key[j] + d]) *
                                                  (r.weight[j] *
                                                       (half_unit + r.score_error[j] + sums) +
                                                   half_tiny);
                }
                /* the sum of weights is off, too, and divides everything, |out| <= 1 */
                for (int64_t d = 0; d < p->dim; d++) bound[at * p->dim + d] += worst + sums;
                lse[at] = r.lse;
                lse_bound[at] = worst + sums + 4 * unit * fabs(r.lse);
                row_close(&r);
            }
}

static void forward_case(mn_device *dev, int64_t dim, int64_t heads, int64_t kv_heads,
                         int32_t len) {
    for (int exact = 0; exact < 2; exact++) {
        problem p = forward_problem(dim, heads, kv_heads, len, exact);
        const int64_t n = query_floats(&p), nl = p.queries * heads;
        view w = view_open(&p, false), half = view_open(&p, true);
        double *want = doubles(n), *other = doubles(n), *lse_want = doubles(nl),
               *lse_bound = doubles(nl);
        float *out = test_malloc((size_t)n * sizeof *out),
              *lse = test_malloc((size_t)nl * sizeof *lse);
        ref_attention(want, w.q, w.k, w.v, p.seqs, p.nseq, heads, kv_heads, dim, (double)p.scale);
        forward_on(dev, &p, false, out, lse);
        if (exact) {
            forward_bound(other, lse_want, lse_bound, &p, &w);
            judge("attention", &p, out, want, other, heads * dim, n);
            judge("log-sum-exp", &p, lse, lse_want, lse_bound, heads, nl);
            float *again = test_malloc((size_t)n * sizeof *again); /* out may be q, lse left out */
            forward_on(dev, &p, true, again, NULL);
            for (int64_t i = 0; i < n; i++)
                if (covered(&p, i / (heads * dim))) assert_true(again[i] == out[i]);
            test_free(again);
        } else {
            for (int64_t s = 0; s < p.nseq; s++)
                for (int64_t i = 0; i < p.seqs[s].q_len; i++)
                    for (int64_t h = 0; h < heads; h++) {
                        row_view r = row_open(&p, &half, &p.seqs[s], i, h);
                        half_row(other + ((p.seqs[s].q_begin + i) * heads + h) * dim, &r, &half,
                                 dim);
                        row_close(&r);
                    }
            judge_halves("attention", &p, out, want, other, heads * dim, n);
        }
        double *const used[] = {want, other, lse_want, lse_bound};
        for (size_t i = 0; i < sizeof used / sizeof *used; i++) test_free(used[i]);
        test_free(out);
        test_free(lse);
        view_close(&w);
        view_close(&half);
        problem_free(&p);
    }
}

/* ---- backward ----------------------------------------------------------------------------------- */

static void backward_case(mn_device *dev, int64_t dim, int64_t heads, int64_t kv_heads,
                          int32_t len) {
    for (int exact = 0; exact < 2; exact++) {
        const int32_t lens[] = {len, len / 2 + 1, 1};
        problem p = training_problem(dim, heads, kv_heads, lens, exact);
        const int64_t n = query_floats(&p), nk = p.queries * kv_heads * dim, nl = p.queries * heads;
        view w = view_open(&p, false), half = view_open(&p, true);
        gradient_sums want = sums_open(&p), other = sums_open(&p);
        gradients got = gradients_open(&p), again = gradients_open(&p);
        float *out = test_malloc((size_t)n * sizeof *out),
              *lse = test_malloc((size_t)nl * sizeof *lse);
        forward_result(out, lse, &p, exact ? &w : &half);
        ref_attention_bwd(want.dq, want.dk, want.dv, w.dout, w.q, w.k, w.v, p.seqs, p.nseq, heads,
                          kv_heads, dim, (double)p.scale);
        for (int64_t i = 0; i < n; i++) want.delta[i / dim] += (double)p.dout[i] * (double)out[i];
        backward_on(dev, &p, out, lse, &got);
        backward_sums(&other, &p, exact ? &w : &half, out, !exact);
        if (exact) {
            judge("dq", &p, got.dq, want.dq, other.dq, heads * dim, n);
            judge("dk", &p, got.dk, want.dk, other.dk, kv_heads * dim, nk);
            judge("dv", &p, got.dv, want.dv, other.dv, kv_heads * dim, nk);
            judge("delta", &p, got.delta, want.delta, other.delta, heads, nl);
            backward_on(dev, &p, out, lse, &again);
            assert_memory_equal(got.dq, again.dq, (size_t)n * sizeof(float));
            assert_memory_equal(got.dk, again.dk, (size_t)nk * sizeof(float));
            assert_memory_equal(got.dv, again.dv, (size_t)nk * sizeof(float));
        } else {
            judge_halves("dq", &p, got.dq, want.dq, other.dq, heads * dim, n);
            judge_halves("dk", &p, got.dk, want.dk, other.dk, kv_heads * dim, nk);
            judge_halves("dv", &p, got.dv, want.dv, other.dv, kv_heads * dim, nk);
        }
        sums_close(&want);
        sums_close(&other);
        gradients_close(&got);
        gradients_close(&again);
        test_free(out);
        test_free(lse);
        view_close(&w);
        view_close(&half);
        problem_free(&p);
    }
}

/* ---- the tests ---------------------------------------------------------------------------------- */

static const int64_t groups[][2] = {{2, 2}, {4, 2}, {1, 1}, {3, 1}, {6, 3}};
static const int32_t lengths[] = {1, 15, 16, 17, 63, 64, 65, 200};

static void each(void **state, void (*one)(mn_device *, int64_t, int64_t, int64_t, int32_t)) {
    static const int64_t sizes[] = {64, 80, 96, 128, 256, 32, 40, 72, 104, 136, 248, 15, 20, 1};
    unsigned i = 0;
    for (size_t d = 0; d < sizeof sizes / sizeof *sizes; d++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++, i++) {
            const int64_t *group = groups[lengths[l] == 200 ? 2 : i % 5];
            one(*state, sizes[d], group[0], group[1], lengths[l]);
        }
}

/* The problem's sequences against the oracle. Queries are `sharp` times as large as elsewhere, a power of two: with
 * 128, weights of neighbouring keys are apart by more than a float can hold. */
static void forward_judged(mn_device *dev, problem *p, float sharp, const char *what) {
    const int64_t n = query_floats(p), nl = p->queries * p->heads;
    fill(p, true, (uint64_t)p->rows);
    for (int64_t i = 0; i < n; i++) p->q[i] *= sharp;
    view w = view_open(p, false);
    double *want = doubles(n), *bound = doubles(n), *lse = doubles(nl), *lse_bound = doubles(nl);
    float *out = test_malloc((size_t)n * sizeof *out), *got = test_malloc((size_t)nl * sizeof *got);
    ref_attention(want, w.q, w.k, w.v, p->seqs, p->nseq, p->heads, p->kv_heads, p->dim,
                  (double)p->scale);
    forward_on(dev, p, false, out, got);
    forward_bound(bound, lse, lse_bound, p, &w);
    judge(what, p, out, want, bound, p->heads * p->dim, n);
    judge(what, p, got, lse, lse_bound, p->heads, nl);
    double *const used[] = {want, bound, lse, lse_bound};
    for (size_t i = 0; i < sizeof used / sizeof *used; i++) test_free(used[i]);
    test_free(out);
    test_free(got);
    view_close(&w);
    problem_free(p);
}

/* A span in front of every length up to a tile: every place of the diagonal in it. */
static void every_offset(void **state) {
    enum { DIM = 64, QUERIES = 40, TILE = 64 };
    for (int32_t len = 0; len < TILE; len++) {
        problem p = {.dim = DIM, .heads = 1, .kv_heads = 1, .nseq = 1, .queries = QUERIES};
        p.seqs[0] = (mn_attn_seq){.q_len = QUERIES,
                                  .shared_begin = {1},
                                  .shared_len = {len},
                                  .own_begin = len + 3,
                                  .own_len = QUERIES};
        p.rows = len + 3 + QUERIES;
        forward_judged(*state, &p, 1, "attention behind a span");
    }
}

/* Decoding takes 256 keys in a block: whole blocks, and one key less and more, for the fewest rows and for the most
 * that go there; alone, and all at once. */
static void every_number_of_blocks(void **state) {
    static const int32_t keys[] = {255, 256, 257, 511, 512, 513, 768};
    for (int sharp = 1; sharp <= 128; sharp *= 128) {
        problem all = {.dim = 64, .heads = 2, .kv_heads = 1, .rows = 2};
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            const mn_attn_seq seq = {
                .q_len = i % 2 ? 8 : 1, .own_begin = (int32_t)all.rows, .own_len = keys[i]};
            problem one = {.dim = 64, .heads = 2, .kv_heads = 1, .nseq = 1, .queries = seq.q_len};
            one.seqs[0] = seq;
            one.rows = seq.own_begin + keys[i];
            forward_judged(*state, &one, (float)sharp, "decoding");
            all.seqs[all.nseq] = seq;
            all.seqs[all.nseq++].q_begin = (int32_t)all.queries;
            all.queries += seq.q_len;
            all.rows = one.rows;
        }
        forward_judged(*state, &all, (float)sharp, "decoding of several");
    }
}

/* The first and the last sequence have eight blocks each, so that there is no room in the workspace for as
 * many parts of all: they take several launches. */
static void more_sequences_than_workspace(void **state) {
    enum { SPAN = 2000 };
    problem p = {.dim = 256, .heads = 16, .kv_heads = 1, .nseq = MOST_SEQS, .queries = MOST_SEQS};
    for (int32_t i = 0; i < MOST_SEQS; i++)
        p.seqs[i] = (mn_attn_seq){.q_begin = i,
                                  .q_len = 1,
                                  .shared_len = {i % (MOST_SEQS - 1) ? 3 : SPAN},
                                  .own_begin = SPAN + i,
                                  .own_len = 1};
    p.rows = SPAN + MOST_SEQS;
    forward_judged(*state, &p, 1, "decoding many sequences");
}

static void attention_forward(void **state) { each(state, forward_case); }
static void attention_backward(void **state) { each(state, backward_case); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_forward), cmocka_unit_test(every_offset),
        cmocka_unit_test(every_number_of_blocks), cmocka_unit_test(more_sequences_than_workspace),
        cmocka_unit_test(attention_backward)};
    return cmocka_run_group_tests(tests, remote_setup, remote_teardown);
}
