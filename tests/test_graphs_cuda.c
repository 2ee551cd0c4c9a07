/* test_graphs_cuda.c - decoding steps that are recorded and submitted as graphs: the same kernels in the same order
 * with the same arguments as without, the same bits, a new record where the shape changes, none for other work. */
#include "check.h"

#include "mneme/session.h"
#include "simgpu/simgpu.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

enum { SEQS = 3, PROMPT = 5, ROOM = 300, VARIANTS = 2 };

static void (*work_done)(sg_work *out); /* the simulated runtime's; NULL on a GPU */
static size_t (*allocations)(void);     /* blocks of device memory */

typedef struct subject {
    mn_device *device;
    mn_model *model;
    mn_memory *memory;
    mn_session *session;
    int64_t vocab;
} subject;

static void open_subject(subject *s, const char *name, bool graphs) {
    static const int64_t block = 1;
    const mn_memory_options memory = {
        .name = "doc", .hidden = 8, .blocks = &block, .block_count = 1, .gate = 0.5, .seed = 3};
    *s = (subject){0};
    assert_int_equal(setenv("MNEME_CUDA_GRAPHS", graphs ? "1" : "0", 1), 0);
    MN_ASSERT_OK(mn_device_open(&s->device, "cuda", 0));
    MN_ASSERT_OK(mn_model_open(
        &s->model, mn_test_join(mn_test_source("tests/golden").text, name).text, s->device, NULL));
    MN_ASSERT_OK(mn_memory_create(&s->memory, s->model, &memory));
    const mn_memory *variants[VARIANTS] = {NULL, s->memory};
    const mn_session_options options = {.max_tokens = SEQS * ROOM,
                                        .kv_rows = SEQS * ROOM,
                                        .max_seqs = SEQS,
                                        .max_logits = SEQS,
                                        .variants = variants,
                                        .variant_count = VARIANTS,
                                        .audit = true};
    MN_ASSERT_OK(mn_session_open(&s->session, s->model, &options));
    s->vocab = s->model->config.vocab;
}

static void close_subject(subject *s) {
    mn_session_close(&s->session);
    mn_memory_close(&s->memory);
    mn_model_close(&s->model);
    mn_device_close(&s->device);
}

/* What one pass says of each sequence: logits of both variants, and what the memory changes. */
typedef struct said {
    float *logits; /* (VARIANTS, SEQS, vocab) */
    double change[SEQS];
} said;

/* Tokens begin .. begin + count - 1 of `seqs` sequences, the last one wanted. */
static void pass(subject *s, int seqs, int begin, int count, said *out) {
    int32_t ids[SEQS * ROOM], positions[SEQS * ROOM], rows[SEQS * ROOM], outputs[SEQS];
    mn_attn_seq seq[SEQS] = {0};
    mn_batch b = {
        .ids = ids, .positions = positions, .rows = rows, .seqs = seq, .outputs = outputs};
    for (int q = 0; q < seqs; q++) {
        seq[q] = (mn_attn_seq){.q_begin = (int32_t)b.tokens,
                               .q_len = count,
                               .own_begin = q * ROOM,
                               .own_len = begin + count};
        for (int i = 0; i < count; i++, b.tokens++) {
            ids[b.tokens] = (int32_t)((7 * q + 3 * (begin + i) + 1) % s->vocab);
            positions[b.tokens] = begin + i;
            rows[b.tokens] = q * ROOM + begin + i;
        }
        outputs[b.output_count++] = (int32_t)b.tokens - 1;
    }
    b.seq_count = seqs;
    MN_ASSERT_OK(mn_session_trunk(s->session, &b));
    for (int v = 0; v < VARIANTS; v++) {
        mn_tensor logits;
        MN_ASSERT_OK(mn_session_top(s->session, v));
        if (!out) continue;
        MN_ASSERT_OK(mn_session_variant_logits(s->session, v, 0, seqs, &logits));
        MN_ASSERT_OK(s->device->download(s->device, out->logits + v * SEQS * s->vocab, logits.data,
                                         mn_tensor_bytes(&logits)));
        if (v == 1)
            memcpy(out->change, mn_session_change(s->session, 0),
                   (size_t)seqs * sizeof *out->change);
    }
}

static said answers_open(const subject *s) {
    said a = {.logits = calloc((size_t)(VARIANTS * SEQS * s->vocab), sizeof *a.logits)};
    assert_non_null(a.logits);
    return a;
}

static void answers_close(said *a) { free(a->logits); }

static void expect_equal(const subject *s, const said *a, const said *b, const char *what) {
    if (memcmp(a->logits, b->logits, (size_t)(VARIANTS * SEQS * s->vocab) * sizeof *a->logits) != 0)
        fail_msg("%s: other logits", what);
    if (memcmp(a->change, b->change, sizeof a->change) != 0) fail_msg("%s: other changes", what);
}

/* What was run since the last call. */
static sg_work done(void) {
    sg_work w = {0};
    if (work_done) work_done(&w);
    return w;
}

static void expect_graphs(const char *what, uint64_t want) {
    const sg_work w = done();
    if (work_done && w.graphs != want)
        fail_msg("%s: %llu graphs, %llu expected", what, (unsigned long long)w.graphs,
                 (unsigned long long)want);
}

