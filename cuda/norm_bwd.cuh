/* norm_bwd.cuh - the workspace that the gradients of norms want. */
#pragma once

#include <cstddef>
#include <cstdint>

/* Bytes of workspace for a row of `dim` elements, whatever the number of rows; grows with dim. */
size_t mn_cuda_norm_bwd_bytes(int64_t dim);
