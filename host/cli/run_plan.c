/* run_plan.c - mneme run --dry-run: the steps, which of them are done, and what the others take.
 *
 * Memory comes from the same plans that the steps allocate by. Time is arithmetic over a rate: the
 * products with weights of all passes, over the speed of such a product measured now. Attention,
 * norms, reading and writing come on top; where trunks are kept in an activation cache only the
 * first epoch counts them. */
#include "cli/loaded.h"
#include "cli/run.h"

#include "mneme/file.h"
#include "mneme/log.h"
#include "mneme/ops.h"
#include "mneme/table.h"
#include "mneme/tape.h"

#include <stdlib.h>
#include <string.h>

enum { RATE_ROWS = 256 }; /* tokens of a batch, about */

typedef struct plan {
    mn_run *run;
    mn_device *device;
    mn_model_config config;
    mn_model *model; /* NULL: its folder is not there yet */
    mn_tokenizer *tokenizer;
    mn_fever *fever; /* NULL: not prepared yet */
    double rate;     /* FLOP per second */
    mn_table *table;
    mn_buf out;
} plan;

/* ---- words ---- */

static mn_status cell_bytes(mn_table *table, double bytes) {
    if (bytes < 1e9) return mn_table_cell(table, "%.1f MB", bytes / 1e6);
    return mn_table_cell(table, "%.1f GB", bytes / 1e9);
}

static mn_status cell_time(mn_table *table, double seconds) {
    if (seconds < 90) return mn_table_cell(table, "%.0f s", seconds);
    if (seconds < 5400) return mn_table_cell(table, "%.0f min", seconds / 60);
    if (seconds < 172800) return mn_table_cell(table, "%.1f h", seconds / 3600);
    return mn_table_cell(table, "%.1f days", seconds / 86400);
}

/* ---- the rate ---- */

