/* test_copies_cuda.c - uploads run on a stream of their own: what kernels read is what was sent before them, whatever
 * was sent since, and however many pieces are on their way. On the simulated GPU work runs as late as the waits
 * allow: without one of them, stale numbers show. */
#include "kernels/remote.h"

enum { PIECES = 50, NUMBERS = 100 };

static float number(int piece, int i) { return (float)(1000 * piece + i); }

/* Many small uploads to one place, each read by a kernel: nothing waits until the end. */
static void each_kernel_reads_its_own(void **state) {
    mn_device *dev = *state;
    remote r = remote_open(dev);
    float host[NUMBERS], *got = test_malloc(PIECES * sizeof host);
    mn_tensor place = mn_tensor_1d(remote_floats(&r, NUMBERS), MN_F32, NUMBERS);
    float *all = remote_floats(&r, (int64_t)PIECES * NUMBERS);
    for (int p = 0; p < PIECES; p++) {
        for (int i = 0; i < NUMBERS; i++) host[i] = number(p, i);
        MN_ASSERT_OK(dev->upload(dev, place.data, host, sizeof host));
        mn_tensor kept = mn_tensor_1d(all + p * NUMBERS, MN_F32, NUMBERS);
        MN_ASSERT_OK(mn_zero(dev, &kept));
        MN_ASSERT_OK(mn_add(dev, &kept, &place));
    }
    remote_read(&r, got, all, PIECES * sizeof host);
    for (int p = 0; p < PIECES; p++)
        for (int i = 0; i < NUMBERS; i++)
            if (got[p * NUMBERS + i] != number(p, i))
                fail_msg("upload %d: the kernel read %g, %g was sent", p,
                         (double)got[p * NUMBERS + i], (double)number(p, i));
    test_free(got);
    remote_close(&r);
}

/* More than the slots hold together, there and back, twice over the same place. */
static void large_copies_arrive(void **state) {
    enum { BYTES = 70 << 20 };
    mn_device *dev = *state;
    remote r = remote_open(dev);
    unsigned char *sent = malloc(BYTES), *got = malloc(BYTES);
    assert_true(sent && got);
    void *place = remote_bytes(&r, BYTES);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < BYTES; i++)
            sent[i] = (unsigned char)(i * 2654435761u >> (11 + round));
        MN_ASSERT_OK(dev->upload(dev, place, sent, BYTES));
        remote_read(&r, got, place, BYTES);
        assert_memory_equal(sent, got, BYTES);
    }
    free(sent);
    free(got);
    remote_close(&r);
}

/* Uploads and downloads share the pinned slots. */
static void both_ways_in_turns(void **state) {
    mn_device *dev = *state;
    remote r = remote_open(dev);
    int32_t *place[PIECES];
    for (int p = 0; p < PIECES; p++) {
        int32_t got;
        place[p] = remote_copy(&r, &p, sizeof p);
        remote_read(&r, &got, place[p / 2], sizeof got);
        assert_int_equal(got, p / 2);
        if (r.count == REMOTE_BLOCKS) break;
    }
    remote_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kernel_reads_its_own),
        cmocka_unit_test(large_copies_arrive),
        cmocka_unit_test(both_ways_in_turns),
    };
    return cmocka_run_group_tests(tests, remote_setup, remote_teardown);
}
