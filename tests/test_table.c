/* test_table.c - the table printer: widths of UTF-8, alignment, Markdown. */
#include "mneme/table.h"

#include "check.h"

static void width_is_counted_in_terminal_columns(void **state) {
    (void)state;
    assert_int_equal(mn_text_width("abc", 3), 3);
    assert_int_equal(mn_text_width("\xEC\xA0\x95\xEB\xB3\xB4", 6), 4); /* two Hangul syllables */
    assert_int_equal(mn_text_width("e\xCC\x81", 3), 1);                /* combining acute */
    assert_int_equal(mn_text_width("\xEF\xBC\xA1", 3), 2);             /* fullwidth A */
    assert_int_equal(mn_text_width("a\xFF", 2), 2);                    /* not UTF-8 */
    assert_int_equal(mn_text_width("\xEC\xA0", 2), 2); /* cut off: its bytes one by one */
    assert_int_equal(mn_text_width("", 0), 0);
}

static mn_table *sample_table(void) {
    static const mn_column columns[] = {{"model", MN_LEFT}, {"acc", MN_RIGHT}, {"", MN_LEFT}};
    mn_table *t = NULL;
    MN_ASSERT_OK(mn_table_open(&t, columns, 3));
    MN_ASSERT_OK(mn_table_cell(t, "%s", "\xEC\xA0\x95\xEB\xB3\xB4")); /* four columns wide */
    MN_ASSERT_OK(mn_table_cell(t, "%.3f", 0.5));
    MN_ASSERT_OK(mn_table_cell(t, "%s", ""));
    mn_table_rule(t);
    MN_ASSERT_OK(mn_table_cell(t, "a|b\n\x1B_\xFF"));
    MN_ASSERT_OK(mn_table_cell(t, "%d", 1));
    MN_ASSERT_OK(mn_table_cell(t, "x"));
    MN_ASSERT_OK(mn_table_cell(t, "short"));
    return t;
}

static void text_table_is_aligned(void **state) {
    (void)state;
    mn_table *t = sample_table();
    mn_buf out = {0};
    MN_ASSERT_OK(mn_table_text(&out, t));
    assert_string_equal(out.data, "model      acc\n"
                                  "-------  -----  -\n"
                                  "\xEC\xA0\x95\xEB\xB3\xB4     0.500\n"
                                  "-------  -----  -\n"
                                  "a|b \xEF\xBF\xBD_\xEF\xBF\xBD      1  x\n"
                                  "short\n");
    mn_buf_free(&out);
    mn_table_close(&t);
    mn_table_close(&t);
}

static void markdown_table_is_escaped(void **state) {
    (void)state;
    mn_table *t = sample_table();
    mn_buf out = {0};
    MN_ASSERT_OK(mn_table_markdown(&out, t));
    assert_string_equal(out.data, "| model     |   acc |     |\n"
                                  "| --------- | ----: | --- |\n"
                                  "| \xEC\xA0\x95\xEB\xB3\xB4      | 0.500 |     |\n"
                                  "| a\\|b \xEF\xBF\xBD\\_\xEF\xBF\xBD |     1 | x   |\n"
                                  "| short     |       |     |\n");
    mn_buf_free(&out);
    mn_table_close(&t);
}

static void table_without_rows(void **state) {
    (void)state;
    const mn_column columns[] = {{"shots", MN_RIGHT}};
    mn_table *t = NULL;
    mn_buf out = {0};
    MN_ASSERT_OK(mn_table_open(&t, columns, 1));
    MN_ASSERT_OK(mn_table_text(&out, t));
    MN_ASSERT_OK(mn_table_markdown(&out, t));
    assert_string_equal(out.data, "shots\n| shots |\n| ----: |\n");
    mn_buf_free(&out);
    mn_table_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(width_is_counted_in_terminal_columns),
        cmocka_unit_test(text_table_is_aligned),
        cmocka_unit_test(markdown_table_is_escaped),
        cmocka_unit_test(table_without_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
