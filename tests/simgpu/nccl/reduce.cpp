/* reduce.cpp - sums, products and extremes over ranks. */
#include "core/number.h"
#include "world.h"

namespace sg {

size_t bytes_of(ncclDataType_t t) {
    switch (t) {
    case ncclInt8:
    case ncclUint8: return 1;
    case ncclFloat16:
    case ncclBfloat16: return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32: return 4;
    default: return 8;
    }
}

namespace {

template <class T> T combine(ncclRedOp_t op, T a, T b) {
    switch (op) {
    case ncclProd: return (T)(a * b);
    case ncclMax: return b > a ? b : a;
    case ncclMin: return b < a ? b : a;
    default: return (T)(a + b);
    }
}

/* Elements of ranks 0, 1, ... combined in this order, in the type itself; halves in float. */
template <class T>
void reduce_as(const Call &c, const std::vector<std::vector<u8>> &from, size_t first, u8 *to) {
    for (size_t i = 0; i < c.count; i++) {
        T v, x;
        memcpy(&v, &from[0][(first + i) * sizeof v], sizeof v);
        for (size_t r = 1; r < from.size(); r++) {
            memcpy(&x, &from[r][(first + i) * sizeof x], sizeof x);
            v = combine(c.op, v, x);
        }
        if (c.op == ncclAvg) v = (T)(v / (T)from.size());
        memcpy(to + i * sizeof v, &v, sizeof v);
    }
}
void reduce_half(const Call &c, const std::vector<std::vector<u8>> &from, size_t first, u8 *to) {
    const bool bf = c.type == ncclBfloat16;
    const auto at = [&](size_t rank, size_t i) {
        u16 bits;
        memcpy(&bits, &from[rank][(first + i) * 2], 2);
        return bf ? bf16_to_float(bits) : half_to_float(bits);
    };
    for (size_t i = 0; i < c.count; i++) {
        float v = at(0, i);
        for (size_t r = 1; r < from.size(); r++) v = combine(c.op, v, at(r, i));
        if (c.op == ncclAvg) v /= (float)from.size();
        const u16 bits = bf ? bf16_from_float(v) : half_from_float(v);
        memcpy(to + 2 * i, &bits, 2);
    }
}
} // namespace

void reduce(const Call &c, const std::vector<std::vector<u8>> &from, size_t first, u8 *to) {
    switch (c.type) {
    case ncclInt8: reduce_as<s8>(c, from, first, to); break;
    case ncclUint8: reduce_as<u8>(c, from, first, to); break;
    case ncclInt32: reduce_as<s32>(c, from, first, to); break;
    case ncclUint32: reduce_as<u32>(c, from, first, to); break;
    case ncclInt64: reduce_as<s64>(c, from, first, to); break;
    case ncclUint64: reduce_as<u64>(c, from, first, to); break;
    case ncclFloat32: reduce_as<float>(c, from, first, to); break;
    case ncclFloat64: reduce_as<double>(c, from, first, to); break;
    default: reduce_half(c, from, first, to);
    }
}

} // namespace sg
