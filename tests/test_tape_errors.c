/* test_tape_errors.c - what a tape refuses, and how it names the place where numbers went wrong. */
#include "test_tape.h"

#include <stdio.h>

static void test_refused_options(void **state) {
    tape_bench b;
    mn_tape *tape = NULL;
    mn_memory *other = NULL;
    mn_model *grad = NULL;
    int64_t bytes = 1;
    const int64_t block = 3;
    const mn_memory_options shape = {.name = "x", .hidden = 8, .blocks = &block, .block_count = 1};
    mn_tape_options o = {.max_tokens = 8, .max_seqs = 0};
    (void)state;
    tape_bench_open(&b, "neox-parallel", 1, false, MN_COMPUTE_F32);
    MN_ASSERT_FAILS(mn_tape_open(&tape, b.stored, b.memory, b.memory_grad, NULL, &o), MN_ERR_USAGE,
                    "needs room");
    MN_ASSERT_FAILS(mn_tape_plan(&bytes, b.stored, b.memory, &o), MN_ERR_USAGE, "needs room");
    assert_int_equal(bytes, 0);
    o.max_seqs = 2;
    MN_ASSERT_FAILS(mn_tape_open(&tape, b.stored, NULL, NULL, NULL, &o), MN_ERR_USAGE,
                    "a memory to train");
    MN_ASSERT_FAILS(mn_tape_open(&tape, b.stored, b.memory, NULL, NULL, &o), MN_ERR_USAGE,
                    "memory golden needs gradients of its shape");
    MN_ASSERT_OK(mn_memory_create(&other, b.stored, &shape));
    MN_ASSERT_FAILS(mn_tape_open(&tape, b.stored, b.memory, other, NULL, &o), MN_ERR_USAGE,
                    "gradients of its shape");
    /* The whole model: fp32 only, gradients of its shape, no memory beside it. */
    o.full = true;
    mn_model *half = NULL, *copy = NULL;
    MN_ASSERT_OK(mn_model_random(&half, &b.stored->config, "made up", MN_F16, 1, b.device, NULL));
    MN_ASSERT_OK(mn_model_trainable(&copy, half));
    MN_ASSERT_OK(mn_model_like(&grad, half));
    MN_ASSERT_FAILS(
        mn_tape_open(&tape, half, NULL, NULL, grad, &o), MN_ERR_USAGE,
        "made up: tensor gpt_neox.embed_in.weight is F16, training the model needs F32");
    MN_ASSERT_FAILS(mn_tape_open(&tape, copy, NULL, NULL, NULL, &o), MN_ERR_USAGE,
                    "needs gradients of its shape");
    MN_ASSERT_FAILS(mn_tape_open(&tape, copy, b.memory, b.memory_grad, grad, &o), MN_ERR_USAGE,
                    "no memory");
    MN_ASSERT_FAILS(mn_tape_open(&tape, copy, NULL, NULL, half, &o), MN_ERR_USAGE, "needs F32");
    assert_null(tape);
    MN_ASSERT_OK(mn_tape_open(&tape, copy, NULL, NULL, grad, &o));
    assert_int_equal(mn_tape_first(tape), 0);
    mn_tape_close(&tape);
    mn_tape_close(&tape);
    mn_model_close(&grad);
    mn_model_close(&copy);
    mn_model_close(&half);
    mn_memory_close(&other);
    tape_bench_close(&b);
}

