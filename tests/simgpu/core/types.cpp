/* types.cpp - the table of types.def as functions. */
#include "types.h"
#include <unordered_map>

namespace sg {

namespace {
struct Row {
    const char *text;
    int bytes;
    char kind;
};
const Row rows[] = {
    {"", 4, 'B'},
#define TYPE(name, text, bytes, kind) {text, bytes, kind},
#include "types.def"
#undef TYPE
};
} // namespace

int bytes_of(Type t) { return rows[(int)t].bytes; }
char kind_of(Type t) { return rows[(int)t].kind; }

Type type_named(const std::string &text) {
    static const auto *names = [] {
        auto *map = new std::unordered_map<std::string, Type>;
        for (size_t i = 1; i < sizeof rows / sizeof *rows; i++) (*map)[rows[i].text] = (Type)i;
        return map;
    }();
    const auto found = names->find(text);
    return found == names->end() ? Type::NONE : found->second;
}

} // namespace sg
