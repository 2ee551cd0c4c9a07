/* test_fever_real.c - the complete paper_dev, a training sample and 7,499 real wiki pages. What is
 * expected comes from the dataset's own description and from pages_index.tsv, which another program
 * made of the same files. */
#include "check.h"

#include "mneme/fever.h"
#include "mneme/json.h"
#include "mneme/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    mn_test_path dir, claims, train, wiki, out;
    mn_prepare_options options;
} fixture;

static void start(fixture *f) {
    mn_log_set_level(MN_LOG_ERROR);
    f->claims = MN_TEST_REAL("fever/paper_dev.jsonl");
    f->train = MN_TEST_REAL("fever/train_sample.jsonl");
    f->wiki = MN_TEST_REAL("fever/wiki-pages-partial.jsonl");
    f->dir = mn_test_tmpdir();
    f->out = mn_test_join(f->dir.text, "out");
    f->options = (mn_prepare_options){.claims = f->claims.text,
                                      .train_claims = f->train.text,
                                      .wiki = f->wiki.text,
                                      .out = f->out.text,
                                      .top_pages = 2000};
}

/* Sums over the pages of pages_index.tsv that stay: with training claims and known sentences. */
typedef struct expected {
    int64_t pages, rows, claims, supports, refutes, train_claims, missing, untrained;
    int64_t all_pages, all_rows;
} expected;

static void read_index(expected *e,
                       void (*check)(const char *title, int sentences, bool kept, void *ctx),
                       void *ctx) {
    const mn_test_path path = MN_TEST_REAL("fever/pages_index.tsv");
    char line[512], title[256];
    FILE *file = fopen(path.text, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file)); /* the header */
    *e = (expected){0};
    while (fgets(line, sizeof line, file)) {
        int rows, claims, supports, refutes, train, sentences;
        assert_int_equal(sscanf(line, "%255[^\t]\t%d\t%d\t%d\t%d\t%d\t%d", title, &rows, &claims,
                                &supports, &refutes, &train, &sentences),
                         7);
        const bool kept = train > 0 && sentences > 0;
        e->all_pages++;
        e->all_rows += rows;
        e->missing += sentences == 0;
        e->untrained += sentences > 0 && train == 0;
        if (check) check(title, sentences, kept, ctx);
        if (!kept) continue;
        e->pages++;
        e->rows += rows;
        e->claims += claims;
        e->supports += supports;
        e->refutes += refutes;
        e->train_claims += train;
    }
    fclose(file);
}

static void test_published_counts(void **state) {
    (void)state;
    fixture f;
    mn_prepare_summary s;
    start(&f);
    MN_ASSERT_OK(mn_fever_prepare(&s, &f.options));
    assert_int_equal(s.claims, 9999);
    assert_int_equal(s.evidence_pages, 1460);
    assert_int_equal(s.rows_per_evidence, 18999);
    assert_int_equal(s.n_full, 1460);
    assert_int_equal(s.nei_dropped, 3333);
    assert_int_equal(s.train_claims, 8904);
    assert_int_equal(s.unplaced, 0);
    assert_int_equal(s.wiki_lines, 7499);
    assert_int_equal(s.bad_lines, 0);
    assert_int_equal(s.train_leaking, 0);
    mn_test_rmdir(f.dir.text);
}

static void check_title(const char *title, int sentences, bool kept, void *ctx) {
    (void)sentences;
    const mn_fever *fever = ctx;
    bool found = false;
    for (int64_t i = 0; i < fever->page_count && !found; i++) {
        found = strcmp(fever->pages[i].title, title) == 0;
    }
    if (found != kept) fail_msg("%s is %s", title, found ? "kept" : "not kept");
}

