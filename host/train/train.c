/* train.c - opens what one training needs, in order, and runs it. */
#include "train/trainer.h"

#include "train/fingerprint.h"
#include "train/folders.h"
#include "train/options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static mn_status open_model(trainer *t) {
    const mn_train_options *o = t->o;
    mn_status st = MN_OK;
    mn_model *stored = NULL;
    mn_model_config config;
    if (o->init == MN_INIT_RANDOM) {
        MN_TRY(mn_model_config_load(&config, o->model));
        return mn_model_init(&t->model, &config, o->model, (uint64_t)o->seed, t->device,
                             t->ranks.tp);
    }
    if (o->backbone && o->update == MN_UPDATE_MEMORY) {
        MN_CHECK(o->backbone->device == t->device && strcmp(o->backbone->path, o->model) == 0,
                 MN_ERR_USAGE, "the backbone that is open is %s on %s, %s on %s is to be trained",
                 o->backbone->path, o->backbone->device->name, o->model, t->device->name);
        t->model = o->backbone;
        return MN_OK;
    }
    MN_TRY(mn_model_open(&stored, o->model, t->device, t->ranks.tp));
    if (o->update == MN_UPDATE_FULL) {
        st = mn_model_trainable(&t->model, stored);
        mn_model_close(&stored);
    } else {
        t->model = stored;
        st = mn_model_pack(t->model, t->ranks.world);
    }
    return st;
}

static mn_status open_samples(trainer *t) {
    const mn_train_options *o = t->o;
    mn_status st = MN_OK;
    mn_fever *fever = NULL;
    const mn_samples_options options = {.method = o->method,
                                        .num_fewshot = (int)o->num_fewshot,
                                        .template_loss = o->template_loss,
                                        .chunk_length = o->chunk_length,
                                        .chunk_stride = o->chunk_stride,
                                        .append_eos = o->append_eos,
                                        .max_positions = t->model->config.max_positions,
                                        .validation_fraction = o->validation_fraction,
                                        .seed = (uint64_t)o->seed};
    MN_TRY(mn_tokenizer_open(&t->tokenizer, o->model));
    MN_CHECK(mn_tokenizer_size(t->tokenizer) <= t->model->config.vocab, MN_ERR_DATA,
             "%s: the tokenizer has %d tokens, the model %lld: they do not belong together",
             o->model, mn_tokenizer_size(t->tokenizer), (long long)t->model->config.vocab);
    if (o->texts) return mn_samples_texts(&t->samples, o->texts, t->tokenizer, &options);
    MN_TRY(mn_fever_open(&fever, o->data));
    st = mn_samples_fever(&t->samples, fever, t->tokenizer, &options);
    mn_fever_close(&fever);
    return st;
}

/* Copies the values of an adapter of the same shape. */
static mn_status start_from(mn_memory *memory, mn_model *model, const char *dir) {
    mn_status st = MN_OK;
    mn_memory *from = NULL;
    MN_TRY(mn_memory_load(&from, model, dir));
    for (int64_t i = 0; i < memory->count * MN_MEMORY_PARAMS; i++) {
        mn_memory_param to, value = {.name = "nothing"};
        mn_memory_param_at(&to, memory, i);
        if (i < from->count * MN_MEMORY_PARAMS) mn_memory_param_at(&value, from, i);
        MN_CHECK_GOTO(from->count == memory->count && strcmp(to.name, value.name) == 0 &&
                          mn_tensor_count(to.tensor) == mn_tensor_count(value.tensor),
                      MN_ERR_USAGE, "memory.init_from: %s has %s where %s of this width is needed",
                      dir, value.name, to.name);
        MN_GOTO(mn_cast(model->device, to.tensor, value.tensor));
    }
done:
    mn_memory_close(&from);
    return st;
}

static mn_status open_memory(trainer *t) {
    const mn_train_options *o = t->o;
    const mn_memory_options options = {.name = mn_train_methods[o->method],
                                       .hidden = o->memory.hidden,
                                       .from = o->memory.location[0],
                                       .to = o->memory.location[1],
                                       .blocks = o->memory.blocks,
                                       .block_count = o->memory.block_count,
                                       .gate = o->memory.gate,
                                       .seed = (uint64_t)o->seed};
    if (o->update == MN_UPDATE_FULL) return MN_OK;
    MN_TRY(mn_memory_create(&t->memory, t->model, &options));
    t->first = t->memory->layers[0].block;
    return o->memory.init_from ? start_from(t->memory, t->model, o->memory.init_from) : MN_OK;
}

