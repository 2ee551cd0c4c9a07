/* test_tape.c - what a tape promises about bits: kept hidden states, threads, splits of a batch; and
 * that it allocates nothing after opening. */
#include "test_tape.h"

#include <stdio.h>

/* ---- allocations ---- */

/* Sanitizers have allocators of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTS_MALLOC 0
#endif
#endif
#if !defined(COUNTS_MALLOC) && defined(__GLIBC__)
#define COUNTS_MALLOC 1
#elif !defined(COUNTS_MALLOC)
#define COUNTS_MALLOC 0
#endif

static _Atomic int64_t allocations;

#if COUNTS_MALLOC
/* In front of the C library's, for all of the process. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    allocations++;
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    allocations++;
    return __libc_memalign(alignment, size);
}
#endif

static int64_t device_bytes;
static mn_status (*device_alloc)(mn_device *device, void **out, size_t bytes);

static mn_status count_alloc(mn_device *device, void **out, size_t bytes) {
    allocations++;
    device_bytes += (int64_t)bytes;
    return device_alloc(device, out, bytes);
}

static mn_status refuse_reserve(mn_device *device, int64_t rows, int64_t width) {
    (void)device;
    return mn_fail(MN_ERR_MEMORY, "reserve(%lld, %lld)", (long long)rows, (long long)width);
}

/* The plan says what opening takes; steps take nothing, whatever the batch. */
static void test_allocations(void **state) {
    (void)state;
    for (int k = 0; k < TAPE_MODELS * 2; k++) {
        const bool full = k >= TAPE_MODELS;
        const mn_tape_options options = {
            .max_tokens = 80, .max_seqs = 7, .loss_rows = 16, .full = full};
        tape_bench b;
        tape_batch some, all;
        mn_tape *tape = NULL;
        double loss;
        int64_t planned = 0;
        float hidden[TAPE_TOKENS * 64];
        tape_bench_open(&b, tape_models[k % TAPE_MODELS], 2, full, MN_COMPUTE_F32);
        mn_model *model = full ? b.model : b.stored;
        tape_batch_fill(&some, model->config.vocab, 5);
        tape_batch_fill(&all, model->config.vocab, 1);
        device_alloc = b.device->alloc;
        b.device->alloc = count_alloc;
        device_bytes = 0;
        MN_ASSERT_OK(mn_tape_plan(&planned, model, b.memory, &options));
        assert_int_equal(device_bytes, 0);
        const int64_t begin = allocations;
        MN_ASSERT_OK(mn_tape_open(&tape, model, b.memory, b.memory_grad, b.model_grad, &options));
        assert_int_equal(device_bytes, planned);
        assert_true(allocations - begin >= (COUNTS_MALLOC ? 5 : 2)); /* they are counted */
        b.device->reserve = refuse_reserve;
        MN_ASSERT_OK(mn_tape_step(tape, &some.batch, NULL, 1, &loss)); /* threads start */
        const int64_t before = allocations;
        for (int i = 0; i < 3; i++) {
            MN_ASSERT_OK(mn_tape_step(tape, i % 2 ? &some.batch : &all.batch, NULL, 1, &loss));
            MN_ASSERT_OK(mn_tape_loss(tape, &all.batch, NULL, &loss));
            if (full) continue;
            MN_ASSERT_OK(mn_tape_trunk(tape, &all.batch, hidden));
            MN_ASSERT_OK(mn_tape_step(tape, &all.batch, hidden, 1, &loss));
        }
        assert_int_equal(allocations, before);
        mn_tape_close(&tape);
        b.device->alloc = device_alloc;
        tape_bench_close(&b);
    }
}

/* ---- bits ---- */

