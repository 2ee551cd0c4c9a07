/* train.h - trains the memories of a frozen backbone, or a whole model, from start to result.
 *
 * mn_train does everything for one variant: opens model, tokenizer and texts, trains, and leaves in
 * output_dir
 *   adapter_config.json, adapter_model.safetensors    the memory (memory.h); with update full instead
 *                        config.json, model.safetensors and the tokenizer's files: a model folder
 *   train_log.jsonl      one object per logged step: step, epoch, loss (mean over the targets since the
 *                        last line), grad_norm, learning_rate (both of that step), tokens (so far),
 *                        tokens_per_second, time; validations: step, epoch, eval_loss, time
 *   events.out.tfevents.*  the same for TensorBoard
 *   checkpoint-N/        after step N: weights, optimizer.safetensors, trainer_state.json; complete
 *                        when DONE exists
 *   train_results.json   written last: train_loss, train_runtime, train_tokens, steps, options
 *
 * Which samples a step sees is a pure function of (seed, step): stopped anywhere, the same call goes on
 * from the newest complete checkpoint and ends with bit-identical weights. On a stop request (signals.h)
 * it saves after the current step and returns MN_STOPPED. The activation cache, the logging and
 * saving keys and the number of threads never change a weight.
 *
 * One step is per_device_train_batch_size * gradient_accumulation_steps samples (fewer at the end of
 * an epoch), of all ranks together: unlike Hugging Face's, where every process adds that many. Its loss is the mean over all their targets, whatever the batches. AdamW as torch.optim.AdamW,
 * clipping as torch.nn.utils.clip_grad_norm_, schedules as transformers' get_*_schedule_with_warmup:
 * step t = 0, 1 .. uses the rate of lambda(t), so that the first step of a warm-up has rate 0.
 *
 * Several ranks (comm.h) train as one: the samples of a step are handed out over the replicas, each computes at most
 * per_device_train_batch_size of its own at a time, and one message adds up the gradients. Losses and weights are those
 * of one rank but for the order of the sums; with the same ranks they are bit-identical from run to run. With update full
 * each replica has 1/dp of AdamW's means (ZeRO-1). All files are written by rank 0 and are those of one rank: a checkpoint of
 * any number of ranks goes on with any other. output_dir is seen by all. The activation cache is each rank's own: of the
 * samples that it has computed. */
#ifndef MNEME_TRAIN_H
#define MNEME_TRAIN_H

#include "mneme/comm.h"
#include "mneme/memory.h"
#include "mneme/train_data.h"

typedef enum mn_train_update { MN_UPDATE_MEMORY, MN_UPDATE_FULL } mn_train_update;
typedef enum mn_train_init { MN_INIT_PRETRAINED, MN_INIT_RANDOM } mn_train_init;
typedef enum mn_train_schedule {
    MN_SCHEDULE_COSINE,
    MN_SCHEDULE_LINEAR,
    MN_SCHEDULE_CONSTANT
} mn_train_schedule;
typedef enum mn_train_cache {
    MN_CACHE_AUTO,
    MN_CACHE_OFF,
    MN_CACHE_MEMORY,
    MN_CACHE_FILE
} mn_train_cache;
typedef enum mn_train_cache_dtype { MN_CACHE_FP32, MN_CACHE_FP16 } mn_train_cache_dtype;
typedef enum mn_train_save_dtype { MN_SAVE_FP32, MN_SAVE_FP16, MN_SAVE_BF16 } mn_train_save_dtype;

/* The names of their values, in order, ended by NULL. */
extern const char *const mn_train_updates[],
    *const mn_train_inits[], *const mn_train_schedules[], *const mn_train_caches[],
                                                              *const mn_train_cache_dtypes[],
                                                                  *const mn_train_save_dtypes[],
                                                                      *const mn_train_computes[],
                                                                          *const mn_param_groups[];

/* One step, as it is told to a listener. */
typedef struct mn_train_step {
    int64_t step, steps; /* 1 .. steps */
    double epoch, loss, grad_norm, learning_rate;
    int64_t tokens, targets; /* of this step */
} mn_train_step;

