/* isa_pack.c - operands of a product into the panels of isa_gemm.c.
 *
 * What lies along the depth is transposed sixteen by sixteen in registers; what lies across it is
 * copied. Weights are converted to fp32 or to pairs of bf16 on the way. */
#include "cpu/gemm.h"
#include "cpu/transpose.h"
#include "cpu/vec.h"

enum {
    AHEAD = 256
}; /* bytes: sixteen rows at once are too many streams for the processor to follow */

/* ---- sixteen units of one row along the depth ---- */

V_INLINE vf load_any(const void *p, mn_dtype dtype) {
    if (dtype == MN_F32) return v_load(p);
    return dtype == MN_F16 ? v_load_f16(p) : v_load_bf16(p);
}

V_INLINE const void *at(const void *p, int64_t i, mn_dtype dtype) {
    return (const char *)p + (size_t)i * (dtype == MN_F32 ? sizeof(float) : sizeof(uint16_t));
}

/* Thirty-two neighbours as sixteen pairs. */
V_INLINE vf load_pairs(const void *p, mn_dtype dtype) {
    if (dtype == MN_BF16) return v_load(p);
    const vf a = load_any(p, dtype), b = load_any(at(p, VL, dtype), dtype);
#if defined(__AVX512F__) /* the caller knows that the processor has AVX512_BF16 */
    vf pairs;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(pairs) : "v"(a), "v"(b));
    return pairs;
#else
    return v_join_bf16(
        __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
        __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));
#endif
}

V_INLINE vf load_units(const void *p, mn_dtype dtype, const mn_unit unit) {
    if (unit == MN_UNIT_PAIR) return load_pairs(p, dtype);
    const vf x = load_any(p, dtype);
    return unit == MN_UNIT_ROUNDED ? v_round_bf16(x) : x;
}

/* The same when only `n` numbers are left; the others are zero. */
V_INLINE vf load_units_n(const void *p, mn_dtype dtype, const mn_unit unit, int64_t n) {
    float padded[2 * VL] = {0};
    memcpy(padded, p, (size_t)n * (dtype == MN_F32 ? sizeof(float) : sizeof(uint16_t)));
    return load_units(padded, dtype, unit);
}

/* One row: its units stay side by side. */
V_TILE void one_row(float *to, const void *row, mn_dtype dtype, int64_t k, int64_t depth,
                    int64_t depths, const mn_unit unit) {
    const int64_t per = unit == MN_UNIT_PAIR ? 2 : 1;
    for (int64_t d = 0; d < depths; d += VL) {
        const int64_t first = (depth + d) * per, left = k - first;
        const void *p = at(row, first, dtype);
        const vf x = left >= VL * per ? load_units(p, dtype, unit)
                                      : load_units_n(p, dtype, unit, left);
        if (depths - d >= VL) v_store(to + d, x);
        else v_store_n(to + d, x, depths - d);
    }
}

/* ---- transposing ---- */

/* `lanes` rows (the others zero) whose numbers lie along the depth, `stride` numbers apart: units
 * [depth, depth + depths) to to[d * width + lane]. Writes whole vectors where the next units' own
 * follow anyway, so that width may be less than sixteen; never behind to[depths * width]. */
V_TILE void along(float *to, int64_t width, const void *rows, int64_t stride, int64_t lanes,
                  mn_dtype dtype, int64_t k, int64_t depth, int64_t depths, const mn_unit unit) {
    const int64_t per = unit == MN_UNIT_PAIR ? 2 : 1;
    const int64_t whole = depths * width - VL; /* the last place for a whole vector */
    for (int64_t d = 0; d < depths; d += VL) {
        const int64_t first = (depth + d) * per, left = k - first;
        vf r[VL];
        for (int i = 0; i < VL; i++) {
            const void *p = at(rows, i * stride + first, dtype);
            if (i < lanes) __builtin_prefetch((const char *)p + AHEAD);
            r[i] = i >= lanes         ? v_set(0)
                   : left >= VL * per ? load_units(p, dtype, unit)
                                      : load_units_n(p, dtype, unit, left);
        }
        v_transpose(r);
        const int64_t n = depths - d < VL ? depths - d : VL;
        for (int64_t j = 0; j < n; j++) {
            float *out = to + (d + j) * width;
            if ((d + j) * width <= whole) v_store(out, r[j]);
            else v_store_n(out, r[j], width < VL ? width : VL);
        }
    }
}

/* ---- copying ---- */

/* Sixteen columns of one unit of depth, or `n` of them with zeros for the rest. */
V_INLINE vf load_across(const void *p, int64_t n, mn_dtype dtype) {
    if (n >= VL) return load_any(p, dtype);
    return n > 0 ? load_units_n(p, dtype, MN_UNIT_F32, n) : v_set(0);
}

V_INLINE vf across_unit(const void *p, int64_t depth, int64_t stride, int64_t n, mn_dtype dtype,
                        int64_t k, const mn_unit unit) {
    if (unit != MN_UNIT_PAIR) {
        const vf x = load_across(at(p, depth * stride, dtype), n, dtype);
        return unit == MN_UNIT_ROUNDED ? v_round_bf16(x) : x;
    }
    const vf low = load_across(at(p, 2 * depth * stride, dtype), n, dtype);
    const vf high = 2 * depth + 1 < k
                        ? load_across(at(p, (2 * depth + 1) * stride, dtype), n, dtype)
                        : v_set(0);
    return v_join_bf16(low, high);
}

