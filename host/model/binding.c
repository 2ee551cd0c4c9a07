/* binding.c - one row per weight: its name in Hugging Face files, its place in the model, its shape
 * and the axis that tensor parallelism cuts. Loading, checking, inspecting, planning and random
 * weights all walk this table. */
#include "mneme/model.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef enum dim { DIM_NONE, DIM_C, DIM_F, DIM_V, DIM_Q, DIM_KV, DIM_QKV } dim;

typedef struct row {
    const char *name; /* %lld: the block's number */
    size_t place;     /* in mn_layer for blocks, else in mn_model */
    dim rows, cols;   /* cols DIM_NONE: a vector */
    int axis;         /* that ranks cut; -1: all have it */
} row;

#define MODEL(field) offsetof(mn_model, field)
#define LAYER(field) offsetof(mn_layer, field)

static const row neox_model[] = {
    {"gpt_neox.embed_in.weight", MODEL(embed_w), DIM_V, DIM_C, 0},
    {"gpt_neox.final_layer_norm.weight", MODEL(norm_w), DIM_C, DIM_NONE, -1},
    {"gpt_neox.final_layer_norm.bias", MODEL(norm_b), DIM_C, DIM_NONE, -1},
    {"embed_out.weight", MODEL(head_w), DIM_V, DIM_C, 0},
};

#define NEOX "gpt_neox.layers.%lld."
static const row neox_layer[] = {
    {NEOX "input_layernorm.weight", LAYER(norm1_w), DIM_C, DIM_NONE, -1},
    {NEOX "input_layernorm.bias", LAYER(norm1_b), DIM_C, DIM_NONE, -1},
    {NEOX "post_attention_layernorm.weight", LAYER(norm2_w), DIM_C, DIM_NONE, -1},
    {NEOX "post_attention_layernorm.bias", LAYER(norm2_b), DIM_C, DIM_NONE, -1},
    {NEOX "attention.query_key_value.weight", LAYER(qkv_w), DIM_QKV, DIM_C, 0},
    {NEOX "attention.query_key_value.bias", LAYER(qkv_b), DIM_QKV, DIM_NONE, 0},
    {NEOX "attention.dense.weight", LAYER(out_w), DIM_C, DIM_Q, 1},
    {NEOX "attention.dense.bias", LAYER(out_b), DIM_C, DIM_NONE, -1},
    {NEOX "mlp.dense_h_to_4h.weight", LAYER(up_w), DIM_F, DIM_C, 0},
    {NEOX "mlp.dense_h_to_4h.bias", LAYER(up_b), DIM_F, DIM_NONE, 0},
    {NEOX "mlp.dense_4h_to_h.weight", LAYER(down_w), DIM_C, DIM_F, 1},
    {NEOX "mlp.dense_4h_to_h.bias", LAYER(down_b), DIM_C, DIM_NONE, -1},
};

static const row llama_model[] = {
    {"model.embed_tokens.weight", MODEL(embed_w), DIM_V, DIM_C, 0},
    {"model.norm.weight", MODEL(norm_w), DIM_C, DIM_NONE, -1},
    {"lm_head.weight", MODEL(head_w), DIM_V, DIM_C, 0},
};

#define LLAMA "model.layers.%lld."
static const row llama_layer[] = {
    {LLAMA "input_layernorm.weight", LAYER(norm1_w), DIM_C, DIM_NONE, -1},
    {LLAMA "post_attention_layernorm.weight", LAYER(norm2_w), DIM_C, DIM_NONE, -1},
    {LLAMA "self_attn.q_proj.weight", LAYER(q_w), DIM_Q, DIM_C, 0},
    {LLAMA "self_attn.k_proj.weight", LAYER(k_w), DIM_KV, DIM_C, 0},
    {LLAMA "self_attn.v_proj.weight", LAYER(v_w), DIM_KV, DIM_C, 0},
    {LLAMA "self_attn.o_proj.weight", LAYER(out_w), DIM_C, DIM_Q, 1},
    {LLAMA "mlp.gate_proj.weight", LAYER(gate_w), DIM_F, DIM_C, 0},
    {LLAMA "mlp.up_proj.weight", LAYER(up_w), DIM_F, DIM_C, 0},
    {LLAMA "mlp.down_proj.weight", LAYER(down_w), DIM_C, DIM_F, 1},
};

typedef struct table {
    const row *model, *layer;
    int64_t model_rows, layer_rows;
} table;

