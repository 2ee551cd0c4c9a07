/* test_fever.c - preparing the small fixture: every switch against counts made by hand, and the
 * same bytes whatever the form of the dump and the number of threads. */
#include "check.h"

#include "fever/wiki_scan.h"
#include "mneme/fever.h"
#include "mneme/json.h"
#include "mneme/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

static const char *const beyonce = "Beyonc\xC3\xA9"; /* composed; most claims write it decomposed */

typedef struct fixture {
    mn_test_path dir, claims, train, wiki, out;
    mn_prepare_options options;
    mn_prepare_summary summary;
    mn_fever *fever;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    mn_log_set_level(MN_LOG_ERROR);
    f->dir = mn_test_tmpdir();
    f->claims = mn_test_source("tests/fixtures/fever/claims.jsonl");
    f->train = mn_test_source("tests/fixtures/fever/train.jsonl");
    f->wiki = mn_test_source("tests/fixtures/fever/wiki.jsonl");
    f->out = mn_test_join(f->dir.text, "out");
    f->options = (mn_prepare_options){.claims = f->claims.text,
                                      .train_claims = f->train.text,
                                      .wiki = f->wiki.text,
                                      .out = f->out.text,
                                      .top_pages = 8,
                                      .seed = 7,
                                      .threads = 1};
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    mn_fever_close(&f->fever);
    mn_test_rmdir(f->dir.text);
    free(f);
    return 0;
}

static void prepare(fixture *f) {
    mn_fever_close(&f->fever);
    MN_ASSERT_OK(mn_fever_prepare(&f->summary, &f->options));
    MN_ASSERT_OK(mn_fever_open(&f->fever, f->out.text));
}

/* Ids of the rows in file order; -1 ends the list. */
static void assert_rows(const mn_fever_row *rows, int64_t count, const int64_t *ids) {
    int64_t i = 0;
    for (; ids[i] >= 0; i++) {
        assert_true(i < count);
        assert_int_equal(rows[i].id, ids[i]);
        assert_int_equal(rows[i].row, i);
    }
    assert_int_equal(count, i);
}

static void assert_labels(const int64_t *labels, int64_t supports, int64_t refutes, int64_t nei) {
    assert_int_equal(labels[MN_SUPPORTS], supports);
    assert_int_equal(labels[MN_REFUTES], refutes);
    assert_int_equal(labels[MN_NEI], nei);
}

static void test_defaults(void **state) {
    fixture *f = *state;
    prepare(f);
    const mn_prepare_summary *s = &f->summary;
    assert_int_equal(s->claims, 13);
    assert_int_equal(s->train_claims, 15);
    assert_int_equal(s->evidence_pages, 9);
    assert_int_equal(s->rows_per_evidence, 17); /* three of them without a page */
    assert_int_equal(s->n_full, 9);
    assert_int_equal(s->n_top, 8); /* Zlow is the ninth */
    assert_int_equal(s->n_trunc, 5);
    assert_int_equal(s->dropped_missing, 1);
    assert_int_equal(s->dropped_empty, 1);
    assert_int_equal(s->dropped_untrained, 1);
    assert_int_equal(s->nei_dropped, 2);
    assert_int_equal(s->nei_assigned, 0);
    assert_int_equal(s->train_nei_dropped, 1);
    assert_int_equal(s->unplaced, 0);
    assert_int_equal(s->wiki_lines, 10);
    assert_int_equal(s->wiki_repeated, 0);
    assert_int_equal(s->bad_lines, 0);
    assert_labels(s->labels, 5, 3, 0);
    assert_labels(s->train_labels, 7, 4, 0);

    static const char *const titles[] = {"Beyonc\xC3\xA9", "Gamma", "Alpha_-LRB-film-RRB-",
                                         "Broken", "Textonly"};
    static const int64_t eval[] = {1, 2, 12, 2, 11, 3, 6, 8, -1};
    static const int64_t train[] = {101, 102, 103, 104, 106, 107, 108, 109, 110, 112, 115, -1};
    assert_int_equal(f->fever->page_count, 5);
    for (int i = 0; i < 5; i++) assert_string_equal(f->fever->pages[i].title, titles[i]);
    assert_rows(f->fever->eval, f->fever->eval_count, eval);
    assert_rows(f->fever->train, f->fever->train_count, train);
    assert_int_equal(f->fever->pages[1].eval_begin, 3);
    assert_int_equal(f->fever->pages[1].eval_end, 5);
    assert_int_equal(f->fever->pages[4].train_begin, 9);
    assert_int_equal(f->fever->pages[4].train_end, 11);
    assert_int_equal(f->fever->eval[3].page, 1);
    assert_int_equal(f->fever->eval[3].label, MN_REFUTES);
    assert_string_equal(f->fever->eval[2].claim, "Beyonce sings.");
}