static void test_refused_batches(void **state) {
    static const int64_t too_long[] = {61, 0}, wrong_sum[] = {17, 5, 20, 7, 11};
    tape_bench b;
    tape_batch good;
    double loss = 1;
    (void)state;
    tape_bench_open(&b, "llama-gqa", 1, false, MN_COMPUTE_F32);
    tape_batch_fill(&good, b.stored->config.vocab, 4);
#define REFUSE(status, part)                                                                       \
    do {                                                                                           \
        MN_ASSERT_FAILS(mn_tape_step(b.tape, &batch, NULL, 1, &loss), status, part);               \
        MN_ASSERT_FAILS(mn_tape_loss(b.tape, &batch, NULL, &loss), status, part);                  \
        batch = good.batch;                                                                        \
    } while (0)
    mn_train_batch batch = good.batch;
    batch.tokens = 62;
    REFUSE(MN_ERR_USAGE, "a batch of 62 tokens and 5 sequences for a tape of 61 and 5");
    batch.seq_count = 6;
    REFUSE(MN_ERR_USAGE, "61 tokens and 6 sequences");
    batch.lengths = wrong_sum;
    REFUSE(MN_ERR_USAGE, "sequences of 60 tokens in a batch of 61");
    batch.lengths = too_long;
    batch.seq_count = 2;
    REFUSE(MN_ERR_USAGE, "sequence 1 has 0 tokens, the model has 64 positions");
    batch.output_count = 62;
    REFUSE(MN_ERR_USAGE, "62 targets for 61 tokens");
    good.outputs[2] = good.outputs[1];
    REFUSE(MN_ERR_USAGE, "target 2 stands behind token 4, 5 to 60 expected");
    good.outputs[2] = 61;
    REFUSE(MN_ERR_USAGE, "target 2 stands behind token 61");
    good.outputs[2] = 8;
    good.targets[1] = 61;
    REFUSE(MN_ERR_DATA, "target 1 is token 61, the model has 61");
    good.targets[1] = 3;
    good.ids[5] = 61;
    REFUSE(MN_ERR_DATA, "token 5 has id 61, the model has 61");
    good.ids[5] = 0;
    MN_ASSERT_OK(mn_tape_step(b.tape, &batch, NULL, 1, &loss));
    /* Nothing to learn from: no loss, and gradients stay as they are. */
    int64_t count;
    float *before = tape_take_gradients(&b, &count), *after;
    batch.output_count = 0;
    MN_ASSERT_OK(mn_tape_step(b.tape, &batch, NULL, 1, &loss));
    assert_true(loss == 0);
    after = tape_take_gradients(&b, &count);
    for (int64_t i = 0; i < count; i++) assert_true(after[i] == 0);
    free(before);
    free(after);
    tape_bench_close(&b);
    /* Nothing is frozen in full mode. */
    float hidden[TAPE_TOKENS * 64];
    tape_bench_open(&b, "llama-gqa", 1, true, MN_COMPUTE_F32);
    MN_ASSERT_FAILS(mn_tape_trunk(b.tape, &good.batch, hidden), MN_ERR_USAGE, "nothing is frozen");
    MN_ASSERT_FAILS(mn_tape_step(b.tape, &good.batch, hidden, 1, &loss), MN_ERR_USAGE,
                    "nothing is frozen");
    tape_bench_close(&b);
}

/* Gradients of a pass that failed cannot be used. */
static void clear_gradients(tape_bench *b) {
    for (int64_t i = 0; i < b->memory->count * MN_MEMORY_PARAMS; i++) {
        mn_memory_param row;
        mn_memory_param_at(&row, b->memory_grad, i);
        MN_ASSERT_OK(mn_zero(b->device, row.tensor));
    }
}

/* Numbers that break are found behind the block where they break: without a broken weight by the
 * block's number, with one by its name. */
static void test_broken_forward(void **state) {
    tape_bench b;
    tape_batch batch;
    double loss;
    char block[64];
    float hidden[TAPE_TOKENS * 64] = {0};
    (void)state;
    for (int at = 0; at < 4; at++) {
        tape_bench_open(&b, "neox-parallel", 2, true, MN_COMPUTE_F32);
        tape_batch_fill(&batch, b.stored->config.vocab, 3);
        float *w = b.model->layers[at].down_b.data;
        w[3] = 3e38f; /* finite, but not twice */
        ((float *)b.model->layers[at].out_b.data)[3] = 3e38f;
        snprintf(block, sizeof block, "the residual stream behind block %d are", at);
        MN_ASSERT_FAILS(mn_tape_step(b.tape, &batch.batch, NULL, 1, &loss), MN_ERR_NUMERIC, block);
        w[3] = NAN;
        snprintf(block, sizeof block, "layers.%d.mlp.dense_4h_to_h.bias: element 3", at);
        MN_ASSERT_FAILS(mn_tape_loss(b.tape, &batch.batch, NULL, &loss), MN_ERR_NUMERIC, block);
        tape_bench_close(&b);
    }
    tape_bench_open(&b, "neox-parallel", 2, false, MN_COMPUTE_F32); /* memories behind 1 and 2 */
    tape_batch_fill(&batch, b.stored->config.vocab, 3);
    hidden[77] = INFINITY;
    MN_ASSERT_FAILS(mn_tape_step(b.tape, &batch.batch, hidden, 1, &loss), MN_ERR_NUMERIC,
                    "behind block 1 are");
    ((float *)b.memory->layers[1].up_w.data)[5] = NAN;
    MN_ASSERT_FAILS(mn_tape_step(b.tape, &batch.batch, NULL, 1, &loss), MN_ERR_NUMERIC,
                    "memory golden: 1 of 256 numbers of memory.2.up.weight are NaN or infinite");
    ((float *)b.memory->layers[1].up_w.data)[5] = 0;
    clear_gradients(&b);
    MN_ASSERT_OK(mn_tape_step(b.tape, &batch.batch, NULL, 1, &loss));
    tape_bench_close(&b);
}

