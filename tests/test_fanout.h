/* test_fanout.h - a crowd of variants, their prompts, and what each of them says alone. */
#ifndef MNEME_TESTS_TEST_FANOUT_H
#define MNEME_TESTS_TEST_FANOUT_H

#include "test_complete.h"

#include "mneme/tape.h"

#include <stdio.h>

enum { VARIANTS = 4, PROMPTS = 24, NEW = 8, HIDDEN = 6 };

typedef struct wanted {
    double logprob[3];
    int best;
    mn_ids generated;
    int64_t matched; /* tokens of the candidates' common part that are generated */
} wanted;

typedef struct crowd {
    subject base, alone[VARIANTS]; /* alone: the base's model, a session of one variant */
    mn_memory *memories[VARIANTS]; /* the first one NULL */
    const mn_memory *variants[VARIANTS];
    mn_ids prompts[PROMPTS], candidates[PROMPTS][3];
    mn_request requests[PROMPTS];
    wanted want[VARIANTS][PROMPTS];
    double margin, tolerance;
} crowd;

/* Behind blocks of different variants: some share the lowest, one begins higher, one stands in two. */
static const int64_t places[VARIANTS][3] = {{0}, {1, 0}, {2, 0, 1}, {1, 1}};

static void make_memories(crowd *c, int64_t shift) {
    static const char *const names[] = {NULL, "doc", "temp", "doctemp"};
    for (int v = 1; v < VARIANTS; v++) {
        int64_t blocks[2];
        const int64_t last = c->base.model->config.layers - 1;
        for (int i = 0; i < places[v][0]; i++) {
            blocks[i] = places[v][1 + i] + shift;
            assert_true(blocks[i] <= last);
        }
        const mn_memory_options options = {.name = names[v],
                                           .hidden = v == 2 ? HIDDEN + 3 : HIDDEN,
                                           .blocks = blocks,
                                           .block_count = places[v][0],
                                           .gate = 0.4 * v,
                                           .seed = (uint64_t)(10 + v)};
        MN_ASSERT_OK(mn_memory_create(&c->memories[v], c->base.model, &options));
        /* biases and norms that do something, too */
        for (int64_t p = 0; p < c->memories[v]->count * MN_MEMORY_PARAMS; p++) {
            mn_memory_param param;
            mn_memory_param_at(&param, c->memories[v], p);
            float *x = param.tensor->data;
            for (int64_t i = 0; i < mn_tensor_count(param.tensor); i++)
                if (param.group != MN_PARAM_GATE)
                    x[i] += 0.1f * (float)(mn_rng_uniform(5, (uint64_t)p, (uint64_t)i) - 0.5);
        }
        c->variants[v] = c->memories[v];
    }
}

/* A subject of its own for naive_*: the same model, one variant. */
static void open_alone(crowd *c, int v) {
    const mn_session_options options = {.max_tokens = POSITIONS,
                                        .kv_rows = POSITIONS,
                                        .max_seqs = 1,
                                        .max_logits = POSITIONS,
                                        .variants = &c->variants[v],
                                        .variant_count = 1};
    c->alone[v] = c->base;
    MN_ASSERT_OK(mn_session_open(&c->alone[v].session, c->base.model, &options));
}

static void put(crowd *c, int64_t i, uint64_t stream, int64_t len) {
    for (int64_t k = 0; k < len; k++)
        MN_ASSERT_OK(mn_ids_push(&c->prompts[i], random_id(&c->base, stream, (uint64_t)k)));
}

/* Candidates that begin with what one of the variants says, for 0 to 5 common tokens: the others part
 * from it somewhere, each at its own place. */
static void add_candidates(crowd *c, int64_t i) {
    const mn_ids *said = &c->want[i % VARIANTS][i].generated;
    const int64_t common = i % 6;
    mn_request *r = &c->requests[i];
    r->candidate_count = 3;
    r->candidates = c->candidates[i];
    for (int k = 0; k < 3; k++) {
        MN_ASSERT_OK(mn_ids_append(&c->candidates[i][k], said->data, (size_t)common));
        for (int n = 0; n < 1 + k; n++)
            MN_ASSERT_OK(mn_ids_push(
                &c->candidates[i][k],
                n == 0 ? (said->data[common] + k) % (int32_t)c->base.vocab
                       : random_id(&c->base, (uint64_t)(900 + i), (uint64_t)(k * 5 + n))));
    }
    for (int v = 0; v < VARIANTS; v++) {
        wanted *w = &c->want[v][i];
        while (w->matched < common && w->generated.data[w->matched] == said->data[w->matched])
            w->matched++;
        for (int k = 0; k < 3; k++) {
            bool greedy;
            w->logprob[k] = naive_score(&c->alone[v], r->ids, r->len, &c->candidates[i][k], &greedy,
                                        &c->margin);
            if (w->logprob[k] > w->logprob[w->best]) w->best = k;
        }
        for (int k = 0; k < 3; k++)
            if (k != w->best) c->margin = fmin(c->margin, w->logprob[w->best] - w->logprob[k]);
    }
}

static void crowd_open(crowd *c, const char *folder, int64_t shift) {
    *c = (crowd){.margin = INFINITY};
    subject_open(&c->base, folder, 1);
    /* Two computations in single precision may be twice as far apart as one is from the truth. */
    c->tolerance = fmax(1e-5, 2 * naive_error(&c->base, folder));
    make_memories(c, shift);
    for (int v = 0; v < VARIANTS; v++) open_alone(c, v);
    for (int64_t i = 0; i < PROMPTS; i++) {
        put(c, i, 1, 15);
        put(c, i, (uint64_t)(2 + i % 3), 12 + 7 * (i % 2)); /* three pages, two lengths */
        put(c, i, (uint64_t)(100 + i), 3 + i % 5);
        c->requests[i] = (mn_request){.ids = c->prompts[i].data,
                                      .len = (int64_t)c->prompts[i].len,
                                      .group = i % 3,
                                      .max_new_tokens = i % 7 == 6 ? 0 : NEW};
        for (int v = 0; v < VARIANTS; v++)
            naive_generate(&c->alone[v], c->requests[i].ids, c->requests[i].len, NEW,
                           &c->want[v][i].generated, &c->margin);
        if (i % 5 != 4) add_candidates(c, i);
    }
    if (!(c->margin > 2 * c->tolerance))
        fail_msg("%s: the likeliest token leads by %g only: choose other prompts", folder,
                 c->margin);
}

static void crowd_close(crowd *c) {
    for (int v = 0; v < VARIANTS; v++) {
        mn_session_close(&c->alone[v].session);
        mn_memory_close(&c->memories[v]);
        for (int64_t i = 0; i < PROMPTS; i++) mn_ids_free(&c->want[v][i].generated);
    }
    for (int64_t i = 0; i < PROMPTS; i++) {
        mn_ids_free(&c->prompts[i]);
        for (int k = 0; k < 3; k++) mn_ids_free(&c->candidates[i][k]);
    }
    subject_close(&c->base);
}

#endif