static void test_texts(void **state) {
    fixture *f = *state;
    prepare(f);
    const mn_fever_page *pages = f->fever->pages;
    assert_string_equal(pages[0].text, "Beyonc\xC3\xA9 is a singer . She was born in Houston .");
    assert_string_equal(pages[2].text,
                        "Alpha -LRB- 2001 -RRB- is a film . It is called `` The First '' .");
    assert_string_equal(pages[3].text, "The show ran in 1995 It was liked .");
    assert_string_equal(pages[4].text, "Only text here .");
    size_t len;
    char *file = mn_test_read(mn_test_join(f->out.text, "pages.jsonl").text, &len);
    assert_non_null(strstr(file, "\"lines\": [[0, \"Alpha -LRB- 2001 -RRB- is a film .\"], "
                                 "[2, \"It is called `` The First '' .\"]]"));
    free(file);

    f->options.page_text = MN_TEXT_PLAIN;
    prepare(f);
    assert_string_equal(f->fever->pages[2].text,
                        "Alpha ( 2001 ) is a film . It is called \" The First \" .");
    assert_string_equal(f->fever->pages[2].title, "Alpha_-LRB-film-RRB-");
}

static void test_rows_per_evidence(void **state) {
    fixture *f = *state;
    f->options.rows = MN_ROWS_EVIDENCE;
    prepare(f);
    static const int64_t eval[] = {3, 3, 3, 1, 2, 12, 2, 11, 6, 8, -1};
    static const int64_t train[] = {109, 109, 101, 102, 103, 104, 106, 107, 108, 110, 112, 115, -1};
    assert_string_equal(f->fever->pages[0].title, "Alpha_-LRB-film-RRB-"); /* tie: by title */
    assert_string_equal(f->fever->pages[1].title, beyonce);
    assert_rows(f->fever->eval, f->fever->eval_count, eval);
    assert_rows(f->fever->train, f->fever->train_count, train);
    assert_labels(f->summary.labels, 7, 3, 0);
    assert_int_equal(f->summary.demos_train, 9); /* claims, not rows */
}

static void test_random_page(void **state) {
    fixture *f = *state;
    f->options.nei = MN_NEI_RANDOM_PAGE;
    prepare(f);
    assert_int_equal(f->summary.nei_dropped, 0);
    assert_int_equal(f->summary.nei_assigned, 2);
    assert_int_equal(f->summary.train_nei_assigned, 1);
    assert_int_equal(f->summary.n_trunc, 5);
    assert_labels(f->summary.labels, 5, 3, 2);
    assert_labels(f->summary.train_labels, 7, 4, 1);
    int64_t found = 0;
    for (int64_t p = 0; p < f->fever->page_count; p++) {
        const mn_fever_page *page = &f->fever->pages[p];
        for (int64_t i = page->train_begin; i < page->train_end; i++) {
            if (f->fever->train[i].id != 111) continue;
            bool shown = false;
            for (int d = 0; d < page->demo_count; d++) {
                shown |= strcmp(page->demos[d].claim, "Something is unknown.") == 0;
            }
            assert_true(shown);
            found++;
        }
    }
    assert_int_equal(found, 1);
    f->options.rows = MN_ROWS_EVIDENCE;
    prepare(f);
    assert_labels(f->summary.labels, 7, 3, 3); /* claim 4 has two entries, claim 5 one */
}

/* ---- Demonstrations -------------------------------------------------------------------------- */

static void assert_demo(const mn_fever_page *page, int i, mn_label label, bool fixed,
                        const char *claim) {
    assert_true(i < page->demo_count);
    assert_string_equal(page->demos[i].claim, claim);
    assert_int_equal(page->demos[i].label, label);
    assert_int_equal(page->demos[i].fixed, fixed);
}

