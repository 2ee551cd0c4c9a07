/* builder.cpp - the body of a kernel, statement by statement. */
#include "builder.h"
#include <cstdlib>
#include <sstream>

namespace sg {

void Builder::emit(const Inst &inst, const Origin &origin) {
    k.code.push_back(inst);
    k.origin.push_back(origin);
}

/* ".loc 1 23 5, function_name L, inlined_at 1 40 7": reports name the outermost line. */
void Builder::source_line(const std::string &directive) {
    const size_t inlined = directive.find("inlined_at ");
    sscanf(directive.c_str() + (inlined == std::string::npos ? 5 : inlined + 11), "%d %d", &file,
           &line);
}

/* "name:" at *at. Behind it may stand the targets of an indexed branch. */
bool Builder::label(const std::string &s, size_t *at, const std::string &prefix) {
    size_t end = *at;
    while (end < s.size() && is_name_char(s[end])) end++;
    size_t colon = end;
    while (colon < s.size() && (s[colon] == ' ' || s[colon] == '\t')) colon++;
    if (end == *at || colon >= s.size() || s[colon] != ':' || s[colon + 1] == ':') return false;
    const std::string name = prefix + s.substr(*at, end - *at);
    size_t next = colon + 1;
    while (next < s.size() && isspace((unsigned char)s[next])) next++;
    if (s.compare(next, 14, ".branchtargets") == 0) {
        const size_t semicolon = s.find(';', next);
        for (const auto &target : split(s.substr(next + 14, semicolon - next - 14), ','))
            tables[name].push_back(prefix + target);
        next = semicolon + 1;
    } else if (s.compare(next, 14, ".callprototype") == 0) {
        next = s.find(';', next) + 1;
    } else labels[name] = (int)k.code.size();
    *at = next;
    return true;
}

void Builder::body(const std::string &s, const std::string &prefix, const std::string &end_label) {
    scopes.emplace_back();
    const size_t outer = scopes.size();
    for (size_t at = 0; at < s.size();) {
        if (isspace((unsigned char)s[at]) || s[at] == ';') {
            at++;
        } else if (s[at] == '{') {
            scopes.emplace_back();
            at++;
        } else if (s[at] == '}') {
            if (scopes.size() > outer) scopes.pop_back();
            at++;
        } else if (s.compare(at, 4, ".loc") == 0 && isspace((unsigned char)s[at + 4])) {
            const size_t end = std::min(s.find('\n', at), s.size());
            source_line(s.substr(at, end - at));
            at = end;
        } else if (!label(s, &at, prefix)) {
            const size_t end = std::min(s.find(';', at), s.size());
            const std::string text = trim(s.substr(at, end - at));
            at = end + 1;
            if (starts_with(text, ".reg")) declare_registers(text);
            else if (starts_with(text, ".local") || starts_with(text, ".shared") ||
                     starts_with(text, ".param"))
                declare_memory(text);
            else if (text[0] != '.') statement(text, prefix, end_label); /* not .pragma and so on */
        }
    }
    scopes.resize(outer - 1);
}

/* What means the same with every opcode. */
void Builder::modifiers(Inst &i, const Statement &s) {
    i.ftz = s.has("ftz");
    i.sat = s.has("sat") || s.has("satfinite");
    i.approx = s.has("approx") || s.has("full");
    i.aligned = s.has("aligned");
    i.relu = s.has("relu");
    i.nan = s.has("NaN");
    i.carry = s.has("cc");
    i.hi = s.has("hi");
    i.wide = s.has("wide");
    i.trans = s.has("trans");
    i.non_coherent = s.has("nc");
    i.is_volatile = s.which({"volatile", "relaxed", "acquire", "release", "acq_rel"}) >= 0;
    const int rounding = s.which({"rn", "rz", "rm", "rp"}),
              integer = s.which({"rni", "rzi", "rmi", "rpi"});
    i.rounding = (u8)(rounding < 0 ? 0 : rounding);
    i.integer_rounding = (u8)(integer + 1);
    const int vector = s.which({"v2", "v4", "v8"});
    i.vec = (u8)(vector < 0 ? 1 : 2 << vector);
    static const Space spaces[] = {Space::GLOBAL, Space::SHARED, Space::SHARED, Space::LOCAL,
                                   Space::PARAM,  Space::PARAM,  Space::PARAM,  Space::CONST};
    const int space = s.which({"global", "shared", "shared::cta", "local", "param", "param::entry",
                               "param::func", "const"});
    if (space >= 0) i.space = spaces[space];
    const Type none = Type::NONE;
    i.type = s.types.size() > 0 ? s.types[0] : none;
    i.type2 = s.types.size() > 1 ? s.types[1] : none;
    i.type3 = s.types.size() > 2 ? s.types[2] : none;
    i.type4 = s.types.size() > 3 ? s.types[3] : none;
    for (const auto &modifier : s.modifiers) {
        unsigned rows, columns, depth_;
        if (sscanf(modifier.c_str(), "m%un%uk%u", &rows, &columns, &depth_) == 3) {
            i.m = (u8)rows;
            i.n = (u8)columns;
            i.k = (u8)depth_;
        }
    }
}

void Builder::statement(std::string text, const std::string &prefix, const std::string &end_label) {
    for (char &c : text)
        if (c == '\n' || c == '\t' || c == '\r') c = ' ';
    const Origin origin{text, file, line};
    Inst i;
    if (text[0] == '@') {
        const size_t blank = text.find(' ');
        const bool negated = text[1] == '!';
        i.guarded = true;
        i.guard_negate = negated;
        i.guard = operand(text.substr(negated ? 2 : 1, blank - (negated ? 2 : 1)), Type::PRED)
                      .offset;
        text = trim(text.substr(blank));
    }
    const size_t end = std::min(text.find_first_of(" {["), text.size());
    const std::string rest = trim(text.substr(end));
    Statement s;
    s.text = origin.text;
    std::istringstream pieces(text.substr(0, end));
    std::getline(pieces, s.opcode, '.');
    for (std::string piece; std::getline(pieces, piece, '.');) {
        s.modifiers.push_back(piece);
        if (type_named(piece) != Type::NONE) s.types.push_back(type_named(piece));
    }
    const Opcode &opcode = opcode_named(s);
    i.flow = opcode.flow;
    modifiers(i, s);
    if (i.flow == Flow::CALL) {
        call(i, rest, prefix, origin);
        return;
    }
    if (i.flow == Flow::BRANCH) {
        jumps.push_back({(int)k.code.size(), prefix + rest});
        emit(i, origin);
        return;
    }
    if (i.flow == Flow::EXIT && !end_label.empty() && s.opcode == "ret") { /* of an expanded call */
        i.flow = Flow::BRANCH;
        jumps.push_back({(int)k.code.size(), end_label});
        emit(i, origin);
        return;
    }
    auto texts = split(rest, ',');
    if (i.flow == Flow::BRANCH_INDEX) {
        table_jumps.push_back({(int)k.code.size(), prefix + texts.at(1)});
        texts.resize(1);
    }
    if (texts.size() > MAX_OPERANDS) s.unsupported();
    const Type first = s.types.empty() ? Type::B32 : s.types.front();
    const Type last = s.types.empty() ? Type::B32 : s.types.back();
    if (opcode.select != select_nothing)
        for (const auto &t : texts) {
            const bool use_last = opcode.immediates == Immediates::LAST;
            i.op[i.operands++] = operand(t, use_last ? last : first);
        }
    i.run = opcode.select(i, s);
    for (const Operand &o : i.op) /* an argument of an expanded call lies in local memory */
        if (o.kind == Operand::MEMORY && !o.width && o.space == Space::LOCAL &&
            i.space == Space::PARAM)
            i.space = Space::LOCAL;
    emit(i, origin);
}

/* "(result), function, (arguments)": names of the callee's parameters become those of the caller. */
void Builder::call(Inst &inst, const std::string &rest, const std::string &prefix,
                   const Origin &origin) {
    const auto pieces = split(rest, ',');
    size_t i = 0;
    std::vector<std::string> results, args;
    const auto inside = [](const std::string &t) { return split(t.substr(1, t.size() - 2), ','); };
    if (pieces[i][0] == '(') results = inside(pieces[i++]);
    const std::string name = pieces[i++];
    if (i < pieces.size() && pieces[i][0] == '(') args = inside(pieces[i]);
    const auto found = m.functions.find(name);
    if (found == m.functions.end())
        throw Error("indirect call or unknown function: " + origin.text);
    const Function &f = found->second;
    if (f.is_declaration) {
        call_builtin(inst, name, args, results);
        emit(inst, origin);
        return;
    }
    if (++depth > 24) throw Error("recursion is not supported: " + name);
    Scope names;
    const auto bind = [&](const Parameter &formal, const std::string &actual) {
        if (!find(actual, &names[formal.name])) throw Error("unknown argument " + actual);
    };
    for (size_t a = 0; a < args.size(); a++) bind(f.params.at(a), args[a]);
    for (size_t r = 0; r < results.size(); r++) bind(f.results.at(r), results[r]);
    const std::string inner = prefix + name + "#" + std::to_string(++calls) + "#";
    if (inst.guarded) { /* the lanes that do not call jump behind it */
        inst.flow = Flow::BRANCH;
        inst.guard_negate = !inst.guard_negate;
        jumps.push_back({(int)k.code.size(), inner + "end"});
        emit(inst, origin);
    }
    std::vector<Scope> saved{std::move(names)};
    saved.swap(scopes);
    const int saved_file = file, saved_line = line;
    body(f.body, inner, inner + "end");
    labels[inner + "end"] = (int)k.code.size();
    file = saved_file;
    line = saved_line;
    scopes.swap(saved);
    depth--;
}

void Builder::call_builtin(Inst &inst, const std::string &name,
                           const std::vector<std::string> &args,
                           const std::vector<std::string> &results) {
    inst.flow = Flow::PLAIN;
    inst.run = builtin_named(name);
    if (!inst.run) throw Error("call of the external function " + name);
    for (const auto &list : {args, results})
        for (const auto &a : list) inst.op[inst.operands++] = operand("[" + a + "]", Type::U64);
}

void Builder::finish() {
    for (const Jump &j : jumps) {
        const auto found = labels.find(j.label);
        if (found == labels.end()) throw Error("unknown label " + j.label);
        k.code[(size_t)j.pc].target = found->second;
    }
    for (const Jump &j : table_jumps) {
        k.code[(size_t)j.pc].target = (int)k.branch_tables.size();
        k.branch_tables.emplace_back();
        for (const auto &target : tables[j.label])
            k.branch_tables.back().push_back(labels.at(target));
    }
    k.dynamic_offset = (k.shared_bytes + 15) / 16 * 16;
    const auto resolve = [this](u64 value) {
        const bool is_dynamic = value >> 32 == DYNAMIC_BASE >> 32;
        return is_dynamic ? value - DYNAMIC_BASE + k.dynamic_offset : value;
    };
    for (const auto &[key, row] : immediates) {
        const u64 value = resolve(key.first);
        for (int lane = 0; lane < LANES; lane++) {
            memcpy(&k.constants[row + 4 * (u32)lane], &value, 4);
            memcpy(&k.constants[row + 4 * LANES + 8 * (u32)lane], &value, 8);
        }
    }
    for (Inst &inst : k.code)
        for (Operand &o : inst.op)
            if ((o.kind == Operand::MEMORY && !o.width) || o.kind == Operand::IMMEDIATE)
                o.value = resolve(o.value);
}

void Builder::build(const Function &f) {
    k.name = f.name;
    k.max_threads = f.max_threads;
    k.required_threads = f.required_threads;
    scopes.emplace_back();
    for (const Parameter &p : f.params) {
        Symbol s{Symbol::ADDRESS};
        k.param_total = (k.param_total + p.align - 1) / p.align * p.align;
        s.space = Space::PARAM;
        s.address = PARAM_WINDOW + k.param_total;
        scopes.back()[p.name] = s;
        k.param_offset.push_back(k.param_total);
        k.param_bytes.push_back(p.bytes());
        k.param_total += p.bytes();
    }
    body(f.body, "", "");
    Inst last;
    last.flow = Flow::EXIT;
    emit(last, {"(end of kernel)", file, line});
    finish();
    /* Races are tracked in units of the smallest access that shared memory sees. */
    for (const Inst &i : k.code) {
        if (i.flow != Flow::PLAIN || (i.space != Space::SHARED && i.space != Space::GENERIC))
            continue;
        if (i.op[0].kind != Operand::MEMORY && i.op[1].kind != Operand::MEMORY) continue;
        const int bytes = bytes_of(i.type) * i.vec;
        k.shared_granule_shift = std::min(k.shared_granule_shift, __builtin_ctz((unsigned)bytes));
    }
}

std::unique_ptr<Kernel> build_kernel(sg_module &module, const Function &function) {
    auto kernel = std::make_unique<Kernel>();
    Builder(module, *kernel).build(function);
    return kernel;
}

Kernel &kernel_named(sg_module &module, const std::string &name) {
    auto &kernel = module.kernels[name];
    if (kernel) return *kernel;
    const auto f = module.functions.find(name);
    if (f == module.functions.end() || !f->second.is_entry) throw Error("no kernel " + name);
    kernel = build_kernel(module, f->second);
    return *kernel;
}

} // namespace sg
