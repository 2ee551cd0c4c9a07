/* test_train_data.c - training texts as samples: which token is asked for how often, templates against the
 * prompts of evaluation, what is held out, the random order, the schedules, bad files. */
#include "check.h"

#include "mneme/log.h"
#include "mneme/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    mn_test_path dir, file;
    mn_tokenizer *numbers; /* "<12>" is token 12 */
    mn_samples *samples;
    mn_samples_options options;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    mn_log_set_level(MN_LOG_ERROR);
    f->dir = mn_test_tmpdir();
    f->file = mn_test_join(f->dir.text, "texts.jsonl");
    MN_ASSERT_OK(
        mn_tokenizer_open(&f->numbers, mn_test_source("tests/fixtures/tokens/numbers.json").text));
    f->options = (mn_samples_options){
        .chunk_length = 8, .max_positions = 64, .num_fewshot = 1, .seed = 5};
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    mn_samples_close(&f->samples);
    mn_tokenizer_close(&f->numbers);
    mn_test_rmdir(f->dir.text);
    free(f);
    return 0;
}

static void read_texts(fixture *f, const char *lines) {
    mn_test_puts(f->file.text, lines);
    mn_samples_close(&f->samples);
    MN_ASSERT_OK(mn_samples_texts(&f->samples, f->file.text, f->numbers, &f->options));
}

/* {"text": "<1><2>..<n>"} */
static void write_text(fixture *f, int n) {
    char text[2048] = "{\"text\": \"";
    for (int i = 1; i <= n; i++) {
        char token[8];
        snprintf(token, sizeof token, "<%d>", i);
        strcat(text, token);
    }
    strcat(text, "\"}\n");
    read_texts(f, text);
}

/* Every token but the first is asked for once, whatever length and stride; a chunk never reads more
 * than chunk_length tokens, and its context is what the stride leaves over. */
static void test_chunks(void **state) {
    fixture *f = *state;
    for (int n = 2; n <= 40; n++)
        for (int length = 1; length <= 12; length++)
            for (int stride = 0; stride <= length; stride++) {
                int asked[64] = {0};
                f->options.chunk_length = length;
                f->options.chunk_stride = stride;
                write_text(f, n);
                const mn_samples *s = f->samples;
                assert_int_equal(s->train_count, s->count);
                for (int64_t i = 0; i < s->count; i++) {
                    const mn_train_sample *c = &s->items[i];
                    const int32_t *ids = s->ids.data + c->begin;
                    assert_true(mn_sample_inputs(c) >= 1 && mn_sample_inputs(c) <= length);
                    assert_int_equal(c->begin, i * (stride ? stride : length));
                    assert_int_equal(c->loss_begin, i == 0 ? 1 : stride ? length + 1 - stride : 1);
                    for (int64_t t = c->loss_begin; t < c->len; t++) asked[ids[t]]++;
                    assert_int_equal(mn_sample_targets(c), c->len - c->loss_begin);
                }
                for (int t = 1; t <= n; t++) assert_int_equal(asked[t], t > 1);
            }
}

static void test_prompts(void **state) {
    fixture *f = *state;
    static const char line[] = "{\"prompt\": \"<1><2><3>\", \"completion\": \"<4><5>\"}\n";
    for (int loss = MN_LOSS_ANSWER; loss <= MN_LOSS_ALL; loss++) {
        f->options.template_loss = (mn_template_loss)loss;
        read_texts(f, line);
        assert_int_equal(f->samples->count, 1);
        assert_int_equal(f->samples->items[0].len, 5);
        assert_int_equal(f->samples->items[0].loss_begin, loss == MN_LOSS_ALL ? 1 : 3);
        for (int i = 0; i < 5; i++) assert_int_equal(f->samples->ids.data[i], i + 1);
    }
    f->options.append_eos = true; /* this tokenizer has none */
    MN_ASSERT_FAILS(mn_samples_texts(&(mn_samples *){NULL}, f->file.text, f->numbers, &f->options),
                    MN_ERR_USAGE, "append_eos: the tokenizer has no end token");
}

