/* test_fever_errors.c - what is wrong with FEVER's files or a prepared folder is said with its
 * place. */
#include "check.h"

#include "mneme/fever.h"
#include "mneme/file.h"
#include "mneme/log.h"
#include "mneme/signals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

typedef struct fixture {
    mn_test_path dir, claims, train, wiki, out;
    mn_prepare_options options;
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
                                      .threads = 2};
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    mn_test_rmdir(f->dir.text);
    free(f);
    return 0;
}

static void assert_refused(const fixture *f, mn_status status, const char *part) {
    mn_prepare_summary summary;
    MN_ASSERT_FAILS(mn_fever_prepare(&summary, &f->options), status, part);
    assert_int_equal(summary.claims, 0);
    assert_false(mn_file_exists(mn_test_join(f->out.text, "manifest.json").text));
}

static mn_test_path put(const fixture *f, const char *name, const char *text) {
    const mn_test_path path = mn_test_join(f->dir.text, name);
    mn_test_puts(path.text, text);
    return path;
}

/* ---- Claims ---------------------------------------------------------------------------------- */

static void test_claims_files(void **state) {
    fixture *f = *state;
    static const struct {
        const char *text, *part;
        mn_status status;
    } cases[] = {
        {"", "c.jsonl: there is no claim", MN_ERR_DATA},
        {"\n \n", "c.jsonl: there is no claim", MN_ERR_DATA},
        {"{\"id\": 1, \"claim\": \"x\"}\n", "c.jsonl:1: the claim has no \"label\"", MN_ERR_DATA},
        {"\n{\"id\": 1, \"label\": \"NOT ENOUGH INFO\", \"claim\": \"x\"}\n{\"id\"",
         "c.jsonl:3: broken", MN_ERR_DATA},
        {"{\"id\": 1, \"label\": \"SUPPORT\", \"claim\": \"x\"}", "\"SUPPORT\"", MN_ERR_DATA},
        {"{\"label\": \"SUPPORTS\", \"claim\": \"x\", \"evidence\": []}", "\"id\" is missing",
         MN_ERR_DATA},
        {"{\"id\": 1, \"label\": \"SUPPORTS\", \"claim\": \"x\", \"evidence_wiki_url\": \"A\"}",
         "without \"evidence\"", MN_ERR_DATA},
        {"{\"id\": 1, \"label\": \"SUPPORTS\", \"claim\": \" \\n\", \"evidence\": []}",
         "c.jsonl:1: the claim is empty", MN_ERR_DATA},
        {"{\"id\": 1, \"label\": \"SUPPORTS\", \"claim\": \"\xFF\", \"evidence\": []}", "UTF-8",
         MN_ERR_DATA},
        {"{\"id\": 1, \"label\": \"SUPPORTS\", \"claim\": \"x\", \"evidence\": [[[\"A\", 0]]]}",
         "$.evidence[0][0]: expected an evidence entry", MN_ERR_DATA},
        {"{\"id\": 1, \"label\": \"SUPPORTS\", \"claim\": \"x\", \"evidence\": [[1]]}",
         "$.evidence[0][0]", MN_ERR_DATA},
        {"{\"id\": 1, \"label\": \"SUPPORTS\", \"claim\": \"x\", \"evidence\": [[[1, 2, 3, 4]]]}",
         "$.evidence[0][0][2]: expected a string", MN_ERR_DATA},
        {"{\"id\": 1, \"label\": \"SUPPORTS\", \"claim\": \"x\", \"evidence\": []}",
         "c.jsonl: no claim of the validation split names a page", MN_ERR_DATA},
    };
    const mn_test_path path = mn_test_join(f->dir.text, "c.jsonl");
    f->options.claims = path.text;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mn_test_puts(path.text, cases[i].text);
        assert_refused(f, cases[i].status, cases[i].part);
    }
    unlink(path.text);
    assert_refused(f, MN_ERR_IO, "c.jsonl: No such file");
}

