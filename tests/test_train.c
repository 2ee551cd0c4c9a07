/* test_train.c - what never changes a training (batches, cache, threads) and what ends one: numbers,
 * validation, requests, bad keys. */
#include "test_train.h"

#include "mneme/json.h"
#include "mneme/signals.h"
#include "mneme/tape.h"

#include <glob.h>
#include <stdatomic.h>

/* ---- who allocates ---- */

/* Counts every allocation of the process while `counting`: malloc and its like are replaced by these,
 * which hand on to the C library. Sanitizers bring their own. */
static _Atomic int64_t allocations;
static _Atomic bool counting;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__GLIBC__) &&       \
    !defined(__clang__)
#define COUNTS_ALLOCATIONS 1
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t align, size_t size);

static void count(void) {
    if (counting) allocations++;
}
void *malloc(size_t size) { return count(), __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return count(), __libc_calloc(n, size); }
void *realloc(void *memory, size_t size) { return count(), __libc_realloc(memory, size); }
void *aligned_alloc(size_t align, size_t size) { return count(), __libc_memalign(align, size); }
#else
#define COUNTS_ALLOCATIONS 0
#endif

static mn_status (*device_alloc)(mn_device *device, void **out, size_t bytes);
static mn_status counted_alloc(mn_device *device, void **out, size_t bytes) {
    if (counting) allocations++;
    return device_alloc(device, out, bytes);
}

static mn_status count_from_second(void *context, const mn_train_step *step) {
    (void)context;
    if (step->step == 1) {
        assert_true(allocations > 10); /* the way there has needed some: they are seen */
        allocations = 0;
    }
    counting = step->step < step->steps; /* the last one is followed by the end of the training */
    return MN_OK;
}

/* All samples are of one size: the first step has met every shape there is. With logging in every
 * step and validation in between. */
static void count_allocations(trained *t) {
    const mn_test_path texts = mn_test_join(t->dir.text, "even.jsonl");
    mn_buf lines = {0};
    for (int i = 0; i < 24; i++) {
        MN_ASSERT_OK(mn_buf_puts(&lines, "{\"text\": \""));
        for (int k = 0; k < 17; k++) MN_ASSERT_OK(mn_buf_printf(&lines, "<%d>", (i * k + 3) % 61));
        MN_ASSERT_OK(mn_buf_puts(&lines, "\"}\n"));
    }
    mn_test_write(texts.text, lines.data, lines.len);
    mn_buf_free(&lines);
    t->options.texts = texts.text;
    t->options.on_step = count_from_second;
    t->options.logging_steps = 1;
    t->options.num_train_epochs = 4;
    t->options.per_device_train_batch_size = 2;
    t->options.gradient_accumulation_steps = 2;
    t->options.validation_fraction = 1.0 / 6;
    device_alloc = t->device->alloc;
    t->device->alloc = counted_alloc;
    allocations = 0;
    mn_test_rmdir(t->out.text);
    counting = true;
    const mn_status st = mn_train(&t->summary, t->device, &t->options);
    counting = false;
    t->device->alloc = device_alloc;
    MN_ASSERT_OK(st);
    assert_int_equal(t->summary.steps, 20);
    assert_int_equal(allocations, 0);
}

static void test_no_allocation(void **state) {
    trained t;
    (void)state;
    if (!COUNTS_ALLOCATIONS) skip();
    trained_open(&t, "neox-parallel", 2);
    count_allocations(&t);
    t.options.update = MN_UPDATE_FULL;
    t.options.memory.init_from = NULL;
    count_allocations(&t);
    trained_close(&t);
}

/* ---- what changes nothing ---- */

static void set_short(trained *t) {
    t->options.num_train_epochs = 4;
    t->options.warmup_steps = 2;
    t->options.learning_rate = 0.02;
    t->options.logging_steps = 3;
    t->options.save_steps = 0;
}

/* Steps of the last run against another's. */
static void compare(const trained *a, const trained *b, double tolerance) {
    assert_int_equal(a->told, b->told);
    for (int i = 0; i < a->told; i++) {
        assert_true(fabs(a->steps[i].loss - b->steps[i].loss) <= tolerance * b->steps[i].loss);
        assert_int_equal(a->steps[i].targets, b->steps[i].targets);
        assert_int_equal(a->steps[i].tokens, b->steps[i].tokens);
        assert_true(a->steps[i].learning_rate == b->steps[i].learning_rate);
        assert_true(a->steps[i].epoch == b->steps[i].epoch);
    }
}

