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

/* One file on its way; rank 0 writes it, tensor by tensor, so that there is never more than one in memory. */
typedef struct saving {
    const mn_model *model;
    const char *path;
    mn_dtype dtype;
    mn_binding_row *rows;
    mn_writer *writer;
    void *found, *wanted; /* the largest tensor in the model's type and in the file's */
} saving;

/* What all ranks need; the model's places are only read. */
static mn_status list_rows(saving *s, mn_model *model, int64_t count) {
    s->rows = calloc((size_t)count, sizeof *s->rows);
    MN_CHECK(s->rows, MN_ERR_MEMORY, "%s: no memory for %lld tensors", s->path, (long long)count);
    for (int64_t i = 0; i < count; i++) {
        mn_binding_at(&s->rows[i], &model->config, model, i);
        MN_CHECK(s->rows[i].weight->layout == MN_LAYOUT_ROWS, MN_ERR_USAGE,
                 "%s: tensor %s lies in panels", s->path, s->rows[i].name);
    }
    return MN_OK;
}

/* The file's head, and room for the largest tensor. */
static mn_status begin(saving *s, int64_t count) {
    mn_status st = MN_OK;
    size_t found = 0, wanted = 0;
    mn_stored *heads = calloc((size_t)count, sizeof *heads);
    MN_CHECK(heads, MN_ERR_MEMORY, "%s: no memory for %lld tensors", s->path, (long long)count);
    for (int64_t i = 0; i < count; i++) {
        mn_tensor whole = mn_slice_whole(&s->rows[i].slice, s->rows[i].weight);
        if (mn_tensor_bytes(&whole) > found) found = mn_tensor_bytes(&whole);
        whole.dtype = s->dtype;
        if (mn_tensor_bytes(&whole) > wanted) wanted = mn_tensor_bytes(&whole);
        heads[i] = (mn_stored){.name = s->rows[i].name, .view = whole};
    }
    s->found = malloc(found);
    s->wanted = malloc(wanted);
    MN_CHECK_GOTO(s->found && s->wanted, MN_ERR_MEMORY, "%s: no memory for %zu bytes", s->path,
                  found + wanted);
    st = mn_safetensors_begin(&s->writer, s->path, heads, count, "{\"format\":\"pt\"}");
done:
    free(heads);
    return st;
}

/* The row whose numbers lie in s->found. */
static mn_status write_row(saving *s, const mn_binding_row *row) {
    mn_tensor from = mn_slice_whole(&row->slice, row->weight), to = from;
    from.data = to.data = s->found;
    if (from.dtype != s->dtype) {
        to.dtype = s->dtype;
        to.data = s->wanted;
    }
    MN_TRY(convert(&to, &from, s->path, row->name));
    return mn_writer_write(s->writer, to.data, mn_tensor_bytes(&to));
}

/* All ranks go the same way: whatever may fail on one of them alone is agreed upon. */
static mn_status write_weights(mn_model *model, const char *path, mn_dtype dtype) {
    const int64_t count = mn_binding_count(&model->config);
    const bool writes = mn_comm_rank(model->tp) == 0;
    saving s = {.model = model, .path = path, .dtype = dtype};
    mn_status st = list_rows(&s, model, count);
    if (st == MN_OK && writes) st = begin(&s, count);
    MN_GOTO(mn_comm_agree(model->tp, st));
    for (int64_t i = 0; i < count; i++) {
        const mn_binding_row *row = &s.rows[i];
        st = mn_slice_gather(s.found, model->tp, model->device, row->weight, &row->slice);
        if (st == MN_OK && writes) st = write_row(&s, row);
        MN_GOTO(mn_comm_agree(model->tp, st));
    }
    if (writes) st = mn_writer_commit(s.writer);
    st = mn_comm_agree(model->tp, st);
done:
    mn_writer_close(&s.writer);
    free(s.wanted);
    free(s.found);
    free(s.rows);
    return st;
}

static mn_status write_config(const mn_model *model, const char *path, mn_dtype dtype) {
    mn_buf text = {0};
    mn_status st = config_text(&text, &model->config, dtype);
    if (st == MN_OK) st = mn_write_file(path, text.data, text.len);
    mn_buf_free(&text);
    return st;
}

mn_status mn_model_save(const mn_model *model, const char *dir, mn_dtype dtype) {
    const bool writes = mn_comm_rank(model->tp) == 0;
    mn_model whole = *model; /* the binding table gives writable places; these are only read */
    mn_buf path = {0};
    mn_status st = MN_OK;
    MN_CHECK(dtype == MN_F32 || dtype == MN_F16 || dtype == MN_BF16, MN_ERR_USAGE,
             "%s: weights are written as F32, F16 or BF16, not %s", dir, mn_dtype_name(dtype));
    if (writes) st = mn_make_dirs(dir);
    if (st == MN_OK) st = mn_path_join(&path, dir, "model.safetensors");
    MN_GOTO(mn_comm_agree(model->tp, st));
    MN_GOTO(write_weights(&whole, path.data, dtype));
    if (writes) st = mn_path_join(&path, dir, "config.json");
    if (st == MN_OK && writes) st = write_config(model, path.data, dtype);
    st = mn_comm_agree(model->tp, st);
done:
    mn_buf_free(&path);
    return st;
}