/* Numbers that lie across the depth: `lanes` neighbours, `stride` numbers from one depth to the next. */
V_TILE void across(float *to, int64_t width, const void *first, int64_t stride, int64_t lanes,
                   mn_dtype dtype, int64_t k, int64_t depth, int64_t depths, const mn_unit unit) {
    for (int64_t d = 0; d < depths; d++)
        for (int64_t i = 0; i < width; i += VL) {
            const vf x = across_unit(at(first, i, dtype), depth + d, stride, lanes - i, dtype, k,
                                     unit);
            if (width - i >= VL) v_store(to + d * width + i, x);
            else v_store_n(to + d * width + i, x, width - i);
        }
}

/* ---- one copy of the loops for each type and unit ---- */

typedef struct strip {
    float *to;
    int64_t width;
    const void *from;
    int64_t stride, lanes, k, depth, depths;
    bool along;
} strip;

V_INLINE void pack_as(const strip *s, mn_dtype dtype, const mn_unit unit) {
    if (!s->along) {
        across(s->to, s->width, s->from, s->stride, s->lanes, dtype, s->k, s->depth, s->depths,
               unit);
        return;
    }
    if (s->width == 1) {
        one_row(s->to, s->from, dtype, s->k, s->depth, s->depths, unit);
        return;
    }
    for (int64_t i = 0; i < s->width; i += VL)
        along(s->to + i, s->width, at(s->from, i * s->stride, dtype), s->stride, s->lanes - i,
              dtype, s->k, s->depth, s->depths, unit);
}

static void pack_f32(const strip *s, mn_dtype dtype) {
    switch (dtype) {
    case MN_F16: pack_as(s, MN_F16, MN_UNIT_F32); break;
    case MN_BF16: pack_as(s, MN_BF16, MN_UNIT_F32); break;
    default: pack_as(s, MN_F32, MN_UNIT_F32); break;
    }
}

static void pack_rounded(const strip *s, mn_dtype dtype) {
    switch (dtype) {
    case MN_F16: pack_as(s, MN_F16, MN_UNIT_ROUNDED); break;
    case MN_BF16: pack_as(s, MN_BF16, MN_UNIT_F32); break;
    default: pack_as(s, MN_F32, MN_UNIT_ROUNDED); break;
    }
}

static void pack_pairs(const strip *s, mn_dtype dtype) {
    switch (dtype) {
    case MN_F16: pack_as(s, MN_F16, MN_UNIT_PAIR); break;
    case MN_BF16: pack_as(s, MN_BF16, MN_UNIT_PAIR); break;
    default: pack_as(s, MN_F32, MN_UNIT_PAIR); break;
    }
}

static void pack(const strip *s, mn_dtype dtype, mn_unit unit) {
    switch (unit) {
    case MN_UNIT_F32: pack_f32(s, dtype); break;
    case MN_UNIT_ROUNDED: pack_rounded(s, dtype); break;
    case MN_UNIT_PAIR: pack_pairs(s, dtype); break;
    }
}

void MN_CPU(pack_a)(float *to, int64_t width, const mn_product *p, mn_unit unit, int64_t row,
                    int64_t depth, int64_t depths) {
    const bool along_depth = p->a_depth == 1;
    const strip s = {.to = to,
                     .width = width,
                     .from = p->a + row * p->a_row,
                     .stride = along_depth ? p->a_row : p->a_depth,
                     .lanes = p->m - row,
                     .k = p->k,
                     .depth = depth,
                     .depths = depths,
                     .along = along_depth};
    pack(&s, MN_F32, unit);
}

/* From panels whose rows are the columns of b: 32 of them lie side by side. */
static void columns_of_panel(float *to, const mn_product *p, mn_unit unit, int64_t col,
                             int64_t depth, int64_t depths) {
    const strip s = {.to = to,
                     .width = MN_PANEL,
                     .from = mn_panel_at(p, p->k, col, 0),
                     .stride = MN_PANEL,
                     .lanes = MN_PANEL,
                     .k = p->k,
                     .depth = depth,
                     .depths = depths};
    pack(&s, p->dtype, unit);
}

/* From panels whose rows are the depth of b: each gives 32 numbers of it. */
static void depths_of_panels(float *to, const mn_product *p, mn_unit unit, int64_t col,
                             int64_t cols, int64_t depth, int64_t depths) {
    const int64_t per = unit == MN_UNIT_PAIR ? 2 : 1, units = MN_PANEL / per;
    for (int64_t d = 0; d < depths; d += units) {
        const strip s = {.to = to + d * MN_PANEL,
                         .width = MN_PANEL,
                         .from = mn_panel_at(p, p->n, (depth + d) * per, col),
                         .stride = MN_PANEL,
                         .lanes = cols,
                         .k = MN_PANEL,
                         .depths = depths - d < units ? depths - d : units,
                         .along = true};
        pack(&s, p->dtype, unit);
    }
}

void MN_CPU(pack_b)(float *to, const mn_product *p, mn_unit unit, int64_t col, int64_t cols,
                    int64_t depth, int64_t depths) {
    const bool along_depth = p->b_depth == 1;
    if (p->panels) {
        if (along_depth) columns_of_panel(to, p, unit, col, depth, depths);
        else depths_of_panels(to, p, unit, col, cols, depth, depths);
        return;
    }
    const strip s = {.to = to,
                     .width = 2 * VL,
                     .from = at(p->b, col * p->b_col, p->dtype),
                     .stride = along_depth ? p->b_col : p->b_depth,
                     .lanes = cols,
                     .k = p->k,
                     .depth = depth,
                     .depths = depths,
                     .along = along_depth};
    pack(&s, p->dtype, unit);
}
