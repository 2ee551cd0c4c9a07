/* test_kernels.c - that every kernel has a test, and that ops refuse what kernels would trust. */
#include "mneme/ops.h"

#include "check.h"
#include "kernels/rows.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static const char *const kernels[] = {
#define MN_KERNEL(name, params) #name,
#include "mneme/kernels.def"
#undef MN_KERNEL
};
#define NAME_OF(name) #name,
static const char *const tested[] = {MN_TESTED(NAME_OF)};
enum { KERNELS = sizeof kernels / sizeof *kernels, TESTED = sizeof tested / sizeof *tested };

static bool contains(const char *const *list, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(list[i], name) == 0) return true;
    return false;
}

static void every_kernel_has_a_test(void **state) {
    (void)state;
    for (int i = 0; i < KERNELS; i++)
        if (!contains(tested, TESTED, kernels[i]))
            fail_msg("kernel %s has no test: give it one and a place in kernels/rows.h",
                     kernels[i]);
    for (int i = 0; i < TESTED; i++)
        if (!contains(kernels, KERNELS, tested[i]))
            fail_msg("kernels/rows.h names %s, which kernels.def does not", tested[i]);
    assert_int_equal(KERNELS, TESTED);
}

/* No table has a hole. */
static void every_device_has_every_kernel(void **state) {
    const mn_device *dev = *state;
#define MN_KERNEL(name, params) assert_non_null(dev->k->name);
#include "mneme/kernels.def"
#undef MN_KERNEL
}

/* ---- Shapes and types --------------------------------------------------------------------------- */

enum { T = 4, C = 6, V = 9 };
static float zeros[64]; /* inputs and outputs: nothing is computed here */

static mn_tensor f32_1d(int64_t n) { return mn_tensor_1d(zeros, MN_F32, n); }
static mn_tensor f32_2d(int64_t a, int64_t b) { return mn_tensor_2d(zeros, MN_F32, a, b); }

#define REFUSES(call, part) MN_ASSERT_FAILS(call, MN_ERR_USAGE, part)

static void embed_refuses(void **state) {
    mn_device *dev = *state;
    int32_t id[T] = {0, 1, V - 1, 2};
    mn_tensor x = f32_2d(T, C), table = f32_2d(V, C), ids = mn_tensor_1d(id, MN_I32, T);
    MN_ASSERT_OK(mn_embed_fwd(dev, &x, &table, &ids, NULL));
    id[2] = V;
    MN_ASSERT_FAILS(mn_embed_fwd(dev, &x, &table, &ids, NULL), MN_ERR_DATA, "token 2 has id 9");
    id[2] = -1;
    MN_ASSERT_FAILS(mn_embed_fwd(dev, &x, &table, &ids, NULL), MN_ERR_DATA, "token 2 has id -1");
    id[2] = 0;
    mn_tensor wrong = f32_2d(T, C + 1);
    REFUSES(mn_embed_fwd(dev, &wrong, &table, &ids, NULL), "embed: table has shape (9, 6)");
    wrong = f32_2d(T + 1, C);
    REFUSES(mn_embed_fwd(dev, &wrong, &table, &ids, NULL), "embed: x has shape (5, 6)");
    wrong = mn_tensor_2d(zeros, MN_I32, V, C);
    REFUSES(mn_embed_fwd(dev, &x, &wrong, &ids, NULL), "embed: table is I32");
    wrong = mn_tensor_1d(id, MN_I64, 2);
    REFUSES(mn_embed_fwd(dev, &x, &table, &wrong, NULL), "embed: ids is I64, I32 expected");
}