static const char *const models[] = {"neox-parallel", "neox-sequential", "llama-mha", "llama-gqa"};
enum { MODELS = sizeof models / sizeof *models, PARTS = 3 }; /* trunk, first top, later top */

/* The same step again and again: as it is, recorded, from the record. */
static void same_sequence(void **state) {
    (void)state;
    for (int m = 0; m < MODELS; m++) {
        subject s;
        open_subject(&s, models[m], true);
        said first = answers_open(&s), other = answers_open(&s);
        pass(&s, SEQS, 0, PROMPT, NULL);
        pass(&s, SEQS, 0, PROMPT, NULL);
        expect_graphs("prompts", 0);
        sg_work plain = {0};
        const size_t blocks = allocations ? allocations() : 0;
        for (int i = 0; i < 4; i++) {
            pass(&s, SEQS, PROMPT, 1, i == 0 ? &first : &other);
            const sg_work w = done();
            if (i == 0) plain = w;
            else expect_equal(&s, &first, &other, models[m]);
            if (!work_done) continue;
            assert_int_equal(w.graphs, i == 0 ? 0 : PARTS);
            assert_true(w.kernels > 0);
            assert_int_equal(w.kernels, plain.kernels);
            if (w.sequence != plain.sequence) fail_msg("%s: other kernels", models[m]);
        }
        if (allocations) assert_int_equal(allocations(), blocks); /* none after step 0 */
        answers_close(&first);
        answers_close(&other);
        close_subject(&s);
    }
}

/* From 253 keys to 260: attention of more than 256 has one kernel more. Then one sequence fewer. */
static void same_bits(void **state) {
    enum { BEGIN = 252, END = 260, STEPS = END - BEGIN + 3 };
    (void)state;
    subject with, without;
    open_subject(&without, "llama-gqa", false);
    open_subject(&with, "llama-gqa", true);
    said a = answers_open(&with), b = answers_open(&without);
    pass(&without, SEQS, 0, BEGIN, NULL);
    pass(&with, SEQS, 0, BEGIN, NULL);
    done();
    for (int i = 0; i < STEPS; i++) {
        const int seqs = BEGIN + i < END ? SEQS : SEQS - 1;
        pass(&without, seqs, BEGIN + i, 1, &b);
        expect_graphs("without graphs", 0);
        pass(&with, seqs, BEGIN + i, 1, &a);
        /* 253 and 257 keys, and two sequences, come for the first time */
        expect_graphs("with graphs", i == 0 || i == 4 || i == END - BEGIN ? 0 : PARTS);
        expect_equal(&with, &a, &b, "a step");
    }
    answers_close(&a);
    answers_close(&b);
    close_subject(&with);
    close_subject(&without);
}

/* What a record uses goes: a session with other memory, and a larger workspace for a second one. */
static void records_go_with_their_session(void **state) {
    (void)state;
    subject s;
    open_subject(&s, "neox-parallel", true);
    said first = answers_open(&s), other = answers_open(&s);
    pass(&s, SEQS, 0, PROMPT, NULL);
    for (int i = 0; i < 3; i++) pass(&s, SEQS, PROMPT, 1, &first);
    done();
    MN_ASSERT_OK(s.device->reserve(s.device, 4096, 4096));
    pass(&s, SEQS, PROMPT, 1, &other);
    expect_graphs("behind a new workspace", 0);
    expect_equal(&s, &first, &other, "behind a new workspace");
    mn_session_options options = *mn_session_limits(s.session);
    const mn_memory *variants[VARIANTS] = {NULL, s.memory};
    options.variants = variants;
    pass(&s, SEQS, PROMPT, 1, &other);
    mn_session_close(&s.session);
    MN_ASSERT_OK(mn_session_open(&s.session, s.model, &options));
    pass(&s, SEQS, 0, PROMPT, NULL);
    done();
    pass(&s, SEQS, PROMPT, 1, &other);
    expect_graphs("a new session", 0);
    expect_equal(&s, &first, &other, "a new session");
    answers_close(&first);
    answers_close(&other);
    close_subject(&s);
}

static void the_switch_is_checked(void **state) {
    mn_device *dev = NULL;
    (void)state;
    assert_int_equal(setenv("MNEME_CUDA_GRAPHS", "off", 1), 0);
    MN_ASSERT_FAILS(mn_device_open(&dev, "cuda", 0), MN_ERR_USAGE, "MNEME_CUDA_GRAPHS=off: 0 ");
}

static int setup(void **state) {
    mn_device *dev = NULL;
    (void)state;
    if (mn_device_open(&dev, "cuda", 0) != MN_OK) {
        print_message("skipped: %s\n", mn_error());
        exit(77);
    }
    mn_device_close(&dev);
    void *runtime = dlopen("libcudart.so.13", RTLD_LAZY | RTLD_NOLOAD);
    if (runtime) *(void **)&work_done = dlsym(runtime, "sg_work_done");
    if (runtime) *(void **)&allocations = dlsym(runtime, "sg_live_allocations");
    return (work_done && allocations) || !getenv("MNEME_TEST_SIMULATED") ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_sequence),
        cmocka_unit_test(same_bits),
        cmocka_unit_test(records_go_with_their_session),
        cmocka_unit_test(the_switch_is_checked),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