static void test_against_the_index(void **state) {
    (void)state;
    fixture f;
    mn_prepare_summary s;
    mn_fever *fever = NULL;
    expected e;
    start(&f);
    MN_ASSERT_OK(mn_fever_prepare(&s, &f.options));
    MN_ASSERT_OK(mn_fever_open(&fever, f.out.text));
    read_index(&e, check_title, fever);
    assert_int_equal(e.pages, 168);
    assert_int_equal(s.n_trunc, e.pages);
    assert_int_equal(s.n_full, e.all_pages);
    assert_int_equal(s.eval_rows, e.claims);
    assert_int_equal(s.labels[MN_SUPPORTS], e.supports);
    assert_int_equal(s.labels[MN_REFUTES], e.refutes);
    assert_int_equal(s.labels[MN_NEI], 0);
    assert_int_equal(s.train_rows, e.train_claims);
    assert_int_equal(s.dropped_missing, e.missing);
    assert_int_equal(s.dropped_empty, 0);
    assert_int_equal(s.dropped_untrained, e.untrained);
    for (int64_t p = 1; p < fever->page_count; p++) {
        const mn_fever_page *a = &fever->pages[p - 1], *b = &fever->pages[p];
        const int64_t rows_a = a->eval_end - a->eval_begin, rows_b = b->eval_end - b->eval_begin;
        assert_true(rows_a > rows_b || (rows_a == rows_b && strcmp(a->title, b->title) < 0));
    }
    mn_fever_close(&fever);

    f.options.rows = MN_ROWS_EVIDENCE;
    MN_ASSERT_OK(mn_fever_prepare(&s, &f.options));
    assert_int_equal(s.n_trunc, e.pages);
    assert_int_equal(s.eval_rows, e.rows);
    mn_test_rmdir(f.dir.text);
}

/* The sentences of each page that pages.jsonl has are as many as the index knows. */
static void check_sentences(const char *title, int sentences, bool kept, void *ctx) {
    const cJSON *page = cJSON_GetObjectItemCaseSensitive(ctx, title);
    if (!kept) return;
    assert_true(cJSON_IsNumber(page));
    if (page->valueint != sentences) {
        fail_msg("%s: %d sentences, expected %d", title, page->valueint, sentences);
    }
}

static void test_sentences(void **state) {
    (void)state;
    fixture f;
    mn_prepare_summary s;
    expected e;
    size_t len;
    const char *line;
    int pages = 0;
    cJSON *counts = cJSON_CreateObject();
    start(&f);
    MN_ASSERT_OK(mn_fever_prepare(&s, &f.options));
    char *text = mn_test_read(mn_test_join(f.out.text, "pages.jsonl").text, &len);
    mn_lines lines = mn_lines_over(text, len);
    while (mn_lines_next(&lines, &line, &len)) {
        cJSON *page = cJSON_ParseWithLength(line, len);
        const cJSON *title = cJSON_GetObjectItemCaseSensitive(page, "page");
        const cJSON *sentences = cJSON_GetObjectItemCaseSensitive(page, "lines");
        assert_true(cJSON_IsString(title));
        cJSON_AddNumberToObject(counts, title->valuestring, cJSON_GetArraySize(sentences));
        cJSON_Delete(page);
        pages++;
    }
    assert_int_equal(pages, 168);
    read_index(&e, check_sentences, counts);
    cJSON_Delete(counts);
    free(text);
    mn_test_rmdir(f.dir.text);
}

/* A page's own claims come first; with one of them the first three shots show the three labels. */
static void test_demonstrations(void **state) {
    (void)state;
    fixture f;
    mn_prepare_summary s;
    mn_fever *fever = NULL;
    int first[MN_LABELS] = {0}, moved = 0;
    start(&f);
    MN_ASSERT_OK(mn_fever_prepare(&s, &f.options));
    MN_ASSERT_OK(mn_fever_open(&fever, f.out.text));
    assert_int_equal(s.demos_train + s.demos_fixed, 168 * MN_MAX_SHOTS);
    for (int64_t p = 0; p < fever->page_count; p++) {
        const mn_fever_page *page = &fever->pages[p];
        const int64_t own = page->train_end - page->train_begin;
        bool fixed = false;
        int shown[MN_LABELS] = {0};
        first[page->demos[0].label]++;
        const mn_fever_row *row = &fever->train[page->train_begin];
        while (row->label != page->demos[0].label) row++;
        moved += strcmp(row->claim, page->demos[0].claim) != 0;
        assert_int_equal(page->demo_count, MN_MAX_SHOTS);
        for (int i = 0; i < page->demo_count; i++) {
            if (fixed) assert_true(page->demos[i].fixed);
            fixed = page->demos[i].fixed;
            if (i == 0) assert_false(fixed);
            if (own == 1 && i == 3) { /* one own claim: each label once before the fourth */
                assert_true(shown[0] == 1 && shown[1] == 1 && shown[2] == 1);
            }
            shown[page->demos[i].label]++;
            for (int j = 0; j < i; j++) {
                assert_string_not_equal(page->demos[i].claim, page->demos[j].claim);
            }
        }
    }
    assert_true(moved > 20); /* the order is drawn, not the file's */
    assert_true(first[MN_SUPPORTS] > 20 && first[MN_REFUTES] > 20); /* no label is always first */
    mn_fever_close(&fever);
    mn_test_rmdir(f.dir.text);
}

