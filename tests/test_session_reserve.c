/* test_session_reserve.c - what a session and a tape reserve for matrix products: the widest of their inputs, also where
 * that is a memory's and not the model's. A device with a fixed workspace (CUDA) fails in the middle of a batch else. */
#include "check.h"
#include "mneme/session.h"
#include "mneme/tape.h"

#include <string.h>

enum { TOKENS = 24, WIDE = 999 };

static struct { int64_t rows, width; /* of the largest product so far */ } reserved;

static mn_status record(mn_device *device, int64_t rows, int64_t width) {
    (void)device;
    if (rows > reserved.rows) reserved.rows = rows;
    if (width > reserved.width) reserved.width = width;
    return MN_OK;
}

typedef struct bench {
    mn_device *cpu, spy; /* the CPU, but for reserve */
    mn_model *model;
} bench;

static void bench_open(bench *b, const char *folder) {
    MN_ASSERT_OK(mn_device_open(&b->cpu, "cpu", 1));
    b->spy = *b->cpu;
    b->spy.reserve = record;
    MN_ASSERT_OK(mn_model_open(&b->model, mn_test_source(folder).text, &b->spy, NULL));
}

static void bench_close(bench *b) {
    mn_model_close(&b->model);
    mn_device_close(&b->cpu);
}

static int64_t widest_of_model(const mn_model_config *c) {
    const int64_t inputs[] = {c->ffn_dim, c->dim, c->heads * c->head_dim};
    int64_t widest = 0;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (inputs[i] > widest) widest = inputs[i];
    return widest;
}

static mn_memory *memory_of(bench *b, int64_t hidden) {
    static const int64_t blocks[] = {1};
    const mn_memory_options shape = {
        .name = "m", .hidden = hidden, .blocks = blocks, .block_count = 1, .gate = 1, .seed = 1};
    mn_memory *memory = NULL;
    MN_ASSERT_OK(mn_memory_create(&memory, b->model, &shape));
    return memory;
}

static void a_session_reserves_for_its_widest_variant(void **state) {
    (void)state;
    bench b = {0};
    bench_open(&b, "tests/golden/neox-parallel");
    mn_memory *wide = memory_of(&b, WIDE), *narrow = memory_of(&b, 2);
    for (int k = 0; k < 3; k++) {
        const mn_memory *variants[] = {NULL, k == 2 ? wide : narrow};
        const mn_session_options options = {.max_tokens = TOKENS,
                                            .kv_rows = TOKENS,
                                            .max_seqs = 2,
                                            .max_logits = k == 1 ? 2 * TOKENS : TOKENS,
                                            .variants = variants,
                                            .variant_count = k ? 2 : 1};
        mn_session *session = NULL;
        memset(&reserved, 0, sizeof reserved);
        MN_ASSERT_OK(mn_session_open(&session, b.model, &options));
        mn_session_close(&session);
        assert_int_equal(reserved.rows, k == 1 ? 2 * TOKENS : TOKENS);
        assert_int_equal(reserved.width, k == 2 ? WIDE : widest_of_model(&b.model->config));
    }
    mn_memory_close(&narrow);
    mn_memory_close(&wide);
    bench_close(&b);
}

static void a_tape_reserves_for_its_memory(void **state) {
    (void)state;
    bench b = {0};
    bench_open(&b, "tests/golden/llama-mha");
    for (int k = 0; k < 2; k++) {
        mn_memory *memory = memory_of(&b, k ? WIDE : 2), *grad = NULL;
        mn_tape *tape = NULL;
        const mn_tape_options options = {.max_tokens = TOKENS, .max_seqs = 2, .loss_rows = 8};
        MN_ASSERT_OK(mn_memory_like(&grad, memory));
        memset(&reserved, 0, sizeof reserved);
        MN_ASSERT_OK(mn_tape_open(&tape, b.model, memory, grad, NULL, &options));
        mn_tape_close(&tape);
        assert_int_equal(reserved.rows, TOKENS);
        assert_true(k ? reserved.width == WIDE : reserved.width < WIDE);
        mn_memory_close(&grad);
        mn_memory_close(&memory);
    }
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_reserves_for_its_widest_variant),
        cmocka_unit_test(a_tape_reserves_for_its_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
