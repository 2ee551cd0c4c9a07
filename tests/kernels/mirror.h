/* mirror.h - a device whose memory is its own, for tests that keep their numbers in host memory.
 *
 * A kernel of the mirror copies its arguments to the device, runs the device's kernel there and copies the
 * outputs back. So the tests of the CPU's kernels are the tests of every backend's. Copies have the exact
 * size of the arguments, and arguments that are the same address stay one; outputs are copied to the
 * device, too, with what they held. Attention, with fp16 inside, has no mirror but bounds, and tests, of its
 * own; products round their inputs exactly as `narrow_products` says. */
#ifndef MNEME_TESTS_KERNELS_MIRROR_H
#define MNEME_TESTS_KERNELS_MIRROR_H

#include "mneme/device.h"

/* A mirror of `device`, which the mirror closes with itself. `threads` is what the mirror says it has: with 2,
 * tests want the bits of the one with 1. `aligned`: copies begin at multiples of 16 bytes, else where the
 * arguments themselves begin between two of these. NULL when there is no memory. */
mn_device *mirror_open(mn_device *device, int threads, bool aligned);

#endif
