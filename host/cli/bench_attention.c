/* bench_attention.c - attention alone, of texts of several lengths and head sizes: forward, backward, and one more
 * token behind each text. On a device that has the choice, by the backend's own kernels and by cuDNN's, whose times
 * include rounding and packing its inputs; single tokens never go to cuDNN, nor shapes that it has no plan for. */
#include "cli/bench.h"

#include "mneme/ops.h"
#include "mneme/rng.h"

#include <math.h>
#include <stdlib.h>

enum { HEADS = 16, TOKENS = 8192, QUICK_TOKENS = 96, ARRAYS = 5 };

static const int64_t head_sizes[] = {64, 80, 128}, lengths[] = {128, 512, 2048};
static const int64_t quick_sizes[] = {64}, quick_lengths[] = {24, 48};

typedef struct texts {
    mn_bench *b;
    mn_device *dev;
    int64_t head_dim, length, count; /* count texts of `length` tokens */
    const char *whose;               /* end of a title */
    bool by_cudnn;
    mn_arena arena;
    mn_tensor x[ARRAYS], lse, delta; /* (tokens, HEADS, head_dim), (tokens, HEADS) */
    mn_kv_layer kv;
    mn_attn_seq *seqs, *device_seqs; /* of whole texts, then of their last tokens; host, device */
} texts;

static int64_t tokens_of(const texts *t) { return t->count * t->length; }

static mn_status lay_out(texts *t) {
    const int64_t n = tokens_of(t);
    const size_t kv = t->dev->kv_bytes(t->kv.rows, HEADS, t->head_dim);
    for (int i = 0; i < ARRAYS; i++) {
        t->x[i] = (mn_tensor){.shape = {n, HEADS, t->head_dim}, .ndim = 3, .dtype = MN_F32};
        MN_TRY(mn_arena_alloc(&t->arena, &t->x[i].data, mn_tensor_bytes(&t->x[i])));
    }
    t->lse = t->delta = mn_tensor_2d(NULL, MN_F32, n, HEADS);
    MN_TRY(mn_arena_alloc(&t->arena, &t->lse.data, mn_tensor_bytes(&t->lse)));
    MN_TRY(mn_arena_alloc(&t->arena, &t->delta.data, mn_tensor_bytes(&t->delta)));
    MN_TRY(mn_arena_alloc(&t->arena, &t->kv.k, kv));
    MN_TRY(mn_arena_alloc(&t->arena, &t->kv.v, kv));
    return mn_arena_alloc(&t->arena, &t->device_seqs,
                          2 * (size_t)t->count * sizeof *t->device_seqs);
}

/* Numbers between 0 and 1 as they come; keys and values are zeros: how large they are changes no time. */
static mn_status fill(texts *t) {
    mn_device *dev = t->dev;
    const int64_t n = mn_tensor_count(&t->x[0]);
    float *numbers = malloc((size_t)n * sizeof *numbers);
    MN_CHECK(numbers, MN_ERR_MEMORY, "no memory for %lld numbers", (long long)n);
    for (int64_t i = 0; i < n; i++)
        numbers[i] = (float)mn_rng_uniform((uint64_t)t->b->options->seed, 6, (uint64_t)i);
    mn_status st = MN_OK;
    for (int i = 0; i < ARRAYS && st == MN_OK; i++)
        st = dev->upload(dev, t->x[i].data, numbers, mn_tensor_bytes(&t->x[i]));
    free(numbers);
    return st == MN_OK
               ? dev->upload(dev, t->device_seqs, t->seqs, 2 * (size_t)t->count * sizeof *t->seqs)
               : st;
}

static void texts_close(texts *t) {
    mn_arena_free(&t->arena);
    free(t->seqs);
}

static mn_status texts_open(texts *t, mn_bench *b, int64_t head_dim, int64_t length) {
    const int64_t all = b->options->quick ? QUICK_TOKENS : TOKENS;
    *t = (texts){
        .b = b, .dev = b->device, .head_dim = head_dim, .length = length, .count = all / length};
    const int64_t n = tokens_of(t);
    t->kv = (mn_kv_layer){.rows = (n + 15) / 16 * 16, .kv_heads = HEADS, .head_dim = head_dim};
    t->seqs = calloc(2 * (size_t)t->count, sizeof *t->seqs);
    MN_CHECK(t->seqs, MN_ERR_MEMORY, "no memory for %lld texts", (long long)t->count);
    for (int64_t i = 0; i < t->count; i++) {
        const int32_t begin = (int32_t)(i * length), len = (int32_t)length;
        t->seqs[i] = (mn_attn_seq){
            .q_begin = begin, .q_len = len, .own_begin = begin, .own_len = len};
        t->seqs[t->count + i] = (mn_attn_seq){
            .q_begin = (int32_t)i, .q_len = 1, .own_begin = begin, .own_len = len};
    }
    mn_arena_init(&t->arena, "texts", t->dev);
    MN_TRY(lay_out(t));
    MN_TRY(mn_arena_commit(&t->arena));
    MN_TRY(lay_out(t));
    return fill(t);
}

