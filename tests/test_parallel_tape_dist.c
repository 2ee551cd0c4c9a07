/* test_parallel_tape_dist.c - training over the ranks that share a model: losses and all gradients, those of a
 * memory and in full mode of every weight, are those of one process. */
#include "test_parallel.h"

#include "mneme/tape.h"

#include "train/params.h"

#include "test_tape.h"

/* ||difference|| / ||gradient|| of a tensor, and of the loss. */
static const double allowed = 1e-5;

enum { MOST_PARTS = 64, STEPS = 2, HIDDEN = 13 }; /* which no number of ranks divides */

typedef struct told {
    double loss[STEPS], only_loss, norm; /* of all gradients */
    int64_t sums;                        /* messages of the last step */
    float *hidden;                       /* (TAPE_TOKENS, C) what enters the memory */
    part parts[MOST_PARTS];
    int64_t count;
    mn_status status; /* with a breakage */
    char error[512];
    bool overflow;
} told;

/* What is broken at rank 1 before the step. */
typedef enum breakage {
    NOTHING,
    OWN_WEIGHT,   /* of its slice of a memory */
    OWN_GRADIENT, /* what was added up before, of that slice */
    OWN_OVERFLOW, /* the same, and gradients may overflow */
} breakage;

typedef struct trial {
    const char *folder;
    breakage breakage;
    bool full;
    int every; /* every `every`-th token has a target */
    told ranks[MOST_RANKS];
} trial;

typedef struct rank_bench {
    mn_device *device;
    mn_model *stored, *model; /* the latter in full mode */
    mn_memory *memory;
    train_params params; /* owns the gradients */
    mn_tape *tape;
} rank_bench;

static mn_status open_bench(rank_bench *b, const trial *t, mn_comm *comm) {
    static const int64_t blocks[] = {0, 1};
    const mn_memory_options shape = {
        .name = "m", .hidden = HIDDEN, .blocks = blocks, .block_count = 2, .gate = 0.7, .seed = 3};
    const mn_tape_options options = {.max_tokens = TAPE_TOKENS,
                                     .max_seqs = TAPE_SEQS,
                                     .loss_rows = 16,
                                     .full = t->full,
                                     .may_overflow = t->breakage == OWN_OVERFLOW};
    const mn_train_options none = {0}; /* nothing decays */
    MN_TRY(mn_device_open(&b->device, "cpu", 1));
    MN_TRY(mn_model_open(&b->stored, mn_test_source(t->folder).text, b->device, comm));
    if (t->full) {
        MN_TRY(mn_model_trainable(&b->model, b->stored));
    } else {
        MN_TRY(mn_memory_create(&b->memory, b->stored, &shape));
    }
    MN_TRY(mn_params_open(&b->params, t->full ? b->model : b->stored, b->memory, &none, NULL));
    return mn_tape_open(&b->tape, t->full ? b->model : b->stored, b->memory, b->params.memory_grads,
                        b->params.model_grads, &options);
}

static void close_bench(rank_bench *b) {
    mn_tape_close(&b->tape);
    mn_params_close(&b->params);
    mn_memory_close(&b->memory);
    mn_model_close(&b->model);
    mn_model_close(&b->stored);
    mn_device_close(&b->device);
}

static mn_status take_gradients(told *out, rank_bench *b) {
    out->count = b->memory ? b->memory->count * MN_MEMORY_PARAMS
                           : mn_binding_count(&b->model->config);
    MN_CHECK(out->count <= MOST_PARTS, MN_ERR_USAGE, "%lld parameters", (long long)out->count);
    for (int64_t i = 0; i < out->count; i++) {
        if (b->memory) {
            mn_memory_param p;
            mn_memory_param_at(&p, b->params.memory_grads, i);
            MN_TRY(part_take(&out->parts[i], p.name, &p.slice, p.tensor));
        } else {
            mn_binding_row row;
            mn_binding_at(&row, &b->model->config, b->params.model_grads, i);
            MN_TRY(part_take(&out->parts[i], row.name, &row.slice, row.weight));
        }
    }
    return MN_OK;
}

