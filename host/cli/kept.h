/* kept.h - all records of a jsonl file in memory, each with its prompt as token ids: commands that
 * answer prompts need all of them at once, to find what they share. */
#ifndef MNEME_CLI_KEPT_H
#define MNEME_CLI_KEPT_H

#include "cli/loaded.h"

typedef struct mn_kept {
    mn_buf record; /* the input object up to its closing brace */
    char *where;   /* "file:line" */
    mn_ids prompt, continuation;
} mn_kept;

typedef struct mn_kept_list {
    mn_kept *items;
    size_t count, cap;
    mn_completion *answers; /* made by mn_kept_answer */
} mn_kept_list;

/* Reads `path`, standard input at rank 0 for all; `fill` sets prompt and continuation of each record from the current object;
 * its errors name kept->where. */
mn_status mn_kept_read(mn_kept_list *list, const char *path, const mn_ranks *ranks,
                       const char *const *replaced,
                       mn_status (*fill)(void *context, mn_kept *kept, const mn_input *input),
                       void *context);
/* Answers all records, with progress; a continuation is scored where there is one.
 * Of the hooks, eos, temperature and seed count. */
mn_status mn_kept_answer(mn_kept_list *list, mn_loaded *loaded, const mn_plan_options *plan,
                         mn_compute compute, int64_t max_new_tokens,
                         const mn_complete_hooks *hooks);
void mn_kept_free(mn_kept_list *list);

#endif
