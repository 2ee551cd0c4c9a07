/* test_plan.c - what `mneme plan` calculates: its bytes are those that arenas really have, its messages those that
 * ranks really send, its arithmetic is what a hand counts. */
#include "test_plan.h"
#include "check.h"

#include "cli/bench.h"
#include "cpu/cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RANKS = 8, PATIENCE = 600 };

static const struct {
    const char *name;
    const mn_model_config *config;
} models[] = {{"neox", &plan_neox}, {"llama", &plan_llama}};
enum { MODELS = sizeof models / sizeof *models };

/* ---- arenas ---- */

typedef struct layout {
    const char *dir;
    int model, tp, dp;
} layout;

static mn_status input_bytes(int64_t *bytes, mn_device *device) {
    *bytes = (int64_t)device->stream->input_bytes;
    return MN_OK;
}

/* Every job on a device of its own: workspaces only grow. */
static mn_status open_all(plan_case *c) {
    static const mn_forecast_kind kinds[] = {MN_FORECAST_EVALUATE, MN_FORECAST_TRAIN,
                                             MN_FORECAST_FULL};
    mn_status st = MN_OK;
    for (size_t k = 0; st == MN_OK && k < sizeof kinds / sizeof *kinds; k++) {
        MN_TRY(mn_cpu_open(&c->device, 1));
        st = kinds[k] == MN_FORECAST_EVALUATE ? same_evaluation(c) : same_training(c, kinds[k]);
        mn_device_close(&c->device);
    }
    return st;
}

static mn_status compare_rank(mn_comm *world, void *context) {
    const layout *l = context;
    plan_case c = {.dir = l->dir,
                   .job = plan_job(models[l->model].config, models[l->model].name, MN_TALLY_CPU),
                   .workspace = input_bytes};
    MN_TRY(mn_ranks_open(&c.ranks, world, l->tp, l->dp));
    c.job.tp = l->tp;
    c.job.dp = l->dp;
    c.job.tp_rank = mn_comm_rank(c.ranks.tp);
    c.job.dp_rank = mn_comm_rank(c.ranks.dp);
    const mn_status st = open_all(&c);
    mn_ranks_close(&c.ranks);
    return st;
}

/* A model's folder with fp16 matrices. */
static void write_model(const char *dir, int model) {
    mn_device *device = NULL;
    mn_model *m = NULL;
    MN_ASSERT_OK(mn_cpu_open(&device, 1));
    MN_ASSERT_OK(
        mn_model_random(&m, models[model].config, models[model].name, MN_F16, 7, device, NULL));
    mn_test_mkdir(dir);
    MN_ASSERT_OK(mn_model_save(m, dir, MN_F16));
    mn_model_close(&m);
    mn_device_close(&device);
}

/* Both architectures, every layout of up to 8 ranks that can be, every rank of it. */
static void test_arenas(void **state) {
    const mn_test_path tmp = mn_test_tmpdir();
    int layouts = 0;
    (void)state;
    for (int m = 0; m < MODELS; m++) {
        const mn_test_path dir = mn_test_join(tmp.text, models[m].name);
        write_model(dir.text, m);
        for (int tp = 1; tp <= RANKS; tp++)
            for (int dp = 1; tp * dp <= RANKS; dp++) {
                mn_shard shard;
                layout l = {dir.text, m, tp, dp};
                if (mn_shard_of(&shard, models[m].config, 0, tp) != MN_OK) continue;
                MN_ASSERT_OK(mn_comm_threads(tp * dp, PATIENCE, compare_rank, &l));
                layouts++;
            }
    }
    assert_int_equal(layouts, 2 * (8 + 4 + 2 + 1)); /* tp 1, 2, 4, 8 */
    mn_test_rmdir(tmp.text);
}

/* ---- messages ---- */

