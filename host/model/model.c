/* model.c - opens a Hugging Face folder as a model: every weight checked by the binding table,
 * matrices used where they lie in the mapped files, vectors as fp32 in the weights arena. */
#include "model/model_impl.h"

#include "mneme/half.h"
#include "mneme/log.h"
#include "mneme/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_float(mn_dtype t) { return t == MN_F32 || t == MN_F16 || t == MN_BF16; }

/* Finds a row's tensor in the checkpoint and compares shape and type. */
static mn_status find(const mn_stored **out, const mn_checkpoint *checkpoint, const char *dir,
                      const mn_binding_row *row) {
    char expected[64];
    *out = mn_checkpoint_find(checkpoint, row->name);
    if (*out) return mn_binding_check(row, *out);
    if (mn_checkpoint_get(out, checkpoint, row->name) == MN_ERR_UNSUPPORTED)
        return MN_ERR_UNSUPPORTED; /* it is there, in a type that nobody here reads */
    return mn_fail(MN_ERR_DATA, "%s: tensor %s %s is missing", dir, row->name,
                   mn_shape_text(expected, sizeof expected, row->shape, row->ndim));
}

mn_status mn_binding_check(const mn_binding_row *row, const mn_stored *s) {
    char found[96], expected[64];
    const mn_tensor *t = &s->view;
    MN_CHECK(t->ndim == row->ndim && t->shape[0] == row->shape[0] &&
                 (t->ndim < 2 || t->shape[1] == row->shape[1]),
             MN_ERR_DATA, "%s: tensor %s has shape %s, config.json needs %s", s->file, row->name,
             mn_shape_text(found, sizeof found, t->shape, t->ndim),
             mn_shape_text(expected, sizeof expected, row->shape, row->ndim));
    MN_CHECK(is_float(t->dtype), MN_ERR_DATA, "%s: tensor %s is %s, F16, BF16 or F32 expected",
             s->file, row->name, mn_dtype_name(t->dtype));
    return MN_OK;
}

bool mn_model_in_place(const mn_device *device, const mn_tensor *t) {
    return device->host_memory && t->ndim == 2 && (uintptr_t)t->data % mn_dtype_size(t->dtype) == 0;
}

static mn_status load_vector(mn_model *m, mn_tensor *to, const mn_slice *slice,
                             const mn_stored *s) {
    const int64_t n = mn_tensor_count(to), first = slice->begin;
    mn_status st = MN_OK;
    float *copy = malloc((size_t)n * sizeof *copy);
    MN_CHECK(copy, MN_ERR_MEMORY, "no memory for tensor %s", s->name);
    for (int64_t i = 0; i < n; i++) {
        copy[i] = mn_element(&s->view, first + i);
        MN_CHECK_GOTO(isfinite(copy[i]), MN_ERR_NUMERIC, "%s: tensor %s: element %lld is %g",
                      s->file, s->name, (long long)(first + i), (double)copy[i]);
    }
    st = m->device->upload(m->device, to->data, copy, (size_t)n * sizeof *copy);
done:
    free(copy);
    return st;
}

/* The file's pages that a copy was made of are let go: the neighbours of a column are not ours. */
static mn_status load_matrix(mn_model *m, mn_tensor *to, const mn_slice *slice,
                             const mn_stored *s) {
    MN_TRY(mn_slice_load(m->device, to, slice, s));
    mn_release_pages(s->view.data, mn_tensor_bytes(&s->view));
    return MN_OK;
}

/* This rank's part of a row: where it lies in the file, or room in the weights arena. Rows are used where they lie,
 * columns are copied together. */
static mn_status place_part(mn_model *m, const mn_binding_row *row, const mn_tensor *stored,
                            bool *in_place) {
    mn_tensor *t = row->weight;
    *t = mn_slice_part(&row->slice, stored);
    *in_place = t->data && mn_model_in_place(m->device, t);
    if (*in_place) return MN_OK;
    if (t->ndim == 1) t->dtype = MN_F32;
    return mn_arena_alloc(&m->weights, &t->data, mn_tensor_bytes(t));
}