static mn_status count_steps(trainer *t) {
    const mn_train_options *o = t->o;
    const int64_t size = o->per_device_train_batch_size * o->gradient_accumulation_steps;
    t->steps_per_epoch = (t->samples->train_count + size - 1) / size;
    /* Against 0.1 * 30 = 3.0000000000000004 and the like. */
    const double steps = ceil(o->num_train_epochs * (double)t->steps_per_epoch - 1e-9);
    MN_CHECK(o->max_steps > 0 || steps < 1e15, MN_ERR_USAGE, "num_train_epochs: %g is too many",
             o->num_train_epochs);
    t->steps = o->max_steps > 0 ? o->max_steps : (int64_t)steps;
    return MN_OK;
}

/* What a plan needs as well: model, texts, memory, numbers of steps. */
static mn_status open_inputs(trainer *t) {
    MN_TRY(mn_train_options_check(t->o));
    MN_TRY(open_model(t));
    MN_TRY(open_samples(t));
    MN_TRY(open_memory(t));
    MN_TRY(mn_fingerprint_model(&t->identity.model, t->o->model, t->o->init == MN_INIT_PRETRAINED));
    t->identity.samples = t->samples->fingerprint;
    return count_steps(t);
}

static double passes(const trainer *t) {
    return t->samples->train_count < t->samples->count
               ? INFINITY /* validation comes again and again */
               : (double)t->steps / (double)t->steps_per_epoch;
}

static mn_tape_options tape_options(const trainer *t) {
    return (mn_tape_options){
        .max_tokens = mn_batch_most_tokens(t->samples, t->o->per_device_train_batch_size),
        .max_seqs = t->o->per_device_train_batch_size,
        .compute = t->o->compute,
        .full = t->o->update == MN_UPDATE_FULL,
        .may_overflow = t->scale.active};
}

static mn_status open_work(trainer *t) {
    const mn_train_options *o = t->o;
    const int64_t dim = t->model->config.dim;
    const mn_tape_options options = tape_options(t);
    mn_train_cache place;
    int64_t bytes;
    MN_TRY(mn_cache_place(&place, &bytes, o, t->samples, dim, t->first, passes(t)));
    MN_TRY(mn_cache_open(&t->cache, place, o, t->samples, dim));
    MN_TRY(mn_batch_open(&t->batch, t->samples, o->per_device_train_batch_size, dim, t->first > 0));
    MN_TRY(mn_batch_open(&t->ahead, t->samples, o->per_device_train_batch_size, dim, t->first > 0));
    MN_TRY(mn_tape_open(&t->tape, t->model, t->memory, t->params.memory_grads,
                        t->params.model_grads, &options));
    mn_log(MN_LOG_INFO, "%s: %lld samples, %lld steps, %.3g M parameters to train",
           mn_train_methods[o->method], (long long)t->samples->train_count, (long long)t->steps,
           (double)t->params.numbers / 1e6);
    if (place != MN_CACHE_OFF)
        mn_log(MN_LOG_INFO, "activations below block %lld are kept in %s: %.0f MiB",
               (long long)t->first, place == MN_CACHE_FILE ? "a file" : "memory",
               (double)bytes / 0x1p20);
    return MN_OK;
}

static void close_trainer(trainer *t) {
    mn_tape_close(&t->tape);
    mn_batch_close(&t->batch);
    mn_batch_close(&t->ahead);
    mn_cache_close(&t->cache);
    mn_params_close(&t->params);
    mn_memory_close(&t->memory);
    mn_samples_close(&t->samples);
    mn_tokenizer_close(&t->tokenizer);
    if (t->model != t->o->backbone) mn_model_close(&t->model);
    mn_train_log_close(&t->log);
}

static mn_status open_params(trainer *t) {
    /* A memory's means are small; a whole model's are twice its size. */
    mn_comm *owners = t->memory ? NULL : t->ranks.dp;
    MN_TRY(mn_params_open(&t->params, t->model, t->memory, t->o, owners));
    t->scale = mn_loss_scale(t->device);
    return MN_OK;
}

static mn_status restore(trainer *t, const mn_buf *from) {
    if (from->len > 0) MN_TRY(mn_train_restore(t, from->data));
    return t->leads ? mn_train_log_begin(t->log, t->state.step) : MN_OK;
}

static trainer begin(mn_device *device, const mn_train_options *options) {
    trainer t = {.o = options, .device = device, .begin = mn_now()};
    if (options->ranks) t.ranks = *options->ranks;
    t.leads = mn_comm_rank(t.ranks.world) == 0;
    t.state.best_eval = t.state.eval_loss = (double)NAN;
    return t;
}

