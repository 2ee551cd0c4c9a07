/* test_train_dist.c - a training of several replicas is that of one rank: its losses, its checkpoints, its end. */
#include "dist.h"
#include "test_train.h"

#include "mneme/signals.h"
#include "train/params.h"

enum { MOST_RANKS = 8 };

/* What every rank heard of the last training. */
typedef struct heard {
    trained *t;
    mn_train_summary summary[MOST_RANKS];
    mn_train_step steps[MOST_RANKS][MOST_STEPS];
    int told[MOST_RANKS];
    mn_status ended[MOST_RANKS];
    int fails_at, fails_on; /* step and rank of a failing listener; 0: none */
    int stops_at, stops_on; /* of a stop request */
} heard;

typedef struct listener {
    heard *h;
    int rank;
} listener;

static mn_status hear(void *context, const mn_train_step *step) {
    const listener *l = context;
    heard *h = l->h;
    WANT(h->told[l->rank] < MOST_STEPS, "more than %d steps", MOST_STEPS);
    h->steps[l->rank][h->told[l->rank]++] = *step;
    if (step->step == h->stops_at && l->rank == h->stops_on) mn_stop_request();
    MN_CHECK(step->step != h->fails_at || l->rank != h->fails_on, MN_ERR_IO,
             "the listener has heard enough");
    return MN_OK;
}

static mn_status train_rank(const mn_ranks *ranks, mn_device *device, void *context) {
    heard *h = context;
    const int rank = mn_comm_rank(ranks->world);
    listener l = {h, rank};
    mn_train_options o = h->t->options;
    o.on_step = hear;
    o.context = &l;
    o.ranks = ranks;
    h->told[rank] = 0;
    h->ended[rank] = mn_train(&h->summary[rank], device, &o);
    return h->ended[rank];
}

static mn_status try_ranks(heard *h, int tp, int dp) { return dist_run(tp, dp, train_rank, h); }

/* The ranks' steps are the same, bit for bit. */
static void assert_one_mind(const heard *h, int ranks) {
    for (int r = 1; r < ranks; r++) {
        assert_int_equal(h->told[r], h->told[0]);
        assert_memory_equal(h->steps[r], h->steps[0], (size_t)h->told[0] * sizeof h->steps[0][0]);
        assert_int_equal(h->summary[r].steps, h->summary[0].steps);
        assert_true(h->summary[r].loss == h->summary[0].loss);
    }
}

static void train_shared(heard *h, int tp, int dp) {
    mn_test_rmdir(h->t->out.text);
    MN_ASSERT_OK(try_ranks(h, tp, dp));
    assert_one_mind(h, tp * dp);
}

static void train_ranks(heard *h, int dp) { train_shared(h, 1, dp); }

static void assert_near(double a, double b, double tolerance, int step) {
    if (!(fabs(a - b) <= tolerance * fabs(b)))
        fail_msg("step %d: %.9g, alone %.9g (%.3g of it)", step, a, b, fabs(a - b) / fabs(b));
}

/* The steps from `first` on against those of one rank (which heard all). */
static void assert_like_alone(const heard *h, const heard *alone, int first) {
    assert_int_equal(h->told[0] + first, alone->told[0]);
    for (int i = 0; i < h->told[0]; i++) {
        const mn_train_step *a = &h->steps[0][i], *b = &alone->steps[0][first + i];
        assert_near(a->loss, b->loss, 1e-5, i);
        assert_near(a->grad_norm, b->grad_norm, 1e-5, i);
        assert_int_equal(a->targets, b->targets);
        assert_int_equal(a->tokens, b->tokens);
        assert_int_equal(a->step, b->step);
        assert_true(a->learning_rate == b->learning_rate);
    }
}

/* Steps of 5 samples in batches of 3 at most. Not so large that sums in another order, which is all that differs, grow
 * from step to step beyond what the project allows. */
