/* orthogonal.c - random orthogonal matrices (Saxe et al. 2014), distributed as those of
 * torch.nn.init.orthogonal_: Q of the QR decomposition of a normal matrix, with the signs that make R's
 * diagonal positive. Gram-Schmidt gives just that Q. */
#include "model/memory_impl.h"

#include "mneme/rng.h"

#include <math.h>
#include <stdlib.h>

static double dot(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* v -= its parts along the `count` orthonormal vectors in front of it. */
static void take_out(double *v, const double *basis, int64_t count, int64_t n) {
    for (int64_t j = 0; j < count; j++) {
        const double *b = basis + j * n;
        const double part = dot(v, b, n);
        for (int64_t i = 0; i < n; i++) v[i] -= part * b[i];
    }
}

mn_status mn_orthogonal(float *out, int64_t rows, int64_t cols, double gain, uint64_t seed,
                        uint64_t stream) {
    const bool wide = rows <= cols; /* the rows are the vectors */
    const int64_t count = wide ? rows : cols, len = wide ? cols : rows;
    double *v = malloc((size_t)(count * len) * sizeof *v);
    MN_CHECK(v, MN_ERR_MEMORY, "no memory for an orthogonal matrix of %lld x %lld", (long long)rows,
             (long long)cols);
    for (int64_t i = 0; i < count * len; i++) v[i] = mn_rng_normal(seed, stream, (uint64_t)i);
    for (int64_t j = 0; j < count; j++) {
        double *own = v + j * len;
        /* The second round takes out what rounding left in the first ("twice is enough": Giraud et
         * al. 2005). */
        for (int round = 0; round < 2; round++) take_out(own, v, j, len);
        const double length = sqrt(dot(own, own, len));
        for (int64_t i = 0; i < len; i++) {
            own[i] /= length;
            out[wide ? j * cols + i : i * cols + j] = (float)(gain * own[i]);
        }
    }
    free(v);
    return MN_OK;
}
