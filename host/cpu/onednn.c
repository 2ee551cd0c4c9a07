/* onednn.c - bf16 matrix products by oneDNN, through its C API of major version 2 or 3: they differ in
 * how descriptors are made, which is all that the #if below hides. */
#include "cpu/onednn.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PLANS = 64 };

typedef struct plan {
    int64_t m, n, k, ldx, ldy;
    bool w_across, add;
    dnnl_primitive_t primitive;
    dnnl_memory_t x, w, y;
} plan;

typedef struct plan_cache {
    plan plans[MAX_PLANS];
    int count, next;
    dnnl_stream_t stream;
} plan_cache;

struct mn_onednn {
    dnnl_engine_t engine;
    plan_cache *caches; /* one per thread */
    int threads;
};

#define DNNL_TRY(call)                                                                             \
    do {                                                                                           \
        const dnnl_status_t dnnl_try_ = (call);                                                    \
        if (dnnl_try_ != dnnl_success)                                                             \
            return mn_fail(dnnl_try_ == dnnl_out_of_memory ? MN_ERR_MEMORY : MN_ERR_UNSUPPORTED,   \
                           "oneDNN: %s failed with status %d", #call, (int)dnnl_try_);             \
    } while (0)

const char *mn_onednn_version(void) {
    static _Thread_local char text[32];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "%d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t memory_desc;

static dnnl_status_t desc_make(memory_desc *md, const dnnl_dims_t dims, dnnl_data_type_t type,
                               const dnnl_dims_t strides) {
    return dnnl_memory_desc_create_with_strides(md, 2, dims, type, strides);
}

static void desc_free(memory_desc md) {
    if (md) dnnl_memory_desc_destroy(md);
}

static dnnl_status_t memory_make(dnnl_memory_t *memory, memory_desc md, dnnl_engine_t engine) {
    return dnnl_memory_create(memory, md, engine, DNNL_MEMORY_NONE);
}

static dnnl_status_t matmul_make(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, memory_desc x,
                                 memory_desc w, memory_desc y, dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(pd, engine, x, w, NULL, y, attr);
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_f32);
}
#else
typedef dnnl_memory_desc_t *memory_desc;

static dnnl_status_t desc_make(memory_desc *md, const dnnl_dims_t dims, dnnl_data_type_t type,
                               const dnnl_dims_t strides) {
    *md = calloc(1, sizeof **md);
    return *md ? dnnl_memory_desc_init_by_strides(*md, 2, dims, type, strides) : dnnl_out_of_memory;
}

static void desc_free(memory_desc md) { free(md); }

static dnnl_status_t memory_make(dnnl_memory_t *memory, memory_desc md, dnnl_engine_t engine) {
    return dnnl_memory_create(memory, md, engine, DNNL_MEMORY_NONE);
}

static dnnl_status_t matmul_make(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, memory_desc x,
                                 memory_desc w, memory_desc y, dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t desc;
    const dnnl_status_t st = dnnl_matmul_desc_init(&desc, x, w, NULL, y);
    return st == dnnl_success ? dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL) : st;
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops) { return dnnl_post_ops_append_sum(ops, 1.0f); }
#endif

static void plan_free(plan *p) {
    if (p->primitive) dnnl_primitive_destroy(p->primitive);
    if (p->x) dnnl_memory_destroy(p->x);
    if (p->w) dnnl_memory_destroy(p->w);
    if (p->y) dnnl_memory_destroy(p->y);
    *p = (plan){0};
}

static dnnl_status_t plan_build(plan *p, dnnl_engine_t engine) {
    const dnnl_dims_t xd = {p->m, p->k}, wd = {p->k, p->n}, yd = {p->m, p->n};
    const dnnl_dims_t xs = {p->ldx, 1}, ys = {p->ldy, 1};
    const dnnl_dims_t ws = {p->w_across ? p->n : 1, p->w_across ? 1 : p->k};
    memory_desc x = NULL, w = NULL, y = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t st = dnnl_success;
#define STEP(call)                                                                                 \
    if (st == dnnl_success) st = (call)
    STEP(desc_make(&x, xd, dnnl_bf16, xs));
    STEP(desc_make(&w, wd, dnnl_bf16, ws));
    STEP(desc_make(&y, yd, dnnl_f32, ys));
    STEP(dnnl_primitive_attr_create(&attr));
    STEP(dnnl_post_ops_create(&ops));
    if (p->add) STEP(append_sum(ops));
    STEP(dnnl_primitive_attr_set_post_ops(attr, ops));
    STEP(matmul_make(&pd, engine, x, w, y, attr));
    STEP(dnnl_primitive_create(&p->primitive, pd));
    STEP(memory_make(&p->x, x, engine));
    STEP(memory_make(&p->w, w, engine));
    STEP(memory_make(&p->y, y, engine));
#undef STEP
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (ops) dnnl_post_ops_destroy(ops);
    if (attr) dnnl_primitive_attr_destroy(attr);
    desc_free(x);
    desc_free(w);
    desc_free(y);
    return st;
}

