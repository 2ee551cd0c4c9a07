/* test_nccl_cuda.c - the real NCCL, without a device: the library has every function that the backend uses, of the
 * prototypes that it was compiled with, and fails as the backend expects where there is no GPU. */
#include "check.h"

#ifdef MN_HAS_NCCL
#include "cuda/nccl_api.h"

#include <stdlib.h>

static void every_function_is_there(void **state) {
    (void)state;
    const mn_nccl *n = NULL, *again = NULL;
    unsetenv("NCCL_ALGO");
    unsetenv("NCCL_NVLS_ENABLE");
    MN_ASSERT_OK(mn_nccl_open(&n));
    MN_ASSERT_OK(mn_nccl_open(&again));
    assert_ptr_equal(n, again);
    print_message("NCCL %d, compiled with the headers of %d\n", n->version, NCCL_VERSION_CODE);
    assert_int_equal(n->version / 10000, NCCL_VERSION_CODE / 10000);
    assert_string_equal(getenv("NCCL_NVLS_ENABLE"), "0"); /* sums are repeatable */
    assert_string_equal(n->ncclGetErrorString(ncclSuccess), "no error");
    assert_string_equal(n->ncclGetErrorString(ncclInProgress), "NCCL operation in progress");
}

/* The config has the layout that the library expects: it comes as far as looking for the device. */
static void without_a_device_joining_fails(void **state) {
    (void)state;
    const mn_nccl *n = NULL;
    ncclComm_t comm = NULL;
    ncclUniqueId id = {{0}};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    MN_ASSERT_OK(mn_nccl_open(&n));
    config.blocking = 0;
    const ncclResult_t r = n->ncclCommInitRankConfig(&comm, 2, id, 0, &config);
    print_message("%s: %s\n", n->ncclGetErrorString(r), n->ncclGetLastError(NULL));
    assert_int_equal(r, ncclUnhandledCudaError);
    assert_null(comm);
}
#endif

int main(void) {
#ifdef MN_HAS_NCCL
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_function_is_there),
                                       cmocka_unit_test(without_a_device_joining_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
#else
    print_message("skipped: no NCCL, or no simulated driver\n");
    return 77;
#endif
}
