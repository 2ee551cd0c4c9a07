/* test_fever_text.c - the small parsers of FEVER: wiki lines, titles, prompts and answers. */
#include "check.h"

#include "fever/demos.h"
#include "fever/wiki.h"
#include "mneme/fever.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Prompts and answers --------------------------------------------------------------------- */

static mn_fever_page two_demos(void) {
    return (mn_fever_page){
        .title = "P",
        .demo_count = 2,
        .demos = {{.claim = "Roman Atwood is a content creator.", .label = MN_SUPPORTS},
                  {.claim = "System of a Down briefly disbanded in limbo.", .label = MN_REFUTES}}};
}

/* The user's document, letter by letter. */
static void test_prompt(void **state) {
    (void)state;
    static const char want[] = "Determine the factuality of the following claims \n"
                               "Answer candidates: (a) supports, (b) refutes, (c) not enough info\n"
                               "Claim: Roman Atwood is a content creator.\n"
                               "A: (a)\n"
                               "Claim: System of a Down briefly disbanded in limbo.\n"
                               "A: (b)\n"
                               "Claim: Adrienne Bailon is an accountant.\n"
                               "A:";
    const mn_fever_page page = two_demos();
    mn_buf prompt = {0};
    MN_ASSERT_OK(mn_fever_prompt(&prompt, &page, 2, "Adrienne Bailon is an accountant."));
    assert_string_equal(prompt.data, want);
    mn_buf_clear(&prompt);
    MN_ASSERT_OK(mn_fever_prompt(&prompt, &page, 0, "X % \"y\""));
    assert_string_equal(prompt.data,
                        "Determine the factuality of the following claims \n"
                        "Answer candidates: (a) supports, (b) refutes, (c) not enough info\n"
                        "Claim: X % \"y\"\nA:");
    mn_buf_free(&prompt);
}

static void test_prefix_nests(void **state) {
    (void)state;
    const mn_fever_page page = two_demos();
    mn_buf prompt = {0}, prefix = {0}, shorter = {0};
    for (int shots = 0; shots <= 2; shots++) {
        mn_buf_clear(&prompt);
        mn_buf_clear(&prefix);
        MN_ASSERT_OK(mn_fever_prompt(&prompt, &page, shots, "C."));
        MN_ASSERT_OK(mn_fever_prefix(&prefix, &page, shots));
        assert_int_equal(prefix.data[prefix.len - 1], '\n');
        assert_memory_equal(prompt.data, prefix.data, prefix.len);
        assert_string_equal(prompt.data + prefix.len, "Claim: C.\nA:");
        assert_memory_equal(prefix.data, shorter.data ? shorter.data : "", shorter.len);
        mn_buf_clear(&shorter);
        MN_ASSERT_OK(mn_buf_append(&shorter, prefix.data, prefix.len));
    }
    MN_ASSERT_FAILS(mn_fever_prompt(&prompt, &page, 3, "C."), MN_ERR_USAGE, "3 shots");
    MN_ASSERT_FAILS(mn_fever_prefix(&prefix, &page, -1), MN_ERR_USAGE, "page P");
    mn_buf_free(&shorter);
    mn_buf_free(&prefix);
    mn_buf_free(&prompt);
}

/* A training claim is not shown its own answer. */
static void test_prompt_of_a_demonstration(void **state) {
    (void)state;
    const mn_fever_page page = two_demos();
    mn_buf prompt = {0};
    MN_ASSERT_OK(mn_fever_prompt(&prompt, &page, 1, page.demos[0].claim));
    assert_null(strstr(prompt.data, "A: (a)"));
    assert_non_null(strstr(prompt.data, "limbo.\nA: (b)\nClaim: Roman"));
    mn_buf_clear(&prompt);
    MN_ASSERT_OK(mn_fever_prompt(&prompt, &page, 2, page.demos[1].claim));
    assert_null(strstr(prompt.data, "A: (b)"));
    mn_buf_free(&prompt);
}

