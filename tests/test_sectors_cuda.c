/* test_sectors_cuda.c - how many sectors of 32 bytes the kernels over rows and elements touch in global memory,
 * against what they must: every input read once, every output written once. The simulated device counts
 * them, the same on every machine; a real one does not, and the tests are skipped there.
 *
 * A kernel may touch 1.10 times the necessary sectors: norms read weight and bias once per block, sums over
 * rows go through the workspace once per block. Shared memory may take 1.05 times the passes that it would
 * without bank conflicts. */
#include "kernels/cache.h"
#include "kernels/remote.h"
#include "simgpu/simgpu.h"

#include <dlfcn.h>
#include <stdio.h>

enum { T = 8192, C = 512, N = 1 << 18, V = 50304, ROWS = 2 };

typedef struct counters {
    mn_device *dev;
    void (*total)(sg_stats *out); /* of all kernels that ran so far */
} counters;

/* One case: its memory, and what must move. */
typedef struct sectors {
    const char *what;
    const counters *c;
    remote r;
    sg_stats before;
    int64_t bytes;
} sectors;

static sg_stats now(const counters *c) {
    sg_stats s;
    char unused = 0;
    void *any = NULL;
    MN_ASSERT_OK(c->dev->alloc(c->dev, &any, 1));
    MN_ASSERT_OK(c->dev->download(c->dev, &unused, any, 1)); /* waits for all work */
    c->dev->release(c->dev, any, 1);
    c->total(&s);
    return s;
}

static sectors sectors_begin(const counters *c, const char *what) {
    return (sectors){.what = what, .c = c, .r = remote_open(c->dev)};
}

/* A new block of n numbers between -1 and 1, which must move `times` times. */
static void *numbers(sectors *s, int64_t n, int times) {
    float *x = test_malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)((i * 7919) % 2001 - 1000) / 1000;
    void *to = remote_copy(&s->r, x, (size_t)n * sizeof *x);
    s->bytes += times * n * (int64_t)sizeof *x;
    test_free(x);
    return to;
}

static mn_tensor matrix(sectors *s, int64_t rows, int64_t dim, int times) {
    return mn_tensor_2d(numbers(s, rows * dim, times), MN_F32, rows, dim);
}

static mn_tensor vector(sectors *s, int64_t n, int times) {
    return mn_tensor_1d(numbers(s, n, times), MN_F32, n);
}

/* n numbers 0, step, 2 step ... modulo end */
static mn_tensor ids(sectors *s, int64_t n, int64_t step, int64_t end) {
    int32_t *id = test_malloc((size_t)n * sizeof *id);
    for (int64_t i = 0; i < n; i++) id[i] = (int32_t)(i * step % end);
    const mn_tensor t = mn_tensor_1d(remote_copy(&s->r, id, (size_t)n * sizeof *id), MN_I32, n);
    s->bytes += n * (int64_t)sizeof *id;
    test_free(id);
    return t;
}

static void sectors_end(sectors *s) {
    const sg_stats after = now(s->c), *b = &s->before;
    const double touched = (double)(after.load_sectors - b->load_sectors) +
                           (double)(after.store_sectors - b->store_sectors);
    const double needed = (double)s->bytes / 32;
    const double passes = (double)(after.shared_wavefronts - b->shared_wavefronts);
    const double ideal = (double)(after.shared_ideal - b->shared_ideal);
    print_message("%-22s %9.0f sectors, %.3f of the necessary ones\n", s->what, touched,
                  touched / needed);
    /* Fewer than necessary: the test's own sum is wrong, or nothing ran. */
    if (!(touched <= 1.10 * needed && touched >= 0.99 * needed))
        fail_msg("%s touches %.0f sectors, %.0f are necessary", s->what, touched, needed);
    if (!(passes <= 1.05 * ideal))
        fail_msg("%s: shared memory takes %.0f passes, %.0f without conflicts", s->what, passes,
                 ideal);
    remote_close(&s->r);
}

