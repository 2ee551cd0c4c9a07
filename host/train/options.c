/* options.c - the keys of a training as data: defaults, JSON, and whether two runs may continue each
 * other. Every list below comes from train_keys.def. */
#include "train/options.h"

#include <stdlib.h>
#include <string.h>

const char *const mn_train_updates[] = {"memory", "full", NULL};
const char *const mn_train_inits[] = {"pretrained", "random", NULL};
const char *const mn_train_save_dtypes[] = {"fp32", "fp16", "bf16", NULL};
const char *const mn_train_computes[] = {"f32", "bf16", NULL};
const char *const mn_param_groups[] = {"weight", "bias", "norm", "gate", NULL};

static unsigned choice(const char *const *names, const char *name) {
    unsigned i = 0;
    while (names[i] && strcmp(names[i], name) != 0) i++;
    return i;
}

static const double location[2] = {0.7, 0.8};

#define mn_required NULL
void mn_train_defaults(mn_train_options *o) {
    *o = (mn_train_options){.decay_groups = 1u << MN_PARAM_WEIGHT};
    memcpy(o->memory.location, location, sizeof location);
#define MN_KEY_PATH(field, what, text, bearing, about) o->field = text;
#define MN_KEY_TEXT(field, text, bearing, about) o->field = text;
#define MN_KEY_I64(field, text, low, high, bearing, about) o->field = strtoll(text, NULL, 10);
#define MN_KEY_F64(field, text, low, high, bearing, about) o->field = strtod(text, NULL);
#define MN_KEY_FLAG(field, text, bearing, about) o->field = strcmp(text, "true") == 0;
#define MN_KEY_CHOICE(field, text, names, bearing, about) o->field = choice(names, text);
#include "mneme/train_keys.def"
#undef MN_KEY_PATH
#undef MN_KEY_TEXT
#undef MN_KEY_I64
#undef MN_KEY_F64
#undef MN_KEY_FLAG
#undef MN_KEY_CHOICE
}
#undef mn_required

/* ---- as JSON ---- */

static mn_status put_text(mn_buf *out, const char *text) {
    return text ? mn_json_quote(out, text, strlen(text)) : mn_buf_puts(out, "null");
}

static mn_status put_lists(mn_buf *out, const mn_train_options *o) {
    const char *before = "";
    MN_TRY(mn_buf_puts(out, ", \"memory.location\": ["));
    MN_TRY(mn_json_number(out, o->memory.location[0]));
    MN_TRY(mn_buf_puts(out, ", "));
    MN_TRY(mn_json_number(out, o->memory.location[1]));
    MN_TRY(mn_buf_puts(out, "], \"memory.blocks\": ["));
    for (int64_t i = 0; i < o->memory.block_count; i++)
        MN_TRY(mn_buf_printf(out, "%s%lld", i ? ", " : "", (long long)o->memory.blocks[i]));
    MN_TRY(mn_buf_puts(out, "], \"decay_groups\": ["));
    for (int i = 0; mn_param_groups[i]; i++)
        if (o->decay_groups >> i & 1u) {
            MN_TRY(mn_buf_printf(out, "%s\"%s\"", before, mn_param_groups[i]));
            before = ", ";
        }
    return mn_buf_puts(out, "]");
}

