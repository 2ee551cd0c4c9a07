/* complete.c - runs a plan: trunks, prompts with the candidates' common part, branches, decoding.
 *
 * The candidates double as a draft: where the model's own choice follows them, its continuation is
 * read off logits that scoring has computed anyway, and decoding starts behind it. Up to there all
 * variants go together; then they part, and each decodes for itself. */
#include "eval/feed.h"
#include "eval/plan.h"

#include <stdlib.h>
#include <string.h>

/* How far one variant's continuation was read off the candidates. */
typedef struct draft {
    int64_t matched; /* tokens of the common part that it follows */
    bool goes_on;    /* decoding has to */
} draft;

/* The tracks of one batch, by item. */
typedef struct work {
    feed feed;
    const mn_plan *plan;
    const mn_complete_hooks *hooks;
    mn_completion *answers;
    track *trunks, *prompts,
        *branches;     /* branches: MN_MAX_CANDIDATES per item, most of them empty */
    draft *drafts;     /* [variants][items] */
    int64_t *valid;    /* own tokens of the prompt and the common part that the cache still holds */
    int64_t *requests; /* of the batch, for the hooks */
    int64_t trunk_rows;  /* cache rows of the open trunks */
    int64_t trunk_group; /* the first group whose trunks they are; -1: none yet */
    int64_t max_items, max_groups;
} work;

static void clear_tracks(track *tracks, int64_t count) {
    for (int64_t i = 0; tracks && i < count; i++) mn_track_free(&tracks[i]);
}

static void work_close(work *w) {
    clear_tracks(w->trunks, w->max_groups);
    clear_tracks(w->prompts, w->max_items);
    clear_tracks(w->branches, w->max_items * MN_MAX_CANDIDATES);
    free(w->trunks);
    free(w->prompts);
    free(w->branches);
    free(w->drafts);
    free(w->valid);
    free(w->requests);
    mn_feed_close(&w->feed);
}

static mn_status work_open(work *w, mn_session *session, const mn_plan *plan,
                           mn_completion *answers, const mn_complete_hooks *hooks) {
    *w = (work){.plan = plan,
                .hooks = hooks,
                .answers = answers,
                .trunk_group = -1,
                .max_items = 1,
                .max_groups = 1};
    for (int64_t i = 0; i < plan->batch_count; i++) {
        const plan_batch *b = &plan->batches[i];
        if (b->item_count > w->max_items) w->max_items = b->item_count;
        if (b->group_count > w->max_groups) w->max_groups = b->group_count;
    }
    w->trunks = calloc((size_t)w->max_groups, sizeof *w->trunks);
    w->prompts = calloc((size_t)w->max_items, sizeof *w->prompts);
    w->branches = calloc((size_t)w->max_items * MN_MAX_CANDIDATES, sizeof *w->branches);
    w->drafts = calloc((size_t)(w->max_items * mn_session_variants(session)), sizeof *w->drafts);
    w->valid = calloc((size_t)w->max_items, sizeof *w->valid);
    w->requests = calloc((size_t)w->max_items, sizeof *w->requests);
    MN_CHECK(w->trunks && w->prompts && w->branches && w->drafts && w->valid && w->requests,
             MN_ERR_MEMORY, "no memory for batches of %lld prompts", (long long)w->max_items);
    return mn_feed_open(&w->feed, session, plan->count, hooks->temperature, hooks->seed);
}

static mn_completion *answer_of(const work *w, int64_t variant, int64_t request) {
    return &w->answers[variant * w->plan->count + request];
}

/* Whether a variant has answers. */
static bool has_answers(const work *w, int64_t variant) {
    return !(w->hooks->base_for_audit && variant == w->feed.base);
}

/* Passes for all variants; the base that nobody asks for takes part in the first batch. */
static void select_all(work *w, int64_t batch) {
    for (int64_t v = 0; v < w->feed.variants; v++)
        w->feed.active[v] = has_answers(w, v) || batch == 0;
}

static void select_one(work *w, int64_t variant) {
    for (int64_t v = 0; v < w->feed.variants; v++) w->feed.active[v] = v == variant;
}

/* Computes the trunks of the batch's groups, one behind the other from cache row 0 on. */
static mn_status feed_trunks(work *w, const plan_batch *b) {
    clear_tracks(w->trunks, w->max_groups);
    w->trunk_rows = 0;
    for (int64_t i = 0; i < b->group_count; i++) {
        const plan_group *g = &w->plan->groups[b->first_group + i];
        track *t = &w->trunks[i];
        t->own_row = (int32_t)w->trunk_rows;
        t->want_from = INT64_MAX;
        if (g->trunk_len == 0) continue;
        MN_TRY(mn_ids_append(&t->tokens, w->plan->requests[g->trunk_request].ids,
                             (size_t)g->trunk_len));
        w->trunk_rows += g->trunk_len;
    }
    return mn_feed_run(&w->feed, w->trunks, b->group_count);
}