/* First call: measures. After the arena's commit: the same walk fills it. */
static mn_status place_weights(mn_model *m, bool fill) {
    for (int64_t i = 0; i < mn_binding_count(&m->config); i++) {
        mn_binding_row row;
        const mn_stored *s = NULL;
        bool in_place = false;
        mn_binding_at(&row, &m->config, m, i);
        MN_TRY(find(&s, m->checkpoint, m->path, &row));
        mn_tensor *t = row.weight;
        MN_TRY(place_part(m, &row, &s->view, &in_place));
        if (in_place || !fill) continue;
        MN_TRY(t->ndim == 1 ? load_vector(m, t, &row.slice, s) : load_matrix(m, t, &row.slice, s));
    }
    return MN_OK;
}

/* cos and sin of position * base^(-2i / R), computed in double. */
mn_status mn_model_place_rotary(mn_model *m, bool fill) {
    const int64_t positions = m->config.max_positions, half = m->config.rotary_dims / 2;
    mn_status st = MN_OK;
    float *c = NULL, *s = NULL;
    m->cos_table = mn_tensor_2d(NULL, MN_F32, positions, half);
    m->sin_table = m->cos_table;
    const size_t bytes = mn_tensor_bytes(&m->cos_table);
    MN_TRY(mn_arena_alloc(&m->weights, &m->cos_table.data, bytes));
    MN_TRY(mn_arena_alloc(&m->weights, &m->sin_table.data, bytes));
    if (!fill) return MN_OK;
    c = malloc(bytes);
    s = malloc(bytes);
    MN_CHECK_GOTO(c && s, MN_ERR_MEMORY, "no memory for the rotary tables");
    for (int64_t i = 0; i < half; i++) {
        const double share = 2.0 * (double)i / (double)m->config.rotary_dims;
        const double turn = pow(m->config.rope_base, -share);
        for (int64_t p = 0; p < positions; p++) {
            c[p * half + i] = (float)cos((double)p * turn);
            s[p * half + i] = (float)sin((double)p * turn);
        }
    }
    MN_GOTO(m->device->upload(m->device, m->cos_table.data, c, bytes));
    MN_GOTO(m->device->upload(m->device, m->sin_table.data, s, bytes));
done:
    free(c);
    free(s);
    return st;
}

static void name_unused(const mn_model *m) {
    for (int64_t i = 0; i < mn_checkpoint_count(m->checkpoint); i++) {
        const mn_stored *s = mn_checkpoint_at(m->checkpoint, i);
        bool known = mn_binding_is_buffer(s->name);
        for (int64_t j = 0; j < mn_binding_count(&m->config) && !known; j++) {
            mn_binding_row row;
            mn_binding_at(&row, &m->config, NULL, j);
            known = strcmp(row.name, s->name) == 0;
        }
        if (!known && !mn_binding_is_tied_output(&m->config, s->name))
            mn_log(MN_LOG_WARN, "%s: tensor %s is not part of the model and is ignored", s->file,
                   s->name);
    }
}

mn_status mn_model_new(mn_model **out, const mn_model_config *config, const char *path,
                       mn_device *device, mn_comm *tp) {
    mn_model *m = calloc(1, sizeof *m);
    *out = m;
    MN_CHECK(m, MN_ERR_MEMORY, "no memory for the model");
    m->config = *config;
    m->device = device;
    m->tp = tp;
    MN_TRY(mn_shard_of(&m->shard, config, mn_comm_rank(tp), mn_comm_size(tp)));
    m->path = strdup(path);
    m->layers = calloc((size_t)config->layers, sizeof *m->layers);
    mn_arena_init(&m->weights, "weights", device);
    mn_arena_init(&m->panels, "panels", device);
    MN_CHECK(m->path && m->layers, MN_ERR_MEMORY, "no memory for the model");
    return MN_OK;
}

static mn_status open_folder(mn_model **out, const char *dir, mn_device *device, mn_comm *tp) {
    mn_model_config config;
    MN_TRY(mn_model_config_load(&config, dir));
    MN_TRY(mn_model_new(out, &config, dir, device, tp));
    mn_model *m = *out;
    MN_TRY(mn_checkpoint_open(&m->checkpoint, dir));
    for (int pass = 0; pass < 2; pass++) {
        if (pass) MN_TRY(mn_arena_commit(&m->weights));
        MN_TRY(place_weights(m, pass));
        MN_TRY(mn_model_place_rotary(m, pass));
    }
    if (config.tied) m->head_w = m->embed_w;
    name_unused(m);
    return MN_OK;
}

