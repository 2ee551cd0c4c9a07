/* test_evaluate_real.c - real FEVER claims and pages with the real tokenizers of Pythia and Llama-2,
 * and random models of their vocabularies. */
#include "test_evaluate.h"

enum { ROWS = 40, PAGES = 400, CHECKED = 8, MOST = 6 };

static const char
    *const header = "Determine the factuality of the following claims \n"
                    "Answer candidates: (a) supports, (b) refutes, (c) not enough info\n";

typedef struct real {
    mn_test_path dir, data, model, out;
    mn_fever *fever;
    mn_prepare_summary summary;
    subject s;
    mn_tokenizer *tokenizer;
} real;

/* A model folder as published: config.json, one safetensors file, the tokenizer's own file. */
static void write_model(const real *r, const char *config, const char *tokenizer_from,
                        const char *tokenizer_name) {
    mn_json *doc = NULL;
    mn_model_config c;
    mn_device *device = NULL;
    mn_model *m = NULL;
    size_t len;
    mn_test_mkdir(r->model.text);
    mn_test_puts(mn_test_join(r->model.text, "config.json").text, config);
    char *bytes = mn_test_read(tokenizer_from, &len);
    mn_test_write(mn_test_join(r->model.text, tokenizer_name).text, bytes, len);
    free(bytes);
    MN_ASSERT_OK(mn_json_parse(&doc, config, strlen(config), "config"));
    MN_ASSERT_OK(mn_model_config_parse(&c, doc));
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 1));
    MN_ASSERT_OK(mn_model_random(&m, &c, "random", MN_F16, 12, device, NULL));
    const int64_t count = mn_binding_count(&c);
    mn_binding_row *rows = calloc((size_t)count, sizeof *rows);
    mn_stored *tensors = calloc((size_t)count, sizeof *tensors);
    assert_true(rows && tensors);
    for (int64_t i = 0; i < count; i++) {
        mn_binding_at(&rows[i], &c, m, i);
        tensors[i] = (mn_stored){.name = rows[i].name, .view = *rows[i].weight};
        /* Random matrices of 0.02 hardly move the logits: louder embeddings give clear choices. */
        if (rows[i].layer < 0 && rows[i].ndim == 2)
            for (int64_t e = 0; e < mn_tensor_count(rows[i].weight); e++)
                ((uint16_t *)rows[i].weight->data)[e] += 5 << 10; /* times 32 */
    }
    MN_ASSERT_OK(mn_safetensors_write(mn_test_join(r->model.text, "model.safetensors").text,
                                      tensors, count, "{\"format\":\"pt\"}"));
    free(tensors);
    free(rows);
    mn_model_close(&m);
    mn_device_close(&device);
    mn_json_close(&doc);
}

static void start(real *r, const char *test) {
    const mn_test_path claims = mn_test_real(test, "fever/paper_dev.jsonl"),
                       train = mn_test_real(test, "fever/train_sample.jsonl"),
                       wiki = mn_test_real(test, "fever/wiki-pages-partial.jsonl");
    mn_log_set_level(MN_LOG_ERROR);
    *r = (real){0};
    r->dir = mn_test_tmpdir();
    r->data = mn_test_join(r->dir.text, "data");
    r->model = mn_test_join(r->dir.text, "tiny");
    r->out = mn_test_join(r->dir.text, "out");
    const mn_prepare_options prepare = {.claims = claims.text,
                                        .train_claims = train.text,
                                        .wiki = wiki.text,
                                        .out = r->data.text,
                                        .top_pages = PAGES};
    MN_ASSERT_OK(mn_fever_prepare(&r->summary, &prepare));
    assert_int_equal(r->summary.claims, 9999);
    assert_int_equal(r->summary.evidence_pages, 1460);
    assert_int_equal(r->summary.rows_per_evidence, 18999);
    assert_int_equal(r->summary.n_top, PAGES);
    MN_ASSERT_OK(mn_fever_open(&r->fever, r->data.text));
    assert_true(r->fever->eval_count > ROWS && r->fever->page_count > 5);
}

