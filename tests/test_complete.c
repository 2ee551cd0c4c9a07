/* test_complete.c - options never change an answer: whatever the batch size, sharing, groups, cache
 * and threads, log-likelihoods and greedy continuations are those of whole prompts computed alone. */
#include "test_corpus.h"

#include <stdio.h>

/* ---- comparison ---- */

static double worst; /* largest difference of a log-likelihood seen */

static void compare(const corpus *c, const mn_completion *got, const char *label) {
    for (int64_t i = 0; i < c->count; i++) {
        const mn_request *r = &c->requests[i];
        const wanted *w = &c->want[i];
        int best = 0;
        for (int k = 0; k < r->candidate_count; k++) {
            const double off = fabs(got[i].logprob[k] - w->logprob[k]);
            if (!(off <= c->tolerance))
                fail_msg("%s: prompt %d, candidate %d: log-likelihood %.9g, expected %.9g", label,
                         (int)i, k, got[i].logprob[k], w->logprob[k]);
            worst = mn_worse(worst, off);
            if (got[i].greedy[k] != w->greedy[k])
                fail_msg("%s: prompt %d, candidate %d: greedy is %d", label, (int)i, k,
                         got[i].greedy[k]);
            if (got[i].logprob[k] > got[i].logprob[best]) best = k;
        }
        if (r->candidate_count && !same_ids(&r->candidates[best], &r->candidates[w->best]))
            fail_msg("%s: prompt %d: candidate %d, expected %d", label, (int)i, best, w->best);
        if (w->generated.len == 0 ? got[i].generated.len
                                  : !same_ids(&got[i].generated, &w->generated))
            fail_msg("%s: prompt %d: %zu tokens generated, not the %zu expected ones", label,
                     (int)i, got[i].generated.len, w->generated.len);
    }
}

typedef enum groups { AS_FAMILIES, FOUND, ALL_ONE, EACH_ITS_OWN } groups;
static const char *const group_names[] = {"families", "found", "all one", "each its own"};

static void check(const corpus *c, const subject *s, const setting *how, groups groups_are) {
    char label[160];
    mn_request requests[MOST];
    const mn_complete_hooks hooks = {.eos = -1};
    snprintf(label, sizeof label,
             "%s, %d threads, batch size %d, sharing %d, passes of %d, cache of %d, groups: %s",
             strrchr(s->model->path, '/') + 1, s->device->threads, (int)how->batch_size, how->share,
             (int)how->max_tokens, (int)how->kv_rows, group_names[groups_are]);
    for (int64_t i = 0; i < c->count; i++) {
        requests[i] = c->requests[i];
        if (groups_are != AS_FAMILIES)
            requests[i].group = groups_are == FOUND ? -1 : groups_are == ALL_ONE ? 7 : i;
    }
    mn_completion *answers = complete(s, requests, c->count, how, &hooks);
    compare(c, answers, label);
    drop(answers, c->count);
}

static const struct {
    setting how;
    groups groups_are;
} settings[] = {
    {{0, true, 0, 0}, AS_FAMILIES},  {{1, true, 0, 0}, AS_FAMILIES},
    {{7, true, 0, 0}, AS_FAMILIES},  {{64, true, 0, 0}, AS_FAMILIES},
    {{0, true, 0, 0}, FOUND},        {{7, true, 0, 0}, FOUND},
    {{64, true, 0, 0}, ALL_ONE},     {{7, true, 0, 0}, EACH_ITS_OWN},
    {{0, false, 0, 0}, AS_FAMILIES}, {{1, false, 0, 0}, FOUND},
    {{64, false, 17, 0}, FOUND},     {{0, true, 33, 0}, AS_FAMILIES},
    {{64, true, 1, 0}, FOUND},       {{0, true, 0, 1}, AS_FAMILIES},
    {{64, true, 50, 150}, ALL_ONE},  {{7, false, 64, 1}, FOUND},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

static void report(const corpus *c, const char *folder) {
    print_message("%s: log-likelihoods within %.1e, allowed %.1e; the likeliest leads by %.1e\n",
                  folder, worst, c->tolerance, c->margin);
}

/* Every setting with one thread, those of the whole corpus at once with two. */
static void check_all(const char *folder) {
    subject two;
    corpus *c = malloc(sizeof *c);
    assert_non_null(c);
    worst = 0;
    corpus_open(c, folder);
    subject_open(&two, folder, 2);
    for (int i = 0; i < SETTINGS; i++) {
        const setting *how = &settings[i].how;
        check(c, &c->s, how, settings[i].groups_are);
        if (how->batch_size % 64 == 0 && how->max_tokens == 0)
            check(c, &two, how, settings[i].groups_are);
    }
    report(c, folder);
    subject_close(&two);
    corpus_close(c);
    free(c);
}

static void test_neox(void **state) {
    (void)state;
    check_all("tests/golden/neox-parallel");
}

static void test_llama(void **state) {
    (void)state;
    check_all("tests/golden/llama-gqa");
}

/* The other forms of both: sequential residual with an odd head size, bf16 weights, equal heads. */
static void test_others(void **state) {
    static const char *const folders[] = {"tests/golden/neox-sequential", "tests/golden/neox-bf16",
                                          "tests/golden/llama-mha", "tests/golden/llama-bin"};
    (void)state;
    corpus *c = malloc(sizeof *c);
    assert_non_null(c);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        worst = 0;
        corpus_open(c, folders[i]);
        check(c, &c->s, &(setting){.share = true}, AS_FAMILIES);
        check(c, &c->s, &(setting){.batch_size = 7, .share = true, .max_tokens = 31}, FOUND);
        check(c, &c->s, &(setting){.batch_size = 64, .kv_rows = 200, .share = true}, ALL_ONE);
        check(c, &c->s, &(setting){.batch_size = 1}, FOUND);
        report(c, folders[i]);
        corpus_close(c);
    }
    free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_neox), cmocka_unit_test(test_llama),
                                       cmocka_unit_test(test_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
