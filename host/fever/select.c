/* select.c - ranks the evidence pages, drops the unusable ones, groups the rows by page. */
#include "fever/select.h"

#include "mneme/rng.h"

#include <stdlib.h>
#include <string.h>

/* ---- Ranking --------------------------------------------------------------------------------- */

typedef struct ranked {
    const char *name;
    mn_candidate page;
} ranked;

static int by_rank(const void *a, const void *b) {
    const ranked *ra = a, *rb = b;
    if (ra->page.rows != rb->page.rows) return ra->page.rows > rb->page.rows ? -1 : 1;
    return strcmp(ra->name, rb->name);
}

static mn_status rank_all(ranked *all, mn_selection *s, const mn_claims *claims,
                          const mn_titles *titles, mn_rows_mode rows) {
    const int64_t count = mn_titles_count(titles);
    for (int64_t i = 0; i < count; i++) {
        all[i] = (ranked){.name = mn_titles_name(titles, i), .page = {.title = i}};
    }
    for (int64_t i = 0; i < claims->page_count; i++) {
        const mn_claim_page *page = &claims->pages[i];
        all[page->title].page.rows += rows == MN_ROWS_EVIDENCE ? page->entries : 1;
    }
    qsort(all, (size_t)count, sizeof *all, by_rank);
    while (s->n_full < count && all[s->n_full].page.rows > 0) s->n_full++;
    MN_CHECK(s->n_full > 0, MN_ERR_DATA, "no claim of the validation split names a page");
    return MN_OK;
}

mn_status mn_select_rank(mn_selection **out, const mn_claims *claims, const mn_titles *titles,
                         mn_rows_mode rows, int64_t top_pages) {
    mn_status st = MN_OK;
    const size_t count = (size_t)mn_titles_count(titles);
    ranked *all = calloc(count + 1, sizeof *all);
    *out = NULL;
    mn_selection *s = calloc(1, sizeof *s);
    MN_CHECK_GOTO(all && s, MN_ERR_MEMORY, "no memory to rank %zu pages", count);
    MN_GOTO(rank_all(all, s, claims, titles, rows));
    s->n_top = top_pages < s->n_full ? top_pages : s->n_full;
    s->top = calloc((size_t)s->n_top, sizeof *s->top);
    s->titles = calloc((size_t)s->n_top, sizeof *s->titles);
    s->rank = calloc(count, sizeof *s->rank);
    s->wanted = calloc(count, sizeof *s->wanted);
    MN_CHECK_GOTO(s->top && s->titles && s->rank && s->wanted, MN_ERR_MEMORY,
                  "no memory for %lld pages", (long long)s->n_top);
    for (int64_t i = 0; i < s->n_top; i++) {
        s->top[i] = all[i].page;
        s->wanted[all[i].page.title] = true;
    }
    *out = s;
    s = NULL;
done:
    mn_selection_close(&s);
    free(all);
    return st;
}

void mn_selection_close(mn_selection **selection) {
    mn_selection *s = *selection;
    if (!s) return;
    free(s->wanted);
    free(s->rank);
    free(s->titles);
    free(s->top);
    free(s);
    *selection = NULL;
}

/* ---- Truncating ------------------------------------------------------------------------------ */

static mn_status no_page_left(const mn_selection *s, const mn_titles *titles) {
    int64_t count[MN_DROPPED_UNTRAINED + 1] = {0};
    for (int64_t i = 0; i < s->n_top; i++) count[s->top[i].drop]++;
    return mn_fail(
        MN_ERR_DATA,
        "no page is left of the top %lld (the first is %s): %lld are not in the wiki dump, "
        "%lld have no text in it, %lld have no claim in the training split",
        (long long)s->n_top, mn_titles_name(titles, s->top[0].title),
        (long long)count[MN_DROPPED_MISSING], (long long)count[MN_DROPPED_EMPTY],
        (long long)count[MN_DROPPED_UNTRAINED]);
}