/* Hidden states that were kept give the same bits as those computed in the step. */
static void test_kept(void **state) {
    (void)state;
    for (int k = 0; k < TAPE_MODELS * 2; k++) {
        tape_bench b;
        tape_batch one, other;
        double computed = 0, kept = 0, only_loss = 0;
        int64_t count;
        float hidden[TAPE_TOKENS * 64];
        tape_bench_open(&b, tape_models[k % TAPE_MODELS], 2, false, MN_COMPUTE_F32);
        tape_batch_fill(&one, b.stored->config.vocab, k < TAPE_MODELS ? 1 : 6);
        tape_batch_fill(&other, b.stored->config.vocab, 2);
        assert_int_equal(mn_tape_first(b.tape), b.memory->layers[0].block);
        MN_ASSERT_OK(mn_tape_step(b.tape, &one.batch, NULL, 0.25f, &computed));
        float *want = tape_take_gradients(&b, &count);
        MN_ASSERT_OK(mn_tape_trunk(b.tape, &one.batch, hidden));
        for (int i = 0; i < TAPE_TOKENS; i++) other.ids[i] = i % 3;
        MN_ASSERT_OK(
            mn_tape_step(b.tape, &other.batch, NULL, 1, &kept)); /* leaves its own behind */
        free(tape_take_gradients(&b, &count));
        MN_ASSERT_OK(mn_tape_step(b.tape, &one.batch, hidden, 0.25f, &kept));
        float *got = tape_take_gradients(&b, &count);
        MN_ASSERT_OK(mn_tape_loss(b.tape, &one.batch, hidden, &only_loss));
        assert_true(computed == kept && computed == only_loss);
        MN_ASSERT_OK(mn_tape_loss(b.tape, &one.batch, NULL, &only_loss));
        assert_true(computed == only_loss);
        assert_memory_equal(got, want, (size_t)count * sizeof *got);
        /* The trunk needs no targets. */
        float again[TAPE_TOKENS * 64];
        mn_train_batch bare = one.batch;
        bare.outputs = bare.targets = NULL;
        bare.output_count = 0;
        MN_ASSERT_OK(mn_tape_trunk(b.tape, &bare, again));
        assert_memory_equal(again, hidden,
                            (size_t)(TAPE_TOKENS * b.stored->config.dim) * sizeof *again);
        free(got);
        free(want);
        tape_bench_close(&b);
    }
}

/* What is kept of a sequence does not depend on the batch that it came in, so that batches may be put
 * together anew. (Products of at most four rows have a way of their own; all of these have five.) */
static void test_alone(void **state) {
    (void)state;
    for (int k = 0; k < TAPE_MODELS; k++) {
        tape_bench b;
        tape_batch all;
        float hidden[TAPE_TOKENS * 64], alone[TAPE_TOKENS * 64];
        int64_t at = 0;
        tape_bench_open(&b, tape_models[k], 2, false, MN_COMPUTE_F32);
        tape_batch_fill(&all, b.stored->config.vocab, 1);
        MN_ASSERT_OK(mn_tape_trunk(b.tape, &all.batch, hidden));
        for (int i = 0; i < TAPE_SEQS; i++) {
            const mn_train_batch one = {.ids = all.ids + at,
                                        .tokens = all.lengths[i],
                                        .lengths = all.lengths + i,
                                        .seq_count = 1};
            MN_ASSERT_OK(mn_tape_trunk(b.tape, &one, alone + at * b.stored->config.dim));
            at += all.lengths[i];
        }
        assert_memory_equal(alone, hidden,
                            (size_t)(TAPE_TOKENS * b.stored->config.dim) * sizeof *alone);
        tape_bench_close(&b);
    }
}

static void test_threads(void **state) {
    static const mn_compute computes[] = {MN_COMPUTE_F32, MN_COMPUTE_BF16};
    (void)state;
    for (int k = 0; k < TAPE_MODELS * 4; k++) {
        const bool full = k / TAPE_MODELS % 2;
        const mn_compute compute = computes[k / TAPE_MODELS / 2];
        float *want = NULL;
        double first = 0;
        for (int threads = 1; threads <= 3; threads++) {
            tape_bench b;
            tape_batch batch;
            double loss = 0;
            int64_t count;
            tape_bench_open(&b, tape_models[k % TAPE_MODELS], threads, full, compute);
            tape_batch_fill(&batch, b.stored->config.vocab, 3);
            MN_ASSERT_OK(mn_tape_step(b.tape, &batch.batch, NULL, 1, &loss));
            float *got = tape_take_gradients(&b, &count);
            if (threads == 1) {
                want = got;
                first = loss;
            } else {
                assert_true(loss == first);
                assert_memory_equal(got, want, (size_t)count * sizeof *got);
                free(got);
            }
            tape_bench_close(&b);
        }
        free(want);
    }
}

