/* test_evaluate.c - the demo model on the sample world: samples against prompts computed alone,
 * options that change nothing, results against a count of the samples, what is refused. */
#include "test_evaluate.h"

enum { ROWS = 25, ANSWER = 8 }; /* tokens at most */

static int set_up(void **state) {
    world *w = world_open(100);
    memcpy(w->options.shots, (const int[]){0, 1, 5}, 3 * sizeof(int));
    w->options.shots_count = 3;
    w->options.limit = ROWS;
    w->options.max_gen_toks = ANSWER;
    *state = w;
    return 0;
}

static mn_evaluation *evaluate(world *w, mn_model *model) {
    mn_evaluation *e = NULL;
    MN_ASSERT_OK(mn_evaluation_run(&e, model, w->tokenizer, w->fever, &w->options));
    return e;
}

/* ---- files ---- */

static void no_file(const world *w, const char *pattern) {
    glob_t found = {0};
    const mn_test_path path = mn_test_join(w->out.text, pattern);
    if (glob(path.text, 0, NULL, &found) != GLOB_NOMATCH)
        fail_msg("there is %s", found.gl_pathv[0]);
    globfree(&found);
}

/* The samples of a number of shots, one JSON document a line. */
typedef struct samples {
    mn_json *line[128];
    int64_t count;
} samples;

static void read_samples(samples *s, const world *w, int shots) {
    char pattern[64];
    size_t len;
    snprintf(pattern, sizeof pattern, "demo-model/samples_fever_%dshot_*.jsonl", shots);
    const mn_test_path path = only_file(w->out.text, pattern);
    char *text = mn_test_read(path.text, &len);
    mn_lines lines = mn_lines_over(text, len);
    const char *line;
    *s = (samples){.count = 0};
    while (mn_lines_next(&lines, &line, &len)) {
        assert_true(s->count < 128);
        MN_ASSERT_OK(mn_json_parse(&s->line[s->count++], line, len, "sample"));
    }
    free(text);
}

static void free_samples(samples *s) {
    for (int64_t i = 0; i < s->count; i++) mn_json_close(&s->line[i]);
}

static double logprob_of(const mn_json *sample, int candidate) {
    const cJSON *all = NULL;
    double value = 0;
    MN_ASSERT_OK(mn_json_object(&all, sample, sample->root, "logprob"));
    MN_ASSERT_OK(mn_json_f64(&value, sample, all, mn_fever_candidates[candidate]));
    return value;
}

/* ---- one prompt at a time ---- */

/* What the model says behind the prompt, up to ")" or the end of the line. */
static void naive_answer(world *w, const mn_ids *prompt, mn_buf *text, double *margin) {
    mn_ids ids = {0};
    MN_ASSERT_OK(mn_ids_append(&ids, prompt->data, prompt->len));
    MN_ASSERT_OK(mn_buf_puts(text, ""));
    for (int i = 0; i < ANSWER && !strpbrk(text->data, ")\n"); i++) {
        naive_generate(&w->s, ids.data, (int64_t)ids.len, 1, &ids, margin);
        const int32_t *said = &ids.data[ids.len - 1];
        if (*said == w->s.model->config.eos) break;
        if (*said < mn_tokenizer_size(w->tokenizer)) /* models know more tokens than that */
            MN_ASSERT_OK(mn_tokenizer_decode(w->tokenizer, said, 1, false, text));
    }
    mn_ids_free(&ids);
}