mn_status mn_model_open(mn_model **out, const char *dir, mn_device *device, mn_comm *tp) {
    *out = NULL;
    MN_TRY(mn_comm_attach(tp, device));
    const mn_status st = mn_comm_agree(tp, open_folder(out, dir, device, tp));
    if (st != MN_OK) mn_model_close(out);
    return st;
}

/* As files of `dtype` would be placed; their addresses are made up. */
static mn_status place_outline(mn_model *m, mn_dtype dtype) {
    enum { SOMEWHERE = 64 };
    for (int64_t i = 0; i < mn_binding_count(&m->config); i++) {
        mn_binding_row row;
        bool in_place = false;
        mn_binding_at(&row, &m->config, m, i);
        const mn_tensor stored = {.data = (void *)(uintptr_t)SOMEWHERE,
                                  .dtype = dtype,
                                  .ndim = row.ndim,
                                  .shape = {row.shape[0], row.shape[1]}};
        MN_TRY(place_part(m, &row, &stored, &in_place));
    }
    return MN_OK;
}

mn_status mn_model_outline(mn_model **out, const mn_model_config *config, const char *name,
                           mn_dtype dtype, mn_device *device, mn_comm *tp) {
    mn_model *m = NULL;
    mn_status st = MN_OK;
    *out = NULL;
    MN_GOTO(mn_model_new(&m, config, name, device, tp));
    for (int pass = 0; pass < 2; pass++) {
        if (pass) MN_GOTO(mn_arena_commit(&m->weights));
        MN_GOTO(place_outline(m, dtype));
        MN_GOTO(mn_model_place_rotary(m, false));
    }
    if (config->tied) m->head_w = m->embed_w;
    *out = m;
    m = NULL;
done:
    mn_model_close(&m);
    return st;
}

mn_status mn_model_place_row(mn_model *m, const mn_binding_row *row, mn_dtype dtype) {
    const mn_tensor whole = {
        .dtype = dtype, .ndim = row->ndim, .shape = {row->shape[0], row->shape[1]}};
    *row->weight = mn_slice_part(&row->slice, &whole);
    return mn_arena_alloc(&m->weights, &row->weight->data, mn_tensor_bytes(row->weight));
}

/* Uniform numbers of the wanted variance serve as well as normal ones and are quick to draw. */
static void fill_random(mn_tensor *t, int64_t at, int64_t first, int64_t count,
                        const mn_draw *draw) {
    const float width = 0.02f * 3.4641016f; /* sqrt(12): deviation 0.02 */
    const uint32_t key[2] = {(uint32_t)draw->seed, (uint32_t)(draw->seed >> 32)};
    const int64_t end = first + count;
    for (int64_t d = first / 4; 4 * d < end; d++) {
        const uint32_t counter[4] = {(uint32_t)d, (uint32_t)(d >> 32), (uint32_t)draw->stream, 0};
        uint32_t r[4];
        mn_philox4x32(r, counter, key);
        for (int64_t e = 4 * d; e < 4 * d + 4; e++) {
            if (e < first || e >= end) continue;
            const float u = ((float)(r[e % 4] >> 8) * 0x1p-24f - 0.5f) * width;
            mn_put_element(t, at + e - first, draw->norm_weight ? 1 + u : u);
        }
    }
}

/* Long runs in pieces, for the threads. */
static void fill_host(mn_tensor *host, const mn_slice *slice, mn_draw_fill *fill,
                      const mn_draw *draw) {
    const int64_t piece = 1 << 14;
    const mn_runs runs = mn_slice_runs(slice, host);
    const int64_t pieces = (runs.length + piece - 1) / piece;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < runs.count * pieces; i++) {
        const int64_t r = i / pieces, from = i % pieces * piece, left = runs.length - from;
        fill(host, r * runs.length + from, runs.first + r * runs.stride + from,
             left < piece ? left : piece, draw);
    }
}

mn_status mn_model_fill(mn_device *device, const mn_binding_row *row, mn_draw_fill *fill,
                        const mn_draw *draw) {
    mn_tensor host = *row->weight;
    const size_t bytes = mn_tensor_bytes(&host);
    if (device->host_memory) {
        fill_host(&host, &row->slice, fill, draw);
        return MN_OK;
    }
    host.data = malloc(bytes);
    MN_CHECK(host.data, MN_ERR_MEMORY, "no memory to draw %zu bytes of weights", bytes);
    fill_host(&host, &row->slice, fill, draw);
    const mn_status st = device->upload(device, row->weight->data, host.data, bytes);
    free(host.data);
    return st;
}

