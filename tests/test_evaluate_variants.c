/* test_evaluate_variants.c - base and memories in one evaluation: rows, samples and audit are those of
 * evaluations one by one; what has no effect is refused by name. */
#include "test_evaluate.h"

enum { ROWS = 20, MEMORIES = MOST_MEMORIES, SHOTS = 2, VARIANTS = MEMORIES + 1 };

static const char *const names[MEMORIES] = {"gpt_wikipage", "gpt_template-wd0.05", "both"};

static mn_memory *make_memory(world *w, const char *name, const int64_t *blocks, int64_t count,
                              double gate, uint64_t seed) {
    const mn_memory_options options = {.name = name,
                                       .hidden = 5,
                                       .blocks = blocks,
                                       .block_count = count,
                                       .gate = gate,
                                       .seed = seed};
    mn_memory *m = NULL;
    MN_ASSERT_OK(mn_memory_create(&m, w->s.model, &options));
    return m;
}

static int set_up(void **state) {
    world *w = world_open(100);
    static const int64_t blocks[] = {1, 2, 3};
    w->memories[0] = make_memory(w, names[0], blocks + 1, 1, 0.5, 1);
    w->memories[1] = make_memory(w, names[1], blocks + 1, 2, 0.8, 2);
    w->memories[2] = make_memory(w, names[2], blocks, 2, 1, 3);
    for (int i = 0; i < MEMORIES; i++) w->list[i] = w->memories[i];
    w->options.shots[1] = 1;
    w->options.shots_count = SHOTS;
    w->options.limit = ROWS;
    w->options.batch_size = 7;
    w->options.max_gen_toks = 6;
    w->options.memories = w->list;
    w->options.memory_count = MEMORIES;
    *state = w;
    return 0;
}

static mn_evaluation *evaluate(world *w) {
    mn_evaluation *e = NULL;
    MN_ASSERT_OK(mn_evaluation_run(&e, w->s.model, w->tokenizer, w->fever, &w->options));
    return e;
}

/* One variant by itself: memory v - 1, or the base alone. */
static mn_evaluation *evaluate_alone(world *w, int v) {
    const mn_eval_options all = w->options;
    w->options.memories = v > 0 ? w->list + v - 1 : NULL;
    w->options.memory_count = v > 0;
    w->options.no_base = v > 0;
    mn_evaluation *e = evaluate(w);
    w->options = all;
    return e;
}

/* Entry of a fan-out: scorings, then shots, then variants. */
static const mn_result_entry *entry_of(const mn_results *r, int mode, int variants, int v) {
    return &r->entries[mode * variants + v];
}

static void close_enough(double a, double b, const char *what) {
    /* the same sums, of numbers that other batches round differently */
    if (!(fabs(a - b) <= 1e-5 * fabs(b))) fail_msg("%s: %.9g and %.9g", what, a, b);
}

static void compare_effect(const mn_effect *a, const mn_effect *b) {
    assert_string_equal(a->variant, b->variant);
    assert_int_equal(a->memory_count, b->memory_count);
    for (int64_t m = 0; m < a->memory_count; m++) {
        assert_int_equal(a->memories[m].block, b->memories[m].block);
        close_enough(a->memories[m].relative_change, b->memories[m].relative_change, "|dh|/|h|");
    }
}