static const char *const system_of = "System of a Down briefly disbanded in limbo.";
static const char *const adrienne = "Adrienne Bailon is an accountant.";
static const char
    *const nikolaj = "Nikolaj Coster-Waldau worked with the Fox Broadcasting Company.";
static const char *const stranger = "Stranger Things is set in Bloomington, Indiana.";
static const char
    *const beautiful = "Beautiful reached number two on the Billboard Hot 100 in 2003.";

static int find_demo(const mn_fever_page *page, const char *claim) {
    for (int i = 0; i < page->demo_count; i++) {
        if (strcmp(page->demos[i].claim, claim) == 0) return i;
    }
    return -1;
}

static void test_demos(void **state) {
    fixture *f = *state;
    prepare(f);
    const mn_fever_page *pages = f->fever->pages;
    assert_int_equal(f->summary.demos_train, 9);
    assert_int_equal(f->summary.demos_fixed, 16);
    assert_int_equal(f->summary.demos_leaking, 1); /* 102 has the text of 1 and 12 */
    assert_int_equal(f->summary.train_leaking, 1);
    assert_int_equal(f->summary.demos_mislabelled, 0);
    for (int p = 0; p < 5; p++) assert_int_equal(pages[p].demo_count, 5);

    /* Four usable training claims, one of them REFUTES: among the first two. Then the missing
     * label. */
    assert_true(find_demo(&pages[0], "Beyonce sings.") < 0);
    const int refuted = find_demo(&pages[0], "Beyonce is a painter.");
    assert_true(refuted == 0 || refuted == 1);
    for (int i = 0; i < 4; i++) assert_false(pages[0].demos[i].fixed);
    assert_demo(&pages[0], 4, MN_NEI, true, system_of);

    assert_demo(&pages[1], 0, MN_REFUTES, false, "Gamma is a car.");
    assert_demo(&pages[1], 1, MN_NEI, true, system_of);
    assert_demo(&pages[1], 2, MN_SUPPORTS, true, nikolaj);
    assert_demo(&pages[1], 3, MN_REFUTES, true, adrienne);
    assert_demo(&pages[1], 4, MN_NEI, true, beautiful);

    assert_demo(&pages[2], 0, MN_SUPPORTS, false, "Alpha was released.");
    assert_demo(&pages[2], 1, MN_REFUTES, true, adrienne);
    assert_demo(&pages[2], 2, MN_NEI, true, system_of);
    assert_demo(&pages[2], 3, MN_SUPPORTS, true, nikolaj);
    assert_demo(&pages[2], 4, MN_REFUTES, true, stranger);

    /* A training claim that is on the fixed list too comes once, as the page's own. */
    const int own = find_demo(&pages[4], adrienne);
    assert_true(own == 0 || own == 1);
    assert_false(pages[4].demos[own].fixed);
    assert_demo(&pages[4], 2, MN_NEI, true, system_of);
    assert_true(find_demo(&pages[4], stranger) >= 3);
}

static void test_document_labels(void **state) {
    fixture *f = *state;
    f->options.fewshot_labels = MN_DEMO_DOCUMENT;
    prepare(f);
    const mn_fever_page *alpha = &f->fever->pages[2];
    assert_demo(alpha, 0, MN_SUPPORTS, false, "Alpha was released.");
    assert_demo(alpha, 1, MN_REFUTES, true, system_of);
    assert_demo(alpha, 2, MN_NEI, true, adrienne);
    assert_demo(alpha, 3, MN_SUPPORTS, true, nikolaj);
    assert_demo(alpha, 4, MN_REFUTES, true, beautiful);
    int64_t worn = 0; /* all fixed ones but those of the first block, which is Nikolaj here */
    for (int64_t p = 0; p < f->fever->page_count; p++) {
        for (int i = 0; i < MN_MAX_SHOTS; i++) {
            const mn_demo *demo = &f->fever->pages[p].demos[i];
            worn += demo->fixed && demo->label != MN_SUPPORTS;
        }
    }
    assert_int_equal(f->summary.demos_mislabelled, worn);
    assert_true(worn >= 12);
    mn_json *manifest = NULL;
    const mn_test_path path = mn_test_join(f->out.text, "manifest.json");
    MN_ASSERT_OK(mn_json_load(&manifest, path.text));
    const cJSON *lint, *item;
    const char *shown, *fever;
    MN_ASSERT_OK(mn_json_array(&lint, manifest, manifest->root, "lint"));
    int64_t listed = 0, pages;
    cJSON_ArrayForEach(item, lint) {
        MN_ASSERT_OK(mn_json_string(&shown, manifest, item, "shown"));
        MN_ASSERT_OK(mn_json_string(&fever, manifest, item, "fever"));
        MN_ASSERT_OK(mn_json_i64(&pages, manifest, item, "pages", 1, 5));
        assert_string_not_equal(shown, fever);
        listed += pages;
    }
    assert_int_equal(listed, worn);
    mn_json_close(&manifest);
}

