/* test_evaluate_dist.c - an evaluation of several replicas says what one rank says, bit for bit, also when another
 * number of ranks had begun it. */
#include "dist.h"
#include "test_evaluate.h"

#include "mneme/signals.h"

enum { ROWS = 20, MEMORIES = 2, SHOTS = 2, FILES = SHOTS * (MEMORIES + 1) };

static const char *const names[MEMORIES] = {"gpt_wikipage", "both"};

/* What an evaluation leaves: its samples, and its audit. */
typedef struct outcome {
    char *samples[FILES];
    size_t len[FILES];
    double change[MEMORIES], logit_change[MEMORIES];
} outcome;

typedef struct trial {
    world *w;
    const outcome *want; /* NULL: the audit goes to `got` */
    outcome *got;
    int fails_on,
        fails_after; /* this rank's device breaks after so many downloads; 0: it does not */
    int stops_on;    /* or asks for a stop then */
} trial;

static int set_up(void **state) {
    world *w = world_open(100);
    w->options.shots[1] = 1;
    w->options.shots_count = SHOTS;
    w->options.limit = ROWS;
    w->options.batch_size = 3;
    w->options.max_gen_toks = 6;
    w->options.names = names;
    w->options.memory_count = MEMORIES;
    *state = w;
    return 0;
}

/* ---- one rank ---- */

static _Thread_local int downloads_left, stop_then;
static mn_status (*sound_download)(mn_device *device, void *to, const void *from, size_t bytes);

static mn_status frail_download(mn_device *device, void *to, const void *from, size_t bytes) {
    if (downloads_left > 0 && --downloads_left == 0) {
        if (!stop_then) return mn_fail(MN_ERR_IO, "the device is unplugged");
        mn_stop_request();
    }
    return sound_download(device, to, from, bytes);
}

static mn_status same_audit(const outcome *a, const mn_results *r, outcome *got) {
    WANT(r->effect_count == MEMORIES, "%zu audits", r->effect_count);
    for (int m = 0; m < MEMORIES; m++) {
        const mn_effect *e = &r->effects[m];
        if (got) {
            got->change[m] = e->memories[0].relative_change;
            got->logit_change[m] = e->max_logit_change;
        }
        WANT(!a || (e->memories[0].relative_change == a->change[m] &&
                    e->max_logit_change == a->logit_change[m]),
             "audit of %s: %.17g %.17g", e->variant, e->memories[0].relative_change,
             e->max_logit_change);
    }
    return MN_OK;
}

static mn_status evaluate_rank(const mn_ranks *ranks, mn_device *device, void *context) {
    static const int64_t blocks[] = {2, 3};
    trial *t = context;
    mn_status st = MN_OK;
    mn_eval_options o = t->w->options;
    mn_model *model = NULL;
    mn_tokenizer *tokenizer = NULL;
    mn_memory *memories[MEMORIES] = {NULL};
    const mn_memory *list[MEMORIES];
    mn_evaluation *e = NULL;
    MN_GOTO(mn_model_open(&model, t->w->model.text, device, ranks->tp));
    MN_GOTO(mn_model_pack(model, NULL));
    MN_GOTO(mn_tokenizer_open(&tokenizer, t->w->model.text));
    for (int m = 0; m < MEMORIES; m++) {
        const mn_memory_options memory = {.name = names[m],
                                          .hidden = 5,
                                          .blocks = blocks + m,
                                          .block_count = 1,
                                          .gate = 0.5,
                                          .seed = (uint64_t)m};
        MN_GOTO(mn_memory_create(&memories[m], model, &memory));
        list[m] = memories[m];
    }
    o.memories = list;
    o.ranks = ranks;
    if (t->fails_after && mn_comm_rank(ranks->world) == t->fails_on) {
        downloads_left = t->fails_after;
        stop_then = t->stops_on;
        device->download = frail_download;
    }
    MN_GOTO(mn_evaluation_run(&e, model, tokenizer, t->w->fever, &o));
    MN_GOTO(same_audit(t->want, mn_evaluation_results(e),
                       mn_comm_rank(ranks->world) == 0 ? t->got : NULL));
    st = mn_evaluation_write(e, NULL);
done:
    mn_evaluation_close(&e);
    for (int m = 0; m < MEMORIES; m++) mn_memory_close(&memories[m]);
    mn_tokenizer_close(&tokenizer);
    mn_model_close(&model);
    return st;
}

