/* rng.h - counter-based random numbers: a value is a pure function of (seed, stream, index).
 *
 * Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Nothing
 * has state, so any thread or rank can draw any element, and a stopped run can go on anywhere. */
#ifndef MNEME_RNG_H
#define MNEME_RNG_H

#include <stdint.h>

void mn_philox4x32(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

uint32_t mn_rng_u32(uint64_t seed, uint64_t stream, uint64_t index);
double mn_rng_uniform(uint64_t seed, uint64_t stream, uint64_t index); /* [0, 1), 53 bits */
double mn_rng_normal(uint64_t seed, uint64_t stream, uint64_t index);  /* mean 0, variance 1 */
/* Uniform over 0 .. n-1, n >= 1; bias below n / 2^53. */
int64_t mn_rng_below(uint64_t seed, uint64_t stream, uint64_t index, int64_t n);

#endif