/* ---- splits ---- */

/* One sequence at a time gives the same sums, up to the order of addition: 1e-5 of fp32's 6e-8. */
static void test_split(void **state) {
    (void)state;
    for (int k = 0; k < TAPE_MODELS * 2; k++) {
        tape_bench b;
        tape_batch all;
        double whole = 0, sum = 0;
        int64_t count, at = 0, output = 0;
        tape_bench_open(&b, tape_models[k % TAPE_MODELS], 2, k >= TAPE_MODELS, MN_COMPUTE_F32);
        tape_batch_fill(&all, b.stored->config.vocab, 2);
        MN_ASSERT_OK(mn_tape_step(b.tape, &all.batch, NULL, 0.1f, &whole));
        float *want = tape_take_gradients(&b, &count);
        for (int i = 0; i < TAPE_SEQS; i++) {
            int32_t outputs[TAPE_TOKENS];
            int64_t outputs_count = 0;
            double loss;
            while (output + outputs_count < all.batch.output_count &&
                   all.outputs[output + outputs_count] < at + all.lengths[i]) {
                outputs[outputs_count] = (int32_t)(all.outputs[output + outputs_count] - at);
                outputs_count++;
            }
            const mn_train_batch one = {.ids = all.ids + at,
                                        .tokens = all.lengths[i],
                                        .lengths = all.lengths + i,
                                        .seq_count = 1,
                                        .outputs = outputs,
                                        .targets = all.targets + output,
                                        .output_count = outputs_count};
            MN_ASSERT_OK(mn_tape_step(b.tape, &one, NULL, 0.1f, &loss));
            sum += loss;
            at += all.lengths[i];
            output += outputs_count;
        }
        float *got = tape_take_gradients(&b, &count);
        assert_true(fabs(sum - whole) <= 1e-5 * whole);
        assert_true(tape_difference(got, want, count) <= 1e-5);
        free(got);
        free(want);
        tape_bench_close(&b);
    }
}

/* Targets of all tokens are those of some and those of the others: the last block works on all rows in
 * one case, on gathered ones in the other. */
static void test_rows(void **state) {
    (void)state;
    for (int k = 0; k < TAPE_MODELS * 2; k++) {
        tape_bench b;
        tape_batch all, some;
        double whole = 0, part = 0, rest = 0;
        int64_t count;
        tape_bench_open(&b, tape_models[k % TAPE_MODELS], 2, k >= TAPE_MODELS, MN_COMPUTE_F32);
        tape_batch_fill(&all, b.stored->config.vocab, 1);
        some = all;
        MN_ASSERT_OK(mn_tape_step(b.tape, &all.batch, NULL, 1, &whole));
        float *want = tape_take_gradients(&b, &count);
        for (int round = 0; round < 2; round++) {
            int64_t n = 0;
            for (int i = 0; i < TAPE_TOKENS; i++) {
                if ((i % 5 < 2) != (round == 0)) continue;
                some.outputs[n] = i;
                some.targets[n++] = all.targets[i];
            }
            some.batch = all.batch;
            some.batch.outputs = some.outputs;
            some.batch.targets = some.targets;
            some.batch.output_count = n;
            MN_ASSERT_OK(mn_tape_step(b.tape, &some.batch, NULL, 1, round ? &rest : &part));
        }
        float *got = tape_take_gradients(&b, &count);
        assert_true(fabs(part + rest - whole) <= 1e-5 * whole);
        assert_true(tape_difference(got, want, count) <= 1e-5);
        free(got);
        free(want);
        tape_bench_close(&b);
    }
}

