/* variants.c - the variants of a session: where their tops begin, their caches and memories, and what
 * the memories change. */
#include "model/memory_impl.h"
#include "model/session.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

static mn_status check_memory(const mn_memory *m, const mn_model *model) {
    const mn_model_config *c = &model->config;
    MN_CHECK(m->dim == c->dim, MN_ERR_USAGE, "memory %s is for models of width %lld, %s has %lld",
             m->name, (long long)m->dim, model->path, (long long)c->dim);
    MN_CHECK(m->count > 0 && m->layers[m->count - 1].block < c->layers, MN_ERR_USAGE,
             "memory %s stands behind block %lld, %s has %lld blocks", m->name,
             (long long)(m->count > 0 ? m->layers[m->count - 1].block : -1), model->path,
             (long long)c->layers);
    MN_CHECK(m->device == model->device, MN_ERR_USAGE, "memory %s and %s are on different devices",
             m->name, model->path);
    return MN_OK;
}

mn_status mn_variants_open(mn_session *s) {
    mn_session_options *o = &s->limits;
    const int64_t given = o->variants ? o->variant_count : 1;
    MN_CHECK(given > 0, MN_ERR_USAGE, "a session needs at least one variant");
    s->variants = calloc((size_t)given, sizeof(const mn_memory *));
    MN_CHECK(s->variants, MN_ERR_MEMORY, "no memory for a session");
    s->trunk_layers = s->model->config.layers;
    for (int64_t v = 0; v < given && o->variants; v++) {
        const mn_memory *m = o->variants[v];
        s->variants[v] = m;
        if (!m) continue;
        MN_TRY(check_memory(m, s->model));
        /* What enters the first memory is still the same for everybody. */
        if (m->layers[0].block + 1 < s->trunk_layers) s->trunk_layers = m->layers[0].block + 1;
    }
    o->variants = s->variants;
    o->variant_count = given;
    return MN_OK;
}

void mn_variants_most(const mn_session *s, int64_t *hidden, int64_t *count) {
    *hidden = *count = 0;
    for (int64_t v = 0; v < s->limits.variant_count; v++) {
        const mn_memory *m = s->variants[v];
        if (m && m->units > *hidden) *hidden = m->units;
        if (m && m->count > *count) *count = m->count;
    }
}

mn_status mn_variants_lay_out(mn_session *s) {
    int64_t hidden, count;
    const int64_t t = s->limits.max_tokens, c = s->model->config.dim;
    const bool several = s->limits.variant_count > 1;
    mn_variants_most(s, &hidden, &count);
    s->norms = mn_tensor_1d(NULL, MN_F32, s->limits.audit ? 2 * count * t : 0);
    const struct {
        mn_tensor *tensor;
        int64_t rows, cols;
    } floats[] = {{&s->trunk, several ? t : 0, c},
                  {&s->inner, count > 0 ? t : 0, hidden},
                  {&s->down, count > 0 ? t : 0, c},
                  {&s->out, s->limits.variant_count * t, c},
                  {&s->logits[1], several ? s->limits.max_logits : 0, s->model->shard.vocab}};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        *floats[i].tensor = mn_tensor_2d(NULL, MN_F32, floats[i].rows, floats[i].cols);
        MN_TRY(
            mn_arena_alloc(&s->step, &floats[i].tensor->data, mn_tensor_bytes(floats[i].tensor)));
    }
    return mn_arena_alloc(&s->step, &s->norms.data, mn_tensor_bytes(&s->norms));
}

mn_status mn_variants_commit(mn_session *s) {
    int64_t hidden, count;
    mn_variants_most(s, &hidden, &count);
    if (!s->limits.audit || count == 0) return MN_OK;
    const size_t outputs = (size_t)s->limits.max_tokens;
    s->host_norms = calloc(2 * (size_t)count * outputs, sizeof *s->host_norms);
    s->change = calloc((size_t)count * outputs, sizeof *s->change);
    MN_CHECK(s->host_norms && s->change, MN_ERR_MEMORY, "no memory for a session");
    return MN_OK;
}

void mn_variants_close(mn_session *s) {
    free(s->variants);
    free(s->host_norms);
    free(s->change);
}

int64_t mn_session_variants(const mn_session *s) { return s->limits.variant_count; }

const mn_memory *mn_session_variant(const mn_session *s, int64_t variant) {
    return s->variants[variant];
}

int64_t mn_session_kv_layers(const mn_session *s) {
    const int64_t top = s->model->config.layers - s->trunk_layers;
    return s->trunk_layers + s->limits.variant_count * top;
}

mn_kv_layer mn_session_kv(const mn_session *s, int64_t layer) {
    const int64_t top = s->model->config.layers - s->trunk_layers;
    return s->kv[layer < s->trunk_layers ? layer : layer + s->variant * top];
}