/* ---- The same bytes -------------------------------------------------------------------------- */

static void add_entry(zip_t *zip, const char *name, const char *text, size_t len) {
    zip_source_t *source = zip_source_buffer(zip, text, len, 0);
    assert_non_null(source);
    assert_true(zip_file_add(zip, name, source, 0) >= 0);
}

/* The fixture's dump in three files, whose names sort wrongly as plain text, and as a zip of them
 * in a folder and among other things. */
static void split_dump(const fixture *f, const char *folder, const char *zip_path) {
    static const char *const names[] = {"wiki-1.jsonl", "wiki-2.jsonl", "wiki-10.jsonl"};
    static const int last_line[] = {3, 4, 1000};
    size_t len;
    int code;
    char *text = mn_test_read(f->wiki.text, &len);
    const char *at = text;
    zip_t *zip = zip_open(zip_path, ZIP_CREATE | ZIP_EXCL, &code);
    assert_non_null(zip);
    mn_test_mkdir(folder);
    add_entry(zip, "__MACOSX/wiki-pages/._wiki-1.jsonl", "\1\2", 2);
    add_entry(zip, "license.html", "<p>", 3);
    int line = 0;
    for (int i = 0; i < 3; i++) {
        const char *begin = at;
        for (; *at && line < last_line[i]; line++) at = strchr(at, '\n') + 1;
        mn_test_write(mn_test_join(folder, names[i]).text, begin, (size_t)(at - begin));
        char name[64];
        snprintf(name, sizeof name, "wiki-pages/%s", names[i]);
        add_entry(zip, name, begin, (size_t)(at - begin));
    }
    mn_test_puts(mn_test_join(folder, "readme.txt").text, "not a page");
    assert_int_equal(zip_close(zip), 0);
    free(text);
}

static void assert_same_file(const char *dir_a, const char *dir_b, const char *name) {
    size_t len_a, len_b;
    char *a = mn_test_read(mn_test_join(dir_a, name).text, &len_a);
    char *b = mn_test_read(mn_test_join(dir_b, name).text, &len_b);
    assert_int_equal(len_a, len_b);
    assert_memory_equal(a, b, len_a);
    free(a);
    free(b);
}

static void test_same_bytes(void **state) {
    fixture *f = *state;
    static const char *const files[] = {"pages.jsonl", "eval.jsonl", "train.jsonl", "demos.jsonl"};
    const mn_test_path folder = mn_test_join(f->dir.text, "folder");
    const mn_test_path zip = mn_test_join(f->dir.text, "dump");
    const char *forms[] = {f->wiki.text, folder.text, zip.text};
    split_dump(f, folder.text, zip.text);
    f->options.nei = MN_NEI_RANDOM_PAGE;
    prepare(f);
    for (int form = 0; form < 3; form++) {
        for (int threads = 1; threads <= 3; threads += 2) {
            char name[32];
            snprintf(name, sizeof name, "out-%d-%d", form, threads);
            const mn_test_path out = mn_test_join(f->dir.text, name);
            mn_prepare_options options = f->options;
            mn_prepare_summary summary;
            options.wiki = forms[form];
            options.out = out.text;
            options.threads = threads;
            MN_ASSERT_OK(mn_fever_prepare(&summary, &options));
            assert_memory_equal(&summary, &f->summary, sizeof summary);
            for (int i = 0; i < 4; i++) assert_same_file(f->out.text, out.text, files[i]);
            if (form == 0) assert_same_file(f->out.text, out.text, "manifest.json");
            if (form != 1) continue;
            char *manifest = mn_test_read(mn_test_join(out.text, "manifest.json").text, NULL);
            const char *two = strstr(manifest, "wiki-2.jsonl");
            assert_true(two && strstr(manifest, "wiki-10.jsonl") > two);
            free(manifest);
        }
    }
}

