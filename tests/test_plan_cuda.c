/* test_plan_cuda.c - the bytes that `mneme plan` calculates for a GPU are those that the arenas of a CUDA device
 * really have: models, sessions, tapes and optimizers of both architectures, opened there. Other ranks take part as
 * on the CPU (test_plan.c), with the same code. */
#include "check.h"
#include "kernels/remote.h"
#include "test_plan.h"

static void compare(mn_device *device, const mn_model_config *config, const char *name) {
    const mn_test_path tmp = mn_test_tmpdir(), dir = mn_test_join(tmp.text, name);
    plan_case c = {.dir = dir.text, .job = plan_job(config, name, MN_TALLY_CUDA), .device = device};
    mn_device *cpu = NULL;
    mn_model *m = NULL;
    MN_ASSERT_OK(mn_cpu_open(&cpu, 1));
    MN_ASSERT_OK(mn_model_random(&m, config, name, MN_F16, 7, cpu, NULL));
    mn_test_mkdir(dir.text);
    MN_ASSERT_OK(mn_model_save(m, dir.text, MN_F16));
    mn_model_close(&m);
    mn_device_close(&cpu);
    MN_ASSERT_OK(same_evaluation(&c));
    MN_ASSERT_OK(same_training(&c, MN_FORECAST_TRAIN));
    MN_ASSERT_OK(same_training(&c, MN_FORECAST_FULL));
    mn_test_rmdir(tmp.text);
}

static void test_neox(void **state) { compare(*state, &plan_neox, "neox"); }

static void test_llama(void **state) { compare(*state, &plan_llama, "llama"); }

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_neox), cmocka_unit_test(test_llama)};
    return cmocka_run_group_tests(tests, remote_setup, remote_teardown);
}
