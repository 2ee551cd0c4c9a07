/* test_plan.h - models, memories, tapes and sessions that are really opened, beside what a plan says of them. */
#ifndef MNEME_TEST_PLAN_H
#define MNEME_TEST_PLAN_H

#include "cli/forecast_stage.h"
#include "model/session.h"
#include "model/tape_impl.h"

/* `check` is MN_CHECK, or MN_CHECK_GOTO where something is open. */
#define WANT_SAME(check, what, planned, real)                                                      \
    check((int64_t)(planned) == (int64_t)(real), MN_ERR_DATA,                                      \
          "%s, %s, tp %d of %d, dp %d of %d: %s: %lld bytes are planned, %lld are taken",          \
          job->name, mn_forecast_names[kind], job->tp_rank, job->tp, job->dp_rank, job->dp, what,  \
          (long long)(planned), (long long)(real))

/* A folder with a model, and the job of this rank. Everything here returns a status: other ranks are threads. */
typedef struct plan_case {
    const char *dir;
    mn_forecast_job job;
    mn_device *device;
    mn_ranks ranks;
    mn_status (*workspace)(int64_t *bytes, mn_device *device); /* NULL: cannot be seen */
} plan_case;

static inline mn_status same_workspace(const plan_case *c, mn_forecast_kind kind, int64_t planned) {
    const mn_forecast_job *job = &c->job;
    int64_t bytes = 0;
    if (!c->workspace) return MN_OK;
    MN_TRY(c->workspace(&bytes, c->device));
    WANT_SAME(MN_CHECK, "workspace", planned, bytes);
    return MN_OK;
}

/* Before packing: then panels take the place of what is mapped. */
static inline mn_status same_mapped(const plan_case *c, mn_forecast_kind kind, int64_t planned,
                                    mn_model *m) {
    const mn_forecast_job *job = &c->job;
    int64_t mapped = 0;
    for (int64_t i = 0; i < mn_binding_count(&m->config) && c->device->host_memory; i++) {
        mn_binding_row row;
        mn_binding_at(&row, &m->config, m, i);
        const unsigned char *data = row.weight->data, *base = m->weights.base;
        if (data < base || data >= base + m->weights.size)
            mapped += (int64_t)mn_tensor_bytes(row.weight);
    }
    WANT_SAME(MN_CHECK, "mapped files", planned, mapped);
    return MN_OK;
}

/* A training, opened as train.c does it. */
static inline mn_status same_training(const plan_case *c, mn_forecast_kind kind) {
    const mn_forecast_job *job = &c->job;
    const bool full = kind == MN_FORECAST_FULL;
    const mn_memory_options shape = {
        .name = "memory", .hidden = job->hidden, .from = 0.7, .to = 0.8, .gate = 1};
    const mn_tape_options limits = {
        .max_tokens = job->batch * job->length, .max_seqs = job->batch, .full = full};
    mn_status st = MN_OK;
    mn_forecast_memory p;
    mn_train_options options;
    mn_model *stored = NULL, *model = NULL;
    mn_memory *memory = NULL;
    train_params params = {0};
    mn_tape *tape = NULL;
    mn_train_defaults(&options);
    MN_GOTO(mn_forecast_memory_of(&p, job, kind));
    MN_GOTO(mn_model_open(&stored, c->dir, c->device, c->ranks.tp));
    if (full) MN_GOTO(mn_model_trainable(&model, stored));
    else MN_GOTO(mn_memory_create(&memory, stored, &shape));
    mn_model *m = full ? model : stored;
    MN_GOTO(mn_params_open(&params, m, memory, &options, full ? c->ranks.dp : NULL));
    MN_GOTO(mn_tape_open(&tape, m, memory, params.memory_grads, params.model_grads, &limits));
    if (full) {
        MN_CHECK_GOTO(p.weights == (int64_t)m->weights.size && p.mapped == 0, MN_ERR_DATA,
                      "%s: %lld bytes of trained weights are planned, %zu are taken", job->name,
                      (long long)p.weights, m->weights.size);
    } else {
        MN_GOTO(same_mapped(c, kind, p.mapped, m));
        WANT_SAME(MN_CHECK_GOTO, "weights", p.weights, m->weights.size);
        WANT_SAME(MN_CHECK_GOTO, "memory", p.memories, memory->weights.size);
    }
    const mn_arena *grads = full ? &params.model_grads->weights : &params.memory_grads->weights;
    WANT_SAME(MN_CHECK_GOTO, "gradients", p.gradients, grads->size);
    WANT_SAME(MN_CHECK_GOTO, "optimizer", p.optimizer, params.moments.size + params.scratch.size);
    WANT_SAME(MN_CHECK_GOTO, "activations", p.activations, tape->training.size + tape->step.size);
    MN_GOTO(same_workspace(c, kind, p.workspace));
    const int64_t parts = p.weights + p.panels + p.memories + p.gradients + p.optimizer + p.kv +
                          p.activations + p.workspace;
    WANT_SAME(MN_CHECK_GOTO, "all parts together", parts, p.total);
done:
    mn_tape_close(&tape);
    mn_params_close(&params);
    mn_memory_close(&memory);
    mn_model_close(&model);
    mn_model_close(&stored);
    return st;
}