static void test_one_by_one(void **state) {
    static const struct {
        int64_t batch_size;
        bool share;
    } ways[] = {{7, true}, {1, true}, {64, true}, {0, true}, {7, false}};
    world *w = *state;
    mn_evaluation *alone[VARIANTS];
    int changed = 0;
    for (int v = 0; v < VARIANTS; v++) alone[v] = evaluate_alone(w, v);
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        w->options.batch_size = ways[k].batch_size;
        w->options.share_prefixes = ways[k].share;
        mn_evaluation *e = evaluate(w);
        const mn_results *got = mn_evaluation_results(e);
        assert_int_equal(got->count, 2 * SHOTS * VARIANTS);
        assert_int_equal(got->effect_count, MEMORIES);
        for (int v = 0; v < VARIANTS; v++) {
            const mn_results *want = mn_evaluation_results(alone[v]);
            assert_int_equal(want->count, 2 * SHOTS);
            for (int mode = 0; mode < 2 * SHOTS; mode++) {
                const mn_result_entry *a = entry_of(got, mode, VARIANTS, v);
                const mn_result_entry *b = &want->entries[mode];
                assert_string_equal(a->task, b->task);
                assert_memory_equal(a->pred, b->pred, ROWS);
                const mn_result_entry *base = entry_of(got, mode, VARIANTS, 0);
                int64_t differ = 0;
                for (int i = 0; i < ROWS; i++) differ += a->pred[i] != base->pred[i];
                const size_t at = (size_t)(a - got->entries);
                assert_int_equal(mn_results_changed(got, at), v ? differ : -1);
                changed += differ > 0;
                /* without the base there is nothing to count from */
                assert_int_equal(mn_results_changed(want, (size_t)mode), -1);
                if (v == 0) continue;
                assert_int_equal(a->comparison.reference, base - got->entries);
            }
            if (v == 0) {
                assert_int_equal(want->effect_count, 0);
                continue;
            }
            compare_effect(&got->effects[v - 1], &want->effects[0]);
            /* alone it has been compared in the first batch only */
            assert_true(want->effects[0].max_logit_change > 0);
            assert_true(want->effects[0].max_logit_change <=
                        got->effects[v - 1].max_logit_change * (1 + 1e-4));
        }
        mn_evaluation_close(&e);
    }
    if (changed < 40)
        fail_msg("only %d of %d rows of variants differ from the base's", changed,
                 5 * 2 * SHOTS * MEMORIES);
    for (int v = 0; v < VARIANTS; v++) mn_evaluation_close(&alone[v]);
}

/* ---- files ---- */

static const cJSON *at(const cJSON *node, const char *key) {
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(node, key);
    if (!found) fail_msg("no key %s", key);
    return found;
}

static void check_audit_json(const mn_results *r, const cJSON *root) {
    const cJSON *audit = at(root, "effect_audit");
    assert_int_equal(cJSON_GetArraySize(audit), MEMORIES);
    for (int v = 1; v < VARIANTS; v++) {
        const cJSON *one = at(audit, names[v - 1]), *memories = at(one, "memories");
        const mn_effect *f = &r->effects[v - 1];
        assert_int_equal(cJSON_GetArraySize(memories), f->memory_count);
        for (int m = 0; m < (int)f->memory_count; m++) {
            const cJSON *memory = cJSON_GetArrayItem(memories, m);
            assert_int_equal(at(memory, "block")->valueint, f->memories[m].block);
            assert_true(at(memory, "relative_change")->valuedouble ==
                        f->memories[m].relative_change);
        }
        assert_true(at(one, "max_logit_change")->valuedouble == f->max_logit_change);
        const cJSON *changed = at(one, "changed_predictions");
        assert_int_equal(cJSON_GetArraySize(changed), 2 * SHOTS);
        assert_int_equal(at(changed, "fever_1shot")->valueint,
                         entry_of(r, 1, VARIANTS, v)->comparison.changed);
        assert_int_equal(at(changed, "fever_0shot_choice")->valueint,
                         entry_of(r, 2, VARIANTS, v)->comparison.changed);
    }
}

