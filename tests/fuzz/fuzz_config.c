/* fuzz_config.c - options from hostile text: input that begins with '{' is a config file, any other
 * is a command line with one argument a line. What was accepted has to survive its own dump. */
#include "cli/options.h"

#include <stdlib.h>
#include <string.h>

typedef struct sample {
    const char *model, *note;
    int64_t top_pages, batch_size, seed;
    double rate;
    bool fast;
    int mode;
    mn_option_list shots, modes, extra;
    struct {
        mn_option_reals location;
        int64_t hidden;
    } memory;
} sample;

static const char *const modes[] = {"generate", "choice", "random-page", NULL};

static const mn_option rows[] = {
    MN_OPT_PATH(sample, model, "DIR", "m", "the model's folder"),
    MN_OPT_STRING(sample, note, "TEXT", NULL, "a remark"),
    MN_OPT_I64(sample, top_pages, "100", 1, 500, "pages to take"),
    MN_OPT_I64_AUTO(sample, batch_size, "auto", 1, 4096, "claims per step"),
    MN_OPT_I64(sample, seed, "7", -MN_OPTION_NO_MAX, MN_OPTION_NO_MAX, "for all that is drawn"),
    MN_OPT_F64(sample, rate, "0.001", -1e300, 1e300, "step size"),
    MN_OPT_FLAG(sample, fast, "false", "go on without checks"),
    MN_OPT_CHOICE(sample, mode, "choice", modes, "how an answer is read"),
    MN_OPT_I64_LIST(sample, shots, "1,5", -100, 100, "numbers of demonstrations"),
    MN_OPT_CHOICE_LIST(sample, modes, "generate,choice", modes, "ways to score"),
    MN_OPT_I64_LIST(sample, extra, NULL, 0, 9, "more of them"),
    MN_OPT_F64_LIST(sample, memory.location, "0.7,0.8", -1e300, 1e300, "where memories stand"),
    MN_OPT_I64(sample, memory.hidden, "128", 1, 4096, "width of a memory"),
};

static void check(bool good) {
    if (!good) abort();
}

static mn_options *open_options(sample *values) {
    mn_options *options = NULL;
    const mn_option_group group = {rows, sizeof rows / sizeof *rows, values, NULL};
    check(mn_options_open(&options, &group, 1) == MN_OK);
    return options;
}

static mn_status read_config(mn_options *options, const char *text, size_t len) {
    mn_json *doc = NULL;
    mn_status st = mn_json_parse(&doc, text, len, "fuzz");
    if (st == MN_OK) st = mn_options_config(options, doc);
    mn_json_close(&doc);
    return st;
}

enum { ARGUMENTS = 64 };

static mn_status read_line(mn_options *options, char *text) {
    char *argv[ARGUMENTS] = {text};
    int argc = 1;
    for (char *line = strtok(text, "\n"); line && argc < ARGUMENTS; line = strtok(NULL, "\n"))
        if (strncmp(line, "--config", 8) != 0) argv[argc++] = line; /* it would open any file */
    return mn_options_parse(options, argc, argv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sample values, again;
    mn_options *options = open_options(&values), *second = open_options(&again);
    mn_buf first_dump = {0}, second_dump = {0};
    char *text = mn_strdup_n((const char *)data, size);
    check(text != NULL);
    const mn_status st = size > 0 && text[0] == '{' ? read_config(options, text, size)
                                                    : read_line(options, text);
    if (st == MN_OK) {
        check(mn_options_dump(&first_dump, options) == MN_OK);
        check(read_config(second, first_dump.data, first_dump.len) == MN_OK);
        check(mn_options_dump(&second_dump, second) == MN_OK);
        check(strcmp(first_dump.data, second_dump.data) == 0);
        check(values.top_pages >= 1 && values.top_pages <= 500 && values.mode < 3);
        check(values.shots.count > 0 && values.shots.count <= MN_OPTION_LIST_MAX);
    } else {
        check(mn_error()[0] != '\0');
    }
    free(text);
    mn_buf_free(&second_dump);
    mn_buf_free(&first_dump);
    mn_options_close(&second);
    mn_options_close(&options);
    return 0;
}
