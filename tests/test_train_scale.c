/* test_train_scale.c - the factor on the loss of fp16 trainings: when there is one, and how it moves. */
#include "train/loss_scale.h"

#include "check.h"

static loss_scale scale_of(bool narrow) {
    const mn_device device = {.narrow_products = narrow};
    return mn_loss_scale(&device);
}

static void only_narrow_products_need_one(void **state) {
    (void)state;
    for (int narrow = 0; narrow < 2; narrow++) {
        loss_scale s = scale_of(narrow);
        assert_int_equal(s.active, narrow);
        assert_true(s.factor == (narrow ? 65536 : 1));
        for (int i = 0; i < 5000; i++) mn_loss_scale_good(&s);
        assert_true(s.factor == (narrow ? 4 * 65536 : 1));
    }
}

static void overflow_halves_and_good_steps_double(void **state) {
    (void)state;
    loss_scale s = scale_of(true);
    for (int i = 0; i < 1999; i++) mn_loss_scale_good(&s);
    MN_ASSERT_OK(mn_loss_scale_overflow(&s)); /* the good ones are forgotten */
    assert_true(s.factor == 32768 && s.good == 0);
    for (int i = 0; i < 1999; i++) mn_loss_scale_good(&s);
    assert_true(s.factor == 32768);
    mn_loss_scale_good(&s);
    assert_true(s.factor == 65536);
    for (int i = 0; i < 16; i++) MN_ASSERT_OK(mn_loss_scale_overflow(&s));
    assert_true(s.factor == 1);
    MN_ASSERT_FAILS(mn_loss_scale_overflow(&s), MN_ERR_NUMERIC, "although the loss is not scaled");
    for (int i = 0; i < 100 * 2000; i++) mn_loss_scale_good(&s);
    assert_true(s.factor == 0x1p40); /* far from where fp32 ends */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_narrow_products_need_one),
                                       cmocka_unit_test(overflow_halves_and_good_steps_double)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
