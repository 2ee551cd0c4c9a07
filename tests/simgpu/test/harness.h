/* harness.h - for the tests of the simulated GPU: PTX around a few lines, device arrays, counting. */
#ifndef SIMGPU_HARNESS_H
#define SIMGPU_HARNESS_H

#include "core/number.h"
#include "simgpu.h"
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

namespace test {

using namespace sg;

inline int checks, failures;

inline void check(bool ok, const std::string &name, const std::string &detail = "") {
    checks++;
    if (ok) return;
    failures++;
    printf("FAIL %s%s%s\n", name.c_str(), detail.empty() ? "" : ": ", detail.c_str());
}

inline int finish(const char *what) {
    printf("%s: %d checks, %d failed\n", what, checks, failures);
    return failures ? 1 : 0;
}

/* splitmix64 */
inline u64 random_bits() {
    static u64 state = 42;
    u64 z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
inline float random_float() { return (float)(s64)random_bits() / 9.3e18f; } /* -1 .. 1 */

template <class T> struct Device {
    u64 address;
    size_t count;
    explicit Device(const std::vector<T> &v)
        : address(sg_malloc(v.size() * sizeof(T))), count(v.size()) {
        sg_copy_in(address, v.data(), count * sizeof(T));
    }
    explicit Device(size_t n) : address(sg_malloc(n * sizeof(T))), count(n) {}
    ~Device() { sg_free(address); }
    Device(const Device &) = delete;
    Device &operator=(const Device &) = delete;
    std::vector<T> get() const {
        std::vector<T> v(count);
        sg_copy_out(v.data(), address, count * sizeof(T));
        return v;
    }
};

inline sg_module *load(const std::string &ptx) {
    char message[512];
    sg_module *m = sg_load(ptx.c_str(), message, sizeof message);
    if (!m) {
        printf("cannot load: %s\n%s\n", message, ptx.c_str());
        exit(1);
    }
    return m;
}
inline sg_module *load_file(const char *path) {
    char message[512];
    sg_module *m = sg_load_file(path, message, sizeof message);
    if (!m) {
        printf("cannot load %s: %s\n", path, message);
        exit(1);
    }
    return m;
}

inline std::string reports() {
    std::string text;
    for (int i = 0; i < sg_report_count(); i++)
        text += std::string("\n    ") + sg_report(i, nullptr, nullptr);
    return text;
}

/* A kernel k(a, b, c, r) of arrays of 64-bit words, one element per thread. The lines find a, b, c of
 * the thread in %a64, %a32, %a16 and so on, and leave the result in %r64, %r32, %r16 or %p; extra
 * declarations and module-level text may be added. */
inline std::string kernel_text(const std::string &lines, const std::string &result,
                               const std::string &module_text = "") {
    std::string last = "cvt.u64.u" + result + " %r64, %r" + result + ";";
    if (result == "64") last = "";
    if (result == "p") last = "selp.u64 %r64, 1, 0, %p;";
    return ".version 8.0\n.target sm_80\n.address_size 64\n" + module_text + R"(
.visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u64 pr)
{
    .reg .b64 %a64, %b64, %c64, %r64, %q64, %x<8>;
    .reg .b32 %a32, %b32, %c32, %r32, %q32, %y<8>;
    .reg .b16 %a16, %b16, %c16, %r16, %q16, %z<8>;
    .reg .pred %p, %q, %s<4>;
    mov.u32 %y0, %tid.x;
    mov.u32 %y1, %ctaid.x;
    mov.u32 %y2, %ntid.x;
    mad.lo.u32 %y0, %y1, %y2, %y0;
    mul.wide.u32 %x0, %y0, 8;
    ld.param.u64 %x1, [pa];
    ld.param.u64 %x2, [pb];
    ld.param.u64 %x3, [pc];
    ld.param.u64 %x4, [pr];
    add.u64 %x1, %x1, %x0;
    add.u64 %x2, %x2, %x0;
    add.u64 %x3, %x3, %x0;
    add.u64 %x4, %x4, %x0;
    ld.global.u64 %a64, [%x1];
    ld.global.u64 %b64, [%x2];
    ld.global.u64 %c64, [%x3];
    cvt.u32.u64 %a32, %a64;
    cvt.u32.u64 %b32, %b64;
    cvt.u32.u64 %c32, %c64;
    cvt.u16.u64 %a16, %a64;
    cvt.u16.u64 %b16, %b64;
    cvt.u16.u64 %c16, %c64;
    mov.u64 %r64, 0;
    mov.u32 %r32, 0;
    mov.u16 %r16, 0;
)" + lines +
           "\n    " + last + "\n    st.global.u64 [%x4], %r64;\n    ret;\n}\n";
}

/* Runs it for all elements in blocks of `threads`. */
inline std::vector<u64> run_kernel(const std::string &text, const std::vector<u64> &a,
                                   const std::vector<u64> &b, const std::vector<u64> &c,
                                   unsigned threads = 64) {
    sg_module *m = load(text);
    std::vector<u64> result;
    {
        Device<u64> da(a), db(b), dc(c), dr(a.size());
        void *args[] = {&da.address, &db.address, &dc.address, &dr.address};
        const int rc = sg_launch(m, "k", {(unsigned)a.size() / threads, 1, 1}, {threads, 1, 1}, 0,
                                 args);
        if (rc) check(false, "launch", std::to_string(rc) + reports());
        result = dr.get();
    }
    sg_unload(m);
    return result;
}

/* Every opcode of the table that no test has used so far. */
inline void check_coverage() {
    for (int i = 0; i < sg_opcode_count(); i++)
        check(sg_opcode_uses(i) > 0, std::string("opcode ") + sg_opcode_name(i) + " is tested");
}

} // namespace test
#endif
