/* test_tokenizer_real.c - the real tokenizers of Pythia and Llama-2: published vectors, agreement of the
 * two Llama readers, and the way back. */
#include "check.h"

#include "mneme/file.h"
#include "mneme/json.h"
#include "mneme/rng.h"
#include "mneme/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { VECTORS = 47, RANDOM_TEXTS = 1500 };

static void check_vector(const mn_tokenizer *t, const mn_json *line, const char *name) {
    const cJSON *list, *item;
    const char *text;
    mn_ids want = {0}, got = {0};
    mn_buf back = {0};
    MN_ASSERT_OK(mn_json_string(&text, line, line->root, "text"));
    MN_ASSERT_OK(mn_json_array(&list, line, line->root, "ids"));
    cJSON_ArrayForEach(item, list) {
        int64_t id;
        MN_ASSERT_OK(mn_json_as_i64(&id, line, item, 0, INT32_MAX));
        MN_ASSERT_OK(mn_ids_push(&want, (int32_t)id));
    }
    MN_ASSERT_OK(mn_tokenizer_encode(t, text, strlen(text), 0, &got));
    if (got.len != want.len || (got.len && memcmp(got.data, want.data, got.len * sizeof *got.data)))
        fail_msg("%s: other ids for '%s'", name, text);
    MN_ASSERT_OK(mn_tokenizer_decode(t, want.data, want.len, false, &back));
    assert_string_equal(back.data, text);
    mn_buf_free(&back);
    mn_ids_free(&want);
    mn_ids_free(&got);
}

static void check_vectors(const char *tokenizer, const char *vectors) {
    mn_tokenizer *t = NULL;
    mn_map *map = NULL;
    const char *line;
    size_t len, count = 0;
    MN_ASSERT_OK(mn_tokenizer_open(&t, tokenizer));
    MN_ASSERT_OK(mn_map_open(&map, vectors));
    mn_lines lines = mn_lines_over(map->data, map->size);
    while (mn_lines_next(&lines, &line, &len)) {
        mn_json *doc = NULL;
        MN_ASSERT_OK(mn_json_parse(&doc, line, len, vectors));
        check_vector(t, doc, tokenizer);
        mn_json_close(&doc);
        count++;
    }
    assert_int_equal(count, VECTORS);
    mn_map_close(&map);
    mn_tokenizer_close(&t);
}

static void test_neox_vectors(void **state) {
    (void)state;
    const mn_test_path tokenizer = MN_TEST_REAL("tokenizers/20B_tokenizer.json");
    check_vectors(tokenizer.text,
                  MN_TEST_REAL("tokenizers/published_neox_mpt_llamacpp.jsonl").text);
}

static void test_llama_json_vectors(void **state) {
    (void)state;
    const mn_test_path tokenizer = MN_TEST_REAL("tokenizers/llama2_tokenizer.json");
    check_vectors(tokenizer.text, MN_TEST_REAL("tokenizers/published_llama2_llamacpp.jsonl").text);
}

static void test_llama_model_vectors(void **state) {
    (void)state;
    const mn_test_path tokenizer = MN_TEST_REAL("tokenizers/llama2_tokenizer.model");
    check_vectors(tokenizer.text, MN_TEST_REAL("tokenizers/published_llama2_llamacpp.jsonl").text);
}

static void expect(const mn_tokenizer *t, const char *text, unsigned flags, const int32_t *want,
                   size_t count) {
    mn_ids got = {0};
    MN_ASSERT_OK(mn_tokenizer_encode(t, text, strlen(text), flags, &got));
    assert_int_equal(got.len, count);
    assert_memory_equal(got.data, want, count * sizeof *want);
    mn_ids_free(&got);
}

