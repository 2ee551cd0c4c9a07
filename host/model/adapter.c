/* adapter.c - a memory as a folder: adapter_config.json and adapter_model.safetensors, laid out like
 * the adapters of Hugging Face's peft. */
#include "model/memory_impl.h"
#include "model/model_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG "adapter_config.json"
#define WEIGHTS "adapter_model.safetensors"
#define PEFT_TYPE "MNEME_MEMORY"

/* What the file says about the form of the module. There is one form; a reader refuses others. */
static const struct {
    const char *key, *value;
} forms[] = {{"activation", "gelu"}, {"norm", "layer_norm"}, {"gate", "scalar"}};

enum { FORMS = sizeof forms / sizeof *forms };

/* ---- writing ---- */

/* All parameters, whole, for the file; on rank 0 with their numbers, from `copies` on. */
static mn_status collect(mn_stored *stored, mn_memory_param *rows, unsigned char *copies,
                         const mn_memory *memory) {
    mn_memory whole =
        *memory; /* the list of parameters gives writable tensors; here they are read */
    for (int64_t i = 0; i < memory->count * MN_MEMORY_PARAMS; i++) {
        mn_memory_param_at(&rows[i], &whole, i);
        const mn_slice *slice = &rows[i].slice;
        stored[i] = (mn_stored){.name = rows[i].name,
                                .view = mn_slice_whole(slice, rows[i].tensor)};
        stored[i].view.data = copies;
        MN_TRY(mn_comm_agree(memory->tp, mn_slice_gather(copies, memory->tp, memory->device,
                                                         rows[i].tensor, slice)));
        if (copies) copies += mn_tensor_bytes(&stored[i].view);
    }
    return MN_OK;
}

static mn_status write_weights(const mn_memory *memory, const char *path) {
    const bool writes = mn_comm_rank(memory->tp) == 0;
    const int64_t count = memory->count * MN_MEMORY_PARAMS;
    const size_t bytes = (size_t)mn_memory_parameters(memory) * sizeof(float);
    mn_status st = MN_OK;
    mn_stored *stored = calloc((size_t)count, sizeof *stored);
    mn_memory_param *rows = calloc((size_t)count, sizeof *rows);
    unsigned char *copies = writes ? malloc(bytes) : NULL;
    if (!stored || !rows || (writes && !copies))
        st = mn_fail(MN_ERR_MEMORY, "%s: no memory to write it", path);
    MN_GOTO(mn_comm_agree(memory->tp, st));
    MN_GOTO(collect(stored, rows, copies, memory));
    if (writes) st = mn_safetensors_write(path, stored, count, "{\"format\":\"pt\"}");
    st = mn_comm_agree(memory->tp, st);
done:
    free(copies);
    free(rows);
    free(stored);
    return st;
}

static mn_status config_text(mn_buf *out, const mn_memory *memory, const char *base_model) {
    MN_TRY(mn_buf_puts(out, "{\n  \"peft_type\": \"" PEFT_TYPE "\",\n"
                            "  \"task_type\": \"CAUSAL_LM\",\n  \"base_model_name_or_path\": "));
    MN_TRY(mn_json_quote(out, base_model, strlen(base_model)));
    MN_TRY(mn_buf_puts(out, ",\n  \"name\": "));
    MN_TRY(mn_json_quote(out, memory->name, strlen(memory->name)));
    MN_TRY(mn_buf_printf(out, ",\n  \"hidden_size\": %lld,\n  \"hidden\": %lld,\n  \"blocks\": [",
                         (long long)memory->dim, (long long)memory->hidden));
    for (int64_t i = 0; i < memory->count; i++)
        MN_TRY(mn_buf_printf(out, "%s%lld", i ? ", " : "", (long long)memory->layers[i].block));
    MN_TRY(mn_buf_puts(out, "]"));
    for (int i = 0; i < FORMS; i++)
        MN_TRY(mn_buf_printf(out, ",\n  \"%s\": \"%s\"", forms[i].key, forms[i].value));
    return mn_buf_puts(out, ",\n  \"inference_mode\": true\n}\n");
}

static mn_status write_config(const mn_memory *memory, const char *path, const char *base_model) {
    mn_buf text = {0};
    mn_status st = config_text(&text, memory, base_model);
    if (st == MN_OK) st = mn_write_file(path, text.data, text.len);
    mn_buf_free(&text);
    return st;
}

