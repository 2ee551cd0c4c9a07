/* results_sample.h - an evaluation of twelve rows whose numbers are known by hand. */
#ifndef MNEME_TESTS_RESULTS_SAMPLE_H
#define MNEME_TESTS_RESULTS_SAMPLE_H

#include "mneme/results.h"

#include "check.h"

#include <math.h>
#include <string.h>

enum { ROWS = 12, PAGES = 4 };

/* Four pages of three rows. Right in 0-shot: rows 0 3 5 8 10; in 1-shot: all but 7 and 11; choice:
 * rows 0 1 3 5 6 8 10. */
static const int8_t gold[ROWS] = {0, 0, 1, 0, 1, 1, 0, 2, 1, 1, 0, 0};
static const int8_t zero[ROWS] = {0, -1, 0, 0, 0, 1, -1, 0, 1, -1, 0, 1};
static const int8_t one[ROWS] = {0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 0, -1};
static const int8_t choice[ROWS] = {0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1};
static const int64_t page[ROWS] = {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3};

static inline mn_result_entry entry(int shots, mn_scoring scoring, const int8_t *pred) {
    return (mn_result_entry){.shots = shots,
                             .scoring = scoring,
                             .n = ROWS,
                             .n_original = 40,
                             .gold = gold,
                             .pred = pred,
                             .cluster = page,
                             .clusters = PAGES,
                             .seconds = 1.5};
}

static inline mn_results sample(mn_result_entry *entries, size_t count) {
    return (mn_results){.model_name = "tiny/neox",
                        .model_path = "/models/tiny \"neox\"",
                        .architecture = "GPT-NeoX, 3 layers",
                        .parameters = 70426624,
                        .device = "cpu",
                        .compute = "fp32",
                        .data_path = "data/fever",
                        .data_sha256 = "0123456789abcdef0123456789abcdef"
                                       "0123456789abcdef0123456789abcdef",
                        .version = "0.0.0",
                        .seed = 1234,
                        .bootstrap_iters = 500,
                        .batch_size = 8,
                        .limit = ROWS,
                        .date = 1709210096.789012, /* 2024-02-29 12:34:56.789012 UTC */
                        .seconds = 3.25,
                        .entries = entries,
                        .count = count};
}

static inline void close_to(double got, double want) {
    if (!(fabs(got - want) <= 1e-12)) fail_msg("%.17g is not %.17g", got, want);
}

static inline void contains(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("not there: %s\nin: %s", part, text);
}

#endif
