/* test_evaluate_plan.c - what an evaluation will take: prompts and tokens counted again one by one,
 * arithmetic by hand from the shape, memory. */
#include "test_evaluate.h"

enum { ROWS = 9 };

static int set_up(void **state) {
    world *w = world_open(8);
    w->options = (mn_eval_options){.shots = {0, 2},
                                   .shots_count = 2,
                                   .choice = true,
                                   .limit = ROWS,
                                   .max_gen_toks = 5,
                                   .model_path = w->model.text,
                                   .data_path = w->data.text,
                                   .output_path = w->out.text};
    *state = w;
    return 0;
}

static mn_eval_estimate plan(const world *w, const mn_eval_options *options) {
    mn_eval_estimate e;
    MN_ASSERT_OK(mn_evaluation_plan(&e, w->s.model, w->tokenizer, w->fever, options));
    return e;
}

/* Tokens of a text as a whole prompt, or as what follows one. */
static int64_t tokens_of(const world *w, const char *text, unsigned mode) {
    mn_ids ids = {0};
    MN_ASSERT_OK(mn_tokenizer_encode(w->tokenizer, text, strlen(text), mode, &ids));
    const int64_t count = (int64_t)ids.len;
    mn_ids_free(&ids);
    return count;
}

static int64_t all_prompts(const world *w) {
    int64_t sum = 0;
    mn_buf text = {0};
    for (int64_t row = 0; row < ROWS; row++)
        for (int s = 0; s < w->options.shots_count; s++) {
            const mn_fever_row *r = &w->fever->eval[row];
            mn_buf_clear(&text);
            MN_ASSERT_OK(
                mn_fever_prompt(&text, &w->fever->pages[r->page], w->options.shots[s], r->claim));
            sum += tokens_of(w, text.data, MN_TOKENIZE_SPECIAL);
        }
    mn_buf_free(&text);
    return sum;
}

static void tokens(void **state) {
    world *w = *state;
    mn_eval_options options = w->options;
    const mn_eval_estimate whole = plan(w, &options);
    assert_int_equal(whole.prompts, 2 * ROWS);
    assert_int_equal(whole.prompt_tokens, all_prompts(w));
    assert_int_equal(whole.tokens, whole.prompt_tokens);
    options.share_prefixes = true;
    const mn_eval_estimate shared = plan(w, &options);
    assert_int_equal(shared.prompt_tokens, whole.prompt_tokens);
    assert_true(shared.tokens < whole.tokens);
    assert_true(shared.flops < whole.flops);
}

/* NeoX with an inner dimension of four: 12 C^2 numbers in the matrices of a block. */
static double by_hand(const world *w, double tokens, double answer, double layers,
                      double variants) {
    const mn_model_config *c = &w->s.model->config;
    const double block = 12.0 * (double)(c->dim * c->dim), head = (double)(c->vocab * c->dim);
    assert_int_equal(c->ffn_dim, 4 * c->dim);
    const double rows = 2 * ROWS * answer;
    return 2 * ((tokens + rows) * layers * block + variants * rows * head);
}

static void arithmetic(void **state) {
    world *w = *state;
    mn_eval_options options = w->options;
    const double layers = (double)w->s.model->config.layers;
    int64_t candidates = 0;
    for (int i = 0; i < MN_LABELS; i++)
        candidates += tokens_of(w, mn_fever_candidates[i], MN_TOKENIZE_CONTINUE);
    mn_eval_estimate e = plan(w, &options);
    assert_true(e.flops == by_hand(w, (double)e.tokens, (double)candidates, layers, 1));
    options.choice = false;
    options.generate = true;
    e = plan(w, &options);
    assert_true(e.flops == by_hand(w, (double)e.tokens, 5, layers, 1));

    /* Two memories behind block 1: two blocks of trunk, and a top for each and for the base. */
    const int64_t block = 1;
    const mn_memory_options memory = {
        .name = "m", .hidden = 4, .blocks = &block, .block_count = 1, .gate = 1};
    mn_memory *m = NULL;
    MN_ASSERT_OK(mn_memory_create(&m, w->s.model, &memory));
    const mn_memory *const memories[] = {m, m};
    const char *const names[] = {"a", "b"};
    options.memories = memories;
    options.names = names;
    options.memory_count = 2;
    const mn_eval_estimate fan = plan(w, &options);
    assert_int_equal(fan.tokens, e.tokens);
    assert_true(fan.flops == by_hand(w, (double)e.tokens, 5, 2 + 3 * (layers - 2), 3));
    assert_true(fan.kv_bytes > e.kv_bytes); /* each top has a cache of its own */
    assert_true(fan.step_bytes > e.step_bytes);
    mn_memory_close(&m);
}

static void refused(void **state) {
    world *w = *state;
    mn_eval_options options = w->options;
    mn_eval_estimate e;
    options.choice = false;
    MN_ASSERT_FAILS(mn_evaluation_plan(&e, w->s.model, w->tokenizer, w->fever, &options),
                    MN_ERR_USAGE, "a scoring");
    options = w->options;
    options.shots[1] = 6;
    MN_ASSERT_FAILS(mn_evaluation_plan(&e, w->s.model, w->tokenizer, w->fever, &options),
                    MN_ERR_USAGE, "6 shots");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens),
        cmocka_unit_test(arithmetic),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, set_up, world_close);
}