/* Counts what the call moves. */
#define COUNT(s, call)                                                                             \
    do {                                                                                           \
        (s)->before = now((s)->c);                                                                 \
        MN_ASSERT_OK(call);                                                                        \
        sectors_end(s);                                                                            \
    } while (0)

static void elements_move_once(void **state) {
    mn_device *dev = ((counters *)*state)->dev;
    sectors s = sectors_begin(*state, "add");
    mn_tensor y = matrix(&s, 1, N, 2), x = matrix(&s, 1, N, 1), z, w;
    COUNT(&s, mn_add(dev, &y, &x));
    s = sectors_begin(*state, "gelu");
    y = matrix(&s, 1, N, 1), x = matrix(&s, 1, N, 1);
    COUNT(&s, mn_gelu_fwd(dev, &y, &x));
    s = sectors_begin(*state, "gelu gradient"); /* in place */
    y = matrix(&s, 1, N, 2), x = matrix(&s, 1, N, 1);
    COUNT(&s, mn_gelu_bwd(dev, &y, &y, &x));
    s = sectors_begin(*state, "swiglu");
    y = matrix(&s, 1, N, 2), x = matrix(&s, 1, N, 1);
    COUNT(&s, mn_swiglu_fwd(dev, &y, &y, &x));
    s = sectors_begin(*state, "swiglu gradient");
    y = matrix(&s, 1, N, 1), x = matrix(&s, 1, N, 2), z = matrix(&s, 1, N, 1);
    w = matrix(&s, 1, N, 1);
    COUNT(&s, mn_swiglu_bwd(dev, &x, &y, &x, &z, &w));
    s = sectors_begin(*state, "adamw");
    const mn_adamw step = {1e-3f, 0.9f, 0.999f, 1e-8f, 0.05f, 0.1f, 1e-3f, 1};
    y = matrix(&s, 1, N, 2), x = matrix(&s, 1, N, 2), z = matrix(&s, 1, N, 2);
    w = matrix(&s, 1, N, 1);
    COUNT(&s, mn_adamw_step(dev, &y, &x, &z, &w, &step));
}

static void casts_move_once(void **state) {
    static const mn_dtype types[] = {MN_F32, MN_F16, MN_BF16};
    mn_device *dev = ((counters *)*state)->dev;
    for (int i = 0; i < 9; i++) {
        const mn_dtype to = types[i / 3], from = types[i % 3];
        char what[40];
        snprintf(what, sizeof what, "cast %s to %s", mn_dtype_name(from), mn_dtype_name(to));
        sectors s = sectors_begin(*state, what);
        const mn_tensor x = mn_tensor_1d(numbers(&s, N, 0), from, N);
        mn_tensor y = mn_tensor_1d(numbers(&s, N, 0), to, N);
        s.bytes = (int64_t)(mn_tensor_bytes(&x) + mn_tensor_bytes(&y));
        COUNT(&s, mn_cast(dev, &y, &x));
    }
}

static void norms_move_once(void **state) {
    enum { ROWS_OF_NORMS = T / 4 };
    mn_device *dev = ((counters *)*state)->dev;
    const int64_t rows = ROWS_OF_NORMS;
    const float eps = 1e-5f;
    sectors s = sectors_begin(*state, "layernorm");
    mn_tensor y = matrix(&s, rows, C, 1), x = matrix(&s, rows, C, 1), dy;
    mn_tensor weight = vector(&s, C, 1), bias = vector(&s, C, 1), dw, db, dg;
    COUNT(&s, mn_layernorm_fwd(dev, &y, &x, &weight, &bias, eps));
    s = sectors_begin(*state, "rmsnorm");
    y = matrix(&s, rows, C, 1), x = matrix(&s, rows, C, 1), weight = vector(&s, C, 1);
    COUNT(&s, mn_rmsnorm_fwd(dev, &y, &x, &weight, eps));
    s = sectors_begin(*state, "gated norm");
    y = matrix(&s, rows, C, 2), x = matrix(&s, rows, C, 1);
    weight = vector(&s, C, 1), bias = vector(&s, C, 1);
    mn_tensor gate = vector(&s, 1, 1);
    COUNT(&s, mn_gated_norm_fwd(dev, &y, &x, &weight, &bias, &gate, eps));
    s = sectors_begin(*state, "layernorm: dx");
    y = matrix(&s, rows, C, 2), x = matrix(&s, rows, C, 1), dy = matrix(&s, rows, C, 1);
    weight = vector(&s, C, 1);
    COUNT(&s, mn_layernorm_bwd(dev, &y, NULL, NULL, &dy, &x, &weight, eps, true));
    s = sectors_begin(*state, "gated norm gradient");
    y = matrix(&s, T, C, 1), x = matrix(&s, T, C, 1), dy = matrix(&s, T, C, 1);
    weight = vector(&s, C, 1), bias = vector(&s, C, 1), gate = vector(&s, 1, 1);
    dw = vector(&s, C, 2), db = vector(&s, C, 2), dg = vector(&s, 1, 2);
    COUNT(&s, mn_gated_norm_bwd(dev, &y, &dw, &db, &dg, &dy, &x, &weight, &bias, &gate, eps));
}

