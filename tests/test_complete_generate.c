/* test_complete_generate.c - what ends a continuation, candidates as a draft of it, sampling. */
#include "test_complete.h"

#include <stdio.h>

enum { SAID = 24, PROMPTS = 6 };

/* Prompts with a common beginning and what the model says behind them. */
typedef struct talk {
    subject s;
    int32_t ids[PROMPTS][48];
    mn_request requests[PROMPTS];
    mn_ids said[PROMPTS];
} talk;

static void talk_open(talk *t, const char *folder) {
    double margin = INFINITY;
    *t = (talk){0};
    subject_open(&t->s, folder, 1);
    for (int i = 0; i < PROMPTS; i++) {
        const int64_t len = 20 + 5 * i;
        for (int64_t k = 0; k < len; k++)
            t->ids[i][k] = random_id(&t->s, k < 15 ? 77 : (uint64_t)(80 + i), (uint64_t)k);
        naive_generate(&t->s, t->ids[i], len, SAID, &t->said[i], &margin);
        t->requests[i] = (mn_request){
            .ids = t->ids[i], .len = len, .group = -1, .max_new_tokens = SAID};
    }
    if (!(margin > 1e-4)) fail_msg("%s: the likeliest token leads by %g only", folder, margin);
}

static void talk_close(talk *t) {
    for (int i = 0; i < PROMPTS; i++) mn_ids_free(&t->said[i]);
    subject_close(&t->s);
}

static void expect_said(const talk *t, const mn_completion *got, int i, int64_t count) {
    assert_int_equal(got[i].generated.len, count);
    if (count > 0)
        assert_memory_equal(got[i].generated.data, t->said[i].data,
                            (size_t)count * sizeof(int32_t));
}

/* How many tokens there are before `id`. */
static int64_t before(const mn_ids *ids, int32_t id) {
    int64_t n = 0;
    while (n < (int64_t)ids->len && ids->data[n] != id) n++;
    return n;
}

/* Candidates that begin as the model goes on, for 0 to 12 tokens, and then do not. */
enum { DRAFTS = 5, DRAFT_LEN = 12 };
typedef struct drafts {
    int32_t ids[DRAFTS][DRAFT_LEN];
    mn_ids list[DRAFTS];
} drafts;

static void add_drafts(const talk *t, mn_request *r, int prompt, drafts *d, int shape) {
    /* how far each one follows; its length; of candidates 0 and 1 the shorter may be the better */
    static const int follows[][DRAFTS] = {
        {0, 0, 0, 0, 0}, {1, 3, 5, 12, 2}, {12, 12, 12, 12, 12}, {4, 4, 4, 4, 4}, {0, 6, 0, 1, 0}};
    static const int lengths[][DRAFTS] = {{1, 2, 3, 4, 5},
                                          {12, 4, 6, 12, 2},
                                          {12, 9, 12, 10, 11},
                                          {6, 7, 8, 9, 12},
                                          {3, 7, 1, 2, 12}};
    for (int c = 0; c < DRAFTS; c++) {
        for (int k = 0; k < DRAFT_LEN; k++) {
            d->ids[c][k] = t->said[prompt].data[k];
            if (k == follows[shape][c]) /* another token */
                d->ids[c][k] = (int32_t)((d->ids[c][k] + 1 + c) % t->s.vocab);
        }
        d->list[c] = (mn_ids){.data = d->ids[c], .len = (size_t)lengths[shape][c]};
    }
    r->candidates = d->list;
    r->candidate_count = DRAFTS;
}

static void check_drafts(const char *folder) {
    talk t;
    drafts d[PROMPTS];
    const mn_complete_hooks hooks = {.eos = -1};
    talk_open(&t, folder);
    for (int shape = 0; shape < 5; shape++)
        for (int64_t most = 1; most <= SAID; most += most < 5 ? 1 : 4 + most / 2) {
            mn_request requests[PROMPTS];
            for (int i = 0; i < PROMPTS; i++) {
                requests[i] = t.requests[i];
                requests[i].max_new_tokens = most;
                if (i < PROMPTS - 1) add_drafts(&t, &requests[i], i, &d[i], (shape + i) % 5);
            }
            mn_completion *got = complete(&t.s, requests, PROMPTS, &(setting){.share = true},
                                          &hooks);
            for (int i = 0; i < PROMPTS; i++) expect_said(&t, got, i, most);
            drop(got, PROMPTS);
        }
    talk_close(&t);
}

static void test_drafts(void **state) {
    (void)state;
    check_drafts("tests/golden/neox-parallel");
    check_drafts("tests/golden/llama-mha");
}

/* ---- ends ---- */

