/* schedule.c - the learning rate by step, as transformers' optimization.py has it:
 * get_cosine_schedule_with_warmup (half a cosine), get_linear_schedule_with_warmup and
 * get_constant_schedule_with_warmup. */
#include "mneme/train.h"

#include <math.h>

const char *const mn_train_schedules[] = {"cosine", "linear", "constant", NULL};

double mn_train_rate(mn_train_schedule schedule, int64_t step, int64_t warmup, int64_t steps) {
    const double pi = 3.141592653589793;
    if (step < warmup) return (double)step / (double)(warmup > 1 ? warmup : 1);
    if (schedule == MN_SCHEDULE_CONSTANT) return 1;
    const double rest = steps - warmup > 1 ? (double)(steps - warmup) : 1;
    if (schedule == MN_SCHEDULE_LINEAR) return fmax(0, (double)(steps - step) / rest);
    return fmax(0, 0.5 * (1 + cos(pi * (double)(step - warmup) / rest)));
}
