/* isa_loss.c - cross entropy of rows of logits, and its gradient in their place. A thread owns a row. */
#include "cpu/isa.h"
#include "cpu/vec.h"

#include <math.h>

/* x[i] = exp(x[i] - max); their sum, in double: a vocabulary is long. */
static double exponentials(float *x, float max, int64_t n) {
    enum { PART = 64 * VL };
    double sum = 0;
    for (int64_t begin = 0; begin < n; begin += PART) {
        const int64_t end = begin + PART < n ? begin + PART : n;
        vf part = v_set(0);
        int64_t i = begin;
        for (; i + VL <= end; i += VL) {
            const vf e = v_exp(v_load(x + i) - max);
            v_store(x + i, e);
            part += e;
        }
        sum += (double)v_sum(part);
        if (i < end) {
            v_store_n(x + i, v_exp(v_load_n(x + i, end - i) - max), end - i);
            for (; i < end; i++) sum += (double)x[i];
        }
    }
    return sum;
}

static float row_loss(float *x, int32_t target, float scale, int64_t n) {
    const float max = v_row_max(x, n), chosen = x[target];
    const double sum = exponentials(x, max, n);
    const float factor = (float)((double)scale / sum);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) v_store(x + i, v_load(x + i) * factor);
    for (; i < n; i++) x[i] *= factor;
    x[target] -= scale;
    return (float)(log(sum) + ((double)max - (double)chosen));
}

mn_status MN_CPU(cross_entropy)(mn_stream *s, float *loss, float *logits, const int32_t *targets,
                                float scale, int64_t rows, int64_t vocab) {
#pragma omp parallel for num_threads(s->threads) schedule(dynamic) if (rows > 1)
    for (int64_t r = 0; r < rows; r++)
        loss[r] = row_loss(logits + r * vocab, targets[r], scale, vocab);
    return MN_OK;
}

static float part_loss(float *x, float lse, int64_t target, float scale, int64_t n) {
    const bool here = target >= 0 && target < n;
    const float loss = here ? lse - x[target] : 0;
    int64_t i = 0;
    for (; i + VL <= n; i += VL) v_store(x + i, v_exp(v_load(x + i) - lse) * scale);
    if (i < n) v_store_n(x + i, v_exp(v_load_n(x + i, n - i) - lse) * scale, n - i);
    if (here) x[target] -= scale;
    return loss;
}

mn_status MN_CPU(cross_entropy_part)(mn_stream *s, float *loss, float *logits,
                                     const mn_row_stat *stats, const int32_t *targets, float scale,
                                     int64_t begin, int64_t rows, int64_t vocab) {
#pragma omp parallel for num_threads(s->threads) schedule(dynamic) if (rows > 1)
    for (int64_t r = 0; r < rows; r++)
        loss[r] = part_loss(logits + r * vocab, stats[r].lse, targets[r] - begin, scale, vocab);
    return MN_OK;
}