static void refused(fixture *f, const char *lines, mn_status status, const char *message) {
    mn_samples *s = NULL;
    mn_test_puts(f->file.text, lines);
    MN_ASSERT_FAILS(mn_samples_texts(&s, f->file.text, f->numbers, &f->options), status, message);
    assert_null(s);
}

static void test_bad_files(void **state) {
    fixture *f = *state;
    refused(f, "", MN_ERR_DATA, "texts.jsonl: nothing to train on");
    refused(f, "{\"text\": \"<1><2>\"}\n\n{\"text\": ", MN_ERR_DATA, "texts.jsonl:3: ");
    refused(f, "[]\n", MN_ERR_DATA, "texts.jsonl:1: a JSON object is expected");
    refused(f, "{\"txt\": \"<1>\"}\n", MN_ERR_DATA,
            "texts.jsonl:1: expected \"text\", or \"prompt\"");
    refused(f, "{\"prompt\": \"<1>\"}\n", MN_ERR_DATA, "completion");
    refused(f, "{\"text\": 5}\n", MN_ERR_DATA, "texts.jsonl:1: $.text: expected");
    refused(f, "{\"text\": \"<1>\"}\n", MN_ERR_DATA,
            "texts.jsonl:1: a text of 1 tokens leaves nothing");
    refused(f, "{\"prompt\": \"\", \"completion\": \"<1><2>\"}\n", MN_ERR_DATA,
            "texts.jsonl:1: a prompt of 0 tokens and a completion of 2");
    refused(f, "{\"prompt\": \"<1>\", \"completion\": \"\"}\n", MN_ERR_DATA,
            "a prompt of 1 tokens and a completion of 0");
    f->options.max_positions = 8;
    refused(f, "{\"prompt\": \"<1><1><1><1><1><1><1><1><1>\", \"completion\": \"<2>\"}\n",
            MN_ERR_DATA, "texts.jsonl:1 has 10 tokens; the model has room for 9");
    f->options.chunk_length = 9;
    refused(f, "", MN_ERR_USAGE, "chunk_length: 9 tokens are more than the model's 8 positions");
    f->options.chunk_length = 4;
    f->options.chunk_stride = 5;
    refused(f, "", MN_ERR_USAGE, "chunk_stride: 5 is more than chunk_length, 4");
    f->options.chunk_stride = 0;
    f->options.validation_fraction = 0.9;
    refused(f, "{\"text\": \"<1><2>\"}\n", MN_ERR_USAGE,
            "validation_fraction: 0.9 of 1 samples leaves none to train on");
}

static void test_held_out(void **state) {
    fixture *f = *state;
    mn_buf lines = {0};
    uint64_t seen = 0;
    for (int i = 1; i <= 40; i++) /* no more than 40 of the tokenizer's tokens */
        MN_ASSERT_OK(mn_buf_printf(&lines, "{\"text\": \"<%d><%d>\"}\n", i, i));
    f->options.validation_fraction = 0.2;
    read_texts(f, lines.data);
    assert_int_equal(f->samples->count, 40);
    assert_int_equal(f->samples->train_count, 32);
    bool only_the_last = true;
    for (int64_t i = 0; i < 40; i++) {
        const mn_train_sample *s = &f->samples->items[i];
        const int32_t id = f->samples->ids.data[s->begin];
        seen |= UINT64_C(1) << id;
        if (i > 0 && i != 32) assert_true(s->begin > f->samples->items[i - 1].begin);
        if (i >= 32 && id <= 32) only_the_last = false;
    }
    assert_true(seen == ((UINT64_C(1) << 41) - 2));
    assert_false(only_the_last);
    const uint64_t before = f->samples->fingerprint;
    read_texts(f, lines.data);
    assert_true(f->samples->fingerprint == before);
    f->options.seed = 6;
    read_texts(f, lines.data);
    assert_true(f->samples->fingerprint != before);
    mn_buf_free(&lines);
}

