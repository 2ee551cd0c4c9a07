/* product.cpp - the matrix product behind libcublasLt and libcublas. */
#include "product.h"
#include "core/number.h"
#include "runtime/stream.h"
#include <memory>
#include <vector>

namespace sg {
namespace {

int64_t bytes_of(cudaDataType t) {
    switch (t) {
    case CUDA_R_16F:
    case CUDA_R_16BF: return 2;
    case CUDA_R_32F: return 4;
    case CUDA_R_64F: return 8;
    default: return 0; /* not known */
    }
}

float load(const void *p, int64_t i, cudaDataType t) {
    switch (t) {
    case CUDA_R_16F: return half_to_float(((const u16 *)p)[i]);
    case CUDA_R_16BF: return bf16_to_float(((const u16 *)p)[i]);
    case CUDA_R_64F: return (float)((const double *)p)[i];
    default: return ((const float *)p)[i];
    }
}

void keep(void *p, int64_t i, cudaDataType t, float v) {
    switch (t) {
    case CUDA_R_16F: ((u16 *)p)[i] = half_from_float(v); break;
    case CUDA_R_16BF: ((u16 *)p)[i] = bf16_from_float(v); break;
    case CUDA_R_64F: ((double *)p)[i] = v; break;
    default: ((float *)p)[i] = v;
    }
}

bool check_matrix(const char *name, const MatrixArgument &m) {
    if (!bytes_of(m.type))
        complain("matrix product: %s has a type that is not known (%d)", name, (int)m.type);
    else if (m.leading < m.rows)
        complain("matrix product: leading dimension %lld of %s is below its %lld rows",
                 (long long)m.leading, name, (long long)m.rows);
    else if (m.rows && m.columns && !sg_is_device(m.data))
        complain("matrix product: %s is not in device memory", name);
    else return true;
    return false;
}

/* The host's view of a whole batch; NULL and a report when memory ends before it. */
u8 *view(const char *name, const MatrixArgument &m) {
    const int64_t last = m.stride * (m.batch - 1) + (m.columns - 1) * m.leading + m.rows;
    u8 *p = (u8 *)sg_host_view((u64)m.data, (size_t)(last * bytes_of(m.type)));
    if (!p)
        complain(
            "out of bounds: matrix product, %s is %lld x %lld, leading dimension %lld, batch %lld",
            name, (long long)m.rows, (long long)m.columns, (long long)m.leading,
            (long long)m.batch);
    return p;
}

template <class F> void for_columns(const MatrixArgument &m, int64_t batch, F mark) {
    for (int64_t j = 0; j < m.columns; j++)
        mark((u64)m.data + (u64)((batch * m.stride + j * m.leading) * bytes_of(m.type)),
             (size_t)(m.rows * bytes_of(m.type)));
}
void mark_read(const MatrixArgument &m, int64_t batch) {
    for_columns(m, batch, [](u64 a, size_t n) { sg_mark_read(a, n, "matrix product reads"); });
}

float scalar(const void *p, cudaDataType t) {
    if (!sg_is_device(p)) return load(p, 0, t);
    const void *host = sg_host_view((u64)p, (size_t)bytes_of(t));
    if (!host) complain("matrix product: alpha or beta is out of bounds");
    return host ? load(host, 0, t) : 0;
}

/* op(M) as rows of floats. */
std::vector<float> rows_of(const u8 *p, const MatrixArgument &m, int64_t batch, bool transpose) {
    const int64_t rows = transpose ? m.columns : m.rows, columns = transpose ? m.rows : m.columns;
    std::vector<float> out((size_t)(rows * columns));
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            const int64_t at = transpose ? j + i * m.leading : i + j * m.leading;
            out[(size_t)(i * columns + j)] = load(p, batch * m.stride + at, m.type);
        }
    return out;
}

} // namespace

