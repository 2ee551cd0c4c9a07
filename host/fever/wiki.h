/* wiki.h - one line of FEVER's wiki dump: {"id": title, "text": .., "lines": ..}. */
#ifndef MNEME_HOST_FEVER_WIKI_H
#define MNEME_HOST_FEVER_WIKI_H

#include "fever/titles.h"
#include "mneme/buf.h"
#include "mneme/fever.h"

typedef struct mn_sentence {
    int64_t number; /* 0 is a valid one */
    char *text;     /* trimmed, never empty */
} mn_sentence;

typedef struct mn_wiki_page {
    int64_t title;
    mn_sentence *sentences;
    size_t sentence_count, sentence_cap;
    mn_buf text; /* the sentences joined by one space; empty when the page is */
} mn_wiki_page;

/* Which pages are worth keeping. Read only, shared by the workers. */
typedef struct mn_wiki_query {
    const mn_titles *titles;
    const bool *wanted; /* by title */
    mn_page_text page_text;
} mn_wiki_query;

/* *out is NULL for a page that is not wanted. A line that is no page of the dump fails with
 * MN_ERR_DATA and a message without its place, which the caller knows. Every line is checked to be
 * JSON; only in pages that are wanted is the text checked to be UTF-8. */
mn_status mn_wiki_read_line(mn_wiki_page **out, const mn_wiki_query *query, const char *line,
                            size_t len);
void mn_wiki_page_close(mn_wiki_page **page);

/* Splits a `lines` field: records "number TAB sentence (TAB anchor TAB page)*" between newlines. */
mn_status mn_wiki_split(mn_wiki_page *page, const char *lines, mn_page_text page_text);

/* The fast way past a page that is not wanted. True: the line is a flat JSON object of strings, as
 * all of FEVER's are, and *id is the value of its only "id", which has no escapes in it. False: no
 * verdict, the line needs the real parser. */
bool mn_wiki_skim(const char **id, size_t *id_len, const char *line, size_t len);

#endif