/* A request's prompt behind its trunk, then the tokens that its candidates share. */
static mn_status prompt_track(work *w, track *t, const plan_item *item, int32_t trunk_row,
                              int64_t row) {
    const mn_request *r = &w->plan->requests[item->request];
    const int64_t own = r->len - item->prefix;
    t->answers = answer_of(w, 0, item->request);
    t->own_row = (int32_t)row;
    t->position = (int32_t)item->prefix;
    t->shared_begin[0] = trunk_row;
    t->shared_len[0] = (int32_t)item->prefix;
    t->want_from = own - 1;
    t->stream = (uint64_t)item->request;
    MN_TRY(mn_ids_append(&t->tokens, r->ids + item->prefix, (size_t)own));
    for (int64_t i = 0; i <= item->common && r->candidate_count > 0; i++) {
        if (i < item->common) MN_TRY(mn_ids_push(&t->tokens, r->candidates[0].data[i]));
        for (int c = 0; c < r->candidate_count; c++)
            MN_TRY(mn_track_target(t, own - 1 + i, r->candidates[c].data[i], c));
    }
    return MN_OK;
}

/* What a candidate adds behind the common part, except its last token, which is only predicted. */
static mn_status branch_track(work *w, track *t, const plan_item *item, const track *prompt, int c,
                              int64_t row) {
    const mn_request *r = &w->plan->requests[item->request];
    const int32_t *rest = r->candidates[c].data + item->common;
    const int64_t len = (int64_t)r->candidates[c].len - item->common;
    t->answers = prompt->answers;
    t->own_row = (int32_t)row;
    t->position = (int32_t)(r->len + item->common);
    t->shared_begin[0] = prompt->shared_begin[0];
    t->shared_len[0] = prompt->shared_len[0];
    t->shared_begin[1] = prompt->own_row;
    t->shared_len[1] = (int32_t)prompt->tokens.len;
    for (int64_t i = 0; i + 1 < len; i++) {
        MN_TRY(mn_ids_push(&t->tokens, rest[i]));
        MN_TRY(mn_track_target(t, i, rest[i + 1], c));
    }
    return MN_OK;
}

static mn_status feed_prompts(work *w, const plan_batch *b) {
    int64_t row = w->trunk_rows, group = 0;
    clear_tracks(w->prompts, w->max_items);
    clear_tracks(w->branches, w->max_items * MN_MAX_CANDIDATES);
    for (int64_t i = 0; i < b->item_count; i++) {
        const plan_item *item = &w->plan->items[b->first_item + i];
        const plan_group *g = &w->plan->groups[b->first_group + group];
        while (b->first_item + i >= g->first + g->count)
            g = &w->plan->groups[b->first_group + ++group];
        MN_TRY(prompt_track(w, &w->prompts[i], item, w->trunks[group].own_row, row));
        const mn_request *r = &w->plan->requests[item->request];
        int64_t branch_row = row + r->len - item->prefix +
                             (item->common > r->max_new_tokens ? item->common : r->max_new_tokens);
        for (int c = 0; c < r->candidate_count; c++) {
            track *t = &w->branches[i * MN_MAX_CANDIDATES + c];
            MN_TRY(branch_track(w, t, item, &w->prompts[i], c, branch_row));
            branch_row += (int64_t)t->tokens.len;
        }
        row += mn_plan_item_rows(w->plan, item);
    }
    MN_TRY(mn_feed_run(&w->feed, w->prompts, b->item_count));
    return mn_feed_run(&w->feed, w->branches, b->item_count * MN_MAX_CANDIDATES);
}

/* Appends a generated token; false when the continuation ends with it (or, for EOS, before it). */
static mn_status accept(work *w, int64_t variant, int64_t request, int32_t id, bool *goes_on) {
    mn_ids *generated = &answer_of(w, variant, request)->generated;
    *goes_on = false;
    if (id == w->hooks->eos) return MN_OK;
    MN_TRY(mn_ids_push(generated, id));
    if ((int64_t)generated->len >= w->plan->requests[request].max_new_tokens) return MN_OK;
    *goes_on = !w->hooks->stop || !w->hooks->stop(w->hooks->context, request, generated);
    return MN_OK;
}

