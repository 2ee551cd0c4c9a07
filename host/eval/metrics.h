/* metrics.h - from counts to scores; the bootstrap scores its replicates through the same door. */
#ifndef MNEME_EVAL_METRICS_H
#define MNEME_EVAL_METRICS_H

#include "mneme/stats.h"

typedef struct mn_confusion {
    int64_t count[MN_CLASSES][MN_CLASSES + 1]; /* [gold][predicted], last column unparsed */
} mn_confusion;

/* The column of a prediction: anything that is no label is unparsed. */
static inline int mn_confusion_column(int8_t pred) {
    return pred >= 0 && pred < MN_CLASSES ? pred : MN_CLASSES;
}

void mn_metrics_from_confusion(mn_metrics *out, const mn_confusion *raw, mn_unparsed unparsed);

#endif