/* Bytes that the tensors of a plan's collectives have at this rank. */
static int64_t planned_traffic(const mn_forecast_work *w, int64_t *calls) {
    int64_t bytes = 0;
    *calls = 0;
    for (int64_t i = 0; i < w->count; i++) {
        const mn_tally_row *r = &w->rows[i];
        if (r->unit != MN_TALLY_LINK) continue;
        const bool sum = strcmp(r->kernel, "all-reduce") == 0;
        bytes += r->calls * r->shape[0] * (sum ? (int64_t)sizeof(float) : 1);
        *calls += r->calls;
    }
    return bytes;
}

/* What a step needs, really opened. */
typedef struct lesson {
    mn_model *stored, *model;
    mn_memory *memory;
    train_params params;
    mn_train_options options;
    mn_tape *tape;
    int32_t *ids, *outputs;
    float *hidden;
} lesson;

static void lesson_close(lesson *l) {
    free(l->hidden);
    free(l->outputs);
    free(l->ids);
    mn_tape_close(&l->tape);
    mn_params_close(&l->params);
    mn_memory_close(&l->memory);
    mn_model_close(&l->model);
    mn_model_close(&l->stored);
}

static mn_status lesson_open(lesson *l, const plan_case *c, bool full) {
    const mn_forecast_job *job = &c->job;
    const int64_t tokens = job->batch * job->length;
    const mn_memory_options shape = {
        .name = "memory", .hidden = job->hidden, .from = 0.7, .to = 0.8, .gate = 1};
    const mn_tape_options limits = {.max_tokens = tokens, .max_seqs = job->batch, .full = full};
    mn_train_defaults(&l->options);
    MN_TRY(mn_model_open(&l->stored, c->dir, c->device, c->ranks.tp));
    if (full) MN_TRY(mn_model_trainable(&l->model, l->stored));
    else MN_TRY(mn_memory_create(&l->memory, l->stored, &shape));
    mn_model *m = full ? l->model : l->stored;
    MN_TRY(mn_params_open(&l->params, m, l->memory, &l->options, full ? c->ranks.dp : NULL));
    MN_TRY(mn_tape_open(&l->tape, m, l->memory, l->params.memory_grads, l->params.model_grads,
                        &limits));
    l->ids = calloc((size_t)tokens, sizeof *l->ids);
    l->outputs = calloc((size_t)tokens, sizeof *l->outputs);
    l->hidden = calloc((size_t)(tokens * job->config.dim), sizeof *l->hidden);
    MN_CHECK(l->ids && l->outputs && l->hidden, MN_ERR_MEMORY, "no memory for a batch");
    for (int64_t i = 0; i < tokens; i++) {
        l->ids[i] = (int32_t)(i * 7 % job->config.vocab);
        l->outputs[i] = (int32_t)i;
    }
    return MN_OK;
}

/* This rank's part of a step as its plan has it, for real. */
static mn_status take_step(lesson *l, const plan_case *c, bool full) {
    enum { MOST = 8 };
    const mn_forecast_job *job = &c->job;
    const int64_t seqs = mn_part_count(job->batch, job->dp_rank, job->dp);
    int64_t lengths[MOST] = {0};
    double loss = 0, norm = 0;
    MN_CHECK(seqs <= MOST, MN_ERR_USAGE, "a batch of %lld samples", (long long)seqs);
    for (int64_t i = 0; i < seqs; i++) lengths[i] = job->length;
    const mn_train_batch batch = {.ids = l->ids,
                                  .tokens = seqs * job->length,
                                  .lengths = lengths,
                                  .seq_count = seqs,
                                  .outputs = l->outputs,
                                  .targets = l->ids,
                                  .output_count = seqs * job->length};
    if (!full) MN_TRY(mn_tape_trunk(l->tape, &batch, l->hidden));
    MN_TRY(mn_tape_step(l->tape, &batch, full ? NULL : l->hidden, 1, &loss));
    MN_CHECK(loss > 0 && isfinite(loss), MN_ERR_DATA, "a loss of %g", loss);
    MN_TRY(mn_comm_reduce_tensor(c->ranks.dp, c->device, &l->params.flat, MN_COMM_SUM));
    MN_TRY(mn_tape_sum_gradients(l->tape));
    MN_TRY(mn_params_norm(&norm, &l->params));
    return mn_params_step(&l->params, &l->options, 1, 1e-3, 1);
}

