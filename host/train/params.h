/* params.h (internal) - what is trained, parameter by parameter, with its gradient and AdamW's two means;
 * and the step that all of them take together. */
#ifndef MNEME_TRAIN_PARAMS_H
#define MNEME_TRAIN_PARAMS_H

#include "mneme/ops.h"
#include "mneme/train.h"

typedef struct train_param {
    char name[96];
    bool decays;
    mn_tensor *value, *grad, *mean, *square;
} train_param;

typedef struct train_params {
    mn_device *device;
    train_param *items;
    int64_t count, numbers;
    mn_arena scratch;    /* holds device_sums */
    double *device_sums; /* [count] squares of each gradient */
    double *sums;        /* the same on the host */
    /* the owners of the tensors beside the values: of one kind or the other */
    mn_memory *memory_state[3]; /* gradient, mean, square */
    mn_model *model_state[3];
} train_params;

/* Of `memory`, or (NULL) of the whole `model`. Gradients and means are zero. */
mn_status mn_params_open(train_params *out, mn_model *model, mn_memory *memory,
                         const mn_train_options *options);
void mn_params_close(train_params *params);

mn_status mn_params_clear(train_params *params); /* gradients become 0 */
/* Euclidean norm of all gradients; NaN or infinity fails with the first such parameter. */
mn_status mn_params_norm(double *norm, const train_params *params);
/* AdamW; `step` counts from 1, `scale` multiplies the gradients. */
mn_status mn_params_step(train_params *params, const mn_train_options *options, int64_t step,
                         double learning_rate, double scale);

#endif