static void norms_refuse(void **state) {
    mn_device *dev = *state;
    mn_tensor y = f32_2d(T, C), weight = f32_1d(C), shorter = f32_1d(C - 1);
    mn_tensor narrow = f32_2d(T, C - 1), half = mn_tensor_1d(zeros, MN_F16, C);
    MN_ASSERT_OK(mn_layernorm_fwd(dev, &y, &y, &weight, &weight, 1e-5f));
    REFUSES(mn_layernorm_fwd(dev, &narrow, &y, &weight, &weight, 1e-5f), "layernorm: y");
    REFUSES(mn_layernorm_fwd(dev, &y, &y, &shorter, &weight, 1e-5f), "layernorm: weight");
    REFUSES(mn_layernorm_fwd(dev, &y, &y, &weight, &half, 1e-5f), "layernorm: bias is F16");
    REFUSES(mn_layernorm_fwd(dev, &y, &weight, &weight, &weight, 1e-5f), "layernorm: x");
    MN_ASSERT_OK(mn_rmsnorm_fwd(dev, &y, &y, &weight, 1e-5f));
    REFUSES(mn_rmsnorm_fwd(dev, &narrow, &y, &weight, 1e-5f), "rmsnorm: y");
    REFUSES(mn_rmsnorm_fwd(dev, &y, &y, &shorter, 1e-5f), "rmsnorm: weight has shape (5)");
}

static mn_status linear(mn_device *dev, mn_tensor *y, int64_t ldy, const mn_tensor *x,
                        const mn_tensor *w, const mn_tensor *bias) {
    return mn_linear_fwd(dev, y, ldy, x, w, bias, MN_EPILOGUE_STORE, MN_COMPUTE_F32);
}

static void linear_refuses(void **state) {
    mn_device *dev = *state;
    float out[3 * 4];
    mn_tensor y = mn_tensor_2d(out, MN_F32, 3, 4), x = f32_2d(3, C), w = f32_2d(4, C);
    mn_tensor bias = f32_1d(4), other = f32_1d(3), odd = f32_2d(4, C + 1);
    MN_ASSERT_OK(dev->reserve(dev, 3, C));
    MN_ASSERT_OK(linear(dev, &y, 4, &x, &w, &bias));
    REFUSES(linear(dev, &y, 3, &x, &w, &bias), "linear: rows of 3 do not hold 4 outputs");
    REFUSES(linear(dev, &y, 4, &x, &odd, &bias), "linear: w has shape (4, 7), (4, 6) expected");
    REFUSES(linear(dev, &y, 4, &x, &w, &other), "linear: bias has shape (3), (4) expected");
    REFUSES(linear(dev, &x, 6, &x, &w, NULL), "linear: y");
    REFUSES(linear(dev, &y, 4, &other, &w, NULL), "linear: x");
    odd = mn_tensor_2d(zeros, MN_I8, 4, C);
    REFUSES(linear(dev, &y, 4, &x, &odd, &bias), "linear: w is I8, a float type expected");
    odd = mn_tensor_2d(zeros, MN_F16, 3, C);
    REFUSES(linear(dev, &y, 4, &odd, &w, &bias), "linear: x is F16, F32 expected");
}

/* Nothing is allocated in a product: what was not reserved is refused, and names its size. */
static void unreserved_products_are_refused(void **state) {
    (void)state;
    enum { M = 64, K = 640 };
    mn_device *dev = NULL;
    float *x = test_calloc(M * K, sizeof *x), *w = test_calloc(K, sizeof *w), y[M];
    mn_tensor ty = mn_tensor_2d(y, MN_F32, M, 1);
    const mn_tensor tx = mn_tensor_2d(x, MN_F32, M, K), tw = mn_tensor_2d(w, MN_F32, 1, K);
    MN_ASSERT_OK(mn_device_open(&dev, "cpu", 1));
    MN_ASSERT_FAILS(mn_linear_fwd(dev, &ty, 1, &tx, &tw, NULL, MN_EPILOGUE_STORE, MN_COMPUTE_BF16),
                    MN_ERR_MEMORY, "64 x 640");
    for (int compute = MN_COMPUTE_F32; compute <= MN_COMPUTE_BF16; compute++) {
        MN_ASSERT_OK(dev->reserve(dev, M, K));
        MN_ASSERT_OK(
            mn_linear_fwd(dev, &ty, 1, &tx, &tw, NULL, MN_EPILOGUE_STORE, (mn_compute)compute));
    }
    mn_device_close(&dev);
    test_free(x);
    test_free(w);
}