mn_status mn_onednn_open(mn_onednn **out, int threads) {
    mn_status st = MN_OK;
    *out = NULL;
    mn_onednn *o = calloc(1, sizeof *o);
    MN_CHECK(o, MN_ERR_MEMORY, "no memory for oneDNN's state");
    o->threads = threads;
    o->caches = calloc((size_t)threads, sizeof *o->caches);
    MN_CHECK_GOTO(o->caches && dnnl_engine_create(&o->engine, dnnl_cpu, 0) == dnnl_success,
                  MN_ERR_MEMORY, "oneDNN cannot start its CPU engine");
    for (int i = 0; i < threads; i++)
        MN_CHECK_GOTO(dnnl_stream_create(&o->caches[i].stream, o->engine,
                                         dnnl_stream_default_flags) == dnnl_success,
                      MN_ERR_MEMORY, "oneDNN cannot create a stream");
    *out = o;
    o = NULL;
done:
    mn_onednn_close(&o);
    return st;
}

void mn_onednn_close(mn_onednn **onednn) {
    mn_onednn *o = *onednn;
    if (!o) return;
    for (int i = 0; o->caches && i < o->threads; i++) {
        for (int j = 0; j < o->caches[i].count; j++) plan_free(&o->caches[i].plans[j]);
        if (o->caches[i].stream) dnnl_stream_destroy(o->caches[i].stream);
    }
    if (o->engine) dnnl_engine_destroy(o->engine);
    free(o->caches);
    free(o);
    *onednn = NULL;
}

/* The plan of this shape; the oldest one makes room when all places are taken. */
static mn_status plan_find(plan **out, plan_cache *cache, dnnl_engine_t engine, const plan *key) {
    for (int i = 0; i < cache->count; i++) {
        plan *p = &cache->plans[i];
        if (p->m == key->m && p->n == key->n && p->k == key->k && p->ldx == key->ldx &&
            p->ldy == key->ldy && p->w_across == key->w_across && p->add == key->add) {
            *out = p;
            return MN_OK;
        }
    }
    plan *p = &cache->plans[cache->next];
    plan_free(p);
    *p = *key;
    const dnnl_status_t st = plan_build(p, engine);
    if (st != dnnl_success) {
        plan_free(p);
        return mn_fail(MN_ERR_UNSUPPORTED,
                       "oneDNN cannot multiply bf16 matrices on this processor (status %d); use "
                       "--compute f32",
                       (int)st);
    }
    cache->next = (cache->next + 1) % MAX_PLANS;
    if (cache->count < MAX_PLANS) cache->count++;
    *out = p;
    return MN_OK;
}

mn_status mn_onednn_bf16(mn_onednn *o, int thread, const mn_bf16_product *b) {
    const plan key = {.m = b->m,
                      .n = b->n,
                      .k = b->k,
                      .ldx = b->ldx,
                      .ldy = b->ldy,
                      .w_across = b->w_across,
                      .add = b->add};
    plan_cache *cache = &o->caches[thread];
    plan *p = NULL;
    omp_set_num_threads(1); /* of this thread's nested regions, when planning and when running */
    MN_TRY(plan_find(&p, cache, o->engine, &key));
    DNNL_TRY(dnnl_memory_set_data_handle(p->x, (void *)(uintptr_t)b->x));
    DNNL_TRY(dnnl_memory_set_data_handle(p->w, (void *)(uintptr_t)b->w));
    DNNL_TRY(dnnl_memory_set_data_handle(p->y, b->y));
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, p->x}, {DNNL_ARG_WEIGHTS, p->w}, {DNNL_ARG_DST, p->y}};
    DNNL_TRY(dnnl_primitive_execute(p->primitive, cache->stream, 3, args));
    DNNL_TRY(dnnl_stream_wait(cache->stream));
    return MN_OK;
}
