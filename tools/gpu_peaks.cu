/* gpu_peaks.cu [N [MEGABYTES]] - what the card itself can do, to set other figures beside: fp16 products of
 * N x N matrices through cuBLASLt (fp32 sums), and copies inside its memory. Medians of nine runs each, by
 * events. tools/gpu_check.sh builds and runs it. */
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cublasLt.h>
#include <cuda_runtime.h>

static void check(bool ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "gpu_peaks: %s failed: %s\n", what, cudaGetErrorString(cudaGetLastError()));
    exit(1);
}
#define CUDA(call) check((call) == cudaSuccess, #call)
#define BLAS(call) check((call) == CUBLAS_STATUS_SUCCESS, #call)

enum { RUNS = 9 };

/* The median of the seconds that work takes. */
template <class F> static double seconds(cudaStream_t stream, F work) {
    cudaEvent_t begin, end;
    float ms[RUNS];
    CUDA(cudaEventCreate(&begin));
    CUDA(cudaEventCreate(&end));
    work(); /* does not count */
    for (float &t : ms) {
        CUDA(cudaEventRecord(begin, stream));
        work();
        CUDA(cudaEventRecord(end, stream));
        CUDA(cudaEventSynchronize(end));
        CUDA(cudaEventElapsedTime(&t, begin, end));
    }
    CUDA(cudaEventDestroy(begin));
    CUDA(cudaEventDestroy(end));
    std::sort(ms, ms + RUNS);
    return ms[RUNS / 2] / 1e3;
}

static double product_seconds(cudaStream_t stream, int n) {
    const size_t matrix = (size_t)n * n;
    const float one = 1, zero = 0;
    size_t workspace_bytes = 32 << 20;
    void *a, *b, *c, *workspace;
    int found = 0;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t in, out;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t plan;
    CUDA(cudaMalloc(&a, matrix * 2));
    CUDA(cudaMalloc(&b, matrix * 2));
    CUDA(cudaMalloc(&c, matrix * 4));
    CUDA(cudaMalloc(&workspace, workspace_bytes));
    CUDA(cudaMemsetAsync(a, 0x3c, matrix * 2,
                         stream)); /* 1.06 everywhere: not zeros, which save power */
    CUDA(cudaMemsetAsync(b, 0x3c, matrix * 2, stream));
    BLAS(cublasLtCreate(&handle));
    BLAS(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    BLAS(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                        sizeof transposed));
    BLAS(cublasLtMatrixLayoutCreate(&in, CUDA_R_16F, n, n, n));
    BLAS(cublasLtMatrixLayoutCreate(&out, CUDA_R_32F, n, n, n));
    BLAS(cublasLtMatmulPreferenceCreate(&preference));
    BLAS(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                              &workspace_bytes, sizeof workspace_bytes));
    BLAS(cublasLtMatmulAlgoGetHeuristic(handle, desc, in, in, out, out, preference, 1, &plan,
                                        &found));
    check(found == 1, "a plan for the product");
    const double t = seconds(stream, [&] {
        BLAS(cublasLtMatmul(handle, desc, &one, a, in, b, in, &zero, c, out, c, out, &plan.algo,
                            workspace, workspace_bytes, stream));
    });
    BLAS(cublasLtMatmulPreferenceDestroy(preference));
    BLAS(cublasLtMatrixLayoutDestroy(in));
    BLAS(cublasLtMatrixLayoutDestroy(out));
    BLAS(cublasLtMatmulDescDestroy(desc));
    BLAS(cublasLtDestroy(handle));
    for (void *p : {a, b, c, workspace}) CUDA(cudaFree(p));
    return t;
}

static double copy_seconds(cudaStream_t stream, size_t bytes) {
    void *from, *to;
    CUDA(cudaMalloc(&from, bytes));
    CUDA(cudaMalloc(&to, bytes));
    CUDA(cudaMemsetAsync(from, 1, bytes, stream));
    const double t = seconds(
        stream, [&] { CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream)); });
    CUDA(cudaFree(from));
    CUDA(cudaFree(to));
    return t;
}

int main(int argc, char **argv) {
    const int n = argc > 1 ? atoi(argv[1]) : 8192;
    const size_t bytes = (size_t)(argc > 2 ? atoi(argv[2]) : 1024) << 20;
    cudaDeviceProp p;
    cudaStream_t stream;
    check(n > 0 && bytes > 0, "reading the sizes");
    CUDA(cudaGetDeviceProperties(&p, 0));
    CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    printf("%s, %d multiprocessors, sm_%d%d, %.1f GB\n", p.name, p.multiProcessorCount, p.major,
           p.minor, (double)p.totalGlobalMem / 1e9);
    const double product = product_seconds(stream, n), copy = copy_seconds(stream, bytes);
    printf("fp16 product of %d x %d x %d: %.3f TFLOP/s\n", n, n, n,
           2.0 * n * n * n / product / 1e12);
    printf("copy of %zu MiB: %.1f GB/s read and written\n", bytes >> 20,
           2.0 * (double)bytes / copy / 1e9);
    CUDA(cudaStreamDestroy(stream));
    return 0;
}
