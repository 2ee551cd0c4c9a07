/* test_complete_bf16.c - options and answers where products round their inputs to bf16.
 *
 * Sums are fp32 all the way and each way of multiplying rounds the same inputs to the same numbers
 * (test_kernels_linear). But the order of a sum depends on how many rows go together and on what is
 * shared, and a hidden state that ends near the middle between two bf16 numbers is then rounded to the
 * other one, 2^-8 away. So two ways are not within 1e-5 of one another. Each of them is a computation in
 * bf16, though, as far from the truth as this arithmetic is in this model: `cost`, measured on one that
 * shares and batches nothing against transformers in float64. Hence, for any two of them:
 *   - a token's log-probabilities are at most 2 cost apart, a candidate's as often that as it has tokens;
 *   - over all candidates, the difference has at most sqrt(2) times the error's root mean square, what two
 *     computations without one rounding in common would have;
 *   - a decision is another one only where its lead is no more than the errors of both sides.
 * The number of threads changes no order, and so no bit. */
#include "test_corpus.h"

#include <stdio.h>

typedef struct bf16_check {
    corpus c;       /* with fp32's answers */
    subject one[2]; /* in bf16, by threads */
    wanted alone[MOST];
    double cost;           /* of one token's log-probability */
    double rms;            /* of the error of a candidate's log-likelihood */
    double seen, seen_rms; /* largest differences: in units of their bound */
    int64_t texts, parted; /* compared, and how many of them are not the same */
    int64_t leads, clear;  /* of candidates, and how many of them have to decide */
} bf16_check;

static void open_check(bf16_check *b, const char *folder) {
    const mn_test_path path = mn_test_source(folder);
    double sum = 0;
    int64_t candidates = 0;
    corpus_open(&b->c, folder);
    for (int t = 0; t < 2; t++)
        subject_open_any(&b->one[t], path.text, 1 + t, POSITIONS, MN_COMPUTE_BF16);
    b->cost = naive_error(&b->one[0], folder);
    for (int64_t i = 0; i < b->c.count; i++) {
        const mn_request *r = &b->c.requests[i];
        double margin = 0;
        for (int k = 0; k < r->candidate_count; k++) {
            b->alone[i].logprob[k] = naive_score(&b->one[0], r->ids, r->len, &r->candidates[k],
                                                 &b->alone[i].greedy[k], &margin);
            const double error = b->alone[i].logprob[k] - b->c.want[i].logprob[k];
            sum += error * error;
            candidates++;
        }
        naive_generate(&b->one[0], r->ids, r->len, r->max_new_tokens, &b->alone[i].generated,
                       &margin);
    }
    b->rms = sqrt(sum / (double)candidates);
}

static void close_check(bf16_check *b) {
    for (int64_t i = 0; i < b->c.count; i++) mn_ids_free(&b->alone[i].generated);
    for (int t = 0; t < 2; t++) subject_close(&b->one[t]);
    corpus_close(&b->c);
}

static void check_scores(bf16_check *b, const mn_completion *got, const char *label) {
    double sum = 0;
    int64_t candidates = 0;
    for (int64_t i = 0; i < b->c.count; i++) {
        const mn_request *r = &b->c.requests[i];
        for (int k = 0; k < r->candidate_count; k++) {
            const double off = got[i].logprob[k] - b->alone[i].logprob[k];
            const double most = 2 * b->cost * (double)r->candidates[k].len;
            if (!(fabs(off) <= most))
                fail_msg("%s: prompt %d, candidate %d: log-likelihood %g, alone %g, allowed %g",
                         label, (int)i, k, got[i].logprob[k], b->alone[i].logprob[k], most);
            b->seen = fmax(b->seen, fabs(off) / most);
            sum += off * off;
            candidates++;
        }
    }
    const double rms = sqrt(sum / (double)candidates) / (sqrt(2) * b->rms);
    b->seen_rms = fmax(b->seen_rms, rms);
    if (!(rms <= 1)) fail_msg("%s: root mean square %g times what is allowed", label, rms);
}

