/* bench_peaks.h - what this machine can do at most, measured while it runs: arithmetic in registers
 * and sequential reads of memory, all threads at once. */
#ifndef MNEME_CLI_BENCH_PEAKS_H
#define MNEME_CLI_BENCH_PEAKS_H

#include "mneme/status.h"

#include <stddef.h>

typedef enum mn_peak { MN_PEAK_F32, MN_PEAK_BF16, MN_PEAK_READ, MN_PEAKS } mn_peak;

typedef struct mn_peaks mn_peaks;
/* A reading is the best of `chunks`; a chunk of arithmetic takes about `seconds`, one of reads is a
 * pass over `bytes` of memory. */
mn_status mn_peaks_open(mn_peaks **out, int threads, size_t bytes, double seconds, int chunks);
void mn_peaks_close(mn_peaks **peaks);
size_t mn_peaks_bytes(const mn_peaks *peaks);

double mn_peaks_read(mn_peaks *peaks, mn_peak which); /* FLOP/s, or bytes per second */
const char *mn_peak_method(mn_peak which);            /* "AVX-512 FMA": how it is measured here */

#endif
