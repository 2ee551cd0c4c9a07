/* test_kernels_train.c - that the ops of training refuse what their kernels would trust. */
#include "mneme/ops.h"

#include "check.h"

#include <stdbool.h>

enum { T = 4, C = 6, V = 9 };
static float zeros[128]; /* inputs and outputs: what is computed from them does not matter */

static mn_tensor f32_1d(int64_t n) { return mn_tensor_1d(zeros, MN_F32, n); }
static mn_tensor f32_2d(int64_t a, int64_t b) { return mn_tensor_2d(zeros, MN_F32, a, b); }

static mn_tensor f32_3d(int64_t a, int64_t b, int64_t c) {
    return (mn_tensor){.data = zeros, .shape = {a, b, c}, .ndim = 3, .dtype = MN_F32};
}

#define REFUSES(call, part) MN_ASSERT_FAILS(call, MN_ERR_USAGE, part)

static void maps_refuse(void **state) {
    mn_device *dev = *state;
    mn_tensor x = f32_2d(T, C), other = f32_2d(C, T), flat = f32_1d(T * C);
    mn_tensor half = mn_tensor_2d(zeros, MN_F16, T, C), ids = mn_tensor_2d(zeros, MN_I32, T, C);
    MN_ASSERT_OK(mn_add(dev, &x, &x));
    REFUSES(mn_add(dev, &x, &other), "add: x has shape (6, 4), (4, 6) expected");
    REFUSES(mn_add(dev, &x, &flat), "add: x has shape (24), (4, 6) expected");
    REFUSES(mn_add(dev, &half, &half), "add: y is F16, F32 expected");
    MN_ASSERT_OK(mn_zero(dev, &x));
    REFUSES(mn_zero(dev, &half), "zero: y is F16");
    MN_ASSERT_OK(mn_cast(dev, &half, &x));
    REFUSES(mn_cast(dev, &half, &other), "cast: y has shape (4, 6), (6, 4) expected");
    REFUSES(mn_cast(dev, &ids, &x), "cast: y is I32, a float type expected");
    REFUSES(mn_cast(dev, &x, &ids), "cast: x is I32, a float type expected");
    MN_ASSERT_OK(mn_gelu_fwd(dev, &x, &x));
    REFUSES(mn_gelu_fwd(dev, &other, &x), "gelu: y has shape (6, 4)");
    REFUSES(mn_gelu_fwd(dev, &x, &half), "gelu: x is F16");
    MN_ASSERT_OK(mn_gelu_bwd(dev, &x, &x, &x));
    REFUSES(mn_gelu_bwd(dev, &other, &x, &x), "gelu_bwd: dx");
    REFUSES(mn_gelu_bwd(dev, &x, &other, &x), "gelu_bwd: dy");
    MN_ASSERT_OK(mn_swiglu_bwd(dev, &x, &x, &x, &x, &x));
    REFUSES(mn_swiglu_bwd(dev, &other, &x, &x, &x, &x), "swiglu_bwd: dgate");
    REFUSES(mn_swiglu_bwd(dev, &x, &other, &x, &x, &x), "swiglu_bwd: dup");
    REFUSES(mn_swiglu_bwd(dev, &x, &x, &half, &x, &x), "swiglu_bwd: dy is F16");
    REFUSES(mn_swiglu_bwd(dev, &x, &x, &x, &x, &other), "swiglu_bwd: up");
    REFUSES(mn_swiglu_fwd(dev, &other, &x, &x), "swiglu: y");
}

