/* test_memory.c - where memories stand, how they start, their files and what is wrong with them. */
#include "check.h"

#include "mneme/memory.h"
#include "mneme/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench {
    mn_device *device;
    mn_model *model;
} bench;

static void open_bench(bench *b) {
    mn_model_config c;
    MN_ASSERT_OK(mn_device_open(&b->device, "cpu", 2));
    MN_ASSERT_OK(
        mn_model_config_load(&c, mn_test_source("tests/golden/gradients/neox-parallel").text));
    MN_ASSERT_OK(mn_model_random(&b->model, &c, "made up", MN_F16, 1, b->device, NULL));
}

static void close_bench(bench *b) {
    mn_model_close(&b->model);
    mn_device_close(&b->device);
}

/* ---- blocks ---- */

static void test_blocks(void **state) {
    static const struct {
        int64_t layers;
        double from, to;
        int64_t count, first;
    } cases[] = {
        /* the models of the experiment */
        {6, 0.7, 0.8, 1, 4},   /* none: 4 / 6 lies nearest below 0.8 */
        {12, 0.7, 0.8, 1, 9},  /* 9 / 12 = 0.75 */
        {16, 0.7, 0.8, 1, 12}, /* 12 / 16 = 0.75; 13 / 16 = 0.81 */
        {24, 0.7, 0.8, 3, 17},
        {32, 0.7, 0.8, 3, 23},
        {36, 0.7, 0.8, 3, 26},
        {40, 0.7, 0.8, 4, 28}, /* 28 / 40 = 0.7 is in, 32 / 40 = 0.8 is out */
        /* borders, whole range, nothing below */
        {10, 0.7, 0.8, 1, 7},
        {30, 0.7, 0.8, 3, 21},
        {1, 0.7, 0.8, 1, 0},
        {5, 0, 1, 5, 0},
        {5, 0, 0, 1, 0},
        {4, 0.3, 0.4, 1, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t out[40];
        assert_int_equal(mn_memory_blocks(out, cases[i].layers, cases[i].from, cases[i].to),
                         cases[i].count);
        for (int64_t j = 0; j < cases[i].count; j++) assert_int_equal(out[j], cases[i].first + j);
    }
}

/* ---- initial values ---- */

/* Rows, or columns when there are fewer, are orthogonal and of length sqrt(2). fp32 rounds each product
 * by 6e-8 relative: 1e-6 is far above that and far below a wrong vector. */
static void check_orthogonal(const mn_tensor *t) {
    const int64_t rows = t->shape[0], cols = t->shape[1];
    const bool wide = rows <= cols;
    const int64_t count = wide ? rows : cols, len = wide ? cols : rows;
    const float *v = t->data;
    for (int64_t a = 0; a < count; a++)
        for (int64_t b = 0; b <= a; b++) {
            double sum = 0;
            for (int64_t i = 0; i < len; i++)
                sum += (double)(wide ? v[a * cols + i] : v[i * cols + a]) *
                       (double)(wide ? v[b * cols + i] : v[i * cols + b]);
            if (!(fabs(sum - (a == b ? 2 : 0)) < 1e-6))
                fail_msg("product of vectors %lld and %lld of (%lld, %lld): %g", (long long)a,
                         (long long)b, (long long)rows, (long long)cols, sum);
        }
}

static void test_initial(void **state) {
    static const int64_t hidden[] = {1, 5, 31, 32, 33, 100}; /* the model has 32 */
    bench b = {0};
    (void)state;
    open_bench(&b);
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        mn_memory *m = NULL, *again = NULL, *other = NULL;
        mn_memory_options o = {.hidden = hidden[i], .from = 0.2, .to = 0.7, .gate = 0.5, .seed = 9};
        MN_ASSERT_OK(mn_memory_create(&m, b.model, &o));
        MN_ASSERT_OK(mn_memory_create(&again, b.model, &o));
        o.seed = 10;
        MN_ASSERT_OK(mn_memory_create(&other, b.model, &o));
        assert_int_equal(m->count, 2);
        int64_t numbers = 0;
        for (int64_t p = 0; p < m->count * MN_MEMORY_PARAMS; p++) {
            mn_memory_param x, y, z;
            mn_memory_param_at(&x, m, p);
            mn_memory_param_at(&y, again, p);
            mn_memory_param_at(&z, other, p);
            const float first = ((const float *)x.tensor->data)[0];
            assert_memory_equal(x.tensor->data, y.tensor->data, mn_tensor_bytes(x.tensor));
            numbers += mn_tensor_count(x.tensor);
            if (x.group == MN_PARAM_WEIGHT) {
                check_orthogonal(x.tensor);
                assert_memory_not_equal(x.tensor->data, z.tensor->data, mn_tensor_bytes(x.tensor));
            } else {
                const float want = x.group == MN_PARAM_GATE        ? 0.5f
                                   : strstr(x.name, "norm.weight") ? 1.0f
                                                                   : 0.0f;
                for (int64_t e = 0; e < mn_tensor_count(x.tensor); e++)
                    assert_true(((const float *)x.tensor->data)[e] == want);
                assert_true(first == want);
            }
        }
        assert_int_equal(numbers, mn_memory_parameters(m));
        /* Blocks differ. */
        assert_memory_not_equal(m->layers[0].up_w.data, m->layers[1].up_w.data,
                                mn_tensor_bytes(&m->layers[0].up_w));
        mn_memory_close(&m);
        mn_memory_close(&again);
        mn_memory_close(&other);
    }
    close_bench(&b);
}

