/* metrics.c - confusion counts, accuracy and F1 under each rule for unreadable answers. */
#include "eval/metrics.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

enum { UNPARSED = MN_CLASSES }; /* the last column */

const char *mn_unparsed_name(mn_unparsed unparsed) {
    static const char *const names[] = {"wrong", "class", "nei", "drop"};
    return (size_t)unparsed < sizeof names / sizeof *names ? names[unparsed] : "?";
}

static double ratio(int64_t part, int64_t whole) {
    return whole > 0 ? (double)part / (double)whole : NAN;
}

static double f1(int64_t hits, int64_t gold, int64_t predicted) {
    return gold + predicted > 0 ? 2.0 * (double)hits / (double)(gold + predicted) : 0.0;
}

void mn_metrics_from_confusion(mn_metrics *out, const mn_confusion *raw, mn_unparsed unparsed) {
    mn_confusion c = *raw;
    int64_t rows = 0, hits = 0, predicted_sum = 0;
    double f1_sum = 0;
    *out = (mn_metrics){0};
    memcpy(out->confusion, raw->count, sizeof out->confusion);
    for (int g = 0; g < MN_CLASSES; g++) {
        for (int p = 0; p <= MN_CLASSES; p++) rows += c.count[g][p];
        out->unparsed += c.count[g][UNPARSED];
        if (unparsed == MN_UNPARSED_NEI) c.count[g][MN_CLASSES - 1] += c.count[g][UNPARSED];
        if (unparsed == MN_UNPARSED_NEI || unparsed == MN_UNPARSED_DROP) c.count[g][UNPARSED] = 0;
    }
    for (int label = 0; label < MN_CLASSES; label++) {
        int64_t gold = c.count[label][UNPARSED], predicted = 0;
        for (int k = 0; k < MN_CLASSES; k++) {
            gold += c.count[label][k];
            predicted += c.count[k][label];
        }
        out->n += gold;
        hits += c.count[label][label];
        predicted_sum += predicted;
        out->f1[label] = f1(c.count[label][label], gold, predicted);
        f1_sum += out->f1[label];
    }
    out->coverage = ratio(rows - out->unparsed, rows);
    out->accuracy = ratio(hits, out->n);
    out->f1_macro = f1_sum / MN_CLASSES;
    /* Every row has one answer, so F1 over all answers is hits / n; only CLASS leaves one out. */
    out->f1_micro = unparsed == MN_UNPARSED_CLASS ? f1(hits, out->n, predicted_sum) : out->accuracy;
    if (out->n == 0) out->f1[0] = out->f1[1] = out->f1[2] = out->f1_micro = out->f1_macro = NAN;
}

void mn_metrics_compute(mn_metrics *out, const int8_t *gold, const int8_t *pred, int64_t n,
                        mn_unparsed unparsed) {
    mn_confusion c = {0};
    for (int64_t i = 0; i < n; i++) {
        assert(gold[i] >= 0 && gold[i] < MN_CLASSES);
        c.count[gold[i]][mn_confusion_column(pred[i])]++;
    }
    mn_metrics_from_confusion(out, &c, unparsed);
}
