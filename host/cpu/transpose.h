/* transpose.h - sixteen vectors of sixteen floats change rows and columns, in registers. */
#ifndef MNEME_CPU_TRANSPOSE_H
#define MNEME_CPU_TRANSPOSE_H

#include "cpu/vec.h"

#define SWAP_LANES(s)                                                                              \
    for (int i = 0; i < VL; i++) {                                                                 \
        if (i & (s)) continue;                                                                     \
        const vf a = r[i], b = r[i + (s)];                                                         \
        r[i] = MN_BLEND_LOW_##s(a, b);                                                             \
        r[i + (s)] = MN_BLEND_HIGH_##s(a, b);                                                      \
    }
#define MN_BLEND_LOW_8(a, b)                                                                       \
    __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define MN_BLEND_HIGH_8(a, b)                                                                      \
    __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#define MN_BLEND_LOW_4(a, b)                                                                       \
    __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27)
#define MN_BLEND_HIGH_4(a, b)                                                                      \
    __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31)
#define MN_BLEND_LOW_2(a, b)                                                                       \
    __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define MN_BLEND_HIGH_2(a, b)                                                                      \
    __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define MN_BLEND_LOW_1(a, b)                                                                       \
    __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30)
#define MN_BLEND_HIGH_1(a, b)                                                                      \
    __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31)

/* Blocks of 8, 4, 2 and 1 change places. */
V_INLINE void v_transpose(vf r[VL]) { SWAP_LANES(8) SWAP_LANES(4) SWAP_LANES(2) SWAP_LANES(1) }

#endif
