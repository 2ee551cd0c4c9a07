/* test_model_train.c - models that train: initial values, copies in fp32, zeros of the same shape, and
 * the folders they are saved to. */
#include "check.h"

#include "mneme/half.h"
#include "mneme/session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"neox-parallel", "neox-sequential", "llama-gqa", "llama-last"};
enum { NAMES = sizeof names / sizeof *names, LEN = 20 };

static mn_test_path folder_of(const char *name) {
    return mn_test_join(mn_test_source("tests/golden/gradients").text, name);
}

static double element(const mn_tensor *t, int64_t i) {
    if (t->dtype == MN_F32) return (double)((const float *)t->data)[i];
    const uint16_t h = ((const uint16_t *)t->data)[i];
    return (double)(t->dtype == MN_F16 ? mn_f16_to_f32(h) : mn_bf16_to_f32(h));
}

/* Logits behind every token of one sequence; free() them. */
static float *logits_of(mn_model *m) {
    const mn_session_options options = {
        .max_tokens = LEN, .kv_rows = LEN, .max_seqs = 1, .max_logits = LEN};
    mn_session *s = NULL;
    int32_t ids[LEN], at[LEN];
    mn_tensor logits;
    MN_ASSERT_OK(mn_session_open(&s, m, &options));
    for (int i = 0; i < LEN; i++) {
        ids[i] = (i * 37 + 5) % (int)m->config.vocab;
        at[i] = i;
    }
    const mn_attn_seq seq = {.q_len = LEN, .own_len = LEN};
    const mn_batch batch = {.ids = ids,
                            .positions = at,
                            .rows = at,
                            .tokens = LEN,
                            .seqs = &seq,
                            .seq_count = 1,
                            .outputs = at,
                            .output_count = LEN};
    MN_ASSERT_OK(mn_session_forward(s, &batch));
    MN_ASSERT_OK(mn_session_logits(s, 0, LEN, &logits));
    float *out = malloc(mn_tensor_bytes(&logits));
    assert_non_null(out);
    memcpy(out, logits.data, mn_tensor_bytes(&logits));
    mn_session_close(&s);
    return out;
}

static void test_init(void **state) {
    mn_device *device = NULL;
    (void)state;
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 2));
    for (int k = 0; k < NAMES; k++) {
        mn_model_config c;
        mn_model *a = NULL, *b = NULL, *other = NULL;
        MN_ASSERT_OK(mn_model_config_load(&c, folder_of(names[k]).text));
        if (k == 1) c.initializer_range = 0.1;
        MN_ASSERT_OK(mn_model_init(&a, &c, "new", 5, device, NULL));
        MN_ASSERT_OK(mn_model_init(&b, &c, "new", 5, device, NULL));
        MN_ASSERT_OK(mn_model_init(&other, &c, "new", 6, device, NULL));
        MN_ASSERT_OK(mn_model_check_finite(a));
        assert_true((a->head_w.data == a->embed_w.data) == c.tied);
        for (int64_t i = 0; i < mn_binding_count(&c); i++) {
            mn_binding_row x, y, z;
            double sum = 0, squares = 0, fourths = 0;
            mn_binding_at(&x, &c, a, i);
            mn_binding_at(&y, &c, b, i);
            mn_binding_at(&z, &c, other, i);
            const double n = (double)mn_tensor_count(x.weight);
            assert_int_equal(x.weight->dtype, MN_F32);
            assert_memory_equal(x.weight->data, y.weight->data, mn_tensor_bytes(x.weight));
            for (int64_t e = 0; e < mn_tensor_count(x.weight); e++) {
                const double v = element(x.weight, e);
                if (x.ndim == 1) assert_true(v == (strstr(x.name, "norm.weight") ? 1 : 0));
                sum += v / c.initializer_range;
                squares += pow(v / c.initializer_range, 2);
                fourths += pow(v / c.initializer_range, 4);
            }
            if (x.ndim == 1) continue;
            assert_memory_not_equal(x.weight->data, z.weight->data, mn_tensor_bytes(x.weight));
            /* Moments 0, 1 and 3 of the normal distribution, five deviations of their means. */
            assert_true(fabs(sum / n) < 5 / sqrt(n));
            assert_true(fabs(squares / n - 1) < 5 * sqrt(2 / n));
            assert_true(fabs(fourths / n - 3) < 5 * sqrt(96 / n));
        }
        mn_model_close(&a);
        mn_model_close(&b);
        mn_model_close(&other);
    }
    mn_device_close(&device);
}

