/* test_parallel_dist.c - inference over the ranks that share a model: logits, answers of several variants and their
 * audit, samples, and a broken weight are those of one process, on every rank. */
#include "test_parallel.h"

#include "mneme/complete.h"
#include "mneme/rng.h"
#include "mneme/vocab.h"

/* Of a log-likelihood; of logits, as a share of their range. */
static const double allowed = 1e-5;

enum { TOKENS = 40, PROMPTS = 12, VARIANTS = 3, NEW = 8, ANSWERS = VARIANTS * PROMPTS };

typedef struct told {
    float *logits; /* (TOKENS, V), this rank's columns */
    mn_row_stat stats[TOKENS];
    mn_completion answers[ANSWERS];
    mn_status status;
    char error[512];
} told;

typedef struct trial {
    const char *folder;
    float temperature; /* 0: everything; above: base alone, sampled */
    int broken;        /* the rank that gets a NaN; -1: none */
    int64_t vocab;
    told ranks[MOST_RANKS];
} trial;

typedef struct rank_bench {
    mn_device *device;
    mn_model *model;
    mn_memory *memories[VARIANTS]; /* the first one NULL: the base */
} rank_bench;

static mn_status open_bench(rank_bench *b, const trial *t, mn_comm *comm) {
    static const int64_t blocks[VARIANTS][2] = {{0, 0}, {0, 1}, {1, 1}};
    MN_TRY(mn_device_open(&b->device, "cpu", 1));
    MN_TRY(mn_model_open(&b->model, mn_test_source(t->folder).text, b->device, comm));
    /* Slices of half precision in panels, as programs have them; where samples are drawn, as they lie. */
    if (t->temperature == 0 && t->broken < 0) MN_TRY(mn_model_pack(b->model, NULL));
    for (int v = 1; v < VARIANTS; v++) {
        const mn_memory_options shape = {.name = v == 1 ? "doc" : "temp",
                                         .hidden = 6 + v, /* six ranks have one unit each, or two */
                                         .blocks = blocks[v],
                                         .block_count = v == 1 ? 2 : 1,
                                         .gate = 0.5,
                                         .seed = (uint64_t)v};
        MN_TRY(mn_memory_create(&b->memories[v], b->model, &shape));
    }
    return MN_OK;
}

static void close_bench(rank_bench *b) {
    for (int v = 0; v < VARIANTS; v++) mn_memory_close(&b->memories[v]);
    mn_model_close(&b->model);
    mn_device_close(&b->device);
}

static int32_t random_id(const mn_model *m, uint64_t stream, int64_t i) {
    return (int32_t)mn_rng_below(42, stream, (uint64_t)i, m->config.vocab);
}

/* ---- logits ---- */

/* Two sequences in one pass, a logit row behind every token. */
static mn_status run_logits(rank_bench *b, told *out) {
    int32_t ids[TOKENS], positions[TOKENS], rows[TOKENS];
    const int32_t first = 23;
    mn_session *session = NULL;
    mn_tensor logits;
    mn_vocab vocab = {0};
    mn_status st = MN_OK;
    const mn_session_options options = {
        .max_tokens = TOKENS, .kv_rows = TOKENS, .max_seqs = 2, .max_logits = TOKENS};
    const mn_attn_seq seqs[] = {
        {.q_len = first, .own_len = first},
        {.q_begin = first, .q_len = TOKENS - first, .own_begin = first, .own_len = TOKENS - first}};
    for (int32_t i = 0; i < TOKENS; i++) {
        ids[i] = random_id(b->model, 1, i);
        rows[i] = i;
        positions[i] = i < first ? i : i - first;
    }
    ids[3] = (int32_t)b->model->config.vocab - 1; /* the last slice's last row */
    const mn_batch batch = {.ids = ids,
                            .positions = positions,
                            .rows = rows,
                            .tokens = TOKENS,
                            .seqs = seqs,
                            .seq_count = 2,
                            .outputs = rows,
                            .output_count = TOKENS};
    mn_arena scratch;
    mn_arena_init(&scratch, "scratch", b->device);
    MN_GOTO(mn_session_open(&session, b->model, &options));
    MN_GOTO(mn_vocab_open(&vocab, b->model, TOKENS, false));
    for (int pass = 0; pass < 2; pass++) {
        if (pass) MN_GOTO(mn_arena_commit(&scratch));
        MN_GOTO(mn_vocab_lay_out(&vocab, &scratch));
    }
    MN_GOTO(mn_session_forward(session, &batch));
    MN_GOTO(mn_session_logits(session, 0, TOKENS, &logits));
    MN_GOTO(mn_vocab_stats(&vocab, out->stats, &logits));
    out->logits = malloc(mn_tensor_bytes(&logits));
    MN_CHECK_GOTO(out->logits, MN_ERR_MEMORY, "no memory");
    memcpy(out->logits, logits.data, mn_tensor_bytes(&logits));
done:
    mn_vocab_close(&vocab);
    mn_arena_free(&scratch);
    mn_session_close(&session);
    return st;
}

