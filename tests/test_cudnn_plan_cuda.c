/* test_cudnn_plan_cuda.c - cuDNN finalises plans for attention, forward and backward, for chips that are
 * described in tests/fixtures/devices and need not be present. Nothing is executed. */
#include "check.h"
#include "cuda/cudnn_plan.h"

#include <stdio.h>
#include <stdlib.h>

static void plans_of(mn_cudnn *cudnn, const char *chip) {
    static const mn_cudnn_shape shapes[] = {
        {.batch = 4, .length = 256, .heads = 16, .head_dim = 64},  /* Pythia 410M */
        {.batch = 2, .length = 512, .heads = 32, .head_dim = 80},  /* 2.8B */
        {.batch = 1, .length = 2048, .heads = 32, .head_dim = 128} /* 6.9B, Llama-2 7B */
    };
    char path[64];
    snprintf(path, sizeof path, "tests/fixtures/devices/%s.json", chip);
    char *device = mn_test_read(mn_test_source(path).text, NULL);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int backward = 0; backward < 2; backward++) {
            mn_cudnn_shape s = shapes[i];
            mn_cudnn_plan *plan = NULL;
            s.backward = backward;
            MN_ASSERT_OK(mn_cudnn_plan_build(&plan, cudnn, &s, device));
            print_message("%s, %lld x %lld tokens, %lld heads of %lld%s: %zu bytes of workspace\n",
                          chip, (long long)s.batch, (long long)s.length, (long long)s.heads,
                          (long long)s.head_dim, backward ? ", backward" : "",
                          mn_cudnn_plan_workspace(plan));
            mn_cudnn_plan_close(&plan);
        }
    free(device);
}

static void plans_for_h100(void **state) { plans_of(*state, "h100"); }
static void plans_for_a100(void **state) { plans_of(*state, "a100"); }
static void plans_for_b200(void **state) { plans_of(*state, "b200"); }

/* What cuDNN does not know is refused by name, and nothing is left behind. */
static void unsupported(void **state) {
    const mn_cudnn_shape s = {.batch = 1, .length = 64, .heads = 2, .head_dim = 20};
    mn_cudnn_plan *plan = NULL;
    char *device = mn_test_read(mn_test_source("tests/fixtures/devices/h100.json").text, NULL);
    MN_ASSERT_FAILS(mn_cudnn_plan_build(&plan, *state, &s, device), MN_ERR_UNSUPPORTED,
                    "heads of 20");
    assert_null(plan);
    MN_ASSERT_FAILS(mn_cudnn_plan_build(&plan, *state, &s, "{"), MN_ERR_IO,
                    "description of a device");
    assert_null(plan);
    free(device);
}

static int setup(void **state) {
    mn_cudnn *cudnn = NULL;
    if (mn_cudnn_open(&cudnn) != MN_OK) {
        print_message("skipped: %s\n", mn_error());
        exit(77);
    }
    *state = cudnn;
    return 0;
}

static int teardown(void **state) {
    mn_cudnn *cudnn = *state;
    mn_cudnn_close(&cudnn);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_for_h100), cmocka_unit_test(plans_for_a100),
        cmocka_unit_test(plans_for_b200), cmocka_unit_test(unsupported)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
