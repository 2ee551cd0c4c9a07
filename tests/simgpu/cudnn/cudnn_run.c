/* cudnn_run.c - computes a graph: values of tensors in double, rounded to the tensor's type. */
#include "cudnn_values.h"

#include <immintrin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    int64_t dim[4], stride[4];
} shape;

const attribute *find(const desc *d, cudnnBackendAttributeName_t name) {
    for (int i = d->count - 1; i >= 0; i--)
        if (d->attribute[i].name == name) return &d->attribute[i];
    return NULL;
}

static desc *linked(const desc *d, cudnnBackendAttributeName_t name) {
    const attribute *a = find(d, name);
    return a ? *(desc **)a->bytes : NULL;
}

static int64_t number(const desc *d, cudnnBackendAttributeName_t name) {
    return *(int64_t *)find(d, name)->bytes;
}

static int choice(const desc *d, cudnnBackendAttributeName_t name) {
    return *(int *)find(d, name)->bytes;
}

static bool flag(const desc *d, cudnnBackendAttributeName_t name) {
    return *(bool *)find(d, name)->bytes;
}

static shape shape_of(const desc *t) {
    shape s;
    memcpy(s.dim, find(t, CUDNN_ATTR_TENSOR_DIMENSIONS)->bytes, sizeof s.dim);
    memcpy(s.stride, find(t, CUDNN_ATTR_TENSOR_STRIDES)->bytes, sizeof s.stride);
    return s;
}

static int64_t size_of(const shape *s) { return s->dim[0] * s->dim[1] * s->dim[2] * s->dim[3]; }

/* Index i of the values as four indices; where that stands in memory; where it is in a tensor whose sizes of
 * 1 are repeated. */
static void split(int64_t at[4], const shape *s, int64_t i) {
    for (int d = 3; d >= 0; i /= s->dim[d--]) at[d] = i % s->dim[d];
}

static int64_t place_of(const shape *s, const int64_t at[4]) {
    int64_t place = 0;
    for (int d = 0; d < 4; d++) place += at[d] * s->stride[d];
    return place;
}

static int64_t repeated(const shape *s, const int64_t at[4]) {
    int64_t i = 0;
    for (int d = 0; d < 4; d++) i = i * s->dim[d] + (s->dim[d] == 1 ? 0 : at[d]);
    return i;
}

static int64_t extent_of(const shape *s) {
    const int64_t last[] = {s->dim[0] - 1, s->dim[1] - 1, s->dim[2] - 1, s->dim[3] - 1};
    return place_of(s, last) + 1;
}

static double rounded(double x, int type) {
    if (type == CUDNN_DATA_HALF) return (double)_cvtsh_ss(_cvtss_sh((float)x, 0));
    if (type == CUDNN_DATA_FLOAT) return (double)(float)x;
    return x; /* whole numbers and truths */
}

/* ---- memory ------------------------------------------------------------------------------------- */

