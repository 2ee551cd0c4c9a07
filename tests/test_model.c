/* test_model.c - configurations against published facts, the binding table, random weights, weights
 * that cannot be used where they lie, and what a session refuses. */
#include "check.h"

#include "mneme/half.h"
#include "mneme/log.h"
#include "mneme/session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- configurations ---- */

/* Parameters: the table of the Pythia suite's README and of Meta's model cards, to the digit. */
static void test_named(void **state) {
    static const struct {
        const char *name;
        mn_arch arch;
        int64_t parameters, tensors;
    } models[] = {
        {"pythia-70m", MN_NEOX, 70426624, 76},
        {"pythia-160m", MN_NEOX, 162322944, 148},
        {"pythia-410m", MN_NEOX, 405334016, 292},
        {"pythia-1b", MN_NEOX, 1011781632, 196},
        {"pythia-1.4b", MN_NEOX, 1414647808, 292},
        {"pythia-2.8b", MN_NEOX, 2775208960, 388},
        {"pythia-6.9b", MN_NEOX, 6857302016, 388},
        {"pythia-12b", MN_NEOX, 11846072320, 436},
        {"llama-2-7b", MN_LLAMA, 6738415616, 291},
        {"llama-2-7b-chat", MN_LLAMA, 6738415616, 291},
        {"llama-2-13b", MN_LLAMA, 13015864320, 363},
        {"llama-2-13b-chat", MN_LLAMA, 13015864320, 363},
    };
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        mn_model_config c;
        MN_ASSERT_OK(mn_model_config_named(&c, models[i].name));
        assert_int_equal(c.arch, models[i].arch);
        assert_int_equal(mn_model_parameters(&c), models[i].parameters);
        assert_int_equal(mn_binding_count(&c), models[i].tensors);
        assert_int_equal(c.max_positions, c.arch == MN_NEOX ? 2048 : 4096);
        assert_int_equal(c.rotary_dims, c.arch == MN_NEOX ? c.head_dim / 4 : c.head_dim);
        assert_false(c.tied);
    }
    mn_model_config c;
    MN_ASSERT_FAILS(mn_model_config_named(&c, "pythia-13b"), MN_ERR_USAGE,
                    "pythia-12b, llama-2-7b");
}

static mn_status parse(mn_model_config *out, const char *text) {
    mn_json *doc = NULL;
    MN_ASSERT_OK(mn_json_parse(&doc, text, strlen(text), "config.json"));
    const mn_status st = mn_model_config_parse(out, doc);
    mn_json_close(&doc);
    return st;
}

#define SHAPE(arch)                                                                                \
    "{\"architectures\": [\"" arch "\"], \"hidden_size\": 64, \"num_hidden_layers\": 2, "          \
    "\"num_attention_heads\": 4, \"intermediate_size\": 96, \"vocab_size\": 50"
#define NEOX SHAPE("GPTNeoXForCausalLM")
#define LLAMA SHAPE("LlamaForCausalLM")

/* What files leave out is what GPTNeoXConfig() and LlamaConfig() of transformers 4.35 say. */
static void test_defaults(void **state) {
    mn_model_config c;
    (void)state;
    MN_ASSERT_OK(parse(&c, NEOX "}"));
    assert_int_equal(c.arch, MN_NEOX);
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.rotary_dims, 4);
    assert_true(c.rope_base == 10000 && c.norm_eps == 1e-5f && c.parallel_residual && !c.tied);
    assert_int_equal(c.max_positions, 2048);
    assert_true(c.initializer_range == 0.02);
    assert_int_equal(c.bos, 0);
    assert_int_equal(c.eos, 2);
    MN_ASSERT_OK(parse(&c, LLAMA "}"));
    assert_int_equal(c.arch, MN_LLAMA);
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.rotary_dims, 16);
    assert_true(c.rope_base == 10000 && c.norm_eps == 1e-6f && !c.parallel_residual && !c.tied);
    assert_int_equal(c.max_positions, 2048);
    assert_true(c.initializer_range == 0.02);
    assert_int_equal(c.bos, 1);
    assert_int_equal(c.eos, 2);
}