/* Every id that some continuation has as end-of-text token; the token itself is left out. */
static void test_eos(void **state) {
    talk t;
    drafts d[PROMPTS];
    (void)state;
    talk_open(&t, "tests/golden/llama-mha");
    for (int drafted = 0; drafted < 2; drafted++) {
        if (drafted)
            for (int i = 0; i < PROMPTS; i++) add_drafts(&t, &t.requests[i], i, &d[i], 1 + i % 3);
        for (int k = 0; k < SAID; k += 5) {
            const int32_t eos = t.said[k % PROMPTS].data[k];
            const mn_complete_hooks hooks = {.eos = eos};
            mn_completion *got = complete(&t.s, t.requests, PROMPTS,
                                          &(setting){.batch_size = 4, .share = true}, &hooks);
            for (int i = 0; i < PROMPTS; i++) expect_said(&t, got, i, before(&t.said[i], eos));
            assert_true(got[k % PROMPTS].generated.len <= (size_t)k);
            drop(got, PROMPTS);
        }
    }
    talk_close(&t);
}

/* The hook sees every continuation grow by one token at a time, and ends it when it says so. */
typedef struct listener {
    const talk *t;
    int64_t seen[PROMPTS], ends[PROMPTS];
} listener;

static bool listen(void *context, int64_t request, const mn_ids *generated) {
    listener *l = context;
    assert_in_range(request, 0, PROMPTS - 1);
    assert_int_equal(generated->len, ++l->seen[request]);
    assert_memory_equal(generated->data, l->t->said[request].data,
                        generated->len * sizeof(int32_t));
    return l->seen[request] == l->ends[request];
}

static void test_stop_hook(void **state) {
    talk t;
    drafts d[PROMPTS];
    (void)state;
    talk_open(&t, "tests/golden/neox-parallel");
    for (int i = 1; i < PROMPTS; i++) add_drafts(&t, &t.requests[i], i, &d[i], i % 5);
    for (int64_t end = 1; end < SAID - PROMPTS; end += 2) {
        listener l = {.t = &t};
        const mn_complete_hooks hooks = {.context = &l, .stop = listen, .eos = -1};
        for (int i = 0; i < PROMPTS; i++) l.ends[i] = end + i;
        mn_completion *got = complete(&t.s, t.requests, PROMPTS, &(setting){.share = true}, &hooks);
        for (int i = 0; i < PROMPTS; i++) {
            expect_said(&t, got, i, end + i);
            assert_int_equal(l.seen[i], end + i);
        }
        drop(got, PROMPTS);
    }
    talk_close(&t);
}

/* Limits differ from prompt to prompt; 0 generates nothing. */
static void test_limits(void **state) {
    talk t;
    const mn_complete_hooks hooks = {.eos = -1};
    (void)state;
    talk_open(&t, "tests/golden/llama-gqa");
    for (int i = 0; i < PROMPTS; i++) t.requests[i].max_new_tokens = (i * 5) % (SAID + 1);
    mn_completion *got = complete(&t.s, t.requests, PROMPTS, &(setting){.share = true}, &hooks);
    for (int i = 0; i < PROMPTS; i++) expect_said(&t, got, i, (i * 5) % (SAID + 1));
    drop(got, PROMPTS);
    talk_close(&t);
}

/* ---- sampling ---- */

static bool all_equal(const mn_completion *a, const mn_completion *b) {
    for (int i = 0; i < PROMPTS; i++)
        if (a[i].generated.len != b[i].generated.len ||
            memcmp(a[i].generated.data, b[i].generated.data,
                   a[i].generated.len * sizeof(int32_t)) != 0)
            return false;
    return true;
}

static void test_seeds(void **state) {
    static const setting settings[] = {
        {1, true, 0, 0}, {4, false, 0, 0}, {64, true, 9, 0}, {64, true, 0, 1}, {0, false, 0, 0}};
    talk t;
    subject two;
    (void)state;
    talk_open(&t, "tests/golden/neox-parallel");
    subject_open(&two, "tests/golden/neox-parallel", 2);
    for (uint64_t seed = 1; seed < 3; seed++) {
        mn_complete_hooks hooks = {.eos = -1, .temperature = 1.3f, .seed = seed};
        mn_completion *one = complete(&t.s, t.requests, PROMPTS, &(setting){.share = true}, &hooks);
        for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
            mn_completion *same = complete(&t.s, t.requests, PROMPTS, &settings[i], &hooks);
            mn_completion *threads = complete(&two, t.requests, PROMPTS, &settings[i], &hooks);
            assert_true(all_equal(one, same));
            assert_true(all_equal(one, threads));
            drop(same, PROMPTS);
            drop(threads, PROMPTS);
        }
        hooks.seed += 100;
        mn_completion *other = complete(&t.s, t.requests, PROMPTS, &(setting){.share = true},
                                        &hooks);
        for (int i = 0; i < PROMPTS; i++) {
            assert_int_equal(one[i].generated.len, SAID);
            assert_memory_not_equal(one[i].generated.data, other[i].generated.data,
                                    SAID * sizeof(int32_t));
        }
        drop(other, PROMPTS);
        drop(one, PROMPTS);
    }
    subject_close(&two);
    talk_close(&t);
}