static void test_answers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int answer;
    } cases[] = {
        {" (a)", 0},
        {"(b)", 1},
        {" (C) not enough info", 2},
        {" (a) supports\nClaim: x\nA: (b)", 0},
        {"(a", 0},
        {"(b\n", 1},
        {"(c.", 2},
        {" a", 0},
        {"B.", 1},
        {"b) refutes", 1},
        {"c, because", 2},
        {"a: supports", 0},
        {"\t(a)  \r\nrest", 0},
        {"a \nb", 0},
        {"The answer is (b).", 1},
        {"either (b) or (a)", 1},
        {"(d) or (c)", 2},
        {"supports (a)", 0},
        {"((a))", 0},
        {"a band from (b) Leeds", 1}, /* the bare "a" is no answer, the "(b)" is */
        {"a band from ...", -1},
        {"(an answer)", -1},
        {"(a band", -1},
        {"(ab)", -1},
        {"apple", -1},
        {"A band", -1},
        {"abc", -1},
        {"(d)", -1},
        {"d", -1},
        {"supports", -1},
        {"( a )", -1},
        {"[a]", -1},
        {"a-b", -1},
        {"\n(a)", -1}, /* the first line is empty */
        {"no\n(a)", -1},
        {"Claim: x\nA: (a)", -1},
        {"", -1},
        {" ", -1},
        {"(", -1},
        {")", -1},
        {"\xE2\x93\x90", -1}, /* a circled a */
        {"\xC3\xA0)", -1},
        {"!", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t len = strlen(cases[i].text);
        char *exact = malloc(len + 1); /* no NUL behind it: sanitizers see any step too far */
        memcpy(exact + 1, cases[i].text, len);
        const int got = mn_fever_parse_answer(exact + 1, len);
        if (got != cases[i].answer) {
            fail_msg("\"%s\": %d, expected %d", cases[i].text, got, cases[i].answer);
        }
        free(exact);
    }
    for (int i = 0; i < MN_LABELS; i++) {
        const char *text = mn_fever_candidates[i];
        assert_int_equal(mn_fever_parse_answer(text, strlen(text)), i);
    }
    assert_int_equal(mn_fever_parse_answer("(a)\0(b)", 7), 0);
    assert_int_equal(mn_fever_parse_answer("", 0), -1);
}

static void test_labels(void **state) {
    (void)state;
    mn_label label;
    for (int i = 0; i < MN_LABELS; i++) {
        MN_ASSERT_OK(mn_label_read(&label, mn_label_name((mn_label)i)));
        assert_int_equal(label, i);
    }
    assert_string_equal(mn_label_name(MN_NEI), "NOT ENOUGH INFO");
    MN_ASSERT_FAILS(mn_label_read(&label, "supports"), MN_ERR_DATA, "SUPPORTS");
}

/* The document's three blocks: 5, 6 and 6 claims. */
static void test_fixed_claims(void **state) {
    (void)state;
    int gold[MN_LABELS] = {0}, document[MN_LABELS] = {0};
    for (int i = 0; i < MN_FIXED_CLAIMS; i++) {
        gold[mn_fixed_claims[i].gold]++;
        document[mn_fixed_claims[i].document]++;
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(mn_fixed_claims[i].text, mn_fixed_claims[j].text);
        }
    }
    assert_int_equal(gold[MN_SUPPORTS], 5);
    assert_int_equal(gold[MN_NEI], 6);
    assert_int_equal(gold[MN_REFUTES], 6);
    assert_int_equal(document[MN_REFUTES], 6);
    assert_string_equal(mn_fixed_claims[5].text, "System of a Down briefly disbanded in limbo.");
    assert_int_equal(mn_fixed_claims[5].gold, MN_NEI);
    assert_int_equal(mn_fixed_claims[5].document, MN_REFUTES);
    assert_string_equal(mn_fixed_claims[11].text, "Adrienne Bailon is an accountant.");
    assert_int_equal(mn_fixed_claims[11].gold, MN_REFUTES);
    assert_int_equal(mn_fixed_claims[11].document, MN_NEI);
}

/* ---- Titles ---------------------------------------------------------------------------------- */

static int64_t add(mn_titles *titles, const char *name) {
    int64_t index;
    MN_ASSERT_OK(mn_titles_add(&index, titles, name, strlen(name)));
    return index;
}

static void test_titles(void **state) {
    (void)state;
    mn_titles *titles = NULL;
    int64_t index;
    char name[32];
    MN_ASSERT_OK(mn_titles_open(&titles));
    assert_int_equal(add(titles, "Beyonce\xCC\x81"), 0);
    assert_int_equal(add(titles, "Beyonc\xC3\xA9"), 0);
    assert_int_equal(add(titles, "Beyonce"), 1);
    assert_string_equal(mn_titles_name(titles, 0), "Beyonc\xC3\xA9");
    assert_int_equal(add(titles, "\xE2\x84\xAB"),
                     2); /* Angstrom sign, A with ring, both spellings */
    assert_int_equal(add(titles, "\xC3\x85"), 2);
    assert_int_equal(add(titles, "A\xCC\x8A"), 2);
    assert_int_equal(add(titles, "\xEF\xAC\x81"), 3); /* the fi ligature stays: NFC, not NFKC */
    assert_int_equal(add(titles, "fi"), 4);
    MN_ASSERT_OK(mn_titles_find(&index, titles, "unknown", 7));
    assert_int_equal(index, -1);
    MN_ASSERT_FAILS(mn_titles_find(&index, titles, "\xC3(", 2), MN_ERR_DATA, "UTF-8");
    MN_ASSERT_FAILS(mn_titles_add(&index, titles, "a\xFF", 2), MN_ERR_DATA, "UTF-8");
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "Title_%d", i);
        assert_int_equal(add(titles, name), 5 + i);
    }
    MN_ASSERT_OK(mn_titles_find(&index, titles, "Title_4321", 10));
    assert_int_equal(index, 4326);
    assert_int_equal(mn_titles_count(titles), 5005);
    mn_titles_close(&titles);
    mn_titles_close(&titles);
}

