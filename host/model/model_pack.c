/* model_pack.c - weights in the layout that the device's matrix products like best. */
#include "model/model_impl.h"

#include "mneme/file.h"
#include "mneme/log.h"

/* A matrix that only products read: not the embedding, unless it is the output matrix as well. */
static mn_tensor *product_weight(mn_binding_row *row, mn_model *m, int64_t index) {
    mn_binding_at(row, &m->config, m, index);
    if (row->ndim != 2 || row->weight->dtype == MN_F32) return NULL;
    if (row->weight == &m->embed_w) return m->config.tied ? &m->head_w : NULL;
    return row->weight;
}

static size_t panel_bytes(const mn_model *m, const mn_tensor *w) {
    return m->device->panel_bytes(w->shape[0], w->shape[1]);
}

/* The rows in memory that the panels take the place of; those of a mapped file can be dropped anyway. */
static double replaced_bytes(const mn_model *m, const mn_tensor *w) {
    const unsigned char *data = w->data, *base = m->weights.base;
    const bool ours = data >= base && data < base + m->weights.size && w->data != m->embed_w.data;
    return ours ? (double)mn_tensor_bytes(w) : 0;
}

static mn_status measure(mn_model *m, double *more) {
    for (int64_t i = 0; i < mn_binding_count(&m->config); i++) {
        mn_binding_row row;
        void *unused;
        const mn_tensor *w = product_weight(&row, m, i);
        if (!w) continue;
        *more += (double)panel_bytes(m, w) - replaced_bytes(m, w);
        MN_TRY(mn_arena_alloc(&m->panels, &unused, panel_bytes(m, w)));
    }
    return MN_OK;
}

static mn_status fill(mn_model *m) {
    for (int64_t i = 0; i < mn_binding_count(&m->config); i++) {
        mn_binding_row row;
        void *panels;
        mn_tensor *w = product_weight(&row, m, i);
        if (!w) continue;
        MN_TRY(mn_arena_alloc(&m->panels, &panels, panel_bytes(m, w)));
        MN_TRY(m->device->to_panels(m->device, panels, w));
        if (w->data != m->embed_w.data) mn_release_pages(w->data, mn_tensor_bytes(w));
        w->data = panels;
        w->layout = MN_LAYOUT_PANELS;
    }
    return MN_OK;
}

mn_status mn_model_pack_plan(int64_t *bytes, mn_model *m) {
    double more = 0;
    *bytes = 0;
    if (!m->device->panel_bytes) return MN_OK;
    const mn_status st = measure(m, &more);
    *bytes = (int64_t)m->panels.used;
    m->panels.used = 0;
    return st;
}

/* Whether all ranks have the memory for it: each asks before anyone takes some, and for those beside it as well. */
static mn_status ask(bool *room, const mn_model *m, const mn_comm *job, double more) {
    const int size = mn_comm_size(job), rank = mn_comm_rank(job);
    int here = 0;
    for (int r = 0; r < size; r++)
        here += r == rank || strcmp(mn_comm_host(job, r), mn_comm_host(job, rank)) == 0;
    int64_t lacks = more * here >= mn_memory_available();
    MN_TRY(mn_comm_all_reduce(m->tp, &lacks, 1, MN_COMM_I64, MN_COMM_MAX));
    *room = !lacks;
    return MN_OK;
}

mn_status mn_model_pack(mn_model *m, const mn_comm *job) {
    double more = 0;
    bool room;
    if (!m->device->panel_bytes || m->panels.base) return MN_OK;
    MN_TRY(measure(m, &more));
    MN_TRY(ask(&room, m, job ? job : m->tp, more));
    if (!room) {
        mn_log(MN_LOG_INFO,
               "%s: weights are used as they lie in the file: %.1f GB for a copy in "
               "panels are not there",
               m->path, more / 1e9);
        m->panels.used = 0;
        return MN_OK;
    }
    mn_status st = mn_arena_commit(&m->panels);
    if (st == MN_OK) st = fill(m);
    return mn_comm_agree(m->tp, st);
}
