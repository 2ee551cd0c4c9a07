/* inspect.c - looks into a folder or a file of weights and collects all problems, where opening the
 * model would stop at the first. */
#include "cli/inspect.h"

#include "io/shards.h"
#include "mneme/tokenizer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The index of a folder in which some shards cannot be read. */
typedef struct broken_shards {
    mn_shards shards;
    bool *unread; /* per shards.files */
} broken_shards;

static mn_status add_line(mn_text_list *list, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static mn_status add_line(mn_text_list *list, const char *format, ...) {
    char text[MN_ERROR_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    MN_TRY(mn_grow(&list->lines, &list->cap, list->count + 1, sizeof *list->lines));
    list->lines[list->count] = strdup(text);
    MN_CHECK(list->lines[list->count], MN_ERR_MEMORY, "no memory for the list of problems");
    list->count++;
    return MN_OK;
}

static bool mentioned(const mn_text_list *list, const char *text) {
    for (size_t i = 0; i < list->count; i++)
        if (strstr(list->lines[i], text)) return true;
    return false;
}

/* What a failed call left in the error record becomes a problem, once; only want of memory stays an
 * error. */
static mn_status note_failure(mn_inspection *in, mn_status st) {
    if (st == MN_OK || st == MN_ERR_MEMORY) return st;
    return mentioned(&in->problems, mn_error()) ? MN_OK : add_line(&in->problems, "%s", mn_error());
}

/* ---- files ---- */

/* Takes the checkpoint over. */
static mn_status keep(mn_inspection *in, mn_checkpoint *checkpoint) {
    const mn_status st = mn_grow(&in->checkpoints, &in->checkpoint_cap, in->checkpoint_count + 1,
                                 sizeof *in->checkpoints);
    if (st != MN_OK) {
        mn_checkpoint_close(&checkpoint);
        return st;
    }
    in->checkpoints[in->checkpoint_count++] = checkpoint;
    in->format = mn_checkpoint_format(checkpoint);
    return MN_OK;
}

static mn_status open_shard(mn_inspection *in, const char *path, bool *unread) {
    mn_checkpoint *checkpoint = NULL;
    *unread = true;
    if (!mn_file_exists(path))
        return mentioned(&in->problems, path)
                   ? MN_OK
                   : add_line(&in->problems, "%s: expected, but missing", path);
    const mn_status st = mn_checkpoint_open_file(&checkpoint, path);
    if (st != MN_OK) return note_failure(in, st);
    *unread = false;
    return keep(in, checkpoint);
}

/* The folder could not be opened as a whole: what its shards say one by one. */
static mn_status open_shards(mn_inspection *in, broken_shards *broken) {
    static const char *const names[][2] = {{"model.safetensors", "model.safetensors.index.json"},
                                           {"pytorch_model.bin", "pytorch_model.bin.index.json"}};
    mn_buf path = {0};
    mn_status st = MN_OK;
    bool index = false;
    for (size_t i = 0; i < 2 && !index; i++) {
        MN_GOTO(mn_path_join(&path, in->path, names[i][0]));
        if (mn_file_exists(path.data)) goto done; /* a single file: all is said */
        MN_GOTO(mn_path_join(&path, in->path, names[i][1]));
        index = mn_file_exists(path.data);
    }
    if (!index) goto done;
    st = mn_shards_open(&broken->shards, path.data);
    if (st != MN_OK) {
        st = note_failure(in, st);
        goto done;
    }
    broken->unread = calloc(broken->shards.files_len, sizeof *broken->unread);
    MN_CHECK_GOTO(broken->unread, MN_ERR_MEMORY, "%s: no memory", path.data);
    for (size_t i = 0; i < broken->shards.files_len; i++) {
        MN_GOTO(mn_path_join(&path, in->path, broken->shards.files[i]));
        MN_GOTO(open_shard(in, path.data, &broken->unread[i]));
    }
done:
    mn_buf_free(&path);
    return st;
}

/* True when the index puts the tensor into a shard that could not be read. */
static bool excused(const broken_shards *broken, const char *tensor) {
    for (size_t i = 0; broken->unread && i < broken->shards.len; i++) {
        if (strcmp(broken->shards.rows[i].tensor, tensor) != 0) continue;
        for (size_t f = 0; f < broken->shards.files_len; f++)
            if (strcmp(broken->shards.files[f], broken->shards.rows[i].file) == 0)
                return broken->unread[f];
    }
    return false;
}

static mn_status open_files(mn_inspection *in, broken_shards *broken) {
    mn_checkpoint *checkpoint = NULL;
    const mn_status st = in->single_file ? mn_checkpoint_open_file(&checkpoint, in->path)
                                         : mn_checkpoint_open(&checkpoint, in->path);
    if (st == MN_OK) return keep(in, checkpoint);
    MN_TRY(note_failure(in, st));
    return in->single_file ? MN_OK : open_shards(in, broken);
}

/* ---- tensors ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const mn_found *)a)->stored->name, ((const mn_found *)b)->stored->name);
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const mn_found_file *)a)->path, ((const mn_found_file *)b)->path);
}

static mn_status list_tensors(mn_inspection *in) {
    size_t total = 0;
    for (size_t i = 0; i < in->checkpoint_count; i++)
        total += (size_t)mn_checkpoint_count(in->checkpoints[i]);
    in->tensors = calloc(total + 1, sizeof *in->tensors);
    in->files = calloc(total + 1, sizeof *in->files);
    MN_CHECK(in->tensors && in->files, MN_ERR_MEMORY, "%s: no memory for %zu tensors", in->path,
             total);
    for (size_t i = 0; i < in->checkpoint_count; i++)
        for (int64_t j = 0; j < mn_checkpoint_count(in->checkpoints[i]); j++) {
            const mn_stored *s = mn_checkpoint_at(in->checkpoints[i], j);
            in->files[in->tensor_count] = (mn_found_file){.path = s->file, .tensors = 1};
            in->tensors[in->tensor_count++] = (mn_found){.stored = s, .use = MN_USE_UNKNOWN};
        }
    qsort(in->tensors, in->tensor_count, sizeof *in->tensors, by_name);
    qsort(in->files, in->tensor_count, sizeof *in->files, by_path);
    for (size_t i = 0; i < in->tensor_count; i++) { /* one entry for each file */
        mn_found_file *last = in->file_count > 0 ? &in->files[in->file_count - 1] : NULL;
        if (last && strcmp(last->path, in->files[i].path) == 0) last->tensors++;
        else in->files[in->file_count++] = in->files[i];
    }
    for (size_t i = 0; i < in->file_count; i++) {
        struct stat info;
        if (stat(in->files[i].path, &info) == 0) in->files[i].bytes = (int64_t)info.st_size;
    }
    for (size_t i = 1; i < in->tensor_count; i++) {
        const mn_stored *a = in->tensors[i - 1].stored, *b = in->tensors[i].stored;
        if (strcmp(a->name, b->name) == 0)
            MN_TRY(add_line(&in->problems, "tensor %s: found in %s and in %s",
                            mn_show(a->name, strlen(a->name)).text, a->file, b->file));
    }
    return MN_OK;
}

