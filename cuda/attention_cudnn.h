/* attention_cudnn.h (internal) - attention through cuDNN, where the user chose it and it can. */
#ifndef MNEME_CUDA_ATTENTION_CUDNN_H
#define MNEME_CUDA_ATTENTION_CUDNN_H

#include "cuda/attention_bwd.cuh"

struct mn_cuda_cudnn; /* the library, a plan per shape, memory for the dense batch */

mn_status
mn_cuda_cudnn_open(struct mn_cuda_cudnn **out); /* MN_ERR_UNSUPPORTED without libcudnn.so.9 */
void mn_cuda_cudnn_close(struct mn_cuda_cudnn **cudnn); /* safe twice */

/* Whether cuDNN takes the batch: texts of own rows only, all of them queries, as training and first prompts
 * are; a query head for each key-value head; D a multiple of 8, at most 128; a shape for which cuDNN has a
 * reproducible plan, which is built at its first batch (what it has none for is said once). */
mn_status mn_cuda_cudnn_takes(bool *takes, mn_stream *s, const mn_attn_seqs *seqs,
                              const attention_args *a, bool backward);

mn_status mn_cuda_cudnn_forward(mn_stream *s, const attention_args *a, const mn_attn_seqs *seqs);
/* out and dout: of the forward pass and its gradient, fp32. delta stays as it is. */
mn_status mn_cuda_cudnn_backward(mn_stream *s, const attention_args *a, const mn_attn_seqs *seqs,
                                 const float *dout, float *dq, float *dk, float *dv);

#endif
