/* bench_figures.h - the figures that both forms of a benchmark's report show. */
#ifndef MNEME_CLI_BENCH_FIGURES_H
#define MNEME_CLI_BENCH_FIGURES_H

#include "cli/bench.h"

typedef struct mn_spread {
    double median, min, max;
} mn_spread;

typedef struct mn_bench_figures {
    mn_spread rate;      /* units per second */
    double seconds;      /* median */
    double flops, bytes; /* per second, at the median */
    mn_spread share;     /* of the peak read beside each run */
    double best_share;   /* the fastest run against the highest peak of all */
} mn_bench_figures;

typedef struct mn_linear_figures {
    mn_spread seconds;
    double flops, bytes; /* per second, at the median */
    double flop_share, read_share;
    double share; /* of the speed that arithmetic and reads allow, median */
} mn_linear_figures;

const char *mn_bench_peak_name(const mn_bench *b, mn_peak which); /* "fp32", "reads" */
void mn_bench_peak_method(char *out, size_t size, const mn_bench *b, mn_peak which);
extern const char *const mn_peak_units[MN_PEAKS]; /* of a rate / 1e9 */

mn_spread mn_spread_of(double *values, size_t count);                  /* count >= 1; sorts them */
mn_spread mn_bench_readings_spread(const mn_bench_readings *readings); /* sorts them */
mn_bench_figures mn_bench_figures_of(const mn_bench *b, const mn_bench_work *work);
mn_spread mn_bench_fanout_ratio(const mn_bench *b); /* time of all variants over that of one */

/* Training work `index` (of MN_BENCH_TRAIN_WORKS) beside the reference's same kind of step, which
 * knows no hidden states to begin with. */
typedef struct mn_comparison {
    double rate, reference, ratio; /* tokens per second, medians */
} mn_comparison;
mn_comparison mn_bench_against_reference(const mn_bench *b, size_t index);

mn_linear_figures mn_linear_figures_of(const mn_bench_linear *linear);

void mn_processor_name(char *out, size_t size); /* or "unknown processor" */
double mn_memory_bytes(void);
double mn_cache_bytes(void); /* of the last level; 0: unknown */
const char *mn_bench_compute_name(const mn_bench *b);
double mn_bench_all_weights(const mn_bench *b); /* bytes that decoding reads per token */

#endif