static void swiglu_and_gather_refuse(void **state) {
    mn_device *dev = *state;
    int32_t row[2] = {T - 1, 0};
    mn_tensor x = f32_2d(T, C), other = f32_2d(T, C - 1), y = f32_2d(2, C);
    mn_tensor rows = mn_tensor_1d(row, MN_I32, 2);
    MN_ASSERT_OK(mn_swiglu_fwd(dev, &x, &x, &x));
    REFUSES(mn_swiglu_fwd(dev, &x, &x, &other), "swiglu: up has shape (4, 5), (4, 6) expected");
    MN_ASSERT_OK(mn_gather_fwd(dev, &y, &x, &rows));
    REFUSES(mn_gather_fwd(dev, &x, &x, &rows), "gather: y");
    row[1] = T;
    REFUSES(mn_gather_fwd(dev, &y, &x, &rows), "gather: row 4 of 4");
    row[1] = -1;
    REFUSES(mn_gather_fwd(dev, &y, &x, &rows), "gather: row -1 of 4");
}

typedef struct rope_args {
    mn_tensor q, qkv, cos_table, sin_table, positions, rows;
    mn_kv_layer kv;
    mn_qkv_layout layout;
    int32_t position[2], row[2];
} rope_args;

static mn_status rope(mn_device *dev, rope_args *a) {
    return mn_rope_store_fwd(dev, &a->q, a->kv, &a->qkv, &a->layout, &a->cos_table, &a->sin_table,
                             &a->positions, &a->rows);
}

static void rope_refuses(void **state) {
    mn_device *dev = *state;
    static float cache[2][16 * 16], q[2 * 4], qkv[2 * 12], table[3];
    const rope_args good = {
        .q = {.data = q, .shape = {2, 1, 4}, .ndim = 3, .dtype = MN_F32},
        .qkv = mn_tensor_2d(qkv, MN_F32, 2, 12),
        .cos_table = mn_tensor_2d(table, MN_F32, 3, 1),
        .sin_table = mn_tensor_2d(table, MN_F32, 3, 1),
        .kv = {.k = cache[0], .v = cache[1], .rows = 16, .kv_heads = 1, .head_dim = 4},
        .layout = {.ld = 12,
                   .k_begin = 4,
                   .v_begin = 8,
                   .q_stride = 4,
                   .kv_stride = 4,
                   .heads = 1,
                   .head_dim = 4,
                   .rotary_dims = 2},
        .position = {2, 0},
        .row = {15, 0}};
    rope_args a;
#define RESET                                                                                      \
    (a = good, a.positions = mn_tensor_1d(a.position, MN_I32, 2),                                  \
     a.rows = mn_tensor_1d(a.row, MN_I32, 2))
    RESET;
    MN_ASSERT_OK(rope(dev, &a));
    a.position[1] = 3;
    REFUSES(rope(dev, &a), "position 3");
    a.position[1] = -1;
    REFUSES(rope(dev, &a), "position -1");
    RESET;
    a.row[0] = 16;
    REFUSES(rope(dev, &a), "cache row 16");
    RESET;
    a.layout.rotary_dims = 6;
    a.cos_table.shape[1] = a.sin_table.shape[1] = 3;
    REFUSES(rope(dev, &a), "rotary 6");
    RESET;
    a.layout.rotary_dims = 3;
    REFUSES(rope(dev, &a), "rotary 3");
    RESET;
    a.kv.head_dim = 8;
    REFUSES(rope(dev, &a), "cache 8");
    RESET;
    a.qkv.shape[1] = 13;
    REFUSES(rope(dev, &a), "qkv");
    RESET;
    a.rows.shape[0] = 1;
    REFUSES(rope(dev, &a), "rows");
#undef RESET
}