static mn_found *find(mn_inspection *in, const char *name) {
    const mn_stored wanted = {.name = name};
    const mn_found key = {.stored = &wanted};
    return in->tensor_count == 0
               ? NULL
               : bsearch(&key, in->tensors, in->tensor_count, sizeof key, by_name);
}

/* A row of the binding table that no file has; or has in a dtype that cannot be read. */
static mn_status add_missing(mn_inspection *in, const mn_binding_row *row) {
    const mn_stored *unused;
    char shape[64];
    for (size_t i = 0; i < in->checkpoint_count; i++)
        if (mn_checkpoint_get(&unused, in->checkpoints[i], row->name) == MN_ERR_UNSUPPORTED)
            return add_line(&in->problems, "%s", mn_error());
    return add_line(&in->problems, "%s: tensor %s %s is missing", in->path, row->name,
                    mn_shape_text(shape, sizeof shape, row->shape, row->ndim));
}

static void add_memory(mn_inspection *in, const mn_tensor *t) {
    if (mn_model_in_place(in->device, t)) in->mapped_bytes += (int64_t)mn_tensor_bytes(t);
    else if (t->ndim == 2) in->converted_bytes += (int64_t)mn_tensor_bytes(t);
    else in->converted_bytes += mn_tensor_count(t) * (int64_t)sizeof(float);
}

static mn_status check_weights(mn_inspection *in, const broken_shards *broken) {
    const mn_model_config *c = &in->config;
    int64_t unread = 0;
    for (size_t i = 0; i < in->tensor_count; i++) {
        const char *name = in->tensors[i].stored->name;
        in->tensors[i].use = mn_binding_is_buffer(name)           ? MN_USE_BUFFER
                             : mn_binding_is_tied_output(c, name) ? MN_USE_TIED
                                                                  : MN_USE_NONE;
    }
    for (int64_t i = 0; i < mn_binding_count(c); i++) {
        mn_binding_row row;
        mn_binding_at(&row, c, NULL, i);
        mn_found *found = find(in, row.name);
        if (!found && excused(broken, row.name)) unread++;
        else if (!found) MN_TRY(add_missing(in, &row));
        if (!found) continue;
        found->use = MN_USE_WEIGHT;
        MN_TRY(note_failure(in, mn_binding_check(&row, found->stored)));
        add_memory(in, &found->stored->view);
    }
    if (unread > 0)
        MN_TRY(add_line(&in->notes, "%lld tensors of the model lie in files that cannot be read",
                        (long long)unread));
    in->converted_bytes += c->max_positions * c->rotary_dims *
                           (int64_t)sizeof(float); /* cos, sin */
    return MN_OK;
}

