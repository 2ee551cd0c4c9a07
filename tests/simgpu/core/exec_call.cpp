/* exec_call.cpp - printf and assert of kernels, which the compiler leaves to the driver. */
#include "builder.h"
#include "machine.h"

namespace sg {

namespace {

u64 argument(Machine &m, const Operand &o, int lane, int bytes) {
    u64 a[LANES], v = 0;
    m.addresses(o, a);
    memcpy(&v, m.access(lane, a[lane], bytes, Space::LOCAL, AccessKind::READ), (size_t)bytes);
    return v;
}

std::string text_at(Machine &m, int lane, u64 address) {
    std::string text;
    while (address && text.size() < 4096) {
        const char c = (char)*m.access(lane, address++, 1, Space::GENERIC, AccessKind::READ);
        if (!c) break;
        text += c;
    }
    return text;
}

/* One conversion with the argument at *next; arguments lie at multiples of their size. */
std::string convert(Machine &m, int lane, const std::string &spec, u64 *next) {
    const char kind = spec.back();
    const bool wide = strchr("feEgGaAsp", kind) || spec.find_first_of("lzjt") != std::string::npos;
    const u64 bytes = wide ? 8 : 4;
    *next = (*next + bytes - 1) / bytes * bytes;
    u64 v = 0;
    memcpy(&v, m.access(lane, *next, (int)bytes, Space::GENERIC, AccessKind::READ), bytes);
    *next += bytes;
    char text[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (strchr("feEgGaA", kind)) snprintf(text, sizeof text, spec.c_str(), bit_cast<double>(v));
    else if (kind == 's') snprintf(text, sizeof text, spec.c_str(), text_at(m, lane, v).c_str());
    else if (wide) snprintf(text, sizeof text, spec.c_str(), v);
    else snprintf(text, sizeof text, spec.c_str(), (u32)v);
#pragma GCC diagnostic pop
    return text;
}

/* vprintf(format, pointer to the arguments) */
void device_printf(Machine &m, const Inst &i, u32 mask) {
    for (int lane = 0; lane < LANES; lane++) {
        if (!(mask >> lane & 1)) continue;
        const std::string f = text_at(m, lane, argument(m, i.op[0], lane, 8));
        u64 next = argument(m, i.op[1], lane, 8);
        std::string out;
        for (size_t at = 0; at < f.size(); at++) {
            if (f[at] != '%') out += f[at];
            else if (f.compare(at, 2, "%%") == 0) out += f[++at];
            else {
                const size_t end = std::min(f.find_first_not_of("-+ #0123456789.lhzjt", at + 1),
                                            f.size() - 1);
                out += convert(m, lane, f.substr(at, end + 1 - at), &next);
                at = end;
            }
        }
        fputs(out.c_str(), stdout);
        if (i.operands > 2) {
            u64 a[LANES];
            m.addresses(i.op[2], a);
            const u32 written = 1;
            memcpy(m.access(lane, a[lane], 4, Space::LOCAL, AccessKind::WRITE), &written, 4);
        }
    }
}

/* __assertfail(text, file, line, function, size) */
void device_assert(Machine &m, const Inst &i, u32 mask) {
    const int lane = __builtin_ctz(mask);
    m.report(true, "device assert", lane,
             format("assertion '%s' failed at %s:%d",
                    text_at(m, lane, argument(m, i.op[0], lane, 8)).c_str(),
                    text_at(m, lane, argument(m, i.op[1], lane, 8)).c_str(),
                    (int)argument(m, i.op[2], lane, 4)));
    m.abort_launch();
}

} // namespace

Handler builtin_named(const std::string &name) {
    if (name == "vprintf") return device_printf;
    if (name == "__assertfail") return device_assert;
    return nullptr;
}

} // namespace sg