/* ---- answers ---- */

typedef struct questions {
    mn_ids prompts[PROMPTS], candidates[PROMPTS][3];
    mn_request requests[PROMPTS];
} questions;

static mn_status ask(questions *q, const mn_model *m, bool score) {
    for (int64_t i = 0; i < PROMPTS; i++) {
        for (int64_t k = 0; k < 9 + 11 + i % 4; k++)
            MN_TRY(mn_ids_push(&q->prompts[i], random_id(m,
                                                         (uint64_t)(k < 9    ? 2
                                                                    : k < 20 ? 3 + i % 3
                                                                             : 10 + i),
                                                         k)));
        for (int c = 0; c < 3; c++)
            for (int64_t k = 0; k <= c; k++)
                MN_TRY(
                    mn_ids_push(&q->candidates[i][c], random_id(m, (uint64_t)(50 + i), 3 * c + k)));
        q->requests[i] = (mn_request){.ids = q->prompts[i].data,
                                      .len = (int64_t)q->prompts[i].len,
                                      .group = i % 3,
                                      .candidates = q->candidates[i],
                                      .candidate_count = score && i % 4 ? 3 : 0,
                                      .max_new_tokens = i % 4 == 3 ? 0 : NEW};
    }
    return MN_OK;
}

static void forget(questions *q) {
    for (int i = 0; i < PROMPTS; i++) {
        mn_ids_free(&q->prompts[i]);
        for (int c = 0; c < 3; c++) mn_ids_free(&q->candidates[i][c]);
    }
}

static mn_status run_answers(rank_bench *b, const trial *t, told *out) {
    questions q = {0};
    mn_plan *plan = NULL;
    mn_session *session = NULL;
    mn_session_options room;
    mn_status st = MN_OK;
    const bool sampled = t->temperature > 0;
    const mn_memory *variants[VARIANTS] = {NULL, b->memories[1], b->memories[2]};
    const mn_plan_options options = {.batch_size = 7,
                                     .share_prefixes = true,
                                     .variants = variants,
                                     .variant_count = sampled ? 1 : VARIANTS};
    const mn_complete_hooks hooks = {.eos = -1, .temperature = t->temperature, .seed = 5};
    MN_GOTO(ask(&q, b->model, !sampled));
    MN_GOTO(mn_plan_make(&plan, b->model, q.requests, PROMPTS, &options));
    mn_plan_session(&room, plan);
    room.audit = !sampled;
    MN_GOTO(mn_session_open(&session, b->model, &room));
    MN_GOTO(mn_complete(session, plan, out->answers, &hooks));
done:
    mn_session_close(&session);
    mn_plan_close(&plan);
    forget(&q);
    return st;
}

/* ---- ranks ---- */

/* One element of this rank's part of the second block's down projection. */
static void break_weight(rank_bench *b) { ((float *)b->model->layers[1].down_w.data)[5] = NAN; }

