/* test_evaluate.h - the demo model and the sample world, prepared, for the tests of evaluations. */
#ifndef MNEME_TEST_EVALUATE_H
#define MNEME_TEST_EVALUATE_H

#include "test_complete.h"

#include "mneme/evaluate.h"
#include "mneme/json.h"
#include "mneme/log.h"

#include <glob.h>
#include <stdio.h>

enum { MOST_MEMORIES = 3 };

typedef struct world {
    mn_test_path dir, out, model, data;
    subject s;
    mn_tokenizer *tokenizer;
    mn_fever *fever;
    mn_memory *memories[MOST_MEMORIES]; /* of tests that have some */
    const mn_memory *list[MOST_MEMORIES];
    mn_eval_options options; /* paths, both scorings with shared prefixes; the rest is the test's */
} world;

static inline world *world_open(int64_t top_pages) {
    world *w = calloc(1, sizeof *w);
    const mn_test_path claims = mn_test_source("data/world/dev.jsonl"),
                       train = mn_test_source("data/world/train.jsonl"),
                       wiki = mn_test_source("data/world/wiki");
    mn_prepare_summary summary;
    assert_non_null(w);
    mn_log_set_level(MN_LOG_ERROR);
    w->dir = mn_test_tmpdir();
    w->data = mn_test_join(w->dir.text, "data");
    w->out = mn_test_join(w->dir.text, "out");
    w->model = mn_test_source("data/demo-model");
    const mn_prepare_options prepare = {.claims = claims.text,
                                        .train_claims = train.text,
                                        .wiki = wiki.text,
                                        .out = w->data.text,
                                        .top_pages = top_pages,
                                        .threads = 1};
    MN_ASSERT_OK(mn_fever_prepare(&summary, &prepare));
    MN_ASSERT_OK(mn_fever_open(&w->fever, w->data.text));
    subject_open(&w->s, "data/demo-model", 1);
    MN_ASSERT_OK(mn_tokenizer_open(&w->tokenizer, w->model.text));
    w->options = (mn_eval_options){.generate = true,
                                   .choice = true,
                                   .share_prefixes = true,
                                   .bootstrap_iters = 20,
                                   .model_path = w->model.text,
                                   .data_path = w->data.text,
                                   .output_path = w->out.text,
                                   .log_samples = true};
    return w;
}

static inline int world_close(void **state) {
    world *w = *state;
    for (int i = 0; i < MOST_MEMORIES; i++) mn_memory_close(&w->memories[i]);
    mn_tokenizer_close(&w->tokenizer);
    subject_close(&w->s);
    mn_fever_close(&w->fever);
    mn_test_rmdir(w->dir.text);
    free(w);
    return 0;
}

/* The only file below the output folder that fits. */
static inline mn_test_path only_file(const char *out, const char *pattern) {
    glob_t found = {0};
    const mn_test_path path = mn_test_join(out, pattern);
    mn_test_path only = {""};
    if (glob(path.text, 0, NULL, &found) != 0 || found.gl_pathc != 1)
        fail_msg("%zu files %s", found.gl_pathc, path.text);
    snprintf(only.text, sizeof only.text, "%s", found.gl_pathv[0]);
    globfree(&found);
    return only;
}

/* Of a sample; "" stands for null. */
static inline const char *text_of(const mn_json *sample, const char *key) {
    const char *text = NULL;
    MN_ASSERT_OK(mn_json_string_or(&text, sample, sample->root, key, ""));
    return text;
}

#endif
