/* config.c - config.json of GPT-NeoX and Llama models, checked; what is not supported is refused by
 * its key. Defaults are those of Hugging Face's configuration classes. */
#include "mneme/model.h"

#include <stdio.h>
#include <string.h>

enum { MAX_DIM = 1 << 20, MAX_LAYERS = 1 << 12, MAX_VOCAB = 1 << 24, MAX_POSITIONS = 1 << 24 };

const char *mn_arch_name(mn_arch arch) { return arch == MN_NEOX ? "GPT-NeoX" : "Llama"; }

static mn_status want_activation(const mn_json *doc, const char *expected) {
    const char *act = NULL;
    MN_TRY(mn_json_string_or(&act, doc, doc->root, "hidden_act", expected));
    MN_CHECK(strcmp(act, expected) == 0, MN_ERR_UNSUPPORTED,
             "%s: hidden_act \"%s\" is not supported; mneme has \"%s\" for this architecture",
             doc->name, act, expected);
    return MN_OK;
}

static mn_status refuse_true(const mn_json *doc, const char *key, bool by_default) {
    bool on = false;
    MN_TRY(mn_json_bool_or(&on, doc, doc->root, key, by_default));
    MN_CHECK(!on, MN_ERR_UNSUPPORTED, "%s: %s is not supported", doc->name, key);
    return MN_OK;
}

/* Only plain rotary embeddings: `rope_scaling`, or `rope_parameters` as transformers 5 writes it,
 * must be absent, null or of the default type. *out is the object, or the config itself. */
static mn_status read_rope(const cJSON **out, const mn_json *doc, const char *key) {
    const char *type = NULL;
    *out = doc->root;
    if (!mn_json_has(doc->root, key)) return MN_OK;
    MN_TRY(mn_json_object(out, doc, doc->root, key));
    MN_TRY(mn_json_string_or(&type, doc, *out, "type", "default"));
    MN_TRY(mn_json_string_or(&type, doc, *out, "rope_type", type));
    MN_CHECK(strcmp(type, "default") == 0, MN_ERR_UNSUPPORTED,
             "%s: $.%s: rope scaling of type \"%s\" is not supported", doc->name, key, type);
    return MN_OK;
}

static mn_status special_id(int32_t *out, const mn_json *doc, const char *key, int64_t fallback) {
    int64_t id = fallback;
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(doc->root, key);
    if (cJSON_IsArray(node)) node = node->child; /* several: the first one */
    if (node && !cJSON_IsNull(node)) MN_TRY(mn_json_as_i64(&id, doc, node, -1, MAX_VOCAB));
    *out = (int32_t)id;
    return MN_OK;
}

static mn_status parse_neox(mn_model_config *c, const mn_json *doc, const cJSON *rope) {
    const cJSON *root = doc->root;
    double rotary = 0, base = 0, eps = 0;
    MN_TRY(want_activation(doc, "gelu"));
    MN_TRY(mn_json_f64_or(&rotary, doc, root, "partial_rotary_factor", 0.25));
    MN_TRY(mn_json_f64_or(&rotary, doc, root, "rotary_pct", rotary));
    MN_TRY(mn_json_f64_or(&rotary, doc, rope, "partial_rotary_factor", rotary));
    MN_TRY(mn_json_f64_or(&base, doc, root, "rope_theta", 10000));
    MN_TRY(mn_json_f64_or(&base, doc, root, "rotary_emb_base", base));
    MN_TRY(mn_json_f64_or(&base, doc, rope, "rope_theta", base));
    MN_TRY(mn_json_f64_or(&eps, doc, root, "layer_norm_eps", 1e-5));
    MN_TRY(mn_json_bool_or(&c->parallel_residual, doc, root, "use_parallel_residual", true));
    bool bias = true;
    MN_TRY(mn_json_bool_or(&bias, doc, root, "attention_bias", true));
    MN_CHECK(bias, MN_ERR_UNSUPPORTED, "%s: attention_bias false is not supported for GPT-NeoX",
             doc->name);
    MN_CHECK(rotary > 0 && rotary <= 1, MN_ERR_DATA, "%s: $.rotary_pct: %g is not in (0, 1]",
             doc->name, rotary);
    c->kv_heads = c->heads;
    c->head_dim = c->dim / c->heads;
    c->rotary_dims = (int64_t)((double)c->head_dim * rotary);
    c->rope_base = base;
    c->norm_eps = (float)eps;
    MN_TRY(special_id(&c->bos, doc, "bos_token_id", 0));
    return special_id(&c->eos, doc, "eos_token_id", 2); /* GPTNeoXConfig; Pythia says 0 */
}

