/* loss_scale.c - see loss_scale.h. */
#include "train/loss_scale.h"

static const double first_factor = 65536, most = 0x1p40;
enum { GOOD_STEPS = 2000 };

loss_scale mn_loss_scale(const mn_device *device) {
    const bool active = device->narrow_products;
    return (loss_scale){.active = active, .factor = active ? first_factor : 1};
}

void mn_loss_scale_good(loss_scale *s) {
    if (!s->active || ++s->good < GOOD_STEPS) return;
    s->good = 0;
    if (s->factor < most) s->factor *= 2;
}

mn_status mn_loss_scale_overflow(loss_scale *s) {
    s->good = 0;
    MN_CHECK(s->factor > 1, MN_ERR_NUMERIC,
             "a gradient is NaN or infinite although the loss is not scaled");
    s->factor /= 2;
    return MN_OK;
}
