/* opcodes_warp.cpp - instructions that a warp executes together, against plain code. */
#include "opcodes.h"
#include <algorithm>
#include <cmath>

using namespace test;

namespace {

constexpr size_t N = 64; /* two warps */
using Want =
    std::function<u64(int lane, const u64 *a, const u64 *b)>; /* a and b of the lane's warp */

std::vector<u64> numbers(u64 below) {
    std::vector<u64> v(N);
    for (u64 &x : v) x = below ? random_bits() % below : random_bits();
    return v;
}

void expect(const char *lines, const char *result, u64 below, const Want &want) {
    const auto a = numbers(below), b = numbers(32);
    const auto r = run_kernel(kernel_text(lines, result), a, b, std::vector<u64>(N));
    std::string detail;
    for (size_t i = 0; i < N && detail.empty(); i++) {
        const u64 w = want((int)i % 32, &a[i / 32 * 32], &b[i / 32 * 32]);
        if (r[i] != w)
            detail = "thread " + std::to_string(i) + ": " + std::to_string(r[i]) + ", not " +
                     std::to_string(w);
    }
    check(detail.empty(), lines, detail);
}

void shuffles() {
    expect("shfl.sync.idx.b32 %r32, %a32, %b32, 31, -1;", "32", 0,
           [](int l, const u64 *a, const u64 *b) { return (u64)(u32)a[b[l]]; });
    expect("shfl.sync.bfly.b32 %r32, %a32, 5, 31, -1;", "32", 0,
           [](int l, const u64 *a, const u64 *) { return (u64)(u32)a[l ^ 5]; });
    expect("shfl.sync.up.b32 %r32|%p, %a32, 3, 0, -1; selp.u32 %r32, %r32, 77, %p;", "32", 0,
           [](int l, const u64 *a, const u64 *) { return l < 3 ? 77 : (u64)(u32)a[l - 3]; });
    /* segments of eight lanes: clamp 31 with mask 24 in bits 8-12 */
    expect("shfl.sync.down.b32 %r32|%p, %a32, 2, 0x181f, -1; selp.u32 %r32, %r32, 77, %p;", "32", 0,
           [](int l, const u64 *a, const u64 *) { return l % 8 > 5 ? 77 : (u64)(u32)a[l + 2]; });
    expect(
        "shfl.sync.idx.b32 %r32, %a32, %b32, 0x181f, -1;", "32", 0,
        [](int l, const u64 *a, const u64 *b) { return (u64)(u32)a[l / 8 * 8 + (int)b[l] % 8]; });
}

void votes() {
    const auto ballot = [](const u64 *a) {
        u32 r = 0;
        for (int k = 0; k < 32; k++) r |= (u32)(a[k] & 1) << k;
        return r;
    };
    const std::string odd = "and.b32 %y3, %a32, 1; setp.ne.u32 %q, %y3, 0; ";
    const auto both = [&](const char *lines, const char *result, const std::function<u64(u32)> &f) {
        for (const u64 below : {u64(0), u64(1)}) /* mixed votes; all zero */
            expect((odd + lines).c_str(), result, below,
                   [&](int, const u64 *a, const u64 *) { return f(ballot(a)); });
    };
    both("vote.sync.ballot.b32 %r32, %q, -1;", "32", [](u32 v) { return (u64)v; });
    both("vote.sync.any.pred %p, %q, -1;", "p", [](u32 v) { return (u64)(v != 0); });
    both("vote.sync.all.pred %p, %q, -1;", "p", [](u32 v) { return (u64)(v == ~0u); });
    both("vote.sync.uni.pred %p, %q, -1;", "p", [](u32 v) { return (u64)(v == ~0u || v == 0); });

    const auto equal_lanes = [](int l, const u64 *a) {
        u32 r = 0;
        for (int k = 0; k < 32; k++) r |= (u32)((u32)a[k] == (u32)a[l]) << k;
        return r;
    };
    expect("match.any.sync.b32 %r32, %a32, -1;", "32", 4,
           [&](int l, const u64 *a, const u64 *) { return (u64)equal_lanes(l, a); });
    for (const u64 below : {u64(4), u64(1)})
        expect("match.all.sync.b32 %r32|%p, %a32, -1; selp.u32 %y3, 5, 0, %p; xor.b32 %r32, %r32, "
               "%y3;",
               "32", below, [&](int l, const u64 *a, const u64 *) {
                   return equal_lanes(l, a) == ~0u ? u64(~0u ^ 5) : 0;
               });
    expect("activemask.b32 %r32;", "32", 0, [](int, const u64 *, const u64 *) { return (u64)~0u; });
    expect("@%q activemask.b32 %r32; bar.warp.sync 0xffffffff;", "32", 0,
           [](int, const u64 *, const u64 *) { return u64(0); });
}

void reductions() {
    const auto fold = [](const u64 *a, const std::function<u32(u32, u32)> &f) {
        u32 v = (u32)a[0];
        for (int k = 1; k < 32; k++) v = f(v, (u32)a[k]);
        return (u64)v;
    };
    const auto one = [&](const char *lines, const std::function<u32(u32, u32)> &f) {
        expect(lines, "32", 0, [&](int, const u64 *a, const u64 *) { return fold(a, f); });
    };
    one("redux.sync.add.u32 %r32, %a32, -1;", [](u32 x, u32 y) { return x + y; });
    one("redux.sync.min.s32 %r32, %a32, -1;",
        [](u32 x, u32 y) { return (u32)std::min((s32)x, (s32)y); });
    one("redux.sync.max.u32 %r32, %a32, -1;", [](u32 x, u32 y) { return std::max(x, y); });
    one("redux.sync.xor.b32 %r32, %a32, -1;", [](u32 x, u32 y) { return x ^ y; });
    one("redux.sync.and.b32 %r32, %a32, -1;", [](u32 x, u32 y) { return x & y; });
    one("redux.sync.or.b32 %r32, %a32, -1;", [](u32 x, u32 y) { return x | y; });
}

/* ---- matrices: a 32-lane kernel with eight words per lane in and four out ------------------------- */

std::vector<u32> run_warp(const std::string &lines, const std::vector<u32> &in, size_t out_words) {
    std::string text = R"(.version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 pi, .param .u64 po)
{
    .reg .b64 %x<4>;
    .reg .b32 %a<12>, %d<4>, %y<4>;
    .shared .align 16 .b8 tile[1024];
    mov.u32 %y0, %tid.x;
    ld.param.u64 %x0, [pi];
    ld.param.u64 %x1, [po];
    mul.wide.u32 %x2, %y0, 48;
    add.u64 %x0, %x0, %x2;
    mul.wide.u32 %x2, %y0, 16;
    add.u64 %x1, %x1, %x2;
    ld.global.v4.u32 {%a0, %a1, %a2, %a3}, [%x0];
    ld.global.v4.u32 {%a4, %a5, %a6, %a7}, [%x0+16];
    ld.global.v4.u32 {%a8, %a9, %a10, %a11}, [%x0+32];
    mov.u32 %d0, 0; mov.u32 %d1, 0; mov.u32 %d2, 0; mov.u32 %d3, 0;
)" + lines + R"(
    st.global.v4.u32 [%x1], {%d0, %d1, %d2, %d3};
    ret;
})";
    sg_module *m = load(text);
    std::vector<u32> r;
    {
        Device<u32> di(in), dr(out_words);
        void *args[] = {&di.address, &dr.address};
        const int rc = sg_launch(m, "k", {1, 1, 1}, {32, 1, 1}, 0, args);
        check(rc == 0, "launch of " + lines, reports());
        r = dr.get();
    }
    sg_unload(m);
    return r;
}

