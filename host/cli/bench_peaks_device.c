/* bench_peaks_device.c - the limits of a device with memory of its own, by its own kernels: large products,
 * and a pass over memory. On a GPU products in fp32 do not use tensor cores; those of half precision first round
 * one of their inputs, some percent of their time. */
#include "cli/bench.h"

#include <stdio.h>
#include <stdlib.h>

struct mn_device_peaks {
    mn_device *device;
    mn_arena arena;
    mn_dtype dtype;              /* of the weights, as MN_PEAK_BF16 has them */
    mn_tensor x, y, whole, half; /* of a product: (N, N), (N, 2 N), weights (2 N, N) */
    mn_tensor memory, copy;      /* of reads and copies */
    int64_t *count;
    int64_t size, chunks;
};

static mn_status lay_out(mn_device_peaks *p, size_t bytes) {
    const int64_t n = p->size, numbers = (int64_t)(bytes / sizeof(float));
    mn_tensor *const parts[] = {&p->x, &p->y, &p->whole, &p->half};
    p->x = mn_tensor_2d(NULL, MN_F32, n, n);
    p->y = mn_tensor_2d(NULL, MN_F32, n, 2 * n);
    p->whole = mn_tensor_2d(NULL, MN_F32, 2 * n, n);
    p->half = mn_tensor_2d(NULL, p->dtype, 2 * n, n);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        MN_TRY(mn_arena_alloc(&p->arena, &parts[i]->data, mn_tensor_bytes(parts[i])));
    p->memory = p->copy = mn_tensor_1d(NULL, MN_F32, numbers);
    MN_TRY(mn_arena_alloc(&p->arena, &p->memory.data, mn_tensor_bytes(&p->memory)));
    MN_TRY(mn_arena_alloc(&p->arena, &p->copy.data, mn_tensor_bytes(&p->copy)));
    return mn_arena_alloc(&p->arena, &p->count, sizeof *p->count);
}

/* Numbers that are not zeros, which save power: 1/2 everywhere. Some are sent, the rest are copies of them. */
static mn_status fill(mn_device_peaks *p) {
    enum { SENT = 256 };
    mn_device *dev = p->device;
    const int64_t all = mn_tensor_count(&p->whole);
    float numbers[SENT];
    for (int i = 0; i < SENT; i++) numbers[i] = 0.5f;
    MN_TRY(dev->upload(dev, p->whole.data, numbers, sizeof numbers));
    for (int64_t there = SENT; there < all;) {
        const int64_t count = there < all - there ? there : all - there;
        mn_tensor to = mn_tensor_1d((float *)p->whole.data + there, MN_F32, count);
        const mn_tensor from = mn_tensor_1d(p->whole.data, MN_F32, count);
        MN_TRY(mn_cast(dev, &to, &from));
        there += count;
    }
    const mn_tensor rows = mn_tensor_2d(p->whole.data, MN_F32, p->size, p->size);
    MN_TRY(mn_cast(dev, &p->x, &rows));
    return mn_cast(dev, &p->half, &p->whole);
}

mn_status mn_device_peaks_open(mn_device_peaks **out, mn_device *device, mn_dtype dtype,
                               int64_t size, size_t bytes, int chunks) {
    mn_status st = MN_OK;
    mn_device_peaks *p = calloc(1, sizeof *p);
    *out = NULL;
    MN_CHECK(p, MN_ERR_MEMORY, "no memory for the peak measurements");
    *p = (mn_device_peaks){.device = device,
                           .dtype = dtype == MN_F32 ? MN_F16 : dtype,
                           .size = size,
                           .chunks = chunks};
    mn_arena_init(&p->arena, "peaks", device);
    MN_GOTO(lay_out(p, bytes));
    MN_GOTO(mn_arena_commit(&p->arena));
    MN_GOTO(lay_out(p, bytes));
    MN_GOTO(device->reserve(device, size, size));
    MN_GOTO(fill(p));
    *out = p;
    p = NULL;
done:
    mn_device_peaks_close(&p);
    return st;
}

void mn_device_peaks_close(mn_device_peaks **peaks) {
    mn_device_peaks *p = *peaks;
    if (!p) return;
    mn_arena_free(&p->arena);
    free(p);
    *peaks = NULL;
}

/* Puts one piece of work among the kernels; *amount: operations or bytes. */
typedef mn_status measured(mn_device_peaks *p, double *amount);

static mn_status product(mn_device_peaks *p, double *amount, const mn_tensor *w) {
    const double n = (double)p->size;
    *amount = 4 * n * n * n;
    return mn_linear_fwd(p->device, &p->y, 2 * p->size, &p->x, w, NULL, MN_EPILOGUE_STORE,
                         MN_COMPUTE_F32);
}

static mn_status whole_product(mn_device_peaks *p, double *amount) {
    return product(p, amount, &p->whole);
}
static mn_status half_product(mn_device_peaks *p, double *amount) {
    return product(p, amount, &p->half);
}

static mn_status reads(mn_device_peaks *p, double *amount) {
    *amount = (double)mn_tensor_bytes(&p->memory);
    return mn_count_nonfinite(p->device, p->count, &p->memory);
}

static mn_status copies(mn_device_peaks *p, double *amount) {
    *amount = 2 * (double)mn_tensor_bytes(&p->memory);
    return mn_cast(p->device, &p->copy, &p->memory);
}

static mn_status wait_for(mn_device_peaks *p) {
    int64_t word;
    return p->device->download(p->device, &word, p->count, sizeof word);
}

/* *best: raised to the rate of the fastest of some runs. */
static mn_status rate(double *best, mn_device_peaks *p, measured *work) {
    for (int64_t i = 0; i < p->chunks; i++) {
        double amount = 0;
        MN_TRY(wait_for(p));
        const double begin = mn_now();
        MN_TRY(work(p, &amount));
        MN_TRY(wait_for(p));
        const double found = amount / (mn_now() - begin);
        if (found > *best) *best = found;
    }
    return MN_OK;
}

mn_status mn_device_peaks_read(double *out, mn_device_peaks *p, mn_peak which) {
    *out = 0;
    if (which == MN_PEAK_F32) return rate(out, p, whole_product);
    if (which == MN_PEAK_BF16) return rate(out, p, half_product);
    MN_TRY(rate(out, p, reads));
    return rate(out, p, copies);
}

const char *mn_device_peak_name(const mn_device_peaks *p, mn_peak which) {
    if (which == MN_PEAK_BF16) return p->dtype == MN_F16 ? "fp16" : "bf16";
    return which == MN_PEAK_F32 ? "fp32" : "reads";
}

void mn_device_peak_method(char *out, size_t size, const mn_device_peaks *p, mn_peak which) {
    if (which == MN_PEAK_READ)
        snprintf(out, size, "%.0f MB, read, or copied (both ways count): the faster",
                 (double)mn_tensor_bytes(&p->memory) / 1e6);
    else
        snprintf(out, size, "products of %lld x %lld x %lld, %s weights", (long long)p->size,
                 (long long)(2 * p->size), (long long)p->size,
                 which == MN_PEAK_F32 ? "fp32" : mn_device_peak_name(p, which));
}