/* FEVER 2.0 adds keys and leaves "verifiable" out; claims without a page are counted. */
static void test_claims_variants(void **state) {
    fixture *f = *state;
    const mn_test_path path = put(
        f, "c.jsonl",
        "\xEF\xBB\xBF{\"id\": 500000, \"label\": \"NOT ENOUGH INFO\", \"claim\": \" a\\tb \", "
        "\"evidence\": [[[269158, null, null, null]]], \"original_id\": 225798, "
        "\"attack\": \"there.is\"}\r\n"
        "{\"id\": 2, \"label\": \"NOT ENOUGH INFO\", \"claim\": \"x\", \"evidence\": []}\r\n"
        "{\"id\": 3, \"label\": \"SUPPORTS\", \"claim\": \"x\", \"evidence\": []}\r\n"
        "{\"id\": 4, \"label\": \"NOT ENOUGH INFO\", \"claim\": \" g \\u0001 h \", "
        "\"evidence\": [[[1, 2, \"Gamma\", 0]]]}");
    mn_prepare_summary summary;
    mn_fever *fever = NULL;
    f->options.claims = path.text;
    MN_ASSERT_OK(mn_fever_prepare(&summary, &f->options));
    assert_int_equal(summary.claims, 4);
    assert_int_equal(summary.nei_dropped, 2);
    assert_int_equal(summary.unplaced, 1);
    assert_int_equal(summary.eval_rows, 1); /* a NOT ENOUGH INFO claim that names its page stays */
    assert_int_equal(summary.labels[MN_NEI], 1);
    MN_ASSERT_OK(mn_fever_open(&fever, f->out.text));
    assert_string_equal(fever->eval[0].claim, "g   h");
    mn_fever_close(&fever);
}

/* ---- The wiki dump --------------------------------------------------------------------------- */

static void test_wiki_files(void **state) {
    fixture *f = *state;
    const mn_test_path path = mn_test_join(f->dir.text, "wiki.jsonl");
    f->options.wiki = path.text;
    assert_refused(f, MN_ERR_IO, "wiki.jsonl: No such file");
    mn_test_puts(path.text, "");
    assert_refused(f, MN_ERR_DATA, "wiki.jsonl: the file is empty");
    mn_test_puts(path.text, "\n\n");
    assert_refused(f, MN_ERR_DATA, "there is no page in it");
    mn_test_puts(path.text, "\x1f\x8b\x08");
    assert_refused(f, MN_ERR_UNSUPPORTED, "gzip");
    mn_test_puts(path.text, "{\"id\": \"Nobody\", \"text\": \"x\", \"lines\": \"\"}\n");
    assert_refused(f, MN_ERR_DATA,
                   "no page is left of the top 8 (the first is Beyonc\xC3\xA9): "
                   "8 are not in the wiki dump");
    mn_test_puts(path.text, "PK\003\004 this is no zip");
    assert_refused(f, MN_ERR_DATA, "wiki.jsonl: ");
    f->options.wiki = f->dir.text;
    assert_refused(f, MN_ERR_DATA, "no file named wiki-*.jsonl in this folder");
}

/* The first broken line of the dump is reported, whoever finds one first; the number is the
 * file's. */
static void test_broken_line(void **state) {
    fixture *f = *state;
    const mn_test_path folder = mn_test_join(f->dir.text, "dump");
    char *good = mn_test_read(f->wiki.text, NULL);
    mn_buf text = {0};
    mn_prepare_summary summary;
    mn_test_mkdir(folder.text);
    mn_test_puts(mn_test_join(folder.text, "wiki-001.jsonl").text, good);
    MN_ASSERT_OK(mn_buf_printf(
        &text, "\n{\"id\": \"a\", \"text\": \"\"}\n{\"id\": \"b\", \"text\": \"\n\n%s[]", good));
    mn_test_puts(mn_test_join(folder.text, "wiki-002.jsonl").text, text.data);
    mn_test_puts(mn_test_join(folder.text, "wiki-003.jsonl").text, "{\n");
    f->options.wiki = folder.text;
    for (int threads = 1; threads <= 4; threads++) {
        f->options.threads = threads;
        assert_refused(f, MN_ERR_DATA, "dump/wiki-002.jsonl:3: broken JSON at column");
    }
    f->options.skip_bad_lines = true;
    MN_ASSERT_OK(mn_fever_prepare(&summary, &f->options));
    assert_int_equal(summary.bad_lines, 3);
    assert_int_equal(summary.wiki_lines, 10 + 2 + 10 + 1 + 1);
    assert_int_equal(summary.n_trunc, 5);
    mn_buf_free(&text);
    free(good);
}

