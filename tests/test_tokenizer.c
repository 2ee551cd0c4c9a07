/* test_tokenizer.c - tokenizer.json, from small files in tests/fixtures/tokenizer. The expected ids
 * were worked out by hand from their vocabularies. */
#include "check.h"

#include "mneme/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *fixture(const char *name) {
    char path[100];
    snprintf(path, sizeof path, "tests/fixtures/tokenizer/%s", name);
    return mn_test_read(mn_test_source(path).text, NULL);
}

static mn_tokenizer *open_fixture(const char *name) {
    mn_tokenizer *t = NULL;
    char *text = fixture(name);
    MN_ASSERT_OK(mn_tokenizer_from_json(&t, text, strlen(text), name));
    free(text);
    return t;
}

/* `text` with the first `from` replaced; the caller frees it. */
static char *edited(const char *text, const char *from, const char *to) {
    mn_buf out = {0};
    const char *at = strstr(text, from);
    assert_non_null(at);
    MN_ASSERT_OK(mn_buf_append(&out, text, (size_t)(at - text)));
    MN_ASSERT_OK(mn_buf_puts(&out, to));
    MN_ASSERT_OK(mn_buf_puts(&out, at + strlen(from)));
    return out.data;
}

static mn_tokenizer *open_edited(const char *name, const char *from, const char *to) {
    mn_tokenizer *t = NULL;
    char *text = fixture(name), *changed = edited(text, from, to);
    MN_ASSERT_OK(mn_tokenizer_from_json(&t, changed, strlen(changed), name));
    free(changed);
    free(text);
    return t;
}

/* The ids of `text` are those in `want`, written "1 2 3". */
static void expect_n(const mn_tokenizer *t, const char *text, size_t len, unsigned flags,
                     const char *want) {
    mn_ids ids = {0};
    mn_buf got = {0};
    MN_ASSERT_OK(mn_tokenizer_encode(t, text, len, flags, &ids));
    MN_ASSERT_OK(mn_buf_puts(&got, ""));
    for (size_t i = 0; i < ids.len; i++)
        MN_ASSERT_OK(mn_buf_printf(&got, i ? " %d" : "%d", (int)ids.data[i]));
    assert_string_equal(got.data, want);
    mn_buf_free(&got);
    mn_ids_free(&ids);
}

static void expect(const mn_tokenizer *t, const char *text, unsigned flags, const char *want) {
    expect_n(t, text, strlen(text), flags, want);
}

static void expect_text(const mn_tokenizer *t, const int32_t *ids, size_t count, bool skip,
                        const char *want) {
    mn_buf got = {0};
    MN_ASSERT_OK(mn_tokenizer_decode(t, ids, count, skip, &got));
    assert_string_equal(got.data, want);
    mn_buf_free(&got);
}

static void expect_piece(const mn_tokenizer *t, int32_t id, const char *want) {
    mn_buf got = {0};
    MN_ASSERT_OK(mn_tokenizer_piece(t, id, &got));
    assert_string_equal(got.data, want);
    mn_buf_free(&got);
}