/* The same samples per step in other batches: sums in another order, no more (1e-5: what the project
 * allows). Were losses weighted per batch and not per token, they would differ in the first digits. */
static void test_batches(void **state) {
    static const int64_t splits[][2] = {{4, 1}, {2, 2}, {1, 4}, {3, 1}};
    trained t, first;
    (void)state;
    for (int update = 0; update < 2; update++) {
        trained_open(&t, update ? "neox-sequential" : "llama-gqa", 2);
        set_short(&t);
        t.options.update = (mn_train_update)update;
        t.options.memory.init_from = NULL;
        for (int i = 0; i < 4; i++) {
            t.options.per_device_train_batch_size = splits[i][0];
            t.options.gradient_accumulation_steps = splits[i][1];
            train(&t);
            if (i == 0) first = t;
            else if (i < 3) compare(&t, &first, 1e-5);
            else assert_true(t.summary.steps > first.summary.steps);
        }
        trained_close(&t);
    }
}

/* Bit for bit: cache in memory, in a file, none; one thread and two. */
static void test_cache(void **state) {
    static const mn_train_cache places[] = {MN_CACHE_OFF, MN_CACHE_MEMORY, MN_CACHE_FILE,
                                            MN_CACHE_AUTO};
    trained t, first;
    size_t len = 0, first_len = 0;
    char *bytes = NULL, *first_bytes = NULL;
    (void)state;
    for (int half = 0; half < 2; half++) {
        trained_open(&t, "neox-parallel", 2);
        set_short(&t);
        t.options.activation_cache_dtype = half ? MN_CACHE_FP16 : MN_CACHE_FP32;
        t.options.validation_fraction = 0.2;
        for (int i = 0; i < 4; i++) {
            t.options.activation_cache = places[i];
            if (i == 3) {
                mn_device_close(&t.device);
                MN_ASSERT_OK(mn_device_open(&t.device, "cpu", 1));
            }
            train(&t);
            bytes = result_file(&t, "adapter_model.safetensors", &len);
            if (i == 0) {
                assert_int_equal(t.summary.cached_samples, 0);
                /* fp16 is another training. */
                if (half) assert_true(memcmp(bytes, first_bytes, len) != 0);
                free(first_bytes);
                first = t;
                first_bytes = bytes;
                first_len = len;
                continue;
            }
            /* 4 epochs and 4 validations: each sample is computed once and kept 3 times. */
            assert_int_equal(t.summary.cached_samples,
                             3 * (t.summary.samples + (t.summary.samples + 2) / 4));
            compare(&t, &first, 0);
            assert_true(t.summary.eval_loss == first.summary.eval_loss);
            assert_same_bytes(bytes, len, first_bytes, first_len);
            free(bytes);
        }
        trained_close(&t);
    }
    free(first_bytes);
}

static void test_cache_refused(void **state) {
    trained t;
    (void)state;
    trained_open(&t, "neox-parallel", 1);
    t.options.activation_cache = MN_CACHE_MEMORY;
    t.options.activation_cache_mb = 0;
    MN_ASSERT_FAILS(train_again(&t), MN_ERR_USAGE, "activation_cache: 0 MiB are needed");
    t.options.activation_cache = MN_CACHE_FILE;
    t.options.memory.init_from = NULL;
    t.options.update = MN_UPDATE_FULL;
    MN_ASSERT_FAILS(train_again(&t), MN_ERR_USAGE, "activation_cache: with update full");
    trained_close(&t);
}

/* One open model for several trainings: the bits of each that opens its own. In full mode weights change: it
 * is not touched. */