static mn_status parse_llama(mn_model_config *c, const mn_json *doc, const cJSON *rope) {
    const cJSON *root = doc->root;
    double base = 0, eps = 0;
    MN_TRY(want_activation(doc, "silu"));
    MN_TRY(refuse_true(doc, "attention_bias", false));
    MN_TRY(refuse_true(doc, "mlp_bias", false));
    MN_TRY(mn_json_i64_or(&c->kv_heads, doc, root, "num_key_value_heads", 1, c->heads, c->heads));
    MN_TRY(mn_json_i64_or(&c->head_dim, doc, root, "head_dim", 2, MAX_DIM, c->dim / c->heads));
    MN_TRY(mn_json_f64_or(&base, doc, root, "rope_theta", 10000));
    MN_TRY(mn_json_f64_or(&base, doc, rope, "rope_theta", base));
    MN_TRY(mn_json_f64_or(&eps, doc, root, "rms_norm_eps", 1e-6));
    MN_CHECK(c->heads % c->kv_heads == 0, MN_ERR_DATA,
             "%s: $.num_key_value_heads: %lld does not divide %lld heads", doc->name,
             (long long)c->kv_heads, (long long)c->heads);
    c->rotary_dims = c->head_dim;
    c->rope_base = base;
    c->norm_eps = (float)eps;
    MN_TRY(special_id(&c->bos, doc, "bos_token_id", 1));
    return special_id(&c->eos, doc, "eos_token_id", 2);
}

static mn_status find_arch(mn_arch *out, const mn_json *doc) {
    static const struct {
        const char *model_type, *class_name;
        mn_arch arch;
    } known[] = {{"gpt_neox", "GPTNeoXForCausalLM", MN_NEOX},
                 {"llama", "LlamaForCausalLM", MN_LLAMA}};
    const char *type = NULL;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(doc->root, "architectures");
    const cJSON *first = cJSON_IsArray(list) ? list->child : NULL;
    MN_TRY(mn_json_string_or(&type, doc, doc->root, "model_type", ""));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (cJSON_IsString(first) ? strcmp(first->valuestring, known[i].class_name) == 0
                                  : strcmp(type, known[i].model_type) == 0) {
            *out = known[i].arch;
            return MN_OK;
        }
    return mn_fail(MN_ERR_UNSUPPORTED,
                   "%s: architecture \"%s\" is not supported; mneme runs GPTNeoXForCausalLM and "
                   "LlamaForCausalLM",
                   doc->name, cJSON_IsString(first) ? first->valuestring : type);
}

mn_status mn_model_config_parse(mn_model_config *out, const mn_json *doc) {
    const cJSON *root = doc->root, *scaling, *rope;
    mn_model_config c = {.bos = -1, .eos = -1};
    MN_TRY(find_arch(&c.arch, doc));
    const bool neox = c.arch == MN_NEOX;
    MN_TRY(mn_json_i64(&c.dim, doc, root, "hidden_size", 1, MAX_DIM));
    MN_TRY(mn_json_i64(&c.layers, doc, root, "num_hidden_layers", 1, MAX_LAYERS));
    MN_TRY(mn_json_i64(&c.heads, doc, root, "num_attention_heads", 1, c.dim));
    MN_TRY(mn_json_i64(&c.ffn_dim, doc, root, "intermediate_size", 1, MAX_DIM));
    MN_TRY(mn_json_i64(&c.vocab, doc, root, "vocab_size", 1, MAX_VOCAB));
    MN_TRY(mn_json_i64_or(&c.max_positions, doc, root, "max_position_embeddings", 1, MAX_POSITIONS,
                          2048));
    MN_TRY(mn_json_f64_or(&c.initializer_range, doc, root, "initializer_range", 0.02));
    MN_TRY(mn_json_bool_or(&c.tied, doc, root, "tie_word_embeddings", false));
    MN_TRY(read_rope(&scaling, doc, "rope_scaling"));
    MN_TRY(read_rope(&rope, doc, "rope_parameters"));
    MN_CHECK(c.dim % c.heads == 0, MN_ERR_DATA,
             "%s: $.num_attention_heads: %lld does not divide hidden_size %lld", doc->name,
             (long long)c.heads, (long long)c.dim);
    MN_TRY(neox ? parse_neox(&c, doc, rope) : parse_llama(&c, doc, rope));
    MN_CHECK(c.rope_base > 0, MN_ERR_DATA, "%s: a rotary base of %g, more than 0 expected",
             doc->name, c.rope_base);
    MN_CHECK(c.norm_eps >= 0, MN_ERR_DATA, "%s: a norm epsilon of %g, 0 or more expected",
             doc->name, (double)c.norm_eps);
    MN_CHECK(c.initializer_range >= 0, MN_ERR_DATA,
             "%s: $.initializer_range: %g, 0 or more expected", doc->name, c.initializer_range);
    MN_CHECK(c.rotary_dims > 0 && c.rotary_dims % 2 == 0, MN_ERR_DATA,
             "%s: %lld rotary dimensions per head cannot be paired", doc->name,
             (long long)c.rotary_dims);
    MN_CHECK(c.head_dim <= 512, MN_ERR_UNSUPPORTED, "%s: heads of size %lld, at most 512",
             doc->name, (long long)c.head_dim);
    *out = c;
    return MN_OK;
}

