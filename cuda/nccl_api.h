/* nccl_api.h (internal) - the functions of libnccl that are used. libnccl.so.2 is opened when ranks connect their GPUs:
 * the plug-in does without it otherwise. */
#ifndef MNEME_CUDA_NCCL_API_H
#define MNEME_CUDA_NCCL_API_H

#include "mneme/status.h"

#include <nccl.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MN_NCCL_FUNCTIONS(F)                                                                       \
    F(ncclGetVersion)                                                                              \
    F(ncclGetUniqueId)                                                                             \
    F(ncclGetErrorString)                                                                          \
    F(ncclGetLastError)                                                                            \
    F(ncclCommInitRankConfig)                                                                      \
    F(ncclCommGetAsyncError)                                                                       \
    F(ncclCommFinalize)                                                                            \
    F(ncclCommDestroy)                                                                             \
    F(ncclCommAbort)                                                                               \
    F(ncclAllReduce)                                                                               \
    F(ncclAllGather)

typedef struct mn_nccl {
    void *library;
    int version; /* as NCCL_VERSION makes it */
#define MN_NCCL_POINTER(name) __typeof__(name) *name;
    MN_NCCL_FUNCTIONS(MN_NCCL_POINTER)
#undef MN_NCCL_POINTER
} mn_nccl;

/* The library, opened once and kept: it does not like to go. MN_ERR_UNSUPPORTED, with the package's name, when it is
 * missing, lacks a function or is older than non-blocking communicators (2.14). */
mn_status mn_nccl_open(const mn_nccl **out);

#ifdef __cplusplus
}
#endif
#endif
