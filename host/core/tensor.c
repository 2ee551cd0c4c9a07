/* tensor.c - sizes and names of data types, counts of views. */
#include "mneme/tensor.h"

#include <stdio.h>

static const struct {
    size_t size;
    const char *name;
} dtypes[MN_DTYPES] = {
    [MN_F32] = {4, "F32"}, [MN_F16] = {2, "F16"},   [MN_BF16] = {2, "BF16"}, [MN_F64] = {8, "F64"},
    [MN_I64] = {8, "I64"}, [MN_I32] = {4, "I32"},   [MN_I16] = {2, "I16"},   [MN_I8] = {1, "I8"},
    [MN_U8] = {1, "U8"},   [MN_BOOL] = {1, "BOOL"},
};

size_t mn_dtype_size(mn_dtype dtype) { return dtypes[dtype].size; }

const char *mn_dtype_name(mn_dtype dtype) { return dtypes[dtype].name; }

int64_t mn_tensor_count(const mn_tensor *t) {
    int64_t count = 1;
    for (int i = 0; i < t->ndim; i++) count *= t->shape[i];
    return count;
}

size_t mn_tensor_bytes(const mn_tensor *t) {
    return (size_t)mn_tensor_count(t) * mn_dtype_size(t->dtype);
}

mn_tensor mn_tensor_1d(void *data, mn_dtype dtype, int64_t n) {
    return (mn_tensor){.data = data, .shape = {n}, .ndim = 1, .dtype = dtype};
}

mn_tensor mn_tensor_2d(void *data, mn_dtype dtype, int64_t rows, int64_t cols) {
    return (mn_tensor){.data = data, .shape = {rows, cols}, .ndim = 2, .dtype = dtype};
}

char *mn_shape_text(char *text, size_t size, const int64_t *shape, int ndim) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < ndim && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? ", " : "(",
                                 (long long)shape[i]);
    if (used < size) snprintf(text + used, size - used, ndim ? ")" : "()");
    return text;
}
