/* evaluation.h (internal) - what the files of an evaluation share. */
#ifndef MNEME_EVAL_EVALUATION_H
#define MNEME_EVAL_EVALUATION_H

#include "mneme/evaluate.h"

/* One prompt: a row of the data under a number of shots. */
typedef struct eval_prompt {
    int64_t row; /* index into fever->eval */
    int shots;
    size_t begin, len; /* its tokens in mn_evaluation.ids */
} eval_prompt;

/* What one variant says to a prompt. */
typedef struct eval_answer {
    int8_t generated; /* read off the text, -1 unreadable */
    int8_t chosen;    /* the likeliest candidate */
    bool known;       /* by the journal or from another rank */
    bool here;        /* answered by this rank in this run */
} eval_answer;

typedef struct eval_variant {
    const mn_memory *memory; /* NULL: the base */
    const char *name;        /* NULL: the base */
} eval_variant;

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
    eval_variant
        *variants; /* [variant_count] of the pass; those from first_variant on are reported: */
    const mn_memory **memories;           /* the same for the session */
    int64_t variant_count, first_variant; /* the base comes first, be it for the audit alone */
    mn_completion *answers;               /* [variant_count][count] */
    eval_answer *read;                    /* [variant_count][count] */
    mn_ids ids;
    mn_ids candidates[MN_LABELS];
    mn_buf text;    /* scratch */
    mn_ranks ranks; /* who works on it */
    bool leads;     /* this is rank 0 of all: it alone reads journals and writes results */
    journal *journal;
    struct mn_progress *progress;
    double begin;
    char architecture[96];
    char *model_name;
    mn_results results;
    int8_t *gold, *pred; /* per entry, [entries][rows] */
    int64_t *cluster;
    mn_effect *effects;
    mn_effect_memory *effect_memories;
};

static inline mn_completion *mn_eval_completion(const mn_evaluation *e, int64_t variant,
                                                int64_t prompt) {
    return &e->answers[variant * e->count + prompt];
}

static inline eval_answer *mn_eval_answer(const mn_evaluation *e, int64_t variant, int64_t prompt) {
    return &e->read[variant * e->count + prompt];
}

/* An evaluation with its variants and prompts, and nothing answered yet. */
mn_status mn_eval_begin(mn_evaluation **out, mn_model *model, const mn_tokenizer *tokenizer,
                        const mn_fever *fever, const mn_eval_options *options);
/* The plan of its prompts and the session that they need. */
mn_status mn_eval_plan(mn_plan **plan, mn_session_options *room, const mn_evaluation *e);

/* The text of generated tokens, into `out` (cleared first). */
mn_status mn_eval_text(const mn_evaluation *e, const mn_ids *generated, mn_buf *out);

/* variants.c: who takes part, from the options. */
mn_status mn_eval_variants(mn_evaluation *e);

/* effect.c: refuses a memory that changed nothing in these prompts; the audit of all prompts. */
mn_status mn_effect_check(const mn_evaluation *e, const int64_t *prompts, int64_t count);
mn_status mn_effect_audit(mn_evaluation *e);

/* journal.c; opening and sharing are collective. Answers that an earlier run left below the output folder, whatever
 * the number of its ranks, are put into e->answers and marked known in e->read. */
mn_status mn_journal_open(mn_evaluation *e);
mn_status mn_journal_add(mn_evaluation *e, const int64_t *prompts, int64_t count);
/* Gives every rank the answers of all: then every prompt is known. */
mn_status mn_journal_share(mn_evaluation *e);
mn_status mn_journal_remove(mn_evaluation *e); /* those of all ranks */
void mn_journal_close(journal **j);

/* One samples file per shot count and variant; its prompts, generations, log-likelihoods and answers. */
mn_status mn_samples_write(mn_evaluation *e);
void mn_samples_remove(const mn_evaluation *e);

#endif