/* Two steps whose gradients add up, the second one from what was kept of the trunk. */
static mn_status passes(rank_bench *b, const trial *t, told *out) {
    tape_batch batch;
    const mn_model_config *c = &b->stored->config;
    tape_batch_fill(&batch, c->vocab, t->every);
    if (!t->full) {
        out->hidden = malloc((size_t)(TAPE_TOKENS * c->dim) * sizeof *out->hidden);
        MN_CHECK(out->hidden, MN_ERR_MEMORY, "no memory");
        MN_TRY(mn_tape_trunk(b->tape, &batch.batch, out->hidden));
    }
    for (int i = 0; i < STEPS; i++) {
        const int64_t before = mn_comm_tensor_traffic(b->stored->tp).calls;
        MN_TRY(mn_tape_step(b->tape, &batch.batch, i ? out->hidden : NULL, 0.5f, &out->loss[i]));
        out->sums = mn_comm_tensor_traffic(b->stored->tp).calls - before;
    }
    MN_TRY(mn_tape_loss(b->tape, &batch.batch, NULL, &out->only_loss));
    MN_TRY(mn_tape_sum_gradients(b->tape));
    MN_TRY(mn_params_norm(&out->norm, &b->params));
    return take_gradients(out, b);
}

static void broken_step(rank_bench *b, const trial *t, told *out) {
    tape_batch batch;
    mn_memory *at = t->breakage == OWN_WEIGHT ? b->memory : b->params.memory_grads;
    tape_batch_fill(&batch, b->stored->config.vocab, 1);
    if (mn_comm_rank(b->stored->tp) == 1) ((float *)at->layers[1].up_w.data)[3] = NAN;
    out->status = mn_tape_step(b->tape, &batch.batch, NULL, 1, &out->loss[0]);
    out->overflow = mn_tape_overflow(b->tape);
    snprintf(out->error, sizeof out->error, "%s", out->status == MN_OK ? "" : mn_error());
}

static mn_status run_rank(mn_comm *comm, void *context) {
    trial *t = context;
    rank_bench b = {0};
    mn_status st = open_bench(&b, t, comm);
    told *out = &t->ranks[mn_comm_rank(comm)];
    if (st == MN_OK && t->breakage != NOTHING) broken_step(&b, t, out);
    else if (st == MN_OK) st = passes(&b, t, out);
    close_bench(&b);
    return st;
}

static void trial_free(trial *t) {
    for (int r = 0; r < MOST_RANKS; r++) {
        free(t->ranks[r].hidden);
        for (int64_t i = 0; i < t->ranks[r].count; i++) free(t->ranks[r].parts[i].tensor.data);
    }
    free(t);
}

static void compare_loss(const trial *t, int size, double got, double want) {
    if (!(fabs(got - want) <= allowed * want))
        fail_msg("%s, %d ranks: loss %.9g, alone %.9g", t->folder, size, got, want);
}

/* A gate's gradient is a sum of what its norm's gradients are sums of, in which most may cancel: it is off by a
 * share of those. */
static double least_length(const part *alone) {
    double difference = 0, squares = 0;
    const size_t end = strlen(alone->name);
    if (end < 5 || strcmp(alone->name + end - 5, ".gate") != 0) return 0;
    const part *norm = alone -
                       (MN_MEMORY_PARAMS - 1 - 4); /* norm.weight, in the order of the struct */
    assert_non_null(strstr(norm->name, "norm.weight"));
    part_compare(norm, norm->tensor.data, &difference, &squares);
    return squares;
}

/* A tensor that all ranks have must be right on each; one that they share, all of it together. */
static double compare_tensor(const trial *t, int size, int64_t i, const part *alone) {
    const bool shared = alone->slice.axis >= 0;
    const double least = least_length(alone);
    double difference = 0, length = 0, worst = 0;
    for (int r = 0; r < size; r++) {
        if (!shared) difference = length = 0;
        part_compare(&t->ranks[r].parts[i], alone->tensor.data, &difference, &length);
        if (shared && r < size - 1) continue;
        assert_true(length > 0);
        worst = mn_worse(worst, sqrt(difference / fmax(length, least)));
    }
    if (!(worst <= allowed))
        fail_msg("%s, %d ranks: gradient of %s: relative error %.2e", t->folder, size, alone->name,
                 worst);
    return worst;
}