/* ---- Wiki lines ------------------------------------------------------------------------------ */

/* Sentences as "number:text|number:text". */
static void assert_split(const char *lines, const char *want) {
    mn_wiki_page *page = calloc(1, sizeof *page);
    mn_buf got = {0};
    MN_ASSERT_OK(mn_buf_puts(&got, ""));
    MN_ASSERT_OK(mn_wiki_split(page, lines, MN_TEXT_UNCHANGED));
    for (size_t i = 0; i < page->sentence_count; i++) {
        MN_ASSERT_OK(mn_buf_printf(&got, "%s%lld:%s", i ? "|" : "",
                                   (long long)page->sentences[i].number, page->sentences[i].text));
    }
    assert_string_equal(got.data, want);
    mn_buf_free(&got);
    mn_wiki_page_close(&page);
}

static void test_split(void **state) {
    (void)state;
    assert_split("", "");
    assert_split("0\t", "");
    assert_split("0\tOne .\n1\tTwo .\n2\t", "0:One .|1:Two .");
    assert_split("0\tOne .\tone\tOne\tword\tWord\n1\t", "0:One .");
    assert_split("0\t\n1\t\n2\tThree .\n3\t", "2:Three .");
    assert_split("2\tGap .\n9\tLater .\n10\t", "2:Gap .|9:Later .");
    assert_split("0\t  One .  \n1", "0:One ."); /* the last TAB was stripped */
    assert_split("0\tOne\nmore .\n1\tTwo .", "0:One more .|1:Two ."); /* a newline in a sentence */
    assert_split("0\tOne\n\n\nmore .\tx\tX", "0:One more .");
    assert_split("0\tOne .\tan\nchor\tX\n1\tTwo .", "0:One .|1:Two ."); /* and in an anchor */
    assert_split("0\tIn\n1995\n1\tTwo .", "0:In 1995|1:Two .");
    assert_split("0\tIn\n1995\tx\n1\tTwo .", "0:In 1995|1:Two .");
    assert_split("3\tThree\n3\tagain", "3:Three 3");
    assert_split("5\tFive .\n2\tTwo .", "5:Five . 2");
    assert_split("No number .\tx", "0:No number .");
    assert_split("12345678901\tTen digits", "0:12345678901");
    assert_split("\n\n0\tOne .", "0:One .");
    assert_split("lost\n0\tOne .", "0:lost|0:One ."); /* found by fuzz_jsonl */
    assert_split("\tTab first", "");
}

/* What the fast way accepts, the JSON library accepts with the same id. */
static bool skim(const char *line, const char *want_id) {
    const size_t len = strlen(line);
    const char *id;
    size_t id_len;
    char *exact = malloc(len + 1);
    memcpy(exact + 1, line, len);
    const bool yes = mn_wiki_skim(&id, &id_len, exact + 1, len);
    if (yes) {
        cJSON *root = cJSON_ParseWithLength(exact + 1, len);
        const cJSON *node = cJSON_GetObjectItemCaseSensitive(root, "id");
        assert_non_null(root);
        assert_true(cJSON_IsString(node));
        assert_int_equal(strlen(node->valuestring), id_len);
        assert_memory_equal(node->valuestring, id, id_len);
        assert_int_equal(strlen(want_id), id_len);
        assert_memory_equal(want_id, id, id_len);
        cJSON_Delete(root);
    }
    free(exact);
    return yes;
}

