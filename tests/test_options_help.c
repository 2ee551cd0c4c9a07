/* test_options_help.c - what an option table says of itself: help page, Markdown, near misses. */
#include "check.h"

#include "cli/options.h"

#include <float.h>
#include <string.h>

typedef struct sample {
    const char *model, *note;
    int64_t batch_size, seed, offset;
    double rate, scale, any;
    bool fast, safe;
    int mode;
    mn_option_list shots, modes;
    struct {
        mn_option_reals location;
    } memory;
} sample;

static const char *const modes[] = {"generate", "choice", NULL};

static const mn_option rows[] = {
    MN_OPT_PATH(sample, model, "DIR", mn_required, "the model's folder"),
    MN_OPT_STRING(sample, note, "TEXT", NULL, "a remark | for the <result>"),
    MN_OPT_I64_AUTO(sample, batch_size, "auto", 1, 4096, "claims per step"),
    MN_OPT_FLAG(sample, fast, "false", "go on without checks"),
    MN_OPT_FLAG(sample, safe, "true", "check everything"),
    MN_OPT_I64_LIST(sample, shots, "1,5", 0, 100, "numbers of demonstrations"),
    MN_OPT_CHOICE(sample, mode, "choice", modes,
                  "how an answer is read, in so many words that the line has to be broken"),
    MN_OPT_CHOICE_LIST(sample, modes, "generate,choice", modes, "ways to score"),
    MN_OPT_I64(sample, seed, "7", 0, MN_OPTION_NO_MAX, "for all that is drawn"),
    MN_OPT_I64(sample, offset, "0", -MN_OPTION_NO_MAX, MN_OPTION_NO_MAX, "where to begin"),
    MN_OPT_F64(sample, rate, "0.001", 0, 1, "step size"),
    MN_OPT_F64(sample, scale, "1", 0.5, DBL_MAX, "of the output"),
    MN_OPT_F64(sample, any, mn_required, -DBL_MAX, DBL_MAX, "any number"),
    MN_OPT_F64_LIST(sample, memory.location, "0.7,0.8", 0, 1, "where they stand"),
};
enum { ROWS = sizeof rows / sizeof *rows };

static void help_rows(void **state) {
    (void)state;
    mn_buf out = {0};
    MN_ASSERT_OK(mn_options_help_rows(&out, rows, ROWS));
    assert_string_equal(
        out.data,
        "  --model DIR               the model's folder [required]\n"
        "  --note TEXT               a remark | for the <result>\n"
        "  --batch_size N            claims per step [auto or an integer from 1 to 4096;\n"
        "                            default auto]\n"
        "  --fast                    go on without checks\n"
        "  --safe                    check everything [default true]\n"
        "  --shots N,N,..            numbers of demonstrations [an integer from 0 to 100\n"
        "                            each; default 1,5]\n"
        "  --mode NAME               how an answer is read, in so many words that the\n"
        "                            line has to be broken [one of generate, choice;\n"
        "                            default choice]\n"
        "  --modes NAME,..           ways to score [one of generate, choice each; default\n"
        "                            generate,choice]\n"
        "  --seed N                  for all that is drawn [an integer of at least 0;\n"
        "                            default 7]\n"
        "  --offset N                where to begin [an integer; default 0]\n"
        "  --rate X                  step size [a number from 0 to 1; default 0.001]\n"
        "  --scale X                 of the output [a number of at least 0.5; default 1]\n"
        "  --any X                   any number [a number; required]\n"
        "  --memory.location X,X,..  where they stand [a number from 0 to 1 each; default\n"
        "                            0.7,0.8]\n");
    mn_buf_clear(&out);
    MN_ASSERT_OK(mn_options_help_required(&out, rows, ROWS));
    assert_string_equal(out.data, "--model DIR --any X ");
    mn_buf_free(&out);
}

static void wrapping(void **state) {
    (void)state;
    char word[101];
    memset(word, 'w', 100);
    word[100] = '\0';
    mn_buf out = {0};
    MN_ASSERT_OK(mn_wrap(&out, "a b", 4, 2)); /* two columns taken: two blanks to column 4 */
    MN_ASSERT_OK(mn_wrap(&out, "a b", 4, 4)); /* no room for a blank: a line of its own */
    MN_ASSERT_OK(mn_wrap(&out, word, 0, 0));  /* longer than a line: left whole */
    word[50] = word[60] = word[90] = ',';
    MN_ASSERT_OK(mn_wrap(&out, word, 20, 20)); /* but broken behind the last comma that fits */
    word[50] = word[60] = word[90] = 'w';
    assert_string_equal(strtok(out.data, "\n"), "  a b");
    assert_string_equal(strtok(NULL, "\n"), "    a b");
    assert_string_equal(strtok(NULL, "\n"), word);
    const char *line = strtok(NULL, "\n");
    assert_int_equal(strlen(line), 20 + 51);
    assert_int_equal(line[20 + 50], ',');
    assert_int_equal(strlen(strtok(NULL, "\n")), 20 + 49);
    mn_buf_clear(&out);
    word[76] = '\0';
    MN_ASSERT_OK(mn_buf_printf(&out, "%s", ""));
    MN_ASSERT_OK(mn_wrap(&out, strcat(word, " abc d"), 0, 0)); /* 76 + 1 + 3 fill 80 columns */
    assert_int_equal(strcspn(out.data, "\n"), 80);
    mn_buf_free(&out);
}