double half_value(u32 h) {
    const int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
    const double v = e ? std::ldexp(1024 + m, e - 25) : std::ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}
double bf16_value(u32 b) { return bit_cast<float>(b << 16); }

/* Fragments by the tables of the PTX manual: groupID = lane / 4, threadID = lane mod 4. */
struct Shape {
    const char *name;
    int k, per; /* depth; elements in a register */
    int a_registers, b_registers;
    double (*value)(u32 word, int j);
    bool half_sum;
};

void mma(const Shape &s) {
    std::vector<u32> in(32 * 12);
    for (u32 &w : in) w = 0;
    const auto element = [&] { /* 8 bits of mantissa: exact in each format, sums exact in double */
                               const double v = (double)((s64)(random_bits() % 255) - 127) / 16;
                               return s.per == 1 ? bit_cast<u32>((float)v) : 0u;
    };
    const auto pair = [&](bool bf) {
        u32 r = 0;
        for (int j = 0; j < 2; j++) {
            const float v = (float)((s64)(random_bits() % 255) - 127) / 16;
            u32 h = bf ? bit_cast<u32>(v) >> 16 : 0;
            if (!bf) { /* by search: independent of the conversion under test */
                for (h = 0; h < 0x7c00 && half_value(h) != std::fabs(v); h++) {
                }
                h |= v < 0 ? 0x8000 : 0;
            }
            r |= h << (16 * j);
        }
        return r;
    };
    const bool bf = std::string(s.name).find("bf16") != std::string::npos;
    for (int l = 0; l < 32; l++) {
        u32 *w = &in[(size_t)l * 12];
        for (int r = 0; r < s.a_registers; r++) w[r] = s.per == 1 ? element() : pair(bf);
        for (int r = 0; r < s.b_registers; r++) w[4 + r] = s.per == 1 ? element() : pair(bf);
        for (int r = 0; r < 4; r++)
            w[8 + r] = s.half_sum ? pair(false) : bit_cast<u32>(random_float());
    }
    std::string a, b;
    for (int r = 0; r < s.a_registers; r++) a += (r ? ", %a" : "%a") + std::to_string(r);
    for (int r = 0; r < s.b_registers; r++) b += (r ? ", %a" : "%a") + std::to_string(4 + r);
    const std::string d = s.half_sum ? "{%d0, %d1}" : "{%d0, %d1, %d2, %d3}";
    const std::string c = s.half_sum ? "{%a8, %a9}" : "{%a8, %a9, %a10, %a11}";
    const auto out = run_warp("mma.sync.aligned." + std::string(s.name) + " " + d + ", {" + a +
                                  "}, {" + b + "}, " + c + ";",
                              in, 128);
    std::vector<double> A((size_t)(16 * s.k)), B((size_t)(s.k * 8));
    for (int l = 0; l < 32; l++)
        for (int j = 0; j < s.per; j++) {
            const int group = l / 4, thread = l % 4, step = 4 * s.per;
            for (int r = 0; r < s.a_registers; r++)
                A[(size_t)((group + 8 * (r % 2)) * s.k + thread * s.per + j + step * (r / 2))] =
                    s.value(in[(size_t)l * 12 + (size_t)r], j);
            for (int r = 0; r < s.b_registers; r++)
                B[(size_t)((thread * s.per + j + step * r) * 8 + group)] = s.value(
                    in[(size_t)l * 12 + 4 + (size_t)r], j);
        }
    double worst = 0;
    for (int l = 0; l < 32; l++)
        for (int e = 0; e < 4; e++) {
            const int row = l / 4 + 8 * (e / 2), column = l % 4 * 2 + e % 2;
            double sum = 0;
            for (int k = 0; k < s.k; k++)
                sum += A[(size_t)(row * s.k + k)] * B[(size_t)(k * 8 + column)];
            const u32 *w = &in[(size_t)l * 12 + 8];
            const u32 *o = &out[(size_t)l * 4];
            const double before = s.half_sum ? half_value(w[e / 2] >> (16 * (e % 2)) & 0xffff)
                                             : bit_cast<float>(w[e]);
            const double got = s.half_sum ? half_value(o[e / 2] >> (16 * (e % 2)) & 0xffff)
                                          : bit_cast<float>(o[e]);
            worst = std::max(worst,
                             std::fabs(got - (sum + before)) / (1 + std::fabs(sum + before)));
        }
    /* the sum is exact in double and rounded once: half an ulp of fp32 or fp16 */
    check(worst <= (s.half_sum ? 0x1p-11 : 0x1p-24), s.name,
          "relative error " + std::to_string(worst));
}