static void *data_of(const desc *pack, int64_t uid) {
    const attribute *uids = find(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    const attribute *places = find(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    for (int64_t i = 0; uids && places && i < uids->count; i++)
        if (((int64_t *)uids->bytes)[i] == uid) return ((void **)places->bytes)[i];
    return NULL;
}

/* Between memory and values: `store` writes. By-value tensors are a float of the host's. */
static const char *move(desc *t, const desc *pack, bool store) {
    const shape s = shape_of(t);
    const int type = choice(t, CUDNN_ATTR_TENSOR_DATA_TYPE);
    const size_t width = type == CUDNN_DATA_HALF ? 2 : 4, bytes = (size_t)extent_of(&s) * width;
    void *at = data_of(pack, number(t, CUDNN_ATTR_TENSOR_UNIQUE_ID));
    if (!at) return "a tensor has no data";
    if (flag(t, CUDNN_ATTR_TENSOR_IS_BY_VALUE)) {
        t->value[0] = (double)*(float *)at;
        return NULL;
    }
    unsigned char *host = calloc(1, bytes);
    const char *error = host ? NULL : "no memory";
    const bool whole = store && size_of(&s) == extent_of(&s); /* nothing of it stays */
    if (!error && !whole && cudaMemcpy(host, at, bytes, cudaMemcpyDeviceToHost) != cudaSuccess)
        error = "a tensor is not in device memory";
    for (int64_t i = 0; !error && i < size_of(&s); i++) {
        int64_t index[4];
        split(index, &s, i);
        unsigned char *x = host + (size_t)place_of(&s, index) * width;
        if (width == 2 && store) *(unsigned short *)(void *)x = _cvtss_sh((float)t->value[i], 0);
        else if (width == 2) t->value[i] = (double)_cvtsh_ss(*(unsigned short *)(void *)x);
        else if (store) *(float *)(void *)x = (float)t->value[i];
        else t->value[i] = (double)*(float *)(void *)x;
    }
    if (!error && store && cudaMemcpy(at, host, bytes, cudaMemcpyHostToDevice) != cudaSuccess)
        error = "a result cannot be written";
    free(host);
    return error;
}

/* A tensor that an operation reads: its values, from memory the first time. */
static const char *read(desc *t, const desc *pack) {
    if (!t) return "an operation lacks an input";
    if (t->value) return NULL;
    if (flag(t, CUDNN_ATTR_TENSOR_IS_VIRTUAL)) return "a tensor is read before it is computed";
    const shape s = shape_of(t);
    t->value = calloc((size_t)size_of(&s), sizeof *t->value);
    return t->value ? move(t, pack, false) : "no memory";
}

/* ---- operations --------------------------------------------------------------------------------- */

static double elementwise(int mode, double x, double b, double t, const int64_t at[4],
                          int64_t axis) {
    switch (mode) {
    case CUDNN_POINTWISE_ADD: return x + b;
    case CUDNN_POINTWISE_SUB: return x - b;
    case CUDNN_POINTWISE_MUL: return x * b;
    case CUDNN_POINTWISE_DIV: return x / b;
    case CUDNN_POINTWISE_EXP: return exp(x);
    case CUDNN_POINTWISE_LOG: return log(x);
    case CUDNN_POINTWISE_CMP_GE: return x >= b;
    case CUDNN_POINTWISE_GEN_INDEX: return (double)at[axis];
    case CUDNN_POINTWISE_BINARY_SELECT: return t != 0 ? x : b;
    default: return NAN;
    }
}

static bool mode_is_known(int mode) {
    const int64_t at[4] = {0};
    return !isnan(elementwise(mode, 1, 1, 1, at, 0));
}

static double value_at(const desc *t, const int64_t at[4]) {
    if (!t) return 0;
    const shape s = shape_of(t);
    return t->value[repeated(&s, at)];
}

static void pointwise(const desc *op, double *y, const shape *s) {
    const desc *kind = linked(op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    const desc *x = linked(op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC);
    const desc *b = linked(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
    const desc *t = linked(op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC);
    const int mode = choice(kind, CUDNN_ATTR_POINTWISE_MODE);
    const int64_t axis = find(kind, CUDNN_ATTR_POINTWISE_AXIS)
                             ? number(kind, CUDNN_ATTR_POINTWISE_AXIS)
                             : 0;
    for (int64_t i = 0; i < size_of(s); i++) {
        int64_t at[4];
        split(at, s, i);
        y[i] = elementwise(mode, value_at(x, at), value_at(b, at), value_at(t, at), at, axis);
    }
}

static void product(const desc *op, double *y, const shape *s) {
    const desc *a = linked(op, CUDNN_ATTR_OPERATION_MATMUL_ADESC);
    const desc *b = linked(op, CUDNN_ATTR_OPERATION_MATMUL_BDESC);
    const shape sa = shape_of(a), sb = shape_of(b);
    for (int64_t i = 0; i < size_of(s); i++) {
        int64_t at[4];
        split(at, s, i);
        y[i] = 0;
        for (int64_t k = 0; k < sa.dim[3]; k++) {
            const int64_t left[] = {at[0], at[1], at[2], k}, right[] = {at[0], at[1], k, at[3]};
            y[i] += a->value[repeated(&sa, left)] * b->value[repeated(&sb, right)];
        }
    }
}

static void reduction(const desc *op, double *y, const shape *s) {
    const desc *x = linked(op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC);
    const bool most = choice(linked(op, CUDNN_ATTR_OPERATION_REDUCTION_DESC),
                             CUDNN_ATTR_REDUCTION_OPERATOR) == CUDNN_REDUCE_TENSOR_MAX;
    const shape from = shape_of(x);
    for (int64_t i = 0; i < size_of(s); i++) y[i] = most ? -INFINITY : 0;
    for (int64_t i = 0; i < size_of(&from); i++) {
        int64_t at[4];
        split(at, &from, i);
        double *to = &y[repeated(s, at)];
        *to = most ? fmax(*to, x->value[i]) : *to + x->value[i];
    }
}

/* The same memory under other sizes and distances. */
static const char *reorder(const desc *op, double *y, const shape *s) {
    const desc *x = linked(op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC);
    const shape from = shape_of(x);
    const int64_t extent = extent_of(&from);
    if (extent != extent_of(s) || size_of(&from) != size_of(s)) return "a reshape changes the size";
    double *memory = calloc((size_t)extent, sizeof *memory);
    if (!memory) return "no memory";
    for (int64_t i = 0; i < size_of(&from); i++) {
        int64_t at[4];
        split(at, &from, i);
        memory[place_of(&from, at)] = x->value[i];
    }
    for (int64_t i = 0; i < size_of(s); i++) {
        int64_t at[4];
        split(at, s, i);
        y[i] = memory[place_of(s, at)];
    }
    free(memory);
    return NULL;
}

/* The names of an operation's tensors: inputs, then its output. */
typedef struct role {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t input[3], output;
    int inputs;
} role;

static const role roles[] = {
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
     {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
      CUDNN_ATTR_OPERATION_POINTWISE_TDESC},
     CUDNN_ATTR_OPERATION_POINTWISE_YDESC,
     3},
    {CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
     {CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC},
     CUDNN_ATTR_OPERATION_MATMUL_CDESC,
     2},
    {CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
     {CUDNN_ATTR_OPERATION_REDUCTION_XDESC},
     CUDNN_ATTR_OPERATION_REDUCTION_YDESC,
     1},
    {CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR,
     {CUDNN_ATTR_OPERATION_RESHAPE_XDESC},
     CUDNN_ATTR_OPERATION_RESHAPE_YDESC,
     1}};

static const role *role_of(const desc *op) {
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (roles[i].type == op->type) return &roles[i];
    return NULL;
}

bool graph_is_known(const desc *graph) {
    const attribute *ops = find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    for (int64_t i = 0; ops && i < ops->count; i++) {
        const desc *op = ((desc **)ops->bytes)[i];
        if (!role_of(op)) return false;
        if (op->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR &&
            !mode_is_known(choice(linked(op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR),
                                  CUDNN_ATTR_POINTWISE_MODE)))
            return false;
    }
    return ops != NULL;
}

static const char *run(const desc *op, const desc *pack) {
    const role *r = role_of(op);
    const char *error = NULL;
    for (int i = 0; i < r->inputs && !error; i++)
        if (i == 0 || r->type != CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR ||
            linked(op, r->input[i]))
            error = read(linked(op, r->input[i]), pack);
    if (error) return error;
    desc *y = linked(op, r->output);
    const shape s = shape_of(y);
    free(y->value);
    y->value = calloc((size_t)size_of(&s), sizeof *y->value);
    if (!y->value) return "no memory";
    if (r->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) pointwise(op, y->value, &s);
    else if (r->type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR) product(op, y->value, &s);
    else if (r->type == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR) reduction(op, y->value, &s);
    else error = reorder(op, y->value, &s);
    if (error) return error;
    const int type = choice(y, CUDNN_ATTR_TENSOR_DATA_TYPE);
    for (int64_t i = 0; i < size_of(&s); i++) y->value[i] = rounded(y->value[i], type);
    return flag(y, CUDNN_ATTR_TENSOR_IS_VIRTUAL) ? NULL : move(y, pack, true);
}

static void forget(const desc *op) {
    const role *r = role_of(op);
    for (int i = 0; i <= r->inputs; i++) {
        desc *t = linked(op, i < r->inputs ? r->input[i] : r->output);
        if (!t) continue;
        free(t->value);
        t->value = NULL;
    }
}

const char *run_graph(desc *plan, const desc *pack) {
    const desc *config = linked(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    const desc *graph = config ? linked(config, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH) : NULL;
    const attribute *ops = graph ? find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS) : NULL;
    const char *error = ops ? NULL : "a plan without a graph";
    for (int64_t i = 0; ops && i < ops->count && !error; i++)
        error = run(((desc **)ops->bytes)[i], pack);
    for (int64_t i = 0; ops && i < ops->count; i++) forget(((desc **)ops->bytes)[i]);
    return error;
}
