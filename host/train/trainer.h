/* trainer.h (internal) - one training: what it reads, what it changes, how far it is.
 *
 * Everything that a step needs stands here; it is made once (train.c), a step allocates nothing. On several ranks each
 * has a trainer: the state is the same on all of them, since all decide by the same numbers; only the samples of a batch,
 * their losses and their cache are its own. What is marked `collective` all ranks call. */
#ifndef MNEME_TRAIN_TRAINER_H
#define MNEME_TRAIN_TRAINER_H

#include "mneme/json.h"
#include "mneme/log.h"
#include "mneme/tape.h"
#include "train/cache.h"
#include "train/loss_scale.h"
#include "train/params.h"
#include "train/train_log.h"

/* Room for a batch of samples, on the host. */
typedef struct train_batch {
    int64_t max_tokens, max_seqs;
    int32_t *ids, *outputs, *targets; /* [max_tokens] each */
    int64_t *lengths, *samples;       /* [max_seqs] */
    float *hidden;                    /* (max_tokens, dim), or NULL: there is no trunk */
    mn_train_batch view;
    int64_t kept;              /* samples whose trunk pass the cache has saved */
    int64_t epoch, begin, end; /* places in the order of an epoch; end 0: none */
} train_batch;

/* What a checkpoint carries beside tensors; together with the options it decides all that follows. */
typedef struct train_state {
    int64_t step; /* done */
    int64_t tokens, targets;
    double loss_sum; /* over all targets so far */
    double window_loss, epoch_loss;
    int64_t window_targets, epoch_targets; /* since the last log line; in this epoch */
    double best_eval, eval_loss;           /* NaN: none yet */
    int64_t bad_evals;                     /* validations since the best one */
    double seconds;                        /* of earlier runs */
    bool stopped_early;
} train_state;

/* Told apart from other inputs by fingerprints. */
typedef struct train_identity {
    uint64_t model, samples;
} train_identity;

typedef struct trainer {
    const mn_train_options *o;
    mn_ranks ranks; /* who works on it */
    bool leads;     /* this is rank 0 of all: it alone writes, and has a log */
    mn_device *device;
    mn_tokenizer *tokenizer;
    mn_samples *samples;
    mn_model
        *model; /* the one that the tape runs: in full mode all fp32; or the caller's backbone */
    mn_memory *memory; /* NULL in full mode */
    train_params params;
    mn_tape *tape;
    activation_cache *cache;
    train_batch batch, ahead; /* at work; read while the device works on the one before */
    train_log *log;
    train_identity identity;
    train_state state;
    loss_scale scale;
    int64_t first; /* the lowest block with a memory */
    int64_t steps_per_epoch, steps;
    int64_t cached; /* trunk passes saved in this run, by this rank */
    double begin, last_logged;
    int64_t last_tokens; /* of state.tokens when the last line was written */
} trainer;

/* ---- batch.c ---- */

/* Room for any `batch_size` samples; `trunk`: with what enters the lowest block. */
mn_status mn_batch_open(train_batch *out, const mn_samples *samples, int64_t batch_size,
                        int64_t dim, bool trunk);
void mn_batch_close(train_batch *batch);
int64_t mn_batch_most_tokens(const mn_samples *samples, int64_t batch_size);
/* Packs the first `count` of b->samples and gets what enters block t->first; b->kept counts those that were not asked
 * for in this step before. */
mn_status mn_batch_fill(trainer *t, train_batch *batch, int64_t count, int64_t step);
/* Whether that needs no pass through the trunk. */
bool mn_batch_is_kept(const trainer *t, const train_batch *batch, int64_t count);

/* ---- ranks.c: collective ---- */

/* Behind the batches of a step or a validation, which may have failed on this rank alone (mn_ranks_agree): all get the
 * sum of their losses, and hear of an overflow. */
mn_status mn_train_join(const trainer *t, mn_status mine, double *loss, bool *overflow);
/* Fails where a rank has other keys, another model or other texts than rank 0. */
mn_status mn_train_same_inputs(const trainer *t);
/* Opens and locks output_dir (rank 0) and tells all whether a training has ended there, or where to go on from. */
mn_status mn_train_look(trainer *t, mn_buf *from, bool *finished, mn_train_summary *summary);

/* ---- loop.c: collective ---- */

mn_status mn_train_loop(trainer *t);

/* ---- checkpoint.c ---- */

/* Collective. The files are those of one rank, whatever number writes or reads them. */
mn_status mn_train_save(trainer *t);
/* Where to go on from by the options; empty when there is nothing. */
mn_status mn_train_find(mn_buf *path, const mn_train_options *options);
mn_status mn_train_restore(trainer *t, const char *path); /* every rank reads what it needs */
/* Both identities and all keys in a JSON object: the end of trainer_state.json and train_results.json. */
mn_status mn_train_identify(mn_buf *out, const trainer *t);
mn_status mn_train_same(const mn_json *doc, const trainer *t);

/* ---- finish.c ---- */

/* The result in output_dir; train_results.json last. Collective. */
mn_status mn_train_finish(trainer *t, mn_train_summary *summary);
/* *finished is true when output_dir holds that of the same training. */
mn_status mn_train_finished(bool *finished, mn_train_summary *summary, const trainer *t);

#endif