/* One vector among 32 dimensions points anywhere: over many seeds each coordinate has mean 0 and mean
 * square 2 / 32, as Haar's measure says; torch.nn.init.orthogonal_ has the same two moments. */
static void test_distribution(void **state) {
    enum { SEEDS = 2000, DIM = 32 };
    double sum[DIM] = {0}, squares[DIM] = {0};
    bench b = {0};
    (void)state;
    open_bench(&b);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        const int64_t block = 2;
        const mn_memory_options o = {
            .hidden = 2, .blocks = &block, .block_count = 1, .gate = 1, .seed = seed};
        mn_memory *m = NULL;
        MN_ASSERT_OK(mn_memory_create(&m, b.model, &o));
        const float *row = (const float *)m->layers[0].up_w.data + DIM; /* the second one */
        for (int i = 0; i < DIM; i++) {
            sum[i] += (double)row[i];
            squares[i] += (double)row[i] * (double)row[i];
        }
        mn_memory_close(&m);
    }
    const double variance = 2.0 / DIM;
    for (int i = 0; i < DIM; i++) {
        /* five deviations of the mean; the square of a coordinate deviates by about sqrt(2) of itself */
        assert_true(fabs(sum[i] / SEEDS) < 5 * sqrt(variance / SEEDS));
        assert_true(fabs(squares[i] / SEEDS - variance) < 5 * variance * sqrt(2.0 / SEEDS));
    }
    close_bench(&b);
}

static void test_refused_options(void **state) {
    static const int64_t far[] = {1, 4}, falling[] = {2, 1}, twice[] = {1, 1};
    static const struct {
        mn_memory_options o;
        const char *message;
    } cases[] = {
        {{.name = "a", .blocks = far, .block_count = 2, .gate = 1},
         "memory a: block 4, the model has 0 to 3"},
        {{.name = "a", .blocks = falling, .block_count = 2, .gate = 1},
         "block 1 stands behind block 2"},
        {{.name = "a", .blocks = twice, .block_count = 2, .gate = 1},
         "block 1 stands behind block 1"},
        {{.name = "a", .from = 0.8, .to = 0.7, .gate = 1}, "location [0.8, 0.7)"},
        {{.name = "a", .from = 0.7, .to = 1.5, .gate = 1}, "location [0.7, 1.5)"},
        {{.name = "a", .from = 0.7, .to = 0.8, .gate = 1, .hidden = -1}, "hidden size -1"},
        {{.name = "a", .from = 0.7, .to = 0.8, .gate = (double)NAN}, "is not a number"},
    };
    bench b = {0};
    (void)state;
    open_bench(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mn_memory *m = NULL;
        MN_ASSERT_FAILS(mn_memory_create(&m, b.model, &cases[i].o), MN_ERR_USAGE, cases[i].message);
        assert_null(m);
    }
    close_bench(&b);
}

/* ---- forward ---- */

