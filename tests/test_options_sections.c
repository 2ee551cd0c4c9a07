/* test_options_sections.c - lists of real numbers, dotted names and their objects in config files,
 * tables that several commands share. */
#include "check.h"

#include "cli/options.h"

#include <stdio.h>
#include <string.h>

typedef struct sample {
    const char *model;
    int64_t seed;
    mn_option_reals rates;
    struct {
        mn_option_reals location;
        int64_t hidden;
    } memory;
} sample;

static const mn_option rows[] = {
    MN_OPT_PATH(sample, model, "DIR", mn_required, "the model's folder"),
    MN_OPT_I64(sample, seed, "7", 0, 9, "for all that is drawn"),
    MN_OPT_F64_LIST(sample, rates, NULL, 0, 1, "step sizes"),
    MN_OPT_F64_LIST(sample, memory.location, "0.7,0.8", 0, 1, "where memories stand"),
    MN_OPT_I64(sample, memory.hidden, "128", 1, 4096, "width of a memory"),
};
enum { ROWS = sizeof rows / sizeof *rows };

typedef struct fixture {
    sample values;
    mn_options *options;
} fixture;

static mn_status begin(fixture *f) {
    memset(f, 0xA5, sizeof *f); /* a value that is not set shows */
    const mn_option_group group = {rows, ROWS, &f->values, NULL};
    return mn_options_open(&f->options, &group, 1);
}

#include "test_options.h"

static void assert_reals(const mn_option_reals *list, size_t count, const double *items) {
    assert_int_equal(list->count, count);
    for (size_t i = 0; i < count; i++) assert_true(list->items[i] == items[i]);
}
#define ASSERT_REALS(list, count, ...) assert_reals((list), (count), (const double[]){__VA_ARGS__})

static void real_lists(void **state) {
    (void)state;
    fixture f;
    MN_ASSERT_OK(PARSE(&f, "--model", "m", "--rates", "0.05,1e-2,0", "--memory.location=.25,1",
                       "--set", "memory.hidden=8"));
    ASSERT_REALS(&f.values.rates, 3, 0.05, 0.01, 0);
    ASSERT_REALS(&f.values.memory.location, 2, 0.25, 1);
    assert_int_equal(f.values.memory.hidden, 8);
    mn_options_close(&f.options);
    REFUSES("--rates: '1.5' is not a number from 0 to 1", "--rates", "0.5,1.5");
    REFUSES("--rates: '' is not a number from 0 to 1", "--rates", "0.5,");
    REFUSES("--rates: '0.50' stands twice in '0.5,0.50'", "--rates", "0.5,0.50");
    REFUSES("--memory.location: '' is not a number from 0 to 1", "--memory.location", "");
    REFUSES("unknown option '--memory.hiden'; did you mean '--memory.hidden'?", "--memory.hiden=1");
    REFUSES("unknown option '--memory'; --help lists the options", "--memory=1");
    mn_option_reals long_list = {0}; /* the store is full at 64 items */
    char text[MN_OPTION_LIST_MAX * 8 + 8] = "0";
    for (int i = 1; i <= MN_OPTION_LIST_MAX; i++) snprintf(text + strlen(text), 8, ",0.%03d", i);
    REFUSES("--rates: more than 64 items", "--rates", text);
    *strrchr(text, ',') = '\0';
    MN_ASSERT_OK(PARSE(&f, "--model", "m", "--rates", text));
    for (; long_list.count < MN_OPTION_LIST_MAX; long_list.count++)
        long_list.items[long_list.count] = (double)long_list.count / 1000;
    assert_reals(&f.values.rates, long_list.count, long_list.items);
    mn_options_close(&f.options);
}

