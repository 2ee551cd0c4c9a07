/* isa_sums.c - sums of squares, in double: gradients' norms, norms of rows. */
#include "cpu/isa.h"
#include "cpu/vec.h"

#include <math.h>

enum { BLOCK = 1 << 14 };

typedef double vd __attribute__((vector_size(64)));

/* Squares of floats are exact in double. */
static double squares(const float *x, int64_t n) {
    vd even = {0}, odd = {0};
    for (int64_t i = 0; i < n; i += VL) {
        const vf v = n - i >= VL ? v_load(x + i) : v_load_n(x + i, n - i);
        const vd a = __builtin_convertvector(v_low(v), vd);
        const vd b = __builtin_convertvector(v_high(v), vd);
        even += a * a;
        odd += b * b;
    }
    even += odd;
    double sum = 0;
    for (int i = 0; i < 8; i++) sum += even[i];
    return sum;
}

/* A thread owns blocks; their sums are added in order. */
mn_status MN_CPU(square_sum)(mn_stream *s, double *sum, const float *x, int64_t n) {
    enum { WAVE = MN_CPU_SCRATCH / sizeof(double) };
    double *part = mn_cpu_scratch(s, 0), total = 0;
    for (int64_t first = 0; first < n; first += (int64_t)WAVE * BLOCK) {
        const int64_t left = (n - first + BLOCK - 1) / BLOCK, blocks = left < WAVE ? left : WAVE;
#pragma omp parallel for num_threads(s->threads) schedule(static) if (blocks > 1)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t begin = first + b * BLOCK;
            part[b] = squares(x + begin, n - begin < BLOCK ? n - begin : BLOCK);
        }
        for (int64_t b = 0; b < blocks; b++) total += part[b];
    }
    *sum += total;
    return MN_OK;
}

mn_status MN_CPU(row_norms)(mn_stream *s, float *norm, const float *x, int64_t rows, int64_t dim) {
#pragma omp parallel for num_threads(s->threads) schedule(static) if (rows > 1)
    for (int64_t r = 0; r < rows; r++) norm[r] = (float)sqrt(squares(x + r * dim, dim));
    return MN_OK;
}
