/* results.h - names that the results file and the tables share. */
#ifndef MNEME_EVAL_RESULTS_H
#define MNEME_EVAL_RESULTS_H

#include "mneme/results.h"

/* Columns of a confusion matrix: the three labels, then "unparsed". */
extern const char *const mn_result_columns[MN_CLASSES + 1];

/* Appends the model's name as a JSON string in the form that stands in file names. */
mn_status mn_result_quote_model(mn_buf *out, const mn_results *results);

static inline const char *mn_result_or(const char *text, const char *fallback) {
    return text && *text ? text : fallback;
}

#endif
