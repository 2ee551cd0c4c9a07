/* plan.h (internal) - sorted requests, groups with a trunk each, batches. */
#ifndef MNEME_EVAL_PLAN_H
#define MNEME_EVAL_PLAN_H

#include "mneme/complete.h"

typedef struct plan_item {
    int64_t request;
    int64_t prefix; /* tokens it takes from its group's trunk; less than the prompt's length */
    int64_t common; /* leading tokens that all candidates share; each has at least one more */
} plan_item;

typedef struct plan_group {
    int64_t first, count;  /* items */
    int64_t trunk_request; /* a request whose prompt begins with the trunk */
    int64_t trunk_len;     /* 0: nothing shared */
} plan_group;

/* Whole groups, or a slice of one group that does not fit a batch. */
typedef struct plan_batch {
    int64_t first_group, group_count;
    int64_t first_item, item_count;
    bool opens; /* its trunks have to be computed; false: the slice before has done it */
} plan_batch;

struct mn_plan {
    const mn_request *requests;
    int64_t count;
    plan_item *items;
    plan_group *groups;
    plan_batch *batches;
    int64_t group_count, batch_count;
    mn_session_options room;
    int64_t tokens, prompt_tokens;
};

/* Cache rows of an item: its own prompt part with what may be generated, and its branches. */
int64_t mn_plan_item_rows(const mn_plan *plan, const plan_item *item);

#endif