/* Follows a variant's choices through the logits that scoring has left. */
static mn_status follow_draft(work *w, int64_t variant, int64_t request, int64_t common,
                              const track *prompt, const track *branches, draft *d) {
    const mn_request *r = &w->plan->requests[request];
    const mn_ids *generated = &answer_of(w, variant, request)->generated;
    const int64_t v = w->feed.variants;
    const int32_t *best = prompt->best.data + variant;
    *d = (draft){0};
    MN_TRY(accept(w, variant, request, best[0], &d->goes_on));
    while (d->goes_on && d->matched < common &&
           generated->data[d->matched] == r->candidates[0].data[d->matched]) {
        d->matched++;
        MN_TRY(accept(w, variant, request, best[d->matched * v], &d->goes_on));
    }
    if (d->matched < common) return MN_OK;
    for (int c = 0; c < r->candidate_count && d->goes_on; c++) {
        const int32_t *rest = r->candidates[c].data + common;
        int64_t i = 0;
        while (d->goes_on && i < (int64_t)branches[c].tokens.len &&
               generated->data[d->matched + i] == rest[i]) {
            MN_TRY(
                accept(w, variant, request, branches[c].best.data[i * v + variant], &d->goes_on));
            i++;
        }
        if (i > 0) break;
    }
    return MN_OK;
}

static mn_status follow_drafts(work *w, const plan_batch *b) {
    for (int64_t i = 0; i < b->item_count; i++) {
        const plan_item *item = &w->plan->items[b->first_item + i];
        const mn_request *r = &w->plan->requests[item->request];
        w->valid[i] = r->len - item->prefix + item->common;
        for (int64_t v = 0; v < w->feed.variants; v++) {
            draft *d = &w->drafts[v * w->max_items + i];
            *d = (draft){0};
            if (r->max_new_tokens > 0 && has_answers(w, v))
                MN_TRY(follow_draft(w, v, item->request, item->common, &w->prompts[i],
                                    &w->branches[i * MN_MAX_CANDIDATES], d));
        }
    }
    return MN_OK;
}

/* The prompt's track goes back to what the variant has followed and the cache still holds: a variant
 * before may have left its own tokens in the trunk's rows behind that. */
static mn_status rewind_prompt(work *w, const plan_batch *b, int64_t i, int64_t variant) {
    const plan_item *item = &w->plan->items[b->first_item + i];
    const draft *d = &w->drafts[variant * w->max_items + i];
    const int64_t own = w->plan->requests[item->request].len - item->prefix;
    track *t = &w->prompts[i];
    t->tokens.len = (size_t)own;
    MN_TRY(mn_ids_append(&t->tokens, answer_of(w, variant, item->request)->generated.data,
                         (size_t)d->matched));
    t->fed = own + d->matched < w->valid[i] ? own + d->matched : w->valid[i];
    w->valid[i] = own + d->matched;
    return MN_OK;
}

/* Feeds generated tokens that are not in the cache yet, all unfinished requests together. */
static mn_status decode(work *w, const plan_batch *b, int64_t variant) {
    draft *drafts = &w->drafts[variant * w->max_items];
    int64_t active = 0;
    select_one(w, variant);
    for (int64_t i = 0; i < b->item_count; i++) {
        w->prompts[i].fed = (int64_t)w->prompts[i].tokens.len; /* nothing pending */
        if (!drafts[i].goes_on) continue;
        MN_TRY(rewind_prompt(w, b, i, variant));
        active++;
    }
    while (active > 0) {
        for (int64_t i = 0; i < b->item_count; i++) {
            track *t = &w->prompts[i];
            const plan_item *item = &w->plan->items[b->first_item + i];
            const mn_ids *generated = &answer_of(w, variant, item->request)->generated;
            if (!drafts[i].goes_on) continue;
            const size_t own = (size_t)(w->plan->requests[item->request].len - item->prefix);
            const size_t known = t->tokens.len - own;
            MN_TRY(mn_ids_append(&t->tokens, generated->data + known, generated->len - known));
            t->want_from = (int64_t)t->tokens.len - 1;
            t->best.len = 0;
            t->drawn = (int64_t)generated->len;
        }
        MN_TRY(mn_feed_run(&w->feed, w->prompts, b->item_count));
        for (int64_t i = 0; i < b->item_count; i++) {
            const int64_t request = w->plan->items[b->first_item + i].request;
            if (!drafts[i].goes_on) continue;
            MN_TRY(
                accept(w, variant, request, w->prompts[i].best.data[variant], &drafts[i].goes_on));
            active -= !drafts[i].goes_on;
        }
    }
    return MN_OK;
}

