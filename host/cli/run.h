/* run.h (internal to mneme run) - an experiment in its run folder: what is there, what is left to do.
 *
 *   RUN/config.json          the resolved keys; 'mneme run RUN/config.json' is the same run
 *   RUN/prepared/            what mneme prepare writes, unless `data` names such a folder
 *   RUN/train/<variant>/     what mneme train writes; train_results.json ends it
 *   RUN/eval/                results and journal; evaluation.json, written last, says of which weights
 *   RUN/report/              report.html is written last
 *
 * Every step looks at its own last file, so a run that was killed goes on where it was. */
#ifndef MNEME_CLI_RUN_H
#define MNEME_CLI_RUN_H

#include "cli/keys.h"

typedef struct mn_run_keys {
    const char *model, *run_dir, *data, *claims, *train_claims, *wiki;
    mn_option_list methods; /* 0 is the base, others 1 + mn_train_method */
    mn_option_reals weight_decays;
    int64_t train_num_fewshot, seed, prepare_seed;
    int compute;
    bool dry_run;
    mn_prepare_keys prepare;
    mn_train_keys train;
    mn_eval_keys eval;
} mn_run_keys;

/* One trained variant: "gpt_wikipage-wd0.05", with "-full" before the decay where the model itself
 * was trained. */
typedef struct mn_run_variant {
    char *name, *dir;
    mn_train_method method;
    double weight_decay;
    bool done;                  /* its training has ended */
    char sha256[MN_SHA256_HEX]; /* of the weights that it has left; "" before */
} mn_run_variant;

typedef struct mn_run {
    const mn_cli *cli;
    mn_run_keys keys;
    const char *data; /* the prepared folder */
    char *prepared, *train, *eval, *report, *config;
    mn_run_variant *variants;
    size_t count;
    mn_model *backbone; /* keys.model for all steps, opened when the first one needs it */
    bool is_prepared, is_trained, has_evaluation, is_evaluated, is_reported;
    int lock;
} mn_run;

/* ---- run_folder.c ---- */

/* Names the folder's parts, makes it and locks it (not for a dry run), looks at what is there and
 * refuses keys that contradict it, then writes config.json. */
mn_status mn_run_open(mn_run *run, const mn_cli *cli, const mn_run_keys *keys);
void mn_run_close(mn_run *run); /* safe twice */
/* Looks again at what is done. */
mn_status mn_run_look(mn_run *run);
/* The sha256 of a variant's weights; fails when there are none. */
mn_status mn_run_weights(mn_run_variant *variant, bool full);
bool mn_run_full(const mn_run *run); /* the model itself is trained, not memories */

/* RUN/eval/evaluation.json */
mn_status mn_run_mark_evaluated(mn_run *run, const char *results);

/* Which parts of a run folder a key is bound to; 0: it may change at any time. */
enum { MN_RUN_PREPARED = 1, MN_RUN_TRAINED = 2, MN_RUN_EVALUATED = 4 };
unsigned mn_run_bound(const char *key); /* cmd_run.c, which has the tables */

/* ---- run_plan.c, run_steps.c, run_evaluate.c ---- */

mn_status mn_run_plan(mn_run *run);  /* prints what is to be done and what it takes */
mn_status mn_run_steps(mn_run *run); /* does it */
mn_status mn_run_evaluate(mn_run *run, mn_device *device);
mn_status mn_run_backbone(mn_run *run, mn_device *device); /* opens it */

/* The keys of a step as its command would have them. */
mn_prepare_keys mn_run_prepare_keys(const mn_run *run);
mn_status mn_run_train_options(mn_train_options *out, const mn_run *run,
                               const mn_run_variant *variant);
mn_eval_options mn_run_eval_options(const mn_run *run);

#endif
