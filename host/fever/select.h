/* select.h - which pages the experiment is about, and which rows belong to them.
 *
 * Three steps, since the wiki dump is read between the first and the second:
 *   mn_select_rank      evidence pages of the validation claims, by number of rows; the top N
 *   mn_select_truncate  drops pages without text or training claims
 *   mn_select_rows      the rows of either split, grouped by page */
#ifndef MNEME_HOST_FEVER_SELECT_H
#define MNEME_HOST_FEVER_SELECT_H

#include "fever/claims.h"
#include "fever/wiki.h"

typedef enum mn_drop_reason {
    MN_KEPT,
    MN_DROPPED_MISSING,
    MN_DROPPED_EMPTY,
    MN_DROPPED_UNTRAINED
} mn_drop_reason;

typedef struct mn_candidate {
    int64_t title, rows;
    mn_drop_reason drop;
} mn_candidate;

typedef struct mn_selection {
    mn_candidate *top; /* n_top pages by rank */
    int64_t *titles;   /* n_trunc pages that are kept, by rank */
    int64_t *rank;     /* by title: index into titles, or -1; filled by truncate */
    bool *wanted;      /* by title: among the n_top */
    int64_t n_full, n_top, n_trunc;
} mn_selection;

mn_status mn_select_rank(mn_selection **out, const mn_claims *claims, const mn_titles *titles,
                         mn_rows_mode rows, int64_t top_pages);
/* `pages` by title, NULL where the dump has none. Fails when no page is left. */
mn_status mn_select_truncate(mn_selection *selection, const mn_titles *titles,
                             const mn_claims *train, mn_wiki_page *const *pages);
void mn_selection_close(mn_selection **selection);

/* Rows of page p are claim[begin[p]] .. claim[begin[p + 1] - 1], in the order of the claims file; a
 * claim comes once, or once per evidence entry, in a page. */
typedef struct mn_rows {
    int64_t *claim; /* index into mn_claims.items */
    int64_t *begin; /* n_trunc + 1 */
    int64_t count;
    int64_t nei_dropped, nei_assigned, unplaced; /* claims without a page */
} mn_rows;

/* `split` tells apart the draws of the claims files. */
mn_status mn_select_rows(mn_rows *out, const mn_selection *selection, const mn_claims *claims,
                         mn_rows_mode rows, mn_nei_mode nei, uint64_t seed, uint64_t split);
void mn_rows_free(mn_rows *rows);

/* Streams of the counter-based random numbers of this module. */
enum { MN_DRAW_NEI_EVAL = 0x4645001, MN_DRAW_NEI_TRAIN, MN_DRAW_DEMO, MN_DRAW_FIRST_LABEL };

#endif
