/* matcher.h - finds tokens that stand in a text as they are: leftmost, then longest. */
#ifndef MNEME_TEXT_MATCHER_H
#define MNEME_TEXT_MATCHER_H

#include "text/pairs.h"

#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MN_STRIP_LEFT = 1, MN_STRIP_RIGHT = 2 }; /* a match takes the white space beside it */
enum { MN_MATCH_LIMIT = 512 }; /* bytes of a token; bounds the search at every position */

typedef struct mn_node {
    int32_t id; /* of the token that ends here, -1: none does */
    unsigned strip;
} mn_node;

typedef struct mn_matcher {
    mn_pairs edges;     /* node << 8 | byte -> node */
    int32_t first[256]; /* the edges of node 0; 0 when there is none */
    mn_node *nodes;     /* node 0 is the root */
    size_t count, cap;
} mn_matcher;

typedef struct mn_match {
    size_t at, len;
    int32_t id; /* -1: nothing found */
    unsigned strip;
} mn_match;

/* Of two equal tokens the first one added counts. 0 < len <= MN_MATCH_LIMIT. */
mn_status mn_matcher_add(mn_matcher *m, const char *text, size_t len, int32_t id, unsigned strip);
void mn_matcher_free(mn_matcher *m);

mn_match mn_matcher_prefix(const mn_matcher *m, const char *text, size_t len); /* longest at 0 */
mn_match mn_matcher_find(const mn_matcher *m, const char *text, size_t len, size_t from);

#endif