static void check_sample(world *w, const mn_json *sample, int64_t row, int shots, double *margin) {
    const mn_fever_row *r = &w->fever->eval[row];
    const mn_fever_page *page = &w->fever->pages[r->page];
    mn_buf prompt = {0}, said = {0};
    mn_ids ids = {0}, next = {0};
    int64_t number = -1;
    int best = 0;
    bool greedy;
    double logprob[MN_LABELS];
    MN_ASSERT_OK(mn_json_i64(&number, sample, sample->root, "doc_id", 0, 1000));
    assert_int_equal(number, row);
    MN_ASSERT_OK(mn_json_i64(&number, sample, sample->root, "id", 0, 1 << 30));
    assert_int_equal(number, r->id);
    MN_ASSERT_OK(mn_json_i64(&number, sample, sample->root, "shots", 0, 5));
    assert_int_equal(number, shots);
    MN_ASSERT_OK(mn_fever_prompt(&prompt, page, shots, r->claim));
    assert_string_equal(text_of(sample, "page"), page->title);
    assert_string_equal(text_of(sample, "claim"), r->claim);
    assert_string_equal(text_of(sample, "prompt"), prompt.data);
    assert_string_equal(text_of(sample, "gold"), mn_label_name(r->label));
    MN_ASSERT_OK(mn_tokenizer_encode(w->tokenizer, prompt.data, prompt.len, 0, &ids));

    naive_answer(w, &ids, &said, margin);
    assert_string_equal(text_of(sample, "generation"), said.data);
    const int parsed = mn_fever_parse_answer(said.data, said.len);
    assert_string_equal(text_of(sample, "parsed"),
                        parsed < 0 ? "" : mn_label_name((mn_label)parsed));

    for (int c = 0; c < MN_LABELS; c++) {
        const char *text = mn_fever_candidates[c];
        next.len = 0;
        MN_ASSERT_OK(mn_tokenizer_encode(w->tokenizer, text, strlen(text), 0, &next));
        logprob[c] = naive_score(&w->s, ids.data, (int64_t)ids.len, &next, &greedy, margin);
        if (!(fabs(logprob_of(sample, c) - logprob[c]) <= 2e-5))
            fail_msg("row %d, %d shots: candidate %d has %.9g, alone %.9g", (int)row, shots, c,
                     logprob_of(sample, c), logprob[c]);
        if (logprob[c] > logprob[best]) best = c;
    }
    assert_string_equal(text_of(sample, "choice"), mn_label_name((mn_label)best));
    for (int c = 0; c < MN_LABELS; c++)
        if (c != best) *margin = fmin(*margin, logprob[best] - logprob[c]);
    mn_ids_free(&ids);
    mn_ids_free(&next);
    mn_buf_free(&prompt);
    mn_buf_free(&said);
}

/* Evaluates with 0, 1, .. of the options' shots and checks every sample; *ends counts the answers
 * with a newline and those with a parenthesis. */
static void check_alone(world *w, int ends[2]) {
    mn_evaluation *e = evaluate(w, w->s.model);
    double margin = INFINITY;
    MN_ASSERT_OK(mn_evaluation_write(e, NULL));
    mn_evaluation_close(&e);
    mn_evaluation_close(&e);
    for (int i = 0; i < w->options.shots_count; i++) {
        samples s;
        read_samples(&s, w, w->options.shots[i]);
        assert_int_equal(s.count, ROWS);
        for (int64_t row = 0; row < s.count; row++) {
            check_sample(w, s.line[row], row, w->options.shots[i], &margin);
            ends[0] += strchr(text_of(s.line[row], "generation"), '\n') != NULL;
            ends[1] += strchr(text_of(s.line[row], "generation"), ')') != NULL;
        }
        free_samples(&s);
    }
    if (!(margin > 2e-5)) fail_msg("the likeliest leads by %g only: choose other rows", margin);
    no_file(w, "demo-model/journal_*");
    no_file(w, "demo-model/*.tmp*");
}

static void test_alone(void **state) {
    int ends[2] = {0, 0};
    check_alone(*state, ends);
    assert_in_range(ends[1], 3 * ROWS - 5, 3 * ROWS);
}

/* A model that seldom answers: other ends, and tokens that the tokenizer does not know. */
static void test_babble(void **state) {
    world *w = *state;
    int ends[2] = {0, 0};
    mn_tokenizer_close(&w->tokenizer);
    subject_close(&w->s);
    subject_open(&w->s, "tests/golden/llama-bin", 1);
    MN_ASSERT_OK(
        mn_tokenizer_open(&w->tokenizer, mn_test_source("tests/fixtures/tokens/ascii.json").text));
    w->options.shots_count = 2;
    check_alone(w, ends);
    assert_in_range(ends[0], 1, ROWS);
    assert_in_range(ends[1], 1, ROWS);
}

/* ---- options ---- */

static void compare_samples(const samples *a, const samples *b) {
    static const char *const keys[] = {"page",       "claim",  "prompt", "gold",
                                       "generation", "parsed", "choice"};
    assert_int_equal(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++) {
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            assert_string_equal(text_of(a->line[i], keys[k]), text_of(b->line[i], keys[k]));
        for (int c = 0; c < MN_LABELS; c++)
            if (!(fabs(logprob_of(a->line[i], c) - logprob_of(b->line[i], c)) <= 1e-5))
                fail_msg("sample %d, candidate %d: %.9g and %.9g", (int)i, c,
                         logprob_of(a->line[i], c), logprob_of(b->line[i], c));
    }
}