/* Against the formula in double, with and without the tensor before the activation. */
static void test_forward(void **state) {
    enum { ROWS = 7, DIM = 32, HIDDEN = 12 };
    static const int64_t blocks[] = {1};
    const mn_memory_options o = {.hidden = HIDDEN, .blocks = blocks, .block_count = 1, .gate = 0.7};
    float x[2][ROWS * DIM], pre[ROWS * HIDDEN], inner[ROWS * HIDDEN], down[ROWS * DIM];
    bench b = {0};
    mn_memory *m = NULL;
    (void)state;
    open_bench(&b);
    MN_ASSERT_OK(mn_memory_create(&m, b.model, &o));
    MN_ASSERT_OK(b.device->reserve(b.device, ROWS, DIM));
    const mn_memory_layer *l = mn_memory_at(m, 1);
    assert_non_null(l);
    assert_null(mn_memory_at(m, 2));
    assert_null(mn_memory_at(NULL, 1));
    for (int i = 0; i < HIDDEN; i++) ((float *)l->up_b.data)[i] = 0.1f * (float)i;
    for (int i = 0; i < DIM; i++) {
        ((float *)l->down_b.data)[i] = 0.05f * (float)i - 1;
        ((float *)l->norm_w.data)[i] = 1 + 0.01f * (float)i;
        ((float *)l->norm_b.data)[i] = 0.3f;
    }
    for (int i = 0; i < ROWS * DIM; i++) x[0][i] = x[1][i] = sinf((float)i);
    for (int k = 0; k < 2; k++) {
        mn_tensor tx = mn_tensor_2d(x[k], MN_F32, ROWS, DIM);
        mn_tensor tp = mn_tensor_2d(pre, MN_F32, ROWS, HIDDEN);
        mn_tensor ti = mn_tensor_2d(inner, MN_F32, ROWS, HIDDEN);
        mn_tensor td = mn_tensor_2d(down, MN_F32, ROWS, DIM);
        MN_ASSERT_OK(mn_memory_fwd(b.device, NULL, &tx, l, k ? &tp : NULL, &ti, &td));
    }
    assert_memory_equal(x[0], x[1], sizeof x[0]);
    for (int r = 0; r < ROWS; r++) {
        double h[HIDDEN], d[DIM], mean = 0, variance = 0;
        for (int j = 0; j < HIDDEN; j++) {
            h[j] = 0.1 * j;
            for (int i = 0; i < DIM; i++)
                h[j] += (double)((float *)l->up_w.data)[j * DIM + i] * sin(r * DIM + i);
            assert_true(fabs((double)pre[r * HIDDEN + j] - h[j]) < 1e-5);
            h[j] = 0.5 * h[j] * (1 + erf(h[j] / sqrt(2)));
        }
        for (int i = 0; i < DIM; i++) {
            d[i] = (double)((float *)l->down_b.data)[i];
            for (int j = 0; j < HIDDEN; j++)
                d[i] += (double)((float *)l->down_w.data)[i * HIDDEN + j] * h[j];
            mean += d[i] / DIM;
        }
        for (int i = 0; i < DIM; i++) variance += (d[i] - mean) * (d[i] - mean) / DIM;
        for (int i = 0; i < DIM; i++) {
            const double normal = (d[i] - mean) / sqrt(variance + 1e-5);
            const double want = sin(r * DIM + i) + 0.7 * (normal * (1 + 0.01 * i) + 0.3);
            assert_true(fabs((double)x[0][r * DIM + i] - want) < 1e-5); /* of values about 1 */
        }
    }
    mn_memory_close(&m);
    close_bench(&b);
}

/* ---- files ---- */

