/* test_options.c - values from an option table: command line, config files, --set, dump. */
#include "check.h"

#include "cli/options.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum sample_mode { MODE_GENERATE, MODE_CHOICE } sample_mode;

typedef struct sample {
    const char *model, *note, *path;
    int64_t top_pages, batch_size, seed;
    double rate;
    bool fast, safe;
    int kind;
    sample_mode mode;
    mn_option_list shots, modes, extra;
} sample;

typedef struct shared {
    int64_t threads;
} shared;

static const char *const kinds[] = {"claim-page", "evidence", NULL};
static const char *const modes[] = {"generate", "choice", NULL};

static const mn_option sample_rows[] = {
    MN_OPT_PATH(sample, model, "DIR", mn_required, "the model's folder"),
    MN_OPT_STRING(sample, note, "TEXT", NULL, "a remark"),
    MN_OPT_PATH(sample, path, "FILE", "data.jsonl", "what to read"),
    MN_OPT_I64(sample, top_pages, "100", 1, 500, "pages to take"),
    MN_OPT_I64_AUTO(sample, batch_size, "auto", 1, 4096, "claims per step"),
    MN_OPT_I64(sample, seed, "7", -MN_OPTION_NO_MAX, MN_OPTION_NO_MAX, "for all that is drawn"),
    MN_OPT_F64(sample, rate, "0.001", 0, 1, "step size"),
    MN_OPT_FLAG(sample, fast, "false", "go on without checks"),
    MN_OPT_FLAG(sample, safe, "true", "check everything"),
    MN_OPT_CHOICE(sample, kind, "claim-page", kinds, "what a row is"),
    MN_OPT_CHOICE(sample, mode, "choice", modes, "how an answer is read"),
    MN_OPT_I64_LIST(sample, shots, "1,5", 0, 100, "numbers of demonstrations"),
    MN_OPT_CHOICE_LIST(sample, modes, "generate,choice", modes, "ways to score"),
    MN_OPT_I64_LIST(sample, extra, NULL, 0, 9, "more of them"),
};
enum { SAMPLE_ROWS = sizeof sample_rows / sizeof *sample_rows };

static const mn_option shared_rows[] = {
    MN_OPT_I64(shared, threads, "0", 0, 64, "threads to use"),
};

typedef struct fixture {
    sample values;
    shared common;
    mn_options *options;
} fixture;

static mn_status begin(fixture *f) {
    memset(f, 0xA5, sizeof *f); /* a value that is not set shows */
    const mn_option_group groups[] = {{sample_rows, SAMPLE_ROWS, &f->values, NULL},
                                      {shared_rows, 1, &f->common, NULL}};
    return mn_options_open(&f->options, groups, 2);
}

#include "test_options.h"

static void assert_list(const mn_option_list *list, size_t count, const int64_t *items) {
    assert_int_equal(list->count, count);
    for (size_t i = 0; i < count; i++) assert_int_equal(list->items[i], items[i]);
}
#define ASSERT_LIST(list, count, ...) assert_list((list), (count), (const int64_t[]){__VA_ARGS__})

/* ---- values ---- */

static void defaults(void **state) {
    (void)state;
    fixture f;
    MN_ASSERT_OK(PARSE(&f, "--model", "m"));
    const sample *v = &f.values;
    assert_string_equal(v->model, "m");
    assert_null(v->note);
    assert_string_equal(v->path, "data.jsonl");
    assert_int_equal(v->top_pages, 100);
    assert_int_equal(v->batch_size, 0);
    assert_int_equal(v->seed, 7);
    assert_true(v->rate == 0.001);
    assert_false(v->fast);
    assert_true(v->safe);
    assert_int_equal(v->kind, 0);
    assert_int_equal(v->mode, MODE_CHOICE);
    ASSERT_LIST(&v->shots, 2, 1, 5);
    ASSERT_LIST(&v->modes, 2, 0, 1);
    assert_int_equal(v->extra.count, 0);
    assert_int_equal(f.common.threads, 0);
    assert_true(mn_options_given(f.options, "model"));
    assert_false(mn_options_given(f.options, "seed"));
    assert_false(mn_options_given(f.options, "nothing"));
    mn_options_close(&f.options);
    mn_options_close(&f.options);
}

