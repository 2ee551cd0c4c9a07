/* test_core_json.c - typed JSON access: what is read, what is refused, and what the message says. */
#include "mneme/json.h"

#include "check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mn_json *parse(const char *text) {
    mn_json *doc = NULL;
    MN_ASSERT_OK(mn_json_parse(&doc, text, strlen(text), "c.json"));
    return doc;
}

static void refuse(const char *text, size_t len, const char *message) {
    mn_json *doc = (mn_json *)1;
    MN_ASSERT_FAILS(mn_json_parse(&doc, text, len, "c.json"), MN_ERR_DATA, message);
    assert_null(doc);
}

/* ---- Documents ---------------------------------------------------------------------------------- */

static void broken_documents_name_line_and_column(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "c.json: empty"},
        {" \n", "c.json: broken JSON"},
        {"{\n\"a\":", "line 2"},
        {"{\"a\": 1,\n \"b\": }", "line 2, column 7"},
        {"{\"a\": 1}\n\nx", "line 3, column 1"},
        {"{} {}", "c.json: broken JSON at column 4"},
        {"[1, 2", "JSON at column "},
        {"{\"a\": \"open}", "JSON at column "},
        {"{a: 1}", "JSON at column "}, /* cJSON tells where, give or take one */
        {"[1, 2,]", "JSON at column "},
        {"nul", "JSON at column "},
        {"\"\\x\"", "JSON at column "},
        {"\"\\uD800\"", "JSON at column "}, /* half a surrogate pair */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(cases[i].text, strlen(cases[i].text), cases[i].message);
    refuse("{}\0", 3, "column 3"); /* a NUL is no white space */
    refuse("[1]x", 4, "column 4");
    static char deep[20000]; /* nesting has a limit, not a stack overflow */
    memset(deep, '[', sizeof deep);
    refuse(deep, sizeof deep, "c.json: ");
    mn_json *doc = NULL;
    MN_ASSERT_OK(mn_json_parse(&doc, "[1]x", 3, "c.json")); /* only these three bytes */
    mn_json_close(&doc);
    mn_json_close(&doc);
}

static void documents_come_from_files(void **state) {
    (void)state;
    const mn_test_path dir = mn_test_tmpdir(), path = mn_test_join(dir.text, "config.json");
    mn_json *doc = NULL;
    mn_test_puts(path.text, "\xEF\xBB\xBF{\"n\": 3}\r\n \t"); /* a byte order mark, white space */
    MN_ASSERT_OK(mn_json_load(&doc, path.text));
    int64_t n = 0;
    MN_ASSERT_OK(mn_json_i64(&n, doc, doc->root, "n", 0, 9));
    assert_int_equal(n, 3);
    MN_ASSERT_FAILS(mn_json_i64(&n, doc, doc->root, "m", 0, 9), MN_ERR_DATA, path.text);
    mn_json_close(&doc);
    mn_test_puts(path.text, "{\"n\":\n3");
    MN_ASSERT_FAILS(mn_json_load(&doc, path.text), MN_ERR_DATA,
                    "config.json: broken JSON at line 2");
    assert_null(doc);
    mn_test_puts(path.text, "");
    MN_ASSERT_FAILS(mn_json_load(&doc, path.text), MN_ERR_DATA, "config.json: empty");
    MN_ASSERT_FAILS(mn_json_load(&doc, dir.text), MN_ERR_IO, dir.text);
    MN_ASSERT_FAILS(mn_json_load(&doc, "/nowhere.json"), MN_ERR_IO, "/nowhere.json");
    mn_test_rmdir(dir.text);
}

/* ---- Getters ------------------------------------------------------------------------------------ */