static void stop(real *r) {
    mn_tokenizer_close(&r->tokenizer);
    subject_close(&r->s);
    mn_fever_close(&r->fever);
    mn_test_rmdir(r->dir.text);
}

/* The template by hand: header, demonstrations with their letters, the claim. */
static void check_prompt(const real *r, const mn_json *sample, int64_t row, int shots) {
    const mn_fever_row *e = &r->fever->eval[row];
    const mn_fever_page *page = &r->fever->pages[e->page];
    mn_buf want = {0};
    MN_ASSERT_OK(mn_buf_puts(&want, header));
    for (int i = 0; i < shots; i++)
        MN_ASSERT_OK(mn_buf_printf(&want, "Claim: %s\nA: (%c)\n", page->demos[i].claim,
                                   "abc"[page->demos[i].label]));
    MN_ASSERT_OK(mn_buf_printf(&want, "Claim: %s\nA:", e->claim));
    assert_string_equal(text_of(sample, "prompt"), want.data);
    assert_string_equal(text_of(sample, "claim"), e->claim);
    assert_string_equal(text_of(sample, "page"), page->title);
    assert_string_equal(text_of(sample, "gold"), e->label == MN_SUPPORTS ? "SUPPORTS" : "REFUTES");
    mn_buf_free(&want);
}

/* Log-likelihoods of the three candidates behind the prompt alone; Llama's begins with BOS. */
static void check_scores(real *r, const mn_json *sample, int32_t bos) {
    const char *prompt = text_of(sample, "prompt");
    const cJSON *all = NULL;
    mn_ids ids = {0}, next = {0};
    double margin = INFINITY;
    bool greedy;
    MN_ASSERT_OK(mn_json_object(&all, sample, sample->root, "logprob"));
    if (bos >= 0) MN_ASSERT_OK(mn_ids_push(&ids, bos));
    MN_ASSERT_OK(mn_tokenizer_encode(r->tokenizer, prompt, strlen(prompt), 0, &ids));
    for (int c = 0; c < MN_LABELS; c++) {
        const char *text = mn_fever_candidates[c];
        double got = 0;
        next.len = 0;
        MN_ASSERT_OK(
            mn_tokenizer_encode(r->tokenizer, text, strlen(text), MN_TOKENIZE_CONTINUE, &next));
        assert_in_range(next.len, 2, MOST);
        /* Prompt and candidate as one text have the same tokens. */
        mn_buf text_whole = {0};
        mn_ids whole = {0};
        if (bos >= 0) MN_ASSERT_OK(mn_ids_push(&whole, bos));
        MN_ASSERT_OK(mn_buf_printf(&text_whole, "%s%s", prompt, text));
        MN_ASSERT_OK(mn_tokenizer_encode(r->tokenizer, text_whole.data, text_whole.len, 0, &whole));
        assert_int_equal(whole.len, ids.len + next.len);
        assert_memory_equal(whole.data, ids.data, ids.len * sizeof(int32_t));
        assert_memory_equal(whole.data + ids.len, next.data, next.len * sizeof(int32_t));
        mn_buf_free(&text_whole);
        mn_ids_free(&whole);
        MN_ASSERT_OK(mn_json_f64(&got, sample, all, text));
        const double want = naive_score(&r->s, ids.data, (int64_t)ids.len, &next, &greedy, &margin);
        if (!(fabs(got - want) <= 1e-5)) fail_msg("candidate %d: %.9g, alone %.9g", c, got, want);
    }
    mn_ids_free(&ids);
    mn_ids_free(&next);
}

static int64_t check_samples(real *r, int shots, int32_t bos, int64_t *right) {
    char pattern[64];
    size_t len;
    const char *line;
    int64_t count = 0, read = 0;
    snprintf(pattern, sizeof pattern, "tiny/samples_fever_%dshot_*.jsonl", shots);
    char *text = mn_test_read(only_file(r->out.text, pattern).text, &len);
    mn_lines lines = mn_lines_over(text, len);
    while (mn_lines_next(&lines, &line, &len)) {
        mn_json *sample = NULL;
        MN_ASSERT_OK(mn_json_parse(&sample, line, len, "sample"));
        check_prompt(r, sample, count, shots);
        if (count % (ROWS / CHECKED) == 0) check_scores(r, sample, bos);
        read += *text_of(sample, "parsed") != '\0';
        *right += strcmp(text_of(sample, "choice"), text_of(sample, "gold")) == 0;
        mn_json_close(&sample);
        count++;
    }
    assert_int_equal(count, ROWS);
    free(text);
    return read;
}

