/* test_rope_cuda.c - rotary embedding on a CUDA device: q, what of k and v arrives in the cache (its inner
 * layout is fp16, (rows, kv_heads, D), D filled up with zeros to a multiple of eight), and gradients. */
#include "kernels/cache.h"
#include "kernels/remote.h"
#include "oracle_bwd.h"

typedef struct inputs {
    mn_tensor qkv, cos_table, sin_table, positions, rows;
} inputs;

static inputs upload_inputs(remote *r, const store *s) {
    const int64_t half = s->e.rotary / 2, angles = s->positions * half;
    return (inputs){
        .qkv = mn_tensor_2d(remote_copy(r, s->qkv, (size_t)(s->tokens * s->layout.ld) * 4), MN_F32,
                            s->tokens, s->layout.ld),
        .cos_table = mn_tensor_2d(remote_copy(r, s->cos_table, (size_t)angles * 4), MN_F32,
                                  s->positions, half),
        .sin_table = mn_tensor_2d(remote_copy(r, s->sin_table, (size_t)angles * 4), MN_F32,
                                  s->positions, half),
        .positions = mn_tensor_1d(remote_copy(r, s->position, (size_t)s->tokens * 4), MN_I32,
                                  s->tokens),
        .rows = mn_tensor_1d(remote_copy(r, s->row, (size_t)s->tokens * 4), MN_I32, s->tokens)};
}

/* Stored rows hold x rounded to fp16: half a unit of fp16, and the turn's own roundings; zeros behind the
 * head. All other rows hold the NaN that they held. */
static void check_cache(const store *s, const uint16_t *h, const double *want, double turn,
                        const char *what) {
    const int64_t width = (s->e.dim + 7) / 8 * 8, heads = s->e.kv_heads;
    bool *stored = test_calloc((size_t)s->rows, sizeof *stored);
    for (int64_t t = 0; t < s->tokens; t++) stored[s->row[t]] = true;
    for (int64_t i = 0; i < s->rows * heads * width; i++) {
        const int64_t d = i % width, row = i / width;
        if (!stored[row / heads]) {
            assert_int_equal(h[i], 0xFFFF);
            continue;
        }
        if (d >= s->e.dim) {
            assert_int_equal(h[i], 0);
            continue;
        }
        const double x = want[row * s->e.dim + d], error = fabs((double)mn_f16_to_f32(h[i]) - x);
        const double bound = fabs(x) * 0x1p-11 + 0x1p-25 + (d < s->e.rotary ? turn : 0);
        if (!(error <= bound))
            fail_msg("%s: size %lld, rotary %lld: row %lld, dimension %lld is %g, expected %g",
                     what, (long long)s->e.dim, (long long)s->e.rotary, (long long)(row / heads),
                     (long long)d, (double)mn_f16_to_f32(h[i]), x);
    }
    test_free(stored);
}

static void store_case(mn_device *dev, const geometry *e, int64_t tokens) {
    guards g = {0};
    store s;
    remote r = remote_open(dev);
    uint64_t state = (uint64_t)(e->dim * 10 + e->rotary + tokens);
    const int64_t rows = tokens + 3, n = tokens * e->heads * e->dim;
    store_open(&s, &g, e, tokens, rows, false, &state);
    store_seal(&s, &g);
    const inputs in = upload_inputs(&r, &s);
    const size_t bytes = dev->kv_bytes(rows, e->kv_heads, e->dim);
    uint16_t *h = test_malloc(bytes);
    float *q = test_malloc((size_t)n * sizeof *q);
    memset(h, 0xFF, bytes);
    const mn_kv_layer kv = {.k = remote_copy(&r, h, bytes),
                            .v = remote_copy(&r, h, bytes),
                            .rows = rows,
                            .kv_heads = e->kv_heads,
                            .head_dim = e->dim};
    mn_tensor tq = tensor_3d(remote_floats(&r, n), tokens, e->heads, e->dim);
    MN_ASSERT_OK(mn_rope_store_fwd(dev, &tq, kv, &in.qkv, &s.layout, &in.cos_table, &in.sin_table,
                                   &in.positions, &in.rows));
    remote_read(&r, q, tq.data, (size_t)n * sizeof *q);
    for (int64_t i = 0; i < n; i++) { /* two products below 1.5 and their sum, each rounded */
        const double bound = i % e->dim < e->rotary ? 4 * unit : 0;
        if (!(fabs((double)q[i] - s.q[i]) <= bound))
            fail_msg("q: size %lld, rotary %lld: element %lld is %.9g, expected %.9g",
                     (long long)e->dim, (long long)e->rotary, (long long)i, (double)q[i], s.q[i]);
    }
    remote_read(&r, h, kv.k, bytes);
    check_cache(&s, h, s.k, 4 * unit, "k");
    remote_read(&r, h, kv.v, bytes);
    check_cache(&s, h, s.v, 0, "v");
    test_free(h);
    test_free(q);
    remote_close(&r);
    store_close(&s);
    guard_free(&g);
}

