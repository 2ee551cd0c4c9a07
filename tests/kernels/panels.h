/* panels.h - a weight in the layout that a device's products like best. */
#ifndef MNEME_TESTS_KERNELS_PANELS_H
#define MNEME_TESTS_KERNELS_PANELS_H

#include "kernels/devices.h"

static inline bool has_panels(const mn_device *dev, mn_dtype dtype) {
    return dev->panel_bytes && dtype != MN_F32;
}

/* The copy lies between guards and cannot be written any more. */
static inline mn_tensor panels_of(guards *g, mn_device *dev, const mn_tensor *rows) {
    mn_tensor w = *rows;
    w.data = guard_bytes(g, dev->panel_bytes(rows->shape[0], rows->shape[1]));
    w.layout = MN_LAYOUT_PANELS;
    MN_ASSERT_OK(dev->to_panels(dev, w.data, rows));
    guard_seal(g, w.data);
    return w;
}

#endif
