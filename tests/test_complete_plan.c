/* test_complete_plan.c - scores against Hugging Face transformers, what a plan computes and holds,
 * what it refuses, and the hooks of a run. */
#include "test_complete.h"

#include "mneme/signals.h"

#include <stdio.h>

enum { KEPT = 32 };

/* ---- against transformers ---- */

/* All kept positions of the long sequence at once: prompts that are beginnings of one another, up
 * to 513 tokens. Candidates: the token that follows, then others; some share their beginnings. */
static void check_reference(const char *folder, const setting *how) {
    subject s;
    reference ref;
    int32_t tokens[KEPT][MN_MAX_CANDIDATES];
    mn_ids candidates[KEPT][MN_MAX_CANDIDATES];
    mn_request requests[KEPT];
    const mn_complete_hooks hooks = {.eos = -1};
    subject_open(&s, folder, 2);
    reference_open(&ref, &s, folder);
    assert_in_range(ref.count, 8, KEPT);
    for (int64_t i = 0; i < ref.count; i++) {
        const int64_t len = ref.rows[i] + 1;
        for (int k = 0; k < MN_MAX_CANDIDATES; k++) {
            tokens[i][k] = k == 0 && len < ref.len ? ref.ids[len]
                                                   : random_id(&s, (uint64_t)i, (uint64_t)k);
            candidates[i][k] = (mn_ids){.data = &tokens[i][k], .len = 1};
        }
        requests[i] = (mn_request){.ids = ref.ids,
                                   .len = len,
                                   .group = -1,
                                   .candidates = candidates[i],
                                   .candidate_count = MN_MAX_CANDIDATES};
    }
    mn_completion *got = complete(&s, requests, ref.count, how, &hooks);
    for (int64_t i = 0; i < ref.count; i++) {
        const float *x = ref.logits + i * s.vocab;
        for (int k = 0; k < MN_MAX_CANDIDATES; k++) {
            const double want = reference_logprob(&ref, &s, i, tokens[i][k]);
            bool best = true;
            for (int64_t v = 0; v < s.vocab; v++) best = best && x[v] <= x[tokens[i][k]];
            if (!(fabs(got[i].logprob[k] - want) <= 2e-4 * ref.range))
                fail_msg("%s: token %d behind position %d: log-probability %g, transformers %g",
                         folder, tokens[i][k], ref.rows[i], got[i].logprob[k], want);
            assert_int_equal(got[i].greedy[k], best);
        }
    }
    drop(got, ref.count);
    mn_checkpoint_close(&ref.file);
    subject_close(&s);
}

static void test_reference(void **state) {
    static const char *const folders[] = {
        "tests/golden/neox-parallel", "tests/golden/neox-sequential", "tests/golden/neox-bf16",
        "tests/golden/neox-bin",      "tests/golden/llama-mha",       "tests/golden/llama-gqa",
        "tests/golden/llama-bin"};
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        check_reference(folders[i], &(setting){.share = true});
    check_reference(folders[0], &(setting){.batch_size = 3, .share = true, .max_tokens = 100});
    check_reference(folders[5], &(setting){.batch_size = 1});
}

/* The continuation that transformers generates, 64 tokens, scored as one candidate of 64, in pieces
 * behind longer and longer prompts, and generated. */
static void test_reference_greedy(void **state) {
    enum { SAID = 64 };
    const char *const folder = "tests/golden/llama-mha";
    subject s;
    reference ref;
    int32_t ids[POSITIONS];
    mn_ids candidates[SAID + 1];
    mn_request requests[SAID + 1];
    const mn_complete_hooks hooks = {.eos = -1};
    (void)state;
    subject_open(&s, folder, 1);
    reference_open(&ref, &s, folder);
    const mn_tensor *prompt = reference_tensor(&ref, "greedy_prompt");
    const int64_t len = prompt->shape[0];
    memcpy(ids, prompt->data, (size_t)len * sizeof *ids);
    memcpy(ids + len, reference_tensor(&ref, "greedy_ids")->data, SAID * sizeof *ids);
    for (int i = 0; i < SAID; i++) {
        candidates[i] = (mn_ids){.data = ids + len + i, .len = 1};
        requests[i] = (mn_request){.ids = ids,
                                   .len = len + i,
                                   .group = 0,
                                   .candidates = &candidates[i],
                                   .candidate_count = 1};
    }
    candidates[SAID] = (mn_ids){.data = ids + len, .len = SAID};
    requests[SAID] = (mn_request){.ids = ids,
                                  .len = len,
                                  .group = 1,
                                  .candidates = &candidates[SAID],
                                  .candidate_count = 1,
                                  .max_new_tokens = SAID};
    mn_completion *got = complete(&s, requests, SAID + 1, &(setting){.share = true}, &hooks);
    double sum = 0;
    for (int i = 0; i < SAID; i++) {
        assert_true(got[i].greedy[0]);
        sum += got[i].logprob[0];
    }
    assert_true(got[SAID].greedy[0]);
    assert_true(fabs(got[SAID].logprob[0] - sum) <= 1e-6 * SAID);
    assert_int_equal(got[SAID].generated.len, SAID);
    assert_memory_equal(got[SAID].generated.data, ids + len, SAID * sizeof *ids);
    drop(got, SAID + 1);
    mn_checkpoint_close(&ref.file);
    subject_close(&s);
}

