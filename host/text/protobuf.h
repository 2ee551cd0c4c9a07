/* protobuf.h - walks the fields of one protocol buffers message in memory. */
#ifndef MNEME_TEXT_PROTOBUF_H
#define MNEME_TEXT_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mn_proto {
    const unsigned char *at, *end;
    bool broken; /* cut short, or not a message at all */
} mn_proto;

typedef enum mn_wire {
    MN_WIRE_VARINT = 0,
    MN_WIRE_64 = 1,
    MN_WIRE_BYTES = 2,
    MN_WIRE_32 = 5
} mn_wire;

typedef struct mn_proto_field {
    uint32_t number;
    mn_wire wire;
    uint64_t value;            /* VARINT, 64, 32 */
    const unsigned char *data; /* BYTES: inside the message */
    size_t len;
} mn_proto_field;

mn_proto mn_proto_over(const void *data, size_t len);

/* False at the end and when the message is broken. */
bool mn_proto_next(mn_proto *proto, mn_proto_field *field);

#endif