static mn_status same_messages(plan_case *c, mn_forecast_kind kind) {
    const mn_comm_traffic tp = mn_comm_tensor_traffic(c->ranks.tp);
    const mn_comm_traffic dp = mn_comm_tensor_traffic(c->ranks.dp);
    const mn_forecast_job *job = &c->job;
    mn_status st = MN_OK;
    lesson l = {.ids = NULL};
    mn_forecast_work w = {.rows = NULL};
    int64_t calls = 0;
    MN_GOTO(lesson_open(&l, c, kind == MN_FORECAST_FULL));
    MN_GOTO(take_step(&l, c, kind == MN_FORECAST_FULL));
    MN_GOTO(mn_forecast_run(&w, job, kind));
    const int64_t bytes = planned_traffic(&w, &calls);
    const mn_comm_traffic tp_now = mn_comm_tensor_traffic(c->ranks.tp);
    const mn_comm_traffic dp_now = mn_comm_tensor_traffic(c->ranks.dp);
    const int64_t sent = tp_now.bytes - tp.bytes + dp_now.bytes - dp.bytes;
    const int64_t made = tp_now.calls - tp.calls + dp_now.calls - dp.calls;
    MN_CHECK_GOTO(bytes > 0 && bytes == sent && calls == made, MN_ERR_DATA,
                  "%s, %s, tp %d of %d, dp %d of %d: %lld messages of %lld bytes are planned, %lld "
                  "of %lld sent",
                  job->name, mn_forecast_names[kind], job->tp_rank, job->tp, job->dp_rank, job->dp,
                  (long long)calls, (long long)bytes, (long long)made, (long long)sent);
done:
    mn_forecast_work_free(&w);
    lesson_close(&l);
    return st;
}

static mn_status count_rank(mn_comm *world, void *context) {
    const layout *l = context;
    plan_case c = {.dir = l->dir,
                   .job = plan_job(models[l->model].config, models[l->model].name, MN_TALLY_CUDA)};
    mn_status st = MN_OK;
    MN_TRY(mn_ranks_open(&c.ranks, world, l->tp, l->dp));
    c.job.tp = l->tp;
    c.job.dp = l->dp;
    c.job.tp_rank = mn_comm_rank(c.ranks.tp);
    c.job.dp_rank = mn_comm_rank(c.ranks.dp);
    MN_GOTO(mn_cpu_open(&c.device, 1));
    MN_GOTO(same_messages(&c, MN_FORECAST_TRAIN));
    st = same_messages(&c, MN_FORECAST_FULL);
done:
    if (c.device) mn_device_close(&c.device);
    mn_ranks_close(&c.ranks);
    return st;
}

/* Steps of memories and of whole models: what ranks that share a model send each other, and replicas, which share the
 * optimizer's state in the latter. */
static void test_messages(void **state) {
    static const int layouts[][2] = {{2, 1}, {4, 1}, {8, 1}, {1, 2}, {1, 3}, {2, 2}, {4, 2}};
    const mn_test_path tmp = mn_test_tmpdir();
    (void)state;
    for (int m = 0; m < MODELS; m++) {
        const mn_test_path dir = mn_test_join(tmp.text, models[m].name);
        write_model(dir.text, m);
        for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
            layout l = {dir.text, m, layouts[i][0], layouts[i][1]};
            MN_ASSERT_OK(mn_comm_threads(l.tp * l.dp, PATIENCE, count_rank, &l));
        }
    }
    mn_test_rmdir(tmp.text);
}

/* ---- by hand ---- */

static mn_forecast_job pythia(void) {
    mn_forecast_job job = plan_job(&plan_neox, "pythia-410m", MN_TALLY_CUDA);
    MN_ASSERT_OK(mn_model_config_named(&job.config, job.name));
    job.batch = 4;
    job.length = 256;
    job.hidden = 128;
    job.prompt = 512;
    return job;
}

