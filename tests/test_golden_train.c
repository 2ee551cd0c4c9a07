/* test_golden_train.c - 50 steps of training against the same in PyTorch float64 (tests/golden/trace,
 * written by tools/make_loss_trace.py): same texts, same initial values, same order, same AdamW. */
#include "test_train.h"

#include "mneme/json.h"

static int index_of(const char *const *names, const char *name) {
    int i = 0;
    while (names[i] && strcmp(names[i], name) != 0) i++;
    assert_non_null(names[i]);
    return i;
}

static const char *text(const mn_json *doc, const char *key) {
    const char *value = NULL;
    MN_ASSERT_OK(mn_json_string(&value, doc, doc->root, key));
    return value;
}

static double number(const mn_json *doc, const char *key) {
    double value = 0;
    MN_ASSERT_OK(mn_json_f64(&value, doc, doc->root, key));
    return value;
}

static void set_options(mn_train_options *o, const mn_json *doc) {
    const cJSON *groups = NULL, *group;
    const cJSON *losses = NULL;
    o->update = (mn_train_update)index_of(mn_train_updates, text(doc, "update"));
    o->lr_scheduler_type = (mn_train_schedule)index_of(mn_train_schedules, text(doc, "schedule"));
    o->learning_rate = number(doc, "learning_rate");
    o->weight_decay = number(doc, "weight_decay");
    o->max_grad_norm = number(doc, "max_grad_norm");
    o->seed = (int64_t)number(doc, "seed");
    o->warmup_steps = (int64_t)number(doc, "warmup_steps");
    o->per_device_train_batch_size = (int64_t)number(doc, "per_device_train_batch_size");
    o->gradient_accumulation_steps = (int64_t)number(doc, "gradient_accumulation_steps");
    o->chunk_length = (int64_t)number(doc, "chunk_length");
    o->chunk_stride = (int64_t)number(doc, "chunk_stride");
    MN_ASSERT_OK(mn_json_array(&losses, doc, doc->root, "loss"));
    o->max_steps = cJSON_GetArraySize(losses);
    MN_ASSERT_OK(mn_json_array(&groups, doc, doc->root, "decay_groups"));
    o->decay_groups = 0;
    cJSON_ArrayForEach(group, groups)
        o->decay_groups |= 1u << index_of(mn_param_groups, group->valuestring);
}

/* 1e-4 is what the project demands of every step's loss; the gradient's norm passes through the same
 * sums twice. */
static void check_trace(const trained *t, const mn_json *doc, const char *name) {
    const cJSON *losses = NULL, *norms = NULL;
    double worst_loss = 0, worst_norm = 0;
    MN_ASSERT_OK(mn_json_array(&losses, doc, doc->root, "loss"));
    MN_ASSERT_OK(mn_json_array(&norms, doc, doc->root, "grad_norm"));
    assert_int_equal(cJSON_GetArraySize(losses), t->told);
    assert_int_equal(t->told, 50);
    for (int i = 0; i < t->told; i++) {
        const double loss = cJSON_GetArrayItem(losses, i)->valuedouble,
                     norm = cJSON_GetArrayItem(norms, i)->valuedouble;
        worst_loss = mn_worse(worst_loss, fabs(t->steps[i].loss / loss - 1));
        worst_norm = mn_worse(worst_norm, fabs(t->steps[i].grad_norm / norm - 1));
    }
    print_message("%s: loss %.4f to %.4f, off by %.1e at most, gradient norms by %.1e\n", name,
                  t->steps[0].loss, t->steps[49].loss, worst_loss, worst_norm);
    assert_true(worst_loss <= 1e-4);
    assert_true(worst_norm <= 2e-4);
}

static void run_trace(const char *name) {
    const mn_test_path folder = mn_test_source("tests/golden/trace");
    char file[64];
    mn_json *doc = NULL;
    trained t;
    snprintf(file, sizeof file, "%s.json", name);
    MN_ASSERT_OK(mn_json_load(&doc, mn_test_join(folder.text, file).text));
    trained_open(&t, text(doc, "model"), 2);
    set_options(&t.options, doc);
    if (t.options.update == MN_UPDATE_FULL) t.options.memory.init_from = NULL;
    train(&t);
    check_trace(&t, doc, name);
    mn_json_close(&doc);
    trained_close(&t);
}

static void test_neox_memory(void **state) { (void)state, run_trace("neox-memory"); }
static void test_llama_memory(void **state) { (void)state, run_trace("llama-memory"); }
static void test_neox_full(void **state) { (void)state, run_trace("neox-full"); }

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_neox_memory),
                                       cmocka_unit_test(test_llama_memory),
                                       cmocka_unit_test(test_neox_full)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
