/* complete.h - what a model says to many prompts: log-likelihoods of given continuations and
 * generated ones, in one pass, with shared prefixes computed once.
 *
 * Requests are planned first: those of one group are sorted, the token path that most of them share
 * becomes the group's trunk (nested prefixes, such as k-shot prompts, lie on one path), and batches
 * are packed. The plan also says how much room a session needs. Neither the plan nor sharing changes an
 * answer: prefixes are compared as tokens, so whatever the tokenizer does, a shared token is the same
 * token at the same position.
 *
 * Several variants of the model (session.h) answer in one pass: prompts and candidates go through the
 * trunk once for all of them, only decoding, where they part, is done for one after the other. Each
 * answers as it would alone. */
#ifndef MNEME_COMPLETE_H
#define MNEME_COMPLETE_H

#include "mneme/buf.h"
#include "mneme/comm.h"
#include "mneme/session.h"

enum { MN_MAX_CANDIDATES = 8 };

typedef struct mn_request {
    const int32_t *ids; /* the prompt, at least one token; the caller's */
    int64_t len;
    int64_t group; /* requests of a group may share a prefix; -1: groups are found by the prompts */
    const mn_ids *candidates; /* continuations to score, each at least one token; the caller's */
    int candidate_count;
    int64_t max_new_tokens; /* 0: nothing is generated */
} mn_request;

typedef struct mn_completion {
    double logprob[MN_MAX_CANDIDATES]; /* natural log, summed over the continuation's tokens */
    bool greedy[MN_MAX_CANDIDATES];    /* every token was the likeliest one */
    mn_ids generated;                  /* owned; without what stopped it only if that is EOS */
    /* With an audit, over the tokens behind which the prompt and its candidates were read: */
    int64_t outputs;     /* how many they are */
    double *change;      /* owned; [memories of the variant] sums of |delta h| / |h| (session.h) */
    bool compared;       /* with the base: */
    double logit_change; /* the largest difference of a logit from the base's */
} mn_completion;

typedef struct mn_plan_options {
    int64_t batch_size; /* requests per batch; 0: as many as make full matrix products */
    bool share_prefixes;
    int64_t max_tokens;               /* tokens per forward pass; 0: a good default */
    int64_t kv_bytes;                 /* memory for the cache; 0: 2 GiB or what one request needs */
    const mn_memory *const *variants; /* as in mn_session_options; the list outlives the plan */
    int64_t variant_count;
} mn_plan_options;

typedef struct mn_plan mn_plan;
mn_status mn_plan_make(mn_plan **out, mn_model *model, const mn_request *requests, int64_t count,
                       const mn_plan_options *options);
void mn_plan_close(mn_plan **plan);
void mn_plan_session(mn_session_options *out,
                     const mn_plan *plan); /* room it needs, its variants, fp32 compute */
int64_t mn_plan_batches(const mn_plan *plan);
int64_t mn_plan_tokens(const mn_plan *plan);        /* prompt tokens computed, of ... */
int64_t mn_plan_prompt_tokens(const mn_plan *plan); /* ... this many without sharing */

typedef struct mn_complete_hooks {
    void *context;
    /* Optional. Called after each generated token: true ends the request's continuation. */
    bool (*stop)(void *context, int64_t request, const mn_ids *generated);
    /* Optional. True: the batch's answers are known already (resumed) and it is skipped. Asked once for every batch,
     * before the first is computed; on all ranks with the same outcome. */
    bool (*skip)(void *context, const int64_t *requests, int64_t count);
    /* Optional. Called when the requests of a batch are complete. */
    mn_status (*done)(void *context, const int64_t *requests, int64_t count);
    int32_t eos;       /* ends a continuation; -1: none */
    float temperature; /* 0: the likeliest token; above: sampled (requests without candidates) */
    uint64_t seed;
    /* The base is there for the audit alone: it takes part in the plan's first batch and has no
     * answers. */
    bool base_for_audit;
    /* Who else answers the same plan (comm.h); NULL: nobody. Batches that are not skipped are handed out over the
     * replicas; each is computed as it would be alone. Then `answers` has those of this replica only. */
    const mn_ranks *ranks;
} mn_complete_hooks;

/* Answers every request of the plan into answers[variants][count] (zeroed by the caller, who frees them
 * with mn_completions_free, also after a failure). MN_STOPPED between batches when a stop is requested, of any rank;
 * collective where there are ranks. */
mn_status mn_complete(mn_session *session, const mn_plan *plan, mn_completion *answers,
                      const mn_complete_hooks *hooks);
void mn_completions_free(mn_completion *answers, int64_t count);

/* One variant's answers with an audit, those that `which` lists or, where it is NULL, the first `count`:
 * MN_ERR_DATA, with the variant's name and a block, when a memory of it changed nothing in any of them. */
mn_status mn_completions_effect(const mn_completion *answers, const int64_t *which, int64_t count,
                                const mn_memory *memory, const char *name);

#endif
