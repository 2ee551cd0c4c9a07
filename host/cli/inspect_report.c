/* inspect_report.c - what was found in a folder: lines and tables for people, one JSON object for
 * scripts. */
#include "cli/inspect.h"

#include "cli/common.h"
#include "cli/fields.h"
#include "mneme/table.h"

#include <inttypes.h>
#include <string.h>

/* Bytes and number of the stored tensors of one dtype. */
typedef struct dtype_sum {
    int64_t tensors, bytes;
} dtype_sum;

static void sum_dtypes(dtype_sum sums[MN_DTYPES], const mn_inspection *in) {
    memset(sums, 0, MN_DTYPES * sizeof *sums);
    for (size_t i = 0; i < in->tensor_count; i++) {
        const mn_tensor *t = &in->tensors[i].stored->view;
        sums[t->dtype].tensors++;
        sums[t->dtype].bytes += (int64_t)mn_tensor_bytes(t);
    }
}

static int64_t count_use(const mn_inspection *in, mn_tensor_use use) {
    int64_t n = 0;
    for (size_t i = 0; i < in->tensor_count; i++) n += in->tensors[i].use == use;
    return n;
}

/* ---- text ---- */

static mn_status add_size(mn_buf *out, double bytes) {
    if (bytes < 1e4) return mn_buf_printf(out, "%.0f bytes", bytes);
    if (bytes < 1e6) return mn_buf_printf(out, "%.1f kB", bytes / 1e3);
    if (bytes < 1e9) return mn_buf_printf(out, "%.1f MB", bytes / 1e6);
    return mn_buf_printf(out, "%.2f GB", bytes / 1e9);
}

static mn_status add_blocks(mn_buf *out, const mn_inspection *in) {
    MN_TRY(
        mn_buf_printf(out, "memories      after block%s", in->memory_block_count > 1 ? "s" : ""));
    for (int64_t i = 0; i < in->memory_block_count; i++)
        MN_TRY(mn_buf_printf(out, "%s %" PRId64, i > 0 ? "," : "", in->memory_blocks[i]));
    return mn_buf_printf(out, " of 0 to %" PRId64 "\n", in->config.layers - 1);
}

static mn_status add_config(mn_buf *out, const mn_inspection *in) {
    const mn_model_config *c = &in->config;
    const char *form = c->arch == MN_LLAMA    ? ""
                       : c->parallel_residual ? ", parallel residual"
                                              : ", sequential residual";
    MN_TRY(mn_buf_printf(out, "architecture  %s%s\n", mn_arch_name(c->arch), form));
    MN_TRY(mn_buf_printf(out,
                         "blocks        %" PRId64 ", model dimension %" PRId64
                         ", inner dimension %" PRId64 "\n",
                         c->layers, c->dim, c->ffn_dim));
    MN_TRY(mn_buf_printf(out,
                         "attention     %" PRId64 " heads of size %" PRId64 ", %" PRId64
                         " key-value heads, %" PRId64 " rotary dimensions, base %g\n",
                         c->heads, c->head_dim, c->kv_heads, c->rotary_dims, c->rope_base));
    MN_TRY(mn_buf_printf(out, "vocabulary    %" PRId64 ", output matrix %s\n", c->vocab,
                         c->tied ? "tied to the embedding" : "of its own"));
    MN_TRY(mn_buf_printf(out, "positions     %" PRId64 "\n", c->max_positions));
    MN_TRY(mn_buf_printf(out, "special ids   bos %d, eos %d\n", c->bos, c->eos));
    MN_TRY(mn_buf_printf(out, "parameters    %" PRId64 "\n", mn_model_parameters(c)));
    MN_TRY(add_blocks(out, in));
    MN_TRY(mn_buf_puts(out, "memory        "));
    MN_TRY(add_size(out, (double)in->mapped_bytes));
    MN_TRY(mn_buf_puts(out, " used in the files, "));
    MN_TRY(add_size(out, (double)in->converted_bytes));
    MN_TRY(mn_buf_puts(out, " of vectors and tables\nper token     "));
    MN_TRY(add_size(out, (double)in->kv_bytes));
    MN_TRY(mn_buf_puts(out, " of keys and values, "));
    MN_TRY(add_size(out, (double)in->kv_bytes * (double)c->max_positions));
    return mn_buf_puts(out, " for all positions\n");
}

