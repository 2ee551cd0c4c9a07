/* test_train.h - a tiny model to train: one of tests/golden/gradients with a tokenizer of its size, texts
 * of tokens like "<12>", and what a training told step by step. */
#ifndef MNEME_TEST_TRAIN_H
#define MNEME_TEST_TRAIN_H

#include "check.h"

#include "mneme/checkpoint.h"
#include "mneme/log.h"
#include "mneme/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STEPS = 200, TINY_VOCAB = 61 };

typedef struct trained {
    mn_test_path dir, model, texts, out;
    mn_device *device;
    mn_train_options options;
    mn_train_summary summary;
    mn_train_step steps[MOST_STEPS];
    int told; /* steps of the last run */
} trained;

static inline mn_status listen(void *context, const mn_train_step *step) {
    trained *t = context;
    assert_true(t->told < MOST_STEPS);
    t->steps[t->told++] = *step;
    return MN_OK;
}

static inline void copy_file(const char *from_dir, const char *to_dir, const char *name) {
    size_t len;
    char *bytes = mn_test_read(mn_test_join(from_dir, name).text, &len);
    mn_test_write(mn_test_join(to_dir, name).text, bytes, len);
    free(bytes);
}

static inline void write_tokenizer(const char *dir) {
    mn_buf text = {0};
    MN_ASSERT_OK(mn_buf_puts(&text, "{\"version\": \"1.0\", \"added_tokens\": ["));
    for (int i = 0; i < TINY_VOCAB; i++)
        MN_ASSERT_OK(mn_buf_printf(&text,
                                   "%s{\"id\": %d, \"content\": \"<%d>\", \"single_word\": false, "
                                   "\"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
                                   "\"special\": false}",
                                   i ? ", " : "", i, i));
    MN_ASSERT_OK(mn_buf_puts(
        &text, "], \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
               "\"add_prefix_space\": false, \"trim_offsets\": true}, \"post_processor\": null, "
               "\"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
               "\"trim_offsets\": true}, \"model\": {\"type\": \"BPE\", \"dropout\": null, "
               "\"unk_token\": null, \"vocab\": {\"<0>\": 0}, \"merges\": []}}"));
    mn_test_write(mn_test_join(dir, "tokenizer.json").text, text.data, text.len);
    mn_buf_free(&text);
}

/* `golden`: a folder of tests/golden/gradients. The texts are those of the golden traces. */
static inline void trained_open(trained *t, const char *golden, int threads) {
    const mn_test_path from = mn_test_join(mn_test_source("tests/golden/gradients").text, golden);
    mn_log_set_level(MN_LOG_ERROR);
    *t = (trained){.dir = mn_test_tmpdir()};
    t->model = mn_test_join(t->dir.text, "model");
    t->out = mn_test_join(t->dir.text, "out");
    t->texts = mn_test_source("tests/golden/trace/texts.jsonl");
    mn_test_mkdir(t->model.text);
    copy_file(from.text, t->model.text, "config.json");
    copy_file(from.text, t->model.text, "model.safetensors");
    copy_file(from.text, t->model.text, "adapter_config.json");
    copy_file(from.text, t->model.text, "adapter_model.safetensors");
    write_tokenizer(t->model.text);
    MN_ASSERT_OK(mn_device_open(&t->device, "cpu", threads));
    mn_train_defaults(&t->options);
    t->options.model = t->model.text;
    t->options.texts = t->texts.text;
    t->options.output_dir = t->out.text;
    t->options.memory.init_from = t->model.text; /* its values, at its blocks */
    t->options.memory.blocks[0] = 1;
    t->options.memory.blocks[1] = 2;
    t->options.memory.block_count = 2;
    t->options.memory.hidden = 8;
    t->options.chunk_length = 20; /* of 64 positions */
    t->options.on_step = listen;
    t->options.context = t;
}

static inline void trained_close(trained *t) {
    mn_device_close(&t->device);
    mn_test_rmdir(t->dir.text);
}

static inline mn_status train_again(trained *t) {
    t->told = 0;
    return mn_train(&t->summary, t->device, &t->options);
}

/* From the start, into an empty folder. */
static inline void train(trained *t) {
    mn_test_rmdir(t->out.text);
    MN_ASSERT_OK(train_again(t));
    assert_int_equal(t->told, t->summary.steps);
}

/* A file of the result; free() it. */
static inline char *result_file(const trained *t, const char *name, size_t *len) {
    return mn_test_read(mn_test_join(t->out.text, name).text, len);
}

static inline void assert_same_bytes(const char *a, size_t a_len, const char *b, size_t b_len) {
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a, b, a_len);
}

#endif