/* Where a candidate leads by more than the errors of both together, it stays before the other. */
static void check_choices(bf16_check *b, const mn_completion *got, const char *label) {
    for (int64_t i = 0; i < b->c.count; i++) {
        const mn_request *r = &b->c.requests[i];
        const wanted *w = &b->c.want[i];
        for (int k = 0; k < r->candidate_count; k++) {
            const size_t tokens = r->candidates[w->best].len + r->candidates[k].len;
            b->leads += k != w->best;
            if (!(w->logprob[w->best] - w->logprob[k] > b->cost * (double)tokens)) continue;
            b->clear++;
            if (!(got[i].logprob[w->best] > got[i].logprob[k]))
                fail_msg("%s: prompt %d: candidate %d before %d", label, (int)i, k, w->best);
        }
    }
}

/* Texts are the same up to where one token leads the other by no more than both their errors. */
static void check_texts(bf16_check *b, const mn_completion *got, const char *label) {
    for (int64_t i = 0; i < b->c.count; i++) {
        const mn_request *r = &b->c.requests[i];
        const mn_ids *a = &got[i].generated, *want = &b->alone[i].generated;
        int32_t ids[POSITIONS];
        size_t same = 0;
        assert_int_equal(a->len, want->len);
        while (same < a->len && a->data[same] == want->data[same]) same++;
        b->texts += a->len > 0;
        if (same == a->len) continue;
        b->parted++;
        memcpy(ids, r->ids, (size_t)r->len * sizeof *ids);
        memcpy(ids + r->len, want->data, same * sizeof *ids);
        const int64_t last = r->len + (int64_t)same - 1;
        naive_forward(&b->c.s, ids, last + 1, last);
        const double lead = row_of(&b->c.s, last)[want->data[same]] -
                            row_of(&b->c.s, last)[a->data[same]];
        if (!(fabs(lead) <= 2 * b->cost))
            fail_msg("%s: prompt %d: token %zu is %d, alone it is %d, which leads by %g", label,
                     (int)i, same, a->data[same], want->data[same], lead);
    }
}

static void check_threads(const bf16_check *b, const mn_completion *one, const mn_completion *two,
                          const char *label) {
    for (int64_t i = 0; i < b->c.count; i++)
        if (memcmp(one[i].logprob, two[i].logprob, sizeof one->logprob) != 0 ||
            !same_ids(&one[i].generated, &two[i].generated))
            fail_msg("%s: prompt %d: another answer with two threads", label, (int)i);
}

static const setting settings[] = {
    {1, true, 0, 0},  {7, true, 0, 0},   {64, true, 0, 0}, /* the others only for two models: */
    {1, false, 0, 0}, {7, false, 0, 0},  {64, false, 0, 0}, {64, true, 1, 0},
    {64, true, 5, 0}, {64, true, 33, 0}, {7, true, 64, 1},
};
enum { SETTINGS = sizeof settings / sizeof *settings, SOME = 3 };

static void check_model(const char *folder, int count) {
    const mn_complete_hooks hooks = {.eos = -1};
    char label[120];
    bf16_check *b = calloc(1, sizeof *b);
    assert_non_null(b);
    open_check(b, folder);
    for (int i = 0; i < count; i++) {
        const setting *how = &settings[i];
        mn_completion *got[2];
        snprintf(label, sizeof label, "%s, batch size %d, sharing %d, passes of %d", folder,
                 (int)how->batch_size, how->share, (int)how->max_tokens);
        for (int t = 0; t < 2; t++)
            got[t] = complete(&b->one[t], b->c.requests, b->c.count, how, &hooks);
        check_scores(b, got[0], label);
        check_choices(b, got[0], label);
        check_texts(b, got[0], label);
        check_threads(b, got[0], got[1], label);
        for (int t = 0; t < 2; t++) drop(got[t], b->c.count);
    }
    print_message(
        "%s: bf16 costs %.2g a token; differences up to %.2f, on the average %.2f of what "
        "is allowed; %d of %d leads have to decide; %d of %d texts part\n",
        folder, b->cost, b->seen, b->seen_rms, (int)b->clear, (int)b->leads, (int)b->parted,
        (int)b->texts);
    assert_true(2 * b->clear > b->leads); /* the models are not so flat that nothing is decided */
    assert_true(20 * b->parted < b->texts);
    close_check(b);
    free(b);
}

static void test_neox(void **state) {
    (void)state;
    check_model("tests/golden/neox-parallel", SETTINGS);
    check_model("tests/golden/neox-sequential", SOME);
    check_model("tests/golden/neox-bf16", SOME);
}

static void test_llama(void **state) {
    (void)state;
    check_model("tests/golden/llama-gqa", SETTINGS);
    check_model("tests/golden/llama-mha", SOME);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_neox), cmocka_unit_test(test_llama)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
