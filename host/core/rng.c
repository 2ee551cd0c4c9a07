/* rng.c - Philox4x32-10; constants from Salmon et al. (SC 2011), table 2. */
#include "mneme/rng.h"

#include <math.h>

void mn_philox4x32(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]) {
    enum { ROUNDS = 10 };
    const uint64_t mul0 = 0xD2511F53u, mul1 = 0xCD9E8D57u;
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t p0 = mul0 * c0, p1 = mul1 * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        const uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0;
        c1 = (uint32_t)p1;
        c2 = n2;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u; /* Weyl sequence: golden ratio, sqrt(3) - 1 */
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static void draw(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t index) {
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream,
                                 (uint32_t)(stream >> 32)};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    mn_philox4x32(out, counter, key);
}

static double unit(uint32_t high, uint32_t low) {
    return (double)(((uint64_t)high << 21) ^ ((uint64_t)low >> 11)) * 0x1p-53;
}

uint32_t mn_rng_u32(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t r[4];
    draw(r, seed, stream, index);
    return r[0];
}

double mn_rng_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t r[4];
    draw(r, seed, stream, index);
    return unit(r[0], r[1]);
}

/* Box-Muller; 1 - u keeps the logarithm's argument above zero. */
double mn_rng_normal(uint64_t seed, uint64_t stream, uint64_t index) {
    const double two_pi = 6.283185307179586;
    uint32_t r[4];
    draw(r, seed, stream, index);
    return sqrt(-2 * log(1 - unit(r[0], r[1]))) * cos(two_pi * unit(r[2], r[3]));
}

int64_t mn_rng_below(uint64_t seed, uint64_t stream, uint64_t index, int64_t n) {
    return (int64_t)(mn_rng_uniform(seed, stream, index) * (double)n);
}
