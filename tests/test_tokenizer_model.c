/* test_tokenizer_model.c - SentencePiece models written here byte by byte, with ids worked out by hand;
 * merging against the plainest possible BPE; long words; many threads on one tokenizer. */
#include "check.h"

#include "mneme/rng.h"
#include "mneme/tokenizer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define META "\xE2\x96\x81"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, UNUSED = 5, BYTE = 6 };

static void varint(mn_buf *out, uint64_t value) {
    do {
        const char byte = (char)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
        MN_ASSERT_OK(mn_buf_append(out, &byte, 1));
        value >>= 7;
    } while (value);
}

static void put_number(mn_buf *out, unsigned field, uint64_t value) {
    varint(out, field << 3);
    varint(out, value);
}

static void put_bytes(mn_buf *out, unsigned field, const void *bytes, size_t len) {
    varint(out, field << 3 | 2);
    varint(out, len);
    MN_ASSERT_OK(mn_buf_append(out, bytes, len));
}

static void put_message(mn_buf *out, unsigned field, mn_buf *message) {
    put_bytes(out, field, message->data ? message->data : "", message->len);
    mn_buf_free(message);
}

static void put_piece(mn_buf *out, const char *text, float score, int type) {
    mn_buf piece = {0};
    put_bytes(&piece, 1, text, strlen(text));
    varint(&piece, 2 << 3 | 5);
    MN_ASSERT_OK(mn_buf_append(&piece, &score, sizeof score));
    if (type != NORMAL) put_number(&piece, 3, (uint64_t)type);
    put_message(out, 1, &piece);
}

typedef struct options {
    int type;
    bool fallback, prefix, squeeze, suffix;
    const char *charsmap;
} options;

static void put_options(mn_buf *out, options o) {
    mn_buf trainer = {0}, normalizer = {0};
    if (o.type) put_number(&trainer, 3, (uint64_t)o.type);
    put_bytes(&trainer, 7, "an unknown field", 16);
    put_number(&trainer, 24, o.suffix);
    put_number(&trainer, 35, o.fallback);
    put_message(out, 2, &trainer);
    put_bytes(&normalizer, 1, "identity", 8);
    if (o.charsmap) put_bytes(&normalizer, 2, o.charsmap, strlen(o.charsmap));
    put_number(&normalizer, 3, o.prefix);
    put_number(&normalizer, 4, o.squeeze);
    put_message(out, 3, &normalizer);
}

/* 0 <unk>  1 <s>  2 </s>  3 _  4 a  5 b  6 _a  7 ab  8 ba  9 aba  10 <sep>  11 xaa  12 x (no "xa")
 * 13 aa; with fallback 256 more from 14 on. */
static mn_buf sample(options o) {
    mn_buf model = {0};
    put_piece(&model, "<unk>", 0, UNKNOWN);
    put_piece(&model, "<s>", 0, CONTROL);
    put_piece(&model, "</s>", 0, CONTROL);
    put_piece(&model, META, -9, NORMAL);
    put_piece(&model, "a", -9, NORMAL);
    put_piece(&model, "b", -9, NORMAL);
    put_piece(&model, META "a", -5, NORMAL);
    put_piece(&model, "ab", -1, NORMAL);
    put_piece(&model, "ba", -1, NORMAL);
    put_piece(&model, "aba", -2, NORMAL);
    put_piece(&model, "<sep>", 0, USER);
    put_piece(&model, "xaa", -3, NORMAL);
    put_piece(&model, "x", -9, NORMAL);
    put_piece(&model, "aa", -4, NORMAL);
    for (int byte = 0; o.fallback && byte < 256; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
        put_piece(&model, name, 0, BYTE);
    }
    put_options(&model, o);
    return model;
}

static mn_tokenizer *open_sample(options o) {
    mn_tokenizer *t = NULL;
    mn_buf model = sample(o);
    MN_ASSERT_OK(mn_tokenizer_from_model(&t, model.data, model.len, "sample"));
    mn_buf_free(&model);
    return t;
}

static void expect(const mn_tokenizer *t, const char *text, unsigned flags, const char *want) {
    mn_ids ids = {0};
    mn_buf got = {0};
    MN_ASSERT_OK(mn_tokenizer_encode(t, text, strlen(text), flags, &ids));
    MN_ASSERT_OK(mn_buf_puts(&got, ""));
    for (size_t i = 0; i < ids.len; i++)
        MN_ASSERT_OK(mn_buf_printf(&got, i ? " %d" : "%d", (int)ids.data[i]));
    assert_string_equal(got.data, want);
    mn_buf_free(&got);
    mn_ids_free(&ids);
}

