/* tensorboard.c - event files without the protocol buffer library: three messages of few fields.
 *
 *   Event   { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }
 *   Summary { repeated Value value = 1; }   Value { string tag = 1; float simple_value = 2; }
 *
 * (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto). Everything is
 * little-endian. */
#include "mneme/tensorboard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TAG_MAX = 200,
    MESSAGE_MAX = TAG_MAX + 64,
    /* field number << 3 | wire type: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes */
    WALL_TIME = 1 << 3 | 1,
    STEP = 2 << 3,
    FILE_VERSION = 3 << 3 | 2,
    SUMMARY = 5 << 3 | 2,
    VALUE = 1 << 3 | 2,
    TAG = 1 << 3 | 2,
    SIMPLE_VALUE = 2 << 3 | 5
};

struct mn_events {
    FILE *file;
    char *path;
    uint32_t table[256]; /* of the CRC */
};

typedef struct message {
    unsigned char bytes[MESSAGE_MAX];
    size_t len;
} message;

/* CRC-32C (Castagnoli), reflected polynomial 0x82F63B78. */
static void make_table(uint32_t table[256]) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ 0x82F63B78u : c >> 1;
        table[i] = c;
    }
}

static uint32_t masked_crc(const uint32_t table[256], const unsigned char *bytes, size_t len) {
    uint32_t c = ~0u;
    for (size_t i = 0; i < len; i++) c = c >> 8 ^ table[(c ^ bytes[i]) & 255];
    c = ~c;
    return (c >> 15 | c << 17) + 0xa282ead8u;
}

static void put_byte(message *m, unsigned value) {
    m->bytes[m->len++] = (unsigned char)(value & 255);
}

static void put_fixed(message *m, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) put_byte(m, (unsigned)(value >> (8 * i) & 255));
}

static void put_varint(message *m, uint64_t value) {
    for (; value > 127; value >>= 7) put_byte(m, (unsigned)(value & 127) | 128);
    put_byte(m, (unsigned)value);
}

static void put_double(message *m, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_fixed(m, bits, 8);
}

static void put_bytes(message *m, unsigned field, const void *bytes, size_t len) {
    put_byte(m, field);
    put_varint(m, len);
    memcpy(m->bytes + m->len, bytes, len);
    m->len += len;
}

static mn_status write_record(mn_events *e, const message *event) {
    message head = {.len = 0}, tail = {.len = 0};
    put_fixed(&head, event->len, 8);
    put_fixed(&head, masked_crc(e->table, head.bytes, 8), 4);
    put_fixed(&tail, masked_crc(e->table, event->bytes, event->len), 4);
    if (fwrite(head.bytes, 1, head.len, e->file) != head.len ||
        fwrite(event->bytes, 1, event->len, e->file) != event->len ||
        fwrite(tail.bytes, 1, tail.len, e->file) != tail.len)
        return mn_fail_errno(e->path);
    return MN_OK;
}

mn_status mn_events_open(mn_events **out, const char *path) {
    static const char version[] = "brain.Event:2";
    mn_status st = MN_OK;
    message event = {.len = 0};
    *out = NULL;
    mn_events *e = calloc(1, sizeof *e);
    MN_CHECK_GOTO(e && (e->path = strdup(path)), MN_ERR_MEMORY, "%s: no memory", path);
    make_table(e->table);
    e->file = fopen(path, "wbe");
    if (!e->file) {
        st = mn_fail_errno(path);
        goto done;
    }
    put_byte(&event, WALL_TIME);
    put_double(&event, 0); /* the same bytes for the same scalars */
    put_bytes(&event, FILE_VERSION, version, sizeof version - 1);
    MN_GOTO(write_record(e, &event));
    *out = e;
    e = NULL;
done:
    if (e && e->file) fclose(e->file);
    if (e) free(e->path);
    free(e);
    return st;
}

mn_status mn_events_scalar(mn_events *e, const char *tag, int64_t step, double wall_time,
                           double value) {
    message event = {.len = 0}, summary = {.len = 0}, inner = {.len = 0};
    const size_t len = strlen(tag);
    const float single = (float)value;
    uint32_t bits;
    MN_CHECK(len <= TAG_MAX, MN_ERR_USAGE, "%s: a tag of %zu bytes, at most %d are possible",
             e->path, len, TAG_MAX);
    memcpy(&bits, &single, sizeof bits);
    put_bytes(&inner, TAG, tag, len);
    put_byte(&inner, SIMPLE_VALUE);
    put_fixed(&inner, bits, 4);
    put_bytes(&summary, VALUE, inner.bytes, inner.len);
    put_byte(&event, WALL_TIME);
    put_double(&event, wall_time);
    put_byte(&event, STEP);
    put_varint(&event, (uint64_t)step);
    put_bytes(&event, SUMMARY, summary.bytes, summary.len);
    return write_record(e, &event);
}

mn_status mn_events_flush(mn_events *e) {
    return fflush(e->file) == 0 ? MN_OK : mn_fail_errno(e->path);
}

mn_status mn_events_close(mn_events **events) {
    mn_events *e = *events;
    mn_status st = MN_OK;
    if (!e) return MN_OK;
    if (fclose(e->file) != 0) st = mn_fail_errno(e->path);
    free(e->path);
    free(e);
    *events = NULL;
    return st;
}
