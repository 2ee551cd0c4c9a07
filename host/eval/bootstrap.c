/* bootstrap.c - percentile intervals from drawing whole clusters of rows with replacement.
 * Rows are counted per cluster once; a replicate then adds up a confusion matrix per draw. */
#include "eval/metrics.h"
#include "mneme/rng.h"

#include <math.h>
#include <stdlib.h>

typedef struct side {
    const int8_t *pred;
    mn_confusion *counts; /* per cluster that has rows */
} side;

/* Fills counts[0 .. *used) of every side with the clusters that have rows, in order of ids. */
static mn_status tally(side *sides, int side_count, int64_t *used, const int8_t *gold,
                       const int64_t *cluster, int64_t n, int64_t clusters) {
    for (int64_t i = 0; i < n; i++) {
        MN_CHECK(gold[i] >= 0 && gold[i] < MN_CLASSES, MN_ERR_USAGE,
                 "row %lld: gold label %d is not in 0 .. %d", (long long)i, gold[i],
                 MN_CLASSES - 1);
        MN_CHECK(cluster[i] >= 0 && cluster[i] < clusters, MN_ERR_USAGE,
                 "row %lld: cluster %lld is not in 0 .. %lld", (long long)i, (long long)cluster[i],
                 (long long)clusters - 1);
        for (int s = 0; s < side_count; s++)
            sides[s].counts[cluster[i]].count[gold[i]][mn_confusion_column(sides[s].pred[i])]++;
    }
    *used = 0;
    for (int64_t k = 0; k < clusters; k++) {
        int64_t rows = 0;
        for (int c = 0; c < MN_CLASSES * (MN_CLASSES + 1); c++)
            rows += sides[0].counts[k].count[c / (MN_CLASSES + 1)][c % (MN_CLASSES + 1)];
        if (rows == 0) continue;
        for (int s = 0; s < side_count; s++) sides[s].counts[*used] = sides[s].counts[k];
        ++*used;
    }
    return MN_OK;
}

static void add(mn_confusion *sum, const mn_confusion *more) {
    for (int g = 0; g < MN_CLASSES; g++)
        for (int p = 0; p <= MN_CLASSES; p++) sum->count[g][p] += more->count[g][p];
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *sorted, int64_t n, double share) {
    const double at = share * (double)(n - 1);
    const int64_t below = (int64_t)at;
    if (below + 1 >= n) return sorted[n - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

static mn_interval interval(double *values, int64_t n) { /* sorts the values */
    mn_interval out = {NAN, NAN, NAN};
    if (n == 0) return out;
    double shift = 0, squares = 0; /* mean - smallest: exactly 0 when nothing varies */
    qsort(values, (size_t)n, sizeof *values, ascending);
    for (int64_t i = 0; i < n; i++) shift += (values[i] - values[0]) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double off = values[i] - values[0] - shift;
        squares += off * off;
    }
    out.low = percentile(values, n, 0.025);
    out.high = percentile(values, n, 0.975);
    if (n > 1) out.stderr_ = sqrt(squares / (double)(n - 1));
    return out;
}

/* values[3]: accuracy, micro and macro of each replicate (side 1 - side 0 when there are two).
 * Returns how many replicates had a row to count on every side. */
static int64_t replicate(double *const values[3], const side *sides, int side_count, int64_t used,
                         mn_unparsed unparsed, int replicates, uint64_t seed) {
    int64_t kept = 0;
    for (int64_t r = 0; r < replicates; r++) {
        mn_confusion sum[2] = {0};
        mn_metrics m[2] = {0};
        bool counts = true;
        for (int64_t j = 0; j < used; j++) {
            const uint64_t index = (uint64_t)r * (uint64_t)used + (uint64_t)j;
            const int64_t k = mn_rng_below(seed, MN_BOOTSTRAP_STREAM, index, used);
            for (int s = 0; s < side_count; s++) add(&sum[s], &sides[s].counts[k]);
        }
        for (int s = 0; s < side_count; s++) {
            mn_metrics_from_confusion(&m[s], &sum[s], unparsed);
            counts = counts && m[s].n > 0;
        }
        if (!counts) continue;
        const mn_metrics *last = &m[side_count - 1];
        const mn_metrics zero = {0}, *first = side_count == 2 ? &m[0] : &zero;
        values[0][kept] = last->accuracy - first->accuracy;
        values[1][kept] = last->f1_micro - first->f1_micro;
        values[2][kept] = last->f1_macro - first->f1_macro;
        kept++;
    }
    return kept;
}

static mn_status compute(mn_bootstrap *out, side *sides, int side_count, const int8_t *gold,
                         const int64_t *cluster, int64_t n, int64_t clusters, mn_unparsed unparsed,
                         int replicates, uint64_t seed) {
    mn_status st = MN_OK;
    double *values[3] = {0};
    int64_t used = 0, kept = 0;
    const mn_interval none = {NAN, NAN, NAN};
    *out = (mn_bootstrap){none, none, none};
    MN_CHECK(n >= 0 && clusters >= 0 && replicates >= 0, MN_ERR_USAGE,
             "bootstrap: %lld rows, %lld clusters, %d replicates", (long long)n,
             (long long)clusters, replicates);
    if (n == 0 || replicates == 0) return MN_OK;
    for (int s = 0; s < side_count; s++) {
        sides[s].counts = calloc((size_t)clusters, sizeof *sides[s].counts);
        MN_CHECK_GOTO(sides[s].counts || clusters == 0, MN_ERR_MEMORY,
                      "bootstrap: no memory for %lld clusters", (long long)clusters);
    }
    for (int m = 0; m < 3; m++) {
        values[m] = calloc((size_t)replicates, sizeof *values[m]);
        MN_CHECK_GOTO(values[m], MN_ERR_MEMORY, "bootstrap: no memory for %d replicates",
                      replicates);
    }
    MN_GOTO(tally(sides, side_count, &used, gold, cluster, n, clusters));
    if (used < 2) goto done;
    kept = replicate(values, sides, side_count, used, unparsed, replicates, seed);
    out->accuracy = interval(values[0], kept);
    out->f1_micro = interval(values[1], kept);
    out->f1_macro = interval(values[2], kept);
done:
    for (int m = 0; m < 3; m++) free(values[m]);
    for (int s = 0; s < side_count; s++) free(sides[s].counts);
    return st;
}

mn_status mn_bootstrap_compute(mn_bootstrap *out, const int8_t *gold, const int8_t *pred,
                               const int64_t *cluster, int64_t n, int64_t clusters,
                               mn_unparsed unparsed, int replicates, uint64_t seed) {
    side sides[1] = {{.pred = pred}};
    return compute(out, sides, 1, gold, cluster, n, clusters, unparsed, replicates, seed);
}

mn_status mn_bootstrap_difference(mn_bootstrap *out, const int8_t *gold, const int8_t *pred_a,
                                  const int8_t *pred_b, const int64_t *cluster, int64_t n,
                                  int64_t clusters, mn_unparsed unparsed, int replicates,
                                  uint64_t seed) {
    side sides[2] = {{.pred = pred_a}, {.pred = pred_b}};
    return compute(out, sides, 2, gold, cluster, n, clusters, unparsed, replicates, seed);
}
