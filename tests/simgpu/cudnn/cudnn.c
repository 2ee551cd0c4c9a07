/* cudnn.c - libcudnn.so.9 for the simulated GPU: an interpreter of cuDNN's backend graphs.
 *
 * It keeps descriptors as lists of attributes and, when a plan is executed, computes the operations of its
 * graph one after the other in double, rounding every tensor to its type. It knows what attention needs:
 * matrix products, elementwise functions, reductions, changes of order. There is one engine, which takes
 * every graph of these. The numbers are those that the graph describes, not those of cuDNN's kernels. */
#include "cudnn_values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUBLIC __attribute__((visibility("default")))

static char last_error[256];

static cudnnStatus_t refuse(cudnnStatus_t status, const char *text) {
    snprintf(last_error, sizeof last_error, "simulated cuDNN: %s", text);
    return status;
}

PUBLIC size_t cudnnGetVersion(void) { return CUDNN_VERSION; }
PUBLIC const char *cudnnGetErrorString(cudnnStatus_t status) {
    return status == CUDNN_STATUS_SUCCESS ? "success" : "failed";
}
PUBLIC void cudnnGetLastErrorString(char *text, size_t size) {
    snprintf(text, size, "%s", last_error);
}

typedef struct context {
    cudaStream_t stream;
} context;

PUBLIC cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    *handle = calloc(1, sizeof(context));
    return *handle ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
}
PUBLIC cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
    free(handle);
    return CUDNN_STATUS_SUCCESS;
}
PUBLIC cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    if (!handle || !stream) return refuse(CUDNN_STATUS_BAD_PARAM, "no stream");
    ((context *)handle)->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- descriptors -------------------------------------------------------------------------------- */

PUBLIC cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                                  cudnnBackendDescriptor_t *out) {
    desc *d = calloc(1, sizeof *d);
    *out = d;
    if (!d) return CUDNN_STATUS_ALLOC_FAILED;
    d->type = type;
    return CUDNN_STATUS_SUCCESS;
}

PUBLIC cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
    desc *d = descriptor;
    for (int i = 0; i < d->count; i++) free(d->attribute[i].bytes);
    free(d->value);
    free(d);
    return CUDNN_STATUS_SUCCESS;
}

static size_t bytes_of(cudnnBackendAttributeType_t type) {
    switch (type) {
    case CUDNN_TYPE_CHAR: return 1;
    case CUDNN_TYPE_BOOLEAN: return sizeof(bool);
    case CUDNN_TYPE_INT64: return sizeof(int64_t);
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_HANDLE: return sizeof(void *);
    default: return sizeof(int); /* enumerations */
    }
}

PUBLIC cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                              cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t type, int64_t count,
                                              const void *values) {
    desc *d = descriptor;
    if (d->finalized) return refuse(CUDNN_STATUS_BAD_PARAM, "attribute of a finalised descriptor");
    if (d->count == MAX_ATTRIBUTES || count < 0)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "too many attributes");
    attribute *a = &d->attribute[d->count++];
    const size_t bytes = (size_t)count * bytes_of(type);
    *a = (attribute){.name = name, .count = count, .bytes = malloc(bytes ? bytes : 1)};
    if (!a->bytes) return CUDNN_STATUS_ALLOC_FAILED;
    memcpy(a->bytes, values, bytes);
    return CUDNN_STATUS_SUCCESS;
}

PUBLIC cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
    desc *d = descriptor;
    if (d->type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR && !graph_is_known(d))
        return refuse(CUDNN_STATUS_NOT_SUPPORTED,
                      "an operation that the interpreter does not know");
    d->finalized = true;
    return CUDNN_STATUS_SUCCESS;
}

/* The engine's only proposal keeps the graph as its own attribute. With SIMGPU_CUDNN_NO_PLAN in the environment it
 * has none, as the real one for some shapes. */
static cudnnStatus_t propose(const desc *heuristics, int64_t *count, void **configs) {
    const attribute *graph = find(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    if (!graph) return refuse(CUDNN_STATUS_BAD_PARAM, "proposals without a graph");
    *count = getenv("SIMGPU_CUDNN_NO_PLAN") ? 0 : 1;
    return cudnnBackendSetAttribute(configs[0], CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                                    CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, graph->bytes);
}

PUBLIC cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor,
                                              cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t type, int64_t wanted,
                                              int64_t *count, void *values) {
    desc *d = descriptor;
    (void)type;
    if (wanted < 1) return refuse(CUDNN_STATUS_BAD_PARAM, "no room for an attribute");
    switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS: return propose(d, count, values);
    case CUDNN_ATTR_ENGINECFG_ENGINE: *count = 1; return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE: *count = 0; return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        *count = 1;
        *(int64_t *)values = WORKSPACE;
        return CUDNN_STATUS_SUCCESS;
    default: return refuse(CUDNN_STATUS_NOT_SUPPORTED, "an attribute that nobody keeps");
    }
}

PUBLIC cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                         cudnnBackendDescriptor_t pack) {
    if (!handle) return refuse(CUDNN_STATUS_BAD_PARAM, "no handle");
    /* What the stream has to do before; the graph itself runs at once. */
    if (cudaStreamSynchronize(((context *)handle)->stream) != cudaSuccess)
        return refuse(CUDNN_STATUS_EXECUTION_FAILED, "the stream failed or captures");
    const char *error = run_graph(plan, pack);
    return error ? refuse(CUDNN_STATUS_EXECUTION_FAILED, error) : CUDNN_STATUS_SUCCESS;
}