/* Forward, a token's row of qkv is read, its q written, its k and v written to the cache in fp16; backward, the three
 * gradients are read and such a row is written. To both belong `rotary` floats of angles and a position, forward also
 * the place in the cache. NeoX's layout, of which a quarter turns, and Llama's with grouped heads. */
static void rotations_move_once(void **state) {
    enum { TOKENS = T / 16 };
    static const geometry of[] = {{64, 16, 16, 16, true, 0}, {64, 16, 4, 64, false, 0}};
    mn_device *dev = ((counters *)*state)->dev;
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        const geometry *e = &of[i];
        const mn_qkv_layout l = layout_of(e);
        const int64_t half = e->rotary / 2, q_numbers = TOKENS * e->heads * e->dim,
                      kv_numbers = TOKENS * e->kv_heads * e->dim;
        sectors s = sectors_begin(*state, "rotation");
        const size_t cache = dev->kv_bytes(TOKENS, e->kv_heads, e->dim);
        const mn_kv_layer kv = {.k = remote_bytes(&s.r, cache),
                                .v = remote_bytes(&s.r, cache),
                                .rows = TOKENS,
                                .kv_heads = e->kv_heads,
                                .head_dim = e->dim};
        s.bytes += 2 * kv_numbers * (int64_t)sizeof(uint16_t);
        mn_tensor qkv = matrix(&s, TOKENS, l.ld, 1);
        mn_tensor q = tensor_3d(numbers(&s, q_numbers, 1), TOKENS, e->heads, e->dim);
        mn_tensor c = matrix(&s, TOKENS, half, 1), sn = matrix(&s, TOKENS, half, 1);
        mn_tensor at = ids(&s, TOKENS, 3, TOKENS);
        const mn_tensor rows = ids(&s, TOKENS, 5, TOKENS);
        COUNT(&s, mn_rope_store_fwd(dev, &q, kv, &qkv, &l, &c, &sn, &at, &rows));
        s = sectors_begin(*state, "rotation gradient");
        qkv = matrix(&s, TOKENS, l.ld, 1);
        q = tensor_3d(numbers(&s, q_numbers, 1), TOKENS, e->heads, e->dim);
        const mn_tensor k = tensor_3d(numbers(&s, kv_numbers, 1), TOKENS, e->kv_heads, e->dim);
        const mn_tensor v = tensor_3d(numbers(&s, kv_numbers, 1), TOKENS, e->kv_heads, e->dim);
        c = matrix(&s, TOKENS, half, 1), sn = matrix(&s, TOKENS, half, 1);
        at = ids(&s, TOKENS, 3, TOKENS);
        COUNT(&s, mn_rope_bwd(dev, &qkv, &q, &k, &v, &l, &c, &sn, &at));
    }
}

