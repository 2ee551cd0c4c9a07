/* journal_text.c - what stands in a journal: a first line with everything that the answers depend on, then one JSON
 * line per prompt and variant. */
#include "eval/journal.h"

#include "mneme/version.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- the first line ---- */

static mn_status append_file(mn_buf *out, const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) return MN_OK;
    return mn_buf_printf(out, "%lld.%lld.%09ld;", (long long)info.st_size,
                         (long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
}

/* Sizes and times of the model's files: enough to notice that they were replaced. */
static mn_status append_files(mn_buf *out, const mn_model *m) {
    static const char *const beside[] = {"config.json", "tokenizer.json", "tokenizer.model",
                                         "tokenizer_config.json"};
    const char *last = "";
    mn_buf path = {0};
    mn_status st = MN_OK;
    for (int64_t i = 0; m->checkpoint && i < mn_checkpoint_count(m->checkpoint); i++) {
        const char *file = mn_checkpoint_at(m->checkpoint, i)->file;
        if (strcmp(file, last) != 0) MN_GOTO(append_file(out, file));
        last = file;
    }
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        MN_GOTO(mn_path_join(&path, m->path, beside[i]));
        MN_GOTO(append_file(out, path.data));
    }
done:
    mn_buf_free(&path);
    return st;
}

uint64_t mn_journal_hash(uint64_t hash, const void *bytes, size_t len) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < len; i++) hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    return hash;
}

/* Of the numbers of a memory: adapters are small enough to be read as a whole. Where ranks share it this is collective,
 * and rank 0 has the hash. */
static mn_status hash_memory(uint64_t *out, const mn_memory *memory) {
    mn_memory m = *memory; /* the list of parameters gives writable tensors; here they are read */
    mn_status st = MN_OK;
    mn_buf bytes = {0};
    *out = MN_JOURNAL_HASH;
    for (int64_t i = 0; i < m.count * MN_MEMORY_PARAMS; i++) {
        mn_memory_param p;
        mn_memory_param_at(&p, &m, i);
        const mn_tensor whole = mn_slice_whole(&p.slice, p.tensor);
        const int64_t *block = &m.layers[i / MN_MEMORY_PARAMS].block;
        if (i % MN_MEMORY_PARAMS == 0) *out = mn_journal_hash(*out, block, sizeof *block);
        mn_buf_clear(&bytes);
        MN_GOTO(mn_buf_reserve(&bytes, mn_tensor_bytes(&whole)));
        MN_GOTO(mn_slice_gather(bytes.data, m.tp, m.device, p.tensor, &p.slice));
        if (mn_comm_rank(m.tp) == 0)
            *out = mn_journal_hash(*out, bytes.data, mn_tensor_bytes(&whole));
    }
done:
    mn_buf_free(&bytes);
    return st;
}

/* Another set of variants is another evaluation: lines tell variants by their numbers. */
static mn_status append_variants(mn_buf *out, const mn_evaluation *e) {
    if (e->variant_count == 1) return MN_OK;
    MN_TRY(mn_buf_printf(out, ", \"base\": %d, \"memories\": [", e->first_variant == 0));
    for (int64_t v = 1; v < e->variant_count; v++) {
        uint64_t hash = 0;
        MN_TRY(hash_memory(&hash, e->memories[v]));
        MN_TRY(mn_buf_puts(out, v > 1 ? ", [" : "["));
        MN_TRY(mn_json_quote(out, e->variants[v].name, strlen(e->variants[v].name)));
        MN_TRY(mn_buf_printf(out, ", \"%016llx\"]", (unsigned long long)hash));
    }
    return mn_buf_puts(out, "]");
}

/* The first line up to its date: everything that decides the answers. */
mn_status mn_journal_header(mn_buf *out, const mn_evaluation *e) {
    const mn_eval_options *o = &e->options;
    mn_buf files = {0};
    mn_status st = MN_OK;
    MN_GOTO(append_files(&files, e->model));
    MN_GOTO(mn_buf_puts(out, "{\"journal\": \"mneme " MNEME_VERSION "\", \"model\": "));
    MN_GOTO(mn_json_quote(out, o->model_path, strlen(o->model_path)));
    MN_GOTO(mn_buf_printf(out, ", \"files\": \"%s\", \"data\": \"%s\", \"shots\": [",
                          files.data ? files.data : "", e->fever->sha256));
    for (int i = 0; i < o->shots_count; i++)
        MN_GOTO(mn_buf_printf(out, "%s%d", i ? ", " : "", o->shots[i]));
    MN_GOTO(mn_buf_printf(out,
                          "], \"generate\": %d, \"choice\": %d, \"limit\": %lld, \"batch_size\": "
                          "%lld, \"max_gen_toks\": %lld, \"share_prefixes\": %d, \"compute\": %d",
                          o->generate, o->choice, (long long)o->limit, (long long)o->batch_size,
                          (long long)o->max_gen_toks, o->share_prefixes, (int)o->compute));
    MN_GOTO(append_variants(out, e));
done:
    mn_buf_free(&files);
    return st;
}

/* ---- lines ---- */