mn_status mn_model_fits_tokens(const mn_model_config *config, int64_t tokens, const char *name) {
    MN_CHECK(tokens <= config->vocab, MN_ERR_DATA,
             "%s: the tokenizer has %lld tokens, the model %lld: they do not belong together", name,
             (long long)tokens, (long long)config->vocab);
    return MN_OK;
}

mn_status mn_model_config_load(mn_model_config *out, const char *dir) {
    mn_buf path = {0};
    mn_json *doc = NULL;
    mn_status st = MN_OK;
    MN_CHECK(mn_dir_exists(dir), MN_ERR_IO, "%s: no such model folder", dir);
    MN_GOTO(mn_path_join(&path, dir, "config.json"));
    MN_GOTO(mn_json_load(&doc, path.data));
    MN_GOTO(mn_model_config_parse(out, doc));
done:
    mn_json_close(&doc);
    mn_buf_free(&path);
    return st;
}

/* The twelve models. Pythia: EleutherAI/pythia models/ *.yml; Llama-2: Meta's config.json files. */
static const struct {
    const char *name;
    mn_arch arch;
    int64_t dim, layers, heads, ffn, vocab, positions;
} named[MN_MODELS] = {
    {"pythia-70m", MN_NEOX, 512, 6, 8, 2048, 50304, 2048},
    {"pythia-160m", MN_NEOX, 768, 12, 12, 3072, 50304, 2048},
    {"pythia-410m", MN_NEOX, 1024, 24, 16, 4096, 50304, 2048},
    {"pythia-1b", MN_NEOX, 2048, 16, 8, 8192, 50304, 2048},
    {"pythia-1.4b", MN_NEOX, 2048, 24, 16, 8192, 50304, 2048},
    {"pythia-2.8b", MN_NEOX, 2560, 32, 32, 10240, 50304, 2048},
    {"pythia-6.9b", MN_NEOX, 4096, 32, 32, 16384, 50432, 2048},
    {"pythia-12b", MN_NEOX, 5120, 36, 40, 20480, 50688, 2048},
    {"llama-2-7b", MN_LLAMA, 4096, 32, 32, 11008, 32000, 4096},
    {"llama-2-7b-chat", MN_LLAMA, 4096, 32, 32, 11008, 32000, 4096},
    {"llama-2-13b", MN_LLAMA, 5120, 40, 40, 13824, 32000, 4096},
    {"llama-2-13b-chat", MN_LLAMA, 5120, 40, 40, 13824, 32000, 4096},
};

const char *mn_model_config_name(int index) { return named[index].name; }

mn_status mn_model_config_named(mn_model_config *out, const char *name) {
    char list[256] = "";
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        const int64_t head = named[i].dim / named[i].heads;
        const bool neox = named[i].arch == MN_NEOX;
        const size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", named[i].name);
        if (strcmp(name, named[i].name) != 0) continue;
        *out = (mn_model_config){.arch = named[i].arch,
                                 .dim = named[i].dim,
                                 .layers = named[i].layers,
                                 .heads = named[i].heads,
                                 .kv_heads = named[i].heads,
                                 .head_dim = head,
                                 .rotary_dims = neox ? head / 4 : head,
                                 .ffn_dim = named[i].ffn,
                                 .vocab = named[i].vocab,
                                 .max_positions = named[i].positions,
                                 .rope_base = 10000,
                                 .norm_eps = 1e-5f,
                                 .initializer_range = 0.02,
                                 .parallel_residual = neox,
                                 .bos = neox ? 0 : 1,
                                 .eos = neox ? 0 : 2};
        return MN_OK;
    }
    return mn_fail(MN_ERR_USAGE, "shape '%s' is unknown; there are: %s", name, list);
}