static mn_status place_random(mn_model *m, mn_dtype dtype, uint64_t seed, bool fill) {
    for (int64_t i = 0; i < mn_binding_count(&m->config); i++) {
        mn_binding_row row;
        mn_binding_at(&row, &m->config, m, i);
        MN_TRY(mn_model_place_row(m, &row, row.ndim == 1 ? MN_F32 : dtype));
        if (!fill) continue;
        const mn_draw draw = {.seed = seed,
                              .stream = (uint64_t)i,
                              .norm_weight = row.ndim == 1 && strstr(row.name, "norm.weight")};
        MN_TRY(mn_model_fill(m->device, &row, fill_random, &draw));
    }
    return MN_OK;
}

mn_status mn_model_random(mn_model **out, const mn_model_config *config, const char *name,
                          mn_dtype dtype, uint64_t seed, mn_device *device, mn_comm *tp) {
    mn_model *m = NULL;
    mn_status st = MN_OK;
    *out = NULL;
    MN_TRY(mn_comm_attach(tp, device));
    MN_GOTO(mn_model_new(&m, config, name, device, tp));
    for (int pass = 0; pass < 2; pass++) {
        if (pass) MN_GOTO(mn_arena_commit(&m->weights));
        MN_GOTO(place_random(m, dtype, seed, pass));
        MN_GOTO(mn_model_place_rotary(m, pass));
    }
    if (config->tied) m->head_w = m->embed_w;
    *out = m;
    m = NULL;
done:
    mn_model_close(&m);
    return st;
}

void mn_model_close(mn_model **model) {
    mn_model *m = *model;
    if (!m) return;
    mn_arena_free(&m->panels);
    mn_arena_free(&m->weights);
    mn_checkpoint_close(&m->checkpoint);
    free(m->layers);
    free(m->path);
    free(m);
    *model = NULL;
}

/* Names the first element of a part that is no number, by its place in the whole; `t` is one or the other. */
static mn_status check_elements(const mn_tensor *t, const mn_runs *runs, bool whole,
                                const char *name, const char *file) {
    for (int64_t r = 0; r < runs->count; r++)
        for (int64_t i = 0; i < runs->length; i++) {
            const int64_t at = runs->first + r * runs->stride + i;
            const float f = mn_element(t, whole ? at : r * runs->length + i);
            MN_CHECK(isfinite(f), MN_ERR_NUMERIC, "%s: tensor %s: element %lld is %g", file, name,
                     (long long)at, (double)f);
        }
    return MN_OK;
}

/* Weights are looked at in the file, which panels do not change; those that are no file's and lie on a device are
 * fetched, packed ones are left out. */
static mn_status check_weight(const mn_model *m, const mn_binding_row *row) {
    const mn_runs runs = mn_slice_runs(&row->slice, row->weight);
    mn_tensor host = *row->weight;
    const mn_stored *s = NULL;
    if (m->checkpoint) {
        MN_TRY(find(&s, m->checkpoint, m->path, row));
        return check_elements(&s->view, &runs, true, row->name, s->file);
    }
    if (host.layout != MN_LAYOUT_ROWS) return MN_OK;
    if (m->device->host_memory) return check_elements(&host, &runs, false, row->name, m->path);
    const size_t bytes = mn_tensor_bytes(&host);
    host.data = malloc(bytes);
    MN_CHECK(host.data, MN_ERR_MEMORY, "no memory for tensor %s", row->name);
    mn_status st = m->device->download(m->device, host.data, row->weight->data, bytes);
    if (st == MN_OK) st = check_elements(&host, &runs, false, row->name, m->path);
    free(host.data);
    return st;
}

static mn_status check_weights(mn_model *m) {
    for (int64_t i = 0; i < mn_binding_count(&m->config); i++) {
        mn_binding_row row;
        mn_binding_at(&row, &m->config, m, i);
        MN_TRY(check_weight(m, &row));
    }
    return MN_OK;
}

mn_status mn_model_check_finite(mn_model *m) { return mn_comm_agree(m->tp, check_weights(m)); }