static void test_bytes(void **state) {
    (void)state;
    mn_tokenizer *t = open_fixture("bytes.json");
    assert_string_equal(mn_tokenizer_kind(t), "byte-level BPE");
    assert_int_equal(mn_tokenizer_size(t), 32);
    assert_int_equal(mn_tokenizer_bos(t), -1);
    expect(t, "", 0, "");
    expect(t, "hello hello!", 0, "23 24 8");
    expect(t, "helo", 0, "21 5 6");
    expect(t, "hellll", 0, "22 20");
    expect(t, "a's", 0, "1 25");
    expect(t, "a 's", 0, "1 10 9 7");  /* " '" is one word, "s" the next */
    expect(t, "ab1ab", 0, "27 15 27"); /* letters and digits are words apart */
    expect(t, "a b", 0, "1 10 2");
    expect(t, "a  b", 0, "1 30 2");            /* two spaces are an added token */
    expect(t, "a   b    ", 0, "1 31 2 31 10"); /* the longest first */
    expect(t, "a\n\nb", 0, "1 11 11 2");
    expect(t, "e\xCC\x81", 0, "12 13"); /* e + U+0301 is U+00E9 in NFC: C3 A9 */
    expect(t, "azb", 0, "27");          /* bytes outside the vocabulary vanish */
    expect(t, "a<|end|>b <|end|", 0, "1 0 2 10 3");
    expect_n(t, "a\0b", 3, 0, "1 14 2"); /* NUL is a character like others */
    expect(t, "a\xFF", 0, "1 16 17 18"); /* U+FFFD is EF BF BD */
    expect(t, "hello", MN_TOKENIZE_SPECIAL, "23");

    expect_text(t, (int32_t[]){23, 24, 8, 31, 0, 12, 13}, 7, false,
                "hello hello!   <|end|>\xC3\xA9");
    expect_text(t, (int32_t[]){23, 0, 8}, 3, true, "hello!");
    expect_text(t, NULL, 0, true, "");
    expect_text(t, (int32_t[]){12, 1}, 2, true,
                "\xEF\xBF\xBD"
                "a"); /* half a character */
    expect_piece(t, 24, " hello");
    expect_piece(t, 12, "\xC3");
    expect_piece(t, 31, "   ");
    mn_tokenizer_close(&t);
    mn_tokenizer_close(&t);
}

static void test_metaspace(void **state) {
    (void)state;
    mn_tokenizer *t = open_fixture("metaspace.json");
    assert_string_equal(mn_tokenizer_kind(t), "BPE with byte fallback");
    assert_int_equal(mn_tokenizer_bos(t), 1);
    assert_int_equal(mn_tokenizer_eos(t), 2);
    expect(t, "", 0, "");
    expect(t, "", MN_TOKENIZE_SPECIAL, "1");
    expect(t, "ab", MN_TOKENIZE_SPECIAL, "1 11");
    expect(t, "ab", MN_TOKENIZE_CONTINUE, "10");
    expect(t, "abb", 0, "11 8");
    expect(t, "abbb", 0, "11 13"); /* b b merges after _a b */
    expect(t, "a b", 0, "9 6 8");
    expect(t, "  a", 0, "12 9");             /* _ a merges before _ _ */
    expect(t, "\xE2\x82\xAC", 0, "6 3 4 5"); /* the euro sign in bytes */
    expect(t, "zz", 0, "6 0");               /* unknown ones in a row are one */
    expect(t, "z z", 0, "6 0 6 0");
    expect(t, "a</s>b", 0, "9 2 6 8"); /* every stretch gets its metaspace */
    expect(t, "a</s>b", MN_TOKENIZE_CONTINUE, "7 2 6 8");
    expect_text(t, (int32_t[]){1, 11, 6, 8}, 4, true, "ab b");
    expect_text(t, (int32_t[]){1, 11, 2}, 3, false, "<s> ab</s>");
    expect_text(t, (int32_t[]){3, 4, 5, 6}, 4, true, "\xE2\x82\xAC ");
    expect_text(t, (int32_t[]){3, 4, 7}, 3, true,
                "\xEF\xBF\xBD\xEF\xBF\xBD"
                "a");
    expect_piece(t, 11, " ab");
    expect_piece(t, 3, "\xE2");
    mn_tokenizer_close(&t);

    /* marked "normalized", as in older Llama files: only behind a metaspace */
    t = open_edited("metaspace.json",
                    "\"id\": 2, \"content\": \"</s>\", \"single_word\": false, "
                    "\"lstrip\": false, \"rstrip\": false, \"normalized\": false",
                    "\"id\": 2, \"content\": \"</s>\", \"normalized\": true");
    expect(t, "</s>", 0, "2");
    expect(t, "a </s>b", 0, "9 2 8");
    expect(t, "a</s>", 0, "9 0");
    mn_tokenizer_close(&t);
}

