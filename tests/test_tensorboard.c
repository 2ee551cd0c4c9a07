/* test_tensorboard.c - event files, read back by hand: framing, check sums bit by bit, the fields of
 * each message. */
#include "check.h"

#include "mneme/tensorboard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* CRC-32C one bit at a time (RFC 3720, appendix B.4), with TensorFlow's mask. */
static uint32_t masked(const unsigned char *bytes, size_t len) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < len; i++)
        for (int bit = 0; bit < 8; bit++) {
            const uint32_t low = (crc ^ (uint32_t)bytes[i] >> bit) & 1;
            crc = crc >> 1 ^ (low ? 0x82F63B78u : 0);
        }
    crc ^= 0xffffffffu;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static uint64_t fixed(const unsigned char *at, int bytes) {
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | at[i];
    return value;
}

typedef struct reader {
    const unsigned char *at, *end;
} reader;

static uint64_t varint(reader *r) {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        assert_true(r->at < r->end && shift < 64);
        value |= (uint64_t)(*r->at & 127) << shift;
        if (*r->at++ < 128) return value;
    }
}

static reader message(reader *r) {
    const uint64_t len = varint(r);
    assert_true(len <= (uint64_t)(r->end - r->at));
    const reader inner = {r->at, r->at + len};
    r->at += len;
    return inner;
}

/* The data of the next record; both check sums hold. */
static reader record(reader *file) {
    assert_true(file->end - file->at >= 16);
    const uint64_t len = fixed(file->at, 8);
    assert_int_equal(fixed(file->at + 8, 4), masked(file->at, 8));
    assert_true(len <= (uint64_t)(file->end - file->at) - 16);
    const reader data = {file->at + 12, file->at + 12 + len};
    assert_int_equal(fixed(data.end, 4), masked(data.at, len));
    file->at = data.end + 4;
    return data;
}

static double wall_time(reader *event) {
    const uint64_t bits = (assert_int_equal(varint(event), 1 << 3 | 1), fixed(event->at, 8));
    double time;
    memcpy(&time, &bits, sizeof time);
    event->at += 8;
    return time;
}

static void check_scalar(reader *file, const char *tag, uint64_t step, double time, float value) {
    reader event = record(file);
    assert_true(wall_time(&event) == time);
    assert_int_equal(varint(&event), 2 << 3);
    assert_int_equal(varint(&event), step);
    assert_int_equal(varint(&event), 5 << 3 | 2);
    reader summary = message(&event);
    assert_true(event.at == event.end);
    assert_int_equal(varint(&summary), 1 << 3 | 2);
    reader inner = message(&summary);
    assert_true(summary.at == summary.end);
    assert_int_equal(varint(&inner), 1 << 3 | 2);
    const reader name = message(&inner);
    assert_int_equal(name.end - name.at, strlen(tag));
    assert_memory_equal(name.at, tag, strlen(tag));
    assert_int_equal(varint(&inner), 2 << 3 | 5);
    const uint32_t bits = (uint32_t)fixed(inner.at, 4);
    float got;
    memcpy(&got, &bits, sizeof got);
    assert_true(got == value);
    assert_true(inner.at + 4 == inner.end);
}

static void test_file(void **state) {
    const mn_test_path dir = mn_test_tmpdir(), path = mn_test_join(dir.text, "x.tfevents.1");
    char longest[202];
    mn_events *events = NULL;
    size_t len;
    (void)state;
    assert_int_equal(masked((const unsigned char *)"123456789", 9),
                     (uint32_t)((0xe3069283u >> 15 | 0xe3069283u << 17) + 0xa282ead8u));
    memset(longest, 'x', sizeof longest);
    longest[200] = '\0';
    MN_ASSERT_OK(mn_events_open(&events, path.text));
    MN_ASSERT_OK(mn_events_scalar(events, "train/loss", 1, 1.5e9, 2.5));
    MN_ASSERT_OK(mn_events_scalar(events, "train/loss", 300, 1.5e9 + 0.25, -1e-30));
    MN_ASSERT_OK(mn_events_scalar(events, longest, INT64_C(1) << 40, 0, 1));
    MN_ASSERT_OK(mn_events_flush(events));
    longest[200] = 'x';
    longest[201] = '\0';
    MN_ASSERT_FAILS(mn_events_scalar(events, longest, 1, 0, 1), MN_ERR_USAGE, "a tag of 201 bytes");
    longest[200] = '\0';
    MN_ASSERT_OK(mn_events_close(&events));
    MN_ASSERT_OK(mn_events_close(&events));
    char *bytes = mn_test_read(path.text, &len);
    reader file = {(unsigned char *)bytes, (unsigned char *)bytes + len};
    reader event = record(&file);
    assert_true(wall_time(&event) == 0);
    assert_int_equal(varint(&event), 3 << 3 | 2);
    const reader version = message(&event);
    assert_memory_equal(version.at, "brain.Event:2", 13);
    assert_true(version.end - version.at == 13 && event.at == event.end);
    check_scalar(&file, "train/loss", 1, 1.5e9, 2.5f);
    check_scalar(&file, "train/loss", 300, 1.5e9 + 0.25, -1e-30f);
    check_scalar(&file, longest, UINT64_C(1) << 40, 0, 1);
    assert_true(file.at == file.end);
    free(bytes);
    mn_test_rmdir(dir.text);
}

static void test_failures(void **state) {
    mn_events *events = NULL;
    (void)state;
    MN_ASSERT_FAILS(mn_events_open(&events, "/nowhere/x"), MN_ERR_IO, "/nowhere/x");
    assert_null(events);
    MN_ASSERT_OK(mn_events_close(&events));
    MN_ASSERT_OK(mn_events_open(&events, "/dev/full"));
    MN_ASSERT_OK(mn_events_scalar(events, "loss", 1, 0, 1));
    MN_ASSERT_FAILS(mn_events_flush(events), MN_ERR_IO, "/dev/full: No space left on device");
    mn_events_close(&events);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_file),
                                       cmocka_unit_test(test_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
