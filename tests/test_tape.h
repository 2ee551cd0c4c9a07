/* test_tape.h - tiny models at training, for the tests of the tape. */
#ifndef MNEME_TESTS_TEST_TAPE_H
#define MNEME_TESTS_TEST_TAPE_H

#include "check.h"

#include "mneme/tape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* All of the golden gradients' models: both residual forms, grouped heads, tied and untied output,
 * memories in the middle, behind the first block and behind the last. */
static const char *const tape_models[] = {"neox-parallel", "neox-sequential", "llama-gqa",
                                          "llama-last"};
enum { TAPE_MODELS = 4, TAPE_TOKENS = 61, TAPE_SEQS = 5 };

/* A batch of its own numbers: five sequences, of which some or all tokens have targets. */
typedef struct tape_batch {
    int32_t ids[TAPE_TOKENS], outputs[TAPE_TOKENS], targets[TAPE_TOKENS];
    int64_t lengths[TAPE_SEQS];
    mn_train_batch batch;
} tape_batch;

/* Every `every`-th token has a target; 1: all. */
static inline void tape_batch_fill(tape_batch *b, int64_t vocab, int every) {
    static const int64_t lengths[TAPE_SEQS] = {17, 5, 20, 7, 12};
    int64_t outputs = 0;
    memcpy(b->lengths, lengths, sizeof lengths);
    for (int i = 0; i < TAPE_TOKENS; i++) {
        b->ids[i] = (int32_t)((i * 37 + 11) % vocab);
        if (i % every != 0) continue;
        b->outputs[outputs] = i;
        b->targets[outputs++] = (int32_t)((i * 53 + 7) % vocab);
    }
    b->batch = (mn_train_batch){.ids = b->ids,
                                .tokens = TAPE_TOKENS,
                                .lengths = b->lengths,
                                .seq_count = TAPE_SEQS,
                                .outputs = b->outputs,
                                .targets = b->targets,
                                .output_count = outputs};
}

/* A model with its memory, or the whole model, and a tape. */
typedef struct tape_bench {
    mn_device *device;
    mn_model *stored, *model, *model_grad; /* the last two in full mode */
    mn_memory *memory, *memory_grad;
    mn_tape *tape;
} tape_bench;

static inline mn_test_path tape_folder(const char *name) {
    return mn_test_join(mn_test_source("tests/golden/gradients").text, name);
}

static inline void tape_bench_open(tape_bench *b, const char *name, int threads, bool full,
                                   mn_compute compute) {
    const mn_test_path dir = tape_folder(name);
    const mn_tape_options options = {.max_tokens = TAPE_TOKENS,
                                     .max_seqs = TAPE_SEQS,
                                     .loss_rows = 16,
                                     .compute = compute,
                                     .full = full};
    *b = (tape_bench){0};
    MN_ASSERT_OK(mn_device_open(&b->device, "cpu", threads));
    MN_ASSERT_OK(mn_model_open(&b->stored, dir.text, b->device, NULL));
    if (full) {
        MN_ASSERT_OK(mn_model_trainable(&b->model, b->stored));
        MN_ASSERT_OK(mn_model_like(&b->model_grad, b->stored));
    } else {
        MN_ASSERT_OK(mn_memory_load(&b->memory, b->stored, dir.text));
        MN_ASSERT_OK(mn_memory_like(&b->memory_grad, b->memory));
    }
    MN_ASSERT_OK(mn_tape_open(&b->tape, full ? b->model : b->stored, b->memory, b->memory_grad,
                              b->model_grad, &options));
}

static inline void tape_bench_close(tape_bench *b) {
    mn_tape_close(&b->tape);
    mn_memory_close(&b->memory_grad);
    mn_memory_close(&b->memory);
    mn_model_close(&b->model_grad);
    mn_model_close(&b->model);
    mn_model_close(&b->stored);
    mn_device_close(&b->device);
}

/* All gradients one behind the other; free() them. They are cleared. */
static inline float *tape_take_gradients(tape_bench *b, int64_t *count) {
    float *out = NULL;
    int64_t used = 0;
    const int64_t tensors = b->memory ? b->memory->count * MN_MEMORY_PARAMS
                                      : mn_binding_count(&b->model->config);
    *count = b->memory ? mn_memory_parameters(b->memory) : mn_model_parameters(&b->model->config);
    out = calloc((size_t)*count, sizeof *out);
    assert_non_null(out);
    for (int64_t i = 0; i < tensors; i++) {
        mn_memory_param param = {.tensor = NULL};
        mn_binding_row row = {.weight = NULL};
        if (b->memory) mn_memory_param_at(&param, b->memory_grad, i);
        else mn_binding_at(&row, &b->model->config, b->model_grad, i);
        mn_tensor *t = b->memory ? param.tensor : row.weight;
        memcpy(out + used, t->data, mn_tensor_bytes(t));
        memset(t->data, 0, mn_tensor_bytes(t));
        used += mn_tensor_count(t);
    }
    assert_int_equal(used, *count);
    return out;
}

static inline double tape_difference(const float *got, const float *want, int64_t count) {
    double difference = 0, length = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        length += (double)want[i] * (double)want[i];
    }
    return sqrt(difference / length);
}

#endif