/* ---- one call ---- */

static mn_attn_seqs whole(const texts *t) {
    return (mn_attn_seqs){t->seqs, t->device_seqs, t->count};
}
static float scale(const texts *t) { return 1.0f / sqrtf((float)t->head_dim); }

static mn_status forward(void *context) {
    texts *t = context;
    const mn_attn_seqs seqs = whole(t);
    return mn_attention_fwd(t->dev, &t->x[0], &t->lse, &t->x[1], t->kv, &seqs, scale(t),
                            t->b->compute);
}

static mn_status backward(void *context) {
    texts *t = context;
    const mn_attn_seqs seqs = whole(t);
    return mn_attention_bwd(t->dev, &t->x[2], &t->x[3], &t->x[4], &t->delta, &t->x[1], &t->x[0],
                            &t->x[1], t->kv, &t->lse, &seqs, scale(t));
}

static mn_status decode(void *context) {
    texts *t = context;
    const mn_attn_seqs seqs = {t->seqs + t->count, t->device_seqs + t->count, t->count};
    mn_tensor out = t->x[0], q = t->x[1];
    out.shape[0] = q.shape[0] = t->count;
    return mn_attention_fwd(t->dev, &out, NULL, &q, t->kv, &seqs, scale(t), t->b->compute);
}

/* ---- what it must cost, and the sweep ---- */

static mn_status time_one(texts *t, const char *what, double products, double arrays,
                          mn_status (*call)(void *)) {
    mn_bench_kernel *k = NULL;
    const bool one = call == decode;
    const double length = (double)t->length, width = (double)(HEADS * t->head_dim);
    const double pairs = (double)t->count * (one ? length : length * (length + 1) / 2);
    const double rows = (double)(one ? t->count : tokens_of(t));
    if (t->by_cudnn) {
        MN_TRY(call(t));
        if (!t->dev->was_cudnn(t->dev)) return MN_OK; /* the backend's own, which has its row */
    }
    const double cache = 2 * (double)t->dev->kv_bytes(t->kv.rows, HEADS, t->head_dim);
    MN_TRY(mn_bench_add_kernel(&k, t->b, "attention %s, %lld x %lld, heads of %lld%s", what,
                               (long long)t->count, (long long)t->length, (long long)t->head_dim,
                               t->whose));
    k->flops = 2 * products * width * pairs;
    k->bytes = arrays * rows * width * (double)sizeof(float) + cache;
    k->limit = mn_bench_flop_peak(t->b);
    return mn_bench_time_kernel(t->b, k, call, t);
}

/* Products with pairs: q k', p v; backward dv, dp, dq, dk, as the tally counts them. Arrays: q, out; backward q, out,
 * dout and three gradients. */
static mn_status time_texts(texts *t, const char *whose, bool by_cudnn) {
    t->whose = whose;
    t->by_cudnn = by_cudnn;
    MN_TRY(time_one(t, "forward", 2, 2, forward));
    MN_TRY(time_one(t, "backward", 4, 6, backward));
    return by_cudnn ? MN_OK : time_one(t, "decoding", 2, 2, decode);
}

static mn_status compare(mn_bench *b, int64_t head_dim, int64_t length) {
    mn_device *dev = b->device;
    texts t;
    mn_status st = texts_open(&t, b, head_dim, length);
    if (st == MN_OK && dev->attention) st = dev->attention(dev, false);
    if (st == MN_OK) st = time_texts(&t, dev->attention ? ", own" : "", false);
    if (st == MN_OK && dev->attention) {
        st = dev->attention(dev, true);
        if (st == MN_ERR_UNSUPPORTED) st = MN_OK; /* not installed: own figures alone */
        else if (st == MN_OK) st = time_texts(&t, ", cuDNN's", true);
        if (st == MN_OK) st = dev->attention(dev, b->by_cudnn);
    }
    texts_close(&t);
    return st;
}

mn_status mn_bench_attention(mn_bench *b) {
    const bool quick = b->options->quick;
    const int64_t *sizes = quick ? quick_sizes : head_sizes;
    const int64_t *text = quick ? quick_lengths : lengths;
    const size_t size_count = quick ? sizeof quick_sizes / sizeof *sizes
                                    : sizeof head_sizes / sizeof *sizes;
    const size_t text_count = quick ? sizeof quick_lengths / sizeof *text
                                    : sizeof lengths / sizeof *text;
    for (size_t s = 0; s < size_count; s++)
        for (size_t l = 0; l < text_count; l++) MN_TRY(compare(b, sizes[s], text[l]));
    return MN_OK;
}
