/* test_results_text.c - what an evaluation says to people: tables, noise in plain words. */
#include "mneme/results.h"

#include "results_sample.h"

#include <stdio.h>
#include <stdlib.h>

static void table_for_people_is_golden(void **state) {
    (void)state;
    mn_result_entry e[] = {entry(0, MN_SCORING_GENERATE, zero), entry(1, MN_SCORING_GENERATE, one)};
    mn_results r = sample(e, 2);
    mn_buf text = {0};
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    MN_ASSERT_OK(mn_results_text(&text, &r, false));
    char *want = mn_test_read(mn_test_source("tests/fixtures/results/table.txt").text, NULL);
    assert_string_equal(text.data, want);
    free(want);
    mn_buf_clear(&text);
    MN_ASSERT_OK(mn_results_text(&text, &r, true));
    want = mn_test_read(mn_test_source("tests/fixtures/results/table.md").text, NULL);
    assert_string_equal(text.data, want);
    free(want);
    mn_buf_free(&text);
}

static void noise_is_said_in_plain_words(void **state) {
    (void)state;
    /* 2-shot: one row better than 1-shot on one page, one worse on another, and one more better */
    static const int8_t two[ROWS] = {0, 0, 0, 0, 1, 1, 0, 2, 1, 1, 0, 0};
    mn_result_entry e[] = {entry(0, MN_SCORING_GENERATE, zero), entry(1, MN_SCORING_GENERATE, one),
                           entry(2, MN_SCORING_GENERATE, two), entry(3, MN_SCORING_GENERATE, zero)};
    mn_results r = sample(e, 4);
    mn_buf text = {0};
    char want[160];
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    MN_ASSERT_OK(mn_results_text(&text, &r, false));
    snprintf(want, sizeof want,
             "\n0-shot and 1-shot differ by 0.417; the 95 %% half-width of that is %.3f, but "
             "McNemar's p is 0.062: within noise.\n",
             e[1].comparison.half_width);
    contains(text.data, want);
    snprintf(want, sizeof want, /* six rows gained, none lost: p = 2 / 64 */
             "\n0-shot and 2-shot differ by 0.500; the 95 %% half-width of that is %.3f: more than "
             "noise.\n",
             e[2].comparison.half_width);
    contains(text.data, want);
    contains(text.data, "\n0-shot and 3-shot give the same answer in every row.\n");
    /* 11/12 against 10/12, pages -1, 0, +1, +1: the interval reaches below zero */
    snprintf(want, sizeof want,
             "\nbest is 2-shot: 1-shot and 2-shot differ by 0.083; the 95 %% half-width of that is "
             "%.3f: within noise.\n",
             r.top.half_width);
    contains(text.data, want);
    assert_true(r.top.half_width > 1.0 / 12);
    contains(text.data, "p vs 0-shot");

    mn_buf_clear(&text);
    r.bootstrap_iters = 0;
    r.unparsed = MN_UNPARSED_NEI;
    MN_ASSERT_OK(mn_results_compute(&r, "fever_2shot"));
    MN_ASSERT_OK(mn_results_text(&text, &r, false));
    contains(text.data, "no 95 % interval, so this may be noise.\n");
    contains(text.data, "unparsed answers count as not enough info");
    contains(text.data, "p vs 2-shot");
    assert_null(strstr(text.data, "best is"));

    mn_buf_clear(&text);
    e[3].scoring = MN_SCORING_CHOICE;
    e[2].scoring = MN_SCORING_CHOICE;
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    MN_ASSERT_OK(mn_results_text(&text, &r, false));
    contains(text.data, "p vs first");
    contains(text.data, "2-shot choice and 3-shot choice differ by");
    mn_buf_free(&text);
}

static void variants_and_their_effect_are_shown(void **state) {
    (void)state;
    mn_result_entry e[] = {entry(1, MN_SCORING_GENERATE, zero), entry(1, MN_SCORING_GENERATE, one),
                           entry(1, MN_SCORING_GENERATE, zero)};
    e[1].variant = "doc";
    e[2].variant = "temp";
    const mn_effect_memory memories[] = {{17, 0.25}, {18, 0.125}, {17, 1e-3}};
    const mn_effect effects[] = {{"doc", memories, 2, 1.5}, {"temp", memories + 2, 1, 2e-4}};
    mn_results r = sample(e, 3);
    mn_buf text = {0};
    r.effects = effects;
    r.effect_count = 2;
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    MN_ASSERT_OK(mn_results_text(&text, &r, false));
    char *want = mn_test_read(mn_test_source("tests/fixtures/results/variants.txt").text, NULL);
    assert_string_equal(text.data, want);
    free(want);
    mn_buf_clear(&text);
    MN_ASSERT_OK(mn_results_text(&text, &r, true));
    contains(text.data, "| variant    | scoring");
    contains(text.data, "| doc     |");
    mn_buf_free(&text);
}

static void printing_to_a_full_disk_is_an_error(void **state) {
    (void)state;
    mn_result_entry e[] = {entry(0, MN_SCORING_GENERATE, zero)};
    mn_results r = sample(e, 1);
    MN_ASSERT_OK(mn_results_compute(&r, NULL));
    FILE *full = fopen("/dev/full", "w");
    if (!full) skip();
    MN_ASSERT_FAILS(mn_results_print(full, &r, false), MN_ERR_IO, "No space left");
    fclose(full);
    char *shown = NULL;
    size_t len = 0;
    mn_buf text = {0};
    FILE *memory = open_memstream(&shown, &len);
    assert_non_null(memory);
    MN_ASSERT_OK(mn_results_print(memory, &r, true));
    fclose(memory);
    MN_ASSERT_OK(mn_results_text(&text, &r, true));
    assert_string_equal(shown, text.data);
    free(shown);
    mn_buf_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_for_people_is_golden),
        cmocka_unit_test(noise_is_said_in_plain_words),
        cmocka_unit_test(variants_and_their_effect_are_shown),
        cmocka_unit_test(printing_to_a_full_disk_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
