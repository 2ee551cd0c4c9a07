/* select_function.cpp - rcp, sqrt, ex2 and other functions: computed in double, rounded once. Hardware
 * may be off by the last bit or two in .approx forms; the option approx_noise imitates that. */
#include "lanes.h"

namespace sg {

namespace {

/* 2^x for 32 lanes at once: a polynomial of the fraction (relative error below 2^-42) times a power. */
double exp2_double(double x) {
    const double shift = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer */
    const double limited = x < -1000 ? -1000 : x > 1000 ? 1000 : x; /* NaN stays */
    const double rounded = limited + shift, whole = rounded - shift;
    const double y = (limited - whole) * 0.69314718055994530942;
    double p = 1.0 / 479001600;
    const double factorials[] = {39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1};
    for (const double f : factorials) p = p * y + 1 / f;
    const u64 exponent = bit_cast<u64>(rounded) - bit_cast<u64>(shift) + 1023;
    return p * bit_cast<double>(exponent << 52);
}

struct Reciprocal {
    static double apply(double a) { return 1 / a; }
};
struct Root {
    static double apply(double a) { return std::sqrt(a); }
};
struct ReciprocalRoot {
    static double apply(double a) { return 1 / std::sqrt(a); }
};
struct Exp2 {
    static double apply(double a) { return exp2_double(a); }
};
struct Log2 {
    static double apply(double a) { return std::log2(a); }
};
struct Sine {
    static double apply(double a) { return std::sin(a); }
};
struct Cosine {
    static double apply(double a) { return std::cos(a); }
};
struct Tanh {
    static double apply(double a) { return std::tanh(a); }
};

template <class Op> void on_float(Machine &m, const Inst &i, u32 mask) {
    if (!i.ftz && !options.approx_noise) {
        map1<float>(m, i, mask, [](float a) { return (float)Op::apply(a); });
        return;
    }
    map1<float>(m, i, mask, [&](float a) {
        const float r = approximate((float)Op::apply(i.ftz ? flush(a) : a));
        return i.ftz ? flush(r) : r;
    });
}
template <class Op> void on_half(Machine &m, const Inst &i, u32 mask) {
    map_half<1>(m, i, mask, [](double *x) { return Op::apply(x[0]); });
}
template <class Op> void on_double(Machine &m, const Inst &i, u32 mask) {
    map1<double>(m, i, mask, [](double a) { return Op::apply(a); });
}

template <class Op> Handler function(const Inst &i, const Statement &s) {
    if (i.rounding) s.unsupported();
    if (is_half(i.type)) return on_half<Op>;
    return i.type == Type::F64 ? on_double<Op> : on_float<Op>;
}

} // namespace

Handler select_rcp(Inst &i, const Statement &s) { return function<Reciprocal>(i, s); }
Handler select_sqrt(Inst &i, const Statement &s) { return function<Root>(i, s); }
Handler select_rsqrt(Inst &i, const Statement &s) { return function<ReciprocalRoot>(i, s); }
Handler select_ex2(Inst &i, const Statement &s) { return function<Exp2>(i, s); }
Handler select_lg2(Inst &i, const Statement &s) { return function<Log2>(i, s); }
Handler select_sin(Inst &i, const Statement &s) { return function<Sine>(i, s); }
Handler select_cos(Inst &i, const Statement &s) { return function<Cosine>(i, s); }
Handler select_tanh(Inst &i, const Statement &s) { return function<Tanh>(i, s); }

} // namespace sg