/* A file cut into ranges of any size gives the same pages, each once. */
static void test_ranges(void **state) {
    const fixture *f = *state;
    const char *name = "Gamma";
    mn_titles *titles = NULL;
    int64_t index;
    const bool wanted[] = {true, true};
    MN_ASSERT_OK(mn_titles_open(&titles));
    MN_ASSERT_OK(mn_titles_add(&index, titles, name, strlen(name)));
    MN_ASSERT_OK(mn_titles_add(&index, titles, beyonce, strlen(beyonce)));
    const mn_wiki_query query = {.titles = titles, .wanted = wanted};
    for (size_t range = 1; range < 1500; range += range < 200 ? 1 : 97) {
        mn_wiki_source *source = NULL;
        mn_wiki_found found;
        MN_ASSERT_OK(mn_wiki_source_open(&source, f->wiki.text, range));
        MN_ASSERT_OK(mn_wiki_scan(&found, source, &query, false, 1 + (int)(range % 3)));
        assert_int_equal(found.lines, 10);
        assert_int_equal(found.repeated, 0);
        assert_string_equal(found.pages[0]->text.data, "Gamma is a ray .");
        assert_int_equal(found.pages[1]->sentence_count, 2);
        mn_wiki_found_free(&found);
        mn_wiki_source_close(&source);
    }
    mn_titles_close(&titles);
}

/* By wc and sha256sum. */
static const char wiki_input[] =
    "\"bytes\": 1025, \"sha256\": "
    "\"989b8bed055ae2d437116c403dad09201093608e23a158ab227513c6f61d92f5\"";

static void test_manifest(void **state) {
    fixture *f = *state;
    prepare(f);
    char *text = mn_test_read(mn_test_join(f->out.text, "manifest.json").text, NULL);
    static const char *const parts[] = {
        "\"N_full\": 9,",
        "\"N_top\": 8,",
        "\"N_trunc\": 5,",
        "\"nei_dropped\": 2,",
        "\"rows_per_evidence\": 17,",
        "\"seed\": 7,",
        "\"lint\": [],",
        "\"labels\": {\"SUPPORTS\": 5, \"REFUTES\": 3, \"NOT ENOUGH INFO\": 0},",
        "\"not_in_dump\": {\"count\": 1, \"titles\": [\"Missing\"]}",
        "\"empty_text\": {\"count\": 1, \"titles\": [\"Empty\"]}",
        "\"no_training_claim\": {\"count\": 1, \"titles\": [\"Untrained\"]}",
        wiki_input,
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!strstr(text, parts[i])) fail_msg("the manifest lacks %s:\n%s", parts[i], text);
    }
    char sha256[MN_SHA256_HEX];
    MN_ASSERT_OK(mn_sha256_file(sha256, mn_test_join(f->out.text, "manifest.json").text));
    assert_string_equal(sha256, f->fever->sha256);
    free(text);
}

/* The first page with text is taken; another spelling of the same title is the same page. */
static void test_repeated_page(void **state) {
    fixture *f = *state;
    const mn_test_path wiki = mn_test_join(f->dir.text, "wiki.jsonl");
    char *text = mn_test_read(f->wiki.text, NULL);
    mn_buf all = {0};
    MN_ASSERT_OK(
        mn_buf_printf(&all, "{\"id\": \"Gamma\", \"text\": \"\", \"lines\": \"\"}\r\n\n%s%s%s",
                      text, "{\"id\": \"Gamma\", \"text\": \"second\", \"lines\": \"\"}\n",
                      "{\"id\": \"Beyonce\\u0301\", \"text\": \"second\", \"lines\": \"0\\tx\"}"));
    mn_test_puts(wiki.text, all.data);
    f->options.wiki = wiki.text;
    prepare(f);
    assert_int_equal(f->summary.wiki_repeated, 3);
    assert_int_equal(f->summary.wiki_lines, 13);
    assert_string_equal(f->fever->pages[1].text, "Gamma is a ray .");
    assert_string_equal(f->fever->pages[0].text,
                        "Beyonc\xC3\xA9 is a singer . She was born in Houston .");
    mn_buf_free(&all);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_texts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rows_per_evidence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_demos, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_document_labels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_same_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ranges, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_manifest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_repeated_page, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("fever", tests, NULL, NULL);
}