static mn_status time_product(double *seconds, plan *p, mn_arena *arena, int64_t n, int64_t k) {
    mn_tensor x = mn_tensor_2d(NULL, MN_F32, RATE_ROWS, k), w = mn_tensor_2d(NULL, MN_F16, n, k),
              y = mn_tensor_2d(NULL, MN_F32, RATE_ROWS, n);
    mn_tensor *const all[] = {&x, &w, &y};
    for (int pass = 0; pass < 2; pass++) { /* measured, then laid out */
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            MN_TRY(mn_arena_alloc(arena, &all[i]->data, mn_tensor_bytes(all[i])));
        if (pass == 0) MN_TRY(mn_arena_commit(arena));
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        memset(all[i]->data, 0, mn_tensor_bytes(all[i]));
    MN_TRY(p->device->reserve(p->device, RATE_ROWS, n > k ? n : k));
    int runs = 0;
    double begin = 0;
    for (; runs < 2 || (runs < 1000 && mn_now() - begin < 0.3); runs++) {
        if (runs == 1) begin = mn_now(); /* the first one warms up */
        MN_TRY(mn_linear_fwd(p->device, &y, n, &x, &w, NULL, MN_EPILOGUE_STORE,
                             (mn_compute)p->run->keys.compute));
    }
    *seconds = (mn_now() - begin) / (runs - 1);
    return MN_OK;
}

/* How fast a product of the model's largest matrix in a block is here. */
static mn_status measure_rate(plan *p) {
    mn_arena arena;
    double seconds = 1;
    const int64_t n = p->config.ffn_dim, k = p->config.dim;
    if (!p->device->host_memory) return MN_OK;
    mn_arena_init(&arena, "step", p->device);
    const mn_status st = time_product(&seconds, p, &arena, n, k);
    mn_arena_free(&arena);
    MN_TRY(st);
    p->rate = 2.0 * RATE_ROWS * (double)n * (double)k / seconds;
    return mn_buf_printf(&p->out,
                         "rate          %.3g GFLOP/s, measured now: %d rows times a %lld x %lld "
                         "fp16 matrix, %s\n",
                         p->rate / 1e9, RATE_ROWS, (long long)n, (long long)k,
                         p->device->description);
}

/* ---- what there is ---- */

/* The shape of a folder that is not there yet, by its name. */
static mn_status named_shape(plan *p) {
    const char *path = p->run->keys.model, *slash = strrchr(path, '/');
    mn_status st = mn_model_config_named(&p->config, slash && slash[1] ? slash + 1 : path);
    return mn_fail_in(st, "%s: no such model folder, and not the name of a known model", path);
}

static mn_status open_inputs(plan *p) {
    const mn_run *run = p->run;
    const mn_cli alone = {.common = run->cli->common}; /* rank 0 plans */
    MN_TRY(mn_cli_device_open(&p->device, &alone));
    if (!mn_dir_exists(run->keys.model)) return named_shape(p);
    MN_TRY(mn_model_config_load(&p->config, run->keys.model));
    MN_TRY(mn_model_open(&p->model, run->keys.model, p->device, NULL));
    MN_TRY(mn_tokenizer_open(&p->tokenizer, run->keys.model));
    return run->is_prepared ? mn_fever_open(&p->fever, run->data) : MN_OK;
}

static mn_status add_inputs(plan *p) {
    const mn_run *run = p->run;
    const mn_model_config *c = &p->config;
    const double parameters = (double)mn_model_parameters(c);
    MN_TRY(mn_buf_printf(&p->out,
                         "run           %s\nmodel         %s: %s, %lld layers, width %lld, "
                         "%.1f M parameters, %.3g GB as fp16%s\n",
                         run->keys.run_dir, run->keys.model, mn_arch_name(c->arch),
                         (long long)c->layers, (long long)c->dim, parameters / 1e6,
                         parameters * 2 / 1e9, p->model ? "" : "; not there yet"));
    MN_TRY(mn_buf_printf(&p->out, "data          %s%s\n", run->data,
                         run->is_prepared ? "" : ", to be prepared"));
    return p->model && p->fever ? measure_rate(p) : MN_OK;
}

/* ---- the steps ---- */

static mn_status add_step(plan *p, const char *name, bool done) {
    MN_TRY(mn_table_cell(p->table, "%s", name));
    return mn_table_cell(p->table, "%s", done ? "done" : "to do");
}

static mn_status skip_cells(plan *p, int count) {
    for (int i = 0; i < count; i++) MN_TRY(mn_table_cell(p->table, "%s", ""));
    return MN_OK;
}

static mn_status add_time(plan *p, double flops) {
    return p->rate > 0 ? cell_time(p->table, flops / p->rate) : mn_table_cell(p->table, "%s", "");
}

static mn_status add_training(plan *p, const mn_run_variant *v) {
    mn_train_options options;
    mn_train_estimate e;
    mn_buf name = {0};
    mn_status st = mn_buf_printf(&name, "train %s", v->name);
    if (st == MN_OK) st = add_step(p, name.data, v->done);
    mn_buf_free(&name);
    MN_TRY(st);
    if (v->done || !p->model || !p->fever) return skip_cells(p, 6);
    MN_TRY(mn_run_train_options(&options, p->run, v));
    options.backbone = p->model;
    /* Rank 0 plans alone: the whole model, and no messages. */
    const mn_ranks replicas = {.dp = options.ranks ? options.ranks->dp : NULL};
    options.ranks = &replicas;
    MN_TRY(mn_train_plan(&e, p->device, &options));
    MN_TRY(mn_table_cell(p->table, "%lld", (long long)e.samples));
    MN_TRY(mn_table_cell(p->table, "%lld", (long long)e.steps));
    MN_TRY(mn_table_cell(p->table, "%.0f",
                         (double)e.epoch_tokens * (double)e.steps / (double)e.steps_per_epoch));
    MN_TRY(cell_bytes(p->table, (double)e.bytes));
    if (e.cache_bytes < 0) MN_TRY(mn_table_cell(p->table, "file"));
    else MN_TRY(cell_bytes(p->table, (double)e.cache_bytes));
    return add_time(p, e.flops);
}

/* A fresh memory as stand-in for those that are not trained yet. */
static mn_status stand_in(mn_memory **out, plan *p) {
    mn_train_options o;
    MN_TRY(mn_train_library(&o, &p->run->keys.train));
    const mn_memory_options options = {.name = "plan",
                                       .hidden = o.memory.hidden,
                                       .from = o.memory.location[0],
                                       .to = o.memory.location[1],
                                       .blocks = o.memory.blocks,
                                       .block_count = o.memory.block_count,
                                       .gate = 1};
    return mn_memory_create(out, p->model, &options);
}

/* Without data: what a batch of whole chunks of a page takes, the largest there can be of them. */
static mn_status add_chunks(plan *p) {
    mn_train_options o;
    mn_memory *memory = NULL;
    int64_t bytes = 0;
    MN_TRY(mn_train_library(&o, &p->run->keys.train));
    const mn_tape_options options = {.max_tokens = o.per_device_train_batch_size * o.chunk_length,
                                     .max_seqs = o.per_device_train_batch_size,
                                     .compute = (mn_compute)p->run->keys.compute};
    mn_status st = stand_in(&memory, p);
    if (st == MN_OK) st = mn_tape_plan(&bytes, p->model, memory, &options);
    mn_memory_close(&memory);
    MN_TRY(st);
    return mn_buf_printf(&p->out,
                         "Training on pages takes at most %.1f MB beside the weights (%lld x %lld "
                         "tokens) and the activation cache.\n",
                         (double)bytes / 1e6, (long long)o.per_device_train_batch_size,
                         (long long)o.chunk_length);
}

static mn_status estimate_evaluation(mn_eval_estimate *out, plan *p) {
    mn_status st = MN_OK;
    const size_t count = p->run->count;
    mn_eval_options options = mn_run_eval_options(p->run);
    mn_memory *memory = NULL;
    const mn_memory **memories = calloc(count + 1, sizeof *memories);
    const char **names = calloc(count + 1, sizeof *names);
    MN_CHECK_GOTO(memories && names, MN_ERR_MEMORY, "no memory for variants");
    if (!mn_run_full(p->run)) {
        MN_GOTO(stand_in(&memory, p));
        for (size_t i = 0; i < count; i++) {
            memories[i] = memory;
            names[i] = p->run->variants[i].name;
        }
        options.memories = memories;
        options.names = names;
        options.memory_count = (int64_t)count;
    }
    st = mn_evaluation_plan(out, p->model, p->tokenizer, p->fever, &options);
    if (mn_run_full(p->run)) out->flops *= (double)(count + 1); /* a pass for each model */
done:
    mn_memory_close(&memory);
    free(names);
    free(memories);
    return st;
}

static mn_status add_evaluation(plan *p) {
    mn_eval_estimate e;
    mn_buf name = {0};
    mn_status st = mn_buf_printf(&name, "evaluate %zu variants", p->run->count + 1);
    if (st == MN_OK) st = add_step(p, name.data, p->run->is_evaluated);
    mn_buf_free(&name);
    MN_TRY(st);
    if (p->run->is_evaluated || !p->model || !p->fever) return skip_cells(p, 6);
    MN_TRY(estimate_evaluation(&e, p));
    MN_TRY(mn_table_cell(p->table, "%lld", (long long)e.prompts));
    MN_TRY(skip_cells(p, 1));
    MN_TRY(mn_table_cell(p->table, "%lld", (long long)e.tokens));
    MN_TRY(cell_bytes(p->table, (double)e.kv_bytes + (double)e.step_bytes));
    MN_TRY(skip_cells(p, 1));
    return add_time(p, e.flops);
}

static mn_status add_steps(plan *p) {
    static const mn_column columns[] = {
        {"step", MN_LEFT},    {"state", MN_LEFT},   {"samples", MN_RIGHT},     {"steps", MN_RIGHT},
        {"tokens", MN_RIGHT}, {"memory", MN_RIGHT}, {"of it cache", MN_RIGHT}, {"time", MN_RIGHT}};
    const mn_run *run = p->run;
    MN_TRY(mn_table_open(&p->table, columns, sizeof columns / sizeof *columns));
    MN_TRY(add_step(p, "prepare", run->is_prepared));
    MN_TRY(skip_cells(p, 6));
    for (size_t i = 0; i < run->count; i++) MN_TRY(add_training(p, &run->variants[i]));
    MN_TRY(add_evaluation(p));
    MN_TRY(add_step(p, "report", run->is_reported));
    MN_TRY(mn_buf_puts(&p->out, "\n"));
    return mn_table_text(&p->out, p->table);
}

/* How the figures were made, or what is missing for them. */
static mn_status add_notes(plan *p) {
    const char *missing = p->model              ? "data is"
                          : p->run->is_prepared ? "model folder is"
                                                : "model folder and the data are";
    if (p->model && p->fever)
        return mn_buf_puts(
            &p->out, "\nTokens: those that pass through the model. Memory: beside the weights, "
                     "which are mapped from their files.\nTime: products with weights alone, "
                     "at the rate above; the rest comes on top.\n");
    MN_TRY(mn_buf_printf(
        &p->out, "\nSamples, tokens, memory and time can be told when the %s there.\n", missing));
    return p->model && !mn_run_full(p->run) ? add_chunks(p) : MN_OK;
}

mn_status mn_run_plan(mn_run *run) {
    plan p = {.run = run};
    mn_status st = MN_OK;
    MN_GOTO(open_inputs(&p));
    MN_GOTO(add_inputs(&p));
    MN_GOTO(add_steps(&p));
    MN_GOTO(add_notes(&p));
    st = mn_print(&p.out);
done:
    mn_buf_free(&p.out);
    mn_table_close(&p.table);
    mn_fever_close(&p.fever);
    mn_tokenizer_close(&p.tokenizer);
    mn_model_close(&p.model);
    mn_device_close(&p.device);
    return st;
}