static void markdown(void **state) {
    (void)state;
    mn_buf out = {0};
    MN_ASSERT_OK(mn_options_markdown(&out, rows, ROWS));
    static const char *const lines[] = {
        "| option | default | values | meaning |\n|---|---|---|---|\n| `model` |",
        "\n| `model` | required | text | the model's folder |\n",
        "\n| `note` | | text | a remark \\| for the \\<result> |\n",
        "\n| `batch_size` | `auto` | auto or an integer from 1 to 4096 | claims per step |\n",
        "\n| `rate` | `0.001` | a number from 0 to 1 | step size |\n",
        "\n| `fast` | `false` | true or false | go on without checks |\n",
        "\n| `shots` | `1,5` | list of integers from 0 to 100 | numbers of demonstrations |\n",
        "\n| `modes` | `generate,choice` | list of generate, choice | ways to score |\n",
        "\n| `any` | required | a number | any number |\n",
        "\n| `memory.location` | `0.7,0.8` | list of numbers from 0 to 1 | where they stand |\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(out.data, lines[i])) fail_msg("not in the table: %s", lines[i]);
    mn_buf_free(&out);
}

/* ---- tables and near misses ---- */

static void bad_tables(void **state) {
    (void)state;
    static const mn_option high[] = {MN_OPT_I64(sample, seed, "9", 0, 8, "")};
    static const mn_option odd[] = {MN_OPT_CHOICE(sample, mode, "guess", modes, "")};
    static const mn_option ours[] = {MN_OPT_PATH(sample, model, "FILE", NULL, ""),
                                     {.name = "set", .type = MN_OPTION_STRING}};
    sample values;
    const mn_option_group groups[] = {{high, 1, &values, NULL},
                                      {odd, 1, &values, NULL},
                                      {ours, 2, &values, NULL},
                                      {ours, 1, &values, NULL}};
    mn_options *options = NULL;
    MN_ASSERT_FAILS(mn_options_open(&options, groups, 1), MN_ERR_USAGE,
                    "the default of --seed: '9' is not an integer from 0 to 8");
    assert_null(options);
    MN_ASSERT_FAILS(mn_options_open(&options, groups + 1, 1), MN_ERR_USAGE, "--mode: 'guess'");
    MN_ASSERT_FAILS(mn_options_open(&options, groups + 2, 1), MN_ERR_USAGE, "--set stands twice");
    MN_ASSERT_FAILS(mn_options_open(&options, groups + 2, 2), MN_ERR_USAGE, "--model stands twice");
    assert_null(options);
}

static void near_misses(void **state) {
    (void)state;
    static const struct {
        const char *given, *candidate;
        size_t distance; /* counted by hand; 99: too far */
    } cases[] = {
        {"eval", "eval", 0},
        {"evla", "eval", 1},
        {"evl", "eval", 1},
        {"eevl", "eval", 99},
        {"EVAL", "eval", 0},
        {"top-page", "top_pages", 1},
        {"tokenise", "tokenize", 1},
        {"otkenise", "tokenize", 2},
        {"okenise", "tokenize", 2},
        {"genrat", "generate", 2},
        {"genrt", "generate", 99},
        {"bathc_szie", "batch_size", 2},
        {"num_shots", "num_fewshots", 3},
        {"shots", "num_fewshot", 99},
        {"", "eval", 99},
        {"a", "b", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mn_near found = mn_near_to(cases[i].given);
        mn_near_offer(&found, cases[i].candidate);
        if (cases[i].distance == 99 ? found.best != NULL
                                    : !found.best || found.distance != cases[i].distance)
            fail_msg("%s, %s: %s at %zu", cases[i].given, cases[i].candidate,
                     found.best ? found.best : "none", found.distance);
    }
    mn_near best = mn_near_to("beta");
    mn_near_offer(&best, "bets");
    mn_near_offer(&best, "beta");
    mn_near_offer(&best, "betas");
    assert_string_equal(best.best, "beta");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_rows),  cmocka_unit_test(wrapping),    cmocka_unit_test(markdown),
        cmocka_unit_test(bad_tables), cmocka_unit_test(near_misses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