static void values_are_read(void **state) {
    (void)state;
    mn_json *doc = parse(
        "{\"s\": \"a\\u00e9\\ud83d\\ude00\", \"i\": -7, \"x\": 2.5e-3, \"t\": true,"
        " \"z\": null, \"o\": {\"a\": [1, \"b\"]}, \"I\": 9}");
    const cJSON *root = doc->root, *node = NULL;
    const char *s = NULL;
    int64_t i = 0;
    double x = 0;
    bool t = false;
    MN_ASSERT_OK(mn_json_string(&s, doc, root, "s"));
    assert_string_equal(s, "a\xC3\xA9\xF0\x9F\x98\x80");
    MN_ASSERT_OK(mn_json_i64(&i, doc, root, "i", -7, -7));
    assert_int_equal(i, -7);
    MN_ASSERT_OK(mn_json_i64(&i, doc, root, "I", 0, 100)); /* another key than "i" */
    assert_int_equal(i, 9);
    MN_ASSERT_OK(mn_json_f64(&x, doc, root, "x"));
    assert_true(x == 2.5e-3);
    MN_ASSERT_OK(mn_json_f64(&x, doc, root, "i"));
    assert_true(x == -7);
    MN_ASSERT_OK(mn_json_bool_or(&t, doc, root, "t", false));
    assert_true(t);
    MN_ASSERT_OK(mn_json_object(&node, doc, root, "o"));
    MN_ASSERT_OK(mn_json_array(&node, doc, node, "a"));
    MN_ASSERT_OK(mn_json_as_i64(&i, doc, node->child, 0, 5));
    assert_int_equal(i, 1);
    MN_ASSERT_OK(mn_json_as_string(&s, doc, node->child->next));
    assert_string_equal(s, "b");
    MN_ASSERT_OK(mn_json_get(&node, doc, root, "z"));
    assert_true(cJSON_IsNull(node));
    assert_true(mn_json_has(root, "s") && !mn_json_has(root, "z") && !mn_json_has(root, "S"));
    assert_false(mn_json_has(NULL, "s"));
    mn_json_close(&doc);
}

static void missing_and_null_give_the_default(void **state) {
    (void)state;
    mn_json *doc = parse("{\"z\": null, \"bad\": []}");
    static const char *const keys[] = {"z", "missing"};
    for (int k = 0; k < 2; k++) {
        const char *s = NULL;
        int64_t i = 0;
        double x = 0;
        bool t = false;
        MN_ASSERT_OK(mn_json_string_or(&s, doc, doc->root, keys[k], "d"));
        MN_ASSERT_OK(mn_json_i64_or(&i, doc, doc->root, keys[k], 0, 1, 77)); /* not checked */
        MN_ASSERT_OK(mn_json_f64_or(&x, doc, doc->root, keys[k], 0.5));
        MN_ASSERT_OK(mn_json_bool_or(&t, doc, doc->root, keys[k], true));
        assert_string_equal(s, "d");
        assert_true(i == 77 && x == 0.5 && t);
    }
    const char *s = NULL;
    int64_t i = 0;
    double x = 0;
    bool t = false; /* there, but wrong: no default */
    MN_ASSERT_FAILS(mn_json_string_or(&s, doc, doc->root, "bad", "d"), MN_ERR_DATA, "$.bad");
    MN_ASSERT_FAILS(mn_json_i64_or(&i, doc, doc->root, "bad", 0, 1, 7), MN_ERR_DATA, "$.bad");
    MN_ASSERT_FAILS(mn_json_f64_or(&x, doc, doc->root, "bad", 1), MN_ERR_DATA, "$.bad");
    MN_ASSERT_FAILS(mn_json_bool_or(&t, doc, doc->root, "bad", true), MN_ERR_DATA,
                    "c.json: $.bad: expected true or false, found an array");
    mn_json_close(&doc);
}

static void messages_name_the_path(void **state) {
    (void)state;
    mn_json *doc = parse("{\"model\": {\"layers\": [{}, {\"size\": \"8\", \"on\": 1}]}, \"n\": 2.5,"
                         " \"big\": 12, \"flag\": false, \"none\": null}");
    const cJSON *layer = cJSON_GetArrayItem(doc->root->child->child, 1), *node = NULL;
    const char *s = NULL;
    int64_t i = 0;
    double x = 0;
#define FAILS(call, message) MN_ASSERT_FAILS(call, MN_ERR_DATA, "c.json: " message)
    FAILS(mn_json_i64(&i, doc, layer, "size", 0, 9),
          "$.model.layers[1].size: expected an integer, found a string");
    FAILS(mn_json_i64(&i, doc, layer, "depth", 0, 9),
          "$.model.layers[1]: the key \"depth\" is missing");
    FAILS(mn_json_string(&s, doc, layer, "on"),
          "$.model.layers[1].on: expected a string, found a number");
    FAILS(mn_json_f64(&x, doc, layer, "size"),
          "$.model.layers[1].size: expected a number, found a string");
    FAILS(mn_json_object(&node, doc, doc->root, "n"), "$.n: expected an object, found a number");
    FAILS(mn_json_array(&node, doc, doc->root, "model"),
          "$.model: expected an array, found an object");
    FAILS(mn_json_string(&s, doc, doc->root, "flag"),
          "$.flag: expected a string, found true or false");
    FAILS(mn_json_string(&s, doc, doc->root, "none"), "$.none: expected a string, found null");
    FAILS(mn_json_i64(&i, doc, doc->root, "n", 0, 9), "$.n: expected an integer, found 2.5");
    FAILS(mn_json_i64(&i, doc, doc->root, "big", 0, 11), "$.big: expected 0 to 11, found 12");
    FAILS(mn_json_i64(&i, doc, doc->root, "big", 13, 20), "$.big: expected 13 to 20, found 12");
    FAILS(mn_json_get(&node, doc, layer->child, "x"), "$.model.layers[1].size: expected an object");
    FAILS(mn_json_fail(doc, layer, "%d heads", 3), "$.model.layers[1]: 3 heads");
    FAILS(mn_json_fail(doc, doc->root, "odd"), "$: odd");
    FAILS(mn_json_fail(doc, NULL, "odd"), "$: odd");
#undef FAILS
    mn_json_close(&doc);
}

