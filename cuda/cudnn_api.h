/* cudnn_api.h (internal) - the functions of libcudnn that are used, and descriptors that are collected to be
 * destroyed together. */
#ifndef MNEME_CUDA_CUDNN_API_H
#define MNEME_CUDA_CUDNN_API_H

#include "cuda/cudnn_plan.h"

#include <cudnn.h>

#define MN_CUDNN_FUNCTIONS(F)                                                                      \
    F(cudnnCreate)                                                                                 \
    F(cudnnDestroy)                                                                                \
    F(cudnnSetStream)                                                                              \
    F(cudnnGetVersion)                                                                             \
    F(cudnnGetErrorString)                                                                         \
    F(cudnnGetLastErrorString)                                                                     \
    F(cudnnBackendCreateDescriptor)                                                                \
    F(cudnnBackendDestroyDescriptor)                                                               \
    F(cudnnBackendSetAttribute)                                                                    \
    F(cudnnBackendGetAttribute)                                                                    \
    F(cudnnBackendFinalize)                                                                        \
    F(cudnnBackendExecute)

struct mn_cudnn {
    void *library;
    cudnnHandle_t handle; /* NULL until a plan for a present device is built */
#define MN_CUDNN_POINTER(name) __typeof__(name) *name;
    MN_CUDNN_FUNCTIONS(MN_CUDNN_POINTER)
#undef MN_CUDNN_POINTER
};

enum { MN_CUDNN_DESCRIPTORS = 192, MN_CUDNN_OPERATIONS = 32 };

/* Numbers of tensors that have memory; virtual ones come behind. */
enum {
    MN_CUDNN_Q = 1,
    MN_CUDNN_K,
    MN_CUDNN_V,
    MN_CUDNN_OUT,
    MN_CUDNN_STATS,
    MN_CUDNN_SCALE,
    MN_CUDNN_HIDDEN, /* the score of what a row does not see */
    MN_CUDNN_ONE,
    MN_CUDNN_DOUT,
    MN_CUDNN_DQ,
    MN_CUDNN_DK,
    MN_CUDNN_DV,
    MN_CUDNN_ROW_SUMS,
    MN_CUDNN_VIRTUAL = 100
};

/* A graph while it is built. After the first failure `status` holds it, and nothing more happens. */
typedef struct mn_cudnn_graph {
    mn_cudnn *cudnn;
    mn_status status;
    int64_t uid; /* of the last virtual tensor */
    int count, operations;
    cudnnBackendDescriptor_t all[MN_CUDNN_DESCRIPTORS], operation[MN_CUDNN_OPERATIONS];
} mn_cudnn_graph;

mn_status mn_cudnn_check(const mn_cudnn *cudnn, cudnnStatus_t status, const char *what);

cudnnBackendDescriptor_t mn_cudnn_create(mn_cudnn_graph *g, cudnnBackendDescriptorType_t type);
void mn_cudnn_set(mn_cudnn_graph *g, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t count, const void *values);
void mn_cudnn_finalize(mn_cudnn_graph *g, cudnnBackendDescriptor_t d, const char *what);
void mn_cudnn_destroy_all(mn_cudnn_graph *g);

/* cudnn_graph.c: adds the operations of attention to an empty graph. */
void mn_cudnn_forward_graph(mn_cudnn_graph *g, const mn_cudnn_shape *shape);
void mn_cudnn_backward_graph(mn_cudnn_graph *g, const mn_cudnn_shape *shape);

#endif
