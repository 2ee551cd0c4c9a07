/* test_stats.c - metrics, bootstrap and McNemar against scikit-learn, numpy, statsmodels (fixtures
 * of tools/make_stats_reference.py), against the user's document, and against hand-made numbers. */
#include "mneme/json.h"
#include "mneme/rng.h"
#include "mneme/stats.h"

#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_ROWS = 5000 };

static mn_json *fixture(const char *name) {
    mn_json *doc = NULL;
    char relative[128];
    snprintf(relative, sizeof relative, "tests/fixtures/stats/%s", name);
    MN_ASSERT_OK(mn_json_load(&doc, mn_test_source(relative).text));
    return doc;
}

static double number(const mn_json *doc, const cJSON *obj, const char *key) {
    double value = 0;
    MN_ASSERT_OK(mn_json_f64(&value, doc, obj, key));
    return value;
}

static int64_t integer(const mn_json *doc, const cJSON *obj, const char *key) {
    int64_t value = 0;
    MN_ASSERT_OK(mn_json_i64(&value, doc, obj, key, 0, INT32_MAX));
    return value;
}

static const cJSON *child(const mn_json *doc, const cJSON *obj, const char *key) {
    const cJSON *value = NULL;
    MN_ASSERT_OK(mn_json_get(&value, doc, obj, key));
    return value;
}

/* "01-2" -> 0 1 -1 2; returns the number of labels. */
static int64_t labels(int8_t out[MAX_ROWS], const char *text) {
    const size_t n = strlen(text);
    assert_true(n <= MAX_ROWS);
    for (size_t i = 0; i < n; i++) out[i] = (int8_t)(text[i] == '-' ? -1 : text[i] - '0');
    return (int64_t)n;
}

static int64_t labels_of(int8_t out[MAX_ROWS], const mn_json *doc, const cJSON *obj,
                         const char *key) {
    const char *text = NULL;
    MN_ASSERT_OK(mn_json_string(&text, doc, obj, key));
    return labels(out, text);
}

static void close_to(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%.17g is not %.17g within %g", got, want, tolerance);
}

static const mn_unparsed rules[] = {MN_UNPARSED_WRONG, MN_UNPARSED_CLASS, MN_UNPARSED_NEI,
                                    MN_UNPARSED_DROP};
enum { RULES = 4 };

/* 1e-12: both sides work in double on counts below 1000; only the order of a few sums differs. */
static void metrics_equal_scikit_learn(void **state) {
    (void)state;
    mn_json *doc = fixture("metrics.json");
    const cJSON *item;
    int cases = 0;
    cJSON_ArrayForEach(item, child(doc, doc->root, "cases")) {
        int8_t gold[MAX_ROWS], pred[MAX_ROWS];
        const int64_t n = labels_of(gold, doc, item, "gold");
        assert_int_equal(labels_of(pred, doc, item, "pred"), n);
        const cJSON *by_rule = child(doc, item, "rules");
        for (int r = 0; r < RULES; r++) {
            const cJSON *want = child(doc, by_rule, mn_unparsed_name(rules[r])), *row, *cell;
            mn_metrics m;
            mn_metrics_compute(&m, gold, pred, n, rules[r]);
            assert_int_equal(m.n, integer(doc, want, "n"));
            assert_int_equal(m.unparsed, integer(doc, item, "unparsed"));
            close_to(m.coverage, number(doc, item, "coverage"), 1e-12);
            close_to(m.accuracy, number(doc, want, "accuracy"), 1e-12);
            close_to(m.f1_micro, number(doc, want, "f1_micro"), 1e-12);
            close_to(m.f1_macro, number(doc, want, "f1_macro"), 1e-12);
            int label = 0, g = 0;
            cJSON_ArrayForEach(cell, child(doc, want, "f1"))
                close_to(m.f1[label++], cell->valuedouble, 1e-12);
            assert_int_equal(label, MN_CLASSES);
            cJSON_ArrayForEach(row, child(doc, item, "confusion")) {
                int p = 0;
                cJSON_ArrayForEach(cell, row)
                    assert_int_equal(m.confusion[g][p++], (int64_t)cell->valuedouble);
                assert_int_equal(p, MN_CLASSES + 1);
                g++;
            }
        }
        cases++;
    }
    assert_int_equal(cases, 10);
    mn_json_close(&doc);
}

