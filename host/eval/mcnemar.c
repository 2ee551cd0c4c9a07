/* mcnemar.c - McNemar's test: do two lists of predictions differ in how often they are right? */
#include "mneme/stats.h"

#include <assert.h>
#include <math.h>

/* The terms C(n, i) / 2^n one after the other: 2^-1000 is still a normal double, and up to the
 * middle they only grow, so nothing is lost on the way. */
double mn_mcnemar_exact_p(int64_t only_a, int64_t only_b) {
    const int64_t n = only_a + only_b, less = only_a < only_b ? only_a : only_b;
    assert(n <= MN_MCNEMAR_EXACT);
    double term = ldexp(1.0, -(int)n), sum = 0;
    for (int64_t i = 0; i <= less; i++) {
        sum += term;
        term *= (double)(n - i) / (double)(i + 1);
    }
    return fmin(1.0, 2 * sum);
}

/* One degree of freedom: P(X > x) = erfc(sqrt(x / 2)). */
double mn_mcnemar_chi2_p(int64_t only_a, int64_t only_b) {
    const double difference = fabs((double)only_a - (double)only_b);
    const double sum = (double)only_a + (double)only_b;
    if (difference <= 1) return 1.0;
    return erfc((difference - 1) / sqrt(2 * sum));
}

/* Whether `pred` is right; a row that is dropped is neither right nor wrong: *counts is cleared. */
static bool right(bool *counts, int8_t gold, int8_t pred, mn_unparsed unparsed) {
    const bool readable = pred >= 0 && pred < MN_CLASSES;
    if (readable) return pred == gold;
    if (unparsed == MN_UNPARSED_DROP) *counts = false;
    return unparsed == MN_UNPARSED_NEI && gold == MN_CLASSES - 1;
}

void mn_mcnemar_compute(mn_mcnemar *out, const int8_t *gold, const int8_t *pred_a,
                        const int8_t *pred_b, int64_t n, mn_unparsed unparsed) {
    *out = (mn_mcnemar){0};
    for (int64_t i = 0; i < n; i++) {
        bool counts = true;
        const bool a = right(&counts, gold[i], pred_a[i], unparsed);
        const bool b = right(&counts, gold[i], pred_b[i], unparsed);
        out->only_a += counts && a && !b;
        out->only_b += counts && b && !a;
    }
    out->p = out->only_a + out->only_b <= MN_MCNEMAR_EXACT
                 ? mn_mcnemar_exact_p(out->only_a, out->only_b)
                 : mn_mcnemar_chi2_p(out->only_a, out->only_b);
}
