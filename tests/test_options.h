/* test_options.h - a table's values from a command line or a config file. To be included behind the test's
 *   fixture   with the structs of its tables, and `options`
 *   begin     which opens them:  mn_status begin(fixture *f) */
#ifndef MNEME_TEST_OPTIONS_H
#define MNEME_TEST_OPTIONS_H

#include "check.h"

#include "cli/options.h"

#include <string.h>

static inline mn_status parse_line(fixture *f, char *const *argv) {
    int argc = 0;
    while (argv[argc]) argc++;
    const mn_status st = begin(f);
    return st == MN_OK ? mn_options_parse(f->options, argc, argv) : st;
}
#define PARSE(f, ...) parse_line((f), (char *[]){(char[]){"sample"}, __VA_ARGS__, NULL})

/* PARSE has to fail with wrong usage and exactly this message. */
#define REFUSES(message, ...)                                                                      \
    do {                                                                                           \
        fixture bad_;                                                                              \
        MN_ASSERT_FAILS(PARSE(&bad_, __VA_ARGS__), MN_ERR_USAGE, NULL);                            \
        assert_string_equal(mn_error(), message);                                                  \
        mn_options_close(&bad_.options);                                                           \
    } while (0)

static inline mn_status read_config(fixture *f, const char *text) {
    mn_json *doc = NULL;
    mn_status st = begin(f);
    if (st == MN_OK) st = mn_json_parse(&doc, text, strlen(text), "c.json");
    if (st == MN_OK) st = mn_options_config(f->options, doc);
    mn_json_close(&doc);
    return st;
}

static inline void config_refuses(const char *text, const char *message) {
    fixture f;
    MN_ASSERT_FAILS(read_config(&f, text), MN_ERR_USAGE, NULL);
    assert_string_equal(mn_error(), message);
    mn_options_close(&f.options);
}

#endif