/* A gradient that overflows: the loss is fine, what comes back of it is not. */
static void test_broken_backward(void **state) {
    tape_bench b;
    tape_batch batch;
    double loss;
    (void)state;
    tape_bench_open(&b, "neox-parallel", 2, false, MN_COMPUTE_F32);
    tape_batch_fill(&batch, b.stored->config.vocab, 1);
    MN_ASSERT_FAILS(mn_tape_step(b.tape, &batch.batch, NULL, INFINITY, &loss), MN_ERR_NUMERIC,
                    "gradient behind block 3 are");
    MN_ASSERT_FAILS(mn_tape_step(b.tape, &batch.batch, NULL, 2e38f, &loss), MN_ERR_NUMERIC,
                    "gradient");
    assert_true(isfinite(loss) && loss > 0);
    clear_gradients(&b);
    /* Gradients add up: a broken one of the step before is still there. */
    ((float *)b.memory_grad->layers[0].gate.data)[0] = NAN;
    MN_ASSERT_FAILS(mn_tape_step(b.tape, &batch.batch, NULL, 1, &loss), MN_ERR_NUMERIC,
                    "1 of 1 numbers of the memory's gradient behind block 1 are");
    tape_bench_close(&b);
    tape_bench_open(&b, "llama-gqa", 2, true, MN_COMPUTE_F32);
    tape_batch_fill(&batch, b.stored->config.vocab, 1);
    ((float *)b.model_grad->layers[1].k_w.data)[9] = NAN;
    MN_ASSERT_FAILS(mn_tape_step(b.tape, &batch.batch, NULL, 1, &loss), MN_ERR_NUMERIC,
                    "the gradient of model.layers.1.self_attn.k_proj.weight are");
    tape_bench_close(&b);
}

/* Where gradients may overflow, they are no error; a broken loss still is. */
static void test_overflow_is_told(void **state) {
    tape_bench b;
    tape_batch batch;
    double loss, plain;
    (void)state;
    tape_bench_open(&b, "neox-parallel", 1, false, MN_COMPUTE_F32);
    tape_batch_fill(&batch, b.stored->config.vocab, 1);
    MN_ASSERT_OK(mn_tape_step(b.tape, &batch.batch, NULL, 1, &plain));
    assert_false(mn_tape_overflow(b.tape));
    mn_tape_close(&b.tape);
    const mn_tape_options options = {
        .max_tokens = TAPE_TOKENS, .max_seqs = TAPE_SEQS, .loss_rows = 16, .may_overflow = true};
    MN_ASSERT_OK(mn_tape_open(&b.tape, b.stored, b.memory, b.memory_grad, NULL, &options));
    MN_ASSERT_OK(mn_tape_step(b.tape, &batch.batch, NULL, INFINITY, &loss));
    assert_true(mn_tape_overflow(b.tape) && loss == plain);
    MN_ASSERT_FAILS(mn_tape_explain(b.tape), MN_ERR_NUMERIC,
                    "numbers of the gradient behind block ");
    clear_gradients(&b);
    MN_ASSERT_OK(mn_tape_step(b.tape, &batch.batch, NULL, 65536, &loss));
    assert_true(!mn_tape_overflow(b.tape) && loss == plain);
    MN_ASSERT_OK(mn_tape_explain(b.tape));
    ((float *)b.memory->layers[0].gate.data)[0] = NAN;
    MN_ASSERT_FAILS(mn_tape_step(b.tape, &batch.batch, NULL, 1, &loss), MN_ERR_NUMERIC,
                    "numbers of memory.1.gate are");
    tape_bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_options), cmocka_unit_test(test_refused_batches),
        cmocka_unit_test(test_broken_forward), cmocka_unit_test(test_broken_backward),
        cmocka_unit_test(test_overflow_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
