/* kept.c - reads records with prompts and has them answered. */
#include "cli/kept.h"

#include "mneme/log.h"

#include <stdlib.h>
#include <string.h>

mn_status mn_kept_read(mn_kept_list *list, const char *path, const mn_ranks *ranks,
                       const char *const *replaced,
                       mn_status (*fill)(void *context, mn_kept *kept, const mn_input *input),
                       void *context) {
    mn_status st = MN_OK;
    mn_input *in = NULL;
    const mn_json *doc = NULL;
    MN_GOTO(mn_input_open(&in, path));
    mn_input_share(in, ranks);
    for (;;) {
        MN_GOTO(mn_input_next(in, &doc));
        if (!doc) break;
        MN_GOTO(mn_grow(&list->items, &list->cap, list->count + 1, sizeof *list->items));
        mn_kept *kept = &list->items[list->count++];
        *kept = (mn_kept){.where = strdup(doc->name)};
        MN_CHECK_GOTO(kept->where, MN_ERR_MEMORY, "%s: no memory", doc->name);
        MN_GOTO(mn_record_begin(&kept->record, in, replaced));
        MN_GOTO(fill(context, kept, in));
    }
done:
    mn_input_close(&in);
    return st;
}

static mn_status batch_done(void *context, const int64_t *requests, int64_t count) {
    (void)requests;
    mn_progress_add(context, count);
    return MN_OK;
}

mn_status mn_kept_answer(mn_kept_list *list, mn_loaded *loaded, const mn_plan_options *plan,
                         mn_compute compute, int64_t max_new_tokens,
                         const mn_complete_hooks *hooks) {
    mn_status st = MN_OK;
    const int64_t most = loaded->model->config.max_positions;
    mn_progress *progress = NULL;
    mn_complete_hooks with_progress = *hooks;
    mn_request *requests = calloc(list->count + 1, sizeof *requests);
    list->answers = calloc(list->count + 1, sizeof *list->answers);
    MN_CHECK_GOTO(requests && list->answers, MN_ERR_MEMORY, "no memory for %zu prompts",
                  list->count);
    for (size_t i = 0; i < list->count; i++) {
        const mn_kept *k = &list->items[i];
        const int64_t tokens = (int64_t)(k->prompt.len + k->continuation.len) + max_new_tokens;
        MN_CHECK_GOTO(tokens <= most, MN_ERR_DATA,
                      "%s: %lld tokens with what may follow; the model has %lld positions",
                      k->where, (long long)tokens, (long long)most);
        requests[i] = (mn_request){.ids = k->prompt.data,
                                   .len = (int64_t)k->prompt.len,
                                   .group = -1,
                                   .candidates = &k->continuation,
                                   .candidate_count = k->continuation.len > 0,
                                   .max_new_tokens = max_new_tokens};
    }
    progress = mn_progress_begin("answering", "prompts", (int64_t)list->count);
    with_progress.context = progress; /* these hooks have no other */
    with_progress.done = batch_done;
    st = mn_loaded_complete(loaded, requests, (int64_t)list->count, plan, compute, list->answers,
                            &with_progress);
    mn_progress_end(&progress);
done:
    free(requests);
    return st;
}

void mn_kept_free(mn_kept_list *list) {
    mn_completions_free(list->answers, (int64_t)list->count);
    free(list->answers);
    for (size_t i = 0; i < list->count; i++) {
        mn_buf_free(&list->items[i].record);
        mn_ids_free(&list->items[i].prompt);
        mn_ids_free(&list->items[i].continuation);
        free(list->items[i].where);
    }
    free(list->items);
    *list = (mn_kept_list){0};
}
