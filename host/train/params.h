/* params.h (internal) - what is trained, parameter by parameter, with its gradient and AdamW's two means;
 * and the step that all of them take together.
 *
 * All gradients lie in one arena and are seen as one vector, `flat`, with gaps of zeros where tensors are
 * aligned: one message adds them up over the replicas. Where replicas share the optimizer's state (ZeRO-1, Rajbhandari
 * et al. 2020), each has the means of one part of this vector, moves the weights of that part, and gets the
 * others' from those who have moved them: the state takes 1/replicas of its bytes, to within 64. */
#ifndef MNEME_TRAIN_PARAMS_H
#define MNEME_TRAIN_PARAMS_H

#include "mneme/comm.h"
#include "mneme/ops.h"
#include "mneme/train.h"

typedef struct train_param {
    char name[96];
    bool decays;
    int copies;     /* of each number, over the ranks that share the model */
    mn_slice slice; /* what value and grad are of the whole, where ranks share the model */
    mn_tensor *value, *grad;
    int64_t flat;         /* its first number's place in the vector of all */
    int64_t begin, count; /* its numbers begin .. begin + count - 1 are moved here, row after row */
    mn_tensor mean, square; /* (count) */
} train_param;

typedef struct train_params {
    mn_device *device;
    mn_comm *tp;     /* the ranks that share the model */
    mn_comm *owners; /* the replicas that share the optimizer's state; NULL: it is all here */
    train_param *items;
    int64_t count, numbers;  /* numbers: of all tensors, whole */
    mn_tensor flat;          /* all gradients */
    int64_t own, own_count;  /* the part of it whose means are here: [own, own + own_count) */
    mn_arena moments;        /* means, then squares: own_count each */
    float *mean, *square;    /* in it */
    mn_arena scratch;        /* the next three */
    double *device_sums;     /* [count] squares of each gradient */
    float *sent, *received;  /* [piece], (replicas, piece): weights on their way */
    int64_t piece;           /* 0: nothing is sent */
    double *sums;            /* device_sums on the host */
    mn_memory *memory_grads; /* the gradients' owner: one or the other */
    mn_model *model_grads;
} train_params;

/* Of `memory`, or (NULL) of the whole `model`. Gradients and means are zero. `owners` (NULL: none) share the
 * optimizer's state; then a step is collective. */
mn_status mn_params_open(train_params *out, mn_model *model, mn_memory *memory,
                         const mn_train_options *options, mn_comm *owners);
void mn_params_close(train_params *params);

mn_status mn_params_clear(train_params *params); /* gradients become 0 */
/* Euclidean norm of all gradients, over all ranks of tp; collective there. NaN or infinity fails with the first such parameter. */
mn_status mn_params_norm(double *norm, const train_params *params);
/* AdamW; `step` counts from 1, `scale` multiplies the gradients. */
mn_status mn_params_step(train_params *params, const mn_train_options *options, int64_t step,
                         double learning_rate, double scale);

/* The means (square false) or mean squares of the whole vector in host memory, for a checkpoint; with owners it is
 * collective and only their rank 0 gets something. *values lies in *room, the caller's to free, or on a host device
 * where the means are. */
mn_status mn_params_moments(const float **values, mn_buf *room, const train_params *params,
                            bool square);

#endif