/* ---- a prepared folder ---- */

/* What evaluation would show, and behind it the answer that it would score best. */
static void check_template(const mn_samples *s, int64_t i, const mn_fever *fever,
                           const mn_fever_row *row, const mn_tokenizer *tokenizer, bool all) {
    const mn_train_sample *sample = &s->items[i];
    mn_buf want = {0}, got = {0};
    MN_ASSERT_OK(mn_fever_prompt(&want, &fever->pages[row->page], 2, row->claim));
    const size_t prompt = want.len;
    MN_ASSERT_OK(mn_buf_printf(&want, " (%c)", "abc"[row->label]));
    MN_ASSERT_OK(mn_tokenizer_decode(tokenizer, s->ids.data + sample->begin, (size_t)sample->len,
                                     false, &got));
    assert_string_equal(got.data, want.data);
    mn_buf_clear(&got);
    if (all) {
        assert_int_equal(sample->loss_begin, 1);
    } else {
        MN_ASSERT_OK(mn_tokenizer_decode(tokenizer, s->ids.data + sample->begin,
                                         (size_t)sample->loss_begin, false, &got));
        assert_int_equal(got.len, prompt);
    }
    mn_buf_free(&want);
    mn_buf_free(&got);
}

static void test_world(void **state) {
    fixture *f = *state;
    const mn_test_path data = mn_test_join(f->dir.text, "data"),
                       claims = mn_test_source("data/world/dev.jsonl"),
                       train = mn_test_source("data/world/train.jsonl"),
                       wiki = mn_test_source("data/world/wiki");
    const mn_prepare_options prepare = {.claims = claims.text,
                                        .train_claims = train.text,
                                        .wiki = wiki.text,
                                        .out = data.text,
                                        .top_pages = 10,
                                        .threads = 1};
    mn_prepare_summary summary;
    mn_fever *fever = NULL;
    mn_tokenizer *tokenizer = NULL;
    mn_samples *pages = NULL, *templates = NULL, *both = NULL;
    MN_ASSERT_OK(mn_fever_prepare(&summary, &prepare));
    MN_ASSERT_OK(mn_fever_open(&fever, data.text));
    MN_ASSERT_OK(mn_tokenizer_open(&tokenizer, mn_test_source("data/demo-model").text));
    f->options = (mn_samples_options){.num_fewshot = 2, .chunk_length = 512, .max_positions = 512};
    MN_ASSERT_OK(mn_samples_fever(&pages, fever, tokenizer, &f->options));
    assert_int_equal(pages->count, fever->page_count);
    for (int64_t i = 0; i < pages->count; i++) {
        mn_buf text = {0};
        MN_ASSERT_OK(mn_tokenizer_decode(tokenizer, pages->ids.data + pages->items[i].begin,
                                         (size_t)pages->items[i].len, false, &text));
        assert_string_equal(text.data, fever->pages[i].text);
        mn_buf_free(&text);
    }
    for (int all = 0; all < 2; all++) {
        f->options.method = MN_TRAIN_TEMPLATE;
        f->options.template_loss = all ? MN_LOSS_ALL : MN_LOSS_ANSWER;
        MN_ASSERT_OK(mn_samples_fever(&templates, fever, tokenizer, &f->options));
        assert_int_equal(templates->count, fever->train_count);
        for (int64_t i = 0; i < templates->count; i++)
            check_template(templates, i, fever, &fever->train[i], tokenizer, all);
        if (all == 0) mn_samples_close(&templates);
    }
    f->options.method = MN_TRAIN_BOTH;
    MN_ASSERT_OK(mn_samples_fever(&both, fever, tokenizer, &f->options));
    assert_int_equal(both->count, pages->count + templates->count);
    assert_int_equal(both->ids.len, pages->ids.len + templates->ids.len);
    assert_memory_equal(both->ids.data, pages->ids.data, pages->ids.len * sizeof *pages->ids.data);
    /* The tokenizer's end token closes pages, not answers. */
    f->options.append_eos = true;
    mn_samples_close(&both);
    MN_ASSERT_OK(mn_samples_fever(&both, fever, tokenizer, &f->options));
    assert_int_equal(both->ids.len,
                     pages->ids.len + templates->ids.len + (size_t)fever->page_count);
    f->options.num_fewshot = 6;
    mn_samples_close(&both);
    MN_ASSERT_FAILS(mn_samples_fever(&both, fever, tokenizer, &f->options), MN_ERR_USAGE,
                    "num_fewshot: 6 is not from 0 to 5");
    mn_samples_close(&pages);
    mn_samples_close(&templates);
    mn_tokenizer_close(&tokenizer);
    mn_fever_close(&fever);
}

