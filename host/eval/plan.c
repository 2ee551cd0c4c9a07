/* plan.c - sorts requests by their tokens, finds what they share, packs batches. */
#include "eval/plan.h"

#include <stdlib.h>
#include <string.h>

enum {
    SHARE_MIN = 8,         /* shorter prefixes are not worth a trunk */
    AUTO_BATCH = 256,      /* requests per batch at most */
    AUTO_TOKENS = 1024,    /* own prompt tokens that fill the matrix products of a batch */
    DEFAULT_TOKENS = 1024, /* per forward pass */
    MAX_LOGITS = 128,
};
static const int64_t default_kv_bytes = INT64_C(2) << 30;

static int64_t common_len(const mn_request *a, const mn_request *b) {
    const int64_t most = a->len < b->len ? a->len : b->len;
    int64_t n = 0;
    while (n < most && a->ids[n] == b->ids[n]) n++;
    return n;
}

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

/* By group, then by tokens, then by number: an order that depends on the requests alone. */
static int compare(const void *a, const void *b, void *context) {
    const mn_request *requests = context;
    const int64_t i = ((const plan_item *)a)->request, j = ((const plan_item *)b)->request;
    const mn_request *x = &requests[i], *y = &requests[j];
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    const int64_t n = common_len(x, y);
    if (n < x->len && n < y->len) return x->ids[n] < y->ids[n] ? -1 : 1;
    if (x->len != y->len) return x->len < y->len ? -1 : 1;
    return (i > j) - (i < j);
}

/* The tokens that all candidates begin with, leaving every one of them at least one more. */
static int64_t candidates_common(const mn_request *r) {
    if (r->candidate_count == 0) return 0;
    int64_t common = (int64_t)r->candidates[0].len - 1;
    for (int c = 1; c < r->candidate_count; c++) {
        int64_t n = 0;
        common = min64(common, (int64_t)r->candidates[c].len - 1);
        while (n < common && r->candidates[c].data[n] == r->candidates[0].data[n]) n++;
        common = n;
    }
    return common;
}

static mn_status check_request(const mn_model *model, const mn_request *r, int64_t index) {
    const int64_t limit = model->config.max_positions;
    MN_CHECK(r->len > 0, MN_ERR_DATA,
             "prompt %lld is empty: the model needs one token to begin with", (long long)index);
    MN_CHECK(r->candidate_count <= MN_MAX_CANDIDATES, MN_ERR_USAGE,
             "prompt %lld has %d candidates, at most %d", (long long)index, r->candidate_count,
             MN_MAX_CANDIDATES);
    int64_t longest = r->max_new_tokens;
    for (int c = 0; c < r->candidate_count; c++) {
        const int64_t len = (int64_t)r->candidates[c].len;
        MN_CHECK(len > 0, MN_ERR_DATA, "candidate %d of prompt %lld has no tokens", c,
                 (long long)index);
        if (len > longest) longest = len;
    }
    MN_CHECK(r->len + longest <= limit, MN_ERR_DATA,
             "prompt %lld has %lld tokens and %lld may follow; the model has %lld positions",
             (long long)index, (long long)r->len, (long long)longest, (long long)limit);
    return MN_OK;
}

int64_t mn_plan_item_rows(const mn_plan *plan, const plan_item *item) {
    const mn_request *r = &plan->requests[item->request];
    int64_t rows = r->len - item->prefix;
    rows += item->common > r->max_new_tokens ? item->common : r->max_new_tokens;
    for (int c = 0; c < r->candidate_count; c++)
        rows += (int64_t)r->candidates[c].len - item->common - 1;
    return rows;
}