static void test_backbone(void **state) {
    trained t;
    size_t len, other_len;
    mn_model *model = NULL;
    (void)state;
    trained_open(&t, "llama-gqa", 1);
    set_short(&t);
    train(&t);
    char *bytes = result_file(&t, "adapter_model.safetensors", &len);
    MN_ASSERT_OK(mn_model_open(&model, t.model.text, t.device, NULL));
    MN_ASSERT_OK(mn_model_pack(model, NULL));
    t.options.backbone = model;
    t.options.learning_rate *= 2;
    train(&t);
    t.options.learning_rate /= 2;
    train(&t);
    /* Not the model that is asked for, or not where: refused. */
    const char *asked = t.options.model;
    const mn_test_path elsewhere = mn_test_source("tests/golden/llama-mha");
    mn_device *other_device = NULL;
    t.options.model = elsewhere.text;
    MN_ASSERT_FAILS(train_again(&t), MN_ERR_USAGE, "llama-mha on cpu is to be trained");
    t.options.model = asked;
    MN_ASSERT_OK(mn_device_open(&other_device, "cpu", 1));
    model->device = other_device;
    MN_ASSERT_FAILS(train_again(&t), MN_ERR_USAGE, "the backbone that is open is ");
    model->device = t.device;
    mn_device_close(&other_device);
    char *other = result_file(&t, "adapter_model.safetensors", &other_len);
    assert_same_bytes(bytes, len, other, other_len);
    free(other);
    t.options.memory.init_from = NULL;
    t.options.update = MN_UPDATE_FULL;
    t.options.max_steps = 1;
    train(&t);
    t.options.memory.init_from = t.model.text;
    t.options.update = MN_UPDATE_MEMORY;
    t.options.max_steps = 0;
    train(&t);
    other = result_file(&t, "adapter_model.safetensors", &other_len);
    assert_same_bytes(bytes, len, other, other_len);
    free(other);
    free(bytes);
    mn_model_close(&model);
    trained_close(&t);
}

/* ---- decay ---- */

static char group_of(const char *name) {
    const char *last = strrchr(name, '.') + 1;
    return strcmp(last, "gate") == 0 ? 'g' : strstr(name, ".norm.") ? 'n' : *last; /* or w, b */
}

/* After one step, runs with and without decay differ by lr * decay * initial value, in the groups
 * that decay and nowhere else. */
static void test_decay_groups(void **state) {
    static const char letters[] = "wbng"; /* in the order of mn_param_group */
    trained t;
    mn_checkpoint *file[3] = {NULL};
    (void)state;
    trained_open(&t, "neox-parallel", 1);
    t.options.max_steps = 1;
    t.options.warmup_steps = 0;
    t.options.learning_rate = 0.125; /* exact in binary */
    MN_ASSERT_OK(mn_checkpoint_open_file(
        &file[0], mn_test_join(t.model.text, "adapter_model.safetensors").text));
    for (unsigned groups = 0; groups < 16; groups++) {
        for (int decayed = 0; decayed < 2; decayed++) {
            t.options.decay_groups = groups;
            t.options.weight_decay = decayed ? 0.5 : 0;
            train(&t);
            MN_ASSERT_OK(mn_checkpoint_open_file(
                &file[1 + decayed], mn_test_join(t.out.text, "adapter_model.safetensors").text));
        }
        for (int64_t i = 0; i < mn_checkpoint_count(file[0]); i++) {
            const mn_stored *s = mn_checkpoint_at(file[0], i), *plain, *less;
            const char letter = group_of(s->name);
            MN_ASSERT_OK(mn_checkpoint_get(&plain, file[1], s->name));
            MN_ASSERT_OK(mn_checkpoint_get(&less, file[2], s->name));
            const bool decays = (groups >> (strchr(letters, letter) - letters) & 1) != 0;
            for (int64_t e = 0; e < mn_tensor_count(&s->view); e++) {
                const double was = (double)((const float *)s->view.data)[e],
                             a = (double)((const float *)plain->view.data)[e],
                             b = (double)((const float *)less->view.data)[e];
                /* The two results are rounded to fp32 once more each. */
                assert_true(fabs(a - b - (decays ? 0.125 * 0.5 * was : 0)) <=
                            (decays ? 1e-6 * (1 + fabs(was)) : 0));
            }
        }
        mn_checkpoint_close(&file[1]);
        mn_checkpoint_close(&file[2]);
    }
    mn_checkpoint_close(&file[0]);
    trained_close(&t);
}

/* ---- validation ---- */