/* dqkv by the oracle; what belongs to no head is NaN. */
static void gradient_oracle(double *want, const store *s, float *const grads[3]) {
    const geometry *e = &s->e;
    const int64_t heads[] = {e->heads, e->kv_heads, e->kv_heads}, half = e->rotary / 2;
    const int64_t begin[] = {s->layout.q_begin, s->layout.k_begin, s->layout.v_begin};
    double *c = doubles_of(s->cos_table, MN_F32, s->positions * half);
    double *sn = doubles_of(s->sin_table, MN_F32, s->positions * half);
    for (int64_t i = 0; i < s->tokens * s->layout.ld; i++) want[i] = NAN;
    for (int part = 0; part < 3; part++) {
        const int64_t stride = part ? s->layout.kv_stride : s->layout.q_stride;
        double *dout = doubles_of(grads[part], MN_F32, s->tokens * heads[part] * e->dim);
        for (int64_t t = 0; t < s->tokens; t++)
            for (int64_t h = 0; h < heads[part]; h++)
                ref_rotate_bwd(want + t * s->layout.ld + begin[part] + h * stride,
                               dout + (t * heads[part] + h) * e->dim, c, sn, s->position[t],
                               part == 2 ? 0 : e->rotary, e->dim);
        test_free(dout);
    }
    test_free(c);
    test_free(sn);
}

static void gradient_case(mn_device *dev, const geometry *e, int64_t tokens) {
    guards g = {0};
    store s;
    remote r = remote_open(dev);
    uint64_t state = (uint64_t)(e->dim * 100 + tokens);
    store_open(&s, &g, e, tokens, tokens, false, &state);
    store_seal(&s, &g);
    const inputs in = upload_inputs(&r, &s);
    const int64_t n = tokens * s.layout.ld, heads[] = {e->heads, e->kv_heads, e->kv_heads};
    float *grads[3], *got = test_malloc((size_t)n * sizeof *got);
    mn_tensor t[3];
    for (int i = 0; i < 3; i++) {
        const int64_t count = tokens * heads[i] * e->dim;
        grads[i] = guard_f32(&g, count);
        for (int64_t j = 0; j < count; j++) grads[i][j] = (float)(2 * random_unit(&state) - 1);
        t[i] = tensor_3d(remote_copy(&r, grads[i], (size_t)count * 4), tokens, heads[i], e->dim);
    }
    double *want = doubles(n);
    gradient_oracle(want, &s, grads);
    mn_tensor dqkv = mn_tensor_2d(remote_floats(&r, n), MN_F32, tokens, s.layout.ld);
    MN_ASSERT_OK(mn_rope_bwd(dev, &dqkv, &t[0], &t[1], &t[2], &s.layout, &in.cos_table,
                             &in.sin_table, &in.positions));
    remote_read(&r, got, dqkv.data, (size_t)n * sizeof *got);
    for (int64_t i = 0; i < n; i++) /* two products below 1 and their sum; NaN where it was */
        if (isnan(want[i]) ? !isnan(got[i]) : !(fabs((double)got[i] - want[i]) <= 4 * unit))
            fail_msg("dqkv: size %lld, rotary %lld: element %lld is %.9g, expected %.9g",
                     (long long)e->dim, (long long)e->rotary, (long long)i, (double)got[i],
                     want[i]);
    test_free(want);
    test_free(got);
    remote_close(&r);
    store_close(&s);
    guard_free(&g);
}

/* Rows of 16 bytes and odd ones, both layouts, partial and full rotation, with and without grouped heads. */
static const geometry cases[] = {
    {15, 2, 2, 14, true, 0},  {15, 3, 1, 6, false, 5},    {16, 2, 2, 16, true, 0},
    {16, 4, 2, 4, false, 1},  {20, 2, 2, 10, true, 3},    {64, 2, 2, 16, true, 0},
    {64, 4, 1, 64, false, 0}, {80, 2, 2, 20, true, 0},    {80, 2, 2, 40, true, 4},
    {96, 2, 1, 0, false, 7},  {128, 2, 1, 128, false, 0}, {1, 1, 1, 0, true, 0},
    {2, 1, 1, 2, false, 0},   {256, 1, 1, 64, true, 2},   {72, 3, 3, 72, true, 8},
    {272, 1, 1, 32, true, 0}};

static void rope_store(void **state) {
    static const int64_t tokens[] = {1, 5, 19};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        store_case(*state, &cases[i], tokens[i % 3]);
}

static void rope_gradient(void **state) {
    static const int64_t tokens[] = {19, 1, 5};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        gradient_case(*state, &cases[i], tokens[i % 3]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rope_store),
                                       cmocka_unit_test(rope_gradient)};
    return cmocka_run_group_tests(tests, remote_setup, remote_teardown);
}