static mn_status add_tokenizer(mn_buf *out, const mn_inspection *in) {
    if (!in->has_tokenizer) return mn_buf_puts(out, "tokenizer     none\n");
    if (!in->tokenizer_works) return mn_buf_puts(out, "tokenizer     cannot be read\n");
    return mn_buf_printf(out, "tokenizer     %s, %d ids, bos %d, eos %d\n", in->tokenizer_kind,
                         in->tokenizer_size, in->tokenizer_bos, in->tokenizer_eos);
}

static mn_status add_files(mn_buf *out, const mn_inspection *in) {
    static const mn_column columns[] = {
        {"file", MN_LEFT}, {"tensors", MN_RIGHT}, {"bytes", MN_RIGHT}};
    mn_table *table = NULL;
    mn_status st = mn_table_open(&table, columns, sizeof columns / sizeof *columns);
    if (st != MN_OK) return st;
    for (size_t i = 0; i < in->file_count; i++) {
        MN_GOTO(mn_table_cell(table, "%s", in->files[i].path));
        MN_GOTO(mn_table_cell(table, "%" PRId64, in->files[i].tensors));
        MN_GOTO(mn_table_cell(table, "%" PRId64, in->files[i].bytes));
    }
    MN_GOTO(mn_buf_puts(out, "\n"));
    st = mn_table_text(out, table);
done:
    mn_table_close(&table);
    return st;
}

static mn_status add_dtypes(mn_buf *out, const mn_inspection *in) {
    static const mn_column columns[] = {
        {"dtype", MN_LEFT}, {"tensors", MN_RIGHT}, {"bytes", MN_RIGHT}};
    dtype_sum sums[MN_DTYPES];
    mn_table *table = NULL;
    mn_status st = mn_table_open(&table, columns, sizeof columns / sizeof *columns);
    if (st != MN_OK) return st;
    sum_dtypes(sums, in);
    for (int i = 0; i < MN_DTYPES; i++) {
        if (sums[i].tensors == 0) continue;
        MN_GOTO(mn_table_cell(table, "%s", mn_dtype_name((mn_dtype)i)));
        MN_GOTO(mn_table_cell(table, "%" PRId64, sums[i].tensors));
        MN_GOTO(mn_table_cell(table, "%" PRId64, sums[i].bytes));
    }
    MN_GOTO(mn_buf_puts(out, "\n"));
    st = mn_table_text(out, table);
done:
    mn_table_close(&table);
    return st;
}

/* Tensors of one use, or all of them. */
static mn_status add_tensors(mn_buf *out, const mn_inspection *in, bool all, mn_tensor_use use) {
    static const mn_column columns[] = {{"tensor", MN_LEFT},
                                        {"dtype", MN_LEFT},
                                        {"shape", MN_LEFT},
                                        {"use", MN_LEFT},
                                        {"file", MN_LEFT}};
    mn_table *table = NULL;
    mn_status st = mn_table_open(&table, columns, sizeof columns / sizeof *columns);
    if (st != MN_OK) return st;
    for (size_t i = 0; i < in->tensor_count; i++) {
        const mn_stored *s = in->tensors[i].stored;
        char shape[192];
        if (!all && in->tensors[i].use != use) continue;
        MN_GOTO(mn_table_cell(table, "%s", s->name));
        MN_GOTO(mn_table_cell(table, "%s", mn_dtype_name(s->view.dtype)));
        MN_GOTO(mn_table_cell(table, "%s",
                              mn_shape_text(shape, sizeof shape, s->view.shape, s->view.ndim)));
        MN_GOTO(mn_table_cell(table, "%s", mn_tensor_use_name(in->tensors[i].use)));
        const char *slash = strrchr(s->file, '/');
        MN_GOTO(mn_table_cell(table, "%s", slash ? slash + 1 : s->file));
    }
    MN_GOTO(mn_buf_puts(out, "\n"));
    st = mn_table_text(out, table);
done:
    mn_table_close(&table);
    return st;
}

static mn_status add_list(mn_buf *out, const char *title, const mn_text_list *list) {
    if (list->count == 0) return MN_OK;
    MN_TRY(mn_buf_printf(out, "\n%s\n", title));
    for (size_t i = 0; i < list->count; i++) MN_TRY(mn_buf_printf(out, "  %s\n", list->lines[i]));
    return MN_OK;
}