/* gold 0 0 1 1 2, predictions 0 - 1 0 -: two hits, two unreadable, one of those on gold 2. */
static void metrics_by_hand(void **state) {
    (void)state;
    int8_t gold[MAX_ROWS], pred[MAX_ROWS];
    mn_metrics m;
    const int64_t n = labels(gold, "00112");
    labels(pred, "0-10-");
    mn_metrics_compute(&m, gold, pred, n, MN_UNPARSED_WRONG);
    close_to(m.accuracy, 2.0 / 5, 1e-15);
    close_to(m.f1_micro, 2.0 / 5, 1e-15);
    close_to(m.f1[0], 2.0 / 4, 1e-15); /* 1 hit, 2 gold, 2 predicted */
    close_to(m.f1[1], 2.0 / 3, 1e-15); /* 1 hit, 2 gold, 1 predicted */
    close_to(m.f1[2], 0, 0);
    close_to(m.f1_macro, (2.0 / 4 + 2.0 / 3) / 3, 1e-15);
    close_to(m.coverage, 3.0 / 5, 1e-15);
    mn_metrics_compute(&m, gold, pred, n, MN_UNPARSED_CLASS);
    close_to(m.accuracy, 2.0 / 5, 1e-15);
    close_to(m.f1_micro, 4.0 / 8, 1e-15); /* 2 hits, 5 gold, 3 predicted */
    mn_metrics_compute(&m, gold, pred, n, MN_UNPARSED_NEI);
    close_to(m.accuracy, 3.0 / 5, 1e-15);
    close_to(m.f1[2], 2.0 / 3, 1e-15); /* 1 hit, 1 gold, 2 predicted */
    assert_int_equal(m.unparsed, 2);
    assert_int_equal(m.confusion[2][MN_CLASSES], 1); /* the matrix shows what was read */
    mn_metrics_compute(&m, gold, pred, n, MN_UNPARSED_DROP);
    assert_int_equal(m.n, 3);
    close_to(m.accuracy, 2.0 / 3, 1e-15);
    close_to(m.coverage, 3.0 / 5, 1e-15);
}

static void metrics_without_rows(void **state) {
    (void)state;
    const int8_t gold[] = {0, 1}, unreadable[] = {-1, 77}; /* 77: no label either */
    mn_metrics m;
    mn_metrics_compute(&m, gold, unreadable, 0, MN_UNPARSED_WRONG);
    assert_int_equal(m.n, 0);
    assert_true(isnan(m.accuracy) && isnan(m.f1_micro) && isnan(m.f1_macro) && isnan(m.coverage));
    mn_metrics_compute(&m, gold, unreadable, 2, MN_UNPARSED_DROP);
    assert_int_equal(m.n, 0);
    assert_int_equal(m.unparsed, 2);
    assert_true(isnan(m.accuracy) && isnan(m.f1_macro));
    close_to(m.coverage, 0, 0);
    mn_metrics_compute(&m, gold, unreadable, 2, MN_UNPARSED_WRONG);
    close_to(m.accuracy, 0, 0);
    close_to(m.f1_macro, 0, 0);
}

/* All 72 rows of the document's full results come out of matrices that share one set of gold
 * labels: to the three decimals printed there, under the default rule. */