static void linear_gradients_refuse(void **state) {
    enum { M = 3, N = 4, K = 5 };
    mn_device *dev = *state;
    float dx_data[M * K] = {0}, dw_data[N * K] = {0};
    mn_tensor dx = mn_tensor_2d(dx_data, MN_F32, M, K), dy = f32_2d(M, N), w = f32_2d(N, K);
    mn_tensor dw = mn_tensor_2d(dw_data, MN_F32, N, K), x = f32_2d(M, K), odd = f32_2d(M + 1, N);
    mn_tensor bias = f32_1d(N), wrong = f32_1d(N + 1);
    const mn_compute f32 = MN_COMPUTE_F32;
    MN_ASSERT_OK(dev->reserve(dev, 64, 64));
    MN_ASSERT_OK(mn_linear_bwd_x(dev, &dx, K, &dy, N, &w, false, f32));
    REFUSES(mn_linear_bwd_x(dev, &dx, K - 1, &dy, N, &w, false, f32),
            "linear_bwd_x: rows of 4 in dx do not hold 5 elements");
    REFUSES(mn_linear_bwd_x(dev, &dx, K, &dy, N - 1, &w, false, f32), "rows of 3 in dy");
    REFUSES(mn_linear_bwd_x(dev, &dx, K, &odd, N, &w, false, f32), "linear_bwd_x: dx");
    REFUSES(mn_linear_bwd_x(dev, &dx, K, &dy, N, &x, false, f32), "linear_bwd_x: dy");
    MN_ASSERT_OK(mn_linear_bwd_w(dev, &dw, &bias, &dy, N, &x));
    MN_ASSERT_OK(mn_linear_bwd_w(dev, &dw, NULL, &dy, N, &x));
    REFUSES(mn_linear_bwd_w(dev, &dw, &wrong, &dy, N, &x), "linear_bwd_w: dbias");
    REFUSES(mn_linear_bwd_w(dev, &dw, &bias, &dy, N - 1, &x), "rows of 3 in dy");
    REFUSES(mn_linear_bwd_w(dev, &dw, &bias, &odd, N, &x), "linear_bwd_w: dy");
    REFUSES(mn_linear_bwd_w(dev, &dy, &bias, &dy, N, &x), "linear_bwd_w: dw");
}

static void norm_gradients_refuse(void **state) {
    mn_device *dev = *state;
    mn_tensor x = f32_2d(T, C), other = f32_2d(T, C + 1), w = f32_1d(C), v = f32_1d(C + 1);
    mn_tensor gate = f32_1d(1);
    MN_ASSERT_OK(mn_layernorm_bwd(dev, &x, &w, &w, &x, &x, &w, 1e-5f, false));
    MN_ASSERT_OK(mn_layernorm_bwd(dev, &x, NULL, NULL, &x, &x, &w, 1e-5f, false));
    REFUSES(mn_layernorm_bwd(dev, &x, &w, NULL, &x, &x, &w, 1e-5f, false),
            "layernorm_bwd: dweight and dbias, or neither");
    REFUSES(mn_layernorm_bwd(dev, &x, NULL, &w, &x, &x, &w, 1e-5f, false), "or neither");
    REFUSES(mn_layernorm_bwd(dev, &other, &w, &w, &x, &x, &w, 1e-5f, false), "layernorm_bwd: dx");
    REFUSES(mn_layernorm_bwd(dev, &x, &v, &w, &x, &x, &w, 1e-5f, false), "layernorm_bwd: dweight");
    REFUSES(mn_layernorm_bwd(dev, &x, &w, &v, &x, &x, &w, 1e-5f, false), "layernorm_bwd: dbias");
    REFUSES(mn_layernorm_bwd(dev, &x, &w, &w, &x, &x, &v, 1e-5f, false), "layernorm_bwd: weight");
    MN_ASSERT_OK(mn_rmsnorm_bwd(dev, &x, NULL, &x, &x, &w, 1e-5f, true));
    REFUSES(mn_rmsnorm_bwd(dev, &x, &v, &x, &x, &w, 1e-5f, true), "rmsnorm_bwd: dweight");
    REFUSES(mn_rmsnorm_bwd(dev, &x, &w, &other, &x, &w, 1e-5f, true), "rmsnorm_bwd: dy");
    MN_ASSERT_OK(mn_gated_norm_fwd(dev, &x, &x, &w, &w, &gate, 1e-5f));
    REFUSES(mn_gated_norm_fwd(dev, &other, &x, &w, &w, &gate, 1e-5f), "gated_norm: y");
    REFUSES(mn_gated_norm_fwd(dev, &x, &x, &w, &v, &gate, 1e-5f), "gated_norm: bias");
    REFUSES(mn_gated_norm_fwd(dev, &x, &x, &w, &w, &w, 1e-5f), "gated_norm: gate has shape (6)");
    MN_ASSERT_OK(mn_gated_norm_bwd(dev, &x, &w, &w, &gate, &x, &x, &w, &w, &gate, 1e-5f));
    REFUSES(mn_gated_norm_bwd(dev, &x, &w, &w, &w, &x, &x, &w, &w, &gate, 1e-5f), "dgate");
    REFUSES(mn_gated_norm_bwd(dev, &x, &w, &v, &gate, &x, &x, &w, &w, &gate, 1e-5f), "dbias");
}

