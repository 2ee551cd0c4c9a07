/* model_save.c - writes a model as a Hugging Face folder: model.safetensors and config.json. */
#include "model/model_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- config.json ---- */

/* The shortest decimal that is this float. */
static mn_status put_float(mn_buf *out, const char *key, float value) {
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    return mn_buf_printf(out, ",\n  \"%s\": %s", key, text);
}

static mn_status put_double(mn_buf *out, const char *key, double value) {
    MN_TRY(mn_buf_printf(out, ",\n  \"%s\": ", key));
    return mn_json_number(out, value);
}

static mn_status put_integer(mn_buf *out, const char *key, int64_t value) {
    return mn_buf_printf(out, ",\n  \"%s\": %lld", key, (long long)value);
}

/* Readers take the integer part of head_dim * share: it must not end up below the number meant. */
static double rotary_share(const mn_model_config *c) {
    double share = (double)c->rotary_dims / (double)c->head_dim;
    if ((int64_t)((double)c->head_dim * share) < c->rotary_dims) share = nextafter(share, 2);
    return share;
}

static mn_status put_neox(mn_buf *out, const mn_model_config *c) {
    MN_TRY(put_double(out, "rotary_pct", rotary_share(c)));
    MN_TRY(put_double(out, "rotary_emb_base", c->rope_base));
    MN_TRY(put_float(out, "layer_norm_eps", c->norm_eps));
    return mn_buf_printf(out, ",\n  \"hidden_act\": \"gelu\",\n  \"use_parallel_residual\": %s",
                         c->parallel_residual ? "true" : "false");
}

static mn_status put_llama(mn_buf *out, const mn_model_config *c) {
    MN_TRY(put_integer(out, "num_key_value_heads", c->kv_heads));
    if (c->head_dim * c->heads != c->dim) MN_TRY(put_integer(out, "head_dim", c->head_dim));
    MN_TRY(put_double(out, "rope_theta", c->rope_base));
    MN_TRY(put_float(out, "rms_norm_eps", c->norm_eps));
    return mn_buf_puts(out, ",\n  \"hidden_act\": \"silu\",\n  \"attention_bias\": false");
}

static mn_status config_text(mn_buf *out, const mn_model_config *c, mn_dtype dtype) {
    const bool neox = c->arch == MN_NEOX;
    const char *type = dtype == MN_F32 ? "float32" : dtype == MN_F16 ? "float16" : "bfloat16";
    const struct {
        const char *key;
        int64_t value;
    } integers[] = {
        {"hidden_size", c->dim},           {"num_hidden_layers", c->layers},
        {"num_attention_heads", c->heads}, {"intermediate_size", c->ffn_dim},
        {"vocab_size", c->vocab},          {"max_position_embeddings", c->max_positions},
        {"bos_token_id", c->bos},          {"eos_token_id", c->eos}};
    MN_TRY(mn_buf_printf(out, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\"",
                         neox ? "GPTNeoXForCausalLM" : "LlamaForCausalLM",
                         neox ? "gpt_neox" : "llama"));
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
        MN_TRY(put_integer(out, integers[i].key, integers[i].value));
    MN_TRY(neox ? put_neox(out, c) : put_llama(out, c));
    MN_TRY(put_double(out, "initializer_range", c->initializer_range));
    return mn_buf_printf(out,
                         ",\n  \"tie_word_embeddings\": %s,\n"
                         "  \"torch_dtype\": \"%s\",\n  \"use_cache\": true\n}\n",
                         c->tied ? "true" : "false", type);
}

/* ---- model.safetensors ---- */

/* to = from in to's type, or `to` is `from`, which may be mapped and is not written; a number that the
 * type cannot hold is named. */
static mn_status convert(mn_tensor *to, const mn_tensor *from, const char *path, const char *name) {
    const int64_t n = mn_tensor_count(from);
    for (int64_t i = 0; i < n; i++) {
        const float value = mn_element(from, i);
        if (to->data != from->data) mn_put_element(to, i, value);
        MN_CHECK(isfinite(mn_element(to, i)), MN_ERR_NUMERIC,
                 "%s: tensor %s: element %lld is %g, which %s does not hold", path, name,
                 (long long)i, (double)value, mn_dtype_name(to->dtype));
    }
    return MN_OK;
}

/* One tensor in host memory and in the wanted type, itself or a copy at *at, which moves on. */
static mn_status bring(mn_stored *out, const mn_model *m, const mn_binding_row *row, mn_dtype dtype,
                       unsigned char **at, const char *path) {
    mn_status st = MN_OK;
    mn_tensor host = *row->weight;
    void *fetched = NULL;
    MN_CHECK(host.layout == MN_LAYOUT_ROWS, MN_ERR_USAGE, "%s: tensor %s lies in panels", path,
             row->name);
    *out = (mn_stored){.name = row->name, .view = host};
    out->view.dtype = dtype;
    if (!m->device->host_memory) {
        const size_t bytes = mn_tensor_bytes(&host);
        fetched = malloc(bytes);
        MN_CHECK_GOTO(fetched, MN_ERR_MEMORY, "%s: no memory for tensor %s", path, row->name);
        MN_GOTO(m->device->download(m->device, fetched, host.data, bytes));
        host.data = fetched;
    }
    if (fetched || host.dtype != dtype) {
        out->view.data = *at;
        *at += (mn_tensor_bytes(&out->view) + 63) / 64 * 64;
    }
    st = convert(&out->view, &host, path, row->name);
done:
    free(fetched);
    return st;
}

static mn_status write_weights(const mn_model *model, const char *path, mn_dtype dtype) {
    const int64_t count = mn_binding_count(&model->config);
    mn_model whole = *model; /* the binding table gives writable places; these are only read */
    mn_status st = MN_OK;
    mn_stored *stored = calloc((size_t)count, sizeof *stored);
    mn_binding_row *rows = calloc((size_t)count, sizeof *rows);
    const size_t bytes = (size_t)mn_model_parameters(&model->config) * mn_dtype_size(dtype) +
                         (size_t)count * 64;
    unsigned char *copies = aligned_alloc(64, (bytes + 63) / 64 * 64), *at = copies;
    MN_CHECK_GOTO(stored && rows && copies, MN_ERR_MEMORY, "%s: no memory for %zu bytes", path,
                  bytes);
    for (int64_t i = 0; i < count; i++) {
        mn_binding_at(&rows[i], &model->config, &whole, i);
        MN_GOTO(bring(&stored[i], model, &rows[i], dtype, &at, path));
    }
    st = mn_safetensors_write(path, stored, count, "{\"format\":\"pt\"}");
done:
    free(copies);
    free(rows);
    free(stored);
    return st;
}

mn_status mn_model_save(const mn_model *model, const char *dir, mn_dtype dtype) {
    mn_buf path = {0}, text = {0};
    mn_status st = MN_OK;
    MN_CHECK(dtype == MN_F32 || dtype == MN_F16 || dtype == MN_BF16, MN_ERR_USAGE,
             "%s: weights are written as F32, F16 or BF16, not %s", dir, mn_dtype_name(dtype));
    MN_GOTO(mn_make_dirs(dir));
    MN_GOTO(mn_path_join(&path, dir, "model.safetensors"));
    MN_GOTO(write_weights(model, path.data, dtype));
    MN_GOTO(mn_path_join(&path, dir, "config.json"));
    MN_GOTO(config_text(&text, &model->config, dtype));
    st = mn_write_file(path.data, text.data, text.len);
done:
    mn_buf_free(&text);
    mn_buf_free(&path);
    return st;
}
