/* linear.cu - matrix products through cuBLASLt, with a plan kept for every shape that was met.
 *
 * fp16 and bf16 weights multiply inputs that are rounded to their type first; sums are fp32. fp32
 * weights (memories, full update) multiply fp32 inputs without TF32. cuBLASLt counts columns first, so
 * that it sees the transposed problem: y' (N, M) = w (N, K) x' (K, M). Its own GELU is the tanh form;
 * the erf form is a kernel behind the product. */
#include "cuda/linear.h"

#include <cublasLt.h>

#include <stdlib.h>
#include <string.h>

static const size_t WORKSPACE = MN_CUDA_LINEAR_WORKSPACE;

/* What a plan depends on. Compared as bytes: no padding, zeroed before it is filled. */
typedef struct shape {
    int64_t rows, cols, inner; /* of the result as cuBLASLt sees it, and the length of a sum */
    int64_t lda, ldb, ldd;
    int32_t type, transa, transb, bias; /* type of A and B: mn_dtype */
    int32_t add;                        /* beta: 0 or 1 */
    int32_t align_a, align_b, align_d;  /* bytes */
} shape;

typedef struct plan {
    shape key;
    bool ready;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algorithm;
} plan;

/* A direct-mapped table: a shape that meets an older one takes its place. A model has about ten
 * products; packed batches differ in their number of rows. */
enum { PLANS = 1024 };

struct mn_cuda_linear {
    cublasLtHandle_t handle;
    void *workspace;
    plan plans[PLANS];
};

static mn_status lt_check(cublasStatus_t code, const char *what) {
    if (code == CUBLAS_STATUS_SUCCESS) return MN_OK;
    return mn_fail(code == CUBLAS_STATUS_ALLOC_FAILED ? MN_ERR_MEMORY : MN_ERR_IO,
                   "cuBLASLt: %s fails with status %d", what, (int)code);
}
#define LT_TRY(call) MN_TRY(lt_check((call), #call))

mn_status mn_cuda_linear_open(mn_cuda_linear **out) {
    mn_status st = MN_OK;
    mn_cuda_linear *l = (mn_cuda_linear *)calloc(1, sizeof *l);
    *out = NULL;
    MN_CHECK(l, MN_ERR_MEMORY, "no memory for the plans of matrix products");
    MN_GOTO(lt_check(cublasLtCreate(&l->handle), "cublasLtCreate"));
    MN_GOTO(mn_cuda_check(cudaMalloc(&l->workspace, WORKSPACE), "the workspace of cuBLASLt"));
    *out = l;
    l = NULL;
done:
    mn_cuda_linear_close(&l);
    return st;
}

/* Safe on a plan that was made in part. */
static void forget(plan *p) {
    if (p->d) cublasLtMatrixLayoutDestroy(p->d);
    if (p->b) cublasLtMatrixLayoutDestroy(p->b);
    if (p->a) cublasLtMatrixLayoutDestroy(p->a);
    if (p->product) cublasLtMatmulDescDestroy(p->product);
    memset(p, 0, sizeof *p);
}

void mn_cuda_linear_close(mn_cuda_linear **linear) {
    mn_cuda_linear *l = *linear;
    if (!l) return;
    for (int i = 0; i < PLANS; i++) forget(&l->plans[i]);
    cudaFree(l->workspace);
    if (l->handle) cublasLtDestroy(l->handle);
    free(l);
    *linear = NULL;
}

/* ---- Plans -------------------------------------------------------------------------------------- */

