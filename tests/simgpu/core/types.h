/* types.h - the types of PTX and its state spaces. */
#ifndef SIMGPU_TYPES_H
#define SIMGPU_TYPES_H

#include "number.h"
#include <string>

namespace sg {

enum class Type : u8 {
    NONE,
#define TYPE(name, text, bytes, kind) name,
#include "types.def"
#undef TYPE
};

int bytes_of(Type t);
char kind_of(Type t);                     /* the last column of types.def */
Type type_named(const std::string &text); /* NONE when it is no type */
inline bool is_float(Type t) { return kind_of(t) == 'F'; }
inline bool is_signed(Type t) { return kind_of(t) == 'S'; }
inline bool is_half(Type t) { return t >= Type::F16 && t <= Type::BF16X2; }
inline bool is_bf16(Type t) { return t == Type::BF16 || t == Type::BF16X2; }
inline bool is_pair(Type t) { return t == Type::F16X2 || t == Type::BF16X2; }

enum class Space : u8 { GENERIC, GLOBAL, SHARED, LOCAL, PARAM, CONST };

/* Addresses. Device memory is the host's own address with bit 62 set, which no host can read.
 * Generic addresses of the other spaces are an offset in one of these windows. */
constexpr u64 DEVICE = 1ull << 62;
constexpr u64 WINDOW_MASK = 63ull << 56, OFFSET_MASK = (1ull << 56) - 1;
constexpr u64 SHARED_WINDOW = 2ull << 56, LOCAL_WINDOW = 3ull << 56, PARAM_WINDOW = 4ull << 56;
inline bool in_device(u64 a) { return a >> 62 == 1; }
inline u64 window_of(u64 a) { return in_device(a) ? 0 : a & WINDOW_MASK; }

} // namespace sg
#endif
