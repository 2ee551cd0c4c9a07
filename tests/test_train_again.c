/* test_train_again.c - steps whose gradients overflow are done again with a smaller loss scale: wherever in a step that
 * happens, and whatever was read ahead by then, the training ends with the same bits and counts. The overflow is
 * made by hand: the CPU's own gradients have none. */
#include "test_train.h"

static const mn_kernels *honest;
static int64_t calls, broken_from, broken_to; /* of cross_entropy: one for each batch */

static mn_status overflowing(mn_stream *s, float *loss, float *logits, const int32_t *targets,
                             float scale, int64_t rows, int64_t vocab) {
    const mn_status st = honest->cross_entropy(s, loss, logits, targets, scale, rows, vocab);
    if (calls >= broken_from && calls < broken_to) logits[0] = INFINITY;
    calls++;
    return st;
}

static void open_overflowing(trained *t, mn_kernels *kernels) {
    trained_open(t, "neox-parallel", 1);
    honest = t->device->k;
    *kernels = *honest;
    kernels->cross_entropy = overflowing;
    t->device->k = kernels;
    t->device->narrow_products = true; /* only then the loss has a scale */
    t->options.per_device_train_batch_size = 2;
    t->options.gradient_accumulation_steps = 3;
    t->options.num_train_epochs = 3;
    t->options.warmup_steps = 0;
}

static void train_with(trained *t, int64_t from, int64_t to) {
    calls = 0;
    broken_from = from;
    broken_to = to;
    train(t);
}

static void same_bits(void **state) {
    static mn_kernels kernels;
    trained t;
    size_t len, other_len;
    (void)state;
    open_overflowing(&t, &kernels);
    train_with(&t, 0, 0);
    const int64_t batches = calls, cached = t.summary.cached_samples;
    assert_true(batches > 12 && cached > 0);
    char *bytes = result_file(&t, "adapter_model.safetensors", &len);
    for (int64_t i = 0; i < batches; i++) { /* once, at each batch in turn */
        train_with(&t, i, i + 1);
        char *other = result_file(&t, "adapter_model.safetensors", &other_len);
        assert_true(calls > batches);
        assert_same_bytes(bytes, len, other, other_len);
        assert_int_equal(t.summary.cached_samples, cached);
        free(other);
    }
    free(bytes);
    trained_close(&t);
}

/* Without a scale left, the message names the block. */
static void it_ends(void **state) {
    static mn_kernels kernels;
    trained t;
    (void)state;
    open_overflowing(&t, &kernels);
    calls = broken_from = 0;
    broken_to = INT64_MAX;
    MN_ASSERT_FAILS(train_again(&t), MN_ERR_NUMERIC, "step 1 of ");
    assert_non_null(
        strstr(mn_error(), " numbers of the gradient behind block 3 are NaN or infinite"));
    assert_int_equal(calls, 17); /* 65536 to 1 */
    trained_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits), cmocka_unit_test(it_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
