/* protobuf.c - bounded reading of protocol buffers; groups, long obsolete, count as broken. */
#include "text/protobuf.h"

mn_proto mn_proto_over(const void *data, size_t len) {
    const unsigned char *at = data;
    return (mn_proto){.at = at, .end = len ? at + len : at};
}

static bool varint(mn_proto *p, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0; shift < 64 && p->at < p->end; shift += 7) {
        const unsigned char byte = *p->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

static bool fixed(mn_proto *p, uint64_t *value, size_t size) {
    *value = 0;
    if ((size_t)(p->end - p->at) < size) return false;
    for (size_t i = 0; i < size; i++) *value |= (uint64_t)p->at[i] << (8 * i);
    p->at += size;
    return true;
}

static bool bytes(mn_proto *p, mn_proto_field *field) {
    uint64_t len;
    if (!varint(p, &len) || len > (uint64_t)(p->end - p->at)) return false;
    field->data = p->at;
    field->len = (size_t)len;
    p->at += len;
    return true;
}

bool mn_proto_next(mn_proto *p, mn_proto_field *field) {
    uint64_t key;
    if (p->broken || p->at == p->end) return false;
    *field = (mn_proto_field){0};
    bool good = varint(p, &key) && key >> 3 >= 1 && key >> 3 <= 0x1FFFFFFF;
    if (good) {
        field->number = (uint32_t)(key >> 3);
        field->wire = (mn_wire)(key & 7);
        switch (field->wire) {
        case MN_WIRE_VARINT: good = varint(p, &field->value); break;
        case MN_WIRE_64: good = fixed(p, &field->value, 8); break;
        case MN_WIRE_BYTES: good = bytes(p, field); break;
        case MN_WIRE_32: good = fixed(p, &field->value, 4); break;
        default: good = false;
        }
    }
    p->broken = !good;
    return good;
}