static cudaDataType type_of(int32_t dtype) {
    return dtype == MN_F16 ? CUDA_R_16F : dtype == MN_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* FNV-1a over the key. */
static size_t place_of(const shape *key) {
    uint64_t h = 14695981039346656037u;
    const unsigned char *at = (const unsigned char *)key;
    for (size_t i = 0; i < sizeof *key; i++) h = (h ^ at[i]) * 1099511628211u;
    return (size_t)((h ^ h >> 32) % PLANS);
}

static mn_status describe(plan *p) {
    const shape *k = &p->key;
    const cudaDataType in = type_of(k->type);
    const cublasOperation_t ta = k->transa ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t tb = k->transb ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = k->bias ? CUBLASLT_EPILOGUE_BIAS
                                                : CUBLASLT_EPILOGUE_DEFAULT;
    LT_TRY(cublasLtMatmulDescCreate(&p->product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    LT_TRY(cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta));
    LT_TRY(cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb));
    LT_TRY(cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                          sizeof epilogue));
    LT_TRY(cublasLtMatrixLayoutCreate(&p->a, in, (uint64_t)(k->transa ? k->inner : k->rows),
                                      (uint64_t)(k->transa ? k->rows : k->inner), k->lda));
    LT_TRY(cublasLtMatrixLayoutCreate(&p->b, in, (uint64_t)(k->transb ? k->cols : k->inner),
                                      (uint64_t)(k->transb ? k->inner : k->cols), k->ldb));
    LT_TRY(cublasLtMatrixLayoutCreate(&p->d, CUDA_R_32F, (uint64_t)k->rows, (uint64_t)k->cols,
                                      k->ldd));
    return MN_OK;
}

/* Parts of a split sum are added out of place: in place, their order would be the order of arrival. */
static mn_status limit(cublasLtMatmulPreference_t want, const shape *k) {
    const uint32_t sums = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const uint32_t a = (uint32_t)k->align_a, b = (uint32_t)k->align_b, d = (uint32_t)k->align_d;
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        const void *value;
        size_t size;
    } wishes[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE, sizeof WORKSPACE},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &sums, sizeof sums},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a, sizeof a},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b, sizeof b},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &d, sizeof d},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &d, sizeof d},
    };
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++)
        LT_TRY(cublasLtMatmulPreferenceSetAttribute(want, wishes[i].name, wishes[i].value,
                                                    wishes[i].size));
    return MN_OK;
}

static mn_status choose(mn_cuda_linear *l, plan *p) {
    mn_status st = MN_OK;
    const shape *k = &p->key;
    cublasLtMatmulPreference_t want = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    MN_GOTO(lt_check(cublasLtMatmulPreferenceCreate(&want), "cublasLtMatmulPreferenceCreate"));
    MN_GOTO(limit(want, k));
    MN_GOTO(lt_check(cublasLtMatmulAlgoGetHeuristic(l->handle, p->product, p->a, p->b, p->d, p->d,
                                                    want, 1, &found, &count),
                     "cublasLtMatmulAlgoGetHeuristic"));
    MN_CHECK_GOTO(count > 0, MN_ERR_UNSUPPORTED,
                  "cuBLASLt has no product of %lld x %lld x %lld (%s, rows of %lld, %lld, %lld)",
                  (long long)k->rows, (long long)k->cols, (long long)k->inner,
                  k->type == MN_F32   ? "fp32"
                  : k->type == MN_F16 ? "fp16"
                                      : "bf16",
                  (long long)k->lda, (long long)k->ldb, (long long)k->ldd);
    p->algorithm = found.algo;
done:
    if (want) cublasLtMatmulPreferenceDestroy(want);
    return st;
}

static mn_status find_plan(plan **out, mn_cuda_linear *l, const shape *key) {
    plan *p = &l->plans[place_of(key)];
    *out = p;
    if (p->ready && memcmp(&p->key, key, sizeof *key) == 0) return MN_OK;
    forget(p);
    p->key = *key;
    mn_status st = describe(p);
    if (st == MN_OK) st = choose(l, p);
    if (st == MN_OK) p->ready = true;
    else forget(p);
    return st;
}

/* ---- Products ----------------------------------------------------------------------------------- */

/* The largest power of two, at most 256, that divides an address. */
static int32_t alignment(const void *address) {
    const uintptr_t bits = (uintptr_t)address | 256;
    return (int32_t)(bits & (~bits + 1));
}

