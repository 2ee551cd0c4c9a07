/* test_train_scale.c - the factor on the loss of fp16 trainings: when there is one, and how it moves. */
#include "train/cache.h"
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

/* A step that overflows comes again, and what the cache has saved for it counts once. */
static void samples_of_a_step_count_once(void **state) {
    mn_train_sample items[2] = {{.len = 3, .loss_begin = 1},
                                {.begin = 3, .len = 2, .loss_begin = 1}};
    const mn_samples samples = {.items = items, .count = 2, .train_count = 2};
    mn_train_options o;
    activation_cache *cache = NULL;
    const float hidden[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    float got[8] = {0};
    (void)state;
    mn_train_defaults(&o);
    MN_ASSERT_OK(mn_cache_open(&cache, MN_CACHE_MEMORY, &o, &samples, 4));
    assert_false(mn_cache_has(cache, 0) || mn_cache_get(cache, 0, got));
    assert_true(mn_cache_first_time(cache, 0, 0));
    mn_cache_put(cache, 0, hidden);
    assert_true(mn_cache_has(cache, 0) && !mn_cache_has(cache, 1));
    assert_false(mn_cache_first_time(cache, 0, 0)); /* tried again */
    assert_true(mn_cache_get(cache, 0, got));
    assert_memory_equal(got, hidden, sizeof hidden);
    assert_true(mn_cache_first_time(cache, 1, 0) && mn_cache_first_time(cache, 0, 1));
    assert_false(
        mn_cache_first_time(cache, 0, 0)); /* tried again when the next one was read ahead */
    mn_cache_close(&cache);
    assert_false(mn_cache_has(NULL, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_narrow_products_need_one),
                                       cmocka_unit_test(overflow_halves_and_good_steps_double),
                                       cmocka_unit_test(samples_of_a_step_count_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
