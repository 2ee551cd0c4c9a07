/* opcode.cpp - the table of opcodes.def. */
#include "opcode.h"
#include <algorithm>
#include <unordered_map>

namespace sg {

namespace {
const Opcode table[] = {
#define OPCODE(name, selector, flow, immediates)                                                   \
    {name, selector, Flow::flow, Immediates::immediates},
#include "opcodes.def"
#undef OPCODE
};
constexpr size_t table_size = sizeof table / sizeof *table;
u64 uses[table_size];
} // namespace

bool Statement::has(const char *modifier) const {
    return std::find(modifiers.begin(), modifiers.end(), modifier) != modifiers.end();
}

int Statement::which(std::initializer_list<const char *> list) const {
    int i = 0;
    for (const char *name : list) {
        if (has(name)) return i;
        i++;
    }
    return -1;
}

void Statement::unsupported() const { throw Error("unsupported instruction: " + text); }

const Opcode &opcode_named(const Statement &statement) {
    static const auto *index = [] {
        auto *map = new std::unordered_map<std::string, size_t>;
        for (size_t i = 0; i < table_size; i++) (*map)[table[i].name] = i;
        return map;
    }();
    const auto found = index->find(statement.opcode);
    if (found == index->end()) statement.unsupported();
    uses[found->second]++;
    return table[found->second];
}

} // namespace sg

extern "C" {
int sg_opcode_count(void) { return (int)sg::table_size; }
const char *sg_opcode_name(int i) { return sg::table[i].name; }
uint64_t sg_opcode_uses(int i) { return sg::uses[i]; }
}