/* ---- order and schedule ---- */

static void test_shuffle(void **state) {
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 64, 65, 1000, 4097};
    (void)state;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const int64_t n = sizes[k];
        bool *seen = calloc((size_t)n, sizeof *seen);
        int64_t still = 0, same = 0;
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = mn_train_shuffle(9, 3, i, n);
            assert_true(at >= 0 && at < n && !seen[at]);
            seen[at] = true;
            still += at == i;
            same += at == mn_train_shuffle(9, 4, i, n);
        }
        /* Of a random permutation about one element stays; ten have probability 1e-7. */
        if (n >= 64) assert_true(still < 10 && same < 10);
        free(seen);
    }
    /* All orders of 3 come about equally often: 6 equal shares of 6000, 6 standard deviations wide. */
    int counts[27] = {0};
    for (uint64_t seed = 0; seed < 6000; seed++)
        counts[mn_train_shuffle(seed, 0, 0, 3) * 9 + mn_train_shuffle(seed, 0, 1, 3) * 3 +
               mn_train_shuffle(seed, 0, 2, 3)]++;
    int orders = 0;
    for (int i = 0; i < 27; i++)
        if (counts[i] > 0) {
            orders++;
            assert_in_range(counts[i], 1000 - 175, 1000 + 175);
        }
    assert_int_equal(orders, 6);
}

/* Values of transformers 4.35.2 (LambdaLR over get_*_schedule_with_warmup), 4 warm-up steps of 20. */
static void test_schedules(void **state) {
    static const struct {
        mn_train_schedule schedule;
        int64_t step;
        double rate;
    } rows[] = {
        {MN_SCHEDULE_COSINE, 0, 0},
        {MN_SCHEDULE_COSINE, 1, 0.25},
        {MN_SCHEDULE_COSINE, 3, 0.75},
        {MN_SCHEDULE_COSINE, 4, 1},
        {MN_SCHEDULE_COSINE, 8, 0.8535533905932737}, /* (1 + cos(pi / 4)) / 2 */
        {MN_SCHEDULE_COSINE, 12, 0.5},
        {MN_SCHEDULE_COSINE, 19, 0.009607359798384785},
        {MN_SCHEDULE_COSINE, 20, 0},
        {MN_SCHEDULE_LINEAR, 2, 0.5},
        {MN_SCHEDULE_LINEAR, 4, 1},
        {MN_SCHEDULE_LINEAR, 5, 0.9375},
        {MN_SCHEDULE_LINEAR, 19, 0.0625},
        {MN_SCHEDULE_LINEAR, 20, 0},
        {MN_SCHEDULE_CONSTANT, 1, 0.25},
        {MN_SCHEDULE_CONSTANT, 4, 1},
        {MN_SCHEDULE_CONSTANT, 19, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_true(fabs(mn_train_rate(rows[i].schedule, rows[i].step, 4, 20) - rows[i].rate) <
                    1e-15);
    assert_true(mn_train_rate(MN_SCHEDULE_COSINE, 0, 0, 20) == 1);
    assert_true(mn_train_rate(MN_SCHEDULE_LINEAR, 2, 5, 3) == 0.4); /* ends inside the warm-up */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_chunks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prompts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_held_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_world, set_up, tear_down),
        cmocka_unit_test(test_shuffle),
        cmocka_unit_test(test_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
