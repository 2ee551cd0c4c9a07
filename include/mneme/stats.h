/* stats.h - what a list of predictions says, and how sure it is.
 *
 * Rows are arrays of the caller's: gold labels 0 .. 2, predictions 0 .. 2 or -1 for "could not be
 * read". All functions are pure; the bootstrap draws from the counter-based generator, so a seed
 * gives the same interval on every machine and thread count. */
#ifndef MNEME_STATS_H
#define MNEME_STATS_H

#include "mneme/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { MN_CLASSES = 3 };

/* How an unreadable prediction counts. Its gold label always has one hit less; beyond that:
 *   WRONG  it is a wrong answer like any other: f1.micro is the accuracy (as in the document)
 *   CLASS  it is a fourth answer outside the three labels: f1.micro runs over the three labels, so
 *          it costs recall but not precision; accuracy and f1.macro are those of WRONG
 *   NEI    it is the answer "not enough info", and may be right
 *   DROP   its row is left out of every number except `unparsed` and `coverage` */
typedef enum mn_unparsed {
    MN_UNPARSED_WRONG,
    MN_UNPARSED_CLASS,
    MN_UNPARSED_NEI,
    MN_UNPARSED_DROP
} mn_unparsed;
const char *mn_unparsed_name(mn_unparsed unparsed); /* "wrong", "class", "nei", "drop" */

/* Without a row to count every ratio is NaN; a label without gold and predictions scores 0. */
typedef struct mn_metrics {
    int64_t n;                                     /* rows counted */
    int64_t unparsed;                              /* before the rule above */
    int64_t confusion[MN_CLASSES][MN_CLASSES + 1]; /* [gold][predicted], last column unparsed;
                                                      before the rule above */
    double accuracy, f1_micro, f1_macro;           /* macro: mean of f1 over the three labels */
    double f1[MN_CLASSES];                         /* 2 hits / (gold + predicted) */
    double coverage;                               /* share of all rows that could be read */
} mn_metrics;

/* A prediction outside -1 .. 2 is counted as unreadable. Gold outside 0 .. 2 is a bug. */
void mn_metrics_compute(mn_metrics *out, const int8_t *gold, const int8_t *pred, int64_t n,
                        mn_unparsed unparsed);

typedef struct mn_interval {
    double low, high, stderr_; /* percentiles 2.5 and 97.5 (linear between order statistics);
                                  standard deviation of the replicates (R - 1 below) */
} mn_interval;

/* Page-clustered percentile bootstrap: whole clusters are drawn with replacement, as many as have
 * rows. `cluster` holds ids 0 .. clusters-1 per row; ids without rows do not exist. With c of them
 * left, in order of their ids, replicate r takes number
 *     mn_rng_below(seed, MN_BOOTSTRAP_STREAM, r * c + j, c)   for j = 0 .. c-1.
 * Fewer than two clusters or no replicates give NaN. A replicate that keeps no row under DROP is
 * left out. Fails with MN_ERR_USAGE for a gold label or cluster id out of range. */
typedef struct mn_bootstrap {
    mn_interval accuracy, f1_micro, f1_macro;
} mn_bootstrap;
enum { MN_BOOTSTRAP_STREAM = 0x626f6f74 };
mn_status mn_bootstrap_compute(mn_bootstrap *out, const int8_t *gold, const int8_t *pred,
                               const int64_t *cluster, int64_t n, int64_t clusters,
                               mn_unparsed unparsed, int replicates, uint64_t seed);

/* The same for the difference "metric of pred_b - metric of pred_a": both sides see the same
 * clusters in every replicate, so what pages have in common cancels. */
mn_status mn_bootstrap_difference(mn_bootstrap *out, const int8_t *gold, const int8_t *pred_a,
                                  const int8_t *pred_b, const int64_t *cluster, int64_t n,
                                  int64_t clusters, mn_unparsed unparsed, int replicates,
                                  uint64_t seed);

/* McNemar's test on paired correctness: exact two-sided binomial on the discordant pairs for up to
 * MN_MCNEMAR_EXACT of them, else the chi-square with continuity correction. p is 1 without
 * discordant pairs. Under NEI an unreadable prediction is right where gold is "not enough info";
 * under DROP a row counts only when both could be read. */
enum { MN_MCNEMAR_EXACT = 1000 };
typedef struct mn_mcnemar {
    int64_t only_a, only_b; /* rows only the first / only the second got right */
    double p;
} mn_mcnemar;
void mn_mcnemar_compute(mn_mcnemar *out, const int8_t *gold, const int8_t *pred_a,
                        const int8_t *pred_b, int64_t n, mn_unparsed unparsed);

double mn_mcnemar_exact_p(int64_t only_a, int64_t only_b); /* up to MN_MCNEMAR_EXACT in sum */
double mn_mcnemar_chi2_p(int64_t only_a, int64_t only_b);  /* correction never below zero */

#endif