static double number(const mn_json *doc, const char *part, const char *task, const char *key) {
    const cJSON *all = NULL, *entry = NULL;
    double value = NAN;
    MN_ASSERT_OK(mn_json_object(&all, doc, doc->root, part));
    MN_ASSERT_OK(mn_json_object(&entry, doc, all, task));
    MN_ASSERT_OK(mn_json_f64(&value, doc, entry, key));
    return value;
}

static void run(real *r, int32_t bos) {
    const mn_eval_options options = {.shots = {0, 1, 5},
                                     .shots_count = 3,
                                     .generate = true,
                                     .choice = true,
                                     .limit = ROWS,
                                     .max_gen_toks = 8,
                                     .share_prefixes = true,
                                     .bootstrap_iters = 100,
                                     .model_path = r->model.text,
                                     .data_path = r->data.text,
                                     .output_path = r->out.text,
                                     .log_samples = true};
    mn_evaluation *e = NULL;
    mn_json *doc = NULL;
    mn_buf path = {0};
    MN_ASSERT_OK(mn_tokenizer_open(&r->tokenizer, r->model.text));
    subject_open_path(&r->s, r->model.text, 2, MOST);
    MN_ASSERT_OK(mn_evaluation_run(&e, r->s.model, r->tokenizer, r->fever, &options));
    MN_ASSERT_OK(mn_evaluation_write(e, &path));
    mn_evaluation_close(&e);
    assert_string_equal(path.data, only_file(r->out.text, "tiny/results_*.json").text);
    MN_ASSERT_OK(mn_json_load(&doc, path.data));
    for (int i = 0; i < 3; i++) {
        char task[32], choice[40];
        int64_t right = 0;
        const int64_t read = check_samples(r, options.shots[i], bos, &right);
        snprintf(task, sizeof task, "fever_%dshot", options.shots[i]);
        snprintf(choice, sizeof choice, "%s_choice", task);
        assert_true(fabs(number(doc, "results", task, "coverage,none") - (double)read / ROWS) <
                    1e-12);
        assert_true(number(doc, "results", task, "unparsed,none") == (double)(ROWS - read));
        assert_true(number(doc, "results", choice, "coverage,none") == 1);
        assert_true(fabs(number(doc, "results", choice, "acc,none") - (double)right / ROWS) <
                    1e-12);
        assert_true(number(doc, "n-samples", task, "effective") == ROWS);
        assert_true(number(doc, "n-samples", task, "original") == (double)r->fever->eval_count);
    }
    mn_json_close(&doc);
    mn_buf_free(&path);
}

static void test_pythia(void **state) {
    real r;
    const mn_test_path tokenizer = MN_TEST_REAL("tokenizers/20B_tokenizer.json");
    (void)state;
    start(&r, __func__);
    write_model(&r,
                "{\"architectures\": [\"GPTNeoXForCausalLM\"], \"hidden_size\": 16,"
                "\"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"intermediate_size\": 32,"
                "\"vocab_size\": 50304, \"max_position_embeddings\": 2048, \"rotary_pct\": 0.25,"
                "\"bos_token_id\": 0, \"eos_token_id\": 0}",
                tokenizer.text, "tokenizer.json");
    run(&r, -1);
    stop(&r);
}

static void test_llama(void **state) {
    real r;
    const mn_test_path tokenizer = MN_TEST_REAL("tokenizers/llama2_tokenizer.model");
    (void)state;
    start(&r, __func__);
    write_model(&r,
                "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 16,"
                "\"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"intermediate_size\": 32,"
                "\"vocab_size\": 32000, \"max_position_embeddings\": 4096,"
                "\"bos_token_id\": 1, \"eos_token_id\": 2}",
                tokenizer.text, "tokenizer.model");
    run(&r, 1);
    stop(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pythia), cmocka_unit_test(test_llama)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