static void test_keys(void **state) {
    mn_model_config c;
    (void)state;
    MN_ASSERT_OK(parse(&c, NEOX
                       ", \"rotary_pct\": 0.4, \"rotary_emb_base\": 500, \"layer_norm_eps\": 0.1,"
                       "\"use_parallel_residual\": false, \"tie_word_embeddings\": true,"
                       "\"initializer_range\": 0.08,"
                       "\"bos_token_id\": null, \"eos_token_id\": [7, 8]}"));
    assert_int_equal(c.rotary_dims, 6); /* of 16 * 0.4 = 6.4 */
    assert_true(c.rope_base == 500 && c.norm_eps == 0.1f && !c.parallel_residual && c.tied);
    assert_true(c.initializer_range == 0.08);
    assert_int_equal(c.eos, 7);
    /* Newer names; null and "default" scaling are none. */
    MN_ASSERT_OK(parse(&c, NEOX ", \"partial_rotary_factor\": 0.5, \"rope_theta\": 600,"
                                "\"rope_scaling\": null, \"attention_bias\": true}"));
    assert_true(c.rotary_dims == 8 && c.rope_base == 600);
    MN_ASSERT_OK(parse(&c, LLAMA
                       ", \"num_key_value_heads\": 2, \"head_dim\": 20, \"rope_theta\": 1e6,"
                       "\"rms_norm_eps\": 1e-5, \"rope_scaling\": {\"rope_type\": \"default\"}}"));
    assert_true(c.kv_heads == 2 && c.head_dim == 20 && c.rope_base == 1e6 && c.norm_eps == 1e-5f);
    /* As transformers 5 writes it: one object, which wins over the older keys. */
    MN_ASSERT_OK(parse(&c,
                       NEOX ", \"rotary_pct\": 1, \"rotary_emb_base\": 500, \"rope_parameters\":"
                            "{\"rope_type\": \"default\", \"rope_theta\": 700,"
                            " \"partial_rotary_factor\": 0.5}}"));
    assert_true(c.rotary_dims == 8 && c.rope_base == 700);
    MN_ASSERT_OK(parse(&c, NEOX ", \"rotary_pct\": 1, \"rope_parameters\": {}}"));
    assert_true(c.rotary_dims == 16 && c.rope_base == 10000);
    MN_ASSERT_OK(parse(&c, LLAMA ", \"rope_theta\": 5, \"rope_parameters\": {\"rope_theta\": 6}}"));
    assert_true(c.rope_base == 6);
    /* Without a class the model type decides. */
    MN_ASSERT_OK(parse(&c,
                       "{\"model_type\": \"llama\", \"hidden_size\": 8, \"num_hidden_layers\": 1,"
                       "\"num_attention_heads\": 2, \"intermediate_size\": 8, \"vocab_size\": 9}"));
    assert_int_equal(c.arch, MN_LLAMA);
}