/* ---- files ---- */

static size_t count_files(const world *w, const char *pattern) {
    glob_t found = {0};
    const mn_test_path path = mn_test_join(w->out.text, pattern);
    const size_t count = glob(path.text, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return count;
}

static void read_outcome(outcome *out, const world *w) {
    for (int i = 0; i < FILES; i++) {
        char pattern[128];
        const int v = i / SHOTS - 1;
        snprintf(pattern, sizeof pattern, "demo-model/samples_fever_%dshot%s%s_2*.jsonl", i % SHOTS,
                 v < 0 ? "" : "@", v < 0 ? "" : names[v]);
        out->samples[i] = mn_test_read(only_file(w->out.text, pattern).text, &out->len[i]);
    }
    assert_int_equal(count_files(w, "demo-model/results_*.json"), 1);
    assert_int_equal(count_files(w, "demo-model/journal_*"), 0);
}

static void free_outcome(outcome *o) {
    for (int i = 0; i < FILES; i++) free(o->samples[i]);
}

static bool same_outcome(const outcome *a, const outcome *b) {
    for (int i = 0; i < FILES; i++)
        if (a->len[i] != b->len[i] || memcmp(a->samples[i], b->samples[i], a->len[i]) != 0)
            return false;
    return true;
}

/* Evaluates with `dp` ranks in what lies in the output folder. */
static void evaluate(trial *t, int dp, outcome *got) {
    MN_ASSERT_OK(dist_run(1, dp, evaluate_rank, t));
    read_outcome(got, t->w);
}

static void evaluate_alone(trial *t, outcome *out) {
    mn_test_rmdir(t->w->out.text);
    t->got = out;
    evaluate(t, 1, out);
    t->got = NULL;
    t->want = out;
}

static void compare_samples(const char *got, size_t len, const char *want) {
    static const char *const keys[] = {"page", "claim", "prompt", "generation", "parsed", "choice"};
    mn_lines a = mn_lines_over(got, len), b = mn_lines_over(want, strlen(want));
    const char *x, *y;
    size_t x_len, y_len;
    while (mn_lines_next(&a, &x, &x_len)) {
        mn_json *g, *w;
        const cJSON *list, *other, *item;
        assert_true(mn_lines_next(&b, &y, &y_len));
        MN_ASSERT_OK(mn_json_parse(&g, x, x_len, "got"));
        MN_ASSERT_OK(mn_json_parse(&w, y, y_len, "alone"));
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            assert_string_equal(text_of(g, keys[k]), text_of(w, keys[k]));
        MN_ASSERT_OK(mn_json_object(&list, g, g->root, "logprob"));
        MN_ASSERT_OK(mn_json_object(&other, w, w->root, "logprob"));
        cJSON_ArrayForEach(item, list) {
            double value = 0;
            MN_ASSERT_OK(mn_json_f64(&value, w, other, item->string));
            if (!(fabs(item->valuedouble - value) <= 1e-5 * fabs(value)))
                fail_msg("log-likelihood %.9g, alone %.9g", item->valuedouble, value);
        }
        mn_json_close(&w);
        mn_json_close(&g);
    }
    assert_false(mn_lines_next(&b, &y, &y_len));
}

/* ---- the tests ---- */

static void test_replicas(void **state) {
    trial t = {.w = *state};
    outcome alone, got;
    for (int way = 0; way < 3; way++) {
        t.want = NULL;
        t.w->options.batch_size = way == 0   ? 3
                                  : way == 1 ? 0
                                             : 16; /* slices of pages; all in few */
        evaluate_alone(&t, &alone);
        for (int dp = 2; dp <= 4; dp++) {
            mn_test_rmdir(t.w->out.text);
            evaluate(&t, dp, &got);
            assert_true(same_outcome(&got, &alone));
            free_outcome(&got);
        }
        free_outcome(&alone);
    }
}

/* Replicas of two ranks, which add up in another order: the same predictions, nearly the same log-likelihoods. */
static void test_shared_model(void **state) {
    trial t = {.w = *state};
    outcome alone, got;
    evaluate_alone(&t, &alone);
    t.want = NULL;
    for (int dp = 1; dp <= 2; dp++) {
        mn_test_rmdir(t.w->out.text);
        MN_ASSERT_OK(dist_run(2, dp, evaluate_rank, &t));
        read_outcome(&got, t.w);
        for (int i = 0; i < FILES; i++)
            compare_samples(got.samples[i], got.len[i], alone.samples[i]);
        free_outcome(&got);
    }
    free_outcome(&alone);
}

/* `ranks` begin, and one of them breaks when about half is answered. */
static void break_off(trial *t, int ranks) {
    mn_test_rmdir(t->w->out.text);
    t->fails_on = ranks - 1;
    t->fails_after = 120 / ranks;
    MN_ASSERT_FAILS(dist_run(1, ranks, evaluate_rank, t), MN_ERR_IO, "the device is unplugged");
    t->fails_after = 0;
    assert_int_equal(count_files(t->w, "demo-model/journal_*"), ranks);
    assert_int_equal(count_files(t->w, "demo-model/results_*"), 0);
}

/* Answers in a journal: its lines but the first. */
static int count_answers(const char *path) {
    size_t len;
    int lines = 0;
    char *text = mn_test_read(path, &len);
    for (size_t i = 0; i < len; i++) lines += text[i] == '\n';
    free(text);
    return lines - 1;
}

static void test_other_number(void **state) {
    static const int counts[][2] = {{3, 1}, {3, 2}, {3, 4}, {1, 3}, {4, 4}};
    trial t = {.w = *state};
    outcome alone, got;
    evaluate_alone(&t, &alone);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        break_off(&t, counts[i][0]);
        evaluate(&t, counts[i][1], &got);
        assert_true(same_outcome(&got, &alone));
        free_outcome(&got);
    }
    free_outcome(&alone);
}

