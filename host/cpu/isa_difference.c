/* isa_difference.c - how far two sets of logits are apart, for the effect audit. */
#include "cpu/isa.h"
#include "cpu/vec.h"

#include <math.h>

static float largest(const float *x, const float *y, int64_t n) {
    vf best = v_set(0), seen = v_set(0);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        const vf d = v_load(x + i) - v_load(y + i);
        best = v_max(v_max(d, -d), best);
        seen += d - d; /* becomes NaN with the first difference that is no number */
    }
    float max = v_max_of(best), bad = v_sum(seen);
    for (; i < n; i++) {
        const float d = x[i] - y[i];
        max = fabsf(d) > max ? fabsf(d) : max;
        bad += d - d;
    }
    return bad != 0 ? NAN : max;
}

mn_status MN_CPU(row_difference)(mn_stream *s, float *out, const float *x, const float *y,
                                 int64_t rows, int64_t dim) {
#pragma omp parallel for num_threads(s->threads) schedule(static) if (rows > 1)
    for (int64_t r = 0; r < rows; r++) out[r] = largest(x + r * dim, y + r * dim, dim);
    return MN_OK;
}
