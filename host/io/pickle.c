/* pickle.c - the pickle machine: stack, marks, memo, and the opcodes of protocols 2 to 4 that a state
 * dict uses (Python's pickletools.py describes them). What they build is in pickle_torch.c. */
#include "io/pickle.h"

#include "io/pickle_machine.h"
#include "mneme/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PICKLE = 16 << 20, MAX_LINE = 256, PROTO = 0x80 };

mn_status mn_pk_fail(const mn_pk *pk, mn_status status, const char *format, ...) {
    char text[MN_ERROR_MAX / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return mn_fail(status, "%s: pickle byte %zu: %s", pk->file, pk->op, text);
}

const char *mn_pk_kind_name(mn_pk_kind kind) {
    static const char *const names[] = {
        [MN_PK_UNSET] = "nothing",   [MN_PK_NONE] = "None",         [MN_PK_BOOL] = "a bool",
        [MN_PK_INT] = "an int",      [MN_PK_FLOAT] = "a float",     [MN_PK_TEXT] = "a string",
        [MN_PK_GLOBAL] = "a global", [MN_PK_TUPLE] = "a tuple",     [MN_PK_LIST] = "a list",
        [MN_PK_DICT] = "a dict",     [MN_PK_STORAGE] = "a storage", [MN_PK_TENSOR] = "a tensor",
    };
    return names[kind];
}

const char *mn_pk_text(const mn_pk *pk, mn_pk_value text) {
    return (const char *)pk->data + text.i;
}

mn_status mn_pk_push_values(mn_pk_values *list, const mn_pk_value *values, size_t count) {
    MN_TRY(mn_grow(&list->data, &list->cap, list->len + count, sizeof *list->data));
    if (count) memcpy(list->data + list->len, values, count * sizeof *values);
    list->len += count;
    return MN_OK;
}

mn_status mn_pk_new_dict(mn_pk *pk, bool ordered, mn_pk_value *out) {
    if (pk->dicts_len == MN_PK_MAX_OBJECTS)
        return mn_pk_fail(pk, MN_ERR_DATA, "more than %d dicts", MN_PK_MAX_OBJECTS);
    MN_TRY(mn_grow(&pk->dicts, &pk->dicts_cap, pk->dicts_len + 1, sizeof *pk->dicts));
    pk->dicts[pk->dicts_len] = (mn_pk_dict){.ordered = ordered};
    *out = (mn_pk_value){MN_PK_DICT, 0, (int64_t)pk->dicts_len++};
    return MN_OK;
}

static mn_status take(mn_pk *pk, size_t count, const unsigned char **bytes) {
    if (count > pk->size - pk->at)
        return mn_pk_fail(pk, MN_ERR_DATA, "expected %zu more bytes, found the end after %zu",
                          count, pk->size - pk->at);
    *bytes = pk->data + pk->at;
    pk->at += count;
    return MN_OK;
}

static mn_status take_number(mn_pk *pk, int bytes, uint64_t *value) {
    const unsigned char *from = NULL;
    MN_TRY(take(pk, (size_t)bytes, &from));
    *value = 0;
    for (int i = bytes - 1; i >= 0; i--) *value = *value << 8 | from[i];
    return MN_OK;
}

/* `width` low bytes as a signed number. */
static int64_t sign(uint64_t value, int width) {
    if (width < 8 && value >> (8 * width - 1)) value |= UINT64_MAX << 8 * width;
    int64_t out;
    memcpy(&out, &value, sizeof out);
    return out;
}

static mn_status push(mn_pk *pk, mn_pk_value value) {
    if (pk->stack.len == MN_PK_MAX_OBJECTS)
        return mn_pk_fail(pk, MN_ERR_DATA, "more than %d values on the stack", MN_PK_MAX_OBJECTS);
    return mn_pk_push_values(&pk->stack, &value, 1);
}

/* Takes `count` values from the stack, the lowest first; nothing below a mark can be taken. */
static mn_status pop(mn_pk *pk, size_t count, mn_pk_value *out) {
    const size_t floor = pk->marks_len ? pk->marks[pk->marks_len - 1] : 0;
    if (pk->stack.len - floor < count)
        return mn_pk_fail(pk, MN_ERR_DATA, "expected %zu values on the stack, found %zu", count,
                          pk->stack.len - floor);
    pk->stack.len -= count;
    memcpy(out, pk->stack.data + pk->stack.len, count * sizeof *out);
    return MN_OK;
}

/* Takes the last mark: the values from *from to the stack's top lay above it. */
static mn_status pop_mark(mn_pk *pk, size_t *from) {
    if (pk->marks_len == 0) return mn_pk_fail(pk, MN_ERR_DATA, "expected a mark, found none");
    *from = pk->marks[--pk->marks_len];
    return MN_OK;
}

/* The value on top stays where it is. */
static mn_status top(mn_pk *pk, mn_pk_kind kind, mn_pk_value *out) {
    MN_TRY(pop(pk, 1, out));
    if (kind != MN_PK_UNSET && out->kind != kind)
        return mn_pk_fail(pk, MN_ERR_DATA, "expected %s on the stack, found %s",
                          mn_pk_kind_name(kind), mn_pk_kind_name(out->kind));
    pk->stack.len++;
    return MN_OK;
}

static mn_status op_proto(mn_pk *pk, int arg) {
    (void)arg;
    return mn_pk_fail(pk, MN_ERR_DATA, "PROTO is expected at byte 0 only");
}

static mn_status op_frame(mn_pk *pk, int width) {
    uint64_t len = 0;
    MN_TRY(take_number(pk, width, &len));
    if (len > pk->size - pk->at)
        return mn_pk_fail(pk, MN_ERR_DATA, "expected a frame of at most %zu bytes, found %llu",
                          pk->size - pk->at, (unsigned long long)len);
    return MN_OK;
}

static mn_status op_stop(mn_pk *pk, int arg) {
    (void)arg;
    pk->stopped = true;
    return MN_OK;
}

static mn_status op_mark(mn_pk *pk, int arg) {
    (void)arg;
    if (pk->marks_len == MN_PK_MAX_OBJECTS)
        return mn_pk_fail(pk, MN_ERR_DATA, "more than %d marks", MN_PK_MAX_OBJECTS);
    MN_TRY(mn_grow(&pk->marks, &pk->marks_cap, pk->marks_len + 1, sizeof *pk->marks));
    pk->marks[pk->marks_len++] = pk->stack.len;
    return MN_OK;
}

static mn_status op_none(mn_pk *pk, int arg) {
    (void)arg;
    return push(pk, (mn_pk_value){.kind = MN_PK_NONE});
}

static mn_status op_bool(mn_pk *pk, int value) {
    return push(pk, (mn_pk_value){MN_PK_BOOL, 0, value});
}

static mn_status op_unsigned(mn_pk *pk, int width) {
    uint64_t value = 0;
    MN_TRY(take_number(pk, width, &value));
    return push(pk, (mn_pk_value){MN_PK_INT, 0, (int64_t)value});
}

static mn_status op_signed(mn_pk *pk, int width) {
    uint64_t value = 0;
    MN_TRY(take_number(pk, width, &value));
    return push(pk, (mn_pk_value){MN_PK_INT, 0, sign(value, width)});
}

/* Any width, as long as the value fits 64 bits: the bytes above them only repeat the sign. */
static mn_status op_long1(mn_pk *pk, int arg) {
    (void)arg;
    uint64_t width = 0, value = 0;
    const unsigned char *above = NULL;
    MN_TRY(take_number(pk, 1, &width));
    const int low = width < 8 ? (int)width : 8;
    MN_TRY(take_number(pk, low, &value));
    MN_TRY(take(pk, (size_t)width - (size_t)low, &above));
    const int64_t result = low ? sign(value, low) : 0;
    for (size_t i = 8; i < width; i++)
        if (above[i - 8] != (result < 0 ? 0xff : 0))
            return mn_pk_fail(pk, MN_ERR_DATA, "expected an int of 64 bits, found a longer one");
    return push(pk, (mn_pk_value){MN_PK_INT, 0, result});
}

static mn_status op_float(mn_pk *pk, int width) {
    uint64_t unused;
    MN_TRY(take_number(pk, width, &unused));
    return push(pk, (mn_pk_value){.kind = MN_PK_FLOAT});
}

static mn_status op_text(mn_pk *pk, int width) {
    uint64_t len = 0;
    const unsigned char *text = NULL;
    MN_TRY(take_number(pk, width, &len));
    if (len > pk->size - pk->at)
        return mn_pk_fail(pk, MN_ERR_DATA, "expected a string of at most %zu bytes, found %llu",
                          pk->size - pk->at, (unsigned long long)len);
    MN_TRY(take(pk, (size_t)len, &text));
    return push(pk, (mn_pk_value){MN_PK_TEXT, (uint32_t)len, text - pk->data});
}

static mn_status push_tuple(mn_pk *pk, const mn_pk_value *values, size_t count) {
    const mn_pk_value tuple = {MN_PK_TUPLE, (uint32_t)count, (int64_t)pk->items.len};
    MN_TRY(mn_pk_push_values(&pk->items, values, count));
    return push(pk, tuple);
}

static mn_status op_tuple(mn_pk *pk, int arg) {
    (void)arg;
    size_t from = 0;
    MN_TRY(pop_mark(pk, &from));
    const size_t count = pk->stack.len - from;
    pk->stack.len = from;
    return push_tuple(pk, count ? pk->stack.data + from : NULL, count);
}

static mn_status op_short_tuple(mn_pk *pk, int count) {
    mn_pk_value values[3] = {0};
    if (count) MN_TRY(pop(pk, (size_t)count, values));
    return push_tuple(pk, values, (size_t)count);
}

static mn_status op_empty_list(mn_pk *pk, int arg) {
    (void)arg;
    return push(pk, (mn_pk_value){.kind = MN_PK_LIST});
}

static mn_status op_append(mn_pk *pk, int arg) {
    (void)arg;
    mn_pk_value item = {0};
    MN_TRY(pop(pk, 1, &item));
    return top(pk, MN_PK_LIST, &item);
}

static mn_status op_appends(mn_pk *pk, int arg) {
    (void)arg;
    mn_pk_value list = {0};
    MN_TRY(pop_mark(pk, &pk->stack.len));
    return top(pk, MN_PK_LIST, &list);
}

static mn_status op_empty_dict(mn_pk *pk, int arg) {
    (void)arg;
    mn_pk_value dict = {0};
    MN_TRY(mn_pk_new_dict(pk, false, &dict));
    return push(pk, dict);
}

static mn_status op_setitem(mn_pk *pk, int arg) {
    (void)arg;
    mn_pk_value pair[2] = {0}, dict = {0};
    MN_TRY(pop(pk, 2, pair));
    MN_TRY(top(pk, MN_PK_DICT, &dict));
    return mn_pk_push_values(&pk->dicts[dict.i].pairs, pair, 2);
}

static mn_status op_setitems(mn_pk *pk, int arg) {
    (void)arg;
    mn_pk_value dict = {0};
    size_t from = 0;
    MN_TRY(pop_mark(pk, &from));
    const size_t count = pk->stack.len - from;
    pk->stack.len = from;
    MN_TRY(top(pk, MN_PK_DICT, &dict));
    if (count % 2)
        return mn_pk_fail(pk, MN_ERR_DATA, "expected keys with values, found %zu items", count);
    return mn_pk_push_values(&pk->dicts[dict.i].pairs, pk->stack.data + from, count);
}

/* A memo index may not run ahead of the bytes read: that keeps the memo as small as the pickle. */
static mn_status memoize(mn_pk *pk, uint64_t index) {
    mn_pk_value value = {0};
    MN_TRY(top(pk, MN_PK_UNSET, &value));
    if (index > pk->at)
        return mn_pk_fail(pk, MN_ERR_DATA, "expected a memo index of at most %zu, found %llu",
                          pk->at, (unsigned long long)index);
    const size_t place = (size_t)index;
    if (place >= pk->memo.len) {
        MN_TRY(mn_grow(&pk->memo.data, &pk->memo.cap, place + 1, sizeof *pk->memo.data));
        memset(pk->memo.data + pk->memo.len, 0, (place + 1 - pk->memo.len) * sizeof value);
        pk->memo.len = place + 1;
    }
    pk->memo.data[place] = value;
    return MN_OK;
}

static mn_status op_put(mn_pk *pk, int width) {
    uint64_t index = 0;
    MN_TRY(take_number(pk, width, &index));
    return memoize(pk, index);
}

static mn_status op_memoize(mn_pk *pk, int arg) {
    (void)arg;
    return memoize(pk, pk->memo.len);
}

static mn_status op_get(mn_pk *pk, int width) {
    uint64_t index = 0;
    MN_TRY(take_number(pk, width, &index));
    if (index >= pk->memo.len || pk->memo.data[index].kind == MN_PK_UNSET)
        return mn_pk_fail(pk, MN_ERR_DATA, "memo entry %llu was never put",
                          (unsigned long long)index);
    return push(pk, pk->memo.data[index]);
}

static mn_status take_line(mn_pk *pk, const char **line, size_t *len) {
    const size_t left = pk->size - pk->at;
    const unsigned char *from = pk->data + pk->at;
    const unsigned char *end = left ? memchr(from, '\n', left < MAX_LINE ? left : MAX_LINE) : NULL;
    if (!end)
        return mn_pk_fail(pk, MN_ERR_DATA, "expected a name of less than %d bytes and a newline",
                          MAX_LINE);
    *line = (const char *)from;
    *len = (size_t)(end - from);
    pk->at += *len + 1;
    return MN_OK;
}

static mn_status op_global(mn_pk *pk, int arg) {
    (void)arg;
    const char *module = NULL, *name = NULL;
    size_t module_len = 0, name_len = 0;
    mn_pk_value global = {0};
    MN_TRY(take_line(pk, &module, &module_len));
    MN_TRY(take_line(pk, &name, &name_len));
    MN_TRY(mn_pk_global(pk, module, module_len, name, name_len, &global));
    return push(pk, global);
}

static mn_status op_stack_global(mn_pk *pk, int arg) {
    (void)arg;
    mn_pk_value names[2] = {0}, global = {0};
    MN_TRY(pop(pk, 2, names));
    if (names[0].kind != MN_PK_TEXT || names[1].kind != MN_PK_TEXT)
        return mn_pk_fail(pk, MN_ERR_DATA, "expected the name of a global, found %s and %s",
                          mn_pk_kind_name(names[0].kind), mn_pk_kind_name(names[1].kind));
    MN_TRY(mn_pk_global(pk, mn_pk_text(pk, names[0]), names[0].len, mn_pk_text(pk, names[1]),
                        names[1].len, &global));
    return push(pk, global);
}

static mn_status op_reduce(mn_pk *pk, int arg) {
    (void)arg;
    mn_pk_value call[2] = {0}, made = {0};
    MN_TRY(pop(pk, 2, call));
    MN_TRY(mn_pk_reduce(pk, call[0], call[1], &made));
    return push(pk, made);
}

static mn_status op_build(mn_pk *pk, int arg) {
    (void)arg;
    mn_pk_value state = {0}, object = {0};
    MN_TRY(pop(pk, 1, &state));
    MN_TRY(top(pk, MN_PK_UNSET, &object));
    return mn_pk_build(pk, object, state);
}

static mn_status op_persistent(mn_pk *pk, int arg) {
    (void)arg;
    mn_pk_value id = {0}, object = {0};
    MN_TRY(pop(pk, 1, &id));
    MN_TRY(mn_pk_persistent(pk, id, &object));
    return push(pk, object);
}

typedef struct opcode {
    const char *name;
    mn_status (*run)(mn_pk *pk, int arg); /* NULL: known, but no part of a model file */
    int arg;                              /* mostly the bytes of the opcode's own argument */
} opcode;

static const opcode opcodes[256] = {
    [0x80] = {"PROTO", op_proto, 0},
    [0x95] = {"FRAME", op_frame, 8},
    ['.'] = {"STOP", op_stop, 0},
    ['('] = {"MARK", op_mark, 0},
    ['N'] = {"NONE", op_none, 0},
    [0x88] = {"NEWTRUE", op_bool, 1},
    [0x89] = {"NEWFALSE", op_bool, 0},
    ['K'] = {"BININT1", op_unsigned, 1},
    ['M'] = {"BININT2", op_unsigned, 2},
    ['J'] = {"BININT", op_signed, 4},
    [0x8a] = {"LONG1", op_long1, 1},
    ['G'] = {"BINFLOAT", op_float, 8},
    [0x8c] = {"SHORT_BINUNICODE", op_text, 1},
    ['X'] = {"BINUNICODE", op_text, 4},
    [0x8d] = {"BINUNICODE8", op_text, 8},
    ['t'] = {"TUPLE", op_tuple, 0},
    [')'] = {"EMPTY_TUPLE", op_short_tuple, 0},
    [0x85] = {"TUPLE1", op_short_tuple, 1},
    [0x86] = {"TUPLE2", op_short_tuple, 2},
    [0x87] = {"TUPLE3", op_short_tuple, 3},
    [']'] = {"EMPTY_LIST", op_empty_list, 0},
    ['a'] = {"APPEND", op_append, 0},
    ['e'] = {"APPENDS", op_appends, 0},
    ['}'] = {"EMPTY_DICT", op_empty_dict, 0},
    ['s'] = {"SETITEM", op_setitem, 0},
    ['u'] = {"SETITEMS", op_setitems, 0},
    ['q'] = {"BINPUT", op_put, 1},
    ['r'] = {"LONG_BINPUT", op_put, 4},
    [0x94] = {"MEMOIZE", op_memoize, 0},
    ['h'] = {"BINGET", op_get, 1},
    ['j'] = {"LONG_BINGET", op_get, 4},
    ['c'] = {"GLOBAL", op_global, 0},
    [0x93] = {"STACK_GLOBAL", op_stack_global, 0},
    ['R'] = {"REDUCE", op_reduce, 0},
    ['b'] = {"BUILD", op_build, 0},
    ['Q'] = {"BINPERSID", op_persistent, 0},
    /* No part of a model file; the names are for the message. */
    ['0'] = {"POP", NULL, 0},
    ['1'] = {"POP_MARK", NULL, 0},
    ['2'] = {"DUP", NULL, 0},
    ['F'] = {"FLOAT", NULL, 0},
    ['I'] = {"INT", NULL, 0},
    ['L'] = {"LONG", NULL, 0},
    [0x8b] = {"LONG4", NULL, 0},
    ['S'] = {"STRING", NULL, 0},
    ['T'] = {"BINSTRING", NULL, 0},
    ['U'] = {"SHORT_BINSTRING", NULL, 0},
    ['B'] = {"BINBYTES", NULL, 0},
    ['C'] = {"SHORT_BINBYTES", NULL, 0},
    [0x8e] = {"BINBYTES8", NULL, 0},
    [0x96] = {"BYTEARRAY8", NULL, 0},
    [0x97] = {"NEXT_BUFFER", NULL, 0},
    [0x98] = {"READONLY_BUFFER", NULL, 0},
    ['V'] = {"UNICODE", NULL, 0},
    ['P'] = {"PERSID", NULL, 0},
    ['i'] = {"INST", NULL, 0},
    ['o'] = {"OBJ", NULL, 0},
    [0x81] = {"NEWOBJ", NULL, 0},
    [0x92] = {"NEWOBJ_EX", NULL, 0},
    [0x82] = {"EXT1", NULL, 0},
    [0x83] = {"EXT2", NULL, 0},
    [0x84] = {"EXT4", NULL, 0},
    ['d'] = {"DICT", NULL, 0},
    ['l'] = {"LIST", NULL, 0},
    ['g'] = {"GET", NULL, 0},
    ['p'] = {"PUT", NULL, 0},
    [0x8f] = {"EMPTY_SET", NULL, 0},
    [0x90] = {"ADDITEMS", NULL, 0},
    [0x91] = {"FROZENSET", NULL, 0},
};

static mn_status run(mn_pk *pk) {
    const unsigned char *head = NULL, *code = NULL;
    if (pk->size > MAX_PICKLE)
        return mn_pk_fail(pk, MN_ERR_DATA, "expected a pickle of at most %d bytes, found %zu",
                          MAX_PICKLE, pk->size);
    MN_TRY(take(pk, 2, &head));
    if (head[0] != PROTO || head[1] < 2 || head[1] > 4)
        return mn_pk_fail(pk, MN_ERR_UNSUPPORTED,
                          "expected protocol 2, 3 or 4 (0x80 0x02), found 0x%02x 0x%02x", head[0],
                          head[1]);
    while (!pk->stopped) {
        pk->op = pk->at;
        MN_TRY(take(pk, 1, &code));
        const opcode *op = &opcodes[*code];
        if (!op->run)
            return mn_pk_fail(pk, MN_ERR_DATA, "opcode %s (0x%02x) is not allowed in a model file",
                              op->name ? op->name : "without a name", *code);
        MN_TRY(op->run(pk, op->arg));
    }
    if (pk->at != pk->size || pk->marks_len != 0 || pk->stack.len != 1)
        return mn_pk_fail(pk, MN_ERR_DATA,
                          "expected STOP to end with one value, found %zu values, %zu marks, %zu "
                          "bytes behind",
                          pk->stack.len, pk->marks_len, pk->size - pk->at);
    return MN_OK;
}

mn_status mn_pickle_read(mn_pickle_dict *out, const unsigned char *data, size_t size,
                         const char *file) {
    mn_pk pk = {.data = data, .size = size, .file = file};
    *out = (mn_pickle_dict){0};
    mn_status st = run(&pk);
    if (st == MN_OK) st = mn_pk_collect(&pk, pk.stack.data[0], out);
    if (st != MN_OK) mn_pickle_free(out);
    for (size_t i = 0; i < pk.dicts_len; i++) free(pk.dicts[i].pairs.data);
    free(pk.tensors);
    free(pk.storages);
    free(pk.dicts);
    free(pk.marks);
    free(pk.items.data);
    free(pk.memo.data);
    free(pk.stack.data);
    return st;
}

void mn_pickle_free(mn_pickle_dict *dict) {
    free(dict->data);
    *dict = (mn_pickle_dict){0};
}
