/* bench_kernels_train.c - speed of the training kernels on shapes of a small model, one thread.
 *
 *   bench_kernels_train [tokens of a sequence]
 *
 * Processor time, the best of several runs: other programs on the machine do not count, but they take
 * shares of its caches. */
#include "mneme/ops.h"

#include "check.h"
#include "cli/bench_peaks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEQS = 4, HEADS = 16, DIM = 64, WIDTH = HEADS * DIM, LOSS_ROWS = 256, VOCAB = 50304 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(mn_status st) {
    if (st == MN_OK) return;
    fprintf(stderr, "%s\n", mn_error());
    exit(1);
}

/* From the device, as tensors of a model are: large pages matter. Kept until the program ends. */
static float *numbers(mn_device *dev, int64_t n) {
    void *memory = NULL;
    check(dev->alloc(dev, &memory, (size_t)n * sizeof(float)));
    float *x = memory;
    for (int64_t i = 0; i < n; i++) x[i] = (float)((i * 2654435761u >> 7) % 1024) / 512 - 1;
    return x;
}

static mn_tensor matrix(float *x, int64_t rows, int64_t dim) {
    return mn_tensor_2d(x, MN_F32, rows, dim);
}

static mn_tensor cube(float *x, int64_t a, int64_t b, int64_t c) {
    return (mn_tensor){.data = x, .shape = {a, b, c}, .ndim = 3, .dtype = MN_F32};
}

static double best_time, start_time; /* of the case that runs */
#define BEST(repeats, call)                                                                        \
    do {                                                                                           \
        best_time = 1e9;                                                                           \
        for (int run_ = 0; run_ < (repeats); run_++) {                                             \
            start_time = now();                                                                    \
            check(call);                                                                           \
            start_time = now() - start_time;                                                       \
            if (start_time < best_time) best_time = start_time;                                    \
        }                                                                                          \
    } while (0)

static void report(const char *what, double work, const char *in) {
    printf("%-40s %9.3f ms %9.2f %s\n", what, best_time * 1e3, work / best_time / 1e9, in);
}

/* Short readings: one of them meets no other program. */
static void peak(void) {
    mn_peaks *peaks = NULL;
    check(mn_peaks_open(&peaks, 1, 1 << 26, 0.002, 100));
    printf("peak of one thread: %.1f GFLOP/s in registers, %.1f GB/s read\n",
           mn_peaks_read(peaks, MN_PEAK_F32) / 1e9, mn_peaks_read(peaks, MN_PEAK_READ) / 1e9);
    mn_peaks_close(&peaks);
}

static void attention(mn_device *dev, int64_t len) {
    const int64_t tokens = SEQS * len, n = tokens * WIDTH;
    const size_t bytes = dev->kv_bytes(tokens, HEADS, DIM);
    mn_kv_layer kv = {.k = numbers(dev, (int64_t)(bytes / sizeof(float))),
                      .v = numbers(dev, (int64_t)(bytes / sizeof(float))),
                      .rows = tokens,
                      .kv_heads = HEADS,
                      .head_dim = DIM};
    mn_attn_seq seqs[SEQS];
    for (int i = 0; i < SEQS; i++)
        seqs[i] = (mn_attn_seq){.q_begin = (int32_t)(i * len),
                                .q_len = (int32_t)len,
                                .own_begin = (int32_t)(i * len),
                                .own_len = (int32_t)len};
    mn_tensor t[6];
    for (int i = 0; i < 6; i++) t[i] = cube(numbers(dev, n), tokens, HEADS, DIM);
    mn_tensor lse = matrix(numbers(dev, tokens * HEADS), tokens, HEADS);
    mn_tensor delta = matrix(numbers(dev, tokens * HEADS), tokens, HEADS);
    const double pairs = SEQS * HEADS * (double)len * (double)(len + 1) / 2;
    char what[64];
    snprintf(what, sizeof what, "attention_fwd, %d x %lld, 16 heads of 64", SEQS, (long long)len);
    BEST(15, mn_attention_fwd(dev, &t[0], &lse, &t[1], kv, seqs, SEQS, 0.125f, MN_COMPUTE_F32));
    report(what, pairs * DIM * 2 * 2, "GFLOP/s");
    snprintf(what, sizeof what, "attention_bwd, %d x %lld, 16 heads of 64", SEQS, (long long)len);
    BEST(15, mn_attention_bwd(dev, &t[2], &t[3], &t[4], &delta, &t[5], &t[0], &t[1], kv, &lse, seqs,
                              SEQS, 0.125f));
    report(what, pairs * DIM * 2 * 5, "GFLOP/s");
}