static mn_status run_rank(mn_comm *comm, void *context) {
    trial *t = context;
    told *out = &t->ranks[mn_comm_rank(comm)];
    rank_bench b = {0};
    mn_status st = open_bench(&b, t, comm);
    if (st == MN_OK && t->broken >= 0) {
        mn_model *trainable = NULL; /* weights that may be written */
        st = mn_model_trainable(&trainable, b.model);
        for (int v = 0; v < VARIANTS; v++) mn_memory_close(&b.memories[v]);
        mn_model_close(&b.model);
        b.model = trainable;
        if (st == MN_OK && mn_comm_rank(comm) == t->broken) break_weight(&b);
        if (st == MN_OK) out->status = run_logits(&b, out);
        snprintf(out->error, sizeof out->error, "%s", out->status == MN_OK ? "" : mn_error());
    } else if (st == MN_OK) {
        st = t->temperature > 0 ? MN_OK : run_logits(&b, out);
        if (st == MN_OK) st = run_answers(&b, t, out);
    }
    close_bench(&b);
    return st;
}

static trial *run(const char *folder, float temperature, int broken, int size) {
    mn_model_config config;
    trial *t = calloc(1, sizeof *t);
    assert_non_null(t);
    MN_ASSERT_OK(mn_model_config_load(&config, mn_test_source(folder).text));
    *t = (trial){
        .folder = folder, .temperature = temperature, .broken = broken, .vocab = config.vocab};
    if (size == 1) MN_ASSERT_OK(run_rank(NULL, t));
    else MN_ASSERT_OK(mn_comm_threads(size, PATIENCE, run_rank, t));
    return t;
}

static void trial_free(trial *t) {
    for (int r = 0; r < MOST_RANKS; r++) {
        free(t->ranks[r].logits);
        mn_completions_free(t->ranks[r].answers, ANSWERS);
    }
    free(t);
}

/* ---- one process and many ---- */

static double compare_logits(const trial *t, int size, const trial *one) {
    const float *want = one->ranks[0].logits;
    double low = INFINITY, high = -INFINITY, worst = 0;
    for (int64_t i = 0; i < TOKENS * t->vocab; i++) {
        low = fmin(low, (double)want[i]);
        high = fmax(high, (double)want[i]);
    }
    for (int r = 0; r < size; r++) {
        const int64_t begin = mn_part_begin(t->vocab, r, size);
        const int64_t count = mn_part_count(t->vocab, r, size);
        for (int64_t i = 0; i < TOKENS; i++) {
            const mn_row_stat *got = &t->ranks[r].stats[i], *stat = &one->ranks[0].stats[i];
            for (int64_t v = 0; v < count; v++)
                worst = mn_worse(worst, fabs((double)t->ranks[r].logits[i * count + v] -
                                             (double)want[i * t->vocab + begin + v]));
            worst = mn_worse(worst, fabs((double)got->lse - (double)stat->lse));
            worst = mn_worse(worst, fabs((double)got->best - (double)stat->best));
            assert_int_equal(got->best_id, stat->best_id);
            assert_memory_equal(got, &t->ranks[0].stats[i], sizeof *got);
        }
    }
    return worst / (high - low);
}

static double relative(double got, double want) {
    return got == want ? 0 : fabs(got - want) / fabs(want);
}

/* The texts are the same; returns the largest relative error of a number. */
static double compare_answer(const mn_completion *got, const mn_completion *want, int64_t changes) {
    double worst = 0;
    assert_int_equal(got->generated.len, want->generated.len);
    if (want->generated.len)
        assert_memory_equal(got->generated.data, want->generated.data,
                            want->generated.len * sizeof *want->generated.data);
    for (int c = 0; c < MN_MAX_CANDIDATES; c++) {
        worst = mn_worse(worst, relative(got->logprob[c], want->logprob[c]));
        assert_int_equal(got->greedy[c], want->greedy[c]);
    }
    for (int64_t i = 0; i < changes; i++) {
        assert_true(want->change[i] > 0);
        worst = mn_worse(worst, relative(got->change[i], want->change[i]));
    }
    assert_int_equal(got->outputs, want->outputs);
    assert_int_equal(got->compared, want->compared);
    return mn_worse(worst, relative(got->logit_change, want->logit_change));
}

