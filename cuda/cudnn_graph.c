/* cudnn_graph.c - attention in the words of cuDNN's backend interface.
 *
 * cuDNN recognises fused attention by the pattern of its operations (developer guide, "Fused Flash Attention
 * fprop / bprop"); so these are written out one by one, in the order that it expects. */
#include "cuda/cudnn_api.h"

typedef cudnnBackendDescriptor_t desc;

/* The four sizes of a tensor, (batch, heads, rows, columns), and the distance of neighbours in each. */
typedef struct extent {
    int64_t dim[4], stride[4];
} extent;

typedef struct extents {
    extent rows;    /* q, out and what is like them: (batch, length, heads, head_dim) in memory */
    extent columns; /* the same memory, rows and columns exchanged */
    extent scores, scores_t, per_row, one;
} extents;

static extent transposed(extent e) {
    return (extent){{e.dim[0], e.dim[1], e.dim[3], e.dim[2]},
                    {e.stride[0], e.stride[1], e.stride[3], e.stride[2]}};
}

static extents extents_of(const mn_cudnn_shape *s) {
    const int64_t b = s->batch, h = s->heads, n = s->length, d = s->head_dim;
    extents e = {.rows = {{b, h, n, d}, {n * h * d, d, h * d, 1}},
                 .scores = {{b, h, n, n}, {h * n * n, n * n, n, 1}},
                 .per_row = {{b, h, n, 1}, {h * n, n, 1, 1}},
                 .one = {{1, 1, 1, 1}, {1, 1, 1, 1}}};
    e.columns = transposed(e.rows);
    e.scores_t = transposed(e.scores);
    return e;
}

