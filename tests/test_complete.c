/* test_complete.c - options never change an answer: whatever the batch size, sharing, groups, cache
 * and threads, log-likelihoods and greedy continuations are those of whole prompts computed alone. */
#include "test_complete.h"

#include <stdio.h>

enum { MOST = 80, NEW = 10, SHAPES = 8 };
typedef struct wanted {
    double logprob[MN_MAX_CANDIDATES];
    bool greedy[MN_MAX_CANDIDATES];
    int best; /* the likeliest candidate */
    mn_ids generated;
} wanted;

typedef struct corpus {
    subject s;
    mn_ids prompts[MOST], candidates[MOST][MN_MAX_CANDIDATES];
    mn_request requests[MOST];
    wanted want[MOST];
    int64_t count;
    double margin;    /* least lead of what is the likeliest */
    double tolerance; /* of a log-likelihood */
} corpus;

/* ---- prompts ---- */

static int64_t add_prompt(corpus *c, int64_t group) {
    assert_true(c->count < MOST);
    c->requests[c->count].group = group;
    return c->count++;
}

/* The same stream gives the same tokens. */
static void put(corpus *c, int64_t prompt, uint64_t stream, int64_t len) {
    for (int64_t i = 0; i < len; i++)
        MN_ASSERT_OK(mn_ids_push(&c->prompts[prompt], random_id(&c->s, stream, (uint64_t)i)));
}

/* A header, some of the page's demonstrations, a claim; every k-shot prompt begins like k + 1. */
static void add_pages(corpus *c) {
    static const int shots[] = {0, 1, 3};
    for (int page = 0; page < 2; page++)
        for (int s = 0; s < 3; s++)
            for (int claim = 0; claim < 5; claim++) {
                const int64_t i = add_prompt(c, page);
                put(c, i, 1, 20);
                for (int d = 0; d < shots[s]; d++) put(c, i, (uint64_t)(10 + 10 * page + d), 9 + d);
                /* The last two claims of a page are the same. */
                put(c, i, (uint64_t)(100 + 10 * page + (claim < 4 ? claim : 3)), 5 + claim % 3);
            }
}

/* Prompts that are beginnings of others, one of them twice; single tokens; two that share nothing. */
static void add_beginnings(corpus *c) {
    static const int lengths[] = {1, 7, 8, 9, 10, 30, 31, 31, 70};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        put(c, add_prompt(c, 2), 200, lengths[i]);
    put(c, add_prompt(c, 3), 300, 1);
    put(c, add_prompt(c, 3), 300, 1);
    put(c, add_prompt(c, 3), 301, 25);
    put(c, add_prompt(c, 4), 302, 12);
}

/* Longer than the passes that some settings allow, shared beyond them. */
static void add_long(corpus *c) {
    for (int i = 0; i < 4; i++) {
        const int64_t p = add_prompt(c, 5);
        put(c, p, 400, i < 3 ? 120 : 70);
        put(c, p, (uint64_t)(410 + i), 20 + 30 * i);
    }
}

/* ---- continuations ---- */

/* A candidate in letters: g is what the model says there by itself, r a random token, R one that
 * all candidates of the prompt have there. */
static void candidate(corpus *c, int64_t i, const int32_t *said, const char *letters) {
    mn_request *r = &c->requests[i];
    const uint64_t common = (uint64_t)(1000 + 10 * i),
                   own = common + 1 + (uint64_t)r->candidate_count;
    mn_ids *ids = &c->candidates[i][r->candidate_count++];
    for (size_t k = 0; letters[k]; k++)
        MN_ASSERT_OK(mn_ids_push(ids, letters[k] == 'g'
                                          ? said[k]
                                          : random_id(&c->s, letters[k] == 'R' ? common : own, k)));
}

/* Candidates that the model follows not at all, partly, to the end; of equal and different lengths;
 * with common beginnings; inside one another; the same twice; one alone; none. */
static const char *const shapes[SHAPES][MN_MAX_CANDIDATES + 1] = {
    {NULL},
    {"gr", "gg", "gr"},
    {"gggg"},
    {"r", "g", "r"},
    {"g", "gg", "ggg", "gggg"},
    {"R", "Rr", "RRr", "RRRR", "grr", "ggr", "R", "gggg"},
    {"ggrg", "gggr"},
    {"rrr"},
};

static bool same_ids(const mn_ids *a, const mn_ids *b) {
    return a->len == b->len && memcmp(a->data, b->data, a->len * sizeof *a->data) == 0;
}

static void answer_naively(corpus *c, int64_t i) {
    mn_request *r = &c->requests[i];
    wanted *w = &c->want[i];
    for (int k = 0; k < r->candidate_count; k++) {
        w->logprob[k] = naive_score(&c->s, r->ids, r->len, &c->candidates[i][k], &w->greedy[k],
                                    &c->margin);
        if (w->logprob[k] > w->logprob[w->best]) w->best = k;
    }
    for (int k = 0; k < r->candidate_count; k++)
        if (!same_ids(&c->candidates[i][k], &c->candidates[i][w->best]))
            c->margin = fmin(c->margin, w->logprob[w->best] - w->logprob[k]);
    w->generated.len = (size_t)r->max_new_tokens;
}

static void corpus_open(corpus *c, const char *folder) {
    *c = (corpus){.margin = INFINITY};
    subject_open(&c->s, folder, 1);
    /* Two computations in single precision may be twice as far apart as one is from the truth. */
    c->tolerance = fmax(1e-5, 2 * naive_error(&c->s, folder));
    if (!(c->tolerance < 1e-4)) fail_msg("%s: off by %g already", folder, c->tolerance / 2);
    add_pages(c);
    add_beginnings(c);
    add_long(c);
    for (int64_t i = 0; i < c->count; i++) {
        const int shape = (int)(i * 3 % SHAPES);
        mn_request *r = &c->requests[i];
        r->ids = c->prompts[i].data;
        r->len = (int64_t)c->prompts[i].len;
        r->candidates = c->candidates[i];
        r->max_new_tokens = shape == 7 ? 0 : 1 + i * 7 % NEW;
        const int64_t said = r->max_new_tokens < 4 ? 4 : r->max_new_tokens;
        naive_generate(&c->s, r->ids, r->len, said, &c->want[i].generated, &c->margin);
        for (int k = 0; k < MN_MAX_CANDIDATES && shapes[shape][k]; k++)
            candidate(c, i, c->want[i].generated.data, shapes[shape][k]);
        answer_naively(c, i);
    }
    if (!(c->margin > 2 * c->tolerance))
        fail_msg("%s: the likeliest token leads by %g only: choose other prompts", folder,
                 c->margin);
}

static void corpus_close(corpus *c) {
    for (int64_t i = 0; i < c->count; i++) {
        mn_ids_free(&c->prompts[i]);
        mn_ids_free(&c->want[i].generated);
        for (int k = 0; k < MN_MAX_CANDIDATES; k++) mn_ids_free(&c->candidates[i][k]);
    }
    subject_close(&c->s);
}

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
            worst = fmax(worst, off);
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
