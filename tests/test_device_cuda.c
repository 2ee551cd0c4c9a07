/* test_device_cuda.c - the memory of a CUDA device: zeros, copies at the ends of their pieces, and a workspace that is
 * too small. */
#include "kernels/remote.h"

#include "check.h"

enum { SLOT = 4 << 20 }; /* copies.cu: pieces of a copy */

static unsigned char *random_bytes(size_t n, uint32_t seed) {
    unsigned char *x = test_malloc(n);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (unsigned char)(seed >> 24);
    }
    return x;
}

/* Also where something else was before. */
static void memory_begins_as_zeros(void **state) {
    static const size_t sizes[] = {1, 31, 4099, SLOT + 5};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int again = 0; again < 2; again++) {
            const size_t n = sizes[i];
            remote r = remote_open(*state);
            unsigned char *got = random_bytes(n, 1);
            void *memory = remote_bytes(&r, n);
            remote_read(&r, got, memory, n);
            for (size_t j = 0; j < n; j++) assert_int_equal(got[j], 0);
            memset(got, 0xFF, n);
            MN_ASSERT_OK(r.dev->upload(r.dev, memory, got, n));
            test_free(got);
            remote_close(&r);
        }
}

/* Less than a slot, whole slots, more pieces than slots. The source changes as soon as the upload returns. */
static void copies_are_made_of_pieces(void **state) {
    static const size_t sizes[] = {1, SLOT - 1, SLOT, SLOT + 1, 2 * SLOT + 3, (size_t)9 * SLOT + 7};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t n = sizes[i];
        remote r = remote_open(*state);
        unsigned char *want = random_bytes(n, (uint32_t)i), *from = test_malloc(n);
        memcpy(from, want, n);
        void *memory = remote_copy(&r, from, n);
        memset(from, 0xA5, n);
        remote_read(&r, from, memory, n);
        if (memcmp(from, want, n) != 0) fail_msg("%zu bytes come back as others", n);
        test_free(from);
        test_free(want);
        remote_close(&r);
    }
}

/* Inputs are rounded in the workspace: one that was not reserved is refused before anything is written. */
static void a_workspace_that_is_too_small_is_refused(void **state) {
    enum { M = 1 << 16, K = 384 }; /* 48 MiB as halves; 32 are always there */
    mn_device *dev = NULL;
    (void)state;
    MN_ASSERT_OK(mn_device_open(&dev, "cuda", 0)); /* its workspace has not grown yet */
    remote r = remote_open(dev);
    mn_tensor y = mn_tensor_2d(remote_bytes(&r, M * sizeof(float)), MN_F32, M, 1);
    const mn_tensor x = mn_tensor_2d(remote_bytes(&r, (size_t)M * K * sizeof(float)), MN_F32, M, K);
    const mn_tensor w = mn_tensor_2d(remote_bytes(&r, K * 2), MN_F16, 1, K);
    MN_ASSERT_FAILS(mn_linear_fwd(dev, &y, 1, &x, &w, NULL, MN_EPILOGUE_STORE, MN_COMPUTE_F32),
                    MN_ERR_MEMORY, "wants 50331648 bytes of workspace, 33554432 are reserved");
    remote_close(&r);
    mn_device_close(&dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_begins_as_zeros),
        cmocka_unit_test(copies_are_made_of_pieces),
        cmocka_unit_test(a_workspace_that_is_too_small_is_refused),
    };
    return cmocka_run_group_tests(tests, remote_setup, remote_teardown);
}