mn_status mn_train(mn_train_summary *out, mn_device *device, const mn_train_options *options) {
    mn_status st = MN_OK;
    mn_buf from = {0};
    bool finished = false;
    trainer t = begin(device, options);
    *out = (mn_train_summary){0};
    MN_GOTO(mn_ranks_agree(&t.ranks, open_inputs(&t)));
    MN_GOTO(mn_train_same_inputs(&t));
    MN_GOTO(mn_train_look(&t, &from, &finished, out));
    if (finished) goto done;
    MN_GOTO(mn_comm_attach(t.ranks.dp, device));
    MN_GOTO(mn_comm_agree(t.ranks.world, open_params(&t)));
    MN_GOTO(mn_comm_agree(t.ranks.world, restore(&t, &from)));
    out->resumed = from.len > 0;
    MN_GOTO(mn_ranks_agree(&t.ranks, open_work(&t)));
    MN_GOTO(mn_train_loop(&t));
    st = mn_train_finish(&t, out);
done:
    close_trainer(&t);
    mn_buf_free(&from);
    return st;
}

/* ---- plan ---- */

/* Numbers in the matrices of one block, of the memories, and of the output matrix. */
static double block_weights(const mn_model_config *c) {
    double sum = 0;
    for (int64_t i = 0; i < mn_binding_count(c); i++) {
        mn_binding_row row;
        mn_binding_at(&row, c, NULL, i);
        if (row.layer == 0 && row.ndim == 2) sum += (double)row.shape[0] * (double)row.shape[1];
    }
    return sum;
}

/* Two operations per weight and token forward, two for the gradient of the input, two for that of
 * the weight; attention's products with the keys are left out. */
static double step_flops(const trainer *t, double tokens, double targets, double trunk_tokens) {
    const mn_model_config *c = &t->model->config;
    const double block = block_weights(c), head = (double)c->vocab * (double)c->dim;
    const double own = t->memory ? (double)mn_memory_parameters(t->memory) : 0;
    const double top = block * (double)(c->layers - t->first);
    if (!t->memory) return 6 * (top * tokens + head * targets);
    return 2 * block * (double)t->first * trunk_tokens + 4 * top * tokens + 4 * head * targets +
           6 * own * tokens;
}

static mn_status estimate(mn_train_estimate *e, trainer *t) {
    const mn_tape_options options = tape_options(t);
    const int64_t dim = t->model->config.dim;
    mn_train_cache place;
    int64_t cache = 0, tape = 0;
    MN_TRY(mn_cache_place(&place, &cache, t->o, t->samples, dim, t->first, passes(t)));
    MN_TRY(mn_tape_plan(&tape, t->model, t->memory, &options));
    *e = (mn_train_estimate){.samples = t->samples->train_count,
                             .steps = t->steps,
                             .steps_per_epoch = t->steps_per_epoch};
    for (int64_t i = 0; i < t->samples->train_count; i++) {
        e->epoch_tokens += mn_sample_inputs(&t->samples->items[i]);
        e->epoch_targets += mn_sample_targets(&t->samples->items[i]);
    }
    e->parameters = t->memory ? mn_memory_parameters(t->memory)
                              : mn_model_parameters(&t->model->config);
    e->cache_bytes = place == MN_CACHE_FILE ? -1 : place == MN_CACHE_OFF ? 0 : cache;
    /* Gradient and two means, and in full mode the weights themselves, the means being shared by the replicas. */
    const int64_t replicas = t->memory ? 1 : mn_comm_size(t->ranks.dp);
    e->bytes = tape + e->parameters * (t->memory ? 1 : 2) * 4 + e->parameters * 2 * 4 / replicas +
               (t->first > 0 ? 2 * options.max_tokens * dim * 4 : 0);
    if (place == MN_CACHE_MEMORY) e->bytes += cache;
    const double epochs = (double)t->steps / (double)t->steps_per_epoch;
    const double tokens = (double)e->epoch_tokens * epochs;
    const double once = place == MN_CACHE_OFF ? tokens : fmin(tokens, (double)e->epoch_tokens);
    e->flops = step_flops(t, tokens, (double)e->epoch_targets * epochs, once);
    return MN_OK;
}

mn_status mn_train_plan(mn_train_estimate *out, mn_device *device,
                        const mn_train_options *options) {
    trainer t = begin(device, options);
    mn_status st = open_inputs(&t);
    if (st == MN_OK) st = estimate(out, &t);
    close_trainer(&t);
    return st;
}