/* Nothing improves at rate 0: the second validation without a new best loss ends it. */
static void test_early_stop(void **state) {
    trained t;
    (void)state;
    trained_open(&t, "neox-parallel", 2);
    set_short(&t);
    t.options.num_train_epochs = 50;
    t.options.validation_fraction = 0.2;
    t.options.early_stopping_patience = 2;
    t.options.learning_rate = 0;
    t.options.eval_steps = 3;
    train(&t);
    assert_true(t.summary.stopped_early);
    assert_int_equal(t.summary.steps, 9);
    t.options.learning_rate = 0.02;
    t.options.num_train_epochs = 2;
    t.options.early_stopping_patience = 50;
    train(&t);
    assert_false(t.summary.stopped_early);
    assert_true(isfinite(t.summary.eval_loss));
    trained_close(&t);
}

/* The validation loss is that of the held-out samples, weighted per token, under the trained memory. */
static void test_eval_loss(void **state) {
    trained t;
    mn_model *model = NULL;
    mn_memory *memory = NULL, *gradients = NULL;
    mn_tokenizer *tokenizer = NULL;
    mn_samples *samples = NULL;
    mn_tape *tape = NULL;
    double sum = 0;
    int64_t targets = 0;
    (void)state;
    trained_open(&t, "neox-parallel", 2);
    set_short(&t);
    t.options.validation_fraction = 0.3;
    train(&t);
    MN_ASSERT_OK(mn_model_open(&model, t.model.text, t.device, NULL));
    MN_ASSERT_OK(mn_memory_load(&memory, model, t.out.text));
    MN_ASSERT_OK(mn_memory_like(&gradients, memory));
    MN_ASSERT_OK(mn_tokenizer_open(&tokenizer, t.model.text));
    const mn_samples_options options = {.chunk_length = t.options.chunk_length,
                                        .max_positions = 64,
                                        .validation_fraction = 0.3,
                                        .seed = (uint64_t)t.options.seed};
    MN_ASSERT_OK(mn_samples_texts(&samples, t.texts.text, tokenizer, &options));
    assert_true(samples->count - samples->train_count > 4);
    const mn_tape_options room = {.max_tokens = 64, .max_seqs = 1};
    MN_ASSERT_OK(mn_tape_open(&tape, model, memory, gradients, NULL, &room));
    for (int64_t i = samples->train_count; i < samples->count; i++) {
        const mn_train_sample *s = &samples->items[i];
        int32_t outputs[64], asked[64];
        const int64_t inputs = s->len - 1, count = s->len - s->loss_begin;
        double loss = 0;
        for (int64_t k = 0; k < count; k++) {
            outputs[k] = (int32_t)(s->loss_begin + k - 1);
            asked[k] = samples->ids.data[s->begin + s->loss_begin + k];
        }
        const mn_train_batch batch = {.ids = samples->ids.data + s->begin,
                                      .tokens = inputs,
                                      .lengths = &inputs,
                                      .seq_count = 1,
                                      .outputs = outputs,
                                      .targets = asked,
                                      .output_count = count};
        MN_ASSERT_OK(mn_tape_loss(tape, &batch, NULL, &loss));
        sum += loss;
        targets += count;
    }
    /* Batches of four instead of one: fp32 sums in another order. */
    assert_true(fabs(t.summary.eval_loss - sum / (double)targets) < 1e-5 * t.summary.eval_loss);
    mn_tape_close(&tape);
    mn_samples_close(&samples);
    mn_tokenizer_close(&tokenizer);
    mn_memory_close(&gradients);
    mn_memory_close(&memory);
    mn_model_close(&model);
    trained_close(&t);
}

/* ---- numbers that are none ---- */

/* A rate beyond all measure: the weights of step 1 are finite, what they give is not. */
static void test_not_finite(void **state) {
    trained t;
    (void)state;
    trained_open(&t, "neox-parallel", 2);
    set_short(&t);
    t.options.warmup_steps = 0;
    t.options.learning_rate = 1e30;
    t.options.lr_scheduler_type = MN_SCHEDULE_CONSTANT;
    MN_ASSERT_FAILS(train_again(&t), MN_ERR_NUMERIC, "step 2 of ");
    assert_non_null(strstr(mn_error(), "block "));
    assert_int_equal(t.told, 1);
    glob_t found = {0};
    assert_int_equal(glob(mn_test_join(t.out.text, "adapter*").text, 0, NULL, &found),
                     GLOB_NOMATCH);
    globfree(&found);
    trained_close(&t);
}

/* ---- keys ---- */