/* The path through the group's sorted prompts that most of them take. */
static void find_trunk(mn_plan *plan, plan_group *g) {
    int64_t low = g->first, high = g->first + g->count, depth = 0;
    for (;; depth++) {
        int64_t best_low = 0, best = 0;
        for (int64_t i = low; i < high;) {
            const mn_request *r = &plan->requests[plan->items[i].request];
            int64_t j = i + 1;
            if (r->len <= depth) {
                i = j;
                continue;
            }
            while (j < high && plan->requests[plan->items[j].request].ids[depth] == r->ids[depth])
                j++;
            if (j - i > best) {
                best = j - i;
                best_low = i;
            }
            i = j;
        }
        if (best < 2) break;
        low = best_low;
        high = best_low + best;
    }
    if (depth < SHARE_MIN) return;
    g->trunk_request = plan->items[low].request;
    g->trunk_len = depth;
    for (int64_t i = g->first; i < g->first + g->count; i++) {
        const mn_request *r = &plan->requests[plan->items[i].request];
        const int64_t n = common_len(r, &plan->requests[g->trunk_request]);
        plan->items[i].prefix = min64(min64(n, depth), r->len - 1);
    }
}

/* Requests without a group of their own stay together while neighbours share half a prompt. */
static bool same_group(const mn_request *a, const mn_request *b) {
    if (a->group != b->group) return false;
    if (a->group >= 0) return true;
    const int64_t n = common_len(a, b);
    return n >= SHARE_MIN && 2 * n >= b->len;
}

static void make_groups(mn_plan *plan, bool share) {
    for (int64_t i = 0; i < plan->count; i++) {
        const mn_request *r = &plan->requests[plan->items[i].request];
        const bool joins = share && i > 0 &&
                           same_group(&plan->requests[plan->items[i - 1].request], r);
        if (!joins) plan->groups[plan->group_count++] = (plan_group){.first = i};
        plan->groups[plan->group_count - 1].count++;
    }
    for (int64_t g = 0; share && g < plan->group_count; g++) find_trunk(plan, &plan->groups[g]);
}

typedef struct packing {
    int64_t max_count, max_own, max_rows; /* limits of a batch */
    int64_t count, own, rows;             /* of the open batch */
} packing;

static void pack_items(packing *p, const mn_plan *plan, int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; i++) {
        const plan_item *item = &plan->items[i];
        p->rows += mn_plan_item_rows(plan, item);
        p->own += plan->requests[item->request].len - item->prefix;
    }
    p->count += count;
}

static bool fits(const packing *p) {
    return p->count <= p->max_count && p->own <= p->max_own && p->rows <= p->max_rows;
}

static void note_room(mn_plan *plan, const packing *p) {
    if (p->rows > plan->room.kv_rows) plan->room.kv_rows = p->rows;
}

/* A group too large for one batch: slices of it, the trunk staying where it is. */
static void slice_group(mn_plan *plan, const packing *limits, int64_t group) {
    const plan_group *g = &plan->groups[group];
    int64_t at = g->first;
    const int64_t end = g->first + g->count;
    while (at < end) {
        packing p = *limits;
        p.rows = g->trunk_len;
        int64_t n = 0;
        do {
            pack_items(&p, plan, at + n, 1);
            n++;
            packing next = p;
            if (at + n < end) pack_items(&next, plan, at + n, 1);
            if (!fits(&next)) break;
        } while (at + n < end);
        note_room(plan, &p);
        plan->batches[plan->batch_count++] = (plan_batch){.first_group = group,
                                                          .group_count = 1,
                                                          .first_item = at,
                                                          .item_count = n,
                                                          .opens = at == g->first};
        at += n;
    }
}

static void make_batches(mn_plan *plan, const packing *limits) {
    plan_batch open = {.opens = true};
    packing p = *limits;
    for (int64_t i = 0; i < plan->group_count; i++) {
        const plan_group *g = &plan->groups[i];
        packing with = p;
        with.rows += g->trunk_len;
        pack_items(&with, plan, g->first, g->count);
        if (!fits(&with) && open.group_count > 0) {
            note_room(plan, &p);
            plan->batches[plan->batch_count++] = open;
            open = (plan_batch){.opens = true};
            with = p = *limits;
            with.rows += g->trunk_len;
            pack_items(&with, plan, g->first, g->count);
        }
        if (!fits(&with)) {
            slice_group(plan, limits, i);
            continue;
        }
        if (open.group_count == 0) {
            open.first_group = i;
            open.first_item = g->first;
        }
        open.group_count++;
        open.item_count += g->count;
        p = with;
    }
    if (open.group_count == 0) return;
    note_room(plan, &p);
    plan->batches[plan->batch_count++] = open;
}