void matrices() {
    const auto half = [](u32 w, int j) { return half_value(w >> (16 * j) & 0xffff); };
    const auto bf = [](u32 w, int j) { return bf16_value(w >> (16 * j) & 0xffff); };
    const auto tf = [](u32 w, int) { return (double)bit_cast<float>(w); };
    for (const Shape &s : {Shape{"m16n8k16.row.col.f32.f16.f16.f32", 16, 2, 4, 2, half, false},
                           Shape{"m16n8k8.row.col.f32.f16.f16.f32", 8, 2, 2, 1, half, false},
                           Shape{"m16n8k16.row.col.f16.f16.f16.f16", 16, 2, 4, 2, half, true},
                           Shape{"m16n8k16.row.col.f32.bf16.bf16.f32", 16, 2, 4, 2, bf, false},
                           Shape{"m16n8k8.row.col.f32.tf32.tf32.f32", 8, 1, 4, 2, tf, false},
                           Shape{"m16n8k4.row.col.f32.tf32.tf32.f32", 4, 1, 2, 1, tf, false}})
        mma(s);

    /* Four 8 x 8 matrices of 16-bit numbers: element e of row r of matrix q is 64 q + 8 r + e. */
    std::vector<u32> in(32 * 12);
    for (u32 l = 0; l < 32; l++)
        for (u32 w = 0; w < 4; w++) in[l * 12 + w] = (8 * l + 2 * w) | (8 * l + 2 * w + 1) << 16;
    const std::string fill = "mov.u32 %y1, tile; shl.b32 %y2, %y0, 4; add.u32 %y1, %y1, %y2; "
                             "st.shared.v4.u32 [%y1], {%a0, %a1, %a2, %a3}; bar.warp.sync -1; ";
    for (const bool trans : {false, true}) {
        const std::string name = std::string("ldmatrix.sync.aligned.m8n8.x4") +
                                 (trans ? ".trans" : "") + ".shared.b16";
        const auto out = run_warp(fill + name + " {%d0, %d1, %d2, %d3}, [%y1];", in, 128);
        bool ok = true;
        for (u32 l = 0; l < 32; l++)
            for (u32 q = 0; q < 4; q++)
                for (u32 j = 0; j < 2; j++) {
                    const u32 row = trans ? l % 4 * 2 + j : l / 4,
                              column = trans ? l / 4 : l % 4 * 2 + j;
                    ok &= (out[l * 4 + q] >> (16 * j) & 0xffff) == 64 * q + 8 * row + column;
                }
        check(ok, name);
    }
    for (u32 l = 0; l < 32; l++)
        in[l * 12] = (2 * l) | (2 * l + 1) << 16; /* element 8 row + column */
    const auto out = run_warp("movmatrix.sync.aligned.m8n8.trans.b16 %d0, %a0;", in, 128);
    bool ok = true;
    for (u32 l = 0; l < 32; l++)
        for (u32 j = 0; j < 2; j++)
            ok &= (out[l * 4] >> (16 * j) & 0xffff) == 8 * (l % 4 * 2 + j) + l / 4;
    check(ok, "movmatrix.trans");
}

} // namespace

void test::warp_opcodes() {
    shuffles();
    votes();
    reductions();
    matrices();
}
