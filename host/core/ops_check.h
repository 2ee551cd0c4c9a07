/* ops_check.h - what the ops say about the shapes and types that they are given. */
#ifndef MNEME_CORE_OPS_CHECK_H
#define MNEME_CORE_OPS_CHECK_H

#include "mneme/ops.h"

/* MN_RUN(dev, add, y, x, n): the row `add` of kernels.def on the device's stream; its status. A range of its own, so
 * that profilers see the same names on all backends. */
#define MN_RUN(dev, name, ...) MN_RANGE(dev, #name, (dev)->k->name((dev)->stream, __VA_ARGS__))

enum { ANY = -1 }; /* a dimension that is not prescribed */

/* Weights in panels are for matrix products only. */
static inline mn_status want_rows(const char *op, const char *name, const mn_tensor *t) {
    MN_CHECK(t->layout == MN_LAYOUT_ROWS, MN_ERR_USAGE, "%s: %s lies in panels, rows expected", op,
             name);
    return MN_OK;
}

/* Fails unless t is a matrix or vector of this type and shape; dims are ANY or exact. */
static inline mn_status want(const char *op, const char *name, const mn_tensor *t, mn_dtype dtype,
                             int ndim, int64_t d0, int64_t d1, int64_t d2) {
    const int64_t dims[] = {d0, d1, d2};
    MN_CHECK(t->dtype == dtype, MN_ERR_USAGE, "%s: %s is %s, %s expected", op, name,
             mn_dtype_name(t->dtype), mn_dtype_name(dtype));
    bool same = t->ndim == ndim;
    for (int i = 0; same && i < ndim; i++) same = dims[i] == ANY || dims[i] == t->shape[i];
    MN_TRY(want_rows(op, name, t));
    if (same) return MN_OK;
    char found[96], expected[96];
    mn_shape_text(found, sizeof found, t->shape, t->ndim);
    mn_shape_text(expected, sizeof expected, dims, ndim);
    return mn_fail(MN_ERR_USAGE, "%s: %s has shape %s, %s expected", op, name, found, expected);
}

/* The shape of `like`. */
static inline mn_status want_shape(const char *op, const char *name, const mn_tensor *t,
                                   const mn_tensor *like) {
    bool same = t->ndim == like->ndim;
    for (int i = 0; same && i < t->ndim; i++) same = t->shape[i] == like->shape[i];
    if (same) return MN_OK;
    char found[96], expected[96];
    mn_shape_text(found, sizeof found, t->shape, t->ndim);
    mn_shape_text(expected, sizeof expected, like->shape, like->ndim);
    return mn_fail(MN_ERR_USAGE, "%s: %s has shape %s, %s expected", op, name, found, expected);
}

/* Type and shape of `like`. */
static inline mn_status want_like(const char *op, const char *name, const mn_tensor *t,
                                  const mn_tensor *like) {
    MN_CHECK(t->dtype == like->dtype, MN_ERR_USAGE, "%s: %s is %s, %s expected", op, name,
             mn_dtype_name(t->dtype), mn_dtype_name(like->dtype));
    return want_shape(op, name, t, like);
}

static inline mn_status want_f32(const char *op, const char *name, const mn_tensor *t) {
    MN_CHECK(t->dtype == MN_F32, MN_ERR_USAGE, "%s: %s is %s, F32 expected", op, name,
             mn_dtype_name(t->dtype));
    return MN_OK;
}

static inline mn_status want_float(const char *op, const char *name, const mn_tensor *t) {
    MN_CHECK(t->dtype == MN_F32 || t->dtype == MN_F16 || t->dtype == MN_BF16, MN_ERR_USAGE,
             "%s: %s is %s, a float type expected", op, name, mn_dtype_name(t->dtype));
    return want_rows(op, name, t);
}

static inline mn_status want_table(const char *op, const char *name, const mn_tensor *t, int64_t d0,
                                   int64_t d1) {
    MN_TRY(want_float(op, name, t));
    return want(op, name, t, t->dtype, 2, d0, d1, ANY);
}

/* In rows or, of half precision, in panels. */
static inline mn_status want_weight(const char *op, const char *name, const mn_tensor *t,
                                    int64_t d0, int64_t d1) {
    mn_tensor w = *t;
    if (w.dtype != MN_F32) w.layout = MN_LAYOUT_ROWS;
    return want_table(op, name, &w, d0, d1);
}

/* A slice of a vocabulary: NULL is all of `here` ids. */
static inline mn_status want_range(const char *op, mn_id_range *out, const mn_id_range *given,
                                   int64_t here) {
    *out = given ? *given : (mn_id_range){0, here};
    MN_CHECK(out->begin >= 0 && out->begin + here <= out->total && out->total <= INT32_MAX,
             MN_ERR_USAGE, "%s: ids %lld + %lld of %lld", op, (long long)out->begin,
             (long long)here, (long long)out->total);
    return MN_OK;
}

/* Every id of a vector on the host lies in [0, end); `error` is the status for one that does not. */
static inline mn_status want_ids(const mn_device *dev, const char *op, const char *name,
                                 const mn_tensor *ids, int64_t end, mn_status error) {
    const int32_t *id = ids->data;
    for (int64_t i = 0; dev->host_memory && i < ids->shape[0]; i++)
        MN_CHECK(id[i] >= 0 && id[i] < end, error, "%s: %s %lld is %d, not below %lld", op, name,
                 (long long)i, id[i], (long long)end);
    return MN_OK;
}

#endif