static void metrics_reproduce_the_document(void **state) {
    (void)state;
    mn_json *doc = fixture("document.json");
    const cJSON *item;
    int rows = 0;
    cJSON_ArrayForEach(item, child(doc, doc->root, "rows")) {
        static const char *const keys[] = {"accuracy", "f1_micro", "f1_macro"};
        int8_t gold[MAX_ROWS], pred[MAX_ROWS];
        int64_t n = 0;
        int g = 0;
        const cJSON *row, *cell;
        cJSON_ArrayForEach(row, child(doc, item, "confusion")) {
            int p = 0;
            cJSON_ArrayForEach(cell, row) {
                for (int k = 0; k < (int)cell->valuedouble; k++, n++) {
                    assert_true(n < MAX_ROWS);
                    gold[n] = (int8_t)g;
                    pred[n] = (int8_t)(p < MN_CLASSES ? p : -1);
                }
                p++;
            }
            g++;
        }
        mn_metrics m;
        mn_metrics_compute(&m, gold, pred, n, MN_UNPARSED_WRONG);
        const double got[] = {m.accuracy, m.f1_micro, m.f1_macro};
        for (int k = 0; k < 3; k++) {
            const char *want = NULL;
            char text[32];
            MN_ASSERT_OK(mn_json_string(&want, doc, item, keys[k]));
            snprintf(text, sizeof text, "%.3f", got[k]);
            assert_string_equal(text, want);
        }
        assert_int_equal(m.n, 3045);
        rows++;
    }
    assert_int_equal(rows, 72);
    mn_json_close(&doc);
}

/* 1e-12 relative: at most 500 terms of about one rounding each. */
static void mcnemar_equals_statsmodels(void **state) {
    (void)state;
    mn_json *doc = fixture("mcnemar.json");
    const cJSON *item;
    int exact_cases = 0, chi2_cases = 0;
    cJSON_ArrayForEach(item, child(doc, doc->root, "cases")) {
        const int64_t a = integer(doc, item, "only_a"), b = integer(doc, item, "only_b");
        const double exact = number(doc, item, "exact"), chi2 = number(doc, item, "chi2");
        close_to(mn_mcnemar_chi2_p(a, b), chi2, 1e-12 * chi2 + 1e-300);
        close_to(mn_mcnemar_chi2_p(b, a), chi2, 1e-12 * chi2 + 1e-300);
        chi2_cases++;
        if (a + b > MN_MCNEMAR_EXACT) continue;
        close_to(mn_mcnemar_exact_p(a, b), exact, 1e-12 * exact);
        close_to(mn_mcnemar_exact_p(b, a), exact, 1e-12 * exact);
        exact_cases++;
    }
    assert_int_equal(exact_cases, 9);
    assert_int_equal(chi2_cases, 13);

    const cJSON *rows = child(doc, doc->root, "rows");
    const cJSON *by_rule = child(doc, rows, "rules");
    int8_t gold[MAX_ROWS], a[MAX_ROWS], b[MAX_ROWS];
    const int64_t n = labels_of(gold, doc, rows, "gold");
    labels_of(a, doc, rows, "pred_a");
    labels_of(b, doc, rows, "pred_b");
    for (int r = 0; r < RULES; r++) {
        const cJSON *want = child(doc, by_rule, mn_unparsed_name(rules[r]));
        mn_mcnemar test;
        mn_mcnemar_compute(&test, gold, a, b, n, rules[r]);
        assert_int_equal(test.only_a, integer(doc, want, "only_a"));
        assert_int_equal(test.only_b, integer(doc, want, "only_b"));
        close_to(test.p, number(doc, want, "p"), 1e-12);
    }
    mn_json_close(&doc);
}

