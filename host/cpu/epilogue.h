/* epilogue.h - what a matrix product does with one row of finished sums. */
#ifndef MNEME_CPU_EPILOGUE_H
#define MNEME_CPU_EPILOGUE_H

#include "cpu/vec.h"
#include "mneme/kernels.h"

/* y = activation(y + bias + add) for n outputs; bias and add may be NULL. */
V_INLINE void finish_row(float *y, const float *add, const float *bias, mn_epilogue epilogue,
                         int64_t n) {
    for (int64_t i = 0; i < n; i += VL) {
        const int64_t l = n - i < VL ? n - i : VL;
        vf v = l == VL ? v_load(y + i) : v_load_n(y + i, l);
        if (bias) v += l == VL ? v_load(bias + i) : v_load_n(bias + i, l);
        if (add) v += l == VL ? v_load(add + i) : v_load_n(add + i, l);
        if (epilogue == MN_EPILOGUE_GELU) v = v_gelu(v);
        if (l == VL) v_store(y + i, v);
        else v_store_n(y + i, v, l);
    }
}

#endif