static void test_round_trip(void **state) {
    bench b = {0};
    mn_memory *m = NULL, *back = NULL, *like = NULL;
    const mn_test_path root = mn_test_tmpdir();
    const mn_test_path dir = mn_test_join(root.text, "new/adapter");
    const mn_memory_options o = {
        .name = "gpt \"wiki\"", .hidden = 6, .from = 0.2, .to = 0.9, .gate = 1, .seed = 3};
    (void)state;
    open_bench(&b);
    MN_ASSERT_OK(mn_memory_create(&m, b.model, &o));
    ((float *)m->layers[1].gate.data)[0] = -0.25f;
    MN_ASSERT_OK(mn_memory_save(m, dir.text, "EleutherAI/pythia"));
    MN_ASSERT_OK(mn_memory_load(&back, b.model, dir.text));
    MN_ASSERT_OK(mn_memory_like(&like, m));
    assert_string_equal(back->name, m->name);
    assert_int_equal(back->count, 3);
    for (int64_t p = 0; p < m->count * MN_MEMORY_PARAMS; p++) {
        mn_memory_param x, y, z;
        mn_memory_param_at(&x, m, p);
        mn_memory_param_at(&y, back, p);
        mn_memory_param_at(&z, like, p);
        assert_string_equal(x.name, y.name);
        assert_memory_equal(x.tensor->data, y.tensor->data, mn_tensor_bytes(x.tensor));
        assert_int_equal(mn_tensor_count(z.tensor), mn_tensor_count(x.tensor));
        for (int64_t e = 0; e < mn_tensor_count(z.tensor); e++)
            assert_true(((const float *)z.tensor->data)[e] == 0);
    }
    mn_memory_param first, last;
    mn_memory_param_at(&first, m, 0);
    mn_memory_param_at(&last, m, 3 * MN_MEMORY_PARAMS - 1);
    assert_string_equal(first.name, "memory.1.up.weight");
    assert_string_equal(last.name, "memory.3.gate");
    char *config = mn_test_read(mn_test_join(dir.text, "adapter_config.json").text, NULL);
    assert_non_null(strstr(config, "\"base_model_name_or_path\": \"EleutherAI/pythia\""));
    assert_non_null(strstr(config, "\"blocks\": [1, 2, 3]"));
    free(config);
    mn_memory_close(&like);
    mn_memory_close(&back);
    mn_memory_close(&m);
    mn_memory_close(&m);
    close_bench(&b);
    mn_test_rmdir(root.text);
}

#define HEAD "{\"peft_type\": \"MNEME_MEMORY\", \"activation\": \"gelu\", \"norm\": \"layer_norm\""
#define GOOD HEAD ", \"gate\": \"scalar\", \"hidden_size\": 32, \"hidden\": 6, \"blocks\": [2]}"

static void test_bad_configs(void **state) {
    static const struct {
        const char *text, *message;
        mn_status status;
    } cases[] = {
        {"{", "adapter_config.json", MN_ERR_DATA},
        {"{}", "the key \"peft_type\" is missing", MN_ERR_DATA},
        {"{\"peft_type\": \"LORA\"}", "$.peft_type: expected \"MNEME_MEMORY\", found \"LORA\"",
         MN_ERR_UNSUPPORTED},
        {HEAD ", \"gate\": \"vector\"}", "$.gate: expected \"scalar\", found \"vector\"",
         MN_ERR_UNSUPPORTED},
        {HEAD ", \"gate\": \"scalar\", \"hidden\": 0}", "$.hidden: expected 1 to", MN_ERR_DATA},
        {HEAD ", \"gate\": \"scalar\", \"hidden\": 6, \"hidden_size\": 64}",
         "$.hidden_size: expected 32 as in made up, found 64", MN_ERR_DATA},
        {HEAD ", \"gate\": \"scalar\", \"hidden\": 6}", "the key \"blocks\" is missing",
         MN_ERR_DATA},
        {HEAD ", \"gate\": \"scalar\", \"hidden\": 6, \"blocks\": []}",
         "$.blocks: expected at least one block", MN_ERR_DATA},
        {HEAD ", \"gate\": \"scalar\", \"hidden\": 6, \"blocks\": [4]}",
         "$.blocks[0]: expected 0 to 3", MN_ERR_DATA},
        {HEAD ", \"gate\": \"scalar\", \"hidden\": 6, \"blocks\": [2, 1]}",
         "$.blocks[1]: expected rising blocks, found 1 behind 2", MN_ERR_DATA},
    };
    bench b = {0};
    const mn_test_path dir = mn_test_tmpdir();
    const mn_test_path config = mn_test_join(dir.text, "adapter_config.json");
    mn_memory *m = NULL;
    (void)state;
    open_bench(&b);
    MN_ASSERT_FAILS(mn_memory_load(&m, b.model, "/nowhere/at/all"), MN_ERR_IO,
                    "/nowhere/at/all: no such adapter folder");
    MN_ASSERT_FAILS(mn_memory_load(&m, b.model, dir.text), MN_ERR_IO, "adapter_config.json");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mn_test_puts(config.text, cases[i].text);
        MN_ASSERT_FAILS(mn_memory_load(&m, b.model, dir.text), cases[i].status, cases[i].message);
        assert_non_null(strstr(mn_error(), config.text));
        assert_null(m);
    }
    mn_test_puts(config.text, GOOD);
    MN_ASSERT_FAILS(mn_memory_load(&m, b.model, dir.text), MN_ERR_IO, "adapter_model.safetensors");
    mn_test_rmdir(dir.text);
    close_bench(&b);
}

