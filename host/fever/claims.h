/* claims.h - one of FEVER's claims files in memory: labels, texts and the pages of the evidence. */
#ifndef MNEME_HOST_FEVER_CLAIMS_H
#define MNEME_HOST_FEVER_CLAIMS_H

#include "fever/bad_lines.h"
#include "fever/titles.h"
#include "mneme/fever.h"

typedef struct mn_claim_page {
    int64_t title;   /* index into the titles */
    int64_t entries; /* evidence entries that name it, at least 1 */
} mn_claim_page;

typedef struct mn_claim {
    int64_t id;
    mn_label label;
    char *text;      /* white space trimmed, control characters as spaces; never empty */
    int64_t entries; /* evidence entries, with and without a page */
    int64_t page_begin, page_end; /* its distinct pages in mn_claims.pages, as first named */
} mn_claim;

typedef struct mn_claims {
    mn_claim *items;
    int64_t count;
    mn_claim_page *pages;
    int64_t page_count;
    int64_t entries; /* of all claims */
    mn_bad_lines bad;
    size_t item_cap, page_cap;
} mn_claims;

/* Adds the pages of the evidence to `titles`. A line that is not JSON is an error, or is counted
 * when skip_bad; a line of JSON that is not an official labelled claim is an error in either case,
 * since then all lines are likely to be. */
mn_status mn_claims_load(mn_claims **out, mn_titles *titles, const char *path, bool skip_bad);
mn_status mn_claims_parse(mn_claims **out, mn_titles *titles, const void *data, size_t size,
                          const char *name, bool skip_bad);
void mn_claims_close(mn_claims **claims);

#endif