static mn_status clear_answer(mn_completion *a, const mn_memory *memory, bool audit) {
    a->generated.len = 0;
    for (int c = 0; c < MN_MAX_CANDIDATES; c++) {
        a->logprob[c] = 0;
        a->greedy[c] = true;
    }
    a->outputs = 0;
    a->compared = false;
    a->logit_change = 0;
    if (!audit || !memory) return MN_OK;
    const size_t count = (size_t)memory->count;
    if (!a->change) a->change = calloc(count, sizeof *a->change);
    MN_CHECK(a->change, MN_ERR_MEMORY, "no memory for the effect audit");
    for (size_t m = 0; m < count; m++) a->change[m] = 0;
    return MN_OK;
}

static mn_status run_batch(work *w, const plan_batch *b) {
    const bool audit = mn_session_limits(w->feed.session)->audit;
    for (int64_t v = 0; v < w->feed.variants; v++)
        for (int64_t i = 0; i < b->item_count; i++)
            MN_TRY(clear_answer(answer_of(w, v, w->requests[i]),
                                mn_session_variant(w->feed.session, v), audit));
    w->feed.audit = audit;
    MN_TRY(feed_prompts(w, b));
    w->feed.audit = false;
    MN_TRY(follow_drafts(w, b));
    for (int64_t v = 0; v < w->feed.variants; v++) MN_TRY(decode(w, b, v));
    return MN_OK;
}

static void list_requests(work *w, const plan_batch *b) {
    for (int64_t i = 0; i < b->item_count; i++)
        w->requests[i] = w->plan->items[b->first_item + i].request;
}

static mn_status answer_batch(work *w, int64_t batch) {
    const plan_batch *b = &w->plan->batches[batch];
    list_requests(w, b);
    select_all(w, batch);
    if (b->opens || w->trunk_group != b->first_group) MN_TRY(feed_trunks(w, b));
    w->trunk_group = b->first_group;
    MN_TRY(run_batch(w, b));
    return w->hooks->done ? w->hooks->done(w->hooks->context, w->requests, b->item_count) : MN_OK;
}

static mn_status range_batch(work *w, int64_t batch) {
    return MN_RANGE(mn_session_model(w->feed.session)->device, "batch", answer_batch(w, batch));
}

/* Batches that nobody has answered yet; `open` has room for all. */
static int64_t find_open(work *w, int64_t *open) {
    const mn_complete_hooks *hooks = w->hooks;
    int64_t count = 0;
    for (int64_t i = 0; i < w->plan->batch_count; i++) {
        list_requests(w, &w->plan->batches[i]);
        if (!hooks->skip ||
            !hooks->skip(hooks->context, w->requests, w->plan->batches[i].item_count))
            open[count++] = i;
    }
    return count;
}

/* Each replica has a run of neighbours, in which slices of one group share their trunk. All make the same number of
 * rounds, so that they can ask each other whether to go on, also those that have no batch in the last one. */
static mn_status answer_open(work *w, const int64_t *open, int64_t count) {
    static const mn_ranks alone = {0};
    const mn_ranks *ranks = w->hooks->ranks ? w->hooks->ranks : &alone;
    const int size = mn_comm_size(ranks->dp), rank = mn_comm_rank(ranks->dp);
    const int64_t first = mn_part_begin(count, rank, size), own = mn_part_count(count, rank, size);
    const int64_t rounds = mn_part_count(count, 0, size); /* no part has more */
    for (int64_t r = 0; r < rounds; r++) {
        const int64_t done = w->plan->batch_count - count + r * size;
        bool stop = false;
        MN_TRY(mn_comm_stop(ranks->world, &stop));
        MN_CHECK(!stop, MN_STOPPED, "stopped on request after %lld of %lld batches",
                 (long long)done, (long long)w->plan->batch_count);
        MN_TRY(mn_ranks_agree(ranks, r < own ? range_batch(w, open[first + r]) : MN_OK));
    }
    return MN_OK;
}

mn_status mn_complete(mn_session *session, const mn_plan *plan, mn_completion *answers,
                      const mn_complete_hooks *hooks) {
    work w;
    int64_t *open = calloc((size_t)plan->batch_count + 1, sizeof *open);
    mn_status st = work_open(&w, session, plan, answers, hooks);
    if (st == MN_OK && !open)
        st = mn_fail(MN_ERR_MEMORY, "no memory for %lld batches", (long long)plan->batch_count);
    st = mn_ranks_agree(hooks->ranks, st);
    if (st == MN_OK) st = answer_open(&w, open, find_open(&w, open));
    work_close(&w);
    free(open);
    return st;
}

void mn_completions_free(mn_completion *answers, int64_t count) {
    for (int64_t i = 0; answers && i < count; i++) {
        mn_ids_free(&answers[i].generated);
        free(answers[i].change);
        answers[i].change = NULL;
    }
}