static void rope_gradient_refuses(void **state) {
    mn_device *dev = *state;
    int32_t position[2] = {2, 0};
    mn_qkv_layout l = {.ld = 12,
                       .k_begin = 4,
                       .v_begin = 8,
                       .q_stride = 4,
                       .kv_stride = 4,
                       .heads = 1,
                       .head_dim = 4,
                       .rotary_dims = 2};
    mn_tensor dqkv = f32_2d(2, 12), dq = f32_3d(2, 1, 4), table = f32_2d(3, 1), odd = f32_2d(2, 13);
    const mn_tensor positions = mn_tensor_1d(position, MN_I32, 2), wide = f32_3d(2, 2, 4);
    MN_ASSERT_OK(mn_rope_bwd(dev, &dqkv, &dq, &dq, &dq, &l, &table, &table, &positions));
    REFUSES(mn_rope_bwd(dev, &odd, &dq, &dq, &dq, &l, &table, &table, &positions), "dqkv");
    REFUSES(mn_rope_bwd(dev, &dqkv, &wide, &dq, &dq, &l, &table, &table, &positions), "dq");
    REFUSES(mn_rope_bwd(dev, &dqkv, &dq, &dq, &wide, &l, &table, &table, &positions), "dv");
    position[1] = 3;
    REFUSES(mn_rope_bwd(dev, &dqkv, &dq, &dq, &dq, &l, &table, &table, &positions),
            "rope_bwd: position 1 is 3, not below 3");
    position[1] = -1;
    REFUSES(mn_rope_bwd(dev, &dqkv, &dq, &dq, &dq, &l, &table, &table, &positions),
            "position 1 is -1");
    position[1] = 0;
    l.rotary_dims = 6;
    table.shape[1] = 3;
    REFUSES(mn_rope_bwd(dev, &dqkv, &dq, &dq, &dq, &l, &table, &table, &positions), "rotary 6");
}

typedef struct attention_args {
    mn_tensor dq, dk, dv, delta, q, lse;
    mn_kv_layer kv;
    mn_attn_seq seq;
} attention_args;

static mn_status attention(mn_device *dev, attention_args *a) {
    return mn_attention_bwd(dev, &a->dq, &a->dk, &a->dv, &a->delta, &a->q, &a->q, &a->q, a->kv,
                            &a->lse, &(mn_attn_seqs){&a->seq, &a->seq, 1}, 1);
}

static void attention_gradient_refuses(void **state) {
    mn_device *dev = *state;
    static float cache[2][16 * 16], out[4][3 * 2 * 4];
    attention_args good = {
        .q = f32_3d(3, 2, 4),
        .lse = f32_2d(3, 2),
        .kv = {.k = cache[0], .v = cache[1], .rows = 16, .kv_heads = 1, .head_dim = 4},
        .seq = {.q_len = 3, .own_len = 3}};
    good.dq = good.q;
    good.dk = good.dv = f32_3d(3, 1, 4);
    good.delta = good.lse;
    good.dq.data = out[0];
    good.dk.data = out[1];
    good.dv.data = out[2];
    good.delta.data = out[3];
    attention_args a = good;
    MN_ASSERT_OK(attention(dev, &a));
    a.seq.own_len = 4;
    REFUSES(attention(dev, &a), "sequence 0 has 3 queries on 4 own rows; all rows must be its");
    a = good;
    a.seq.shared_len[1] = 1;
    REFUSES(attention(dev, &a), "3 own rows and shared ones");
    a = good;
    a.seq.q_begin = 1;
    REFUSES(attention(dev, &a), "queries 1 + 3 of 3");
    a = good;
    a.seq.own_begin = 14;
    REFUSES(attention(dev, &a), "rows from 14 of 16");
    a = good;
    a.seq.own_begin = -1;
    REFUSES(attention(dev, &a), "rows from -1");
    a = good;
    a.seq.q_len = a.seq.own_len = 0;
    REFUSES(attention(dev, &a), "queries 0 + 0");
    a = good;
    a.dk.shape[1] = 2;
    REFUSES(attention(dev, &a), "attention_bwd: dk has shape (3, 2, 4), (3, 1, 4) expected");
    a = good;
    a.delta.shape[0] = 2;
    REFUSES(attention(dev, &a), "attention_bwd: delta");
    a = good;
    a.lse.shape[1] = 1;
    REFUSES(attention(dev, &a), "attention_bwd: lse");
    a = good;
    a.kv.head_dim = 5;
    REFUSES(attention(dev, &a), "attention_bwd: q");
}