static void config_sections(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{\"memory\": {\"location\": [0.25, 0.5], \"hidden\": 16}, \"rates\": 0.5}",
        "{\"memory.location\": [0.25, 0.5], \"memory.hidden\": 16, \"rates\": [0.5]}",
        "{\"memory\": {\"location\": [0.25, 0.5]}, \"rates\": [0.5], \"memory.hidden\": 16}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        fixture f;
        MN_ASSERT_OK(read_config(&f, texts[i]));
        ASSERT_REALS(&f.values.memory.location, 2, 0.25, 0.5);
        ASSERT_REALS(&f.values.rates, 1, 0.5);
        assert_int_equal(f.values.memory.hidden, 16);
        assert_true(mn_options_given(f.options, "memory.hidden"));
        mn_options_close(&f.options);
    }
    config_refuses("{\"memory\": 5}", "c.json: unknown key 'memory'");
    config_refuses("{\"memry\": {\"hidden\": 5}}", "c.json: unknown key 'memry'");
    config_refuses("{\"memor\": {\"hidden\": 5}}", "c.json: unknown key 'memor'");
    config_refuses("{\"memory\": {\"hiden\": 5}}",
                   "c.json: unknown key 'memory.hiden'; did you mean 'memory.hidden'?");
    config_refuses("{\"memory\": {\"memory\": {\"hidden\": 5}}}",
                   "c.json: unknown key 'memory.memory'");
    config_refuses("{\"memory\": {\"hidden\": 5}, \"memory.hidden\": 5}",
                   "c.json: the key 'memory.hidden' stands twice");
    config_refuses("{\"memory\": {\"hidden\": \"5\"}}",
                   "c.json: memory.hidden: expected an integer from 1 to 4096, found \"5\"");
    config_refuses("{\"rates\": [0.5, \"1\"]}",
                   "c.json: rates: expected a number from 0 to 1, found \"1\"");
    config_refuses("{\"rates\": {\"a\": 1}}",
                   "c.json: rates: expected a number from 0 to 1, found {\"a\":1}");
}

static void dump_reads_back(void **state) {
    (void)state;
    static const char dumped[] = "{\n"
                                 "  \"model\": \"m\",\n"
                                 "  \"seed\": 7,\n"
                                 "  \"rates\": [0.05, 0.3, 0],\n"
                                 "  \"memory.location\": [0.7, 0.8],\n"
                                 "  \"memory.hidden\": 128\n"
                                 "}";
    fixture f;
    mn_buf out = {0};
    MN_ASSERT_OK(PARSE(&f, "--model", "m", "--rates", "0.05,0.3,0"));
    MN_ASSERT_OK(mn_options_dump(&out, f.options));
    assert_string_equal(out.data, dumped);
    mn_options_close(&f.options);
    MN_ASSERT_OK(read_config(&f, dumped));
    mn_buf_clear(&out);
    MN_ASSERT_OK(mn_options_dump(&out, f.options));
    assert_string_equal(out.data, dumped);
    mn_options_close(&f.options);
    MN_ASSERT_OK(PARSE(&f, "--model", "m"));
    assert_int_equal(f.values.rates.count, 0);
    mn_buf_clear(&out);
    MN_ASSERT_OK(mn_options_dump(&out, f.options));
    assert_non_null(strstr(out.data, "\"rates\": [],"));
    mn_options_close(&f.options);
    mn_buf_free(&out);
}

/* Hidden rows have their defaults and no name; another table may use it. */
static void hidden_rows(void **state) {
    (void)state;
    static const char *const hidden[] = {"model", "seed", NULL};
    static const mn_option ours[] = {MN_OPT_I64(sample, seed, "3", 0, 64, "another seed")};
    sample shared, own;
    mn_options *options = NULL;
    mn_buf out = {0};
    memset(&shared, 0xA5, sizeof shared);
    const mn_option_group groups[] = {{rows, ROWS, &shared, hidden}, {ours, 1, &own, NULL}};
    MN_ASSERT_OK(mn_options_open(&options, groups, 2));
    assert_null(shared.model);
    assert_int_equal(shared.seed, 7);
    char *const line[] = {(char[]){"sample"}, (char[]){"--seed=64"}, (char[]){"--model=m"}};
    MN_ASSERT_OK(mn_options_parse(options, 2, line));
    assert_int_equal(shared.seed, 7);
    assert_int_equal(own.seed, 64);
    MN_ASSERT_FAILS(mn_options_parse(options, 3, line), MN_ERR_USAGE, "unknown option '--model'");
    MN_ASSERT_OK(mn_options_dump(&out, options));
    assert_string_equal(out.data, "{\n  \"rates\": [],\n  \"memory.location\": [0.7, 0.8],\n"
                                  "  \"memory.hidden\": 128,\n  \"seed\": 64\n}");
    mn_buf_free(&out);
    mn_options_close(&options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_lists),
        cmocka_unit_test(config_sections),
        cmocka_unit_test(dump_reads_back),
        cmocka_unit_test(hidden_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