/* ---- plans ---- */

/* `count` prompts with `common` equal tokens and then `own` different ones. */
typedef struct family {
    int32_t ids[16][128];
    mn_request requests[16];
} family;

static void make_family(family *f, const subject *s, int count, int common, int own) {
    for (int i = 0; i < count; i++) {
        for (int t = 0; t < common + own; t++)
            f->ids[i][t] = random_id(s, t < common ? 50 : (uint64_t)(51 + i), (uint64_t)t);
        if (own) f->ids[i][common] = i; /* surely different */
        f->requests[i] = (mn_request){.ids = f->ids[i], .len = common + own, .max_new_tokens = 4};
    }
}

static void expect_plan(const subject *s, const mn_request *requests, int64_t count, setting how,
                        int64_t batches, int64_t tokens, int64_t most_rows) {
    int64_t all = 0;
    mn_session_options room;
    mn_plan *plan = make_plan(s, requests, count, &how);
    for (int64_t i = 0; i < count; i++) all += requests[i].len;
    mn_plan_session(&room, plan);
    assert_int_equal(mn_plan_prompt_tokens(plan), all);
    assert_int_equal(mn_plan_tokens(plan), tokens);
    assert_int_equal(mn_plan_batches(plan), batches);
    assert_true(room.kv_rows <= most_rows);
    mn_plan_close(&plan);
    assert_null(plan);
    mn_plan_close(&plan);
}

static void test_plan(void **state) {
    subject s;
    family *f = malloc(sizeof *f);
    (void)state;
    assert_non_null(f);
    subject_open(&s, "tests/golden/neox-bf16", 1);
    make_family(f, &s, 6, 40, 5);
    const mn_request *r = f->requests;
    /* Rows of the cache: the trunk once, and per prompt its own 5 tokens and 4 new ones. */
    expect_plan(&s, r, 6, (setting){64, true, 0, 0}, 1, 40 + 6 * 5, 40 + 6 * 9);
    expect_plan(&s, r, 6, (setting){64, false, 0, 0}, 1, 6 * 45, 6 * 49);
    expect_plan(&s, r, 6, (setting){4, true, 0, 0}, 2, 40 + 6 * 5, 40 + 4 * 9);
    expect_plan(&s, r, 6, (setting){1, true, 0, 0}, 6, 40 + 6 * 5, 40 + 9);
    /* A small cache makes slices of the group; the trunk is still computed once. */
    expect_plan(&s, r, 6, (setting){64, true, 0, 60}, 3, 40 + 6 * 5, 60);
    expect_plan(&s, r, 6, (setting){64, false, 0, 100}, 3, 6 * 45, 100);
    expect_plan(&s, r, 6, (setting){64, true, 0, 1}, 6, 40 + 6 * 5, 49);
    /* Found without being told; nothing to share below eight tokens; nothing at all. */
    for (int i = 0; i < 6; i++) f->requests[i].group = -1;
    expect_plan(&s, r, 6, (setting){64, true, 0, 0}, 1, 40 + 6 * 5, 40 + 6 * 9);
    make_family(f, &s, 6, 7, 5);
    expect_plan(&s, r, 6, (setting){64, true, 0, 0}, 1, 6 * 12, 6 * 16);
    make_family(f, &s, 6, 0, 30);
    expect_plan(&s, r, 6, (setting){64, true, 0, 0}, 1, 6 * 30, 6 * 34);
    /* The same prompt six times: its last token is everybody's own. */
    make_family(f, &s, 6, 20, 0);
    expect_plan(&s, r, 6, (setting){64, true, 0, 0}, 1, 20 + 6, 20 + 6 * 5);
    /* k-shot prompts nest: 10, 20, 30 common tokens and 5 own, all on the path of the longest. */
    make_family(f, &s, 6, 30, 5);
    for (int i = 0; i < 4; i++) {
        f->requests[i].len = (i < 2 ? 10 : 20) + 5;
        for (int t = 0; t < 5; t++) f->ids[i][(i < 2 ? 10 : 20) + t] = 100 + i;
    }
    expect_plan(&s, r, 6, (setting){64, true, 0, 0}, 1, 30 + 6 * 5, 30 + 6 * 9);
    /* Beginnings of one text, in no order: the last token of each is its own. */
    static const int lengths[] = {40, 10, 35, 12, 40, 20};
    make_family(f, &s, 6, 40, 0);
    for (int i = 0; i < 6; i++) {
        f->requests[i].len = lengths[i];
        for (int k = lengths[i]; k < 128; k++) f->ids[i][k] = -1; /* nobody reads on */
    }
    expect_plan(&s, r, 6, (setting){64, true, 0, 0}, 1, 40 + 6, 40 + 6 * 5);
    expect_plan(&s, r, 0, (setting){64, true, 0, 0}, 0, 0, 1);
    free(f);
    subject_close(&s);
}

