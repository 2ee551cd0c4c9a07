/* cudnn_values.h - descriptors of the simulated cuDNN, and the execution of a graph (cudnn_run.c). */
#ifndef SIMGPU_CUDNN_VALUES_H
#define SIMGPU_CUDNN_VALUES_H

#include <cudnn.h>

#include <stdbool.h>
#include <stdint.h>

enum { MAX_ATTRIBUTES = 16, WORKSPACE = 256 };

typedef struct attribute {
    cudnnBackendAttributeName_t name;
    int64_t count;
    void *bytes;
} attribute;

typedef struct desc {
    cudnnBackendDescriptorType_t type;
    bool finalized;
    int count;
    attribute attribute[MAX_ATTRIBUTES];
    double *value; /* of a tensor during an execution, in the order of its dimensions */
} desc;

const attribute *find(const desc *d, cudnnBackendAttributeName_t name); /* NULL: not set */
bool graph_is_known(const desc *graph);
const char *run_graph(desc *plan, const desc *pack); /* NULL, or what went wrong */

#endif
