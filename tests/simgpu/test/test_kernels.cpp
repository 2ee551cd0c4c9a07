/* test_kernels.cpp PTX - whole kernels against double-precision loops, in several orders of the warps,
 * and their counters, which are the same on every machine. */
#include "harness.h"
#include <algorithm>
#include <cmath>

using namespace test;

namespace {

sg_module *module;
using Half = u16;

Half half(float f) { return half_from_float(f); }
double value(Half h) { return half_to_float(h); }

std::vector<Half> halves(size_t n, float scale = 1) {
    std::vector<Half> v(n);
    for (Half &h : v) h = half(random_float() * scale);
    return v;
}

void launch(const char *kernel, sg_dim3 grid, sg_dim3 block, size_t shared,
            std::vector<void *> args) {
    const int rc = sg_launch(module, kernel, grid, block, shared, args.data());
    check(rc == 0 && sg_report_count() == 0, std::string(kernel) + " runs without a report",
          reports());
    sg_clear_reports();
}

void close(const char *name, double error, double tolerance) {
    check(error <= tolerance, name, "error " + std::to_string(error));
}

void add() {
    int n = 1000;
    std::vector<float> a(1000), b(1000);
    for (float &f : a) f = random_float();
    for (float &f : b) f = random_float();
    Device<float> da(a), db(b), dc(1000);
    launch("vector_add", {4, 1, 1}, {256, 1, 1}, 0, {&da.address, &db.address, &dc.address, &n});
    const auto c = dc.get();
    double error = 0;
    for (size_t i = 0; i < c.size(); i++)
        error = std::max(error, std::fabs((double)c[i] - (a[i] + b[i])));
    close("vector_add", error, 0);
    const sg_stats *s = sg_last_stats();
    /* 31 full warps and one of 8 lanes: two arrays of 4000 bytes in sectors of 32 */
    check(s->load_requests == 64 && s->load_sectors == 250 && s->store_sectors == 125 &&
              s->divergent_branches == 1,
          "vector_add counters");
}

void sum() {
    int n = 100000;
    std::vector<float> x(100000);
    double want = 0;
    for (float &f : x) want += f = random_float();
    Device<float> dx(x), part(8), total(std::vector<float>{0});
    launch("block_sum", {8, 1, 1}, {256, 1, 1}, 0,
           {&dx.address, &part.address, &total.address, &n});
    close("block_sum", std::fabs(total.get()[0] - want),
          1e-2); /* 100,000 fp32 additions of numbers below 1 */
}

void norm() {
    int columns = 300;
    float eps = 1e-5f;
    const size_t rows = 6, n = rows * 300;
    const auto x = halves(n, 3), g = halves(300, 1.5f), b = halves(300);
    Device<Half> dx(x), dg(g), db(b), dy(n);
    Device<float> mean(rows), rstd(rows);
    launch("layer_norm", {6, 1, 1}, {128, 1, 1}, 0,
           {&dx.address, &dg.address, &db.address, &dy.address, &mean.address, &rstd.address,
            &columns, &eps});
    const auto y = dy.get();
    double error = 0;
    for (size_t r = 0; r < rows; r++) {
        double m = 0, v = 0;
        for (size_t i = 0; i < 300; i++) m += value(x[r * 300 + i]) / 300;
        for (size_t i = 0; i < 300; i++) v += std::pow(value(x[r * 300 + i]) - m, 2) / 300;
        for (size_t i = 0; i < 300; i++) {
            const double want = (value(x[r * 300 + i]) - m) / std::sqrt(v + eps) * value(g[i]) +
                                value(b[i]);
            error = std::max(error, std::fabs(value(y[r * 300 + i]) - want));
        }
    }
    close("layer_norm", error, 2e-3); /* one ulp of fp16 at 2 to 4 */
}

void softmax() {
    int pairs = 257;
    float scale = 0.7f;
    const size_t rows = 4, columns = 514;
    const auto x = halves(rows * columns, 8);
    Device<Half> dx(x), dy(rows * columns);
    launch("softmax", {4, 1, 1}, {256, 1, 1}, 0, {&dx.address, &dy.address, &pairs, &scale});
    const auto y = dy.get();
    double error = 0;
    for (size_t r = 0; r < rows; r++) {
        const Half *row = &x[r * columns];
        double s = 0;
        for (size_t i = 0; i < columns; i++) s += std::exp(value(row[i]) * scale);
        for (size_t i = 0; i < columns; i++)
            error = std::max(
                error, std::fabs(value(y[r * columns + i]) - std::exp(value(row[i]) * scale) / s));
    }
    close("softmax", error, 1e-4); /* half an ulp of fp16 below 0.1 is 3e-5 */
}

void pointwise() {
    int n = 777;
    const auto x = halves(777, 6);
    Device<Half> dx(x), dt(777), de(777);
    launch("gelu", {4, 1, 1}, {256, 1, 1}, 0, {&dx.address, &dt.address, &de.address, &n});
    const auto t = dt.get(), e = de.get();
    double error = 0;
    for (size_t i = 0; i < 777; i++) {
        const double v = value(x[i]);
        error = std::max(
            error, std::fabs(value(t[i]) -
                             v / 2 * (1 + std::tanh(0.7978845608 * (v + 0.044715 * v * v * v)))));
        error = std::max(error, std::fabs(value(e[i]) - v / 2 * (1 + std::erf(v / std::sqrt(2.)))));
    }
    close("gelu", error, 2e-3); /* half an ulp of fp16 at 4 to 8 */

    int pairs = 32;
    float base = 10000;
    const size_t rows = 40;
    const auto before = halves(rows * 64);
    Device<Half> dr(before);
    launch("rotary", {40, 1, 1}, {32, 1, 1}, 0, {&dr.address, &pairs, &base});
    const auto after = dr.get();
    error = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < 32; i++) {
            const double angle = (double)r * std::pow(10000., -(double)i / 32), s = std::sin(angle),
                         c = std::cos(angle);
            const double u = value(before[(r * 32 + i) * 2]),
                         v = value(before[(r * 32 + i) * 2 + 1]);
            error = std::max(error, std::fabs(value(after[(r * 32 + i) * 2]) - (u * c - v * s)));
            error = std::max(error,
                             std::fabs(value(after[(r * 32 + i) * 2 + 1]) - (u * s + v * c)));
        }
    close("rotary", error, 1e-3); /* an ulp of fp16 at 1 to 2 */

