/* devices.h - the devices that every kernel test runs on, and how their results are judged.
 *
 * The CPU backend has one kernel table per instruction set, and any number of threads: each test runs
 * on all of them. Results are compared with the oracle within a stated bound, and bit by bit between
 * different numbers of threads. With MNEME_TEST_DEVICE=cuda in the environment, the tests of fp32 kernels run
 * on mirrors of that device instead (mirror.h). */
#ifndef MNEME_TESTS_KERNELS_DEVICES_H
#define MNEME_TESTS_KERNELS_DEVICES_H

#include "mneme/device.h"

#include "kernels/guard.h"
#include "kernels/mirror.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEVICES = 15, MAX_TEST_THREADS = 3 };

/* Half a unit in the last place of 1: the relative error of one rounding. */
static const double unit = 0x1p-24;

typedef struct devices {
    mn_device *dev[MAX_DEVICES]; /* one instruction set after the other, threads 1, 2, 3 */
    int count;
} devices;

/* Mirrors of the device: two with the alignment of the test's numbers, the second of which must give the
 * bits of the first, and one where all begin at multiples of 16 bytes, whatever their number. */
static inline int devices_mirror(devices *all, const char *spec) {
    for (int i = 0; i < 3; i++) {
        mn_device *dev = NULL;
        if (mn_device_open(&dev, spec, 0) != MN_OK) {
            print_error("%s: %s\n", spec, mn_error());
            return -1;
        }
        all->dev[all->count] = mirror_open(dev, i == 1 ? 2 : 1, i == 2);
        if (!all->dev[all->count++]) return -1;
    }
    return 0;
}

/* Group setup: *state becomes the devices, one for each instruction set, way of multiplying bf16 and
 * number of threads. What this processor lacks is left out, and said so. */
static inline int devices_setup(void **state) {
    static const struct {
        const char *isa, *bf16;
    } kinds[] = {{"base", "rounded"},
                 {"avx2", "rounded"},
                 {"avx512", "rounded"},
                 {"avx512", "pairs"},
                 {"avx512", "tiles"}};
    devices *all = calloc(1, sizeof *all);
    if (!all) return -1;
    *state = all;
    if (getenv("MNEME_TEST_DEVICE")) return devices_mirror(all, getenv("MNEME_TEST_DEVICE"));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int threads = 1; threads <= MAX_TEST_THREADS; threads++) {
            mn_device *dev = NULL;
            if (setenv("MNEME_CPU_ISA", kinds[i].isa, 1) != 0 ||
                setenv("MNEME_CPU_BF16", kinds[i].bf16, 1) != 0 ||
                mn_device_open(&dev, "cpu", threads) != MN_OK)
                return -1;
            char words[40];
            snprintf(words, sizeof words, " %s, bf16 %s", kinds[i].isa, kinds[i].bf16);
            if (strstr(dev->description, words)) {
                all->dev[all->count++] = dev;
                continue;
            }
            if (threads == 1) print_message("skipped:%s, found %s\n", words, dev->description);
            mn_device_close(&dev);
        }
    unsetenv("MNEME_CPU_ISA");
    unsetenv("MNEME_CPU_BF16");
    return all->count ? 0 : -1;
}

static inline int devices_teardown(void **state) {
    devices *all = *state;
    for (int i = 0; i < all->count; i++) mn_device_close(&all->dev[i]);
    free(all);
    return 0;
}

/* Memory for one number of threads per instruction set: what the others must equal. */
typedef struct verdict {
    const char *what;    /* the case, for messages */
    const double *want;  /* the oracle's result */
    const double *bound; /* allowed absolute error of each element */
    int64_t n;
    float *first; /* results of one thread, this instruction set */
} verdict;

static inline verdict verdict_open(const char *what, const double *want, const double *bound,
                                   int64_t n) {
    return (verdict){.what = what,
                     .want = want,
                     .bound = bound,
                     .n = n,
                     .first = test_malloc((size_t)(n ? n : 1) * sizeof(float))};
}

static inline void verdict_close(verdict *v) { test_free(v->first); }

/* got (n): within the bound of the oracle, and with more threads the same bits as with one. */
static inline void verdict_on(const verdict *v, const mn_device *dev, const float *got) {
    for (int64_t i = 0; i < v->n; i++) {
        const double error = fabs((double)got[i] - v->want[i]);
        if (!(error <= v->bound[i]))
            fail_msg("%s, %s: element %lld is %.9g, expected %.9g, off by %.3g, allowed %.3g",
                     v->what, dev->description, (long long)i, (double)got[i], v->want[i], error,
                     v->bound[i]);
    }
    const size_t bytes = (size_t)v->n * sizeof *got;
    if (dev->threads == 1) memcpy(v->first, got, bytes);
    else if (memcmp(v->first, got, bytes) != 0)
        fail_msg("%s, %s: not the bits that one thread gives", v->what, dev->description);
}

/* How far a sum of n fp32 products may be off, in units of the size of its partial sums (sum |a||b|
 * at most). The worst case n * unit is hardly ever met: errors of either sign add up like a random
 * walk (Higham and Mary 2019), so six standard deviations are less than 6 sqrt(n) roundings; 8 more
 * for what is done with the sum. */
static inline double sum_bound(int64_t n) { return (6 * sqrt((double)n) + 8) * unit; }

#endif