static void command_line(void **state) {
    (void)state;
    fixture f;
    MN_ASSERT_OK(PARSE(&f, "--model=a=b", "--note", "", "--top-pages", "500", "--batch_size=17",
                       "--seed", "-12", "--rate", "1", "--fast", "--safe", "false", "--kind",
                       "evidence", "--mode=generate", "--shots", "5,0,100", "--modes=choice",
                       "--extra", "9", "--threads", "64", "--path", "-"));
    const sample *v = &f.values;
    assert_string_equal(v->model, "a=b");
    assert_string_equal(v->note, "");
    assert_string_equal(v->path, "-");
    assert_int_equal(v->top_pages, 500);
    assert_int_equal(v->batch_size, 17);
    assert_int_equal(v->seed, -12);
    assert_true(v->rate == 1.0);
    assert_true(v->fast);
    assert_false(v->safe);
    assert_int_equal(v->kind, 1);
    assert_int_equal(v->mode, MODE_GENERATE);
    ASSERT_LIST(&v->shots, 3, 5, 0, 100);
    ASSERT_LIST(&v->modes, 1, 1);
    ASSERT_LIST(&v->extra, 1, 9);
    assert_int_equal(f.common.threads, 64);
    mn_options_close(&f.options);
}

static void last_one_counts(void **state) {
    (void)state;
    fixture f;
    MN_ASSERT_OK(PARSE(&f, "--model", "a", "--seed", "1", "--set", "seed=2", "--model=b", "--set",
                       "batch-size=auto", "--batch_size", "4", "--set=fast=true", "--fast=false"));
    assert_string_equal(f.values.model, "b");
    assert_int_equal(f.values.seed, 2);
    assert_int_equal(f.values.batch_size, 4);
    assert_false(f.values.fast);
    mn_options_close(&f.options);
}

static void numbers_refused(void **state) {
    (void)state;
    static char *const texts[] = {"0",  "501",  "-1", "",     " 5",
                                  "5 ", "0x10", "5.", "1e2",  "auto",
                                  "-",  "+",    "--", "five", "99999999999999999999"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        fixture f;
        char argument[64], message[160];
        snprintf(argument, sizeof argument, "--top_pages=%s", texts[i]);
        snprintf(message, sizeof message, "--top_pages: '%s' is not an integer from 1 to 500",
                 texts[i]);
        MN_ASSERT_FAILS(PARSE(&f, "--model", "m", argument), MN_ERR_USAGE, NULL);
        assert_string_equal(mn_error(), message);
        mn_options_close(&f.options);
    }
    REFUSES("--batch_size: '0' is not auto or an integer from 1 to 4096", "--batch-size", "0");
    REFUSES("--seed: '1.5' is not an integer from -9007199254740991 to 9007199254740991", "--seed",
            "1.5");
    static char *const reals[] = {"-0.1", "1.01", "nan", "inf", "0x1p-1", "1e400", "", ".", "1 "};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        fixture f;
        char message[100];
        snprintf(message, sizeof message, "--rate: '%s' is not a number from 0 to 1", reals[i]);
        MN_ASSERT_FAILS(PARSE(&f, "--rate", reals[i]), MN_ERR_USAGE, message);
        mn_options_close(&f.options);
    }
}

static void texts_refused(void **state) {
    (void)state;
    REFUSES("--model: '' is not a non-empty text", "--model", "");
    REFUSES("--fast: 'yes' is not true or false", "--fast=yes");
    REFUSES("unexpected argument 'yes'; options are written --name value", "--fast", "yes");
    REFUSES("--mode: 'chioce' is not one of generate, choice; did you mean 'choice'?", "--mode",
            "chioce");
    REFUSES("--mode: 'Choice' is not one of generate, choice; did you mean 'choice'?", "--mode",
            "Choice");
    REFUSES("--mode: 'x' is not one of generate, choice", "--mode", "x");
    REFUSES("--shots: '101' is not an integer from 0 to 100", "--shots", "0,101");
    REFUSES("--shots: '' is not an integer from 0 to 100", "--shots", "0,");
    REFUSES("--shots: '' is not an integer from 0 to 100", "--shots", ",0");
    REFUSES("--shots: '' is not an integer from 0 to 100", "--shots", "");
    REFUSES("--shots: '1' stands twice in '0,1,1'", "--shots", "0,1,1");
    REFUSES("--shots: '01' stands twice in '1,01'", "--shots", "1,01");
    REFUSES("--modes: 'choice' stands twice in 'choice,generate,choice'", "--modes",
            "choice,generate,choice");
    REFUSES("--modes: 'chose' is not one of generate, choice; did you mean 'choice'?", "--modes",
            "generate,chose");
}

