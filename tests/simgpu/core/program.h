/* program.h - a PTX module, and a kernel as the machine runs it.
 *
 * A register is a row of 32 values, one per lane: 32-bit words for types up to four bytes, 64-bit words
 * for eight. A predicate is one word with a bit per lane. All rows of a warp lie in its register file;
 * operands hold byte offsets into it. Immediates are rows, too, in a file that all warps share, so that
 * an instruction reads every source in the same way. */
#ifndef SIMGPU_PROGRAM_H
#define SIMGPU_PROGRAM_H

#include "memory.h"
#include <map>
#include <memory>
#include <vector>

namespace sg {

class Machine;
struct Inst;
using Handler = void (*)(Machine &m, const Inst &inst, u32 mask);

struct Operand {
    enum Kind : u8 { NONE, REGISTER, PREDICATE, IMMEDIATE, MEMORY, VECTOR, CLOCK, SINK };
    Kind kind = NONE;
    u8 width = 0; /* REGISTER: 16, 32 or 64; MEMORY: width of the base register, 0 = address */
    bool negate = false; /* PREDICATE */
    Space space = Space::GENERIC;
    u32 offset =
        0; /* of the row: REGISTER and PREDICATE in the warp's file, IMMEDIATE in the shared one */
    u16 first = 0, count = 0; /* VECTOR: its parts in Kernel::parts */
    u64 value = 0;            /* IMMEDIATE; MEMORY: address or displacement */
};

/* How the machine's loop treats an instruction. */
enum class Flow : u8 {
    PLAIN,      /* lanes on their own */
    COLLECTIVE, /* waits for the lanes of its mask, or for the whole warp */
    BRANCH,
    BRANCH_INDEX,
    EXIT,
    BARRIER,
    CALL, /* only while a kernel is built */
};

constexpr int MAX_OPERANDS = 7;

struct Inst {
    Handler run = nullptr;
    Flow flow = Flow::PLAIN;
    Type type = Type::NONE, type2 = Type::NONE, type3 = Type::NONE, type4 = Type::NONE;
    u8 operands = 0;
    Space space = Space::GENERIC;
    u8 vec = 1;
    u8 rounding = 0;         /* 0 nearest even, 1 zero, 2 down, 3 up */
    u8 integer_rounding = 0; /* 0 none, 1 nearest even, 2 zero, 3 down, 4 up */
    u8 sub = 0, sub2 = 0;    /* what the selector of the opcode says */
    u8 m = 0, n = 0, k = 0;  /* shape of mma */
    bool guarded = false, guard_negate = false;
    bool ftz = false, sat = false, approx = false, relu = false, nan = false, carry = false,
         hi = false, wide = false, trans = false, is_volatile = false, non_coherent = false,
         aligned = false, masked = false; /* masked: the last operand is a member mask */
    u32 guard = 0;
    int target = -1; /* BRANCH; BRANCH_INDEX: number of the table */
    Operand op[MAX_OPERANDS];
};

/* What a report says about an instruction. */
struct Origin {
    std::string text;
    int file = 0, line = 0;
};

struct Kernel {
    std::string name;
    std::vector<Inst> code;
    std::vector<Origin> origin; /* as long as code */
    std::vector<Operand> parts;
    std::vector<u8> constants; /* per immediate 32 u32 and then 32 u64 */
    std::vector<std::vector<int>> branch_tables;
    std::map<int, u32> specials; /* special register -> its row in the warp's file */
    u32 register_bytes = 0;
    size_t local_bytes = 0, shared_bytes = 0;
    bool dynamic_shared = false;
    size_t dynamic_offset = 0;
    std::vector<size_t> param_bytes, param_offset;
    size_t param_total = 0;
    int max_threads = 0, required_threads = 0; /* of the launch bounds; 0: none */
    int shared_granule_shift = 4;              /* log2 of the smallest shared access in bytes */
};

struct Parameter {
    std::string name;
    Type type = Type::B32;
    size_t count = 1, align = 0;
    size_t bytes() const { return count * (size_t)bytes_of(type); }
};

struct Function {
    std::string name, body;
    bool is_entry = false, is_declaration = false;
    std::vector<Parameter> params, results;
    int max_threads = 0, required_threads = 0;
};

struct Variable {
    std::string name;
    Space space = Space::GLOBAL;
    u64 address = 0; /* SHARED: offset */
    size_t bytes = 0, align = 1;
};

/* Special registers: name, is it 64 bits wide. */
enum Special : int {
#define SPECIAL(name, text, wide) name,
#include "specials.def"
#undef SPECIAL
    SPECIAL_COUNT
};
int special_named(const std::string &text); /* -1: none */
bool special_is_wide(int special);

} // namespace sg

struct sg_module {
    std::map<std::string, sg::Function> functions;
    std::vector<std::string> kernel_names;
    std::map<std::string, sg::Variable> variables;
    std::map<std::string, std::unique_ptr<sg::Kernel>> kernels; /* built at first use */
    std::vector<sg::Allocation *> memory;                       /* of the variables */
    std::map<int, std::string> files;
    ~sg_module();
};

namespace sg {

void parse_module(sg_module &module, const std::string &text);
Parameter parse_parameter(const std::string &text);
/* Builds it at first use. Throws Error. */
Kernel &kernel_named(sg_module &module, const std::string &name);
std::unique_ptr<Kernel> build_kernel(sg_module &module, const Function &function);

} // namespace sg
#endif