static void test_refused_configs(void **state) {
    static const struct {
        const char *text, *message;
        mn_status status;
    } cases[] = {
        {"{}", "architecture \"\" is not supported", MN_ERR_UNSUPPORTED},
        {SHAPE("GPT2LMHeadModel") "}", "\"GPT2LMHeadModel\" is not supported", MN_ERR_UNSUPPORTED},
        {NEOX ", \"attention_bias\": false}", "attention_bias false", MN_ERR_UNSUPPORTED},
        {NEOX ", \"hidden_act\": \"gelu_fast\"}", "hidden_act \"gelu_fast\"", MN_ERR_UNSUPPORTED},
        {NEOX ", \"rotary_pct\": 0}", "$.rotary_pct: 0 is not in (0, 1]", MN_ERR_DATA},
        {NEOX ", \"rotary_pct\": 0.2}", "3 rotary dimensions", MN_ERR_DATA},
        {NEOX ", \"rotary_pct\": \"all\"}", "rotary_pct", MN_ERR_DATA},
        {LLAMA ", \"attention_bias\": true}", "attention_bias", MN_ERR_UNSUPPORTED},
        {LLAMA ", \"mlp_bias\": true}", "mlp_bias", MN_ERR_UNSUPPORTED},
        {LLAMA ", \"num_key_value_heads\": 3}", "3 does not divide 4 heads", MN_ERR_DATA},
        {LLAMA ", \"num_key_value_heads\": 8}", "$.num_key_value_heads: expected 1 to 4",
         MN_ERR_DATA},
        {LLAMA ", \"head_dim\": 15}", "15 rotary dimensions", MN_ERR_DATA},
        {LLAMA ", \"head_dim\": 514}", "heads of size 514", MN_ERR_UNSUPPORTED},
        {LLAMA ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}", "type \"linear\"",
         MN_ERR_UNSUPPORTED},
        {LLAMA ", \"rope_parameters\": {\"rope_type\": \"yarn\"}}", "type \"yarn\"",
         MN_ERR_UNSUPPORTED},
        {LLAMA ", \"rope_theta\": 0}", "a rotary base of 0", MN_ERR_DATA},
        {NEOX ", \"rotary_emb_base\": -1}", "a rotary base of -1", MN_ERR_DATA},
        {LLAMA ", \"rms_norm_eps\": -1e-5}", "a norm epsilon of -1e-05", MN_ERR_DATA},
        {NEOX ", \"initializer_range\": -0.1}", "$.initializer_range: -0.1, 0 or more",
         MN_ERR_DATA},
        {LLAMA ", \"rope_scaling\": 2}", "$.rope_scaling: expected an object", MN_ERR_DATA},
        {LLAMA ", \"max_position_embeddings\": 0}", "$.max_position_embeddings", MN_ERR_DATA},
        {LLAMA ", \"tie_word_embeddings\": 1}", "$.tie_word_embeddings", MN_ERR_DATA},
        {LLAMA ", \"eos_token_id\": 1.5}", "$.eos_token_id", MN_ERR_DATA},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mn_model_config c;
        MN_ASSERT_FAILS(parse(&c, cases[i].text), cases[i].status, cases[i].message);
        assert_non_null(strstr(mn_error(), "config.json: "));
    }
}

/* ---- the binding table ---- */

static void expect_row(const mn_model_config *c, const char *name, int64_t layer, int64_t rows,
                       int64_t cols) {
    for (int64_t i = 0; i < mn_binding_count(c); i++) {
        mn_binding_row row;
        mn_binding_at(&row, c, NULL, i);
        if (strcmp(row.name, name) != 0) continue;
        assert_int_equal(row.layer, layer);
        assert_int_equal(row.shape[0], rows);
        assert_int_equal(row.ndim, cols ? 2 : 1);
        if (cols) assert_int_equal(row.shape[1], cols);
        assert_null(row.weight);
        return;
    }
    fail_msg("no row %s", name);
}

static void test_binding(void **state) {
    mn_model_config c, tied;
    (void)state;
    MN_ASSERT_OK(mn_model_config_named(&c, "pythia-12b"));
    expect_row(&c, "gpt_neox.embed_in.weight", -1, 50688, 5120);
    expect_row(&c, "embed_out.weight", -1, 50688, 5120);
    expect_row(&c, "gpt_neox.layers.35.attention.query_key_value.weight", 35, 15360, 5120);
    expect_row(&c, "gpt_neox.layers.0.mlp.dense_4h_to_h.weight", 0, 5120, 20480);
    expect_row(&c, "gpt_neox.layers.10.mlp.dense_h_to_4h.bias", 10, 20480, 0);
    MN_ASSERT_OK(parse(&c, LLAMA ", \"num_key_value_heads\": 2, \"head_dim\": 20}"));
    expect_row(&c, "model.layers.1.self_attn.q_proj.weight", 1, 80, 64);
    expect_row(&c, "model.layers.1.self_attn.v_proj.weight", 1, 40, 64);
    expect_row(&c, "model.layers.0.self_attn.o_proj.weight", 0, 64, 80);
    expect_row(&c, "model.norm.weight", -1, 64, 0);
    tied = c;
    tied.tied = true;
    assert_int_equal(mn_binding_count(&tied), mn_binding_count(&c) - 1);
    assert_int_equal(mn_model_parameters(&tied), mn_model_parameters(&c) - 50 * 64);
    for (int64_t i = 0; i < mn_binding_count(&tied); i++) {
        mn_binding_row row;
        mn_binding_at(&row, &tied, NULL, i);
        assert_string_not_equal(row.name, "lm_head.weight");
    }
    assert_true(mn_binding_is_tied_output(&tied, "lm_head.weight"));
    assert_false(mn_binding_is_tied_output(&tied, "model.norm.weight"));
    assert_false(mn_binding_is_tied_output(&c, "lm_head.weight"));
    assert_true(mn_binding_is_buffer("gpt_neox.layers.3.attention.bias"));
    assert_true(mn_binding_is_buffer("gpt_neox.layers.11.attention.masked_bias"));
    assert_true(mn_binding_is_buffer("gpt_neox.layers.0.attention.rotary_emb.inv_freq"));
    assert_true(mn_binding_is_buffer("model.layers.0.self_attn.rotary_emb.inv_freq"));
    assert_false(mn_binding_is_buffer("gpt_neox.layers.3.attention.dense.bias"));
    assert_false(mn_binding_is_buffer("gpt_neox.layers.3.attention.query_key_value.bias"));
    assert_false(mn_binding_is_buffer(""));
}

