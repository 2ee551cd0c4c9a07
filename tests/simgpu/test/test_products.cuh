/* test_products.cuh - matrix products of the simulated libcublasLt against loops in double. */
#pragma once

#include "runtime_check.cuh"
#include <cmath>
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <vector>

namespace {

template <class T> cudaDataType type_of();
template <> cudaDataType type_of<float>() { return CUDA_R_32F; }
template <> cudaDataType type_of<__half>() { return CUDA_R_16F; }
template <> cudaDataType type_of<__nv_bfloat16>() { return CUDA_R_16BF; }

/* Column-major, with some elements between the columns that nobody may read or write. */
template <class T> struct Matrix {
    int rows, columns, leading, batch;
    std::vector<T> host;
    T *device;
    cublasLtMatrixLayout_t layout;
    Matrix(int r, int c, int n = 1)
        : rows(r), columns(c), leading(r + 3), batch(n), host((size_t)leading * c * n, T(-77.f)) {
        const int64_t stride = (int64_t)leading * c;
        CALL(cudaMalloc(&device, host.size() * sizeof(T)));
        CALL(cublasLtMatrixLayoutCreate(&layout, type_of<T>(), r, c, leading));
        CALL(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch,
                                              sizeof batch));
        CALL(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                              &stride, sizeof stride));
    }
    ~Matrix() {
        CALL(cublasLtMatrixLayoutDestroy(layout));
        CALL(cudaFree(device));
    }
    T &at(int i, int j, int z = 0) {
        return host[(size_t)(i + (int64_t)leading * (j + (int64_t)columns * z))];
    }
    void fill() {
        static unsigned state = 1;
        for (int z = 0; z < batch; z++)
            for (int j = 0; j < columns; j++)
                for (int i = 0; i < rows; i++) {
                    state = state * 1664525u + 1013904223u;
                    at(i, j, z) = T((float)(int)(state >> 16 & 255) / 64.f - 2.f);
                }
        CALL(cudaMemcpy(device, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
    }
    void fetch() {
        CALL(cudaMemcpy(host.data(), device, host.size() * sizeof(T), cudaMemcpyDeviceToHost));
    }
};

struct Setting {
    bool ta, tb;
    float beta;
    bool bias;
    int batch;
};

template <class In, class Out>
void product(const Setting &s, int m, int n, int k, double tolerance) {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t plan;
    int plans = 0;
    const float alpha = 0.5f;
    size_t workspace_bytes = 4096;
    void *workspace;
    Matrix<In> a(s.ta ? k : m, s.ta ? m : k, s.batch), b(s.tb ? n : k, s.tb ? k : n, s.batch);
    Matrix<Out> c(m, n, s.batch), bias(m, 1);
    a.fill();
    b.fill();
    c.fill();
    bias.fill();
    CALL(cudaMalloc(&workspace, workspace_bytes));
    CALL(cublasLtCreate(&handle));
    CALL(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t ta = s.ta ? CUBLAS_OP_T : CUBLAS_OP_N,
                            tb = s.tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = s.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    CALL(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta));
    CALL(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb));
    CALL(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                        sizeof epilogue));
    CALL(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.device,
                                        sizeof bias.device));
    CALL(cublasLtMatmulPreferenceCreate(&preference));
    CALL(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                              &workspace_bytes, sizeof workspace_bytes));
    CALL(cublasLtMatmulAlgoGetHeuristic(handle, desc, a.layout, b.layout, c.layout, c.layout,
                                        preference, 1, &plan, &plans));
    CHECK(plans == 1 && plan.workspaceSize > 0 && plan.workspaceSize <= workspace_bytes);
    std::vector<double> want((size_t)m * n * s.batch);
    for (int z = 0; z < s.batch; z++)
        for (int j = 0; j < n; j++)
            for (int i = 0; i < m; i++) {
                double sum = 0;
                for (int x = 0; x < k; x++)
                    sum += (double)(float)(s.ta ? a.at(x, i, z) : a.at(i, x, z)) *
                           (float)(s.tb ? b.at(j, x, z) : b.at(x, j, z));
                want[(size_t)(i + m * (j + n * z))] = alpha * sum + s.beta * (float)c.at(i, j, z) +
                                                      (s.bias ? (double)(float)bias.at(i, 0) : 0);
            }
    CALL(cublasLtMatmul(handle, desc, &alpha, a.device, a.layout, b.device, b.layout, &s.beta,
                        c.device, c.layout, c.device, c.layout, &plan.algo, workspace,
                        workspace_bytes, 0));
    c.fetch();
    double error = 0;
    for (int z = 0; z < s.batch; z++)
        for (int j = 0; j < n; j++)
            for (int i = 0; i < c.leading; i++) {
                const double got = (float)c.at(i, j, z);
                if (i >= m) error += got != -77; /* between the columns */
                else error = std::max(error, std::fabs(got - want[(size_t)(i + m * (j + n * z))]));
            }
    CHECK(error <= tolerance);
    CHECK(sg_report_count() == 0);
    CHECK(cublasLtMatmul(handle, desc, &alpha, a.device, a.layout, b.device, b.layout, &s.beta,
                         c.device, c.layout, c.device, c.layout, &plan.algo, workspace, 0,
                         0) == CUBLAS_STATUS_INVALID_VALUE);
    CHECK(take_report("of workspace"));
    CALL(cublasLtMatmulPreferenceDestroy(preference));
    CALL(cublasLtMatmulDescDestroy(desc));
    CALL(cublasLtDestroy(handle));
    CALL(cudaFree(workspace));
}