/* Parts of tokenizer.json that the two fixtures do not use. */
static void test_variants(void **state) {
    (void)state;
    mn_tokenizer *t = open_edited("bytes.json", "\"add_prefix_space\": false",
                                  "\"add_prefix_space\": true");
    expect(t, "hello hello", 0, "24 24");
    expect(t, "hello", MN_TOKENIZE_CONTINUE, "23");
    mn_tokenizer_close(&t);

    t = open_edited(
        "bytes.json", "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, ",
        "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", "
        "\"pattern\": {\"Regex\": \"\\\\p{L}{1,2}|\\\\s\"}, \"behavior\": \"Isolated\"}, "
        "{\"type\": \"ByteLevel\", \"use_regex\": false, \"add_prefix_space\": false}], ");
    expect(t, "hello a!", 0, "21 20 6 10 1 8");
    mn_tokenizer_close(&t);

    t = open_edited("bytes.json", "\"fuse_unk\": false",
                    "\"ignore_merges\": true, \"fuse_unk\": false");
    expect(t, "hello", 0, "23");
    mn_tokenizer_close(&t);

    t = open_edited(
        "metaspace.json", "\"pre_tokenizer\": null",
        "\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"\xE2\x96\x81\", "
        "\"prepend_scheme\": \"first\", \"split\": true}");
    expect(t, "a  b", 0, "9 6 6 8"); /* words are cut in front of every metaspace */
    mn_tokenizer_close(&t);

    t = open_edited("metaspace.json", "\"fuse_unk\": true", "\"fuse_unk\": false");
    expect(t, "zz", 0, "6 0 0");
    mn_tokenizer_close(&t);

    t = open_edited("metaspace.json", "\"unk_token\": \"<unk>\"", "\"unk_token\": null");
    expect(t, "z z", 0, "12"); /* nothing is left between the metaspaces */
    mn_tokenizer_close(&t);

    t = open_edited(
        "metaspace.json",
        "\"content\": \"</s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false",
        "\"content\": \"</s>\", \"lstrip\": true, \"rstrip\": true");
    expect(t, "a \n</s>  b", 0, "9 2 6 8");
    mn_tokenizer_close(&t);
}