static void open_training(trained *t, heard *h, const char *golden, mn_train_update update) {
    trained_open(t, golden, 1);
    t->options.update = update;
    if (update == MN_UPDATE_FULL) t->options.memory.init_from = NULL;
    t->options.per_device_train_batch_size = 3;
    t->options.gradient_accumulation_steps = 2;
    t->options.num_train_epochs = 3;
    t->options.warmup_steps = 2;
    t->options.learning_rate = 0.002;
    t->options.save_steps = 0;
    t->options.validation_fraction = 0.2;
    *h = (heard){.t = t};
}

static const char *weights_of(const trained *t) {
    return t->options.update == MN_UPDATE_FULL ? "model.safetensors" : "adapter_model.safetensors";
}

static void test_replicas(void **state) {
    static const char *const models[] = {"llama-gqa", "neox-parallel"};
    static heard alone, h;
    trained t;
    size_t len, again_len;
    (void)state;
    for (int m = 0; m < 4; m++) {
        open_training(&t, &h, models[m / 2], (mn_train_update)(m % 2));
        train_ranks(&h, 1);
        alone = h;
        for (int dp = 2; dp <= 4; dp++) {
            train_ranks(&h, dp);
            assert_like_alone(&h, &alone, 0);
            assert_near(h.summary[0].eval_loss, alone.summary[0].eval_loss, 1e-5, -1);
            assert_int_equal(h.summary[0].tokens, alone.summary[0].tokens);
            if (dp != 2) continue;
            char *bytes = result_file(&t, weights_of(&t), &len);
            train_ranks(&h, dp);
            char *again = result_file(&t, weights_of(&t), &again_len);
            assert_same_bytes(again, again_len, bytes, len);
            free(again);
            free(bytes);
        }
        trained_close(&t);
    }
}

/* Without ranks at all the bits are those of a group of one. */
static void test_alone(void **state) {
    static heard h;
    trained t;
    size_t len, other_len;
    (void)state;
    open_training(&t, &h, "llama-gqa", MN_UPDATE_MEMORY);
    train_ranks(&h, 1);
    char *bytes = result_file(&t, weights_of(&t), &len);
    train(&t);
    char *other = result_file(&t, weights_of(&t), &other_len);
    assert_same_bytes(other, other_len, bytes, len);
    free(other);
    free(bytes);
    trained_close(&t);
}

/* A sample may come to another rank in every epoch: what is kept changes no bit, and saves some passes. */
static void test_cache(void **state) {
    static heard h;
    trained t;
    size_t len, kept_len;
    (void)state;
    open_training(&t, &h, "neox-parallel", MN_UPDATE_MEMORY);
    t.options.num_train_epochs = 6;
    t.options.activation_cache = MN_CACHE_OFF;
    train_ranks(&h, 3);
    assert_int_equal(h.summary[0].cached_samples, 0);
    char *bytes = result_file(&t, weights_of(&t), &len);
    for (int place = 0; place < 2; place++) {
        t.options.activation_cache = place ? MN_CACHE_FILE : MN_CACHE_MEMORY;
        train_ranks(&h, 3);
        char *kept = result_file(&t, weights_of(&t), &kept_len);
        assert_same_bytes(kept, kept_len, bytes, len);
        /* In epoch e (from 0) a rank has met a sample before with probability 1 - (2/3)^e: 0.54 on average. */
        assert_true(h.summary[2].cached_samples * 5 > 2 * 6 * h.summary[2].samples);
        free(kept);
    }
    free(bytes);
    trained_close(&t);
}

/* All decide alike when to end: the same validation on all ranks, and what one of them finds. */
static void test_ends(void **state) {
    static heard h, alone;
    trained t;
    (void)state;
    open_training(&t, &h, "llama-gqa", MN_UPDATE_MEMORY);
    t.options.learning_rate = 0.5; /* gets worse soon */
    t.options.early_stopping_patience = 1;
    t.options.num_train_epochs = 20;
    train_ranks(&h, 1);
    alone = h;
    assert_true(alone.summary[0].stopped_early);
    train_ranks(&h, 3);
    assert_true(h.summary[0].stopped_early && h.summary[2].stopped_early);
    h.fails_at = 2;
    h.fails_on = 2;
    mn_test_rmdir(t.out.text);
    MN_ASSERT_FAILS(try_ranks(&h, 1, 3), MN_ERR_IO, "rank 2 (");
    assert_non_null(strstr(mn_error(), "the listener has heard enough"));
    for (int r = 0; r < 3; r++) assert_int_equal(h.ended[r], MN_ERR_IO);
    trained_close(&t);
}