static void test_files(void **state) {
    world *w = *state;
    mn_evaluation *e = evaluate(w);
    const mn_results *r = mn_evaluation_results(e);
    mn_buf path = {0}, table = {0};
    mn_json *doc = NULL;
    MN_ASSERT_OK(mn_evaluation_write(e, &path));
    assert_string_equal(path.data, only_file(w->out.text, "demo-model/results_*.json").text);
    MN_ASSERT_OK(mn_json_load(&doc, path.data));
    const cJSON *results = at(doc->root, "results");
    assert_int_equal(cJSON_GetArraySize(results), 2 * SHOTS * VARIANTS);
    assert_string_equal(at(at(results, "fever_1shot"), "variant")->valuestring, "pretrained");
    const cJSON *entry = at(results, "fever_1shot_choice@gpt_template-wd0.05");
    assert_string_equal(at(entry, "variant")->valuestring, "gpt_template-wd0.05");
    assert_string_equal(at(entry, "scoring")->valuestring, "choice");
    assert_int_equal(at(entry, "shots")->valueint, 1);
    const cJSON *comparison = at(at(doc->root, "comparison"), "fever_1shot@both");
    assert_string_equal(at(comparison, "reference")->valuestring, "fever_1shot");
    check_audit_json(r, doc->root);
    mn_json_close(&doc);
    MN_ASSERT_OK(mn_results_text(&table, r, false));
    for (int v = 0; v < MEMORIES; v++) assert_non_null(strstr(table.data, names[v]));
    assert_non_null(strstr(table.data, "mean |dh|/|h|"));
    assert_non_null(strstr(table.data, "1-shot choice pretrained and 1-shot choice both "));
    only_file(w->out.text, "demo-model/samples_fever_0shot_2*.jsonl");
    only_file(w->out.text, "demo-model/samples_fever_1shot@gpt_wikipage_*.jsonl");
    const char *const pattern[] = {"demo-model/samples_fever_1shot_2*.jsonl",
                                   "demo-model/samples_fever_1shot@both_*.jsonl"};
    char *text[2];
    for (int i = 0; i < 2; i++)
        text[i] = mn_test_read(only_file(w->out.text, pattern[i]).text, NULL);
    assert_string_not_equal(text[0], text[1]);
    for (int i = 0; i < 2; i++) free(text[i]);
    mn_buf_free(&table);
    mn_buf_free(&path);
    mn_evaluation_close(&e);
}

/* ---- refused ---- */

static void expect_refused(world *w, mn_status status, const char *message) {
    mn_evaluation *e = NULL;
    glob_t found = {0};
    MN_ASSERT_FAILS(mn_evaluation_run(&e, w->s.model, w->tokenizer, w->fever, &w->options), status,
                    message);
    assert_null(e);
    assert_int_not_equal(glob(mn_test_join(w->out.text, "*/results*").text, 0, NULL, &found), 0);
    globfree(&found);
}

static void set_gate(world *w, int memory, int layer, float gate) {
    *(float *)w->memories[memory]->layers[layer].gate.data = gate;
}

/* A gate of 0 is found in the first batch; one that drowns in rounding, at the end. */
static void test_without_effect(void **state) {
    world *w = *state;
    set_gate(w, 1, 1, 0);
    expect_refused(w, MN_ERR_DATA,
                   "adapter gpt_template-wd0.05 changes nothing: its memory behind block 3");
    set_gate(w, 1, 1, 1);
    set_gate(w, 0, 0, 0);
    w->options.no_base = true;
    expect_refused(w, MN_ERR_DATA,
                   "adapter gpt_wikipage changes nothing: its memory behind block 2");
    set_gate(w, 0, 0, 1e-12f);
    expect_refused(w, MN_ERR_DATA,
                   "adapter gpt_wikipage changes nothing: every logit is the base's");
    w->options.no_base = false;
    expect_refused(w, MN_ERR_DATA,
                   "adapter gpt_wikipage changes nothing: every logit is the base's");
}

static void test_names(void **state) {
    world *w = *state;
    const char *own[MEMORIES] = {"a", "b", "a"};
    w->options.names = own;
    expect_refused(w, MN_ERR_USAGE, "two memories are called a");
    own[2] = MN_BASE_VARIANT;
    expect_refused(w, MN_ERR_USAGE, "that is the base");
    static const char *const bad[] = {"x/y", "x y", "x@y", "x\n"};
    for (int i = 0; i < 4; i++) {
        own[2] = bad[i];
        expect_refused(w, MN_ERR_USAGE, "that file names cannot have");
    }
    own[2] = "";
    expect_refused(w, MN_ERR_USAGE, "memory 2 has no name");
    w->options.memory_count = 0;
    w->options.no_base = true;
    expect_refused(w, MN_ERR_USAGE, "without the base an evaluation needs a memory");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, world_close)
    const struct CMUnitTest tests[] = {TEST(test_one_by_one), TEST(test_files),
                                       TEST(test_without_effect), TEST(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
