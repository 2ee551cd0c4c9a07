/* bench_peaks.h - what this machine can do at most, measured while it runs: arithmetic in registers
 * and sequential reads of memory, all threads at once; or what a GPU can. */
#ifndef MNEME_CLI_BENCH_PEAKS_H
#define MNEME_CLI_BENCH_PEAKS_H

#include "mneme/device.h"

#include <stddef.h>

/* BF16: of the weights' half type, where a device multiplies both. */
typedef enum mn_peak { MN_PEAK_F32, MN_PEAK_BF16, MN_PEAK_READ, MN_PEAKS } mn_peak;

typedef struct mn_peaks mn_peaks;
/* A reading is the best of `chunks`; a chunk of arithmetic takes about `seconds`, one of reads is a
 * pass over `bytes` of memory. */
mn_status mn_peaks_open(mn_peaks **out, int threads, size_t bytes, double seconds, int chunks);
void mn_peaks_close(mn_peaks **peaks);
size_t mn_peaks_bytes(const mn_peaks *peaks);

double mn_peaks_read(mn_peaks *peaks, mn_peak which); /* FLOP/s, or bytes per second */
const char *mn_peak_method(mn_peak which);            /* "AVX-512 FMA": how it is measured here */

/* ---- Of a device with memory of its own (bench_peaks_device.c) ---- */

typedef struct mn_device_peaks mn_device_peaks;
/* `dtype` of the model's weights; products of size x 2 size x size, passes over `bytes`; a reading is the best of `chunks`. */
mn_status mn_device_peaks_open(mn_device_peaks **out, mn_device *device, mn_dtype dtype,
                               int64_t size, size_t bytes, int chunks);
void mn_device_peaks_close(mn_device_peaks **peaks); /* safe twice */
mn_status mn_device_peaks_read(double *out, mn_device_peaks *peaks, mn_peak which);
const char *mn_device_peak_name(const mn_device_peaks *peaks, mn_peak which); /* "fp16" */
void mn_device_peak_method(char *out, size_t size, const mn_device_peaks *peaks, mn_peak which);

#endif