static void test_skim(void **state) {
    (void)state;
    assert_true(skim("{\"id\": \"A\", \"text\": \"b\", \"lines\": \"c\"}", "A"));
    assert_true(skim("{\"id\":\"\",\"text\":\"\",\"lines\":\"\"}", ""));
    assert_true(skim(
        " {\t\"text\" : \"\\u00e9\\n\\\"\\\\\\/\\b\\f\\r\\t\" , \"id\":\"A_long_enough_title\" } ",
        "A_long_enough_title"));
    assert_true(skim("{\"id\":\"B\xC3\xA9\"}", "B\xC3\xA9"));
    assert_true(skim("{\"id\":\"B\",\"x\":\"\\ud7ff\\ue000\"}", "B"));
    static const char *const refused[] = {
        "",
        "{",
        "{}",
        "[]",
        "null",
        "\"id\"",
        "{\"id\": \"A\"",
        "{\"id\": \"A\"}}",
        "{\"id\": \"A\"} x",
        "{\"id\": \"A\",}",
        "{\"id\": \"A}",
        "{\"id\": \"A\\\"}",
        "{\"id\": \"A\" \"text\": \"b\"}",
        "{\"id\" \"A\"}",
        "{\"text\": \"A\"}",
        "{\"id\": 1}",
        "{\"id\": \"A\", \"id\": \"B\"}",
        "{\"id\": \"\\u0041\"}", /* escapes in the id: the library reads them */
        "{\"\\u0069d\": \"A\"}",
        "{\"id\": \"A\", \"text\": [\"x\"]}",
        "{\"id\": \"A\", \"text\": \"\\x\"}",
        "{\"id\": \"A\", \"text\": \"\\u12g4\"}",
        "{\"id\": \"A\", \"text\": \"\\u12\"}",
        "{\"id\": \"A\", \"text\": \"\\ud83d\\ude00\"}",
        "{\"id\": \"A\", \"text\": \"\\uDC00\"}",
        "{\"id\": \"A\", \"text\": \"\\u0000\"}",
        "{\"id\": \"A\", \"text\": \"12345678\n\"}",
        "{\"id\": \"A\", \"text\": \"\x1f\"}",
        "{\"id\": \"A\", \"text\": \"abc\\",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (skim(refused[i], "A")) fail_msg("accepted %s", refused[i]);
    }
}

static mn_status read_line(mn_wiki_page **page, const mn_wiki_query *query, const char *line) {
    return mn_wiki_read_line(page, query, line, strlen(line));
}

static void test_wiki_line(void **state) {
    (void)state;
    mn_titles *titles = NULL;
    mn_wiki_page *page = NULL;
    const bool wanted[] = {true, false};
    MN_ASSERT_OK(mn_titles_open(&titles));
    add(titles, "Beyonc\xC3\xA9");
    add(titles, "Other");
    const mn_wiki_query query = {.titles = titles, .wanted = wanted};
    MN_ASSERT_OK(read_line(&page, &query, "{\"id\": \"Beyonce\\u0301\", \"text\": \" t \"}"));
    assert_int_equal(page->title, 0);
    assert_string_equal(page->text.data, "t");
    mn_wiki_page_close(&page);
    MN_ASSERT_OK(read_line(&page, &query, "{\"id\": \"Beyonc\\u00e9\", \"lines\": null}"));
    assert_int_equal(page->text.len, 0);
    mn_wiki_page_close(&page);
    MN_ASSERT_OK(read_line(&page, &query, "{\"id\": \"Other\", \"text\": \"t\"}"));
    assert_null(page);
    MN_ASSERT_OK(read_line(&page, &query, "{\"id\": \"Un\\u006bnown\", \"text\": [1]}"));
    assert_null(page);
    MN_ASSERT_FAILS(read_line(&page, &query, "{\"id\": \"Unknown\", \"text\": \"t}"), MN_ERR_DATA,
                    "broken JSON");
    MN_ASSERT_FAILS(read_line(&page, &query, "{\"id\": \"Unknown\"} {}"), MN_ERR_DATA, "column 19");
    MN_ASSERT_FAILS(read_line(&page, &query, "{\"name\": \"x\"}"), MN_ERR_DATA, "\"id\"");
    MN_ASSERT_FAILS(read_line(&page, &query, "[1]"), MN_ERR_DATA, "not a page");
    MN_ASSERT_FAILS(read_line(&page, &query, "{\"id\": \"Beyonc\xC3\xA9\", \"lines\": 1}"),
                    MN_ERR_DATA, "\"lines\" of the page is not a string");
    MN_ASSERT_FAILS(read_line(&page, &query, "{\"id\": \"Beyonc\xC3\xA9\", \"text\": \"\xFF\"}"),
                    MN_ERR_DATA, "UTF-8");
    MN_ASSERT_FAILS(read_line(&page, &query, "{\"id\": \"\xC3\"}"), MN_ERR_DATA, "UTF-8");
    assert_null(page);
    mn_titles_close(&titles);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_prefix_nests),
        cmocka_unit_test(test_prompt_of_a_demonstration),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_fixed_claims),
        cmocka_unit_test(test_titles),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_skim),
        cmocka_unit_test(test_wiki_line),
    };
    return cmocka_run_group_tests_name("fever text", tests, NULL, NULL);
}
