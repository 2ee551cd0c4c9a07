/* pickle_machine.h - the values of the pickle machine, shared by its two halves: pickle.c runs the
 * opcodes, pickle_torch.c knows the globals and what they build. */
#ifndef MNEME_IO_PICKLE_MACHINE_H
#define MNEME_IO_PICKLE_MACHINE_H

#include "io/pickle.h"

#include <stdbool.h>

typedef enum mn_pk_kind {
    MN_PK_UNSET, /* a memo entry never put */
    MN_PK_NONE,
    MN_PK_BOOL,
    MN_PK_INT,     /* i */
    MN_PK_FLOAT,   /* its value is never needed */
    MN_PK_TEXT,    /* len bytes at byte i of the pickle */
    MN_PK_GLOBAL,  /* i: row of the table of globals */
    MN_PK_TUPLE,   /* len values from items[i] on */
    MN_PK_LIST,    /* its items are never needed */
    MN_PK_DICT,    /* dicts[i] */
    MN_PK_STORAGE, /* storages[i] */
    MN_PK_TENSOR   /* tensors[i] */
} mn_pk_kind;

typedef struct mn_pk_value {
    mn_pk_kind kind;
    uint32_t len;
    int64_t i;
} mn_pk_value;

typedef struct mn_pk_values {
    mn_pk_value *data;
    size_t len, cap;
} mn_pk_values;

typedef struct mn_pk_dict {
    mn_pk_values pairs; /* key, value, key, value ... */
    bool ordered;       /* an OrderedDict: may carry the attribute _metadata */
} mn_pk_dict;

typedef struct mn_pk_storage {
    mn_pk_value key; /* MN_PK_TEXT */
    mn_dtype dtype;
    int64_t count;
} mn_pk_storage;

typedef struct mn_pk_tensor {
    size_t storage;
    mn_pk_value offset, size, stride; /* MN_PK_INT, two MN_PK_TUPLE; looked at when named */
} mn_pk_tensor;

typedef struct mn_pk {
    const unsigned char *data;
    size_t size, at; /* the next byte */
    size_t op;       /* the first byte of the opcode at work */
    const char *file;
    bool stopped;
    mn_pk_values stack, memo, items;
    size_t *marks; /* heights of the stack */
    size_t marks_len, marks_cap;
    mn_pk_dict *dicts;
    size_t dicts_len, dicts_cap;
    mn_pk_storage *storages;
    size_t storages_len, storages_cap;
    mn_pk_tensor *tensors;
    size_t tensors_len, tensors_cap;
} mn_pk;

enum { MN_PK_MAX_OBJECTS = 1 << 20 }; /* of each kind, and values on the stack */

/* Fails with "<file>: pickle byte <opcode at work>: ...". */
mn_status mn_pk_fail(const mn_pk *pk, mn_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *mn_pk_kind_name(mn_pk_kind kind); /* "a dict" */
const char *mn_pk_text(const mn_pk *pk, mn_pk_value text);
mn_status mn_pk_push_values(mn_pk_values *list, const mn_pk_value *values, size_t count);
mn_status mn_pk_new_dict(mn_pk *pk, bool ordered, mn_pk_value *out);

/* The world of PyTorch: a global by name, the call of one, the object behind a persistent id, the
 * state of an object, and at the end the tensors of the dict. */
mn_status mn_pk_global(const mn_pk *pk, const char *module, size_t module_len, const char *name,
                       size_t name_len, mn_pk_value *out);
mn_status mn_pk_reduce(mn_pk *pk, mn_pk_value callable, mn_pk_value args, mn_pk_value *out);
mn_status mn_pk_persistent(mn_pk *pk, mn_pk_value id, mn_pk_value *out);
mn_status mn_pk_build(const mn_pk *pk, mn_pk_value object, mn_pk_value state);
mn_status mn_pk_collect(const mn_pk *pk, mn_pk_value root, mn_pickle_dict *out);

#endif