    int m = 300;
    const auto a = halves(600, 2), b = halves(600, 2), c = halves(600, 2);
    Device<Half> da(a), db(b), dc(c), dd(600);
    launch("half_fma", {3, 1, 1}, {128, 1, 1}, 0,
           {&da.address, &db.address, &dc.address, &dd.address, &m});
    const auto d = dd.get();
    error = 0;
    for (size_t i = 0; i < 600; i++) {
        const double f = value(half((float)(value(a[i]) * value(b[i]) + value(c[i]))));
        error = std::max(
            error,
            std::fabs(value(d[i]) - std::max(f, value(half((float)(value(a[i]) * value(c[i])))))));
    }
    close("half_fma", error, 0);
}

void integers() {
    int n = 1024;
    std::vector<int> x(1024), want(16);
    for (int &v : x) want[(size_t)((v = (int)(random_bits() % 1000)) & 15)]++;
    Device<int> dx(x), bins(std::vector<int>(16));
    Device<unsigned> odd(32);
    launch("histogram", {4, 1, 1}, {256, 1, 1}, 0, {&dx.address, &bins.address, &odd.address, &n});
    const auto o = odd.get();
    bool ok = bins.get() == want;
    for (size_t i = 0; i < 1024; i++) ok &= (o[i / 32] >> (i % 32) & 1) == (unsigned)(x[i] & 1);
    check(ok, "histogram");

    int k = 500;
    std::vector<unsigned> start(500), steps(500);
    for (unsigned i = 0; i < 500; i++) {
        start[i] = i + 1;
        for (unsigned v = i + 1; v != 1; steps[i]++) v = v & 1 ? 3 * v + 1 : v / 2;
    }
    Device<unsigned> ds(start), dn(500);
    launch("collatz", {4, 1, 1}, {128, 1, 1}, 0, {&ds.address, &dn.address, &k});
    check(dn.get() == steps, "collatz");
}

