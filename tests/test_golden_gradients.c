/* test_golden_gradients.c - loss and gradients of tiny models against PyTorch's autograd in float64
 * (tests/golden/gradients, written by tools/make_gradients.py). */
#include "check.h"

#include "mneme/tape.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const models[] = {"neox-parallel", "neox-sequential", "llama-gqa", "llama-last"};
enum { MODELS = sizeof models / sizeof *models, MAX_SEQS = 8 };

/* ||difference|| / ||reference|| per tensor: what the project demands of fp32. */
static const double allowed = 1e-5;

typedef struct bench {
    mn_device *device;
    mn_model *model;
    mn_checkpoint *reference;
    mn_train_batch batch;
    int64_t lengths[MAX_SEQS];
} bench;

static const mn_tensor *get(const bench *b, const char *name) {
    const mn_stored *s = NULL;
    MN_ASSERT_OK(mn_checkpoint_get(&s, b->reference, name));
    return &s->view;
}

static mn_test_path folder_of(const char *name) {
    return mn_test_join(mn_test_source("tests/golden/gradients").text, name);
}

static void open_bench(bench *b, const char *name) {
    const mn_test_path dir = folder_of(name);
    MN_ASSERT_OK(mn_device_open(&b->device, "cpu", 2));
    MN_ASSERT_OK(mn_model_open(&b->model, dir.text, b->device, NULL));
    MN_ASSERT_OK(mn_checkpoint_open_file(&b->reference,
                                         mn_test_join(dir.text, "reference.safetensors").text));
    const mn_tensor *lengths = get(b, "lengths"), *outputs = get(b, "outputs");
    b->batch = (mn_train_batch){.ids = get(b, "ids")->data,
                                .tokens = get(b, "ids")->shape[0],
                                .lengths = b->lengths,
                                .seq_count = lengths->shape[0],
                                .outputs = outputs->data,
                                .targets = get(b, "targets")->data,
                                .output_count = outputs->shape[0]};
    assert_true(lengths->shape[0] <= MAX_SEQS);
    for (int64_t i = 0; i < lengths->shape[0]; i++)
        b->lengths[i] = ((const int32_t *)lengths->data)[i];
}

static void close_bench(bench *b) {
    mn_checkpoint_close(&b->reference);
    mn_model_close(&b->model);
    mn_device_close(&b->device);
}

static double error_of(const mn_tensor *got, const mn_tensor *want) {
    double difference = 0, length = 0;
    assert_int_equal(mn_tensor_count(got), mn_tensor_count(want));
    for (int64_t i = 0; i < mn_tensor_count(got); i++) {
        const double g = (double)((const float *)got->data)[i];
        const double w = (double)((const float *)want->data)[i];
        difference += (g - w) * (g - w);
        length += w * w;
    }
    return sqrt(difference / length);
}

static void compare_loss(const bench *b, const char *name, double got) {
    double want;
    memcpy(&want, get(b, name)->data, sizeof want);
    if (!(fabs(got - want) <= allowed * want))
        fail_msg("%s is %.9g, expected %.9g", name, got, want);
}

/* Gradients of `scale` times the loss, taken twice: they add up. */
static double compare(const bench *b, const char *name, const mn_tensor *got, double worst) {
    const double error = error_of(got, get(b, name));
    if (!(error <= allowed))
        fail_msg("%s: relative error %.2e, at most %.0e", name, error, allowed);
    return error > worst ? error : worst;
}

static void test_memory(void **state) {
    (void)state;
    for (int k = 0; k < MODELS; k++) {
        bench b = {0};
        mn_memory *memory = NULL, *gradients = NULL;
        mn_tape *tape = NULL;
        double loss = 0, worst[4] = {0};
        open_bench(&b, models[k]);
        MN_ASSERT_OK(mn_memory_load(&memory, b.model, folder_of(models[k]).text));
        MN_ASSERT_OK(mn_memory_like(&gradients, memory));
        const mn_tape_options options = {.max_tokens = 80, .max_seqs = MAX_SEQS, .loss_rows = 10};
        MN_ASSERT_OK(mn_tape_open(&tape, b.model, memory, gradients, NULL, &options));
        /* Halves of the loss add up to all of it. */
        for (int i = 0; i < 2; i++) {
            MN_ASSERT_OK(mn_tape_step(tape, &b.batch, NULL, 0.5f, &loss));
            compare_loss(&b, "loss", loss);
        }
        MN_ASSERT_OK(mn_tape_loss(tape, &b.batch, NULL, &loss));
        compare_loss(&b, "loss", loss);
        for (int64_t i = 0; i < memory->count * MN_MEMORY_PARAMS; i++) {
            mn_memory_param row;
            mn_memory_param_at(&row, gradients, i);
            worst[row.group] = compare(&b, row.name, row.tensor, worst[row.group]);
        }
        print_message("%s: weights %.1e, biases %.1e, norms %.1e, gates %.1e\n", models[k],
                      worst[MN_PARAM_WEIGHT], worst[MN_PARAM_BIAS], worst[MN_PARAM_NORM],
                      worst[MN_PARAM_GATE]);
        mn_tape_close(&tape);
        mn_memory_close(&gradients);
        mn_memory_close(&memory);
        close_bench(&b);
    }
}

static void test_full(void **state) {
    (void)state;
    for (int k = 0; k < MODELS; k++) {
        bench b = {0};
        mn_model *model = NULL, *gradients = NULL;
        mn_tape *tape = NULL;
        double loss = 0, matrices = 0, vectors = 0;
        open_bench(&b, models[k]);
        MN_ASSERT_OK(mn_model_trainable(&model, b.model));
        MN_ASSERT_OK(mn_model_like(&gradients, model));
        const mn_tape_options options = {
            .max_tokens = 56, .max_seqs = MAX_SEQS, .loss_rows = 10, .full = true};
        MN_ASSERT_OK(mn_tape_open(&tape, model, NULL, NULL, gradients, &options));
        for (int i = 0; i < 2; i++) {
            MN_ASSERT_OK(mn_tape_step(tape, &b.batch, NULL, 0.5f, &loss));
            compare_loss(&b, "full.loss", loss);
        }
        for (int64_t i = 0; i < mn_binding_count(&model->config); i++) {
            mn_binding_row row;
            char name[128];
            mn_binding_at(&row, &model->config, gradients, i);
            snprintf(name, sizeof name, "full.%s", row.name);
            double *worst = row.ndim == 2 ? &matrices : &vectors;
            *worst = compare(&b, name, row.weight, *worst);
        }
        print_message("%s: matrices %.1e, vectors %.1e\n", models[k], matrices, vectors);
        mn_tape_close(&tape);
        mn_model_close(&gradients);
        mn_model_close(&model);
        close_bench(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory), cmocka_unit_test(test_full)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