static void mcnemar_by_hand(void **state) {
    (void)state;
    close_to(mn_mcnemar_exact_p(0, 0), 1, 0);
    close_to(mn_mcnemar_exact_p(3, 3), 1, 0);
    close_to(mn_mcnemar_exact_p(0, 5), 2.0 / 32, 0);     /* 2 * C(5,0) / 2^5 */
    close_to(mn_mcnemar_exact_p(1, 5), 2.0 * 7 / 64, 0); /* 2 * (1 + 6) / 2^6 */
    close_to(mn_mcnemar_exact_p(0, 1000), ldexp(1, -999), 0);
    close_to(mn_mcnemar_chi2_p(600, 600), 1, 0); /* the correction does not go below zero */
    close_to(mn_mcnemar_chi2_p(0, 0), 1, 0);

    int8_t gold[2 * MAX_ROWS], a[2 * MAX_ROWS], b[2 * MAX_ROWS];
    mn_mcnemar test;
    /* 560 + 441 discordant pairs: one more than the exact test takes */
    for (int i = 0; i < 1001; i++) {
        gold[i] = 0;
        a[i] = (int8_t)(i < 560 ? 0 : -1);
        b[i] = (int8_t)(i < 560 ? 1 : 0);
    }
    mn_mcnemar_compute(&test, gold, a, b, 1001, MN_UNPARSED_WRONG);
    assert_int_equal(test.only_a, 560);
    assert_int_equal(test.only_b, 441);
    close_to(test.p, mn_mcnemar_chi2_p(560, 441), 0);
    mn_mcnemar_compute(&test, gold, a, b, 1000, MN_UNPARSED_WRONG);
    close_to(test.p, mn_mcnemar_exact_p(560, 440), 0);
    mn_mcnemar_compute(&test, gold, a, b, 1001, MN_UNPARSED_DROP);
    assert_int_equal(test.only_a, 560);
    assert_int_equal(test.only_b, 0);
    mn_mcnemar_compute(&test, gold, a, a, 1001, MN_UNPARSED_WRONG);
    close_to(test.p, 1, 0);
}

/* How far two Monte-Carlo estimates of the same interval end may be apart. An end estimated from R
 * replicates has the standard error sqrt(q (1 - q) / R) / density(end); for a nearly normal
 * distribution with standard deviation s and q = 0.025 that is 2.67 s / sqrt(R). Five standard
 * errors of the difference: a false alarm once in a million. The standard deviation itself is
 * known to s / sqrt(2 R). */
static double end_tolerance(double s, double r, double r_reference) {
    return 5 * 2.67 * s * sqrt(1 / r + 1 / r_reference);
}

static void compare_interval(const mn_json *doc, const cJSON *all, const char *key,
                             const mn_interval *got, double r, double r_reference) {
    const cJSON *want = child(doc, all, key);
    const double s = number(doc, want, "stderr"), ends = end_tolerance(s, r, r_reference);
    close_to(got->low, number(doc, want, "low"), ends);
    close_to(got->high, number(doc, want, "high"), ends);
    close_to(got->stderr_, s, 5 * s * sqrt(0.5 / r + 0.5 / r_reference));
}

/* The fixture's pages are so unlike that drawing rows instead of pages would give intervals 2.3
 * times narrower: far outside the tolerance, which is a tenth of a standard deviation. */
static void bootstrap_agrees_with_numpy(void **state) {
    (void)state;
    enum { REPLICATES = 20000 };
    mn_json *doc = fixture("bootstrap.json");
    int8_t gold[MAX_ROWS], pred[MAX_ROWS], pred_b[MAX_ROWS];
    int64_t cluster[MAX_ROWS], at = 0;
    const int64_t n = labels_of(gold, doc, doc->root, "gold");
    const int64_t clusters = integer(doc, doc->root, "clusters");
    const double reference = number(doc, doc->root, "replicates");
    labels_of(pred, doc, doc->root, "pred");
    labels_of(pred_b, doc, doc->root, "pred_b");
    const cJSON *item, *by_rule = child(doc, doc->root, "rules");
    cJSON_ArrayForEach(item, child(doc, doc->root, "cluster")) {
        assert_true(at < n);
        cluster[at++] = (int64_t)item->valuedouble;
    }
    assert_int_equal(at, n);
    for (int r = 0; r < RULES; r++) {
        const cJSON *want = child(doc, by_rule, mn_unparsed_name(rules[r]));
        const cJSON *own = child(doc, want, "own"), *difference = child(doc, want, "difference");
        mn_bootstrap b, d;
        MN_ASSERT_OK(
            mn_bootstrap_compute(&b, gold, pred, cluster, n, clusters, rules[r], REPLICATES, 7));
        MN_ASSERT_OK(mn_bootstrap_difference(&d, gold, pred, pred_b, cluster, n, clusters, rules[r],
                                             REPLICATES, 8));
        compare_interval(doc, own, "accuracy", &b.accuracy, REPLICATES, reference);
        compare_interval(doc, own, "f1_micro", &b.f1_micro, REPLICATES, reference);
        compare_interval(doc, own, "f1_macro", &b.f1_macro, REPLICATES, reference);
        compare_interval(doc, difference, "accuracy", &d.accuracy, REPLICATES, reference);
        compare_interval(doc, difference, "f1_micro", &d.f1_micro, REPLICATES, reference);
        compare_interval(doc, difference, "f1_macro", &d.f1_macro, REPLICATES, reference);
    }
    mn_json_close(&doc);
}

