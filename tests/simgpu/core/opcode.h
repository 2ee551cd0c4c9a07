/* opcode.h - a written instruction, and the table that finds the function for it. */
#ifndef SIMGPU_OPCODE_H
#define SIMGPU_OPCODE_H

#include "program.h"
#include <initializer_list>

namespace sg {

/* "mul.wide.u32" is opcode "mul", modifiers "wide" and "u32", types U32. */
struct Statement {
    std::string text, opcode;
    std::vector<std::string> modifiers;
    std::vector<Type> types;
    bool has(const char *modifier) const;
    /* Which of the list is a modifier; -1: none. */
    int which(std::initializer_list<const char *> list) const;
    [[noreturn]] void unsupported() const;
};

/* Operands and common modifiers are there already. Throws Error for what it does not know. */
using Selector = Handler (*)(Inst &inst, const Statement &statement);
enum class Immediates { FIRST, LAST };

struct Opcode {
    const char *name;
    Selector select;
    Flow flow;
    Immediates immediates;
};

/* Counts the use. Throws Error for an unknown opcode. */
const Opcode &opcode_named(const Statement &statement);

#define OPCODE(name, selector, flow, immediates) Handler selector(Inst &, const Statement &);
#include "opcodes.def"
#undef OPCODE

} // namespace sg
#endif