static void expect_text(const mn_tokenizer *t, const int32_t *ids, size_t count, const char *want) {
    mn_buf got = {0};
    MN_ASSERT_OK(mn_tokenizer_decode(t, ids, count, true, &got));
    assert_string_equal(got.data, want);
    mn_buf_free(&got);
}

static void test_model(void **state) {
    (void)state;
    mn_tokenizer *t = open_sample((options){.type = 2, .fallback = true, .prefix = true});
    assert_string_equal(mn_tokenizer_kind(t), "SentencePiece BPE");
    assert_int_equal(mn_tokenizer_size(t), 270);
    assert_int_equal(mn_tokenizer_bos(t), 1);
    assert_int_equal(mn_tokenizer_eos(t), 2);
    expect(t, "", MN_TOKENIZE_SPECIAL, "1");
    expect(t, "a", MN_TOKENIZE_SPECIAL, "1 6");
    expect(t, "a", MN_TOKENIZE_CONTINUE, "4");
    expect(t, "aba", 0, "3 9");   /* ab and ba score alike: the left one first, then aba */
    expect(t, "bab", 0, "3 8 5"); /* the same: ba, and bab is no piece */
    expect(t, "xaa", 0, "3 11");  /* x|aa, though xa is no piece */
    expect(t, "a  b", 0, "6 3 3 5");
    expect(t, "a<sep>b", 0, "6 10 5");
    expect(t, "b</s>b", 0, "3 5 2 3 5");
    expect(t, "\xC2\xA2", 0, "3 208 176"); /* C2 A2 as bytes: 14 + 194, 14 + 162 */
    expect_text(t, (int32_t[]){1, 3, 5, 3, 5, 2}, 6, "b b");
    expect_text(t, (int32_t[]){208, 176, 208}, 3, "\xC2\xA2\xEF\xBF\xBD");
    mn_tokenizer_close(&t);

    t = open_sample((options){.type = 2, .squeeze = true, .prefix = true});
    expect(t, "  a   b  ", 0, "6 3 5");
    expect(t, "   ", 0, "");
    expect(t, "zzb", 0, "3 0 5"); /* unknown ones in a row are one */
    mn_tokenizer_close(&t);

    t = open_sample((options){.type = 2});
    expect(t, "a b", 0, "4 3 5");
    expect_text(t, (int32_t[]){3, 4}, 2, " a");
    mn_tokenizer_close(&t);
}

static void fails(mn_buf *model, mn_status status, const char *part) {
    mn_tokenizer *t = NULL;
    MN_ASSERT_FAILS(mn_tokenizer_from_model(&t, model->data, model->len, "sample"), status, part);
    assert_non_null(strstr(mn_error(), "sample"));
    assert_null(t);
    mn_buf_free(model);
}