static desc tensor(mn_cudnn_graph *g, int64_t uid, cudnnDataType_t type, const extent *e,
                   bool by_value) {
    const int64_t alignment = 16;
    const bool is_virtual = uid >= MN_CUDNN_VIRTUAL;
    const desc d = mn_cudnn_create(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    mn_cudnn_set(g, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    mn_cudnn_set(g, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, e->dim);
    mn_cudnn_set(g, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, e->stride);
    mn_cudnn_set(g, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    mn_cudnn_set(g, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    mn_cudnn_set(g, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    mn_cudnn_set(g, d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value);
    mn_cudnn_finalize(g, d, "tensor");
    return d;
}

static desc passing(mn_cudnn_graph *g, cudnnDataType_t type, const extent *e) {
    return tensor(g, ++g->uid, type, e, false);
}

static void add(mn_cudnn_graph *g, desc operation, const char *what) {
    mn_cudnn_finalize(g, operation, what);
    if (g->status == MN_OK) g->operation[g->operations++] = operation;
}

static void link_to(mn_cudnn_graph *g, desc d, cudnnBackendAttributeName_t name, desc value) {
    mn_cudnn_set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

/* c = a b */
static void product(mn_cudnn_graph *g, desc a, desc b, desc c) {
    const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
    const desc kind = mn_cudnn_create(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    mn_cudnn_set(g, kind, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums);
    mn_cudnn_finalize(g, kind, "matrix product");
    const desc op = mn_cudnn_create(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    link_to(g, op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    link_to(g, op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    link_to(g, op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    link_to(g, op, CUDNN_ATTR_OPERATION_MATMUL_DESC, kind);
    add(g, op, "matrix product");
}

/* y = mode(x, b), where b is NULL for a function of one argument; `choice` is the condition of a select. */
static desc elementwise(mn_cudnn_graph *g, cudnnPointwiseMode_t mode, cudnnDataType_t math, desc x,
                        desc b, desc choice, desc y, int64_t axis) {
    const desc kind = mn_cudnn_create(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    mn_cudnn_set(g, kind, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    mn_cudnn_set(g, kind, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &math);
    if (axis >= 0) mn_cudnn_set(g, kind, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &axis);
    mn_cudnn_finalize(g, kind, "elementwise");
    const desc op = mn_cudnn_create(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    link_to(g, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kind);
    link_to(g, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b) link_to(g, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    if (choice) link_to(g, op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, choice);
    link_to(g, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    add(g, op, "elementwise");
    return y;
}

/* A new virtual fp32 tensor = mode(x, b). */
static desc math(mn_cudnn_graph *g, cudnnPointwiseMode_t mode, desc x, desc b, const extent *e) {
    return elementwise(g, mode, CUDNN_DATA_FLOAT, x, b, NULL, passing(g, CUDNN_DATA_FLOAT, e), -1);
}

static desc reduce(mn_cudnn_graph *g, cudnnReduceTensorOp_t operator, desc x, desc y) {
    const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
    const desc kind = mn_cudnn_create(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    mn_cudnn_set(g, kind, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1,
                 &operator);
    mn_cudnn_set(g, kind, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums);
    mn_cudnn_finalize(g, kind, "reduction");
    const desc op = mn_cudnn_create(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    link_to(g, op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    link_to(g, op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    link_to(g, op, CUDNN_ATTR_OPERATION_REDUCTION_DESC, kind);
    add(g, op, "reduction");
    return y;
}

/* x, in fp16, with another order of its dimensions. */
static desc reorder(mn_cudnn_graph *g, desc x, const extent *e) {
    const desc y = passing(g, CUDNN_DATA_HALF, e);
    const desc op = mn_cudnn_create(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    link_to(g, op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    link_to(g, op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    add(g, op, "reshape");
    return y;
}

/* x where the row is not before the column, else a score that has no weight. */
static desc causal(mn_cudnn_graph *g, desc x, const extent *e) {
    const desc row = passing(g, CUDNN_DATA_INT32, e), column = passing(g, CUDNN_DATA_INT32, e);
    const desc seen = passing(g, CUDNN_DATA_BOOLEAN, e), y = passing(g, CUDNN_DATA_FLOAT, e);
    const extent one = {{1, 1, 1, 1}, {1, 1, 1, 1}};
    const desc hidden = tensor(g, MN_CUDNN_HIDDEN, CUDNN_DATA_FLOAT, &one, true);
    elementwise(g, CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_INT32, x, NULL, NULL, row, 2);
    elementwise(g, CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_INT32, x, NULL, NULL, column, 3);
    elementwise(g, CUDNN_POINTWISE_CMP_GE, CUDNN_DATA_BOOLEAN, row, column, NULL, seen, -1);
    return elementwise(g, CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT, x, hidden, seen, y, -1);
}

/* scale q k' */
static desc scores(mn_cudnn_graph *g, const extents *e, desc q, desc k_t, desc scale) {
    const desc s = passing(g, CUDNN_DATA_FLOAT, &e->scores);
    product(g, q, k_t, s);
    return math(g, CUDNN_POINTWISE_MUL, s, scale, &e->scores);
}

void mn_cudnn_forward_graph(mn_cudnn_graph *g, const mn_cudnn_shape *shape) {
    const extents e = extents_of(shape);
    const desc q = tensor(g, MN_CUDNN_Q, CUDNN_DATA_HALF, &e.rows, false);
    const desc k_t = tensor(g, MN_CUDNN_K, CUDNN_DATA_HALF, &e.columns, false);
    const desc v = tensor(g, MN_CUDNN_V, CUDNN_DATA_HALF, &e.rows, false);
    const desc out = tensor(g, MN_CUDNN_OUT, CUDNN_DATA_HALF, &e.rows, false);
    const desc stats = tensor(g, MN_CUDNN_STATS, CUDNN_DATA_FLOAT, &e.per_row, false);
    const desc scale = tensor(g, MN_CUDNN_SCALE, CUDNN_DATA_FLOAT, &e.one, true);
    const desc s = causal(g, scores(g, &e, q, k_t, scale), &e.scores);
    const desc top = reduce(g, CUDNN_REDUCE_TENSOR_MAX, s,
                            passing(g, CUDNN_DATA_FLOAT, &e.per_row));
    const desc less = math(g, CUDNN_POINTWISE_SUB, s, top, &e.scores);
    const desc weight = math(g, CUDNN_POINTWISE_EXP, less, NULL, &e.scores);
    const desc sum = reduce(g, CUDNN_REDUCE_TENSOR_ADD, weight,
                            passing(g, CUDNN_DATA_FLOAT, &e.per_row));
    const desc log = math(g, CUDNN_POINTWISE_LOG, sum, NULL, &e.per_row);
    elementwise(g, CUDNN_POINTWISE_ADD, CUDNN_DATA_FLOAT, top, log, NULL, stats, -1);
    const desc p = passing(g, CUDNN_DATA_HALF, &e.scores);
    elementwise(g, CUDNN_POINTWISE_DIV, CUDNN_DATA_FLOAT, weight, sum, NULL, p, -1);
    product(g, p, v, out);
}

void mn_cudnn_backward_graph(mn_cudnn_graph *g, const mn_cudnn_shape *shape) {
    const extents e = extents_of(shape);
    const desc q = tensor(g, MN_CUDNN_Q, CUDNN_DATA_HALF, &e.rows, false);
    const desc k_t = tensor(g, MN_CUDNN_K, CUDNN_DATA_HALF, &e.columns, false);
    const desc v_t = tensor(g, MN_CUDNN_V, CUDNN_DATA_HALF, &e.columns, false);
    const desc out = tensor(g, MN_CUDNN_OUT, CUDNN_DATA_HALF, &e.rows, false);
    const desc stats = tensor(g, MN_CUDNN_STATS, CUDNN_DATA_FLOAT, &e.per_row, false);
    const desc dout = tensor(g, MN_CUDNN_DOUT, CUDNN_DATA_HALF, &e.rows, false);
    const desc dq = tensor(g, MN_CUDNN_DQ, CUDNN_DATA_HALF, &e.rows, false);
    const desc dk = tensor(g, MN_CUDNN_DK, CUDNN_DATA_HALF, &e.rows, false);
    const desc dv = tensor(g, MN_CUDNN_DV, CUDNN_DATA_HALF, &e.rows, false);
    const desc row_sums = tensor(g, MN_CUDNN_ROW_SUMS, CUDNN_DATA_FLOAT, &e.per_row, false);
    const desc scale = tensor(g, MN_CUDNN_SCALE, CUDNN_DATA_FLOAT, &e.one, true);
    const desc one = tensor(g, MN_CUDNN_ONE, CUDNN_DATA_FLOAT, &e.one, true);
    /* the factor 1 stands where dropout's would; the pattern wants it */
    const desc both = math(g, CUDNN_POINTWISE_MUL, dout, out, &e.rows);
    const desc sum = reduce(g, CUDNN_REDUCE_TENSOR_ADD, both,
                            passing(g, CUDNN_DATA_FLOAT, &e.per_row));
    elementwise(g, CUDNN_POINTWISE_MUL, CUDNN_DATA_FLOAT, sum, one, NULL, row_sums, -1);
    const desc s = scores(g, &e, q, k_t, scale);
    const desc less = causal(g, math(g, CUDNN_POINTWISE_SUB, s, stats, &e.scores), &e.scores);
    const desc p = math(g, CUDNN_POINTWISE_EXP, less, NULL, &e.scores);
    product(g, reorder(g, p, &e.scores_t), dout, dv);
    const desc dp = passing(g, CUDNN_DATA_FLOAT, &e.scores);
    product(g, dout, v_t, dp);
    const desc above = math(g, CUDNN_POINTWISE_SUB, dp, row_sums, &e.scores);
    const desc unscaled = math(g, CUDNN_POINTWISE_MUL, above, p, &e.scores);
    const desc ds = passing(g, CUDNN_DATA_HALF, &e.scores);
    elementwise(g, CUDNN_POINTWISE_MUL, CUDNN_DATA_FLOAT, unscaled, scale, NULL, ds, -1);
    product(g, reorder(g, ds, &e.scores_t), q, dk);
    product(g, ds, reorder(g, k_t, &e.rows), dq);
}