/* What the prompts rest on: first tokens, the answer, special tokens in a text. */
static void test_facts(void **state) {
    (void)state;
    mn_tokenizer *neox = NULL, *llama[2] = {NULL, NULL};
    MN_ASSERT_OK(mn_tokenizer_open(&neox, MN_TEST_REAL("tokenizers/20B_tokenizer.json").text));
    assert_int_equal(mn_tokenizer_size(neox), 50277);
    assert_int_equal(mn_tokenizer_bos(neox), 0);
    assert_int_equal(mn_tokenizer_eos(neox), 0);
    expect(neox, "A: (a)", MN_TOKENIZE_SPECIAL, (int32_t[]){34, 27, 313, 66, 10}, 5);
    expect(neox, "a<|endoftext|> b", 0, (int32_t[]){66, 0, 270}, 3);
    mn_tokenizer_close(&neox);

    MN_ASSERT_OK(
        mn_tokenizer_open(&llama[0], MN_TEST_REAL("tokenizers/llama2_tokenizer.json").text));
    MN_ASSERT_OK(
        mn_tokenizer_open(&llama[1], MN_TEST_REAL("tokenizers/llama2_tokenizer.model").text));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mn_tokenizer_size(llama[i]), 32000);
        assert_int_equal(mn_tokenizer_bos(llama[i]), 1);
        assert_int_equal(mn_tokenizer_eos(llama[i]), 2);
        expect(llama[i], "A: (a)", MN_TOKENIZE_SPECIAL,
               (int32_t[]){1, 319, 29901, 313, 29874, 29897}, 6);
        expect(llama[i], "Hello", MN_TOKENIZE_CONTINUE, (int32_t[]){10994}, 1);
        expect(llama[i], "</s>", 0, (int32_t[]){2}, 1);
        mn_tokenizer_close(&llama[i]);
    }
}

/* A text of words, white space, letters of many scripts, marks, symbols and control characters. */
static void random_text(mn_buf *out, uint64_t seed) {
    static const struct {
        int32_t from, count;
    } ranges[] = {{0x20, 0x5F},     {0, 0x20},        {0x80, 0x1D0},   {0x300, 0x70},
                  {0x370, 0x200},   {0x900, 0x80},    {0x1100, 0x100}, {0x2000, 0x300},
                  {0x4E00, 0x5000}, {0xAC00, 0x2BA4}, {0xE000, 0x20},  {0x1F300, 0x300},
                  {0x10FF00, 0x100}};
    static const char *const words[] = {
        " the",   "  ",    "\n\n",     "        ",  " claim",           "'s",
        "Pythia", " 1984", "\xC3\x85", "e\xCC\x81", "aaaaaaaaaaaaaaaa", "\t"};
    const int64_t parts = mn_rng_below(seed, 0, 0, 14);
    mn_buf_clear(out);
    MN_ASSERT_OK(mn_buf_puts(out, ""));
    for (int64_t part = 0; part < parts; part++) {
        const uint64_t stream = (uint64_t)part + 1;
        const int64_t kind = mn_rng_below(seed, stream, 0, 26);
        if (kind >= 13) {
            MN_ASSERT_OK(mn_buf_puts(out, words[(kind - 13) % 12]));
            continue;
        }
        const int64_t count = 1 + mn_rng_below(seed, stream, 1, 6);
        for (int64_t i = 0; i < count; i++) {
            const int64_t pick = mn_rng_below(seed, stream, (uint64_t)i + 2, ranges[kind].count);
            const int32_t point = ranges[kind].from + (int32_t)pick;
            utf8proc_uint8_t bytes[4];
            const utf8proc_ssize_t size = utf8proc_encode_char(point, bytes);
            MN_ASSERT_OK(mn_buf_append(out, bytes, (size_t)size));
        }
    }
}

static void expect_back(const mn_tokenizer *t, const mn_ids *ids, const char *want, size_t len) {
    mn_buf back = {0};
    MN_ASSERT_OK(mn_tokenizer_decode(t, ids->data, ids->len, false, &back));
    assert_int_equal(back.len, len);
    if (len) assert_memory_equal(back.data, want, len);
    mn_buf_free(&back);
}