/* d (cols, rows), fp32 in rows of ldd, = or += op(a) op(b) + bias; letters as in `shape`. */
static mn_status multiply(mn_stream *s, shape *k, const void *a, const void *b, float *d,
                          const float *bias) {
    const float one = 1, beta = k->add ? 1.0f : 0.0f;
    plan *p = NULL;
    k->bias = bias != NULL;
    k->align_a = alignment(a);
    k->align_b = alignment(b);
    k->align_d = alignment(d);
    MN_TRY(find_plan(&p, s->linear, k));
    if (bias)
        LT_TRY(cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                              sizeof bias));
    LT_TRY(cublasLtMatmul(s->linear->handle, p->product, &one, a, p->a, b, p->b, &beta, d, p->d, d,
                          p->d, &p->algorithm, s->linear->workspace, WORKSPACE, s->stream));
    return MN_OK;
}

/* The input of a product in the type of its weights: itself for fp32 in contiguous or strided rows,
 * else a rounded contiguous copy in the workspace. */
static mn_status as_type(mn_stream *s, const void **out, int64_t *ld, mn_dtype dtype,
                         const float *x, int64_t rows, int64_t cols) {
    void *copy = NULL;
    *out = x;
    if (dtype == MN_F32) return MN_OK;
    MN_TRY(mn_cuda_scratch(s, &copy, (size_t)(rows * cols) * mn_dtype_size(dtype)));
    MN_TRY(mn_cuda_narrow(s, copy, dtype, x, *ld, rows, cols));
    *out = copy;
    *ld = cols;
    return MN_OK;
}

mn_status mn_cuda_linear_fwd(mn_stream *s, float *y, int64_t ldy, const float *x, const void *w,
                             mn_dtype dtype, mn_layout layout, const float *bias,
                             mn_epilogue epilogue, mn_compute compute, int64_t m, int64_t n,
                             int64_t k) {
    (void)compute; /* the weights' type decides */
    (void)layout;  /* rows: this backend has no panels */
    if (m == 0) return MN_OK;
    const bool gelu = epilogue == MN_EPILOGUE_GELU;
    const void *in = NULL;
    int64_t ldx = k;
    MN_TRY(as_type(s, &in, &ldx, dtype, x, m, k));
    shape key = {};
    key.rows = n;
    key.cols = m;
    key.inner = k;
    key.lda = k;
    key.ldb = ldx;
    key.ldd = ldy;
    key.type = dtype;
    key.transa = 1;
    key.add = epilogue == MN_EPILOGUE_ADD;
    MN_TRY(multiply(s, &key, w, in, y, gelu ? NULL : bias));
    return gelu ? mn_cuda_bias_gelu(s, y, ldy, bias, m, n) : MN_OK;
}

mn_status mn_cuda_linear_bwd_x(mn_stream *s, float *dx, int64_t lddx, const float *dy, int64_t lddy,
                               const void *w, mn_dtype dtype, mn_layout layout, bool add,
                               mn_compute compute, int64_t m, int64_t n, int64_t k) {
    (void)compute;
    (void)layout;
    if (m == 0) return MN_OK;
    const void *in = NULL;
    MN_TRY(as_type(s, &in, &lddy, dtype, dy, m, n));
    shape key = {};
    key.rows = k;
    key.cols = m;
    key.inner = n;
    key.lda = k;
    key.ldb = lddy;
    key.ldd = lddx;
    key.type = dtype;
    key.add = add;
    return multiply(s, &key, w, in, dx, NULL);
}

mn_status mn_cuda_linear_bwd_w(mn_stream *s, float *dw, float *dbias, const float *dy, int64_t lddy,
                               const float *x, int64_t m, int64_t n, int64_t k) {
    if (m == 0) return MN_OK;
    shape key = {};
    key.rows = k;
    key.cols = n;
    key.inner = m;
    key.lda = k;
    key.ldb = lddy;
    key.ldd = k;
    key.type = MN_F32;
    key.transb = 1;
    key.add = 1;
    MN_TRY(multiply(s, &key, x, dy, dw, NULL));
    return dbias ? mn_cuda_column_sums(s, dbias, dy, lddy, m, n) : MN_OK;
}