static void test_cold(void **state) {
    talk t;
    (void)state;
    talk_open(&t, "tests/golden/llama-mha");
    for (int k = 0; k < 2; k++) {
        const mn_complete_hooks hooks = {
            .eos = -1, .temperature = k == 0 ? 1e-6f : 1e-5f, .seed = (uint64_t)k};
        mn_completion *got = complete(&t.s, t.requests, PROMPTS, &(setting){.share = true}, &hooks);
        for (int i = 0; i < PROMPTS; i++) expect_said(&t, got, i, SAID);
        drop(got, PROMPTS);
    }
    talk_close(&t);
}

/* One token behind one prompt, drawn 256 times with each of 32 seeds, against the softmax of the
 * naive way. Chi-square over the tokens that are expected at least eight times and all others
 * together: its mean is the number of bins less one, its variance twice that; four deviations above
 * are a chance of less than 2e-4. */
static void check_frequencies(talk *t, float temperature) {
    enum { COPIES = 256, SEEDS = 32 };
    mn_request requests[COPIES];
    const int64_t vocab = t->s.vocab;
    int64_t *seen = calloc((size_t)vocab, sizeof *seen);
    double sum = 0, chi = 0, rest = 0, rest_seen = 0;
    int bins = 0;
    assert_non_null(seen);
    for (int i = 0; i < COPIES; i++) {
        requests[i] = t->requests[0];
        requests[i].max_new_tokens = 1;
    }
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        const mn_complete_hooks hooks = {.eos = -1, .temperature = temperature, .seed = seed};
        mn_completion *got = complete(&t->s, requests, COPIES, &(setting){.share = true}, &hooks);
        for (int i = 0; i < COPIES; i++) {
            assert_int_equal(got[i].generated.len, 1);
            seen[got[i].generated.data[0]]++;
        }
        drop(got, COPIES);
    }
    naive_forward(&t->s, t->ids[0], t->requests[0].len, 0);
    const double *x = row_of(&t->s, t->requests[0].len - 1);
    for (int64_t v = 0; v < vocab; v++) sum += exp(x[v] / (double)temperature);
    for (int64_t v = 0; v < vocab; v++) {
        const double want = COPIES * SEEDS * exp(x[v] / (double)temperature) / sum;
        if (want >= 8) {
            chi += ((double)seen[v] - want) * ((double)seen[v] - want) / want;
            bins++;
        } else {
            rest += want;
            rest_seen += (double)seen[v];
        }
    }
    if (rest >= 1) {
        chi += (rest_seen - rest) * (rest_seen - rest) / rest;
        bins++;
    }
    free(seen);
    const double most = bins - 1 + 4 * sqrt(2.0 * (bins - 1));
    print_message("temperature %.1f: chi-square %.1f over %d bins, at most %.1f\n",
                  (double)temperature, chi, bins, most);
    assert_true(bins >= 4);
    assert_true(chi <= most);
}

static void test_frequencies(void **state) {
    static const float temperatures[] = {0.7f, 1, 3};
    talk t;
    (void)state;
    talk_open(&t, "tests/golden/neox-parallel");
    for (int i = 0; i < 3; i++) check_frequencies(&t, temperatures[i]);
    talk_close(&t);
}

/* Every token is drawn anew. So hot that all tokens are about as likely: the same random number
 * twice would give neighbours. Of 24 * 255 pairs 5 in 160 are within two ids by chance. */
static void test_draws(void **state) {
    enum { COPIES = 24, DRAWS = 256 };
    talk t;
    mn_request requests[COPIES];
    const mn_complete_hooks hooks = {.eos = -1, .temperature = 100, .seed = 3};
    int near = 0, across = 0;
    (void)state;
    talk_open(&t, "tests/golden/neox-bf16");
    for (int i = 0; i < COPIES; i++) {
        requests[i] = t.requests[0];
        requests[i].max_new_tokens = DRAWS;
    }
    mn_completion *got = complete(&t.s, requests, COPIES, &(setting){.share = true}, &hooks);
    for (int i = 0; i < COPIES; i++)
        for (int k = 1; k < DRAWS; k++) {
            const int32_t *ids = got[i].generated.data;
            near += abs(ids[k] - ids[k - 1]) <= 2;
            across += abs(ids[k] - got[(i + 1) % COPIES].generated.data[k]) <= 2;
        }
    print_message("neighbours: %d along, %d across, 191 expected\n", near, across);
    assert_in_range(near, 191 - 70, 191 + 70); /* five deviations */
    assert_in_range(across, 191 - 70, 191 + 70);
    drop(got, COPIES);
    talk_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drafts),      cmocka_unit_test(test_eos),
        cmocka_unit_test(test_stop_hook),   cmocka_unit_test(test_limits),
        cmocka_unit_test(test_seeds),       cmocka_unit_test(test_cold),
        cmocka_unit_test(test_frequencies), cmocka_unit_test(test_draws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
