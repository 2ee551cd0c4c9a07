/* test_model_ranks_cuda.c - a model over several GPUs, through the whole backend: answers and trainings of 2 and 4 ranks
 * with a GPU each are those of one rank on the CPU, within what fp16 products cost; and the same bits in every run. */
#include "dist.h"
#include "test_train.h"

#include "mneme/complete.h"
#include "mneme/rng.h"

/* Relative, of a log-likelihood and of a loss: products round their inputs to fp16, attention as well. */
static const double allowed = 1e-3;
/* With weights in bf16 (llama-gqa) they round to that; one GPU is as far from the CPU as two. */
static const double allowed_bf16 = 8e-3;

enum { MOST_RANKS = 4, PROMPTS = 6, VARIANTS = 2, NEW = 6, ANSWERS = VARIANTS * PROMPTS };

static void want_devices(int count) {
    mn_cuda_state found;
    const int devices = mn_cuda_probe(&found) ? found.devices : 0;
    if (devices >= count) return;
    print_message("skipped: %d GPUs are needed, %d found %s\n", count, devices, found.why);
    skip();
}

/* ---- answers ---- */

typedef struct trial {
    const char *folder;
    mn_completion answers[MOST_RANKS][ANSWERS];
} trial;

typedef struct questions {
    mn_ids prompts[PROMPTS], candidates[PROMPTS][3];
    mn_request requests[PROMPTS];
} questions;

static int32_t random_id(const mn_model *m, int64_t stream, int64_t i) {
    return (int32_t)mn_rng_below(7, (uint64_t)stream, (uint64_t)i, m->config.vocab);
}

/* Prompts that begin alike, with two or three candidates, and with a text to come. */
static mn_status ask(questions *q, const mn_model *m) {
    for (int64_t i = 0; i < PROMPTS; i++) {
        for (int64_t k = 0; k < 18 + i; k++)
            MN_TRY(mn_ids_push(&q->prompts[i], random_id(m, k < 12 ? 1 : 2 + i, k)));
        for (int c = 0; c < 3; c++)
            for (int64_t k = 0; k <= c; k++)
                MN_TRY(mn_ids_push(&q->candidates[i][c], random_id(m, 20 + i, 3 * c + k)));
        q->requests[i] = (mn_request){.ids = q->prompts[i].data,
                                      .len = (int64_t)q->prompts[i].len,
                                      .candidates = q->candidates[i],
                                      .candidate_count = i % 2 ? 3 : 0,
                                      .max_new_tokens = NEW};
    }
    return MN_OK;
}

static mn_status answer(const mn_ranks *ranks, mn_device *device, void *context) {
    static const int64_t blocks[] = {0, 1};
    const mn_memory_options shape = {
        .name = "doc", .hidden = 7, .blocks = blocks, .block_count = 2, .gate = 0.5, .seed = 1};
    const mn_complete_hooks hooks = {.eos = -1};
    trial *t = context;
    mn_model *model = NULL;
    mn_memory *memory = NULL;
    mn_plan *plan = NULL;
    mn_session *session = NULL;
    mn_session_options room;
    questions q = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_model_open(&model, mn_test_source(t->folder).text, device, ranks->tp));
    MN_GOTO(mn_memory_create(&memory, model, &shape));
    const mn_memory *const variants[VARIANTS] = {NULL, memory};
    const mn_plan_options options = {
        .batch_size = 4, .share_prefixes = true, .variants = variants, .variant_count = VARIANTS};
    MN_GOTO(ask(&q, model));
    MN_GOTO(mn_plan_make(&plan, model, q.requests, PROMPTS, &options));
    mn_plan_session(&room, plan);
    MN_GOTO(mn_session_open(&session, model, &room));
    MN_GOTO(mn_complete(session, plan, t->answers[mn_comm_rank(ranks->world)], &hooks));
done:
    mn_session_close(&session);
    mn_plan_close(&plan);
    mn_memory_close(&memory);
    mn_model_close(&model);
    for (int i = 0; i < PROMPTS; i++) {
        mn_ids_free(&q.prompts[i]);
        for (int c = 0; c < 3; c++) mn_ids_free(&q.candidates[i][c]);
    }
    return st;
}

static trial *answers_of(const char *folder, const char *device, int tp) {
    trial *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->folder = folder;
    dist_device = device;
    MN_ASSERT_OK(dist_run(tp, 1, answer, t));
    return t;
}

static void trial_free(trial *t) {
    for (int r = 0; r < MOST_RANKS; r++) mn_completions_free(t->answers[r], ANSWERS);
    free(t);
}

/* The same texts; returns the largest relative error of a log-likelihood. */
static double compare(const mn_completion *got, const mn_completion *want) {
    double worst = 0;
    for (int i = 0; i < ANSWERS; i++) {
        const size_t len = want[i].generated.len;
        assert_int_equal(got[i].generated.len, len);
        if (len) assert_memory_equal(got[i].generated.data, want[i].generated.data, len * 4);
        for (int c = 0; c < 3; c++)
            if (want[i].logprob[c] != 0)
                worst = mn_worse(worst, fabs(got[i].logprob[c] / want[i].logprob[c] - 1));
    }
    return worst;
}