#define COUNT(a) ((int64_t)(sizeof(a) / sizeof *(a)))

/* An untied output matrix is the last row of its table, so a tied model has one row less. */
static table table_of(const mn_model_config *c) {
    const table neox = {neox_model, neox_layer, COUNT(neox_model), COUNT(neox_layer)};
    const table llama = {llama_model, llama_layer, COUNT(llama_model), COUNT(llama_layer)};
    table t = c->arch == MN_NEOX ? neox : llama;
    t.model_rows -= c->tied;
    return t;
}

static int64_t size_of(dim d, const mn_model_config *c) {
    switch (d) {
    case DIM_NONE: return 0;
    case DIM_C: return c->dim;
    case DIM_F: return c->ffn_dim;
    case DIM_V: return c->vocab;
    case DIM_Q: return c->heads * c->head_dim;
    case DIM_KV: return c->kv_heads * c->head_dim;
    case DIM_QKV: return (c->heads + 2 * c->kv_heads) * c->head_dim;
    }
    return 0;
}

/* The ranks' parts of a dimension are never torn: heads stay whole. */
static mn_slice slice_of(dim d, int axis, const mn_model_config *c, const mn_shard *s) {
    mn_slice out = {.axis = axis, .whole = size_of(d, c)};
    out.count = out.whole;
    if (axis < 0 || !s) return out;
    switch (d) {
    case DIM_NONE:
    case DIM_C: break;
    case DIM_F: out.begin = s->ffn_begin, out.count = s->ffn_dim; break;
    case DIM_V: out.begin = s->vocab_begin, out.count = s->vocab; break;
    case DIM_Q: out.begin = s->head_begin * c->head_dim, out.count = s->heads * c->head_dim; break;
    case DIM_KV:
        out.begin = s->kv_head_begin * c->head_dim;
        out.count = s->kv_heads * c->head_dim;
        break;
    case DIM_QKV: /* q, k and v of one head stand together, so there are as many of each */
        out.begin = s->head_begin * 3 * c->head_dim;
        out.count = s->heads * 3 * c->head_dim;
        break;
    }
    return out;
}

int64_t mn_binding_count(const mn_model_config *c) {
    const table t = table_of(c);
    return t.model_rows + c->layers * t.layer_rows;
}

void mn_binding_at(mn_binding_row *out, const mn_model_config *c, mn_model *model, int64_t index) {
    const table t = table_of(c);
    const bool whole = index < t.model_rows;
    const int64_t layer = whole ? -1 : (index - t.model_rows) / t.layer_rows;
    const row *r = whole ? &t.model[index] : &t.layer[(index - t.model_rows) % t.layer_rows];
    *out = (mn_binding_row){.shape = {size_of(r->rows, c), size_of(r->cols, c)},
                            .ndim = r->cols == DIM_NONE ? 1 : 2,
                            .layer = layer,
                            .slice = slice_of(r->axis == 1 ? r->cols : r->rows, r->axis, c,
                                              model ? &model->shard : NULL)};
    if (whole) snprintf(out->name, sizeof out->name, "%s", r->name);
    else {
        /* The block's number goes where the pattern has %lld. */
        const char *mark = strstr(r->name, "%lld");
        snprintf(out->name, sizeof out->name, "%.*s%lld%s", (int)(mark - r->name), r->name,
                 (long long)layer, mark + 4);
    }
    if (!model) return;
    char *base = whole ? (char *)model : (char *)&model->layers[layer];
    out->weight = (mn_tensor *)(void *)(base + r->place);
}

bool mn_binding_is_buffer(const char *name) {
    static const char *const endings[] = {".attention.bias", ".attention.masked_bias",
                                          ".rotary_emb.inv_freq"};
    const size_t len = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t n = strlen(endings[i]);
        if (len > n && strcmp(name + len - n, endings[i]) == 0) return true;
    }
    return false;
}

bool mn_binding_is_tied_output(const mn_model_config *c, const char *name) {
    return c->tied &&
           (strcmp(name, "embed_out.weight") == 0 || strcmp(name, "lm_head.weight") == 0);
}

int64_t mn_model_parameters(const mn_model_config *c) {
    int64_t total = 0;
    for (int64_t i = 0; i < mn_binding_count(c); i++) {
        mn_binding_row r;
        mn_binding_at(&r, c, NULL, i);
        total += r.shape[0] * (r.ndim == 2 ? r.shape[1] : 1);
    }
    return total;
}