static void refused(trained *t, mn_status status, const char *message) {
    MN_ASSERT_FAILS(train_again(t), status, message);
    mn_train_defaults(&t->options);
    t->options.chunk_length = 20;
    t->options.model = t->model.text;
    t->options.texts = t->texts.text;
    t->options.output_dir = t->out.text;
}

static void test_bad_keys(void **state) {
    trained t;
    mn_train_options *const o = &t.options;
    (void)state;
    trained_open(&t, "neox-parallel", 1);
    o->data = t.model.text;
    refused(&t, MN_ERR_USAGE, "a training needs either data or texts, both are given");
    o->texts = NULL;
    refused(&t, MN_ERR_USAGE, "a training needs either data or texts, none are given");
    o->model = NULL;
    refused(&t, MN_ERR_USAGE, "a training needs model and output_dir");
    o->texts = "/nowhere/texts.jsonl";
    refused(&t, MN_ERR_IO, "/nowhere/texts.jsonl: No such file");
    o->model = "/nowhere";
    refused(&t, MN_ERR_IO, "/nowhere: no such model folder");
    o->init = MN_INIT_RANDOM;
    refused(&t, MN_ERR_USAGE, "init: random weights are for update full");
    o->num_train_epochs = 0;
    refused(&t, MN_ERR_USAGE, "num_train_epochs and max_steps are both 0");
    o->num_train_epochs = 1e300;
    refused(&t, MN_ERR_USAGE, "num_train_epochs: 1e+300 is too many");
    o->early_stopping_patience = 3;
    refused(&t, MN_ERR_USAGE, "early_stopping_patience: validation_fraction is 0");
    o->memory.location[0] = 0.9;
    refused(&t, MN_ERR_USAGE, "memory.location: from 0.9 to 0.8 is no range");
    o->memory.blocks[0] = 2;
    o->memory.blocks[1] = 1;
    o->memory.block_count = 2;
    refused(&t, MN_ERR_USAGE, "memory.blocks: 1 stands behind 2; blocks rise");
    o->memory.blocks[0] = 4;
    o->memory.block_count = 1;
    refused(&t, MN_ERR_USAGE, "4");
    o->update = MN_UPDATE_FULL;
    o->compute = MN_COMPUTE_BF16;
    refused(&t, MN_ERR_USAGE, "compute: bf16 is for frozen weights");
    o->memory.init_from = t.model.text; /* an adapter of blocks 1 and 2, this one is for the last */
    refused(&t, MN_ERR_USAGE, "memory.init_from: ");
    o->output_dir = "/proc/nowhere";
    refused(&t, MN_ERR_IO, "/proc/nowhere");
    o->resume_from_checkpoint = "/nowhere/checkpoint-5";
    refused(&t, MN_ERR_USAGE, "resume_from_checkpoint: /nowhere/checkpoint-5 is no complete");
    trained_close(&t);
}

/* ---- plan ---- */

static void test_plan(void **state) {
    trained t;
    mn_train_estimate e;
    int64_t tokens = 0;
    (void)state;
    trained_open(&t, "neox-parallel", 2);
    set_short(&t);
    MN_ASSERT_OK(mn_train_plan(&e, t.device, &t.options));
    train(&t);
    for (int i = 0; i < t.told; i++) tokens += t.steps[i].tokens;
    assert_int_equal(e.steps, t.summary.steps);
    assert_int_equal(e.samples, t.summary.samples);
    assert_int_equal(e.parameters, t.summary.parameters);
    assert_int_equal(e.epoch_tokens * 4, tokens);
    assert_int_equal(e.epoch_targets * 4, t.summary.targets);
    assert_int_equal(e.cache_bytes, e.epoch_tokens * 32 * 4); /* 32 wide, fp32 */
    assert_true(e.bytes > e.cache_bytes && e.flops > 1e6);
    t.options.activation_cache = MN_CACHE_FILE;
    MN_ASSERT_OK(mn_train_plan(&e, t.device, &t.options));
    assert_int_equal(e.cache_bytes, -1);
    trained_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_allocation), cmocka_unit_test(test_batches),
        cmocka_unit_test(test_cache),         cmocka_unit_test(test_cache_refused),
        cmocka_unit_test(test_backbone),      cmocka_unit_test(test_decay_groups),
        cmocka_unit_test(test_early_stop),    cmocka_unit_test(test_eval_loss),
        cmocka_unit_test(test_not_finite),    cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