/* A second rank that would read other texts, or has other keys, is told so before anything is done. */
static mn_status train_other(const mn_ranks *ranks, mn_device *device, void *context) {
    trained *t = context;
    mn_train_options o = t->options;
    mn_train_summary summary;
    const mn_test_path other = mn_test_join(t->dir.text, "other.jsonl");
    o.on_step = NULL;
    o.ranks = ranks;
    if (mn_comm_rank(ranks->world) == 1) o.texts = other.text;
    return mn_train(&summary, device, &o);
}

static void test_other_inputs(void **state) {
    trained t;
    (void)state;
    trained_open(&t, "llama-gqa", 1);
    mn_test_write(mn_test_join(t.dir.text, "other.jsonl").text, "{\"text\": \"<1><2><3>\"}\n", 22);
    MN_ASSERT_FAILS(dist_run(1, 2, train_other, &t), MN_ERR_USAGE, "rank 1 (");
    assert_non_null(strstr(mn_error(), "the keys of this training are not those of rank 0"));
    trained_close(&t);
}

/* ---- the optimizer's state ---- */

typedef struct share {
    const char *model;
    int64_t own[MOST_RANKS], bytes[MOST_RANKS], total;
} share;

static mn_status open_state(const mn_ranks *ranks, mn_device *device, void *context) {
    share *s = context;
    const int rank = mn_comm_rank(ranks->dp);
    mn_status st = MN_OK;
    mn_train_options o;
    mn_model *stored = NULL, *model = NULL;
    train_params params = {0};
    mn_train_defaults(&o);
    MN_GOTO(mn_model_open(&stored, s->model, device, NULL));
    MN_GOTO(mn_model_trainable(&model, stored));
    MN_GOTO(mn_params_open(&params, model, NULL, &o, ranks->dp));
    s->bytes[rank] = (int64_t)params.moments.size;
    for (int64_t i = 0; i < params.count; i++) s->own[rank] += params.items[i].count;
    if (rank == 0) s->total = params.numbers;
done:
    mn_params_close(&params);
    mn_model_close(&model);
    mn_model_close(&stored);
    return st;
}

/* Every number has one owner, and nobody owns more than its part. */
static void test_shared_state(void **state) {
    trained t;
    share alone = {0};
    (void)state;
    trained_open(&t, "neox-parallel", 1);
    alone.model = t.model.text;
    MN_ASSERT_OK(dist_run(1, 1, open_state, &alone));
    assert_int_equal(alone.own[0], alone.total);
    for (int dp = 2; dp <= MOST_RANKS; dp++) {
        share s = {.model = t.model.text};
        int64_t numbers = 0, bytes = 0;
        MN_ASSERT_OK(dist_run(1, dp, open_state, &s));
        for (int r = 0; r < dp; r++) {
            numbers += s.own[r];
            bytes += s.bytes[r];
            assert_in_range(s.bytes[r], alone.bytes[0] / dp - 128, alone.bytes[0] / dp + 128);
        }
        assert_int_equal(numbers, alone.total);
        assert_int_equal(bytes, alone.bytes[0]);
    }
    trained_close(&t);
}

/* ---- going on with another number ---- */

/* `before` ranks (tp, dp) are interrupted behind step 6, `after` go on from its checkpoint. */
static void interrupt(heard *h, const int before[2], const int after[2]) {
    mn_test_rmdir(h->t->out.text);
    h->t->options.save_steps = 2;
    h->fails_at = 7;
    h->fails_on = before[0] * before[1] - 1;
    MN_ASSERT_FAILS(try_ranks(h, before[0], before[1]), MN_ERR_IO, "the listener has heard enough");
    h->fails_at = 0;
    MN_ASSERT_OK(try_ranks(h, after[0], after[1]));
    assert_one_mind(h, after[0] * after[1]);
    assert_true(h->summary[0].resumed);
    assert_int_equal(h->steps[0][0].step, 7);
}