/* Paths are cut, not the memory behind them. */
static void long_paths_are_cut(void **state) {
    (void)state;
    enum { DEPTH = 300 };
    mn_buf text = {0};
    for (int i = 0; i < DEPTH; i++) MN_ASSERT_OK(mn_buf_printf(&text, "{\"key%d\":[", i));
    MN_ASSERT_OK(mn_buf_puts(&text, "1"));
    for (int i = 0; i < DEPTH; i++) MN_ASSERT_OK(mn_buf_puts(&text, "]}"));
    mn_json *doc = parse(text.data);
    const cJSON *node = doc->root;
    while (node->child) node = node->child;
    const char *s = NULL;
    MN_ASSERT_FAILS(mn_json_as_string(&s, doc, node), MN_ERR_DATA, "c.json: $.key0[0].key1[0]");
    mn_json_close(&doc);
    mn_buf_free(&text);
}

/* A double holds every integer up to 2^53; the next ones would be read as their neighbours. */
static void integers_are_exact_or_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t value; /* 0: refused */
    } cases[] = {
        {"9007199254740991", 9007199254740991},
        {"-9007199254740991", -9007199254740991},
        {"4294967296", 4294967296}, /* beyond INT_MAX, where cJSON's valueint saturates */
        {"1e3", 1000},
        {"7.0", 7},
        {"9007199254740993", 0}, /* read as ...992 */
        {"9007199254740994", 0},
        {"18446744073709551616", 0},
        {"1e300", 0},
        {"-1e300", 0},
        {"1e999", 0},
        {"0.5", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"n\": %s}", cases[i].text);
        mn_json *doc = parse(text);
        int64_t n = 0;
        const mn_status st = mn_json_i64(&n, doc, doc->root, "n", INT64_MIN, INT64_MAX);
        if (st != (cases[i].value ? MN_OK : MN_ERR_DATA) || n != cases[i].value)
            fail_msg("%s was read as %lld, status %d", cases[i].text, (long long)n, (int)st);
        mn_json_close(&doc);
    }
}

/* The first of two equal keys counts, by whatever getter. */
static void duplicate_keys_give_the_first(void **state) {
    (void)state;
    mn_json *doc = parse("{\"a\": 1, \"b\": 0, \"a\": \"two\"}");
    int64_t n = 0;
    const char *s = NULL;
    MN_ASSERT_OK(mn_json_i64(&n, doc, doc->root, "a", 0, 9));
    assert_int_equal(n, 1);
    MN_ASSERT_FAILS(mn_json_string(&s, doc, doc->root, "a"), MN_ERR_DATA, "$.a");
    mn_json_close(&doc);
}

/* ---- Writing ------------------------------------------------------------------------------------ */