static void rows_move_once(void **state) {
    enum { M = 256 };
    mn_device *dev = ((counters *)*state)->dev;
    sectors s = sectors_begin(*state, "embed");
    mn_tensor x = matrix(&s, M, 2 * C, 1), id = ids(&s, M, 3, M), y;
    const mn_tensor table = mn_tensor_2d(numbers(&s, M * C, 1), MN_F16, M, 2 * C);
    COUNT(&s, mn_embed_fwd(dev, &x, &table, &id, NULL));
    s = sectors_begin(*state, "gather");
    x = matrix(&s, M, C, 1), y = matrix(&s, M, C, 1), id = ids(&s, M, 3, M);
    COUNT(&s, mn_gather_fwd(dev, &y, &x, &id));
    s = sectors_begin(*state, "gather gradient");
    x = matrix(&s, M, C, 2), y = matrix(&s, M, C, 1), id = ids(&s, M, 3, M);
    COUNT(&s, mn_gather_bwd(dev, &x, &y, &id));
    s = sectors_begin(*state, "embed gradient");
    x = matrix(&s, M, 4 * C, 2), y = matrix(&s, M, 4 * C, 1), id = ids(&s, M, 3, M);
    COUNT(&s, mn_embed_bwd(dev, &x, &y, &id, NULL));
}

static void logits_move_once(void **state) {
    mn_device *dev = ((counters *)*state)->dev;
    sectors s = sectors_begin(*state, "cross entropy");
    mn_tensor x = matrix(&s, ROWS, V, 2), id = ids(&s, ROWS, 777, V), out = vector(&s, ROWS, 1);
    COUNT(&s, mn_cross_entropy(dev, &out, &x, &id, 1));
    s = sectors_begin(*state, "cross entropy of a slice");
    x = matrix(&s, ROWS, V, 2), id = ids(&s, ROWS, 777, V), out = vector(&s, ROWS, 1);
    const mn_row_stat *stats = remote_bytes(&s.r, ROWS * sizeof *stats);
    COUNT(&s, mn_cross_entropy_part(dev, &out, &x, stats, &id, 1, NULL));
    s = sectors_begin(*state, "row statistics");
    x = matrix(&s, ROWS, V, 1);
    COUNT(&s, mn_row_stats(dev, remote_bytes(&s.r, ROWS * sizeof(mn_row_stat)), &x, NULL));
    s = sectors_begin(*state, "row difference");
    mn_tensor y = matrix(&s, ROWS, V, 1);
    x = matrix(&s, ROWS, V, 1), out = vector(&s, ROWS, 1);
    COUNT(&s, mn_row_difference(dev, &out, &x, &y));
}

static void sums_move_once(void **state) {
    mn_device *dev = ((counters *)*state)->dev;
    sectors s = sectors_begin(*state, "sum of squares");
    mn_tensor x = matrix(&s, 1, N, 1), norm;
    COUNT(&s, mn_square_sum(dev, numbers(&s, 2, 0), &x));
    s = sectors_begin(*state, "row norms");
    x = matrix(&s, N / C, C, 1), norm = vector(&s, N / C, 1);
    COUNT(&s, mn_row_norms(dev, &norm, &x));
    s = sectors_begin(*state, "count of not finite");
    x = matrix(&s, 1, N, 1);
    COUNT(&s, mn_count_nonfinite(dev, numbers(&s, 2, 0), &x));
}

static int setup(void **state) {
    static counters c;
    void *device = NULL;
    if (remote_setup(&device) != 0) return -1;
    c.dev = device;
    void *runtime = dlopen("libcudart.so.13", RTLD_LAZY | RTLD_NOLOAD);
    if (runtime) *(void **)&c.total = dlsym(runtime, "sg_total_stats");
    if (!c.total) {
        if (getenv("MNEME_TEST_SIMULATED")) return -1;
        print_message("skipped: %s counts no sectors\n", c.dev->description);
        exit(77);
    }
    *state = &c;
    return 0;
}

static int teardown(void **state) {
    counters *c = *state;
    mn_device_close(&c->dev);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_move_once),  cmocka_unit_test(casts_move_once),
        cmocka_unit_test(norms_move_once),     cmocka_unit_test(rows_move_once),
        cmocka_unit_test(logits_move_once),    cmocka_unit_test(sums_move_once),
        cmocka_unit_test(rotations_move_once),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
