/* linear.h - the matrix products of the backend and the row kernels around them. */
#ifndef MNEME_CUDA_LINEAR_H
#define MNEME_CUDA_LINEAR_H

#include "cuda/stream.h"

mn_status mn_cuda_linear_open(struct mn_cuda_linear **out);
void mn_cuda_linear_close(struct mn_cuda_linear **linear); /* safe twice */

/* to (rows, cols) of fp16 or bf16, contiguous = from (rows, cols) fp32 in rows of ld. */
mn_status mn_cuda_narrow(mn_stream *s, void *to, mn_dtype dtype, const float *from, int64_t ld,
                         int64_t rows, int64_t cols);
/* y (rows, cols) in rows of ld = gelu(y + bias), erf form; bias (cols) or NULL. */
mn_status mn_cuda_bias_gelu(mn_stream *s, float *y, int64_t ld, const float *bias, int64_t rows,
                            int64_t cols);
/* sum (cols) += column sums of x (rows, cols) in rows of ld, in an order that depends on rows alone. */
mn_status mn_cuda_column_sums(mn_stream *s, float *sum, const float *x, int64_t ld, int64_t rows,
                              int64_t cols);

#endif