/* An evaluation of the base and its memories, opened as evaluate.c does it, from the prompts of the plan. */
static inline mn_status same_evaluation(const plan_case *c) {
    const mn_forecast_kind kind = MN_FORECAST_EVALUATE;
    const mn_forecast_job *job = &c->job;
    const mn_memory_options shape = {
        .name = "memory", .hidden = job->hidden, .from = 0.7, .to = 0.8, .gate = 1};
    mn_status st = MN_OK;
    mn_forecast_memory p;
    forecast_stage planned = {.job = NULL};
    mn_model *model = NULL;
    mn_memory *memories[2] = {NULL, NULL};
    mn_plan *plan = NULL;
    mn_session *session = NULL;
    mn_session_options room;
    int64_t bytes = 0;
    MN_CHECK(job->memories == 2, MN_ERR_USAGE, "this test has two memories");
    MN_GOTO(mn_forecast_memory_of(&p, job, kind));
    MN_GOTO(mn_forecast_open(&planned, job, kind));
    MN_GOTO(mn_model_open(&model, c->dir, c->device, c->ranks.tp));
    MN_GOTO(same_mapped(c, kind, p.mapped, model));
    MN_GOTO(mn_model_pack(model, NULL));
    for (int i = 0; i < 2; i++) {
        MN_GOTO(mn_memory_create(&memories[i], model, &shape));
        bytes += (int64_t)memories[i]->weights.size;
    }
    const mn_memory *const variants[] = {NULL, memories[0], memories[1]};
    const mn_plan_options options = {
        .share_prefixes = true, .variants = variants, .variant_count = 3};
    MN_GOTO(mn_plan_make(&plan, model, planned.requests, planned.request_count, &options));
    mn_plan_session(&room, plan);
    room.audit = true;
    MN_GOTO(mn_session_open(&session, model, &room));
    WANT_SAME(MN_CHECK_GOTO, "weights", p.weights, model->weights.size);
    WANT_SAME(MN_CHECK_GOTO, "panels", p.panels, model->panels.size);
    WANT_SAME(MN_CHECK_GOTO, "memories", p.memories, bytes);
    WANT_SAME(MN_CHECK_GOTO, "kv cache", p.kv, session->prefix.size);
    WANT_SAME(MN_CHECK_GOTO, "activations", p.activations, session->step.size);
    MN_GOTO(same_workspace(c, kind, p.workspace));
done:
    mn_session_close(&session);
    mn_plan_close(&plan);
    for (int i = 0; i < 2; i++) mn_memory_close(&memories[i]);
    mn_model_close(&model);
    mn_forecast_close(&planned);
    return st;
}

/* Two small models that eight ranks can share: grouped heads, odd inner sizes, a vocabulary that 8 does not divide. */
static const mn_model_config plan_neox = {.arch = MN_NEOX,
                                          .dim = 64,
                                          .layers = 5,
                                          .heads = 8,
                                          .kv_heads = 8,
                                          .head_dim = 8,
                                          .rotary_dims = 2,
                                          .ffn_dim = 100,
                                          .vocab = 203,
                                          .max_positions = 256,
                                          .rope_base = 10000,
                                          .norm_eps = 1e-5f,
                                          .initializer_range = 0.02,
                                          .parallel_residual = true};
static const mn_model_config plan_llama = {.arch = MN_LLAMA,
                                           .dim = 96,
                                           .layers = 4,
                                           .heads = 8,
                                           .kv_heads = 2,
                                           .head_dim = 12,
                                           .rotary_dims = 12,
                                           .ffn_dim = 161,
                                           .vocab = 149,
                                           .max_positions = 256,
                                           .rope_base = 10000,
                                           .norm_eps = 1e-5f,
                                           .initializer_range = 0.02,
                                           .bos = 1,
                                           .eos = 2};

static inline mn_forecast_job plan_job(const mn_model_config *config, const char *name,
                                       mn_tally_like like) {
    return (mn_forecast_job){.name = name,
                             .config = *config,
                             .dtype = MN_F16,
                             .like = like,
                             .tp = 1,
                             .dp = 1,
                             .batch = 3,
                             .length = 21,
                             .hidden = 13,
                             .memories = 2,
                             .pages = 3,
                             .claims = 7,
                             .shared = 19,
                             .own = 5,
                             .prompt = 33};
}

#endif
