/* outputs.h - outputs of a kernel under test: what they held before, what the oracle wants of them. */
#ifndef MNEME_TESTS_KERNELS_OUTPUTS_H
#define MNEME_TESTS_KERNELS_OUTPUTS_H

#include "kernels/devices.h"

typedef struct output {
    float *data;
    const float *before; /* what a kernel that adds finds; NULL: NaN in every place */
    double *want, *bound;
    int64_t n;
    verdict v;
} output;

/* `adds`: the output starts with random numbers, and so does `want`; the test adds the gradient. */
static inline output output_open(guards *g, const char *what, int64_t n, bool adds,
                                 uint64_t *state) {
    output o = {.data = guard_f32(g, n), .n = n, .bound = doubles(n)};
    if (adds) o.before = guard_random(g, n, 1, state);
    o.want = adds ? doubles_of(o.before, MN_F32, n) : doubles(n);
    o.v = verdict_open(what, o.want, o.bound, n);
    return o;
}

static inline void output_reset(const output *o) {
    if (o->before) memcpy(o->data, o->before, (size_t)o->n * sizeof *o->data);
    else memset(o->data, 0xFF, (size_t)o->n * sizeof *o->data);
}

/* Judges what the device wrote. The addition to what was there is rounded, too. */
static inline void output_judge(const output *o, const mn_device *dev) {
    verdict_on(&o->v, dev, o->data);
}

static inline void output_close(output *o) {
    verdict_close(&o->v);
    test_free(o->want);
    test_free(o->bound);
}

/* Rounding of the last addition of every element of an output that adds. */
static inline void output_rounding(const output *o) {
    for (int64_t i = 0; i < o->n; i++) {
        const double before = o->before ? fabs((double)o->before[i]) : 0;
        o->bound[i] += 2 * unit * (fabs(o->want[i]) + before);
    }
}

#endif