static void test_broken_line_in_zip(void **state) {
    fixture *f = *state;
    const mn_test_path path = mn_test_join(f->dir.text, "dump.zip");
    char *good = mn_test_read(f->wiki.text, NULL);
    mn_buf text = {0};
    int code;
    zip_t *zip = zip_open(path.text, ZIP_CREATE, &code);
    assert_non_null(zip);
    MN_ASSERT_OK(mn_buf_printf(&text, "%s{\"id\"", good));
    assert_true(zip_file_add(zip, "wiki-pages/wiki-001.jsonl",
                             zip_source_buffer(zip, text.data, text.len, 0), 0) >= 0);
    assert_int_equal(zip_close(zip), 0);
    f->options.wiki = path.text;
    assert_refused(f, MN_ERR_DATA, "dump.zip:wiki-pages/wiki-001.jsonl:11: broken JSON");

    /* A flipped byte in the compressed data: libzip's checksum or inflate must object. */
    size_t len;
    char *bytes = mn_test_read(path.text, &len);
    bytes[200] = (char)(bytes[200] ^ 0x10);
    mn_test_write(path.text, bytes, len);
    mn_prepare_summary summary;
    MN_ASSERT_FAILS(mn_fever_prepare(&summary, &f->options), MN_ERR_DATA, "wiki-001.jsonl");
    zip = zip_open(path.text, ZIP_TRUNCATE, &code);
    assert_true(zip_file_add(zip, "other.txt", zip_source_buffer(zip, "x", 1, 0), 0) >= 0);
    assert_int_equal(zip_close(zip), 0);
    assert_refused(f, MN_ERR_DATA, "no entry named wiki-*.jsonl");
    free(bytes);
    mn_buf_free(&text);
    free(good);
}

/* ---- Options and folders --------------------------------------------------------------------- */

static void test_options(void **state) {
    fixture *f = *state;
    mn_prepare_options good = f->options;
    f->options.top_pages = 0;
    assert_refused(f, MN_ERR_USAGE, "top_pages is 0");
    f->options = good;
    f->options.threads = -1;
    assert_refused(f, MN_ERR_USAGE, "threads is -1");
    f->options = good;
    f->options.wiki = NULL;
    assert_refused(f, MN_ERR_USAGE, "wiki dump");
}

static void test_folder(void **state) {
    fixture *f = *state;
    mn_test_puts(f->out.text, "a file");
    assert_refused(f, MN_ERR_IO, "out");
    const mn_test_path below = mn_test_join(f->out.text, "folder");
    f->options.out = below.text;
    assert_refused(f, MN_ERR_IO, "out");
}

/* A failed run leaves an older, complete folder alone. */
static void test_old_folder_survives(void **state) {
    fixture *f = *state;
    mn_prepare_summary summary;
    mn_fever *fever = NULL;
    MN_ASSERT_OK(mn_fever_prepare(&summary, &f->options));
    const mn_test_path empty = put(f, "empty.jsonl", "");
    f->options.wiki = empty.text;
    MN_ASSERT_FAILS(mn_fever_prepare(&summary, &f->options), MN_ERR_DATA, "empty");
    MN_ASSERT_OK(mn_fever_open(&fever, f->out.text));
    mn_fever_close(&fever);
    mn_fever_close(&fever);
}

/* A run that fails while it writes leaves no manifest of an older one beside newer files. */
static void test_no_mixed_folder(void **state) {
    fixture *f = *state;
    mn_prepare_summary summary;
    mn_fever *fever = NULL;
    MN_ASSERT_OK(mn_fever_prepare(&summary, &f->options));
    const mn_test_path train = mn_test_join(f->out.text, "train.jsonl");
    unlink(train.text);
    mn_test_mkdir(train.text); /* cannot be replaced by a file */
    MN_ASSERT_FAILS(mn_fever_prepare(&summary, &f->options), MN_ERR_IO, "train.jsonl");
    MN_ASSERT_FAILS(mn_fever_open(&fever, f->out.text), MN_ERR_DATA, "did not finish");
}

/* ---- A prepared folder ----------------------------------------------------------------------- */

/* Replaces the first `from` by `to` of the same length in a file of the folder, and the file's
 * hash in the manifest when `forge`. */