mn_status mn_train_options_json(mn_buf *out, const mn_train_options *o) {
    const char *before = "{";
#define PUT(field, call)                                                                           \
    MN_TRY(mn_buf_printf(out, "%s\"" #field "\": ", before));                                      \
    MN_TRY(call);                                                                                  \
    before = ", ";
#define MN_KEY_PATH(field, what, text, bearing, about) PUT(field, put_text(out, o->field))
#define MN_KEY_TEXT(field, text, bearing, about) PUT(field, put_text(out, o->field))
#define MN_KEY_I64(field, text, low, high, bearing, about)                                         \
    PUT(field, mn_buf_printf(out, "%lld", (long long)o->field))
#define MN_KEY_F64(field, text, low, high, bearing, about) PUT(field, mn_json_number(out, o->field))
#define MN_KEY_FLAG(field, text, bearing, about)                                                   \
    PUT(field, mn_buf_puts(out, o->field ? "true" : "false"))
#define MN_KEY_CHOICE(field, text, names, bearing, about)                                          \
    PUT(field, put_text(out, (names)[o->field]))
#include "mneme/train_keys.def"
#undef MN_KEY_PATH
#undef MN_KEY_TEXT
#undef MN_KEY_I64
#undef MN_KEY_F64
#undef MN_KEY_FLAG
#undef MN_KEY_CHOICE
    MN_TRY(put_lists(out, o));
    return mn_buf_puts(out, "}");
}

/* ---- the same run? ---- */

static const struct {
    const char *name;
    bool bears;
} keys[] = {
#define MN_FREE false
#define MN_BEARS true
#define MN_KEY_PATH(field, what, text, bearing, about) {#field, bearing},
#define MN_KEY_TEXT(field, text, bearing, about) {#field, bearing},
#define MN_KEY_I64(field, text, low, high, bearing, about) {#field, bearing},
#define MN_KEY_F64(field, text, low, high, bearing, about) {#field, bearing},
#define MN_KEY_FLAG(field, text, bearing, about) {#field, bearing},
#define MN_KEY_CHOICE(field, text, names, bearing, about) {#field, bearing},
#include "mneme/train_keys.def"
    {"memory.location", true},
    {"memory.blocks", true},
    {"decay_groups", true},
};

static mn_status differs(const char *where, const char *key, const cJSON *then, const cJSON *now) {
    char *old = then ? cJSON_PrintUnformatted(then) : NULL, *new = cJSON_PrintUnformatted(now);
    const mn_status st = mn_fail(
        MN_ERR_USAGE,
        "%s was made with %s %s, now it is %s: take that again, another output_dir, or "
        "resume_from_checkpoint never to start anew",
        where, key, old ? old : "unset", new ? new : "?");
    cJSON_free(old);
    cJSON_free(new);
    return st;
}

mn_status mn_train_options_match(const mn_json *doc, const cJSON *then,
                                 const mn_train_options *options) {
    mn_status st = MN_OK;
    mn_buf text = {0};
    mn_json *now = NULL;
    MN_GOTO(mn_train_options_json(&text, options));
    MN_GOTO(mn_json_parse(&now, text.data, text.len, "options"));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!keys[i].bears) continue;
        const cJSON *a = cJSON_GetObjectItemCaseSensitive(then, keys[i].name);
        const cJSON *b = cJSON_GetObjectItemCaseSensitive(now->root, keys[i].name);
        if (!cJSON_Compare(a, b, true)) {
            st = differs(doc->name, keys[i].name, a, b);
            goto done;
        }
    }
done:
    mn_json_close(&now);
    mn_buf_free(&text);
    return st;
}

/* ---- sense ---- */

mn_status mn_train_options_check(const mn_train_options *o) {
    MN_CHECK(o->model && o->output_dir, MN_ERR_USAGE, "a training needs model and output_dir");
    MN_CHECK(!o->data != !o->texts, MN_ERR_USAGE,
             "a training needs either data or texts, %s are given", o->data ? "both" : "none");
    MN_CHECK(o->init == MN_INIT_PRETRAINED || o->update == MN_UPDATE_FULL, MN_ERR_USAGE,
             "init: random weights are for update full; behind a frozen random backbone a memory "
             "learns nothing");
    MN_CHECK(o->max_steps > 0 || o->num_train_epochs > 0, MN_ERR_USAGE,
             "num_train_epochs and max_steps are both 0: nothing would be trained");
    MN_CHECK(o->early_stopping_patience == 0 || o->validation_fraction > 0, MN_ERR_USAGE,
             "early_stopping_patience: validation_fraction is 0, there is no validation loss");
    MN_CHECK(o->memory.location[0] < o->memory.location[1], MN_ERR_USAGE,
             "memory.location: from %g to %g is no range", o->memory.location[0],
             o->memory.location[1]);
    MN_CHECK(o->compute == MN_COMPUTE_F32 || o->update == MN_UPDATE_MEMORY, MN_ERR_USAGE,
             "compute: bf16 is for frozen weights; update full computes in f32");
    for (int64_t i = 1; i < o->memory.block_count; i++)
        MN_CHECK(o->memory.blocks[i] > o->memory.blocks[i - 1], MN_ERR_USAGE,
                 "memory.blocks: %lld stands behind %lld; blocks rise",
                 (long long)o->memory.blocks[i], (long long)o->memory.blocks[i - 1]);
    return MN_OK;
}