static void list_length(void **state) {
    (void)state;
    char text[65 * 3 + 1] = "";
    for (int i = 0; i < 65; i++) {
        char item[8];
        snprintf(item, sizeof item, "%s%d", i > 0 ? "," : "", i);
        strcat(text, item);
    }
    REFUSES("--shots: more than 64 items", "--shots", text);
    *strrchr(text, ',') = '\0';
    fixture f;
    MN_ASSERT_OK(PARSE(&f, "--model", "m", "--shots", text));
    assert_int_equal(f.values.shots.count, 64);
    assert_int_equal(f.values.shots.items[63], 63);
    mn_options_close(&f.options);
}

static void wrong_lines(void **state) {
    (void)state;
    REFUSES("--model DIR is required", "--seed", "1");
    REFUSES("unknown option '--modle'; did you mean '--model'?", "--modle", "m");
    REFUSES("unknown option '--BATCH-SIZ'; did you mean '--batch_size'?", "--BATCH-SIZ=3");
    REFUSES("unknown option '--confg'; did you mean '--config'?", "--confg", "x");
    REFUSES("unknown option '--colour'; --help lists the options", "--colour");
    REFUSES("unexpected argument 'm'; options are written --name value", "m");
    REFUSES("unexpected argument '-m'; options are written --name value", "-m");
    REFUSES("unexpected argument '--'; options are written --name value", "--");
    REFUSES("unknown option '--'; --help lists the options", "--=x");
    REFUSES("--model needs a value: --model DIR", "--model");
    REFUSES("--model needs a value: --model DIR", "--model", "--seed", "1");
    REFUSES("--set: 'seed' is not KEY=VALUE", "--set", "seed");
    REFUSES("--set: '=1' is not KEY=VALUE", "--set", "=1");
    REFUSES("--set: unknown key 'sed'; did you mean 'seed'?", "--set", "sed=1");
    REFUSES("--set: unknown key 'config'", "--set", "config=x");
    REFUSES("--seed: 'x' is not an integer from -9007199254740991 to 9007199254740991", "--set",
            "seed=x");
    REFUSES("--help: 'html' is not one of text, markdown", "--help=html");
    fixture f; /* an argument far longer than any name */
    char *long_name = malloc(5001);
    assert_non_null(long_name);
    memset(long_name, 'x', 5000);
    memcpy(long_name, "--", 2);
    long_name[5000] = '\0';
    MN_ASSERT_FAILS(PARSE(&f, long_name), MN_ERR_USAGE, "unknown option '--xxx");
    free(long_name);
    mn_options_close(&f.options);
}

static void value_like_an_option(void **state) {
    (void)state;
    fixture f;
    MN_ASSERT_OK(PARSE(&f, "--model=--seed", "--note", "-1"));
    assert_string_equal(f.values.model, "--seed");
    assert_string_equal(f.values.note, "-1");
    mn_options_close(&f.options);
}

/* ---- config files ---- */

static void config_values(void **state) {
    (void)state;
    fixture f;
    MN_ASSERT_OK(read_config(
        &f, "{\"model\": \"d\\u00e9j\\u00e0\", \"note\": \"\", \"path\": null, \"top-pages\": 2e1,"
            " \"batch_size\": \"auto\", \"seed\": -9007199254740991, \"rate\": 0.1, \"fast\": true,"
            " \"mode\": \"generate\", \"shots\": [3, 0], \"modes\": \"choice\", \"extra\": [],"
            " \"threads\": 2}"));
    const sample *v = &f.values;
    assert_string_equal(v->model, "d\xC3\xA9j\xC3\xA0");
    assert_string_equal(v->note, "");
    assert_string_equal(v->path, "data.jsonl");
    assert_int_equal(v->top_pages, 20);
    assert_int_equal(v->batch_size, 0);
    assert_true(v->seed == -INT64_C(9007199254740991));
    assert_true(v->rate == 0.1);
    assert_true(v->fast);
    assert_int_equal(v->mode, MODE_GENERATE);
    ASSERT_LIST(&v->shots, 2, 3, 0);
    ASSERT_LIST(&v->modes, 1, 1);
    assert_int_equal(v->extra.count, 0);
    assert_int_equal(f.common.threads, 2);
    assert_true(mn_options_given(f.options, "top_pages"));
    assert_false(mn_options_given(f.options, "path"));
    mn_options_close(&f.options);
}