static mn_status put_line(mn_buf *out, const mn_evaluation *e, int64_t variant, int64_t prompt) {
    const mn_completion *a = mn_eval_completion(e, variant, prompt);
    const mn_memory *memory = e->memories[variant];
    MN_TRY(mn_buf_printf(out, "{\"prompt\": %lld", (long long)prompt));
    if (e->variant_count > 1) MN_TRY(mn_buf_printf(out, ", \"variant\": %lld", (long long)variant));
    MN_TRY(mn_buf_puts(out, ", \"ids\": ["));
    for (size_t t = 0; t < a->generated.len; t++)
        MN_TRY(mn_buf_printf(out, "%s%d", t ? ", " : "", a->generated.data[t]));
    MN_TRY(mn_buf_puts(out, "], \"logprob\": ["));
    for (int c = 0; c < MN_LABELS; c++) {
        if (c) MN_TRY(mn_buf_puts(out, ", "));
        MN_TRY(mn_json_number(out, a->logprob[c]));
    }
    MN_TRY(mn_buf_puts(out, "]"));
    if (!memory) return mn_buf_puts(out, "}\n");
    MN_TRY(mn_buf_printf(out, ", \"outputs\": %lld, \"change\": [", (long long)a->outputs));
    for (int64_t m = 0; m < memory->count; m++) {
        if (m) MN_TRY(mn_buf_puts(out, ", "));
        MN_TRY(mn_json_number(out, a->change[m]));
    }
    MN_TRY(mn_buf_puts(out, "], \"logit_change\": "));
    MN_TRY(a->compared ? mn_json_number(out, a->logit_change) : mn_buf_puts(out, "null"));
    return mn_buf_puts(out, "}\n");
}

mn_status mn_journal_put(mn_buf *out, const mn_evaluation *e, int64_t prompt) {
    for (int64_t v = e->first_variant; v < e->variant_count; v++)
        MN_TRY(put_line(out, e, v, prompt));
    return MN_OK;
}

/* The audit's part of a line. */
static mn_status read_audit(mn_completion *a, const mn_memory *m, const mn_json *doc) {
    const cJSON *list, *item;
    int64_t i = 0;
    MN_TRY(mn_json_i64(&a->outputs, doc, doc->root, "outputs", 0, INT32_MAX));
    const cJSON *change = cJSON_GetObjectItemCaseSensitive(doc->root, "logit_change");
    a->compared = cJSON_IsNumber(change);
    a->logit_change = a->compared ? change->valuedouble : 0;
    MN_TRY(mn_json_array(&list, doc, doc->root, "change"));
    if (cJSON_GetArraySize(list) != m->count)
        return mn_json_fail(doc, list, "expected %lld numbers", (long long)m->count);
    if (!a->change) a->change = calloc((size_t)m->count, sizeof *a->change);
    MN_CHECK(a->change, MN_ERR_MEMORY, "no memory for the effect audit");
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsNumber(item)) return mn_json_fail(doc, item, "expected a number");
        a->change[i++] = item->valuedouble;
    }
    return MN_OK;
}

static mn_status read_line(mn_evaluation *e, const mn_json *doc) {
    int64_t prompt = 0, variant = 0;
    const cJSON *list, *item;
    int c = 0;
    MN_TRY(mn_json_i64(&prompt, doc, doc->root, "prompt", 0, e->count - 1));
    if (e->variant_count > 1)
        MN_TRY(mn_json_i64(&variant, doc, doc->root, "variant", e->first_variant,
                           e->variant_count - 1));
    mn_completion *a = mn_eval_completion(e, variant, prompt);
    a->generated.len = 0;
    MN_TRY(mn_json_array(&list, doc, doc->root, "ids"));
    cJSON_ArrayForEach(item, list) {
        int64_t id = 0;
        MN_TRY(mn_json_as_i64(&id, doc, item, 0, e->model->config.vocab - 1));
        MN_TRY(mn_ids_push(&a->generated, (int32_t)id));
    }
    MN_TRY(mn_json_array(&list, doc, doc->root, "logprob"));
    cJSON_ArrayForEach(item, list) {
        if (c == MN_LABELS || !cJSON_IsNumber(item))
            return mn_json_fail(doc, item, "expected %d numbers", MN_LABELS);
        a->logprob[c++] = item->valuedouble;
    }
    if (c < MN_LABELS) return mn_json_fail(doc, list, "expected %d numbers", MN_LABELS);
    if (e->memories[variant]) MN_TRY(read_audit(a, e->memories[variant], doc));
    mn_eval_answer(e, variant, prompt)->known = true;
    return MN_OK;
}

mn_status mn_journal_take(mn_evaluation *e, const char *text, size_t len, const char *name) {
    mn_status st = MN_OK;
    mn_buf place = {0};
    mn_json *doc = NULL;
    mn_lines lines = mn_lines_over(text, len);
    const char *line;
    size_t line_len;
    while (mn_lines_next(&lines, &line, &line_len)) {
        mn_buf_clear(&place);
        MN_GOTO(mn_buf_printf(&place, "%s:%lld", name, (long long)lines.number + 1));
        MN_GOTO(mn_json_parse(&doc, line, line_len, place.data));
        MN_GOTO(read_line(e, doc));
        mn_json_close(&doc);
    }
done:
    mn_json_close(&doc);
    mn_buf_free(&place);
    return st;
}