/* Weights of a memory behind block 2, with one tensor changed. */
static void test_bad_weights(void **state) {
    static float zeros[32 * 32], broken[6] = {0, 0, NAN};
    static const uint16_t halves[6] = {0};
    static const struct {
        const char *name; /* of the tensor that is replaced; NULL: added */
        mn_stored by;     /* without a name: left out */
        const char *message;
        mn_status status;
    } cases[] = {
        {"memory.2.up.bias", {0}, "memory.2.up.bias", MN_ERR_DATA},
        {"memory.2.up.bias",
         {"memory.2.up.bias", {zeros, {7}, 1, MN_F32, MN_LAYOUT_ROWS}, NULL},
         "tensor memory.2.up.bias: expected shape (6), found (7)",
         MN_ERR_DATA},
        {"memory.2.down.weight",
         {"memory.2.down.weight", {zeros, {6, 32}, 2, MN_F32, MN_LAYOUT_ROWS}, NULL},
         "tensor memory.2.down.weight: expected shape (32, 6), found (6, 32)",
         MN_ERR_DATA},
        {"memory.2.up.bias",
         {"memory.2.up.bias", {(void *)(uintptr_t)halves, {6}, 1, MN_F16, MN_LAYOUT_ROWS}, NULL},
         "tensor memory.2.up.bias: expected F32, found F16",
         MN_ERR_DATA},
        {"memory.2.up.bias",
         {"memory.2.up.bias", {broken, {6}, 1, MN_F32, MN_LAYOUT_ROWS}, NULL},
         "tensor memory.2.up.bias: expected numbers, found nan in element 2",
         MN_ERR_NUMERIC},
        {"memory.2.up.weight",
         {"memory.2.up.weight", {zeros, {1, 32}, 2, MN_F32, MN_LAYOUT_ROWS}, NULL},
         "tensor memory.2.up.weight: expected shape (6, 32), found (1, 32)",
         MN_ERR_DATA},
        {NULL,
         {"memory.3.gate", {zeros, {1}, 1, MN_F32, MN_LAYOUT_ROWS}, NULL},
         "tensor memory.3.gate: not expected by adapter_config.json",
         MN_ERR_DATA},
    };
    static const int64_t block = 2;
    const mn_memory_options o = {.hidden = 6, .blocks = &block, .block_count = 1, .gate = 1};
    bench b = {0};
    mn_memory *m = NULL, *loaded = NULL;
    const mn_test_path dir = mn_test_tmpdir();
    const mn_test_path path = mn_test_join(dir.text, "adapter_model.safetensors");
    (void)state;
    open_bench(&b);
    MN_ASSERT_OK(mn_memory_create(&m, b.model, &o));
    mn_test_puts(mn_test_join(dir.text, "adapter_config.json").text, GOOD);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mn_memory_param rows[MN_MEMORY_PARAMS];
        mn_stored stored[MN_MEMORY_PARAMS + 1];
        int64_t count = 0;
        for (int64_t p = 0; p < MN_MEMORY_PARAMS; p++) {
            mn_memory_param_at(&rows[p], m, p);
            const bool replaced = cases[i].name && strcmp(rows[p].name, cases[i].name) == 0;
            if (!replaced)
                stored[count++] = (mn_stored){.name = rows[p].name, .view = *rows[p].tensor};
        }
        if (cases[i].by.name) stored[count++] = cases[i].by;
        MN_ASSERT_OK(mn_safetensors_write(path.text, stored, count, NULL));
        MN_ASSERT_FAILS(mn_memory_load(&loaded, b.model, dir.text), cases[i].status,
                        cases[i].message);
        assert_non_null(strstr(mn_error(), path.text));
        assert_null(loaded);
    }
    mn_memory_close(&m);
    mn_test_rmdir(dir.text);
    close_bench(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),       cmocka_unit_test(test_initial),
        cmocka_unit_test(test_distribution), cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_forward),      cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_bad_configs),  cmocka_unit_test(test_bad_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