static void ranks_answer_as_the_cpu(void **state) {
    static const struct {
        const char *folder;
        int tp;
    } cases[] = {{"tests/golden/neox-parallel", 2},
                 {"tests/golden/neox-sequential", 2},
                 {"tests/golden/llama-mha", 2},
                 {"tests/golden/llama-mha", 4}};
    (void)state;
    want_devices(4);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        trial *cpu = answers_of(cases[k].folder, "cpu", 1);
        trial *gpu = answers_of(cases[k].folder, "cuda", cases[k].tp);
        const double worst = compare(gpu->answers[0], cpu->answers[0]);
        print_message("%s, %d ranks: log-likelihoods within %.1e\n", cases[k].folder, cases[k].tp,
                      worst);
        if (!(worst <= allowed)) fail_msg("at most %g", allowed);
        assert_true(worst > 0); /* it was another device */
        for (int r = 1; r < cases[k].tp; r++)
            assert_true(compare(gpu->answers[r], gpu->answers[0]) == 0);
        trial_free(gpu);
        trial_free(cpu);
    }
}

/* ---- trainings ---- */

typedef struct heard {
    trained *t;
    mn_train_step steps[MOST_RANKS][MOST_STEPS];
    int told[MOST_RANKS];
} heard;

typedef struct listener {
    heard *h;
    int rank;
} listener;

static mn_status hear(void *context, const mn_train_step *step) {
    const listener *l = context;
    WANT(l->h->told[l->rank] < MOST_STEPS, "more than %d steps", MOST_STEPS);
    l->h->steps[l->rank][l->h->told[l->rank]++] = *step;
    return MN_OK;
}

static mn_status train_rank(const mn_ranks *ranks, mn_device *device, void *context) {
    heard *h = context;
    listener l = {h, mn_comm_rank(ranks->world)};
    mn_train_options o = h->t->options;
    mn_train_summary summary;
    o.on_step = hear;
    o.context = &l;
    o.ranks = ranks;
    h->told[l.rank] = 0;
    return mn_train(&summary, device, &o);
}

static void train_on(heard *h, const char *device, int tp, int dp) {
    mn_test_rmdir(h->t->out.text);
    dist_device = device;
    MN_ASSERT_OK(dist_run(tp, dp, train_rank, h));
    for (int r = 1; r < tp * dp; r++) {
        assert_int_equal(h->told[r], h->told[0]);
        assert_memory_equal(h->steps[r], h->steps[0], (size_t)h->told[0] * sizeof h->steps[0][0]);
    }
}

static void assert_near(const heard *got, const heard *want, double bound, const char *what) {
    double worst = 0;
    assert_int_equal(got->told[0], want->told[0]);
    for (int i = 0; i < want->told[0]; i++) {
        worst = mn_worse(worst, fabs(got->steps[0][i].loss / want->steps[0][i].loss - 1));
        assert_int_equal(got->steps[0][i].targets, want->steps[0][i].targets);
    }
    print_message("%s: %d losses within %.1e\n", what, want->told[0], worst);
    if (!(worst <= bound)) fail_msg("at most %g", bound);
}

static void open_training(trained *t, heard *h, const char *golden, mn_train_update update) {
    trained_open(t, golden, 1);
    t->options.update = update;
    if (strcmp(golden, "neox-sequential") == 0) { /* its adapter */
        t->options.memory.blocks[0] = 0;
        t->options.memory.hidden = 12;
    }
    if (update == MN_UPDATE_FULL) t->options.memory.init_from = NULL;
    t->options.per_device_train_batch_size = 2;
    t->options.gradient_accumulation_steps = 2;
    t->options.max_steps = update == MN_UPDATE_FULL ? 4 : 20;
    t->options.warmup_steps = 2;
    t->options.learning_rate = 0.002;
    t->options.save_steps = 0;
    *h = (heard){.t = t};
}

static void check_training(const char *golden, mn_train_update update, int tp, int dp) {
    static heard cpu, gpu;
    trained t;
    char what[128];
    size_t len, again_len;
    const char *weights = update == MN_UPDATE_FULL ? "model.safetensors"
                                                   : "adapter_model.safetensors";
    open_training(&t, &cpu, golden, update);
    gpu = cpu;
    train_on(&cpu, "cpu", 1, 1);
    train_on(&gpu, "cuda", tp, dp);
    snprintf(what, sizeof what, "%s%s, tp %d x dp %d", golden,
             update == MN_UPDATE_FULL ? ", all weights" : "", tp, dp);
    assert_near(&gpu, &cpu, strcmp(golden, "llama-gqa") == 0 ? allowed_bf16 : allowed, what);
    char *bytes = result_file(&t, weights, &len);
    train_on(&gpu, "cuda", tp, dp);
    char *again = result_file(&t, weights, &again_len);
    assert_same_bytes(again, again_len, bytes, len);
    free(again);
    free(bytes);
    trained_close(&t);
}

static void a_memory_over_ranks_that_share_the_model(void **state) {
    (void)state;
    want_devices(2);
    check_training("neox-parallel", MN_UPDATE_MEMORY, 2, 1);
    check_training("llama-gqa", MN_UPDATE_MEMORY, 2, 1);
}

static void a_memory_over_replicas(void **state) {
    (void)state;
    want_devices(2);
    check_training("neox-sequential", MN_UPDATE_MEMORY, 1, 2);
}

static void a_memory_over_both(void **state) {
    (void)state;
    want_devices(4);
    check_training("neox-parallel", MN_UPDATE_MEMORY, 2, 2);
}

static void all_weights_over_replicas(void **state) {
    (void)state;
    want_devices(2);
    check_training("neox-parallel", MN_UPDATE_FULL, 1, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_answer_as_the_cpu),
        cmocka_unit_test(a_memory_over_ranks_that_share_the_model),
        cmocka_unit_test(a_memory_over_replicas),
        cmocka_unit_test(a_memory_over_both),
        cmocka_unit_test(all_weights_over_replicas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