static void test_options(void **state) {
    static const struct {
        int64_t batch_size;
        bool share;
        int threads;
    } ways[] = {{1, true, 1}, {7, true, 2},  {64, true, 1},
                {0, true, 2}, {0, false, 1}, {7, false, 1}};
    world *w = *state;
    samples first[3], s;
    subject two;
    subject_open(&two, "data/demo-model", 2);
    mn_evaluation *base = evaluate(w, w->s.model);
    const mn_results *want = mn_evaluation_results(base);
    MN_ASSERT_OK(mn_evaluation_write(base, NULL));
    for (int i = 0; i < 3; i++) read_samples(&first[i], w, w->options.shots[i]);
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        mn_test_rmdir(w->out.text);
        w->options.batch_size = ways[k].batch_size;
        w->options.share_prefixes = ways[k].share;
        mn_evaluation *e = evaluate(w, ways[k].threads == 2 ? two.model : w->s.model);
        const mn_results *got = mn_evaluation_results(e);
        assert_int_equal(got->count, 6);
        for (size_t i = 0; i < got->count; i++)
            assert_memory_equal(got->entries[i].pred, want->entries[i].pred, ROWS);
        MN_ASSERT_OK(mn_evaluation_write(e, NULL));
        mn_evaluation_close(&e);
        for (int i = 0; i < 3; i++) {
            read_samples(&s, w, w->options.shots[i]);
            compare_samples(&first[i], &s);
            free_samples(&s);
        }
    }
    for (int i = 0; i < 3; i++) free_samples(&first[i]);
    mn_evaluation_close(&base);
    subject_close(&two);
}

/* One scoring alone, other shots, another limit: the same answers as with all of them together. */
static void test_parts(void **state) {
    world *w = *state;
    mn_evaluation *all = evaluate(w, w->s.model);
    const mn_result_entry *want = mn_evaluation_results(all)->entries;
    w->options.limit = 17;
    for (int part = 0; part < 4; part++) {
        w->options.generate = part % 2 == 0;
        w->options.choice = part % 2 == 1;
        w->options.shots_count = 1;
        w->options.shots[0] = part < 2 ? 1 : 5;
        mn_evaluation *e = evaluate(w, w->s.model);
        const mn_results *got = mn_evaluation_results(e);
        assert_int_equal(got->count, 1);
        assert_int_equal(got->entries[0].n, 17);
        assert_int_equal(got->entries[0].n_original, w->fever->eval_count);
        assert_int_equal(got->entries[0].scoring,
                         part % 2 ? MN_SCORING_CHOICE : MN_SCORING_GENERATE);
        /* entries: generate 0 1 5, choice 0 1 5 */
        assert_memory_equal(got->entries[0].pred, want[3 * (part % 2) + (part < 2 ? 1 : 2)].pred,
                            17);
        mn_evaluation_close(&e);
    }
    mn_evaluation_close(&all);
}

/* ---- results ---- */

static double number_at(const mn_json *doc, const char *task, const char *key) {
    const cJSON *results = NULL, *entry = NULL;
    double value = NAN;
    MN_ASSERT_OK(mn_json_object(&results, doc, doc->root, "results"));
    MN_ASSERT_OK(mn_json_object(&entry, doc, results, task));
    MN_ASSERT_OK(mn_json_f64(&value, doc, entry, key));
    return value;
}