/* What is wrong or not supported is named. */
static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *file, *from, *to;
        mn_status status;
        const char *part;
    } rows[] = {
        {"bytes.json", "{", "[", MN_ERR_DATA, "broken JSON"},
        {"bytes.json", "\"1.0\"", "\"2.0\"", MN_ERR_UNSUPPORTED, "$.version"},
        {"bytes.json", "\"BPE\"", "\"Unigram\"", MN_ERR_UNSUPPORTED,
         "$.model.type: a model other than BPE is not supported: \"Unigram\""},
        {"bytes.json", "\"NFC\"", "\"NFKC\"", MN_ERR_UNSUPPORTED, "$.normalizer"},
        {"bytes.json", "\"pre_tokenizer\": {\"type\": \"ByteLevel\"",
         "\"pre_tokenizer\": {\"type\": \"Digits\"", MN_ERR_UNSUPPORTED, "$.pre_tokenizer"},
        {"bytes.json", "\"decoder\": {\"type\": \"ByteLevel\"",
         "\"decoder\": {\"type\": \"WordPiece\"", MN_ERR_UNSUPPORTED, "$.decoder"},
        {"bytes.json", "\"post_processor\": {\"type\": \"ByteLevel\"",
         "\"post_processor\": {\"type\": \"BertProcessing\"", MN_ERR_UNSUPPORTED,
         "$.post_processor"},
        {"bytes.json", "\"dropout\": null", "\"dropout\": 0.1", MN_ERR_UNSUPPORTED,
         "$.model.dropout: a value other than null is not supported: 0.1"},
        {"bytes.json", "\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"</w>\"",
         MN_ERR_UNSUPPORTED, "</w>"},
        {"bytes.json", "\"single_word\": false", "\"single_word\": true", MN_ERR_UNSUPPORTED,
         "$.added_tokens[0]: single_word"},
        {"bytes.json", "\"id\": 30", "\"id\": 3", MN_ERR_DATA,
         "the id 3 of '  ' already belongs to 'e'"},
        {"bytes.json", "\"id\": 0,", "\"id\": 5,", MN_ERR_DATA,
         "has the id 0 in the vocabulary, 5 here"},
        {"bytes.json", "\"content\": \"  \"", "\"content\": \"\"", MN_ERR_DATA,
         "$.added_tokens[1]"},
        {"bytes.json", "\"b\": 2", "\"b\": 1", MN_ERR_DATA,
         "$.model.vocab.b: id 1 already belongs to 'a'"},
        {"bytes.json", "\"b\": 2", "\"b\": -2", MN_ERR_DATA, "$.model.vocab.b: expected 0 to"},
        {"bytes.json", "\"b\": 2", "\"b\": 2.5", MN_ERR_DATA, "$.model.vocab.b"},
        {"bytes.json", "\"b\": 2", "\"b\": 1e9", MN_ERR_DATA, "$.model.vocab.b"},
        {"bytes.json", "\"b\": 2", "\"a\": 2", MN_ERR_DATA, "the token 'a' is there twice"},
        {"bytes.json", "\"b\": 2", "\"\xFF\": 2", MN_ERR_DATA, "malformed UTF-8"},
        {"bytes.json", "\"b\": 2", "\"\\u0000\": 2", MN_ERR_UNSUPPORTED, "NUL"},
        {"bytes.json", "\"l l\"", "\"l q\"", MN_ERR_DATA,
         "$.model.merges[0]: merges the unknown token 'q'"},
        {"bytes.json", "\"l l\"", "\"l o\"", MN_ERR_DATA,
         "$.model.merges[0]: merges to the unknown token 'lo'"},
        {"bytes.json", "\"l l\"", "\"l l l\"", MN_ERR_DATA, "$.model.merges[0]"},
        {"metaspace.json", "[\"a\", \"b\"]", "[\"a\"]", MN_ERR_DATA, "$.model.merges[1]"},
        {"metaspace.json", "\"unk_token\": \"<unk>\"", "\"unk_token\": \"<x>\"", MN_ERR_DATA,
         "unk_token '<x>'"},
        {"metaspace.json", "{\"String\": \" \"}", "{\"Regex\": \" +\"}", MN_ERR_UNSUPPORTED,
         "$.normalizer.normalizers[1].pattern"},
        {"metaspace.json", "\"ids\": [1]", "\"ids\": [99]", MN_ERR_DATA,
         "$.post_processor.special_tokens.<s>.ids[0]"},
        {"metaspace.json", "\"type\": \"Fuse\"", "\"type\": \"CTC\"", MN_ERR_UNSUPPORTED,
         "$.decoder.decoders[2]"},
        {"metaspace.json", "\"pre_tokenizer\": null",
         "\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Removed\", \"pattern\": "
         "{\"String\": \" \"}}",
         MN_ERR_UNSUPPORTED, "Removed"},
        {"metaspace.json", "\"pre_tokenizer\": null",
         "\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": "
         "{\"Regex\": \"\\\\w+\"}}",
         MN_ERR_UNSUPPORTED, "\\w+"},
        {"metaspace.json", "\"pre_tokenizer\": null",
         "\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": "
         "{\"Regex\": \"(a\"}}",
         MN_ERR_DATA, "(a"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mn_tokenizer *t = NULL;
        char *text = fixture(rows[i].file), *changed = edited(text, rows[i].from, rows[i].to);
        MN_ASSERT_FAILS(mn_tokenizer_from_json(&t, changed, strlen(changed), "x.json"),
                        rows[i].status, rows[i].part);
        assert_non_null(strstr(mn_error(), "x.json"));
        assert_null(t);
        free(changed);
        free(text);
    }
    mn_tokenizer *t = NULL;
    MN_ASSERT_FAILS(mn_tokenizer_from_json(&t, "", 0, "x"), MN_ERR_DATA, "x");
    t = open_fixture("bytes.json");
    mn_buf out = {0};
    MN_ASSERT_OK(mn_buf_puts(&out, "kept"));
    const int32_t bad[] = {-1, 19, 32, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < 5; i++) {
        const int32_t ids[] = {1, bad[i]};
        MN_ASSERT_FAILS(mn_tokenizer_decode(t, ids, 2, true, &out), MN_ERR_DATA,
                        "no token has the id");
        MN_ASSERT_FAILS(mn_tokenizer_piece(t, bad[i], &out), MN_ERR_DATA, "no token has the id");
        assert_string_equal(out.data, "kept");
    }
    mn_buf_free(&out);
    mn_tokenizer_close(&t);
}