static void config_refused(void **state) {
    (void)state;
    config_refuses("[]", "c.json: expected an object with options as keys");
    config_refuses("{\"sede\": 1}", "c.json: unknown key 'sede'; did you mean 'seed'?");
    config_refuses("{\"help\": true}", "c.json: unknown key 'help'");
    config_refuses("{\"\": 1}", "c.json: unknown key ''");
    config_refuses("{\"seed\": 1, \"seed\": 1}", "c.json: the key 'seed' stands twice");
    config_refuses("{\"top_pages\": 1, \"top-pages\": 1}",
                   "c.json: the key 'top_pages' stands twice");
    config_refuses("{\"seed\": \"1\"}", "c.json: seed: expected an integer from -9007199254740991 "
                                        "to 9007199254740991, found \"1\"");
    config_refuses(
        "{\"seed\": 1.5}",
        "c.json: seed: '1.5' is not an integer from -9007199254740991 to 9007199254740991");
    config_refuses("{\"seed\": 9007199254740994}",
                   "c.json: seed: '9007199254740994' is not an integer from "
                   "-9007199254740991 to 9007199254740991");
    config_refuses(
        "{\"seed\": 1e999}",
        "c.json: seed: 'inf' is not an integer from -9007199254740991 to 9007199254740991");
    config_refuses("{\"top_pages\": 501}",
                   "c.json: top_pages: '501' is not an integer from 1 to 500");
    config_refuses("{\"batch_size\": \"all\"}",
                   "c.json: batch_size: 'all' is not auto or an integer from 1 to 4096");
    config_refuses("{\"fast\": 1}", "c.json: fast: expected true or false, found 1");
    config_refuses("{\"fast\": \"true\"}", "c.json: fast: expected true or false, found \"true\"");
    config_refuses("{\"model\": 5}", "c.json: model: expected a non-empty text, found 5");
    config_refuses("{\"model\": \"\"}", "c.json: model: '' is not a non-empty text");
    config_refuses("{\"note\": {\"a\": 1}}", "c.json: note: expected a text, found {\"a\":1}");
    config_refuses("{\"rate\": true}", "c.json: rate: expected a number from 0 to 1, found true");
    config_refuses("{\"mode\": [\"choice\"]}",
                   "c.json: mode: expected one of generate, choice, found [\"choice\"]");
    config_refuses("{\"mode\": \"choise\"}",
                   "c.json: mode: 'choise' is not one of generate, choice; did you mean 'choice'?");
    config_refuses("{\"shots\": [1, \"2\"]}",
                   "c.json: shots: expected an integer from 0 to 100, found \"2\"");
    config_refuses("{\"shots\": [1, null]}",
                   "c.json: shots: expected an integer from 0 to 100, found null");
    config_refuses("{\"shots\": []}", "c.json: shots: '' is not an integer from 0 to 100");
    config_refuses("{\"shots\": [1, 1]}", "c.json: shots: '1' stands twice in '1,1'");
    config_refuses("{\"modes\": [\"choice,generate\", \"choice\"]}",
                   "c.json: modes: 'choice' stands twice in 'choice,generate,choice'");
}

static void order_of_sources(void **state) {
    (void)state;
    const mn_test_path dir = mn_test_tmpdir();
    mn_test_path one = mn_test_join(dir.text, "one.json"), two = mn_test_join(dir.text, "two.json");
    mn_test_puts(one.text, "{\"model\": \"one\", \"seed\": 1, \"rate\": 0.25}");
    mn_test_puts(two.text, "{\"seed\": 2, \"top_pages\": 2}");
    fixture f;
    /* The place of --config on the line does not matter; the order of the files does. */
    MN_ASSERT_OK(PARSE(&f, "--top_pages", "3", "--config", one.text, "--config", two.text));
    assert_string_equal(f.values.model, "one");
    assert_int_equal(f.values.seed, 2);
    assert_int_equal(f.values.top_pages, 3);
    assert_true(f.values.rate == 0.25);
    mn_options_close(&f.options);
    MN_ASSERT_OK(PARSE(&f, "--config", two.text, "--config", one.text, "--set", "rate=0.5"));
    assert_int_equal(f.values.seed, 1);
    assert_int_equal(f.values.top_pages, 2);
    assert_true(f.values.rate == 0.5);
    mn_options_close(&f.options);

    mn_test_puts(two.text, "{\"seed\": 2,}");
    MN_ASSERT_FAILS(PARSE(&f, "--config", two.text), MN_ERR_DATA, two.text);
    mn_options_close(&f.options);
    mn_test_path none = mn_test_join(dir.text, "none.json");
    MN_ASSERT_FAILS(PARSE(&f, "--config", none.text), MN_ERR_IO, none.text);
    mn_options_close(&f.options);
    mn_test_rmdir(dir.text);
}

