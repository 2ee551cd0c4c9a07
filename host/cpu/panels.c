/* panels.c - weights of half precision in the order in which the matrix product reads them.
 *
 * A panel is 32 rows of w, k after k: [n / 32][K][32]. A thread that multiplies reads one stream from
 * beginning to end, which the processor prefetches best, and no block is transposed again for every
 * call. What fills up the last panel, and K to an even number, is zero. */
#include "cpu/cpu.h"

#include <string.h>

typedef uint16_t v8 __attribute__((vector_size(16)));

enum { SIDE = 8 };

size_t mn_cpu_panel_bytes(int64_t n, int64_t k) {
    return (size_t)(mn_cpu_panel_stride(k) * ((n + MN_PANEL - 1) / MN_PANEL)) * sizeof(uint16_t);
}

/* Eight vectors change rows and columns: three rounds of taking turns. */
static void transpose(v8 r[SIDE]) {
    v8 t[SIDE];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < SIDE / 2; i++) {
            t[2 * i] = __builtin_shufflevector(r[i], r[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            t[2 * i + 1] = __builtin_shufflevector(r[i], r[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        memcpy(r, t, sizeof t);
    }
}

/* Numbers (row .., k ..), up to 8 x 8 of them, of which `rows` and `ks` exist. */
static void square(uint16_t *to, const uint16_t *from, int64_t stride, int64_t rows, int64_t ks) {
    v8 r[SIDE];
    memset(r, 0, sizeof r);
    for (int64_t i = 0; i < rows && i < SIDE; i++)
        memcpy(&r[i], (const char *)from + (size_t)(i * stride) * sizeof *from,
               (size_t)(ks < SIDE ? ks : SIDE) * sizeof *from);
    transpose(r);
    for (int64_t i = 0; i < ks && i < SIDE; i++) memcpy(to + i * MN_PANEL, &r[i], sizeof r[i]);
}

mn_status mn_cpu_to_panels(mn_device *device, void *panels, const mn_tensor *rows) {
    const int64_t n = rows->shape[0], k = rows->shape[1], stride = mn_cpu_panel_stride(k);
#pragma omp parallel for num_threads(device->threads) schedule(static)
    for (int64_t first = 0; first < n; first += MN_PANEL) {
        uint16_t *to = (uint16_t *)panels + first / MN_PANEL * stride;
        const char *from = (const char *)rows->data + (size_t)(first * k) * sizeof *to;
        for (int64_t i = 0; i < MN_PANEL; i += SIDE)
            for (int64_t d = 0; d < k; d += SIDE)
                square(to + d * MN_PANEL + i,
                       (const uint16_t *)(const void *)(from + (size_t)(i * k + d) * sizeof *to), k,
                       n - first - i, k - d);
        memset(to + k * MN_PANEL, 0, (size_t)(stride - k * MN_PANEL) * sizeof *to);
    }
    return MN_OK;
}
