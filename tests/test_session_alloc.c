/* test_session_alloc.c - nothing is allocated after step 0: once a session has made its first step, further
 * ones, whatever their shapes, call no allocator. This file takes the place of malloc and its like in the
 * whole process and counts; sanitizers do the same, so it is not built for them. */
#include "check.h"

#include "mneme/session.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_long calls;

/* glibc's own, under the names that it keeps for this purpose. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t align, size_t size);

void *malloc(size_t size) {
    atomic_fetch_add(&calls, 1);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    atomic_fetch_add(&calls, 1);
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    atomic_fetch_add(&calls, 1);
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t align, size_t size) {
    atomic_fetch_add(&calls, 1);
    return __libc_memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size) {
    atomic_fetch_add(&calls, 1);
    *out = __libc_memalign(align, size);
    return *out ? 0 : ENOMEM;
}

enum { ROWS = 96 };

/* Tokens [begin, end) of one sequence in the cache rows of the same numbers, and the last one's logits. */
static void step(mn_session *s, int begin, int end) {
    int32_t ids[ROWS], at[ROWS];
    mn_tensor logits;
    for (int i = begin; i < end; i++) {
        ids[i - begin] = i % 7;
        at[i - begin] = i;
    }
    const int32_t last = end - begin - 1;
    const mn_attn_seq seq = {.q_len = end - begin, .own_len = end};
    const mn_batch batch = {.ids = ids,
                            .positions = at,
                            .rows = at,
                            .tokens = end - begin,
                            .seqs = &seq,
                            .seq_count = 1,
                            .outputs = &last,
                            .output_count = 1};
    MN_ASSERT_OK(mn_session_forward(s, &batch));
    MN_ASSERT_OK(mn_session_logits(s, 0, 1, &logits));
}

static void test_no_allocation(void **state) {
    static const char *const models[] = {"neox-parallel", "neox-sequential", "llama-mha",
                                         "llama-gqa"};
    static const int begins[] = {0, 64, 65, 66, 70, 80}, ends[] = {64, 65, 66, 70, 80, 96};
    (void)state;
    free(malloc(1));
    assert_true(atomic_load(&calls) > 0); /* the counter counts */
    const mn_test_path golden = mn_test_source("tests/golden");
    mn_device *device = NULL;
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 2));
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const mn_session_options options = {
            .max_tokens = ROWS, .kv_rows = ROWS, .max_seqs = 1, .max_logits = 1};
        const mn_test_path dir = mn_test_join(golden.text, models[i]);
        mn_model *model = NULL;
        mn_session *session = NULL;
        MN_ASSERT_OK(mn_model_open(&model, dir.text, device, NULL));
        MN_ASSERT_OK(mn_session_open(&session, model, &options));
        step(session, 0, 3); /* step 0: OpenMP starts its threads */
        const long before = atomic_load(&calls);
        for (size_t k = 0; k < sizeof begins / sizeof *begins; k++)
            step(session, begins[k], ends[k]);
        const long made = atomic_load(&calls) - before;
        if (made != 0) fail_msg("%s: %ld allocations after step 0", models[i], made);
        mn_session_close(&session);
        mn_model_close(&model);
    }
    mn_device_close(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
