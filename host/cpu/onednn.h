/* onednn.h - the bf16 product, which mneme takes from oneDNN. Called by one thread at a time on a panel
 * of its own: inside a parallel region oneDNN stays on the calling thread. */
#ifndef MNEME_CPU_ONEDNN_H
#define MNEME_CPU_ONEDNN_H

#include "mneme/status.h"

#include <stdbool.h>
#include <stdint.h>

/* y (m, n; ldy) = x (m, k; ldx) w + (add ? y : 0) with fp32 sums; w holds bf16 as (n, k), or as (k, n)
 * when it is `across`, without gaps. */
typedef struct mn_bf16_product {
    float *y;
    int64_t ldy;
    const uint16_t *x;
    int64_t ldx;
    const uint16_t *w;
    bool w_across, add;
    int64_t m, n, k;
} mn_bf16_product;

/* Products are built once per (thread, shape) and kept. */
typedef struct mn_onednn mn_onednn;
mn_status mn_onednn_open(mn_onednn **out, int threads);
void mn_onednn_close(mn_onednn **onednn);
mn_status mn_onednn_bf16(mn_onednn *onednn, int thread, const mn_bf16_product *product);

const char *mn_onednn_version(void); /* of the library that runs, "2.6.3" */

#endif