/* What the libraries must refuse or report. */
void wrong_products() {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    const float one = 1, zero = 0;
    CALL(cublasLtCreate(&handle));
    CALL(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    {
        Matrix<float> a(8, 4), b(4, 6), c(8, 6), narrow(4, 5), unset(8, 4);
        a.fill();
        b.fill();
        narrow.fill();
        const auto run = [&](const float *data, cublasLtMatrixLayout_t la, const float *right,
                             cublasLtMatrixLayout_t lb) {
            return cublasLtMatmul(handle, desc, &one, data, la, right, lb, &zero, c.device,
                                  c.layout, c.device, c.layout, nullptr, nullptr, 0, 0);
        };
        CALL(run(a.device, a.layout, b.device, b.layout));
        CHECK(sg_report_count() == 0);
        CHECK(run(a.device, a.layout, narrow.device, narrow.layout) != 0 &&
              take_report("the shapes do not fit"));
        CHECK(run(a.host.data(), a.layout, b.device, b.layout) != 0 &&
              take_report("not in device memory"));
        run(a.device + 8, a.layout, b.device, b.layout);
        CHECK(take_report("out of bounds"));
        run(unset.device, unset.layout, b.device, b.layout);
        CHECK(take_report("uninitialised read: matrix product reads"));
        const cublasLtEpilogue_t gelu = CUBLASLT_EPILOGUE_GELU;
        CALL(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &gelu,
                                            sizeof gelu));
        CHECK(run(a.device, a.layout, b.device, b.layout) == CUBLAS_STATUS_NOT_SUPPORTED);
        CHECK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &gelu, 1) ==
              CUBLAS_STATUS_INVALID_VALUE);
    }
    CALL(cublasLtMatmulDescDestroy(desc));
    CALL(cublasLtDestroy(handle));
}

void products() {
    for (const bool ta : {false, true})
        for (const bool tb : {false, true})
            for (const float beta : {0.f, 1.f}) {
                /* fp32 sums of 19 products below 4; inputs are multiples of 1/64 */
                product<float, float>({ta, tb, beta, ta == tb, 1}, 17, 9, 19, 1e-5);
                product<__half, float>({ta, tb, beta, ta != tb, 2}, 16, 33, 19, 1e-5);
                product<__half, __half>({ta, tb, beta, true, 1}, 5, 7, 19,
                                        0.0625); /* an ulp of fp16 at 32 to 64 */
                product<__nv_bfloat16, float>({ta, tb, beta, false, 1}, 1, 1, 3, 1e-5);
            }
    wrong_products();
}

} // namespace