static void forward_attention_checks_lse(void **state) {
    mn_device *dev = *state;
    static float cache[2][16 * 16], result[3 * 2 * 4], sums[3 * 2];
    const mn_kv_layer kv = {.k = cache[0], .v = cache[1], .rows = 16, .kv_heads = 1, .head_dim = 4};
    const mn_attn_seq seq = {.q_len = 3, .own_len = 3};
    const mn_attn_seqs seqs = {&seq, &seq, 1};
    const mn_tensor q = f32_3d(3, 2, 4);
    mn_tensor out = q, lse = mn_tensor_2d(sums, MN_F32, 3, 2);
    out.data = result;
    MN_ASSERT_OK(mn_attention_fwd(dev, &out, &lse, &q, kv, &seqs, 1, MN_COMPUTE_F32));
    lse.shape[1] = 3;
    REFUSES(mn_attention_fwd(dev, &out, &lse, &q, kv, &seqs, 1, MN_COMPUTE_F32), "attention: lse");
}

static void rows_refuse(void **state) {
    mn_device *dev = *state;
    int32_t id[T] = {0, 1, V - 1, 2};
    mn_tensor table = f32_2d(V, C), dx = f32_2d(T, C), narrow = f32_2d(T, C - 1);
    mn_tensor ids = mn_tensor_1d(id, MN_I32, T), norm = f32_1d(T), loss = f32_1d(T);
    mn_tensor logits = f32_2d(T, V);
    MN_ASSERT_OK(mn_embed_bwd(dev, &table, &dx, &ids, NULL));
    REFUSES(mn_embed_bwd(dev, &table, &narrow, &ids, NULL), "embed_bwd: dtable");
    REFUSES(mn_embed_bwd(dev, &table, &logits, &ids, NULL), "embed_bwd: dtable");
    MN_ASSERT_OK(mn_gather_bwd(dev, &table, &dx, &ids));
    REFUSES(mn_gather_bwd(dev, &table, &narrow, &ids), "gather_bwd: dy");
    REFUSES(mn_gather_bwd(dev, &dx, &dx, &ids), "gather_bwd: row 2 is 8, not below 4");
    MN_ASSERT_OK(mn_cross_entropy(dev, &loss, &logits, &ids, 1));
    REFUSES(mn_cross_entropy(dev, &logits, &logits, &ids, 1), "cross_entropy: loss");
    REFUSES(mn_cross_entropy(dev, &loss, &loss, &ids, 1), "cross_entropy: logits");
    id[2] = V;
    MN_ASSERT_FAILS(mn_embed_bwd(dev, &table, &dx, &ids, NULL), MN_ERR_DATA,
                    "id 2 is 9, not below 9");
    MN_ASSERT_FAILS(mn_cross_entropy(dev, &loss, &logits, &ids, 1), MN_ERR_DATA, "target 2 is 9");
    id[2] = -1;
    MN_ASSERT_FAILS(mn_embed_bwd(dev, &table, &dx, &ids, NULL), MN_ERR_DATA, "id 2 is -1");
    MN_ASSERT_FAILS(mn_cross_entropy(dev, &loss, &logits, &ids, 1), MN_ERR_DATA, "target 2 is -1");
    REFUSES(mn_gather_bwd(dev, &table, &dx, &ids), "gather_bwd: row 2 is -1");
    MN_ASSERT_OK(mn_row_norms(dev, &norm, &dx));
    REFUSES(mn_row_norms(dev, &norm, &table), "row_norms: norm has shape (4), (9) expected");
}

static void optimizer_refuses(void **state) {
    mn_device *dev = *state;
    double sum = 0;
    const mn_adamw step = {1, 0, 0, 1, 0, 1, 1, 1};
    mn_tensor x = f32_1d(C), y = f32_1d(C - 1), half = mn_tensor_1d(zeros, MN_F16, C);
    MN_ASSERT_OK(mn_square_sum(dev, &sum, &x));
    REFUSES(mn_square_sum(dev, &sum, &half), "square_sum: x is F16");
    MN_ASSERT_OK(mn_adamw_step(dev, &x, &x, &x, &x, &step));
    REFUSES(mn_adamw_step(dev, &half, &x, &x, &x, &step), "adamw: param is F16");
    REFUSES(mn_adamw_step(dev, &x, &y, &x, &x, &step), "adamw: m has shape (5), (6) expected");
    REFUSES(mn_adamw_step(dev, &x, &x, &y, &x, &step), "adamw: v");
    REFUSES(mn_adamw_step(dev, &x, &x, &x, &y, &step), "adamw: grad");
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
        cmocka_unit_test(maps_refuse),
        cmocka_unit_test(linear_gradients_refuse),
        cmocka_unit_test(norm_gradients_refuse),
        cmocka_unit_test(rope_gradient_refuses),
        cmocka_unit_test(attention_gradient_refuses),
        cmocka_unit_test(forward_attention_checks_lse),
        cmocka_unit_test(rows_refuse),
        cmocka_unit_test(optimizer_refuses),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
