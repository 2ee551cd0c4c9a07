/* module.cpp - the outer level of a PTX file: functions, global variables, names of source files. */
#include "program.h"
#include "text.h"
#include <cstdlib>

namespace sg {

Parameter parse_parameter(const std::string &text) {
    Parameter p;
    const auto parts = words(text);
    for (size_t i = 0; i < parts.size(); i++) {
        if (parts[i] == ".align") {
            p.align = strtoull(parts[++i].c_str(), nullptr, 0);
        } else if (parts[i][0] == '.') {
            const Type t = type_named(parts[i].substr(1));
            if (t != Type::NONE) p.type = t;
        } else {
            const size_t bracket = parts[i].find('[');
            if (bracket != std::string::npos)
                p.count = strtoull(parts[i].c_str() + bracket + 1, nullptr, 0);
            if (p.name.empty()) p.name = parts[i].substr(0, bracket);
        }
    }
    if (!p.align) p.align = (size_t)bytes_of(p.type);
    return p;
}

namespace {

class ModuleParser {
  public:
    ModuleParser(sg_module &module, const std::string &ptx) : m(module), s(strip_comments(ptx)) {}
    void run();

  private:
    sg_module &m;
    const std::string s;
    size_t at = 0;

    void skip_blanks() {
        while (at < s.size() && isspace((unsigned char)s[at])) at++;
    }
    std::string word();
    std::string until(char c);
    std::string bracketed(char open, char close);
    std::vector<Parameter> parameters();
    void function(bool is_entry);
    void variable(const std::string &space, const std::string &text);
    void initialise(const Variable &v, Type type, std::string values);
    u64 initial_value(const std::string &text, Type type) const;
    void source_file(const std::string &line);
};

std::string ModuleParser::word() {
    skip_blanks();
    const size_t first = at;
    while (at < s.size() && !isspace((unsigned char)s[at]) && s[at] != '{' && s[at] != '(' &&
           s[at] != ';')
        at++;
    return s.substr(first, at - first);
}

std::string ModuleParser::until(char c) {
    const size_t end = s.find(c, at);
    if (end == std::string::npos) throw Error("the PTX ends in the middle of a statement");
    const std::string result = s.substr(at, end - at);
    at = end + 1;
    return result;
}

/* The text inside the bracket that opens here; strings may hold brackets. */
std::string ModuleParser::bracketed(char open, char close) {
    const size_t first = at;
    int depth = 0;
    for (; at < s.size(); at++) {
        if (s[at] == '"') {
            at = s.find('"', at + 1);
            if (at == std::string::npos) break;
        } else if (s[at] == open) depth++;
        else if (s[at] == close && --depth == 0) return s.substr(first + 1, at++ - first - 1);
    }
    throw Error(format("the PTX has no '%c' that closes '%c'", close, open));
}

std::vector<Parameter> ModuleParser::parameters() {
    std::vector<Parameter> result;
    skip_blanks();
    if (at < s.size() && s[at] == '(')
        for (const auto &text : split(bracketed('(', ')'), ','))
            result.push_back(parse_parameter(text));
    skip_blanks();
    return result;
}

void ModuleParser::source_file(const std::string &line) {
    const size_t quote = line.find('"');
    if (quote != std::string::npos)
        m.files[atoi(line.c_str())] = line.substr(quote + 1, line.rfind('"') - quote - 1);
}

void ModuleParser::run() {
    for (skip_blanks(); at < s.size(); skip_blanks()) {
        if (s[at] == '}' || s[at] == ';') {
            at++;
            continue;
        }
        const size_t first = at;
        std::string w = word();
        if (w == ".version" || w == ".address_size" || w == ".target" || w == ".loc") until('\n');
        else if (w == ".file") source_file(until('\n'));
        else if (w == ".section") {
            at = s.find('{', at);
            bracketed('{', '}');
        } else if (w == ".pragma" || w == ".alias") until(';');
        else {
            while (w == ".visible" || w == ".weak" || w == ".extern" || w == ".common") w = word();
            if (w == ".entry" || w == ".func") function(w == ".entry");
            else if (w == ".global" || w == ".const" || w == ".shared") variable(w, until(';'));
            else throw Error("cannot parse PTX at: " + s.substr(first, 60));
        }
    }
}

/* ".maxntid 128, 1, 1" gives 128. */
int directive(const std::vector<std::string> &parts, const char *name) {
    for (size_t i = 0; i < parts.size(); i++)
        if (parts[i] == name) {
            std::string dims;
            for (size_t k = i + 1; k < parts.size() && parts[k][0] != '.'; k++) dims += parts[k];
            int product = 1;
            for (const auto &d : split(dims, ',')) product *= atoi(d.c_str());
            return product;
        }
    return 0;
}

void ModuleParser::function(bool is_entry) {
    Function f;
    f.is_entry = is_entry;
    f.results = parameters(); /* a .func may have them in front of its name */
    const size_t first = at;
    while (at < s.size() && is_name_char(s[at])) at++;
    f.name = s.substr(first, at - first);
    f.params = parameters();
    const size_t directives = at;
    while (at < s.size() && s[at] != '{' && s[at] != ';') at++;
    if (at == s.size()) throw Error("function " + f.name + " has no body");
    const auto parts = words(s.substr(directives, at - directives));
    f.max_threads = directive(parts, ".maxntid");
    f.required_threads = directive(parts, ".reqntid");
    if (s[at] == ';') {
        at++;
        f.is_declaration = true;
        m.functions.emplace(f.name, f);
        return;
    }
    f.body = bracketed('{', '}');
    if (is_entry) m.kernel_names.push_back(f.name);
    m.functions[f.name] = f;
}

/* Type, name and dimensions of ".align 4 .b8 name[16][8]"; an empty dimension is dynamic shared memory. */
void ModuleParser::variable(const std::string &space, const std::string &text) {
    const size_t equals = text.find('=');
    Variable v;
    Type type = Type::B8;
    size_t count = 1, vector = 1, align = 0;
    bool is_open = false;
    const auto parts = words(text.substr(0, equals));
    for (size_t i = 0; i < parts.size(); i++) {
        const std::string &w = parts[i];
        if (w == ".align") align = strtoull(parts[++i].c_str(), nullptr, 0);
        else if (w == ".v2") vector = 2;
        else if (w == ".v4") vector = 4;
        else if (w[0] == '.') {
            const Type t = type_named(w.substr(1));
            if (t != Type::NONE) type = t;
        } else {
            size_t bracket = w.find('[');
            if (v.name.empty()) v.name = w.substr(0, bracket);
            for (; bracket != std::string::npos; bracket = w.find('[', bracket + 1))
                if (w[bracket + 1] == ']') is_open = true;
                else count *= strtoull(w.c_str() + bracket + 1, nullptr, 0);
        }
    }
    v.bytes = is_open ? 0 : count * vector * (size_t)bytes_of(type);
    v.align = align ? align : vector * (size_t)bytes_of(type);
    v.space = space == ".shared" ? Space::SHARED : space == ".const" ? Space::CONST : Space::GLOBAL;
    if (v.space != Space::SHARED) {
        const char *kind = v.space == Space::CONST ? "const " : "global ";
        Allocation *a = new_allocation(v.bytes ? v.bytes : 1, kind + v.name);
        memset(a->block + RED_ZONE, 0, a->bytes);
        memset(a->initialised, 1, a->bytes);
        a->read_only = v.space == Space::CONST;
        a->is_variable = true;
        a->device = -1;
        v.address = a->base | DEVICE;
        m.memory.push_back(a);
        m.variables[v.name] = v;
        if (equals != std::string::npos) initialise(v, type, trim(text.substr(equals + 1)));
    }
    m.variables[v.name] = v;
}

u64 ModuleParser::initial_value(const std::string &text, Type type) const {
    const auto address_of = [this](const std::string &name) {
        const auto v = m.variables.find(name);
        return v == m.variables.end() ? 0 : v->second.address;
    };
    if (starts_with(text, "generic(")) {
        const size_t close = text.find(')');
        u64 address = address_of(trim(text.substr(8, close - 8)));
        if (text.size() > close + 1) address += (u64)strtoll(text.c_str() + close + 2, nullptr, 0);
        return address;
    }
    if (m.variables.count(text)) return address_of(text);
    if (text.size() > 1 && text[0] == '0' && strchr("fFdD", text[1]))
        return strtoull(text.c_str() + 2, nullptr, 16);
    if (is_float(type) && text.find('.') != std::string::npos) {
        const double d = atof(text.c_str());
        return type == Type::F64 ? bit_cast<u64>(d) : bit_cast<u32>((float)d);
    }
    return text[0] == '-' ? (u64)strtoll(text.c_str(), nullptr, 0)
                          : strtoull(text.c_str(), nullptr, 0);
}

void ModuleParser::initialise(const Variable &v, Type type, std::string values) {
    for (char &c : values)
        if (c == '{' || c == '}') c = ' '; /* nested braces list the elements in order */
    const size_t step = (size_t)bytes_of(type);
    size_t offset = 0;
    for (const auto &text : split(trim(values), ',')) {
        const u64 value = initial_value(text, type);
        if (offset + step <= v.bytes) memcpy((u8 *)(v.address & ~DEVICE) + offset, &value, step);
        offset += step;
    }
}

struct SpecialRow {
    const char *text;
    bool wide;
};
const SpecialRow special_rows[] = {
#define SPECIAL(name, text, wide) {text, wide},
#include "specials.def"
#undef SPECIAL
};

} // namespace

int special_named(const std::string &text) {
    for (int i = 0; i < SPECIAL_COUNT; i++)
        if (text == special_rows[i].text) return i;
    return -1;
}

bool special_is_wide(int special) { return special_rows[special].wide; }

void parse_module(sg_module &module, const std::string &text) { ModuleParser(module, text).run(); }

} // namespace sg

sg_module::~sg_module() {
    for (sg::Allocation *a : memory) sg::drop_variable(a);
}
