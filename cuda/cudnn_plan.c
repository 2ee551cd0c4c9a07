/* cudnn_plan.c - opens cuDNN, has it choose and finalise plans, runs them. */
#include "cuda/cudnn_api.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

struct mn_cudnn_plan {
    mn_cudnn *cudnn;
    mn_cudnn_graph graph; /* owns all descriptors */
    cudnnBackendDescriptor_t plan;
    int64_t workspace;
    bool backward;
};

mn_status mn_cudnn_open(mn_cudnn **out) {
    mn_status st = MN_OK;
    mn_cudnn *c = calloc(1, sizeof *c);
    *out = NULL;
    MN_CHECK(c, MN_ERR_MEMORY, "no memory for cuDNN");
    c->library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    MN_CHECK_GOTO(c->library, MN_ERR_UNSUPPORTED, "cuDNN 9: %s", dlerror());
#define MN_CUDNN_FIND(name)                                                                        \
    *(void **)&c->name = dlsym(c->library, #name);                                                 \
    MN_CHECK_GOTO(c->name, MN_ERR_UNSUPPORTED, "libcudnn.so.9 has no %s", #name);
    MN_CUDNN_FUNCTIONS(MN_CUDNN_FIND)
#undef MN_CUDNN_FIND
    *out = c;
    c = NULL;
done:
    mn_cudnn_close(&c);
    return st;
}

void mn_cudnn_close(mn_cudnn **cudnn) {
    mn_cudnn *c = *cudnn;
    if (!c) return;
    if (c->handle) c->cudnnDestroy(c->handle);
    if (c->library) dlclose(c->library);
    free(c);
    *cudnn = NULL;
}

size_t mn_cudnn_version(const mn_cudnn *cudnn) { return cudnn->cudnnGetVersion(); }

mn_status mn_cudnn_check(const mn_cudnn *c, cudnnStatus_t status, const char *what) {
    if (status == CUDNN_STATUS_SUCCESS) return MN_OK;
    char text[512] = "";
    c->cudnnGetLastErrorString(text, sizeof text);
    const mn_status st = status / 1000 == CUDNN_STATUS_NOT_SUPPORTED / 1000 ? MN_ERR_UNSUPPORTED
                                                                            : MN_ERR_IO;
    return mn_fail(st, "cuDNN: %s: %s: %s", what, c->cudnnGetErrorString(status), text);
}

/* ---- descriptors -------------------------------------------------------------------------------- */

cudnnBackendDescriptor_t mn_cudnn_create(mn_cudnn_graph *g, cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t d = NULL;
    if (g->status != MN_OK) return NULL;
    if (g->count == MN_CUDNN_DESCRIPTORS) {
        g->status = mn_fail(MN_ERR_MEMORY, "cuDNN: more than %d descriptors", MN_CUDNN_DESCRIPTORS);
        return NULL;
    }
    g->status = mn_cudnn_check(g->cudnn, g->cudnn->cudnnBackendCreateDescriptor(type, &d),
                               "new descriptor");
    if (g->status == MN_OK) g->all[g->count++] = d;
    return d;
}

void mn_cudnn_set(mn_cudnn_graph *g, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    if (g->status != MN_OK) return;
    g->status = mn_cudnn_check(
        g->cudnn, g->cudnn->cudnnBackendSetAttribute(d, name, type, count, values), "attribute");
}

void mn_cudnn_finalize(mn_cudnn_graph *g, cudnnBackendDescriptor_t d, const char *what) {
    if (g->status != MN_OK) return;
    g->status = mn_cudnn_check(g->cudnn, g->cudnn->cudnnBackendFinalize(d), what);
}

void mn_cudnn_destroy_all(mn_cudnn_graph *g) {
    while (g->count > 0) g->cudnn->cudnnBackendDestroyDescriptor(g->all[--g->count]);
}

/* ---- plans -------------------------------------------------------------------------------------- */

/* The device as a descriptor, or NULL when the plan is for the handle's. */
static cudnnBackendDescriptor_t device_of(mn_cudnn_graph *g, const char *device) {
    if (!device) return NULL;
    const cudnnBackendDescriptor_t d = mn_cudnn_create(g, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    mn_cudnn_set(g, d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                 (int64_t)strlen(device), device);
    mn_cudnn_finalize(g, d, "description of a device");
    return d;
}

/* Whether the engine of a proposal adds in the same order in every run. */
static bool reproducible(mn_cudnn_graph *g, cudnnBackendDescriptor_t config) {
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendDescriptor_t engine = mn_cudnn_create(g, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    int64_t count = 0;
    if (g->status != MN_OK ||
        g->cudnn->cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
                                           &engine) != CUDNN_STATUS_SUCCESS ||
        g->cudnn->cudnnBackendGetAttribute(
            engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
            CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes) != CUDNN_STATUS_SUCCESS)
        return false;
    for (int64_t i = 0; i < count; i++)
        if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) return false;
    return true;
}

/* One proposal: whether it becomes the plan. That cuDNN cannot finalise it is no error. */
static bool finalise(mn_cudnn_plan *p, cudnnBackendDescriptor_t config,
                     cudnnBackendDescriptor_t device) {
    mn_cudnn_graph *g = &p->graph;
    int64_t count;
    if (!reproducible(g, config)) return false;
    p->plan = mn_cudnn_create(g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    if (device)
        mn_cudnn_set(g, p->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
    else
        mn_cudnn_set(g, p->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                     &p->cudnn->handle);
    mn_cudnn_set(g, p->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                 1, &config);
    return g->status == MN_OK && p->cudnn->cudnnBackendFinalize(p->plan) == CUDNN_STATUS_SUCCESS &&
           p->cudnn->cudnnBackendGetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                              CUDNN_TYPE_INT64, 1, &count,
                                              &p->workspace) == CUDNN_STATUS_SUCCESS;
}

/* cuDNN's proposals in its own order; the first that will do. */
static mn_status choose(mn_cudnn_plan *p, const mn_cudnn_shape *shape,
                        cudnnBackendDescriptor_t device) {
    enum { PROPOSALS = 16 };
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    mn_cudnn_graph *g = &p->graph;
    cudnnBackendDescriptor_t config[PROPOSALS];
    int64_t count = 0;
    const cudnnBackendDescriptor_t graph = mn_cudnn_create(g,
                                                           CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    mn_cudnn_set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                 g->operations, g->operation);
    if (!device)
        mn_cudnn_set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1,
                     &p->cudnn->handle);
    mn_cudnn_finalize(g, graph, "attention");
    const cudnnBackendDescriptor_t heuristics = mn_cudnn_create(
        g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    mn_cudnn_set(g, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    mn_cudnn_set(g, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (device)
        mn_cudnn_set(g, heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                     1, &device);
    mn_cudnn_finalize(g, heuristics, "proposals for attention");
    for (int i = 0; i < PROPOSALS; i++)
        config[i] = mn_cudnn_create(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    MN_TRY(g->status);
    MN_TRY(mn_cudnn_check(g->cudnn,
                          g->cudnn->cudnnBackendGetAttribute(
                              heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                              CUDNN_TYPE_BACKEND_DESCRIPTOR, PROPOSALS, &count, config),
                          "proposals for attention"));
    for (int64_t i = 0; i < count && i < PROPOSALS; i++)
        if (finalise(p, config[i], device)) return MN_OK;
    MN_TRY(g->status);
    return mn_fail(MN_ERR_UNSUPPORTED,
                   "cuDNN %zu has no reproducible plan for attention%s of %lld x %lld tokens, %lld "
                   "heads of %lld",
                   mn_cudnn_version(p->cudnn), shape->backward ? " backward" : "",
                   (long long)shape->batch, (long long)shape->length, (long long)shape->heads,
                   (long long)shape->head_dim);
}

mn_status mn_cudnn_plan_build(mn_cudnn_plan **out, mn_cudnn *cudnn, const mn_cudnn_shape *shape,
                              const char *device) {
    mn_status st = MN_OK;
    mn_cudnn_plan *p = calloc(1, sizeof *p);
    *out = NULL;
    MN_CHECK(p, MN_ERR_MEMORY, "no memory for a plan of cuDNN");
    p->cudnn = p->graph.cudnn = cudnn;
    p->graph.uid = MN_CUDNN_VIRTUAL - 1;
    p->backward = shape->backward;
    if (!device && !cudnn->handle)
        MN_GOTO(mn_cudnn_check(cudnn, cudnn->cudnnCreate(&cudnn->handle), "cudnnCreate"));
    if (shape->backward) mn_cudnn_backward_graph(&p->graph, shape);
    else mn_cudnn_forward_graph(&p->graph, shape);
    const cudnnBackendDescriptor_t described = device_of(&p->graph, device);
    MN_GOTO(p->graph.status);
    MN_GOTO(choose(p, shape, described));
    MN_GOTO(p->graph.status);
    *out = p;
    p = NULL;
done:
    mn_cudnn_plan_close(&p);
    return st;
}

void mn_cudnn_plan_close(mn_cudnn_plan **plan) {
    if (!*plan) return;
    mn_cudnn_destroy_all(&(*plan)->graph);
    free(*plan);
    *plan = NULL;
}

size_t mn_cudnn_plan_workspace(const mn_cudnn_plan *plan) { return (size_t)plan->workspace; }

mn_status mn_cudnn_plan_run(mn_cudnn_plan *plan, const mn_cudnn_data *data, void *stream) {
    mn_cudnn_graph *g = &plan->graph;
    float scale = data->scale, one = 1, hidden = -1e30f;
    const int64_t uid[] = {MN_CUDNN_Q,
                           MN_CUDNN_K,
                           MN_CUDNN_V,
                           MN_CUDNN_OUT,
                           MN_CUDNN_STATS,
                           MN_CUDNN_SCALE,
                           MN_CUDNN_HIDDEN,
                           /* backward only: */ MN_CUDNN_ONE,
                           MN_CUDNN_DOUT,
                           MN_CUDNN_DQ,
                           MN_CUDNN_DK,
                           MN_CUDNN_DV,
                           MN_CUDNN_ROW_SUMS};
    void *const place[] = {data->q,  data->k,  data->v,       data->out,  data->stats,
                           &scale,   &hidden,  &one,          data->dout, data->dq,
                           data->dk, data->dv, data->row_sums};
    const int64_t count = plan->backward ? 13 : 7;
    MN_TRY(mn_cudnn_check(plan->cudnn,
                          plan->cudnn->cudnnSetStream(plan->cudnn->handle, (cudaStream_t)stream),
                          "cudnnSetStream"));
    /* A pack cannot be changed once it is finalised. */
    const int before = g->count;
    const cudnnBackendDescriptor_t pack = mn_cudnn_create(g, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    mn_cudnn_set(g, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uid);
    mn_cudnn_set(g, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, place);
    mn_cudnn_set(g, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1,
                 &data->workspace);
    mn_cudnn_finalize(g, pack, "data of attention");
    if (g->status == MN_OK)
        g->status = mn_cudnn_check(
            plan->cudnn, plan->cudnn->cudnnBackendExecute(plan->cudnn->handle, plan->plan, pack),
            "attention");
    while (g->count > before) plan->cudnn->cudnnBackendDestroyDescriptor(g->all[--g->count]);
    return g->status;
}