static void test_model_errors(void **state) {
    (void)state;
    mn_buf m = sample((options){.type = 0});
    fails(&m, MN_ERR_UNSUPPORTED, "model_type unigram");
    m = sample((options){.type = 4});
    fails(&m, MN_ERR_UNSUPPORTED, "model_type char");
    m = sample((options){.type = 2, .charsmap = "x"});
    fails(&m, MN_ERR_UNSUPPORTED, "precompiled_charsmap");
    m = sample((options){.type = 2, .suffix = true});
    fails(&m, MN_ERR_UNSUPPORTED, "treat_whitespace_as_suffix");
    static const struct {
        const char *text;
        int type;
        mn_status status;
        const char *part;
    } rows[] = {
        {"ab", NORMAL, MN_ERR_DATA, "pieces 7 and 14 are both 'ab'"},
        {"", NORMAL, MN_ERR_DATA, "piece 14 is empty"},
        {"\xFF", NORMAL, MN_ERR_DATA, "piece 14 is malformed UTF-8"},
        {"q", UNUSED, MN_ERR_UNSUPPORTED, "'q' is of type UNUSED"},
        {"q", 7, MN_ERR_UNSUPPORTED, "unknown type 7"},
        {"q", UNKNOWN, MN_ERR_DATA, "both of type UNKNOWN"},
        {"<0x41>", BYTE, MN_ERR_DATA, "without byte_fallback"},
        {"a b", USER, MN_ERR_UNSUPPORTED, "'a b' contains a space"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        m = sample((options){.type = 2});
        put_piece(&m, rows[i].text, 0, rows[i].type);
        fails(&m, rows[i].status, rows[i].part);
    }
    put_piece(&m, "a", 0, NORMAL);
    put_options(&m, (options){.type = 2});
    fails(&m, MN_ERR_DATA, "no piece is of type UNKNOWN");
    put_piece(&m, "<unk>", 0, UNKNOWN);
    put_piece(&m, "<0x41>", 0, BYTE);
    put_options(&m, (options){.type = 2, .fallback = true});
    fails(&m, MN_ERR_DATA, "1 of 256 byte pieces");
}

/* Cut short anywhere, a model is refused or, where the cut lies between two fields, read. */
static void test_model_cut(void **state) {
    (void)state;
    mn_buf m = sample((options){.type = 2, .prefix = true});
    size_t opened = 0;
    for (size_t len = 0; len < m.len; len++) {
        mn_tokenizer *t = NULL;
        char *copy = mn_strdup_n(m.data, len); /* so that a sanitizer sees a read behind the end */
        if (mn_tokenizer_from_model(&t, copy, len, "cut") == MN_OK) opened++;
        mn_tokenizer_close(&t);
        free(copy);
    }
    assert_true(opened <= 1);
    mn_buf_free(&m);
}

/* ---- Merging against the definition ------------------------------------------------------------- */

enum { LETTERS = 4, TOKENS = 80 };

typedef struct rules {
    char text[TOKENS][64];
    int left[TOKENS], right[TOKENS]; /* of tokens LETTERS and up; rank = token - LETTERS */
} rules;

static void random_rules(rules *r, uint64_t seed) {
    uint64_t draw = 0;
    for (int i = 0; i < LETTERS; i++) snprintf(r->text[i], sizeof r->text[i], "%c", 'a' + i);
    for (int n = LETTERS; n < TOKENS;) {
        const int left = (int)mn_rng_below(seed, 1, draw++, n);
        const int right = (int)mn_rng_below(seed, 1, draw++, n);
        const size_t first = strlen(r->text[left]), second = strlen(r->text[right]);
        if (first + second > 12) continue;
        memcpy(r->text[n], r->text[left], first);
        memcpy(r->text[n] + first, r->text[right], second + 1);
        bool known = false;
        for (int i = 0; i < n; i++) known = known || strcmp(r->text[i], r->text[n]) == 0;
        if (known) continue;
        r->left[n] = left;
        r->right[n++] = right;
    }
}

static mn_tokenizer *open_rules(const rules *r) {
    mn_tokenizer *t = NULL;
    mn_buf json = {0};
    MN_ASSERT_OK(mn_buf_puts(&json, "{\"model\": {\"type\": \"BPE\", \"vocab\": {"));
    for (int i = 0; i < TOKENS; i++)
        MN_ASSERT_OK(mn_buf_printf(&json, "%s\"%s\": %d", i ? ", " : "", r->text[i], i));
    MN_ASSERT_OK(mn_buf_puts(&json, "}, \"merges\": ["));
    for (int i = LETTERS; i < TOKENS; i++)
        MN_ASSERT_OK(mn_buf_printf(&json, "%s\"%s %s\"", i > LETTERS ? ", " : "",
                                   r->text[r->left[i]], r->text[r->right[i]]));
    MN_ASSERT_OK(mn_buf_puts(&json, "]}}"));
    MN_ASSERT_OK(mn_tokenizer_from_json(&t, json.data, json.len, "rules"));
    mn_buf_free(&json);
    return t;
}

/* Until nothing merges: of all neighbours take the rule that comes first, there the leftmost. */
static size_t plain_bpe(const rules *r, int32_t *ids, size_t n) {
    for (;;) {
        int rule = TOKENS;
        size_t where = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (int k = LETTERS; k < rule; k++)
                if (r->left[k] == ids[i] && r->right[k] == ids[i + 1]) {
                    rule = k;
                    where = i;
                }
        if (rule == TOKENS) return n;
        ids[where] = rule;
        n--;
        memmove(ids + where + 1, ids + where + 2, (n - where - 1) * sizeof *ids);
    }
}

static void test_merging(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        rules r;
        random_rules(&r, seed);
        mn_tokenizer *t = open_rules(&r);
        for (uint64_t word = 0; word < 120; word++) {
            char text[256];
            int32_t want[256];
            const uint64_t stream = 100 + word;
            const size_t len = 1 + (size_t)mn_rng_below(seed, stream, 0, word % 2 ? 250 : 30);
            const int64_t letters = 1 + mn_rng_below(seed, stream, 1, LETTERS);
            for (size_t i = 0; i < len; i++) {
                want[i] = (int32_t)mn_rng_below(seed, stream, i + 2, letters);
                text[i] = (char)('a' + want[i]);
            }
            const size_t count = plain_bpe(&r, want, len);
            mn_ids ids = {0};
            MN_ASSERT_OK(mn_tokenizer_encode(t, text, len, 0, &ids));
            assert_int_equal(ids.len, count);
            assert_memory_equal(ids.data, want, count * sizeof *want);
            mn_ids_free(&ids);
        }
        mn_tokenizer_close(&t);
    }
}

