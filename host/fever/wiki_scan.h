/* wiki_scan.h - reads the whole wiki dump on all cores and keeps the pages that are wanted. */
#ifndef MNEME_HOST_FEVER_WIKI_SCAN_H
#define MNEME_HOST_FEVER_WIKI_SCAN_H

#include "fever/bad_lines.h"
#include "fever/wiki.h"
#include "fever/wiki_source.h"

typedef struct mn_wiki_found {
    mn_wiki_page **pages; /* by title; NULL where the dump has no such page */
    int64_t title_count;
    int64_t lines;    /* all lines read, broken ones included */
    int64_t repeated; /* wanted pages that came again: the first one with text is kept */
    mn_bad_lines bad;
} mn_wiki_found;

/* Also hashes the inputs of `source`. The result, and the error that is reported when there are
 * several, does not depend on the number of threads. */
mn_status mn_wiki_scan(mn_wiki_found *out, mn_wiki_source *source, const mn_wiki_query *query,
                       bool skip_bad, int threads);
void mn_wiki_found_free(mn_wiki_found *found); /* safe twice */

#endif
