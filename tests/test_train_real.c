/* test_train_real.c - memorisation on real Wikipedia pages of FEVER: a tiny model learns them by heart, and
 * memories in a frozen one learn pages that it has never seen. The tokenizer is that of Pythia, cut
 * down to its first tokens so that a tiny model has a small output matrix. */
#include "check.h"

#include "mneme/fever.h"
#include "mneme/json.h"
#include "mneme/log.h"
#include "mneme/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 1024, PAGES = 200, OTHER_PAGES = 14 };

typedef struct real {
    mn_test_path dir, data, shape, texts, backbone, out;
    mn_device *device;
    mn_train_summary summary;
    double first_loss;
} real;

/* The first VOCAB tokens and the merges that make no other: still a whole byte-level BPE. */
static void write_tokenizer(const char *from, const char *to) {
    mn_json *doc = NULL;
    MN_ASSERT_OK(mn_json_load(&doc, from));
    cJSON *model = cJSON_GetObjectItemCaseSensitive(doc->root, "model"),
          *vocab = cJSON_GetObjectItemCaseSensitive(model, "vocab"),
          *merges = cJSON_GetObjectItemCaseSensitive(model, "merges"), *kept = cJSON_CreateObject(),
          *kept_merges = cJSON_CreateArray();
    const cJSON *item;
    cJSON_ArrayForEach(item, vocab) {
        if (item->valuedouble < VOCAB)
            cJSON_AddNumberToObject(kept, item->string, item->valuedouble);
    }
    cJSON_ArrayForEach(item, merges) {
        char joined[256];
        const char *space = strchr(item->valuestring, ' ');
        snprintf(joined, sizeof joined, "%.*s%s", (int)(space - item->valuestring),
                 item->valuestring, space + 1);
        /* Merges come in the order of their tokens. */
        if (!cJSON_GetObjectItemCaseSensitive(kept, joined)) break;
        cJSON_AddItemToArray(kept_merges, cJSON_CreateString(item->valuestring));
    }
    cJSON_ReplaceItemInObjectCaseSensitive(model, "vocab", kept);
    cJSON_ReplaceItemInObjectCaseSensitive(model, "merges", kept_merges);
    cJSON *added = cJSON_GetObjectItemCaseSensitive(doc->root, "added_tokens");
    for (int i = cJSON_GetArraySize(added) - 1; i >= 0; i--)
        if (cJSON_GetObjectItem(cJSON_GetArrayItem(added, i), "id")->valuedouble >= VOCAB)
            cJSON_DeleteItemFromArray(added, i);
    char *text = cJSON_PrintUnformatted(doc->root);
    assert_non_null(text);
    mn_test_puts(to, text);
    cJSON_free(text);
    mn_json_close(&doc);
}

static void write_shape(const real *r) {
    mn_test_mkdir(r->shape.text);
    mn_test_puts(
        mn_test_join(r->shape.text, "config.json").text,
        "{\"model_type\": \"gpt_neox\", \"hidden_size\": 64, \"num_hidden_layers\": 3, "
        "\"num_attention_heads\": 2, \"intermediate_size\": 192, \"vocab_size\": 1024, "
        "\"max_position_embeddings\": 256, \"rotary_pct\": 0.25, \"hidden_act\": \"gelu\", "
        "\"rotary_emb_base\": 10000, \"layer_norm_eps\": 1e-5, \"bos_token_id\": 0, "
        "\"eos_token_id\": 0, \"use_parallel_residual\": true, "
        "\"tie_word_embeddings\": false}");
}

/* Pages that are not among the selected ones, for the backbone. */
static void write_others(const real *r, const mn_fever *fever, const char *wiki) {
    mn_map *map = NULL;
    mn_buf out = {0};
    int count = 0;
    const char *line;
    size_t len;
    MN_ASSERT_OK(mn_map_open(&map, wiki));
    mn_lines lines = mn_lines_over(map->data, map->size);
    while (count < OTHER_PAGES && mn_lines_next(&lines, &line, &len)) {
        mn_json *doc = NULL;
        const char *id, *text;
        bool chosen = false;
        MN_ASSERT_OK(mn_json_parse(&doc, line, len, wiki));
        MN_ASSERT_OK(mn_json_string(&id, doc, doc->root, "id"));
        MN_ASSERT_OK(mn_json_string(&text, doc, doc->root, "text"));
        for (int64_t p = 0; p < fever->page_count; p++)
            chosen = chosen || strcmp(fever->pages[p].title, id) == 0;
        if (!chosen && strlen(text) > 200 && lines.number % 7 == 0) {
            MN_ASSERT_OK(mn_buf_puts(&out, "{\"text\": "));
            MN_ASSERT_OK(mn_json_quote(&out, text, strlen(text)));
            MN_ASSERT_OK(mn_buf_puts(&out, "}\n"));
            count++;
        }
        mn_json_close(&doc);
    }
    assert_int_equal(count, OTHER_PAGES);
    mn_test_write(r->texts.text, out.data, out.len);
    mn_buf_free(&out);
    mn_map_close(&map);
}

