/* symbols.cpp - the builder's names: registers, addresses, literals. */
#include "builder.h"
#include <cstdlib>

namespace sg {

namespace {

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
u32 row_bytes(Type t) { return t == Type::PRED ? 4 : bytes_of(t) == 8 ? 8 * LANES : 4 * LANES; }

} // namespace

u32 Builder::new_row(Type type, u32 count) {
    k.register_bytes = (u32)round_up(k.register_bytes, 64);
    const u32 row = k.register_bytes;
    k.register_bytes += row_bytes(type) * count;
    return row;
}

/* Inner scopes first; "%r12" may be one of a declared range "%r<20>". */
bool Builder::find(const std::string &name, Symbol *symbol) {
    size_t digits = name.size();
    while (digits > 0 && isdigit((unsigned char)name[digits - 1])) digits--;
    for (size_t i = scopes.size(); i-- > 0;) {
        auto found = scopes[i].find(name);
        if (found != scopes[i].end()) {
            *symbol = found->second;
            return true;
        }
        if (digits == name.size()) continue;
        found = scopes[i].find(name.substr(0, digits) + "<>");
        const u32 number = (u32)strtoul(name.c_str() + digits, nullptr, 10);
        if (found != scopes[i].end() && number < found->second.count) {
            *symbol = found->second;
            symbol->kind = Symbol::REGISTER;
            symbol->row += number * row_bytes(symbol->type);
            return true;
        }
    }
    symbol->kind = Symbol::ADDRESS;
    const auto shared = shared_variables.find(name);
    const auto variable = m.variables.find(name);
    if (shared != shared_variables.end()) {
        symbol->space = Space::SHARED;
        symbol->address = shared->second;
    } else if (variable == m.variables.end()) {
        return false;
    } else if (variable->second.space == Space::SHARED) {
        symbol->space = Space::SHARED;
        symbol->address = place_shared(variable->second);
    } else {
        symbol->space = Space::GLOBAL;
        symbol->address = variable->second.address;
    }
    return true;
}

u64 Builder::place_shared(const Variable &v) {
    u64 address = DYNAMIC_BASE;
    if (v.bytes) {
        address = k.shared_bytes = round_up(k.shared_bytes, v.align);
        k.shared_bytes += v.bytes;
    } else k.dynamic_shared = true;
    shared_variables[v.name] = address;
    return address;
}

/* ".reg .b32 %r<20>, %x" */
void Builder::declare_registers(const std::string &statement) {
    Type type = Type::NONE;
    std::string names;
    for (const auto &word : words(statement)) {
        if (word[0] != '.') names += word;
        else if (type == Type::NONE) type = type_named(word.substr(word.rfind('.') + 1));
    }
    if (type == Type::NONE) throw Error("registers of an unknown type: " + statement);
    for (const auto &name : split(names, ',')) {
        const size_t angle = name.find('<');
        Symbol s{Symbol::REGISTER, type};
        if (angle != std::string::npos) {
            s.kind = Symbol::REGISTERS;
            s.count = (u32)strtoul(name.c_str() + angle + 1, nullptr, 10);
        }
        s.row = new_row(type, s.count);
        scopes.back()[name.substr(0, angle) + (angle == std::string::npos ? "" : "<>")] = s;
    }
}

/* .shared, .local, and .param for the arguments of a call, which live in local memory */
void Builder::declare_memory(const std::string &statement) {
    const Parameter p = parse_parameter(statement);
    if (starts_with(statement, ".shared")) {
        place_shared({p.name, Space::SHARED, 0, p.bytes(), p.align});
        return;
    }
    Symbol s{Symbol::ADDRESS};
    k.local_bytes = round_up(k.local_bytes, p.align);
    s.space = Space::LOCAL;
    s.address = LOCAL_WINDOW + k.local_bytes;
    k.local_bytes += p.bytes();
    scopes.back()[p.name] = s;
}

Operand Builder::immediate(u64 value) {
    const auto found = immediates.find({value, 64});
    Operand o;
    o.kind = Operand::IMMEDIATE;
    o.value = value;
    if (found != immediates.end()) {
        o.offset = found->second;
        return o;
    }
    o.offset = immediates[{value, 64}] = (u32)k.constants.size();
    k.constants.resize(k.constants.size() + 12 * LANES);
    return o; /* finish() fills the rows */
}

Operand Builder::literal_operand(const std::string &t, Type literal) {
    const bool hex_float = t.size() > 1 && t[0] == '0' && strchr("fF", t[1]);
    const bool hex_double = t.size() > 1 && t[0] == '0' && strchr("dD", t[1]);
    u64 bits;
    if (hex_float) {
        bits = strtoull(t.c_str() + 2, nullptr, 16);
        if (literal == Type::F64) bits = bit_cast<u64>((double)bit_cast<float>((u32)bits));
    } else if (hex_double) {
        bits = strtoull(t.c_str() + 2, nullptr, 16);
        if (bytes_of(literal) == 4) bits = bit_cast<u32>((float)bit_cast<double>(bits));
    } else if (t.find('.') != std::string::npos) {
        const double d = atof(t.c_str());
        bits = literal == Type::F64 ? bit_cast<u64>(d) : bit_cast<u32>((float)d);
    } else {
        bits = t[0] == '-' ? (u64)strtoll(t.c_str(), nullptr, 0) : strtoull(t.c_str(), nullptr, 0);
    }
    return immediate(bits);
}

Operand Builder::memory_operand(const std::string &text) {
    const size_t sign = text.find_first_of("+-", 1);
    const Operand base = operand(text.substr(0, sign), Type::U64);
    s64 displacement = 0;
    if (sign != std::string::npos) {
        std::string number;
        for (const char c : text.substr(sign + (text[sign] == '+')))
            if (!isspace((unsigned char)c)) number += c;
        displacement = strtoll(number.c_str(), nullptr, 0);
    }
    Operand o;
    o.kind = Operand::MEMORY;
    if (base.kind == Operand::REGISTER) {
        o.width = base.width;
        o.offset = base.offset;
        o.value = (u64)displacement;
    } else {
        o.space = base.space;
        o.value = base.value + (u64)displacement;
    }
    return o;
}

Operand Builder::vector_operand(const std::vector<std::string> &parts, Type literal) {
    std::vector<Operand> list;
    for (const auto &part : parts) list.push_back(operand(part, literal));
    Operand o;
    o.kind = Operand::VECTOR;
    o.first = (u16)k.parts.size();
    o.count = (u16)list.size();
    k.parts.insert(k.parts.end(), list.begin(), list.end());
    if (k.parts.size() > 65535) throw Error("more vector operands than a kernel can hold");
    return o;
}

/* A row of the warp's file that the machine fills when the warp starts; clocks are read when used. */
Operand Builder::special_operand(int special) {
    Operand o;
    o.kind = Operand::REGISTER;
    o.width = special_is_wide(special) ? 64 : 32;
    if (special == CLOCK || special == CLOCK64 || special == GLOBALTIMER) {
        o.kind = Operand::CLOCK;
        return o;
    }
    const auto found = k.specials.find(special);
    o.offset = found != k.specials.end()
                   ? found->second
                   : k.specials[special] = new_row(o.width == 64 ? Type::U64 : Type::U32, 1);
    return o;
}

Operand Builder::operand(const std::string &text, Type literal) {
    const std::string t = trim(text);
    if (t.empty()) throw Error("an operand is missing");
    if (t[0] == '{') return vector_operand(split(t.substr(1, t.rfind('}') - 1), ','), literal);
    if (t[0] == '[') return memory_operand(trim(t.substr(1, t.rfind(']') - 1)));
    Operand o;
    if (t[0] == '!') {
        o = operand(t.substr(1), literal);
        o.negate = true;
        return o;
    }
    if (t == "_") {
        o.kind = Operand::SINK;
        return o;
    }
    const size_t bar = t.find('|');
    if (bar != std::string::npos)
        return vector_operand({t.substr(0, bar), t.substr(bar + 1)}, literal);
    if (isdigit((unsigned char)t[0]) || strchr("-+.", t[0])) return literal_operand(t, literal);
    if (t == "WARP_SZ") return immediate(LANES);
    const int special = t[0] == '%' ? special_named(t.substr(1)) : -1;
    if (special >= 0) return special_operand(special);

    const size_t plus = t.find('+');
    Symbol s{Symbol::ADDRESS};
    if (!find(trim(t.substr(0, plus)), &s)) throw Error("unknown name '" + t + "'");
    if (s.kind == Symbol::ADDRESS) {
        const s64 add = plus == std::string::npos ? 0 : strtoll(t.c_str() + plus + 1, nullptr, 0);
        o = immediate(s.address + (u64)add);
        o.space = s.space;
    } else if (s.type == Type::PRED) {
        o.kind = Operand::PREDICATE;
        o.offset = s.row;
    } else {
        o.kind = Operand::REGISTER;
        o.width = bytes_of(s.type) == 8 ? 64 : bytes_of(s.type) == 4 ? 32 : 16;
        o.offset = s.row;
    }
    return o;
}

} // namespace sg