static void loss(mn_device *dev) {
    const int64_t n = (int64_t)LOSS_ROWS * VOCAB;
    mn_tensor logits = matrix(numbers(dev, n), LOSS_ROWS, VOCAB);
    mn_tensor out = mn_tensor_1d(numbers(dev, LOSS_ROWS), MN_F32, LOSS_ROWS);
    int32_t target[LOSS_ROWS];
    for (int i = 0; i < LOSS_ROWS; i++) target[i] = i * 7;
    const mn_tensor targets = mn_tensor_1d(target, MN_I32, LOSS_ROWS);
    BEST(9, mn_cross_entropy(dev, &out, &logits, &targets, 1));
    report("cross_entropy, 256 x 50304", (double)n * 8, "GB/s"); /* read once, written once */
}

static void rows(mn_device *dev) {
    enum { T = 1024 };
    const int64_t n = (int64_t)T * WIDTH;
    mn_tensor t[5], w[5];
    for (int i = 0; i < 5; i++) t[i] = matrix(numbers(dev, n), T, WIDTH);
    for (int i = 0; i < 5; i++) w[i] = mn_tensor_1d(numbers(dev, WIDTH), MN_F32, WIDTH);
    mn_tensor gate = mn_tensor_1d(w[3].data, MN_F32, 1), dgate = mn_tensor_1d(w[4].data, MN_F32, 1);
    const double one = (double)n * 4;
    BEST(21, mn_layernorm_fwd(dev, &t[0], &t[1], &w[0], &w[1], 1e-5f));
    report("layernorm_fwd, 1024 x 1024", 2 * one, "GB/s");
    BEST(21, mn_layernorm_bwd(dev, &t[0], &w[0], &w[1], &t[1], &t[2], &w[2], 1e-5f, false));
    report("layernorm_bwd, 1024 x 1024", 3 * one, "GB/s");
    BEST(21, mn_layernorm_bwd(dev, &t[0], NULL, NULL, &t[1], &t[2], &w[2], 1e-5f, false));
    report("layernorm_bwd, dx alone", 3 * one, "GB/s");
    BEST(21, mn_rmsnorm_bwd(dev, &t[0], &w[0], &t[1], &t[2], &w[2], 1e-5f, true));
    report("rmsnorm_bwd, added, 1024 x 1024", 4 * one, "GB/s");
    BEST(21, mn_gated_norm_bwd(dev, &t[0], &w[0], &w[1], &dgate, &t[1], &t[2], &w[2], &w[2], &gate,
                               1e-5f));
    report("gated_norm_bwd, 1024 x 1024", 3 * one, "GB/s");
    BEST(21, mn_gelu_fwd(dev, &t[0], &t[1]));
    report("gelu_fwd, 1 M", 2 * one, "GB/s");
    BEST(21, mn_gelu_bwd(dev, &t[0], &t[1], &t[2]));
    report("gelu_bwd, 1 M", 3 * one, "GB/s");
    BEST(21, mn_swiglu_bwd(dev, &t[0], &t[4], &t[1], &t[2], &t[3]));
    report("swiglu_bwd, 1 M", 5 * one, "GB/s");
    BEST(21, mn_add(dev, &t[0], &t[1]));
    report("add, 1 M", 3 * one, "GB/s");
    double sum = 0;
    BEST(21, mn_square_sum(dev, &sum, &t[1]));
    report("square_sum, 1 M", one, "GB/s");
    mn_tensor half = mn_tensor_2d(t[4].data, MN_F16, T, WIDTH);
    BEST(21, mn_cast(dev, &half, &t[1]));
    report("cast to F16, 1 M", 1.5 * one, "GB/s");
    BEST(21, mn_cast(dev, &t[0], &half));
    report("cast from F16, 1 M", 1.5 * one, "GB/s");
    const mn_adamw step = {1e-3f, 0.9f, 0.999f, 1e-8f, 0.05f, 0.1f, 1e-3f, 1};
    for (int64_t i = 0; i < n; i++) ((float *)t[2].data)[i] = 0.5f;
    BEST(21, mn_adamw_step(dev, &t[0], &t[1], &t[2], &t[3], &step));
    report("adamw, 1 M", 7 * one, "GB/s");
}

int main(int argc, char **argv) {
    mn_device *dev = NULL;
    const long len = argc > 1 ? strtol(argv[1], NULL, 10) : 256;
    if (len < 1 || len > 100000 || mn_device_open(&dev, "cpu", 1) != MN_OK) {
        fprintf(stderr, "usage: bench_kernels_train [tokens of a sequence]\n");
        return 2;
    }
    printf("%s\n", dev->description);
    peak();
    attention(dev, len);
    loss(dev);
    rows(dev);
    mn_device_close(&dev);
    return 0;
}
