/* rows.h - which test file covers which row of kernels.def.
 *
 * A file's list is turned into calls of test_<kernel>, so that a name here without a test does not
 * compile; test_kernels.c compares the union with kernels.def. */
#ifndef MNEME_TESTS_KERNELS_ROWS_H
#define MNEME_TESTS_KERNELS_ROWS_H

#define MN_TESTED_ATTENTION(T) T(attention_fwd)
#define MN_TESTED_LINEAR(T) T(linear_fwd)
#define MN_TESTED_LOGITS(T) T(row_stats) T(logprob_gather) T(sample) T(row_difference)
#define MN_TESTED_ROPE(T) T(rope_store_fwd)
#define MN_TESTED_ROWS(T)                                                                          \
    T(embed_fwd) T(gather_fwd) T(layernorm_fwd) T(rmsnorm_fwd) T(swiglu_fwd) T(count_nonfinite)

#define MN_TESTED_BWD_ATTENTION(T) T(rope_bwd) T(attention_bwd)
#define MN_TESTED_BWD_LINEAR(T) T(linear_bwd_x) T(linear_bwd_w)
#define MN_TESTED_BWD_ROWS(T)                                                                      \
    T(layernorm_bwd)                                                                               \
    T(rmsnorm_bwd) T(gated_norm_fwd) T(gated_norm_bwd) T(embed_bwd) T(gather_bwd)
#define MN_TESTED_LOSS(T) T(cross_entropy)
#define MN_TESTED_SLICES(T) T(row_stats_merge) T(cross_entropy_part)
#define MN_TESTED_MAP(T)                                                                           \
    T(add) T(zero) T(square_sum) T(row_norms) T(gelu_fwd) T(gelu_bwd) T(swiglu_bwd) T(cast) T(adamw)

#define MN_TESTED(T)                                                                               \
    MN_TESTED_ATTENTION(T)                                                                         \
    MN_TESTED_LINEAR(T)                                                                            \
    MN_TESTED_LOGITS(T)                                                                            \
    MN_TESTED_ROPE(T)                                                                              \
    MN_TESTED_ROWS(T)                                                                              \
    MN_TESTED_BWD_ATTENTION(T)                                                                     \
    MN_TESTED_BWD_LINEAR(T)                                                                        \
    MN_TESTED_BWD_ROWS(T) MN_TESTED_LOSS(T) MN_TESTED_MAP(T) MN_TESTED_SLICES(T)

#define MN_TEST_ROW(name) cmocka_unit_test(test_##name),

#endif