static void test_trainable(void **state) {
    mn_device *device = NULL;
    (void)state;
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 2));
    for (int k = 0; k < NAMES; k++) {
        mn_model *stored = NULL, *copy = NULL, *zeros = NULL;
        MN_ASSERT_OK(mn_model_open(&stored, folder_of(names[k]).text, device, NULL));
        MN_ASSERT_OK(mn_model_trainable(&copy, stored));
        MN_ASSERT_OK(mn_model_like(&zeros, stored));
        for (int64_t i = 0; i < mn_binding_count(&stored->config); i++) {
            mn_binding_row x, y, z;
            mn_binding_at(&x, &stored->config, stored, i);
            mn_binding_at(&y, &copy->config, copy, i);
            mn_binding_at(&z, &zeros->config, zeros, i);
            assert_int_equal(y.weight->dtype, MN_F32);
            assert_int_equal(z.weight->dtype, MN_F32);
            assert_int_equal(mn_tensor_count(z.weight), mn_tensor_count(x.weight));
            for (int64_t e = 0; e < mn_tensor_count(x.weight); e++) {
                assert_true(element(x.weight, e) == element(y.weight, e));
                assert_true(element(z.weight, e) == 0);
            }
        }
        /* A weight that broke in training is named. */
        mn_binding_row row;
        mn_binding_at(&row, &copy->config, copy, 7);
        MN_ASSERT_OK(mn_model_check_finite(copy));
        ((float *)row.weight->data)[3] = NAN;
        MN_ASSERT_FAILS(mn_model_check_finite(copy), MN_ERR_NUMERIC, row.name);
        assert_non_null(strstr(mn_error(), "element 3 is nan"));
        mn_model_close(&zeros);
        mn_model_close(&copy);
        mn_model_close(&stored);
    }
    mn_device_close(&device);
}

/* Saved in its own type a model computes the same bits, in fp32 too; what half precision cannot hold is
 * refused. */
static void test_save(void **state) {
    static const mn_dtype dtypes[NAMES] = {MN_F32, MN_F16, MN_BF16, MN_F32};
    const mn_test_path root = mn_test_tmpdir();
    const mn_test_path dir = mn_test_join(root.text, "a/model");
    mn_device *device = NULL;
    (void)state;
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 2));
    for (int k = 0; k < NAMES; k++) {
        mn_model *stored = NULL, *copy = NULL, *back = NULL;
        MN_ASSERT_OK(mn_model_open(&stored, folder_of(names[k]).text, device, NULL));
        stored->config.initializer_range = 0.1; /* of the folder it is 0.02 */
        MN_ASSERT_OK(mn_model_trainable(&copy, stored));
        float *want = logits_of(stored);
        for (int from = 0; from < 3; from++) {
            /* as opened; from fp32 in the stored type; from fp32 in fp32 */
            MN_ASSERT_OK(
                mn_model_save(from == 0 ? stored : copy, dir.text, from == 2 ? MN_F32 : dtypes[k]));
            MN_ASSERT_OK(mn_model_open(&back, dir.text, device, NULL));
            assert_memory_equal(&back->config.dim, &stored->config.dim,
                                sizeof back->config.dim * 9); /* dim .. max_positions */
            assert_true(back->config.arch == stored->config.arch &&
                        back->config.rope_base == stored->config.rope_base &&
                        back->config.norm_eps == stored->config.norm_eps &&
                        back->config.initializer_range == stored->config.initializer_range &&
                        back->config.parallel_residual == stored->config.parallel_residual &&
                        back->config.tied == stored->config.tied &&
                        back->config.bos == stored->config.bos &&
                        back->config.eos == stored->config.eos);
            assert_int_equal(back->embed_w.dtype, from == 2 ? MN_F32 : dtypes[k]);
            float *got = logits_of(back);
            for (int64_t i = 0; i < LEN * stored->config.vocab; i++) assert_true(got[i] == want[i]);
            free(got);
            mn_model_close(&back);
        }
        ((float *)copy->embed_w.data)[11] = 70000;
        MN_ASSERT_FAILS(mn_model_save(copy, dir.text, MN_F16), MN_ERR_NUMERIC,
                        "element 11 is 70000, which F16 does not hold");
        MN_ASSERT_FAILS(mn_model_save(copy, dir.text, MN_I8), MN_ERR_USAGE, "not I8");
        free(want);
        mn_model_close(&copy);
        mn_model_close(&stored);
    }
    mn_device_close(&device);
    mn_test_rmdir(root.text);
}

/* The share of a head that rotates survives as a decimal: head * (rotary / head) of the first five is
 * below `rotary` in double. */
static void test_rotary_share(void **state) {
    static const int64_t sizes[][2] = {{2, 49},  {6, 47},  {30, 44}, {14, 71},
                                       {26, 45}, {16, 64}, {20, 80}, {6, 15}};
    const mn_test_path dir = mn_test_tmpdir();
    mn_device *device = NULL;
    (void)state;
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 1));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        mn_model *m = NULL;
        mn_model_config c;
        MN_ASSERT_OK(mn_model_config_load(&c, folder_of("neox-parallel").text));
        c.heads = c.kv_heads = c.layers = c.ffn_dim = c.vocab = c.max_positions = 1;
        c.dim = c.head_dim = sizes[i][1];
        c.rotary_dims = sizes[i][0];
        MN_ASSERT_OK(mn_model_init(&m, &c, "shape", 1, device, NULL));
        MN_ASSERT_OK(mn_model_save(m, dir.text, MN_F32));
        MN_ASSERT_OK(mn_model_config_load(&c, dir.text));
        assert_int_equal(c.rotary_dims, sizes[i][0]);
        mn_model_close(&m);
    }
    mn_device_close(&device);
    mn_test_rmdir(dir.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init), cmocka_unit_test(test_trainable), cmocka_unit_test(test_save),
        cmocka_unit_test(test_rotary_share)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
