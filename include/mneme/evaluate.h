/* evaluate.h - few-shot FEVER evaluation of one model on a prepared folder.
 *
 * Every (page, shots, row) is one prompt; both scorings come from one pass. Finished prompts are
 * journalled below the output folder, so that an interrupted evaluation goes on where it stopped and
 * ends with the same numbers (batches depend on the data and options alone, and only whole ones are
 * taken from the journal), in files named after its first start, be it with the same number of ranks or another. The
 * journals are removed when the results have been written.
 *
 * Memories are evaluated beside the base in the same pass (complete.h), each as it would be alone. An
 * effect audit goes with them: a memory that changes nothing is MN_ERR_DATA with its name, never a row. */
#ifndef MNEME_EVALUATE_H
#define MNEME_EVALUATE_H

#include "mneme/comm.h"
#include "mneme/complete.h"
#include "mneme/fever.h"
#include "mneme/results.h"
#include "mneme/tokenizer.h"

typedef struct mn_eval_options {
    int shots[MN_MAX_SHOTS + 1]; /* distinct, 0 .. 5 */
    int shots_count;
    bool generate, choice; /* scorings; at least one */
    int64_t limit;         /* rows; 0: all */
    int64_t batch_size;    /* prompts per batch; 0: chosen from the data */
    int64_t max_gen_toks;  /* tokens of an answer at most; it also ends at ")" or a new line */
    bool share_prefixes;
    mn_compute compute;
    mn_unparsed unparsed;
    int bootstrap_iters;
    uint64_t seed;
    const char *model_path, *data_path;
    const char *output_path; /* a folder, or a name ending in .json (results.h) */
    bool log_samples;
    const mn_memory *const *memories; /* [memory_count]; they outlive the evaluation */
    int64_t memory_count;
    const char *const *names; /* of the memories in tables and files; NULL: their own */
    bool no_base; /* only the memories; the base is needed for the first batch's audit */
    /* Who else works on this evaluation (comm.h); NULL: nobody. All ranks call with the same options; the model's
     * `tp` is that of the ranks. Batches are handed out over the replicas, rank 0 of the world writes. */
    const mn_ranks *ranks;
} mn_eval_options;

typedef struct mn_evaluation mn_evaluation;

/* Evaluates; the results are computed but not written. The arguments must outlive the evaluation. With ranks it is
 * collective, as is writing, and all ranks have the same results: those of one rank alone, bit for bit, since the batches
 * are the same; where ranks share the model, but for the order of sums. */
mn_status mn_evaluation_run(mn_evaluation **out, mn_model *model, const mn_tokenizer *tokenizer,
                            const mn_fever *fever, const mn_eval_options *options);
const mn_results *mn_evaluation_results(const mn_evaluation *evaluation);
/* Writes results_*.json (its name goes to `path`, which may be NULL), samples_*.jsonl when asked for, and removes
 * the journals. */
mn_status mn_evaluation_write(mn_evaluation *evaluation, mn_buf *path);
void mn_evaluation_close(mn_evaluation **evaluation);

/* What an evaluation will take, without answering anything. */
typedef struct mn_eval_estimate {
    int64_t prompts, prompt_tokens;
    int64_t tokens;               /* of the prompts that are computed: shared ones count once */
    int64_t kv_bytes, step_bytes; /* memory beside the weights */
    /* About: products with the weights alone. Of the answers, every candidate's tokens are counted and
     * as many generated ones as there may be. */
    double flops;
} mn_eval_estimate;
mn_status mn_evaluation_plan(mn_eval_estimate *out, mn_model *model, const mn_tokenizer *tokenizer,
                             const mn_fever *fever, const mn_eval_options *options);

#endif