/* ---- bf16 ---- */

/* Frozen matrices in bf16 (8 bits: 2^-9 relative per factor) move the gradient by a few hundredths
 * after a few layers; a wrong layout moves it by its own length. */
static void test_bf16(void **state) {
    (void)state;
    for (int k = 0; k < TAPE_MODELS; k++) {
        float *gradients[2];
        double losses[2];
        int64_t count;
        for (int i = 0; i < 2; i++) {
            tape_bench b;
            tape_batch batch;
            tape_bench_open(&b, tape_models[k], 2, false, i ? MN_COMPUTE_BF16 : MN_COMPUTE_F32);
            tape_batch_fill(&batch, b.stored->config.vocab, 1);
            MN_ASSERT_OK(mn_tape_step(b.tape, &batch.batch, NULL, 1, &losses[i]));
            gradients[i] = tape_take_gradients(&b, &count);
            tape_bench_close(&b);
        }
        const double moved = tape_difference(gradients[1], gradients[0], count);
        print_message("%s: loss %.4f and %.4f, gradient moved by %.4f\n", tape_models[k], losses[0],
                      losses[1], moved);
        assert_true(moved > 0 && moved < 0.1);
        assert_true(fabs(losses[1] - losses[0]) < 0.02 * losses[0]);
        free(gradients[0]);
        free(gradients[1]);
    }
}

/* Sent while a step is at work, or with another pass in between, or not sent: the same losses and gradients. */
static void test_sent_ahead(void **state) {
    (void)state;
    for (int k = 0; k < TAPE_MODELS * 2; k++) {
        const bool full = k >= TAPE_MODELS;
        tape_bench b;
        tape_batch first, next, other;
        double losses[3][2], loss;
        float *gradients[3];
        int64_t count = 0;
        float hidden[TAPE_TOKENS * 64], *kept = full ? NULL : hidden;
        tape_bench_open(&b, tape_models[k % TAPE_MODELS], 1, full, MN_COMPUTE_F32);
        tape_batch_fill(&first, b.stored->config.vocab, 1);
        tape_batch_fill(&next, b.stored->config.vocab, 3);
        tape_batch_fill(&other, b.stored->config.vocab, 7);
        for (int i = 0; i < TAPE_TOKENS; i++) next.ids[i] = first.ids[TAPE_TOKENS - 1 - i];
        if (!full) MN_ASSERT_OK(mn_tape_trunk(b.tape, &next.batch, hidden));
        for (int way = 0; way < 3; way++) { /* not sent, sent, sent and overtaken */
            MN_ASSERT_OK(mn_tape_submit(b.tape, &first.batch, NULL, 1));
            if (way > 0) MN_ASSERT_OK(mn_tape_send(b.tape, &next.batch, kept));
            MN_ASSERT_OK(mn_tape_finish(b.tape, &losses[way][0]));
            if (way == 2) MN_ASSERT_OK(mn_tape_loss(b.tape, &other.batch, NULL, &loss));
            MN_ASSERT_OK(mn_tape_submit(b.tape, &next.batch, kept, 1));
            MN_ASSERT_OK(mn_tape_finish(b.tape, &losses[way][1]));
            gradients[way] = tape_take_gradients(&b, &count);
            assert_memory_equal(losses[way], losses[0], sizeof losses[0]);
            assert_memory_equal(gradients[way], gradients[0], (size_t)count * sizeof(float));
        }
        assert_true(losses[0][0] != losses[0][1]);
        for (int way = 0; way < 3; way++) free(gradients[way]);
        tape_bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations), cmocka_unit_test(test_kept),
        cmocka_unit_test(test_alone),       cmocka_unit_test(test_threads),
        cmocka_unit_test(test_split),       cmocka_unit_test(test_rows),
        cmocka_unit_test(test_bf16),        cmocka_unit_test(test_sent_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
