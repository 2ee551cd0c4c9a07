/* loss_scale.h (internal) - a factor on the loss that keeps fp16 gradients from vanishing.
 *
 * Where products or attention round gradients to fp16, what is smaller than 2^-24 becomes 0. So the loss is multiplied by
 * a power of two and the sums of gradients are divided by it: exact, unless a gradient overflows. Then the
 * factor is halved and the step is computed again from the same samples; after many good steps it is doubled
 * (Micikevicius et al. 2018, section 3.2; numbers as in torch.cuda.amp.GradScaler). */
#ifndef MNEME_TRAIN_LOSS_SCALE_H
#define MNEME_TRAIN_LOSS_SCALE_H

#include "mneme/device.h"

typedef struct loss_scale {
    bool active;
    double factor; /* 1 when not active */
    int64_t good;  /* steps since it changed */
} loss_scale;

/* Active where the device rounds gradients to fp16, whatever the weights' type: attention does. */
loss_scale mn_loss_scale(const mn_device *device);
void mn_loss_scale_good(loss_scale *scale); /* a step went well */
/* A step overflowed. Fails when it did so without a factor: then the numbers themselves are broken. */
mn_status mn_loss_scale_overflow(loss_scale *scale);

#endif