static double compare(const trial *t, int size, const trial *one) {
    const told *want = &one->ranks[0];
    double worst = 0;
    for (int r = 0; r < size; r++) {
        const told *got = &t->ranks[r];
        for (int i = 0; i < STEPS; i++) {
            compare_loss(t, size, got->loss[i], want->loss[i]);
            assert_true(got->loss[i] == t->ranks[0].loss[i]); /* the same bits everywhere */
        }
        compare_loss(t, size, got->only_loss, want->only_loss);
        if (!(fabs(got->norm - want->norm) <= allowed * want->norm))
            fail_msg("%s, %d ranks: norm %.9g, alone %.9g", t->folder, size, got->norm, want->norm);
        assert_true(got->norm == t->ranks[0].norm);
        assert_int_equal(got->count, want->count);
    }
    for (int64_t i = 0; i < want->count; i++)
        worst = mn_worse(worst, compare_tensor(t, size, i, &want->parts[i]));
    return worst;
}

/* One sum behind a parallel block, two in a sequential one, forward and backward; one each for embedding, and the final norm's
 * gradient; two for each slice of rows with losses. */
static int64_t sums_of_full_step(const char *folder, int64_t outputs) {
    mn_model_config c;
    MN_ASSERT_OK(mn_model_config_load(&c, mn_test_source(folder).text));
    return 2 * (1 + c.layers * (c.parallel_residual ? 1 : 2)) + 2 * ((outputs + 15) / 16);
}

static trial *run(const char *folder, bool full, int every, int size, breakage what) {
    trial *t = calloc(1, sizeof *t);
    assert_non_null(t);
    *t = (trial){.folder = folder, .full = full, .every = every, .breakage = what};
    if (size == 1) MN_ASSERT_OK(run_rank(NULL, t));
    else MN_ASSERT_OK(mn_comm_threads(size, PATIENCE, run_rank, t));
    return t;
}

static void check(bool full) {
    for (int k = 0; k < LAYOUTS; k++)
        for (int every = 1; every <= 3; every += 2) {
            trial *one = run(layouts[k].folder, full, every, 1, NOTHING);
            for (int s = 0; s < 2; s++) {
                const int size = layouts[k].sizes[s];
                trial *many = run(layouts[k].folder, full, every, size, NOTHING);
                if (full)
                    assert_int_equal(
                        many->ranks[1].sums,
                        sums_of_full_step(layouts[k].folder, (TAPE_TOKENS + every - 1) / every));
                const double worst = compare(many, size, one);
                print_message("%s, %d ranks, targets behind 1 of %d: within %.1e\n",
                              layouts[k].folder, size, every, worst);
                trial_free(many);
            }
            trial_free(one);
        }
}

static void gradients_of_a_memory_are_those_of_one_process(void **state) {
    (void)state;
    check(false);
}

static void gradients_of_all_weights_are_those_of_one_process(void **state) {
    (void)state;
    check(true);
}

/* What goes wrong at one rank alone is known to all, in the same words. */
static void ranks_come_to_one_verdict(void **state) {
    (void)state;
    static const char *const said[] = {[OWN_WEIGHT] = "memory m: 1 of",
                                       [OWN_GRADIENT] = "of the memory's gradient behind block 1",
                                       [OWN_OVERFLOW] = ""};
    for (int k = 0; k < LAYOUTS; k++)
        for (int what = OWN_WEIGHT; what <= OWN_OVERFLOW; what++) {
            const int size = layouts[k].sizes[1];
            const bool overflows = what == OWN_OVERFLOW;
            trial *t = run(layouts[k].folder, false, 1, size, (breakage)what);
            for (int r = 0; r < size; r++) {
                const told *one = &t->ranks[r];
                assert_int_equal(one->status, overflows ? MN_OK : MN_ERR_NUMERIC);
                assert_true(one->overflow == overflows || what == OWN_GRADIENT);
                assert_string_equal(one->error, t->ranks[0].error);
                if (!strstr(one->error, said[what]))
                    fail_msg("'%s' does not say '%s'", one->error, said[what]);
            }
            trial_free(t);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_a_memory_are_those_of_one_process),
        cmocka_unit_test(gradients_of_all_weights_are_those_of_one_process),
        cmocka_unit_test(ranks_come_to_one_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