/* From every number to every other the losses are those of one undisturbed rank; the same number leaves the same
 * bits. */
static void check_resume(const int counts[][2][2], size_t pairs) {
    static heard alone, h;
    trained t;
    size_t len, whole_len;
    for (int m = 0; m < 2; m++) {
        open_training(&t, &h, m ? "neox-parallel" : "llama-gqa", (mn_train_update)m);
        train_ranks(&h, 1);
        alone = h;
        for (size_t i = 0; i < pairs; i++) {
            interrupt(&h, counts[i][0], counts[i][1]);
            assert_like_alone(&h, &alone, 6);
            if (memcmp(counts[i][0], counts[i][1], sizeof counts[i][0]) != 0) continue;
            char *bytes = result_file(&t, weights_of(&t), &len);
            train_shared(&h, counts[i][0][0], counts[i][0][1]);
            char *whole = result_file(&t, weights_of(&t), &whole_len);
            assert_same_bytes(bytes, len, whole, whole_len);
            free(bytes);
            free(whole);
        }
        /* And what is finished is finished for any number. */
        MN_ASSERT_OK(try_ranks(&h, 1, 3));
        for (int r = 0; r < 3; r++) assert_true(h.summary[r].finished_before);
        trained_close(&t);
    }
}

static void test_resume(void **state) {
    static const int counts[][2][2] = {{{1, 4}, {1, 1}}, {{1, 4}, {1, 2}}, {{1, 4}, {1, 8}},
                                       {{1, 1}, {1, 4}}, {{1, 2}, {1, 3}}, {{1, 2}, {1, 2}},
                                       {{1, 4}, {1, 4}}};
    (void)state;
    check_resume(counts, sizeof counts / sizeof *counts);
}

/* ---- replicas of several ranks ---- */

static void test_shared_model(void **state) {
    static const char *const models[] = {"llama-gqa", "neox-parallel"};
    static heard alone, h;
    trained t;
    (void)state;
    for (int m = 0; m < 4; m++) {
        open_training(&t, &h, models[m / 2], (mn_train_update)(m % 2));
        train_ranks(&h, 1);
        alone = h;
        for (int dp = 1; dp <= 2; dp++) {
            train_shared(&h, 2, dp);
            assert_like_alone(&h, &alone, 0);
            assert_near(h.summary[0].eval_loss, alone.summary[0].eval_loss, 1e-5, -1);
            assert_int_equal(h.summary[0].parameters, alone.summary[0].parameters);
        }
        trained_close(&t);
    }
}

static void test_shared_resume(void **state) {
    static const int counts[][2][2] = {
        {{2, 2}, {1, 1}}, {{1, 1}, {2, 2}}, {{2, 1}, {1, 2}}, {{2, 2}, {2, 2}}};
    (void)state;
    check_resume(counts, sizeof counts / sizeof *counts);
}

/* The last test of this file: nothing takes a stop request back. */
static void test_stop(void **state) {
    static heard h;
    trained t;
    (void)state;
    open_training(&t, &h, "llama-gqa", MN_UPDATE_MEMORY);
    h.stops_at = 3;
    h.stops_on = 2;
    MN_ASSERT_FAILS(try_ranks(&h, 1, 3), MN_STOPPED, "stopped on request after step 3 of");
    for (int r = 0; r < 3; r++) {
        assert_int_equal(h.ended[r], MN_STOPPED);
        assert_int_equal(h.told[r], 3);
    }
    size_t len;
    free(result_file(&t, "checkpoint-3/trainer_state.json", &len));
    trained_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replicas),      cmocka_unit_test(test_alone),
        cmocka_unit_test(test_cache),         cmocka_unit_test(test_ends),
        cmocka_unit_test(test_other_inputs),  cmocka_unit_test(test_shared_state),
        cmocka_unit_test(test_resume),        cmocka_unit_test(test_shared_model),
        cmocka_unit_test(test_shared_resume), cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
