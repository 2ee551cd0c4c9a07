/* tensor.h - a view of numbers somewhere: data type, shape, address. Owns nothing.
 *
 * Views are contiguous, row-major, outermost dimension first, but for weights in panels. The memory belongs to an arena, a file
 * map or the caller. */
#ifndef MNEME_TENSOR_H
#define MNEME_TENSOR_H

#include "mneme/status.h"

#include <stddef.h>
#include <stdint.h>

enum { MN_MAX_DIMS = 8 };

typedef enum mn_dtype {
    MN_F32,
    MN_F16,
    MN_BF16,
    MN_F64,
    MN_I64,
    MN_I32,
    MN_I16,
    MN_I8,
    MN_U8,
    MN_BOOL,
    MN_DTYPES
} mn_dtype;

size_t mn_dtype_size(mn_dtype dtype);      /* bytes of one element */
const char *mn_dtype_name(mn_dtype dtype); /* as safetensors writes it: "F16", "BOOL" ... */

/* How the numbers of a matrix (N, K) lie in memory. */
typedef enum mn_layout {
    MN_LAYOUT_ROWS,  /* row after row, as everywhere else */
    MN_LAYOUT_PANELS /* a weight as the device's matrix products like it best; only these read it */
} mn_layout;

typedef struct mn_tensor {
    void *data;
    int64_t shape[MN_MAX_DIMS];
    int ndim; /* 0: a scalar, one element */
    mn_dtype dtype;
    mn_layout layout;
} mn_tensor;

int64_t mn_tensor_count(const mn_tensor *t); /* elements */
size_t mn_tensor_bytes(const mn_tensor *t);
mn_tensor mn_tensor_1d(void *data, mn_dtype dtype, int64_t n);
mn_tensor mn_tensor_2d(void *data, mn_dtype dtype, int64_t rows, int64_t cols);

/* Writes "(3, 64)" into `text`, truncated to `size` bytes with the NUL; returns `text`. */
char *mn_shape_text(char *text, size_t size, const int64_t *shape, int ndim);

#endif
