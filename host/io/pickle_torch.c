/* pickle_torch.c - what a state dict is made of: the allowed globals and the objects they build.
 *
 * The table below is all that a pickle can name. No row leads to a function of this program: a row is
 * a kind, and mn_pk_reduce builds a value from it. */
#include "io/entries.h"
#include "io/pickle_machine.h"

#include <stdlib.h>
#include <string.h>

typedef enum role { ORDERED_DICT, TENSOR, PARAMETER, STORAGE } role;

static const struct {
    const char *module, *name;
    role role;
    mn_dtype dtype; /* of a storage */
} globals[] = {
    {"collections", "OrderedDict", ORDERED_DICT, MN_DTYPES},
    {"torch._utils", "_rebuild_tensor_v2", TENSOR, MN_DTYPES},
    {"torch._utils", "_rebuild_parameter", PARAMETER, MN_DTYPES},
    {"torch", "FloatStorage", STORAGE, MN_F32},
    {"torch", "HalfStorage", STORAGE, MN_F16},
    {"torch", "BFloat16Storage", STORAGE, MN_BF16},
    {"torch", "DoubleStorage", STORAGE, MN_F64},
    {"torch", "LongStorage", STORAGE, MN_I64},
    {"torch", "IntStorage", STORAGE, MN_I32},
    {"torch", "ShortStorage", STORAGE, MN_I16},
    {"torch", "CharStorage", STORAGE, MN_I8},
    {"torch", "ByteStorage", STORAGE, MN_U8},
    {"torch", "BoolStorage", STORAGE, MN_BOOL},
};

enum { MAX_KEY = 255 }; /* torch counts: "0", "1" ... */

static bool same(const char *text, size_t len, const char *want) {
    return len == strlen(want) && memcmp(text, want, len) == 0;
}

static bool text_is(const mn_pk *pk, mn_pk_value value, const char *want) {
    return value.kind == MN_PK_TEXT && same(mn_pk_text(pk, value), value.len, want);
}

mn_status mn_pk_global(const mn_pk *pk, const char *module, size_t module_len, const char *name,
                       size_t name_len, mn_pk_value *out) {
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
        if (!same(module, module_len, globals[i].module) || !same(name, name_len, globals[i].name))
            continue;
        *out = (mn_pk_value){MN_PK_GLOBAL, 0, (int64_t)i};
        return MN_OK;
    }
    mn_shown a = mn_show(module, module_len), b = mn_show(name, name_len);
    a.text[strlen(a.text) - 1] = b.text[strlen(b.text) - 1] = '\0'; /* without the quotes */
    return mn_pk_fail(pk, MN_ERR_DATA, "global %s.%s is not allowed in a model file", a.text + 1,
                      b.text + 1);
}

static mn_status expect(const mn_pk *pk, const char *what, mn_pk_value value, mn_pk_kind kind) {
    if (value.kind == kind) return MN_OK;
    return mn_pk_fail(pk, MN_ERR_DATA, "%s: expected %s, found %s", what, mn_pk_kind_name(kind),
                      mn_pk_kind_name(value.kind));
}

/* (storage, offset, size, stride, requires_grad, backward hooks[, metadata]). The numbers are looked
 * at in mn_pk_collect, where the tensor has a name. */
static mn_status make_tensor(mn_pk *pk, const mn_pk_value *args, size_t count, mn_pk_value *out) {
    static const char what[] = "_rebuild_tensor_v2";
    if (count != 6 && count != 7)
        return mn_pk_fail(pk, MN_ERR_DATA, "%s: expected 6 arguments, found %zu", what, count);
    MN_TRY(expect(pk, what, args[0], MN_PK_STORAGE));
    MN_TRY(expect(pk, what, args[1], MN_PK_INT));
    MN_TRY(expect(pk, what, args[2], MN_PK_TUPLE));
    MN_TRY(expect(pk, what, args[3], MN_PK_TUPLE));
    MN_TRY(expect(pk, what, args[4], MN_PK_BOOL));
    if (args[5].kind != MN_PK_NONE) MN_TRY(expect(pk, what, args[5], MN_PK_DICT));
    if (count == 7 && args[6].kind != MN_PK_NONE) /* may say "negated", "conjugated" */
        return mn_pk_fail(pk, MN_ERR_UNSUPPORTED, "%s: a tensor with metadata", what);
    if (pk->tensors_len == MN_PK_MAX_OBJECTS)
        return mn_pk_fail(pk, MN_ERR_DATA, "more than %d tensors", MN_PK_MAX_OBJECTS);
    MN_TRY(mn_grow(&pk->tensors, &pk->tensors_cap, pk->tensors_len + 1, sizeof *pk->tensors));
    pk->tensors[pk->tensors_len] = (mn_pk_tensor){(size_t)args[0].i, args[1], args[2], args[3]};
    *out = (mn_pk_value){MN_PK_TENSOR, 0, (int64_t)pk->tensors_len++};
    return MN_OK;
}