enum { MN_TRAIN_BLOCKS_MAX = 64 };

typedef struct mn_train_options {
    /* train_keys.def says what they mean */
    const char *model, *data, *texts, *output_dir, *resume_from_checkpoint;
    mn_train_method method;
    mn_train_update update;
    mn_train_init init;
    double learning_rate, weight_decay, num_train_epochs, max_grad_norm;
    double adam_beta1, adam_beta2, adam_epsilon, validation_fraction;
    int64_t max_steps, per_device_train_batch_size, gradient_accumulation_steps, warmup_steps;
    mn_train_schedule lr_scheduler_type;
    int64_t num_fewshot, chunk_length, chunk_stride;
    mn_template_loss template_loss;
    bool append_eos;
    struct {
        int64_t hidden;
        double gate;
        const char *init_from;
        double location[2];                  /* memory.location: blocks i of n, from <= i/n < to */
        int64_t blocks[MN_TRAIN_BLOCKS_MAX]; /* memory.blocks: these instead, when there are any */
        int64_t block_count;
    } memory;
    unsigned decay_groups; /* bit 1 << mn_param_group; default: the matrices */
    mn_train_cache activation_cache;
    int64_t activation_cache_mb;
    mn_train_cache_dtype activation_cache_dtype;
    mn_compute compute;
    int64_t logging_steps, eval_steps, early_stopping_patience, save_steps, save_total_limit;
    mn_train_save_dtype save_dtype;
    int64_t seed;
    /* Called after every step of this run, on every rank; what it returns ends the run unless it is MN_OK. */
    mn_status (*on_step)(void *context, const mn_train_step *step);
    void *context;
    /* `model`, opened by this name and packed before on the same device (else MN_ERR_USAGE), for trainings one after
     * the other; it is not changed. NULL: it is opened for this one, as where it changes (update full, init random) in any
     * case. */
    mn_model *backbone;
    /* Who else works on this training (comm.h); NULL: nobody. All ranks call with the same options, which is looked at,
     * as are the model and the texts that each of them reads. A backbone is shared by the same `tp`. */
    const mn_ranks *ranks;
} mn_train_options;

void mn_train_defaults(mn_train_options *out); /* of every key; paths NULL */
/* Appends all keys with their values as a JSON object. */
mn_status mn_train_options_json(mn_buf *out, const mn_train_options *options);

typedef struct mn_train_summary {
    int64_t steps, epochs_done, samples, tokens, targets, parameters;
    double loss;       /* mean over all targets of all steps */
    double epoch_loss; /* of the last epoch that was begun; NaN when another run did it */
    double eval_loss;  /* of the last validation; NaN: none */
    double seconds;    /* all runs together */
    bool resumed, finished_before, stopped_early;
    int64_t cached_samples; /* trunk passes that the cache has saved in this run, of all replicas */
} mn_train_summary;

/* When output_dir holds a finished training with the same keys, that is all: finished_before. With
 * other keys, or a checkpoint with other keys, it is MN_ERR_USAGE and the key is named
 * (resume_from_checkpoint "never" removes what is there). NaN or infinity is MN_ERR_NUMERIC with step
 * and block; the weights are those of the last good step and nothing is saved. */
mn_status mn_train(mn_train_summary *out, mn_device *device, const mn_train_options *options);

/* What it will take, without training. */
typedef struct mn_train_estimate {
    int64_t samples, steps, steps_per_epoch;
    int64_t epoch_tokens, epoch_targets; /* read and asked for in one epoch */
    int64_t parameters;                  /* that are trained */
    int64_t bytes;                       /* memory beside the backbone's weights */
    int64_t cache_bytes; /* of them for the activation cache; -1: in a file instead */
    double flops;        /* about: all steps, with the trunk computed once if it is cached */
} mn_train_estimate;
mn_status mn_train_plan(mn_train_estimate *out, mn_device *device, const mn_train_options *options);

/* lambda(t) of the schedules, to be multiplied by learning_rate. */
double mn_train_rate(mn_train_schedule schedule, int64_t step, int64_t warmup_steps, int64_t steps);

#endif