static void edit(const fixture *f, const char *name, const char *from, const char *to, bool forge) {
    const mn_test_path path = mn_test_join(f->out.text, name);
    const mn_test_path manifest = mn_test_join(f->out.text, "manifest.json");
    char old_hash[MN_SHA256_HEX], new_hash[MN_SHA256_HEX];
    size_t len;
    assert_int_equal(strlen(from), strlen(to));
    MN_ASSERT_OK(mn_sha256_file(old_hash, path.text));
    char *text = mn_test_read(path.text, &len);
    char *hit = strstr(text, from);
    assert_non_null(hit);
    memcpy(hit, to, strlen(to));
    mn_test_write(path.text, text, len);
    free(text);
    if (!forge) return;
    MN_ASSERT_OK(mn_sha256_file(new_hash, path.text));
    text = mn_test_read(manifest.text, &len);
    hit = strstr(text, old_hash);
    assert_non_null(hit);
    memcpy(hit, new_hash, MN_SHA256_HEX - 1);
    mn_test_write(manifest.text, text, len);
    free(text);
}

static void test_open(void **state) {
    fixture *f = *state;
    static const struct {
        const char *file, *from, *to, *part;
        bool forge;
    } cases[] = {
        {"eval.jsonl", "sings", "signs", "eval.jsonl: changed since", false},
        {"eval.jsonl", "\"row\": 2", "\"row\": 3", "eval.jsonl:3: row 3, expected 2", true},
        {"eval.jsonl", "\"page\": \"Gamma\"", "\"page\": \"Gomma\"",
         "eval.jsonl:4: page \"Gomma\" is not one", true},
        {"train.jsonl", "\"REFUTES\"", "\"refutes\"", "train.jsonl:3: unknown label", true},
        {"train.jsonl", "\"claim\"", "\"clame\"", "train.jsonl:1", true},
        {"pages.jsonl", "[0, \"Gamma", "[\"\", Gamma", "pages.jsonl:2: broken JSON", true},
        {"pages.jsonl", "[0, \"Gamma", "[[],\"Gamma", "pages.jsonl:2: $.lines[0]: expected [number",
         true},
        {"demos.jsonl", "\"Gamma\"", "\"Gomma\"", "demos.jsonl:2: page \"Gomma\"", true},
        {"demos.jsonl", "\"fixed\"", "\"faked\"", "demos.jsonl:1: source \"faked\"", true},
        {"demos.jsonl", "Gamma is a car.", "Gamma is a ray.",
         "demos.jsonl:2: a demonstration is the evaluation claim 11", true},
        {"manifest.json", "\"N_trunc\": 5", "\"N_trunc\": 6", "N_trunc is 6", false},
        {"manifest.json", "\"format\": 1", "\"format\": 9", "format 9", false},
        {"manifest.json", "demos.jsonl", "damos.jsonl", "demos.jsonl is missing", false},
        {"manifest.json", "{", "[", "manifest.json: broken JSON", false},
    };
    mn_fever *fever = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mn_prepare_summary summary;
        MN_ASSERT_OK(mn_fever_prepare(&summary, &f->options));
        edit(f, cases[i].file, cases[i].from, cases[i].to, cases[i].forge);
        const mn_status st = mn_fever_open(&fever, f->out.text);
        if (st == MN_OK || !strstr(mn_error(), cases[i].part)) {
            fail_msg("case %zu: \"%s\" expected, got \"%s\"", i, cases[i].part, mn_error());
        }
        assert_null(fever);
    }
}

static void test_open_unfinished(void **state) {
    fixture *f = *state;
    mn_prepare_summary summary;
    mn_fever *fever = NULL;
    MN_ASSERT_FAILS(mn_fever_open(&fever, f->out.text), MN_ERR_IO, "out: there is no such folder");
    MN_ASSERT_OK(mn_fever_prepare(&summary, &f->options));
    unlink(mn_test_join(f->out.text, "manifest.json").text);
    MN_ASSERT_FAILS(mn_fever_open(&fever, f->out.text), MN_ERR_DATA, "did not finish");
    MN_ASSERT_OK(mn_fever_prepare(&summary, &f->options));
    unlink(mn_test_join(f->out.text, "demos.jsonl").text);
    MN_ASSERT_FAILS(mn_fever_open(&fever, f->out.text), MN_ERR_IO, "demos.jsonl");
    assert_null(fever);
}

/* Stays last: a stop request cannot be taken back. */
static void test_stop(void **state) {
    fixture *f = *state;
    mn_stop_request();
    assert_refused(f, MN_STOPPED, "stopped on request");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_claims_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_claims_variants, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wiki_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_line_in_zip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_options, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_old_folder_survives, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_mixed_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_open_unfinished, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("fever errors", tests, NULL, NULL);
}