/* Pythia-410M: C = 1024, F = 4096, 24 blocks, V = 50304, 16 heads of 64 of which 16 dimensions rotate, 2048
 * positions; memories of width 128 behind blocks 17, 18 and 19 (0.7 <= i / 24 < 0.8). */
static void test_bytes_by_hand(void **state) {
    mn_forecast_job job = pythia();
    mn_forecast_memory m;
    (void)state;
    /* Matrices in fp16: embedding and output, and per block 3 C C + C C + 2 C F = 12 C C. Vectors in fp32: two norms
     * of 2 C, qkv's 3 C, out's C, up's F, down's C; the last norm. Two tables of 2048 x 8 floats. All are multiples
     * of 64 bytes, so that nothing is lost between them. */
    const int64_t c = 1024, f = 4096, v = 50304;
    const int64_t matrices = 2 * v * c + 24 * 12 * c * c;
    const int64_t vectors = 24 * (4 * c + 3 * c + c + f + c) + 2 * c;
    const int64_t tables = 2 * 2048 * 8;
    /* up, its bias, down, its bias, the norm's two; the gate's four bytes take 64. */
    const int64_t memory = 3 * (4 * (128 * c + 128 + c * 128 + c + 2 * c) + 64);
    MN_ASSERT_OK(mn_forecast_memory_of(&m, &job, MN_FORECAST_TRAIN));
    assert_int_equal(m.weights, 2 * matrices + 4 * (vectors + tables));
    assert_int_equal(m.memories, memory);
    assert_int_equal(m.gradients, memory);
    assert_int_equal(m.optimizer, 2 * memory + 192); /* 21 sums of 8 bytes */
    assert_int_equal(m.host, 4 * c);
    assert_int_equal(m.panels + m.mapped + m.kv, 0);
    /* Three times 32 MiB: of the kernels, of cuBLASLt, for copies; and 256 rows of V floats, the widest product. */
    assert_int_equal(m.workspace, (96 << 20) + 256 * v * 4);
    /* Four ranks: a quarter of every matrix, and of the vectors but out's and down's biases and the norms. */
    job.tp = 4;
    MN_ASSERT_OK(mn_forecast_memory_of(&m, &job, MN_FORECAST_TRAIN));
    const int64_t shared = 24 * (3 * c + f), whole = vectors - shared;
    assert_int_equal(m.weights, 2 * matrices / 4 + 4 * (shared / 4 + whole + tables));
    /* One prompt of 512 tokens and one more: 528 rows (multiples of 16) of K and V, fp16, in 24 blocks. */
    job.tp = 1;
    MN_ASSERT_OK(mn_forecast_memory_of(&m, &job, MN_FORECAST_DECODE));
    assert_int_equal(m.kv, 24 * 2 * 528 * c * 2);
}

static double flops_of(const mn_forecast_job *job, mn_forecast_kind kind) {
    mn_forecast_work w;
    MN_ASSERT_OK(mn_forecast_run(&w, job, kind));
    const double flops = mn_forecast_sum(&w, &mn_gpus[0]).flops;
    mn_forecast_work_free(&w);
    return flops;
}

/* A step of 4 x 256 tokens with a loss on each. Forward, 24 blocks: 2 operations for each of 12 C C weights and
 * token, two products of 2 x C operations for each of 4 x (1 + .. + 256) pairs. Backward through blocks 18 to 23,
 * which lie above the lowest memory: the same products once, four for a pair. The output matrix twice. Each memory:
 * two products forward, three backward, a fourth unless it is the lowest. Per token 0.984 GFLOP; with what leaves
 * block 17 kept, 0.522. */
