/* estimate.c - what an evaluation will take: tokens, memory, arithmetic. */
#include "eval/evaluation.h"

/* Numbers in the matrices of one block. */
static double block_matrices(const mn_model_config *c) {
    double numbers = 0;
    mn_binding_row row;
    for (int64_t i = 0; i < mn_binding_count(c); i++) {
        mn_binding_at(&row, c, NULL, i);
        if (row.layer == 0 && row.ndim == 2) numbers += (double)row.shape[0] * (double)row.shape[1];
    }
    return numbers;
}

/* Blocks that a variant shares with all others: up to the lowest one with a memory behind it. */
static int64_t trunk_layers(const mn_evaluation *e) {
    int64_t layers = e->model->config.layers;
    for (int64_t v = 0; v < e->variant_count; v++) {
        const mn_memory *m = e->memories[v];
        if (m && m->count > 0 && m->layers[0].block + 1 < layers) layers = m->layers[0].block + 1;
    }
    return layers;
}

/* A product costs two operations per weight and row; the output matrix only sees the rows behind which
 * something is read. */
static double count_flops(const mn_evaluation *e, int64_t tokens) {
    const mn_model_config *c = &e->model->config;
    const mn_eval_options *o = &e->options;
    const double variants = (double)e->variant_count, trunk = (double)trunk_layers(e);
    int64_t answer = o->generate ? o->max_gen_toks : 0;
    for (int i = 0; i < MN_LABELS && o->choice; i++) answer += (int64_t)e->candidates[i].len;
    const double rows = (double)e->count * (double)answer, passed = (double)tokens + rows;
    const double blocks = trunk + variants * ((double)c->layers - trunk);
    return 2 * (passed * blocks * block_matrices(c) +
                variants * rows * (double)c->dim * (double)c->vocab);
}

mn_status mn_evaluation_plan(mn_eval_estimate *out, mn_model *model, const mn_tokenizer *tokenizer,
                             const mn_fever *fever, const mn_eval_options *options) {
    mn_status st = MN_OK;
    mn_evaluation *e = NULL;
    mn_plan *plan = NULL;
    mn_session_options room;
    MN_GOTO(mn_eval_begin(&e, model, tokenizer, fever, options));
    MN_GOTO(mn_eval_plan(&plan, &room, e));
    *out = (mn_eval_estimate){.prompts = e->count,
                              .prompt_tokens = mn_plan_prompt_tokens(plan),
                              .tokens = mn_plan_tokens(plan)};
    out->flops = count_flops(e, out->tokens);
    st = mn_session_plan(&out->kv_bytes, &out->step_bytes, model, &room);
done:
    mn_plan_close(&plan);
    mn_evaluation_close(&e);
    return st;
}