/* ---- weights ---- */

static double element(const mn_tensor *t, int64_t i) {
    if (t->dtype == MN_F32) return (double)((const float *)t->data)[i];
    const uint16_t h = ((const uint16_t *)t->data)[i];
    return (double)(t->dtype == MN_F16 ? mn_f16_to_f32(h) : mn_bf16_to_f32(h));
}

/* Matrices that only products read move to panels, if they are of half precision; nothing else may read
 * them then. The embedding stays; tied to the output matrix, it has a copy in panels. */
static void test_pack(void **state) {
    static const char *const ties[] = {", \"tie_word_embeddings\": false}",
                                       ", \"tie_word_embeddings\": true}"};
    mn_device *device = NULL;
    (void)state;
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 2));
    for (int k = 0; k < 6; k++) {
        const mn_dtype dtype = (mn_dtype)(k / 2);
        const bool tied = k % 2, half = dtype != MN_F32;
        char text[1024];
        mn_model *m = NULL;
        mn_model_config c;
        snprintf(text, sizeof text, "%s%s", NEOX, ties[tied]);
        MN_ASSERT_OK(parse(&c, text));
        MN_ASSERT_OK(mn_model_random(&m, &c, "made up", dtype, 5, device, NULL));
        for (int twice = 0; twice < 2; twice++) {
            MN_ASSERT_OK(mn_model_pack(m, NULL));
            for (int64_t i = 0; i < mn_binding_count(&c); i++) {
                mn_binding_row row;
                mn_binding_at(&row, &c, m, i);
                const bool packed = half && row.ndim == 2 && row.weight != &m->embed_w;
                assert_int_equal(row.weight->layout, packed ? MN_LAYOUT_PANELS : MN_LAYOUT_ROWS);
            }
            assert_int_equal(m->head_w.layout, half ? MN_LAYOUT_PANELS : MN_LAYOUT_ROWS);
        }
        MN_ASSERT_OK(mn_model_check_finite(m));
        mn_model *copy = NULL;
        if (half)
            MN_ASSERT_FAILS(mn_model_trainable(&copy, m), MN_ERR_USAGE,
                            "cast: x lies in panels, rows expected");
        mn_model_close(&m);
    }
    mn_device_close(&device);
}