mn_tensor mn_session_out(const mn_session *s, int64_t variant) {
    const int64_t c = s->model->config.dim;
    float *rows = (float *)s->out.data + variant * s->limits.max_tokens * c;
    return mn_tensor_2d(rows, MN_F32, s->batch.output_count, c);
}

mn_status mn_session_begin_top(mn_session *s, int64_t variant, bool *again) {
    MN_CHECK(variant >= 0 && variant < s->limits.variant_count, MN_ERR_USAGE,
             "variant %lld of %lld", (long long)variant, (long long)s->limits.variant_count);
    MN_CHECK(s->at_trunk || s->limits.variant_count > 1, MN_ERR_USAGE,
             "the only variant of a session has one top per pass");
    s->variant = variant;
    *again = !s->at_trunk;
    s->at_trunk = false;
    if (!*again) return MN_OK;
    mn_session_rows(s, s->trunk.shape[0]);
    s->only_outputs = mn_session_all_outputs(s) ||
                      (s->trunk_layers == s->model->config.layers && s->batch.output_count > 0);
    return MN_OK;
}

/* Keeps the residual stream, where more than one top will begin with it. */
mn_status mn_session_end_trunk(mn_session *s) {
    if (s->limits.variant_count == 1) return MN_OK;
    mn_tensor trunk = s->trunk;
    trunk.shape[0] = s->x.shape[0];
    return mn_cast(s->model->device, &trunk, &s->x);
}

/* Norms of the outputs' rows in front of memory `index` (which 0), or of what it adds (1). */
static mn_tensor norms_of(const mn_session *s, int64_t index, int64_t which) {
    const int64_t n = s->batch.output_count;
    return mn_tensor_1d((float *)s->norms.data + (2 * index + which) * n, MN_F32, n);
}

/* The variant's `out` is free until the end of its top. */
static mn_status measure_before(mn_session *s, int64_t index) {
    mn_tensor rows = mn_session_out(s, s->variant), norm = norms_of(s, index, 0);
    MN_TRY(mn_session_output_rows(s, &rows, &s->x));
    return mn_row_norms(s->model->device, &norm, &rows);
}

/* What a memory adds is computed again, alone and for the outputs only. */
static mn_status measure_behind(mn_session *s, const mn_memory_layer *l, int64_t index) {
    mn_device *dev = s->model->device;
    mn_tensor rows = mn_session_out(s, s->variant), norm = norms_of(s, index, 1);
    mn_tensor added = mn_tensor_2d(s->h.data, MN_F32, s->batch.output_count, s->model->config.dim);
    MN_TRY(mn_session_output_rows(s, &rows, &s->down));
    MN_TRY(mn_zero(dev, &added));
    MN_TRY(mn_gated_norm_fwd(dev, &added, &rows, &l->norm_w, &l->norm_b, &l->gate,
                             MN_MEMORY_NORM_EPS));
    return mn_row_norms(dev, &norm, &added);
}

mn_status mn_session_read_change(mn_session *s) {
    mn_device *dev = s->model->device;
    const mn_memory *m = s->variants[s->variant];
    const int64_t n = s->batch.output_count, count = m ? m->count : 0;
    if (!s->change || n * count == 0) return MN_OK;
    MN_TRY(dev->download(dev, s->host_norms, s->norms.data,
                         (size_t)(2 * count * n) * sizeof *s->host_norms));
    for (int64_t i = 0; i < count; i++) {
        const float *before = s->host_norms + 2 * i * n, *added = before + n;
        for (int64_t r = 0; r < n; r++)
            s->change[i * s->limits.max_tokens + r] = (double)added[r] /
                                                      (double)(before[r] > 0 ? before[r] : FLT_MIN);
    }
    return MN_OK;
}

mn_status mn_session_memory(mn_session *s, int64_t block) {
    const mn_memory *m = s->variants[s->variant];
    const mn_memory_layer *layer = mn_memory_at(m, block);
    const bool measured = s->change && s->batch.output_count > 0;
    if (!layer) return MN_OK;
    mn_tensor inner = mn_tensor_2d(s->inner.data, MN_F32, s->x.shape[0], m->units);
    s->down.shape[0] = s->x.shape[0];
    const int64_t index = layer - m->layers;
    if (measured) MN_TRY(measure_before(s, index));
    mn_device *dev = s->model->device;
    MN_TRY(MN_RANGE(dev, "memory",
                    mn_memory_fwd(dev, s->model->tp, &s->x, layer, NULL, &inner, &s->down)));
    return measured ? measure_behind(s, layer, index) : MN_OK;
}

const double *mn_session_change(const mn_session *s, int64_t index) {
    return s->change + index * s->limits.max_tokens;
}