static void strings_are_quoted(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        const char *want;
    } cases[] = {
        {"", 0, "\"\""},
        {"a/b", 3, "\"a/b\""},
        {"\"\\\b\f\n\r\t", 7, "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
        {"\0\x01\x1F\x7F", 4, "\"\\u0000\\u0001\\u001f\x7F\""},
        {"\xEC\xA0\x95\xF0\x9F\x98\x80", 7, "\"\xEC\xA0\x95\xF0\x9F\x98\x80\""},
        {"a\xFF\xC3", 3, "\"a\xEF\xBF\xBD\xEF\xBF\xBD\""},               /* no UTF-8, and cut off */
        {"\xC0\x80", 2, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},                 /* longer than need be */
        {"\xED\xA0\x80", 3, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""}, /* a surrogate */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mn_buf out = {0};
        MN_ASSERT_OK(mn_json_quote(&out, cases[i].text, cases[i].len));
        assert_string_equal(out.data, cases[i].want);
        mn_buf_free(&out);
    }
    mn_buf out = {0}; /* every byte but NUL comes back through the parser */
    char all[128];
    for (int i = 0; i < 127; i++) all[i] = (char)(i + 1);
    all[127] = '\0';
    MN_ASSERT_OK(mn_json_quote(&out, all, 127));
    mn_json *doc = parse(out.data);
    assert_string_equal(doc->root->valuestring, all);
    mn_json_close(&doc);
    mn_buf_free(&out);
}

static void numbers_come_back_as_they_were(void **state) {
    (void)state;
    static const double values[] = {0,
                                    -0.0,
                                    1,
                                    0.1,
                                    1.0 / 3,
                                    -2.5e-7,
                                    1e21,
                                    123456789012345678.0,
                                    9007199254740993.0,
                                    DBL_MAX,
                                    DBL_MIN,
                                    4.9e-324,
                                    M_PI};
    mn_buf out = {0};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        mn_buf_clear(&out);
        MN_ASSERT_OK(mn_json_number(&out, values[i]));
        const double back = strtod(out.data, NULL);
        assert_memory_equal(&back, &values[i], sizeof back);
        mn_json *doc = parse(out.data);
        assert_true(doc->root->valuedouble == values[i]);
        mn_json_close(&doc);
    }
    mn_buf_clear(&out);
    MN_ASSERT_OK(mn_json_number(&out, 0.1)); /* and is short */
    MN_ASSERT_OK(mn_json_number(&out, NAN));
    MN_ASSERT_OK(mn_json_number(&out, -INFINITY));
    assert_string_equal(out.data, "0.1nullnull");
    mn_buf_free(&out);
}

/* ---- Lines -------------------------------------------------------------------------------------- */

static void check_lines(const char *text, size_t len, const char *const *want,
                        const int64_t *numbers, int count) {
    mn_lines lines = mn_lines_over(text, len);
    const char *line = NULL;
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        assert_true(mn_lines_next(&lines, &line, &size));
        assert_int_equal(size, strlen(want[i]));
        assert_memory_equal(line, want[i], size);
        assert_int_equal(lines.number, numbers[i]);
    }
    assert_false(mn_lines_next(&lines, &line, &size));
    assert_false(mn_lines_next(&lines, &line, &size));
}

static void lines_are_walked(void **state) {
    (void)state;
    static const char *const abc[] = {"a", " b ", "c\r"};
    static const int64_t numbers[] = {1, 4, 6};
#define CHECK(text, count) check_lines(text, sizeof text - 1, abc, numbers, count)
    CHECK("", 0);
    CHECK("\n\r\n \t \n", 0);
    CHECK("\xEF\xBB\xBF", 0);
    CHECK("a", 1);
    CHECK("a\n", 1);
    CHECK("a\r\n\r\n", 1);
    CHECK("\xEF\xBB\xBF"
          "a\r\n\n \t\r\n b \n\nc\r\r\n",
          3);
    CHECK("a\n\n\n b \r\n\r\nc\r\r\n\n\n", 3);
#undef CHECK
    check_lines(NULL, 0, NULL, NULL, 0);
    static const char *const mark[] = {"a", "\xEF\xBB\xBF"
                                            "b"}; /* a mark counts at the start only */
    static const int64_t second[] = {1, 2};
    check_lines("a\n\xEF\xBB\xBF"
                "b",
                6, mark, second, 2);
    static const char *const cut[] = {"\xEF\xBB"};
    check_lines("\xEF\xBB", 2, cut, second, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_documents_name_line_and_column),
        cmocka_unit_test(documents_come_from_files),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(missing_and_null_give_the_default),
        cmocka_unit_test(messages_name_the_path),
        cmocka_unit_test(long_paths_are_cut),
        cmocka_unit_test(integers_are_exact_or_refused),
        cmocka_unit_test(duplicate_keys_give_the_first),
        cmocka_unit_test(strings_are_quoted),
        cmocka_unit_test(numbers_come_back_as_they_were),
        cmocka_unit_test(lines_are_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