static void attention_refuses(void **state) {
    mn_device *dev = *state;
    static float cache[2][16 * 16], q[3 * 2 * 4];
    mn_tensor tq = {.data = q, .shape = {3, 2, 4}, .ndim = 3, .dtype = MN_F32}, out = tq;
    const mn_kv_layer kv = {.k = cache[0], .v = cache[1], .rows = 16, .kv_heads = 1, .head_dim = 4};
    const mn_attn_seq good = {.q_len = 3, .own_len = 3};
    mn_attn_seq s = good;
    const mn_attn_seqs seqs = {&s, &s, 1};
    MN_ASSERT_OK(mn_attention_fwd(dev, &out, NULL, &tq, kv, &seqs, 1, MN_COMPUTE_F32));
    MN_ASSERT_OK(
        mn_attention_fwd(dev, &out, NULL, &tq, kv, &(mn_attn_seqs){.count = 0}, 1, MN_COMPUTE_F32));
    s.own_begin = 14;
    REFUSES(mn_attention_fwd(dev, &out, NULL, &tq, kv, &seqs, 1, MN_COMPUTE_F32),
            "rows 14 to 17 of 16");
    s = good;
    s.shared_begin[1] = 10;
    s.shared_len[1] = 7;
    REFUSES(mn_attention_fwd(dev, &out, NULL, &tq, kv, &seqs, 1, MN_COMPUTE_F32),
            "rows 10 to 17 of 16");
    s.shared_begin[1] = -1;
    REFUSES(mn_attention_fwd(dev, &out, NULL, &tq, kv, &seqs, 1, MN_COMPUTE_F32), "sequence 0");
    s.shared_begin[1] = INT32_MAX;
    s.shared_len[1] = INT32_MAX;
    REFUSES(mn_attention_fwd(dev, &out, NULL, &tq, kv, &seqs, 1, MN_COMPUTE_F32),
            "rows 2147483647 to 4294967294");
    s = good;
    s.own_len = 2;
    REFUSES(mn_attention_fwd(dev, &out, NULL, &tq, kv, &seqs, 1, MN_COMPUTE_F32), "2 own rows");
    s = good;
    s.q_begin = 1;
    REFUSES(mn_attention_fwd(dev, &out, NULL, &tq, kv, &seqs, 1, MN_COMPUTE_F32),
            "queries 1 + 3 of 3");
    s = good;
    out.shape[0] = 2;
    REFUSES(mn_attention_fwd(dev, &out, NULL, &tq, kv, &seqs, 1, MN_COMPUTE_F32), "attention: out");
    out = tq;
    mn_kv_layer odd = kv;
    odd.kv_heads = 3;
    REFUSES(mn_attention_fwd(dev, &out, NULL, &tq, odd, &seqs, 1, MN_COMPUTE_F32),
            "2 heads of size 4 over 3");
}

/* A range that does not hold the columns, and ids outside of the whole. */
static void slices_refuse(void **state) {
    mn_device *dev = *state;
    mn_row_stat stats[T] = {0};
    int32_t id[T] = {0, V, 2 * V - 1, 2 * V};
    const mn_id_range here = {V, 2 * V}, beyond = {V + 1, 2 * V}, before = {-1, 2 * V};
    mn_tensor logits = f32_2d(T, V), loss = f32_1d(T), x = f32_2d(T, C), table = f32_2d(V, C);
    mn_tensor ids = mn_tensor_1d(id, MN_I32, T), three = mn_tensor_1d(id, MN_I32, 3);
    REFUSES(mn_row_stats(dev, stats, &logits, &beyond), "row_stats: ids 10 + 9 of 18");
    REFUSES(mn_row_stats(dev, stats, &logits, &before), "row_stats: ids -1 + 9 of 18");
    REFUSES(mn_row_stats_merge(dev, stats, stats, 0, T), "row_stats_merge: 0 slices");
    MN_ASSERT_FAILS(mn_embed_fwd(dev, &x, &table, &ids, &here), MN_ERR_DATA,
                    "token 3 has id 18, the model has 18");
    MN_ASSERT_FAILS(mn_embed_bwd(dev, &table, &x, &ids, &here), MN_ERR_DATA, "id 3 is 18");
    MN_ASSERT_FAILS(mn_cross_entropy_part(dev, &loss, &logits, stats, &ids, 1, &here), MN_ERR_DATA,
                    "target 3 is 18");
    REFUSES(mn_cross_entropy_part(dev, &loss, &logits, stats, &three, 1, &here),
            "cross_entropy_part: targets");
    id[3] = 0;
    MN_ASSERT_OK(mn_embed_fwd(dev, &x, &table, &ids, &here));
    MN_ASSERT_OK(mn_cross_entropy_part(dev, &loss, &logits, stats, &ids, 1, &here));
    REFUSES(mn_cross_entropy_part(dev, &loss, &logits, stats, &ids, 1, &beyond), "ids 10 + 9");
}