static void test_refused(void **state) {
    subject s;
    mn_plan *plan = NULL;
    const mn_plan_options options = {.share_prefixes = true};
    const int32_t *const ids = calloc(POSITIONS + 1, sizeof *ids);
    mn_ids candidates[MN_MAX_CANDIDATES + 1] = {{0}};
    (void)state;
    assert_non_null(ids);
    subject_open(&s, "tests/golden/llama-bin", 1);
    mn_request r[2] = {{.ids = ids, .len = 5, .max_new_tokens = 1}, {.ids = ids}};
    MN_ASSERT_FAILS(mn_plan_make(&plan, s.model, r, 2, &options), MN_ERR_DATA, "prompt 1 is empty");
    assert_null(plan);
    for (int i = 0; i <= MN_MAX_CANDIDATES; i++)
        candidates[i] = (mn_ids){.data = (int32_t *)(uintptr_t)ids, .len = 1};
    r[1] = (mn_request){
        .ids = ids, .len = 5, .candidates = candidates, .candidate_count = MN_MAX_CANDIDATES + 1};
    MN_ASSERT_FAILS(mn_plan_make(&plan, s.model, r, 2, &options), MN_ERR_USAGE,
                    "prompt 1 has 9 candidates, at most 8");
    r[1].candidate_count = 3;
    candidates[2].len = 0;
    MN_ASSERT_FAILS(mn_plan_make(&plan, s.model, r, 2, &options), MN_ERR_DATA,
                    "candidate 2 of prompt 1 has no tokens");
    candidates[2].len = 4;
    r[1].len = POSITIONS - 4;
    MN_ASSERT_OK(mn_plan_make(&plan, s.model, r, 2, &options));
    mn_plan_close(&plan);
    r[1].len++;
    MN_ASSERT_FAILS(mn_plan_make(&plan, s.model, r, 2, &options), MN_ERR_DATA,
                    "prompt 1 has 637 tokens and 4 may follow; the model has 640 positions");
    r[1].candidate_count = 0;
    r[1].max_new_tokens = 4;
    MN_ASSERT_FAILS(mn_plan_make(&plan, s.model, r, 2, &options), MN_ERR_DATA, "prompt 1 has 637");
    assert_null(plan);

    /* Token ids that the model does not have: as prompt, as continuation. */
    int32_t bad[] = {1, 2, 157, -1};
    mn_completion answers[1] = {{.outputs = 0}};
    const mn_complete_hooks hooks = {.eos = -1};
    for (int i = 0; i < 2; i++) {
        const mn_ids next = {.data = bad + 2 + i, .len = 1};
        const mn_request scored = {.ids = bad, .len = 2, .candidates = &next, .candidate_count = 1};
        const mn_request prompt = {.ids = bad + 2 + i, .len = 1, .max_new_tokens = 1};
        plan = make_plan(&s, &scored, 1, &(setting){0});
        assert_int_not_equal(run_plan(&s, plan, answers, &hooks), MN_OK);
        assert_non_null(strstr(mn_error(), i ? "-1" : "157"));
        mn_plan_close(&plan);
        plan = make_plan(&s, &prompt, 1, &(setting){0});
        assert_int_not_equal(run_plan(&s, plan, answers, &hooks), MN_OK);
        assert_non_null(strstr(mn_error(), i ? "-1" : "157"));
        mn_plan_close(&plan);
    }
    mn_completions_free(answers, 1);
    free((void *)(uintptr_t)ids);
    subject_close(&s);
}

/* ---- hooks ---- */

typedef struct record {
    int done[16], skipped[16];
    int batches;
    int skip_from, skip_to, fail_at, stop_at; /* batches, -1: never */
    int seen;
} record;

static bool skip_batch(void *context, const int64_t *requests, int64_t count) {
    record *r = context;
    const int batch = r->seen++;
    if (batch < r->skip_from || batch >= r->skip_to) return false;
    for (int64_t i = 0; i < count; i++) r->skipped[requests[i]]++;
    return true;
}