/* A megabyte of one letter: quadratic time would take hours. */
static void test_long_word(void **state) {
    (void)state;
    static const char json[] = "{\"model\": {\"vocab\": {\"a\": 0, \"aa\": 1, \"aaaa\": 2}, "
                               "\"merges\": [\"a a\", \"aa aa\"]}}";
    const size_t len = (1 << 20) + 3;
    mn_tokenizer *t = NULL;
    mn_ids ids = {0};
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, 'a', len);
    MN_ASSERT_OK(mn_tokenizer_from_json(&t, json, sizeof json - 1, "long"));
    MN_ASSERT_OK(mn_tokenizer_encode(t, text, len, 0, &ids));
    assert_int_equal(ids.len, (1 << 18) + 2);
    for (size_t i = 0; i < 1 << 18; i++) assert_int_equal(ids.data[i], 2);
    assert_int_equal(ids.data[1 << 18], 1);
    assert_int_equal(ids.data[(1 << 18) + 1], 0);
    free(text);
    mn_ids_free(&ids);
    mn_tokenizer_close(&t);
}

/* ---- Threads -------------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 50 };

typedef struct job {
    const mn_tokenizer *t;
    const mn_ids *want;
    const char *text;
    size_t different;
} job;

static void *encode_again(void *user) {
    job *j = user;
    for (int round = 0; round < ROUNDS; round++) {
        mn_ids ids = {0};
        const mn_status st = mn_tokenizer_encode(j->t, j->text, strlen(j->text), 0, &ids);
        j->different += st != MN_OK || ids.len != j->want->len ||
                        memcmp(ids.data, j->want->data, ids.len * sizeof *ids.data) != 0;
        mn_ids_free(&ids);
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    static const char *const files[] = {"bytes.json", "metaspace.json"};
    for (size_t f = 0; f < 2; f++) {
        mn_tokenizer *t = NULL;
        mn_ids want = {0};
        mn_buf text = {0}, path = {0};
        pthread_t threads[THREADS];
        job jobs[THREADS];
        MN_ASSERT_OK(mn_buf_printf(&path, "tests/fixtures/tokenizer/%s", files[f]));
        MN_ASSERT_OK(mn_tokenizer_open(&t, mn_test_source(path.data).text));
        for (int i = 0; i < 100; i++)
            MN_ASSERT_OK(mn_buf_printf(&text, "hello a%.*s  b's e\xCC\x81 ", i, "abababababab"));
        MN_ASSERT_OK(mn_tokenizer_encode(t, text.data, text.len, 0, &want));
        assert_true(want.len > 100);
        for (int i = 0; i < THREADS; i++) {
            jobs[i] = (job){.t = t, .want = &want, .text = text.data};
            assert_int_equal(pthread_create(&threads[i], NULL, encode_again, &jobs[i]), 0);
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(jobs[i].different, 0);
        }
        mn_buf_free(&path);
        mn_buf_free(&text);
        mn_ids_free(&want);
        mn_tokenizer_close(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),     cmocka_unit_test(test_model_errors),
        cmocka_unit_test(test_model_cut), cmocka_unit_test(test_merging),
        cmocka_unit_test(test_long_word), cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
