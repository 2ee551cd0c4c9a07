/* test_golden_model.c - logits and greedy continuations of tiny models against Hugging Face
 * transformers in float64 (tests/golden, written by tools/make_golden.py). */
#include "check.h"

#include "mneme/session.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TOKENS = 640, GREEDY = 64 };

static const char *const models[] = {"neox-parallel", "neox-sequential", "neox-bf16", "neox-bin",
                                     "llama-mha",     "llama-gqa",       "llama-bin"};

typedef struct bench {
    mn_device *device;
    mn_model *model;
    mn_session *session;
    mn_checkpoint *reference;
} bench;

/* `packed`: weights of half precision in panels, as the program uses them. */
static void open_bench(bench *b, const char *name, bool packed, mn_compute compute) {
    char dir[512], reference[600];
    snprintf(dir, sizeof dir, "%s/tests/golden/%s", MN_SOURCE_DIR, name);
    snprintf(reference, sizeof reference, "%s/reference.safetensors", dir);
    assert_int_equal(mn_device_open(&b->device, "cpu", 2), MN_OK);
    if (mn_model_open(&b->model, dir, b->device, NULL) != MN_OK) fail_msg("%s", mn_error());
    if (packed) assert_int_equal(mn_model_pack(b->model, NULL), MN_OK);
    const mn_session_options options = {.max_tokens = MAX_TOKENS,
                                        .kv_rows = MAX_TOKENS,
                                        .max_seqs = 4,
                                        .max_logits = 32,
                                        .compute = compute};
    assert_int_equal(mn_session_open(&b->session, b->model, &options), MN_OK);
    if (mn_checkpoint_open_file(&b->reference, reference) != MN_OK) fail_msg("%s", mn_error());
}

static void close_bench(bench *b) {
    mn_checkpoint_close(&b->reference);
    mn_session_close(&b->session);
    mn_model_close(&b->model);
    mn_device_close(&b->device);
}

static const mn_tensor *get(const bench *b, const char *name) {
    const mn_stored *s = mn_checkpoint_find(b->reference, name);
    if (!s) fail_msg("the reference has no tensor %s", name);
    return &s->view;
}

/* Feeds tokens [begin, end) of one sequence that lies in cache rows 0 .. end - 1. */
static void feed(bench *b, const int32_t *ids, int64_t begin, int64_t end, const int32_t *outputs,
                 int64_t output_count) {
    int32_t at[MAX_TOKENS];
    for (int64_t i = begin; i < end; i++) at[i - begin] = (int32_t)i;
    const mn_attn_seq seq = {.q_len = (int32_t)(end - begin), .own_len = (int32_t)end};
    const mn_batch batch = {.ids = ids + begin,
                            .positions = at,
                            .rows = at,
                            .tokens = end - begin,
                            .seqs = &seq,
                            .seq_count = 1,
                            .outputs = outputs,
                            .output_count = output_count};
    if (mn_session_forward(b->session, &batch) != MN_OK) fail_msg("%s", mn_error());
}

/* fp32 against float64: the bound, 2e-4 of the logits' range. */
static void compare_logits(bench *b, int length, int64_t step, double allowed) {
    char name[32];
    snprintf(name, sizeof name, "ids_%d", length);
    const int32_t *ids = get(b, name)->data;
    snprintf(name, sizeof name, "rows_%d", length);
    const mn_tensor *rows = get(b, name);
    snprintf(name, sizeof name, "logits_%d", length);
    const mn_tensor *logits = get(b, name);
    const int32_t *row = rows->data;
    const float *want = logits->data;
    const int64_t vocab = logits->shape[1];
    double low = INFINITY, high = -INFINITY, worst = 0;
    for (int64_t i = 0; i < rows->shape[0] * vocab; i++) {
        low = fmin(low, (double)want[i]);
        high = fmax(high, (double)want[i]);
    }
    for (int64_t begin = 0; begin < length; begin += step) {
        const int64_t end = begin + step < length ? begin + step : length;
        int32_t outputs[32];
        int64_t first = 0, count = 0;
        for (int64_t i = 0; i < rows->shape[0]; i++)
            if (row[i] < begin) first++;
            else if (row[i] < end) outputs[count++] = (int32_t)(row[i] - begin);
        feed(b, ids, begin, end, outputs, count);
        if (count == 0) continue;
        mn_tensor got;
        assert_int_equal(mn_session_logits(b->session, 0, count, &got), MN_OK);
        for (int64_t i = 0; i < count * vocab; i++)
            worst = fmax(worst,
                         fabs((double)((float *)got.data)[i] - (double)want[first * vocab + i]));
    }
    if (!(worst <= allowed * (high - low)))
        fail_msg("length %d, step %d: largest difference %g, logits from %g to %g", length,
                 (int)step, worst, low, high);
}

static void test_logits(void **state) {
    const int lengths[] = {1, 7, 513};
    for (size_t n = 0; n < 2 * sizeof models / sizeof *models; n++) {
        const size_t i = n / 2;
        bench b = {0};
        print_message("%s\n", models[i]);
        open_bench(&b, models[i], n % 2, MN_COMPUTE_F32);
        for (int l = 0; l < 3; l++) compare_logits(&b, lengths[l], MAX_TOKENS, 2e-4);
        compare_logits(&b, 513, 100, 2e-4); /* in chunks: later ones attend to the cache */
        close_bench(&b);
    }
    (void)state;
}

/* bf16 keeps 8 bits: each product is off by up to 2^-8 relative; a few layers of random signs stay
 * within three hundredths of the range, a wrong layout does not. */
static void test_bf16(void **state) {
    for (size_t n = 0; n < 2 * sizeof models / sizeof *models; n++) {
        const size_t i = n / 2;
        bench b = {0};
        open_bench(&b, models[i], n % 2, MN_COMPUTE_BF16);
        compare_logits(&b, 7, MAX_TOKENS, 3e-2);
        compare_logits(&b, 513, MAX_TOKENS, 3e-2);
        close_bench(&b);
    }
    (void)state;
}

static void test_greedy(void **state) {
    for (size_t n = 0; n < 2 * sizeof models / sizeof *models; n++) {
        const size_t i = n / 2;
        bench b = {0};
        open_bench(&b, models[i], n % 2, MN_COMPUTE_F32);
        const mn_tensor *prompt = get(&b, "greedy_prompt");
        const int32_t *want = get(&b, "greedy_ids")->data;
        int32_t ids[MAX_TOKENS];
        int64_t begin = 0, end = prompt->shape[0];
        memcpy(ids, prompt->data, (size_t)end * sizeof *ids);
        for (int t = 0; t < GREEDY; t++) {
            mn_tensor logits;
            mn_row_stat stat;
            const int32_t last = (int32_t)(end - begin - 1);
            feed(&b, ids, begin, end, &last, 1);
            assert_int_equal(mn_session_logits(b.session, 0, 1, &logits), MN_OK);
            assert_int_equal(mn_row_stats(b.device, &stat, &logits, NULL), MN_OK);
            if (stat.best_id != want[t])
                fail_msg("%s: greedy token %d is %d, %d expected", models[i], t, stat.best_id,
                         want[t]);
            begin = end;
            ids[end++] = stat.best_id;
        }
        close_bench(&b);
    }
    (void)state;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_logits), cmocka_unit_test(test_bf16),
                                       cmocka_unit_test(test_greedy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
