/* product.h - the matrix product behind libcublasLt and libcublas. Matrices are column-major. */
#ifndef SIMGPU_PRODUCT_H
#define SIMGPU_PRODUCT_H

#include <cstdint>
#include <cublas_v2.h>

namespace sg {

struct MatrixArgument {
    const void *data = nullptr;
    cudaDataType type = CUDA_R_32F;
    int64_t rows = 0, columns = 0, leading = 0;
    int64_t batch = 1, stride = 0; /* elements between the matrices of a batch */
};

/* D = alpha op(A) op(B) + beta C + bias; D has C's shape, bias one element per row of D. */
struct Product {
    MatrixArgument a, b, c, d;
    bool transpose_a = false, transpose_b = false;
    const void *alpha = nullptr,
               *beta = nullptr; /* host or device memory, read when the product runs */
    cudaDataType scale = CUDA_R_32F;
    const void *bias = nullptr;
    cudaDataType bias_type = CUDA_R_32F;
    bool relu = false;
};

/* Shapes, types and leading dimensions. CUBLAS_STATUS_SUCCESS, or what is wrong, with a report. */
cublasStatus_t check_product(const Product &p);
/* Checks the operands' memory, reports uninitialised input, computes with fp32 sums over k in order. */
void run_product(const Product &p);
/* check_product, and run_product in the stream; scalars in host memory are read now. */
cublasStatus_t submit_product(Product p, cudaStream_t stream);

} // namespace sg
#endif