static void count_tokens(mn_plan *plan) {
    for (int64_t i = 0; i < plan->count; i++) {
        const int64_t len = plan->requests[plan->items[i].request].len;
        plan->prompt_tokens += len;
        plan->tokens += len - plan->items[i].prefix;
    }
    for (int64_t g = 0; g < plan->group_count; g++) plan->tokens += plan->groups[g].trunk_len;
}

/* Bytes of the cache per token, K and V of every layer of the trunk and of each variant's top. */
static mn_status row_bytes(int64_t *out, mn_model *model, const mn_plan_options *o) {
    enum { ROWS = 16 };
    int64_t step_bytes = 0;
    const mn_session_options small = {.max_tokens = 1,
                                      .kv_rows = ROWS,
                                      .max_seqs = 1,
                                      .max_logits = 1,
                                      .variants = o->variants,
                                      .variant_count = o->variant_count};
    MN_TRY(mn_session_plan(out, &step_bytes, model, &small));
    *out /= ROWS;
    return MN_OK;
}

mn_status mn_plan_make(mn_plan **out, mn_model *model, const mn_request *requests, int64_t count,
                       const mn_plan_options *options) {
    mn_status st = MN_OK;
    const size_t n = count > 0 ? (size_t)count : 1;
    int64_t bytes = 0;
    *out = NULL;
    MN_TRY(row_bytes(&bytes, model, options));
    mn_plan *plan = calloc(1, sizeof *plan);
    MN_CHECK(plan, MN_ERR_MEMORY, "no memory for a plan");
    plan->requests = requests;
    plan->count = count;
    plan->items = calloc(n, sizeof *plan->items);
    plan->groups = calloc(n, sizeof *plan->groups);
    plan->batches = calloc(n, sizeof *plan->batches);
    MN_CHECK_GOTO(plan->items && plan->groups && plan->batches, MN_ERR_MEMORY,
                  "no memory for a plan of %lld prompts", (long long)count);
    for (int64_t i = 0; i < count; i++) {
        MN_GOTO(check_request(model, &requests[i], i));
        plan->items[i] = (plan_item){.request = i, .common = candidates_common(&requests[i])};
    }
    /* The comparison only reads the requests; qsort_r's context is not const. */
    qsort_r(plan->items, (size_t)count, sizeof *plan->items, compare, (void *)(uintptr_t)requests);
    make_groups(plan, options->share_prefixes);
    const int64_t kv = options->kv_bytes ? options->kv_bytes : default_kv_bytes;
    const bool automatic = options->batch_size == 0;
    const packing limits = {.max_count = automatic ? AUTO_BATCH : options->batch_size,
                            .max_own = automatic ? AUTO_TOKENS : INT64_MAX,
                            .max_rows = kv / bytes};
    plan->room = (mn_session_options){.kv_rows = 1,
                                      .max_logits = MAX_LOGITS,
                                      .variants = options->variants,
                                      .variant_count = options->variant_count};
    make_batches(plan, &limits);
    count_tokens(plan);
    plan->room.max_tokens = options->max_tokens ? options->max_tokens : DEFAULT_TOKENS;
    plan->room.max_seqs = plan->room.max_tokens;
    *out = plan;
    plan = NULL;
done:
    mn_plan_close(&plan);
    return st;
}

void mn_plan_close(mn_plan **plan) {
    if (!*plan) return;
    free((*plan)->items);
    free((*plan)->groups);
    free((*plan)->batches);
    free(*plan);
    *plan = NULL;
}

void mn_plan_session(mn_session_options *out, const mn_plan *plan) { *out = plan->room; }

int64_t mn_plan_batches(const mn_plan *plan) { return plan->batch_count; }

int64_t mn_plan_tokens(const mn_plan *plan) { return plan->tokens; }

int64_t mn_plan_prompt_tokens(const mn_plan *plan) { return plan->prompt_tokens; }
