/* train_log.h (internal) - train_log.jsonl and the TensorBoard file beside it.
 *
 * Lines stand in the order of their steps. A run that goes on after step N drops those of later steps
 * and writes the TensorBoard file anew from what is kept: neither shows a step twice. The open log is
 * also the lock of the folder. */
#ifndef MNEME_TRAIN_TRAIN_LOG_H
#define MNEME_TRAIN_TRAIN_LOG_H

#include "mneme/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct train_log train_log;

typedef struct train_line {
    int64_t step;
    double epoch, loss, grad_norm, learning_rate, tokens_per_second;
    int64_t tokens;
    bool validation; /* loss is the validation's, and there is no more */
} train_line;

/* Makes the folder. MN_ERR_IO when another process trains into it. */
mn_status mn_train_log_open(train_log **out, const char *dir);
/* Keeps the lines up to `step` and begins to write behind them. */
mn_status mn_train_log_begin(train_log *log, int64_t step);
mn_status mn_train_log_add(train_log *log, const train_line *line);
mn_status mn_train_log_sync(train_log *log); /* on the disk: before a checkpoint names the step */
void mn_train_log_close(train_log **log);

#endif