static mn_status batch_done(void *context, const int64_t *requests, int64_t count) {
    record *r = context;
    if (r->batches == r->fail_at) return mn_fail(MN_ERR_IO, "the disk is full");
    if (r->batches == r->stop_at) mn_stop_request();
    r->batches++;
    for (int64_t i = 0; i < count; i++) r->done[requests[i]]++;
    return MN_OK;
}

static mn_status run_recorded(const subject *s, const mn_request *requests, int64_t count,
                              const setting *how, mn_completion *answers, record *r) {
    const mn_complete_hooks hooks = {
        .context = r, .skip = skip_batch, .done = batch_done, .eos = -1};
    mn_plan *plan = make_plan(s, requests, count, how);
    const mn_status st = run_plan(s, plan, answers, &hooks);
    mn_plan_close(&plan);
    return st;
}

/* Answers of a run that leaves batches out, as one that is resumed does, are those of a whole run;
 * also where the batch that computes a trunk is left out and its later slices are not. */
static void test_skip(void **state) {
    static const setting settings[] = {
        {2, true, 0, 0}, {2, true, 0, 50}, {3, false, 0, 0}, {64, true, 0, 45}};
    static const int ranges[][2] = {{0, 1}, {0, 2}, {1, 2}, {1, 3}, {2, 99}, {0, 99}};
    subject s;
    family *f = malloc(sizeof *f);
    (void)state;
    assert_non_null(f);
    subject_open(&s, "tests/golden/neox-bf16", 1);
    make_family(f, &s, 10, 30, 6);
    for (int i = 5; i < 10; i++) { /* the second group */
        f->requests[i].group = 1;
        f->ids[i][0] ^= 1;
    }
    for (size_t k = 0; k < sizeof settings / sizeof *settings; k++)
        for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
            record all = {.fail_at = -1, .stop_at = -1}, part = all;
            mn_completion whole[16] = {{.outputs = 0}}, rest[16] = {{.outputs = 0}};
            part.skip_from = ranges[i][0];
            part.skip_to = ranges[i][1];
            MN_ASSERT_OK(run_recorded(&s, f->requests, 10, &settings[k], whole, &all));
            MN_ASSERT_OK(run_recorded(&s, f->requests, 10, &settings[k], rest, &part));
            for (int r = 0; r < 10; r++) {
                assert_int_equal(all.done[r], 1);
                assert_int_equal(part.done[r] + part.skipped[r], 1);
                assert_int_equal(whole[r].generated.len, 4);
                assert_int_equal(rest[r].generated.len, part.skipped[r] ? 0 : 4);
                if (part.done[r])
                    assert_memory_equal(rest[r].generated.data, whole[r].generated.data,
                                        4 * sizeof(int32_t));
            }
            mn_completions_free(whole, 16);
            mn_completions_free(rest, 16);
        }
    free(f);
    subject_close(&s);
}

static void test_failing_hook(void **state) {
    subject s;
    family *f = malloc(sizeof *f);
    mn_completion answers[16] = {{.outputs = 0}};
    record r = {.fail_at = 2, .stop_at = -1};
    (void)state;
    assert_non_null(f);
    subject_open(&s, "tests/golden/neox-bf16", 1);
    make_family(f, &s, 10, 30, 6);
    MN_ASSERT_FAILS(run_recorded(&s, f->requests, 10, &(setting){.batch_size = 2}, answers, &r),
                    MN_ERR_IO, "the disk is full");
    assert_int_equal(r.batches, 2);
    assert_int_equal(r.seen, 5); /* batches, before the first was computed */
    mn_completions_free(answers, 16);
    free(f);
    subject_close(&s);
}

/* The last test of this file: nothing takes a stop request back. */
static void test_stop_request(void **state) {
    subject s;
    family *f = malloc(sizeof *f);
    mn_completion answers[16] = {{.outputs = 0}};
    record r = {.fail_at = -1, .stop_at = 2};
    (void)state;
    assert_non_null(f);
    subject_open(&s, "tests/golden/neox-bf16", 1);
    make_family(f, &s, 10, 30, 6);
    MN_ASSERT_FAILS(run_recorded(&s, f->requests, 10, &(setting){.batch_size = 2}, answers, &r),
                    MN_STOPPED, "stopped on request after 3 of 5 batches");
    assert_int_equal(r.batches, 3);
    mn_completions_free(answers, 16);
    free(f);
    subject_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),    cmocka_unit_test(test_reference_greedy),
        cmocka_unit_test(test_plan),         cmocka_unit_test(test_refused),
        cmocka_unit_test(test_skip),         cmocka_unit_test(test_failing_hook),
        cmocka_unit_test(test_stop_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