mn_status mn_pk_reduce(mn_pk *pk, mn_pk_value callable, mn_pk_value args, mn_pk_value *out) {
    MN_TRY(expect(pk, "REDUCE", callable, MN_PK_GLOBAL));
    MN_TRY(expect(pk, "REDUCE", args, MN_PK_TUPLE));
    const mn_pk_value *items = args.len ? pk->items.data + args.i : NULL;
    switch (globals[callable.i].role) {
    case ORDERED_DICT:
        if (args.len != 0)
            return mn_pk_fail(pk, MN_ERR_DATA, "OrderedDict: expected no arguments, found %u",
                              (unsigned)args.len);
        return mn_pk_new_dict(pk, true, out);
    case TENSOR: return make_tensor(pk, items, args.len, out);
    case PARAMETER: /* (tensor, requires_grad, backward hooks) */
        if (args.len != 3)
            return mn_pk_fail(pk, MN_ERR_DATA, "_rebuild_parameter: expected 3 arguments, found %u",
                              (unsigned)args.len);
        MN_TRY(expect(pk, "_rebuild_parameter", items[0], MN_PK_TENSOR));
        *out = items[0];
        return MN_OK;
    case STORAGE: break;
    }
    return mn_pk_fail(pk, MN_ERR_DATA, "%s cannot be called", globals[callable.i].name);
}

/* ('storage', type, key, device, number of elements) */
mn_status mn_pk_persistent(mn_pk *pk, mn_pk_value id, mn_pk_value *out) {
    static const char what[] = "persistent id";
    MN_TRY(expect(pk, what, id, MN_PK_TUPLE));
    const mn_pk_value *item = id.len ? pk->items.data + id.i : NULL;
    if (id.len != 5 || !text_is(pk, item[0], "storage"))
        return mn_pk_fail(pk, MN_ERR_DATA, "%s: expected 5 items for a storage, found %u", what,
                          (unsigned)id.len);
    MN_TRY(expect(pk, what, item[1], MN_PK_GLOBAL));
    MN_TRY(expect(pk, what, item[2], MN_PK_TEXT));
    MN_TRY(expect(pk, what, item[3], MN_PK_TEXT));
    MN_TRY(expect(pk, what, item[4], MN_PK_INT));
    if (globals[item[1].i].role != STORAGE)
        return mn_pk_fail(pk, MN_ERR_DATA, "%s: expected a storage type, found %s", what,
                          globals[item[1].i].name);
    if (item[2].len > MAX_KEY)
        return mn_pk_fail(pk, MN_ERR_DATA, "%s: expected a key of at most %d bytes, found %u", what,
                          MAX_KEY, (unsigned)item[2].len);
    if (item[4].i < 0)
        return mn_pk_fail(pk, MN_ERR_DATA, "%s: expected a number of elements, found %lld", what,
                          (long long)item[4].i);
    if (pk->storages_len == MN_PK_MAX_OBJECTS)
        return mn_pk_fail(pk, MN_ERR_DATA, "more than %d storages", MN_PK_MAX_OBJECTS);
    MN_TRY(mn_grow(&pk->storages, &pk->storages_cap, pk->storages_len + 1, sizeof *pk->storages));
    pk->storages[pk->storages_len] = (mn_pk_storage){item[2], globals[item[1].i].dtype, item[4].i};
    *out = (mn_pk_value){MN_PK_STORAGE, 0, (int64_t)pk->storages_len++};
    return MN_OK;
}

/* Modules leave their version numbers in the attribute _metadata of the OrderedDict. */
mn_status mn_pk_build(const mn_pk *pk, mn_pk_value object, mn_pk_value state) {
    MN_TRY(expect(pk, "BUILD", object, MN_PK_DICT));
    MN_TRY(expect(pk, "BUILD", state, MN_PK_DICT));
    if (!pk->dicts[object.i].ordered)
        return mn_pk_fail(pk, MN_ERR_DATA, "BUILD: expected an OrderedDict, found a dict");
    const mn_pk_values *pairs = &pk->dicts[state.i].pairs;
    if (pairs->len != 2 || !text_is(pk, pairs->data[0], "_metadata"))
        return mn_pk_fail(pk, MN_ERR_DATA,
                          "BUILD: expected the attribute _metadata alone, found something else");
    return MN_OK;
}