mn_status mn_select_truncate(mn_selection *s, const mn_titles *titles, const mn_claims *train,
                             mn_wiki_page *const *pages) {
    const int64_t count = mn_titles_count(titles);
    bool *trained = calloc((size_t)count + 1, sizeof *trained);
    MN_CHECK(trained, MN_ERR_MEMORY, "no memory for %lld pages", (long long)count);
    for (int64_t i = 0; i < train->page_count; i++) trained[train->pages[i].title] = true;
    for (int64_t i = 0; i < count; i++) s->rank[i] = -1;
    for (int64_t i = 0; i < s->n_top; i++) {
        const int64_t title = s->top[i].title;
        if (!pages[title]) s->top[i].drop = MN_DROPPED_MISSING;
        else if (pages[title]->text.len == 0) s->top[i].drop = MN_DROPPED_EMPTY;
        else if (!trained[title]) s->top[i].drop = MN_DROPPED_UNTRAINED;
        if (s->top[i].drop != MN_KEPT) continue;
        s->rank[title] = s->n_trunc;
        s->titles[s->n_trunc++] = title;
    }
    free(trained);
    return s->n_trunc > 0 ? MN_OK : no_page_left(s, titles);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

typedef struct grouping {
    const mn_selection *selection;
    const mn_claims *claims;
    mn_rows_mode rows;
    mn_nei_mode nei;
    uint64_t seed, split;
} grouping;

/* Calls `put` for each (page, number of rows) of a claim: the two passes of a counting sort. */
static void each_page(const grouping *g, int64_t index, mn_rows *rows,
                      void (*put)(mn_rows *rows, int64_t page, int64_t claim, int64_t times)) {
    const mn_claim *claim = &g->claims->items[index];
    if (claim->page_begin == claim->page_end) {
        if (claim->label != MN_NEI || g->nei == MN_NEI_DROP) return;
        const int64_t page = mn_rng_below(g->seed, g->split, (uint64_t)claim->id,
                                          g->selection->n_trunc);
        put(rows, page, index, g->rows == MN_ROWS_EVIDENCE && claim->entries ? claim->entries : 1);
        return;
    }
    for (int64_t i = claim->page_begin; i < claim->page_end; i++) {
        const mn_claim_page *page = &g->claims->pages[i];
        const int64_t rank = g->selection->rank[page->title];
        if (rank >= 0) put(rows, rank, index, g->rows == MN_ROWS_EVIDENCE ? page->entries : 1);
    }
}

static void count_rows(mn_rows *rows, int64_t page, int64_t claim, int64_t times) {
    (void)claim;
    rows->begin[page + 1] += times;
}

/* While filling, begin[p + 1] is where page p's next row goes; at the end, where page p + 1's
 * begin. */
static void place_rows(mn_rows *rows, int64_t page, int64_t claim, int64_t times) {
    for (int64_t i = 0; i < times; i++) rows->claim[rows->begin[page + 1]++] = claim;
}

static void count_homeless(mn_rows *rows, const mn_claim *claim, mn_nei_mode nei) {
    if (claim->page_begin < claim->page_end) return;
    if (claim->label != MN_NEI) rows->unplaced++;
    else if (nei == MN_NEI_DROP) rows->nei_dropped++;
    else rows->nei_assigned++;
}

mn_status mn_select_rows(mn_rows *out, const mn_selection *selection, const mn_claims *claims,
                         mn_rows_mode rows, mn_nei_mode nei, uint64_t seed, uint64_t split) {
    const grouping g = {selection, claims, rows, nei, seed, split};
    const int64_t pages = selection->n_trunc;
    *out = (mn_rows){.begin = calloc((size_t)pages + 1, sizeof *out->begin)};
    MN_CHECK(out->begin, MN_ERR_MEMORY, "no memory for the rows");
    for (int64_t i = 0; i < claims->count; i++) {
        each_page(&g, i, out, count_rows);
        count_homeless(out, &claims->items[i], nei);
    }
    int64_t next = 0;
    for (int64_t p = 0; p < pages; p++) {
        const int64_t count = out->begin[p + 1];
        out->begin[p + 1] = next;
        next += count;
    }
    out->count = next;
    out->claim = calloc((size_t)next + 1, sizeof *out->claim);
    if (!out->claim) {
        mn_rows_free(out);
        return mn_fail(MN_ERR_MEMORY, "no memory for %lld rows", (long long)next);
    }
    for (int64_t i = 0; i < claims->count; i++) each_page(&g, i, out, place_rows);
    return MN_OK;
}

void mn_rows_free(mn_rows *rows) {
    free(rows->claim);
    free(rows->begin);
    *rows = (mn_rows){0};
}
