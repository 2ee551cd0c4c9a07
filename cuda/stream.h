/* stream.h - what the launchers of the CUDA backend share: the stream, its workspace, errors.
 *
 * A launcher, mn_cuda_<row>, has the parameters of its row in kernels.def. It puts its work into the
 * stream and returns: it trusts shapes, and never waits or allocates but for a
 * shape that cuDNN meets for the first time (attention_cudnn.cu). Pointers are device memory but
 * for structs of shapes (mn_qkv_layout, mn_attn_seqs and its `host`, mn_adamw). */
#ifndef MNEME_CUDA_STREAM_H
#define MNEME_CUDA_STREAM_H

extern "C" {
#include "core/plugin.h"
#include "mneme/kernels.h"
}

#include "cuda/sizes.h"

#include <cuda_runtime.h>

struct mn_cuda_linear;  /* cuBLASLt's handle and plans (linear.cu) */
struct mn_cuda_copies;  /* staging of uploads and downloads (copies.cu) */
struct mn_cuda_graphs;  /* recorded work (graphs.cu) */
struct mn_cuda_cudnn;   /* attention through cuDNN (attention_cudnn.cu) */
struct mn_device_group; /* NCCL's connection to other ranks (collectives.cu) */

struct mn_stream {
    cudaStream_t stream; /* all work, in order */
    int device, sm_count;
    void *scratch; /* workspace of one kernel call: the next call may overwrite it */
    size_t scratch_bytes;
    struct mn_cuda_linear *linear;
    struct mn_cuda_copies *copies;
    struct mn_cuda_graphs *graphs;
    struct mn_cuda_cudnn *cudnn;    /* NULL: the backend's own attention */
    bool was_cudnn;                 /* the last attention went there */
    struct mn_device_group *groups; /* a list of those that were joined; NULL: one rank */
};

/* The first `bytes` of the workspace, 256-byte aligned; MN_ERR_MEMORY when less was reserved. */
mn_status mn_cuda_scratch(mn_stream *s, void *out_ptr, size_t bytes);

void mn_cuda_warn(const char *text); /* a line of the program's log */
/* A CUDA error as a status: "what: text of the error". */
mn_status mn_cuda_check(cudaError_t code, const char *what);
#define MN_CUDA_TRY(call) MN_TRY(mn_cuda_check((call), #call))
/* Behind a launch: whether it could be put into the stream. */
#define MN_CUDA_LAUNCHED(name) MN_TRY(mn_cuda_check(cudaGetLastError(), name))

/* One row each, in the file of its family. */
#define MN_KERNEL(name, params) extern "C" mn_status mn_cuda_##name params;
#include "mneme/kernels.def"
#undef MN_KERNEL

extern "C" const mn_kernels mn_cuda_kernels; /* table.cu */
void mn_cuda_range(const char *name);        /* mn_device.range */

template <typename T> static inline T mn_ceil_div(T a, T b) { return (a + b - 1) / b; }

#endif