/* Whatever may fail on one rank alone is agreed upon: all go the same way. */
mn_status mn_memory_save(const mn_memory *memory, const char *dir, const char *base_model) {
    const bool writes = mn_comm_rank(memory->tp) == 0;
    mn_buf path = {0};
    mn_status st = MN_OK;
    if (writes) st = mn_make_dirs(dir);
    if (st == MN_OK) st = mn_path_join(&path, dir, WEIGHTS);
    MN_GOTO(mn_comm_agree(memory->tp, st));
    MN_GOTO(write_weights(memory, path.data));
    if (writes) st = mn_path_join(&path, dir, CONFIG);
    if (st == MN_OK && writes) st = write_config(memory, path.data, base_model);
    st = mn_comm_agree(memory->tp, st);
done:
    mn_buf_free(&path);
    return st;
}

/* ---- reading ---- */

static mn_status want_text(const mn_json *doc, const char *key, const char *expected) {
    const char *found = NULL;
    MN_TRY(mn_json_string(&found, doc, doc->root, key));
    MN_CHECK(strcmp(found, expected) == 0, MN_ERR_UNSUPPORTED,
             "%s: $.%s: expected \"%s\", found \"%s\"", doc->name, key, expected, found);
    return MN_OK;
}

static mn_status read_blocks(int64_t *blocks, int64_t *count, const mn_json *doc, int64_t layers) {
    const cJSON *list = NULL, *node = NULL;
    MN_TRY(mn_json_array(&list, doc, doc->root, "blocks"));
    *count = 0;
    cJSON_ArrayForEach(node, list) {
        int64_t block;
        MN_TRY(mn_json_as_i64(&block, doc, node, 0, layers - 1));
        if (*count > 0 && block <= blocks[*count - 1])
            return mn_json_fail(doc, node, "expected rising blocks, found %lld behind %lld",
                                (long long)block, (long long)blocks[*count - 1]);
        blocks[(*count)++] = block; /* rising and below `layers`: they fit */
    }
    if (*count == 0) return mn_json_fail(doc, list, "expected at least one block, found none");
    return MN_OK;
}

mn_status mn_memory_configure(mn_memory **out, const mn_model *model, const mn_json *doc) {
    const mn_model_config *c = &model->config;
    const char *name = NULL;
    int64_t hidden = 0, dim = 0, count = 0, *blocks = NULL;
    mn_status st = MN_OK;
    *out = NULL;
    MN_TRY(want_text(doc, "peft_type", PEFT_TYPE));
    for (int i = 0; i < FORMS; i++) MN_TRY(want_text(doc, forms[i].key, forms[i].value));
    MN_TRY(mn_json_string_or(&name, doc, doc->root, "name", "memory"));
    MN_TRY(mn_json_i64(&hidden, doc, doc->root, "hidden", 1, MN_MEMORY_MAX_HIDDEN));
    MN_TRY(mn_json_i64_or(&dim, doc, doc->root, "hidden_size", 1, INT32_MAX, c->dim));
    MN_CHECK(dim == c->dim, MN_ERR_DATA, "%s: $.hidden_size: expected %lld as in %s, found %lld",
             doc->name, (long long)c->dim, model->path, (long long)dim);
    blocks = malloc((size_t)c->layers * sizeof *blocks);
    MN_CHECK(blocks, MN_ERR_MEMORY, "%s: no memory for its blocks", doc->name);
    MN_GOTO(read_blocks(blocks, &count, doc, c->layers));
    st = mn_memory_plan(out, model->device, model->tp,
                        &(mn_memory_shape){.name = name,
                                           .hidden = hidden,
                                           .dim = c->dim,
                                           .layers = c->layers,
                                           .blocks = blocks,
                                           .count = count});
done:
    free(blocks);
    return st;
}