/* Malformed UTF-8: the number of U+FFFD as in the Unicode standard, table 3-8 and around. */
static void test_malformed(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
    } rows[] = {
        {"\xFF", 1},         {"\xC0\xAF", 2},
        {"\xE2\x82", 1},     {"\xF0\x9F\x98", 1},
        {"\xED\xA0\x80", 3}, {"\xF4\x90\x80\x80", 4},
        {"\x80\x80", 2},     {"\xE0\x80\x80", 3},
        {"\xF0\x80\x80", 3}, {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF", 4},
        {"\xC3", 1},
    };
    mn_tokenizer *t = open_fixture("bytes.json");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mn_ids ids = {0};
        mn_buf in = {0}, out = {0}, want = {0};
        MN_ASSERT_OK(mn_buf_printf(&in, "a%sb", rows[i].bytes));
        MN_ASSERT_OK(mn_buf_puts(&want, "a"));
        for (size_t n = 0; n < rows[i].count; n++) MN_ASSERT_OK(mn_buf_puts(&want, "\xEF\xBF\xBD"));
        MN_ASSERT_OK(mn_buf_puts(&want, "b"));
        MN_ASSERT_OK(mn_tokenizer_encode(t, in.data, in.len, 0, &ids));
        MN_ASSERT_OK(mn_tokenizer_decode(t, ids.data, ids.len, false, &out));
        assert_string_equal(out.data, want.data);
        mn_buf_free(&in);
        mn_buf_free(&out);
        mn_buf_free(&want);
        mn_ids_free(&ids);
    }
    mn_tokenizer_close(&t);
}

static void put(const char *dir, const char *name, const char *text) {
    mn_test_puts(mn_test_join(dir, name).text, text);
}

/* Which file of a folder is read, and where its first and last tokens come from. */
static void test_folder(void **state) {
    (void)state;
    const mn_test_path dir = mn_test_tmpdir();
    mn_tokenizer *t = NULL;
    char *text = fixture("bytes.json");
    MN_ASSERT_FAILS(mn_tokenizer_open(&t, dir.text), MN_ERR_IO, "tokenizer.model");
    MN_ASSERT_FAILS(mn_tokenizer_open(&t, mn_test_join(dir.text, "x").text), MN_ERR_IO, "x");
    put(dir.text, "tokenizer.model", "broken");
    MN_ASSERT_FAILS(mn_tokenizer_open(&t, dir.text), MN_ERR_DATA, "tokenizer.model");
    put(dir.text, "tokenizer.json", text);
    MN_ASSERT_OK(mn_tokenizer_open(&t, dir.text));
    assert_int_equal(mn_tokenizer_bos(t), -1); /* <|end|> is none of the usual names */
    mn_tokenizer_close(&t);

    put(dir.text, "config.json", "{\"bos_token_id\": null, \"eos_token_id\": [0, 1]}");
    MN_ASSERT_OK(mn_tokenizer_open(&t, dir.text));
    assert_int_equal(mn_tokenizer_bos(t), -1);
    assert_int_equal(mn_tokenizer_eos(t), 0);
    mn_tokenizer_close(&t);

    put(dir.text, "tokenizer_config.json",
        "{\"bos_token\": {\"content\": \"<|end|>\"}, \"eos_token\": \"ab\"}");
    MN_ASSERT_OK(mn_tokenizer_open(&t, mn_test_join(dir.text, "tokenizer.json").text));
    assert_int_equal(mn_tokenizer_bos(t), 0);
    assert_int_equal(mn_tokenizer_eos(t), 27);
    mn_tokenizer_close(&t);

    put(dir.text, "tokenizer_config.json", "{\"bos_token\": \"<gone>\"}");
    MN_ASSERT_FAILS(mn_tokenizer_open(&t, dir.text), MN_ERR_DATA, "'<gone>'");
    put(dir.text, "tokenizer_config.json", "{}");
    put(dir.text, "config.json", "{\"eos_token_id\": 32}");
    MN_ASSERT_FAILS(mn_tokenizer_open(&t, dir.text), MN_ERR_DATA, "$.eos_token_id: the id 32");
    assert_null(t);
    free(text);
    mn_test_rmdir(dir.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),     cmocka_unit_test(test_metaspace),
        cmocka_unit_test(test_variants),  cmocka_unit_test(test_errors),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