static void test_results(void **state) {
    world *w = *state;
    mn_evaluation *e = evaluate(w, w->s.model);
    mn_buf path = {0};
    mn_json *doc = NULL;
    MN_ASSERT_OK(mn_evaluation_write(e, &path));
    assert_string_equal(path.data, only_file(w->out.text, "demo-model/results_*.json").text);
    MN_ASSERT_OK(mn_json_load(&doc, path.data));
    for (int i = 0; i < 3; i++) {
        samples s;
        char task[32];
        int right = 0, chosen_right = 0, unread = 0;
        read_samples(&s, w, w->options.shots[i]);
        for (int64_t k = 0; k < s.count; k++) {
            const char *gold = text_of(s.line[k], "gold"), *parsed = text_of(s.line[k], "parsed");
            right += strcmp(gold, parsed) == 0;
            unread += !*parsed;
            chosen_right += strcmp(gold, text_of(s.line[k], "choice")) == 0;
        }
        free_samples(&s);
        snprintf(task, sizeof task, "fever_%dshot", w->options.shots[i]);
        assert_true(fabs(number_at(doc, task, "acc,none") - right / (double)ROWS) < 1e-12);
        assert_true(fabs(number_at(doc, task, "coverage,none") - (ROWS - unread) / (double)ROWS) <
                    1e-12);
        assert_true(number_at(doc, task, "unparsed,none") == unread);
        assert_true(number_at(doc, task, "n") == ROWS);
        strcat(task, "_choice");
        assert_true(fabs(number_at(doc, task, "acc,none") - chosen_right / (double)ROWS) < 1e-12);
        assert_true(number_at(doc, task, "coverage,none") == 1);
    }
    mn_json_close(&doc);
    mn_buf_free(&path);
    mn_evaluation_close(&e);
}

/* A name that ends in .json; no samples unless they are asked for. */
static void test_output_names(void **state) {
    world *w = *state;
    const mn_test_path name = mn_test_join(w->out.text, "deep/er/mine.json");
    w->options.output_path = name.text;
    w->options.log_samples = false;
    w->options.shots_count = 1;
    w->options.limit = 3;
    mn_evaluation *e = evaluate(w, w->s.model);
    no_file(w, "deep/er/mine*");
    MN_ASSERT_OK(mn_evaluation_write(e, NULL));
    mn_evaluation_close(&e);
    only_file(w->out.text, "deep/er/mine_*.json");
    only_file(w->out.text, "deep/er/*");
}

/* ---- refused ---- */

static void expect_refused(world *w, mn_model *model, mn_status status, const char *message) {
    mn_evaluation *e = NULL;
    MN_ASSERT_FAILS(mn_evaluation_run(&e, model, w->tokenizer, w->fever, &w->options), status,
                    message);
    assert_null(e);
    no_file(w, "*");
}

static void test_refused_options(void **state) {
    world *w = *state;
    const mn_eval_options sound = w->options;
    w->options.shots_count = 0;
    expect_refused(w, w->s.model, MN_ERR_USAGE, "needs a number of shots and a scoring");
    w->options = sound;
    w->options.generate = w->options.choice = false;
    expect_refused(w, w->s.model, MN_ERR_USAGE, "needs a number of shots and a scoring");
    w->options = sound;
    w->options.shots[1] = 6;
    expect_refused(w, w->s.model, MN_ERR_USAGE, "6 shots are not between 0 and 5");
    w->options = sound;
    w->options.max_gen_toks = 0;
    expect_refused(w, w->s.model, MN_ERR_USAGE, "an answer needs at least one token");
    w->options.max_gen_toks = 1000;
    expect_refused(w, w->s.model, MN_ERR_DATA, "the model has room for");
}

/* A model with fewer positions than the five-shot prompts have tokens; one with fewer tokens than the
 * tokenizer. */
static void test_refused_models(void **state) {
    world *w = *state;
    mn_model *m = NULL;
    mn_model_config config = w->s.model->config;
    config.max_positions = 90;
    MN_ASSERT_OK(mn_model_random(&m, &config, "short", MN_F32, 1, w->s.device, NULL));
    expect_refused(w, m, MN_ERR_DATA, "with 5 shots has ");
    assert_non_null(strstr(mn_error(), "claim "));
    assert_non_null(strstr(mn_error(), "the model has room for"));
    mn_model_close(&m);
    config = w->s.model->config;
    config.vocab = mn_tokenizer_size(w->tokenizer) - 1;
    MN_ASSERT_OK(mn_model_random(&m, &config, "narrow", MN_F32, 1, w->s.device, NULL));
    expect_refused(w, m, MN_ERR_DATA, "the tokenizer has 1500 tokens, the model 1499");
    mn_model_close(&m);
    config.vocab++;
    MN_ASSERT_OK(mn_model_random(&m, &config, "fits", MN_F32, 1, w->s.device, NULL));
    mn_evaluation *e = evaluate(w, m);
    mn_evaluation_close(&e);
    mn_model_close(&m);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, world_close)
    const struct CMUnitTest tests[] = {TEST(test_alone),           TEST(test_babble),
                                       TEST(test_options),         TEST(test_parts),
                                       TEST(test_results),         TEST(test_output_names),
                                       TEST(test_refused_options), TEST(test_refused_models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