mn_status mn_inspect_text(mn_buf *out, const mn_inspection *in, bool tensors) {
    MN_TRY(mn_buf_printf(out, "%s\n", in->path));
    if (in->has_config) MN_TRY(add_config(out, in));
    if (!in->single_file) MN_TRY(add_tokenizer(out, in));
    if (in->format) {
        MN_TRY(mn_buf_printf(out, "format        %s, %zu file%s, %zu tensors\n", in->format,
                             in->file_count, in->file_count == 1 ? "" : "s", in->tensor_count));
        if (count_use(in, MN_USE_BUFFER) > 0)
            MN_TRY(mn_buf_printf(out, "skipped       %" PRId64 " buffers (masks, inv_freq)\n",
                                 count_use(in, MN_USE_BUFFER)));
        MN_TRY(add_files(out, in));
        MN_TRY(add_dtypes(out, in));
    }
    if (tensors && in->format) MN_TRY(add_tensors(out, in, true, MN_USE_NONE));
    else if (count_use(in, MN_USE_NONE) > 0) MN_TRY(add_tensors(out, in, false, MN_USE_NONE));
    MN_TRY(add_list(out, "notes", &in->notes));
    return add_list(out, "problems", &in->problems);
}

/* ---- JSON ---- */

static mn_status put_config(mn_buf *out, const mn_model_config *c) {
    const struct {
        const char *key;
        int64_t value;
    } counts[] = {{"hidden_size", c->dim},
                  {"num_hidden_layers", c->layers},
                  {"num_attention_heads", c->heads},
                  {"num_key_value_heads", c->kv_heads},
                  {"head_dim", c->head_dim},
                  {"rotary_dims", c->rotary_dims},
                  {"intermediate_size", c->ffn_dim},
                  {"vocab_size", c->vocab},
                  {"max_position_embeddings", c->max_positions}};
    MN_TRY(mn_field_object(out, "config"));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        MN_TRY(mn_field_count(out, counts[i].key, counts[i].value));
    MN_TRY(mn_field_number(out, "rope_theta", c->rope_base));
    MN_TRY(mn_record_key(out, "norm_eps")); /* an fp32 number: all its digits would look odd */
    MN_TRY(mn_buf_printf(out, "%g", (double)c->norm_eps));
    if (c->arch == MN_NEOX)
        MN_TRY(mn_field_bool(out, "use_parallel_residual", c->parallel_residual));
    MN_TRY(mn_field_bool(out, "tie_word_embeddings", c->tied));
    MN_TRY(mn_field_count(out, "bos_token_id", c->bos));
    MN_TRY(mn_field_count(out, "eos_token_id", c->eos));
    return mn_buf_puts(out, "}");
}

static mn_status put_model(mn_buf *out, const mn_inspection *in) {
    MN_TRY(mn_field_text(out, "architecture", mn_arch_name(in->config.arch)));
    MN_TRY(put_config(out, &in->config));
    MN_TRY(mn_field_count(out, "parameters", mn_model_parameters(&in->config)));
    MN_TRY(mn_record_key(out, "memory_blocks"));
    MN_TRY(mn_buf_puts(out, "["));
    for (int64_t i = 0; i < in->memory_block_count; i++) {
        MN_TRY(mn_field_next(out));
        MN_TRY(mn_buf_printf(out, "%" PRId64, in->memory_blocks[i]));
    }
    MN_TRY(mn_buf_puts(out, "]"));
    MN_TRY(mn_field_object(out, "memory"));
    MN_TRY(mn_field_count(out, "mapped_bytes", in->mapped_bytes));
    MN_TRY(mn_field_count(out, "converted_bytes", in->converted_bytes));
    MN_TRY(mn_field_count(out, "kv_bytes_per_token", in->kv_bytes));
    return mn_buf_puts(out, "}");
}