cublasStatus_t check_product(const Product &p) {
    const int64_t m = p.d.rows, n = p.d.columns, k = p.transpose_a ? p.a.rows : p.a.columns;
    const bool shapes = (p.transpose_a ? p.a.columns : p.a.rows) == m &&
                        (p.transpose_b ? p.b.columns : p.b.rows) == k &&
                        (p.transpose_b ? p.b.rows : p.b.columns) == n && p.c.rows == m &&
                        p.c.columns == n;
    if (!shapes) {
        complain("matrix product: the shapes do not fit: A %lld x %lld%s, B %lld x %lld%s, D %lld "
                 "x %lld",
                 (long long)p.a.rows, (long long)p.a.columns, p.transpose_a ? "^T" : "",
                 (long long)p.b.rows, (long long)p.b.columns, p.transpose_b ? "^T" : "",
                 (long long)m, (long long)n);
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (!check_matrix("A", p.a) || !check_matrix("B", p.b) || !check_matrix("D", p.d))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (p.a.type != p.b.type || !p.alpha || !p.beta) return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

void run_product(const Product &p) {
    const int64_t m = p.d.rows, n = p.d.columns, k = p.transpose_a ? p.a.rows : p.a.columns;
    if (!m || !n) return;
    const float alpha = scalar(p.alpha, p.scale), beta = scalar(p.beta, p.scale);
    const u8 *a = k ? view("A", p.a) : nullptr, *b = k ? view("B", p.b) : nullptr;
    const u8 *c = beta != 0 ? view("C", p.c) : nullptr;
    u8 *d = view("D", p.d);
    MatrixArgument bias;
    bias.data = p.bias;
    bias.type = p.bias_type;
    bias.rows = bias.leading = m;
    bias.columns = 1;
    const u8 *bias_at = p.bias ? view("bias", bias) : nullptr;
    if (!d || (k && (!a || !b)) || (beta != 0 && !c) || (p.bias && !bias_at)) return;
    if (p.bias) mark_read(bias, 0);
    std::vector<float> line((size_t)n);
    for (int64_t z = 0; z < p.d.batch; z++) {
        if (k) mark_read(p.a, z), mark_read(p.b, z);
        if (beta != 0) mark_read(p.c, z);
        const std::vector<float> left = k ? rows_of(a, p.a, z, p.transpose_a)
                                          : std::vector<float>();
        const std::vector<float> right = k ? rows_of(b, p.b, z, p.transpose_b)
                                           : std::vector<float>();
        for (int64_t i = 0; i < m; i++) {
            std::fill(line.begin(), line.end(), 0.f);
            for (int64_t x = 0; x < k; x++) {
                const float v = left[(size_t)(i * k + x)];
                const float *row = &right[(size_t)(x * n)];
                for (int64_t j = 0; j < n; j++) line[(size_t)j] += v * row[j];
            }
            for (int64_t j = 0; j < n; j++) {
                float v = alpha * line[(size_t)j];
                if (beta != 0) v += beta * load(c, z * p.c.stride + i + j * p.c.leading, p.c.type);
                if (bias_at) v += load(bias_at, i, p.bias_type);
                if (p.relu && !(v > 0)) v = 0;
                keep(d, z * p.d.stride + i + j * p.d.leading, p.d.type, v);
            }
        }
        for_columns(p.d, z, sg_mark_written);
    }
}

cublasStatus_t submit_product(Product p, cudaStream_t stream) {
    Lock lock;
    if (stream_device(stream) != current_device()) {
        complain("a matrix product for a stream of device %d while device %d is the thread's",
                 stream_device(stream), current_device());
        return CUBLAS_STATUS_EXECUTION_FAILED;
    }
    if (const cublasStatus_t bad = check_product(p)) return bad;
    struct Scalars {
        unsigned char alpha[8], beta[8];
    };
    const auto kept = std::make_shared<Scalars>();
    const size_t bytes = (size_t)bytes_of(p.scale);
    if (!sg_is_device(p.alpha)) p.alpha = memcpy(kept->alpha, p.alpha, bytes);
    if (!sg_is_device(p.beta)) p.beta = memcpy(kept->beta, p.beta, bytes);
    return submit(stream, [p, kept] { run_product(p); }) ? CUBLAS_STATUS_EXECUTION_FAILED
                                                         : CUBLAS_STATUS_SUCCESS;
}

} // namespace sg
