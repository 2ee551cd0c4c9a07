/* evaluation.h (internal) - what evaluate.c, journal.c and samples.c share. */
#ifndef MNEME_EVAL_EVALUATION_H
#define MNEME_EVAL_EVALUATION_H

#include "mneme/evaluate.h"

/* One prompt: a row of the data under a number of shots. */
typedef struct eval_prompt {
    int64_t row; /* index into fever->eval */
    int shots;
    size_t begin, len; /* its tokens in mn_evaluation.ids */
    int8_t generated;  /* answer read off the text, -1 unreadable */
    int8_t chosen;     /* the likeliest candidate */
    bool known;        /* answered before this run, by the journal */
} eval_prompt;

typedef struct journal journal;

struct mn_evaluation {
    mn_model *model;
    const mn_tokenizer *tokenizer;
    const mn_fever *fever;
    mn_eval_options options;
    int64_t rows; /* per shot count */
    int64_t count;
    eval_prompt *prompts; /* [count], by page, shots, row */
    mn_request *requests;
    mn_completion *answers;
    mn_ids ids;
    mn_ids candidates[MN_LABELS];
    mn_buf text; /* scratch */
    journal *journal;
    struct mn_progress *progress;
    double begin;
    char architecture[96];
    char *model_name;
    mn_results results;
    int8_t *gold, *pred; /* per entry, [entries][rows] */
    int64_t *cluster;
};

/* The generated text of a prompt, into `out` (cleared first). */
mn_status mn_eval_text(const mn_evaluation *e, int64_t prompt, mn_buf *out);

/* The journal of this evaluation below its output folder: answers that an earlier run left are put
 * into e->answers and marked known. */
mn_status mn_journal_open(mn_evaluation *e);
mn_status mn_journal_add(mn_evaluation *e, const int64_t *prompts, int64_t count);
mn_status mn_journal_remove(mn_evaluation *e);
void mn_journal_close(journal **j);

/* One samples file per shot count; its prompts, generations, log-likelihoods and answers. */
mn_status mn_samples_write(mn_evaluation *e);
void mn_samples_remove(const mn_evaluation *e);

#endif
