/* test_corpus.h - prompts and continuations of every shape, with what a golden model says to each of them when
 * it is computed alone (test_complete.h). */
#ifndef MNEME_TEST_CORPUS_H
#define MNEME_TEST_CORPUS_H

#include "test_complete.h"

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

static inline int64_t add_prompt(corpus *c, int64_t group) {
    assert_true(c->count < MOST);
    c->requests[c->count].group = group;
    return c->count++;
}

/* The same stream gives the same tokens. */
static inline void put(corpus *c, int64_t prompt, uint64_t stream, int64_t len) {
    for (int64_t i = 0; i < len; i++)
        MN_ASSERT_OK(mn_ids_push(&c->prompts[prompt], random_id(&c->s, stream, (uint64_t)i)));
}

/* A header, some of the page's demonstrations, a claim; every k-shot prompt begins like k + 1. */
static inline void add_pages(corpus *c) {
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
static inline void add_beginnings(corpus *c) {
    static const int lengths[] = {1, 7, 8, 9, 10, 30, 31, 31, 70};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        put(c, add_prompt(c, 2), 200, lengths[i]);
    put(c, add_prompt(c, 3), 300, 1);
    put(c, add_prompt(c, 3), 300, 1);
    put(c, add_prompt(c, 3), 301, 25);
    put(c, add_prompt(c, 4), 302, 12);
}

/* Longer than the passes that some settings allow, shared beyond them. */
static inline void add_long(corpus *c) {
    for (int i = 0; i < 4; i++) {
        const int64_t p = add_prompt(c, 5);
        put(c, p, 400, i < 3 ? 120 : 70);
        put(c, p, (uint64_t)(410 + i), 20 + 30 * i);
    }
}

/* ---- continuations ---- */

/* A candidate in letters: g is what the model says there by itself, r a random token, R one that
 * all candidates of the prompt have there. */
static inline void candidate(corpus *c, int64_t i, const int32_t *said, const char *letters) {
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

static inline bool same_ids(const mn_ids *a, const mn_ids *b) {
    if (a->len != b->len) return false;
    return a->len == 0 || memcmp(a->data, b->data, a->len * sizeof *a->data) == 0;
}

static inline void answer_naively(corpus *c, int64_t i) {
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

static inline void corpus_open(corpus *c, const char *folder) {
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

static inline void corpus_close(corpus *c) {
    for (int64_t i = 0; i < c->count; i++) {
        mn_ids_free(&c->prompts[i]);
        mn_ids_free(&c->want[i].generated);
        for (int k = 0; k < MN_MAX_CANDIDATES; k++) mn_ids_free(&c->candidates[i][k]);
    }
    subject_close(&c->s);
}

#endif