/* ---- tokenizer ---- */

static mn_status look_at_tokenizer(mn_inspection *in) {
    static const char *const files[] = {"tokenizer.json", "tokenizer.model"};
    mn_tokenizer *tokenizer = NULL;
    mn_buf path = {0};
    mn_status st = MN_OK;
    for (size_t i = 0; i < 2 && !in->has_tokenizer; i++) {
        MN_GOTO(mn_path_join(&path, in->path, files[i]));
        in->has_tokenizer = mn_file_exists(path.data);
    }
    if (!in->has_tokenizer) {
        st = add_line(&in->notes, "%s: no tokenizer.json or tokenizer.model", in->path);
        goto done;
    }
    st = mn_tokenizer_open(&tokenizer, in->path);
    if (st != MN_OK) {
        st = note_failure(in, st);
        goto done;
    }
    in->tokenizer_works = true;
    snprintf(in->tokenizer_kind, sizeof in->tokenizer_kind, "%s", mn_tokenizer_kind(tokenizer));
    in->tokenizer_size = mn_tokenizer_size(tokenizer);
    in->tokenizer_bos = mn_tokenizer_bos(tokenizer);
    in->tokenizer_eos = mn_tokenizer_eos(tokenizer);
    if (in->has_config)
        st = note_failure(in, mn_model_fits_tokens(&in->config, in->tokenizer_size, in->path));
done:
    mn_tokenizer_close(&tokenizer);
    mn_buf_free(&path);
    return st;
}

/* ---- all of it ---- */

static mn_status look_at_folder(mn_inspection *in, const broken_shards *broken, mn_device *device) {
    const mn_status st = mn_model_config_load(&in->config, in->path);
    in->has_config = st == MN_OK;
    MN_TRY(note_failure(in, st));
    MN_TRY(look_at_tokenizer(in));
    if (!in->has_config) return MN_OK;
    const mn_model_config *c = &in->config;
    const size_t block = device->kv_bytes(16, c->kv_heads, c->head_dim); /* of K or of V */
    in->kv_bytes = 2 * c->layers * (int64_t)(block / 16);
    in->memory_blocks = malloc((size_t)c->layers * sizeof *in->memory_blocks);
    MN_CHECK(in->memory_blocks, MN_ERR_MEMORY, "%s: no memory for its blocks", in->path);
    in->memory_block_count = mn_memory_blocks(in->memory_blocks, c->layers, 0.7, 0.8);
    return in->checkpoint_count > 0 ? check_weights(in, broken) : MN_OK;
}

mn_status mn_inspect(mn_inspection *out, const char *path, mn_device *device) {
    broken_shards broken = {0};
    struct stat info;
    mn_status st = MN_OK;
    *out = (mn_inspection){.path = path, .device = device};
    if (stat(path, &info) != 0) return mn_fail_errno(path);
    out->single_file = !S_ISDIR(info.st_mode);
    MN_GOTO(open_files(out, &broken));
    MN_GOTO(list_tensors(out));
    if (!out->single_file) MN_GOTO(look_at_folder(out, &broken, device));
done:
    free(broken.unread);
    mn_shards_close(&broken.shards);
    return st;
}

void mn_inspection_free(mn_inspection *in) {
    mn_text_list *const lists[] = {&in->problems, &in->notes};
    for (size_t l = 0; l < 2; l++) {
        for (size_t i = 0; i < lists[l]->count; i++) free(lists[l]->lines[i]);
        free(lists[l]->lines);
    }
    free(in->memory_blocks);
    free(in->files);
    free(in->tensors);
    for (size_t i = 0; i < in->checkpoint_count; i++) mn_checkpoint_close(&in->checkpoints[i]);
    free(in->checkpoints);
    *in = (mn_inspection){0};
}

const char *mn_tensor_use_name(mn_tensor_use use) {
    switch (use) {
    case MN_USE_WEIGHT: return "weight";
    case MN_USE_BUFFER: return "buffer, skipped";
    case MN_USE_TIED: return "tied output matrix, skipped";
    case MN_USE_NONE: return "not used";
    case MN_USE_UNKNOWN: break;
    }
    return "unknown";
}