static void equal_interval(const mn_json *doc, const cJSON *all, const char *key,
                           const mn_interval *got) {
    const cJSON *want = child(doc, all, key);
    close_to(got->low, number(doc, want, "low"), 1e-12);
    close_to(got->high, number(doc, want, "high"), 1e-12);
    close_to(got->stderr_, number(doc, want, "stderr"), 1e-12);
}

/* The same draws made by a Philox in Python: the interval of a seed is the same everywhere. */
static void bootstrap_of_a_seed_is_fixed(void **state) {
    (void)state;
    mn_json *doc = fixture("bootstrap.json");
    int8_t gold[MAX_ROWS], pred[MAX_ROWS];
    int64_t cluster[MAX_ROWS], at = 0;
    const int64_t n = labels_of(gold, doc, doc->root, "gold");
    labels_of(pred, doc, doc->root, "pred");
    const cJSON *item, *replay = child(doc, doc->root, "replay");
    const cJSON *by_rule = child(doc, replay, "rules");
    cJSON_ArrayForEach(item, child(doc, doc->root, "cluster")) {
        assert_true(at < n);
        cluster[at++] = (int64_t)item->valuedouble;
    }
    for (int r = 0; r < RULES; r++) {
        const cJSON *want = child(doc, by_rule, mn_unparsed_name(rules[r]));
        mn_bootstrap b;
        MN_ASSERT_OK(mn_bootstrap_compute(
            &b, gold, pred, cluster, n, integer(doc, doc->root, "clusters"), rules[r],
            (int)integer(doc, replay, "replicates"), (uint64_t)number(doc, replay, "seed")));
        equal_interval(doc, want, "accuracy", &b.accuracy);
        equal_interval(doc, want, "f1_micro", &b.f1_micro);
        equal_interval(doc, want, "f1_macro", &b.f1_macro);
    }
    mn_json_close(&doc);
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The header's recipe done naively, row by row: the interval must be the same number. */
static void bootstrap_follows_its_recipe(void **state) {
    (void)state;
    enum { R = 41, ROWS = 12, USED = 4 };
    static const int64_t cluster[ROWS] = {9, 2, 5, 2, 0, 9, 5, 5, 0, 2, 9, 9}; /* of 0 .. 11 */
    static const int64_t ids[USED] = {0, 2, 5, 9};
    int8_t gold[MAX_ROWS], pred[MAX_ROWS];
    double values[R];
    labels(gold, "012012012012");
    labels(pred, "0-2110012-12");
    for (int r = 0; r < R; r++) {
        int8_t g[USED * ROWS], p[USED * ROWS];
        int64_t rows = 0;
        for (int j = 0; j < USED; j++) {
            const int64_t k = mn_rng_below(99, MN_BOOTSTRAP_STREAM, (uint64_t)(r * USED + j), USED);
            for (int i = 0; i < ROWS; i++) {
                if (cluster[i] != ids[k]) continue;
                g[rows] = gold[i];
                p[rows++] = pred[i];
            }
        }
        mn_metrics m;
        mn_metrics_compute(&m, g, p, rows, MN_UNPARSED_WRONG);
        values[r] = m.f1_macro;
    }
    qsort(values, R, sizeof *values, by_value);
    mn_bootstrap b;
    MN_ASSERT_OK(mn_bootstrap_compute(&b, gold, pred, cluster, ROWS, 12, MN_UNPARSED_WRONG, R, 99));
    close_to(b.f1_macro.low, values[1], 1e-15); /* 0.025 * 40 = 1: an order statistic itself */
    close_to(b.f1_macro.high, values[39], 1e-15);
}

/* Two pages, one row wrong and three right: a replicate is 0 (a quarter), 3/4 (a half) or 1. */
static void bootstrap_by_hand(void **state) {
    (void)state;
    enum { R = 4000 };
    const int8_t gold[] = {0, 1, 1, 1}, pred[] = {1, 1, 1, 1};
    const int64_t cluster[] = {0, 1, 1, 1}, one[] = {0, 0, 0, 0}, each[] = {0, 1, 2, 3};
    mn_bootstrap b, again, other;
    MN_ASSERT_OK(mn_bootstrap_compute(&b, gold, pred, cluster, 4, 2, MN_UNPARSED_WRONG, R, 1));
    close_to(b.accuracy.low, 0, 0);
    close_to(b.accuracy.high, 1, 0);
    /* mean 5/8, variance (25/64 + 2/64 + 9/64) / 4 = 9/64; four standard errors of it */
    close_to(b.accuracy.stderr_, 3.0 / 8, 4 * 0.375 / sqrt(2.0 * R));
    MN_ASSERT_OK(mn_bootstrap_compute(&again, gold, pred, cluster, 4, 2, MN_UNPARSED_WRONG, R, 1));
    assert_memory_equal(&b, &again, sizeof b);
    MN_ASSERT_OK(mn_bootstrap_compute(&other, gold, pred, cluster, 4, 2, MN_UNPARSED_WRONG, R, 2));
    assert_true(other.accuracy.stderr_ != b.accuracy.stderr_);

    /* nothing varies: all right, or the very same predictions on both sides */
    MN_ASSERT_OK(mn_bootstrap_compute(&b, gold, gold, each, 4, 4, MN_UNPARSED_WRONG, R, 1));
    close_to(b.accuracy.low, 1, 0);
    close_to(b.accuracy.high, 1, 0);
    close_to(b.accuracy.stderr_, 0, 0);
    MN_ASSERT_OK(
        mn_bootstrap_difference(&b, gold, pred, pred, each, 4, 4, MN_UNPARSED_WRONG, R, 1));
    close_to(b.f1_macro.low, 0, 0);
    close_to(b.f1_macro.high, 0, 0);
    /* second minus first */
    MN_ASSERT_OK(
        mn_bootstrap_difference(&b, gold, pred, gold, cluster, 4, 2, MN_UNPARSED_WRONG, R, 1));
    close_to(b.accuracy.low, 0, 0);
    close_to(b.accuracy.high, 1, 0);

    MN_ASSERT_OK(mn_bootstrap_compute(&b, gold, pred, one, 4, 1, MN_UNPARSED_WRONG, R, 1));
    assert_true(isnan(b.accuracy.low) && isnan(b.f1_macro.high) && isnan(b.f1_micro.stderr_));
    MN_ASSERT_OK(mn_bootstrap_compute(&b, gold, pred, cluster, 4, 2, MN_UNPARSED_WRONG, 0, 1));
    assert_true(isnan(b.accuracy.low));
    MN_ASSERT_OK(mn_bootstrap_compute(&b, gold, pred, cluster, 0, 0, MN_UNPARSED_WRONG, R, 1));
    assert_true(isnan(b.accuracy.low));
}

/* A page without a readable answer: replicates of that page alone have no row and are left out. */
static void bootstrap_drops_empty_replicates(void **state) {
    (void)state;
    const int8_t gold[] = {0, 1}, pred[] = {-1, 1}, none[] = {-1, -1};
    const int64_t cluster[] = {0, 1};
    mn_bootstrap b;
    MN_ASSERT_OK(mn_bootstrap_compute(&b, gold, pred, cluster, 2, 2, MN_UNPARSED_DROP, 500, 1));
    close_to(b.accuracy.low, 1, 0);
    close_to(b.accuracy.high, 1, 0);
    MN_ASSERT_OK(mn_bootstrap_compute(&b, gold, none, cluster, 2, 2, MN_UNPARSED_DROP, 500, 1));
    assert_true(isnan(b.accuracy.low));
}

static void bootstrap_refuses_bad_rows(void **state) {
    (void)state;
    const int8_t gold[] = {0, 3}, fine[] = {0, 1}, pred[] = {0, 0};
    const int64_t cluster[] = {0, 1};
    mn_bootstrap b;
    MN_ASSERT_FAILS(mn_bootstrap_compute(&b, gold, pred, cluster, 2, 2, MN_UNPARSED_WRONG, 10, 1),
                    MN_ERR_USAGE, "row 1: gold label 3");
    MN_ASSERT_FAILS(mn_bootstrap_compute(&b, fine, pred, cluster, 2, 1, MN_UNPARSED_WRONG, 10, 1),
                    MN_ERR_USAGE, "row 1: cluster 1");
    MN_ASSERT_FAILS(mn_bootstrap_compute(&b, fine, pred, cluster, 2, 2, MN_UNPARSED_WRONG, -1, 1),
                    MN_ERR_USAGE, "-1 replicates");
    assert_true(isnan(b.accuracy.low));
}

/* The size of the experiment. At n = 3045 rows that are independent of their page, accuracy 0.5
 * must have the 95 % half-width 1.96 sqrt(0.25 / 3045) = 0.0178 that the document's differences are
 * judged by; one draw of data has its own error, about 7 % with 100 pages. */
static void bootstrap_at_full_size(void **state) {
    (void)state;
    enum { PAGES = 100, N = 3045, R = 2000 };
    int8_t gold[N], pred[N];
    int64_t cluster[N];
    for (int i = 0; i < N; i++) {
        gold[i] = (int8_t)mn_rng_below(3, 1, (uint64_t)i, 2);
        pred[i] = (int8_t)mn_rng_below(3, 2, (uint64_t)i, 2);
        cluster[i] = i % PAGES;
    }
    mn_bootstrap b;
    const clock_t begin = clock();
    MN_ASSERT_OK(mn_bootstrap_compute(&b, gold, pred, cluster, N, PAGES, MN_UNPARSED_WRONG, R, 1));
    const double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    print_message("bootstrap, %d rows, %d pages, %d replicates: %.1f ms\n", N, PAGES, R,
                  1e3 * seconds);
    if (!getenv("MNEME_NO_TIMING")) assert_true(seconds < 0.2);
    close_to((b.accuracy.high - b.accuracy.low) / 2, 0.0178, 4 * 0.07 * 0.0178);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_equal_scikit_learn),
        cmocka_unit_test(metrics_by_hand),
        cmocka_unit_test(metrics_without_rows),
        cmocka_unit_test(metrics_reproduce_the_document),
        cmocka_unit_test(mcnemar_equals_statsmodels),
        cmocka_unit_test(mcnemar_by_hand),
        cmocka_unit_test(bootstrap_agrees_with_numpy),
        cmocka_unit_test(bootstrap_of_a_seed_is_fixed),
        cmocka_unit_test(bootstrap_follows_its_recipe),
        cmocka_unit_test(bootstrap_by_hand),
        cmocka_unit_test(bootstrap_drops_empty_replicates),
        cmocka_unit_test(bootstrap_refuses_bad_rows),
        cmocka_unit_test(bootstrap_at_full_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
