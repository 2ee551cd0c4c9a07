/* opcodes_memory.cpp - loads, stores, atomics, asynchronous copies; branches, calls and barriers. */
#include "opcodes.h"
#include <algorithm>

using namespace test;

namespace {

constexpr size_t N = 64;
using Want = std::function<u64(size_t i, const std::vector<u64> &a, const std::vector<u64> &b)>;

void expect(const std::string &lines, const char *result, const Want &want,
            const std::string &module_text = "") {
    std::vector<u64> a(N), b(N);
    for (size_t i = 0; i < N; i++) a[i] = random_bits(), b[i] = random_bits();
    const auto r = run_kernel(kernel_text(lines, result, module_text), a, b, std::vector<u64>(N));
    std::string detail;
    for (size_t i = 0; i < N && detail.empty(); i++) {
        const u64 w = want(i, a, b);
        if (r[i] != w)
            detail = "thread " + std::to_string(i) + ": " + std::to_string(r[i]) + ", not " +
                     std::to_string(w);
    }
    check(detail.empty(), lines, detail);
}

void loads() {
    const auto at = [](const std::vector<u64> &a, size_t i, int byte) {
        return a[i] >> (8 * byte);
    };
    expect("ld.global.u8 %r32, [%x1+3];", "32",
           [&](size_t i, auto &a, auto &) { return (u64)(u8)at(a, i, 3); });
    expect("ld.global.s8 %r32, [%x1+3];", "32",
           [&](size_t i, auto &a, auto &) { return (u64)(u32)(s8)at(a, i, 3); });
    expect("ld.global.s8 %r64, [%x1+1];", "64",
           [&](size_t i, auto &a, auto &) { return (u64)(s64)(s8)at(a, i, 1); });
    expect("ld.global.s16 %r64, [%x1+2];", "64",
           [&](size_t i, auto &a, auto &) { return (u64)(s64)(s16)at(a, i, 2); });
    expect("ld.global.s32 %r64, [%x1+4];", "64",
           [&](size_t i, auto &a, auto &) { return (u64)(s64)(s32)at(a, i, 4); });
    expect("ld.global.u16 %r16, [%x1+6];", "16",
           [&](size_t i, auto &a, auto &) { return (u64)(u16)at(a, i, 6); });
    expect("ld.volatile.global.v2.u32 {%y3, %y4}, [%x1]; sub.u32 %r32, %y3, %y4;", "32",
           [&](size_t i, auto &a, auto &) { return (u64)(u32)((u32)a[i] - (u32)(a[i] >> 32)); });
    expect("ld.global.nc.v4.u16 {%z1, %z2, %z3, %z4}, [%x1]; sub.u16 %r16, %z3, %z1;", "16",
           [&](size_t i, auto &a, auto &) { return (u64)(u16)((u16)at(a, i, 4) - (u16)a[i]); });
    expect("ldu.global.u64 %r64, [%x2];", "64", [&](size_t i, auto &, auto &b) { return b[i]; });
    expect("and.b32 %y3, %y0, 0xfffffffe; mul.wide.u32 %x5, %y3, 8; ld.param.u64 %x6, [pa]; "
           "add.u64 %x5, %x5, %x6; "
           "ld.global.v2.u64 {%x6, %x7}, [%x5]; xor.b64 %r64, %x6, %x7;",
           "64", [&](size_t i, auto &a, auto &) { return a[i & ~1ull] ^ a[i | 1]; });
    expect("prefetch.global.L2 [%x1]; prefetchu.L1 [%x1]; discard.global.L2 [%x1], 128; "
           "applypriority.global.L2::evict_normal [%x1], 128; nanosleep.u32 20; pmevent 1; "
           "membar.gl; fence.acq_rel.gpu; mov.u32 %r32, 1;",
           "32", [](size_t, auto &, auto &) { return u64(1); });
    expect("mov.u32 %y3, %clock; mov.u64 %x5, %clock64; mov.u32 %r32, %laneid;", "32",
           [](size_t i, auto &, auto &) { return u64(i % 32); });
}

/* Each width goes to shared memory and comes back from another lane's place. */
void stores() {
    const std::string table = ".shared .align 16 .b8 room[2048];\n";
    const std::string mine = "mov.u32 %y3, room; mul.lo.u32 %y4, %y0, 16; add.u32 %y3, %y3, %y4; ";
    const std::string neighbour =
        "bar.sync 0; xor.b32 %y5, %y0, 1; mov.u32 %y6, room; mad.lo.u32 %y6, %y5, 16, %y6; ";
    expect(
        mine +
            "st.shared.u8 [%y3], %a32; st.shared.u16 [%y3+2], %a16; st.shared.u32 [%y3+4], %b32; "
            "st.shared.u64 [%y3+8], %b64; " +
            neighbour +
            "ld.shared.u8 %y1, [%y6]; ld.shared.u16 %z1, [%y6+2]; ld.shared.u32 %y2, [%y6+4]; "
            "ld.shared.u64 %r64, [%y6+8]; cvt.u64.u32 %x5, %y1; add.u64 %r64, %r64, %x5; "
            "cvt.u64.u16 %x5, %z1; "
            "add.u64 %r64, %r64, %x5; cvt.u64.u32 %x5, %y2; add.u64 %r64, %r64, %x5;",
        "64",
        [](size_t i, auto &a, auto &b) {
            return b[i ^ 1] + (u8)a[i ^ 1] + (u16)a[i ^ 1] + (u32)b[i ^ 1];
        },
        table);
    expect(
        mine + "st.shared.v4.u32 [%y3], {%a32, %b32, %a32, %y0}; " + neighbour +
            "cvta.shared.u64 %x5, 0; cvt.u64.u32 %x6, %y6; add.u64 %x5, %x5, %x6; "
            "ld.v4.u32 {%y1, %y2, %y3, %r32}, [%x5]; sub.u32 %y1, %y1, %y3; add.u32 %r32, %r32, "
            "%y1;",
        "32", [](size_t i, auto &, auto &) { return u64(i ^ 1); }, table);
    expect(
        mine + "cp.async.ca.shared.global [%y3], [%x1], 8; cp.async.commit_group; "
               "cp.async.ca.shared.global [%y3+8], [%x2], 8, 4; cp.async.commit_group; "
               "cp.async.wait_group 1; ld.shared.u64 %x5, [%y3]; cp.async.wait_all; ld.shared.u64 "
               "%x6, [%y3+8]; "
               "add.u64 %r64, %x5, %x6;",
        "64", [](size_t i, auto &a, auto &b) { return a[i] + (u32)b[i]; }, table);
    expect("{ .local .align 8 .b8 mine[16]; mov.u64 %x5, mine; cvta.local.u64 %x6, %x5; "
           "st.local.u64 [%x5+8], %a64; "
           "ld.u64 %r64, [%x6+8]; }",
           "64", [](size_t i, auto &a, auto &) { return a[i]; });
    expect(
        "mov.u64 %x5, table; shl.b32 %y3, %y0, 2; and.b32 %y3, %y3, 12; cvt.u64.u32 %x6, %y3; "
        "add.u64 %x5, %x5, %x6; ld.const.u32 %r32, [%x5];",
        "32", [](size_t i, auto &, auto &) { return u64(10 * (i % 4 + 1)); },
        ".const .align 4 .u32 table[4] = {10, 20, 30, 40};\n");
}

/* All lanes of a block at one word, in order of the lanes: old values and the last one are known. */
void atomics() {
    const std::string word =
        ".global .align 8 .u64 word = 1000;\n.global .align 8 .u32 narrow = 50;\n"
        ".global .align 4 .f32 single = 0f41200000;\n";
    const auto run = [&](const char *op, const std::function<u64(u64)> &step, u64 start) {
        const std::string lines = std::string("mov.u64 %x5, ") + (start == 50 ? "narrow" : "word") +
                                  "; " + op;
        expect(
            lines, "64",
            [&](size_t i, auto &, auto &) {
                u64 v = start;
                for (size_t k = 0; k < i; k++) v = step(v);
                return v;
            },
            word);
    };
    run(
        "atom.global.add.u64 %r64, [%x5], 3;", [](u64 v) { return v + 3; }, 1000);
    run(
        "atom.global.inc.u32 %r32, [%x5], 60; cvt.u64.u32 %r64, %r32;",
        [](u64 v) { return v >= 60 ? 0 : v + 1; }, 50);
    run(
        "atom.global.dec.u32 %r32, [%x5], 60; cvt.u64.u32 %r64, %r32;",
        [](u64 v) { return v == 0 ? 60 : v - 1; }, 50);
    run(
        "atom.global.xor.b64 %r64, [%x5], 5;", [](u64 v) { return v ^ 5; }, 1000);
    run(
        "atom.global.min.u64 %r64, [%x5], 7;", [](u64 v) { return std::min<u64>(v, 7); }, 1000);
    run(
        "atom.global.max.s64 %r64, [%x5], 2000;", [](u64 v) { return std::max<u64>(v, 2000); },
        1000);
    run(
        "atom.global.exch.b64 %r64, [%x5], 9;", [](u64) { return u64(9); }, 1000);
    run(
        "atom.global.cas.b64 %r64, [%x5], 1000, 8;", [](u64 v) { return v == 1000 ? 8 : v; }, 1000);
    run(
        "atom.global.and.b32 %r32, [%x5], 18; cvt.u64.u32 %r64, %r32;",
        [](u64 v) { return v & 18; }, 50);
    run(
        "red.global.add.u64 [%x5], 2; red.global.or.b64 [%x5], 1; bar.sync 0; ld.global.u64 %r64, "
        "[%x5]; "
        "sub.u64 %r64, %r64, 1128; cvt.u64.u32 %x6, %y0; add.u64 %r64, %r64, %x6; add.u64 %r64, "
        "%r64, 999;",
        [](u64 v) { return v + 1; }, 1000);
    expect(
        "mov.u64 %x5, single; atom.global.add.f32 %r32, [%x5], 0f3f000000;", "32",
        [](size_t i, auto &, auto &) { return u64(bit_cast<u32>(10.f + 0.5f * (float)i)); }, word);
}

void control() {
    expect("mov.u32 %r32, 0; mov.u32 %y3, 0; LOOP: setp.ge.u32 %q, %y3, %y0; @%q bra DONE; add.u32 "
           "%r32, %r32, %y3; "
           "add.u32 %y3, %y3, 1; bra LOOP; DONE: bar.warp.sync -1;",
           "32", [](size_t i, auto &, auto &) { return u64(i * (i - 1) / 2); });
    expect("and.b32 %y3, %y0, 3; mov.u32 %r32, 0; bra OVER; T: .branchtargets L0, L1, L2, L3; "
           "OVER: brx.idx %y3, T; "
           "L3: add.u32 %r32, %r32, 1000; L2: add.u32 %r32, %r32, 100; L1: add.u32 %r32, %r32, 10; "
           "L0: add.u32 %r32, %r32, 1;",
           "32", [](size_t i, auto &, auto &) {
               const u64 r[] = {1, 11, 111, 1111};
               return r[i % 4];
           });
    expect(
        "{ .param .b32 p0; .param .b32 ret0; st.param.b32 [p0], %y0; call.uni (ret0), twice, (p0); "
        "ld.param.b32 %r32, [ret0]; }",
        "32", [](size_t i, auto &, auto &) { return i < 5 ? 7 : u64(2 * i); },
        ".func (.param .b32 out) twice(.param .b32 in)\n{ .reg .b32 %t<3>; .reg .pred %s;\n "
        "ld.param.u32 %t0, [in];\n"
        " setp.lt.u32 %s, %t0, 5; mov.u32 %t1, 7; @%s bra E; add.u32 %t1, %t0, %t0;\n E: "
        "st.param.b32 [out], %t1;\n ret; }\n");
    expect("setp.lt.u32 %q, %y0, 20; mov.u64 %r64, 5; st.global.u64 [%x4], %r64; @%q exit; mov.u64 "
           "%r64, 6;",
           "64", [](size_t i, auto &, auto &) { return i < 20 ? u64(5) : u64(6); });
    expect("setp.lt.u32 %q, %y0, 10; bar.red.popc.u32 %r32, 0, %q;", "32",
           [](size_t, auto &, auto &) { return u64(10); });
    expect("setp.lt.u32 %q, %y0, 10; barrier.red.and.pred %p, 1, %q;", "p",
           [](size_t, auto &, auto &) { return u64(0); });
    expect("setp.lt.u32 %q, %y0, 10; bar.red.or.pred %p, 1, %q;", "p",
           [](size_t, auto &, auto &) { return u64(1); });
    for (const char *lines : {"trap;", "brkpt;"}) { /* these stop the launch and say so */
        sg_option("print", 0);
        sg_module *m = load(kernel_text(lines, "32"));
        const Device<u64> d(std::vector<u64>(N, 0));
        u64 address = d.address;
        void *args[] = {&address, &address, &address, &address};
        const int rc = sg_launch(m, "k", {1, 1, 1}, {N, 1, 1}, 0, args);
        check(rc > 0 && reports().find("trap executed") != std::string::npos, lines);
        sg_clear_reports();
        sg_unload(m);
        sg_option("print", 1);
    }
}

} // namespace

void test::memory_opcodes() {
    loads();
    stores();
    atomics();
}

void test::control_opcodes() { control(); }

int main() {
    scalar_opcodes();
    memory_opcodes();
    warp_opcodes();
    control_opcodes();
    check(sg_report_count() == 0, "no reports", reports());
    check_coverage();
    return finish("opcodes");
}