/* What a rank's journal says is believed, by any number of ranks: an answer that nobody would give shows up. */
static void test_journals_are_read(void **state) {
    trial t = {.w = *state};
    outcome alone, got;
    evaluate_alone(&t, &alone);
    t.want = NULL;
    for (int after = 1; after <= 3; after++) {
        break_off(&t, 2);
        const mn_test_path path = only_file(t.w->out.text, "demo-model/journal_*.rank-1.jsonl");
        assert_in_range(count_answers(path.text), 1, ROWS * SHOTS * (MEMORIES + 1) / 2);
        size_t len;
        char *text = mn_test_read(path.text, &len);
        char *digit = strstr(text, "\"logprob\": [-");
        assert_non_null(digit);
        digit += strlen("\"logprob\": [-");
        *digit = *digit == '9' ? '8' : '9';
        mn_test_write(path.text, text, len);
        free(text);
        evaluate(&t, after, &got);
        assert_false(same_outcome(&got, &alone));
        free_outcome(&got);
    }
    free_outcome(&alone);
}

/* The last test of this file: nothing takes a stop request back. Two ranks hear of that of the third. */
static void test_stop(void **state) {
    trial t = {.w = *state, .fails_on = 2, .fails_after = 10, .stops_on = 1};
    MN_ASSERT_FAILS(dist_run(1, 3, evaluate_rank, &t), MN_STOPPED,
                    "finished prompts are kept; the same command goes on");
    assert_int_equal(count_files(t.w, "demo-model/journal_*"), 3);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, world_close)
    const struct CMUnitTest tests[] = {TEST(test_replicas), TEST(test_shared_model),
                                       TEST(test_other_number), TEST(test_journals_are_read),
                                       TEST(test_stop)};
    mn_device *device = NULL;
    if (mn_device_open(&device, "cpu", 1) != MN_OK) return 1;
    sound_download = device->download; /* before there are threads */
    mn_device_close(&device);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