static double compare_answers(const trial *t, int size, const trial *one, int variants) {
    static const int64_t memories[VARIANTS] = {0, 2, 1};
    double worst = 0;
    for (int i = 0; i < variants * PROMPTS; i++) {
        const mn_completion *want = &one->ranks[0].answers[i], *first = &t->ranks[0].answers[i];
        const int64_t changes = variants > 1 ? memories[i / PROMPTS] : 0;
        worst = mn_worse(worst, compare_answer(first, want, changes));
        for (int r = 1; r < size; r++)
            assert_true(compare_answer(&t->ranks[r].answers[i], first, changes) == 0);
    }
    return worst;
}

static void many_answer_as_one(void **state) {
    (void)state;
    for (int k = 0; k < LAYOUTS; k++) {
        const char *folder = layouts[k].folder;
        trial *one = run(folder, 0, -1, 1);
        for (int s = 0; s < 2; s++) {
            const int size = layouts[k].sizes[s];
            trial *many = run(folder, 0, -1, size);
            const double logits = compare_logits(many, size, one);
            const double answers = compare_answers(many, size, one, VARIANTS);
            print_message("%s, %d ranks: logits within %.1e of their range, answers %.1e\n", folder,
                          size, logits, answers);
            if (!(logits <= allowed && answers <= allowed)) fail_msg("at most %g", allowed);
            trial_free(many);
        }
        trial_free(one);
    }
}

/* The same seed draws the same tokens, and they are not the likeliest ones. */
static void many_draw_what_one_draws(void **state) {
    (void)state;
    for (int k = 0; k < LAYOUTS; k++) {
        trial *one = run(layouts[k].folder, 1.3f, -1, 1);
        trial *greedy = run(layouts[k].folder, 0, -1, 1);
        int other = 0;
        for (int i = 0; i < PROMPTS; i++) {
            const mn_ids *a = &one->ranks[0].answers[i].generated;
            const mn_ids *b = &greedy->ranks[0].answers[i].generated;
            other += a->len && memcmp(a->data, b->data, a->len * sizeof *a->data) != 0;
        }
        assert_true(other > PROMPTS / 2);
        for (int s = 0; s < 2; s++) {
            trial *many = run(layouts[k].folder, 1.3f, -1, layouts[k].sizes[s]);
            compare_answers(many, layouts[k].sizes[s], one, 1);
            trial_free(many);
        }
        trial_free(greedy);
        trial_free(one);
    }
}

/* A NaN in the weights of one rank: all say whose. */
static void a_broken_slice_is_named_by_all(void **state) {
    (void)state;
    for (int k = 0; k < LAYOUTS; k++)
        for (int broken = 0; broken < 2; broken++) {
            trial *t = run(layouts[k].folder, 0, broken, 2);
            const bool neox = strstr(layouts[k].folder, "neox") != NULL;
            const char *name = neox ? "layers.1.mlp.dense_4h_to_h.weight"
                                    : "layers.1.mlp.down_proj.weight";
            char who[16];
            snprintf(who, sizeof who, "rank %d ", broken);
            for (int r = 0; r < 2; r++) {
                assert_int_equal(t->ranks[r].status, MN_ERR_NUMERIC);
                assert_string_equal(t->ranks[r].error, t->ranks[0].error);
                if (!strstr(t->ranks[r].error, name) || !strstr(t->ranks[r].error, who))
                    fail_msg("'%s' does not name %s of %s", t->ranks[r].error, name, who);
            }
            trial_free(t);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_answer_as_one),
        cmocka_unit_test(many_draw_what_one_draws),
        cmocka_unit_test(a_broken_slice_is_named_by_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