void product(int m, int n, int k) {
    const auto a = halves((size_t)(m * k)), b = halves((size_t)(k * n));
    Device<Half> da(a), db(b), dc((size_t)(m * n));
    launch("product", {(unsigned)(n + 63) / 64, (unsigned)(m + 63) / 64, 1}, {128, 1, 1}, 0,
           {&da.address, &db.address, &dc.address, &m, &n, &k});
    const auto c = dc.get();
    double error = 0;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double s = 0;
            for (int x = 0; x < k; x++)
                s += value(a[(size_t)(i * k + x)]) * value(b[(size_t)(x * n + j)]);
            error = std::max(error, std::fabs(value(c[(size_t)(i * n + j)]) - s));
        }
    close("product", error, 1e-2); /* half an ulp of fp16 at 8 to 16, and fp32 sums */
    const u64 tiles = (u64)((m + 63) / 64 * ((n + 63) / 64) * ((k + 31) / 32));
    check(sg_last_stats()->mma == tiles * 64,
          "product: mma count"); /* 4 warps, 2 steps, 2 x 4 tiles */
}

void attention(int heads, int length) {
    const size_t D = 64, T = (size_t)length, n = (size_t)heads * T * D;
    float scale = 0.125f;
    const auto q = halves(n, 1.5f), k = halves(n, 1.5f), v = halves(n, 1.5f);
    Device<Half> dq(q), dk(k), dv(v), d_o(n);
    Device<float> dl((size_t)heads * T);
    launch("attention", {(unsigned)(length + 63) / 64, (unsigned)heads, 1}, {128, 1, 1},
           5 * 64 * 72 * 2,
           {&dq.address, &dk.address, &dv.address, &d_o.address, &dl.address, &length, &scale});
    const auto o = d_o.get();
    const auto l = dl.get();
    double error = 0, lse_error = 0;
    for (size_t h = 0; h < (size_t)heads; h++)
        for (size_t i = 0; i < T; i++) {
            std::vector<double> p(i + 1);
            double sum = 0;
            for (size_t j = 0; j <= i; j++) {
                double s = 0;
                for (size_t x = 0; x < D; x++)
                    s += value(q[(h * T + i) * D + x]) * value(k[(h * T + j) * D + x]);
                sum += p[j] = std::exp(s * scale);
            }
            lse_error = std::max(lse_error, std::fabs(l[h * T + i] - std::log(sum)));
            for (size_t x = 0; x < D; x++) {
                double s = 0;
                for (size_t j = 0; j <= i; j++) s += p[j] * value(v[(h * T + j) * D + x]) / sum;
                error = std::max(error, std::fabs(value(o[(h * T + i) * D + x]) - s));
            }
        }
    close("attention", error, 2e-3);                  /* weights and output are rounded to fp16 */
    close("attention: log-sum-exp", lse_error, 1e-5); /* fp32 sums of exact products */
    const u64 blocks = (T + 63) / 64;
    check(sg_last_stats()->mma == (u64)heads * blocks * (blocks + 1) / 2 * 4 * 64,
          "attention: only causal tiles");
    check(sg_last_stats()->shared_wavefronts == sg_last_stats()->shared_ideal,
          "attention: no bank conflicts");
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    module = load_file(argv[1]);
    for (const int seed : {0, 1, 2, 3}) { /* orders of the warps; odd: blocks backwards */
        sg_option("schedule_seed", seed);
        add();
        sum();
        norm();
        softmax();
        pointwise();
        integers();
        product(64, 64, 32);
        product(128, 192, 160);
        product(72, 88, 40);
        attention(2, 128);
        attention(1, 100);
    }
    sg_unload(module);
    check(sg_live_allocations() == 0, "all memory is free again");
    return finish("kernels");
}
