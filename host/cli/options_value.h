/* options_value.h (internal) - one value of an option: from text, from JSON, to JSON. Errors leave it
 * to the caller to put the option's name in front. `values` is the struct that row->offset points
 * into. */
#ifndef MNEME_CLI_OPTIONS_VALUE_H
#define MNEME_CLI_OPTIONS_VALUE_H

#include "cli/options.h"

/* What string values point to; the owner frees the items. */
typedef struct mn_option_strings {
    char **items;
    size_t count, cap;
} mn_option_strings;

mn_status mn_option_set(mn_option_strings *strings, const mn_option *row, char *values,
                        const char *text);
void mn_option_clear(const mn_option *row, char *values); /* zero, "", false, NULL, empty */
/* The text of a config value, as the command line would have it; `out` is empty before. */
mn_status mn_option_text(mn_buf *out, const mn_option *row, const cJSON *node);
mn_status mn_option_dump(mn_buf *out, const mn_option *row, const char *values);
bool mn_option_is_list(const mn_option *row);

#endif