/* ---- dump ---- */

static const char dumped[] = "{\n"
                             "  \"model\": \"a \\\"b\\\"\\n\",\n"
                             "  \"note\": null,\n"
                             "  \"path\": \"data.jsonl\",\n"
                             "  \"top_pages\": 100,\n"
                             "  \"batch_size\": \"auto\",\n"
                             "  \"seed\": 9007199254740991,\n"
                             "  \"rate\": 0.3,\n"
                             "  \"fast\": false,\n"
                             "  \"safe\": true,\n"
                             "  \"kind\": \"evidence\",\n"
                             "  \"mode\": \"choice\",\n"
                             "  \"shots\": [0, 2],\n"
                             "  \"modes\": [\"choice\", \"generate\"],\n"
                             "  \"extra\": [],\n"
                             "  \"threads\": 0\n"
                             "}";

static void dump_reads_back(void **state) {
    (void)state;
    fixture f;
    mn_buf first = {0}, second = {0};
    MN_ASSERT_OK(PARSE(&f, "--model", "a \"b\"\n", "--seed", "9007199254740991", "--rate", "0.3",
                       "--kind", "evidence", "--shots", "0,2", "--modes", "choice,generate"));
    MN_ASSERT_OK(mn_options_dump(&first, f.options));
    assert_string_equal(first.data, dumped);
    mn_options_close(&f.options);
    MN_ASSERT_OK(read_config(&f, first.data));
    MN_ASSERT_OK(mn_options_dump(&second, f.options));
    assert_string_equal(second.data, dumped);
    assert_int_equal(f.values.kind, 1);
    ASSERT_LIST(&f.values.modes, 2, 1, 0);
    mn_options_close(&f.options);
    mn_buf_free(&second);
    mn_buf_free(&first);
}

static void dump_of_little(void **state) {
    (void)state;
    fixture f;
    mn_buf out = {0};
    MN_ASSERT_OK(begin(&f));
    MN_ASSERT_OK(mn_options_dump(&out, f.options)); /* required and not there: null */
    assert_memory_equal(out.data, "{\n  \"model\": null,\n", 19);
    mn_options_close(&f.options);
    mn_buf_clear(&out);
    MN_ASSERT_OK(mn_options_open(&f.options, NULL, 0));
    MN_ASSERT_OK(mn_options_dump(&out, f.options));
    assert_string_equal(out.data, "{}");
    mn_options_close(&f.options);
    mn_buf_free(&out);
}

/* ---- help ---- */

static void help_asked(void **state) {
    (void)state;
    fixture f;
    /* Neither the missing --model nor a bad value nor a missing file matters. */
    MN_ASSERT_OK(PARSE(&f, "--seed", "x", "--config", "/nowhere/c.json", "--help"));
    assert_int_equal(mn_options_help(f.options), MN_HELP_TEXT);
    mn_options_close(&f.options);
    MN_ASSERT_OK(PARSE(&f, "-h"));
    assert_int_equal(mn_options_help(f.options), MN_HELP_TEXT);
    mn_options_close(&f.options);
    MN_ASSERT_OK(PARSE(&f, "--help=markdown"));
    assert_int_equal(mn_options_help(f.options), MN_HELP_MARKDOWN);
    mn_options_close(&f.options);
    MN_ASSERT_OK(PARSE(&f, "--model", "m"));
    assert_int_equal(mn_options_help(f.options), MN_HELP_NONE);
    mn_options_close(&f.options);
    MN_ASSERT_FAILS(PARSE(&f, "--unknown", "--help"), MN_ERR_USAGE, "--unknown");
    mn_options_close(&f.options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),         cmocka_unit_test(command_line),
        cmocka_unit_test(last_one_counts),  cmocka_unit_test(numbers_refused),
        cmocka_unit_test(texts_refused),    cmocka_unit_test(list_length),
        cmocka_unit_test(wrong_lines),      cmocka_unit_test(value_like_an_option),
        cmocka_unit_test(config_values),    cmocka_unit_test(config_refused),
        cmocka_unit_test(order_of_sources), cmocka_unit_test(dump_reads_back),
        cmocka_unit_test(dump_of_little),   cmocka_unit_test(help_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