static mn_status check_tensor(const mn_stored *s, const mn_memory_param *row) {
    const mn_tensor whole = mn_slice_whole(&row->slice, row->tensor), *t = &whole;
    char found[96], expected[96];
    bool same = s->view.ndim == t->ndim;
    for (int i = 0; same && i < t->ndim; i++) same = s->view.shape[i] == t->shape[i];
    MN_CHECK(same, MN_ERR_DATA, "%s: tensor %s: expected shape %s, found %s", s->file, row->name,
             mn_shape_text(expected, sizeof expected, t->shape, t->ndim),
             mn_shape_text(found, sizeof found, s->view.shape, s->view.ndim));
    MN_CHECK(s->view.dtype == MN_F32, MN_ERR_DATA, "%s: tensor %s: expected F32, found %s", s->file,
             row->name, mn_dtype_name(s->view.dtype));
    return MN_OK;
}

/* Copies one tensor's part; the file's may lie at any address. */
static mn_status read_tensor(mn_memory *memory, const mn_stored *s, const mn_memory_param *row) {
    const mn_runs runs = mn_slice_runs(&row->slice, row->tensor);
    for (int64_t r = 0; r < runs.count; r++)
        for (int64_t i = 0; i < runs.length; i++) {
            const int64_t at = runs.first + r * runs.stride + i;
            const float value = mn_element(&s->view, at);
            MN_CHECK(isfinite(value), MN_ERR_NUMERIC,
                     "%s: tensor %s: expected numbers, found %g in element %lld", s->file,
                     row->name, (double)value, (long long)at);
        }
    return mn_slice_load(memory->device, row->tensor, &row->slice, s);
}

/* The file has all tensors of the memory and no others. */
static mn_status check_weights(mn_memory *memory, const mn_checkpoint *file) {
    const int64_t count = memory->count * MN_MEMORY_PARAMS;
    for (int64_t i = 0; i < count; i++) {
        const mn_stored *s = NULL;
        mn_memory_param row;
        mn_memory_param_at(&row, memory, i);
        MN_TRY(mn_checkpoint_get(&s, file, row.name));
        MN_TRY(check_tensor(s, &row));
    }
    for (int64_t i = 0; i < mn_checkpoint_count(file); i++) {
        const mn_stored *s = mn_checkpoint_at(file, i);
        bool known = false;
        for (int64_t j = 0; j < count && !known; j++) {
            mn_memory_param row;
            mn_memory_param_at(&row, memory, j);
            known = strcmp(row.name, s->name) == 0;
        }
        MN_CHECK(known, MN_ERR_DATA, "%s: tensor %s: not expected by " CONFIG, s->file, s->name);
    }
    return MN_OK;
}

static mn_status read_weights(mn_memory *memory, const mn_checkpoint *file) {
    for (int64_t i = 0; i < memory->count * MN_MEMORY_PARAMS; i++) {
        const mn_stored *s = NULL;
        mn_memory_param row;
        mn_memory_param_at(&row, memory, i);
        MN_TRY(mn_checkpoint_get(&s, file, row.name));
        MN_TRY(read_tensor(memory, s, &row));
    }
    return MN_OK;
}

mn_status mn_memory_fill(mn_memory *memory, const mn_checkpoint *weights) {
    MN_TRY(check_weights(memory, weights));
    MN_TRY(mn_memory_commit(memory)); /* no more room than the file has numbers */
    return read_weights(memory, weights);
}

static mn_status load(mn_memory **out, const mn_model *model, const char *dir) {
    mn_buf path = {0};
    mn_json *doc = NULL;
    mn_checkpoint *file = NULL;
    mn_status st = MN_OK;
    MN_CHECK(mn_dir_exists(dir), MN_ERR_IO, "%s: no such adapter folder", dir);
    MN_GOTO(mn_path_join(&path, dir, CONFIG));
    MN_GOTO(mn_json_load(&doc, path.data));
    MN_GOTO(mn_memory_configure(out, model, doc));
    MN_GOTO(mn_path_join(&path, dir, WEIGHTS));
    MN_GOTO(mn_checkpoint_open_file(&file, path.data));
    st = mn_memory_fill(*out, file);
done:
    mn_checkpoint_close(&file);
    mn_json_close(&doc);
    mn_buf_free(&path);
    return st;
}

mn_status mn_memory_load(mn_memory **out, const mn_model *model, const char *dir) {
    *out = NULL;
    /* A number that is none is found by the rank that has it. */
    const mn_status st = mn_comm_agree(model->tp, load(out, model, dir));
    if (st != MN_OK) mn_memory_close(out);
    return st;
}