/* The sizes or strides of a named tensor. */
static mn_status read_dims(const mn_pk *pk, const char *name, const char *what, mn_pk_value tuple,
                           int64_t dims[MN_MAX_DIMS]) {
    MN_CHECK(tuple.len <= MN_MAX_DIMS, MN_ERR_UNSUPPORTED,
             "%s: tensor %s: expected at most %d dimensions, found %u", pk->file, name, MN_MAX_DIMS,
             (unsigned)tuple.len);
    for (uint32_t i = 0; i < tuple.len; i++) {
        const mn_pk_value dim = pk->items.data[(size_t)tuple.i + i];
        MN_CHECK(dim.kind == MN_PK_INT, MN_ERR_DATA, "%s: tensor %s: %s: expected an int, found %s",
                 pk->file, name, what, mn_pk_kind_name(dim.kind));
        dims[i] = dim.i;
    }
    return MN_OK;
}

static mn_status collect_tensor(const mn_pk *pk, mn_pk_value key, mn_pk_value value,
                                mn_pickle_dict *out) {
    const mn_pk_tensor *t = &pk->tensors[value.i];
    const mn_pk_storage *s = &pk->storages[t->storage];
    const mn_shown name = mn_show(mn_pk_text(pk, key), key.len);
    mn_pickle_tensor made = {
        .name = mn_pk_text(pk, key),
        .name_len = key.len,
        .key = mn_pk_text(pk, s->key),
        .key_len = s->key.len,
        .dtype = s->dtype,
        .storage_count = s->count,
        .offset = t->offset.i,
        .ndim = (int)t->size.len,
    };
    MN_TRY(read_dims(pk, name.text, "size", t->size, made.shape));
    MN_TRY(read_dims(pk, name.text, "stride", t->stride, made.stride));
    MN_CHECK(t->size.len == t->stride.len, MN_ERR_DATA,
             "%s: tensor %s: expected as many strides as sizes, found %u and %u", pk->file,
             name.text, (unsigned)t->stride.len, (unsigned)t->size.len);
    MN_CHECK(out->len < MN_PK_MAX_OBJECTS, MN_ERR_DATA, "%s: more than %d tensors", pk->file,
             MN_PK_MAX_OBJECTS);
    MN_TRY(mn_grow(&out->data, &out->cap, out->len + 1, sizeof *out->data));
    out->data[out->len++] = made;
    return MN_OK;
}

mn_status mn_pk_collect(const mn_pk *pk, mn_pk_value root, mn_pickle_dict *out) {
    MN_CHECK(root.kind == MN_PK_DICT, MN_ERR_DATA,
             "%s: expected the pickle of a dict of tensors, found %s", pk->file,
             mn_pk_kind_name(root.kind));
    const mn_pk_values *pairs = &pk->dicts[root.i].pairs;
    size_t names = 0;
    for (size_t i = 0; i < pairs->len; i += 2) {
        const mn_pk_value key = pairs->data[i], value = pairs->data[i + 1];
        MN_CHECK(key.kind == MN_PK_TEXT, MN_ERR_DATA,
                 "%s: expected a name for entry %zu of the state dict, found %s", pk->file, i / 2,
                 mn_pk_kind_name(key.kind));
        /* Different names lie in different bytes of the pickle. Without this limit one long name,
         * fetched from the memo again and again, could cost more than linear time. */
        names += key.len;
        MN_CHECK(names <= pk->size, MN_ERR_DATA,
                 "%s: tensor %s: expected different names, found more than fit into the pickle",
                 pk->file, mn_show(mn_pk_text(pk, key), key.len).text);
        switch (value.kind) {
        case MN_PK_TENSOR: MN_TRY(collect_tensor(pk, key, value, out)); break;
        case MN_PK_NONE:
        case MN_PK_BOOL:
        case MN_PK_INT:
        case MN_PK_FLOAT:
        case MN_PK_TEXT: break; /* counters and notes of a trainer */
        default:
            return mn_fail(MN_ERR_UNSUPPORTED,
                           "%s: entry %s of the state dict: expected a tensor, found %s", pk->file,
                           mn_show(mn_pk_text(pk, key), key.len).text, mn_pk_kind_name(value.kind));
        }
    }
    return MN_OK;
}