/* Matrices and biases about N(0, 0.02), norm weights about 1; the seed decides. */
static void test_random(void **state) {
    static const mn_dtype dtypes[] = {MN_F32, MN_F16, MN_BF16};
    mn_device *device = NULL;
    mn_model_config c;
    (void)state;
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 1));
    for (int k = 0; k < 6; k++) {
        mn_model *a = NULL, *b = NULL, *other = NULL;
        MN_ASSERT_OK(parse(&c, k < 3 ? NEOX "}" : LLAMA "}"));
        MN_ASSERT_OK(mn_model_random(&a, &c, "made up", dtypes[k % 3], 5, device, NULL));
        MN_ASSERT_OK(mn_model_random(&b, &c, "made up", dtypes[k % 3], 5, device, NULL));
        MN_ASSERT_OK(mn_model_random(&other, &c, "made up", dtypes[k % 3], 6, device, NULL));
        MN_ASSERT_OK(mn_model_check_finite(a));
        for (int64_t i = 0; i < mn_binding_count(&c); i++) {
            mn_binding_row x, y, z;
            mn_binding_at(&x, &c, a, i);
            mn_binding_at(&y, &c, b, i);
            mn_binding_at(&z, &c, other, i);
            const int64_t n = mn_tensor_count(x.weight);
            double sum = 0, squares = 0;
            assert_int_equal(x.weight->dtype, x.ndim == 1 ? MN_F32 : dtypes[k % 3]);
            assert_memory_equal(x.weight->data, y.weight->data, mn_tensor_bytes(x.weight));
            assert_memory_not_equal(x.weight->data, z.weight->data, mn_tensor_bytes(x.weight));
            for (int64_t e = 0; e < n; e++) {
                sum += element(x.weight, e);
                squares += element(x.weight, e) * element(x.weight, e);
            }
            const double mean = sum / (double)n,
                         deviation = sqrt(squares / (double)n - mean * mean);
            const bool norm = x.ndim == 1 && strstr(x.name, "norm.weight");
            assert_true(fabs(mean - norm) < 0.02 * 5 / sqrt((double)n));
            assert_true(fabs(deviation - 0.02) < 0.02 * 3 / sqrt((double)n));
        }
        mn_model_close(&a);
        mn_model_close(&b);
        mn_model_close(&other);
    }
    mn_device_close(&device);
}

enum { LEN = 20 };

/* Logits behind every token of one sequence. */
static mn_status logits_of(mn_model *m, float *out) {
    const mn_session_options options = {
        .max_tokens = LEN, .kv_rows = LEN, .max_seqs = 1, .max_logits = LEN};
    mn_session *s = NULL;
    int32_t ids[LEN], at[LEN];
    mn_tensor logits;
    MN_TRY(mn_session_open(&s, m, &options));
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
    mn_status st = mn_session_forward(s, &batch);
    if (st == MN_OK) st = mn_session_logits(s, 0, LEN, &logits);
    if (st == MN_OK) memcpy(out, logits.data, mn_tensor_bytes(&logits));
    mn_session_close(&s);
    return st;
}

/* One byte in front of them puts all tensors of a file at odd addresses, as publishers' files may. */
static void test_unaligned(void **state) {
    static const char *const names[] = {"neox-parallel", "llama-mha", "llama-gqa"};
    mn_device *device = NULL;
    float *want = calloc(LEN * 160, sizeof *want), *got = calloc(LEN * 160, sizeof *got);
    (void)state;
    assert_true(want && got);
    mn_log_set_level(MN_LOG_ERROR); /* the odd byte is reported as unknown */
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 1));
    for (int k = 0; k < 3; k++) {
        const mn_test_path golden = mn_test_source("tests/golden"), dir = mn_test_tmpdir();
        const mn_test_path from = mn_test_join(golden.text, names[k]);
        mn_stored tensors[64] = {{.name = "odd"}};
        uint8_t odd[1] = {7};
        int64_t count = 1;
        size_t len;
        mn_model *m = NULL;
        MN_ASSERT_OK(mn_model_open(&m, from.text, device, NULL));
        MN_ASSERT_OK(logits_of(m, want));
        tensors[0].view = mn_tensor_1d(odd, MN_U8, 1);
        for (int64_t i = 0; i < mn_checkpoint_count(m->checkpoint); i++)
            tensors[count++] = *mn_checkpoint_at(m->checkpoint, i);
        MN_ASSERT_OK(mn_safetensors_write(mn_test_join(dir.text, "model.safetensors").text, tensors,
                                          count, NULL));
        char *config = mn_test_read(mn_test_join(from.text, "config.json").text, &len);
        mn_test_write(mn_test_join(dir.text, "config.json").text, config, len);
        free(config);
        mn_model_close(&m);
        MN_ASSERT_OK(mn_model_open(&m, dir.text, device, NULL));
        assert_int_equal((uintptr_t)mn_checkpoint_at(m->checkpoint, 0)->view.data % 2, 1);
        MN_ASSERT_OK(logits_of(m, got));
        assert_memory_equal(got, want, (size_t)(LEN * m->config.vocab) * sizeof *got);
        mn_model_close(&m);
        mn_test_rmdir(dir.text);
    }
    mn_device_close(&device);
    free(want);
    free(got);
}

