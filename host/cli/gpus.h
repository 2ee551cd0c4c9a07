/* gpus.h - what the makers promise of their GPUs: the rates that `mneme plan` divides by. */
#ifndef MNEME_CLI_GPUS_H
#define MNEME_CLI_GPUS_H

#include "mneme/tally.h"

typedef struct mn_gpu {
    const char *name, *source; /* "h100-sxm"; the document that has the numbers */
    double memory;             /* bytes */
    double bandwidth;          /* of its memory, bytes/s */
    double tensor,
        f32;       /* FLOP/s: products of fp16 with fp32 sums, dense; fp32 without tensor cores */
    double nvlink; /* to other GPUs, bytes/s in one direction; 0: none, they talk over PCIe */
    double pcie;   /* bytes/s in one direction */
} mn_gpu;

enum { MN_GPUS = 10 };
extern const mn_gpu mn_gpus[MN_GPUS];
extern const char *const mn_gpu_names[MN_GPUS + 1]; /* ended by NULL */

/* Seconds that a row takes at least: the slower of its arithmetic and its bytes. */
double mn_gpu_seconds(const mn_gpu *gpu, const mn_tally_row *row);

#endif