static mn_status put_tokenizer(mn_buf *out, const mn_inspection *in) {
    if (!in->tokenizer_works) {
        MN_TRY(mn_record_key(out, "tokenizer"));
        return mn_buf_puts(out, "null");
    }
    MN_TRY(mn_field_object(out, "tokenizer"));
    MN_TRY(mn_field_text(out, "kind", in->tokenizer_kind));
    MN_TRY(mn_field_count(out, "size", in->tokenizer_size));
    MN_TRY(mn_field_count(out, "bos", in->tokenizer_bos));
    MN_TRY(mn_field_count(out, "eos", in->tokenizer_eos));
    return mn_buf_puts(out, "}");
}

static mn_status put_files(mn_buf *out, const mn_inspection *in) {
    MN_TRY(mn_field_text(out, "format", in->format));
    MN_TRY(mn_record_key(out, "files"));
    MN_TRY(mn_buf_puts(out, "["));
    for (size_t i = 0; i < in->file_count; i++) {
        MN_TRY(mn_field_next(out));
        MN_TRY(mn_buf_puts(out, "{"));
        MN_TRY(mn_field_text(out, "file", in->files[i].path));
        MN_TRY(mn_field_count(out, "tensors", in->files[i].tensors));
        MN_TRY(mn_field_count(out, "bytes", in->files[i].bytes));
        MN_TRY(mn_buf_puts(out, "}"));
    }
    MN_TRY(mn_buf_puts(out, "]"));
    dtype_sum sums[MN_DTYPES];
    sum_dtypes(sums, in);
    MN_TRY(mn_field_object(out, "dtypes"));
    for (int i = 0; i < MN_DTYPES; i++) {
        if (sums[i].tensors == 0) continue;
        MN_TRY(mn_field_object(out, mn_dtype_name((mn_dtype)i)));
        MN_TRY(mn_field_count(out, "tensors", sums[i].tensors));
        MN_TRY(mn_field_count(out, "bytes", sums[i].bytes));
        MN_TRY(mn_buf_puts(out, "}"));
    }
    return mn_buf_puts(out, "}");
}

static const char *use_key(mn_tensor_use use) {
    static const char *const keys[] = {"weight", "buffer", "tied", "unused"};
    return use < MN_USE_UNKNOWN ? keys[use] : NULL;
}

static mn_status put_tensors(mn_buf *out, const mn_inspection *in) {
    MN_TRY(mn_record_key(out, "tensors"));
    MN_TRY(mn_buf_puts(out, "["));
    for (size_t i = 0; i < in->tensor_count; i++) {
        const mn_stored *s = in->tensors[i].stored;
        MN_TRY(mn_field_next(out));
        MN_TRY(mn_buf_puts(out, "{"));
        MN_TRY(mn_field_text(out, "name", s->name));
        MN_TRY(mn_field_text(out, "dtype", mn_dtype_name(s->view.dtype)));
        MN_TRY(mn_record_key(out, "shape"));
        MN_TRY(mn_buf_puts(out, "["));
        for (int d = 0; d < s->view.ndim; d++) {
            MN_TRY(mn_field_next(out));
            MN_TRY(mn_buf_printf(out, "%" PRId64, s->view.shape[d]));
        }
        MN_TRY(mn_buf_puts(out, "]"));
        MN_TRY(mn_field_text(out, "file", s->file));
        MN_TRY(mn_field_text(out, "use", use_key(in->tensors[i].use)));
        MN_TRY(mn_buf_puts(out, "}"));
    }
    return mn_buf_puts(out, "]");
}

static mn_status put_list(mn_buf *out, const char *key, const mn_text_list *list) {
    MN_TRY(mn_record_key(out, key));
    MN_TRY(mn_buf_puts(out, "["));
    for (size_t i = 0; i < list->count; i++) {
        MN_TRY(mn_field_next(out));
        MN_TRY(mn_json_quote(out, list->lines[i], strlen(list->lines[i])));
    }
    return mn_buf_puts(out, "]");
}

mn_status mn_inspect_json(mn_buf *out, const mn_inspection *in) {
    MN_TRY(mn_buf_puts(out, "{"));
    MN_TRY(mn_field_text(out, "path", in->path));
    if (in->has_config) MN_TRY(put_model(out, in));
    if (!in->single_file) MN_TRY(put_tokenizer(out, in));
    MN_TRY(put_files(out, in));
    MN_TRY(put_tensors(out, in));
    MN_TRY(put_list(out, "notes", &in->notes));
    MN_TRY(put_list(out, "problems", &in->problems));
    return mn_record_end(out);
}
