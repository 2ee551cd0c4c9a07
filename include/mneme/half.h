/* half.h - fp16 and bf16 to and from fp32, one value at a time, round to nearest even.
 * The kernels have vector versions; these serve files, tests and tails. */
#ifndef MNEME_HALF_H
#define MNEME_HALF_H

#include <stdint.h>

float mn_f16_to_f32(uint16_t h);
uint16_t mn_f32_to_f16(float f); /* overflow gives infinity, NaN stays NaN */
float mn_bf16_to_f32(uint16_t h);
uint16_t mn_f32_to_bf16(float f);

#endif