static void start(real *r, const char *test) {
    const mn_test_path claims = mn_test_real(test, "fever/paper_dev.jsonl"),
                       train = mn_test_real(test, "fever/train_sample.jsonl"),
                       wiki = mn_test_real(test, "fever/wiki-pages-partial.jsonl"),
                       tokenizer = mn_test_real(test, "tokenizers/20B_tokenizer.json");
    mn_prepare_summary summary;
    mn_fever *fever = NULL;
    mn_log_set_level(MN_LOG_ERROR);
    *r = (real){.dir = mn_test_tmpdir()};
    r->data = mn_test_join(r->dir.text, "data");
    r->shape = mn_test_join(r->dir.text, "shape");
    r->texts = mn_test_join(r->dir.text, "others.jsonl");
    r->backbone = mn_test_join(r->dir.text, "backbone");
    r->out = mn_test_join(r->dir.text, "out");
    const mn_prepare_options prepare = {.claims = claims.text,
                                        .train_claims = train.text,
                                        .wiki = wiki.text,
                                        .out = r->data.text,
                                        .top_pages = PAGES};
    MN_ASSERT_OK(mn_fever_prepare(&summary, &prepare));
    MN_ASSERT_OK(mn_fever_open(&fever, r->data.text));
    assert_true(fever->page_count >= 4);
    write_shape(r);
    write_tokenizer(tokenizer.text, mn_test_join(r->shape.text, "tokenizer.json").text);
    write_others(r, fever, wiki.text);
    mn_fever_close(&fever);
    MN_ASSERT_OK(mn_device_open(&r->device, "cpu", 1));
}

static void stop(real *r) {
    mn_device_close(&r->device);
    mn_test_rmdir(r->dir.text);
}

static mn_status keep_first(void *context, const mn_train_step *step) {
    real *r = context;
    if (step->step == 1) r->first_loss = step->loss;
    return MN_OK;
}

static mn_train_options options_of(real *r) {
    mn_train_options o;
    mn_train_defaults(&o);
    o.data = r->data.text;
    o.output_dir = r->out.text;
    o.chunk_length = 128;
    o.on_step = keep_first;
    o.context = r;
    return o;
}

/* Loss of a model on the pages, per token, without a memory: one epoch at gate 0 and rate 0. */
static double base_loss(real *r, const char *model) {
    mn_train_options o = options_of(r);
    o.model = model;
    o.memory.gate = 0;
    o.learning_rate = 0;
    o.num_train_epochs = 1;
    mn_test_rmdir(r->out.text);
    MN_ASSERT_OK(mn_train(&r->summary, r->device, &o));
    mn_test_rmdir(r->out.text);
    return r->summary.epoch_loss;
}

static void test_by_heart(void **state) {
    real r;
    (void)state;
    start(&r, __func__);
    mn_train_options o = options_of(&r);
    o.model = r.shape.text;
    o.update = MN_UPDATE_FULL;
    o.init = MN_INIT_RANDOM;
    o.learning_rate = 0.006;
    o.num_train_epochs = 25;
    o.weight_decay = 0.01;
    o.max_grad_norm = 1;
    MN_ASSERT_OK(mn_train(&r.summary, r.device, &o));
    print_message("%lld tokens per epoch: loss %.3f, after %lld epochs %.3f (%.1f s)\n",
                  (long long)(r.summary.tokens / r.summary.epochs_done), r.first_loss,
                  (long long)r.summary.epochs_done, r.summary.epoch_loss, r.summary.seconds);
    assert_true(r.first_loss < 1.05 * log(VOCAB)); /* new weights know nothing, evenly */
    assert_true(r.summary.epoch_loss * 10 <= r.first_loss);
    stop(&r);
}

static void test_memory_alone(void **state) {
    real r;
    (void)state;
    start(&r, __func__);
    mn_train_options o = options_of(&r);
    o.model = r.shape.text;
    o.data = NULL;
    o.texts = r.texts.text;
    o.output_dir = r.backbone.text;
    o.update = MN_UPDATE_FULL;
    o.init = MN_INIT_RANDOM;
    o.learning_rate = 0.006;
    o.num_train_epochs = 20; /* until its output matrix can say something sharply */
    o.max_grad_norm = 1;
    MN_ASSERT_OK(mn_train(&r.summary, r.device, &o));
    const double others = r.summary.epoch_loss, base = base_loss(&r, r.backbone.text);
    o = options_of(&r);
    o.model = r.backbone.text;
    o.learning_rate = 0.005;
    o.num_train_epochs = 20;
    o.memory.hidden = 256;
    o.memory.blocks[0] = 1;
    o.memory.blocks[1] = 2;
    o.memory.block_count = 2;
    MN_ASSERT_OK(mn_train(&r.summary, r.device, &o));
    print_message("backbone %.3f on its own pages, %.3f on new ones; with a memory of them %.3f "
                  "(%lld numbers, %.1f s)\n",
                  others, base, r.summary.epoch_loss, (long long)r.summary.parameters,
                  r.summary.seconds);
    assert_true(others < 0.9 * log(VOCAB)); /* it has learnt something */
    assert_true(r.summary.epoch_loss < 0.6 * base);
    assert_true(r.summary.cached_samples > 0);
    stop(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_by_heart),
                                       cmocka_unit_test(test_memory_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
