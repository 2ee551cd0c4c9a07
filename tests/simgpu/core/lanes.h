/* lanes.h - for handlers: a function of numbers applied to the 32 lanes of registers. */
#ifndef SIMGPU_LANES_H
#define SIMGPU_LANES_H

#include "machine.h"
#include "opcode.h"
#include <type_traits>

namespace sg {

/* The word in which a row keeps a T. Narrow unsigned and signed values are kept zero-extended. */
template <class T> using Word = std::conditional_t<sizeof(T) == 8, u64, u32>;

template <class T> inline T value_of(Word<T> word) {
    if constexpr (std::is_floating_point_v<T>) return bit_cast<T>(word);
    else return (T)word;
}
template <class T> inline Word<T> word_of(T value) {
    if constexpr (std::is_floating_point_v<T>) return bit_cast<Word<T>>(value);
    else return (Word<T>)(std::make_unsigned_t<T>)value;
}

/* d = f(a), f(a, b), f(a, b, c): operand 0 is the destination. */
template <class T, class F> inline void map1(Machine &m, const Inst &i, u32 mask, F f) {
    Word<T> sa[LANES], r[LANES];
    const Word<T> *a = m.source(i.op[1], sa);
    for (int l = 0; l < LANES; l++) r[l] = word_of<T>(f(value_of<T>(a[l])));
    m.store(i.op[0], r, mask);
}
template <class T, class F> inline void map2(Machine &m, const Inst &i, u32 mask, F f) {
    Word<T> sa[LANES], sb[LANES], r[LANES];
    const Word<T> *a = m.source(i.op[1], sa), *b = m.source(i.op[2], sb);
    for (int l = 0; l < LANES; l++) r[l] = word_of<T>(f(value_of<T>(a[l]), value_of<T>(b[l])));
    m.store(i.op[0], r, mask);
}
template <class T, class F> inline void map3(Machine &m, const Inst &i, u32 mask, F f) {
    Word<T> sa[LANES], sb[LANES], sc[LANES], r[LANES];
    const Word<T> *a = m.source(i.op[1], sa), *b = m.source(i.op[2], sb),
                  *c = m.source(i.op[3], sc);
    for (int l = 0; l < LANES; l++)
        r[l] = word_of<T>(f(value_of<T>(a[l]), value_of<T>(b[l]), value_of<T>(c[l])));
    m.store(i.op[0], r, mask);
}

/* Handlers made from a struct with `static T apply(T...)`, possibly a template. */
template <class T, class Op> void run1(Machine &m, const Inst &i, u32 mask) {
    map1<T>(m, i, mask, [](T a) { return (T)Op::apply(a); });
}
template <class T, class Op> void run2(Machine &m, const Inst &i, u32 mask) {
    map2<T>(m, i, mask, [](T a, T b) { return (T)Op::apply(a, b); });
}
template <class T, class Op> void run3(Machine &m, const Inst &i, u32 mask) {
    map3<T>(m, i, mask, [](T a, T b, T c) { return (T)Op::apply(a, b, c); });
}

/* The handler for an integer type; bits count as unsigned. NULL: no integer type. */
#define SG_FOR_INTEGER(run, Op, type)                                                              \
    ((type) == Type::U16 || (type) == Type::B16   ? run<u16, Op>                                   \
     : (type) == Type::S16                        ? run<s16, Op>                                   \
     : (type) == Type::U32 || (type) == Type::B32 ? run<u32, Op>                                   \
     : (type) == Type::S32                        ? run<s32, Op>                                   \
     : (type) == Type::U64 || (type) == Type::B64 ? run<u64, Op>                                   \
     : (type) == Type::S64                        ? run<s64, Op>                                   \
                                                  : (Handler) nullptr)

/* Operations on f16, bf16 and pairs of them: computed in double, rounded once. */
template <int N, class F> inline void map_half(Machine &m, const Inst &i, u32 mask, F f) {
    const bool bf = is_bf16(i.type), pair = is_pair(i.type);
    u32 scratch[3][LANES], r[LANES] = {};
    const u32 *x[3];
    for (int n = 0; n < N; n++) x[n] = m.source(i.op[1 + n], scratch[n]);
    for (int lane = 0; lane < LANES; lane++) {
        if (!(mask >> lane & 1)) continue;
        for (int h = 0; h <= (int)pair; h++) {
            double v[3];
            for (int n = 0; n < N; n++) {
                const u16 bits = (u16)(x[n][lane] >> (16 * h));
                v[n] = bf ? bf16_to_float(bits) : half_to_float(bits);
            }
            double y = f(v);
            if (i.sat) y = y > 0 ? std::min(y, 1.0) : 0;
            if (i.relu && y < 0) y = 0;
            r[lane] |= (u32)(bf ? bf16_from_double(y) : half_from_double(y)) << (16 * h);
        }
    }
    m.store(i.op[0], r, mask);
}

/* Runs f in another rounding mode: 0 nearest even, 1 zero, 2 down, 3 up. f must read its inputs from
 * volatile variables, or the compiler computes before the mode changes. */
double with_rounding(int mode, double (*f)(double, double, double), double a, double b, double c);
float with_rounding(int mode, float (*f)(float, float, float), float a, float b, float c);
/* .approx results: as exact as a double computation, plus the noise of the option. */
float approximate(float f);

} // namespace sg
#endif
