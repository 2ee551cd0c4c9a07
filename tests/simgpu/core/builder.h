/* builder.h - makes a kernel from the text of its body; calls of .func are expanded in place. */
#ifndef SIMGPU_BUILDER_H
#define SIMGPU_BUILDER_H

#include "opcode.h"
#include "text.h"
#include <unordered_map>

namespace sg {

/* Stands for the start of dynamic shared memory until the size of the static part is known. */
constexpr u64 DYNAMIC_BASE = 1ull << 48;

class Builder {
  public:
    Builder(sg_module &module, Kernel &kernel) : m(module), k(kernel) {}
    void build(const Function &f);

  private:
    struct Symbol {
        enum Kind { REGISTER, REGISTERS, ADDRESS } kind;
        Type type = Type::B8;
        u32 row = 0, count = 1; /* REGISTERS: name0 .. name<count-1> */
        Space space = Space::GENERIC;
        u64 address = 0;
    };
    using Scope = std::unordered_map<std::string, Symbol>;
    struct Jump {
        int pc;
        std::string label; /* with the prefix of its function */
    };

    sg_module &m;
    Kernel &k;
    std::vector<Scope> scopes;
    std::map<std::string, u64> shared_variables;
    std::map<std::pair<u64, int>, u32> immediates; /* value and width to its row */
    std::unordered_map<std::string, int> labels;
    std::unordered_map<std::string, std::vector<std::string>> tables; /* of .branchtargets */
    std::vector<Jump> jumps, table_jumps;
    int file = 0, line = 0, calls = 0, depth = 0;

    /* symbols.cpp */
    u32 new_row(Type type, u32 count);
    bool find(const std::string &name, Symbol *symbol);
    u64 place_shared(const Variable &v);
    void declare_registers(const std::string &statement);
    void declare_memory(const std::string &statement);
    Operand operand(const std::string &text, Type literal);
    Operand memory_operand(const std::string &text);
    Operand literal_operand(const std::string &text, Type literal);
    Operand immediate(u64 value);
    Operand vector_operand(const std::vector<std::string> &parts, Type literal);
    Operand special_operand(int special);

    /* builder.cpp */
    void body(const std::string &text, const std::string &prefix, const std::string &end_label);
    bool label(const std::string &text, size_t *at, const std::string &prefix);
    void source_line(const std::string &directive);
    void statement(std::string text, const std::string &prefix, const std::string &end_label);
    void modifiers(Inst &inst, const Statement &s);
    void call(Inst &inst, const std::string &rest, const std::string &prefix, const Origin &origin);
    void call_builtin(Inst &inst, const std::string &name, const std::vector<std::string> &args,
                      const std::vector<std::string> &results);
    void emit(const Inst &inst, const Origin &origin);
    void finish();
};

/* exec_call.cpp: the functions that the compiler leaves to the driver; NULL: not known. */
Handler builtin_named(const std::string &name);

} // namespace sg
#endif