static void test_llama_readers_agree(void **state) {
    (void)state;
    mn_tokenizer *json = NULL, *model = NULL;
    mn_buf text = {0};
    MN_ASSERT_OK(mn_tokenizer_open(&json, MN_TEST_REAL("tokenizers/llama2_tokenizer.json").text));
    MN_ASSERT_OK(mn_tokenizer_open(&model, MN_TEST_REAL("tokenizers/llama2_tokenizer.model").text));
    for (uint64_t seed = 0; seed < RANDOM_TEXTS; seed++) {
        mn_ids a = {0}, b = {0};
        random_text(&text, seed);
        MN_ASSERT_OK(mn_tokenizer_encode(json, text.data, text.len, MN_TOKENIZE_SPECIAL, &a));
        MN_ASSERT_OK(mn_tokenizer_encode(model, text.data, text.len, MN_TOKENIZE_SPECIAL, &b));
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len * sizeof *a.data);
        assert_int_equal(a.data[0], 1);
        memmove(a.data, a.data + 1, --a.len * sizeof *a.data);
        expect_back(json, &a, text.data, text.len);
        expect_back(model, &a, text.data, text.len);
        mn_ids_free(&a);
        mn_ids_free(&b);
    }
    mn_buf_free(&text);
    mn_tokenizer_close(&model);
    mn_tokenizer_close(&json);
}

static void test_neox_round_trip(void **state) {
    (void)state;
    mn_tokenizer *t = NULL;
    mn_buf text = {0};
    MN_ASSERT_OK(mn_tokenizer_open(&t, MN_TEST_REAL("tokenizers/20B_tokenizer.json").text));
    for (uint64_t seed = 0; seed < RANDOM_TEXTS; seed++) {
        mn_ids ids = {0};
        utf8proc_uint8_t *nfc = NULL;
        random_text(&text, seed);
        const utf8proc_ssize_t len = utf8proc_map((const utf8proc_uint8_t *)text.data,
                                                  (utf8proc_ssize_t)text.len, &nfc,
                                                  UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        assert_true(len >= 0);
        MN_ASSERT_OK(mn_tokenizer_encode(t, text.data, text.len, 0, &ids));
        expect_back(t, &ids, (const char *)nfc, (size_t)len);
        free(nfc);
        mn_ids_free(&ids);
    }
    mn_buf_free(&text);
    mn_tokenizer_close(&t);
}

/* Any bytes encode, and what comes back is well-formed. */
static void test_random_bytes(void **state) {
    (void)state;
    const char *const files[] = {"tokenizers/20B_tokenizer.json",
                                 "tokenizers/llama2_tokenizer.json",
                                 "tokenizers/llama2_tokenizer.model"};
    for (size_t f = 0; f < 3; f++) {
        mn_tokenizer *t = NULL;
        MN_ASSERT_OK(mn_tokenizer_open(&t, MN_TEST_REAL(files[f]).text));
        for (uint64_t seed = 0; seed < 300; seed++) {
            unsigned char bytes[200];
            mn_ids ids = {0};
            mn_buf back = {0};
            const size_t len = (size_t)mn_rng_below(seed, 1, 0, sizeof bytes);
            for (size_t i = 0; i < len; i++)
                bytes[i] = (unsigned char)mn_rng_below(seed, 2, i, 256);
            MN_ASSERT_OK(mn_tokenizer_encode(t, (const char *)bytes, len, 0, &ids));
            MN_ASSERT_OK(mn_tokenizer_decode(t, ids.data, ids.len, false, &back));
            for (size_t i = 0; i < back.len;) {
                utf8proc_int32_t point;
                const utf8proc_ssize_t used = utf8proc_iterate(
                    (const utf8proc_uint8_t *)back.data + i, (utf8proc_ssize_t)(back.len - i),
                    &point);
                assert_true(used > 0);
                i += (size_t)used;
            }
            mn_buf_free(&back);
            mn_ids_free(&ids);
        }
        mn_tokenizer_close(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neox_vectors),        cmocka_unit_test(test_llama_json_vectors),
        cmocka_unit_test(test_llama_model_vectors), cmocka_unit_test(test_facts),
        cmocka_unit_test(test_llama_readers_agree), cmocka_unit_test(test_neox_round_trip),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
