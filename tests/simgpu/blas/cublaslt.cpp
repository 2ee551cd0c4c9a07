/* cublaslt.cpp - libcublasLt: descriptors, layouts, preferences, heuristics, matmul. What it cannot do
 * gives CUBLAS_STATUS_NOT_SUPPORTED, from the heuristic as from the product. */
#include "product.h"
#include "runtime/stream.h"
#include <cstring>
#include <cublasLt.h>

using namespace sg;

namespace {

struct Operation {
    cublasComputeType_t compute;
    cudaDataType scale;
    cublasOperation_t ta = CUBLAS_OP_N, tb = CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = nullptr;
    int bias_type = -1; /* -1: D's */
    cublasLtPointerMode_t pointer_mode = CUBLASLT_POINTER_MODE_HOST;
};
struct Layout {
    cudaDataType type;
    uint64_t rows, columns;
    int64_t leading;
    int32_t batch = 1;
    int64_t stride = 0;
    cublasLtOrder_t order = CUBLASLT_ORDER_COL;
};
struct Preference {
    size_t workspace = 0;
};

/* Copies an attribute when its size is right. */
template <class T> cublasStatus_t take(T *to, const void *from, size_t bytes) {
    if (bytes != sizeof *to || !from) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, from, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

MatrixArgument matrix(const void *data, const Layout &l) {
    MatrixArgument m;
    m.data = data;
    m.type = l.type;
    m.rows = (int64_t)l.rows;
    m.columns = (int64_t)l.columns;
    m.leading = l.leading;
    m.batch = l.batch;
    m.stride = l.stride;
    return m;
}

bool supported(const Operation &o, const Layout &a, const Layout &b, const Layout &c,
               const Layout &d) {
    const bool epilogue = o.epilogue == CUBLASLT_EPILOGUE_DEFAULT ||
                          o.epilogue == CUBLASLT_EPILOGUE_BIAS ||
                          o.epilogue == CUBLASLT_EPILOGUE_RELU ||
                          o.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS;
    const bool compute = o.compute == CUBLAS_COMPUTE_32F ||
                         o.compute == CUBLAS_COMPUTE_32F_PEDANTIC ||
                         o.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    const bool columns = a.order == CUBLASLT_ORDER_COL && b.order == CUBLASLT_ORDER_COL &&
                         c.order == CUBLASLT_ORDER_COL && d.order == CUBLASLT_ORDER_COL;
    const bool batches = a.batch == b.batch && b.batch == c.batch && c.batch == d.batch;
    return epilogue && compute && columns && batches && o.scale == CUDA_R_32F && a.type == b.type &&
           c.type == d.type;
}

} // namespace

extern "C" {

size_t cublasLtGetVersion(void) { return CUBLAS_VERSION; }
size_t cublasLtGetCudartVersion(void) { return CUDART_VERSION; }
const char *cublasLtGetStatusString(cublasStatus_t s) {
    switch (s) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "CUBLAS_STATUS_EXECUTION_FAILED";
    }
}
const char *cublasLtGetStatusName(cublasStatus_t s) { return cublasLtGetStatusString(s); }

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = (cublasLtHandle_t) new char;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete (char *)handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    Operation *o = new Operation;
    o->compute = compute;
    o->scale = scale;
    *desc = (cublasLtMatmulDesc_t)o;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    delete (Operation *)desc;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes) {
    Operation *o = (Operation *)desc;
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return take(&o->ta, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return take(&o->tb, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return take(&o->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return take(&o->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return take(&o->bias_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE: return take(&o->pointer_mode, value, bytes);
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t leading) {
    Layout *l = new Layout;
    l->type = type;
    l->rows = rows;
    l->columns = columns;
    l->leading = leading;
    *layout = (cublasLtMatrixLayout_t)l;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete (Layout *)layout;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes) {
    Layout *l = (Layout *)layout;
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return take(&l->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return take(&l->stride, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER: return take(&l->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS: return take(&l->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS: return take(&l->columns, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD: return take(&l->leading, value, bytes);
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    *preference = (cublasLtMatmulPreference_t) new Preference;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete (Preference *)preference;
    return CUBLAS_STATUS_SUCCESS;
}
/* Only the workspace changes anything: a quarter of it counts as used, so that its absence shows. */
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes) {
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        return take(&((Preference *)preference)->workspace, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

/* The algorithm that it gives remembers the workspace that it wants; matmul demands it. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t *results,
                                              int *returned) {
    *returned = 0;
    if (requested < 1) return CUBLAS_STATUS_INVALID_VALUE;
    if (!supported(*(Operation *)desc, *(Layout *)a, *(Layout *)b, *(Layout *)c, *(Layout *)d))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    memset(results, 0, sizeof *results);
    results->state = CUBLAS_STATUS_SUCCESS;
    results->workspaceSize = ((Preference *)preference)->workspace / 4;
    results->wavesCount = 1;
    results->algo.data[0] = results->workspaceSize;
    *returned = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t la, const void *b,
                              cublasLtMatrixLayout_t lb, const void *beta, const void *c,
                              cublasLtMatrixLayout_t lc, void *d, cublasLtMatrixLayout_t ld,
                              const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
    const Operation &o = *(Operation *)desc;
    if (!supported(o, *(Layout *)la, *(Layout *)lb, *(Layout *)lc, *(Layout *)ld))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    const size_t wanted = algo ? algo->data[0] : 0;
    if (workspace_bytes < wanted || (wanted && !sg_host_view((uint64_t)workspace, wanted))) {
        Lock lock;
        complain("matrix product: the plan wants %zu bytes of workspace, it gets %zu at %p", wanted,
                 workspace_bytes, workspace);
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    Product p;
    p.a = matrix(a, *(Layout *)la);
    p.b = matrix(b, *(Layout *)lb);
    p.c = matrix(c, *(Layout *)lc);
    p.d = matrix(d, *(Layout *)ld);
    p.transpose_a = o.ta != CUBLAS_OP_N;
    p.transpose_b = o.tb != CUBLAS_OP_N;
    p.alpha = alpha;
    p.beta = beta;
    p.relu = (o.epilogue & CUBLASLT_EPILOGUE_RELU) != 0;
    if (o.epilogue & CUBLASLT_EPILOGUE_BIAS) {
        if (!o.bias) return CUBLAS_STATUS_INVALID_VALUE;
        p.bias = o.bias;
        p.bias_type = o.bias_type < 0 ? p.d.type : (cudaDataType)o.bias_type;
    }
    return submit_product(p, stream);
}
}