static void logits_refuse(void **state) {
    mn_device *dev = *state;
    mn_row_stat stats[T] = {0};
    int32_t row[2] = {0, T - 1}, id[T] = {0, V - 1};
    mn_tensor logits = f32_2d(T, V), out = f32_1d(2), u = f32_1d(T), flat = f32_1d(T * V);
    mn_tensor rows = mn_tensor_1d(row, MN_I32, 2), ids = mn_tensor_1d(id, MN_I32, 2);
    mn_tensor drawn = mn_tensor_1d(id, MN_I32, T);
    REFUSES(mn_row_stats(dev, stats, &flat, NULL), "row_stats: logits has shape (36)");
    MN_ASSERT_OK(mn_row_stats(dev, stats, &logits, NULL));
    MN_ASSERT_OK(mn_logprob_gather(dev, &out, &logits, stats, &rows, &ids, NULL));
    id[1] = V;
    REFUSES(mn_logprob_gather(dev, &out, &logits, stats, &rows, &ids, NULL),
            "row 3, id 9 of (4, 9)");
    id[1] = 0;
    row[0] = T;
    REFUSES(mn_logprob_gather(dev, &out, &logits, stats, &rows, &ids, NULL),
            "row 4, id 0 of (4, 9)");
    REFUSES(mn_logprob_gather(dev, &u, &logits, stats, &rows, &ids, NULL), "logprob_gather: row");
    MN_ASSERT_OK(mn_sample(dev, &drawn, &logits, &u, 1));
    REFUSES(mn_sample(dev, &drawn, &logits, &u, 0), "temperature 0");
    REFUSES(mn_sample(dev, &drawn, &logits, &u, NAN), "temperature");
    REFUSES(mn_sample(dev, &ids, &logits, &u, 1), "sample: ids");
    REFUSES(mn_sample(dev, &drawn, &logits, &out, 1), "sample: u");
    int64_t count = 0;
    flat.dtype = MN_F16;
    REFUSES(mn_count_nonfinite(dev, &count, &flat), "count_nonfinite: x is F16");
}

static int open_device(void **state) {
    mn_device *dev = NULL;
    const mn_status st = mn_device_open(&dev, "cpu", 1);
    *state = dev;
    return st == MN_OK ? 0 : -1;
}

static int close_device(void **state) {
    mn_device *dev = *state;
    mn_device_close(&dev);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_has_a_test),
        cmocka_unit_test(every_device_has_every_kernel),
        cmocka_unit_test(embed_refuses),
        cmocka_unit_test(norms_refuse),
        cmocka_unit_test(linear_refuses),
        cmocka_unit_test(unreserved_products_are_refused),
        cmocka_unit_test(swiglu_and_gather_refuse),
        cmocka_unit_test(rope_refuses),
        cmocka_unit_test(attention_refuses),
        cmocka_unit_test(logits_refuse),
        cmocka_unit_test(slices_refuse),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