/* ---- sessions ---- */

static void test_session_limits(void **state) {
    static const int32_t none[8] = {0};
    mn_device *device = NULL;
    mn_model *m = NULL;
    mn_session *s = NULL;
    mn_tensor logits;
    int64_t kv = 0, step = 0;
    (void)state;
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 1));
    MN_ASSERT_OK(mn_model_open(&m, mn_test_source("tests/golden/llama-gqa").text, device, NULL));
    mn_session_options options = {.max_tokens = 4, .kv_rows = 32, .max_seqs = 2, .max_logits = 2};
    MN_ASSERT_OK(mn_session_plan(&kv, &step, m, &options));
    /* K and V of 2 layers, 32 rows of 2 heads of 20 */
    assert_true(kv >= 2 * 2 * 32 * 2 * 20 * 4 && kv < 2 * (2 * 2 * 32 * 2 * 20 * 4));
    assert_true(step > 4 * (120 + 120 + 160 + 160) * 4);
    int64_t *const limits[] = {&options.max_tokens, &options.kv_rows, &options.max_seqs,
                               &options.max_logits};
    for (int i = 0; i < 4; i++) {
        const int64_t was = *limits[i];
        *limits[i] = 0;
        MN_ASSERT_FAILS(mn_session_open(&s, m, &options), MN_ERR_USAGE, "needs room");
        assert_null(s);
        *limits[i] = was;
    }
    MN_ASSERT_OK(mn_session_open(&s, m, &options));
    const int32_t at[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    mn_attn_seq seqs[3] = {{.q_len = 4, .own_len = 4}};
    mn_batch b = {.ids = none,
                  .positions = at,
                  .rows = at,
                  .tokens = 5,
                  .seqs = seqs,
                  .seq_count = 1,
                  .outputs = at,
                  .output_count = 3};
    MN_ASSERT_FAILS(mn_session_forward(s, &b), MN_ERR_USAGE, "5 tokens and 1 sequences");
    b.tokens = 4;
    b.seq_count = 3;
    MN_ASSERT_FAILS(mn_session_forward(s, &b), MN_ERR_USAGE, "4 tokens and 3 sequences");
    b.seq_count = 1;
    MN_ASSERT_OK(mn_session_forward(s, &b));
    MN_ASSERT_OK(mn_session_logits(s, 1, 2, &logits));
    MN_ASSERT_FAILS(mn_session_logits(s, 0, 3, &logits), MN_ERR_USAGE, "out of reach");
    MN_ASSERT_FAILS(mn_session_logits(s, 2, 2, &logits), MN_ERR_USAGE, "out of reach");
    /* Positions and cache rows that there are not. */
    const int32_t far[4] = {0, 1, 2, 640}, beyond[4] = {0, 1, 2, 32};
    b.positions = far;
    assert_int_not_equal(mn_session_forward(s, &b), MN_OK);
    b.positions = at;
    b.rows = beyond;
    assert_int_not_equal(mn_session_forward(s, &b), MN_OK);
    b.rows = at;
    seqs[0].own_len = 33;
    assert_int_not_equal(mn_session_forward(s, &b), MN_OK);
    mn_session_close(&s);
    mn_session_close(&s);
    mn_model_close(&m);
    mn_device_close(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named),          cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_keys),           cmocka_unit_test(test_refused_configs),
        cmocka_unit_test(test_binding),        cmocka_unit_test(test_random),
        cmocka_unit_test(test_pack),           cmocka_unit_test(test_unaligned),
        cmocka_unit_test(test_session_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