static void test_flops_by_hand(void **state) {
    mn_forecast_job job = pythia();
    (void)state;
    const double c = 1024, v = 50304, tokens = 1024, pairs = 4 * 256 * 257 / 2;
    const double block = 2 * 12 * c * c * tokens, pair = 2 * c * pairs;
    const double head = 2 * (2 * v * c * tokens), memories = (5 + 6 + 6) * 2 * 128 * c * tokens;
    const double backward = 6 * (block + 4 * pair) + head + memories;
    const double step = 24 * (block + 2 * pair) + backward;
    assert_float_equal(flops_of(&job, MN_FORECAST_TRAIN), step, 0);
    assert_float_equal(flops_of(&job, MN_FORECAST_CACHED), 6 * (block + 2 * pair) + backward, 0);
    assert_float_equal(step / tokens, 0.984e9, 0.001e9);
    /* Full: all blocks backward, and the gradient of every matrix. */
    const double full = 24 * (3 * block + 6 * pair) + 3 * (head / 2);
    assert_float_equal(flops_of(&job, MN_FORECAST_FULL), full, 0);
    /* Two ranks do half each, attention's heads and the memories' units included. */
    job.tp = 2;
    assert_float_equal(flops_of(&job, MN_FORECAST_TRAIN), step / 2, 0);
}

/* A token behind 512 others, as `mneme bench` counts it. */
static void test_flops_of_bench(void **state) {
    static const char *const names[] = {"pythia-70m", "pythia-1b", "llama-2-7b"};
    const mn_attn_seq seq = {.q_len = 1, .own_len = 513};
    const mn_batch batch = {.tokens = 1, .seqs = &seq, .seq_count = 1, .output_count = 1};
    mn_forecast_job job = pythia();
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        job.name = names[i];
        MN_ASSERT_OK(mn_model_config_named(&job.config, names[i]));
        assert_float_equal(flops_of(&job, MN_FORECAST_DECODE), mn_bench_flops(&job.config, &batch),
                           0);
    }
}

/* ---- time ---- */

static void test_seconds(void **state) {
    const mn_gpu gpu = {
        .bandwidth = 1e12, .tensor = 1e14, .f32 = 1e13, .nvlink = 1e11, .pcie = 1e10};
    const mn_gpu bare = {.pcie = 1e10};
    mn_tally_row row = {.unit = MN_TALLY_TENSOR, .flops = 1e12, .bytes = 1e9};
    (void)state;
    assert_float_equal(mn_gpu_seconds(&gpu, &row), 0.01, 1e-12); /* its arithmetic */
    row.unit = MN_TALLY_F32;
    assert_float_equal(mn_gpu_seconds(&gpu, &row), 0.1, 1e-12);
    row.bytes = 1e12;
    assert_float_equal(mn_gpu_seconds(&gpu, &row), 1, 1e-12); /* its bytes */
    row.unit = MN_TALLY_LINK;
    assert_float_equal(mn_gpu_seconds(&gpu, &row), 10, 1e-9);
    assert_float_equal(mn_gpu_seconds(&bare, &row), 100, 1e-9); /* without NVLink */
    row.unit = MN_TALLY_HOST;
    assert_float_equal(mn_gpu_seconds(&gpu, &row), 100, 1e-9);
    for (int i = 0; i < MN_GPUS; i++) assert_string_equal(mn_gpu_names[i], mn_gpus[i].name);
    assert_null(mn_gpu_names[MN_GPUS]);
}

/* What cannot be shared is refused by name, for every job. */
static void test_refused(void **state) {
    mn_forecast_job job = pythia();
    mn_forecast_memory m;
    mn_forecast_work w;
    (void)state;
    job.tp = 3;
    for (int k = 0; k < MN_FORECASTS; k++) {
        MN_ASSERT_FAILS(mn_forecast_memory_of(&m, &job, (mn_forecast_kind)k), MN_ERR_USAGE,
                        "3 ranks cannot share a model with 16 heads");
        MN_ASSERT_FAILS(mn_forecast_run(&w, &job, (mn_forecast_kind)k), MN_ERR_USAGE, "16 heads");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_by_hand),  cmocka_unit_test(test_flops_by_hand),
        cmocka_unit_test(test_flops_of_bench), cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_arenas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