/* Every claim without a page finds one; the draw depends on the seed alone. */
static void test_random_pages(void **state) {
    (void)state;
    fixture f;
    mn_prepare_summary s;
    char hash[3][MN_SHA256_HEX];
    start(&f);
    f.options.nei = MN_NEI_RANDOM_PAGE;
    for (int i = 0; i < 3; i++) {
        f.options.seed = i == 2 ? 12 : 11;
        f.options.threads = 1 + i;
        MN_ASSERT_OK(mn_fever_prepare(&s, &f.options));
        assert_int_equal(s.nei_assigned, 3333);
        assert_int_equal(s.labels[MN_NEI], 3333);
        MN_ASSERT_OK(mn_sha256_file(hash[i], mn_test_join(f.out.text, "eval.jsonl").text));
    }
    assert_string_equal(hash[0], hash[1]);
    assert_string_not_equal(hash[0], hash[2]);
    mn_test_rmdir(f.dir.text);
}

/* The byte-exact first rows of the official files. */
static void test_official_samples(void **state) {
    (void)state;
    fixture f;
    mn_prepare_summary s;
    start(&f);
    const mn_test_path wiki = MN_TEST_REAL("fever/official_format_samples");
    const mn_test_path dev = MN_TEST_REAL("fever/official_format_samples/fever2-fixers-dev.jsonl");
    const mn_test_path test = MN_TEST_REAL("fever/official_format_samples/shared_task_test.jsonl");
    const mn_test_path train = MN_TEST_REAL("fever/official_format_samples/train.jsonl");
    f.options.wiki = wiki.text; /* wiki-001.jsonl and wiki-002.jsonl: none of the wanted pages */
    MN_ASSERT_FAILS(mn_fever_prepare(&s, &f.options), MN_ERR_DATA, "no page is left");
    f.options.claims = dev.text; /* one claim, without a page */
    MN_ASSERT_FAILS(mn_fever_prepare(&s, &f.options), MN_ERR_DATA, "names a page");
    f.options.claims = test.text;
    MN_ASSERT_FAILS(mn_fever_prepare(&s, &f.options), MN_ERR_DATA,
                    "shared_task_test.jsonl:1: the claim has no \"label\"");
    f.options.claims = train.text; /* names two pages; the partial dump has one of them */
    f.options.train_claims = train.text;
    f.options.wiki = f.wiki.text;
    MN_ASSERT_OK(mn_fever_prepare(&s, &f.options));
    assert_int_equal(s.n_full, 2);
    assert_int_equal(s.n_trunc, 1);
    assert_int_equal(s.demos_train, 0); /* the only training claim is the evaluation claim */
    assert_int_equal(s.train_leaking, s.train_rows);
    mn_test_rmdir(f.dir.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_counts), cmocka_unit_test(test_against_the_index),
        cmocka_unit_test(test_sentences),        cmocka_unit_test(test_demonstrations),
        cmocka_unit_test(test_random_pages),     cmocka_unit_test(test_official_samples),
    };
    return cmocka_run_group_tests_name("fever real", tests, NULL, NULL);
}
